//! The engine against a real one. Without an engine, or without a static busybox to make an image
//! from, each test says what it lacks and ends.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use macula::engine::docker::Docker;
use macula::engine::{
    AttachedExec, BuildRequest, Containers, Engine, EngineError, ImageError, Images, LogOptions, Networks, Query,
    SecretBytes, Streams,
};
use macula::event::Progress;
use macula::model::{
    ContainerOptions, ContainerSpec, ContainerState, EngineKind, FileSpec, Fingerprint, Health, Healthcheck, IpamPool,
    MountSpec, NetworkAttachment, NetworkSpec, PortBinding, Protocol, Readiness, Ulimit, VolumeSpec, label,
};

const SECOND: Duration = Duration::from_secs(1);
/// How many tests hold the image that they share: the first makes it, the last removes it.
static HOLDERS: tokio::sync::Mutex<usize> = tokio::sync::Mutex::const_new(0);

/// The endpoint under test.
fn endpoint() -> String {
    std::env::var("MACULA_TEST_ENGINE").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// One test's things, all of which begin with its name and are gone when it ends.
struct Bench {
    engine: Docker,
    name: String,
    image: String,
}

impl Bench {
    /// `None`, said aloud: something is missing.
    async fn new(test: &str) -> Option<Self> {
        let engine = match Docker::connect(&endpoint()).await {
            Ok(engine) => engine,
            Err(error) => return skipped(test, "engine", &error.to_string()),
        };
        let Some(busybox) = busybox() else {
            return skipped(
                test,
                "busybox",
                "no static busybox (package busybox-static; or name one in MACULA_TEST_BUSYBOX)",
            );
        };
        let image = format!("engine-test-{}:base", std::process::id());
        let mut holders = HOLDERS.lock().await;
        if *holders == 0 {
            make_image(&engine, &busybox, &image).await;
        }
        *holders += 1;
        Some(Self { engine, name: format!("engine-test-{}-{test}", std::process::id()), image })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(label::PLATFORM.to_owned(), self.name.clone())])
    }

    fn spec(&self, part: &str, command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            name: format!("{}-{part}", self.name),
            task: None,
            stack: "test".into(),
            service: part.into(),
            replica: 1,
            image: self.image.clone(),
            env: vec!["GREETING=hello".into()],
            command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            entrypoint: None,
            networks: Vec::new(),
            network_mode: Some("none".into()),
            ports: Vec::new(),
            forwards: Vec::new(),
            guarded: Vec::new(),
            expose: Vec::new(),
            expose_other: Vec::new(),
            mounts: Vec::new(),
            files: Vec::new(),
            healthcheck: None,
            stop_grace_ms: Some(1000),
            options: ContainerOptions::default(),
            labels: self.labels(),
            readiness: Readiness::default(),
            update: Default::default(),
            depends_on: Vec::new(),
            reload: None,
            reload_check: Vec::new(),
            optional: false,
            provider: None,
            copies: BTreeMap::new(),
            fingerprint: Some(Fingerprint::of_bytes(part.as_bytes())),
            parts: String::new(),
        }
    }

    async fn podman(&self) -> bool {
        self.engine.facts().await.unwrap().engine_kind == EngineKind::Podman
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.engine.create_container(spec, &self.image, &BTreeMap::new()).await
    }

    async fn started(&self, spec: &ContainerSpec) -> String {
        let id = self.create(spec).await.unwrap();
        self.engine.start(&id).await.unwrap();
        id
    }

    async fn shell(&self, container: &str, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned);
        let output = self.engine.exec(container, &command, 20 * SECOND).await.unwrap();
        assert_eq!(output.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn network(&self, subnet: ipnet::Ipv4Net) -> String {
        let spec = NetworkSpec {
            name: self.name.clone(),
            external: false,
            driver: "bridge".into(),
            driver_opts: BTreeMap::new(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            ipam: vec![IpamPool {
                subnet: subnet.into(),
                gateway: subnet.hosts().next().map(Into::into),
                ip_range: None,
            }],
            subnet: None,
            labels: self.labels(),
        };
        self.engine.create_network(&spec).await.unwrap();
        // a run that was killed may have been about to make it
        self.engine.create_network(&spec).await.unwrap();
        let strange = NetworkSpec { labels: [("who".to_owned(), "somebody".to_owned())].into(), ..spec.clone() };
        let refused = self.engine.create_network(&strange).await.unwrap_err();
        assert!(matches!(refused, EngineError::Conflict { .. }), "{refused}");
        self.name.clone()
    }
}

impl Drop for Bench {
    /// On a thread, a runtime and a connection of its own: the test's own may be unwinding, and what drives its
    /// connections stands still until this is over.
    fn drop(&mut self) {
        let (platform, image) = (self.name.clone(), self.image.clone());
        let cleanup = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = Docker::connect(&endpoint()).await.unwrap();
                let found = engine.find(&Query { platform, ..Query::default() }).await.unwrap();
                for container in found.containers {
                    engine.remove_container(&container.id).await.unwrap();
                }
                for volume in found.volumes {
                    engine.remove_volume(&volume.name).await.unwrap();
                }
                for network in found.networks {
                    engine.remove_network(&network.name).await.unwrap();
                }
                let mut holders = HOLDERS.lock().await;
                *holders -= 1;
                if *holders == 0 {
                    engine.remove_image(&image).await.unwrap();
                    engine.remove_image(&root_of(&image)).await.unwrap();
                }
            });
        });
        if cleanup.join().is_err() && !std::thread::panicking() {
            panic!("{}: something is left behind", self.name);
        }
    }
}

