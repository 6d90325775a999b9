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
    platform.run("up").ok().says("migrate  migrating blue");
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
    platform.run("status").prints("x migrate  failed").prints("exit code 1");
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

    platform.run("task migrat").exits(2).says("there is no task `migrat`");
    platform.run("task").ok().prints("migrate").prints("done");
}

/// What a task prints is there while it runs, and not only at its end.
#[test]
fn a_task_by_its_name_has_the_terminal_for_itself() {
    let Some(platform) = Platform::new("task_aloud") else { return };
    let run = "[sh, -c, 'echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo over']";
    platform.stack(&format!(
        "services: {{web: {{<<: *base, command: [sleep, infinity], x-macula: {{tasks: {{slow: {{run: {run}}}}}}}}}}}\n"
    ));
    let mut task = platform.program(["task", "slow"]);
    task.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut task = task.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(task.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    assert!(task.try_wait().unwrap().is_none());
    platform.shell("slow", "touch /tmp/go");
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), ["over"]);
    assert!(task.wait().unwrap().success());
}

/// Services that say when they are there, and what a program needs to know of them.
const SERVICES: &str = "
services:
  db:
    <<: *base
    command: [sleep, infinity]
    volumes: ['rows:/data']
    x-macula: {exports: {DB_URL: 'db://here'}}
  web: {<<: *base, command: [sleep, infinity], x-macula: {exports: {WEB_URL: 'web://here'}}}
  other: {<<: *base, command: [sleep, infinity], x-macula: {exports: {OTHER_URL: 'other://here'}}}
volumes: {rows: }
";

fn with_task(platform: &Platform, task: &str) {
    platform.settings(&format!("tasks: {{migrate: {task}}}\n"));
}

#[test]
fn a_task_of_this_machine_runs_before_those_that_wait_for_it() {
    let Some(platform) = Platform::new("task_here") else { return };
    migrations(&platform);
    std::fs::create_dir(platform.project().join("sub")).unwrap();
    platform.write("task.env", "FROM=file\nEXTRA=less\n");
    platform.stack(SERVICES);
    let task = "{run: 'echo migrating $DB_URL $WEB_URL $OTHER_URL $FROM $EXTRA; cat ../migrations/* >> ../rows; \
                test ! -e ../migrations/broken || exit 3', cwd: sub, after: db, before: web, \
                when: {changed: ./migrations}, env: {EXTRA: more}, env_file: task.env}";
    with_task(&platform, task);
    let rows = || std::fs::read_to_string(platform.project().join("rows")).unwrap_or_default();
    platform.run("plan").ok().prints("+ migrate  run task  it has not run yet");
    assert_eq!(listed(&platform)["service"], serde_json::Value::Null);
    platform.write("migrations/broken", "");
    let failed = platform.run("up");
    failed.exits(7).says("migrate  migrating db://here web://here file more").says("migrate failed (exit code 3)");
    assert!(platform.container("db").running && platform.container("other").running);
    assert!(!platform.containers().get("web").is_some_and(|web| web.running));
    platform.run("logs migrate").ok().prints("migrating db://here");
    platform.run("plan").ok().prints("its last run failed with exit code 3");
    std::fs::remove_file(platform.project().join("migrations/broken")).unwrap();
    std::fs::remove_file(platform.project().join("rows")).unwrap();
    platform.run("up").ok();
    assert!(platform.container("web").running);
    assert_eq!(rows(), "one\n");

    // not again, and not after `down`: the data is still there
    platform.run("up").ok().says("nothing to do");
    assert_eq!(platform.run("status -o json").ok().json()["drift"], serde_json::json!([]));
    platform.run("down").ok();
    platform.run("up").ok();
    assert_eq!((rows().as_str(), &listed(&platform)["state"]), ("one\n", &"done".into()));
    platform.write("migrations/2", "two\n");
    platform.run("plan").ok().prints("+ migrate  run task  ./migrations changed");
    // a service comes with its task, another one does not
    platform.run("up other").ok();
    assert_eq!(rows(), "one\n");
    platform.run("up web").ok();
    assert_eq!(rows(), "one\none\ntwo\n");

    // by its name, and with arguments, after which it is not the task that has run
    platform.run("task migrate").ok().prints("migrating db://here").says("migrate is done");
    assert_eq!(rows().lines().count(), 5);
    with_task(&platform, "{run: echo migrating, after: db}");
    platform.run_with("task migrate --", &["back", "to 1"]).ok().prints("migrating back to 1");
    platform.run("plan").ok().prints("its command changed");
    let json = platform.run("task migrate -o json").ok().json();
    assert_eq!((&json["exit_code"], &json["output"]), (&0.into(), &"migrating\n".into()));
    platform.run("up").ok().says("nothing to do");
    // with the data its note goes
    platform.run("down --volumes --yes").ok();
    platform.run("plan").ok().prints("it has not run yet");
}

#[test]
fn a_task_of_this_machine_ends_with_all_it_has_started() {
    use rustix::process::Signal;

    // what nobody asks for its status stays in the table as a zombie
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    let Some(platform) = Platform::new("task_here_ends") else { return };
    platform.stack("services: {web: {<<: *base, command: [sleep, infinity]}}\n");
    with_task(&platform, "{run: 'setsid sleep 600 & echo $! > child; echo begun; wait', before: web}");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 130)] {
        let mut up = platform.start("up");
        up.until_says("migrate  begun");
        let child = std::fs::read_to_string(platform.project().join("child")).unwrap();
        assert!(runs(child.trim()));
        up.signal(signal);
        up.wait().exits(code);
        assert!(!runs(child.trim()), "{signal:?}");
    }
    platform.run("plan").ok().prints("it has not run yet");
    with_task(&platform, "{run: sleep 600, before: web, timeout: 1s}");
    platform.run("up").exits(7).says("it took longer than 1");
    platform.run("wait migrate --timeout 60s").exits(7).says("it took longer");
    platform.run("logs migrate").ok().prints("was ended: it took longer");
    with_task(&platform, "{run: [no-such-program], before: web}");
    platform.run("up").exits(7).says("migrate was not started: no-such-program is not installed");
    // which is a failure as any other: known afterwards, and nothing to wait for
    platform.run("plan").ok().prints("its last run failed with exit code 127");
    let waited = platform.run("wait migrate --timeout 60s");
    waited.exits(7).says("it failed with exit code 127").says("no-such-program is not installed");
    platform.run("logs migrate").ok().prints("was not started");
    with_task(&platform, "{run: 'true', before: web}");
    platform.run("up").ok();
    assert!(platform.container("web").running);
}
