//! Which engine is used: every endpoint that one could mean, in order, and what each said.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Engine;
use super::docker::{ConnectError, Docker, KnownEngines, LoginSettings, Logins};
use crate::host::{Command, Host};
use crate::words;

/// Who names the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The variable DOCKER_HOST.
    DockerHost,
    /// The current Docker context (DOCKER_CONTEXT or the client's configuration).
    Context(String),
    /// /var/run/docker.sock
    DockerSocket,
    /// $XDG_RUNTIME_DIR/docker.sock
    RootlessDocker,
    /// An application that keeps its engine in a virtual machine, and the socket in the user's home.
    Application(&'static str),
    /// /run/podman/podman.sock
    PodmanRootful,
    /// $XDG_RUNTIME_DIR/podman/podman.sock
    PodmanRootless,
}

/// Why an endpoint is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such socket.
    Absent,
    /// The socket is there, but this process may not open it; the group that may.
    PermissionDenied {
        group: Option<String>,
    },
    /// The socket is there and nobody listens.
    NotListening,
    /// The engine speaks no API of at least 1.41.
    TooOld {
        api: String,
    },
    /// It takes the connection and says nothing: it hangs.
    Silent(String),
    /// It speaks TLS, and nothing says with which keys.
    Unsupported(String),
    Other(String),
}

impl Refusal {
    /// Ways to such an engine that do work.
    pub fn ways_round(&self) -> &'static [&'static str] {
        match self {
            Self::Unsupported(_) => &[
                "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with the engine's ca.pem and your cert.pem and key.pem",
            ],
            _ => &[],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `unix:///var/run/docker.sock`
    pub endpoint: String,
    pub source: Source,
    /// `Ok`: this one is used.
    pub outcome: Result<(), Refusal>,
}

/// By these the engine is found, and the keys for it.
pub const VARIABLES: [&str; 7] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
];

impl Attempt {
    /// [`VARIABLES`] with which another process finds this engine as it was found here; empty is as good as not set.
    pub fn variables(&self, host: &dyn Host) -> BTreeMap<String, String> {
        let own = VARIABLES.map(|name| (name.to_owned(), host.env(name).unwrap_or_default()));
        let mut all = BTreeMap::from(own);
        // the command line, or a configuration that may say something else by then, goes before the environment
        let context = match &self.source {
            Source::DockerHost => return all,
            Source::Context(name) => name.as_str(),
            _ => DEFAULT_CONTEXT,
        };
        all.insert("DOCKER_HOST".to_owned(), String::new());
        all.insert("DOCKER_CONTEXT".to_owned(), context.to_owned());
        all
    }
}

/// All attempts, in order; at most the last one succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    pub attempts: Vec<Attempt>,
}

impl Discovery {
    /// The endpoint that is used.
    pub fn used(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.outcome.is_ok())
    }
}

/// The context whose endpoint is the default one.
const DEFAULT_CONTEXT: &str = "default";

/// Applications with an engine, and where their sockets lie in the user's home: each has a context of its own
/// for the `docker` program, which others do not read.
const APPLICATIONS: [(&str, &str); 6] = [
    ("Docker Desktop", ".docker/run/docker.sock"),
    ("Docker Desktop", ".docker/desktop/docker.sock"),
    ("OrbStack", ".orbstack/run/docker.sock"),
    ("Colima", ".colima/default/docker.sock"),
    ("Colima", ".config/colima/default/docker.sock"),
    ("Rancher Desktop", ".rd/docker.sock"),
];

/// Finds the engine, as the `docker` program does: `DOCKER_HOST`, then the context of
/// `DOCKER_CONTEXT` or of the client's configuration; either is the user's word, and nothing else
/// is tried after it. Then the sockets at their usual places: Docker, rootless Docker, applications
/// of the user's (those that are there), Podman, rootless Podman. The engine gets the logins of the client's configuration.
pub async fn discover(host: &dyn Host) -> (Discovery, Option<Arc<dyn Engine>>) {
    discover_as(host, None).await
}

