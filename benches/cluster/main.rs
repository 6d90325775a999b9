//! A cluster by macula against one by hand: `kind create cluster --wait`, then `kubectl apply` of
//! ingress-nginx and its wait; by turns in one run.
//!
//! `cargo bench --bench cluster`; see benches/README.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program of its own, for people at a terminal"
)]

#[expect(dead_code, reason = "shared with another benchmark, which uses more of it")]
#[path = "../common/stats.rs"]
mod stats;
#[expect(dead_code, reason = "shared with another benchmark, which uses more of it")]
#[path = "../common/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use stats::{Measure, Target, table};
use tool::Tool;

const PLATFORM: &str = "bk";
const PEER: &str = "kind and kubectl";
const CLUSTER: &str = "bk-by-hand";
/// What an add-on's controller may take beyond the cluster itself.
const PATIENCE: &str = "300s";

fn main() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("macula-bench-").tempdir()?;
    let bench = match Bench::prepare(scratch.path()) {
        Ok(bench) => bench,
        Err(why) => {
            println!("skipped: {why:#}");
            return Ok(());
        }
    };
    let rounds = std::env::var("MACULA_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let what = match bench.ingress {
        Some(_) => "a cluster with ingress-nginx ready",
        None => "a cluster whose nodes are ready",
    };
    let mut ready = Measure::new(what, Target::Ratio(1.0));
    let mut whole = Measure::new("with every add-on that can be had", Target::None);
    for round in 0..rounds {
        for side in 0..2 {
            if (round + side) % 2 == 0 {
                let (at, all) = bench.macula()?;
                ready.macula.push(at);
                whole.macula.push(all);
            } else {
                let time = bench.by_hand()?;
                ready.peer.push(time);
                whole.peer.push(time);
            }
        }
        eprintln!("round {} of {rounds}\n{}", round + 1, table(PEER, &[ready.clone(), whole.clone()]));
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{}, load {} at the end\n", bench.image, load.split(' ').next().unwrap_or_default());
    println!("{}", table(PEER, &[ready, whole]));
    println!("add-ons: {}", bench.addons.borrow().join(", "));
    Ok(())
}

struct Bench {
    macula: Tool,
    kind: Tool,
    kubectl: Tool,
    /// Of the nodes, on both sides.
    image: String,
    /// The manifest that ingress-nginx publishes for kind.
    ingress: Option<PathBuf>,
    /// What macula brought in, with the state of each.
    addons: std::cell::RefCell<Vec<String>>,
}

impl Bench {
    fn prepare(scratch: &Path) -> Result<Self> {
        let program = |variable: &str, name: &str| {
            let named = std::env::var_os(variable).map(PathBuf::from);
            named.or_else(|| tool::which(name)).with_context(|| format!("no {name} on the PATH ({variable} names one)"))
        };
        let image = std::env::var("MACULA_BENCH_NODE_IMAGE").context("MACULA_BENCH_NODE_IMAGE names no node image")?;
        let docker = Tool::new(program("MACULA_BENCH_DOCKER", "docker")?, &[], &scratch.join("docker"))?;
        docker.text(&["image", "inspect", &image]).context("the engine has no such node image")?;
        let kind = program("MACULA_KIND", "kind")?;
        let home = scratch.join("macula");
        let settings = scratch.join("macula.yaml");
        std::fs::write(
            &settings,
            format!("images: {{policy: local}}\ncluster:\n  node_image: {image}\n  program: {}\n", kind.display()),
        )?;
        let binary = std::env::var("MACULA_BENCH_BINARY").unwrap_or(env!("CARGO_BIN_EXE_macula").to_owned());
        let file = settings.to_string_lossy().into_owned();
        let first = ["--name", PLATFORM, "--file", &file];
        let bench = Self {
            macula: Tool::new(binary, &first, &home)?,
            kind: Tool::new(kind, &[], &scratch.join("kind"))?,
            kubectl: Tool::new(program("MACULA_BENCH_KUBECTL", "kubectl")?, &[], &scratch.join("kind"))?,
            image,
            ingress: std::env::var_os("MACULA_BENCH_INGRESS").map(PathBuf::from),
            addons: std::cell::RefCell::default(),
        };
        bench.clean()?;
        Ok(bench)
    }

    fn clean(&self) -> Result<()> {
        self.macula.run(&["cluster", "delete", "--yes"])?;
        self.macula.run(&["down", "--volumes", "--yes"])?;
        self.kind.run(&["delete", "cluster", "--name", CLUSTER]).map(drop)
    }

    /// When the ingress (else the cluster) was there, and when all was.
    fn macula(&self) -> Result<(Duration, Duration)> {
        let began = jiff::Timestamp::now();
        let begun = Instant::now();
        let output = self.macula.run(&["--progress", "json", "cluster", "create", "--yes"])?;
        let all = begun.elapsed();
        let wanted = if self.ingress.is_some() { "apply ingress" } else { "create cluster " };
        let events = String::from_utf8_lossy(&output.stderr).into_owned();
        let at = events.lines().find_map(|line| done_at(line, wanted));
        let at = at.with_context(|| format!("no step `{wanted}` was done:\n{events}"))?;
        let status: Value = serde_json::from_str(&self.macula.text(&["-o", "json", "cluster", "status"])?)?;
        let addons = status.pointer("/addons").and_then(Value::as_array).into_iter().flatten();
        let word = |addon: &Value, key: &str| addon.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        *self.addons.borrow_mut() =
            addons.map(|addon| format!("{} {}", word(addon, "name"), word(addon, "state"))).collect();
        self.clean()?;
        Ok((at.duration_since(began).unsigned_abs(), all))
    }

    fn by_hand(&self) -> Result<Duration> {
        let begun = Instant::now();
        self.kind.run(&["create", "cluster", "--name", CLUSTER, "--image", &self.image, "--wait", PATIENCE])?;
        if let Some(manifest) = &self.ingress {
            let text = std::fs::read_to_string(manifest)?;
            let images = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image:"));
            let mut images: Vec<&str> = images.map(str::trim).collect();
            images.sort_unstable();
            images.dedup();
            let load = ["load", "docker-image", "--name", CLUSTER];
            self.kind.run(&[&load[..], &images[..]].concat())?;
            self.kubectl.run(&["apply", "--filename", &manifest.to_string_lossy()])?;
            let ready = ["wait", "--namespace", "ingress-nginx", "--for=condition=Available", "--timeout", PATIENCE];
            self.kubectl.run(&[&ready[..], &["deployment/ingress-nginx-controller"]].concat())?;
        }
        let time = begun.elapsed();
        self.clean()?;
        Ok(time)
    }
}

/// When the step that begins so was done, if this event says so.
fn done_at(line: &str, step: &str) -> Option<jiff::Timestamp> {
    let event: Value = serde_json::from_str(line).ok()?;
    let word = |key: &str| event.get(key)?.as_str();
    (word("event")? == "step_done" && word("id")?.starts_with(step)).then_some(())?;
    word("time")?.parse().ok()
}
