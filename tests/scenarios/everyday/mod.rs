//! The days on which nothing is wrong: up, plan, changes, drift, down.

mod names;

use crate::harness::{IMAGE, Platform, Terminal, root_tar, skipped};

const WEB: &str = "
services:
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula: {probe: {http: {port: 8080}}}
  worker:
    <<: *base
    command: [sleep, infinity]
";

#[test]
fn up_twice_does_nothing_the_second_time() {
    let Some(platform) = Platform::new("up_twice") else { return };
    platform.stack(WEB);
    platform.run("plan --exit-code").exits(10).prints("+ web      create").prints("+ worker   create");
    let dry = platform.run("up --dry-run");
    dry.ok();
    // `up` has this option from the tests
    assert_eq!(dry.out.replace(" --no-dns", ""), platform.run("plan").out);
    assert_eq!(platform.everything(), [""; 0]);

    let first = platform.run("up");
    first.ok().says(" is up ");
    let made = platform.containers();
    assert!(made["web"].running && made["worker"].running);

    platform.run("up").ok().says("nothing to do");
    platform.run("plan --exit-code").ok().prints("nothing to do: ");
    assert_eq!(platform.run("status -o json").ok().json()["drift"], serde_json::json!([]));
    assert_eq!(platform.containers(), made);
}