fn skipped<T>(test: &str, need: &str, why: &str) -> Option<T> {
    require::skipped(need, &format!("{test}: {why}"));
    None
}

fn busybox() -> Option<PathBuf> {
    let named = std::env::var_os("MACULA_TEST_BUSYBOX").map(PathBuf::from);
    let usual = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| {
        // one that needs libraries would not run in an image that has none
        std::fs::read(path).is_ok_and(|program| !program.windows(10).any(|part| part == b"/ld-linux-"))
    })
}

/// A root file system of busybox alone becomes an image that declares a volume.
async fn make_image(engine: &Docker, busybox: &Path, image: &str) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("root.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    let mut put = |path: &str, content: &[u8], mode: u32, link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match link {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target).unwrap();
            }
            None if path.ends_with('/') => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, path, content).unwrap();
            }
            None => builder.append_data(&mut header, path, content).unwrap(),
        }
    };
    for folder in ["bin/", "etc/", "proc/", "sys/", "dev/", "var/lib/data/"] {
        put(folder, b"", 0o755, None);
    }
    put("tmp/", b"", 0o1777, None);
    put("bin/busybox", &std::fs::read(busybox).unwrap(), 0o755, None);
    for name in ["sh", "sleep", "cat", "echo", "stat", "id", "nc", "mkdir", "ls", "true", "ip", "hostname", "test"] {
        put(&format!("bin/{name}"), b"", 0o777, Some("busybox"));
    }
    put("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n", 0o644, None);
    put("var/lib/data/seed", b"seed", 0o644, None);
    builder.finish().unwrap();
    let root = root_of(image);
    let labels = BTreeMap::from([("test.label".to_owned(), "two words, $HOME".to_owned())]);
    let imported = engine.import(&tar, &root, &labels).await.unwrap();
    assert_eq!(imported.labels["test.label"], labels["test.label"]);
    let request = BuildRequest {
        dockerfile: format!("FROM {root}\nVOLUME /var/lib/data\nCMD [\"sh\"]\n"),
        ..build_request(image)
    };
    engine.build(&request, &|_| {}).await.unwrap();
}

/// One of sixteen subnets that belong to this process, so that what a killed run left behind is not in the way.
fn subnet(number: u8) -> ipnet::Ipv4Net {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("10.{}.{low}.{}/28", 192 + high % 64, number * 16).parse().unwrap()
}

/// The image below the shared one, as it was imported.
fn root_of(image: &str) -> String {
    format!("{image}-root")
}

fn build_request(tag: &str) -> BuildRequest {
    BuildRequest { tag: tag.to_owned(), network: Some("host".to_owned()), ..BuildRequest::default() }
}

fn file(path: &str, content: &str, uid: u32, mode: u32) -> FileSpec {
    FileSpec { path: path.into(), content: content.into(), uid, gid: uid, mode, secret: false, reload: false }
}

