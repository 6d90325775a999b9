//! The ingress, built from packages: what a client sends reaches the service as at its own port, and
//! the other way; names shared by weight; containers that stop and hang.

mod both_ways;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Platform, skipped};

const SETTINGS: &str = "
stacks: [compose.yaml]
cluster: {enabled: false}
built_in: {dns: false, draw: false, metrics: false, observability: false, postgres: false, registry: false, s3: false, tools: false}
";

/// A platform with the ingress and this stack, and the ingress's address. `None`, said aloud: there
/// is nothing to build the ingress with.
fn up(scenario: &str, stack: &str) -> Option<(Platform, Ipv4Addr)> {
    let platform = Platform::new(scenario)?;
    platform.write("macula.yaml", SETTINGS);
    platform.stack(stack);
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    let done = platform.run("up --yes --images build --timeout 5m");
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

/// A message as it stands on the wire, without what each connection has of its own.
#[derive(Debug, Clone, Default, PartialEq)]
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

fn lines(stream: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line: String = line.iter().map(|byte| char::from(*byte)).collect();
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        if line.is_empty() {
            return Ok(all);
        }
        all.push(line);
    }
}

fn fields(lines: &[String]) -> Vec<(String, String)> {
    let split =
        |line: &String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    lines.iter().filter_map(split).collect()
}

/// Head, body and trailers. `until_end`: without a length the body ends with the connection.
fn message(stream: &mut impl BufRead, until_end: bool) -> std::io::Result<Message> {
    let head = lines(stream)?;
    let mut read = Message { first: head[0].clone(), headers: fields(&head[1..]), ..Message::default() };
    let value = |name: &str| read.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let status = read.first.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].to_owned()).unwrap_or_default();
    if status.starts_with('1') || status == "204" || status == "304" {
        return Ok(read);
    }
    if value("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0);
            if length == 0 {
                read.trailers = fields(&lines(stream)?);
                return Ok(read);
            }
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk)?;
            chunk.truncate(length);
            read.body.extend(chunk);
        }
    }
    match value("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            read.body = vec![0; length];
            stream.read_exact(&mut read.body)?;
        }
        None if until_end => drop(stream.read_to_end(&mut read.body)?),
        None => {}
    }
    Ok(read)
}

/// A client's request: the answers it gets, interim ones first.
fn ask(to: SocketAddr, request: &[u8]) -> std::io::Result<Vec<Message>> {
    ask_of(to, request, &AtomicBool::default())
}

/// `interim` is set at each interim answer.
fn ask_of(to: SocketAddr, request: &[u8], interim: &AtomicBool) -> std::io::Result<Vec<Message>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // what is refused is answered before all of it is sent
    let _ = stream.write_all(request);
    let mut reader = BufReader::new(&stream);
    let mut all = Vec::new();
    loop {
        let answer = message(&mut reader, true)?;
        let last = !answer.first.starts_with("HTTP/1.1 1");
        if !last {
            interim.store(true, Ordering::SeqCst);
        }
        all.push(answer);
        if last {
            return Ok(all);
        }
    }
}

/// Status, who answered by `X-Macula` or else nothing, and the body.
fn get(address: Ipv4Addr, host: &str, path: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = match ask((address, 80).into(), request.as_bytes()) {
        Ok(mut answers) => answers.remove(0),
        Err(error) => return (0, String::new(), error.to_string()),
    };
    let status = answer.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mark = answer.headers.iter().find(|(name, _)| name == "x-macula").map(|(_, value)| value.clone());
    (status, mark.unwrap_or_default(), String::from_utf8_lossy(&answer.body).trim().to_owned())
}

