//! The page in a real browser: what is seen, what may be done, and what a foreign page may not.

mod telemetry;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Browser, Platform, Running, eventually};

const STACK: &str = r#"
services:
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    ports: ['8080']
    x-macula: {probe: {http: {port: 8080}}}
  talker:
    <<: *base
    command: [sh, -c, 'while true; do printf "\033[31mhello\033[0m </script><b id=evil>x</b> \377\n"; sleep 1; done']
    environment: {GREETING: a-value-to-hide}
    depends_on: [web]
    x-macula:
      secrets: {TOKEN: {generate: 20}}
      exports: {TALKER_URL: 'redis://me:{{ secrets.talker.TOKEN }}@127.0.0.1:6379'}
"#;

const OPEN_CONNECT: &str = "document.querySelector('[data-part=connect]').open = true";

/// What is done is refused, in the moment that `refuse` is called.
const REFUSE: &str = "const real = window.fetch; \
    const answer = JSON.stringify({ error: { message: 'refused by the test', details: ['what it says of why'] } }); \
    window.fetch = (path, options) => path !== '/api/act' ? real(path, options) : \
        new Promise(done => { window.refuse = () => done(new Response(answer)) })";

/// Whoever asks for a log is told that the engine is away; `window.real`: as it was.
const AWAY: &str = "window.real = window.EventSource; \
    class Away extends EventTarget { \
        constructor() { super(); setTimeout(() => { \
            const say = (name, packet) => this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(packet) })); \
            say('log', { note: 'no engine, says the test', broken: true }); say('log', { looked: 0 }); say('end', null) }) } \
        close() {} \
    } \
    window.EventSource = Away; document.dispatchEvent(new Event('visibilitychange'))";

/// An address that no other scenario has, for the resolver and for the page.
fn address() -> Ipv4Addr {
    own_address(98)
}

fn own_address(second: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, second, high, low.max(1))
}

/// The background process, in the foreground.
fn serve(platform: &Platform) -> Running {
    serve_at(platform, address())
}

fn serve_at(platform: &Platform, address: Ipv4Addr) -> Running {
    let (resolver, page) = (format!("{address}:53953"), format!("{address}:8053"));
    let metrics = format!("{address}:9153");
    let words = ["dns", "serve", "--listen", &resolver, "--metrics", &metrics, "--page", &page];
    let running = Running::start(&mut platform.program(words));
    eventually("the page is there", || TcpStream::connect((address, 8053)).is_ok());
    running
}

/// What `macula open home` opens.
fn link(platform: &Platform) -> String {
    platform.run("open home -o json").ok().json()["url"].as_str().unwrap().to_owned()
}

/// A page of somebody else, for as long as the test runs.
fn foreign() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>foreign</title><p>foreign";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{page}", page.len()).as_bytes());
        }
    });
    address
}

