//! A platform of two names on loopback: a real resolver, real TLS and HTTP servers with leaves of a
//! real authority, an engine and a machine in memory. Each test breaks one thing of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::dns::{Config, Handle, Listen, Server, Upstreams, ZoneEntry};
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::model::{
    ContainerState, Health, Invocation, ObservedContainer, ObservedNetwork, Record, RecordData, View, Zone, label,
};
use crate::pki::{Authority, Leaf};
use crate::validate::reach::certificates;
use crate::validate::{Evidence, Scene, SoFar, State, Target, Verdict, Web, collect, inside, judge};

pub const DOMAIN: &str = "macula.local";
pub const GRAFANA: &str = "grafana.macula.local";
pub const POSTGRES: &str = "postgres.macula.local";
pub const NOW: i64 = 1_790_000_000;
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 222, 7, 2);

/// What the ingress answers.
#[derive(Clone)]
pub struct Answer {
    pub status: &'static str,
    pub mark: Option<&'static str>,
    /// Its clock.
    pub now: i64,
}

/// A server that lives as long as this does.
pub struct Running(pub SocketAddr, JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.abort();
    }
}

pub struct World {
    pub host: FakeHost,
    pub engine: Option<FakeEngine>,
    pub resolver: Option<Handle>,
    pub authority: Authority,
    /// Why no engine answers.
    pub no_engine: Option<String>,
    /// What the ingress shows.
    pub leaf: Leaf,
    pub answer: Answer,
    pub containers: Vec<ObservedContainer>,
    /// The ingress listens.
    pub listening: bool,
    /// Grafana's and postgres's own ports answer.
    pub services: (bool, bool),
    /// What containers see; `|`-separated lines.
    pub inside: String,
    pub folder: TempDir,
    pub dns_port: u16,
    redactions: Vec<(String, &'static str)>,
}

pub fn container(service: &str, address: Option<Ipv4Addr>) -> ObservedContainer {
    ObservedContainer {
        id: format!("{service:0>64}"),
        name: format!("macula-{service}-1"),
        image: format!("{service}:1"),
        state: ContainerState::Running,
        health: Health::None,
        labels: [(label::PLATFORM, "macula"), (label::SERVICE, service)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        addresses: address.map(|address| ("macula".to_owned(), address)).into_iter().collect(),
        started_at: Some(NOW - 1000),
        ..ObservedContainer::default()
    }
}

/// The zone that `up` would give the resolver.
pub fn zone() -> Zone {
    let mut zone = Zone::new(DOMAIN, 1);
    let own = |name: &str, address| Record::new(name, RecordData::A(address)).only(View::Host);
    zone.records.push(own("ns.macula.local", Ipv4Addr::new(127, 0, 0, 9)));
    zone.records.push(own(GRAFANA, Ipv4Addr::LOCALHOST));
    zone.records.push(own(POSTGRES, Ipv4Addr::LOCALHOST));
    zone
}

impl World {
    /// Everything is right.
    pub fn new() -> Self {
        let authority = Authority::create(DOMAIN, NOW).unwrap();
        let leaf = authority.issue(&[GRAFANA.to_owned()], NOW).unwrap();
        let mut world = Self {
            host: FakeHost::new().at(NOW).file("/etc/nsswitch.conf", "hosts: files dns\n"),
            engine: None,
            no_engine: None,
            resolver: None,
            leaf,
            authority,
            answer: Answer { status: "200 OK", mark: None, now: NOW },
            containers: vec![
                container("ingress", Some(INSIDE)),
                container("grafana", Some(Ipv4Addr::LOCALHOST)),
                container("postgres", Some(Ipv4Addr::new(10, 222, 7, 131))),
            ],
            listening: true,
            services: (true, true),
            inside: format!("{GRAFANA}|{INSIDE},|HTTP/1.1 200 OK\n{POSTGRES}|{INSIDE},|open\n"),
            folder: tempfile::tempdir().unwrap(),
            dns_port: 53,
            redactions: Vec::new(),
        };
        world.trust_system(true);
        world.names(&[LOCAL]);
        world.serve_dns(|_| {});
        world.install("resolv_conf", world.resolver_address(), &[]);
        world
    }

    /// Stops what was there, then starts the resolver.
    pub fn serve_dns(&mut self, change: impl FnOnce(&mut Config)) {
        self.resolver = None;
        let mut config = Config {
            listen: vec![Listen { address: (LOCAL, 0).into(), view: View::Host }],
            zones: vec![ZoneEntry::new(zone())],
            workers: 1,
            control: Some(self.control()),
            ..Config::default()
        };
        change(&mut config);
        let handle = Server::start(config).unwrap();
        self.dns_port = handle.listen()[0].address.port();
        self.redact(self.dns_port, "DNS");
        self.resolver = Some(handle);
        let own = format!("nameserver {LOCAL}\n");
        self.host.put("/etc/resolv.conf", own);
    }

    pub fn control(&self) -> PathBuf {
        self.folder.path().join("resolver.sock")
    }

    pub fn resolver_address(&self) -> SocketAddr {
        self.resolver.as_ref().unwrap().listen()[0].address
    }

    /// What getaddrinfo says for both names; nothing: that there is no such name.
    pub fn names(&mut self, addresses: &[IpAddr]) {
        for name in [GRAFANA, POSTGRES] {
            let addresses = addresses.to_vec();
            self.host = self.host.clone().name(name, addresses);
        }
    }

    /// The look-up finds neither name.
    pub fn names_unknown(&mut self) {
        // a machine that never knew them
        self.names(&[]);
    }

    /// The system's store holds the root, or another one.
    pub fn trust_system(&mut self, ours: bool) {
        let other = Authority::create("other.test", NOW).unwrap();
        let bundle = if ours { self.authority.root().pem() } else { other.root().pem() };
        self.host.put("/etc/ssl/certs/ca-certificates.crt", bundle);
    }

    /// The receipt of `dns install`; `files` with whether they are there.
    pub fn install(&mut self, rung: &str, address: SocketAddr, files: &[(&str, bool)]) {
        use sha2::{Digest, Sha256};
        let sum: String = Sha256::digest(b"ours").iter().map(|byte| format!("{byte:02x}")).collect();
        let mut written = Vec::new();
        for (path, there) in files {
            if *there {
                self.host.put(*path, "ours");
            }
            written.push(serde_json::json!({"path": path, "before": null, "after": sum, "whole": true, "root": true}));
        }
        let receipt = serde_json::json!({
            "format": 1, "rung": rung, "complete": true, "address": address, "domains": [DOMAIN], "files": written,
            "folders": [],
        });
        self.host.put("/install/receipt.json", receipt.to_string());
    }

    pub fn uninstall(&mut self) {
        self.host.put("/install/receipt.json", "");
    }

    pub fn container(&mut self, service: &str) -> &mut ObservedContainer {
        let name = format!("macula-{service}-1");
        self.containers.iter_mut().find(|found| found.name == name).unwrap()
    }

    pub fn ends(&mut self, service: &str, code: i64) {
        let found = self.container(service);
        found.state = ContainerState::Exited;
        found.exit_code = Some(code);
        found.addresses.clear();
    }

    pub fn redact(&mut self, port: u16, word: &'static str) {
        self.redactions.push((format!(":{port}"), word));
    }

    /// Walks it.
    pub async fn look(&mut self) -> (Evidence, Verdict) {
        self.look_with(Vec::new()).await
    }

    /// With names that are known only when all others are through.
    pub async fn look_with(&mut self, late: Vec<Target>) -> (Evidence, Verdict) {
        let https = server(LOCAL, Some(&self.leaf), self.answer.clone(), self.listening).await;
        let http = server(LOCAL, None, self.answer.clone(), self.listening).await;
        let grafana = server(LOCAL, None, self.answer.clone(), self.services.0).await;
        let postgres = server(LOCAL, None, self.answer.clone(), self.services.1).await;
        for (running, word) in [(&https, "HTTPS"), (&http, "HTTP"), (&grafana, "GRAFANA"), (&postgres, "POSTGRES")] {
            self.redact(running.0.port(), word);
        }
        let target = |name: &str, service: &str, web, ports| Target {
            name: name.into(),
            asked: name.into(),
            service: service.into(),
            address: Some(LOCAL),
            inside: Some(INSIDE),
            web,
            ports,
            shares: Vec::new(),
        };
        let web = Web {
            http: http.0.port(),
            https: Some(https.0.port()),
            path: "/".into(),
            port: grafana.0.port(),
            fallback: None,
        };
        let targets = vec![
            target(GRAFANA, "grafana", Some(web), Vec::new()),
            target(POSTGRES, "postgres", None, vec![postgres.0.port()]),
        ];
        let words = inside::command(&targets.iter().collect::<Vec<_>>()).join(" ");
        let network = ObservedNetwork {
            name: "macula".into(),
            subnets: vec!["10.222.7.0/24".parse().unwrap()],
            ..ObservedNetwork::default()
        };
        let mut engine = FakeEngine::new().with_network(network);
        for found in &self.containers {
            engine = engine.with_container(found.clone());
            engine = engine.exec_answers(&found.name, &words, 0, &self.inside, "");
        }
        self.engine = Some(engine.clone());
        let heard = Mutex::new(Vec::new());
        let told = |seen: SoFar| heard.lock().unwrap().push((seen.evidence.names.len(), seen.open.len()));
        let scene = Scene {
            host: &self.host,
            engine: match &self.no_engine {
                Some(reason) => Err(reason.clone()),
                None => Ok(&engine),
            },
            platform: "macula",
            domain: DOMAIN,
            network: "macula",
            targets,
            containers: if self.no_engine.is_some() { &[] } else { &self.containers },
            ingress: Some("macula-ingress-1"),
            container_addresses: true,
            control: self.control(),
            install: "/install".into(),
            dns_port: self.dns_port,
            probe: ("ns.macula.local".into(), Ipv4Addr::new(127, 0, 0, 9).into()),
            root: Some((self.authority.root().der.clone(), false)),
            told: Some(&told),
        };
        let more = async {
            while !late.is_empty() && heard.lock().unwrap().len() < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            late.clone()
        };
        let evidence = collect(&scene, more).await;
        let told = [(1, 1), (2, 0), (3, 0)];
        assert_eq!(*heard.lock().unwrap(), told[..2 + late.len()], "each name is told as soon as it is through");
        let verdict = judge(&evidence);
        (evidence, verdict)
    }

    /// What a person is told: each name's hops in short, then the faults with their remedies.
    pub async fn told(&mut self) -> String {
        let (evidence, verdict) = self.look().await;
        let mut out = String::new();
        for row in &verdict.rows {
            let sign = |state: &State| match state {
                State::Ok => '.',
                State::Broken => 'X',
                State::Unknown => '?',
                State::None => '-',
            };
            let hops: String = row.hops.iter().map(sign).collect();
            out.push_str(&format!("{hops} {}\n", row.name));
        }
        for fault in &verdict.faults {
            out.push_str(&format!("{} [{}]: {}\n", fault.cause.hop().name(), fault.names.join(" "), fault.cause));
            for remedy in fault.cause.remedies(evidence.machine.linux) {
                out.push_str(&format!("  {}\n", remedy.text(&Invocation::default())));
            }
        }
        for (port, word) in &self.redactions {
            out = out.replace(port, &format!(":{word}"));
        }
        out
    }
}

/// A server on a port of its own, or the address of a port where nobody listens.
pub async fn server(address: IpAddr, leaf: Option<&Leaf>, answer: Answer, listening: bool) -> Running {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let bound = listener.local_addr().unwrap();
    if !listening {
        return Running(bound, tokio::spawn(async {}));
    }
    let acceptor = leaf.map(acceptor);
    let task = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(mut stream) = acceptor.accept(stream).await {
                            reply(&mut stream, &answer).await;
                        }
                    }
                    None => reply(&mut stream, &answer).await,
                }
            });
        }
    });
    Running(bound, task)
}

async fn reply(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin), answer: &Answer) {
    let mut asked = [0; 2048];
    if stream.read(&mut asked).await.unwrap_or_default() == 0 {
        return;
    }
    let date = jiff::Timestamp::from_second(answer.now).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let mark = answer.mark.map(|mark| format!("X-Macula: {mark}\r\n")).unwrap_or_default();
    let text = format!("HTTP/1.1 {}\r\nDate: {date}\r\n{mark}Content-Length: 0\r\n\r\n", answer.status);
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn acceptor(leaf: &Leaf) -> TlsAcceptor {
    let chain: Vec<CertificateDer<'static>> = certificates(leaf.chain_pem().as_bytes());
    let key = x509_parser::pem::Pem::iter_from_buffer(leaf.key_pem().as_bytes()).next().unwrap().unwrap().contents;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Servers for all other names: this one.
pub fn upstream(address: SocketAddr) -> tokio::sync::watch::Receiver<Upstreams> {
    tokio::sync::watch::channel(Upstreams { default: vec![address], ..Upstreams::default() }).1
}