#[tokio::test]
async fn a_container_lives_and_dies() {
    let Some(bench) = Bench::new("life").await else { return };
    let engine = &bench.engine;
    let mut spec =
        bench.spec("a", &["sh", "-c", "echo out; echo oops >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done"]);
    spec.files = vec![
        file("/etc/app/app.conf", "port = 1\n", 1000, 0o640),
        file("/etc/passwd", "root:x:0:0::/:/bin/sh\n", 0, 0o644),
    ];
    spec.options.user = Some("0:0".into());
    spec.options.sysctls = BTreeMap::new();
    let id = bench.create(&spec).await.unwrap();
    let created = engine.inspect(&spec.name).await.unwrap();
    assert_eq!((created.id.as_str(), created.state, created.exit_code), (id.as_str(), ContainerState::Created, None));
    assert_eq!(created.label(label::PLATFORM), Some(bench.name.as_str()));
    assert_eq!(created.label(label::FINGERPRINT), Some(spec.fingerprint.as_ref().unwrap().0.as_str()));

    engine.start(&spec.name).await.unwrap();
    let running = engine.inspect(&spec.name).await.unwrap();
    assert_eq!((running.state, running.health), (ContainerState::Running, Health::None));
    assert!(running.started_at.is_some());

    // files: content, owner, mode, and the folder that was made for them
    assert_eq!(bench.shell(&id, "stat -c '%u:%g %a' /etc/app/app.conf").await, "1000:1000 640");
    assert_eq!(bench.shell(&id, "stat -c '%u:%g %a' /etc/app").await, "0:0 755");
    assert_eq!(engine.read_file(&id, "/etc/app/app.conf").await.unwrap().unwrap(), b"port = 1\n");
    assert_eq!(engine.read_file(&id, "/bin/sh").await.unwrap().unwrap().get(..4).unwrap(), b"\x7fELF");
    assert_eq!(engine.read_file(&id, "/etc/none").await.unwrap(), None);
    assert_eq!(engine.read_file(&id, "/no/such/folder").await.unwrap(), None);
    let missing = engine.read_file("engine-test-nobody", "/etc/passwd").await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    engine.write_files(&id, &[file("/etc/app/app.conf", "port = 2\n", 0, 0o600)]).await.unwrap();
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf; stat -c %a /etc/app/app.conf").await, "port = 2\n600");

    // exec: status, both streams, and a limit
    let command = ["sh", "-c", "echo to out; echo to err >&2; exit 7"].map(str::to_owned);
    let output = engine.exec(&id, &command, 10 * SECOND).await.unwrap();
    assert_eq!(
        (output.exit_code, output.stdout.as_slice(), output.stderr.as_slice()),
        (7, &b"to out\n"[..], &b"to err\n"[..])
    );
    let slow = engine.exec(&id, &["sleep", "5"].map(str::to_owned), SECOND / 2).await.unwrap_err();
    assert!(matches!(slow, EngineError::Timeout { .. }), "{slow:?}");
    // it has closed its output, and goes on for longer than a look or two
    let quiet = ["sh", "-c", "exec >/dev/null 2>&1; sleep 2; exit 4"].map(str::to_owned);
    assert_eq!(engine.exec(&id, &quiet, 20 * SECOND).await.unwrap().exit_code, 4);

    // a name that nobody bears is not the beginning of somebody's id
    let name = id.get(..8).unwrap();
    assert!(matches!(engine.inspect(name).await, Err(EngineError::NotFound { .. })));
    assert!(matches!(engine.kill(name, "SIGKILL").await, Err(EngineError::NotFound { .. })));
    engine.stop(name, None).await.unwrap();
    engine.remove_container(name).await.unwrap();
    assert_eq!(engine.inspect(id.get(..12).unwrap()).await.unwrap().state, ContainerState::Running);

    // logs
    let lines = engine.logs(&id, &LogOptions::default()).await.unwrap();
    let mut lines: Vec<(bool, Vec<u8>)> = lines.map_ok(|line| (line.stderr, line.bytes)).try_collect().await.unwrap();
    lines.sort();
    assert_eq!(lines, [(false, b"out".to_vec()), (true, b"oops".to_vec())]);
    let mut following =
        engine.logs(&id, &LogOptions { follow: true, tail: Some(1), ..LogOptions::default() }).await.unwrap();
    assert!(following.next().await.unwrap().is_ok());

    let facts = engine.facts().await.unwrap();
    match engine.usage(&id).await {
        Err(error) if facts.rootless && facts.cgroup_version == Some(1) => {
            assert!(error.to_string().contains("without root nothing is counted"), "{error}");
        }
        usage => {
            let usage = usage.unwrap();
            assert!(usage.memory > 0 && usage.memory_limit >= usage.memory, "{usage:?}");
            assert!(usage.cpu > Duration::ZERO && usage.at.is_some(), "{usage:?}");
        }
    }

    // its own signal handler decides the status
    let (ended, stopped) = tokio::join!(engine.wait(&id), engine.stop(&id, Some(10 * SECOND)));
    stopped.unwrap();
    assert_eq!(ended.unwrap(), 3);
    engine.stop(&id, None).await.unwrap();
    let exited = engine.inspect(&id).await.unwrap();
    assert_eq!((exited.state, exited.exit_code), (ContainerState::Exited, Some(3)));
    assert_eq!(engine.read_file(&id, "/etc/app/app.conf").await.unwrap().unwrap(), b"port = 2\n");
    let dead = engine.exec(&id, &["true".to_owned()], SECOND).await.unwrap_err();
    assert!(matches!(dead, EngineError::Conflict { .. }), "{dead:?}");

    engine.start(&id).await.unwrap();
    engine.kill(&id, "SIGKILL").await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 137);

    engine.remove_container(&id).await.unwrap();
    engine.remove_container(&id).await.unwrap();
    let gone = engine.inspect(&id).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn networks_addresses_and_names() {
    let Some(bench) = Bench::new("net").await else { return };
    let engine = &bench.engine;
    let subnet = subnet(0);
    let address = subnet.hosts().nth(8).unwrap();
    let network = bench.network(subnet).await;
    let again = engine
        .create_network(&NetworkSpec {
            name: network.clone(),
            external: false,
            driver: "bridge".into(),
            driver_opts: BTreeMap::new(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            ipam: Vec::new(),
            subnet: None,
            labels: BTreeMap::new(),
        })
        .await
        .unwrap_err();
    assert!(matches!(again, EngineError::Conflict { .. }), "{again:?}");

    let attached = |ipv4: Option<std::net::Ipv4Addr>, alias: &str| NetworkAttachment {
        network: network.clone(),
        aliases: vec![alias.to_owned()],
        links: Vec::new(),
        ipv4,
        ipv6: None,
    };
    let listen = "while :; do echo answer | nc -l -p 8080; done";
    let mut server = bench.spec("server", &["sh", "-c", listen]);
    server.network_mode = None;
    server.networks = vec![attached(Some(address), "web.test")];
    server.ports = vec![PortBinding {
        host_ip: "127.0.0.1".parse().unwrap(),
        host_port: None,
        container_port: 8080,
        protocol: Protocol::Tcp,
    }];
    server.healthcheck = Some(Healthcheck {
        test: vec!["CMD".into(), "true".into()],
        interval: Some(SECOND / 5),
        timeout: Some(SECOND),
        retries: Some(1),
        start_period: None,
        start_interval: None,
    });
    if bench.podman().await && !Path::new("/run/systemd/system").exists() {
        let _ = skipped::<()>("health", "docker", "Podman leaves the running of healthchecks to systemd");
        server.healthcheck = None;
    }
    bench.started(&server).await;
    if server.healthcheck.is_some() && !bench.podman().await {
        assert_eq!(engine.health_test(&server.name).await.unwrap(), ["CMD", "true"]);
    }
    let mut client = bench.spec("client", &["sleep", "60"]);
    client.network_mode = None;
    client.networks = vec![attached(None, "client")];
    client.options.hostname = Some("me".into());
    client.options.extra_hosts = vec!["fixed.test:10.1.2.3".into()];
    let client_id = bench.started(&client).await;
    assert_eq!(bench.shell(&client_id, "hostname; echo $GREETING").await, "me\nhello");
    assert_eq!(bench.shell(&client_id, "nc web.test 8080 </dev/null").await, "answer");
    assert!(bench.shell(&client_id, "cat /etc/hosts").await.contains("10.1.2.3\tfixed.test"));

    let query = Query {
        platform: bench.name.clone(),
        networks: vec!["no-such-network".into()],
        images: vec![bench.image.clone(), "no/such-image:1".into()],
        ..Query::default()
    };
    let mut found = engine.find(&query).await.unwrap();
    let limit = std::time::Instant::now();
    while server.healthcheck.is_some()
        && found.containers.iter().any(|c| c.name == server.name && c.health != Health::Healthy)
    {
        assert!(limit.elapsed() < 20 * SECOND, "never healthy");
        tokio::time::sleep(SECOND / 5).await;
        found = engine.find(&query).await.unwrap();
    }
    let names: Vec<&str> = found.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, [client.name.as_str(), server.name.as_str()]);
    let seen = &found.containers[1];
    assert_eq!(seen.addresses[&network], address);
    assert_eq!(seen.image, bench.image);
    let image = &found.images[&bench.image];
    assert_eq!(
        (seen.image_id.as_str(), image.volumes.as_slice()),
        (image.id.as_str(), &["/var/lib/data".to_owned()][..])
    );
    assert_eq!(found.images.len(), 1);
    let port = &seen.ports[0];
    assert_eq!((port.host_ip.to_string().as_str(), port.container_port, seen.ports.len()), ("127.0.0.1", 8080, 1));
    assert!(port.host_port.is_some());
    assert_eq!(found.networks.len(), 1);
    assert_eq!(found.networks[0].subnets, [subnet.into()]);
    assert!(found.networks[0].labels.contains_key(label::FINGERPRINT));

    // the lists alone say who is there
    let glance = engine.find(&Query { at_a_glance: true, ..query.clone() }).await.unwrap();
    let brief = |found: &[macula::model::ObservedContainer]| {
        found
            .iter()
            .map(|one| (one.name.clone(), one.state, one.labels.clone(), one.writes.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(brief(&glance.containers), brief(&found.containers));
    assert_eq!(glance.networks[0].name, network);

    // what is not ours is found by its name
    let foreign = Query {
        platform: "engine-test-nobody".into(),
        containers: vec![server.name.clone(), "server".into()],
        networks: vec![network.clone()],
        volumes: vec![format!("{}-var-lib-data", server.name)],
        ..Query::default()
    };
    let foreign = engine.find(&foreign).await.unwrap();
    assert_eq!((foreign.containers.len(), foreign.networks.len(), foreign.volumes.len()), (1, 1, 1));

    // a second container with the address, a network in use
    let mut thief = bench.spec("thief", &["sleep", "60"]);
    thief.network_mode = None;
    thief.networks = vec![attached(Some(address), "thief")];
    let refused = match bench.create(&thief).await {
        Ok(id) => engine.start(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    let used = engine.remove_network(&network).await.unwrap_err();
    assert!(matches!(used, EngineError::Attached { .. }), "{used:?}");
    let all = engine.networks().await.unwrap();
    assert!(all.iter().any(|seen| seen.name == network && !seen.subnets.is_empty()));
}

#[tokio::test]
async fn a_taken_port_and_a_taken_name_are_named() {
    let Some(bench) = Bench::new("taken").await else { return };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let network = bench.network(subnet(1)).await;
    let mut spec = bench.spec("web", &["sleep", "60"]);
    spec.network_mode = None;
    spec.networks = vec![NetworkAttachment { network, aliases: Vec::new(), links: Vec::new(), ipv4: None, ipv6: None }];
    spec.ports = vec![PortBinding {
        host_ip: "127.0.0.1".parse().unwrap(),
        host_port: Some(port),
        container_port: 80,
        protocol: Protocol::Tcp,
    }];
    let id = bench.create(&spec).await.unwrap();
    match bench.engine.start(&id).await {
        Err(EngineError::PortTaken { address, .. }) => assert_eq!(address, format!("127.0.0.1:{port}")),
        other => panic!("{other:?}"),
    }
    // a whole container of ours that is what we want is taken as it is
    assert_eq!(bench.create(&spec).await.unwrap(), id);
    let missing = bench.engine.create_container(&spec, "engine-test/nothing:1", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    let none = bench.engine.start("engine-test-nobody").await.unwrap_err();
    assert!(matches!(none, EngineError::NotFound { .. }), "{none:?}");
}

#[tokio::test]
async fn data_of_an_image_is_kept_in_a_named_volume() {
    let Some(bench) = Bench::new("data").await else { return };
    let engine = &bench.engine;
    let spec = bench.spec("db", &["sleep", "60"]);
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/seed; echo row >/var/lib/data/row").await, "seed");
    engine.remove_container(&id).await.unwrap();
    let found = engine.find(&Query { platform: bench.name.clone(), ..Query::default() }).await.unwrap();
    let volumes: Vec<&str> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, [format!("{}-var-lib-data", spec.name)]);
    assert!(!found.volumes[0].labels.contains_key(label::FINGERPRINT));
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/row").await, "row");

    // a volume of somebody else's is not taken
    let foreign = VolumeSpec {
        name: format!("{}-other-var-lib-data", bench.name),
        external: false,
        driver: None,
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), format!("{}-x", bench.name))]),
        provider: None,
        copy: None,
    };
    engine.create_volume(&foreign, &BTreeMap::new()).await.unwrap();
    let refused = bench.create(&bench.spec("other", &["true"])).await.unwrap_err();
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    engine.remove_volume(&foreign.name).await.unwrap();
    engine.remove_volume(&foreign.name).await.unwrap();
    let used = engine.remove_volume(volumes[0]).await.unwrap_err();
    assert!(matches!(used, EngineError::Conflict { .. }), "{used:?}");
}

/// Both images declare the path; what the other container has there is meant.
#[tokio::test]
async fn data_that_comes_from_another_container_is_not_hidden() {
    let Some(bench) = Bench::new("from").await else { return };
    let db = bench.spec("db", &["sleep", "60"]);
    let id = bench.started(&db).await;
    bench.shell(&id, "echo row >/var/lib/data/row").await;
    let mut backup = bench.spec("backup", &["sleep", "60"]);
    backup.options.volumes_from = vec![format!("{}:ro", db.name)];
    let id = bench.started(&backup).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/row").await, "row");
    let found = bench.engine.find(&Query { platform: bench.name.clone(), ..Query::default() }).await.unwrap();
    let volumes: Vec<&str> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, [format!("{}-var-lib-data", db.name)]);
    // who takes volumes is removed before those who have them
    bench.engine.remove_container(&id).await.unwrap();
}

