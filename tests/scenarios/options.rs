//! Options that no other scenario sees: what each of them changes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Platform, eventually, skipped};

const STACK: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'echo first; echo ERROR second; exec sleep infinity']
    deploy: {replicas: 2}
    x-macula: {secrets: {KEY: {generate: 24, internal: true}, PIN: {generate: 8}}, exports: {WEB_URL: 'web://here'}}
    develop: {watch: [{path: ./src, action: sync, target: /app}]}
  db:
    <<: *base
    command: [sleep, infinity]
    x-macula: {exports: {DB_URL: 'db://here'}}
  job:
    <<: *base
    command: ['true']
    x-macula: {once: true}
  rare:
    image: 127.0.0.1:1/none:1
    x-macula: {optional: true}
";

fn platform(scenario: &str) -> Option<Platform> {
    let platform = Platform::new(scenario)?;
    platform.stack(STACK);
    Some(platform)
}

#[test]
fn what_up_was_told_holds_until_it_is_told_otherwise() {
    let Some(platform) = platform("what_up_was_told_holds_until_it_is_told_otherwise") else { return };
    platform.run("plan --strict").exits(6).says("127.0.0.1:1/none:1");
    platform.run("up --strict").exits(6).says("nothing was changed");
    platform.run("up --images local --no-cluster").ok();
    platform.run("status").ok().prints("the last `up` had `--no-dns`");
    platform.run("up").ok().says("options of the last `up` still apply: images local, no cluster");
    platform.run("-v plan").ok().says("images local, no cluster");
    platform.run("up --cluster").ok().does_not_say("no cluster");
    platform.run("up").ok().says("options of the last `up` still apply: images local").does_not_say("no cluster");
    platform.run("up --reset").ok().does_not_say("still apply");
    platform.run("up").ok().does_not_say("still apply");
    // why an image is not here depends on where it would come from, by the command line or by the file
    let list = |policy: &str| platform.run(&format!("images list{policy}")).ok().out.clone();
    assert!(list(" --images pull").contains("cannot be reached"));
    assert!(list(" --images local").contains("--images local pulls nothing"));
    platform.settings("images: {policy: local}\n");
    assert!(list("").contains("pulls nothing"));
}

#[test]
fn a_platform_may_have_a_lease() {
    let Some(platform) = platform("a_platform_may_have_a_lease") else { return };
    let (listen, other) = (address(93), address(94));
    let asked = upstream("a_platform_may_have_a_lease", other).is_some();
    let dns = format!(
        "dns: {{listen: [\"{listen}:53953\"], dot: [\"{listen}:8853\"], doh: [\"{listen}:8443\"], upstream: [{other}], \
         rebind_allow: [allowed.example]}}\n"
    );
    platform.settings(&dns);
    let lease = || platform.run("lease -o json").ok().json()["lease"].clone();
    platform.run("up --dns --lease 2h").ok();
    let first = lease()["until"].as_i64().unwrap();
    platform.run("lease extend 3h").ok().prints("in 3h00m");
    assert!(lease()["until"].as_i64().unwrap() > first + 3000);
    platform.run("lease cancel").ok();
    assert_eq!(lease(), Value::Null);
    // what works of an `up` that fails stays no longer
    platform.stack(&format!("{STACK}  broken: {{<<: *base, command: [sh, -c, 'exit 4']}}\n"));
    platform.run("up --dns --lease 2h").exits(7);
    assert!(lease()["until"].as_i64().unwrap() >= first);
    platform.run("lease cancel").ok();
    platform.stack(STACK);
    platform.run("up --dns --idle 30m").ok();
    assert_eq!(lease()["idle"]["seconds"], 1800);
    platform.run("lease cancel").ok();

    // the file's, where the command line says nothing
    platform.settings(&format!("{dns}lease: {{time: 5h, idle: 40m}}\n"));
    platform.run("up --dns").ok();
    assert_eq!(lease()["idle"]["seconds"], 2400);
    assert!(lease()["until"].as_i64().unwrap() > first + 3000);
    platform.settings(&dns);

    // it ends with the process that it is tied to
    let mut process = Command::new("sleep").arg("600").spawn().unwrap();
    platform.run(&format!("up --dns --lease-of {}", process.id())).ok();
    assert_eq!(lease()["process"]["pid"], process.id());

    // what the resolver does and says, here and inside
    for port in [8853, 8443] {
        eventually(&format!("port {port} is listened on"), || TcpStream::connect((listen, port)).is_ok());
    }
    let resolver = format!("{listen}:53953");
    assert!(!asked || leads_here(&resolver, "x.allowed.example") && !leads_here(&resolver, "x.foreign.example"));
    let name = &platform.name;
    platform.run(&format!("dns query {name}.macula.local NS")).ok().prints("IN NS");
    let inside = platform.run("dns query nobody --inside");
    assert_ne!(inside.out, platform.run("dns query nobody").out);
    let rows = |words: &str| platform.run(words).ok().json().as_array().unwrap().len();
    assert!(rows("traces -o json") > 1);
    assert_eq!(rows("traces -n 1 -o json"), 1);

    // who is in a container when it ends is told so
    let exec = platform.start("exec -T web sleep 600");
    let sleeps = || platform.run_with("exec", &["web", "sh", "-c", "ps"]).out.contains("sleep 600");
    eventually("somebody is in a container", sleeps);
    process.kill().unwrap();
    process.wait().unwrap();
    eventually("the platform goes with the process", || platform.containers().is_empty());
    assert_ne!(exec.wait().code, 0);
    platform.run("down --volumes --yes").ok();
}