#[test]
fn a_person_sees_and_acts_and_a_foreign_page_does_not() {
    let Some(platform) = Platform::new("page") else { return };
    let rules = format!("MAP rebound.example {}", address());
    let Some(browser) = Browser::start("page", &rules) else { return };
    platform.stack(STACK);
    platform.run("up").ok();
    let running = serve(&platform);
    let runs = || platform.container("talker").running;
    let origin = format!("http://{}:8053", address());

    // everything is there, and this browser may act
    let link = link(&platform);
    assert!(link.starts_with(&format!("{origin}/?platform={}#/enter/", platform.name)), "{link}");
    browser.open(&link);
    browser.shows("healthy");
    browser.shows("talker");
    assert!(!browser.text().contains("This browser can only look"), "{}", browser.text());
    assert!(!browser.run("return location.href").as_str().unwrap().contains("enter"));

    // the log is text, whatever is in it
    browser.run("location.hash = '#/service/talker'");
    browser.shows("hello </script><b id=evil>x</b> \u{fffd}");
    assert_eq!(browser.run("return document.getElementById('evil')"), json!(null));
    browser.shows("Needs");
    // what is read stays while no engine answers
    browser.run(AWAY);
    browser.shows("no engine, says the test");
    assert_eq!(browser.run("return document.querySelectorAll('.log time').length > 0"), true);
    browser.run("window.EventSource = window.real; document.dispatchEvent(new Event('visibilitychange'))");
    eventually("it goes on", || !browser.text().contains("no engine, says the test"));
    browser.run("const word = document.getElementById('log-search'); word.value = 'nowhere'; word.dispatchEvent(new Event('input'))");
    browser.shows("No line contains “nowhere” so far");
    assert_eq!(browser.run("return document.title"), format!("talker · {} · Macula", platform.name));
    assert!(!browser.text().contains("a-value-to-hide"));
    browser.run("document.querySelector('details').open = true");
    browser.run("[...document.querySelectorAll('button')].find(one => one.getAttribute('aria-label') === 'Show GREETING').click()");
    browser.shows("a-value-to-hide");

    // how programs reach it: the password only when asked for
    let secret = platform.run("creds talker -o json").ok().json()[0]["value"].as_str().unwrap().to_owned();
    platform.run("env talker").ok().prints(&format!("TALKER_URL=redis://me:{secret}@127.0.0.1:6379"));
    assert_eq!(platform.run("env web").ok().out, "");
    platform.run("env nobody").says("nobody");
    browser.run(OPEN_CONNECT);
    browser.shows("redis-cli -u \"$TALKER_URL\" ping");
    browser.shows("redis://me:••••@127.0.0.1:6379");
    browser.click("Python (redis)");
    browser.shows("redis.Redis.from_url(os.environ[\"TALKER_URL\"])");
    assert!(!browser.text().contains(&secret));
    browser.click("Show passwords");
    browser.shows(&format!("redis.Redis.from_url(\"redis://me:{secret}@127.0.0.1:6379\")"));
    assert!(
        !browser
            .run("return location.href + performance.getEntries().map(one => one.name)")
            .as_str()
            .unwrap()
            .contains(&secret)
    );
    browser.click("Hide passwords");
    eventually("they are hidden again", || !browser.text().contains(&secret));

    // what it depends on, and what an `up` would do
    browser.run("document.querySelector('[data-part=graph]').open = true");
    browser.shows("Dependencies: needs 1");
    let drawn =
        "return [document.querySelectorAll('svg.map path.call').length, document.querySelectorAll('svg.map a').length]";
    eventually("it is drawn", || browser.run(drawn) == json!([1, 2]));
    browser.run("document.querySelector('[data-part=plan]').open = true");
    let planned = |text: &str| text.contains("Nothing: it is as its files say.") || text.contains(" would be ");
    eventually("the plan is told", || planned(&browser.text()));

    // stop and start
    browser.click("Stop");
    // what an `up` would do has the word, too
    let badge = "return document.querySelector('#view .state').innerText";
    eventually("its state is told", || browser.run(badge) == "stopped");
    assert!(!runs());
    // what is seen from before does not come back
    browser.shows("stopped");
    assert_eq!(browser.run(badge), "stopped");
    browser.run("location.hash = '#/'");
    browser.shows("Stopped 1");
    browser.run("location.hash = '#/service/talker'");
    eventually("it can be started again", || browser.text().contains("Start"));
    browser.click("Start");
    browser.shows("started");
    assert!(runs());
    platform.run("stop web").ok();
    browser.shows("It needs web, which does not run.");
    platform.run("start web").ok();

    // what is refused is told to whoever has gone elsewhere meanwhile
    browser.run(REFUSE);
    browser.click("Stop");
    eventually("it is under way", || browser.run(badge) == "stopping …");
    browser.run("location.hash = '#/'");
    eventually("another view", || browser.run("return !!document.querySelector('#view table.services')") == true);
    browser.run("window.refuse()");
    // not only for screen readers
    let view =
        || browser.run("return document.getElementById('view').innerText").as_str().unwrap_or_default().to_owned();
    eventually("its row says so", || view().contains("refused by the test"));
    browser.run("location.hash = '#/service/talker'");
    browser.shows("what it says of why");
    browser.run("location.hash = '#/'");
    eventually("it was told", || view().contains("talker") && !view().contains("refused by the test"));
    assert!(runs());

    // a span in whole seconds, and a view that cannot show something looks again
    let spans = browser.run("return [59900, 59960, 119600].map(millis)");
    assert_eq!(spans, json!(["59.9 s", "1m00s", "2m00s"]));
    browser.run("window.looks = 0; window.looking = polled('/api/allowed', () => ({}), () => { window.looks++; throw new Error('of the test') }, 50)");
    eventually("it looks again", || browser.run("return window.looks > 1") == true);
    browser.run("window.looking.close()");

    // what has happened meanwhile, and all that depends on something
    browser.run("location.hash = '#/events'");
    browser.shows("ended");
    browser.run("location.hash = '#/graph'");
    browser.shows("What depends on what");
    eventually("it is drawn", || {
        browser.run("return document.querySelectorAll('svg.map path.call').length > 0") == true
    });
    browser.run("location.hash = '#/nowhere'");
    browser.shows("No such page");

    // the record of `up`
    browser.run("location.hash = '#/up'");
    browser.shows("macula up took");
    // the run that is looked at stays when a later one comes
    let file = platform.data().join("runs.json");
    let add = |command: &str, later: u64| {
        let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut run = kept["runs"][0].clone();
        run["command"] = json!(command);
        run["began"] = json!(run["began"].as_u64().unwrap() + later);
        kept["runs"].as_array_mut().unwrap().insert(0, run);
        std::fs::write(&file, kept.to_string()).unwrap();
    };
    add("the second", 60);
    browser.shows("the second took");
    browser.run(
        "const run = document.getElementById('run'); run.selectedIndex = 1; run.dispatchEvent(new Event('change'))",
    );
    browser.shows("macula up took");
    add("the third", 60);
    eventually("there are three", || browser.run("return document.getElementById('run').length") == 3);
    browser.shows("macula up took");

    // a foreign page can neither act nor read
    let act = json!({"platform": platform.name, "service": "talker", "action": "stop"}).to_string();
    browser.open(&format!("http://{}/", foreign()));
    browser.shows("foreign");
    let send = |mode: &str, kind: &str| {
        let options = json!({
            "method": "POST", "mode": mode, "credentials": "include", "body": act, "headers": {"content-type": kind},
        });
        browser.wait(&format!("fetch('{origin}/api/act', {options}).then(answer => answer.type + answer.status)"))
    };
    for (mode, kind) in [("no-cors", "text/plain"), ("cors", "application/json")] {
        let sent = send(mode, kind);
        assert!(sent.as_str().unwrap().contains("Failed to fetch"), "{mode}: {sent}");
    }
    let read = browser.wait(&format!("fetch('{origin}/api/service?platform={}&service=talker')", platform.name));
    assert!(read.as_str().unwrap().contains("Failed to fetch"), "{read}");
    let framed = "new Promise(done => { const frame = document.createElement('iframe'); frame.onload = () => done(frame.contentDocument === null); \
                  frame.src = 'ORIGIN/'; document.body.append(frame) })";
    assert_eq!(browser.wait(&framed.replace("ORIGIN", &origin)), true);

    // nor can a name that was rebound to our address
    browser.open("http://rebound.example:8053/");
    browser.shows("this address has another name here");
    assert!(runs());

    // another browser can look, and not act; nor with a link that was used
    let other = Browser::start("page", "").unwrap();
    other.open(&link);
    other.shows("This browser can only look");
    other.shows("this link was used already");
    other.run("location.hash = '#/service/talker'");
    other.shows("Connect: user, password, snippets");
    other.run(OPEN_CONNECT);
    other.shows("redis://me:••••@127.0.0.1:6379");
    other.shows("To see passwords here:");
    assert!(!other.text().contains(&secret));
    let wanted = json!({"platform": platform.name, "service": "talker"}).to_string();
    for path in ["/api/passwords", "/api/reveal"] {
        let request = format!(
            "fetch('{path}', {{method: 'POST', body: {}, headers: {{'content-type': 'application/json'}}}}).then(async answer => answer.status + await answer.text())",
            json!(wanted)
        );
        let answer = other.wait(&request);
        let answer = answer.as_str().unwrap();
        assert!(answer.starts_with("401") && !answer.contains(&secret), "{answer}");
    }
    other.run("location.hash = '#/'");
    let request = format!(
        "fetch('/api/act', {{method: 'POST', body: {}, headers: {{'content-type': 'application/json'}}}}).then(answer => answer.status)",
        json!(act)
    );
    assert_eq!(other.wait(&request), 401);
    assert!(runs());

    // the process ends, and comes back
    running.signal(Signal::TERM);
    running.wait();
    other.shows("The background process does not answer.");
    let again = serve(&platform);
    eventually("the page is live again", || !other.text().contains("does not answer"));
    browser.open(&format!("{origin}/?platform={}#/service/talker", platform.name));
    browser.shows("Restart");

    // without an engine it says so
    again.signal(Signal::TERM);
    again.wait();
    // whatever its own environment says, it asks the engine of the last `up`
    let file = platform.data().join("engines.json");
    let mut engines: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    engines["variables"]["DOCKER_HOST"] = json!("unix:///nowhere/docker.sock");
    std::fs::write(&file, engines.to_string()).unwrap();
    let again = serve(&platform);
    other.run("location.hash = '#/'");
    other.shows("could not connect to a container engine");
    again.signal(Signal::TERM);
    again.wait();
}

