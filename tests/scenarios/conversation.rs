//! What the program says and prints: logs, exec, env, creds, and everything for programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Done, Platform, eventually, is_root};

const TALKERS: &str = "
services:
  alice: {<<: *base, command: [sh, -c, 'for n in 1 2 3; do echo alice $$n; done; echo oops >&2; sleep infinity']}
  bob: {<<: *base, command: [sh, -c, 'echo bob; sleep infinity']}
";

#[test]
fn logs_of_all_of_one_and_of_the_last_lines() {
    let Some(platform) = Platform::new("logs") else { return };
    platform.stack(TALKERS);
    platform.run("up").ok();
    let mut lines: Vec<String> = platform.run("logs").ok().out.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["alice | alice 1", "alice | alice 2", "alice | alice 3", "alice | oops", "bob   | bob"]);
    assert_eq!(platform.run("logs --no-prefix bob").ok().out, "bob\n");
    assert_eq!(platform.run("logs -n 1 bob").ok().out, "bob | bob\n");
    assert_eq!(platform.run("logs --since 2031-01-01T00:00:00Z").ok().out, "");
    platform.run("logs carol").exits(2).says("no service is named carol").says("there are alice, bob");
    platform.run("logs --since yesterday").exits(2).says("`yesterday` is not a valid time");

    let of_alice = platform.run("logs -o json alice").ok().out.clone();
    let objects: Vec<Value> = of_alice.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let container = platform.container_name("alice");
    for (stream, line) in [("stdout", "alice 1"), ("stderr", "oops")] {
        let object = objects.iter().find(|object| object["line"] == line).unwrap_or_else(|| panic!("{objects:?}"));
        assert_eq!((&object["service"], &object["stream"]), (&json!("alice"), &json!(stream)));
        assert_eq!(object["container"], container);
        assert!(object["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{object}");
    }
}