#[test]
fn paths_hosts_and_the_pages() {
    let web = |body: &str, rules: &str| {
        format!(
            "{{<<: *base, command: [sh, -c, 'mkdir -p /tmp/w/api /tmp/w/deep; for f in /tmp/w /tmp/w/api /tmp/w/deep; do \
             echo {body} > $$f/index.html; done; exec httpd -f -p 8080 -h /tmp/w'], \
             x-macula: {{probe: {{http: {{port: 8080}}}}, ingress: {rules}}}}}"
        )
    };
    let long = "a-name-of-sixty-three-characters-which-is-the-most-that-dns-has";
    let stack = format!(
        "services:\n  web: {}\n  api: {}\n  owner: {{<<: *base, command: [sleep, infinity]}}\n  guest: {}\n  \
         talks: {{<<: *base, command: [sh, -c, 'exec nc -ll -p 7000 -e echo hello'], ports: ['7000:7000'], x-macula: {{address: 127.0.0.31}}}}\n",
        web(
            "web",
            &format!(
                "[{{port: 8080}}, {{host: '*.wild', port: 8080}}, {{host: münchen, port: 8080}}, {{host: a.example.org, port: 8080}}, {{host: {long}, port: 8080}}]"
            )
        ),
        web("api", "[{host: web, port: 8080, path: /api}, {host: only, port: 8080, path: /x/deep, strip: true}]"),
        web("guest", "[{port: 8080}]").replacen("x-macula", "network_mode: 'service:owner', x-macula", 1),
    );
    let Some((platform, address)) = up("paths_hosts_and_the_pages", &stack) else { return };
    let name = |host: &str| format!("{host}.{}.macula.local", platform.name);
    let body = |host: &str, path: &str| get(address, host, path).2;
    assert_eq!(body(&name("web"), "/"), "web");
    assert_eq!(body(&name("web"), "/api/"), "api");
    assert_eq!(body(&name("web"), "/%61pi//../api/"), "api");
    // half a segment is another path: the service itself has no such file
    assert_eq!(get(address, &name("web"), "/apis").0, 404);
    assert_eq!(get(address, &name("web"), "/apis").1, "");
    assert_eq!(body(&name("only"), "/x/deep"), "api");
    assert_eq!(body(&name("only"), "/x/deep/deep/"), "api");
    for host in [&*name("a.wild"), &*name("a.b.wild"), &*name("xn--mnchen-3ya"), &*name(long), "a.example.org"] {
        assert_eq!(body(host, "/"), "web", "{host}");
    }
    assert_eq!(body(&name("guest"), "/"), "guest");
    for (host, path) in [(name("only"), "/"), (name("only"), "/x/deeper"), (name("nobody"), "/"), (name("wild"), "/")] {
        let (status, mark, page) = get(address, &host, path);
        assert_eq!((status, mark.as_str()), (404, "no-route"), "{host}{path}");
        assert!(page.contains(&name("web")) && !page.contains("Welcome to nginx"), "{page}");
    }
    // a direct port inside the network, of a service that speaks first
    let said = platform.shell("owner", &format!("sleep 1 | nc {} 7000", name("talks")));
    assert_eq!(said.trim(), "hello");
    platform.run("stop web").ok();
    let (status, mark, page) = get(address, &name("web"), "/");
    assert_eq!((status, mark.as_str()), (503, "unavailable"));
    assert!(page.contains("macula logs web"), "{page}");
}

/// By `openssl passwd -6 -salt abcdefgh secret`.
const SECRET: &str =
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";

/// A program of this machine that answers over TLS, for as long as this lives.
struct Safe {
    server: Child,
    /// With its key and its certificate.
    _folder: TempDir,
}

