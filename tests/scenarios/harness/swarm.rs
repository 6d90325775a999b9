//! A swarm of one node: an engine of its own in namespaces of its own, so that nothing of this machine's is part of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Engine, IMAGE, image, is_root, skipped};

/// The engine. Gone when dropped, with everything in it.
pub struct SwarmNode {
    pub engine: Engine,
    process: Child,
    folder: TempDir,
}

impl SwarmNode {
    /// `None`, said aloud: it cannot be started here.
    pub fn start(scenario: &str) -> Option<Self> {
        let missing = |program: &&str| {
            let mut command = Command::new(program);
            command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        };
        if !is_root() {
            skipped(scenario, "swarm", "an engine of its own takes root");
            return None;
        }
        if let Some(program) = ["dockerd", "docker", "ip", "unshare"].iter().find(|program| missing(program)) {
            skipped(scenario, "swarm", &format!("{program} is not installed"));
            return None;
        }
        let folder = TempDir::with_prefix("macula-swarm-").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/swarm-node");
        let mut process = Command::new(script).arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = lines.take_while(|line| line != "ready").collect();
        let engine = Engine { socket: folder.path().join("docker.sock") };
        let node = Self { engine, process, folder };
        if !matches!(node.engine.request("GET", "/nodes", None), Ok((200, _))) {
            skipped(scenario, "swarm", &format!("no swarm: {}", said.join(" / ")));
            return None;
        }
        node.engine.import(IMAGE, &image::root().unwrap(), "1").unwrap();
        Some(node)
    }

    /// What a list of the API holds, by the names of its entries.
    #[track_caller]
    pub fn named(&self, list: &str) -> Vec<(String, Value)> {
        let found = self.engine.get(&format!("/{list}"));
        let name = |one: &Value| one["Spec"]["Name"].as_str().or(one["Name"].as_str()).unwrap_or_default().to_owned();
        found.as_array().unwrap().iter().map(|one| (name(one), one.clone())).collect()
    }

    #[track_caller]
    pub fn service(&self, name: &str) -> Value {
        let all = self.named("services");
        all.into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("there is no service {name}")).1
    }
}

impl Drop for SwarmNode {
    fn drop(&mut self) {
        // containers leave the machine's control groups before their engine goes
        let _ = self.engine.request("POST", "/swarm/leave?force=true", None);
        for container in self.engine.get("/containers/json?all=1").as_array().into_iter().flatten() {
            self.engine.delete(&format!("/containers/{}?force=1", container["Id"].as_str().unwrap_or_default()));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        // its processes end a moment later
        for _ in 0..50 {
            if std::fs::remove_dir_all(self.folder.path()).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
