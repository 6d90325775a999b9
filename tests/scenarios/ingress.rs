//! The ingress, built from packages: what a client sends reaches the service as at its own port, and
//! the other way; names shared by weight; containers that stop and hang.

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

/// Answers as the requests tell it to, and keeps what it was sent.
struct Echo {
    port: u16,
    got: Arc<Mutex<BTreeMap<String, Message>>>,
    /// The client has an interim answer, so that the last one may follow: HAProxy 3.0.11 cuts off a long
    /// answer that it reads together with the 1xx before it.
    interim: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = Self { port, got: Arc::default(), interim: Arc::default(), stop: Arc::default() };
        let (got, interim, stop) = (echo.got.clone(), echo.interim.clone(), echo.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), got, interim) = (stream, got.clone(), interim.clone()) else { continue };
                std::thread::spawn(move || while serve(&stream, &got, &interim).is_ok_and(|more| more) {});
            }
        });
        echo
    }

    fn take(&self, key: &str) -> Option<Message> {
        self.got.lock().unwrap().remove(key)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request of a connection; whether there may be another.
fn serve(stream: &TcpStream, got: &Mutex<BTreeMap<String, Message>>, interim: &AtomicBool) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut head = Vec::new();
    // the head by itself first: a refusal comes before the body is read
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let end = line == b"\r\n";
        head.extend(line);
        if end {
            break;
        }
    }
    let parsed = fields(&lines(&mut &head[..])?);
    let value = |name: &str| parsed.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (key, answer) =
        (value("x-key").unwrap_or_default().to_owned(), value("x-answer").unwrap_or_default().to_owned());
    if answer.contains("refuse") {
        writer.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\nrefused\n")?;
        writer.shutdown(std::net::Shutdown::Write)?;
        // what is still on its way is read, so that the answer is not lost to a reset
        std::io::copy(&mut reader, &mut std::io::sink())?;
        return Ok(false);
    }
    if answer.contains("hangup") {
        return Ok(false);
    }
    if value("expect").is_some() {
        passed_on(writer, b"HTTP/1.1 100 Continue\r\n\r\n", interim)?;
    }
    let mut whole = head.chain(&mut reader);
    let request = message(&mut whole, false)?;
    let method = request.first.split(' ').next().unwrap_or_default().to_owned();
    got.lock().unwrap().insert(key, request.clone());
    let number = |name: &str| {
        let part = answer.split(' ').find_map(|part| part.strip_prefix(&format!("{name}=")).map(str::to_owned));
        part.and_then(|text| text.parse::<usize>().ok())
    };
    let mut out = Vec::new();
    if answer.contains("hints") {
        passed_on(writer, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", interim)?;
    }
    let status = number("status").unwrap_or(200);
    out.extend(
        format!("HTTP/1.1 {status} Some Words\r\nX_Under.Dot: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n").bytes(),
    );
    if let Some(length) = number("header") {
        out.extend(format!("X-Long: {}\r\n", "h".repeat(length)).bytes());
    }
    let body = request.body.iter().rev().copied().chain(std::iter::repeat_n(b'.', number("body").unwrap_or(3)));
    let body: Vec<u8> = body.collect();
    if status == 204 || status == 304 {
        out.extend_from_slice(b"\r\n");
    } else if answer.contains("trailers") && method != "HEAD" {
        out.extend(format!("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes());
        out.extend(body);
        out.extend_from_slice(b"\r\n0\r\nX-Sum: abc\r\n\r\n");
    } else {
        out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        out.extend(body);
    }
    writer.write_all(&out)?;
    Ok(request.headers.iter().all(|(name, value)| name != "connection" || value != "close"))
}

/// Sends an interim answer and waits until the client has it.
fn passed_on(mut writer: &TcpStream, answer: &[u8], interim: &AtomicBool) -> std::io::Result<()> {
    interim.store(false, Ordering::SeqCst);
    writer.write_all(answer)?;
    let start = Instant::now();
    while !interim.load(Ordering::SeqCst) {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
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

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }
}

fn generated(number: u64) -> Vec<u8> {
    let mut dice = Dice(number + 1);
    let method = dice.pick(&["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "QUERY"]);
    let path = dice.pick(&[
        "/",
        "/a/b",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/%2F%2e%2E",
        "/a%20b+c",
        "/a;v=1,2/b",
        "/~u/@x/!$&'()*",
        "/b%C3%BC",
    ]);
    let query = dice.pick(&["", "?", "?a=1&a=2", "?q=%20+%2B", "?redirect=http://x/y?z", "?a[]=1&b{}=2|3"]);
    let mut out = format!("{method} {path}{query} HTTP/1.1\r\nHost: echo.test\r\nX-Key: k{number}\r\n");
    for _ in 0..dice.roll(12) {
        let name =
            dice.pick(&["X-A", "x_b", "X.C", "x-d_e.f", "Accept", "COOKIE", "X-1", "Te", "If-None-Match", "X!#*~|^`"]);
        let value = match dice.roll(6) {
            0 => "v".repeat(dice.roll(9000) as usize),
            1 => "\"quoted\", W/\"b\"; q=0.5".to_owned(),
            2 => "tab\there".to_owned(),
            3 => "caf\u{e9}".to_owned(),
            4 => String::new(),
            _ => "plain".to_owned(),
        };
        let value = if name == "Te" { "trailers".to_owned() } else { value };
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    let hints = dice.pick(&["", "hints", ""]);
    let answer = [
        hints.to_owned(),
        format!("status={}", dice.pick(&["200", "201", "204", "301", "304", "400", "404", "418", "500", "502", "503"])),
        dice.pick(&["trailers", "", ""]).to_owned(),
        format!("header={}", [0, 10, 5000, 12000, 20000][dice.roll(5) as usize]),
        format!("body={}", [0, 1, 4096, 12_000][dice.roll(4) as usize]),
    ];
    out.push_str(&format!("X-Answer: {}\r\n", answer.join(" ")));
    let length = [0, 1, 1000, 70_000][dice.roll(4) as usize];
    let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut bytes: Vec<u8> = out.chars().map(|letter| letter as u8).collect();
    let expects = dice.roll(5) == 0 && length > 0 && !matches!(method, "GET" | "OPTIONS");
    match dice.roll(3) {
        _ if matches!(method, "GET" | "OPTIONS") => bytes.extend_from_slice(b"\r\n"),
        0 => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n");
            for chunk in body.chunks(1777) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nX-Check: 9\r\n\r\n");
        }
        _ => {
            let expect = if expects { "Expect: 100-continue\r\n" } else { "" };
            bytes.extend(format!("{expect}Content-Length: {length}\r\n\r\n").bytes());
            bytes.extend(body);
        }
    }
    bytes
}

/// Without what belongs to each connection, and what the ingress adds.
fn essence(mut message: Message) -> Message {
    let own = ["connection", "keep-alive", "transfer-encoding", "content-length", "host", "x-request-id", "x-real-ip"];
    message.headers.retain(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("x-forwarded-"));
    message.headers.sort();
    message
}

#[test]
fn both_ways_are_the_same_as_at_its_own_port() {
    let echo = Echo::start();
    // the test itself is the service: it sees every byte
    let stack = format!(
        "services: {{echo: {{<<: *base, command: [sleep, infinity], network_mode: host, \
         x-macula: {{ingress: [{{host: echo.test, port: {}}}]}}}}}}",
        echo.port
    );
    let Some((_platform, address)) = up("both_ways_are_the_same", &stack) else { return };
    let (direct, through) = (SocketAddr::from(([127, 0, 0, 1], echo.port)), SocketAddr::from((address, 80)));
    for number in 0..200 {
        let request = generated(number);
        let key = format!("k{number}");
        let seen = |to| {
            let answers =
                ask_of(to, &request, &echo.interim).unwrap_or_else(|error| panic!("{number} at {to}: {error}"));
            let got = echo.take(&key).unwrap_or_else(|| panic!("{number} at {to}: it never arrived: {answers:?}"));
            (essence(got), answers.into_iter().map(essence).collect::<Vec<_>>())
        };
        let ((expected, answered), (got, answers)) = (seen(direct), seen(through));
        let short = |message: &Message| format!("{:?}", message).chars().take(3000).collect::<String>();
        assert!(expected == got, "{number}, to the service:\n{}\nnot\n{}", short(&got), short(&expected));
        let all = |answers: &[Message]| answers.iter().map(short).collect::<Vec<_>>().join("\n");
        assert!(answered == answers, "{number}, to the client:\n{}\nnot\n{}", all(&answers), all(&answered));
    }

    // refused before the body is read
    let mut refused =
        b"PUT / HTTP/1.1\r\nHost: echo.test\r\nX-Answer: refuse\r\nContent-Length: 50000000\r\n\r\n".to_vec();
    refused.extend(vec![b'x'; 3 << 20]);
    for to in [direct, through] {
        let answers = ask(to, &refused).unwrap();
        assert!(answers[0].first.contains("413") && answers[0].body == b"refused\n", "{answers:?}");
    }
    // no answer at all is told from one of the service's
    let hangup = b"GET / HTTP/1.1\r\nHost: echo.test\r\nX-Answer: hangup\r\n\r\n";
    assert!(ask(direct, hangup).is_err());
    for _ in 0..3 {
        let answers = ask(through, hangup).unwrap();
        assert!(answers[0].first.contains("502"), "{answers:?}");
        assert!(answers[0].headers.contains(&("x-macula".to_owned(), "unavailable".to_owned())), "{answers:?}");
    }
    // HTTP/2 on this side, HTTP/1.1 on that one
    if let Some(answer) =
        curl(&["--http2-prior-knowledge", "-H", "Host: echo.test", "-H", "X-Answer: trailers"], through)
    {
        assert!(answer.starts_with("HTTP/2 200") && answer.contains("x_under.dot: 1"), "{answer}");
    }
}

/// `None`, said aloud: there is no curl.
fn curl(args: &[&str], to: SocketAddr) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "-m", "20"]).args(args).arg(format!("http://{to}/")).stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!("curl: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skipped("both_ways_are_the_same", "curl", &format!("HTTP/2: curl: {error}"));
            None
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
