//! What every scenario has in hand: a home and a platform of its own, the program, the engine.

mod browser;
mod engine;
mod image;
mod otlp;
mod proxy;
mod registry;
#[path = "../../common/require.rs"]
mod require;
mod run;
mod swarm;
mod terminal;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use browser::Browser;
pub use engine::{Container, Engine};
pub use image::root as root_tar;
pub use otlp::{Otlp, Value as OtlpValue};
pub use proxy::{Death, Proxy};
pub use registry::Registry;
pub use run::{Done, Running, finish};
pub use swarm::{SwarmNode, SwarmNodes};
pub use terminal::Terminal;

/// The image of every test service: busybox and nothing else.
pub const IMAGE: &str = "macula-test/busybox:1";

/// Longer than anything takes, also where the machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The services that the program brings along: scenarios run without them.
static BUILT_IN: OnceLock<Vec<String>> = OnceLock::new();
static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Says that a scenario did not run, past the capture of the test harness.
pub fn skipped(scenario: &str, need: &str, why: &str) {
    require::skipped(need, &format!("{scenario}: {why}"));
}

/// An address of this machine for what the engine has to reach, by `MACULA_TEST_ADDRESS`: one without root has a loopback
/// of its own.
pub fn reached_by_engines() -> String {
    std::env::var("MACULA_TEST_ADDRESS").unwrap_or_else(|_| "127.0.0.1".to_owned())
}

/// The engine with the test image in it, or why there is none.
fn engine() -> Result<Engine, String> {
    ENGINE
        .get_or_init(|| {
            let engine = Engine::find()?;
            image::make(&engine)?;
            Ok(engine)
        })
        .clone()
}

/// A platform with its own name, home and folder. Dropped, nothing of it is left.
pub struct Platform {
    pub name: String,
    pub engine: Engine,
    home: TempDir,
    endpoint: RefCell<String>,
    variables: RefCell<BTreeMap<String, String>>,
    /// What a scenario made beside the platform: `/containers/x`.
    others: RefCell<Vec<String>>,
}

impl Platform {
    /// `None`, said aloud: there is nothing to run the scenario on.
    pub fn new(scenario: &str) -> Option<Self> {
        let engine = engine().map_err(|why| skipped(scenario, "engine", &why)).ok()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let platform = Self {
            name: format!("s{}x{number}", std::process::id()),
            endpoint: RefCell::new(engine.endpoint()),
            engine,
            home: TempDir::with_prefix("macula-scenario-").unwrap(),
            variables: RefCell::default(),
            others: RefCell::default(),
        };
        std::fs::create_dir(platform.project()).unwrap();
        platform.settings("");
        Some(platform)
    }

