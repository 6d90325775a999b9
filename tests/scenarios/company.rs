//! A network whose only way out is a proxy that demands a password.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use crate::harness::{Platform, reached_by_engines, skipped};

/// By `printf me:secret | base64`.
const LOGIN: &str = "Proxy-Authorization: Basic bWU6c2VjcmV0";

/// A proxy that answers everything itself: its address, and what it was asked.
fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((reached_by_engines(), 0)).unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let told = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let known = head.iter().any(|line| line.eq_ignore_ascii_case(LOGIN));
            let (status, body) =
                if known { ("200 OK", "through") } else { ("407 Proxy Authentication Required", "no") };
            told.lock().unwrap().push(format!("{status}: {}", head.first().cloned().unwrap_or_default()));
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            // whoever asks may have gone
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

/// The build goes through it with the password, asks the platform without it, and nothing of it is left in the image.
#[test]
fn a_build_goes_through_the_proxy_and_its_image_does_not_know_it() {
    const NAME: &str = "a_build_goes_through_the_proxy";
    let Some(platform) = Platform::new(NAME) else { return };
    let (address, asked) = proxy();
    platform.set("http_proxy", &format!("http://me:secret@{address}"));
    platform.set("NO_PROXY", ".corp.example");
    let tag = format!("macula-test/{}-proxied:1", platform.name);
    let stack = |mark: &str| {
        platform.write(
            "compose.yaml",
            &format!(
                "services:\n  web:\n    image: {tag}\n    command: [sleep, infinity]\n    stop_signal: SIGKILL\n    \
                 build:\n      context: .\n      network: host\n      dockerfile_inline: |\n        \
                 FROM macula-test/busybox:1\n        COPY compose.yaml /mark\n        \
                 RUN wget -q -O /page http://packages.example/page && echo \"$$NO_PROXY\" > /kept # {mark}\n"
            ),
        );
    };
    stack("one");
    let done = platform.run("up --images build");
    if done.code == 6 && done.err.contains("cannot be built") {
        skipped(NAME, "build", "nothing can be built here");
        return;
    }
    done.ok();
    platform.also_remove(format!("/images/{}?force=1", platform.container("web").image));
    let asked = || asked.lock().unwrap().clone();
    assert_eq!(asked(), ["200 OK: GET http://packages.example/page HTTP/1.1"], "{done}");
    let domain = format!("{}.macula.local", platform.name);
    assert_eq!(
        platform.shell("web", "cat /page; echo; cat /kept"),
        format!("through\n.corp.example,.{domain},localhost,127.0.0.0/8")
    );
    let image = platform.engine.get(&format!("/images/{tag}/json"));
    let history = platform.engine.get(&format!("/images/{tag}/history"));
    for told in [image.to_string(), history.to_string(), done.out.clone(), done.err.clone()] {
        assert!(!told.contains("me:secret"), "{told}");
    }
    assert_eq!(platform.shell("web", "env | grep -i proxy || true"), "", "the container does not have it");

    // another password makes no layer again
    let before = platform.container("web");
    platform.set("http_proxy", &format!("http://me:other@{address}"));
    platform.run("up --images build").ok().says("nothing to do");
    assert_eq!(platform.container("web").id, before.id);
    stack("two");
    platform.run("up --images build").exits(6).says("407");
    assert_eq!(asked().len(), 2);
    assert_eq!(platform.container("web").id, before.id);
}