/// A browser opens six connections to an address, for all of its windows together.
#[test]
fn seven_windows_are_live_at_once() {
    let Some(platform) = Platform::new("windows") else { return };
    let Some(browser) = Browser::start("windows", "") else { return };
    platform.stack(STACK);
    platform.run("up").ok();
    let at = own_address(95);
    let running = serve_at(&platform, at);
    let page = format!("http://{at}:8053/?platform={}#/service/talker", platform.name);
    let mut windows = Vec::new();
    for _ in 0..7 {
        windows.push(browser.window(&page));
        browser.shows("hello </script>");
    }
    assert_eq!(browser.run("return document.visibilityState"), "visible");
    // every one of them goes on: what is new comes to each
    let last = "return [...document.querySelectorAll('.log time')].at(-1).dateTime";
    for window in &windows {
        browser.switch(window);
        let before = browser.run(last);
        eventually("a new line", || browser.run(last) != before);
        assert_eq!(browser.run("return document.getElementById('live').textContent"), "live");
    }
    running.signal(Signal::TERM);
    running.wait();
}

#[test]
fn what_an_up_would_change_is_applied_from_the_page() {
    let Some(platform) = Platform::new("apply") else { return };
    let Some(browser) = Browser::start("apply", "") else { return };
    platform.stack(STACK);
    platform.run("up").ok();
    let at = own_address(94);
    let running = serve_at(&platform, at);
    let before = platform.container("talker").id;
    platform.stack(&STACK.replace("a-value-to-hide", "another-value"));
    browser.open(&format!("http://{at}:8053/?platform={}", platform.name));
    browser.shows("An up would change talker");
    assert_eq!(browser.run("return document.querySelectorAll('[data-key=apply]').length"), 0, "it can only look");
    let body = json!({"platform": platform.name}).to_string();
    let refused = post((at, 8053).into(), "/api/apply", &body).unwrap();
    assert!(refused.starts_with("HTTP/1.1 40"), "{refused}");
    assert_eq!(platform.container("talker").id, before);

    browser.open(&link(&platform));
    browser.shows("An up would change talker");
    browser.click("An up would change talker");
    // what was opened stays open when the page has something new to say around it
    platform.run("stop web").ok();
    browser.shows("Stopped 1");
    browser.click("Apply");
    eventually("its container is another one", || {
        platform.containers().get("talker").is_some_and(|found| found.id != before && found.running)
    });
    let nothing_left =
        || eventually("nothing is left to be changed", || !browser.text().contains("An up would change"));
    nothing_left();

    // why it was refused is told until it is done some other way
    browser.run(&REFUSE.replace("/api/act", "/api/apply"));
    platform.stack(STACK);
    browser.shows("An up would change talker");
    browser.run("document.querySelector('[data-part=changes]').open = true");
    browser.click("Apply");
    eventually("it is under way", || browser.run("return !!window.refuse") == true);
    browser.run("window.refuse()");
    browser.shows("refused by the test");
    platform.run("up").ok();
    nothing_left();
    platform.stack(&STACK.replace("a-value-to-hide", "another-value"));
    browser.shows("An up would change talker");
    assert_eq!(browser.run("return document.body.textContent.includes('refused by the test')"), false);
    running.signal(Signal::TERM);
    running.wait();
}

