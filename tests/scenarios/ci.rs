//! What scripts and CI jobs use: `wait`, `ci`, `report`.

use std::io::Read as _;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{IMAGE, Platform, Running, eventually};

const STACK: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'while [ ! -e /go ]; do sleep 0.05; done; exec httpd -f -p 8080 -h /']
    ports: ['8080']
    x-macula: {probe: {http: {port: 8080, path: /go}}}
  db:
    <<: *base
    command: [sleep, infinity]
    healthcheck: {test: [CMD, test, -e, /ok], interval: 1s, retries: 1000}
  job:
    <<: *base
    command: [sh, -c, 'sleep 1; echo done']
  crash:
    <<: *base
    command: [sh, -c, 'echo no such table; exit 3']
";

#[test]
fn wait_ends_with_what_it_waits_for() {
    let Some(platform) = Platform::new("wait_ends_with_what_it_waits_for") else { return };
    platform.stack(STACK);
    // nothing is there yet, and nothing is started
    platform.run("wait --timeout 1s").exits(7).says("it has no container yet");
    assert!(platform.containers().is_empty());
    platform.run("wait nosuch").exits(2).says("no service is named nosuch");
    platform.run("wait web --for gone --timeout 1s").ok();

    let up = platform.start("up web db job");
    let mut wait = platform.start("wait web db job --timeout 2m");
    wait.until_says("job is healthy");
    let late = platform.run("wait web db --timeout 1s");
    late.exits(7).says("2 of 2 are not healthy after");
    eventually("web runs", || platform.run_with("exec", &["web", "touch", "/go"]).code == 0);
    wait.until_says("web is healthy");
    eventually("db runs", || platform.run_with("exec", &["db", "touch", "/ok"]).code == 0);
    wait.wait().ok();
    up.wait().ok();

    // a service that nothing starts again is not waited for
    platform.run("up crash").exits(7);
    let failed = platform.run("wait db crash --timeout 2m -o json");
    let rows = failed.exits(7).json();
    assert_eq!((&rows[0]["target"], &rows[0]["met"]), (&"db".into(), &true.into()));
    assert_eq!((&rows[1]["target"], &rows[1]["met"]), (&"crash".into(), &false.into()));
    assert_eq!(rows[1]["reason"], "it ended with exit code 3");
    assert_eq!(rows[1]["log"][0], "no such table");
    platform.run("wait crash --timeout 2m").exits(7).says("no such table");

    let gone = platform.start("wait --for gone --timeout 2m");
    platform.run("down").ok();
    gone.wait().ok();
}

#[test]
fn wait_can_be_stopped() {
    let Some(platform) = Platform::new("wait_can_be_stopped") else { return };
    platform.stack(STACK);
    platform.run("up job").ok();
    let mut wait = platform.start("wait job web --timeout 10m");
    wait.until_says("job is healthy");
    wait.signal(Signal::TERM);
    wait.wait().exits(130).says("Stopped waiting after");
}

/// Its command fails where the file `fail` is there.
const JOB: &str = "echo $SHOP_URL; test ! -e fail || exit 3";

const SHOP: &str = "
services:
  shop:
    <<: *base
    command: [sh, -c, 'echo token=abcdef123456; exec sleep infinity']
    environment: {SHOP_PASSWORD: kept-to-ourselves}
    volumes: ['data:/data']
    x-macula: {exports: {SHOP_URL: 'shop://here'}}
volumes: {data: {}}
";

/// Everything that the archive holds, as one text.
pub fn unpacked(platform: &Platform, file: &str) -> String {
    let archive = std::fs::File::open(platform.project().join(file)).unwrap();
    let mut all = String::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        all.push_str(&format!("== {}\n", entry.path().unwrap().display()));
        entry.read_to_string(&mut all).unwrap();
    }
    all
}

