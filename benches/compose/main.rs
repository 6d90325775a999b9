//! macula against docker compose on the same files, in interleaved rounds of one run.
//!
//! `cargo bench --bench compose [-- SCENARIO...]`; see benches/README.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program of its own, for people at a terminal"
)]

mod files;
mod floor;
mod proxy;
mod report;
#[path = "../common/stats.rs"]
mod stats;
#[path = "../common/tool.rs"]
mod tool;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use files::{FORTY, Health};
use proxy::Proxy;
use stats::{Measure, Target, table};
use tool::Tool;

/// The platform's name on macula's side, and the project's on Compose's.
const PLATFORM: &str = "bm";
const PROJECT: &str = "bmc";
const PEER: &str = "docker compose";
const IMAGE: &str = "macula-bench/busybox:1";
const SCENARIOS: [&str; 5] = ["version", "platform", "forty", "forty-plain", BUNDLE];
/// Only where it is named: it removes the platform's images.
const BUNDLE: &str = "bundle";
const SOCKET: &str = "/var/run/docker.sock";

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = chosen.iter().find(|word| !SCENARIOS.contains(&word.as_str())) {
        anyhow::bail!("no scenario is called {unknown}; there are: {}", SCENARIOS.join(", "));
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    let rounds = number("MACULA_BENCH_ROUNDS", 5);
    let scratch = tempfile::Builder::new().prefix("macula-bench-").tempdir()?;
    // containers of any user read the files that are mounted from here
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755))?;
    let bench = match Bench::prepare(scratch.path(), rounds) {
        Ok(bench) => bench,
        Err(why) => {
            println!("skipped: {why}");
            return Ok(());
        }
    };
    println!("{}", report::machine(&bench.docker, bench.compose.as_ref())?);
    let mut measures = Vec::new();
    let mut notes = Vec::new();
    if wanted("version") {
        measures.push(bench.version()?);
    }
    if bench.compose.is_none() {
        println!("skipped: no docker compose (set MACULA_BENCH_COMPOSE to the plugin's path)\n");
        println!("{}", table(PEER, &measures));
        return Ok(());
    }
    if wanted("platform") {
        let file = bench.platform_file()?;
        let ours = bench.macula.with(&["--name", PLATFORM]);
        bench.scenario("the platform's stacks", &ours, (PROJECT, &file), None, &mut measures, &mut notes)?;
        ours.run(&["down", "--volumes", "--yes"])?;
    }
    for (name, what, health) in [
        ("forty", "40 services, health checks every 2 s", Health::Every("2s")),
        ("forty-plain", "40 services, no health checks", Health::None),
    ] {
        if !wanted(name) {
            continue;
        }
        match bench.forty(name, health)? {
            Some((ours, file)) => {
                let floor = Some((FORTY, matches!(health, Health::Every(_))));
                bench.scenario(what, &ours, (&format!("bmc-{name}"), &file), floor, &mut measures, &mut notes)?;
                ours.run(&["down", "--volumes", "--yes"])?;
            }
            None => println!("{what}: skipped: no static busybox (set MACULA_BENCH_BUSYBOX to its path)"),
        }
    }
    if chosen.iter().any(|word| word == BUNDLE) {
        measures.push(bench.bundle()?);
    }
    println!("\n{}\n{}", table(PEER, &measures), notes.join("\n"));
    Ok(())
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Bench {
    macula: Tool,
    docker: Tool,
    compose: Option<Tool>,
    scratch: PathBuf,
    rounds: usize,
}

impl Bench {
    fn prepare(scratch: &Path, rounds: usize) -> Result<Self> {
        let docker = tool::which("docker").context("no docker on the PATH")?;
        let docker = Tool::new(docker, &[], &scratch.join("docker-home"))?;
        docker.text(&["version"]).context("no engine answers")?;
        let binary = std::env::var("MACULA_BENCH_BINARY").unwrap_or(env!("CARGO_BIN_EXE_macula").to_owned());
        let macula = Tool::new(binary, &[], &scratch.join("macula-home"))?;
        let compose = compose(&scratch.join("compose-home"))?;
        let bench = Self { macula, docker, compose, scratch: scratch.to_owned(), rounds };
        bench.clean();
        Ok(bench)
    }

    /// What a run that was interrupted has left.
    fn clean(&self) {
        for platform in [PLATFORM, "bmcore", "bmforty", "bmforty-plain"] {
            let _ = self.macula.run(&["--name", platform, "down", "--volumes", "--yes"]);
        }
        if let Some(compose) = &self.compose {
            for project in [PROJECT, "bmc-forty", "bmc-forty-plain"] {
                let _ = compose.run(&["-p", project, "down", "--volumes", "--timeout", "1"]);
            }
        }
    }

