//! Systems of `examples/`, started by their README's one command and asked. They build from packages:
//! only with MACULA_FULL=1, but for what needs no engine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Platform, eventually, skipped};

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

/// The example, up. `None`, said aloud: it cannot be built here.
fn started(name: &str) -> Option<(Platform, String)> {
    if std::env::var_os("MACULA_FULL").is_none() {
        skipped(name, "full", "MACULA_FULL is not set");
        return None;
    }
    let platform = Platform::new(name)?;
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name), &platform.project());
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
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