impl Safe {
    /// `None`, said aloud: there is no openssl.
    fn start(scenario: &str, port: u16) -> Option<Self> {
        let folder = TempDir::with_prefix("macula-scenario-").unwrap();
        let openssl = |words: String| {
            let mut command = Command::new("openssl");
            command.args(words.split(' ')).current_dir(folder.path()).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made =
            openssl("req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=x -days 1".to_owned()).status();
        if !made.is_ok_and(|status| status.success()) {
            skipped(scenario, "openssl", "TLS to a service: openssl makes no certificate");
            return None;
        }
        let server = openssl(format!("s_server -accept {port} -cert cert -key key -www -quiet")).spawn().unwrap();
        Some(Self { server, _folder: folder })
    }
}

impl Drop for Safe {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn rules_of_a_name_do_what_they_say() {
    let free = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let safe = Safe::start("rules_of_a_name_do_what_they_say", free);
    let rule = |name: &str, rule: &str| {
        format!(
            "  {name}: {{<<: *base, command: [httpd, -f, -p, '8080', -h, /www], x-macula: {{ingress: [{rule}]}}}}\n"
        )
    };
    let stack = format!(
        "services:\n{}{}{}{}  \
         two: {{<<: *base, command: [sh, -c, 'httpd -p 8081 -h /tmp; exec httpd -f -p 8080 -h /www'], \
         x-macula: {{ingress: [{{port: 8080, fallback: 8081}}]}}}}\n  \
         safe: {{<<: *base, command: [sleep, infinity], network_mode: host, x-macula: {{ingress: [{{port: {free}, tls: true}}]}}}}\n",
        rule("closed", &format!("{{port: 8080, auth: 'me:{}'}}", SECRET.replace('$', "$$"))),
        rule("small", "{port: 8080, body_size: 1k}"),
        rule("other", "{port: 8079, fallback: 8080}"),
        rule("plain", "{port: 8080}"),
    );
    let Some((platform, address)) = up("rules_of_a_name_do_what_they_say", &stack) else { return };
    let status = |name: &str, head: &str, body: &str| {
        let (method, host) =
            (if body.is_empty() { "GET" } else { "POST" }, format!("{name}.{}.macula.local", platform.name));
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: {host}\r\n{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answers = ask((address, 80).into(), request.as_bytes()).unwrap();
        answers[0].first.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("closed", "", ""), "401");
    // me:secret, and me:wrong
    assert_eq!(status("closed", "Authorization: Basic bWU6c2VjcmV0\r\n", ""), "200");
    assert_eq!(status("closed", "Authorization: Basic bWU6d3Jvbmc=\r\n", ""), "401");
    assert_eq!(status("small", "", &"x".repeat(2000)), "413");
    assert_ne!(status("small", "", &"x".repeat(500)), "413");
    assert_eq!(status("other", "", ""), "200");
    // the fallback, which has no page, gives way to a port that answers
    let gives_way = |_| {
        std::thread::sleep(Duration::from_millis(200));
        status("two", "", "") == "200"
    };
    assert!((0..50).any(gives_way));
    assert_eq!(status("plain", "", ""), "200");
    assert!(safe.is_none() || status("safe", "", "") == "200");

    // the same by the settings of the whole ingress
    platform.write("macula.yaml", &format!("{SETTINGS}ingress: {{redirect: true, https: 8443}}\n"));
    platform.run("up --yes --images build --timeout 5m").ok();
    let redirected = status("plain", "", "");
    assert!(["301", "302", "307", "308"].contains(&&*redirected), "{redirected}");
    assert!(TcpStream::connect((address, 8443)).is_ok() && TcpStream::connect((address, 443)).is_err());
}

#[test]
fn names_are_shared_exactly_and_without_what_hangs() {
    let cell = |name: &str, more: &str| {
        format!(
            "  {name}: {{<<: *base, command: [sh, -c, 'mkdir /tmp/w; hostname > /tmp/w/index.html; echo {name} > /tmp/w/name; \
             exec httpd -f -p 8080 -h /tmp/w'], {more}}}\n"
        )
    };
    let shared = "x-macula: {probe: {http: {port: 8080}}, ingress: [{host: cells, port: 8080, weight: 1}]}";
    let sticky = "deploy: {replicas: 3}, x-macula: {ingress: [{host: many, port: 8080, sticky: true}]}";
    let stack = format!(
        "services:\n{}{}{}{}",
        cell("cell-a", shared),
        cell("cell-b", shared),
        cell("cell-c", shared),
        cell("many", sticky)
    );
    let Some((platform, address)) = up("names_are_shared_exactly", &stack) else { return };
    let host = format!("cells.{}.macula.local", platform.name);
    let count = |calls: usize| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut slowest = Duration::ZERO;
        for _ in 0..calls {
            let begun = Instant::now();
            let (status, _, body) = get(address, &host, "/name");
            *counts.entry(format!("{status} {body}")).or_default() += 1;
            slowest = slowest.max(begun.elapsed());
        }
        (counts, slowest)
    };
    let even = count(300).0;
    assert_eq!(
        even,
        [("200 cell-a", 100), ("200 cell-b", 100), ("200 cell-c", 100)].map(|(name, n)| (name.to_owned(), n)).into()
    );
    let engine = &platform.engine;
    let container = platform.container("cell-b").id;
    for (what, back) in [("pause", "unpause"), ("kill", "start")] {
        engine.post(&format!("/containers/{container}/{what}"), &json!(null));
        let (counts, slowest) = count(200);
        assert!(counts.keys().all(|answer| answer.starts_with("200 cell-")), "{what}: {counts:?}");
        assert!(counts.get("200 cell-b").is_none_or(|n| *n <= 2), "{what}: {counts:?}");
        assert!(slowest < Duration::from_secs(8), "{what}: {slowest:?}");
        engine.post(&format!("/containers/{container}/{back}"), &json!(null));
        let begun = Instant::now();
        while count(3).0.len() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(30), "cell-b never came back after {back}");
        }
    }
    let host = format!("many.{}.macula.local", platform.name);
    let first = get(address, &host, "/");
    assert_eq!(first.0, 200);
    assert!((0..20).all(|_| get(address, &host, "/") == first));
}

