//! The platform as it comes, built and run as a user would. Some minutes: only with MACULA_FULL=1.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{IMAGE, Platform, eventually, skipped};

/// A client's output; a failure shows all of it.
#[track_caller]
fn client(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {}: {}\n{out}{err}", args.join(" "), output.status);
    out.into_owned()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

struct Services(Value);

impl Services {
    fn of(platform: &Platform) -> Self {
        Self(platform.run("status -o json").ok().json())
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.0["services"].as_array().unwrap().iter()
    }

    fn runs(&self, name: &str) -> bool {
        self.all().any(|row| row["name"] == name && row["state"] == "running")
    }

    /// `127.x.y.z` where a service is published.
    fn address(&self, name: &str) -> String {
        let row = self.all().find(|row| row["name"] == name).unwrap();
        let address = row["addresses"][0].as_str().unwrap_or_else(|| panic!("{name} has no address: {row}"));
        address.split(':').next().unwrap().to_owned()
    }
}

#[test]
fn the_whole_platform() {
    if std::env::var_os("MACULA_FULL").is_none() {
        return skipped("the_whole_platform", "full", "MACULA_FULL is not set");
    }
    let missing: Vec<&str> = ["curl", "dig", "psql"].into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        return skipped("the_whole_platform", "tools", &format!("without {}", missing.join(", ")));
    }
    let Some(platform) = Platform::new("the_whole_platform") else { return };
    platform.write("macula.yaml", "cluster: {enabled: false}\n");
    // what was built once is there for the next run
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    // the home is a new one; the programs that build are where they were
    for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let usual = || std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(folder).into_os_string());
        if let Some(path) = std::env::var_os(variable).or_else(usual) {
            platform.set(variable, path.to_str().unwrap());
        }
    }
    platform.run("up --yes --timeout 10m").ok();
    platform.run("up").ok().says("nothing to do");

    let services = Services::of(&platform);
    for row in services.all() {
        let fine = match row["state"].as_str().unwrap() {
            "running" => row["health"] == "healthy" || row["health"] == "none",
            "left_out" => row["reason"].is_string(),
            _ => row["condition"] == "finished",
        };
        assert!(fine, "{row}");
    }
    assert_eq!(services.0["drift"], json!([]));
    for name in ["ingress", "registry", "postgres", "powerdns", "prometheus", "alertmanager"] {
        assert!(services.runs(name), "{name} does not run:\n{}", services.0);
    }

    every_route(&platform, &services);
    push_and_pull(&platform, &services);
    records(&platform, &services);
    targets(&services);
    objects(&platform, &services);
    walked(&platform);
    // it takes the platform down at its end
    rows(&platform);
}

