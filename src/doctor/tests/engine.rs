//! The engine and what it needs.

use super::*;

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
    // somebody else has mounted them
    let mounted = FakeHost::new().program("apt-get").facts_with(|facts| facts.systemd = false);
    let found = without_engine(mounted, none()).find("engine-installed").await;
    assert!(found.contains("docker.io iptables") && !found.contains("cgroupfs-mount"), "{found}");
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
    let amazon = FakeHost::new().program("dnf").facts_with(|facts| facts.distribution = Some("amzn".into()));
    assert_snapshot!(without_engine(amazon, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker) and start it; dev may then use it, after `newgrp docker` or a new login
        sudo dnf install -y docker
        sudo usermod -aG docker dev
        sudo systemctl enable --now docker
        # wait until the engine answers
    ");
    let arch = FakeHost::new().program("pacman").facts_with(|facts| facts.uid = 0);
    assert_snapshot!(without_engine(arch, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker, iptables) and start it; if its lists are out of date, `pacman -Syu docker iptables` upgrades the system and installs them
        pacman -S --noconfirm --needed docker iptables
        systemctl enable --now docker
        # wait until the engine answers
    ");
    let suse = FakeHost::new().program("zypper");
    assert_snapshot!(without_engine(suse, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker, iptables) and start it; dev may then use it, after `newgrp docker` or a new login
        sudo zypper --non-interactive install docker iptables
        sudo usermod -aG docker dev
        sudo systemctl enable --now docker
        # wait until the engine answers
    ");
    // no usermod there, and no systemd
    let alpine = FakeHost::new().program("apk").facts_with(|facts| {
        (facts.systemd, facts.cgroup_version) = (false, None);
    });
    assert_snapshot!(without_engine(alpine, none()).find("engine-installed").await, @r"
    failed: engine-installed: no container engine is installed
      fix: install Docker from the system's packages (docker, iptables) and start it
        sudo apk add docker iptables
        sudo dockerd >>/home/dev/.local/share/macula/log/dockerd.log 2>&1 &
        # wait until the engine answers
    ");
    // an apt that is there for other systems' packages is not the machine's own
    let both = FakeHost::new().program("apt-get").program("dnf");
    assert!(without_engine(both, none()).find("engine-installed").await.contains("dnf install -y podman"));
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
    // one that runs and has not opened its socket yet, one that is gone, and what names no process
    for (pid, comm, removed) in [("42\n", "dockerd\n", false), ("43", "dockerd\n", false), ("x", "dockerd\n", true)] {
        let found = host().file("/run/docker.pid", pid).file("/proc/42/comm", comm);
        let found = found.facts_with(|facts| facts.systemd = false);
        let found = without_engine(found, none()).find("engine-running").await;
        assert_eq!(found.contains("sudo rm -f /run/docker.pid"), removed, "{pid:?}");
    }
    let mac = |program: &str| FakeHost::new().program(program).facts_with(|facts| facts.os = "macos".into());
    for (program, fix) in [
        ("colima", "fix: start it: `open -a OrbStack`, `colima start` or `open -a Docker`"),
        ("podman", "fix: start it: `podman machine start`"),
    ] {
        let found = without_engine(mac(program), none()).find("engine-running").await;
        assert!(found.ends_with(fix), "{found}");
    }
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
    assert_snapshot!(without_engine(FakeHost::new(), none()).find("engine-running").await, @r"
    skipped: engine-running: none is installed
      unix:///var/run/docker.sock (Docker): no such socket
      unix:///run/user/1000/podman/podman.sock (Podman of this user): no such socket
    ");
    // there is an endpoint, but asking it fails
    let hangs = Case { attempts: used(), ..without_engine(host(), none()) };
    assert_snapshot!(hangs.find("engine-running").await, @r"
    failed: engine-running: the engine is there but does not answer
      there is no engine to ask
      fix: restart it: `sudo systemctl restart docker`
    ");
    let there = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    let hangs = Case { attempts: there, ..without_engine(host(), none()) };
    assert_snapshot!(hangs.find("engine-running").await, @r"
    failed: engine-running: the engine is there but does not answer
      there is no engine to ask
      fix: restart it
    ");
}

#[tokio::test]
async fn what_another_check_tells_is_not_told_twice() {
    let denied = || refused(Refusal::PermissionDenied { group: Some("docker".into()) });
    let old = || refused(Refusal::TooOld { api: "1.39".into() });
    let named = |outcome| vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, outcome)];
    let both = || {
        let podman = attempt("unix:///run/user/1000/podman/podman.sock", Source::PodmanRootless, Ok(()));
        vec![denied().remove(0), podman]
    };
    let podman_refuses = || {
        let refusal = Err(Refusal::Other("timed out".into()));
        vec![attempt("unix:///run/user/1000/podman/podman.sock", Source::PodmanRootless, refusal)]
    };
    let podman = || FakeHost::new().program("podman");
    let docker_too = || podman().program("dockerd");
    let mac = docker_too().facts_with(|facts| facts.os = "macos".into());
    for (host, attempts, check, expected) in [
        (
            FakeHost::new(),
            refused(Refusal::NotListening),
            "engine-installed",
            "ok: engine-installed: an engine has its socket at unix:///var/run/docker.sock",
        ),
        (podman(), none(), "engine-installed", "ok: engine-installed: podman is installed"),
        (
            FakeHost::new(),
            denied(),
            "engine-running",
            "skipped: engine-running: its socket may not be opened: see socket-permission",
        ),
        (FakeHost::new(), old(), "engine-running", "ok: engine-running: an engine answers: see engine-version"),
        (podman(), none(), "engine-running", "failed: engine-running: Podman is installed, but does not listen"),
        (
            FakeHost::new(),
            both(),
            "socket-permission",
            "ok: socket-permission: unix:///var/run/docker.sock may not be opened, \
             unix:///run/user/1000/podman/podman.sock is used",
        ),
        (FakeHost::new(), none(), "engine-version", "skipped: engine-version: no engine answers"),
        (
            FakeHost::new(),
            named(Err(Refusal::TooOld { api: "1.39".into() })),
            "docker-context",
            "ok: docker-context: DOCKER_HOST names tcp://192.0.2.7:2375",
        ),
        (FakeHost::new(), none(), "docker-context", "skipped: docker-context: no engine is named, and none answers"),
        (
            podman(),
            named(Err(Refusal::Absent)),
            "podman-socket",
            "skipped: podman-socket: DOCKER_HOST names tcp://192.0.2.7:2375: see docker-context",
        ),
        (FakeHost::new(), none(), "podman-socket", "skipped: podman-socket: Podman is not installed"),
        (docker_too(), none(), "podman-socket", "skipped: podman-socket: Docker is installed too, and goes first"),
        (mac, none(), "podman-socket", "failed: podman-socket: Podman is installed, but its socket is not there"),
        (
            podman(),
            podman_refuses(),
            "podman-socket",
            "failed: podman-socket: Podman's socket unix:///run/user/1000/podman/podman.sock: timed out",
        ),
    ] {
        let found = without_engine(host, attempts).find(check).await;
        assert_eq!(found.lines().next(), Some(expected), "{found}");
    }
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
    let apart = Case { facts: Some(Facts { published: false, ..docker() }), ..case(FakeHost::new()) };
    assert_snapshot!(apart.find("docker-context").await, @r"
    ok: docker-context: this process is in a container of its own network, and the engine is outside of it
      the platform's addresses (127.0.0.2 and so on) are listened on here, and passed on: see `macula help reach`
    ");
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
    let quiet = Facts { container_addresses: false, published: false, storage_driver: None, ..docker() };
    let quiet = said(quiet).await;
    assert!(quiet.contains("; images lie where it does not say; "), "{quiet}");
    assert!(quiet.ends_with("; containers are not reached from here"), "{quiet}");
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
    // the socket that does not answer is another engine's
    let silent = refused(Refusal::Silent("no answer within 10s".into()));
    let found = without_engine(host(), silent).find("podman-socket").await;
    assert!(found.starts_with("failed: podman-socket: Podman is installed, but its socket is not there"), "{found}");
    let podman = Facts { engine: "Podman 5.8.3 (rootless)".into(), engine_kind: EngineKind::Podman, ..docker() };
    let attempts = vec![attempt("unix:///run/user/1000/podman/podman.sock", Source::PodmanRootless, Ok(()))];
    let listens = Case { facts: Some(podman), attempts, ..case(host()) };
    assert_snapshot!(listens.find("podman-socket").await, @"ok: podman-socket: Podman 5.8.3 (rootless) listens on unix:///run/user/1000/podman/podman.sock");
    assert_snapshot!(case(host()).find("podman-socket").await, @"skipped: podman-socket: Docker 28.2.2 is the engine");
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
    let own = Source::Context("mine".into());
    for (endpoint, source, fix) in [
        ("/run/user/1000/docker.sock", Source::RootlessDocker, "restart it: `systemctl --user restart docker`"),
        ("/run/docker.sock", Source::DockerHost, "restart it: `sudo systemctl restart docker`"),
        (
            "/run/podman/podman.sock",
            Source::PodmanRootful,
            "restart it: `sudo systemctl restart podman.socket podman.service`",
        ),
        (
            "/run/user/1000/podman/podman.sock",
            own.clone(),
            "restart it: `systemctl --user restart podman.socket podman.service`",
        ),
        ("/home/dev/.docker/desktop/docker.sock", own, "restart it"),
        ("/home/dev/.docker/desktop/docker.sock", Source::Application("Docker Desktop"), "restart Docker Desktop"),
    ] {
        let silent = attempt(&format!("unix://{endpoint}"), source, Err(Refusal::Silent("no answer".into())));
        let found = without_engine(FakeHost::new(), vec![silent]).find("engine-running").await;
        assert!(found.ends_with(&format!("\n  fix: {fix}")), "{endpoint}: {found}");
    }
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
    // a right that is newer than this program has a number, and more than 64 do not fit into what is read
    let last = |number: &str| with("000001fffffffffe").file("/proc/sys/kernel/cap_last_cap", number);
    let newer = case(last("41\n")).find("privileged").await;
    assert!(newer.starts_with("warning: privileged: the engine lacks CAP_CHOWN, capability 41: "), "{newer}");
    let unread = "skipped: privileged: the engine's rights cannot be read";
    assert_eq!(case(last("64\n")).find("privileged").await, unread);
    let podman = Facts { engine_kind: EngineKind::Podman, ..docker() };
    for facts in [podman, Facts { rootless: true, ..docker() }] {
        let found = Case { facts: Some(facts), ..case(with("000001fffeefffff")) }.find("privileged").await;
        assert_eq!(found, "skipped: privileged: only trying would tell with a rootless engine or Podman");
    }
    let attempts = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    let remote = Case { attempts, ..case(with("000001fffeefffff")) }.find("privileged").await;
    assert_eq!(remote, "skipped: privileged: the engine's machine cannot be seen from here");
    // another engine than the one whose process that is
    let mut beside = case(with("000001fffeefffff"));
    beside.facts = Some(Facts { socket: Some("/home/me/docker.sock".into()), ..docker() });
    assert_snapshot!(beside.find("privileged").await, @"skipped: privileged: the engine's process is not known");
}
