//! The engine itself ends and comes back, with a platform on it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{Platform, eventually, skipped};

const STACK: &str = "
services:
  gate:
    <<: *base
    command: [httpd, -f, -p, '80', -h, /www]
    x-macula: {role: ingress, probe: {http: {port: 80}}, reload: {exec: ['true']}}
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    depends_on: {once: {condition: service_completed_successfully}}
    x-macula: {probe: {http: {port: 8080}}, ingress: {port: 8080}}
  db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}
  once: {<<: *base, command: [sh, -c, 'echo once >> /data/runs'], volumes: ['rows:/data']}
volumes: {rows: }
";

/// `MACULA_TEST_ENGINE_RESTART` names a program that ends the engine and starts it again, as `tests/engines/run` has one.
#[test]
fn a_platform_outlives_its_engine() {
    const NAME: &str = "a_platform_outlives_its_engine";
    let Some(platform) = Platform::new(NAME) else { return };
    let Ok(restart) = std::env::var("MACULA_TEST_ENGINE_RESTART") else {
        skipped(NAME, "an engine that may be restarted", "MACULA_TEST_ENGINE_RESTART names no program for it");
        return;
    };
    platform.stack(STACK);
    platform.run("up").ok();
    platform.shell("db", "echo one > /data/rows");
    let status = platform.run("status -o json").ok().json();
    let row = status["services"].as_array().unwrap().iter().find(|row| row["name"] == "gate").unwrap().clone();
    let address = row["addresses"][0].as_str().unwrap().to_owned();
    let ask = || {
        let mut stream = TcpStream::connect(&address)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    assert!(ask().unwrap().contains("hello"));

    for round in 1..=2 {
        assert!(Command::new(&restart).status().unwrap().success(), "the engine did not come back");
        // whether containers run meanwhile, and come back by themselves, is the engine's own
        platform.run("status").ok();
        platform.run("up").ok();
        eventually("the gate answers", || ask().is_ok_and(|answer| answer.contains("hello")));
        assert_eq!(platform.shell("db", "cat /data/rows"), "one", "round {round}");
        assert_eq!(platform.shell("db", "cat /data/runs"), "once", "round {round}: the job was done again");
        let inside = format!("wget -q -O - http://web.{}.macula.local/", platform.name);
        assert_eq!(platform.shell("db", &inside), "hello", "round {round}");
        platform.run("up").ok().says("nothing to do");
    }
    platform.run("stop").ok();
    assert!(Command::new(&restart).status().unwrap().success(), "the engine did not come back");
    platform.run("start").ok();
    eventually("the gate answers", || ask().is_ok_and(|answer| answer.contains("hello")));
    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
}
