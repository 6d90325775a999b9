//! Who answers for names on this machine.

use std::net::{IpAddr, SocketAddr};

use crate::compile::RESOLVER;
use crate::dns::{Sources, discover};
use crate::doctor::context::Context;
use crate::doctor::{Fix, Verdict};
use crate::host::holders;
use crate::model::Protocol;

/// Where the resolver answers: port 53 where that is permitted.
const PORTS: [u16; 2] = [53, 5335];

fn addresses() -> Vec<SocketAddr> {
    PORTS.iter().map(|port| (RESOLVER, *port).into()).collect()
}

/// The servers that the resolver asks for all names but the platforms'.
pub(in crate::doctor) async fn servers(context: &Context<'_>) -> Verdict {
    let former = context.host.folders().data.join("dns").join("install").join("resolv.conf.before");
    let found = discover(context.host, &Sources { own: addresses(), former: vec![former] }).await;
    let dropped: Vec<String> = found.dropped.iter().map(ToString::to_string).collect();
    let detail = dropped.iter().map(|dropped| format!("cannot be asked: {dropped}"));
    match found.default.as_slice() {
        [] => Verdict::warning("this machine has no name server that can be asked")
            .detail(detail)
            .detail(["names outside of the platforms do not resolve".to_owned()])
            .fix(Fix::advice("name one in /etc/resolv.conf, or under `dns: {upstream: [...]}` in macula.yaml")),
        [one] => Verdict::ok(format!("other names are asked of {one}")).detail(detail),
        [first, rest @ ..] => {
            Verdict::ok(format!("other names are asked of {first} and {} more", rest.len())).detail(detail)
        }
    }
}

/// Whether the resolver has its address, or can have it.
pub(in crate::doctor) async fn address(context: &Context<'_>) -> Verdict {
    let wanted = addresses();
    let there = holders(context.host, Protocol::Udp, &wanted).await;
    let ours = context.host.read(&context.host.folders().data.join("dns").join("resolver.json")).await;
    let ours = ours.ok().and_then(|content| serde_json::from_slice::<serde_json::Value>(&content).ok());
    let ours = ours.and_then(|process| u32::try_from(process.get("pid")?.as_u64()?).ok());
    let exact = there.iter().find(|holder| wanted.contains(&holder.address));
    match exact.or(there.first()) {
        None => Verdict::ok(format!("{RESOLVER} is free for the resolver")),
        Some(holder) if holder.pid.is_some() && holder.pid == ours => {
            Verdict::ok(format!("the resolver answers on {}", holder.address))
        }
        // who has port 53 of all addresses, and is another user's, is some name server
        Some(holder) if holder.is_macula() && holder.address.ip() == IpAddr::V4(RESOLVER) => {
            let advice = match holder.pid {
                // the names of others depend on it
                Some(_) => {
                    "it belongs to another data folder and ends with its platforms; or give yours an address: \
                     `dns: {listen: [...]}`"
                }
                None => "that user can stop it with `macula down`; or give yours an address: `dns: {listen: [...]}`",
            };
            Verdict::warning(format!("another resolver has {}: {holder}", holder.address))
                .detail(["the names of your platforms do not resolve".to_owned()])
                .fix(Fix::advice(advice))
        }
        Some(holder) => Verdict::ok(format!("{} is held by {holder}; the resolver takes another port", holder.address)),
    }
}
