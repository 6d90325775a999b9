//! Systems of `examples/`, started by their README's one command and asked. They build from packages:
//! only with MACULA_FULL=1, but for what needs no engine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Done, Platform, Registry, SwarmNodes, eventually, skipped};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The example in the folder of a platform. `None`, said aloud: it cannot be built here.
fn copied(scenario: &str, name: &str) -> Option<Platform> {
    if std::env::var_os("MACULA_FULL").is_none() {
        skipped(scenario, "full", "MACULA_FULL is not set");
        return None;
    }
    let platform = Platform::new(scenario)?;
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name), &platform.project());
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    Some(platform)
}

/// The example, up.
fn started(name: &str) -> Option<(Platform, String)> {
    let platform = copied(name, name)?;
    platform.run("up --yes --images build --timeout 10m").ok();
    let status = platform.run("status -o json").ok().json();
    let rows = status["services"].as_array().unwrap();
    let ingress = rows.iter().find(|row| row["name"] == "ingress").unwrap();
    let address = ingress["addresses"][0].as_str().unwrap().split(':').next().unwrap().to_owned();
    Some((platform, address))
}

fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "-f", "-m", "20"]).args(args).output().unwrap();
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tech_garden() {
    let Some((platform, address)) = started("tech-garden") else { return };
    let host = format!("Host: garden.{}.macula.local", platform.name);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..60 {
        let answer = curl(&["-D", "-", "-o", "/dev/null", "-H", &host, &format!("http://{address}/")]);
        let cell =
            answer.lines().find_map(|line| line.to_lowercase().strip_prefix("x-techgarden-cell: ").map(str::to_owned));
        *counts.entry(cell.unwrap().trim().to_owned()).or_default() += 1;
    }
    let even = ["cell-a", "cell-b", "cell-c"].map(|cell| (cell.to_owned(), 20));
    assert_eq!(counts, even.into());

    // what each of them gets, counted while they are asked
    let asked = Arc::new(AtomicBool::new(true));
    let (still, url) = (asked.clone(), format!("http://{address}/"));
    let asking = std::thread::spawn(move || {
        while still.load(Ordering::Relaxed) {
            curl(&["-o", "/dev/null", "-H", &host, &url]);
        }
    });
    let top = platform.run("top -o json").ok().json();
    asked.store(false, Ordering::Relaxed);
    asking.join().unwrap();
    let rows = top["services"].as_array().unwrap();
    for cell in ["cell-a", "cell-b", "cell-c"] {
        let row = rows.iter().find(|row| row["name"] == cell).unwrap();
        assert!(row["requests_per_second"].as_f64() > Some(0.0), "{row}");
    }
}

#[test]
fn togglemaster() {
    let Some((platform, address)) = started("togglemaster") else { return };
    let env = platform.run("env --format json").ok().json();
    let host = format!("Host: toggle.{}.macula.local", platform.name);
    let output = Command::new("bash")
        .current_dir(platform.project())
        .env("TOGGLE_ADMIN_KEY", env["TOGGLE_ADMIN_KEY"].as_str().unwrap())
        .args(["flow.sh", &format!("http://{address}"), "-H", &host])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("on for 27 of 100 users") && said.contains("\"items\": 100"), "{said}");
}

/// Members of the PostgreSQL cluster by name, each with its role and state, as one of those that live sees them.
fn members(platform: &Platform) -> BTreeMap<String, (String, String)> {
    let asked = ["pg-1", "pg-2", "pg-3"].into_iter().find_map(|name| {
        let done = platform.run_with("exec", &["-T", name, "patronictl", "list", "-f", "json"]);
        serde_json::from_str::<Vec<serde_json::Value>>(&done.out).ok().filter(|_| done.code == 0)
    });
    let word = |member: &serde_json::Value, key: &str| member[key].as_str().unwrap_or_default().to_owned();
    let member = |member: &serde_json::Value| (word(member, "Member"), (word(member, "Role"), word(member, "State")));
    asked.iter().flatten().map(member).collect()
}

