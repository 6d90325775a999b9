//! What scripts and CI jobs use: `wait`.

use rustix::process::Signal;

use crate::harness::Platform;

const STACK: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'while [ ! -e /go ]; do sleep 0.05; done; exec httpd -f -p 8080 -h /']
    x-macula: {probe: {tcp: {port: 8080}}}
  db:
    <<: *base
    command: [sleep, infinity]
    healthcheck: {test: [CMD, test, -e, /ok], interval: 1s}
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
    platform.run("wait nosuch").exits(2).says("no service is called nosuch");
    platform.run("wait web --for gone --timeout 1s").ok();

    let up = platform.start("up web db job");
    let mut wait = platform.start("wait web db job --timeout 2m");
    wait.until_says("job is healthy");
    let late = platform.run("wait web db --timeout 1s");
    late.exits(7).says("2 of 2 are not healthy after 1").says("web: not listening on port 8080 yet");
    platform.shell("web", "touch /go");
    wait.until_says("web is healthy");
    platform.shell("db", "touch /ok");
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
