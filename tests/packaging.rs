//! `packaging/install.sh` against releases that are right, damaged, cut or not there, and targets that take
//! nothing: either the program is replaced as a whole, or nothing has changed. The same of `macula upgrade`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/install.sh");

struct Release {
    folder: tempfile::TempDir,
}

impl Release {
    /// With a program that says this when it is asked for its version.
    fn new(says: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("macula-{}-linux", std::env::consts::ARCH);
        let tree = folder.path().join("tree").join(&name);
        fs::create_dir_all(&tree).unwrap();
        let program = tree.join("macula");
        fs::write(&program, format!("#!/bin/sh\necho {says}\n# {}\n", "x".repeat(64 << 10))).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let release = Self { folder };
        release.pack();
        release
    }

    /// Archive and sums of what lies in its tree.
    fn pack(&self) {
        let (archive, name) = (self.archive(), format!("macula-{}-linux", std::env::consts::ARCH));
        let tar = Command::new("tar").arg("-C").arg(self.path("tree")).arg("-czf").arg(&archive).arg(&name).status();
        assert!(tar.unwrap().success());
        let sums = Command::new("sha256sum").arg(archive.file_name().unwrap()).current_dir(self.folder.path()).output();
        fs::write(self.path("SHA256SUMS"), sums.unwrap().stdout).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive(&self) -> PathBuf {
        self.path(&format!("macula-{}-linux.tar.gz", std::env::consts::ARCH))
    }

    fn install(&self, to: &Path) -> Output {
        self.install_with("", to)
    }

    /// `limits`: for the shell that runs the script.
    fn install_with(&self, limits: &str, to: &Path) -> Output {
        let line =
            format!("{limits} exec sh {SCRIPT} --from '{}' --to '{}'", self.folder.path().display(), to.display());
        Command::new("sh").arg("-c").arg(line).output().unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What lies in a folder, hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// A folder with an older program in it.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("macula"), "old").unwrap();
    folder
}

fn assert_unchanged(target: &Path, output: &Output, says: &str) {
    assert!(!output.status.success(), "{}", text(output));
    assert!(text(output).contains(says), "{}", text(output));
    assert_eq!(names(target), ["macula"], "{}", text(output));
    assert_eq!(fs::read_to_string(target.join("macula")).unwrap(), "old");
}

#[test]
fn a_release_is_installed_and_the_next_commands_are_said() {
    let target = tempfile::tempdir().unwrap();
    let inner = target.path().join("new/bin");
    let output = Release::new("macula 9.9.9").install(&inner);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(names(&inner), ["macula"]);
    assert!(text(&output).contains("macula 9.9.9 is installed"), "{}", text(&output));
    assert!(text(&output).contains("not on your PATH"), "{}", text(&output));
    assert!(text(&output).contains("macula up"), "{}", text(&output));
    // again, over the one that is there
    assert!(Release::new("macula 9.9.10").install(&inner).status.success());
    assert!(fs::read_to_string(inner.join("macula")).unwrap().contains("9.9.10"));
}

#[test]
fn a_flipped_byte_changes_nothing() {
    let (release, target) = (Release::new("macula 9"), installed());
    let mut bytes = fs::read(release.archive()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(release.archive(), bytes).unwrap();
    assert_unchanged(target.path(), &release.install(target.path()), "is not what SHA256SUMS says");
}

#[test]
fn a_cut_download_changes_nothing() {
    let (release, target) = (Release::new("macula 9"), installed());
    let bytes = fs::read(release.archive()).unwrap();
    fs::write(release.archive(), &bytes[..bytes.len() / 2]).unwrap();
    assert_unchanged(target.path(), &release.install(target.path()), "is not what SHA256SUMS says");
    // and one that was cut in the list of sums
    fs::write(release.path("SHA256SUMS"), "0123456789abcdef").unwrap();
    assert_unchanged(target.path(), &release.install(target.path()), "does not name");
}

#[test]
fn a_cut_script_does_nothing() {
    let (release, target) = (Release::new("macula 9"), installed());
    let script = fs::read_to_string(SCRIPT).unwrap();
    let cut = release.path("cut.sh");
    for part in 1..20 {
        // the last line, which begins the work, is not there yet
        let end = script.trim_end().rfind('\n').unwrap() * part / 20;
        let end = (0..=end).rev().find(|end| script.is_char_boundary(*end)).unwrap();
        fs::write(&cut, &script[..end]).unwrap();
        let output = Command::new("sh")
            .arg(&cut)
            .arg("--from")
            .arg(release.folder.path())
            .arg("--to")
            .arg(target.path())
            .output();
        assert_eq!(names(target.path()), ["macula"], "{}", text(&output.unwrap()));
        assert_eq!(fs::read_to_string(target.path().join("macula")).unwrap(), "old");
    }
}

#[test]
fn a_program_that_does_not_run_here_changes_nothing() {
    let (release, target) = (Release::new("macula 9; exit 1"), installed());
    assert_unchanged(target.path(), &release.install(target.path()), "does not run on this machine");
}

#[test]
fn a_disk_without_room_changes_nothing() {
    let (release, target) = (Release::new("macula 9"), installed());
    // no file may grow beyond 8 KiB, as if there were no more room; the archive is smaller, the program is not
    assert!(fs::metadata(release.archive()).unwrap().len() < 8 << 10);
    let output = release.install_with("ulimit -f 16;", target.path());
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(names(target.path()), ["macula"], "{}", text(&output));
    assert_eq!(fs::read_to_string(target.path().join("macula")).unwrap(), "old");
}

#[test]
fn a_target_that_cannot_be_written_is_named() {
    let release = Release::new("macula 9");
    let output = release.install(Path::new("/proc/macula/bin"));
    assert!(!output.status.success());
    assert!(text(&output).contains("cannot create /proc/macula/bin"), "{}", text(&output));
}

#[test]
fn a_release_that_is_not_there_is_named() {
    let target = installed();
    let gone = Command::new("sh").args([SCRIPT, "--from", "/nowhere", "--to"]).arg(target.path()).output().unwrap();
    assert_unchanged(target.path(), &gone, "cannot get SHA256SUMS from /nowhere");
    let unsaid = Command::new("sh").args([SCRIPT, "--to"]).arg(target.path()).output().unwrap();
    assert_unchanged(target.path(), &unsaid, "say where the release is");
}

/// The address is compiled in: that of one version has no newer one, ever.
#[test]
fn a_published_release_knows_where_the_newest_one_is() {
    let workflow = include_str!("../.github/workflows/release.yml");
    let address = workflow.lines().find_map(|line| line.split_once("packaging/release.sh out ")).unwrap().1;
    assert_eq!(address, r#""https://github.com/$GITHUB_REPOSITORY/releases/latest/download""#);
}

/// Cargo takes a path that is not there for changed, each time; where they are is what Git says.
#[test]
fn no_path_of_a_repository_is_taken_for_granted() {
    assert!(!include_str!("../build.rs").contains(".git/"));
}

/// `macula upgrade` of a program that somebody has put into a folder of their own.
mod upgrade {
    use std::io::{Read, Write};
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use macula::dns::{Client, ZoneEntry};
    use macula::model::{Record, RecordData, Zone};

    use super::*;
    use crate::require::skipped;

    const PROGRAM: &str = env!("CARGO_BIN_EXE_macula");

    /// A user with this program in a folder of their own.
    struct Home {
        /// On the file system of the program, so that it need not be copied.
        folder: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let home = Self { folder };
            fs::create_dir(home.bin()).unwrap();
            fs::hard_link(PROGRAM, home.program()).unwrap();
            home
        }

        fn bin(&self) -> PathBuf {
            self.folder.path().join("bin")
        }

        fn program(&self) -> PathBuf {
            self.bin().join("macula")
        }

        fn data(&self) -> PathBuf {
            self.folder.path().join("data/macula")
        }

        fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
            let mut command = Command::new(program);
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.env("HOME", self.folder.path()).env("XDG_DATA_HOME", self.folder.path().join("data"));
            command.current_dir(self.folder.path());
            command
        }

        fn upgrade(&self, from: &str) -> Output {
            self.command(self.program()).args(["upgrade", "--from", from]).output().unwrap()
        }

        /// The program is the one of before, and nothing else is beside it.
        fn assert_unchanged(&self, output: &Output, code: i32, says: &str) {
            assert_eq!(output.status.code(), Some(code), "{}", text(output));
            assert!(text(output).contains(says), "{says}: {}", text(output));
            assert_eq!(names(&self.bin()), ["macula"], "{}", text(output));
            let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
            assert_eq!(inode(&self.program()), inode(Path::new(PROGRAM)), "{}", text(output));
        }
    }

    fn folder(release: &Release) -> String {
        release.folder.path().display().to_string()
    }

    /// The folder over HTTP on loopback; `cut`: each file ends in its middle.
    fn served(release: &Release, cut: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = release.folder.path().to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                let (status, body) = match fs::read(folder.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let sent = if cut { &body[..body.len() / 2] } else { &body[..] };
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                // a client that has seen enough hangs up
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
            }
        });
        format!("http://{address}/")
    }