/// The leader is killed while rows are written, as many times as MACULA_FAILOVER_ROUNDS says.
#[test]
fn gardenos() {
    const GOAL: Duration = Duration::from_secs(10);
    let Some((platform, _)) = started("gardenos") else { return };
    let rounds = std::env::var("MACULA_FAILOVER_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let creds = platform.run("creds pg-1 -o json").ok().json();
    let password =
        creds.as_array().unwrap().iter().find(|row| row["variable"] == "PATRONI_SUPERUSER_PASSWORD").unwrap();
    let password = format!("PGPASSWORD={}", password["value"].as_str().unwrap());
    let settled = || {
        let found = members(&platform);
        let leaders = found.values().filter(|(role, _)| role == "Leader").count();
        leaders == 1 && found.values().filter(|(_, state)| state == "streaming").count() == 2
    };
    for round in 1..=rounds {
        eventually("a leader and two that follow it", settled);
        let found = members(&platform);
        let led = |leads: bool| found.iter().find(|(_, (role, _))| (role == "Leader") == leads).unwrap().0.clone();
        let (leader, other) = (led(true), led(false));
        let script = std::fs::File::open(platform.project().join("failover.py")).unwrap();
        let mut writer = platform
            .program(["exec", "-T", "-e", &password, &other, "python3", "-", "haproxy", "5000", "20"])
            .stdin(script)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(4));
        assert!(writer.try_wait().unwrap().is_none(), "the writer is at work");
        platform
            .engine
            .post(&format!("/containers/{}/kill", platform.container_name(&leader)), &serde_json::json!(null));
        let written = writer.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&written.stdout).trim().to_owned();
        assert!(written.status.success(), "{said}{}", String::from_utf8_lossy(&written.stderr));
        let gap = said.rsplit_once("without a write ").and_then(|(_, gap)| gap.strip_suffix(" s")?.parse().ok());
        let gap = Duration::from_secs_f64(gap.unwrap());
        assert!(said.contains(", lost 0,") && gap < GOAL, "{said}");
        let begun = Instant::now();
        platform.run("up").ok();
        eventually("the old leader follows the new one", || {
            members(&platform).get(&leader).is_some_and(|(role, state)| role != "Leader" && state == "streaming")
        });
        let back = begun.elapsed().as_secs_f32();
        let _ = writeln!(std::io::stderr().lock(), "round {round}: {leader} killed: {said}; back after {back:.1} s");
    }
}

