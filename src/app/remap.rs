//! `up --remap`: published ports of the user's services that somebody else has go to addresses of the services' own.

use std::path::Path;

use crate::compile::{MovedPort, make_room};
use crate::config::Loaded;
use crate::daemon::reach::Table;
use crate::engine::everybody;
use crate::host::Host;
use crate::model::{ContainerState, Listener, Move, ObservedContainer, Platform, PublishedPort, label};
use crate::observe;
use crate::plan::{holder_of, select};
use crate::words;

use super::survey::blocks_in_use;
use super::{Error, Session};

/// The same with the ports moved that are taken now, each with a word; `None`: nothing moves. `services`: only those of
/// these and of what they need; none: of all.
pub async fn remap(session: &Session, loaded: &Loaded, services: &[String]) -> Result<Option<Loaded>, Error> {
    if !loaded.remap {
        return Ok(None);
    }
    let (host, platform) = (session.host(), &loaded.platform);
    let state = session.state(&platform.name);
    let engine = session.engine()?;
    let block = state.block_beside(host, platform, || blocks_in_use(&*engine, &platform.name)).await?;
    let observed = observe::ours(&*engine, &platform.name).await?;
    let own = |listener: &Listener| {
        // one that rests keeps its ports; those of a stack that is not loaded stay, and their ports with them
        let ours = |found: &&ObservedContainer| {
            found.holds_ports()
                && found
                    .label(label::STACK)
                    .is_none_or(|stack| platform.stacks.iter().any(|loaded| loaded.name == stack))
        };
        observed.containers.iter().filter(ours).flat_map(|found| &found.ports).any(|bound| listener.is_of(bound))
    };
    let mut listeners = host.listeners().await.unwrap_or_default();
    listeners.retain(|listener| !own(listener));
    // so do those that are passed on to it
    let stays = |name: &str| {
        observed.container(name).filter(|found| found.state == ContainerState::Running).is_some_and(|found| {
            let stack = found.label(label::STACK);
            stack.is_some_and(|stack| platform.stacks.iter().all(|loaded| loaded.name != stack))
        })
    };
    let listeners = without_passed_on(host, state.folder(), listeners, &stays).await;
    let (mut moves, mut told) = make_room(platform, block, &listeners, &loaded.moves);
    if !services.is_empty() {
        // whoever names what there is not is told so by the plan
        let chosen = select(platform, services).unwrap_or_default();
        moves.retain(|service, _| chosen.contains(service));
        told.retain(|one| chosen.contains(&one.service));
    }
    if moves.is_empty() {
        return Ok(None);
    }
    let holders = host.owners(told.iter().map(|one| one.holder.clone()).collect()).await;
    let neighbours = everybody(&*engine).await?;
    for (MovedPort { service, from, to, .. }, holder) in told.iter().zip(&holders) {
        session.events.warn(format!(
            "{service} is published on {to} instead of {from}: {} has port {}",
            holder_of(&neighbours, holder),
            holder.port,
        ));
    }
    for (service, to) in &moves {
        let along = along(platform, service, to);
        if !along.is_empty() {
            let ports = if along.len() == 1 { "port" } else { "ports" };
            session.events.warn(format!(
                "{service}: its {ports} {}, which nobody has, {} along, to the same address",
                words::list(&along),
                if along.len() == 1 { "goes" } else { "go" },
            ));
        }
    }
    for one in &told {
        for (variable, target) in outdated(platform, one) {
            session.events.warn(format!(
                "the export {variable} of {} says {}, and {} is published now: write {{{{ service.published['{target}'] }}}} there",
                one.service,
                one.from.port(),
                one.to.port(),
            ));
        }
    }
    let mut moved = loaded.clone();
    moved.move_ports(&moves);
    Ok(Some(moved))
}

/// What the engine does not publish is held by the background process, which gives way; whoever else has come to such an
/// address does not, nor does it give way for a container that `stays`.
async fn without_passed_on(
    host: &dyn Host,
    folder: &Path,
    listeners: Vec<Listener>,
    stays: &(dyn Fn(&str) -> bool + Sync),
) -> Vec<Listener> {
    let Some(mut known) = Table::read(host, folder).await else { return listeners };
    known.forwards.retain(|forward| !stays(&forward.container));
    let passed_on =
        |one: &Listener| known.forwards.iter().any(|forward| (forward.listen, forward.protocol) == one.place());
    let (held, mut others): (Vec<Listener>, Vec<Listener>) = listeners.into_iter().partition(passed_on);
    if !held.is_empty() {
        others.extend(host.owners(held).await.into_iter().filter(|one| !one.may_be_macula()));
    }
    others
}

/// Ports that are free where they are, and published on the service's address, which is another one now.
fn along(platform: &Platform, service: &str, to: &Move) -> Vec<String> {
    let Some((_, service)) = platform.service(service).filter(|(_, service)| service.extension.address.is_none())
    else {
        return Vec::new();
    };
    let stays = |port: &&PublishedPort| port.host_ip.is_none();
    let numbers = service.ports.iter().filter(stays).filter_map(|port| port.published);
    words::unique(numbers.filter(|number| !to.ports.contains_key(number)).map(|number| number.to_string()))
}

/// Exports in which the number stands that the port had before, each with the port of the container.
fn outdated(platform: &Platform, moved: &MovedPort) -> Vec<(String, u16)> {
    let (from, to) = (moved.from.port(), moved.to.port());
    let Some((_, service)) = platform.service(&moved.service).filter(|_| from != to) else { return Vec::new() };
    let Some(port) = service.ports.iter().find(|port| port.published == Some(from)) else { return Vec::new() };
    let says =
        |text: &str| text.split(|letter: char| !letter.is_ascii_digit()).any(|number| number == from.to_string());
    let exports = service.extension.exports.iter().filter(|(_, text)| says(text));
    exports.map(|(variable, _)| (variable.clone(), port.target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::{Protocol, StoppedBy};

    #[test]
    fn an_export_with_the_number_that_was_is_told() {
        let stack = "services: {web: {image: w, ports: ['18095:8080'], x-macula: {exports: {
            URL: 'http://{{ service.address }}:18095', LONGER: 'x:180950', NEW: \"http://x:{{ service.published['8080'] }}\"}}}}";
        let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
        let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let holder = Listener {
            address: [0, 0, 0, 0].into(),
            port: 18095,
            protocol: Protocol::Tcp,
            pid: None,
            process: None,
            stopped_by: StoppedBy::default(),
        };
        let to = |port| MovedPort {
            service: "web".into(),
            from: ([127, 0, 0, 1], 18095).into(),
            to: ([127, 0, 0, 20], port).into(),
            holder: holder.clone(),
        };
        assert_eq!(outdated(&loaded.platform, &to(18096)), [("URL".to_owned(), 8080)]);
        assert_eq!(outdated(&loaded.platform, &to(18095)), []);
    }

    #[test]
    fn free_ports_that_follow_the_address_are_told() {
        let platform = |more: &str| {
            let stack = format!(
                "services: {{web: {{image: w, ports: ['127.0.0.1:18080:80', '18081:81', '18082:82'], {more}}}}}"
            );
            let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
            let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
            load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
        };
        let to = Move { address: [127, 0, 0, 20].into(), ports: [(18082, 18083)].into() };
        assert_eq!(along(&platform("command: x"), "web", &to), ["18081"]);
        // where it is its own already, they stay
        assert_eq!(along(&platform("x-macula: {address: 127.0.0.20}"), "web", &to), [""; 0]);
    }
}
