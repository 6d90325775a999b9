//! Tasks: what an application has done before it starts, once for each state of what it works on.

use crate::harness::Platform;

/// A table in a volume, which each migration adds a line to.
const SHOP: &str = "
services:
  db:
    <<: *base
    command: [sh, -c, 'touch /data/ready; exec sleep infinity']
    volumes: ['rows:/data']
    healthcheck: {test: [CMD, test, -e, /data/ready], interval: 1h}
  web:
    <<: *base
    command: [sleep, infinity]
    environment: {SHOP: blue}
    volumes: ['rows:/data', './migrations:/migrations:ro']
    x-macula:
      tasks:
        migrate:
          run: [sh, -c, 'echo migrating $$SHOP; cat /migrations/* | tee -a /data/rows; test ! -e /migrations/broken']
          after: db
          when: {changed: ./migrations}
  other: {<<: *base, command: [sleep, infinity]}
volumes: {rows: }
";

fn migrations(platform: &Platform) {
    std::fs::create_dir(platform.project().join("migrations")).unwrap();
    platform.write("migrations/1", "one\n");
}

fn rows(platform: &Platform) -> String {
    platform.shell("db", "cat /data/rows")
}

fn listed(platform: &Platform) -> serde_json::Value {
    platform.run("task -o json").ok().json()[0].clone()
}

#[test]
fn a_task_runs_once_for_each_state_of_its_files() {
    let Some(platform) = Platform::new("tasks") else { return };
    migrations(&platform);
    platform.stack(SHOP);
    platform.run("plan").ok().prints("+ migrate  run task  it has not run yet");
    assert_eq!(listed(&platform)["state"], "never");
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one");
    assert!(platform.container("web").running);
    assert_eq!(listed(&platform)["state"], "done");

    // not the second time, and not after `down`: the data is still there
    platform.run("up").ok().says("nothing to do");
    platform.run("plan").ok().prints("nothing to do");
    platform.run("down").ok();
    assert_eq!(listed(&platform)["due"], serde_json::Value::Null);
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one");
    assert!(!platform.containers().contains_key("migrate"));
    platform.run("wait migrate --timeout 5s").ok();
    assert_eq!(platform.run("status -o json").ok().json()["drift"], serde_json::json!([]));

    // a change runs it, and nothing else
    let before = platform.containers();
    platform.write("migrations/2", "two\n");
    platform.run("plan").ok().prints("+ migrate  run task  ./migrations changed");
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one\none\ntwo");
    for service in ["db", "web", "other"] {
        let (is, was) = (platform.container(service), &before[service]);
        assert_eq!((is.id, is.started), (was.id.clone(), was.started.clone()), "{service}");
    }

    // with the data its record goes
    platform.run("down --volumes --yes").ok();
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one\ntwo");

    // another volume is other data
    platform.run("down").ok();
    assert!(platform.engine.delete(&format!("/volumes/{}", platform.volume_name("rows"))));
    platform.run("plan").ok().prints("+ migrate  run task  the data of db is new");
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one\ntwo");
}

#[test]
fn a_task_that_fails_keeps_its_container_and_the_next_up_goes_on() {
    let Some(platform) = Platform::new("task_fails") else { return };
    migrations(&platform);
    platform.write("migrations/broken", "no such column\n");
    platform.stack(SHOP);
    platform.run("up").exits(7).says("migrate failed (exit code 1)").says("no such column");
    let task = platform.container("migrate");
    assert_eq!((task.running, task.exit_code), (false, 1));
    assert!(platform.container("db").running && platform.container("other").running);
    assert!(!platform.containers().get("web").is_some_and(|web| web.running));
    platform.run("logs migrate").ok().prints("migrating blue");
    platform.run("status").prints("the task failed: exit code 1");
    let row = listed(&platform);
    assert_eq!((&row["state"], &row["exit_code"]), (&"failed".into(), &1.into()));

    // again, for as long as it fails
    platform.run("plan").ok().prints("its last run failed with exit code 1");
    platform.run("up").exits(7);
    let other = platform.container("other");
    std::fs::remove_file(platform.project().join("migrations/broken")).unwrap();
    platform.run("up").ok();
    assert!(platform.container("web").running);
    assert_eq!(platform.container("other"), other);
    platform.run("up").ok().says("nothing to do");
}

#[test]
fn one_task_is_run_by_its_name() {
    let Some(platform) = Platform::new("task_by_name") else { return };
    migrations(&platform);
    platform.stack(SHOP);
    // with what it needs, and nothing that waits for it
    platform.run("task migrate").ok().prints("migrating blue").says("migrate is done");
    assert!(!platform.containers().contains_key("web"));
    assert_eq!(rows(&platform), "one");
    platform.run("up").ok();
    assert_eq!(rows(&platform), "one");
    platform.run("task migrate").ok();
    assert_eq!(rows(&platform), "one\none");
    platform.run("up").ok().says("nothing to do");

    // with arguments it is not the task that has run
    platform.stack(&SHOP.replace(
        "[sh, -c, 'echo migrating $$SHOP; cat /migrations/* | tee -a /data/rows; test ! -e /migrations/broken']",
        "[echo, migrating]",
    ));
    platform.run("plan").ok().prints("its command changed");
    platform.run_with("task migrate --", &["back", "to 1"]).ok().prints("migrating back to 1");
    platform.run("plan").ok().prints("its command changed");
    platform.run("up").ok();
    platform.run_with("task migrate --", &["again"]).ok().prints("migrating again");
    platform.run("up").ok().says("nothing to do");

    platform.run("task migrat").exits(2).says("no stack has a task `migrat`");
    platform.run("task").ok().prints("migrate").prints("done");
}
