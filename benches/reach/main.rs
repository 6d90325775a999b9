//! The ways to an address, by turns in one run: the container's own, published, direct, through a relay, and what the
//! engine's own stream gives to any relay.
//!
//! `cargo bench --bench reach [-- WAY...]`; see benches/README.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program of its own, for people at a terminal"
)]

mod load;
mod pipe;
mod serve;
#[expect(dead_code, reason = "shared with another benchmark, which uses more of it")]
#[path = "../common/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use load::{Addresses, Figures};
use tool::Tool;

const IMAGE: &str = "macula-bench/reach:1";
const PLATFORM: &str = "bmreach";
const PEER: &str = "macula-bmreach-peer-1";
const JOB: &str = "macula-bench-job";
const SOCKET: &str = "/var/run/docker.sock";
/// In the image.
const PROGRAM: &str = "/bench";
const PROJECT: &str = "/project";
const OWN: &str = "the container's own address";
const PIPE: &str = "the engine's own stream";
const WAYS: [&str; 5] = ["own", "published", "direct", "relay", "pipe"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve::serve(),
        ["echo"] => serve::echo(std::io::stdin().lock(), std::io::stdout().lock()),
        ["swallow"] => serve::swallow(std::io::stdin().lock(), std::io::stdout().lock()),
        ["pour", bytes] => serve::pour(bytes.parse()?, std::io::stdout().lock()),
        ["load", addresses] => {
            println!("{}", serde_json::to_string(&load::load(&serde_json::from_str(addresses)?)?)?);
            Ok(())
        }
        ways => compare(ways),
    }
}