#[tokio::test]
async fn a_read_only_container_gets_its_files_into_volumes() {
    let Some(bench) = Bench::new("ro").await else { return };
    let mut spec = bench.spec("a", &["sh", "-c", "echo x >/oops || cat /etc/app/app.conf; sleep 60"]);
    spec.options.read_only = true;
    spec.mounts = vec![
        MountSpec::Volume {
            source: format!("{}-conf", bench.name),
            target: "/etc/app".into(),
            read_only: false,
            no_copy: false,
            subpath: None,
        },
        MountSpec::Tmpfs { target: "/scratch".into(), size: Some(1 << 20), mode: Some(0o1777), options: Vec::new() },
    ];
    let volume = VolumeSpec {
        name: format!("{}-conf", bench.name),
        external: false,
        driver: None,
        driver_opts: BTreeMap::new(),
        labels: bench.labels(),
        provider: None,
        copy: None,
    };
    bench.engine.create_volume(&volume, &BTreeMap::new()).await.unwrap();
    spec.files = vec![file("/etc/app/app.conf", "in a volume", 0, 0o644)];
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf; stat -c %a /scratch").await, "in a volume1777");
    // the next container finds what it is given, and not what is in the volume from before
    bench.engine.remove_container(&id).await.unwrap();
    spec.files = vec![file("/etc/app/app.conf", "its own", 0, 0o644), file("/etc/app/more/x", "y", 0, 0o644)];
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf /etc/app/more/x").await, "its owny");
    spec.name.push_str("-bad");
    spec.files = vec![file("/etc/elsewhere", "x", 0, 0o644)];
    if bench.podman().await {
        // Podman writes below the read-only root
        bench.create(&spec).await.unwrap();
        return;
    }
    let refused = bench.create(&spec).await.unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
    let gone = bench.engine.inspect(&spec.name).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "half a container is left: {gone:?}");
}

