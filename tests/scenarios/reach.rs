//! The platform's addresses where the engine publishes nothing: through a relay, and from a job's container.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Done, IMAGE, Platform, eventually, finish, is_root, skipped};

const STACK: &str = "
services:
  web:
    <<: *base
    command: [sh, -c, 'mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']
    ports: ['8081:8080']
    x-macula: {probe: {http: {port: 8080, path: /}}}
  echo:
    <<: *base
    command: [sh, -c, 'while :; do nc -l -p 7000 -e cat; done']
    ports: ['7001:7000']
";

/// A resolver on an address that no other scenario has.
fn settings(way: &str) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    let listen = Ipv4Addr::new(127, 98, high, low.max(1));
    format!("reach: {way}\ndns: {{listen: [\"{listen}:53953\"]}}\n")
}

fn address(platform: &Platform, service: &str) -> (String, serde_json::Value) {
    let status = platform.run("status -o json").ok().json();
    let row = status["services"].as_array().unwrap().iter().find(|row| row["name"] == service).unwrap().clone();
    (row["addresses"][0].as_str().unwrap().to_owned(), status["reach"].clone())
}

fn page(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

#[test]
fn a_relay_leads_to_what_is_not_published() {
    let Some(platform) = Platform::new("a_relay_leads_to_what_is_not_published") else { return };
    platform.stack(STACK);
    platform.settings(&settings("relay"));
    platform.run("up").ok();
    let (web, reach) = address(&platform, "web");
    assert_eq!((&reach["way"], &reach["ports"], &reach["problem"]), (&json!("relay"), &json!(2), &json!(null)));
    assert_eq!(page(&web).as_deref(), Some("hello\n"));
    let ports = &platform.engine.get(&format!("/containers/{}/json", platform.container_name("web")))["HostConfig"];
    assert!(ports["PortBindings"].as_object().is_none_or(|ports| ports.is_empty()), "{}", ports["PortBindings"]);
    let (echo, _) = address(&platform, "echo");
    let mut stream = TcpStream::connect(&echo).unwrap();
    stream.write_all(b"all of it").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "all of it", "the other direction ends by itself");

    let mut open = TcpStream::connect(&web).unwrap();
    open.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    platform.engine.post(&format!("/containers/{}.relay/kill", platform.network_name()), &json!({}));
    assert!(open.read(&mut [0; 1]).is_err(), "what was open is reset");
    eventually("it is back", || page(&web).as_deref() == Some("hello\n"));
    platform.run("up").ok();
    assert_eq!(page(&web).as_deref(), Some("hello\n"), "an `up` with nothing to do changes nothing");

    // and back: the background process lets go of what the engine publishes from now on
    platform.settings(&settings("published"));
    platform.run("plan --exit-code").exits(10);
    platform.run("up").ok();
    let (web, reach) = address(&platform, "web");
    assert_eq!(reach["way"], json!("published"));
    assert_eq!(page(&web).as_deref(), Some("hello\n"));
    platform.settings(&settings("relay"));
    platform.run("up").ok();
    let (web, reach) = address(&platform, "web");
    assert_eq!(reach["way"], json!("relay"));
    assert_eq!(page(&web).as_deref(), Some("hello\n"));
    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
    assert!(TcpStream::connect(&web).is_err(), "nobody listens any more");
}

#[test]
fn a_job_with_the_engines_socket_has_the_platform_at_its_addresses() {
    let scenario = "a_job_with_the_engines_socket_has_the_platform_at_its_addresses";
    let Some(platform) = Platform::new(scenario) else { return };
    let endpoint = platform.engine.endpoint();
    let Some(socket) = endpoint.strip_prefix("unix://") else {
        return skipped(scenario, "engine", "it has no socket to give to a container");
    };
    platform.stack(STACK);
    platform.settings(&settings("auto"));
    let job = "
up() { /macula --name $1 --progress plain up --yes >up 2>&1; echo $? >up.code; }
up $1
/macula --name $1 status -o json >status 2>&1
address=$(/macula --name $1 status -o json | sed -n 's/.*\"\\(127[^\"]*:8081\\)\".*/\\1/p' | head -n 1)
wget -q -O page http://$address/ 2>wget
/macula --name $1 down --volumes --yes >down 2>&1; echo $? >down.code
ls /sys/class/net >interfaces
";
    platform.write("job.sh", job);
    // the program is linked with this machine's libraries
    let mut binds: Vec<String> = ["/lib", "/lib64", "/usr/lib"]
        .into_iter()
        .filter(|folder| std::path::Path::new(folder).exists())
        .map(|folder| format!("{folder}:{folder}:ro"))
        .collect();
    binds.push(format!("{socket}:/var/run/docker.sock"));
    binds.push(format!("{}:/macula:ro", env!("CARGO_BIN_EXE_macula")));
    let project = platform.project().display().to_string();
    binds.push(format!("{project}:{project}"));
    let name = format!("{}-job", platform.name);
    let created = platform.engine.post(
        &format!("/containers/create?name={name}"),
        &json!({
            "Image": IMAGE, "Cmd": ["sh", "job.sh", platform.name], "WorkingDir": project,
            "Env": ["HOME=/job", "PATH=/bin:/usr/bin"], "HostConfig": {"Binds": binds},
        }),
    );
    platform.also_remove(format!("/containers/{name}?force=1"));
    let id = created["Id"].as_str().unwrap();
    platform.engine.post(&format!("/containers/{id}/start"), &json!({}));
    platform.engine.post(&format!("/containers/{id}/wait"), &json!({}));
    let read = |file: &str| std::fs::read_to_string(platform.project().join(file)).unwrap_or_default();
    assert_eq!(read("up.code"), "0\n", "{}", read("up"));
    let status: serde_json::Value =
        serde_json::from_str(&read("status")).unwrap_or_else(|_| panic!("{}", read("status")));
    assert_eq!((&status["reach"]["way"], &status["reach"]["problem"]), (&json!("direct"), &json!(null)));
    assert_eq!(read("page"), "hello\n", "{}", read("wget"));
    assert_eq!(read("down.code"), "0\n", "{}", read("down"));
    assert_eq!(read("interfaces"), "eth0\nlo\n", "its container has left the network");
    assert_eq!(platform.everything(), [""; 0]);
}

