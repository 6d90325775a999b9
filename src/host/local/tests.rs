//! Against the real machine, in temporary folders.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::host::{LockError, RunError};

fn host_in(home: &Path) -> LocalHost {
    let mut environment: BTreeMap<String, String> = std::env::vars().collect();
    environment.retain(|name, _| !name.starts_with("XDG_"));
    environment.insert("HOME".into(), home.display().to_string());
    LocalHost::with(environment, None)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A user that nobody is.
const OTHER: u32 = 123_456;

fn uid(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}

fn names(folder: &Path) -> Vec<String> {
    files::list(folder).unwrap()
}

#[test]
fn folders_follow_xdg_where_it_names_absolute_paths() {
    let environment = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let plain = folders(&environment(&[("HOME", "/home/dev"), ("XDG_DATA_HOME", "relative")]), None);
    assert_eq!(plain.config, Path::new("/home/dev/.config/macula"));
    assert_eq!(plain.data, Path::new("/home/dev/.local/share/macula"));
    assert_eq!(plain.cache, Path::new("/home/dev/.cache/macula"));
    let relative = folders(&environment(&[("HOME", "relative/x")]), Some("also/relative".into()));
    assert_eq!(relative.data, Path::new("/.local/share/macula"));
    let moved = folders(&environment(&[("XDG_DATA_HOME", "/data")]), Some("/root".into()));
    assert_eq!(moved.data, Path::new("/data/macula"));
    assert_eq!(moved.home, Path::new("/root"));
}

#[tokio::test]
async fn what_has_no_end_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let host = host_in(folder.path());
    let endless = host.read(Path::new("/dev/zero")).await.unwrap_err();
    assert!(endless.to_string().contains("it is a device, not a regular file"), "{endless}");
    assert_eq!(host.read(Path::new("/dev/null")).await.unwrap(), b"");
    assert!(!host.read(Path::new("/proc/self/status")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_written_file_has_its_mode_and_private_parents() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let file = host.folders().data.join("demo/secrets/password");
    host.write(&file, b"first", 0o600).await.unwrap();
    host.write(&file, b"second", 0o640).await.unwrap();
    assert_eq!(host.read(&file).await.unwrap(), b"second");
    assert_eq!(host.length(&file).await.unwrap(), 6);
    assert!(host.length(&home.path().join("nowhere")).await.is_err());
    assert_eq!(mode(&file), 0o640);
    assert_eq!(mode(&host.folders().data), 0o700);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(names(file.parent().unwrap()), ["password"]);
}

#[tokio::test]
async fn a_file_of_the_users_keeps_its_mode_and_the_link_to_it() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let (link, file) = (home.path().join("macula.yaml"), home.path().join("shared.yaml"));
    host.rewrite(&file, b"one", 0o640).await.unwrap();
    assert_eq!(mode(&file), 0o640);
    symlink("shared.yaml", &link).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    host.rewrite(&link, b"two", 0o644).await.unwrap();
    assert_eq!((std::fs::read(&file).unwrap(), mode(&file), link.is_symlink()), (b"two".to_vec(), 0o600, true));
    assert_eq!(names(home.path()), ["macula.yaml", "shared.yaml"]);
    if chown(&file, Some(OTHER), Some(OTHER)).is_err() {
        // only root can give files away
        return;
    }
    // of another user's file the owner, too; their link leads root nowhere
    host.rewrite(&file, b"three", 0o644).await.unwrap();
    assert_eq!((uid(&file), mode(&file)), (OTHER, 0o600));
    chown(&file, Some(0), Some(0)).unwrap();
    lchown(&link, Some(OTHER), Some(OTHER)).unwrap();
    host.rewrite(&link, b"four", 0o644).await.unwrap();
    assert_eq!((std::fs::read(&file).unwrap(), link.is_symlink()), (b"three".to_vec(), false));
}

/// `sudo -E macula up`: everything is there for the user afterwards, and nothing that was root's before.
#[tokio::test]
async fn what_root_makes_in_a_users_folders_is_the_users() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if chown(home.path(), Some(OTHER), Some(OTHER)).is_err() {
        crate::require::skipped("root", "only root can give files away");
        return;
    }
    let host = host_in(home.path());
    let data = host.folders().data;
    let (file, lock, log) = (data.join("shop/choices.json"), data.join("shop/lock"), data.join("shop/run/web.log"));
    host.write(&file, b"{}", 0o600).await.unwrap();
    host.create_folder(&data.join("shop/tls"), 0o700).await.unwrap();
    drop(host.try_lock(&lock, "macula up").unwrap().unwrap());
    run::open_log(&host, &log).unwrap().0.set_len(1).unwrap();
    host.note_length(&log).await.unwrap();
    let paths = [&file, &lock, &log, &crate::host::times_of(&log), &data.join("shop/tls"), &host.folders().cache];
    host.create_folder(&host.folders().cache, 0o700).await.unwrap();
    for path in paths.into_iter().flat_map(|path| path.ancestors()).filter(|path| path.starts_with(home.path())) {
        assert_eq!(uid(path), OTHER, "{}", path.display());
    }
    assert_eq!((mode(&file), mode(&lock), mode(&log)), (0o600, 0o600, 0o600));
    // root opens them again
    host.read(&file).await.unwrap();
    drop(host.try_lock(&lock, "macula up").unwrap().unwrap());

    let (old, elsewhere, own) = (data.join("shop/old.log"), data.join("shop/elsewhere"), home.path().join("own"));
    std::fs::write(&old, "root's").unwrap();
    run::open_log(&host, &old).unwrap();
    symlink(other.path(), &elsewhere).unwrap();
    host.write(&elsewhere.join("x"), b"", 0o600).await.unwrap();
    host.write(&own, b"", 0o600).await.unwrap();
    assert_eq!((uid(&old), uid(&elsewhere.join("x")), uid(&own)), (0, 0, 0));
}