fn compare(chosen: &[&str]) -> Result<()> {
    if let Some(unknown) = chosen.iter().find(|way| !WAYS.contains(way)) {
        bail!("no way is called {unknown}; there are: {}", WAYS.join(", "));
    }
    let wanted = |way: &str| chosen.is_empty() || chosen.contains(&way);
    let rounds = std::env::var("MACULA_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let scratch = tempfile::Builder::new().prefix("macula-bench-").tempdir()?;
    let bench = match Bench::prepare(scratch.path()) {
        Ok(bench) => bench,
        Err(why) => {
            println!("skipped: {why}");
            return Ok(());
        }
    };
    let mut rows: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    let mut run = || -> Result<()> {
        for round in 0..rounds {
            if wanted("published") || wanted("own") || wanted("pipe") {
                let at = bench.up("published")?;
                if wanted("published") {
                    rows.entry("published").or_default().push(load::load(&at)?);
                }
                if wanted("own") {
                    rows.entry(OWN).or_default().push(load::load(&bench.own()?)?);
                }
                if wanted("pipe") {
                    rows.entry(PIPE).or_default().push(pipe::figures(Path::new(SOCKET), PEER, PROGRAM)?);
                }
                bench.down(&bench.macula)?;
            }
            if wanted("relay") {
                let at = bench.up("relay")?;
                rows.entry("relay").or_default().push(load::load(&at)?);
                bench.down(&bench.macula)?;
            }
            if wanted("direct") {
                rows.entry("direct").or_default().push(bench.direct()?);
            }
            eprintln!("round {} of {rounds}\n{}", round + 1, table(&rows));
        }
        Ok(())
    };
    let result = run();
    bench.clean();
    println!("{}", table(&rows));
    result
}

struct Bench {
    macula: Tool,
    docker: Tool,
    home: PathBuf,
}

impl Bench {
    fn prepare(scratch: &Path) -> Result<Self> {
        let docker = tool::which("docker").context("no docker on the PATH")?;
        let docker = Tool::new(docker, &[], &scratch.join("docker-home"))?;
        docker.text(&["version"]).context("no engine answers")?;
        let binary = std::env::var("MACULA_BENCH_BINARY").unwrap_or(env!("CARGO_BIN_EXE_macula").to_owned());
        let home = scratch.join("home");
        let macula = Tool::new(&binary, &["--name", PLATFORM], &home)?;
        let bench = Self { macula, docker, home };
        bench.clean();
        bench.project()?;
        bench.import(&scratch.join("root"), Path::new(&binary)).context("make the image")?;
        Ok(bench)
    }

    fn clean(&self) {
        let _ = self.docker.run(&["rm", "--force", "--volumes", JOB]);
        let _ = self.down(&self.macula);
    }

    fn down(&self, macula: &Tool) -> Result<()> {
        macula.run(&["down", "--volumes", "--yes"]).map(drop)
    }

    /// One service, and nothing that is built in.
    fn project(&self) -> Result<()> {
        let folder = &self.home;
        let ports = [serve::ECHO, serve::SINK, serve::SOURCE].map(|port| format!("'{port}:{port}'")).join(", ");
        let datagrams = serve::DATAGRAMS;
        let stack = format!(
            "services:\n  peer:\n    image: {IMAGE}\n    command: [{PROGRAM}, serve]\n    stop_signal: SIGKILL\n    \
             ports: [{ports}, '{datagrams}:{datagrams}/udp']\n"
        );
        // before the project's own is there, which is listed as well
        let built_in: Value = serde_json::from_str(&self.macula.text(&["stack", "list", "-o", "json"])?)?;
        std::fs::write(folder.join("compose.yaml"), stack)?;
        let stacks = built_in.as_array().into_iter().flatten();
        let names = stacks.flat_map(|stack| stack.get("services").and_then(Value::as_array).into_iter().flatten());
        let off: String =
            names.filter_map(Value::as_str).map(|name| format!("  {name}: {{enabled: false}}\n")).collect();
        let settings = format!("stacks: [compose.yaml]\nimages: {{policy: local}}\nservices:\n{off}");
        Ok(std::fs::write(folder.join("macula.yaml"), settings)?)
    }

    /// This program, macula and what they are linked with.
    fn import(&self, root: &Path, macula: &Path) -> Result<()> {
        for folder in ["tmp", "root", "etc"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        let project = root.join(PROJECT.trim_start_matches('/'));
        std::fs::create_dir_all(&project)?;
        for name in ["compose.yaml", "macula.yaml"] {
            std::fs::copy(self.home.join(name), project.join(name))?;
        }
        let own = std::env::current_exe()?;
        std::fs::copy(&own, root.join(PROGRAM.trim_start_matches('/')))?;
        std::fs::copy(macula, root.join("macula"))?;
        for program in [own.as_path(), macula] {
            for library in libraries(program)? {
                let there = root.join(library.strip_prefix("/")?);
                std::fs::create_dir_all(there.parent().context("a library's folder")?)?;
                std::fs::copy(&library, there)?;
            }
        }
        let archive = root.with_extension("tar");
        let mut builder = tar::Builder::new(std::fs::File::create(&archive)?);
        builder.append_dir_all(".", root)?;
        builder.finish()?;
        self.docker.run(&["import", &archive.to_string_lossy(), IMAGE]).map(drop)
    }

    fn up(&self, way: &str) -> Result<Addresses> {
        let settings = self.home.join("macula.yaml");
        let text = std::fs::read_to_string(&settings)?;
        let others: String =
            text.lines().filter(|line| !line.starts_with("reach:")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&settings, format!("reach: {way}\n{others}"))?;
        self.macula.run(&["up", "--yes", "--no-cluster", "--no-dns"])?;
        addresses(&self.macula.text(&["status", "-o", "json"])?, way)
    }

    fn own(&self) -> Result<Addresses> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let said = self.docker.text(&["inspect", PEER, "--format", format])?;
        let ip: IpAddr = said.split_whitespace().next().context("it has no address")?.parse()?;
        let at = |port| SocketAddr::new(ip, port);
        Ok(Addresses {
            echo: at(serve::ECHO),
            sink: at(serve::SINK),
            source: at(serve::SOURCE),
            datagrams: at(serve::DATAGRAMS),
        })
    }

    /// From a container that has the engine's socket, as a CI job has it.
    fn direct(&self) -> Result<Figures> {
        let socket = format!("{SOCKET}:{SOCKET}");
        let run = ["run", "--detach", "--interactive", "--name", JOB, "--env", "HOME=/root", "--workdir", PROJECT];
        // it waits for what nobody types, and listens nowhere
        self.docker.run(&[&run[..], &["--volume", &socket, IMAGE, PROGRAM, "echo"]].concat())?;
        let job = self.docker.with(&["exec", JOB]);
        let macula = job.with(&["/macula", "--name", PLATFORM]);
        let figures = (|| {
            macula.run(&["up", "--yes", "--no-cluster", "--no-dns"])?;
            let at = addresses(&macula.text(&["status", "-o", "json"])?, "direct")?;
            let said = job.text(&[PROGRAM, "load", &serde_json::to_string(&at)?])?;
            Ok(serde_json::from_str(&said)?)
        })();
        let down = self.down(&macula);
        self.docker.run(&["rm", "--force", "--volumes", JOB])?;
        figures.and_then(|figures| down.map(|()| figures))
    }
}

/// What `status` says of it, where it came up by the way that was wanted.
fn addresses(status: &str, way: &str) -> Result<Addresses> {
    let status: Value = serde_json::from_str(status)?;
    let taken = status.pointer("/reach/way").and_then(Value::as_str).unwrap_or("published");
    anyhow::ensure!(taken == way, "it came up by the way {taken} in place of {way}");
    let services = status.get("services").and_then(Value::as_array).into_iter().flatten();
    let all = services.flat_map(|row| row.get("addresses").and_then(Value::as_array).into_iter().flatten());
    let all: Vec<SocketAddr> = all.filter_map(|text| text.as_str()?.trim_end_matches("/udp").parse().ok()).collect();
    let of = |port: u16| {
        let found = all.iter().find(|address| address.port() == port);
        found.copied().with_context(|| format!("nothing leads to port {port}: {all:?}"))
    };
    Ok(Addresses {
        echo: of(serve::ECHO)?,
        sink: of(serve::SINK)?,
        source: of(serve::SOURCE)?,
        datagrams: of(serve::DATAGRAMS)?,
    })
}

/// Paths of the libraries that a program is linked with, its loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = std::process::Command::new("ldd").arg(program).output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let words = said.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).filter(|path| path.is_file()).collect())
}

