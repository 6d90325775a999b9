//! The order of things: dependencies, jobs, and the commands that stop and start.

use crate::harness::Platform;

/// Each service writes to one log when it starts, and when it is told to stop.
const CHAIN: &str = "
x-says: &says
  image: macula-test/busybox:1
  init: true
  volumes: ['order:/data']
services:
  app:
    <<: *says
    command: [sh, -c, 'echo app starts >> /data/log; trap \"echo app stops >> /data/log; exit\" TERM; while :; do sleep 0.1; done']
    healthcheck: {test: [CMD, 'true'], interval: 1h}
    depends_on:
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started}
  migrate:
    <<: *says
    command: [sh, -c, 'echo migrate starts >> /data/log; sleep 1; echo migrate ends >> /data/log']
    depends_on:
      db: {condition: service_healthy}
  cache:
    <<: *says
    command: [sh, -c, 'while :; do sleep 0.1; done']
    stop_signal: SIGKILL
  db:
    <<: *says
    command: [sh, -c, 'rm -f /tmp/ready; echo db starts >> /data/log; trap \"echo db stops >> /data/log; exit\" TERM; sleep 1; echo db is ready >> /data/log; touch /tmp/ready; while :; do sleep 0.1; done']
    healthcheck: {test: [CMD, test, -e, /tmp/ready], interval: 1h}
volumes: {order: }
";

#[test]
fn what_is_needed_comes_first_and_goes_last() {
    let Some(platform) = Platform::new("order") else { return };
    platform.write("compose.yaml", CHAIN);
    platform.run("up").ok();
    let up = "db starts\ndb is ready\nmigrate starts\nmigrate ends\napp starts";
    assert_eq!(platform.shell("app", "cat /data/log"), up);

    // the job has done its work, and is no drift
    let job = platform.container("migrate");
    assert_eq!((job.running, job.exit_code), (false, 0));
    platform.run("up").ok().says("nothing to do");
    assert_eq!(platform.container("migrate"), job);
    let status = platform.run("status -o json").ok().json();
    let row = status["services"].as_array().unwrap().iter().find(|row| row["name"] == "migrate").unwrap();
    assert_eq!((&row["state"], &row["reason"]), (&"stopped".into(), &serde_json::Value::Null));

    platform.run("down").ok();
    platform.run("up").ok();
    let down = "app stops\ndb stops\n";
    assert_eq!(platform.shell("app", "cat /data/log"), format!("{up}\n{down}{up}"));
}

#[test]
fn a_job_that_fails_holds_back_what_waits_for_it() {
    let Some(platform) = Platform::new("job_fails") else { return };
    let stack = "
services:
  app: {<<: *base, command: [sleep, infinity], depends_on: {migrate: {condition: service_completed_successfully}}}
  migrate: {<<: *base, command: [sh, -c, 'echo no such table; exit 4']}
  other: {<<: *base, command: [sleep, infinity]}
";
    platform.stack(stack);
    platform.run("up").exits(7).says("failed (exit code 4)").says("no such table");
    assert!(!platform.containers().get("app").is_some_and(|app| app.running));
    assert!(platform.container("other").running);
    let other = platform.container("other");

    platform.stack(&stack.replace("exit 4", "exit 0"));
    platform.run("up").ok();
    assert!(platform.container("app").running);
    assert_eq!(platform.container("other"), other);
}

#[test]
fn stop_start_and_restart() {
    let Some(platform) = Platform::new("lifecycle") else { return };
    platform.write("compose.yaml", CHAIN);
    platform.run("stop db").exits(2).says("there is no platform called");
    platform.run("up cache").ok();
    platform.run("stop db").exits(2).says("db has not been started").says(" up db");
    platform.run("up").ok();
    let before = platform.containers();

    platform.run("stop cache").ok();
    assert!(!platform.container("cache").running);
    assert!(platform.container("app").running);
    platform.run("stop cache").ok().says("nothing to do");
    platform.run("start cache").ok();
    assert!(platform.container("cache").running);

    platform.run("restart").ok();
    let after = platform.containers();
    for service in ["app", "db", "cache"] {
        assert!(after[service].running);
        assert_eq!(after[service].id, before[service].id);
        assert_ne!(after[service].started, before[service].started);
    }
    // the job is not run again
    assert_eq!(after["migrate"], before["migrate"]);
    let log = platform.shell("app", "cat /data/log");
    assert!(log.ends_with("app stops\ndb stops\ndb starts\ndb is ready\napp starts"), "{log}");

    platform.run("stop").ok();
    assert!(platform.containers().values().all(|container| !container.running));
    platform.run("exec cache true").exits(2).says("cache is not running").says(" up cache");
    platform.run("up").ok();
    assert!(platform.container("app").running);
    assert_eq!(platform.container("migrate"), before["migrate"]);
    platform.run("restart nobody").exits(2).says("no service is named nobody");
}
