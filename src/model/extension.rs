//! `x-macula` of a service: what the Compose specification lacks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MountsElsewhere, Scale, Server, ServerNeed, Task, TaskJob};

/// `x-macula` of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extension {
    /// `ingress`: this service is the host ingress and gets the published ports of all addresses;
    /// `names`: what it is inside the platform's network.
    pub role: Option<Role>,
    pub ingress: Vec<IngressRule>,
    /// Last octets count: the platform's block is put in front for a platform of another block.
    pub address: Option<Ipv4Addr>,
    pub probe: Option<Probe>,
    pub metrics: Vec<Metrics>,
    /// Name of the variable -> minijinja template.
    pub exports: BTreeMap<String, String>,
    /// Environment variable -> minijinja template.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Environment variable -> where its value comes from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Absolute path in the container -> template.
    pub configs: BTreeMap<String, ConfigTemplate>,
    pub reload: Option<Reload>,
    /// Run in the container before a reload: where it fails, the files are put back as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reload_check: Vec<String>,
    /// Host-side preparation of the build context.
    pub prepare: Vec<PrepareStep>,
    pub provider: Option<Provider>,
    pub optional: bool,
    /// The container gets the platform's authority, and the variables by which programs find it.
    pub trust: bool,
    /// The service does its work and ends, also where no other one waits for it to.
    pub once: bool,
    /// The service is there only while one of these is chosen; empty: always.
    pub profiles: Vec<String>,
    /// S3 buckets to be made for this service.
    pub buckets: Vec<String>,
    /// Databases in the built-in PostgreSQL to be made for this service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// What the service needs of servers for all: its own name for it, and the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<String, Server>,
    /// The same with the users that the service has there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ServerNeed>,
    /// What is done before the service is started. Each is a job of its own in the platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, Task>,
    /// The service is such a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskJob>,
    /// Shown by `status` beside a service that runs from its build.
    pub build_note: Option<String>,
    /// Alternative references of the image, tried in order after `image`.
    pub sources: Vec<String>,
    /// How many containers there are as the load changes, where an orchestrator can do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// What becomes of bind mounts of what the engine's machine does not have.
    #[serde(default, skip_serializing_if = "MountsElsewhere::is_usual")]
    pub mounts: MountsElsewhere,
}

/// A database of an application's own, and the role that owns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub name: String,
    pub user: String,
    /// In front of the variables that the service gets for it.
    pub prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The way in from this machine: it has the published ports of all addresses.
    Ingress,
    /// The same inside the platform's network: every name leads to it there. Names are aliases, which
    /// engines fix when they make a container: a new name makes this one again, and nobody outside sees
    /// it. Without one, the ingress has this role too.
    Names,
}

impl Role {
    /// All of them: what has one passes requests on to other services.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Names];
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IngressRule {
    /// One label or `*.label` below the domain, or a full name below it.
    pub host: String,
    /// Port in the container.
    pub port: u16,
    /// Another one, where nothing listens on that: what an older image has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<u16>,
    pub path: String,
    /// Speak TLS to the upstream.
    pub tls: bool,
    /// Largest request body, bytes; 0: no limit.
    pub body_size: Option<u64>,
    /// `user:bcrypt-or-apr1` line, for basic authentication.
    pub auth: Option<String>,
    /// Keep a client on one replica.
    pub sticky: bool,
    /// This service's share of the requests, where several services answer for one name and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The service speaks HTTP/2 without TLS, as gRPC servers do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc: bool,
    /// Requests with a content type of gRPC go to this port of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_port: Option<u16>,
    /// The service sees the request's path without `path`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip: bool,
    /// Requests that a page of another origin sends are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_origin: bool,
    /// How long the service may take to begin its answer before a request that is safe to repeat is
    /// sent to the next one. `None`: what fits; zero: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Duration>,
    /// Nobody asked for the name: the port is taken for one of HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub kind: ProbeKind,
    /// `None`: [`super::Timeouts::healthy`].
    pub timeout: Option<Duration>,
}

/// How a service is asked from outside whether it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Healthy on a status from 200 to 399.
    Http { port: u16, path: String },
    /// Healthy when a connection is accepted.
    Tcp { port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub port: u16,
    pub path: String,
    /// `None`: the service's name.
    pub job: Option<String>,
    /// Query parameters of the scrape.
    pub params: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// Made once.
    Generate(Generated),
    /// `service.VARIABLE` of another service (its secret).
    From { service: String, key: String },
}

/// How a secret is made up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Characters, without the prefix.
    pub length: u16,
    /// In front of what is random: `key_` of `key_8sD...`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(default)]
    pub alphabet: Alphabet,
    /// Nothing that a person types.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// Letters and digits, so that it needs no quoting anywhere.
    #[default]
    Alphanumeric,
    Lowercase,
    Digits,
    Hex,
}

impl Alphabet {
    pub fn characters(self) -> &'static str {
        match self {
            Self::Alphanumeric => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Lowercase => "abcdefghijklmnopqrstuvwxyz0123456789",
            Self::Digits => "0123456789",
            Self::Hex => "0123456789abcdef",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigTemplate {
    /// Name in `templates/`, for error messages.
    pub name: String,
    /// Its text, read by `config`.
    pub source: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// How a service takes up a changed file without being recreated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    Signal(String),
    /// Run in the container.
    Exec(Vec<String>),
    /// The service looks for itself.
    None,
}

/// A step on the host whose output goes into the build context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareStep {
    /// Write a file (path relative to the scratch folder) with this content.
    Write { path: String, content: String },
    /// Run a program in the scratch folder; `needs` is its Debian package, for the hint.
    Run { command: Vec<String>, needs: Option<String> },
    /// Copy a file or folder of the scratch folder, or one of the context that is not there, into the context (`to`
    /// relative to the context).
    Copy { from: String, to: String },
    /// Copy the program that is running into the context, as this file: what it can do in a second
    /// role needs no compiler.
    Program { to: String },
}

/// What writes a service's data volume, for each source of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// When the image is pulled, e.g. `postgresql-18 timescaledb-2.29`.
    pub image: String,
    /// When it is built.
    pub build: String,
    /// Earlier ones whose data the build takes over when it first starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_over: Vec<String>,
}

impl Provider {
    /// Whether the build opens a volume that was written by this one.
    pub fn build_opens(&self, wrote: &str) -> bool {
        self.build == wrote || self.takes_over.iter().any(|earlier| earlier == wrote)
    }
}
