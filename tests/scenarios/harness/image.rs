//! The test image: a static busybox, imported, so that no registry is needed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Engine, IMAGE};

/// Makes the image unless it is there. Several test programs may be at it at once.
pub fn make(engine: &Engine) -> Result<(), String> {
    let lock =
        File::create(std::env::temp_dir().join("macula-test-busybox.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let (status, _) =
        engine.request("GET", &format!("/images/{IMAGE}/json"), None).map_err(|error| error.to_string())?;
    if status == 200 {
        return Ok(());
    }
    engine.import(IMAGE, &root()?, "1")
}

/// A root file system as a tar.
pub fn root() -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let busybox = find(folder.path())?;
    let listed = Command::new(&busybox).arg("--list").output().map_err(|error| error.to_string())?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    let program = std::fs::read(&busybox).map_err(|error| error.to_string())?;
    tar(&program, applets.lines().filter(|name| *name != "busybox")).map_err(|error| error.to_string())
}

fn tar<'a>(program: &[u8], applets: impl Iterator<Item = &'a str>) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, size: usize, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        header
    };
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777), ("www/", 0o755), ("data/", 0o777)] {
        builder.append_data(&mut header(tar::EntryType::Directory, 0, mode), folder, std::io::empty())?;
    }
    for (path, content, mode) in [
        ("bin/busybox", program, 0o755),
        ("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644),
        ("www/index.html", b"hello\n", 0o644),
    ] {
        builder.append_data(&mut header(tar::EntryType::Regular, content.len(), mode), path, content)?;
    }
    for name in applets {
        builder.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), format!("bin/{name}"), "busybox")?;
    }
    builder.into_inner()
}

/// Named, installed, or from the machine's package mirror.
fn find(scratch: &Path) -> Result<PathBuf, String> {
    let named = std::env::var_os("MACULA_TEST_BUSYBOX").map(PathBuf::from);
    let installed = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    named
        .into_iter()
        .chain(installed)
        .find(|path| is_static(path))
        .or_else(|| download(scratch))
        .ok_or_else(|| "no static busybox (package busybox-static; or name one in MACULA_TEST_BUSYBOX)".to_owned())
}

/// One that needs libraries would not run in an image that has none.
fn is_static(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|program| !program.windows(10).any(|part| part == b"/ld-linux-"))
}

fn download(scratch: &Path) -> Option<PathBuf> {
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(args).current_dir(scratch).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then_some(())
    };
    run("apt-get", &["download", "busybox-static"])?;
    let package = std::fs::read_dir(scratch).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let package = package.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "deb"))?;
    run("dpkg-deb", &["-x", package.to_str()?, "unpacked"])?;
    ["unpacked/bin/busybox", "unpacked/usr/bin/busybox"]
        .map(|path| scratch.join(path))
        .into_iter()
        .find(|path| is_static(path))
}