fn table(rows: &BTreeMap<&str, Vec<Figures>>) -> String {
    let head = [
        "way",
        "to it",
        "from it",
        "one byte, p50",
        "p99",
        "a new connection",
        "a datagram, p50",
        "datagrams a second",
        "lost",
    ];
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for (way, all) in rows {
        let mbs = |of: fn(&Figures) -> Option<f64>| range(all, of, 1.0, 0, "MB/s");
        let ms = |of: fn(&Figures) -> Option<f64>| range(all, of, 1e-3, 2, "ms");
        let cells = [
            (*way).to_owned(),
            mbs(|figures| Some(figures.to)),
            mbs(|figures| Some(figures.from)),
            ms(|figures| Some(figures.byte_p50)),
            ms(|figures| Some(figures.byte_p99)),
            ms(|figures| figures.connection),
            ms(|figures| figures.datagram_p50),
            range(all, |figures| figures.datagrams_a_second, 1.0, 0, ""),
            range(all, |figures| figures.lost.map(|lost| lost as f64), 1.0, 0, ""),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// `0.52 to 0.63 ms`
fn range(all: &[Figures], of: fn(&Figures) -> Option<f64>, scale: f64, digits: usize, unit: &str) -> String {
    let values: Vec<f64> = all.iter().filter_map(of).map(|value| value * scale).collect();
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    if values.is_empty() {
        return "-".to_owned();
    }
    format!("{least:.digits$} to {most:.digits$} {unit}").trim_end().to_owned()
}