/// What only BuildKit can do, where the engine has it: mounts, secrets, an agent of SSH, modes, stages that nobody
/// uses, and a front end that no registry here has.
async fn with_buildkit(bench: &Bench, folder: &std::path::Path) {
    let engine = &bench.engine;
    if engine.facts().await.unwrap().dockerfile.is_none() {
        return skipped("build", "BuildKit", "the engine has none").unwrap_or_default();
    }
    let socket = folder.join("agent.sock");
    let _agent = tokio::net::UnixListener::bind(&socket).unwrap();
    let tag = format!("{}:buildkit", bench.name);
    let image = &bench.image;
    let request = BuildRequest {
        dockerfile: format!(
            "# syntax=registry.invalid/docker/dockerfile:1\nFROM {image} AS unused\nRUN exit 9\nFROM {image}\n\
             COPY --chmod=701 site/index /index\n\
             RUN --mount=type=secret,id=token --mount=type=cache,target=/c cat /run/secrets/token >/token\n\
             RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo agent >/answer\n"
        ),
        context: vec![(folder.to_owned(), String::new())],
        ignore: Some("*\n!site/index\n".to_owned()),
        buildkit: true,
        needs_buildkit: true,
        syntax: Some(("registry.invalid/docker/dockerfile:1".to_owned(), true)),
        secrets: BTreeMap::from([("token".to_owned(), SecretBytes(b"sesame".to_vec()))]),
        ssh: BTreeMap::from([("default".to_owned(), socket)]),
        ..build_request(&tag)
    };
    std::fs::write(folder.join("site/index"), "kit").unwrap();
    engine.build(&request, &|_| {}).await.unwrap();
    let spec = bench.spec("kit", &["sh", "-c", "cat /index /token /answer; stat -c %a /index"]);
    let id = engine.create_container(&spec, &tag, &BTreeMap::new()).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 0);
    let said: Vec<Vec<u8>> =
        engine.logs(&id, &LogOptions::default()).await.unwrap().map_ok(|line| line.bytes).try_collect().await.unwrap();
    assert_eq!(said, [&b"kitsesameagent"[..], b"701"], "{said:?}");
    engine.remove_container(&id).await.unwrap();
    engine.remove_image(&tag).await.unwrap();
}