/// The status line of the answer.
fn post(to: SocketAddr, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Of one that `up` has started.
fn background(platform: &Platform) -> Option<i32> {
    let file = platform.data().with_file_name("dns").join("resolver.json");
    let process: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    i32::try_from(process["pid"].as_i64()?).ok()
}

#[test]
fn a_background_process_that_was_killed_is_back_with_the_next_look() {
    let Some(platform) = Platform::new("killed") else { return };
    platform.stack(STACK);
    let at = own_address(94);
    platform.settings(&format!("dns: {{listen: ['{at}:53953']}}\n"));
    platform.run("up --dns").ok();
    let runs = |pid: i32| std::fs::metadata(format!("/proc/{pid}/stat")).is_ok();
    let kill = |what: &str| {
        let pid = background(&platform).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        eventually("it is gone", || !runs(pid));
        let back = platform.run(what);
        back.ok().says("macula has started it again");
        eventually("another one runs", || background(&platform).is_some_and(|new| new != pid && runs(new)));
        // and that is said once
        platform.run(what).ok().does_not_say("started it again").does_not_say("is held by");
    };
    kill("status");
    kill("open");
    kill("top --once");
    // one that a `down` has ended is not missed
    platform.run("down").ok();
    platform.run("status").ok().does_not_say("started it again");
    eventually("its file has gone with it", || background(&platform).is_none());
}
