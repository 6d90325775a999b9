//! What a client sends reaches the service as at its own port, and the other way.

use super::*;

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
