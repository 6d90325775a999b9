//! Whether every name leads to its service, by one request or connection each: what `up` waits for. Why one
//! does not is for [`super::judge()`] to find out.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::evidence::Mark;
use super::reach;
use super::targets::Target;

/// How one name fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Answered,
    /// Somebody took the connection, and it led to no service, or to fewer of those that share the name than run.
    Astray,
    /// It leads to a service, and the ingress does not say to which of those that share the name.
    Untold,
    /// Nobody takes connections there: the service's fault, or there is no way from here to the engine.
    NoWay,
}

/// Asks all of these names at once.
pub async fn arrivals(targets: &[Target]) -> Vec<Arrival> {
    join_all(targets.iter().map(arrival)).await
}

async fn arrival(target: &Target) -> Arrival {
    let Some(address) = target.address else { return Arrival::Answered };
    let held = join_all(target.ports.iter().map(|port| reach::holds((address, *port).into())));
    let through = async {
        match &target.web {
            Some(web) => answers(SocketAddr::from((address, web.http)), target, &web.path).await,
            None => Arrival::Answered,
        }
    };
    let shared = async {
        match &target.web {
            Some(web) if !target.shares.is_empty() => {
                match reach::out_of_rotation(SocketAddr::from((address, web.http)), &target.shares).await {
                    Some(out) if out.is_empty() => Arrival::Answered,
                    Some(_) => Arrival::Astray,
                    None => Arrival::Untold,
                }
            }
            _ => Arrival::Answered,
        }
    };
    let (held, through, shared) = tokio::join!(held, through, shared);
    let mut all = held.into_iter().chain([through, shared]);
    all.find(|arrival| *arrival != Arrival::Answered).unwrap_or(Arrival::Answered)
}

/// Any answer of the service itself will do: whether it is well is its probe's question.
async fn answers(address: SocketAddr, target: &Target, path: &str) -> Arrival {
    let Ok(mut stream) = reach::connect(address).await else { return Arrival::NoWay };
    let answered = match reach::request(&mut stream, &target.asked, ("", path)).await {
        Ok(seen) if seen.mark == Some(Mark::Unavailable) && seen.status == 502 => {
            reach::speaks_grpc(address, &target.asked, path).await
        }
        Ok(seen) => seen.mark.is_none(),
        Err(_) => false,
    };
    if answered { Arrival::Answered } else { Arrival::Astray }
}
