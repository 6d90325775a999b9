//! The page in a real browser: what is seen, what may be done, and what a foreign page may not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Browser, Platform, Running, eventually};

const STACK: &str = r#"
services:
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula: {probe: {http: {port: 8080}}}
  talker:
    <<: *base
    command: [sh, -c, 'while true; do printf "\033[31mhello\033[0m </script><b id=evil>x</b> \377\n"; sleep 1; done']
    environment: {GREETING: a-value-to-hide}
    depends_on: [web]
"#;

/// An address that no other scenario has, for the resolver and for the page.
fn address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 98, high, low.max(1))
}

/// The background process, in the foreground.
fn serve(platform: &Platform) -> Running {
    let (resolver, page) = (format!("{}:53953", address()), format!("{}:8053", address()));
    let metrics = format!("{}:9153", address());
    let words = ["dns", "serve", "--listen", &resolver, "--metrics", &metrics, "--page", &page];
    let running = Running::start(&mut platform.program(words));
    eventually("the page is there", || std::net::TcpStream::connect((address(), 8053)).is_ok());
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
    assert!(!browser.text().contains("a-value-to-hide"));
    browser.run("document.querySelector('details').open = true");
    browser.run("[...document.querySelectorAll('button')].find(one => one.getAttribute('aria-label') === 'Show GREETING').click()");
    browser.shows("a-value-to-hide");

    // stop and start
    browser.click("Stop");
    browser.shows("stopped");
    assert!(!runs());
    eventually("it can be started again", || browser.text().contains("Start"));
    browser.click("Start");
    browser.shows("started");
    assert!(runs());

    // the record of `up`
    browser.run("location.hash = '#/up'");
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
    platform.engine_at("unix:///nowhere/docker.sock".into());
    let again = serve(&platform);
    other.run("location.hash = '#/'");
    other.shows("could not connect to a container engine");
    again.signal(Signal::TERM);
    again.wait();
}
