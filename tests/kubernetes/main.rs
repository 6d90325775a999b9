//! `macula stack` on Kubernetes, from the command line to the requests: against an API server in memory
//! (`tests/common/api.rs`), on a machine without an engine.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/api.rs"]
mod api;
#[path = "../common/shapes.rs"]
mod shapes;

mod life;
mod trouble;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use api::Api;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "name: shop
services:
  db:
    image: db:1
    volumes: ['data:/data']
    expose: [5432]
    x-macula: {secrets: {PASSWORD: {generate: 24}}}
  migrate:
    image: web:1
    x-macula: {once: true}
    depends_on: [db]
  web:
    image: web:1
    depends_on: {migrate: {condition: service_completed_successfully}}
    expose: [80]
    deploy: {replicas: 2}
volumes: {data: {}}
";

/// A home, a project with the stack, and an API server.
struct Cluster {
    home: TempDir,
    api: Arc<Mutex<Api>>,
    address: String,
}

struct Done {
    /// The words of its command line.
    line: String,
    code: i32,
    out: String,
    err: String,
}

impl Cluster {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let (api, address) = api::start();
        std::fs::create_dir_all(home.path().join(".kube")).unwrap();
        std::fs::create_dir(home.path().join("project")).unwrap();
        let cluster = Self { home, api, address };
        cluster.kubeconfig(&json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "staging",
            "clusters": [
                {"name": "staging", "cluster": {"server": format!("http://{}", cluster.address)}},
                {"name": "away", "cluster": {"server": format!("http://{}", nobody())}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [
                {"name": "staging", "context": {"cluster": "staging", "user": "me"}},
                {"name": "away", "context": {"cluster": "away", "user": "me"}}],
        }));
        cluster.stack(SHOP);
        cluster
    }

    fn kubeconfig(&self, content: &Value) {
        std::fs::write(self.home.path().join(".kube/config"), content.to_string()).unwrap();
    }

    fn stack(&self, text: &str) {
        std::fs::write(self.home.path().join("project/compose.yaml"), text).unwrap();
    }

    fn api(&self) -> MutexGuard<'_, Api> {
        self.api.lock().unwrap()
    }

    fn run(&self, words: &str) -> Done {
        let home = self.home.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
        let words = words.replace("deploy shop", "deploy shop --stack compose.yaml");
        command
            .env_clear()
            .current_dir(home.join("project"))
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .stdin(Stdio::null())
            .args(["stack"])
            .args(words.split_whitespace())
            .args(["--target", "kubernetes"]);
        let output = command.output().unwrap();
        let real = home.canonicalize().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(real.to_str().unwrap(), "~");
            text.replace(home.to_str().unwrap(), "~").replace(&self.address, "ADDRESS")
        };
        let line = format!("stack {words}");
        Done { line, code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Done {
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text) || self.out.contains(text), "no `{text}` in\n{}{}", self.out, self.err);
        self
    }

    /// The error alone, without what was told on the way to it.
    fn error(&self) -> &str {
        self.err.find("error:").and_then(|at| self.err.get(at..)).unwrap_or_default()
    }

    #[track_caller]
    fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out);
        let value = value.unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err));
        let wrong = shapes::wrong_with(&self.line, &value);
        assert!(wrong.is_empty(), "{}: docs/reference/json.md says something else: {wrong:#?}", self.line);
        value
    }
}

/// An address on which nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn crash(name: &str) -> Value {
    json!({"containerStatuses": [{"name": name, "image": "web:1", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]})
}