#[test]
fn numbers_of_containers_hold_until_they_are_given_back() {
    let Some(platform) = Platform::new("numbers_of_containers_hold_until_they_are_given_back") else { return };
    platform.stack(
        "
services:
  web: {<<: *base, command: [sleep, infinity], depends_on: [db]}
  db: {<<: *base, command: [sleep, infinity], volumes: ['data:/data']}
  fixed: {<<: *base, command: [sleep, infinity], ports: ['8000:80']}
volumes: {data: {}}
",
    );
    let count = |service: &str| {
        let list = platform.everything();
        list.iter().filter(|name| name.starts_with(&format!("container macula-{}-{service}-", platform.name))).count()
    };
    platform.run("up --scale web=3").ok();
    assert_eq!((count("web"), count("db")), (3, 1));
    platform.run("up").ok().says("options of the last `up` still apply: scale web=3").says("nothing to do");
    platform.run("plan --scale web=2 --exit-code").exits(10).prints("--scale web=2");
    platform.run("scale web=5 --dry-run").ok();
    assert_eq!(count("web"), 3);

    // fewer of them, while what they need is left as it is
    platform.run("stop db").ok();
    platform.run("scale web=2 --no-deps").ok();
    assert_eq!((count("web"), platform.container("db").running), (2, false));
    platform.run("scale web=0").ok();
    assert_eq!((count("web"), platform.container("db").running), (0, true));
    platform.run("up").ok().says("scale web=0");
    platform.run("wait --timeout 5s").ok().says("web is healthy");
    assert_eq!(count("web"), 0);
    platform.run("ci --no-dns --scale web=2 -- true").ok();
    assert_eq!(count("web"), 2);
    platform.run("up --scale web=").ok().does_not_say("still apply");
    assert_eq!(count("web"), 1);
    platform.run("up").ok().does_not_say("still apply");

    platform.run("up --scale wbe=2").exits(3).says("no stack has a service `wbe`").says("did you mean `web`?");
    platform.run("scale fixed=2").exits(3).says("fixed cannot have 2 containers: only one can publish port 8000");
    platform.run("scale web=many").exits(2).says("`many` is not a number of containers");
    platform.run("scale web").exits(2).says("write SERVICE=N");
    assert_eq!((count("web"), count("fixed")), (1, 1));
}

