//! `processes` of macula.yaml: programs of this machine that `up` starts and a process of ours keeps.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Platform, eventually};
use crate::run::{ask, up};

/// Serves the folder on the port that it gets, with a child that outlives it.
const SERVER: &str = "echo started $GREETING; sleep 600 & exec python3 -u -m http.server --bind 127.0.0.1 $PORT";

fn processes(greeting: &str, worker: bool) -> String {
    let worker = match worker {
        true => "  worker: {command: 'while true; do echo works; sleep 1; done', ingress: [], needs: [web]}\n",
        false => "",
    };
    format!(
        "processes:\n  web:\n    command: '{SERVER}'\n    cwd: site\n    ingress: [shop, www]\n    \
         env: {{GREETING: {greeting}}}\n    restart: always\n    watch: [{{path: site, include: ['*.conf']}}]\n{worker}"
    )
}

fn row(platform: &Platform, name: &str) -> Value {
    let status = platform.run("status -o json").ok().json();
    let rows = status["processes"].as_array().unwrap().clone();
    rows.into_iter().find(|row| row["name"] == name).unwrap_or(Value::Null)
}

fn pid(platform: &Platform, name: &str) -> Option<Pid> {
    row(platform, name)["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

/// What runs with the keeper's mark.
fn marked(platform: &Platform) -> Vec<i32> {
    let record = std::fs::read_to_string(platform.data().join("keeper.json")).unwrap_or_default();
    let Ok(record) = serde_json::from_str::<Value>(&record) else { return Vec::new() };
    members(record["mark"].as_str().unwrap())
}

fn members(mark: &str) -> Vec<i32> {
    let wanted = format!("MACULA_PROCESS={mark}");
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    pids.filter(has).collect()
}

fn keeper(platform: &Platform) -> (Pid, String) {
    let record = std::fs::read_to_string(platform.data().join("keeper.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let pid = i32::try_from(record["holder"]["pid"].as_i64().unwrap()).unwrap();
    (Pid::from_raw(pid).unwrap(), record["mark"].as_str().unwrap().to_owned())
}

#[test]
fn programs_of_macula_yaml_come_up_with_the_platform_and_stay() {
    let Some((platform, ingress)) = up("programs_of_macula_yaml_come_up_with_the_platform_and_stay") else { return };
    let settings = std::fs::read_to_string(platform.project().join("macula.yaml")).unwrap();
    let declare = |more: &str| platform.write("macula.yaml", &format!("{settings}{more}"));
    let host = format!("shop.{}.macula.local", platform.name);
    let answers = || ask(ingress, &host).0.contains(" 200 ");
    std::fs::create_dir(platform.project().join("site")).unwrap();
    platform.write("site/index.html", "hello from the process");
    declare(&processes("one", true));

    platform.run("plan --exit-code").exits(10).prints("web").prints("not running");
    platform.run("up --dns").ok().says("web: ready").says("worker: ready");
    assert_eq!(ask(ingress, &host).1, "hello from the process");
    assert!(ask(ingress, &format!("www.{}.macula.local", platform.name)).0.contains(" 200 "));
    let root = platform.data().join("run/ca.pem");
    let https = Command::new("curl")
        .args(["-sS", "--cacert", root.to_str().unwrap(), "--resolve", &format!("{host}:443:{ingress}")])
        .arg(format!("https://{host}/"))
        .output();
    match https {
        Ok(done) => assert_eq!(String::from_utf8_lossy(&done.stdout), "hello from the process", "{done:?}"),
        Err(error) => crate::harness::skipped("https to a process", "curl", &error.to_string()),
    }
    platform.run("logs web").ok().prints("started one");
    platform.run("logs worker -n 1").ok().prints("works");
    let both = platform.run("logs web worker -o json");
    both.ok();
    let lines: Vec<Value> = both.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(["web", "worker"].iter().all(|name| lines.iter().any(|line| line["service"] == *name)), "{both}");
    assert!(lines.is_sorted_by_key(|line| line["time"].as_str().unwrap().to_owned()), "{both}");
    platform.run("wait web worker --timeout 10s").ok().says("web is healthy").says("worker is healthy");
    platform.run("wait worker --for gone --timeout 300ms").exits(7).says("it still runs");
    platform.run("status").ok().prints("web").prints("running").prints(&host);
    platform.run("plan --exit-code").ok().prints("nothing to do");
    platform.run("up --dns").ok().says("nothing to do");

    // it is brought back, and its port and its name stay
    let (first, port) = (pid(&platform, "web").unwrap(), row(&platform, "web")["port"].clone());
    kill_process(first, Signal::KILL).unwrap();
    eventually("it is started again", || pid(&platform, "web").is_some_and(|pid| pid != first));
    eventually("it answers again", answers);
    assert_eq!(row(&platform, "web")["port"], port);
    assert_eq!(row(&platform, "web")["restarts"], 1);

    // a file of the rules
    let before = pid(&platform, "web").unwrap();
    platform.write("site/other.txt", "no reason");
    platform.write("site/a.conf", "x");
    eventually("a changed file restarts it", || pid(&platform, "web").is_some_and(|pid| pid != before));

    // one that is named, unless another name is mistyped
    platform.run("stop web nosuch").exits(2).says("nosuch");
    assert_eq!(row(&platform, "web")["state"], "running");
    platform.run("stop web").ok().says("stopped web");
    assert_eq!(row(&platform, "web")["state"], "stopped");
    assert!(ask(ingress, &host).0.contains(" 404 "));
    platform.run("up --dns").ok().says("nothing to do");
    platform.run("start web").ok().says("started web");
    eventually("it answers after a start", answers);
    let before = pid(&platform, "web").unwrap();
    platform.run("restart web").ok();
    assert_ne!(pid(&platform, "web").unwrap(), before);
    platform.run("run web").exits(5).says("runs in the background");

    // what has changed, and what is gone
    declare(&processes("two", false));
    platform.run("plan").ok().prints("environment changed").prints("no longer in macula.yaml");
    platform.run("up --dns").ok();
    platform.run("logs web").ok().prints("started two");
    assert_eq!(row(&platform, "worker"), Value::Null);

    // the keeper is killed: nothing stays, it is said, and the next `up` starts it again
    let (keeper_pid, mark) = keeper(&platform);
    assert!(members(&mark).len() >= 2);
    kill_process(keeper_pid, Signal::KILL).unwrap();
    eventually("nothing of it is left", || members(&mark).is_empty());
    platform.run("status").ok().prints("lost").prints("the process that kept it was killed");
    platform.run("up --dns").ok().says("was killed");
    eventually("it answers again after the keeper was killed", answers);

    let mark = keeper(&platform).1;
    platform.run("down --dry-run").ok().prints("ends 1 process: web");
    platform.run("down --volumes --yes").ok();
    assert_eq!(members(&mark), Vec::<i32>::new());
    assert!(marked(&platform).is_empty());
}

#[test]
fn programs_that_do_not_come_up_are_told_with_their_last_lines() {
    let Some(platform) = Platform::new("programs_that_do_not_come_up_are_told_with_their_last_lines") else { return };
    platform.stack("services: {db: {<<: *base, command: [sleep, '1000']}}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let with = |processes: &str| platform.settings(&format!("processes:\n{processes}"));

    with("  api: {command: 'echo no database; exit 3', needs: [db]}\n  web: {command: sleep 1000, needs: [api]}\n");
    let failed = platform.run("up");
    failed.exits(7).says("api: it ended 3 times, with exit code 3").says("no database").says("since it needs api");
    assert!(platform.containers().contains_key("db"));
    // between two of its starts, however busy the machine is
    eventually("status says how it ended", || platform.run("status").ok().out.contains("exit code 3"));

    with(&format!("  web: {{command: sleep 1000, port: {port}}}\n"));
    platform.run("up").exits(7).says(&format!("port {port} is held by")).says("up web");
    with("  web: {command: [no-such-program-here]}\n");
    platform.run("up").exits(7).says("no-such-program-here is not installed");
    with("  web: {command: nosuchprogram, restart: no}\n");
    platform.run("up").exits(7).says("exit code 127").says("did not find the program");
    with("  web: {command: 'exec python3 -m http.server --bind 127.0.0.1 0', probe: {timeout: 5s}}\n");
    platform.run("up").exits(7).says("instead of");
    // what is asked to end and does not is killed
    with(
        "  web: {command: 'trap \"\" TERM; echo stubborn; while true; do sleep 1; done', ingress: [], stop_grace_period: 500ms}\n",
    );
    platform.run("up").ok().says("web: ready");
    let mark = keeper(&platform).1;
    let begun = std::time::Instant::now();
    platform.run("down").ok();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(members(&mark), Vec::<i32>::new());

    with(
        "  db: {command: x}\n  web: {command: x, needs: [nobody], cwd: nowhere}\n  a: {command: x, needs: [b]}\n  b: {command: x, needs: [a]}\n",
    );
    let wrong = platform.run("plan");
    wrong
        .exits(3)
        .says("there is a service `db`, too")
        .says("no service or process `nobody`")
        .says("there is no folder");
    wrong.says("in a circle: a -> b -> a");
}