/// What the deployer of `examples/swarm` takes and what it refuses, and the commands of its README: by its own tests, with
/// an engine of a few lines.
#[test]
fn the_deployer_of_the_swarm() {
    let scenario = "the_deployer_of_the_swarm";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/swarm/deployer");
    let Ok(output) = Command::new("python3").args(["-B", "-m", "unittest"]).current_dir(folder).output() else {
        return skipped(scenario, "python3", "it is not installed");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Ran 0 tests"), "{said}");
    if said.contains("skipped=") {
        skipped(scenario, "openssl", "the commands of the README need openssl and curl");
    }
}

/// `examples/swarm` for engines of its own, and a registry that they reach.
struct Shop {
    platform: Platform,
    nodes: SwarmNodes,
    registry: String,
}

/// What the webhook's requests are signed with.
const DEPLOY_SECRET: &str = "a secret of the example, longer than need be";

impl Shop {
    fn start(scenario: &str, count: usize) -> Option<Self> {
        let platform = copied(scenario, "swarm")?;
        if platform.engine.is_podman() {
            skipped(scenario, "docker", "what it builds is for engines of Docker");
            return None;
        }
        let nodes = SwarmNodes::start(scenario, count)?;
        let registry = format!("{}/pushed", Registry::at(&format!("{}.254", nodes.network)).address);
        for (name, value) in [
            ("COMPOSE_PROFILES", "webhook"),
            ("DEPLOY_SECRET", DEPLOY_SECRET),
            ("REGISTRY", registry.as_str()),
            ("REPLICAS", "3"),
            ("EDGE_MODE", "global"),
            ("DATA_NODE", "node.hostname == node1"),
        ] {
            platform.set(name, value);
        }
        // built where packages are, and carried to the first node
        platform.run("images build api deployer edge frontend postgres --yes").ok();
        let names = ["api:1", "deployer:1", "edge:1", "frontend:1", "postgres:17"];
        let names = names.map(|image| format!("names=shop/{image}")).join("&");
        let (status, images) = platform.engine.request("GET", &format!("/images/get?{names}"), None).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&images));
        let images = Some(("application/x-tar", images.as_slice()));
        let (status, said) = nodes.engines[0].request("POST", "/images/load?quiet=1", images).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
        platform.engine_at(nodes.engines[0].endpoint());
        Some(Self { platform, nodes, registry })
    }

    fn deploy(&self) -> Done {
        self.platform.run(&format!("stack deploy shop --target swarm --registry {} --timeout 4m", self.registry))
    }

    fn url(&self, node: usize, path: &str) -> String {
        format!("http://{}.{node}:8088{path}", self.nodes.network)
    }

    fn asked(&self, node: usize, path: &str) -> serde_json::Value {
        serde_json::from_str(&curl(&[&self.url(node, path)])).unwrap()
    }

    /// Of 30 answers, how many were given where.
    fn answers(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..30 {
            let node = self.asked(1, "/api/version")["node"].as_str().unwrap().to_owned();
            *counts.entry(node).or_default() += 1;
        }
        counts
    }

    /// What the edge counts; what its dashboard draws is among it.
    fn busy(&self) -> serde_json::Value {
        let of = |path: &str| curl(&[&format!("http://{}.1:8404{path}", self.nodes.network)]);
        let metrics = of("/metrics");
        let dashboard = std::fs::read_to_string(self.platform.project().join("edge/dashboard.json")).unwrap();
        for drawn in dashboard.split("haproxy_").skip(1) {
            let name = drawn.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next().unwrap();
            assert!(metrics.contains(&format!("\nhaproxy_{name}{{")), "there is no haproxy_{name}");
        }
        serde_json::from_str(&of("/rate")).unwrap()
    }

    /// Nodes on which tasks of a service run.
    fn places(&self, service: &str) -> Vec<String> {
        let status = self.platform.run("stack status shop --target swarm -o json").json();
        let row = status.as_array().unwrap().iter().find(|row| row["service"] == service).unwrap();
        let tasks = row["tasks"].as_array().unwrap().iter().filter(|task| task["state"] == "running");
        tasks.map(|task| task["node"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks until it is told to end.
    fn load(&self) -> Load {
        let url = self.url(1, "/api/version");
        let mut command = Command::new("python3");
        command.current_dir(self.platform.project()).args(["load.py", &url, "500"]);
        Load(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn docker(&self, args: &[&str]) {
        let mut command = Command::new("docker");
        // its builder needs no program of its own
        command.current_dir(self.platform.project()).env("DOCKER_BUILDKIT", "0");
        let output = command.args(["-H", &self.nodes.engines[0].endpoint()]).args(args).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Another image of the API is in the registry, and is deployed by the commands of the README that sign and send.
    fn webhook(&self) {
        let image = format!("{}/shop/api:2", self.registry);
        std::fs::create_dir(self.platform.project().join("second")).unwrap();
        self.platform.write("second/Dockerfile", "FROM shop/api:1\nENV RELEASE=2\n");
        self.docker(&["build", "-t", &image, "second"]);
        self.docker(&["push", &image]);
        let readme = std::fs::read_to_string(self.platform.project().join("README.md")).unwrap();
        let lines = readme.lines().skip_while(|line| !line.starts_with("    body="));
        let commands: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        let commands = commands.join("\n").replace("registry.macula.local/shop/api:2", &image);
        let commands = commands.replace("http://127.0.0.1:8088/", &self.url(1, "/"));
        let mut command = Command::new("bash");
        let output = command.args(["-euo", "pipefail", "-c", &commands]).env("DEPLOY_SECRET", DEPLOY_SECRET).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{commands}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(said["state"] == "completed" && said["image"] == image.as_str(), "{said}");
        self.all_are("release", "2");
    }

    /// The last one of the old tasks may still answer for a moment.
    fn all_are(&self, key: &str, wanted: &str) {
        eventually(&format!("{key} {wanted} everywhere"), || {
            (0..10).all(|_| self.asked(1, "/api/version")[key] == wanted)
        });
    }
}

/// Requests without a pause, none of which is to fail.
struct Load(Child);

impl Load {
    #[track_caller]
    fn end(mut self, what: &str) {
        assert!(self.0.try_wait().unwrap().is_none(), "{what}: the load ended before");
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(" 0 failed,"), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let _ = writeln!(std::io::stderr().lock(), "{what}: {}", said.lines().next().unwrap_or_default());
    }
}

#[test]
fn a_shop_on_a_swarm_of_one_node() {
    let Some(shop) = Shop::start("a_shop_on_a_swarm_of_one_node", 1) else { return };
    shop.deploy().ok().says("shop runs on Swarm");
    assert!(curl(&[&shop.url(1, "/")]).contains("<h1>Shop</h1>"));
    assert_eq!(shop.asked(1, "/api/visit")["visits"], 1);
    let load = shop.load();
    eventually("the edge counts", || shop.busy()["requests_per_second"].as_u64() > Some(0));
    shop.platform.set("VERSION", "2");
    shop.deploy().ok();
    shop.all_are("version", "2");
    load.end("three replicas changed by `stack deploy`");
    let load = shop.load();
    shop.webhook();
    load.end("three replicas changed by the webhook");
    // what the file says comes back
    shop.deploy().ok();
    shop.all_are("release", "1");
    assert_eq!(shop.asked(1, "/api/visit")["visits"], 2);
    shop.platform.run("stack remove shop --target swarm").ok();
}

#[test]
fn a_shop_loses_one_of_three_nodes() {
    let Some(shop) = Shop::start("a_shop_loses_one_of_three_nodes", 3) else { return };
    shop.deploy().ok();
    eventually("each node answers", || shop.answers().len() == 3);
    for node in 1..=3 {
        assert_eq!(shop.asked(node, "/api/version")["version"], "1");
    }
    let load = shop.load();
    shop.webhook();
    load.end("a replica on each of three nodes changed by the webhook");
    assert_eq!(shop.asked(1, "/api/visit")["visits"], 1);

    let checked = shop.platform.run("stack validate shop --target swarm");
    checked.ok().prints("3 of 3 reachable").prints("shop_edge: accepts connections");
    let load = shop.load();
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    shop.nodes.cut(3);
    eventually("the other nodes run what it ran", || {
        std::thread::sleep(Duration::from_secs(1));
        let places = shop.places("api");
        places.len() == 3 && !places.iter().any(|node| node == "node3")
    });
    let moved = begun.elapsed().as_secs_f32();
    eventually("both that are left answer", || {
        let answers = shop.answers();
        answers.len() == 2 && !answers.contains_key("node3")
    });
    load.end(&format!("one of three nodes cut off, its tasks elsewhere after {moved:.1} s"));
    let checked = shop.platform.run("stack validate shop --target swarm");
    checked.exits(7).prints("2 of 3 reachable, not node3").prints("node3: down");
    assert_eq!(shop.asked(1, "/api/visit")["visits"], 2);
}
