//! Lines of the pages that take an engine, typed in the order of the page on a platform of busybox. Names and addresses
//! of the default platform stand for those of the scenario's own.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, Platform, eventually};
use crate::run::{ask, up};

#[path = "../common/pages.rs"]
mod shown;
#[path = "../common/typed.rs"]
mod typed;

use typed::{TYPED, Way};

/// Services that are called as the built-in ones of the pages.
const SERVICES: &str = "
services:
  prometheus:
    <<: *base
    command: [sh, -c, 'echo prometheus listens; exec httpd -f -p 9090 -h /www']
    x-macula:
      ingress: [{port: 9090}]
      configs: {/www/-/healthy: {content: Healthy}}
  postgres:
    <<: *base
    command: [sleep, infinity]
    ports: ['5432:5432']
    x-macula:
      secrets: {POSTGRES_PASSWORD: {generate: 24}}
      exports: {DATABASE_URL: 'postgres://postgres:{{ secrets.postgres.POSTGRES_PASSWORD }}@{{ service.address }}:5432/postgres'}
      configs: {/bin/psql: {content: \"#!/bin/sh\\necho psql of the container: $@\\n\", mode: '0755'}}
  s3:
    <<: *base
    command: [sleep, infinity]
  excalidraw:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula: {ingress: [{host: draw, port: 8080}]}
";

/// The service that some of the pages have and others run as a program of this machine.
const SHOP: &str = "  shop:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula: {ingress: [{port: 8080}], probe: {http: {port: 8080}}, configs: {/www/ready: {content: ready}}}
";

/// Programs of the reader's: they do what takes to see that they got what the page says.
const PROGRAMS: [(&str, &str); 6] = [
    (
        "npm",
        "case $1 in test) echo tested with \"$DATABASE_URL\";; *) exec python3 -u -m http.server --bind 127.0.0.1 \"$PORT\";; esac",
    ),
    ("cargo", "echo tested with \"$DATABASE_URL\""),
    ("psql", "echo \"$2, asked of $DATABASE_URL\""),
    ("python", "exec python3 \"$@\""),
    ("xdg-open", "echo \"$1\" >> \"$HOME/opened\""),
    ("open", "echo \"$1\" >> \"$HOME/opened\""),
];

/// Sends one span to where the environment says.
const APP: &str = r#"
import json, os, time, urllib.request
now = time.time_ns()
span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /checkout", "kind": 2,
        "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 1000000)}
name = {"key": "service.name", "value": {"stringValue": os.environ["OTEL_SERVICE_NAME"]}}
body = {"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}]}
url = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces"
request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
print("sent", urllib.request.urlopen(request).status)
"#;

/// Somebody who reads a page and types what it shows.
struct Reader<'a> {
    platform: &'a Platform,
    ingress: Option<Ipv4Addr>,
}

impl<'a> Reader<'a> {
    fn new(platform: &'a Platform, ingress: Option<Ipv4Addr>) -> Self {
        let reader = Self { platform, ingress };
        fs::create_dir(reader.bin()).unwrap();
        symlink(env!("CARGO_BIN_EXE_macula"), reader.bin().join("macula")).unwrap();
        for (name, script) in PROGRAMS {
            let path = reader.bin().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        reader
    }

    fn bin(&self) -> PathBuf {
        self.platform.home().join("bin")
    }

    /// The line with the platform's own names and addresses.
    fn own(&self, line: &str) -> String {
        let line = line.replace("macula.local", &format!("{}.macula.local", self.platform.name));
        match self.ingress {
            Some(address) => line.replace("http://127.0.0.1/", &format!("http://{address}/")),
            None => line,
        }
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = self.platform.program([]);
        let variables: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        let path = std::env::var("PATH").unwrap_or_default();
        command = Command::new("sh");
        command
            .args(["-c", line])
            .env_clear()
            .envs(variables)
            .env("PATH", format!("{}:{path}", self.bin().display()))
            .env("MACULA_NAME", &self.platform.name)
            .env("GITHUB_ENV", self.platform.home().join("github.env"))
            .current_dir(self.platform.project())
            .stdin(Stdio::null());
        command
    }

    /// Starts a line; what it says goes to a file, which somebody who is left in the background may hold.
    fn starts(&self, line: &str) -> (Child, PathBuf) {
        let said = self.platform.home().join("said");
        let file = File::create(&said).unwrap();
        let mut command = self.shell(line);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        (command.spawn().unwrap(), said)
    }

    /// Types one line of the page.
    fn types(&self, page: &str, line: &str, way: &Way) {
        let own = self.own(line);
        match way {
            Way::Engine(code, says) => {
                let (mut child, said) = self.starts(&own);
                let status = ends(&mut child, line);
                let said = fs::read_to_string(&said).unwrap();
                assert_eq!(status, *code, "{page}: {line}: {said}");
                assert!(said.contains(says), "{page}: {line}: it does not say `{says}`: {said}");
                self.compares(page, line, &said);
            }
            Way::Until(says) => {
                let (mut child, said) = self.starts(&format!("exec {own}"));
                let said = || fs::read_to_string(&said).unwrap();
                eventually(&format!("{page}: {line}: {says}"), || said().contains(says));
                if let Some(ingress) = self.ingress.filter(|_| line.contains("--as shop")) {
                    let host = format!("shop.{}.macula.local", self.platform.name);
                    eventually("the program answers under its name", || ask(ingress, &host).0.contains(" 200 "));
                }
                let _ = kill_process(Pid::from_child(&child), Signal::INT);
                // who was started where Ctrl-C is ignored, as by `nohup` or in the background, ignores it too
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(5) && child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let _ = kill_process(Pid::from_child(&child), Signal::TERM);
                ends(&mut child, line);
            }
            Way::Alone(code, says) => println!("{page}: {line}: in tests/pages it ends with {code} and says `{says}`"),
            Way::Read(why) | Way::Foreign(why) => println!("{page}: {line}: not run: {why}"),
        }
    }

    /// What the page shows below a command is what the command says, but for names, addresses and what is well.
    fn compares(&self, page: &str, line: &str, said: &str) {
        let all = shown::blocks().into_iter().filter(|block| block.page == page && block.language == "text");
        let Some(block) = all.into_iter().find(|block| block.typed() == [line]) else { return };
        let place = format!("{page}:{}", block.line);
        let shown = block.text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let shape = |text: &str| -> Vec<String> {
            match line.split(' ').nth(1) {
                // the head of the table
                Some("validate") => {
                    text.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
                }
                // the hops in their order
                _ if line.contains("trace") => {
                    let hops =
                        text.lines().take_while(|line| !line.is_empty()).skip(1).filter(|line| !line.starts_with(' '));
                    hops.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
                }
                // lines without what differs from platform to platform
                _ => text.lines().map(|line| plain(&line.replace(&format!("{}.", self.platform.name), ""))).collect(),
            }
        };
        assert_eq!(shape(&shown), shape(said), "{place}:\n{shown}\n{said}");
    }

    /// All lines of a page; `before` is told each line first.
    fn reads(&self, page: &str, mut before: impl FnMut(&str)) {
        let lines = TYPED.iter().find(|(name, _)| *name == page).unwrap().1;
        for (line, way) in lines {
            if matches!(way, Way::Engine(..) | Way::Until(_)) {
                before(line);
            }
            self.types(page, line, way);
        }
    }
}

/// Numbers and what stands in parentheses are of the moment.
fn plain(line: &str) -> String {
    let line = line.split(" (").next().unwrap_or(line);
    line.replace(|c: char| c.is_ascii_digit(), "0").replace("00", "0").replace("00", "0")
}

#[track_caller]
fn ends(child: &mut Child, line: &str) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{line}: it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn own(services: &str) -> String {
    format!("x-base: &base {{image: {}, stop_signal: SIGKILL}}\n{services}", crate::harness::IMAGE)
}

/// A platform with the ingress, the services and the programs of the pages.
fn surroundings(scenario: &str) -> Option<(Platform, Ipv4Addr)> {
    let (platform, ingress) = up(scenario)?;
    let settings = fs::read_to_string(platform.project().join("macula.yaml")).unwrap();
    platform.write("macula.yaml", &format!("stacks: [compose.yaml]\n{settings}"));
    platform.write("app.py", APP);
    symlink(".", platform.project().join("project")).unwrap();
    let host = |host: &str| format!("resolve = \"{host}.{}.macula.local:443:{ingress}\"\n", platform.name);
    let authority = platform.data().join("run/ca.pem");
    let settings = format!("silent\ncacert = {}\n{}{}", authority.display(), host("prometheus"), host("draw"));
    fs::write(platform.home().join(".curlrc"), settings).unwrap();
    Some((platform, ingress))
}

/// The stack of the pages, with the service `shop` or without.
fn stack(platform: &Platform, shop: &str) {
    platform.write("compose.yaml", &own(&format!("{SERVICES}{shop}")));
}

#[test]
fn pages_about_services_and_names_do_what_they_say() {
    let Some((platform, ingress)) = surroundings("pages_about_services_and_names_do_what_they_say") else { return };
    let reader = Reader::new(&platform, Some(ingress));
    stack(&platform, "");
    reader.reads("README.md", |line| {
        if line.starts_with("macula ci") {
            // the service of that part of the page; the settings of before are not the stack's
            stack(&platform, SHOP);
            fs::remove_file(platform.project().join(".env")).unwrap();
        }
    });
    let github = fs::read_to_string(platform.home().join("github.env")).unwrap();
    assert!(github.contains("DATABASE_URL=postgres://"), "{github}");
    reader.reads("docs/dns.md", |_| {});
    stack(&platform, "");
    platform.run("up --dns").ok();
    for page in ["docs/run.md", "docs/telemetry.md", "docs/page.md", "docs/data.md", "docs/start.md"] {
        reader.reads(page, |_| {});
    }
    let opened = fs::read_to_string(platform.home().join("opened")).unwrap();
    let opened: Vec<&str> = opened.lines().collect();
    assert_eq!(opened.len(), 4, "{opened:?}");
    assert_eq!(opened[0], format!("https://draw.{}.macula.local", platform.name));
    assert!(opened[1..].iter().all(|page| page.contains("#/enter/")), "{opened:?}");
    platform.run("down --volumes --yes").ok();
}

#[test]
fn pages_about_ci_do_what_they_say() {
    let Some((platform, ingress)) = surroundings("pages_about_ci_do_what_they_say") else { return };
    platform.run("down").ok();
    stack(&platform, SHOP);
    let reader = Reader::new(&platform, Some(ingress));
    reader.reads("docs/ci.md", |line| {
        if line.contains("--for gone") {
            stack(&platform, &format!("{SHOP}  web: {{<<: *base, command: [sleep, infinity]}}\n"));
        }
    });
    platform.run("down --volumes --yes").ok();
}

#[test]
fn pages_about_images_and_machines_do_what_they_say() {
    let Some(platform) = Platform::new("pages_about_images_and_machines_do_what_they_say") else { return };
    platform.write("compose.yaml", &own("services: {web: {<<: *base, command: [sleep, infinity]}}\n"));
    let image = format!("macula-test/{}-shop:1", platform.name);
    fs::create_dir(platform.project().join("shop")).unwrap();
    let shop = format!(
        "services: {{web: {{image: '{image}', build: {{context: ., dockerfile_inline: \"FROM {}\\nENV SHOP=1\"}}, command: [sleep, infinity]}}}}\n",
        crate::harness::IMAGE
    );
    platform.write("shop/compose.yaml", &shop);
    platform.run("up").ok();
    let reader = Reader::new(&platform, None);
    reader.reads("docs/stacks.md", |_| {});
    reader.reads("docs/targets.md", |_| {});
    // under all of its names
    let built = platform.engine.get(&format!("/images/{image}/json"));
    platform.also_remove(format!("/images/{}?force=1", built["Id"].as_str().unwrap()));
    // the ten commands begin on a machine without the platform
    platform.run("down").ok();
    platform.run("up --reset").ok();
    platform.run("down").ok();
    reader.reads("docs/testing.md", |_| {});
    assert_eq!(platform.everything(), [""; 0]);
}