#[test]
fn top_tells_a_busy_service_from_an_idle_one() {
    let Some(platform) = Platform::new("top") else { return };
    platform.stack(
        "
services:
  busy:
    <<: *base
    command: [sh, -c, 'while :; do :; done']
    mem_limit: 64m
  idle:
    <<: *base
    command: [sleep, infinity]
",
    );
    platform.run("top --once").exits(2).says("there is no platform called");
    platform.run("up").ok();
    let top = platform.run("top --once -o json").ok().json();
    let of = |top: &serde_json::Value, name: &str| {
        let rows = top["services"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {top}")).clone()
    };
    let (busy, idle) = (of(&top, "busy"), of(&top, "idle"));
    let cpu = |row: &serde_json::Value| row["usage"]["cpu_percent"].as_f64().unwrap();
    let counted = platform.engine.counts_usage();
    if counted {
        // other tests want the machine, too
        assert!(cpu(&busy) > cpu(&idle) + 5.0 && cpu(&idle) < 5.0, "{top}");
        assert_eq!(busy["usage"]["memory_limit"], 64 << 20);
        let received = idle["usage"]["received_per_second"].is_u64();
        assert!(idle["usage"]["memory"].as_u64().unwrap() > 0 && received, "{top}");
        assert!(top["total"]["cpu_percent"].as_f64().unwrap() >= cpu(&busy));
    } else {
        assert!(busy["usage"].is_null() && idle["usage"].is_null(), "{top}");
    }

    let table = platform.run("top");
    table.ok().prints("NAME");
    assert!(!counted || table.out.find("busy") < table.out.find("idle"), "{table}");
    platform.run("top nobody").exits(2).says("no service is named nobody");

    platform.run("stop busy").ok();
    let top = platform.run("top --once -o json idle busy").ok().json();
    assert_eq!(
        (&of(&top, "busy")["condition"], &of(&top, "busy")["usage"]),
        (&"stopped".into(), &serde_json::Value::Null)
    );
    // what is not counted stands by name
    assert_eq!(top["services"][0]["name"], if counted { "idle" } else { "busy" });

    platform.run("down").ok();
    platform.run("top").ok().prints(" - down - ").prints("start it:");
    assert_eq!(platform.run("top -o json").ok().json()["platform"]["down"], true);
}

#[test]
fn top_is_one_screen_that_obeys_keys() {
    let Some(platform) = Platform::new("top_screen") else { return };
    platform.stack(
        "
services:
  chatty:
    <<: *base
    command: [sh, -c, 'echo I have begun; exec sleep infinity']
  idle:
    <<: *base
    command: [sleep, infinity]
",
    );
    platform.run("up").ok();
    let before = platform.containers();
    let program = platform.program(["top", "--sort", "name"]);
    let Some(mut terminal) = Terminal::start("top_screen", &program, 60, 12) else { return };
    terminal.until("the rows", |text| text.contains("▸✔ chatty") && text.contains("idle") && text.contains("q quit"));
    assert!(terminal.is_full_screen() && terminal.hides_cursor());

    terminal.types("/dle\r");
    terminal.until("the filter", |text| !text.contains("chatty") && text.contains("filter: dle"));
    terminal.types("r");
    terminal.until("the question", |text| text.contains("Restart idle? y or n"));
    terminal.types("y");
    terminal.until("the restart", |text| text.contains("restarted idle"));
    let after = platform.containers();
    assert_eq!(before["chatty"].started, after["chatty"].started);
    assert_ne!(before["idle"].started, after["idle"].started);

    terminal.types("\x1b");
    terminal.until("all rows", |text| text.contains("chatty"));
    terminal.types("\x1b[H\r");
    terminal.until("the log", |text| text.contains("log of chatty") && text.contains("I have begun"));
    terminal.types("q");
    terminal.until("the list", |text| text.contains("NAME"));
    // as Ctrl-C is typed
    terminal.types("\x03");
    terminal.until("the end", |text| text.contains("code 0") && text.contains(" icanon ") && text.contains(" echo "));
    assert!(!terminal.is_full_screen() && !terminal.hides_cursor());
}

#[test]
fn drift_is_found_and_mended() {
    let Some(platform) = Platform::new("drift") else { return };
    platform.stack(WEB);
    platform.run("up").ok();
    let before = platform.containers();

    // removed by hand
    assert!(platform.engine.delete(&format!("/containers/{}?force=1", before["web"].id)));
    let status = platform.run("status -o json").ok().json();
    assert_eq!(status["services"][0]["state"], "missing");
    assert_ne!(status["drift"], serde_json::json!([]));
    platform.run("plan --exit-code").exits(10).prints("+ web  create");
    platform.run("up").ok();
    let after = platform.containers();
    assert!(after["web"].running);
    assert_ne!(after["web"].id, before["web"].id);
    assert_eq!(after["worker"], before["worker"]);

    // stopped by hand
    platform.engine.post(&format!("/containers/{}/kill", after["web"].id), &serde_json::json!({}));
    crate::harness::eventually("it has ended", || !platform.container("web").running);
    let plan = platform.run("plan --exit-code");
    plan.exits(10).prints("+ web  start     not running");
    assert!(!plan.out.contains("create"), "{plan}");
    platform.run("up").ok();
    assert_eq!(platform.container("web").id, after["web"].id);
    assert!(platform.container("web").running);
}

#[test]
fn an_image_that_moved_is_drift() {
    let Some(platform) = Platform::new("image_moved") else { return };
    let tag = format!("macula-test/{}:1", platform.name);
    platform.also_remove(format!("/images/{tag}?force=1"));
    let tar = root_tar().unwrap();
    platform.engine.import(&tag, &tar, "first").unwrap();
    platform.stack(&WEB.replacen("<<: *base", &format!("<<: *base\n    image: {tag}"), 1));
    platform.run("up").ok();
    let before = platform.containers();

    platform.engine.import(&tag, &tar, "second").unwrap();
    platform.run("plan --exit-code").exits(10).prints("~ web  recreate  image changed");
    platform.run("up").ok();
    let after = platform.containers();
    assert_ne!(after["web"].image, before["web"].image);
    assert_eq!(after["worker"], before["worker"]);
    // the old image is held by its container no more
    platform.also_remove(format!("/images/{}?force=1", before["web"].image));
}

#[test]
fn a_changed_variable_recreates_one_container() {
    let Some(platform) = Platform::new("changed_variable") else { return };
    platform.stack(WEB);
    platform.run("up").ok();
    let before = platform.containers();

    platform.stack(&WEB.replacen("<<: *base", "<<: *base\n    environment: {COLOUR: blue}", 1));
    let plan = platform.run("plan --exit-code");
    plan.exits(10);
    assert_eq!(
        plan.out,
        format!(
            "~ web  recreate  environment COLOUR: new, \"blue\"\n\
             1 service changes, 1 unchanged - no data is touched - apply: macula --name {} up\n",
            platform.name
        )
    );
    platform.run("up").ok();
    let after = platform.containers();
    assert_ne!(after["web"].id, before["web"].id);
    assert_eq!(after["worker"], before["worker"]);
    assert_eq!(platform.shell("web", "echo $COLOUR"), "blue");

    // the same from macula.yaml
    platform.changes("", &["web: {environment: {COLOUR: green}}"]);
    platform.run("up").ok();
    assert_eq!(platform.shell("web", "echo $COLOUR"), "green");
    assert_eq!(platform.containers()["worker"], before["worker"]);
    platform.run("up").ok().says("nothing to do");
}

#[test]
fn a_changed_file_reloads_its_service_only() {
    let Some(platform) = Platform::new("changed_file") else { return };
    let stack = "
services:
  reloads:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula:
      probe: {http: {port: 8080, path: /page.txt}}
      configs: {/www/page.txt: page.txt.j2}
      reload: {exec: [sh, -c, 'cat /www/page.txt >> /tmp/reloads']}
  fixed:
    <<: *base
    command: [sleep, infinity]
    x-macula: {configs: {/etc/page.txt: page.txt.j2}}
  bystander:
    <<: *base
    command: [sleep, infinity]
";
    platform.write("page.txt.j2", "first of {{ name }}\n");
    platform.stack(stack);
    platform.run("up").ok();
    let before = platform.containers();
    assert_eq!(platform.shell("reloads", "cat /www/page.txt"), format!("first of {}", platform.name));

    platform.write("page.txt.j2", "second\n");
    let plan = platform.run("plan --exit-code");
    plan.exits(10).prints("~ fixed    recreate  files changed").prints("~ reloads  reload    changed: /www/page.txt");
    platform.run("up").ok();
    let after = platform.containers();
    assert_eq!(after["reloads"], before["reloads"]);
    assert_ne!(after["fixed"].id, before["fixed"].id);
    assert_eq!(after["bystander"], before["bystander"]);
    assert_eq!(platform.shell("reloads", "cat /www/page.txt /tmp/reloads"), "second\nsecond");
    assert_eq!(platform.shell("fixed", "cat /etc/page.txt"), "second");
    platform.run("up").ok().says("nothing to do");
}

#[test]
fn orphans_go_and_their_data_stays() {
    let Some(platform) = Platform::new("orphans") else { return };
    let stack = "
services:
  stays:
    <<: *base
    command: [sleep, infinity]
  goes:
    <<: *base
    command: [sleep, infinity]
    volumes: ['rows:/data']
volumes: {rows: }
";
    platform.stack(stack);
    platform.run("up").ok();
    platform.shell("goes", "echo one > /data/rows");
    let before = platform.containers();

    platform.stack("services: {stays: {<<: *base, command: [sleep, infinity]}}");
    platform.run("plan --exit-code").exits(10).prints("- goes  remove    no longer wanted");
    // a part of the platform says nothing about the rest
    platform.run("up stays").ok().says("nothing to do");
    assert!(platform.container("goes").running);
    platform.run("up").ok();
    assert_eq!(platform.containers().into_values().collect::<Vec<_>>(), [before["stays"].clone()]);
    assert!(platform.everything().contains(&format!("volume {}", platform.volume_name("rows"))));

    platform.stack(stack);
    platform.run("up").ok();
    assert_eq!(platform.shell("goes", "cat /data/rows"), "one");
}

#[test]
fn ctrl_c_at_the_question_is_an_interruption() {
    let Some(platform) = Platform::new("ctrl_c_at_a_question") else { return };
    platform
        .stack("services: {db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data']}}\nvolumes: {rows: }\n");
    platform.run("up").ok();
    let program = platform.program(["down", "--volumes"]);
    let Some(mut terminal) = Terminal::start("ctrl_c_at_a_question", &program, 80, 24) else { return };
    terminal.until("the question", |text| text.contains("to agree, or Enter to cancel"));
    terminal.types("\x03");
    terminal.until("the end", |text| text.contains("code 130"));
    assert_eq!(platform.containers().into_keys().collect::<Vec<_>>(), ["db"]);
}

#[test]
fn down_keeps_the_rows_and_with_volumes_does_not() {
    let Some(platform) = Platform::new("down") else { return };
    platform.stack(
        "
services:
  db:
    <<: *base
    command: [sleep, infinity]
    volumes: ['rows:/data']
    x-macula: {secrets: {PASSWORD: {generate: 20}}}
volumes: {rows: }
",
    );
    platform.run("up").ok();
    platform.shell("db", "echo \"one $PASSWORD\" > /data/rows");
    let row = platform.shell("db", "cat /data/rows");
    assert_eq!(row.len(), "one ".len() + 20);

    platform.run("down --dry-run").ok().prints("stops and removes 1 service: db").prints("keeps the data (1 volume)");
    assert!(platform.container("db").running);
    // needs no stack file
    std::fs::remove_file(platform.project().join("compose.yaml")).unwrap();
    platform.run("down").ok().says("its data is kept (1 volume)");
    assert_eq!(platform.everything(), [format!("volume {}", platform.volume_name("rows"))]);
    platform.run("down").ok().says("already down; its data is kept (1 volume)");

    platform.stack(
        "services: {db: {<<: *base, command: [sleep, infinity], volumes: ['rows:/data'], \
         x-macula: {secrets: {PASSWORD: {generate: 20}}}}}\nvolumes: {rows: }\n",
    );
    platform.run("up").ok();
    assert_eq!(platform.shell("db", "cat /data/rows"), row);
    assert_eq!(platform.shell("db", "echo \"one $PASSWORD\""), row);

    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
    assert!(!platform.data().join("secrets/secrets.json").exists());
    platform.run("up").ok();
    assert_eq!(platform.shell("db", "cat /data/rows || echo none"), "none");
    assert_ne!(platform.shell("db", "echo \"one $PASSWORD\""), row);
}

#[test]
fn a_service_comes_with_what_it_needs() {
    let Some(platform) = Platform::new("selection") else { return };
    platform.stack(
        "
services:
  web: {<<: *base, command: [sleep, infinity], depends_on: [db]}
  db: {<<: *base, command: [sleep, infinity]}
  other: {<<: *base, command: [sleep, infinity]}
  debug: {<<: *base, command: [sleep, infinity], profiles: [debug]}
",
    );
    platform.run("up web").ok();
    assert_eq!(platform.containers().into_keys().collect::<Vec<_>>(), ["db", "web"]);
    platform.run("up").ok();
    assert_eq!(platform.containers().into_keys().collect::<Vec<_>>(), ["db", "other", "web"]);
    // `plan` and `up --dry-run` say the same, and the command that does it
    let plan = platform.run("plan --profile debug --remap");
    plan.ok().prints("up --profile debug --remap\n");
    let dry = platform.run("up --dry-run --profile debug --remap");
    assert_eq!((dry.ok().out.replace(" --no-dns", ""), &dry.err), (plan.out.clone(), &plan.err));
    platform.run("up --profile debug").ok();
    assert_eq!(platform.containers().into_keys().collect::<Vec<_>>(), ["db", "debug", "other", "web"]);
    platform.run("up wbe").exits(2).says("no service is named wbe").says("did you mean web?");
}

#[test]
fn platforms_live_side_by_side() {
    let Some(platform) = Platform::new("side_by_side") else { return };
    platform.stack(
        &WEB.replace("httpd, -f, -p, '8080', -h, /www]", "httpd, -f, -p, '8080', -h, /www]\n    ports: ['8080:8080']"),
    );
    let other = platform.beside();
    platform.run("up").ok();
    other.run("up").ok();
    let address = |platform: &Platform| {
        let status = platform.run("status -o json").ok().json();
        status["services"][0]["addresses"][0].as_str().unwrap().to_owned()
    };
    let (first, second) = (address(&platform), address(&other));
    assert_ne!(first, second);
    for address in [&first, &second] {
        std::net::TcpStream::connect(address).unwrap();
    }
    let before = platform.containers();
    other.run("down --volumes --yes").ok();
    assert_eq!(platform.containers(), before);
    platform.run("up").ok().says("nothing to do");
    // Podman writes the whole name
    assert!(before["web"].all["Config"]["Image"].as_str().unwrap().ends_with(IMAGE));
}