/// What each engine is told in words of its own, and a folder that comes in although the rules leave its name out.
async fn with_hosts_limits_and_no_network(bench: &Bench, folder: &std::path::Path) {
    std::fs::create_dir(folder.join("made")).unwrap();
    std::fs::write(folder.join("made/page"), "made\n").unwrap();
    let tag = format!("{}:told", bench.name);
    let image = &bench.image;
    let request = BuildRequest {
        dockerfile: format!("FROM {image}\nCOPY dist /dist\nRUN cat /dist/page /etc/hosts; echo limit $(ulimit -n)\n"),
        context: vec![(folder.join("site"), String::new()), (folder.join("made"), "dist".to_owned())],
        ignore: Some("dist\n".to_owned()),
        cache_from: vec!["engine-test-web:none".to_owned()],
        extra_hosts: vec!["db.test:10.1.2.3".to_owned()],
        ulimits: BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 123, hard: 456 })]),
        ..build_request(&tag)
    };
    let lines = std::sync::Mutex::new(Vec::new());
    let sink = |progress| {
        if let Progress::Line { text } = progress {
            lines.lock().unwrap().push(text);
        }
    };
    bench.engine.build(&request, &sink).await.unwrap();
    let said = |line: &str| {
        lines.lock().unwrap().iter().any(|found: &String| found.split_whitespace().eq(line.split_whitespace()))
    };
    assert!(said("limit 123") && said("10.1.2.3 db.test"), "{lines:?}");
    bench.engine.remove_image(&tag).await.unwrap();
    let alone = BuildRequest {
        dockerfile: format!("FROM {image}\nRUN test -z \"$(ip route)\"\n"),
        network: Some("none".to_owned()),
        ..build_request(&tag)
    };
    bench.engine.build(&alone, &|_| {}).await.unwrap();
    bench.engine.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn images_are_built_saved_and_loaded() {
    let Some(bench) = Bench::new("build").await else { return };
    let engine = &bench.engine;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site/sub")).unwrap();
    std::fs::write(folder.path().join("site/sub/index"), "hello").unwrap();
    std::fs::write(folder.path().join("site/secret"), "secret").unwrap();
    std::fs::write(folder.path().join("site/.dockerignore"), "secret\n").unwrap();
    let mut large = std::fs::File::create(folder.path().join("site/large")).unwrap();
    large.write_all(&vec![7; 3_000_000]).unwrap();
    let tag = format!("{}:1", bench.name);
    let request = BuildRequest {
        dockerfile: format!(
            "FROM {}\nARG WHO\nCOPY . /site\nRUN echo building for $WHO && test ! -e /site/secret && echo $WHO >/who\n",
            bench.image
        ),
        context: vec![(folder.path().join("site"), String::new())],
        args: BTreeMap::from([("WHO".to_owned(), "you and me".to_owned())]),
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), bench.name.clone())]),
        ..build_request(&tag)
    };
    let lines = std::sync::Mutex::new(Vec::new());
    let built = engine
        .build(&request, &|progress| {
            if let Progress::Line { text } = progress {
                lines.lock().unwrap().push(text);
            }
        })
        .await
        .unwrap();
    assert_eq!(built.labels[label::PLATFORM], bench.name);
    assert!(lines.lock().unwrap().iter().any(|line| line == "building for you and me"), "{lines:?}");
    let mut spec = bench.spec("site", &["sh", "-c", "cat /site/sub/index /who; stat -c %s /site/large"]);
    spec.image.clone_from(&tag);
    let id = engine.create_container(&spec, &tag, &BTreeMap::new()).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 0);
    let said: Vec<Vec<u8>> =
        engine.logs(&id, &LogOptions::default()).await.unwrap().map_ok(|line| line.bytes).try_collect().await.unwrap();
    assert_eq!(said, [&b"helloyou and me"[..], b"3000000"]);
    engine.remove_container(&id).await.unwrap();

    let broken = BuildRequest {
        dockerfile: format!("FROM {}\nRUN echo before; echo it breaks here; exit 9\n", bench.image),
        ..build_request(&format!("{}:broken", bench.name))
    };
    match engine.build(&broken, &|_| {}).await.unwrap_err() {
        EngineError::Image { source: ImageError::BuildFailed { log_tail, message, .. }, .. } => {
            assert!(log_tail.iter().any(|line| line == "it breaks here"), "{log_tail:?}");
            assert!(message.contains('9'), "{message}");
        }
        other => panic!("{other:?}"),
    }

    with_buildkit(&bench, folder.path()).await;
    with_hosts_limits_and_no_network(&bench, folder.path()).await;

    // another name, an archive, and back from it
    let other = format!("{}:2", bench.name);
    engine.tag(&built.id, &other).await.unwrap();
    assert_eq!(engine.image(&other).await.unwrap().unwrap().id, built.id);
    let archive = folder.path().join("images.tar");
    engine.save(&[tag.clone(), other.clone()], &archive).await.unwrap();
    for name in [&tag, &other, &other] {
        engine.remove_image(name).await.unwrap();
    }
    assert_eq!(engine.image(&tag).await.unwrap(), None);
    let missing = engine.save(std::slice::from_ref(&tag), &archive.with_extension("x")).await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    let pieces = futures_util::stream::iter([std::fs::read(&archive).map(Into::into)]).boxed();
    let mut loaded = engine.load_from(pieces, &|_| {}).await.unwrap();
    loaded.sort();
    assert_eq!(loaded, [tag.clone(), other.clone()]);
    assert_eq!(engine.image(&tag).await.unwrap().unwrap().id, built.id);
    for name in [&tag, &other] {
        engine.remove_image(name).await.unwrap();
    }
}