#[test]
fn what_is_shown_and_run_is_what_was_asked_for() {
    let Some(platform) = platform("what_is_shown_and_run_is_what_was_asked_for") else { return };
    platform.run("up").ok();
    eventually("both have spoken", || platform.run("logs web").out.matches("second").count() == 2);
    assert_eq!(platform.run("logs web --until 2001-01-01T00:00:00Z").ok().out, "");
    let found = platform.run("logs web --grep sec").ok().out.clone();
    assert!(found.contains("second") && !found.contains("first"), "{found}");
    let found = platform.run("logs web --level warn").ok().out.clone();
    assert!(found.contains("second") && !found.contains("first"), "{found}");
    platform.run("logs web --level loud").exits(2).says("expected debug, info, warn, error or fatal");
    // one of each container, of those that are shown
    assert_eq!(platform.run("logs web --grep first -n 1").ok().out.matches("first").count(), 2);
    let timed = platform.run("logs web -n 1 --timestamps").ok().out.clone();
    let time = timed.lines().next().unwrap().split(' ').nth(2).unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{timed}");

    let host = |index: &str| platform.run_with("exec --index", &[index, "web", "hostname"]).ok().out.clone();
    assert_ne!(host("1"), host("2"));
    // an engine that may not give them says so
    let rights =
        |how: &str| platform.run_with(&format!("exec {how}"), &["web", "grep", "CapEff", "/proc/self/status"]).out;
    assert_ne!(rights(""), rights("--privileged"));
    platform.run_with("exec --index", &["3", "web", "hostname"]).exits(2);

    assert!(!platform.run("creds").ok().out.contains("KEY"));
    platform.run("creds").ok().prints("PIN").prints("other services reach it as web");
    assert!(!platform.run("creds -o json").ok().out.contains("KEY"));
    for every in ["creds --all", "creds --all -o json", "creds web -o json"] {
        platform.run(every).ok().prints("KEY");
    }
    assert!(!platform.run("status").ok().out.contains("done"));
    platform.run("status --all").ok().prints("done");
    let stats = platform.run("status --stats");
    assert_eq!(stats.ok().out.contains("together: "), platform.engine.counts_usage(), "{stats}");

    std::fs::write(platform.project().join("more.env"), "MORE=yes\n").unwrap();
    let script = "echo $PORT; echo $DB_URL; echo $WEB_URL; echo $MORE";
    let run = |options: &str| {
        let done = platform.run_with(&format!("run {options} --"), &["sh", "-c", script]);
        done.ok().out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(run("--port 45123")[..], ["45123", "db://here", "web://here", ""]);
    assert_eq!(run("--needs db --env-file more.env")[1..], ["db://here", "", "yes"]);
    let env = platform.run("env db").ok().out.clone();
    assert!(env.contains("DB_URL=db://here") && !env.contains("WEB_URL"), "{env}");
    // a later file may use what those before it say
    std::fs::write(platform.project().join("most.env"), "MORE=$MORE and more\n").unwrap();
    assert_eq!(run("--needs db --env-file more.env --env-file most.env")[3], "yes and more");
    platform.run("env dbb").exits(2).says("dbb");
    platform.run("env --needs db").exits(2).says("env db");

    // whoever names a service turns its profile on; a host name stands for its service
    let more = "  extra: {<<: *base, command: [sleep, infinity], profiles: [dbg], x-macula: {exports: {EXTRA: 'extra://here'}}}
  data:
    <<: *base
    command: [httpd, -f, -p, '80', -h, /]
    x-macula: {ingress: {port: 80, host: store}, exports: {DATA: 'data://here'}}
";
    platform.stack(&format!("{STACK}{more}"));
    for (needs, variable) in [("extra", "EXTRA"), ("store", "DATA")] {
        let script = format!("echo ${variable}");
        platform.run_with(&format!("run --needs {needs} --"), &["sh", "-c", &script]).ok().prints("://here");
    }
}

#[test]
fn ci_does_what_its_options_say() {
    let Some(platform) = platform("ci_does_what_its_options_say") else { return };
    let ci =
        |options: &str, script: &str| platform.run_with(&format!("ci --no-dns {options} --"), &["sh", "-c", script]);
    let done = ci("--needs db --keep --no-cluster --timeout 1m", "echo $DB_URL $WEB_URL");
    assert_eq!(done.ok().out, "db://here\n");
    assert_eq!(platform.containers().into_keys().collect::<Vec<_>>(), ["db"], "`--keep` left it, and nothing else");
    platform.run("down").ok();

    ci("--needs db --report here.tar", "exit 3").exits(3).says("here.tar");
    assert!(platform.project().join("here.tar").exists());
    std::fs::remove_file(platform.project().join("here.tar")).unwrap();
    ci("--needs db --no-report", "exit 3").exits(3).does_not_say("report");
    assert!(platform.everything().is_empty());
    // an image that nobody has is not asked for
    platform.stack("services: {db: {image: '127.0.0.1:1/none:1'}}");
    ci("--images local --no-report", "true").exits(6).says("--images local");
    platform.stack("services: {db: {<<: *base, command: [sleep, infinity], x-macula: {probe: {tcp: {port: 1}}}}}");
    ci("--timeout 1s --no-report", "true").exits(7);
    // a cluster that is wanted and cannot be made
    platform.stack("services: {db: {<<: *base, command: [sleep, infinity]}}");
    let settings = std::fs::read_to_string(platform.project().join("macula.yaml")).unwrap();
    platform.write("macula.yaml", &settings.replace("cluster: {enabled: false}", "cluster: {enabled: true}"));
    platform.set("MACULA_KIND", "/nowhere/kind");
    ci("--no-report", "true").exits(9);
    ci("--no-report --no-cluster", "true").ok();
}

#[test]
fn down_takes_what_it_is_told_to() {
    let Some(platform) = platform("down_takes_what_it_is_told_to") else { return };
    platform.run("up db").ok();
    // another user of the engine
    let data = |folder: &str| platform.set("XDG_DATA_HOME", platform.home().join(folder).to_str().unwrap());
    data("other");
    platform.run("down").exits(5).says("belongs to");
    assert!(!platform.containers().is_empty());
    platform.run("down --any-owner").ok();
    assert!(platform.containers().is_empty());
    data("data");

    // a folder that is no longer there, and one that is
    platform.run("up db").ok();
    let folder = platform.home().join("gone");
    std::fs::create_dir(&folder).unwrap();
    for file in ["macula.yaml", "compose.yaml"] {
        std::fs::copy(platform.project().join(file), folder.join(file)).unwrap();
    }
    let other = platform.beside();
    let done = crate::harness::finish(other.program(["up", "db"]).current_dir(&folder));
    done.ok();
    std::fs::remove_dir_all(&folder).unwrap();
    let all = |words: &str| {
        let mut command = platform.program([]);
        let variables: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned())).collect();
        command = Command::new(env!("CARGO_BIN_EXE_macula"));
        command.env_clear().envs(variables).current_dir(platform.project()).args(words.split(' '));
        crate::harness::finish(&mut command)
    };
    all("down --gone").ok();
    assert!(other.containers().is_empty() && !platform.containers().is_empty());
    assert!(all("down --all --dry-run").ok().to_string().contains(&platform.name));
    assert!(!platform.containers().is_empty());
    all("down --all").ok();
    assert!(platform.containers().is_empty());
}

