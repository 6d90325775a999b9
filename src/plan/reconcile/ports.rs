//! Ports and data: who holds them, and when others can have them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{
    ContainerSpec, Forward, Listener, MountSpec, ObservedContainer, Remedy, ResourceId, ResourceKind, label, macula,
};
use crate::plan::{Action, Verb};

use super::verdict::Verdict;
use super::{Conflict, Planner, mounts};

impl Planner<'_> {
    /// Ports that somebody else holds. Nothing is created when there is one.
    pub(super) fn ports(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        let starts = |name: &str| {
            matches!(
                verdicts.get(name),
                Some(Verdict::Create | Verdict::Recreate(_) | Verdict::Start | Verdict::Again(_) | Verdict::Restart(_))
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

    /// A container of a service that is no more goes for this one, which gets what it holds. Of folders that only where it
    /// runs the same image, so that the service was renamed, and never the source code, which many services mount.
    pub(super) fn makes_way(&self, found: &ObservedContainer, spec: &ContainerSpec) -> bool {
        let renamed = found.image == spec.image || self.runs_its_image(&spec.service, found) == Some(true);
        let all_labels = [&found.labels, &spec.labels];
        let is_source = |place: &str| all_labels.iter().any(|labels| label::has_project(Path::new(place), labels));
        let counts = |place: &String| mounts(spec, place) || renamed && !is_source(place);
        let all = &self.wish.resources.containers;
        found.name != spec.name && (publishes(found, spec) || data(found, spec, all).any(counts))
    }
}

/// The container has what another one cannot have before it has stopped: a port, or data that it no longer has when it
/// comes back, if it does. Two programs that both take a database's files for theirs destroy them. `all`: what is wanted.
pub(super) fn holds(found: &ObservedContainer, other: &ContainerSpec, all: &[ContainerSpec]) -> bool {
    found.name != other.name && (publishes(found, other) || data(found, other, all).next().is_some())
}

/// What the container writes to, would not have when it comes back, and the other one mounts.
fn data<'f>(
    found: &'f ObservedContainer,
    other: &'f ContainerSpec,
    all: &'f [ContainerSpec],
) -> impl Iterator<Item = &'f String> {
    let keeps = move |place: &str| all.iter().any(|own| own.name == found.name && has(own, place));
    found.writes.iter().filter(move |place| has(other, place) && !keeps(place))
}

/// The container writes to what the other one mounts, other than source code.
pub(super) fn shares_data(found: &ObservedContainer, other: &ContainerSpec) -> bool {
    let is_source = |place: &str| label::has_project(Path::new(place), &other.labels);
    found.writes.iter().any(|place| has(other, place) && !is_source(place))
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
    neighbours.iter().filter(|found| found.holds_ports()).find(|found| {
        found.ports.iter().any(|port| {
            let here =
                port.host_ip == listener.address || port.host_ip.is_unspecified() && listener.address.is_unspecified();
            port.host_port == Some(listener.port) && port.protocol == listener.protocol && here
        })
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::model::{ContainerState, PortBinding, Protocol, StoppedBy};

    fn binding(at: &str, protocol: Protocol) -> PortBinding {
        let at: SocketAddr = at.parse().unwrap();
        PortBinding { host_ip: at.ip(), host_port: Some(at.port()), container_port: 80, protocol }
    }

    #[test]
    fn two_containers_cannot_publish_one_port() {
        let publish = |ports: Vec<PortBinding>, spec: Vec<PortBinding>| {
            let found = ObservedContainer { ports, ..ObservedContainer::default() };
            publishes(&found, &ContainerSpec { ports: spec, ..ContainerSpec::default() })
        };
        let tcp = |at: &str| binding(at, Protocol::Tcp);
        for (found, spec, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
        ] {
            assert_eq!(publish(vec![tcp(found)], vec![tcp(spec)]), expected, "{found} {spec}");
            let udp = vec![binding(spec, Protocol::Udp)];
            assert!(!publish(vec![tcp(found)], udp), "{found} {spec}");
        }
        // any of them counts
        assert!(publish(
            vec![tcp("127.0.0.3:80"), tcp("127.0.0.1:80")],
            vec![tcp("127.0.0.1:81"), tcp("127.0.0.1:80")]
        ));
        // whichever is free
        let free = PortBinding { host_port: None, ..tcp("127.0.0.1:80") };
        assert!(!publish(vec![free.clone()], vec![free]));
    }

    #[test]
    fn a_listener_is_the_container_that_its_port_leads_to_or_a_process() {
        let container = |name: &str, state, at: &str, protocol| ObservedContainer {
            name: name.into(),
            state,
            ports: vec![binding(at, protocol)],
            ..ObservedContainer::default()
        };
        let neighbours = [
            container("gone", ContainerState::Exited, "127.0.0.1:80", Protocol::Tcp),
            container("names", ContainerState::Running, "127.0.0.1:80", Protocol::Udp),
            container("web", ContainerState::Running, "127.0.0.1:80", Protocol::Tcp),
            container("all", ContainerState::Running, "0.0.0.0:81", Protocol::Tcp),
            container("resting", ContainerState::Paused, "127.0.0.1:83", Protocol::Tcp),
        ];
        let process = "another process, which only root can see";
        for (at, expected) in [
            ("127.0.0.1:80", "the container web"),
            ("127.0.0.2:80", process),
            ("0.0.0.0:80", process),
            ("127.0.0.1:81", process),
            ("0.0.0.0:81", "the container all"),
            // one socket for both families
            ("[::]:81", "the container all"),
            ("127.0.0.1:82", process),
            ("127.0.0.1:83", "the container resting"),
        ] {
            let at: SocketAddr = at.parse().unwrap();
            let listener = |pid, name: Option<&str>, stopped_by| Listener {
                address: at.ip(),
                port: at.port(),
                protocol: Protocol::Tcp,
                pid,
                process: name.map(str::to_owned),
                stopped_by,
            };
            let unknown = StoppedBy::Unknown;
            assert_eq!(holder_of(&neighbours, &listener(None, None, unknown.clone())), expected, "{at}");
            for (pid, name, stopped_by, text) in [
                (Some(7), Some("nginx"), unknown.clone(), "nginx (pid 7)"),
                (None, Some("nginx"), unknown.clone(), "nginx"),
                (Some(7), None, unknown, "pid 7"),
                (Some(7), Some("macula"), StoppedBy::Macula, "a background process of macula (pid 7)"),
                (None, Some("macula"), StoppedBy::Macula, "macula"),
            ] {
                assert_eq!(holder_of(&[], &listener(pid, name, stopped_by)), text);
            }
        }
    }
}