#[tokio::test]
async fn long_lines_and_terminals_are_read_whole() {
    let Some(bench) = Bench::new("logs").await else { return };
    // 40000 letters in one line: the engine stores it in three pieces
    let script = "i=0; while [ $i -lt 400 ]; do echo -n 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo; echo -n end";
    for tty in [false, true] {
        let mut spec = bench.spec(if tty { "tty" } else { "plain" }, &["sh", "-c", script]);
        spec.options.tty = tty;
        let id = bench.started(&spec).await;
        assert_eq!(bench.engine.wait(&id).await.unwrap(), 0);
        // the log of a terminal has no frames: the times within a long line cannot be told from it
        for timestamps in if tty { &[false][..] } else { &[false, true] } {
            let timestamps = *timestamps;
            let options = LogOptions { timestamps, ..LogOptions::default() };
            let lines: Vec<usize> = bench
                .engine
                .logs(&id, &options)
                .await
                .unwrap()
                .map_ok(|line| {
                    let time = if timestamps { line.bytes.iter().position(|b| *b == b' ').unwrap() + 1 } else { 0 };
                    line.bytes.len() - time
                })
                .try_collect()
                .await
                .unwrap();
            assert_eq!(lines, [40_000, 3], "tty {tty}, timestamps {timestamps}");
        }
    }
    let missing = bench.engine.logs("engine-test-nobody", &LogOptions::default()).await.unwrap().next().await;
    assert!(matches!(missing, Some(Err(EngineError::NotFound { .. }))));
}

