//! Systems of `examples/`, started by their README's one command and asked. They build from packages:
//! only with MACULA_FULL=1.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::{Platform, skipped};

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