    fn version(&self) -> Result<Measure> {
        let mut measure = Measure::new("`--version`", Target::Absolute(Duration::from_millis(5)));
        for _ in 0..(self.rounds * 20) {
            measure.macula.push(self.macula.time(&["--version"])?);
            if let Some(compose) = &self.compose {
                measure.peer.push(compose.time(&["version", "--short"])?);
            }
        }
        Ok(measure)
    }

    /// Brings the platform up once, which gets every image, and writes down what runs then.
    fn platform_file(&self) -> Result<PathBuf> {
        let ours = self.macula.with(&["--name", PLATFORM]);
        ours.run(&["up", "--yes", "--no-dns"])?;
        let text = files::platform(&ours, &self.docker, &format!("macula-{PLATFORM}"), PROJECT, &self.scratch)?;
        ours.run(&["down"])?;
        let path = self.scratch.join("platform.yaml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// The core profile on an engine without its images, from a file: `up --bundle` against `docker load` and then
    /// Compose. Data is new each time, too.
    fn bundle(&self) -> Result<Measure> {
        let mut measure = Measure::new("the core profile from a file", Target::Ratio(1.0));
        let Some(compose) = &self.compose else { return Ok(measure) };
        let ours = self.macula.with(&["--name", "bmcore", "--progress", "quiet"]);
        ours.run(&["up", "--yes", "--no-dns", "--no-cluster", "--profile", "core"])?;
        let text = files::platform(&ours, &self.docker, "macula-bmcore", PROJECT, &self.scratch)?;
        let (file, bundle, archive) =
            (self.scratch.join("core.yaml"), self.scratch.join("core.bundle"), self.scratch.join("core.tar"));
        std::fs::write(&file, text)?;
        let [file, bundle, archive] = [file, bundle, archive].map(|path| path.to_string_lossy().into_owned());
        ours.run(&["images", "save", &bundle])?;
        let compose = compose.with(&["--project-name", PROJECT, "--file", &file, "--progress", "quiet"]);
        let images = compose.text(&["config", "--images"])?;
        let images: BTreeSet<&str> = images.lines().filter(|name| !name.is_empty()).collect();
        let with = |first: &[&str]| -> Result<Duration> {
            let words: Vec<&str> = first.iter().copied().chain(images.iter().copied()).collect();
            self.docker.time(&words)
        };
        with(&["save", "--output", &archive])?;
        let up = ["up", "--yes", "--no-dns", "--no-cluster", "--bundle", &bundle];
        ours.run(&["down", "--volumes", "--yes"])?;
        for round in 0..self.rounds {
            for side in 0..2 {
                with(&["rmi", "--force"])?;
                if (round + side).is_multiple_of(2) {
                    measure.macula.push(ours.time(&up)?);
                    ours.run(&["down", "--volumes", "--yes"])?;
                } else {
                    let loaded = self.docker.time(&["load", "--quiet", "--input", &archive])?;
                    measure.peer.push(loaded + compose.time(&["up", "--detach", "--wait"])?);
                    compose.time_until_done(&["down", "--volumes"])?;
                }
            }
            eprintln!("{}: round {} of {}", measure.what, round + 1, self.rounds);
        }
        Ok(measure)
    }

    fn forty(&self, name: &str, health: Health) -> Result<Option<(Tool, PathBuf)>> {
        let Some(busybox) = busybox() else { return Ok(None) };
        files::import(&self.docker, &busybox, &self.scratch.join("root.tar"), IMAGE)?;
        let home = self.scratch.join(name);
        std::fs::create_dir_all(&home)?;
        let path = home.join("compose.yaml");
        std::fs::write(&path, files::forty(IMAGE, health))?;
        let settings = home.join("macula.yaml");
        let built_in: serde_json::Value = serde_json::from_str(&self.macula.text(&["stack", "list", "-o", "json"])?)?;
        let names = built_in.as_array().into_iter().flatten();
        let names = names.flat_map(|stack| stack.get("services").and_then(|s| s.as_array()).into_iter().flatten());
        let off: Vec<String> =
            names.filter_map(|name| Some(format!("  {}: {{enabled: false}}\n", name.as_str()?))).collect();
        std::fs::write(&settings, format!("stacks: [compose.yaml]\nservices:\n{}", off.concat()))?;
        let file = settings.to_string_lossy().into_owned();
        Ok(Some((self.macula.with(&["--name", &format!("bm{name}"), "--file", &file]), path)))
    }

    /// up, up again, down, on both sides by turns, the first one changing from round to round.
    fn scenario(
        &self,
        what: &str,
        macula: &Tool,
        (project, file): (&str, &Path),
        floor: Option<(usize, bool)>,
        measures: &mut Vec<Measure>,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let Some(compose) = &self.compose else { return Ok(()) };
        let path = file.to_string_lossy().into_owned();
        let quiet = macula.with(&["--progress", "quiet"]);
        let compose = compose.with(&["--project-name", project, "--file", &path, "--progress", "quiet"]);
        let mut up = Measure::new(format!("{what}: up"), Target::Ratio(0.5));
        let mut nothing = Measure::new(format!("{what}: up, nothing to do"), Target::Ratio(1.0));
        let mut down = Measure::new(format!("{what}: down"), Target::Ratio(0.5));
        let mut floors = Vec::new();
        for round in 0..self.rounds {
            if let Some((count, health)) = floor {
                floors.push(floor::floor(Path::new(SOCKET), IMAGE, count, health)?);
            }
            let result = self.round(round, &quiet, &compose, [&mut up, &mut nothing, &mut down]);
            eprintln!("{what}: round {} of {}", round + 1, self.rounds);
            eprintln!("{}", table(PEER, &[up.clone(), nothing.clone(), down.clone()]));
            if let Err(error) = result {
                // what was measured counts all the same
                measures.extend([up, nothing, down]);
                notes.push(format!("{what}: cut short in round {}: {error}\n", round + 1));
                return Ok(());
            }
        }
        notes.extend(report::floors(what, &floors, &up, &down));
        measures.extend([up, nothing, down]);
        notes.push(self.account(what, macula, &compose)?);
        compose.time_until_done(&["down", "--volumes"])?;
        Ok(())
    }

    fn round(&self, round: usize, macula: &Tool, compose: &Tool, measures: [&mut Measure; 3]) -> Result<()> {
        let [up, nothing, down] = measures;
        for side in 0..2 {
            if (round + side).is_multiple_of(2) {
                up.macula.push(macula.time(&["up", "--yes", "--no-dns"])?);
                for _ in 0..3 {
                    nothing.macula.push(macula.time(&["up", "--yes", "--no-dns"])?);
                }
                down.macula.push(macula.time_until_done(&["down"])?);
            } else {
                up.peer.push(compose.time(&["up", "--detach", "--wait"])?);
                for _ in 0..3 {
                    nothing.peer.push(compose.time(&["up", "--detach"])?);
                }
                down.peer.push(compose.time_until_done(&["down"])?);
            }
        }
        Ok(())
    }

    /// One more round of each, slower for being watched: what is asked of the engine, and where the
    /// time of an `up` goes.
    fn account(&self, what: &str, macula: &Tool, compose: &Tool) -> Result<String> {
        let socket = self.scratch.join(format!("{}.sock", what.len()));
        let proxy = Proxy::start(&socket, Path::new(SOCKET))?;
        let mut text = format!("### Where the time goes: {what}\n");
        for (verb, args) in [
            ("up", &["up", "--yes", "--no-dns"][..]),
            ("up, nothing to do", &["up", "--yes", "--no-dns"]),
            ("down", &["down"]),
        ] {
            let (path, _) = report::critical_path(&macula.through(proxy.socket()), args)?;
            text.push_str(&format!("\n`macula {}` ({verb}):\n{path}", args.join(" ")));
            text.push_str(&report::calls(&proxy.take()));
        }
        for (verb, args) in
            [("up", &["up", "--detach", "--wait"][..]), ("up, nothing to do", &["up", "--detach"]), ("down", &["down"])]
        {
            compose.through(proxy.socket()).time_until_done(args)?;
            text.push_str(&format!("\n`docker compose {}` ({verb}):\n", args.join(" ")));
            text.push_str(&report::calls(&proxy.take()));
        }
        Ok(text)
    }
}

/// The Compose plugin: named by MACULA_BENCH_COMPOSE, or where Docker looks for it, or the program
/// of that name.
fn compose(home: &Path) -> Result<Option<Tool>> {
    let named = std::env::var_os("MACULA_BENCH_COMPOSE").map(PathBuf::from);
    let folders = [
        "/usr/local/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/libexec/docker/cli-plugins",
    ];
    let plugins = folders.iter().map(|folder| Path::new(folder).join("docker-compose"));
    let found = named.into_iter().chain(plugins).chain(tool::which("docker-compose")).find(|path| path.is_file());
    found.map(|path| Tool::new(path, &[], home)).transpose()
}

fn busybox() -> Option<PathBuf> {
    let named = std::env::var_os("MACULA_BENCH_BUSYBOX").map(PathBuf::from);
    named.or_else(|| tool::which("busybox")).filter(|path| path.is_file())
}