#[tokio::test]
async fn a_write_that_fails_names_the_path_and_leaves_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    // a folder where the file should be: the temporary file is written, the rename fails
    let target = home.path().join("busy");
    std::fs::create_dir_all(target.join("inside")).unwrap();
    let error = host.write(&target, b"text", 0o600).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}: Is a directory (os error 21)", target.display()));
    assert_eq!(names(home.path()), ["busy"]);

    let below_a_file = home.path().join("file/below");
    std::fs::write(home.path().join("file"), "").unwrap();
    let error = host.write(&below_a_file, b"text", 0o600).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot create the folder "), "{error}");
}

#[tokio::test]
async fn a_home_that_is_not_writable_is_named() {
    if rustix::process::geteuid().is_root() {
        // root may write everywhere; /proc is where even root may not make a folder
        let host = host_in(Path::new("/proc/macula-no-home"));
        let error = host.write(&host.folders().data.join("x"), b"", 0o600).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot create the folder /proc/macula-no-home: "), "{error}");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let host = host_in(home.path());
    let error = host.write(&host.folders().data.join("x"), b"", 0o600).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(&home.path().join(".local").display().to_string()), "{error}");
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_half_written() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk.to_str().unwrap()]);
    if !rustix::process::geteuid().is_root() || host.run(&mount).await.is_err() {
        crate::require::skipped("mounts", "a small file system cannot be mounted here (it takes root)");
        return;
    }
    let file = disk.join("receipt.json");
    host.write(&file, b"the old content", 0o600).await.unwrap();
    let error = host.write(&file, &vec![b'x'; 200 * 1024], 0o600).await.unwrap_err();
    let (kept, left) = (host.read(&file).await.unwrap(), names(&disk));
    // a lock can be had all the same, or nothing could be taken down on a full disk
    let filler = std::fs::write(disk.join("filler"), vec![0; 64 * 1024]);
    let lock = host.try_lock(&disk.join("receipt.json"), "macula down");
    let locked = matches!(lock, Ok(Ok(_)));
    drop(lock);
    host.run(&Command::new("umount", [disk.to_str().unwrap()])).await.unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(kept, b"the old content");
    assert_eq!(left, ["receipt.json"]);
    assert!(filler.is_err());
    assert!(locked);
}

#[tokio::test]
async fn removing_what_is_gone_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    host.remove(&home.path().join("nothing")).await.unwrap();
    host.remove_folder(&home.path().join("nothing")).await.unwrap();
    assert_eq!(host.list(&home.path().join("nothing")).await.unwrap(), [""; 0]);
    host.create_folder(&home.path().join("a/b"), 0o711).await.unwrap();
    host.create_folder(&home.path().join("a/b"), 0o700).await.unwrap();
    assert_eq!(mode(&home.path().join("a/b")), 0o711);
    host.remove_folder(&home.path().join("a")).await.unwrap();
    assert!(!host.exists(&home.path().join("a")).await);
}

