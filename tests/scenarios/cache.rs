//! The pull-through cache in front of a registry of the same platform. It builds from Debian's
//! packages: only with MACULA_FULL=1.

use std::process::{Command, Stdio};

use crate::harness::{IMAGE, Platform, skipped};

/// Only what this scenario needs of the built-in stacks.
const SETTINGS: &str = "
cluster: {enabled: false}
profiles: [core, cache]
built_in: {dns: false, draw: false, ingress: false, metrics: false, observability: false, postgres: false, s3: false, tools: false}
services: {registry-cache: {environment: {REGISTRY_PROXY_REMOTEURL: 'http://registry:5000'}}}
";

fn docker(args: &[&str]) -> Result<(), String> {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn what_was_pulled_through_the_cache_outlives_its_source() {
    const NAME: &str = "what_was_pulled_through_the_cache";
    if std::env::var_os("MACULA_FULL").is_none() {
        return skipped(NAME, "full", "MACULA_FULL is not set");
    }
    if std::env::var_os("MACULA_TEST_ENGINE").is_some() || docker(&["version"]).is_err() {
        return skipped(NAME, "docker", "there is no docker program for this engine");
    }
    let Some(platform) = Platform::new(NAME) else { return };
    platform.write("macula.yaml", SETTINGS);
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    platform.run("up --yes --images build --timeout 10m").ok();
    let status = platform.run("status -o json").ok().json();
    let address = |name: &str| {
        let row = status["services"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        assert_eq!((&row["state"], &row["image_source"]), (&"running".into(), &"build".into()), "{row}");
        row["addresses"][0].as_str().unwrap().to_owned()
    };
    let (registry, cache) = (address("registry"), address("registry-cache"));
    let (pushed, other) = (format!("{registry}/team/app:1"), format!("{registry}/team/other:1"));
    for name in [&pushed, &other] {
        platform.also_remove(format!("/images/{name}"));
        docker(&["tag", IMAGE, name]).unwrap();
        docker(&["push", "-q", name]).unwrap();
        docker(&["rmi", name]).unwrap();
    }
    let through = format!("{cache}/team/app:1");
    platform.also_remove(format!("/images/{through}"));
    docker(&["pull", "-q", &through]).unwrap();
    docker(&["rmi", &through]).unwrap();

    // its source is away: what was pulled before is still there, and nothing else
    platform.run("stop registry").ok();
    docker(&["pull", "-q", &through]).unwrap();
    assert!(docker(&["pull", "-q", &format!("{cache}/team/other:1")]).is_err());
    // and after a new container of its own, which asks its source once as it starts
    platform.run("start registry").ok();
    platform.run("up registry-cache --force-recreate --no-deps --images build").ok();
    platform.run("stop registry").ok();
    docker(&["rmi", &through]).unwrap();
    docker(&["pull", "-q", &through]).unwrap();
    assert!(!platform.container("registry").running);
    platform.run("down --volumes --yes").ok();
}
