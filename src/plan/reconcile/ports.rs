//! Ports and data: who holds them, and when others can have them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{
    ContainerSpec, ContainerState, Forward, Listener, MountSpec, ObservedContainer, Remedy, ResourceId, ResourceKind,
    macula,
};
use crate::plan::{Action, Verb};

use super::verdict::Verdict;
use super::{Conflict, Planner, mounts};

impl Planner<'_> {
    /// Ports that somebody else holds. Nothing is created when there is one.
    pub(super) fn ports(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        let starts = |name: &str| {
            !matches!(
                verdicts.get(name),
                None | Some(Verdict::Right | Verdict::Await | Verdict::Hooks | Verdict::Conflict)
            )
        };
        for spec in wanted {
            let published = spec.ports.iter().filter(|_| starts(&spec.name)).cloned();
            // what is passed on is no part of the container, and is listened on while that runs
            for port in published.chain(spec.forwards.iter().map(Forward::binding)) {
                let Some(number) = port.host_port else { continue };
                let held = self.observed.listeners.iter().find(|listener| listener.is_in_the_way_of(&port));
                let Some(holder) = held else { continue };
                let own = self.observed.containers.iter().any(|container| {
                    self.is_ours(&container.labels) && container.ports.iter().any(|bound| holder.is_of(bound))
                });
                if own {
                    continue;
                }
                let container = publisher(&self.observed.neighbours, holder);
                let who = holder_of(&self.observed.neighbours, holder);
                let address = std::net::SocketAddr::new(port.host_ip, number);
                self.conflicts.push(Conflict {
                    resource: ResourceId::new(ResourceKind::Container, &spec.name),
                    message: format!(
                        "port {number} is taken: {who} listens on {}, and {} needs {address}/{}",
                        std::net::SocketAddr::new(holder.address, number),
                        spec.service,
                        port.protocol,
                    ),
                    port: Some((spec.service.clone(), number)),
                    external: false,
                    remedies: vec![
                        match (container, holder.stop_command(), holder.pid) {
                            (Some(found), ..) => Remedy::shell(["docker", "stop", &found.name]),
                            (None, Some(words), _) => Remedy::shell(words),
                            // it ends with the last of its platforms, and all of them need it until then
                            (None, None, _) if holder.is_macula() => {
                                macula("ls").why("to see which platform has the address").into()
                            }
                            (None, None, _) if holder.proxy().is_some() => {
                                Remedy::shell(["docker", "ps", "--filter", &format!("publish={number}")])
                            }
                            // a signal might hit what others need, or what is started again at once
                            (None, None, Some(pid)) => Remedy::shell(["ps", "-fp", &pid.to_string()]),
                            (None, None, None) => Remedy::shell(["sudo", "ss", "-lptn", &format!("sport = :{number}")]),
                        },
                        Remedy::say("publish on another port, or choose another name for this platform with `--name`"),
                    ],
                });
            }
        }
    }

    /// What another container of ours holds can be had once that one is stopped.
    pub(super) fn hand_over(&mut self, wanted: &[&ContainerSpec]) {
        let (wish, observed) = (self.wish, self.observed);
        let stops = |found: &&ObservedContainer| self.has(&Verb::Stop.container(&found.name));
        let stopped: Vec<&ObservedContainer> = observed.containers.iter().filter(stops).collect();
        for step in &mut self.steps {
            let Action::Start { .. } = &step.action else { continue };
            // by the name that it will have: one that stands in for another has its own until then
            let Some(spec) = wanted.iter().find(|spec| spec.name == step.resource.name) else { continue };
            let holders = stopped.iter().filter(|found| holds(found, spec, &wish.resources.containers));
            step.after.extend(holders.map(|found| Verb::Stop.container(&found.name)));
            step.after.sort();
            step.after.dedup();
        }
    }
}

/// The container has what another one cannot have before it has stopped: a port, or data that it no longer has when it
/// comes back, if it does. Two programs that both take a database's files for theirs destroy them. `all`: what is wanted.
pub(super) fn holds(found: &ObservedContainer, other: &ContainerSpec, all: &[ContainerSpec]) -> bool {
    let keeps = |place: &String| all.iter().any(|own| own.name == found.name && has(own, place));
    let data = || found.writes.iter().any(|place| has(other, place) && !keeps(place));
    found.name != other.name && (publishes(found, other) || data())
}

/// The volume, or the folder of the host, is mounted.
fn has(spec: &ContainerSpec, place: &str) -> bool {
    let folder = |mount: &MountSpec| matches!(mount, MountSpec::Bind { source, .. } if source == Path::new(place));
    mounts(spec, place) || spec.mounts.iter().any(folder)
}

/// One of the ports that this specification publishes.
pub(in crate::plan) fn publishes(found: &ObservedContainer, spec: &ContainerSpec) -> bool {
    spec.ports.iter().any(|port| {
        found.ports.iter().any(|bound| {
            let meets =
                bound.host_ip == port.host_ip || bound.host_ip.is_unspecified() || port.host_ip.is_unspecified();
            port.host_port.is_some() && bound.host_port == port.host_port && bound.protocol == port.protocol && meets
        })
    })
}

/// Who listens, as far as it can be seen. `neighbours`: all containers of the engine.
pub fn holder_of(neighbours: &[ObservedContainer], listener: &Listener) -> String {
    match (publisher(neighbours, listener), &listener.process, listener.pid) {
        (Some(found), _, _) => format!("the container {}", found.name),
        (None, _, Some(pid)) if listener.is_macula() => format!("a background process of macula (pid {pid})"),
        (None, Some(process), Some(pid)) => format!("{process} (pid {pid})"),
        (None, Some(process), None) => process.clone(),
        (None, None, Some(pid)) => format!("pid {pid}"),
        (None, None, None) => "another process, which only root can see".to_owned(),
    }
}

/// The container that a proxy of the engine's listens for.
fn publisher<'o>(neighbours: &'o [ObservedContainer], listener: &Listener) -> Option<&'o ObservedContainer> {
    neighbours.iter().filter(|found| found.state == ContainerState::Running).find(|found| {
        found.ports.iter().any(|port| {
            let here =
                port.host_ip == listener.address || port.host_ip.is_unspecified() && listener.address.is_unspecified();
            port.host_port == Some(listener.port) && port.protocol == listener.protocol && here
        })
    })
}