/// The same with the engine of this Docker context in place of the one that is meant otherwise.
pub async fn discover_as(host: &dyn Host, context: Option<&str>) -> (Discovery, Option<Arc<dyn Engine>>) {
    let mut discovery = Discovery::default();
    let configuration = Configuration::read(host).await;
    let candidates = candidates(host, &configuration, context).await;
    let file = host.folders().cache.join("engines.json");
    let mut known = KnownEngines::read(&host.read(&file).await.unwrap_or_default());
    let now = host.now();
    for Candidate { source, endpoint, keys, trouble } in candidates {
        let result = match trouble {
            Some(refusal) => Err(refusal),
            None => match Docker::reach(&endpoint, keys.as_deref(), known.get(&endpoint, now)).await {
                Ok((docker, learned)) => {
                    if let Some(learned) = learned {
                        known.keep(&endpoint, learned, now);
                        // a cache: the next command asks again
                        let _ = host.write(&file, &known.written(), 0o600).await;
                    }
                    Ok(docker)
                }
                Err(error) => Err(refusal(host, &endpoint, error).await),
            },
        };
        let (outcome, docker) = match result {
            Ok(docker) => (Ok(()), Some(docker)),
            Err(refusal) => (Err(refusal), None),
        };
        discovery.attempts.push(Attempt { endpoint, source, outcome });
        if let Some(docker) = docker {
            let engine: Arc<dyn Engine> = Arc::new(docker.with_logins(Logins::new(configuration.logins, host)));
            return (discovery, Some(engine));
        }
    }
    (discovery, None)
}

struct Candidate {
    source: Source,
    /// Empty when the context that is meant does not say.
    endpoint: String,
    /// The folder of the keys with which it is asked, where it is behind TLS.
    keys: Option<PathBuf>,
    /// It is meant, and cannot be used.
    trouble: Option<Refusal>,
}

async fn candidates(host: &dyn Host, configuration: &Configuration, named: Option<&str>) -> Vec<Candidate> {
    let set = |name: &str| host.env(name).filter(|value| !value.is_empty());
    if named.is_none_or(|named| named == DEFAULT_CONTEXT)
        && let Some(endpoint) = set("DOCKER_HOST")
    {
        // as Docker's client: the variable says so, and not the scheme
        let tls = (set("DOCKER_TLS_VERIFY").or_else(|| set("DOCKER_TLS"))).filter(|_| endpoint.starts_with("tcp://"));
        let folder = || set("DOCKER_CERT_PATH").map_or_else(|| configuration.folder.clone(), PathBuf::from);
        let keys = tls.map(|_| folder());
        return vec![Candidate { source: Source::DockerHost, endpoint, keys, trouble: None }];
    }
    let named = named.map(str::to_owned).or_else(|| set("DOCKER_CONTEXT"));
    let context = named.or_else(|| configuration.current_context.clone());
    if let Some(context) = context.filter(|context| !context.is_empty() && context != DEFAULT_CONTEXT) {
        let (endpoint, keys, trouble) = match configuration.endpoint_of(host, &context).await {
            Ok((endpoint, keys)) => (endpoint, keys, None),
            Err(why) => (String::new(), None, Some(why)),
        };
        return vec![Candidate { source: Source::Context(context), endpoint, keys, trouble }];
    }
    let runtime = set("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", host.facts().uid));
    let mut places = vec![
        (Source::DockerSocket, "/var/run/docker.sock".to_owned()),
        (Source::RootlessDocker, format!("{runtime}/docker.sock")),
    ];
    let home = host.folders().home;
    for (name, place) in APPLICATIONS {
        let socket = home.join(place);
        if host.exists(&socket).await {
            places.push((Source::Application(name), socket.display().to_string()));
        }
    }
    places.push((Source::PodmanRootful, "/run/podman/podman.sock".to_owned()));
    places.push((Source::PodmanRootless, format!("{runtime}/podman/podman.sock")));
    let candidate =
        |(source, path)| Candidate { source, endpoint: format!("unix://{path}"), keys: None, trouble: None };
    places.into_iter().map(candidate).collect()
}

async fn refusal(host: &dyn Host, endpoint: &str, error: ConnectError) -> Refusal {
    match error {
        ConnectError::Io(error) => match error.kind() {
            io::ErrorKind::NotFound => Refusal::Absent,
            io::ErrorKind::PermissionDenied => Refusal::PermissionDenied { group: group_of(host, endpoint).await },
            io::ErrorKind::ConnectionRefused => Refusal::NotListening,
            _ => Refusal::Other(error.to_string()),
        },
        ConnectError::TooOld(api) => Refusal::TooOld { api },
        ConnectError::Silent(message) => Refusal::Silent(message),
        ConnectError::Other(cause) if cause.to_string().contains("HTTP request to an HTTPS server") => {
            Refusal::Unsupported("the engine speaks TLS, and nothing says with which keys".to_owned())
        }
        ConnectError::Other(cause) => Refusal::Other(cause.to_string()),
    }
}