const COPIED: &str = "
services:
  web:
    <<: *base
    command: [sleep, '1000000']
    x-macula: {mounts: copy}
    volumes: ['./site:/srv:ro', '/srv/skipped', './app.conf:/etc/app.conf:ro', './data:/data:ro']
    ports: ['18099:80']
";

/// Runs the program on a machine of its own, as far as files and its name go: another host name, and a project's folder
/// that holds what is in `own` and that nobody else sees. The engine is outside.
fn on_another_machine(platform: &Platform, own: &Path, words: &str) -> Done {
    let script = "echo elsewhere >/proc/sys/kernel/hostname; mount -t tmpfs none \"$2\"; cp -a \"$1/.\" \"$2\"; cd \"$2\"; shift 2; exec \"$@\"";
    let program = platform.program(words.split_whitespace());
    let mut apart = Command::new("unshare");
    apart.env_clear().current_dir(platform.project());
    apart.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    apart.args(["--mount", "--uts", "--propagation", "private", "sh", "-ec", script, "sh"]);
    apart.arg(own).arg(platform.project()).arg(program.get_program()).args(program.get_args());
    finish(&mut apart)
}

/// Names of the volumes that stand for folders of this machine.
fn copies(platform: &Platform) -> Vec<String> {
    let volumes = platform.engine.labelled("volumes?", &platform.name);
    let all = volumes["Volumes"].as_array().cloned().unwrap_or_default();
    let copies = all.iter().filter(|volume| volume["Labels"]["dev.macula.copy-of"].is_string());
    let mut names: Vec<String> = copies.map(|volume| volume["Name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_the_engines_machine_does_not_have_is_copied_there() {
    let scenario = "what_the_engines_machine_does_not_have_is_copied_there";
    let Some(platform) = Platform::new(scenario) else { return };
    let apart = Command::new("unshare").args(["--mount", "--uts", "true"]).status();
    if !is_root() || !apart.is_ok_and(|status| status.success()) {
        return skipped(scenario, "namespaces", "a machine of its own takes root and namespaces");
    }
    platform.stack(COPIED);
    platform.settings(&settings("relay"));
    let own = platform.home().join("own");
    let write = |file: &str, text: &str| {
        let path = own.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for file in ["macula.yaml", "compose.yaml"] {
        write(file, &std::fs::read_to_string(platform.project().join(file)).unwrap());
    }
    write("site/deep/a", "one\n");
    write("site/skipped/b", "hidden\n");
    write("app.conf", "level = 1\n");
    write("data/c", "here\n");
    assert!(!platform.project().join("site").exists(), "the engine does not have it");
    let elsewhere = |words: &str| on_another_machine(&platform, &own, words);

    let up = elsewhere("up");
    up.ok();
    let seen =
        || platform.shell("web", "cat /srv/deep/a /etc/app.conf /data/c; ls /srv/skipped; touch /srv/x || echo ro");
    assert_eq!(seen(), "one\nlevel = 1\nhere\nro", "nested volumes hide what is below, and `ro` holds");
    assert!(!platform.project().join("site").exists(), "no empty folder was made");
    let first = copies(&platform);
    assert_eq!(first.len(), 2, "{first:?}");
    let id = platform.container("web").id;

    elsewhere("plan --exit-code").ok();
    elsewhere("up").ok();
    assert_eq!((copies(&platform), platform.container("web").id), (first.clone(), id), "nothing has changed");

    write("site/deep/a", "two\n");
    elsewhere("plan --exit-code").exits(10).prints("files of ./site changed");
    elsewhere("up").ok();
    assert_eq!(seen(), "two\nlevel = 1\nhere\nro", "what has not changed here stays as it is there");
    let second = copies(&platform);
    assert!(second.len() == 2 && second != first, "the old copy is gone: {second:?}");

    write("app.conf", "level = 2\n");
    elsewhere("up").ok();
    assert_eq!(seen(), "two\nlevel = 2\nhere\nro");
    assert_eq!(copies(&platform), second);

    // nothing is made where something cannot be copied
    let _socket = std::os::unix::net::UnixListener::bind(own.join("app.sock")).unwrap();
    let more = COPIED.replace("'./data:/data:ro'", "'./data:/data', './app.sock:/run/app.sock:ro', './gone:/gone:ro'");
    platform.stack(&more);
    write("compose.yaml", &std::fs::read_to_string(platform.project().join("compose.yaml")).unwrap());
    let refused = elsewhere("up");
    refused.exits(3).says("./app.sock, which is a socket on this machine").says("./gone, which exists neither");
    refused.says("./data, which its container may write to").says("compose.yaml:8:");
    assert_eq!(copies(&platform), second);
    let stack = COPIED.replace("mounts: copy", "mounts: refuse");
    platform.stack(&stack);
    write("compose.yaml", &std::fs::read_to_string(platform.project().join("compose.yaml")).unwrap());
    elsewhere("up").exits(3).says("its `x-macula.mounts` is `refuse`");

    platform.run("down --yes").ok();
    assert_eq!(copies(&platform), [""; 0], "a copy goes with the platform");
    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
}

#[test]
fn what_only_a_jobs_container_has_is_copied_out_of_it() {
    let scenario = "what_only_a_jobs_container_has_is_copied_out_of_it";
    let Some(platform) = Platform::new(scenario) else { return };
    let endpoint = platform.engine.endpoint();
    let Some(socket) = endpoint.strip_prefix("unix://") else {
        return skipped(scenario, "engine", "it has no socket to give to a container");
    };
    platform.stack(COPIED);
    platform.settings(&settings("auto"));
    let project = platform.project().display().to_string();
    // the project lies in the container itself, next to which `$PROJECT` is what both sides have
    let job = "
mkdir -p /own/site/deep /own/data; cd /own; cp $PROJECT/*.yaml .
echo one >site/deep/a; echo here >data/c; echo level >app.conf
macula() { /macula --name $NAME --progress plain \"$@\"; }
macula up --yes >$PROJECT/up 2>&1; echo $? >$PROJECT/up.code
macula exec web cat /srv/deep/a /etc/app.conf /data/c >$PROJECT/seen 2>&1
echo two >site/deep/a
macula up --yes >$PROJECT/again 2>&1
macula exec web cat /srv/deep/a >$PROJECT/changed 2>&1
macula down --volumes --yes >$PROJECT/down 2>&1; echo $? >$PROJECT/down.code
";
    platform.write("job.sh", job);
    // the program is linked with this machine's libraries
    let mut binds: Vec<String> = ["/lib", "/lib64", "/usr/lib"]
        .into_iter()
        .filter(|folder| Path::new(folder).exists())
        .map(|folder| format!("{folder}:{folder}:ro"))
        .collect();
    binds.push(format!("{socket}:/var/run/docker.sock"));
    binds.push(format!("{}:/macula:ro", env!("CARGO_BIN_EXE_macula")));
    binds.push(format!("{project}:{project}"));
    let name = format!("{}-job", platform.name);
    let created = platform.engine.post(
        &format!("/containers/create?name={name}"),
        &json!({
            "Image": IMAGE, "Cmd": ["sh", format!("{project}/job.sh")],
            "Env": [
                "HOME=/job", "PATH=/bin:/usr/bin", format!("PROJECT={project}"), format!("NAME={}", platform.name),
            ],
            "HostConfig": {"Binds": binds},
        }),
    );
    platform.also_remove(format!("/containers/{name}?force=1"));
    let id = created["Id"].as_str().unwrap();
    platform.engine.post(&format!("/containers/{id}/start"), &json!({}));
    platform.engine.post(&format!("/containers/{id}/wait"), &json!({}));
    let read = |file: &str| std::fs::read_to_string(platform.project().join(file)).unwrap_or_default();
    assert_eq!(read("up.code"), "0\n", "{}", read("up"));
    assert_eq!(read("seen"), "one\nlevel\nhere\n");
    assert_eq!(read("changed"), "two\n", "{}", read("again"));
    assert_eq!(read("down.code"), "0\n", "{}", read("down"));
    assert_eq!(platform.everything(), [""; 0]);
}
