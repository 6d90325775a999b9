//! `macula watch`: what is saved here is there a moment later.

use rustix::process::Signal;

use crate::harness::{Platform, Running, eventually, skipped};

const STACK: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'date +%s%N > /started; exec sleep infinity']
    develop:
      watch:
        - {path: ./src, action: sync, target: /app, ignore: [skipped], initial_sync: true}
        - {path: ./etc/web.conf, action: sync+restart, target: /etc/web.conf}
        - {path: ./run, action: sync+exec, target: /run/x, exec: {command: [sh, -c, 'ls /run/x > /ran']}}
        - {path: ./touch, action: restart}
  bystander:
    <<: *base
    command: [sleep, infinity]
";

fn folders(platform: &Platform) {
    for folder in ["src/deep", "src/skipped", "etc", "run", "touch"] {
        std::fs::create_dir_all(platform.project().join(folder)).unwrap();
    }
    platform.write("src/a.txt", "one");
    platform.write("src/deep/b.txt", "deep");
    platform.write("src/skipped/c.txt", "no");
    std::os::unix::fs::symlink("..", platform.project().join("src/deep/up")).unwrap();
}

/// What a command in the container prints; empty where it fails.
fn inside(platform: &Platform, script: &str) -> String {
    platform.run_with("exec", &["web", "sh", "-c", script]).out.trim_end().to_owned()
}

fn watching(platform: &Platform) -> Running {
    let mut watch = platform.start("watch");
    watch.until_says("watching");
    watch
}

#[test]
fn saved_files_are_in_the_container_a_moment_later() {
    let Some(platform) = Platform::new("saved_files_are_in_the_container") else { return };
    platform.stack(STACK);
    folders(&platform);
    platform.run("up").ok();
    let bystander = platform.container("bystander");
    let watch = watching(&platform);
    eventually("what was there is copied first", || {
        inside(&platform, "cat /app/a.txt /app/deep/b.txt; readlink /app/deep/up") == "onedeep.."
    });
    assert_eq!(inside(&platform, "ls /app/skipped 2>/dev/null"), "");

    platform.write("src/a.txt", "two");
    eventually("a change is copied", || inside(&platform, "cat /app/a.txt") == "two");
    platform.write("src/a.txt~", "an editor's own");
    std::fs::create_dir_all(platform.project().join("src/new/er")).unwrap();
    platform.write("src/new/er/d.txt", "new");
    eventually("so is a file in a new folder", || inside(&platform, "cat /app/new/er/d.txt") == "new");
    std::fs::remove_file(platform.project().join("src/a.txt")).unwrap();
    eventually("what is gone is removed", || inside(&platform, "ls /app") == "deep\nnew");

    // a folder that is deleted and comes back, as at a change of branches
    std::fs::rename(platform.project().join("src"), platform.project().join("away")).unwrap();
    eventually("its content goes", || inside(&platform, "ls /app").is_empty());
    std::fs::rename(platform.project().join("away"), platform.project().join("src")).unwrap();
    eventually("and comes back", || inside(&platform, "cat /app/deep/b.txt") == "deep");
    platform.write("src/deep/b.txt", "again");
    eventually("and is still watched", || inside(&platform, "cat /app/deep/b.txt") == "again");

    platform.write("run/job", "x");
    eventually("a command is run", || inside(&platform, "cat /ran") == "job");
    let started = inside(&platform, "cat /started");
    platform.write("etc/web.conf", "x=1");
    eventually("the service is restarted with its new file", || {
        let now = inside(&platform, "cat /started");
        inside(&platform, "cat /etc/web.conf") == "x=1" && !now.is_empty() && now != started
    });
    assert_eq!(platform.container("bystander"), bystander);
    watch.signal(Signal::INT);
    watch.wait().ok();
}

const BUILT: &str = "
services:
  web:
    build: {context: ., dockerfile_inline: \"FROM macula-test/busybox:1\\nCOPY version /version\\nRUN test ! -e /fails -a $(cat /version) != bad\\n\
      RUN test $(cat /version) != gone || rm -f /bin/sleep\\n\"}
    command: [sleep, infinity]
    stop_signal: SIGKILL
    develop: {watch: [{path: ./version, action: rebuild}]}
";

#[test]
fn a_build_that_fails_leaves_the_container() {
    let Some(platform) = Platform::new("a_build_that_fails_leaves_the_container") else { return };
    platform.write("compose.yaml", BUILT);
    platform.write("version", "1");
    let done = platform.run("up --images build");
    if done.code == 6 {
        skipped("a_build_that_fails_leaves_the_container", "build", "nothing can be built here");
        return;
    }
    done.ok();
    let mut watch = watching(&platform);
    let first = platform.container("web");
    platform.write("version", "bad");
    watch.until_says("its container stays as it is");
    assert_eq!(platform.container("web").id, first.id);
    platform.write("version", "2");
    watch.until_says("built again and replaced");
    assert_eq!(inside(&platform, "cat /version"), "2");
    assert_ne!(platform.container("web").id, first.id);
    // an image without the service's program: the old container has gone by then
    platform.write("version", "gone");
    watch.until_says("it does not run with them");
    watch.signal(Signal::INT);
    watch.wait().ok();
}

#[test]
fn what_cannot_be_watched_is_said() {
    let Some(platform) = Platform::new("what_cannot_be_watched_is_said") else { return };
    platform.stack("services: {web: {<<: *base, command: [sleep, infinity]}}\n");
    platform.run("watch --no-up").exits(3).says("no service has rules under `develop: {watch: [...]}`");
    platform.run("watch --no-up nosuch").exits(2).says("no service is named nosuch");
    let rule = "develop: {watch: [{path: ./src, action: rebuild}]}";
    platform.stack(&format!("services: {{web: {{<<: *base, command: [sleep, infinity], {rule}}}}}\n"));
    platform.run("watch --no-up").exits(3).says("give the service a `build`");
    let rule = "develop: {watch: [{path: ./src, action: sync}]}";
    platform.stack(&format!("services: {{web: {{<<: *base, command: [sleep, infinity], {rule}}}}}\n"));
    platform.run("watch --no-up").exits(3).says("`target` is missing");
    platform.stack(
        &format!("services: {{web: {{<<: *base, command: [sleep, infinity], {rule}}}}}\n").replace("sync", "restart"),
    );
    platform.run("watch --no-up").exits(2).says(&format!("there is no platform called {}", platform.name));
}