#[tokio::test]
async fn a_pull_without_a_way_out_says_so() {
    let Some(bench) = Bench::new("pull").await else { return };
    // port 1 of this machine: refused at once, wherever the test runs
    let refused = bench.engine.pull("127.0.0.1:1/engine-test/nothing:1", None, &|_| {}).await.unwrap_err();
    assert!(matches!(refused, EngineError::Image { source: ImageError::Unreachable { .. }, .. }), "{refused:?}");
    let wrong = bench.engine.pull("Not An Image", None, &|_| {}).await.unwrap_err();
    assert!(matches!(wrong, EngineError::Image { source: ImageError::Other { .. }, .. }), "{wrong:?}");
}

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let Some(bench) = Bench::new("facts").await else { return };
    let facts = bench.engine.facts().await.unwrap();
    assert!(facts.engine.starts_with("Docker ") || facts.engine.starts_with("Podman "), "{facts:?}");
    assert!(facts.cpus > 0 && facts.memory > 0 && !facts.architecture.is_empty(), "{facts:?}");
}

/// The terminal is `script`'s: what is typed there reaches the program, and its status comes back.
#[tokio::test]
async fn a_program_gets_our_terminal() {
    const ROLE: &str = "ENGINE_TEST_ATTACH";
    if let Ok(container) = std::env::var(ROLE) {
        // the process inside `script`: this test again, in its other part
        let engine = Docker::connect(&endpoint()).await.unwrap();
        let command = ["sh", "-c", "test -t 0 && read line && echo got $line from $WHO && exit 5"];
        let request = AttachedExec {
            command: command.map(str::to_owned).to_vec(),
            tty: true,
            stdin: true,
            env: vec!["WHO=me".into()],
            ..AttachedExec::default()
        };
        let status = engine.exec_attached(&container, &request).await.unwrap();
        println!("status {status}");
        return;
    }
    let Some(bench) = Bench::new("attach").await else { return };
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return skipped("attach", "script", "there is no program `script`").unwrap_or_default();
    }
    let id = bench.started(&bench.spec("a", &["sleep", "60"])).await;
    let this = std::env::current_exe().unwrap();
    let again = format!("{} --exact a_program_gets_our_terminal --nocapture", this.display());
    let mut child = tokio::process::Command::new("script")
        .args(["-qec", &again, "/dev/null"])
        .env(ROLE, &id)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut typed, b"a line\r").await.unwrap();
    let output = tokio::time::timeout(30 * SECOND, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("got a line from me") && said.contains("status 5"), "{said}");
}

/// Programs that read their input to its end get that end, and their streams stay apart.
#[tokio::test]
async fn a_program_gets_our_pipes() {
    const ROLE: &str = "ENGINE_TEST_PIPE";
    if let Ok(container) = std::env::var(ROLE) {
        let engine = Docker::connect(&endpoint()).await.unwrap();
        let command = ["sh", "-c", "cat; echo to err >&2; exit 6"].map(str::to_owned).to_vec();
        let request = AttachedExec { command, stdin: true, ..AttachedExec::default() };
        let status = engine.exec_attached(&container, &request).await.unwrap();
        eprintln!("status {status}");
        return;
    }
    let Some(bench) = Bench::new("pipe").await else { return };
    let id = bench.started(&bench.spec("a", &["sleep", "60"])).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_gets_our_pipes", "--nocapture"])
        .env(ROLE, &id)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut typed, b"first\nlast").await.unwrap();
    drop(typed);
    let output = tokio::time::timeout(30 * SECOND, child.wait_with_output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("first\nlast") && !out.contains("to err"), "{out}");
    assert!(err.contains("to err\n") && err.contains("status 6"), "{err}");
}