    /// Another platform on the same files and home.
    pub fn beside(&self) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = TempDir::with_prefix("macula-scenario-").unwrap();
        let other = Self {
            name: format!("s{}x{number}", std::process::id()),
            endpoint: self.endpoint.clone(),
            engine: self.engine.clone(),
            home,
            variables: RefCell::default(),
            others: RefCell::default(),
        };
        std::fs::create_dir(other.project()).unwrap();
        for file in ["macula.yaml", "compose.yaml"] {
            std::fs::copy(self.project().join(file), other.project().join(file)).unwrap();
        }
        other.set("XDG_DATA_HOME", self.home.path().join("data").to_str().unwrap());
        other
    }

    /// The current folder of every run.
    pub fn project(&self) -> PathBuf {
        self.home.path().join("project")
    }

    /// What macula keeps of the platform.
    pub fn data(&self) -> PathBuf {
        let set = self.variables.borrow().get("XDG_DATA_HOME").map(PathBuf::from);
        set.unwrap_or_else(|| self.home.path().join("data")).join("macula").join(&self.name)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A variable of every run from now on.
    pub fn set(&self, name: &str, value: &str) {
        self.variables.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// The engine behind another socket, as `DOCKER_HOST` would have it.
    pub fn engine_at(&self, endpoint: String) {
        *self.endpoint.borrow_mut() = endpoint;
    }

    pub fn write(&self, file: &str, content: &str) {
        std::fs::write(self.project().join(file), content).unwrap();
    }

    /// `compose.yaml`: services in YAML, with `*base` for the image and a quick end.
    pub fn stack(&self, services: &str) {
        let base = format!("x-base: &base {{image: {IMAGE}, stop_signal: SIGKILL}}\n");
        self.write("compose.yaml", &format!("{base}{services}"));
    }

    /// macula.yaml with these lines added to what every scenario has.
    pub fn settings(&self, lines: &str) {
        self.changes(lines, &[]);
    }

    /// Like [`Platform::settings`], with entries for `services`.
    pub fn changes(&self, lines: &str, services: &[&str]) {
        let mut text = String::from("stacks: [compose.yaml]\ncluster: {enabled: false}\nservices:\n");
        for name in self.built_in() {
            text.push_str(&format!("  {name}: {{enabled: false}}\n"));
        }
        for service in services {
            text.push_str(&format!("  {service}\n"));
        }
        text.push_str(lines);
        self.write("macula.yaml", &text);
    }

    fn built_in(&self) -> &'static [String] {
        BUILT_IN.get_or_init(|| {
            let empty = TempDir::new().unwrap();
            let done = run::finish(self.program(["stack", "list", "-o", "json"]).current_dir(empty.path()));
            let stacks = done.ok().json();
            let services = stacks.as_array().unwrap().iter().flat_map(|stack| stack["services"].as_array().unwrap());
            services.map(|name| name.as_str().unwrap().to_owned()).collect()
        })
    }

    /// The program with these arguments, in the hermetic home.
    pub fn program<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
        let home = self.home.path();
        command
            .env_clear()
            .current_dir(self.project())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("DOCKER_HOST", &*self.endpoint.borrow())
            .envs(&*self.variables.borrow())
            .args(["--name", &self.name, "--progress", "plain"]);
        for word in args {
            command.arg(word);
            if word == "up" {
                // the resolver is one for the whole user and machine: not a scenario's to start
                command.arg("--no-dns");
            }
        }
        command
    }

    /// Runs to the end; `words` are split at blanks.
    pub fn run(&self, words: &str) -> Done {
        self.run_with(words, &[])
    }

    /// Like [`Platform::run`], with arguments that may have blanks.
    pub fn run_with(&self, words: &str, more: &[&str]) -> Done {
        run::finish(&mut self.program(words.split_whitespace().chain(more.iter().copied())))
    }

    /// Starts and leaves it running.
    pub fn start(&self, words: &str) -> Running {
        Running::start(&mut self.program(words.split_whitespace()))
    }

    /// `exec SERVICE sh -c SCRIPT`: its output.
    #[track_caller]
    pub fn shell(&self, service: &str, script: &str) -> String {
        self.run_with("exec", &[service, "sh", "-c", script]).ok().out.trim_end().to_owned()
    }

    /// The platform's containers, asked of the engine.
    pub fn containers(&self) -> BTreeMap<String, Container> {
        let list = self.engine.labelled("containers/json?all=1&", &self.name);
        let list = list.as_array().unwrap().clone();
        let inspect = |found: &Value| self.engine.container(found["Id"].as_str().unwrap());
        list.iter().filter_map(inspect).map(|found| (found.service.clone(), found)).collect()
    }

    /// One service's container.
    #[track_caller]
    pub fn container(&self, service: &str) -> Container {
        self.containers().remove(service).unwrap_or_else(|| panic!("{service} has no container"))
    }

    /// Name of the first container of a service.
    pub fn container_name(&self, service: &str) -> String {
        format!("macula-{}-{service}-1", self.name)
    }

    pub fn network_name(&self) -> String {
        format!("macula-{}", self.name)
    }

    pub fn volume_name(&self, volume: &str) -> String {
        format!("macula-{}-{volume}", self.name)
    }

    /// Names of everything that bears the platform's label, sorted.
    pub fn everything(&self) -> Vec<String> {
        let name = |kind: &str, value: &Value| format!("{kind} {}", value.as_str().unwrap().trim_start_matches('/'));
        let list = |path: &str| self.engine.labelled(path, &self.name);
        let mut all: Vec<String> = Vec::new();
        all.extend(
            list("containers/json?all=1&").as_array().unwrap().iter().map(|x| name("container", &x["Names"][0])),
        );
        all.extend(list("networks?").as_array().unwrap().iter().map(|x| name("network", &x["Name"])));
        let volumes = list("volumes?");
        all.extend(volumes["Volumes"].as_array().into_iter().flatten().map(|x| name("volume", &x["Name"])));
        all.sort();
        all
    }

    /// Something of the engine's that the scenario made beside the platform, and that goes with it.
    pub fn also_remove(&self, path: String) {
        self.others.borrow_mut().push(path);
    }
}

impl Drop for Platform {
    /// By label, through the engine: it works after any fault of the program under test.
    fn drop(&mut self) {
        let engine = &self.engine;
        let remove = |list: &Value, field: &str, path: &dyn Fn(&str) -> String| {
            let ids = list.as_array().into_iter().flatten().filter_map(|found| found[field].as_str());
            // all of them, also when one stays
            ids.filter(|id| !engine.delete(&path(id))).count() == 0
        };
        // the engine may still be at work for a run that was killed
        let begun = Instant::now();
        loop {
            let list = |path: &str| engine.labelled(path, &self.name);
            let gone = (self.others.borrow().iter().filter(|path| !engine.delete(path)).count() == 0)
                & remove(&list("containers/json?all=1&"), "Id", &|id| format!("/containers/{id}?force=1&v=1"))
                & remove(&list("networks?"), "Id", &|id| format!("/networks/{id}"))
                & remove(&list("volumes?")["Volumes"], "Name", &|id| format!("/volumes/{id}?force=1"));
            if gone {
                return;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = writeln!(std::io::stderr().lock(), "{}: something is left behind", self.name);
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Waits until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
