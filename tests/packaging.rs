//! `packaging/install.sh` against releases that are right, damaged, cut or not there, and targets that take
//! nothing: either the program is replaced as a whole, or nothing has changed.

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
        let archive = release.archive();
        let tar = Command::new("tar").arg("-C").arg(release.path("tree")).arg("-czf").arg(&archive).arg(&name).status();
        assert!(tar.unwrap().success());
        let sums =
            Command::new("sha256sum").arg(archive.file_name().unwrap()).current_dir(release.folder.path()).output();
        fs::write(release.path("SHA256SUMS"), sums.unwrap().stdout).unwrap();
        release
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