    #[test]
    fn a_release_takes_the_place_and_the_mode_of_the_program() {
        for over_http in [false, true] {
            let (release, home) = (Release::new("macula 9.9.9"), Home::new());
            let from = if over_http { served(&release, false) } else { folder(&release) };
            // a file of its own: the mode of a hard link is that of all its names
            fs::remove_file(home.program()).unwrap();
            fs::copy(PROGRAM, home.program()).unwrap();
            fs::set_permissions(home.program(), fs::Permissions::from_mode(0o750)).unwrap();
            let looked = home.command(home.program()).args(["upgrade", "--check", "--from", &from]).output().unwrap();
            assert!(looked.status.success() && text(&looked).contains("has 9.9.9; this is"), "{}", text(&looked));
            let output = home.upgrade(&from);
            assert!(output.status.success(), "{}", text(&output));
            assert!(text(&output).contains("macula 9.9.9 replaces"), "{}", text(&output));
            assert_eq!(names(&home.bin()), ["macula"]);
            assert!(fs::read_to_string(home.program()).unwrap().contains("echo macula 9.9.9"));
            assert_eq!(fs::metadata(home.program()).unwrap().permissions().mode() & 0o7777, 0o750);
        }
    }

    #[test]
    fn the_same_version_or_an_older_one_is_nothing_to_do() {
        let home = Home::new();
        let own = Command::new(PROGRAM).arg("--version").output().unwrap();
        let own = String::from_utf8(own.stdout).unwrap();
        home.assert_unchanged(&home.upgrade(&folder(&Release::new(&format!("'{}'", own.trim())))), 0, "already");
        home.assert_unchanged(&home.upgrade(&folder(&Release::new("macula 0.0.1"))), 0, "older than");
    }