#[test]
fn a_log_that_nobody_keeps_is_named_and_the_others_are_shown() {
    let Some(platform) = Platform::new("a_log_that_nobody_keeps") else { return };
    let mute = "mute: {<<: *base, command: [sleep, infinity], logging: {driver: none}}";
    platform.stack(&format!("{TALKERS}  {mute}\n"));
    platform.run("up").ok();
    eventually("bob has spoken", || platform.run("logs bob").out.contains("bob | bob"));
    platform.run("logs").ok().prints("| bob").prints("mute has a log that cannot be read");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Some(platform) = Platform::new("broken_pipe") else { return };
    platform.stack("services: {chatty: {<<: *base, command: [sh, -c, 'while :; do echo line; sleep 0.01; done']}}");
    platform.run("up").ok();
    let mut command = platform.program(["logs", "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // the pipe is closed here: the next line finds nobody
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn exec_gives_input_output_and_exit_code() {
    let Some(platform) = Platform::new("exec") else { return };
    platform.stack(TALKERS);
    platform.run("up").ok();
    let done = platform.run_with("exec", &["bob", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    done.exits(42);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));

    let mut command = platform.program(["exec", "-T", "bob", "wc", "-c"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // more than any buffer on the way holds
    let sent = vec![b'x'; 1 << 20];
    child.stdin.take().unwrap().write_all(&sent).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (1 << 20).to_string());

    // one that reads none of it, and ends with a code of its own
    let mut command = platform.program(["exec", "-T", "bob", "sh", "-c", "exec <&-; sleep 1; echo enough; exit 3"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // ends with the pipe, when the program has gone
    let typist = std::thread::spawn(move || while stdin.write_all(&[b'x'; 1 << 16]).is_ok() {});
    let output = child.wait_with_output().unwrap();
    typist.join().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).trim()), (Some(3), "enough"));

    let done = platform
        .run_with("exec", &["-u", "nobody", "-w", "/www", "-e", "A=b c", "bob", "sh", "-c", "id -un; pwd; echo $A"]);
    assert_eq!(done.ok().out, "nobody\n/www\nb c\n");
    platform.run("exec carol true").exits(2).says("no service is named carol");
    // engines differ in which of the shells' two codes they choose
    let done = platform.run("exec bob no-such-program");
    assert!([126, 127].contains(&done.code), "{done}");
}

const KEEPERS: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'mkdir -p /data/deep; echo page > /data/page; echo b > /data/deep/b; ln -s page /data/link; touch /ready; exec sleep infinity']
    deploy: {replicas: 2}
    ports: ['8000-8001:80', '53/udp']
  locked:
    <<: *base
    command: [sleep, infinity]
    read_only: true
    volumes: ['kept:/kept']
volumes: {kept: {}}
";

#[test]
fn files_are_copied_as_docker_copies_them() {
    let Some(platform) = Platform::new("copy") else { return };
    platform.stack(KEEPERS);
    platform.run("up").ok();
    let first = |script: &str| platform.shell("web", script);
    let second =
        |script: &str| platform.run_with("exec --index 2", &["web", "sh", "-c", script]).ok().out.trim_end().to_owned();
    eventually("both are ready", || {
        ["1", "2"].into_iter().all(|at| platform.run_with("exec --index", &[at, "web", "ls", "/ready"]).code == 0)
    });
    let project = platform.project();
    let here = |name: &str| std::fs::read_to_string(project.join(name)).unwrap();
    std::fs::create_dir_all(project.join("site/css")).unwrap();
    platform.write("site/index.html", "hello");
    platform.write("site/css/a.css", "style");

    // in: a new name, into a folder, what is in a folder, over a file
    platform.run("cp site web:/made").ok().says("copied 2 files (10 B) to web:/made in 2 containers");
    assert_eq!((first("cat /made/css/a.css"), second("cat /made/index.html")), ("style".into(), "hello".into()));
    platform.run("cp site web:/made").ok();
    platform.run("cp --index 2 site/. web:/data").ok();
    assert_eq!(first("ls /made"), "css\nindex.html\nsite");
    assert_eq!(first("ls /data"), "deep\nlink\npage");
    assert_eq!(second("cat /data/index.html /data/page"), "hellopage");
    platform.write("large", &"x".repeat(3 << 20));
    platform.run("cp large web:/data/page").ok();
    assert_eq!(first("wc -c < /data/page"), (3 << 20).to_string());
    let rows = platform.run("cp large web:/made/ -o json").ok().json();
    assert_eq!((&rows[1]["files"], &rows[0]["path"]), (&1.into(), &"/made/large".into()));

    // out: the same rules, and links stay links unless they are followed, but for what Podman sends of one
    platform.run("cp web:/data out").ok().says("copied 3 files");
    assert_eq!((here("out/deep/b"), here("out/page").len()), ("b\n".into(), 3 << 20));
    platform.run("cp web:/data/deep out").ok();
    platform.run("cp web:/data/deep/. out").ok();
    assert_eq!(here("out/b"), "b\n");
    platform.run("cp web:/data/link kept").ok();
    match platform.engine.is_podman() {
        true => assert_eq!(here("kept").len(), 3 << 20),
        false => assert_eq!(std::fs::read_link(project.join("kept")).unwrap().to_str(), Some("page")),
    }
    platform.run("cp -L web:/data/link followed").ok();
    assert_eq!(here("followed").len(), 3 << 20);
    platform.run("cp --index 2 web:/data/index.html from-second").ok();
    assert_eq!(here("from-second"), "hello");

    // archives on standard streams
    let archive = platform.program(["cp", "web:/data/deep", "-"]).output().unwrap();
    assert!(archive.status.success());
    let mut command = platform.program(["cp", "--index", "1", "-", "web:/made"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&archive.stdout).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(first("cat /made/deep/b"), "b");

    // whose they are
    if is_root() {
        std::os::unix::fs::chown(project.join("large"), Some(1234), Some(1234)).unwrap();
        let owner = |how: &str| {
            platform.run(&format!("cp --index 1 {how} large web:/made/owned")).ok();
            first("ls -ln /made/owned").split_whitespace().nth(2).map(str::to_owned).unwrap()
        };
        assert_eq!((owner(""), owner("-a")), ("0".into(), "1234".into()));
    }

    // one that does not run, and a volume of one whose root is read-only
    platform.run("stop web").ok();
    platform.run("cp web:/data/deep/b late").ok();
    platform.run("cp site web:/data/later").ok();
    assert_eq!(here("late"), "b\n");
    platform.run("cp site locked:/kept").ok();
    assert_eq!(platform.shell("locked", "cat /kept/site/index.html"), "hello");

    platform.run("cp site locked:/made").exits(1).says("locked:/ cannot be written to: it is read-only");
    platform.run("cp web:/nowhere x").exits(2).says("web:/nowhere does not exist");
    platform.run("cp large web:/no/where").exits(2).says("web:/no does not exist");
    platform.run("cp site web:/data/page").exits(2).says("cannot replace the file");
    platform.run("cp web:/data/page no/where").exits(2).says("no does not exist");
    platform.run("cp web:/data/page /dev/null").exits(2).says("neither a file nor a folder");
    platform.run("cp carol:/x x").exits(2).says("no service is named carol");
    platform.run("cp --index 3 web:/data x").exits(2).says("there is no number 3");
    assert!(!project.join("x").exists());
    let odd = std::fs::read_dir(&project).unwrap().flatten().find(|one| {
        let name = one.file_name().to_string_lossy().into_owned();
        name.ends_with(".macula-tmp")
    });
    assert!(odd.is_none(), "{odd:?}");
}

#[test]
fn ports_are_told_as_they_are_reached() {
    let Some(platform) = Platform::new("port") else { return };
    platform.stack(KEEPERS);
    platform.run("up").ok();
    let status = platform.run("status -o json").ok().json();
    let rows = status["services"].as_array().unwrap();
    let web = rows.iter().find(|row| row["name"] == "web").unwrap();
    let known: Vec<&str> = web["addresses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let told = |words: &str| platform.run(words).ok().out.trim_end().to_owned();
    let first = told("port web 80");
    assert!(known.contains(&first.as_str()), "{first} is not in {known:?}");
    let second = told("port --index 2 web 80/tcp");
    assert!(known.contains(&second.as_str()) && second != first, "{second} is not in {known:?}");
    let udp = told("port web 53/udp");
    assert_eq!(told("port --protocol udp web 53"), udp);
    assert!(known.contains(&format!("{udp}/udp").as_str()), "{udp} is not in {known:?}");
    assert_eq!(told("port web").lines().count(), known.len());
    assert!(told("port --index 1 web").contains(&format!("80/tcp -> {first}")));
    let rows = platform.run("port web 80 -o json").ok().json();
    assert_eq!((&rows[0]["address"], &rows[0]["port"]), (&first.into(), &80.into()));
    platform
        .run("port web 81")
        .exits(2)
        .says("web does not publish its port 81/tcp")
        .says("it publishes 53/udp and 80");
    platform.run("port locked").exits(2).says("locked publishes no port on this machine");
    platform.run("port carol").exits(2).says("no service is named carol");
    platform.run("stop web").ok();
    platform.run("port web 80").exits(2).says("web is not running");
}

/// A migration, a console: the service's image and settings, whether or not it runs.
#[test]
fn a_command_has_a_new_container_of_its_service() {
    let Some(platform) = Platform::new("new") else { return };
    platform.stack(
        "
services:
  shop:
    <<: *base
    entrypoint: [sh, -c]
    command: ['echo serving; sleep infinity']
    environment: {A: from the file}
    hostname: shop-1
    ports: ['8000:80']
    volumes: ['kept:/kept']
    depends_on: [db]
  db: {<<: *base, command: [sleep, infinity]}
volumes: {kept: {}}
",
    );
    let done = platform.run_with("exec", &["--new", "shop", "echo $A; echo mine > /kept/file; echo bad >&2; exit 42"]);
    done.exits(42);
    assert_eq!(done.out, "from the file\n");
    done.says("bad");
    let left = platform.everything().into_iter().filter(|name| name.starts_with("container"));
    let left: Vec<String> = left.collect();
    assert_eq!(left, [format!("container {}", platform.container_name("db"))], "what it needs runs, its own is gone");

    // beside the service, whose name and port it leaves alone
    platform.run("up").ok();
    let done = platform
        .run_with("exec", &["--new", "-e", "A=given", "-u", "nobody", "shop", "echo $A; id -un; cat /kept/file"]);
    assert_eq!(done.ok().out, "given\nnobody\nmine\n");
    let mut command = platform.program(["exec", "--new", "-T", "db", "wc", "-c"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&vec![b'x'; 1 << 20]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (1 << 20).to_string());

    // another command leaves it alone while it is at work, and what was killed is taken away
    let one = ["exec", "--new", "-T", "shop", "echo ready; trap 'exit 5' TERM; while :; do sleep 0.1; done"];
    let mut child = platform.program(one).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let apart = || platform.everything().iter().filter(|name| name.contains("-shop-run-")).count();
    platform.run("up").ok().says("nothing to do");
    platform.run("status").ok().prints("2 running").prints("nothing to change");
    assert_eq!(apart(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    platform.run("down").ok();
    assert_eq!(apart(), 0);
    platform.run("exec --new db nosuch").exits(127).says("has no program `nosuch`");
    platform.run("exec --new carol true").exits(2).says("no service is named carol");
    platform.run("exec --new").exits(2).says("name the service");
    platform.run("run shop true").exits(2).says("exec --new shop true");
}

#[test]
fn passwords_are_made_once_and_shown_to_their_owner_only() {
    let Some(platform) = Platform::new("secrets") else { return };
    platform.stack(
        "
services:
  db:
    <<: *base
    command: [sleep, infinity]
    ports: ['5432:5432']
    x-macula:
      secrets: {PASSWORD: {generate: 24}}
      exports: {DB_URL: 'db://{{ secrets.db.PASSWORD }}@{{ service.address }}:5432/x', DB_NOTE: \"it's $5\"}
  app:
    <<: *base
    command: [sleep, infinity]
    x-macula: {secrets: {DB_PASSWORD: {from: db.PASSWORD}}}
",
    );
    assert!(platform.run("creds").ok().out.contains("no passwords are recorded"));
    let up = platform.run("up");
    up.ok();
    let all = platform.run("creds --all -o json").ok().json();
    let password =
        all.as_array().unwrap().iter().find(|one| one["service"] == "db").unwrap()["value"].as_str().unwrap();
    assert_eq!(password.len(), 24);
    assert_eq!(platform.shell("db", "echo $PASSWORD"), password);
    assert_eq!(platform.shell("app", "echo $DB_PASSWORD"), password);
    assert!(!format!("{}{}", up.out, up.err).contains(password));
    platform.run("creds app").ok().prints("DB_PASSWORD").prints(password);

    let file = platform.data().join("secrets/secrets.json");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()) & 0o077, 0);

    let as_json = platform.run("env --format json").ok().json();
    let url = as_json["DB_URL"].as_str().unwrap();
    assert!(url.starts_with(&format!("db://{password}@127.")), "{url}");
    let script = platform.run("env --format shell").ok().out.clone();
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("{script}\necho \"$DB_URL $DB_NOTE\"")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{url} it's $5\n"));
    platform.run("env").ok().prints(&format!("DB_URL={url}\n"));

    // another variable of the same service changes nothing of the first
    let before = platform.container("db");
    platform.run("up").ok().says("nothing to do");
    assert_eq!(platform.container("db"), before);
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let Some(platform) = Platform::new("progress_json") else { return };
    platform.stack(TALKERS);
    let events = |done: &Done| -> Vec<Value> {
        done.err
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect()
    };
    let up = platform.run("up --progress json -o json");
    let all = events(up.ok());
    // what a check of the machine says comes before, and what is waited for
    let first = all.iter().find(|event| !["info", "warning"].contains(&event["event"].as_str().unwrap())).unwrap();
    assert_eq!((&first["event"], &first["platform"]), (&json!("started"), &json!(platform.name)));
    let planned: Vec<&Value> = first["steps"].as_array().unwrap().iter().map(|step| &step["id"]).collect();
    let done: Vec<&Value> =
        all.iter().filter(|event| event["event"] == "step_done").map(|event| &event["id"]).collect();
    assert_eq!(planned.len(), done.len());
    assert!(planned.iter().all(|step| done.contains(step)));
    assert!(all.iter().all(|event| event["time"].is_string()));
    let last = all.last().unwrap();
    assert_eq!((&last["event"], &last["ok"]), (&json!("finished"), &json!(true)));
    let summary = last["summary"].as_str().unwrap();
    assert!(summary.starts_with(&format!("{} is up - 2 services - ", platform.name)), "{summary}");
    // standard output has the result and nothing else
    assert_eq!(up.json()["platform"]["name"], json!(platform.name));

    let quiet = platform.run("down --progress quiet");
    quiet.ok();
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let again = platform.run("up --progress quiet");
    assert_eq!(again.ok().err, "");
}

/// Where `found` lacks what was promised, or says something else; it may say more.
fn missing_of(promised: &Value, found: &Value, place: &str) -> Vec<String> {
    match (promised, found) {
        (Value::Object(promised), Value::Object(found)) => promised
            .iter()
            .flat_map(|(key, value)| match found.get(key) {
                Some(there) => missing_of(value, there, &format!("{place}.{key}")),
                None => vec![format!("{place}.{key} is missing")],
            })
            .collect(),
        (Value::Array(promised), Value::Array(found)) if promised.len() == found.len() => {
            promised.iter().zip(found).flat_map(|(one, other)| missing_of(one, other, place)).collect()
        }
        _ if promised == found => Vec::new(),
        _ => vec![format!("{place}: {found}, not {promised}")],
    }
}

#[test]
fn results_for_programs_have_their_shape() {
    let Some(platform) = Platform::new("json_shapes") else { return };
    platform.stack(
        "
services:
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    ports: ['8080:8080']
    x-macula: {probe: {http: {port: 8080}}, ingress: {port: 8080}}
  extra:
    image: 127.0.0.1:1/nowhere:1
    x-macula: {optional: true}
",
    );
    let plan = platform.run("plan -o json").ok().json();
    let step = &plan["steps"][0];
    for key in ["id", "resource", "group", "cause", "after", "destructive", "needs_privilege"] {
        assert!(step.get(key).is_some(), "{key}: {step}");
    }
    assert_eq!(plan["left_out"][0]["service"], "extra");

    platform.run("up").ok().says(" is up ").prints("extra left out: 127.0.0.1:1 cannot be reached");
    platform.run("up --strict").exits(6).says("extra");
    let mut status = platform.run("status -o json").ok().json();
    assert_eq!(
        (&status["services"][0]["condition"], &status["services"][1]["condition"]),
        (&json!("left_out"), &json!("healthy"))
    );
    assert_eq!((&status["changes"], &status["platform"]["down"]), (&json!([]), &json!(false)));
    // beyond the contract
    for key in ["condition", "seconds", "restarts", "exit_code", "note", "own"] {
        for service in status["services"].as_array_mut().unwrap() {
            assert!(service.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
    }
    for key in ["down", "volumes", "up_seconds"] {
        assert!(status["platform"].as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    status.as_object_mut().unwrap().remove("changes");
    let address = status["services"][1]["addresses"][0].as_str().unwrap().to_owned();
    let name = &platform.name;
    let promised = json!({
        "platform": {"name": name, "domain": format!("{name}.macula.local")},
        "services": [
            {"name": "extra", "stack": "project", "state": "left_out", "health": "none",
             "image": "127.0.0.1:1/nowhere:1", "image_source": null, "urls": [], "addresses": [],
             "container": null, "reason": "127.0.0.1:1/nowhere:1 is not in the engine, its registry (127.0.0.1:1) cannot be reached, and it has no build"},
            {"name": "web", "stack": "project", "state": "running", "health": "healthy",
             "image": "macula-test/busybox:1", "image_source": "image",
             "urls": [], "addresses": [address],
             "container": format!("macula-{name}-web-1"), "reason": null},
        ],
        "dns": {"address": null, "zones": [], "installed": false, "healthy": false},
        "cluster": {"name": null, "state": "missing", "context": null, "reason": null, "nodes": [], "addons": []},
        "drift": [],
    });
    assert_eq!(missing_of(&promised, &status, "status"), [""; 0]);
    assert!(address.starts_with("127.") && address.ends_with(".1:8080"), "{address}");
    platform.run("open web --print").ok().prints(&format!("https://web.{name}.macula.local\n"));
    platform.run("open extra").exits(7).says("extra is left out, so that it has no page");

    let images = platform.run("images list -o json").ok().json();
    let web = images.as_array().unwrap().iter().find(|row| row["reference"] == "macula-test/busybox:1").unwrap();
    assert_eq!((&web["present"], &web["services"]), (&json!(true), &json!(["web"])));

    let error = platform.run("up nobody -o json");
    error.exits(2);
    let object = &error.json()["error"];
    assert_eq!((&object["kind"], &object["exit_code"]), (&json!("usage"), &json!(2)));
    assert!(object["message"].as_str().unwrap().contains("nobody"));
}

/// `| head -1` has seen enough, which is no error; a full disk has lost a result, which is one.
#[test]
fn a_reader_that_goes_away_and_a_disk_that_is_full() {
    let Some(platform) = Platform::new("pipes") else { return };
    let many = "i=0; while [ $$i -lt 30000 ]; do echo a line that is one of very many $$i; i=$$((i+1)); done; exec sleep infinity";
    platform.stack(&format!("services: {{web: {{<<: *base, command: [sh, -c, '{many}']}}}}\n"));
    platform.run("up").ok();
    eventually("all lines", || platform.run("logs web --tail 1").out.contains("many 29999"));
    let results = [
        "status",
        "status -o json",
        "status --watch",
        "status --watch -o json",
        "logs web",
        "logs -f web",
        "logs web -o json",
        "plan -o json",
        "ls",
        "exec web cat /bin/busybox",
    ];
    for words in results {
        let mut child =
            platform.program(words.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = Vec::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_until(b'\n', &mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!first.is_empty() && !said.contains("panicked"), "{words}: {said}");
        // each round is a value on a line
        let whole = serde_json::from_slice::<serde_json::Value>(&first).is_ok();
        assert!(whole || words != "status --watch -o json", "{}", String::from_utf8_lossy(&first));
        assert!(!said.contains("error:"), "{words}: {said}");
        // what shells say of a program that SIGPIPE has ended
        let code = if words.starts_with("exec") { 141 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
    }
    for words in results {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = platform.program(words.split(' ')).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        assert!(said.contains("standard output") && !said.contains("panicked"), "{words}: {said}");
    }
    // nothing runs on in there for nobody
    let still = platform.shell("web", "ps -o args | grep -c '^cat /bin' || true");
    assert_eq!(still, "0");
}
