//! The engine works, and something else does not.

use std::net::TcpListener;

use serde_json::json;

use crate::harness::{IMAGE, Platform, eventually};

#[test]
fn a_taken_port_stops_everything_before_it_begins() {
    let Some(platform) = Platform::new("port_taken") else { return };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    platform.stack(&format!(
        "
services:
  web: {{<<: *base, command: [sleep, infinity], ports: ['127.0.0.1:{port}:8080']}}
  other: {{<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}}
volumes: {{rows: }}
"
    ));
    let own = std::process::id();
    platform
        .run("up")
        .exits(5)
        .says(&format!("127.0.0.1:{port}"))
        .says(&format!("(pid {own})"))
        .says("nothing was changed");
    assert_eq!(platform.everything(), [""; 0]);
    platform.run("plan").exits(5);
    drop(holder);
    platform.run("up").ok();
}

#[test]
fn a_port_that_is_taken_moves_where_that_is_asked_for() {
    let Some(platform) = Platform::new("port_moves") else { return };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    platform.stack(&format!(
        "services: {{web: {{<<: *base, command: [httpd, -f, -p, '8080', -h, /etc], ports: ['127.0.0.1:{port}:8080']}}}}"
    ));
    platform.run("up").exits(5).says("up --remap");
    platform.run("plan --remap").ok().says(&format!("instead of 127.0.0.1:{port}")).prints("web");
    assert_eq!(platform.everything(), [""; 0]);
    platform.run("up --remap").ok().says(&format!("instead of 127.0.0.1:{port}"));
    let published = || {
        let all = platform.container("web").all;
        let bound = &all["HostConfig"]["PortBindings"]["8080/tcp"][0];
        let text = |key: &str| bound[key].as_str().unwrap_or_default().to_owned();
        (text("HostIp"), text("HostPort"))
    };
    let (address, moved) = published();
    assert!(address.starts_with("127.") && address != "127.0.0.1", "{address}:{moved}");
    assert!(std::net::TcpStream::connect(format!("{address}:{moved}")).is_ok(), "{address}:{moved}");
    platform.run("status").ok().prints(&format!("{address}:{moved}"));
    // it is remembered, and forgotten where that is asked for
    platform.run("up").ok().says("nothing to do");
    platform.run("up --reset").exits(5);
    // the file may ask for it, too
    platform.settings("ports: remap\n");
    platform.run("up").ok();
    assert_ne!(published().0, "127.0.0.1");
    drop(holder);
    platform.settings("");
    platform.run("up --reset").ok();
    assert_eq!(published(), ("127.0.0.1".to_owned(), port.to_string()));
}

#[test]
fn a_port_of_another_container_names_it() {
    let Some(platform) = Platform::new("port_of_container") else { return };
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let foreign = format!("holder-{}", platform.name);
    platform.also_remove(format!("/containers/{foreign}?force=1"));
    let body = json!({
        "Image": IMAGE, "Cmd": ["sleep", "infinity"], "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]}},
    });
    platform.engine.post(&format!("/containers/create?name={foreign}"), &body);
    platform.engine.post(&format!("/containers/{foreign}/start"), &json!({}));
    platform.stack(&format!(
        "services: {{web: {{<<: *base, command: [sleep, infinity], ports: ['127.0.0.1:{port}:8080']}}}}"
    ));
    platform.run("up").exits(5).says(&format!("127.0.0.1:{port}"));
    platform.run("doctor ports").exits(5).prints(&foreign);
    assert_eq!(platform.everything(), [""; 0]);
    assert!(platform.engine.container(&foreign).unwrap().running);
}

#[test]
fn a_service_that_crashes_shows_its_last_words_and_the_others_stay() {
    let Some(platform) = Platform::new("crash") else { return };
    let stack = "
services:
  good: {<<: *base, command: [sleep, infinity]}
  bad: {<<: *base, command: [sh, -c, 'echo reading settings; echo no such file: settings.toml >&2; exit 3']}
  waits: {<<: *base, command: [sleep, infinity], depends_on: {bad: {condition: service_healthy}}}
";
    platform.stack(stack);
    let done = platform.run("up");
    done.exits(7)
        .says("bad stopped right after its start (exit code 3)")
        .says("reading settings")
        .says("no such file: settings.toml")
        .says(" logs bad");
    let good = platform.container("good");
    assert!(good.running);
    assert!(!platform.containers().get("waits").is_some_and(|waits| waits.running));
    let status = platform.run("status -o json").ok().json();
    let bad = status["services"].as_array().unwrap().iter().find(|row| row["name"] == "bad").unwrap();
    assert_eq!((&bad["state"], &bad["reason"]), (&json!("stopped"), &json!("exit code 3")));

    platform.run("up").exits(7);
    platform.stack(&stack.replace("exit 3", "sleep infinity"));
    platform.run("up").ok();
    assert_eq!(platform.container("good"), good);
    assert!(platform.container("waits").running);
}

