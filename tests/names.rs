//! `dns install`, `trust install` and `doctor --fix` on a whole system, and what takes them back: real files, real libc,
//! real curl. It runs in namespaces of its own, with a copy of /etc, so that nothing of this machine is touched; that takes
//! root and a kernel that lets root make namespaces.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use macula::dns::{Config, Listen, Server, ZoneEntry};
use macula::host::local::LocalHost;
use macula::model::{Record, RecordData, View, Zone};
use macula::pki::{Authority, Leaf};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "MACULA_TEST_IN_NAMESPACES";

#[test]
fn the_system_finds_the_names_and_is_put_back() {
    in_namespaces("the_system_finds_the_names_and_is_put_back", names);
}

#[test]
fn what_doctor_changes_is_put_back() {
    in_namespaces("what_doctor_changes_is_put_back", changes);
}

/// Runs this test again in a process that has namespaces of its own, and `inside` there.
fn in_namespaces(name: &str, inside: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    if let Some(reason) = unfit() {
        require::skipped("namespaces", &reason);
        return;
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--"])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "inside: {status}");
}

/// Why this machine cannot run it.
fn unfit() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("namespaces are Linux's".into());
    }
    for program in ["unshare", "mount", "ip", "getent", "cp"] {
        if which(program).is_none() {
            return Some(format!("{program} is not here"));
        }
    }
    let tried = Command::new("unshare").args(["--mount", "--net", "--", "mount", "--make-rprivate", "/"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn which(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|at| at.exists())
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output
}

/// The machine, and a user of it.
struct World {
    folder: tempfile::TempDir,
    resolver: Option<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(child) = &mut self.resolver {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World {
    fn data(&self) -> PathBuf {
        self.folder.path().join("home/.local/share")
    }

    fn macula(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.folder.path().join("home"))
            .env("DOCKER_HOST", "unix:///nonexistent.sock")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Standard output; the command must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.macula(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn serve(&mut self) {
        let child = self.macula(&["dns", "serve"]).stdout(Stdio::piped()).spawn().unwrap();
        let child = self.resolver.insert(child);
        let mut said = String::new();
        let mut byte = [0];
        let out = child.stdout.as_mut().unwrap();
        while !said.ends_with('\n') && out.read(&mut byte).unwrap() == 1 {
            said.push(char::from(byte[0]));
        }
        assert_eq!(said, "127.0.0.9:53\n");
    }

    /// As a crash ends it.
    fn kill(&mut self) {
        let mut child = self.resolver.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The names that `up` would have recorded.
    fn platform(&self) {
        let mut zone = Zone::new("macula.local", 1);
        let host = |name: &str, last: u8| Record::new(name, RecordData::A([127, 0, 0, last].into())).only(View::Host);
        zone.records.push(host("ns.macula.local", 9));
        zone.records.push(host("grafana.macula.local", 2));
        zone.records.push(host("*.macula.local", 1));
        let entry = serde_json::to_value(ZoneEntry::new(zone)).unwrap();
        let folder = self.data().join("macula/dns/zones");
        std::fs::create_dir_all(&folder).unwrap();
        let text = serde_json::json!({"format": 1, "entry": entry}).to_string();
        std::fs::write(folder.join("macula.json"), text).unwrap();
    }

    /// The certificate that `up` would have made.
    fn leaf(&self) -> Leaf {
        let environment = BTreeMap::from([("HOME".to_owned(), self.folder.path().join("home").display().to_string())]);
        let host = LocalHost::with(environment, None);
        let now = jiff::Timestamp::now().as_second();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let authority = runtime
            .block_on(Authority::load_or_create(&host, &self.data().join("macula/ca"), "macula.local", now))
            .unwrap();
        authority.issue(&["*.macula.local".to_owned()], now).unwrap()
    }
}

/// Addresses that getaddrinfo gives, asked by a program that has read nothing yet.
fn getent(name: &str) -> Option<String> {
    let output = Command::new("getent").args(["ahostsv4", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.split_whitespace().next().unwrap().to_owned())
}

/// Every file below, with its content or target, mode and owner.
fn contents(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let about = format!("{:o} {}:{}", metadata.permissions().mode(), metadata.uid(), metadata.gid());
        if metadata.is_symlink() {
            found.insert(path.clone(), format!("-> {}", std::fs::read_link(&path).unwrap().display()));
        } else if metadata.is_dir() {
            found.insert(path.clone(), about);
            contents(&path, found);
        } else if metadata.is_file() {
            use sha2::{Digest, Sha256};
            let sum = Sha256::digest(std::fs::read(&path).unwrap());
            found.insert(path.clone(), format!("{about} {sum:?}"));
        }
    }
}

fn machine() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for folder in ["/etc", "/usr/local/share/ca-certificates"] {
        if Path::new(folder).exists() {
            contents(Path::new(folder), &mut found);
        }
    }
    found
}

/// A page behind TLS, for as long as the test runs.
fn page(leaf: &Leaf) {
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem().as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.2:443").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            // a client that does not trust us hangs up here
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
}

fn curl() -> Result<String, String> {
    let output = Command::new("curl").args(["-sS", "https://grafana.macula.local/"]).env_clear().output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A machine of its own, with copies of the system's folders.
fn world() -> World {
    let world = World { folder: tempfile::tempdir().unwrap(), resolver: None };
    run("mount", &["--make-rprivate", "/"]);
    for (at, folder) in ["/etc", "/usr/local/share/ca-certificates"].iter().enumerate() {
        if Path::new(folder).exists() {
            let copy = world.folder.path().join(format!("copy{at}"));
            run("cp", &["-a", folder, copy.to_str().unwrap()]);
            run("mount", &["--bind", copy.to_str().unwrap(), folder]);
        }
    }
    std::fs::create_dir_all(world.folder.path().join("home")).unwrap();
    world
}

/// The same files as before, with the same content, owner and mode.
fn assert_as_before(before: &BTreeMap<PathBuf, String>) {
    let after = machine();
    for (path, was) in before {
        assert_eq!(after.get(path), Some(was), "{}", path.display());
    }
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(new.is_empty(), "left behind: {new:?}");
}

fn changes() {
    const LIMITS: &str = "/proc/sys/fs/inotify";
    if which("sysctl").is_none() {
        require::skipped("namespaces", "sysctl is not here");
        return;
    }
    let world = world();
    // the kernel has these values once for all: in this namespace files stand in for them
    run("mount", &["-t", "tmpfs", "limits", LIMITS]);
    let set = |name: &str, value: &str| std::fs::write(Path::new(LIMITS).join(name), value).unwrap();
    let get = |name: &str| std::fs::read_to_string(Path::new(LIMITS).join(name)).unwrap().trim().to_owned();
    set("max_user_watches", "8192");
    set("max_user_instances", "128");
    std::fs::write(world.folder.path().join("macula.yaml"), "cluster: {enabled: true}\n").unwrap();
    let file = Path::new("/etc/sysctl.d/99-macula.conf");
    std::fs::create_dir_all("/etc/sysctl.d").unwrap();
    let _ = std::fs::remove_file(file);
    let before = machine();
    let receipt = world.data().join("macula/host.d/receipt.json");

    let fix = || world.done(&["--yes", "doctor", "--fix", "inotify"]);
    let told = fix();
    assert!(told.contains("fixed inotify"), "{told}");
    let whole = "fs.inotify.max_user_watches=524288\nfs.inotify.max_user_instances=512\n";
    assert_eq!(std::fs::read_to_string(file).unwrap(), whole);
    assert_eq!((get("max_user_watches"), get("max_user_instances")), ("524288".into(), "512".into()));
    // somebody lowers one of them, and another fix raises it: the file still has both
    set("max_user_instances", "64");
    fix();
    assert_eq!(std::fs::read_to_string(file).unwrap(), whole);

    // a list that was cut off stops everything, and says which file it is
    let list = std::fs::read(&receipt).unwrap();
    std::fs::write(&receipt, &list[..list.len() / 2]).unwrap();
    let refused = world.macula(&["--yes", "uninstall"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("host.d/receipt.json is not a valid receipt"), "{said}");
    assert_eq!((get("max_user_watches"), std::fs::read_to_string(file).unwrap()), ("524288".into(), whole.into()));
    std::fs::write(&receipt, &list).unwrap();

    // a dry run shows all of it and changes nothing
    let shown = world.done(&["uninstall", "--dry-run"]);
    for line in [
        "machine    /etc/sysctl.d/99-macula.conf is removed",
        "machine    fs.inotify.max_user_watches is set back from 524288 to 8192",
        "machine    fs.inotify.max_user_instances is set back from 512 to 64",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(get("max_user_watches"), "524288");
    world.done(&["--yes", "uninstall"]);
    // each as it was before macula set it last
    assert_eq!((get("max_user_watches"), get("max_user_instances")), ("8192".into(), "64".into()));
    assert_as_before(&before);
    assert!(!receipt.exists());

    // what somebody has changed since is theirs
    fix();
    std::fs::write(file, "vm.swappiness=1\n").unwrap();
    set("max_user_watches", "1000000");
    let told = world.done(&["--yes", "uninstall"]);
    assert!(told.contains("/etc/sysctl.d/99-macula.conf was changed since, and stays as it is"), "{told}");
    assert!(told.contains("fs.inotify.max_user_watches was changed since"), "{told}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "vm.swappiness=1\n");
    assert_eq!((get("max_user_watches"), get("max_user_instances")), ("1000000".into(), "64".into()));
}

fn names() {
    let mut world = world();
    run("ip", &["link", "set", "lo", "up"]);
    // for AI_ADDRCONFIG, without an address beside loopback there is no IPv4
    run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
    let mut theirs = Zone::new("corp.internal", 1);
    theirs.records.push(Record::new("www.corp.internal", RecordData::A([192, 0, 2, 10].into())));
    let listen = vec![Listen { address: "127.0.0.53:53".parse().unwrap(), view: View::Host }];
    let upstream = Config { listen, zones: vec![ZoneEntry::new(theirs)], workers: 1, ..Config::default() };
    let _upstream = Server::start(upstream).unwrap();
    let _ = std::fs::remove_file("/etc/resolv.conf");
    std::fs::write("/etc/resolv.conf", "# mine\nnameserver 127.0.0.53\noptions timeout:1\n").unwrap();
    std::fs::write("/etc/nsswitch.conf", "hosts: files dns\n").unwrap();
    std::fs::write("/etc/hosts", "127.0.0.1 localhost").unwrap();
    let leaf = world.leaf();
    world.platform();
    page(&leaf);
    if which("update-ca-certificates").is_some() {
        // Java's store takes seconds each time, and is no part of this
        let _ = std::fs::remove_dir_all("/etc/ca-certificates/update.d");
        // the store as its own program leaves it, whoever put files there by hand
        run("update-ca-certificates", &[]);
    }
    let before = machine();
    assert_eq!((getent("grafana.macula.local"), getent("www.corp.internal")), (None, Some("192.0.2.10".into())));

    world.serve();
    let told = world.done(&["--yes", "dns", "install"]);
    assert_eq!(told.lines().next(), Some("names resolve, by /etc/resolv.conf"), "{told}");
    assert_eq!(getent("grafana.macula.local").as_deref(), Some("127.0.0.2"));
    assert_eq!(getent("anything.macula.local").as_deref(), Some("127.0.0.1"));
    assert_eq!(getent("www.corp.internal").as_deref(), Some("192.0.2.10"), "all other names still resolve");
    let again = world.done(&["--yes", "dns", "install"]);
    assert_eq!(again.lines().next(), Some("names resolve already, by /etc/resolv.conf"));

    // a crash leaves a machine that finds all names but ours; the next start cleans up
    world.kill();
    assert_eq!(getent("www.corp.internal").as_deref(), Some("192.0.2.10"), "the server behind ours takes over");
    world.serve();
    let begun = Instant::now();
    while getent("grafana.macula.local").is_none() && begun.elapsed() < Duration::from_secs(30) {}
    assert_eq!(getent("grafana.macula.local").as_deref(), Some("127.0.0.2"));

    if which("curl").is_some() && which("update-ca-certificates").is_some() {
        let refused = curl().unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
        world.done(&["--yes", "trust", "install"]);
        assert_eq!(curl().as_deref(), Ok("hello"));
        world.done(&["trust", "uninstall"]);
        assert!(curl().is_err());
    } else {
        require::skipped("curl", "trust: curl or update-ca-certificates is not installed");
    }

    // each other way that fits this machine
    for (method, told) in
        [("hosts", "names resolve, by /etc/hosts"), ("resolv-conf", "names resolve, by /etc/resolv.conf")]
    {
        let said = world.done(&["--yes", "dns", "install", "--method", method]);
        assert_eq!(said.lines().next(), Some(told), "{said}");
        assert_eq!(getent("grafana.macula.local").as_deref(), Some("127.0.0.2"));
    }
    world.done(&["dns", "uninstall"]);
    assert_eq!(getent("grafana.macula.local"), None);
    assert_eq!(world.done(&["dns", "uninstall"]), "nothing to do: nothing was installed\n");
    assert_as_before(&before);
}