#[tokio::test]
async fn a_program_gets_its_input_and_environment_and_gives_its_output() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let cat = Command::new("sh", ["-c", "cat; echo \"$GREETING in $PWD\"; echo aside >&2"])
        .stdin("text\n")
        .env("GREETING", "hello")
        .cwd("/usr");
    let output = host.run(&cat).await.unwrap();
    assert_eq!(output.stdout(), "text\nhello in /usr\n");
    assert_eq!(output.stderr(), "aside\n");
    assert_eq!(output.status, Some(0));
}

#[tokio::test]
async fn failures_say_what_was_run_and_what_came_of_it() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let said = |result: Result<Output, RunError>| result.unwrap_err().to_string();
    let fails = Command::new("sh", ["-c", "echo no luck >&2; exit 3"]);
    assert_eq!(said(host.run(&fails).await), "`sh -c 'echo no luck >&2; exit 3'` ended with status 3: no luck");
    assert_eq!(host.run(&fails.clone().may_fail()).await.unwrap().status, Some(3));
    let dies = Command::new("sh", ["-c", "kill -9 $$"]);
    assert_eq!(said(host.run(&dies).await), "`sh -c 'kill -9 $$'` ended with signal 9: it said nothing");
    let absent = Command::new("no-such-program-here", ["x"]);
    assert_eq!(said(host.run(&absent).await), "`no-such-program-here x`: no-such-program-here is not installed");
    assert!(matches!(host.run(&absent).await, Err(RunError::Missing { .. })));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_process_group() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let pid_file = home.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    let start = Instant::now();
    let command = Command::new("sh", ["-c", &script]).timeout(Duration::from_secs(1));
    assert!(matches!(host.run(&command).await, Err(RunError::Timeout { .. })));
    assert!(start.elapsed() < Duration::from_secs(60));
    let pid: u32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    assert!(ended(&host, pid).await);
}

async fn ended(host: &LocalHost, pid: u32) -> bool {
    tokio::time::timeout(Duration::from_secs(4), host.ended(pid)).await.is_ok()
}

#[tokio::test]
async fn the_end_of_a_process_is_waited_for_and_not_another_ones() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let log = home.path().join("log");
    let pid = host.spawn_detached(&Command::new("sleep", ["600"]), &log).await.unwrap();
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, host.ended(pid)).await.is_err());
    host.run(&Command::new("kill", [pid.to_string()])).await.unwrap();
    assert!(ended(&host, pid).await);
    // again, when there is none of this number
    assert!(ended(&host, pid).await);
}

#[tokio::test]
async fn a_detached_program_has_a_session_of_its_own_and_a_log() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let log = host.folders().data.join("log/sleeper.log");
    let command = Command::new("sh", ["-c", "echo started; exec sleep 600"]);
    let pid = host.spawn_detached(&command, &log).await.unwrap();
    while !host.read(&log).await.is_ok_and(|content| content == b"started\n") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(mode(&log), 0o600);
    // stat(5): pid (comm) state ppid pgrp session
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!((fields[2], fields[3]), (pid.to_string().as_str(), pid.to_string().as_str()));
    host.run(&Command::new("kill", [pid.to_string()])).await.unwrap();
    assert!(ended(&host, pid).await);
}

#[tokio::test]
async fn what_runs_to_its_end_outlives_a_caller_that_gives_up() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let (log, go, done) = (home.path().join("log"), home.path().join("go"), home.path().join("done"));
    let script = "echo working; until [ -e go ]; do sleep 0.01; done; echo ended; touch done";
    let command = Command::new("sh", ["-c", script]).cwd(home.path()).to_its_end(&log);
    tokio::select! {
        _ = host.run(&command) => panic!("nobody has told it to end"),
        () = async { while !host.read(&log).await.is_ok_and(|log| log == b"working\n") { tokio::task::yield_now().await } } => {}
    }
    host.write(&go, b"", 0o600).await.unwrap();
    while !host.exists(&done).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(host.read(&log).await.unwrap(), b"working\nended\n");

    // the log is appended to; of a failure only its own part is told
    let fails = Command::new("sh", ["-c", "echo broken; exit 100"]).to_its_end(&log);
    let error = host.run(&fails).await.unwrap_err();
    assert_eq!(error.to_string(), "`sh -c 'echo broken; exit 100'` ended with status 100: broken");
}