    #[test]
    fn a_bad_release_changes_nothing() {
        let home = Home::new();
        let flipped = Release::new("macula 9");
        let mut bytes = fs::read(flipped.archive()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(flipped.archive(), bytes).unwrap();
        home.assert_unchanged(&home.upgrade(&served(&flipped, false)), 1, "is not what SHA256SUMS says");
        home.assert_unchanged(&home.upgrade(&folder(&flipped)), 1, "is not what SHA256SUMS says");

        let whole = Release::new("macula 9");
        home.assert_unchanged(&home.upgrade(&served(&whole, true)), 1, "cannot get SHA256SUMS from http://127.0.0.1:");
        let cut = Release::new("macula 9");
        fs::write(cut.path("SHA256SUMS"), "0123456789abcdef").unwrap();
        home.assert_unchanged(&home.upgrade(&folder(&cut)), 1, "does not name macula-");
        fs::remove_file(whole.archive()).unwrap();
        home.assert_unchanged(&home.upgrade(&served(&whole, false)), 1, "the server answers 404");
        home.assert_unchanged(&home.upgrade("/nowhere"), 1, "cannot get SHA256SUMS from /nowhere");
        let broken = Release::new("macula 9; exit 1");
        home.assert_unchanged(&home.upgrade(&folder(&broken)), 1, "does not run on this machine");
        let stranger = Release::new("hello");
        home.assert_unchanged(&home.upgrade(&folder(&stranger)), 1, "it says `hello` of its version");
    }

    #[test]
    fn without_a_place_it_says_what_to_type() {
        let home = Home::new();
        let output = home.command(home.program()).arg("upgrade").output().unwrap();
        home.assert_unchanged(&output, 2, "macula upgrade --from ADDRESS");
    }

    #[test]
    fn a_disk_without_room_changes_nothing() {
        let (release, home) = (Release::new("macula 9"), Home::new());
        // no file may grow beyond 8 KiB, and whoever tries is told, not killed
        let line = format!(
            "trap '' XFSZ; ulimit -f 16; exec '{}' upgrade --from '{}'",
            home.program().display(),
            folder(&release)
        );
        let output = home.command("sh").args(["-c", &line]).output().unwrap();
        home.assert_unchanged(&output, 1, "cannot write to");
    }

    #[test]
    fn a_folder_that_is_read_only_changes_nothing() {
        let (release, home) = (Release::new("macula 9"), Home::new());
        let (bin, program) = (home.bin(), home.program());
        let line = format!(
            "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' || exit 77; exec '{1}' upgrade --from '{2}'",
            bin.display(),
            program.display(),
            folder(&release)
        );
        let apart = home.command("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).output();
        match apart {
            Ok(output) if output.status.code() != Some(77) && !text(&output).contains("unshare") => {
                home.assert_unchanged(&output, 1, "cannot write to");
            }
            _ => skipped("namespaces", "no folder can be made read-only here: unshare and mount are refused"),
        }
    }

    /// Ended with its test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A question for the address of `shop.upgrade.test`.
    fn question(id: u16) -> Vec<u8> {
        let mut message = id.to_be_bytes().to_vec();
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(b"\x04shop\x07upgrade\x04test\x00\x00\x01\x00\x01");
        message
    }

    /// The new program is this one, and says another version of itself.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_resolver_goes_on_as_the_new_program_and_no_question_is_lost() {
        let home = Home::new();
        let release = Release::new("macula 9.9.9");
        let script = release.path("tree").join(format!("macula-{}-linux", std::env::consts::ARCH)).join("macula");
        let says = "[ \"$1\" = --version ] && { echo macula 9.9.9; exit; }";
        fs::write(&script, format!("#!/bin/sh\n{says}\nexec '{PROGRAM}' \"$@\"\n")).unwrap();
        release.pack();

        // a platform that is there, and a port of its own for the resolver
        let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut zone = Zone::new("upgrade.test", 1);
        zone.records.push(Record::new("shop.upgrade.test", RecordData::A([127, 0, 0, 77].into())));
        let settings = serde_json::json!({"listen": [server], "upstream": ["127.0.0.1"], "rebind_allow": []});
        let kept = serde_json::json!({"format": 1, "entry": ZoneEntry::new(zone), "settings": settings});
        fs::create_dir_all(home.data().join("dns/zones")).unwrap();
        fs::set_permissions(home.data(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(home.data().join("dns/zones/upgrade.json"), kept.to_string()).unwrap();
        let mut serve = home.command(home.program());
        serve.args(["dns", "serve", "--started-by=up", "--metrics=127.0.0.1:0", "--page=127.0.0.1:0"]);
        let log = fs::File::create(home.folder.path().join("log")).unwrap();
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let running = Running(serve.spawn().unwrap());
        let said = || fs::read_to_string(home.folder.path().join("log")).unwrap();

        let control = home.data().join("dns/resolver.sock");
        let begun = Instant::now();
        while Client::connect(&control).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let asker = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
                let (mut asked, mut lost, mut slowest) = (0u16, 0, Duration::ZERO);
                let mut answer = [0; 1232];
                while !stop.load(Ordering::Relaxed) {
                    asked = asked.wrapping_add(1);
                    let begun = Instant::now();
                    socket.send_to(&question(asked), server).unwrap();
                    match socket.recv(&mut answer) {
                        Ok(length)
                            if answer[..2] == asked.to_be_bytes() && answer[length - 4..length] == [127, 0, 0, 77] => {}
                        _ => lost += 1,
                    }
                    slowest = slowest.max(begun.elapsed());
                }
                (asked, lost, slowest)
            })
        };
        let output = home.upgrade(&folder(&release));
        assert!(output.status.success(), "{}\n{}", text(&output), said());
        assert!(text(&output).contains("no question was lost"), "{}\n{}", text(&output), said());
        // it is there, in the same process, and the other program
        let status = Client::connect(&control).await.unwrap().status().await.unwrap();
        assert_eq!(status.pid, running.0.id());
        let runs = fs::read_link(format!("/proc/{}/exe", status.pid)).unwrap();
        assert_eq!(runs, Path::new(PROGRAM).canonicalize().unwrap());
        assert_eq!(status.listen.iter().map(|listen| listen.address).collect::<Vec<_>>(), [server], "{}", said());
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.store(true, Ordering::Relaxed);
        let (asked, lost, slowest) = asker.join().unwrap();
        assert!(asked > 0 && lost == 0, "{lost} of {asked} were lost, the slowest took {slowest:?}: {}", said());
    }
}