/// The group of a socket's file, by name where it has one.
async fn group_of(host: &dyn Host, endpoint: &str) -> Option<String> {
    let path = endpoint.strip_prefix("unix://")?;
    // GNU's and then BSD's way to ask
    for args in [["-L", "-c", "%G", path], ["-L", "-f", "%Sg", path]] {
        if let Ok(output) = host.run(&Command::new("stat", args).may_fail()).await
            && output.success()
        {
            let group = output.stdout().trim().to_owned();
            return (!group.is_empty()).then_some(group);
        }
    }
    None
}

/// What the `docker` program is configured by, in [`client_folder`].
pub const CLIENT_FILE: &str = "config.json";

/// Where the `docker` program keeps what it is configured by.
pub fn client_folder(host: &dyn Host) -> PathBuf {
    match host.env("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => host.folders().home.join(".docker"),
    }
}

/// What we read of `~/.docker/config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
    #[serde(flatten)]
    logins: LoginSettings,
    #[serde(skip)]
    folder: PathBuf,
}

/// `contexts/meta/<hash of the name>/meta.json`
#[derive(Debug, Deserialize)]
struct ContextMeta {
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Debug, Default, Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    /// Its certificate is not looked at.
    #[serde(rename = "SkipTLSVerify", default)]
    trusts_anybody: bool,
}

impl Configuration {
    /// Without a file, or with one that cannot be read, there is no context and no login: the
    /// `docker` program warns and goes on, too.
    async fn read(host: &dyn Host) -> Self {
        let folder = client_folder(host);
        let file = folder.join(CLIENT_FILE);
        let text = host.read(&file).await.unwrap_or_default();
        let read = serde_json::from_slice::<Self>(&text);
        if let Err(error) = &read
            && !text.is_empty()
        {
            tracing::warn!(%error, file = %file.display(), "no context and no login of Docker's");
        }
        Self { folder, ..read.unwrap_or_default() }
    }

    /// The endpoint of a context, and the folder of its keys where it wants TLS.
    async fn endpoint_of(&self, host: &dyn Host, context: &str) -> Result<(String, Option<PathBuf>), Refusal> {
        let folder = words::hex(Sha256::digest(context.as_bytes()));
        let path = self.folder.join("contexts").join("meta").join(&folder).join("meta.json");
        let place = path.display();
        let other = |what: String| Refusal::Other(format!("the Docker context `{context}` {what}"));
        let text = host.read(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => other(format!("does not exist: there is no {place}")),
            // the error names the file
            _ => other(format!("cannot be read: {error}")),
        })?;
        let meta: ContextMeta =
            serde_json::from_slice(&text).map_err(|error| other(format!("is damaged ({place}: {error})")))?;
        let named = meta.endpoints.get("docker").filter(|endpoint| !endpoint.host.is_empty());
        let ContextEndpoint { host: endpoint, trusts_anybody } =
            named.ok_or_else(|| other(format!("names no engine ({place})")))?;
        let keys = self.keys_of(host, &folder).await;
        let authority = match &keys {
            Some(keys) => host.exists(&keys.join("ca.pem")).await,
            None => false,
        };
        if *trusts_anybody && endpoint.starts_with("tcp://") && !authority {
            return Err(other(format!(
                "accepts any certificate (`SkipTLSVerify`), and macula only one that it can check: add the engine's \
                 authority with `docker context update {context} --docker host=...,ca=ca.pem`"
            )));
        }
        Ok((endpoint.clone(), keys))
    }

    /// A context with keys wants TLS.
    async fn keys_of(&self, host: &dyn Host, context: &str) -> Option<PathBuf> {
        let keys = self.folder.join("contexts").join("tls").join(context).join("docker");
        let there = host.list(&keys).await.is_ok_and(|names| !names.is_empty());
        there.then_some(keys)
    }
}

#[cfg(test)]
mod tests;