#[test]
fn ci_starts_runs_and_cleans_up() {
    let Some(platform) = Platform::new("ci_starts_runs_and_cleans_up") else { return };
    platform.stack(SHOP);
    let ci = || platform.run_with("ci --no-dns --", &["sh", "-c", JOB]);
    let report = format!("macula-report-{}.tar", platform.name);

    ci().ok().prints("shop://here");
    assert!(platform.everything().is_empty(), "nothing was there before, and nothing is left");
    platform.run("ci --no-dns --needs nosuch -- true").exits(2).says("no service is named nosuch");
    assert!(!platform.project().join(&report).exists());

    platform.write("fail", "");
    ci().exits(3).prints("shop://here").says(&report);
    assert!(platform.everything().is_empty());
    let all = unpacked(&platform, &report);
    for part in ["versions.json", "plan.json", "status.json", "doctor.json", "logs/shop.log"] {
        assert!(all.contains(&format!("== macula-report/{part}\n")), "{part} is missing:\n{all}");
    }
    assert!(all.contains("token=[hidden]") && all.contains("shop://here"), "{all}");
    assert!(!all.contains("abcdef123456") && !all.contains("kept-to-ourselves"), "{all}");

    // what was there before stays
    platform.run("up").ok();
    let before = platform.containers();
    ci().exits(3).says("was up before, so it stays up");
    assert_eq!(platform.containers(), before);
    platform.run("down").ok();
    std::fs::remove_file(platform.project().join("fail")).unwrap();
    ci().ok();
    assert_eq!(platform.everything(), [format!("volume {}", platform.volume_name("data"))]);

    // a platform that does not start: its own exit code, a report, and nothing left but the data
    std::fs::remove_file(platform.project().join(&report)).unwrap();
    platform.stack(&SHOP.replace("exec sleep infinity", "exit 9"));
    ci().exits(7).says(&report);
    assert!(unpacked(&platform, &report).contains("== macula-report/logs/shop.log"));
    assert_eq!(platform.everything(), [format!("volume {}", platform.volume_name("data"))]);
}

/// What the tests found out is worth more than what is left behind them.
#[test]
fn ci_that_cannot_clean_up_keeps_the_exit_code_of_its_command() {
    let Some(platform) = Platform::new("ci_that_cannot_clean_up") else { return };
    platform.stack(SHOP);
    let script = "echo at work >&2; while [ ! -e go ]; do sleep 0.1; done";
    let words = "ci --no-dns -- sh -c".split_whitespace().chain([script]);
    let mut ci = Running::start(&mut platform.program(words));
    ci.until_says("at work");
    let guest = format!("{}-guest", platform.name);
    let body = json!({
        "Image": IMAGE, "Cmd": ["sleep", "infinity"],
        "HostConfig": {"NetworkMode": platform.network_name()},
    });
    platform.engine.post(&format!("/containers/create?name={guest}"), &body);
    platform.also_remove(format!("/containers/{guest}?force=1"));
    platform.engine.post(&format!("/containers/{guest}/start"), &json!({}));
    platform.write("go", "");
    ci.wait().ok().says("could not be taken down").says(&guest);
    assert_eq!(platform.everything(), [format!("network {}", platform.network_name())]);
}

#[test]
fn the_last_of_several_ci_takes_the_platform_down() {
    let Some(platform) = Platform::new("the_last_of_several_ci") else { return };
    platform.stack(SHOP);
    let begin = |go: &str| {
        let script = format!("echo at work >&2; while [ ! -e {go} ]; do sleep 0.1; done");
        let words = "ci --no-dns -- sh -c".split_whitespace().chain([script.as_str()]);
        let mut ci = Running::start(&mut platform.program(words));
        ci.until_says("at work");
        ci
    };
    let (first, second) = (begin("one"), begin("two"));
    platform.write("one", "");
    first.wait().ok().says("is used by another `macula ci`");
    assert!(!platform.containers().is_empty());
    platform.write("two", "");
    second.wait().ok().says("is down, and its data removed");
    assert!(platform.everything().is_empty());
}

/// Whatever the command makes of a signal, time goes to what has to be taken down.
#[test]
fn ci_that_is_stopped_leaves_nothing_and_writes_no_report() {
    let Some(platform) = Platform::new("ci_that_is_stopped") else { return };
    platform.stack(SHOP);
    let script = "trap 'exit 1' TERM; echo at work >&2; while :; do sleep 0.1; done";
    let words = "ci --no-dns -- sh -c".split_whitespace().chain([script]);
    let mut ci = Running::start(&mut platform.program(words));
    ci.until_says("at work");
    ci.signal(Signal::TERM);
    ci.wait().exits(1).says("is down, and its data removed");
    assert!(platform.everything().is_empty());
    assert!(!platform.project().join(format!("macula-report-{}.tar", platform.name)).exists());
}

#[test]
fn a_report_of_wrong_files_says_what_is_wrong() {
    let Some(platform) = Platform::new("a_report_of_wrong_files_says_what_is_wrong") else { return };
    platform.write("compose.yaml", "services: {web: {imagee: x}}\n");
    platform.run("report --to here.tar").ok().prints("wrote here.tar");
    let all = unpacked(&platform, "here.tar");
    assert!(all.contains("== macula-report/configuration.yaml.error.txt") && all.contains("imagee"), "{all}");
    assert!(all.contains("== macula-report/versions.json"), "{all}");
}
