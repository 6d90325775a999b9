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
    WantedPort { address: Ipv4Addr::from(address).into(), port, protocol: Protocol::Tcp, service: service.into() }
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
    let host = FakeHost::new().answer("timedatectl *", 0, "yes\n", "").file(RESOLV_CONF, "nameserver 192.0.2.1\n");
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

#[tokio::test]
async fn engine_installed() {
    let debian = FakeHost::new().program("apt-get");
    assert_snapshot!(without_engine(debian, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker.io, iptables) and start it; dev may then use it, after `newgrp docker` or a new login
        sudo DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 update -q
        sudo DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 install -y -q docker.io iptables
        sudo usermod -aG docker dev
        sudo systemctl enable --now docker
        # wait until the engine answers
    ");
    let bare = FakeHost::new().program("apt-get").facts_with(|facts| {
        (facts.uid, facts.user) = (0, "root".into());
        (facts.systemd, facts.cgroup_version) = (false, None);
    });
    assert_snapshot!(without_engine(bare, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker.io, iptables, cgroupfs-mount) and start it
        DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 update -q
        DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 install -y -q docker.io iptables cgroupfs-mount
        cgroupfs-mount
        dockerd >>/home/dev/.local/share/macula/log/dockerd.log 2>&1 &
        # wait until the engine answers
    ");
    let fedora = FakeHost::new().program("dnf").facts_with(|facts| facts.distribution = Some("fedora".into()));
    assert_snapshot!(without_engine(fedora, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (moby-engine) and start it; dev may then use it, after `newgrp docker` or a new login
        sudo dnf install -y moby-engine
        sudo usermod -aG docker dev
        sudo systemctl enable --now docker
        # wait until the engine answers
    ");
    let rocky = FakeHost::new().program("dnf").facts_with(|facts| facts.distribution = Some("rocky".into()));
    assert_snapshot!(without_engine(rocky, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Podman from the system's packages (podman) and start it
        sudo dnf install -y podman
        systemctl --user enable --now podman.socket
        # wait until the engine answers
    ");
    let arch = FakeHost::new().program("pacman").facts_with(|facts| facts.uid = 0);
    assert_snapshot!(without_engine(arch, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker, iptables) and start it
        pacman -Sy --noconfirm --needed docker iptables
        systemctl enable --now docker
        # wait until the engine answers
    ");
    let mac = FakeHost::new().facts_with(|facts| facts.os = "macos".into());
    assert_snapshot!(without_engine(mac, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install OrbStack (https://orbstack.dev), Colima (`brew install colima docker && colima start`) or Docker Desktop (https://docs.docker.com/desktop/), start it, and run this again
    ");
    assert_snapshot!(without_engine(FakeHost::new(), none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker or Podman (https://docs.docker.com/engine/install/) and run this again
    ");
    let installed = FakeHost::new().program("dockerd");
    assert_snapshot!(without_engine(installed, none()).find("engine-installed").await, @"ok: engine-installed: dockerd is installed");
}

#[tokio::test]
async fn engine_running() {
    let host = || FakeHost::new().program("dockerd");
    assert_snapshot!(without_engine(host(), refused(Refusal::NotListening)).find("engine-running").await, @r"
    failed: engine-running: Docker is installed but not running
      unix:///var/run/docker.sock (Docker): nothing is listening
      unix:///run/user/1000/podman/podman.sock (Podman of this user): no such socket
      fix: start Docker, now and at every boot
        sudo systemctl enable --now docker
        # wait until the engine answers
    ");
    let bare = host().facts_with(|facts| facts.systemd = false);
    assert_snapshot!(without_engine(bare, none()).find("engine-running").await, @r"
    failed: engine-running: Docker is installed but not running
      unix:///var/run/docker.sock (Docker): no such socket
      unix:///run/user/1000/podman/podman.sock (Podman of this user): no such socket
      fix: start dockerd in the background (no systemd here), its log in /home/dev/.local/share/macula/log/dockerd.log
        sudo dockerd >>/home/dev/.local/share/macula/log/dockerd.log 2>&1 &
        # wait until the engine answers
    ");
    // a dockerd was killed, and its pid is another's now
    let stale = host().file("/run/docker.pid", "42").file("/proc/42/comm", "bash\n");
    let stale = stale.facts_with(|facts| facts.systemd = false);
    assert_snapshot!(without_engine(stale, none()).find("engine-running").await, @r"
    failed: engine-running: Docker is installed but not running
      unix:///var/run/docker.sock (Docker): no such socket
      unix:///run/user/1000/podman/podman.sock (Podman of this user): no such socket
      fix: start dockerd in the background (no systemd here), its log in /home/dev/.local/share/macula/log/dockerd.log
        sudo rm -f /run/docker.pid
        sudo dockerd >>/home/dev/.local/share/macula/log/dockerd.log 2>&1 &
        # wait until the engine answers
    ");
    let elsewhere =
        || vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Err(Refusal::Other("timed out".into())))];
    assert_snapshot!(without_engine(FakeHost::new(), elsewhere()).find("engine-running").await, @"skipped: engine-running: DOCKER_HOST names tcp://192.0.2.7:2375: see docker-context");
    assert_snapshot!(without_engine(FakeHost::new(), elsewhere()).find("engine-installed").await, @"skipped: engine-installed: DOCKER_HOST names tcp://192.0.2.7:2375, so none is looked for");
    assert_snapshot!(without_engine(FakeHost::new(), none()).find("engine-running").await, @"skipped: engine-running: none is installed");
    // there is an endpoint, but asking it fails
    let hangs = Case { attempts: used(), ..without_engine(host(), none()) };
    assert_snapshot!(hangs.find("engine-running").await, @r"
    failed: engine-running: the engine is there but does not answer
      there is no engine to ask
      fix: restart it: `sudo systemctl restart docker`
    ");
}

#[tokio::test]
async fn socket_permission() {
    let denied = |group: &str| refused(Refusal::PermissionDenied { group: Some(group.into()) });
    let new_member = FakeHost::new().facts_with(|facts| facts.groups = vec!["dev".into()]);
    assert_snapshot!(without_engine(new_member, denied("docker")).find("socket-permission").await, @r"
    failed: socket-permission: dev may not open unix:///var/run/docker.sock
      dev is in the group docker, but this shell was started before and does not have it yet
      fix: `newgrp docker` in this shell, or log out and in again; then run the same command
    ");
    let stranger = FakeHost::new().facts_with(|facts| {
        facts.groups = vec!["dev".into()];
        facts.login_groups = vec![];
    });
    assert_snapshot!(without_engine(stranger, denied("docker")).find("socket-permission").await, @r"
    failed: socket-permission: dev may not open unix:///var/run/docker.sock
      the group docker may, and dev is not in it
      members of docker can become root through the engine
      fix: put dev into the group docker; after that: `newgrp docker` in this shell, or log out and in again; then run the same command
        sudo usermod -aG docker dev
    ");
    assert_snapshot!(without_engine(FakeHost::new(), denied("root")).find("socket-permission").await, @r"
    failed: socket-permission: dev may not open unix:///var/run/docker.sock
      only root may
      fix: use an engine of your own (rootless Docker or Podman), or let the engine's socket belong to a group that you are in
    ");
    // where Podman shuts its folder to users, that is no refusal worth telling
    let closed = attempt(
        "unix:///run/podman/podman.sock",
        Source::PodmanRootful,
        Err(Refusal::PermissionDenied { group: Some("root".into()) }),
    );
    assert_snapshot!(without_engine(FakeHost::new(), vec![closed]).find("socket-permission").await, @"skipped: socket-permission: there is no socket");
    assert_snapshot!(case(FakeHost::new()).find("socket-permission").await, @"ok: socket-permission: unix:///var/run/docker.sock may be used");
}

#[tokio::test]
async fn engine_version() {
    let old = refused(Refusal::TooOld { api: "1.39".into() });
    assert_snapshot!(without_engine(FakeHost::new(), old).find("engine-version").await, @r"
    failed: engine-version: the engine at unix:///var/run/docker.sock speaks only API 1.39; 1.41 is needed
      fix: upgrade it: Docker 20.10 (December 2020) and Podman 4 are the oldest that will do
    ");
    assert_snapshot!(case(FakeHost::new()).find("engine-version").await, @"ok: engine-version: Docker 28.2.2 speaks API 1.50");
}

#[tokio::test]
async fn docker_context() {
    let remote = vec![attempt("ssh://me@build.example.com", Source::Context("build".into()), Ok(()))];
    assert_snapshot!(Case { attempts: remote, ..case(FakeHost::new()) }.find("docker-context").await, @r"
    ok: docker-context: Docker context build names ssh://me@build.example.com, which is another machine
      the platform's addresses (127.0.0.2 and so on) lead there through a relay: see `macula help reach`
    ");
    let tunnel = vec![attempt("tcp://127.0.0.1:2375", Source::DockerHost, Ok(()))];
    assert_snapshot!(Case { attempts: tunnel, ..case(FakeHost::new()) }.find("docker-context").await, @"ok: docker-context: DOCKER_HOST names tcp://127.0.0.1:2375, on this machine");
    let colima =
        |refusal| vec![attempt("unix:///home/dev/.colima/docker.sock", Source::Context("colima".into()), Err(refusal))];
    assert_snapshot!(without_engine(FakeHost::new(), colima(Refusal::Absent)).find("docker-context").await, @r"
    failed: docker-context: Docker context colima names unix:///home/dev/.colima/docker.sock: no such socket
      fix: start it, or go back to the engine of this machine with `docker context use default`
    ");
    let by_variable = FakeHost::new().env_var("DOCKER_CONTEXT", "colima");
    assert_snapshot!(without_engine(by_variable, colima(Refusal::NotListening)).find("docker-context").await, @r"
    failed: docker-context: Docker context colima names unix:///home/dev/.colima/docker.sock: nothing is listening
      fix: start it, or go back to the engine of this machine with `unset DOCKER_CONTEXT`
    ");
    let unknown =
        vec![attempt("", Source::Context("gone".into()), Err(Refusal::Other("there is no such context".into())))];
    assert_snapshot!(without_engine(FakeHost::new(), unknown).find("docker-context").await, @r"
    failed: docker-context: Docker context gone names no endpoint of use: there is no such context
      fix: correct what it says, or go back to the engine of this machine with `docker context use default`
    ");
    let behind = Err(Refusal::Unsupported("engines behind TLS are not supported".into()));
    let behind = vec![attempt("tcp://docker:2376", Source::DockerHost, behind)];
    assert_snapshot!(without_engine(FakeHost::new(), behind).find("docker-context").await, @r#"
    failed: docker-context: DOCKER_HOST names tcp://docker:2376: engines behind TLS are not supported
      fix: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with the engine's ca.pem and your cert.pem and key.pem
    "#);
    assert_snapshot!(case(FakeHost::new()).find("docker-context").await, @"ok: docker-context: unix:///var/run/docker.sock (Docker) is on this machine");
}

#[tokio::test]
async fn what_the_engine_does_differently() {
    let said =
        |facts: Facts| async { Case { facts: Some(facts), ..case(FakeHost::new()) }.find("engine-traits").await };
    assert_snapshot!(said(docker()).await, @"ok: engine-traits: names are answered at 127.0.0.11 in each container; it runs health checks; images lie in overlay2; it has no BuildKit; containers are reached at their own addresses");
    let podman = |names| {
        let traits = Traits { names, health_checks: false, ..Traits::default() };
        let storage_driver = Some("overlay".to_owned());
        Facts {
            engine: "Podman 4.3.1".into(),
            engine_kind: EngineKind::Podman,
            dockerfile: None,
            storage_driver,
            traits,
            ..docker()
        }
    };
    assert_snapshot!(said(podman(NameServer::Gateway)).await, @"ok: engine-traits: names are answered at port 53 of each network's gateway; it runs no health checks (no systemd here), macula does; images lie in overlay; it has no BuildKit; containers are reached at their own addresses");
    assert_snapshot!(said(podman(NameServer::Nobody)).await, @"
    failed: engine-traits: Podman 4.3.1 has no aardvark-dns: containers do not find each other by name
      fix: install aardvark-dns, then remove the networks that were made without it
    ");
    let product = Some("Colima".to_owned());
    let traits = Traits { containerd_images: true, product, ..Traits::default() };
    let colima = Facts { container_addresses: false, dockerfile: Some((1, 14)), traits, ..docker() };
    assert_snapshot!(said(colima).await, @"ok: engine-traits: names are answered at 127.0.0.11 in each container; it runs health checks; images lie in containerd's store; BuildKit reads Dockerfile 1.14; containers are reached by published ports alone; behind the socket is Colima");
}

#[tokio::test]
async fn podman_socket() {
    let host = || FakeHost::new().program("podman");
    assert_snapshot!(without_engine(host(), none()).find("podman-socket").await, @r"
    failed: podman-socket: Podman is installed, but its socket is not there
      fix: let Podman listen on its socket, now and after every login
        systemctl --user enable --now podman.socket
        # wait until the engine answers
    ");
    let bare_root = host().facts_with(|facts| (facts.systemd, facts.uid) = (false, 0));
    assert_snapshot!(without_engine(bare_root, none()).find("podman-socket").await, @r"
    failed: podman-socket: Podman is installed, but its socket is not there
      fix: start Podman's service in the background (no systemd here), its log in /home/dev/.local/share/macula/log/podman.log
        podman system service --time=0 >>/home/dev/.local/share/macula/log/podman.log 2>&1 &
        # wait until the engine answers
    ");
    let podman = Facts { engine: "Podman 5.8.3 (rootless)".into(), engine_kind: EngineKind::Podman, ..docker() };
    let attempts = vec![attempt("unix:///run/user/1000/podman/podman.sock", Source::PodmanRootless, Ok(()))];
    let listens = Case { facts: Some(podman), attempts, ..case(host()) };
    assert_snapshot!(listens.find("podman-socket").await, @"ok: podman-socket: Podman 5.8.3 (rootless) listens on unix:///run/user/1000/podman/podman.sock");
    assert_snapshot!(case(host()).find("podman-socket").await, @"skipped: podman-socket: Docker 28.2.2 is the engine");
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

#[tokio::test]
async fn name_servers() {
    let with = |content: &str| case(FakeHost::new().file(RESOLV_CONF, content));
    assert_snapshot!(with("nameserver 192.0.2.1\nnameserver fe80::1%eth9\nnameserver 10.1\n").find("name-servers").await, @r"
    ok: name-servers: other names are asked of 192.0.2.1:53 and 1 more
      cannot be asked: fe80::1%eth9 (no network interface has this name)
    ");
    assert_snapshot!(with("nameserver nonsense\n").find("name-servers").await, @r"
    warning: name-servers: this machine has no name server that can be asked
      cannot be asked: nonsense (not an address)
      names outside of the platforms do not resolve
      fix: name one in /etc/resolv.conf, or under `dns: {upstream: [...]}` in macula.yaml
    ");
}

#[tokio::test]
async fn resolver_address() {
    let held = |process| case(FakeHost::new().listener("127.0.0.9:53", Protocol::Udp, process));
    let of_another_home = held(Some((7, "macula")));
    assert_snapshot!(of_another_home.find("resolver-address").await, @r"
    warning: resolver-address: another resolver has 127.0.0.9:53: `macula` (pid 7)
      the names of your platforms do not resolve
      fix: it belongs to another data folder and ends with its platforms; or give yours an address: `dns: {listen: [...]}`
    ");
    let host = FakeHost::new().listener("127.0.0.9:53", Protocol::Udp, Some((7, "macula")));
    let ours = host.file("/home/dev/.local/share/macula/dns/resolver.json", "{\"pid\": 7}");
    assert_snapshot!(case(ours).find("resolver-address").await, @"ok: resolver-address: the resolver answers on 127.0.0.9:53");
    assert_snapshot!(held(Some((9, "dnsmasq"))).find("resolver-address").await, @"ok: resolver-address: 127.0.0.9:53 is held by `dnsmasq` (pid 9); the resolver takes another port");
    assert_snapshot!(held(None).find("resolver-address").await, @r"
    warning: resolver-address: another resolver has 127.0.0.9:53: a process of another user
      the names of your platforms do not resolve
      fix: that user can stop it with `macula down`; or give yours an address: `dns: {listen: [...]}`
    ");
}

#[tokio::test]
async fn ports() {
    let nginx = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((812, "nginx"))).of_unit("nginx.service");
    assert_snapshot!(case(nginx).find("ports").await, @r"
    failed: ports: port 80 is taken
      0.0.0.0:80/tcp is held by nginx (pid 812); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop nginx: `sudo systemctl stop nginx.service`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // of another user: neither pid nor name
    let unseen = FakeHost::new().listener("127.0.0.2:3000", Protocol::Tcp, None);
    assert_snapshot!(case(unseen).find("ports").await, @r"
    failed: ports: port 3000 is taken
      127.0.0.2:3000/tcp is held by a process of another user; wanted: 127.0.0.2:3000 (grafana)
      fix: see with `sudo ss -ltnp 'sport = :3000'` who it is, and stop it; or leave the service out: `services: {grafana: {enabled: false}}` in macula.yaml
    ");
    let proxy = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((900, "docker-proxy"))).listener(
        "127.0.0.2:3000",
        Protocol::Tcp,
        Some((77, "node")),
    );
    let shop = container("shop-web-1", ContainerState::Running, &[([0, 0, 0, 0], 80)]);
    assert_snapshot!(Case { everybody: vec![shop], ..case(proxy) }.find("ports").await, @r"
    failed: ports: 2 ports are taken
      0.0.0.0:80/tcp is held by the container shop-web-1 (nginx:1.30.4); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      127.0.0.2:3000/tcp is held by node (pid 77); wanted: 127.0.0.2:3000 (grafana)
      fix: stop it: `docker stop shop-web-1`; stop node: `kill 77`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    let proxy = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((900, "rootlessport")));
    assert_snapshot!(case(proxy).find("ports").await, @r"
    failed: ports: port 80 is taken
      0.0.0.0:80/tcp is held by a container, through rootlessport; wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop the container, which `docker ps --filter publish=80` names; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // what serves all platforms is not to be ended
    let background = FakeHost::new().listener("127.0.0.2:3000", Protocol::Tcp, Some((31, "macula")));
    assert_snapshot!(case(background).find("ports").await, @r"
    failed: ports: port 3000 is taken
      127.0.0.2:3000/tcp is held by a background process of macula (pid 31); wanted: 127.0.0.2:3000 (grafana)
      fix: see with `macula ls` which platform has the address; or leave the service out: `services: {grafana: {enabled: false}}` in macula.yaml
    ");
    // our own containers are no obstacle, nor is the same port of UDP or of another address
    let own = FakeHost::new()
        .listener("127.0.0.1:80", Protocol::Tcp, Some((901, "docker-proxy")))
        .listener("127.0.0.2:3000", Protocol::Udp, Some((1, "x")))
        .listener("127.0.0.9:80", Protocol::Tcp, Some((2, "y")));
    let ingress = container("macula-nginx-1", ContainerState::Running, &[([127, 0, 0, 1], 80)]);
    assert_snapshot!(Case { ours: vec![ingress], ..case(own) }.find("ports").await, @"ok: ports: all 3 ports are free or our own already");
    // all of IPv6, and of IPv4 too: that cannot be bound
    let both = FakeHost::new().listener("[::]:80", Protocol::Tcp, Some((812, "apache2"))).of_unit("apache2.service");
    assert_snapshot!(case(both).find("ports").await, @r"
    failed: ports: port 80 is taken
      [::]:80/tcp is held by apache2 (pid 812); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop apache2: `sudo systemctl stop apache2.service`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
}

#[tokio::test]
async fn low_ports() {
    let rootless = |start: &str| {
        let facts = Facts { rootless: true, ..docker() };
        let host = FakeHost::new().setting("net.ipv4.ip_unprivileged_port_start", start);
        Case { facts: Some(facts), ..case(host) }
    };
    assert_snapshot!(rootless("1024").find("low-ports").await, @r"
    failed: low-ports: the rootless engine may publish ports from 1024 only, and 80 is wanted
      fix: let every user of this machine bind ports from 80, until the next boot
        sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80
    ");
    assert_snapshot!(rootless("80").find("low-ports").await, @"ok: low-ports: ports from 80 may be published, 80 is the lowest wanted");
    assert_snapshot!(case(FakeHost::new()).find("low-ports").await, @"skipped: low-ports: the engine is not rootless");
}

#[tokio::test]
async fn loopback_addresses() {
    let second = Ipv4Addr::new(127, 0, 0, 2).into();
    let mac =
        FakeHost::new().facts_with(|facts| facts.os = "macos".into()).unbindable(second, ErrorKind::AddrNotAvailable);
    assert_snapshot!(case(mac).find("loopback-addresses").await, @r"
    failed: loopback-addresses: this machine does not have 127.0.0.2
      services publish their ports on loopback addresses of their own
      fix: give lo0 these addresses, until the next boot
        sudo ifconfig lo0 alias 127.0.0.2 up
    ");
    let linux = FakeHost::new().unbindable(second, ErrorKind::AddrNotAvailable);
    assert_snapshot!(case(linux).find("loopback-addresses").await, @r"
    failed: loopback-addresses: this machine does not have 127.0.0.2
      services publish their ports on loopback addresses of their own
      fix: give lo its usual network 127.0.0.0/8
        sudo ip link set lo up
        sudo ip addr replace 127.0.0.1/8 dev lo
    ");
    assert_snapshot!(case(FakeHost::new()).find("loopback-addresses").await, @"ok: loopback-addresses: 2 addresses up to 127.0.0.2 are there");
}

#[tokio::test]
async fn docker0_address() {
    let bridge = network("bridge", "0123456789abcdef", "172.17.0.0/16", false);
    let own = network("macula", "fedcba9876543210", "172.18.5.0/24", true);
    let host = || FakeHost::new().folder("/sys/class/net/docker0").folder("/sys/class/net/br-fedcba987654");
    let lacks = Case { networks: Some(vec![bridge.clone()]), ..case(host().route("172.18.5.0/24", "br-fedcba987654")) };
    assert_snapshot!(lacks.find("docker0-address").await, @r"
    warning: docker0-address: docker0 without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: give the bridges their addresses back; restarting the engine would do it too
        sudo ip addr replace 172.17.0.1/16 dev docker0
    ");
    let ours =
        Case { networks: Some(vec![bridge.clone(), own.clone()]), ..case(host().route("172.17.0.0/16", "docker0")) };
    assert_snapshot!(ours.find("docker0-address").await, @r"
    failed: docker0-address: br-fedcba987654 without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: give the bridges their addresses back; restarting the engine would do it too
        sudo ip addr replace 172.18.5.1/24 dev br-fedcba987654
    ");
    let both = host().route("172.17.0.0/16", "docker0").route("172.18.5.0/24", "br-fedcba987654");
    assert_snapshot!(Case { networks: Some(vec![bridge, own]), ..case(both) }.find("docker0-address").await, @"ok: docker0-address: the engine's 2 bridges have their addresses");
}

#[tokio::test]
async fn an_engine_that_hangs_is_not_one_that_does_not_run() {
    let host = FakeHost::new().program("dockerd");
    let hangs = without_engine(host, refused(Refusal::Silent("no answer within 10s".into())));
    assert_snapshot!(hangs.find("engine-running").await, @"
    failed: engine-running: the engine at unix:///var/run/docker.sock is there but does not answer
      no answer within 10s
      it is overloaded or hangs; its log may say why
      fix: restart it: `sudo systemctl restart docker`
    ");
}

#[tokio::test]
async fn forwarding_and_neighbors() {
    let own = || network("macula", "fedcba9876543210", "172.18.5.0/24", true);
    let filter = "-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -o br-fedcba987654 -j DOCKER\n-A FORWARD -i br-fedcba987654 -j ACCEPT\n\
                  -A DOCKER -d 172.18.5.9/32 ! -i br-fedcba987654 -o br-fedcba987654 -p tcp -m tcp --dport 5000 -j ACCEPT\n";
    let nat = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 172.18.5.0/24 ! -o br-fedcba987654 -j MASQUERADE\n";
    let host =
        |filter: &str, nat: &str| {
            let rules = FakeHost::new().program("iptables").folder("/sys/class/net/br-fedcba987654");
            rules
                .answer("sudo iptables -t filter -S", 0, filter, "")
                .answer("sudo iptables -t nat -S", 0, nat, "")
                .answer("ip -4 route show default", 0, "default via 192.0.2.9 dev eth0 proto dhcp\n", "")
        };
    let one = |host: FakeHost| Case { networks: Some(vec![own()]), ..case(host) };
    assert_snapshot!(one(host(filter, nat)).find("forwarding").await, @"ok: forwarding: containers reach each other and other machines");
    assert_snapshot!(one(host(filter, "")).find("forwarding").await, @"
    warning: forwarding: what containers on br-fedcba987654 send to other machines gets no answer
      the engine's rule that gives it this machine's address (MASQUERADE) is missing
      fix: put the rule back; restarting the engine would put its own rules back too
        sudo iptables -t nat -A POSTROUTING -s 172.18.5.0/24 '!' -o br-fedcba987654 -j MASQUERADE
    ");
    assert_snapshot!(one(host(filter, nat).setting("net.ipv4.ip_forward", "0")).find("forwarding").await, @"
    warning: forwarding: this machine forwards nothing: containers reach no other machine
      net.ipv4.ip_forward is 0; something has changed it since the engine was started
      fix: switch it on
        sudo sysctl -w net.ipv4.ip_forward=1
    ");
    let bare = FakeHost::new().folder("/sys/class/net/br-fedcba987654");
    assert_snapshot!(one(bare).find("forwarding").await, @"skipped: forwarding: there is no iptables, so rules could not be read");
    // an engine of before
    let registry = ObservedContainer {
        name: "macula-registry-1".into(),
        addresses: [("macula".to_owned(), Ipv4Addr::new(172, 18, 5, 9))].into(),
        ports: vec![PortBinding {
            host_ip: Ipv4Addr::LOCALHOST.into(),
            host_port: Some(5001),
            container_port: 5000,
            protocol: Protocol::Tcp,
        }],
        ..ObservedContainer::default()
    };
    let old = |host: FakeHost| Case {
        facts: Some(Facts { engine: "Docker 20.10.24".into(), ..docker() }),
        ours: vec![registry.clone()],
        ..one(host)
    };
    assert_snapshot!(old(host(filter, nat)).find("neighbors").await, @"
    warning: neighbors: other machines of your network can reach services that are meant for this machine only
      a machine that adds a route to 172.18.5.0/24 through this one reaches the containers at their own addresses
      Docker before version 28 lets such packets through
      fix: upgrade to Docker 28 or newer; or block such packets, until this machine starts again or the platform's network is made again
        sudo iptables -I DOCKER-USER '!' -i br-fedcba987654 -o br-fedcba987654 -m conntrack '!' --ctstate RELATED,ESTABLISHED,DNAT -j DROP
    ");
    let closed = format!("{filter}-A FORWARD -j DROP\n").replacen(
        "-A FORWARD -o",
        "-A FORWARD ! -i br-fedcba987654 -o br-fedcba987654 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n-A FORWARD -o",
        1,
    );
    assert_snapshot!(old(host(&closed, nat)).find("neighbors").await, @"ok: neighbors: what other machines send to containers directly is dropped");
}

#[tokio::test]
async fn subnet() {
    let fixed = || Needs { subnet: "10.8.0.0/24".parse().ok(), ..needs() };
    let vpn = || FakeHost::new().route("10.8.0.0/20", "wg0").route("127.0.0.0/8", "lo");
    assert_snapshot!(Case { want: fixed(), ..case(vpn()) }.find("subnet").await, @r"
    failed: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      wg0 has a route to 10.8.0.0/20
      fix: set another `addresses: {subnet: ...}` in macula.yaml, or leave it out: a free one is chosen then
    ");
    let other = network("shop_default", "0123456789abcdef", "10.8.0.128/25", false);
    let crowded = Case { want: fixed(), networks: Some(vec![other]), ..case(FakeHost::new()) };
    assert_snapshot!(crowded.find("subnet").await, @r"
    failed: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      the engine's network shop_default has 10.8.0.128/25
      fix: set another `addresses: {subnet: ...}` in macula.yaml, or leave it out: a free one is chosen then
    ");
    // the network is there; a VPN came later
    let own = network("macula", "fedcba9876543210", "10.8.0.0/24", true);
    let later = || Case { networks: Some(vec![own.clone()]), ..case(vpn().route("10.8.0.0/24", "br-fedcba987654")) };
    assert_snapshot!(later().find("subnet").await, @r"
    warning: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      wg0 has a route to 10.8.0.0/20
      fix: `macula down` and `macula up` choose a free one; volumes stay
    ");
    let alone =
        Case { networks: Some(vec![own.clone()]), ..case(FakeHost::new().route("10.8.0.0/24", "br-fedcba987654")) };
    assert_snapshot!(alone.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    // the route of a VPN to much more than the subnet leaves room for it
    let wide = Case { want: fixed(), ..case(FakeHost::new().route("10.0.0.0/8", "wg0")) };
    assert_snapshot!(wide.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    assert_snapshot!(case(vpn()).find("subnet").await, @"skipped: subnet: chosen automatically");
}

#[tokio::test]
async fn proxy() {
    let host =
        |pairs: &[(&str, &str)]| pairs.iter().fold(FakeHost::new(), |host, (name, value)| host.env_var(name, value));
    let bare = host(&[("HTTP_PROXY", "http://proxy:3128"), ("HTTPS_PROXY", "http://proxy:3128")]);
    assert_snapshot!(case(bare).find("proxy").await, @r"
    warning: proxy: HTTP_PROXY, HTTPS_PROXY are set without an exception for .macula.local, localhost, 127.0.0.0/8
      programs would ask the proxy for the platform's names and addresses, which it cannot reach
      fix: `export NO_PROXY='.macula.local,localhost,127.0.0.0/8' no_proxy='.macula.local,localhost,127.0.0.0/8'`, and keep it in your shell's profile
    ");
    let partly = host(&[("http_proxy", "http://proxy:3128"), ("no_proxy", "localhost,127.0.0.0/8,.example.com")]);
    assert_snapshot!(case(partly).find("proxy").await, @r"
    warning: proxy: http_proxy is set without an exception for .macula.local
      programs would ask the proxy for the platform's names and addresses, which it cannot reach
      fix: `export NO_PROXY='localhost,127.0.0.0/8,.example.com,.macula.local' no_proxy='localhost,127.0.0.0/8,.example.com,.macula.local'`, and keep it in your shell's profile
    ");
    let kept = ("NO_PROXY", "localhost, 127.0.0.0/8, .local");
    let right = || host(&[("http_proxy", "http://proxy:3128"), kept]);
    let engine = |kind, proxied| {
        let traits = Traits { proxied, ..Traits::default() };
        Some(Facts { engine_kind: kind, traits, ..docker() })
    };
    let proxied = Case { facts: engine(EngineKind::Docker, true), ..case(right()) };
    assert_snapshot!(proxied.find("proxy").await, @"ok: proxy: http_proxy is set, with exceptions for the platform");
    // a machine that has a way of its own to registries
    let open = right().name("registry-1.docker.io", ["192.0.2.7".parse().unwrap()]);
    let open = open.listener("192.0.2.7:443", Protocol::Tcp, None);
    assert_snapshot!(case(open).find("proxy").await, @"ok: proxy: http_proxy is set, with exceptions for the platform");
    assert_snapshot!(case(right()).find("proxy").await, @r#"
    warning: proxy: http_proxy is set, and Docker 28.2.2 asks registries without a proxy
      no registry is reached without one: pulls fail, builds and this shell go through the proxy
      fix: name it under `"proxies"` in /etc/docker/daemon.json (`http-proxy`, `https-proxy`, `no-proxy`; Docker 23 and later), or as `Environment=` of its unit (`sudo systemctl edit docker`), and restart the engine
    "#);
    let podman = Case { facts: engine(EngineKind::Podman, false), ..case(right()) };
    assert!(podman.find("proxy").await.contains("systemctl edit podman"));
    let everything = host(&[("all_proxy", "socks5://proxy"), ("no_proxy", "*")]);
    let everything = Case { facts: engine(EngineKind::Docker, true), ..case(everything) };
    assert_snapshot!(everything.find("proxy").await, @"ok: proxy: all_proxy is set, with exceptions for the platform");
}

#[tokio::test]
async fn disk_space() {
    let disk = |available: u64| Disk { total: 100 << 30, available };
    let little = FakeHost::new().folder("/var/lib/docker").disk_of("/var", disk(3 << 30));
    assert_snapshot!(case(little).find("disk-space").await, @r"
    warning: disk-space: little space is left
      3 GiB free for the engine (/var/lib/docker), 4 GiB wanted
      100 GiB free for our files (/home/dev/.local/share/macula), 512 MiB wanted
      fix: `docker system df` shows what the engine keeps; `docker image prune` and `docker builder prune` free what is used by nothing
    ");
    let full = FakeHost::new().full("/home");
    assert_snapshot!(case(full).find("disk-space").await, @r"
    failed: disk-space: the disk is full
      0 bytes free for our files (/home/dev/.local/share/macula), 512 MiB wanted
      fix: `docker system df` shows what the engine keeps; `docker image prune` and `docker builder prune` free what is used by nothing
    ");
    let enough = FakeHost::new().folder("/var/lib/docker");
    assert_snapshot!(case(enough).find("disk-space").await, @"ok: disk-space: 100 GiB free for the engine (/var/lib/docker), 4 GiB wanted; 100 GiB free for our files (/home/dev/.local/share/macula), 512 MiB wanted");
}

#[tokio::test]
async fn memory() {
    let small = || FakeHost::new().facts_with(|facts| facts.memory_available = (1 << 30) + (1 << 29));
    assert_snapshot!(case(small()).find("memory").await, @r"
    warning: memory: 1.5 GiB of memory are available, 2 GiB are wanted
      fix: close something, or leave services out: `services: {NAME: {enabled: false}}` in macula.yaml
    ");
    let running = vec![container("macula-nginx-1", ContainerState::Running, &[])];
    assert_snapshot!(Case { ours: running, ..case(small()) }.find("memory").await, @"ok: memory: 1.5 GiB available of 16 GiB, 2 GiB wanted");
    let machine = Facts { memory: 1 << 30, ..docker() };
    assert_snapshot!(Case { facts: Some(machine), ..case(FakeHost::new()) }.find("memory").await, @r"
    warning: memory: the engine has 1 GiB of memory, 2 GiB are wanted
      fix: give its virtual machine more, or leave services out: `services: {NAME: {enabled: false}}` in macula.yaml
    ");
}

#[tokio::test]
async fn inotify() {
    let low = || FakeHost::new().setting("fs.inotify.max_user_instances", "128");
    assert_snapshot!(Case { want: cluster(37, false), ..case(low()) }.find("inotify").await, @r#"
    warning: inotify: too few file watches for a cluster: its pods would fail with "too many open files"
      fs.inotify.max_user_watches is 524288, a cluster wants 524288
      fs.inotify.max_user_instances is 128, a cluster wants 512
      fix: raise the limits, and keep them raised in /etc/sysctl.d/99-macula.conf
        sudo sysctl -w fs.inotify.max_user_instances=512
        printf '%s\n' fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/99-macula.conf >/dev/null
    "#);
    // all of the values, whichever are low now: the next boot knows only the file; and what else stands there stays
    let file = "/etc/sysctl.d/99-macula.conf";
    let once = low().file(file, "# mine\nvm.swappiness=1\nfs.inotify.max_user_watches = 1048576\n");
    let case_of_it = Case { want: cluster(37, false), ..case(once) };
    let finding = case_of_it.findings(Selection::named(&["inotify"]).unwrap()).await.remove(0);
    assert_snapshot!(finding.fix.unwrap().actions[1], @r"printf '%s\n' '# mine' vm.swappiness=1 fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/99-macula.conf >/dev/null");
    assert_snapshot!(case(low()).find("inotify").await, @r"
    ok: inotify: enough file watches without a cluster
      fs.inotify.max_user_watches is 524288, a cluster wants 524288
      fs.inotify.max_user_instances is 128, a cluster wants 512
    ");
    assert_snapshot!(Case { want: cluster(37, false), ..case(FakeHost::new()) }.find("inotify").await, @"ok: inotify: enough file watches for a cluster");
}

#[tokio::test]
async fn cgroup() {
    let first = |want: Needs| {
        let facts = Facts { cgroup_version: Some(1), ..docker() };
        Case { want, facts: Some(facts), ..case(FakeHost::new()) }
    };
    assert_snapshot!(first(cluster(37, false)).find("cgroup").await, @r"
    failed: cgroup: cgroup v1: the kubelet of Kubernetes 1.37 refuses to start
      fix: boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line, or take an older node (`cluster: {node_image: kindest/node:v1.34.11}` in macula.yaml), or none (`macula up --no-cluster`)
    ");
    assert_snapshot!(first(cluster(37, true)).find("cgroup").await, @"warning: cgroup: cgroup v1: the kubelet of Kubernetes 1.37 is told to put up with it");
    assert_snapshot!(first(cluster(34, false)).find("cgroup").await, @"ok: cgroup: cgroup v1, which Kubernetes 1.34 still takes");
    assert_snapshot!(first(needs()).find("cgroup").await, @"ok: cgroup: cgroup v1");
    assert_snapshot!(Case { want: cluster(37, false), ..case(FakeHost::new()) }.find("cgroup").await, @"ok: cgroup: cgroup v2");
}

#[tokio::test]
async fn clock() {
    let behind = FakeHost::new().at(1_790_000_000).file_of("/var/lib/dpkg/status", "", 1_790_000_000 + 3 * 86400);
    assert_snapshot!(case(behind).find("clock").await, @r"
    warning: clock: the clock is behind, by 3 days at least
      /var/lib/dpkg/status is from later than now
      certificates and signed package lists of the right time count as not yet valid
      fix: set the clock by the network, or by the machine's own
        sudo timedatectl set-ntp true
    ");
    let reset = FakeHost::new().at(0).facts_with(|facts| facts.systemd = false);
    assert_snapshot!(case(reset).find("clock").await, @r"
    warning: clock: the clock is behind, by 56 years at least
      this version of macula is from later than now
      certificates and signed package lists of the right time count as not yet valid
      fix: set it: `sudo date -s '2026-01-31 12:00'`
    ");
    let ahead = ObservedContainer {
        started_at: Some(1_790_000_000 + 7200),
        ..container("macula-nginx-1", ContainerState::Running, &[])
    };
    assert_snapshot!(Case { ours: vec![ahead], ..case(FakeHost::new()) }.find("clock").await, @r"
    warning: clock: the engine's clock is ahead of ours by 2 hours at least
      a virtual machine's clock drifts while the computer sleeps
      fix: restart the engine's virtual machine, or set the clock that is wrong
    ");
    let alone = FakeHost::new().answer("timedatectl *", 0, "no\n", "");
    assert_snapshot!(case(alone).find("clock").await, @"ok: clock: right, as far as this machine can tell; nothing keeps it so");
}

#[tokio::test]
async fn leftovers() {
    let data = "/home/dev/.local/share/macula";
    let lock = |pid| serde_json::to_vec(&Held { pid: Some(pid), command: "macula up".into(), since: 1 }).unwrap();
    let host = FakeHost::new()
        .process(4711)
        .file(format!("{data}/macula/lock"), lock(99))
        .file(format!("{data}/pr-123/lock"), lock(98))
        .file(format!("{data}/busy/lock"), lock(4711))
        // not a platform's: the changes that were made to this machine
        .file(format!("{data}/host.d/receipt.json"), "{}")
        .file(format!("{data}/macula/secrets/{}", temporary_name("postgres", 99, 3)), "half")
        .file(format!("{data}/macula/{}", temporary_name("receipt.json", 4711, 0)), "being written");
    let ours = vec![
        container("macula-loki-1", ContainerState::Created, &[]),
        container("macula-nginx-1", ContainerState::Running, &[]),
    ];
    assert_snapshot!(Case { ours: ours.clone(), ..case(host) }.find("leftovers").await, @r"
    warning: leftovers: an interrupted run left something behind
      `macula up` (pid 99) on the platform macula ended in the middle
      `macula up` (pid 98) on the platform pr-123 ended in the middle
      one file half written in /home/dev/.local/share/macula
      never started or half removed: macula-loki-1
      fix: the same again, or `macula up`, takes up where it ended; the same again, or `macula --name pr-123 up`, takes up where it ended; remove what is half written; `macula up` brings them up
        rm /home/dev/.local/share/macula/macula/secrets/.postgres.99-3.macula-tmp
    ");
    // the user works on one platform by its name and its file, and what is said of another has neither
    let both =
        FakeHost::new().file(format!("{data}/shop/lock"), lock(99)).file(format!("{data}/macula/lock"), lock(98));
    let name = PlatformName::new("shop").unwrap();
    let invocation = Invocation { name: Some(name), file: Some("ci/macula.yaml".into()), ..Invocation::default() };
    let want = Needs { platform: "shop".into(), invocation, ..needs() };
    let found = Case { want, ..case(both) }.find("leftovers").await;
    assert!(found.contains("or `macula --name shop --file ci/macula.yaml up`, takes up"), "{found}");
    assert!(found.contains("or `macula up`, takes up"), "{found}");
    // somebody is at work: what is created will be started
    let busy = FakeHost::new().file(format!("{data}/macula/lock"), lock(1));
    assert_snapshot!(Case { ours, ..case(busy) }.find("leftovers").await, @"ok: leftovers: no leftovers of an interrupted run");
}

#[tokio::test]
async fn home_writable() {
    assert_snapshot!(case(FakeHost::new().read_only("/home/dev/.local")).find("home-writable").await, @r"
    failed: home-writable: our own folders cannot be written
      cannot write /home/dev/.local/share/macula/.writable: permission denied
      fix: see that they belong to dev (`ls -ld /home/dev`), or name others with XDG_DATA_HOME and XDG_CACHE_HOME
    ");
    let host = FakeHost::new();
    assert_snapshot!(case(host.clone()).find("home-writable").await, @"ok: home-writable: /home/dev/.local/share/macula and /home/dev/.cache/macula can be written");
    assert_eq!(host.paths(), [""; 0].map(PathBuf::from));
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

#[tokio::test]
async fn an_engine_that_does_not_come_up_shows_the_end_of_its_log() {
    // a socket that is not there, wherever the test runs
    let host = FakeHost::new().env_var("DOCKER_HOST", "unix:///nowhere/docker.sock").answer(
        "sudo dockerd",
        0,
        "starting up\nfailed to start daemon: no iptables\n",
        "",
    );
    let log = PathBuf::from("/home/dev/.local/share/macula/log/dockerd.log");
    let finding = Finding {
        check: "engine-running",
        status: Status::Failed,
        summary: String::new(),
        detail: Vec::new(),
        fix: Some(Fix {
            text: String::new(),
            actions: vec![
                Action::StartEngine { command: Command::new("dockerd", [""; 0]).privileged(), log: log.clone() },
                Action::AwaitEngine { patience: Duration::ZERO, log: Some(log) },
            ],
            safe: true,
        }),
    };
    let error = fix(&System::fake(host, None), &needs(), &finding, &Events::none()).await.err().unwrap();
    assert_snapshot!(error, @r"
    no engine answered within 0 s; its log ends with:
    starting up
    failed to start daemon: no iptables
    ");
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
    use crate::model::{ContainerSpec, Resources};
    let spec: ContainerSpec = serde_json::from_value(serde_json::json!({
        "name": "macula-grafana-1", "stack": "grafana", "service": "grafana", "replica": 1, "image": "x", "env": [],
        "command": null, "entrypoint": null, "networks": [], "network_mode": null, "expose": [], "expose_other": [], "mounts": [],
        "ports": [
            {"host_ip": "127.0.0.2", "host_port": 3000, "container_port": 3000, "protocol": "tcp"},
            {"host_ip": "127.0.0.2", "host_port": null, "container_port": 3001, "protocol": "tcp"},
        ],
        "healthcheck": null, "stop_grace_ms": null, "options": {}, "labels": {},
    }))
    .unwrap();
    let resources = Resources { containers: vec![spec], ..Resources::default() };
    let platform = Platform {
        name: PlatformName::new("pr-123").unwrap(),
        domain: "pr-123.macula.local".into(),
        stacks: Vec::new(),
        images: Default::default(),
        ingress: Default::default(),
        dns: Default::default(),
        cluster: Default::default(),
        addresses: Default::default(),
        reach: Default::default(),
        telemetry: Default::default(),
        timeouts: Default::default(),
        lease: Default::default(),
        processes: Default::default(),
        tasks: Default::default(),
        programs: Default::default(),
        written: None,
    };
    let without = Needs::of(&platform, &resources, None);
    assert_eq!(without.ports, [port([127, 0, 0, 2], 3000, "grafana")]);
    assert_eq!((without.network.as_str(), without.memory), ("macula-pr-123", 128 << 20));
    let with = Needs::of(&platform, &resources, cluster(37, false).cluster);
    assert_eq!(with.memory, (128 << 20) + (2 << 30));
}

#[tokio::test]
async fn an_engine_that_lacks_a_right_cannot_run_nodes() {
    let with = |bounding: &str| {
        FakeHost::new()
            .file("/run/docker.pid", "77")
            .file("/proc/77/status", format!("Name:\tdockerd\nCapBnd:\t{bounding}\n"))
            .file("/proc/sys/kernel/cap_last_cap", "40\n")
    };
    assert_snapshot!(case(with("000001fffeefffff")).find("privileged").await, @"skipped: privileged: no cluster is wanted");
    let case = |host| Case { want: cluster(37, false), ..case(host) };
    assert_snapshot!(case(with("000001ffffffffff")).find("privileged").await, @"ok: privileged: the engine has every right that it would give");
    assert_snapshot!(case(with("000001fffeefffff")).find("privileged").await, @"
    warning: privileged: the engine lacks CAP_SYS_PACCT, CAP_SYS_RESOURCE: it runs privileged containers only if its runtime asks for fewer rights
      fix: run the engine outside the container or sandbox that drops it, or do without a cluster: `cluster: {enabled: false}` in macula.yaml
    ");
    assert_snapshot!(case(FakeHost::new()).find("privileged").await, @"skipped: privileged: the engine's process is not known");
    // another engine than the one whose process that is
    let mut beside = case(with("000001fffeefffff"));
    beside.facts = Some(Facts { socket: Some("/home/me/docker.sock".into()), ..docker() });
    assert_snapshot!(beside.find("privileged").await, @"skipped: privileged: the engine's process is not known");
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
}