/// Every name from outside and from inside: all that may be wrong is what nobody has installed here,
/// and the resolver, which a scenario does not start.
fn walked(platform: &Platform) {
    let out = platform.run("validate -o json");
    let found: Value = serde_json::from_str(&out.out).unwrap();
    let system = ["resolver_dead", "not_installed", "not_trusted", "look_up_fails", "other_resolver", "proxy"];
    for fault in found["broken"].as_array().unwrap() {
        let cause = fault["cause"].as_str().unwrap();
        // the engine's own names have no wildcards: containers get those from the resolver, by way of the system
        let mut names = fault["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let wildcards = cause == "inside_other" && names.all(|name| name.starts_with("*."));
        assert!(wildcards || system.contains(&cause), "{fault}");
    }
    assert!(found["inside"].is_string(), "{found}");
}

/// Every name through port 80 of the ingress, and a page for the names that there are none of.
fn every_route(platform: &Platform, services: &Services) {
    let ingress = services.address("ingress");
    let ask = |host: &str, path: &str| {
        let header = format!("Host: {host}");
        let url = format!("http://{ingress}{path}");
        let out = client("curl", &["-sS", "-m", "20", "-H", &header, "-w", "\n%{http_code}", &url]);
        let (body, status) = out.rsplit_once('\n').unwrap();
        (status.parse::<u16>().unwrap(), body.to_owned())
    };
    let mut names = Vec::new();
    for row in services.all() {
        for url in row["urls"].as_array().unwrap() {
            let url = url.as_str().unwrap();
            let name = url.split("://").nth(1).unwrap().split('/').next().unwrap().to_owned();
            let (status, body) = ask(&name, "/");
            // an API without a page answers so itself; the ingress would say 502 or 504
            assert!(status < 500, "{name} answers {status}: {body}");
            names.push(name);
        }
    }
    assert!(names.len() >= 4, "{names:?}");
    for (name, path, word) in [
        ("registry", "/v2/_catalog", "repositories"),
        ("prometheus", "/-/healthy", "Prometheus"),
        ("alertmanager", "/-/healthy", "OK"),
    ] {
        let (status, body) = ask(&format!("{name}.{}.macula.local", platform.name), path);
        assert!(status == 200 && body.contains(word), "{name}: {status} {body}");
    }
    let (status, page) = ask("nobody.example.com", "/");
    assert_eq!(status, 404);
    for name in &names {
        assert!(page.contains(name.as_str()), "{name} is not on the page:\n{page}");
    }
}

/// On the registry's own port with the engine's client, and through the ingress.
fn push_and_pull(platform: &Platform, services: &Services) {
    let (registry, ingress) = (services.address("registry"), services.address("ingress"));
    if has("docker") && std::env::var_os("MACULA_TEST_ENGINE").is_none() {
        let tag = format!("{registry}:5001/team/app:1");
        client("docker", &["tag", IMAGE, &tag]);
        client("docker", &["push", "-q", &tag]);
        client("docker", &["rmi", &tag]);
        client("docker", &["pull", "-q", &tag]);
        client("docker", &["rmi", &tag]);
    } else {
        skipped("the_whole_platform", "docker", "docker push and pull: there is no docker program");
    }

    // larger than what nginx lets pass by default, and than it keeps in memory
    let mut blob = tempfile::NamedTempFile::new().unwrap();
    blob.write_all(&vec![b'x'; 32 << 20]).unwrap();
    let digest = client("sha256sum", &[blob.path().to_str().unwrap()]);
    let digest = digest.split_whitespace().next().unwrap();
    let host = format!("registry.{}.macula.local", platform.name);
    let at_ingress = format!("{host}:80:{ingress}");
    let curl = |args: &[&str]| client("curl", &[&["-sS", "-f", "-m", "120", "--resolve", &at_ingress], args].concat());
    let begun =
        curl(&["-X", "POST", "-D", "-", "-o", "/dev/null", &format!("http://{host}/v2/team/blob/blobs/uploads/")]);
    let place = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().trim();
    // the registry names itself as it was asked
    assert!(place.contains(&host), "{place}");
    let target = format!("{place}{}digest=sha256:{digest}", if place.contains('?') { '&' } else { '?' });
    let file = format!("@{}", blob.path().display());
    curl(&["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", &file, &target]);
    let back = tempfile::NamedTempFile::new().unwrap();
    curl(&["-o", back.path().to_str().unwrap(), &format!("http://{host}/v2/team/blob/blobs/sha256:{digest}")]);
    assert!(std::fs::read(back.path()).unwrap() == std::fs::read(blob.path()).unwrap());
}

/// A record made through PowerDNS's API is answered at once.
fn records(platform: &Platform, services: &Services) {
    let address = services.address("powerdns");
    let env = platform.run("env --format json").ok().json();
    let key = format!("X-API-Key: {}", env["PDNS_API_KEY"].as_str().unwrap());
    let zone = format!("{}.macula.local.", platform.name);
    let body = json!({"rrsets": [{
        "name": format!("made.{zone}"), "type": "A", "ttl": 60, "changetype": "REPLACE",
        "records": [{"content": "192.0.2.7", "disabled": false}],
    }]});
    let url = format!("{}/api/v1/servers/localhost/zones/{zone}", env["PDNS_API_URL"].as_str().unwrap());
    client("curl", &["-sS", "-f", "-m", "20", "-X", "PATCH", "-H", &key, "-d", &body.to_string(), &url]);
    let server = format!("@{address}");
    for transport in ["+notcp", "+tcp"] {
        let answer = client("dig", &[&server, "+short", transport, &format!("made.{zone}"), "A"]);
        assert_eq!(answer.trim(), "192.0.2.7");
    }
    let soa = client("dig", &[&server, "+short", &zone, "SOA"]);
    assert!(!soa.trim().is_empty());
}

/// Everything that Prometheus scrapes answers it.
fn targets(services: &Services) {
    let url = format!("http://{}:9090/api/v1/targets?state=active", services.address("prometheus"));
    let mut last = String::new();
    eventually("all targets are up", || {
        last = client("curl", &["-sS", "-f", "-m", "20", &url]);
        let answer: Value = serde_json::from_str(&last).unwrap();
        let targets = answer["data"]["activeTargets"].as_array().unwrap();
        // scenarios run without the resolver
        let down = targets.iter().filter(|target| target["health"] != "up" && target["labels"]["job"] != "macula-dns");
        targets.len() >= 4 && down.count() == 0
    });
}

/// S3 as a client in wide use sees it: `tests/scenarios/s3.py` with boto3 from PyPI.
fn objects(platform: &Platform, services: &Services) {
    let skip = |why: &str| skipped("the_whole_platform", "boto3", &format!("S3 with boto3: {why}"));
    if !services.runs("minio") {
        return skip("there is no image of the server, nor a build");
    }
    let venv = tempfile::tempdir().unwrap();
    let made =
        |command: &mut Command| command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
    if !made(Command::new("python3").args(["-m", "venv"]).arg(venv.path())) {
        return skip("python3 makes no venv");
    }
    if !made(Command::new(venv.path().join("bin/pip")).args(["install", "-q", "boto3==1.44.5"])) {
        return skip("PyPI gives no boto3");
    }
    let settings = platform.run("env --format json").ok().json();
    let secrets = platform.run("creds --all -o json").ok().json();
    let mut secrets = secrets.as_array().unwrap().iter();
    let backups = secrets.find(|row| row["service"] == "s3-buckets" && row["variable"] == "AWS_SECRET_ACCESS_KEY");
    let mut command = Command::new(venv.path().join("bin/python"));
    command.env_clear().arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/s3.py"));
    for (name, value) in settings.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env(name, value.as_str().unwrap());
    }
    let output = command
        .env("S3_DOMAIN", format!("s3.{}.macula.local", platform.name))
        .env("S3_BACKUPS_SECRET", backups.unwrap()["value"].as_str().unwrap())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.ends_with("all of it\n"), "{out}{err}");
}

