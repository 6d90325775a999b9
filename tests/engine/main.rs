//! The engine against a real one. Without an engine, or without a static busybox to make an image
//! from, each test says what it lacks and ends.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/require.rs"]
mod require;

mod attached;
mod data;
mod images;
mod life;
mod networks;

use std::collections::BTreeMap;
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
