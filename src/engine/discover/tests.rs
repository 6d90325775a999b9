use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::host::{Disk, Folders, Held, HostFacts, HttpAnswer, Lock, Output, Route, RunError};
use crate::model::{Listener, Protocol};

/// An environment and some files; nothing else of a host is asked for.
#[derive(Default)]
struct Desk {
    env: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    group: Option<String>,
}

impl Desk {
    fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    fn file(mut self, path: impl Into<PathBuf>, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }
}

#[async_trait]
impl Host for Desk {
    fn facts(&self) -> HostFacts {
        HostFacts { uid: 4242, ..HostFacts::default() }
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        self.env.clone()
    }

    fn folders(&self) -> Folders {
        Folders { home: "/home/me".into(), ..Folders::default() }
    }

    async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = self.files.keys().filter(|file| file.parent() == Some(path));
        Ok(names.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect())
    }

    async fn run(&self, command: &Command) -> Result<Output, RunError> {
        let known = self.group.as_ref().filter(|_| command.program == "stat" && command.args[0] == "-L");
        let stdout = known.map(|group| format!("{group}\n").into_bytes()).unwrap_or_default();
        Ok(Output { status: Some(if known.is_some() { 0 } else { 1 }), stdout, stderr: Vec::new() })
    }

    async fn write(&self, _: &Path, _: &[u8], _: u32) -> io::Result<()> {
        unreachable!("discovery writes nothing")
    }

    async fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("discovery removes nothing")
    }

    async fn remove_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!("discovery removes nothing")
    }

    async fn remove_empty_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!("discovery removes nothing")
    }

    async fn create_folder(&self, _: &Path, _: u32) -> io::Result<()> {
        unreachable!("discovery makes nothing")
    }

    async fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    async fn modified(&self, _: &Path) -> io::Result<i64> {
        unreachable!("discovery looks at no times")
    }

    async fn length(&self, _: &Path) -> io::Result<u64> {
        unreachable!("discovery looks at no lengths")
    }

    fn try_lock(&self, _: &Path, _: &str) -> io::Result<Result<Lock, Held>> {
        unreachable!("discovery locks nothing")
    }

    fn alive(&self, _: u32) -> bool {
        unreachable!("discovery looks at no processes")
    }

    async fn owners(&self, _: Vec<Listener>) -> Vec<Listener> {
        unreachable!("discovery looks at no sockets")
    }

    fn which(&self, _: &str) -> Option<PathBuf> {
        None
    }

    async fn spawn_detached(&self, _: &Command, _: &Path) -> Result<u32, RunError> {
        unreachable!("discovery starts nothing")
    }

    async fn listeners(&self) -> io::Result<Vec<Listener>> {
        unreachable!("discovery looks at no sockets")
    }

    async fn routes(&self) -> io::Result<Vec<Route>> {
        unreachable!("discovery looks at no routes")
    }

    async fn can_bind(&self, _: SocketAddr, _: Protocol) -> io::Result<()> {
        unreachable!("discovery binds nothing")
    }

    async fn disk(&self, _: &Path) -> io::Result<Disk> {
        unreachable!("discovery looks at no disk")
    }

    async fn sysctl(&self, _: &str) -> io::Result<String> {
        unreachable!("discovery looks at no sysctl")
    }

    async fn connect(&self, _: SocketAddr, _: Duration) -> io::Result<()> {
        unreachable!("discovery connects by itself")
    }

    async fn http_get(&self, _: SocketAddr, _: &str, _: &str, _: Duration) -> io::Result<HttpAnswer> {
        unreachable!("discovery probes nothing")
    }

    async fn http_post(&self, _: &str, _: &str, _: Vec<u8>, _: Duration) -> io::Result<HttpAnswer> {
        unreachable!("discovery posts nothing")
    }

    async fn resolve(&self, _: &str) -> io::Result<Vec<std::net::IpAddr>> {
        unreachable!("discovery resolves nothing")
    }

    fn now(&self) -> i64 {
        0
    }
}

/// An engine that knows two questions, and the request lines that it was sent.
fn engine_at(path: &Path, api: &str, podman: bool) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let component = if podman { "Podman Engine" } else { "Engine" };
    let version = format!(
        r#"{{"Components":[{{"Name":"{component}","Version":"5.3.1"}}],"Version":"20.10.24+dfsg1","ApiVersion":"{api}","MinAPIVersion":"1.24","Arch":"amd64"}}"#
    );
    let info = r#"{"NCPU":2,"MemTotal":1024,"SecurityOptions":["name=seccomp","name=rootless"],"CgroupVersion":"2","CgroupDriver":"a word of next year"}"#;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (version, info) = (version.clone(), info.to_owned());
            tokio::spawn(async move {
                let mut request = [0; 2048];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let line = request.lines().next().unwrap_or_default();
                let (status, body) = match line {
                    line if line.contains("/version") => ("200 OK", version),
                    line if line.contains("/info") => ("200 OK", info),
                    // the line itself comes back, as the name of a network
                    line => ("200 OK", format!(r#"[{{"Name":"{line}","Id":"x"}}]"#)),
                };
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await;
            });
        }
    })
}

