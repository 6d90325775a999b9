//! `macula run`: a program of this machine has a name of the platform for as long as it runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::harness::{IMAGE, Platform, Running, eventually, skipped};

/// Platforms that have been made: each has a resolver of its own.
static COUNT: AtomicU8 = AtomicU8::new(0);

/// The ingress alone, and a resolver on an address that no other scenario has.
fn settings(listen: Ipv4Addr) -> String {
    let without = ["dns", "draw", "metrics", "observability", "postgres", "registry", "s3", "tools"];
    let without: Vec<String> = without.iter().map(|stack| format!("{stack}: false")).collect();
    format!(
        "cluster: {{enabled: false}}\nbuilt_in: {{{}}}\ndns: {{listen: [\"{listen}:53953\"]}}\n",
        without.join(", ")
    )
}

/// A platform whose resolver runs, and its ingress's address. `None`, said aloud: something is missing here.
pub fn up(scenario: &str) -> Option<(Platform, Ipv4Addr)> {
    up_with(scenario, "")
}

/// The same with these lines in macula.yaml.
fn up_with(scenario: &str, more: &str) -> Option<(Platform, Ipv4Addr)> {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        skipped(scenario, "python3", "it is not installed");
        return None;
    }
    let platform = Platform::new(scenario)?;
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = settings(Ipv4Addr::new(127, 99 + number % 100, high, low.max(1)));
    platform.write("macula.yaml", &(own + more));
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    let done = platform.run("up --yes --images build --timeout 5m --dns");
    if done.code == 6 || done.code == 8 {
        skipped(scenario, "build", "the ingress cannot be built here");
        return None;
    }
    done.ok();
    let status = platform.run("status -o json").ok().json();
    let rows = status["services"].as_array().unwrap();
    let ingress = rows.iter().find(|row| row["name"] == "ingress").unwrap();
    let address = ingress["addresses"][0].as_str().unwrap().split(':').next().unwrap().parse().unwrap();
    Some((platform, address))
}