#[test]
fn programs_of_the_system_are_found_without_a_path() {
    let host = LocalHost::with(BTreeMap::from([("PATH".into(), "/nowhere".into())]), None);
    assert!(host.which("sysctl").is_some() || host.which("ip").is_some());
    assert_eq!(host.which("no-such-program-here"), None);
    assert_eq!(host.which("/bin/sh"), Some("/bin/sh".into()));
    assert_eq!(host.which("/etc/passwd"), None);
}

#[tokio::test]
async fn our_own_listener_is_seen_and_owned() {
    let host = LocalHost::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let all = host.listeners().await.unwrap();
    let ours = |address: SocketAddr, protocol| {
        let same = |one: &&Listener| (one.address, one.port, one.protocol) == (address.ip(), address.port(), protocol);
        all.iter().find(same).cloned()
    };
    let tcp = ours(address, Protocol::Tcp).unwrap();
    let udp = ours(socket.local_addr().unwrap(), Protocol::Udp).unwrap();
    for owned in host.owners(vec![tcp, udp]).await {
        assert_eq!(owned.pid, Some(std::process::id()));
        assert!(owned.process.is_some());
    }
    assert_eq!(host.can_bind(address, Protocol::Tcp).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    host.connect(address, Duration::from_secs(5)).await.unwrap();
    // others take ports on this machine, too
    let mut free = false;
    for _ in 0..5 {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        free |= host.can_bind(address, Protocol::Tcp).await.is_ok();
    }
    assert!(free);
}

#[tokio::test]
async fn routes_disk_facts_and_names_of_this_machine() {
    let host = LocalHost::new();
    let routes = host.routes().await.unwrap();
    assert!(routes.iter().any(|route| route.network.to_string() == "127.0.0.0/8"), "{routes:?}");
    assert!(routes.iter().all(|route| route.network.prefix_len() > 0));
    let disk = host.disk(Path::new("/no/such/folder/yet")).await.unwrap();
    assert!(disk.total > 0 && disk.available <= disk.total);
    let facts = host.facts();
    assert!(facts.memory_total >= facts.memory_available && facts.memory_available > 0);
    assert_eq!(facts.os, std::env::consts::OS);
    assert!(host.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert!(host.alive(std::process::id()));
    assert!(!host.alive(u32::MAX));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn kernel_settings() {
    let host = LocalHost::new();
    let watches: u64 = host.sysctl("fs.inotify.max_user_watches").await.unwrap().parse().unwrap();
    assert!(watches > 0);
    let error = host.sysctl("no.such.setting").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read /proc/sys/no/such/setting: No such file or directory (os error 2)");
}

#[tokio::test]
async fn http_asks_with_the_host_that_was_given_and_follows_nothing() {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = connection.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
        }
        let answer = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n\r\nmoved";
        connection.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    let host = LocalHost::with(BTreeMap::from([("http_proxy".into(), "http://127.0.0.1:1".into())]), None);
    let answer = host.http_get(address, "grafana.macula.local", "/api/health", Duration::from_secs(20)).await.unwrap();
    assert_eq!(answer, HttpAnswer { status: 302, body: b"moved".to_vec() });
    let request = serving.join().unwrap();
    assert!(request.starts_with("GET /api/health HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: grafana.macula.local\r\n"), "{request}");

    let refused = host.http_get(address, "x", "/", Duration::from_secs(20)).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_second_lock_waits_and_hears_who_has_it() {
    let home = tempfile::tempdir().unwrap();
    let host = Arc::new(host_in(home.path()));
    let path = host.folders().data.join("demo/lock");
    let first = host.try_lock(&path, "macula up").unwrap().unwrap();
    assert_eq!(mode(&path), 0o600);
    let held = host.try_lock(&path, "macula down").unwrap().unwrap_err();
    assert_eq!((held.pid, held.command.as_str()), (Some(std::process::id()), "macula up"));
    assert_eq!(held.describe(held.since + 200), format!("`macula up` (pid {}, for 3 minutes)", std::process::id()));

    let error = Lock::acquire(&*host, &path, "macula down", Some(Duration::ZERO), |_| {}).await.unwrap_err();
    assert!(matches!(&error, LockError::Held { held: holder, .. } if *holder == held), "{error}");

    let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let second = {
        let (host, path) = (host.clone(), path.clone());
        tokio::spawn(async move {
            Lock::acquire(&*host, &path, "macula down", None, |held| said.send(held.command.clone()).unwrap()).await
        })
    };
    assert_eq!(hears.recv().await.as_deref(), Some("macula up"));
    drop(first);
    let second = second.await.unwrap().unwrap();
    drop(second);
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn the_lock_of_a_killed_process_is_free() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let path = home.path().join("lock");
    let killed = Held { pid: Some(4711), command: "macula up".into(), since: 1_700_000_000 };
    std::fs::write(&path, serde_json::to_vec(&killed).unwrap()).unwrap();
    // another process has it, by the kernel's word, and is killed
    let mut holder = std::process::Command::new("flock")
        .args(["--no-fork", path.to_str().unwrap(), "sleep", "600"])
        .spawn()
        .expect("flock of util-linux");
    while host.try_lock(&path, "macula up").unwrap().is_ok() {
        std::fs::write(&path, serde_json::to_vec(&killed).unwrap()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(host.try_lock(&path, "macula up").unwrap().unwrap_err(), killed);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(host.try_lock(&path, "macula up").unwrap().is_ok());
}

#[test]
fn a_lock_file_that_was_removed_guards_nothing() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let path = home.path().join("lock");
    let first = host.try_lock(&path, "macula down").unwrap().unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = host.try_lock(&path, "macula up").unwrap().unwrap();
    drop(first);
    assert_eq!(host.try_lock(&path, "macula up").unwrap().unwrap_err().command, "macula up");
    drop(second);
}

#[tokio::test]
async fn a_program_in_front_keeps_its_code_and_its_words() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let log = host.folders().data.join("macula/run/shop.log");
    let shell = async |script: &str| host.run_in_front(&Command::new("sh", ["-c", script]), &log).await;
    assert_eq!(shell("printf said; exit 3").await.unwrap(), 3);
    assert_eq!(shell("kill -KILL $$").await.unwrap(), 137);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "said");
    let missing = host.run_in_front(&Command::new("no-such-program", [""; 0]), &log).await;
    assert!(matches!(missing, Err(RunError::Missing { .. })));
}

#[test]
fn files_of_ours_are_not_opened_through_links() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let data = host.folders().data;
    let victim = home.path().join("victim");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, data.join("lock")).unwrap();
    let error = host.try_lock(&data.join("lock"), "macula up").unwrap_err();
    assert!(error.to_string().ends_with("it is a symbolic link"), "{error}");
    std::fs::hard_link(&victim, data.join("hard")).unwrap();
    let error = host.try_lock(&data.join("hard"), "macula up").unwrap_err();
    assert!(error.to_string().ends_with("it is a hard link to another file"), "{error}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[tokio::test]
async fn a_log_loses_its_older_half() {
    let home = tempfile::tempdir().unwrap();
    let host = host_in(home.path());
    let log = host.folders().data.join("dns/resolver.log");
    host.write(&log, "old\n".repeat(100).as_bytes(), 0o600).await.unwrap();
    host.keep_end(&log, 400).await.unwrap();
    assert_eq!(host.read(&log).await.unwrap().len(), 400);
    host.keep_end(&log, 399).await.unwrap();
    assert_eq!(host.read(&log).await.unwrap(), "old\n".repeat(49).as_bytes());
}

#[tokio::test]
async fn a_log_without_times_gets_them_from_notes_on_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost::with(BTreeMap::new(), Some(folder.path().to_owned()));
    let log = folder.path().join("web.log");
    let lengths = || -> Vec<String> {
        let notes = std::fs::read_to_string(crate::host::times_of(&log)).unwrap_or_default();
        notes.lines().map(|line| line.split_once(' ').unwrap().0.to_owned()).collect()
    };
    // one that is not there has no length
    host.note_length(&log).await.unwrap();
    assert_eq!(lengths(), [""; 0]);
    for text in ["one\n", "one\n", "one\ntwo\n"] {
        std::fs::write(&log, text).unwrap();
        host.note_length(&log).await.unwrap();
    }
    assert_eq!(lengths(), ["4", "8"]);
    // it has lost its beginning
    std::fs::write(&log, "two\n").unwrap();
    host.note_length(&log).await.unwrap();
    assert_eq!(lengths(), ["4"]);
}