fn told(discovery: &Discovery, folder: &Path) -> String {
    let lines = discovery.attempts.iter().map(|attempt| {
        let line = format!("{:?} {} {:?}", attempt.source, attempt.endpoint, attempt.outcome);
        line.replace(&folder.display().to_string(), "<dir>")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn meta(context: &str) -> PathBuf {
    let digest: String = Sha256::digest(context.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new("/home/me/.docker/contexts/meta").join(digest).join("meta.json")
}

fn keys(context: &str) -> PathBuf {
    let meta = meta(context);
    let digest = meta.parent().and_then(Path::file_name).unwrap();
    Path::new("/home/me/.docker/contexts/tls").join(digest).join("docker")
}

/// A context whose engine may show whatever certificate it likes.
const ANYBODY: &str = r#"{"Name":"lab","Endpoints":{"docker":{"Host":"tcp://10.0.0.1:2376","SkipTLSVerify":true}}}"#;

#[tokio::test]
async fn docker_host_is_the_only_one_tried() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let server = engine_at(&socket, "1.41", false);
    let host = Desk::default().env("DOCKER_HOST", format!("unix://{}", socket.display())).env("DOCKER_CONTEXT", "x");
    let (discovery, engine) = discover(&host).await;
    insta::assert_snapshot!(told(&discovery, folder.path()), @"DockerHost unix://<dir>/e.sock Ok(())");
    let engine = engine.unwrap();
    let facts = engine.facts().await.unwrap();
    assert_eq!((facts.engine.as_str(), facts.api_version.as_str()), ("Docker 20.10.24 (rootless)", "1.41"));
    // the version goes with every request
    assert_eq!(engine.networks().await.unwrap()[0].name, "GET /v1.41/networks HTTP/1.1");
    server.abort();

    let host = Desk::default().env("DOCKER_HOST", format!("unix://{}/none.sock", folder.path().display()));
    let (discovery, engine) = discover(&host).await;
    assert!(engine.is_none());
    insta::assert_snapshot!(told(&discovery, folder.path()), @"DockerHost unix://<dir>/none.sock Err(Absent)");
}

#[test]
fn another_process_finds_the_same_engine_by_its_variables() {
    let host = Desk::default().env("DOCKER_HOST", "tcp://ci:2376").env("DOCKER_TLS_VERIFY", "1");
    let host = host.env("DOCKER_CONTEXT", "x");
    let set = |source| {
        let attempt = Attempt { endpoint: String::new(), source, outcome: Ok(()) };
        let all = attempt.variables(&host);
        assert_eq!(all.len(), VARIABLES.len());
        all.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    let tls = "DOCKER_TLS_VERIFY=1";
    assert_eq!(set(Source::DockerHost), ["DOCKER_CONTEXT=x", "DOCKER_HOST=tcp://ci:2376", tls]);
    assert_eq!(set(Source::Context("lab".to_owned())), ["DOCKER_CONTEXT=lab", tls]);
    assert_eq!(set(Source::PodmanRootful), ["DOCKER_CONTEXT=default", tls]);
}

#[tokio::test]
async fn a_context_is_looked_up_and_is_the_only_one_tried() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let server = engine_at(&socket, "1.52", true);
    let config = "/home/me/.docker/config.json";
    let context = format!(r#"{{"Name":"lab","Endpoints":{{"docker":{{"Host":"unix://{}"}}}}}}"#, socket.display());
    let host = Desk::default().file(config, r#"{"currentContext":"lab"}"#).file(meta("lab"), &context);
    let (discovery, engine) = discover(&host).await;
    insta::assert_snapshot!(told(&discovery, folder.path()), @r#"Context("lab") unix://<dir>/e.sock Ok(())"#);
    let facts = engine.unwrap().facts().await.unwrap();
    insta::assert_snapshot!(format!("{facts:?}").replace(&folder.path().display().to_string(), "<dir>"), @r#"Facts { engine: "Podman 5.3.1 (rootless)", engine_kind: Podman, api_version: "1.48", rootless: true, container_addresses: false, published: true, traits: Traits { names: Gateway, health_checks: true, start_interval: true, containerd_images: false, proxied: false, product: None }, dockerfile: None, architecture: "amd64", cpus: 2, memory: 1024, data_root: None, storage_driver: None, cgroup_version: Some(2), socket: Some("<dir>/e.sock") }"#);

    // a command's own word goes before all others
    let host_says = Desk::default().env("DOCKER_HOST", "unix:///nowhere.sock").file(meta("lab"), &context);
    let (discovery, _) = discover_as(&host_says, Some("lab")).await;
    insta::assert_snapshot!(told(&discovery, folder.path()), @r#"Context("lab") unix://<dir>/e.sock Ok(())"#);

    let said = [
        // the variable goes before the file; a context that is not there
        host.env("DOCKER_CONTEXT", "gone"),
        Desk::default().file(config, r#"{"currentContext":"lab"}"#).file(meta("lab"), "{"),
        Desk::default().file(config, r#"{"currentContext":"lab"}"#).file(meta("lab"), "{}"),
        Desk::default().env("DOCKER_CONTEXT", "lab").file(meta("lab"), ANYBODY),
        Desk::default().env("DOCKER_CONTEXT", "lab").file(meta("lab"), ANYBODY).file(keys("lab").join("ca.pem"), ""),
        Desk::default().env("DOCKER_HOST", "ssh://-oProxyCommand=x"),
        Desk::default().env("DOCKER_HOST", "tcp://10.0.0.1:2376").env("DOCKER_TLS_VERIFY", "1"),
    ];
    let mut lines = Vec::new();
    for host in said {
        let (discovery, engine) = discover(&host).await;
        assert!(engine.is_none());
        lines.push(told(&discovery, folder.path()));
    }
    let digest = |context| meta(context).parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let lines = lines.join("\n").replace(&digest("gone"), "<gone>").replace(&digest("lab"), "<lab>");
    insta::assert_snapshot!(lines, @r#"
    Context("gone")  Err(Other("the Docker context `gone` does not exist: there is no /home/me/.docker/contexts/meta/<gone>/meta.json"))
    Context("lab")  Err(Other("the Docker context `lab` is damaged (/home/me/.docker/contexts/meta/<lab>/meta.json: EOF while parsing an object at line 1 column 1)"))
    Context("lab")  Err(Other("the Docker context `lab` names no engine (/home/me/.docker/contexts/meta/<lab>/meta.json)"))
    Context("lab")  Err(Other("the Docker context `lab` accepts any certificate (`SkipTLSVerify`), and macula only one that it can check: add the engine's authority with `docker context update lab --docker host=...,ca=ca.pem`"))
    Context("lab") tcp://10.0.0.1:2376 Err(Other("/home/me/.docker/contexts/tls/<lab>/docker/ca.pem: No such file or directory (os error 2)"))
    DockerHost ssh://-oProxyCommand=x Err(Other("`ssh://-oProxyCommand=x` names no host"))
    DockerHost tcp://10.0.0.1:2376 Err(Other("/home/me/.docker/ca.pem: No such file or directory (os error 2)"))
    "#);
    server.abort();
}

#[tokio::test]
async fn without_a_word_the_usual_places_are_tried_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().display().to_string();
    std::fs::create_dir(folder.path().join("podman")).unwrap();
    let server = engine_at(&folder.path().join("podman/podman.sock"), "1.41", true);
    let host =
        Desk::default().env("XDG_RUNTIME_DIR", runtime.as_str()).file("/home/me/.docker/config.json", "not json");
    let configuration = Configuration::read(&host).await;
    let places: Vec<String> = candidates(&host, &configuration, None)
        .await
        .into_iter()
        .map(|place| format!("{:?} {}", place.source, place.endpoint.replace(&runtime, "<dir>")))
        .collect();
    insta::assert_snapshot!(places.join("\n"), @"
    DockerSocket unix:///var/run/docker.sock
    RootlessDocker unix://<dir>/docker.sock
    PodmanRootful unix:///run/podman/podman.sock
    PodmanRootless unix://<dir>/podman/podman.sock
    ");
    // an application whose socket is there goes before Podman
    let desktop = Desk::default().file("/home/me/.colima/default/docker.sock", "").env("XDG_RUNTIME_DIR", "/run/me");
    let found = candidates(&desktop, &configuration, None).await;
    assert_eq!(found[2].endpoint, "unix:///home/me/.colima/default/docker.sock");
    assert_eq!((found[2].source.clone(), found.len()), (Source::Application("Colima"), 5));
    // and without a runtime folder, by the user's number
    let nowhere = candidates(&Desk::default(), &configuration, None).await;
    assert_eq!(nowhere[3].endpoint, "unix:///run/user/4242/podman/podman.sock");
    // the default context is no word
    let host = host.env("DOCKER_CONTEXT", "default");
    assert_eq!(candidates(&host, &configuration, None).await.len(), 4);
    server.abort();
}

#[tokio::test]
async fn each_refusal_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let old = folder.path().join("old.sock");
    let server = engine_at(&old, "1.40", false);
    let mut lines = Vec::new();
    for path in [&dead, &old, &folder.path().join("none.sock")] {
        let host = Desk::default().env("DOCKER_HOST", format!("unix://{}", path.display()));
        lines.push(told(&discover(&host).await.0, folder.path()));
    }
    server.abort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    DockerHost unix://<dir>/dead.sock Err(NotListening)
    DockerHost unix://<dir>/old.sock Err(TooOld { api: "1.40" })
    DockerHost unix://<dir>/none.sock Err(Absent)
    "#);

    let host = Desk { group: Some("docker".into()), ..Desk::default() };
    let denied = ConnectError::Io(io::ErrorKind::PermissionDenied.into());
    let denied = refusal(&host, "unix:///var/run/docker.sock", denied).await;
    assert_eq!(denied, Refusal::PermissionDenied { group: Some("docker".into()) });
}
