//! Every check in a passing and a failing case, with the whole text of what it finds.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use insta::assert_snapshot;

use super::*;
use crate::engine::discover::{Discovery, Source};
use crate::host::fake::FakeHost;
use crate::host::{Disk, Held, Output, temporary_name};
use crate::model::{
    ContainerState, EngineKind, Facts, Invocation, NameServer, ObservedContainer, ObservedNetwork, PlatformName,
    PortBinding, Traits, label,
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DOCKER: &str = "unix:///var/run/docker.sock";

fn docker() -> Facts {
    Facts {
        api_version: "1.50".into(),
        container_addresses: true,
        architecture: "x86_64".into(),
        cpus: 4,
        memory: 16 << 30,
        data_root: Some("/var/lib/docker".into()),
        storage_driver: Some("overlay2".into()),
        cgroup_version: Some(2),
        socket: Some("/var/run/docker.sock".into()),
        ..Facts::of("Docker 28.2.2", EngineKind::Docker)
    }
}

fn attempt(endpoint: &str, source: Source, outcome: Result<(), Refusal>) -> Attempt {
    Attempt { endpoint: endpoint.into(), source, outcome }
}

fn used() -> Vec<Attempt> {
    vec![attempt(DOCKER, Source::DockerSocket, Ok(()))]
}

fn none() -> Vec<Attempt> {
    refused(Refusal::Absent)
}

fn refused(refusal: Refusal) -> Vec<Attempt> {
    vec![
        attempt(DOCKER, Source::DockerSocket, Err(refusal)),
        attempt("unix:///run/user/1000/podman/podman.sock", Source::PodmanRootless, Err(Refusal::Absent)),
    ]
}

fn port(address: [u8; 4], port: u16, service: &str) -> WantedPort {
    let address = Ipv4Addr::from(address).into();
    WantedPort { address, port, protocol: Protocol::Tcp, service: service.into(), passed_on: false }
}

fn needs() -> Needs {
    Needs {
        platform: "macula".into(),
        domain: "macula.local".into(),
        network: "macula".into(),
        ports: vec![
            port([127, 0, 0, 1], 80, "nginx"),
            port([127, 0, 0, 2], 80, "nginx"),
            port([127, 0, 0, 2], 3000, "grafana"),
        ],
        memory: 2 << 30,
        ..Needs::default()
    }
}

fn cluster(minor: u32, accepts_cgroup_v1: bool) -> Needs {
    Needs {
        cluster: Some(ClusterNeeds { minor, accepts_cgroup_v1, program: None, ingress: "nginx".into() }),
        ..needs()
    }
}

/// A world for one check.
struct Case {
    host: FakeHost,
    attempts: Vec<Attempt>,
    want: Needs,
    facts: Option<Facts>,
    networks: Option<Vec<ObservedNetwork>>,
    ours: Vec<ObservedContainer>,
    everybody: Vec<ObservedContainer>,
    thorough: bool,
}

/// A healthy machine with Docker.
fn case(host: FakeHost) -> Case {
    let networks = Some(Vec::new());
    let (ours, everybody) = (Vec::new(), Vec::new());
    Case { host, attempts: used(), want: needs(), facts: Some(docker()), networks, ours, everybody, thorough: true }
}

/// The same without an engine, and these refusals.
fn without_engine(host: FakeHost, attempts: Vec<Attempt>) -> Case {
    Case { attempts, facts: None, networks: None, ..case(host) }
}

impl Case {
    async fn findings(self, selection: Selection) -> Vec<Finding> {
        let discovery = Discovery { attempts: self.attempts };
        let system = System {
            host: std::sync::Arc::new(self.host),
            engine: None,
            discovery,
            reach: std::sync::Arc::new(crate::system::OverNetwork),
        };
        let mut context = Context::new(&system, &self.want, self.thorough).with_everybody(self.everybody);
        if let Some(facts) = self.facts {
            context = context.with_facts(facts).with_ours(self.ours);
        }
        if let Some(networks) = self.networks {
            context = context.with_networks(networks);
        }
        look(&context, &selection, &|_| ()).await
    }

    async fn find(self, check: &str) -> String {
        let findings = self.findings(Selection::named(&[check]).unwrap()).await;
        findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn container(name: &str, state: ContainerState, ports: &[([u8; 4], u16)]) -> ObservedContainer {
    let binding = |(address, port): &([u8; 4], u16)| PortBinding {
        host_ip: Ipv4Addr::from(*address).into(),
        host_port: Some(*port),
        container_port: 80,
        protocol: Protocol::Tcp,
    };
    ObservedContainer {
        name: name.into(),
        image: "nginx:1.30.4".into(),
        state,
        ports: ports.iter().map(binding).collect(),
        ..ObservedContainer::default()
    }
}

fn network(name: &str, id: &str, subnet: &str, ours: bool) -> ObservedNetwork {
    let mut network = ObservedNetwork { name: name.into(), id: id.into(), ..ObservedNetwork::default() };
    network.subnets.push(subnet.parse().unwrap());
    if ours {
        network.labels.insert(label::PLATFORM.into(), "macula".into());
    }
    network
}

#[tokio::test]
async fn a_healthy_machine() {
    let host =
        FakeHost::new().answer("timedatectl *", 0, "yes\n", "").file("/etc/resolv.conf", "nameserver 192.0.2.1\n");
    let findings = case(host).findings(Selection::All).await;
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert_snapshot!(lines.join("\n"), @"
    ok: engine-installed: Docker 28.2.2
    ok: engine-running: Docker 28.2.2 answers
    ok: socket-permission: unix:///var/run/docker.sock may be used
    ok: engine-version: Docker 28.2.2 speaks API 1.50
    ok: engine-traits: names are answered at 127.0.0.11 in each container; it runs health checks; images lie in overlay2; it has no BuildKit; containers are reached at their own addresses
    ok: docker-context: unix:///var/run/docker.sock (Docker) is on this machine
    skipped: container-runs: there is no engine to ask
    skipped: podman-socket: Docker 28.2.2 is the engine
    ok: ports: all 3 ports are free or our own already
    skipped: low-ports: the engine is not rootless
    ok: loopback-addresses: 2 addresses up to 127.0.0.2 are there
    skipped: docker0-address: the engine has no bridge on this machine
    skipped: forwarding: the engine has no bridge on this machine
    ok: neighbors: the engine drops what other machines send to containers directly
    skipped: subnet: chosen automatically
    ok: proxy: no proxy is set
    ok: name-servers: other names are asked of 192.0.2.1:53
    ok: resolver-address: 127.0.0.9 is free for the resolver
    ok: disk-space: 100 GiB free for our files (/home/dev/.local/share/macula), 512 MiB wanted
    ok: memory: 12 GiB available of 16 GiB, 2 GiB wanted
    ok: inotify: enough file watches for a cluster
    ok: cgroup: cgroup v2
    skipped: privileged: no cluster is wanted
    skipped: kind: no cluster is wanted
    skipped: ingress-controller: no cluster is wanted
    ok: clock: right, and kept so by the network
    ok: leftovers: no leftovers of an interrupted run
    ok: state-files: the files of the platform can be read
    ok: home-writable: /home/dev/.local/share/macula and /home/dev/.cache/macula can be written
    ");
}

#[tokio::test]
async fn quick_checks_run_no_programs_and_write_nothing() {
    let host = FakeHost::new();
    let quick = Case { thorough: false, ..case(host.clone()) };
    quick.findings(Selection::Quick).await;
    assert_eq!(host.journal(), [""; 0]);
    assert_eq!(host.paths(), [""; 0].map(PathBuf::from));
}

#[test]
fn unknown_checks_get_a_suggestion() {
    let said = |name: &str| Selection::named(&[name]).unwrap_err().to_string();
    assert_eq!(said("disk-spcae"), "there is no check disk-spcae; did you mean disk-space?");
    assert_eq!(said("xyz"), "there is no check xyz");
    assert_eq!(Selection::named::<&str>(&[]), Ok(Selection::All));
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl crate::event::Reporter for Heard {
    fn report(&self, event: Event) {
        let line = match event {
            Event::Started { steps, .. } => format!("a row for {}", steps[0].group),
            Event::StepStarted { id } => format!("{id}: started"),
            Event::StepProgress { progress: Progress::Line { text }, .. } => text,
            Event::StepDone { note, .. } => format!("done: {}", note.unwrap_or_default()),
            Event::StepFailed { error, .. } => format!("failed: {error}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn a_fix_does_what_it_says_and_looks_again() {
    let done = || Ok(Output { status: Some(0), ..Output::default() });
    let host = FakeHost::new()
        .program("chmod")
        .setting("fs.inotify.max_user_watches", "8192")
        .on("sudo tee *", move |host, command| {
            host.put(&command.args[0], command.stdin.clone().unwrap_or_default());
            done()
        })
        .on("sudo rm -f *", move |host, command| {
            futures_util::FutureExt::now_or_never(host.remove(Path::new(&command.args[1]))).unwrap().unwrap();
            done()
        })
        .on("sudo sysctl *", move |host, command| {
            for setting in command.args.iter().skip(1) {
                let (name, value) = setting.split_once('=').unwrap();
                host.set(name, value);
            }
            done()
        });
    let system = System::fake(host.clone(), None);
    let want = cluster(37, false);
    let heard = std::sync::Arc::new(Heard::default());
    let events = Events::new(heard.clone());
    let findings = run(&system, &want, Selection::named(&["inotify"]).unwrap()).await;
    let fixed = fix(&system, &want, &findings[0], &events).await.unwrap();
    assert_eq!(fixed.finding.status, Status::Ok);
    assert_snapshot!(heard.0.lock().unwrap().join("\n"), @r#"
    a row for inotify
    fix inotify: started
    sudo sysctl -w fs.inotify.max_user_watches=524288
    printf '%s\n' fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/99-macula.conf >/dev/null
    done: enough file watches for a cluster
    "#);
    assert_snapshot!(host.journal().join("\n"), @r"
    sudo sysctl -w fs.inotify.max_user_watches=524288
    sudo tee /etc/sysctl.d/99-macula.conf
    sudo chmod 644 /etc/sysctl.d/99-macula.conf
    ");
    // written down, and so it can be undone
    changes::undo(&host).await.unwrap();
    assert_eq!(host.sysctl("fs.inotify.max_user_watches").await.unwrap(), "8192");
    assert_eq!(host.text("/etc/sysctl.d/99-macula.conf"), None);

    // what did not help is not done
    let deaf = FakeHost::new().program("chmod").setting("fs.inotify.max_user_watches", "8192");
    let deaf = System::fake(deaf.answer("sudo *", 0, "", ""), None);
    let told = std::sync::Arc::new(Heard::default());
    let found = run(&deaf, &want, Selection::named(&["inotify"]).unwrap()).await;
    fix(&deaf, &want, &found[0], &Events::new(told.clone())).await.unwrap();
    let last = told.0.lock().unwrap().last().cloned().unwrap_or_default();
    assert!(last.starts_with("failed: too few file watches for a cluster"), "{last}");

    // nothing to do is said, and so is what fails
    let error = fix(&system, &want, &fixed.finding, &events).await.err().unwrap();
    assert_eq!(error.to_string(), "inotify cannot be fixed from here");
    let poor = System::fake(
        FakeHost::new().setting("fs.inotify.max_user_watches", "1").answer("sudo sysctl *", 1, "", "no"),
        None,
    );
    let error = fix(&poor, &want, &findings[0], &Events::none()).await.err().unwrap();
    assert_snapshot!(error, @"`sudo sysctl -w fs.inotify.max_user_watches=524288` ended with status 1: no");
}

#[test]
fn findings_as_json() {
    let finding = Finding {
        check: "inotify",
        status: Status::Warning,
        summary: "too few".into(),
        detail: vec!["one".into()],
        fix: Some(Fix {
            text: "raise it".into(),
            actions: vec![
                Action::Change(Change::settings(&[("a", "1".to_owned())], false)),
                Action::Remove("/x y".into()),
            ],
            safe: true,
        }),
    };
    insta::assert_json_snapshot!(finding, @r#"
    {
      "check": "inotify",
      "status": "warning",
      "summary": "too few",
      "detail": [
        "one"
      ],
      "fix": {
        "text": "raise it",
        "actions": [
          "sudo sysctl -w a=1",
          "rm '/x y'"
        ],
        "safe": true
      }
    }
    "#);
}

#[test]
fn needs_of_a_platform() {
    use crate::model::{ContainerSpec, Forward, Resources};
    let mut spec: ContainerSpec = serde_json::from_value(serde_json::json!({
        "name": "macula-grafana-1", "stack": "grafana", "service": "grafana", "replica": 1, "image": "x", "env": [],
        "command": null, "entrypoint": null, "networks": [], "network_mode": null, "expose": [], "expose_other": [], "mounts": [],
        "ports": [
            {"host_ip": "127.0.0.2", "host_port": 3000, "container_port": 3000, "protocol": "tcp"},
            {"host_ip": "127.0.0.2", "host_port": null, "container_port": 3001, "protocol": "tcp"},
        ],
        "healthcheck": null, "stop_grace_ms": null, "options": {}, "labels": {},
    }))
    .unwrap();
    spec.forwards.push(Forward {
        listen: "127.0.0.3:80".parse().unwrap(),
        protocol: Protocol::Tcp,
        service: "grafana".into(),
        container: "macula-grafana-1".into(),
        port: 3000,
    });
    let resources = Resources { containers: vec![spec], ..Resources::default() };
    let platform = Platform::new(PlatformName::new("pr-123").unwrap(), Vec::new());
    let without = Needs::of(&platform, &resources, None);
    let passed_on = WantedPort { passed_on: true, ..port([127, 0, 0, 3], 80, "grafana") };
    assert_eq!(without.ports, [port([127, 0, 0, 2], 3000, "grafana"), passed_on]);
    assert_eq!((without.network.as_str(), without.memory), ("macula-pr-123", 128 << 20));
    let with = Needs::of(&platform, &resources, cluster(37, false).cluster);
    assert_eq!(with.memory, (128 << 20) + (2 << 30));
    // a limit counts as it is, where it is one, and each node of a cluster
    let (mut platform, mut resources) = (platform, resources);
    (platform.cluster.control_planes, platform.cluster.workers) = (1, 2);
    for (limit, memory) in [(Some(1 << 30), 1 << 30), (Some(0), 128 << 20), (Some(-1), 128 << 20)] {
        resources.containers[0].options.resources.memory = limit;
        let of = |nodes| Needs::of(&platform, &resources, nodes).memory;
        assert_eq!((of(None), of(cluster(37, false).cluster)), (memory, memory + 3 * (2 << 30)), "{limit:?}");
    }
}

#[tokio::test]
async fn kind_is_looked_for_where_a_cluster_is_wanted() {
    assert_snapshot!(case(FakeHost::new()).find("kind").await, @"skipped: kind: no cluster is wanted");
    assert_snapshot!(Case { want: cluster(34, true), ..case(FakeHost::new()) }.find("kind").await, @"
    warning: kind: kind was not found; clusters need it
      fix: `macula cluster create --yes` fetches kind 0.33.0 and checks it; or install it yourself
    ");
    assert_snapshot!(Case { want: cluster(34, true), ..case(FakeHost::new().program("kind")) }.find("kind").await, @"ok: kind: /usr/bin/kind");
    let mut chosen = cluster(34, true);
    chosen.cluster.as_mut().unwrap().program = Some("my-kind".into());
    assert_snapshot!(Case { want: chosen, ..case(FakeHost::new().program("kind")) }.find("kind").await, @"
    warning: kind: my-kind was not found; macula.yaml or MACULA_KIND names it
      fix: name another one, or none: kind is looked for on the PATH then
    ");
}

#[tokio::test]
async fn that_ingress_nginx_has_ended_is_said() {
    assert_snapshot!(Case { want: cluster(34, true), ..case(FakeHost::new()) }.find("ingress-controller").await, @"
    ok: ingress-controller: ingress-nginx, which gets no more releases
      its makers have ended it in March 2026; what there is goes on working
      `cluster: {ingress: traefik}` in macula.yaml takes Traefik
    ");
    let mut other = cluster(34, true);
    other.cluster.as_mut().unwrap().ingress = "traefik".into();
    let found = Case { want: other, ..case(FakeHost::new()) }.find("ingress-controller").await;
    assert_eq!(found, "ok: ingress-controller: traefik");
    let none = case(FakeHost::new()).find("ingress-controller").await;
    assert_eq!(none, "skipped: ingress-controller: no cluster is wanted");
}

mod engine;
mod machine;
mod network;