#[test]
fn a_service_that_is_brought_back_again_and_again_is_not_up() {
    let Some(platform) = Platform::new("crash_loop") else { return };
    platform.stack(
        "services: {loops: {<<: *base, restart: always, command: [sh, -c, 'echo once more; exit 1'], \
         healthcheck: {test: [CMD, 'true']}}}",
    );
    platform.run("up").exits(7).says("exit code 1").says("once more");
}

#[test]
fn a_service_that_ends_just_after_it_was_up_is_noticed() {
    let Some(platform) = Platform::new("ends_late") else { return };
    // it has settled by the time the slow one is ready, and has ended
    platform.stack("
services:
  brief: {<<: *base, command: [sh, -c, 'sleep 0.6; echo gone; exit 9']}
  slow: {<<: *base, command: [sh, -c, 'sleep 2; touch /tmp/ready; sleep infinity'], healthcheck: {test: [CMD, test, -e, /tmp/ready]}}
");
    platform.run("up").exits(7).says("brief stopped").says("exit code 9").says("gone");
}

#[test]
fn a_service_that_never_gets_healthy_has_a_deadline() {
    let Some(platform) = Platform::new("never_healthy") else { return };
    platform.stack(
        "
services:
  sick: {<<: *base, command: [sleep, infinity], healthcheck: {test: [CMD-SHELL, 'echo no quorum; exit 1']}}
  deaf: {<<: *base, command: [sleep, infinity], x-macula: {probe: {tcp: 8080}}}
  good: {<<: *base, command: [sleep, infinity]}
",
    );
    let done = platform.run("up --timeout 2s");
    let deaf = match platform.engine.has_reachable_containers() {
        true => "not listening on port 8080 yet",
        false => "its port 8080 cannot be reached from here",
    };
    done.exits(7).says("is not ready after 2 s").says("no quorum").says(deaf);
    assert!(platform.containers().values().all(|container| container.running));
    // the next one takes up the waiting, and only that
    let plan = platform.run("plan");
    platform.settings("timeouts: {healthy: 1s}\n");
    platform.run("up").exits(7).says("is not ready after 1 s");
    assert!(!plan.out.contains("create"), "{plan}");
}

#[test]
fn the_second_up_waits_for_the_first() {
    let Some(platform) = Platform::new("two_ups") else { return };
    platform.stack(
        "services: {slow: {<<: *base, command: [sh, -c, 'sleep 3; touch /tmp/ready; sleep infinity'], \
         healthcheck: {test: [CMD, test, -e, /tmp/ready]}}}",
    );
    let mut first = platform.start("up");
    first.until_says("network  created");
    let mut second = platform.start("up");
    second.until_says("waiting for `macula up` (pid ");
    first.wait().ok();
    second.wait().ok().says("nothing to do");
    assert_eq!(platform.containers().len(), 1);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(platform) = Platform::new("foreign") else { return };
    platform
        .stack("services: {db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}}\nvolumes: {rows: }\n");
    let (container, network, volume) =
        (platform.container_name("db"), platform.network_name(), platform.volume_name("rows"));
    let engine = &platform.engine;
    let path = format!("/containers/{container}");
    engine
        .post(&format!("/containers/create?name={container}"), &json!({"Image": IMAGE, "Cmd": ["sleep", "infinity"]}));
    engine.post("/networks/create", &json!({"Name": network, "CheckDuplicate": true}));
    engine.post("/volumes/create", &json!({"Name": volume, "Labels": {"com.docker.compose.project": "shop"}}));
    for foreign in [format!("{path}?force=1"), format!("/networks/{network}"), format!("/volumes/{volume}")] {
        platform.also_remove(foreign);
    }
    let look = || {
        let network = engine.get(&format!("/networks/{network}"));
        (engine.container(&container), network, engine.get(&format!("/volumes/{volume}")))
    };
    let before = look();
    platform
        .run("up")
        .exits(5)
        .says("nothing was changed")
        .says(&format!("container {container}: exists and was not made by macula"))
        .says(&format!("network {network}: exists and was not made by macula"))
        .says(&format!("volume {volume}: exists and was not made by macula; it belongs to the Compose project shop"));
    assert_eq!(platform.everything(), [""; 0]);
    platform.run("down --volumes --yes").ok().says("already down");
    assert_eq!(look(), before);

    // one of them is enough
    assert!(engine.delete(&format!("{path}?force=1")) && engine.delete(&format!("/networks/{network}")));
    platform.run("up").exits(5).says(&volume);
    assert_eq!(platform.everything(), [""; 0]);
    assert!(engine.delete(&format!("/volumes/{volume}")));
    platform.run("up").ok();
}

#[test]
fn what_belongs_to_another_platform_is_left_alone() {
    let Some(platform) = Platform::new("other_platform") else { return };
    platform.stack("services: {db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}}\nvolumes: {rows: {name: shared-rows-of-a-test}}\n");
    platform.run("up").ok();
    let other = platform.beside();
    other.run("up").exits(5).says(&format!("belongs to the platform {}", platform.name));
    assert_eq!(other.everything(), [""; 0]);
    assert!(platform.container("db").running);
}

#[test]
fn data_of_another_provider_is_not_opened() {
    let Some(platform) = Platform::new("provider") else { return };
    let stack = "
services:
  db:
    <<: *base
    command: [sleep, infinity]
    volumes: ['rows:/data']
    x-macula: {provider: {image: store-1, build: other-store-1}}
  web: {<<: *base, command: [sleep, infinity]}
volumes: {rows: }
";
    platform.stack(stack);
    platform.run("up").ok();
    platform.shell("db", "echo one > /data/rows");
    let before = (platform.containers(), platform.engine.get(&format!("/volumes/{}", platform.volume_name("rows"))));
    assert_eq!(before.1["Labels"]["dev.macula.provider"], "store-1");

    platform.stack(&stack.replace("store-1", "store-2").replace("infinity]\n    volumes", "'1000']\n    volumes"));
    platform
        .run("up")
        .exits(5)
        .says("was written by another version, and is left as it is")
        .says(&platform.volume_name("rows"))
        .says("store-1");
    let after = (platform.containers(), platform.engine.get(&format!("/volumes/{}", platform.volume_name("rows"))));
    assert_eq!(after, before);
    platform.stack(stack);
    platform.run("up").ok().says("nothing to do");
    assert_eq!(platform.shell("db", "cat /data/rows"), "one");
}

#[test]
fn without_a_terminal_data_goes_only_with_yes() {
    let Some(platform) = Platform::new("no_terminal") else { return };
    platform
        .stack("services: {db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}}\nvolumes: {rows: }\n");
    platform.run("up").ok();
    let (before, db) = (platform.everything(), platform.container("db"));
    let done = platform.run("down --volumes");
    done.exits(8).says("would be lost for good").says("`--yes` confirms that the data may go");
    assert_eq!(platform.everything(), before);
    assert_eq!(platform.container("db"), db);
    // without data to lose there is nothing to ask
    platform.run("down").ok();
}

#[test]
fn no_engine_is_said_with_what_was_tried() {
    let Some(platform) = Platform::new("no_engine") else { return };
    platform.stack("services: {db: {<<: *base, command: [sleep, infinity]}}");
    platform.engine_at(format!("unix://{}/no.sock", platform.home().display()));
    for words in ["plan", "status", "down", "logs", "restart", "images list", "exec db true"] {
        platform.run(words).exits(4).says("could not connect to a container engine").says("no.sock").says(" doctor");
    }
    // what needs no engine works without one
    for words in ["creds", "env", "stack list", "config show"] {
        platform.run(words).ok();
    }
    let listener = std::os::unix::net::UnixListener::bind(platform.home().join("no.sock")).unwrap();
    drop(listener);
    platform.run("plan").exits(4).says("nothing is listening there");
}

#[test]
fn a_container_that_dies_while_it_is_asked_is_said_so() {
    let Some(platform) = Platform::new("dies_while_asked") else { return };
    platform.stack(
        "services: {db: {<<: *base, command: [sleep, infinity], healthcheck: {test: [CMD, test, -e, /tmp/never]}}}",
    );
    let mut up = platform.start("up --timeout 60s");
    up.until_says("not ready after");
    let id = platform.container("db").id;
    eventually("it runs", || platform.container("db").running);
    assert!(platform.engine.delete(&format!("/containers/{id}?force=1")));
    let done = up.wait();
    assert_ne!(done.code, 0, "{done}");
    done.does_not_say("panicked").says("db");
    platform.stack("services: {db: {<<: *base, command: [sleep, infinity]}}");
    platform.run("up").ok();
}