/// A hypertable's rows outlive `down`.
fn rows(platform: &Platform) {
    let psql = |sql: &str| {
        let settings = platform.run("env --format json").ok().json();
        let mut command = Command::new("psql");
        for (name, value) in settings.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("PG")) {
            command.env(name, value.as_str().unwrap());
        }
        let output = command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    psql("CREATE TABLE heat (time timestamptz NOT NULL, degrees double precision)");
    assert!(psql("SELECT create_hypertable('heat', 'time')").contains("heat"));
    psql("INSERT INTO heat SELECT now() - n * interval '1 day', n FROM generate_series(1, 100) n");
    platform.run("down").ok().says("its data is kept");
    platform.run("up --yes --timeout 10m").ok();
    assert_eq!(psql("SELECT count(*), sum(degrees) FROM heat"), "100|5050");
    backup(platform);
    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
}

/// The steps of docs/data.md: a dump, a database that is made anew, and its rows are there.
fn backup(platform: &Platform) {
    let inside = |words: &[&str], from: Stdio| -> Vec<u8> {
        let mut command = platform.program(["exec", "-T", "postgres"].into_iter().chain(words.iter().copied()));
        let output = command.stdin(from).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let psql = |database: &str, statements: &[&str]| {
        let mut words = vec!["psql", "-U", "postgres", "-A", "-t", "-d", database];
        words.extend(statements.iter().flat_map(|statement| ["-c", statement]));
        String::from_utf8(inside(&words, Stdio::null())).unwrap()
    };
    psql("postgres", &["create database shop"]);
    psql(
        "shop",
        &[
            "create table heat (time timestamptz not null, degrees int)",
            "select create_hypertable('heat', 'time')",
            "insert into heat select now() - n * interval '1 day', n from generate_series(1, 100) n",
        ],
    );
    let dump = platform.project().join("shop.dump");
    std::fs::write(&dump, inside(&["pg_dump", "-U", "postgres", "-Fc", "shop"], Stdio::null())).unwrap();
    inside(&["pg_restore", "-f", "/dev/null"], std::fs::File::open(&dump).unwrap().into());
    psql("postgres", &["drop database if exists shop with (force)", "create database shop"]);
    psql("shop", &["create extension if not exists timescaledb", "select timescaledb_pre_restore()"]);
    inside(&["pg_restore", "-U", "postgres", "-d", "shop"], std::fs::File::open(&dump).unwrap().into());
    psql("shop", &["select timescaledb_post_restore()"]);
    assert_eq!(psql("shop", &["select count(*), sum(degrees) from heat"]).trim(), "100|5050");
}