/// The first line and the body of what the ingress answers for this name.
pub fn ask(ingress: Ipv4Addr, host: &str) -> (String, String) {
    let asked = || {
        let mut stream = TcpStream::connect((ingress, 80))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked().unwrap_or_default();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// Says which process it is, waits to be told to listen, and serves the folder.
const PROGRAM: &str = "echo $$ > pid; echo compiling; while [ ! -e go ]; do sleep 0.05; done; \
                       exec python3 -u -m http.server --bind 127.0.0.1 $PORT";

/// Nothing that the engine publishes arrives here, and the gateway of its networks is not this machine's.
#[test]
fn a_relay_leads_to_a_program_of_this_machine() {
    let Some((platform, ingress)) = up_with("a_relay_leads_to_a_program_of_this_machine", "reach: relay\n") else {
        return;
    };
    assert_eq!(platform.run("status -o json").ok().json()["reach"]["way"], "relay");
    let host = format!("shop.{}.macula.local", platform.name);
    platform.write("index.html", "hello from the program");
    platform.write("go", "");
    let run = Running::start(&mut platform.program(["run", "--as", "shop", "--", "sh", "-c", PROGRAM]));
    let answers = || {
        let (status, page) = ask(ingress, &host);
        status.contains(" 200 ") && page == "hello from the program"
    };
    eventually("the program answers by its name", answers);
    let (status, _) = ask(ingress, &format!("home.{}.macula.local", platform.name));
    assert!(status.contains(" 302 "), "the page has its name, too: {status}");

    platform.engine.post(&format!("/containers/{}.relay/kill", platform.network_name()), &serde_json::json!({}));
    eventually("it answers through the next relay", answers);
    run.signal(Signal::TERM);
    run.wait();
    eventually("nobody has the name", || ask(ingress, &host).0.contains(" 404 "));
}

#[test]
fn a_program_has_a_name_for_as_long_as_it_runs() {
    let Some((platform, ingress)) = up("a_program_has_a_name_for_as_long_as_it_runs") else { return };
    let host = format!("shop.{}.macula.local", platform.name);
    let start = || Running::start(&mut platform.program(["run", "--as", "shop", "--", "sh", "-c", PROGRAM]));
    let pid = || {
        let written = std::fs::read_to_string(platform.project().join("pid")).unwrap();
        Pid::from_raw(written.trim().parse().unwrap()).unwrap()
    };
    let nobody = || ask(ingress, &host).0.contains(" 404 ");
    let answers = || ask(ingress, &host).0.contains(" 200 ");
    platform.write("index.html", "hello from the program");
    assert!(nobody());

    let run = start();
    eventually("the page says that it starts", || {
        let (status, page) = ask(ingress, &host);
        status.contains(" 503 ") && page.contains("compiling")
    });
    platform.run("run --as shop -- true").exits(5).says("is the name of a platform or of another `macula run`");
    platform.write("go", "");
    eventually("the program answers", answers);
    assert_eq!(ask(ingress, &host).1, "hello from the program");
    platform.run("logs shop").ok().prints("compiling");
    kill_process(pid(), Signal::KILL).unwrap();
    run.wait().exits(137);
    eventually("the route has gone with the program", nobody);

    let run = start();
    eventually("the program answers again", answers);
    let program = pid();
    run.signal(Signal::KILL);
    eventually("the route has gone with `macula run`", nobody);
    eventually("the program has ended", || test_kill_process(program).is_err());
    run.wait();

    // a child that goes to the background has no route once the program has ended
    let forks = format!("sh -c '{PROGRAM}' & while [ ! -e listening ]; do sleep 0.05; done");
    let run = Running::start(&mut platform.program(["run", "--as", "shop", "--", "sh", "-c", &forks]));
    eventually("the child answers", answers);
    let child = pid();
    platform.write("listening", "");
    run.wait().ok();
    eventually("the route has gone with the program that forked", nobody);
    let _ = kill_process(child, Signal::KILL);

    // an ingress that is down is started for the program
    let name = platform.container_name("ingress");
    platform.engine.post(&format!("/containers/{name}/stop?t=0"), &serde_json::Value::Null);
    assert!(!platform.container("ingress").running);
    let run = start();
    eventually("the program answers through an ingress that was down", answers);
    // and one that ends meanwhile takes nothing with it
    platform.engine.post(&format!("/containers/{name}/restart?t=0"), &serde_json::Value::Null);
    eventually("the program answers through an ingress that was away", answers);
    run.signal(Signal::TERM);
    run.wait();
}

/// It asks the engine's DNS, and this machine's knows nothing of the platform.
#[test]
fn a_container_reaches_a_program_by_its_name() {
    let Some((platform, _)) = up("a_container_reaches_a_program_by_its_name") else { return };
    platform.write(
        "app.yaml",
        &format!("services: {{app: {{image: {IMAGE}, stop_signal: SIGKILL, command: [sleep, infinity]}}}}\n"),
    );
    platform.run("up --stack app.yaml --yes --images build --timeout 5m --dns").ok();
    let before = platform.containers();
    platform.write("index.html", "hello from the program");
    platform.write("go", "");
    let run = Running::start(&mut platform.program(["run", "--as", "shop", "--", "sh", "-c", PROGRAM]));
    // a static busybox's wget may not look up names
    let host = format!("shop.{}.macula.local", platform.name);
    let request = format!("GET / HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n");
    let get = || platform.shell("app", &format!("printf '{request}' | nc -w 5 {host} 80 | tail -n 1"));
    eventually("the container gets the program's page", || get() == "hello from the program");
    // nothing that was there is another one, and the name stays as long as the program; the name's own ingress is one more
    for service in ["app", "ingress", "ingress-inside"] {
        let there = platform.engine.container(&before[service].id);
        assert_eq!(there.as_ref(), Some(&before[service]), "{service}");
    }
    platform.run("up --dns").ok().says("nothing to do");
    assert_eq!(get(), "hello from the program");
    run.signal(Signal::TERM);
    run.wait();
    platform.run("down --volumes --yes").ok();
}

/// The names and ports are those of a collector, whoever takes it.
#[test]
fn a_container_sends_its_telemetry_to_a_name() {
    let Some((platform, _)) = up("a_container_sends_its_telemetry_to_a_name") else { return };
    platform.write(
        "app.yaml",
        &format!("services: {{app: {{image: {IMAGE}, stop_signal: SIGKILL, command: [sleep, infinity]}}}}\n"),
    );
    platform.run("up --stack app.yaml --yes --images build --timeout 5m --dns").ok();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    for (port, span, id) in [(4318, "over HTTP", "b1"), (4317, "on the port for gRPC", "b2")] {
        let body = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"app"}}}}]}},"scopeSpans":[{{"spans":[{{"traceId":"{id}8efff798038103d269b633813fc6{id}","spanId":"eee19b7ec3c1b174","name":"{span}","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{}"}}]}}]}}]}}"#,
            now + 1_000_000
        );
        let host = format!("otlp.{}.macula.local", platform.name);
        let head = format!(
            "POST /v1/traces HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nContent-Type: application/json\\r\\nContent-Length: {}\\r\\nConnection: close\\r\\n\\r\\n",
            body.len()
        );
        // busybox ends with its input, which lasts until there is an answer
        let wait = format!("n=0; while [ ! -s /a{port} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done");
        let sent = platform.shell(
            "app",
            &format!("{{ printf '{head}'; echo -n '{body}'; {wait}; }} | nc {host} {port} | tee /a{port}"),
        );
        assert!(sent.contains("200 OK"), "{port}: {sent}");
        platform.run("traces --service app").ok().prints(span);
    }
    platform.run("down --volumes --yes").ok();
}
