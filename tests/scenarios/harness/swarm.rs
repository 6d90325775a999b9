//! Swarms of one node and of several: engines of their own in namespaces of their own, so that nothing of this machine's is
//! part of them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::{Engine, IMAGE, image, is_root, skipped};

/// Networks of swarms of several nodes that this process has made.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// The engine. Gone when dropped, with everything in it.
pub struct SwarmNode {
    pub engine: Engine,
    process: Child,
    folder: TempDir,
}

impl SwarmNode {
    /// `None`, said aloud: it cannot be started here.
    pub fn start(scenario: &str) -> Option<Self> {
        let folder = possible(scenario)?;
        let (process, said) = started("swarm-node", &folder, &[]);
        let engine = Engine { socket: folder.path().join("docker.sock") };
        let node = Self { engine, process, folder };
        if !matches!(node.engine.request("GET", "/nodes", None), Ok((200, _))) {
            skipped(scenario, "swarm", &format!("no swarm: {said}"));
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
        emptied(&self.engine);
        ended(&mut self.process, &self.folder);
    }
}

/// Engines that are all managers of one swarm, on a network that this machine reaches. Gone when dropped, with everything in
/// them.
pub struct SwarmNodes {
    /// Those of `node1`, `node2` and so on, at the addresses 1, 2 and so on of the network.
    pub engines: Vec<Engine>,
    /// Three numbers of an address; this machine has the last one, 254.
    pub network: String,
    process: Child,
    folder: TempDir,
}

impl SwarmNodes {
    /// `None`, said aloud: they cannot be started here.
    pub fn start(scenario: &str, count: usize) -> Option<Self> {
        let folder = possible(scenario)?;
        // for tests of networks (RFC 2544), and not one that another process has just now
        let taken = |number: &u32| Path::new(&format!("/sys/class/net/macula-sw{number}")).exists();
        let numbers = (0..250).map(|_| (std::process::id() + NETWORKS.fetch_add(1, Ordering::Relaxed)) % 250);
        let number = numbers.into_iter().find(|number| !taken(number)).unwrap();
        let network = format!("198.18.{number}");
        let (process, said) = started("swarm-nodes", &folder, &[&network, &count.to_string()]);
        let socket = |node: usize| folder.path().join(node.to_string()).join("docker.sock");
        let engines = (1..=count).map(|node| Engine { socket: socket(node) }).collect();
        let nodes = Self { engines, network, process, folder };
        let listed = nodes.engines[0].request("GET", "/nodes", None);
        let listed = listed.ok().and_then(|(_, body)| serde_json::from_slice::<Value>(&body).ok());
        if listed.and_then(|listed| Some(listed.as_array()?.len())) != Some(count) {
            skipped(scenario, "swarm", &format!("no swarm of {count} nodes: {said}"));
            return None;
        }
        Some(nodes)
    }

    /// As when its power fails: nothing that it sends arrives any more, and its processes end.
    #[track_caller]
    pub fn cut(&self, node: usize) {
        let mut command = script("swarm-nodes");
        assert!(command.arg(self.folder.path()).args(["cut", &node.to_string()]).status().unwrap().success());
    }
}

impl Drop for SwarmNodes {
    fn drop(&mut self) {
        self.engines.iter().for_each(emptied);
        ended(&mut self.process, &self.folder);
        // the control groups of a node that was cut off, which had nobody to remove them
        let own = format!("*/macula-sw{}", self.network.rsplit('.').next().unwrap_or_default());
        let find =
            ["/sys/fs/cgroup", "-depth", "-type", "d", "(", "-path", &own, "-o", "-path", &format!("{own}/*"), ")"];
        let rmdir = ["-exec", "rmdir", "{}", ";"];
        let _ = Command::new("find").args(find).args(rmdir).stderr(Stdio::null()).status();
    }
}

/// A folder for engines, or why there can be none.
fn possible(scenario: &str) -> Option<TempDir> {
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
    Some(TempDir::with_prefix("macula-swarm-").unwrap())
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines").join(name))
}

/// The process that everything ends with, and what it has said until it was ready.
fn started(name: &str, folder: &TempDir, args: &[&str]) -> (Child, String) {
    let mut process = script(name).arg(folder.path()).args(args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| line != "ready").collect();
    (process, said.join(" / "))
}

/// Containers leave the machine's control groups before their engine goes.
fn emptied(engine: &Engine) {
    let _ = engine.request("POST", "/swarm/leave?force=true", None);
    let Ok((200, listed)) = engine.request("GET", "/containers/json?all=1", None) else { return };
    for container in serde_json::from_slice::<Vec<Value>>(&listed).unwrap_or_default() {
        engine.delete(&format!("/containers/{}?force=1", container["Id"].as_str().unwrap_or_default()));
    }
}

fn ended(process: &mut Child, folder: &TempDir) {
    let _ = process.kill();
    let _ = process.wait();
    // its processes end a moment later
    for _ in 0..50 {
        if std::fs::remove_dir_all(folder.path()).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