/// Of two that share a name one listens nowhere: the other answers every request, and the platform is not up.
#[test]
fn up_waits_for_all_that_share_a_name() {
    let cell = |name: &str, port: u16| {
        format!(
            "  {name}: {{<<: *base, command: [sh, -c, 'mkdir /tmp/w; echo {name} > /tmp/w/index.html; exec httpd -f -p {port} \
             -h /tmp/w'], x-macula: {{ingress: [{{host: cells, port: 8080, weight: 1}}]}}}}\n"
        )
    };
    let cells = |port: u16| format!("services:\n{}{}", cell("cell-a", 8080), cell("cell-b", port));
    let Some((platform, address)) = up("up_waits_for_all_that_share_a_name", &cells(8080)) else { return };
    let host = format!("cells.{}.macula.local", platform.name);
    let mut answers = [get(address, &host, "/").2, get(address, &host, "/").2];
    answers.sort();
    assert_eq!(answers, ["cell-a", "cell-b"]);
    platform.stack(&cells(9090));
    let done = platform.run("up --timeout 5s");
    done.exits(7).says("leads to a part of its services").says("the ingress leaves out containers of cell-b");
    assert_eq!(get(address, &host, "/").2, "cell-a");
    platform.stack(&cells(8080));
    platform.run("up").ok();
    let mut answers = [get(address, &host, "/").2, get(address, &host, "/").2];
    answers.sort();
    assert_eq!(answers, ["cell-a", "cell-b"]);
}

/// A page of `evil.example` whose name has been made to lead to this machine (DNS rebinding), and pages that send what
/// they cannot read.
#[test]
fn a_port_that_pages_are_kept_from_answers_to_its_own_names_alone() {
    let service = |name: &str, port: u16, more: &str| {
        format!(
            "  {name}: {{<<: *base, ports: ['{port}:8080'], command: [sh, -c, 'mkdir /tmp/w; echo {name} > /tmp/w/index.html; \
             exec httpd -f -p 8080 -h /tmp/w'], x-macula: {{address: 127.0.0.33, probe: {{http: {{port: 8080}}}}, \
             ingress: [{{port: 8080{more}}}]}}}}\n"
        )
    };
    let stack = format!("services:\n{}{}", service("kept", 7070, ", same_origin: true"), service("open", 7071, ""));
    let Some((platform, _)) = up("a_port_that_pages_are_kept_from", &stack) else { return };
    let address = |service: &str| -> SocketAddr {
        let status = platform.run("status -o json").ok().json();
        let rows = status["services"].as_array().unwrap().clone();
        let row = rows.iter().find(|row| row["name"] == service).unwrap();
        row["addresses"][0].as_str().unwrap().parse().unwrap()
    };
    let asked = |to: SocketAddr, headers: &str| {
        let request = format!("GET / HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = ask(to, request.as_bytes()).unwrap().remove(0);
        (
            answer.first.split(' ').nth(1).unwrap().parse::<u16>().unwrap(),
            String::from_utf8_lossy(&answer.body).into_owned(),
        )
    };
    let (kept, open) = (address("kept"), address("open"));
    assert_eq!((kept.port(), kept.ip()), (7070, open.ip()));
    let own = format!("kept.{}.macula.local", platform.name);
    let hosts = [
        kept.to_string(),
        own.clone(),
        format!("{}:7070", own.to_uppercase()),
        "localhost:7070".into(),
        "[::1]:7070".into(),
        "kept".into(),
        "127.0.0.1".into(),
    ];
    for host in &hosts {
        assert_eq!(asked(kept, &format!("Host: {host}\r\n")), (200, "kept\n".into()), "{host}");
        assert_eq!(
            asked(kept, &format!("Host: {host}\r\nOrigin: http://{}\r\n", host.to_lowercase())).0,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example:7070",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evilkept",
        "1.2.3.4x",
        "",
    ] {
        let (status, text) = asked(kept, &format!("Host: {host}\r\n"));
        assert!(status == 403 && text.contains("another name"), "{host}: {status} {text}");
    }
    for origin in ["http://evil.example", "null", "http://localhost:7070", "http://evil.example/localhost"] {
        let (status, text) = asked(kept, &format!("Host: {kept}\r\nOrigin: {origin}\r\n"));
        assert!(status == 403 && text.contains("pages"), "{origin}: {status} {text}");
    }
    assert_eq!(asked(open, "Host: evil.example\r\n"), (200, "open\n".into()));
    // inside the network it is the same port
    let inside = |host: &str| format!("wget -q -O - --header 'Host: {host}' http://{own}:7070/ 2>&1 || true");
    assert_eq!(platform.shell("open", &inside("kept")).trim(), "kept");
    assert!(platform.shell("open", &inside("evil.example")).contains("403"));
    platform.run("stop kept").ok();
    assert_eq!(asked(kept, &format!("Host: {kept}\r\n")), (503, "kept is not running.\n".into()));
    // the port goes from one container to the other, and back
    platform.write("macula.yaml", &SETTINGS.replace("built_in: {", "built_in: {ingress: false, "));
    platform.run("up --yes").ok();
    assert_eq!(asked(kept, "Host: evil.example\r\n"), (200, "kept\n".into()));
    platform.write("macula.yaml", SETTINGS);
    platform.run("up --yes kept").ok();
    assert_eq!(asked(kept, "Host: evil.example\r\n").0, 403);
    assert_eq!(asked(kept, &format!("Host: {kept}\r\n")).0, 200);
}