#[test]
fn files_that_git_ignores_count_when_they_are_meant_to() {
    let Some(platform) = platform("files_that_git_ignores_count_when_they_are_meant_to") else { return };
    for folder in [".git", "src"] {
        std::fs::create_dir(platform.project().join(folder)).unwrap();
    }
    platform.write(".gitignore", "out.log\n");
    let inside = || platform.run_with("exec", &["web", "sh", "-c", "ls /app"]).out;
    let mut watch = platform.start("up --watch");
    watch.until_says("watching");
    platform.write("src/out.log", "x");
    platform.write("src/a.txt", "x");
    eventually("what counts is copied", || inside() == "a.txt\n");
    watch.signal(Signal::INT);
    watch.wait().ok();

    let mut watch = platform.start("watch --all-files");
    watch.until_says("watching");
    platform.write("src/out.log", "y");
    eventually("all of it is copied", || inside() == "a.txt\nout.log\n");
    watch.signal(Signal::INT);
    watch.wait().ok();
}

const KEYS: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'httpd -p 8080 -h /www; trap \"cat /www/page.txt >> /tmp/told\" HUP; while true; do sleep 0.1; done']
    ports: ['8080:8080']
    x-macula:
      address: 127.0.0.20
      metrics: [{port: 81, path: /m, job: jobs, params: {a: b}}, {port: 82}]
      configs:
        /www/page.txt: {template: page.j2, uid: 7, gid: 8, mode: '0640'}
        /www/good: {content: 'WELL'}
      reload: {signal: SIGHUP, check: [sh, -c, 'grep -q yes /www/good']}
      secrets: {KEY: {generate: 20, prefix: tm_, alphabet: digits}}
      environment: {URL: 'x://{{ secrets.web.KEY }}@{{ domain }}'}
  watches:
    <<: *base
    command: [sleep, infinity]
    x-macula: {configs: {/good: {content: 'WELL'}}, reload: {watch: true}}
  built:
    image: macula-test/PLATFORM-built:1
    build: {context: built, dockerfile_inline: \"FROM macula-test/busybox:1\\nCOPY . /put\"}
    command: [sleep, infinity]
    stop_signal: SIGKILL
    x-macula:
      build:
        prepare:
          - write: {path: ran/written, content: 'as it stands'}
          - write: {path: ran/looked, file: page.j2}
          - run: {command: [sh, -c, 'echo done > ran/ran'], needs: dash}
          - copy: {from: ran, to: there}
        note: built by hand
";

#[test]
fn keys_of_x_macula_do_what_the_page_says() {
    let Some(platform) = Platform::new("keys_of_x_macula_do_what_the_page_says") else { return };
    std::fs::create_dir(platform.project().join("built")).unwrap();
    platform.write("built/own", "own");
    let template =
        "{% for one in metrics %}{{ one.job }} {{ one.target }} {{ one.path }} {{ one.params }}\n{% endfor %}";
    platform.write("page.j2", template);
    let stack = |well: &str| platform.stack(&KEYS.replace("WELL", well).replace("PLATFORM", &platform.name));
    stack("yes");
    // no other run has them
    let [.., high, low] = std::process::id().to_be_bytes();
    let (block, subnet) = (format!("127.{}.{low}", 32 + high % 16), format!("172.29.{low}.0/24"));
    platform.settings(&format!("addresses: {{block: {block}.0, subnet: {subnet}}}\n"));
    platform.run("up --images build").ok();
    // under all of its names
    platform.also_remove(format!("/images/{}?force=1", platform.container("built").image));
    platform.run("status -v").ok().prints(&format!("{block}.20:8080")).prints("built by hand");
    let network = platform.engine.get(&format!("/networks/{}", platform.network_name()));
    assert_eq!(network["IPAM"]["Config"][0]["Subnet"], subnet.as_str());

    assert_eq!(platform.shell("web", "stat -c '%u %g %a' /www/page.txt"), "7 8 640");
    assert_eq!(platform.shell("web", "cat /www/page.txt"), "jobs web:81 /m {'a': 'b'}\nweb web:82 /metrics {}");
    let said = platform.shell("web", "echo $KEY; echo $URL");
    let (key, url) = said.split_once('\n').unwrap();
    let digits = key.strip_prefix("tm_").unwrap();
    assert!(digits.len() == 20 && digits.chars().all(|c| c.is_ascii_digit()), "{key}");
    assert_eq!(url, format!("x://{key}@{}.macula.local", platform.name));
    let put = platform.shell("built", "cd /put && find . -type f | sort && cat there/written there/ran");
    assert_eq!(put, "./own\n./there/looked\n./there/ran\n./there/written\nas it standsdone");
    assert_eq!(platform.shell("built", "cat /put/there/looked"), template);

    // a file that is refused is put back, one that is taken is told of
    stack("no");
    platform.run("up").exits(7).says("rejects its new configuration").does_not_say("caused by: \n");
    assert_eq!(platform.shell("web", "cat /www/good"), "yes");
    stack("yes, and more");
    let watches = platform.container("watches");
    platform.run("up").ok().says("reloaded");
    assert_eq!(
        (platform.container("watches"), platform.shell("watches", "cat /good")),
        (watches, "yes, and more".to_owned())
    );
    assert_eq!(platform.shell("web", "cat /www/good"), "yes, and more");
    eventually("it was told by the signal", || platform.shell("web", "cat /tmp/told || true").contains("jobs web:81"));
}

#[test]
fn keys_of_processes_do_what_the_page_says() {
    let Some(platform) = Platform::new("keys_of_processes_do_what_the_page_says") else { return };
    std::fs::create_dir(platform.project().join("site")).unwrap();
    platform.write("site/more.env", "GREETING=of the file\n");
    platform.settings(
        "processes:\n  page: {command: 'echo greeting $GREETING; exec python3 -u -m http.server --bind 127.0.0.1 $PORT', cwd: site, \
         ingress: [], env_file: site/more.env, probe: {http: {path: /ready.txt}, timeout: 1s}, \
         watch: [{path: site, action: restart, ignore: ['*.log', 'ready*']}]}\n",
    );
    platform
        .stack("services: {deaf: {<<: *base, command: [sleep, infinity], x-macula: {probe: {tcp: 1, timeout: 1s}}}}");
    platform.run("up deaf").exits(7).says("is not ready after 1 s");
    platform.stack("services: {}");
    platform.run("up").exits(7).says("GET /ready.txt").says("it runs, and is not ready");
    platform.write("site/ready.txt", "");
    platform.run("up").ok();
    platform.run("logs page").ok().prints("greeting of the file");

    let pid = || platform.run("status -o json").ok().json()["processes"][0]["pid"].clone();
    let first = pid();
    platform.write("site/some.log", "x");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(pid(), first, "a file that does not count restarted it");
    platform.write("site/page.html", "x");
    eventually("one that counts restarts it", || pid() != first);
    platform.run("down").ok();
}

/// A question for the address of a name.
fn question(name: &str) -> Vec<u8> {
    let mut out = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    out
}

/// Answers every question with 127.0.0.1. `None`, said aloud: this user may not listen on port 53.
fn upstream(scenario: &str, at: Ipv4Addr) -> Option<()> {
    let socket = UdpSocket::bind((at, 53)).map_err(|error| skipped(scenario, "port 53", &error.to_string())).ok()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // up to the end of the question: what follows are options of the asker's
            let end = buffer[12..length].iter().position(|byte| *byte == 0).map_or(length, |end| 12 + end + 5);
            let mut answer = buffer[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            if buffer[end - 4..end] == [0, 1, 0, 1] {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            } else {
                answer[7] = 0;
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    Some(())
}

/// Whether the resolver there says that this name is 127.0.0.1.
fn leads_here(resolver: &str, name: &str) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&question(name), resolver).unwrap();
    let mut buffer = [0; 1500];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    buffer[..length].windows(4).any(|part| part == [127, 0, 0, 1])
}

/// An address that no other run has.
fn address(second: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, second, high, low.max(1))
}

#[test]
fn the_resolver_serves_as_its_options_say() {
    const NAME: &str = "the_resolver_serves_as_its_options_say";
    let Some(platform) = Platform::new(NAME) else { return };
    let (at, other) = (address(91), address(92));
    let Some(()) = upstream(NAME, other) else { return };
    let own = format!("{at}:53953");
    let words = [
        format!("dns serve --listen {own} --dot={at}:8853 --doh={at}:8443"),
        format!("--metrics {at}:9153 --page {at}:8053 --upstream {other} --rebind-allow allowed.example"),
    ];
    let running = platform.start(&words.join(" "));
    for port in [8053, 8443, 8853, 9153] {
        eventually(&format!("port {port} is listened on"), || TcpStream::connect((at, port)).is_ok());
    }
    assert!(leads_here(&own, "x.allowed.example"), "the server of `--upstream` was not asked");
    assert!(!leads_here(&own, "x.foreign.example"), "a foreign name led to this machine");
    let mut counters = TcpStream::connect((at, 9153)).unwrap();
    counters.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    counters.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("macula_dns_"), "{answer}");
    running.signal(Signal::TERM);
    running.wait();
}
