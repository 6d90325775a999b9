//! An image that is made of this very program and what it is linked with: a second role of it needs no registry
//! and no build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::model::{AnyError, Facts, Fingerprint, label};

/// Every such image has this label, and so has what `doctor` makes of it for a moment; its value is the process
/// that made it.
pub const LABEL: &str = "dev.macula.proof";
const REPOSITORY: &str = "localhost/macula/proof";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum OwnImageError {
    /// Nothing is wrong: it cannot be made here.
    #[error("{0}")]
    NotHere(#[source] AnyError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The image, and how the program in it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImage {
    pub reference: String,
    pub entrypoint: Vec<String>,
}

impl OwnImage {
    /// The image as it would be made. The engine is not asked.
    pub async fn of(host: &dyn Host, facts: &Facts) -> Result<Self, OwnImageError> {
        Ok(program(host, facts).await?.0)
    }

    /// The same, made where the engine does not have it.
    pub async fn obtain(engine: &dyn Engine, host: &dyn Host, facts: &Facts) -> Result<Self, OwnImageError> {
        let program = program(host, facts).await?;
        image(engine, host, &program).await
    }

    /// Removes the archive of a making that nobody waits for any more.
    pub async fn abandon(host: &dyn Host) {
        let _ = host.remove(&host.folders().cache.join(archive_of(std::process::id()))).await;
    }
}

/// This program and what it is linked with, as the kernel has mapped it: no file format has to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parts {
    loader: Option<PathBuf>,
    libraries: BTreeSet<PathBuf>,
}

const PROGRAM: &str = "/proc/self/exe";

/// This program, if it runs in the engine's containers.
async fn program(host: &dyn Host, facts: &Facts) -> Result<(OwnImage, Parts), OwnImageError> {
    let machine = host.facts();
    if machine.os != "linux" {
        return Err(not_here("this program runs in Linux containers only where it is built for Linux"));
    }
    let same = match facts.architecture.as_str() {
        "amd64" | "x86_64" => machine.arch == "x86_64",
        "arm64" | "aarch64" => machine.arch == "aarch64",
        other => other == machine.arch,
    };
    if !same {
        return Err(not_here("the engine runs on another processor than this program"));
    }
    let maps = host.read(Path::new("/proc/self/maps")).await;
    let maps = maps.map_err(|_| not_here("this program's files are not known"))?;
    let changed = host.modified(Path::new(PROGRAM)).await.map_err(|_| not_here("this program's file is gone"))?;
    let parts = parts(&String::from_utf8_lossy(&maps));
    let tag = Fingerprint::of(&(env!("CARGO_PKG_VERSION"), changed, &parts.loader, &parts.libraries)).0;
    let tag = tag.get(..12).unwrap_or(&tag).to_owned();
    Ok((OwnImage { reference: format!("{REPOSITORY}:{tag}"), entrypoint: entrypoint(&parts) }, parts))
}

fn not_here(why: &str) -> OwnImageError {
    OwnImageError::NotHere(AnyError::said(why))
}

async fn image(
    engine: &dyn Engine,
    host: &dyn Host,
    (made, parts): &(OwnImage, Parts),
) -> Result<OwnImage, OwnImageError> {
    let made = made.clone();
    clear(host).await;
    if engine.image(&made.reference).await?.is_some() {
        return Ok(made);
    }
    for old in engine.labelled_images(LABEL).await.unwrap_or_default() {
        for name in old.names.iter().filter(|name| **name != made.reference) {
            // one that a container of another user still needs stays
            let _ = engine.remove_image(name).await;
        }
    }
    let archive = archive(host, parts).await.map_err(|error| OwnImageError::NotHere(error.into()))?;
    let folder = host.folders().cache;
    let file = folder.join(archive_of(std::process::id()));
    let kept = async {
        host.create_folder(&folder, 0o700).await?;
        host.write(&file, &archive, 0o600).await
    };
    kept.await.map_err(|error| not_here(&format!("{}: {error}", file.display())))?;
    let labels = BTreeMap::from([
        (LABEL.to_owned(), std::process::id().to_string()),
        (label::SERVICE.to_owned(), "proof".to_owned()),
    ]);
    let imported = engine.import(&file, &made.reference, &labels).await;
    let _ = host.remove(&file).await;
    imported?;
    Ok(made)
}

/// In the cache, while the engine reads it.
fn archive_of(pid: u32) -> String {
    format!("proof-{pid}.tar")
}

/// Removes archives of runs that were killed: each is as large as this program.
async fn clear(host: &dyn Host) {
    let folder = host.folders().cache;
    for name in host.list(&folder).await.unwrap_or_default() {
        let pid = name.strip_prefix("proof-").and_then(|rest| rest.strip_suffix(".tar")).map(str::parse::<u32>);
        if let Some(Ok(pid)) = pid
            && !host.alive(pid)
        {
            let _ = host.remove(&folder.join(&name)).await;
        }
    }
}

/// Files that are mapped to be run. The loader is one of them; a program without any is static.
fn parts(maps: &str) -> Parts {
    let mut parts = Parts::default();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let runs = words.nth(1).is_some_and(|rights| rights.contains('x'));
        let Some(path) = words.nth(3).filter(|path| runs && path.starts_with('/')) else { continue };
        let path = PathBuf::from(path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("ld-") || name.starts_with("ld.so") {
            parts.loader = Some(path);
        } else if name.contains(".so") {
            parts.libraries.insert(path);
        }
    }
    parts
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A loader that is started by itself finds the libraries where it is told.
fn entrypoint(parts: &Parts) -> Vec<String> {
    let program = "/macula".to_owned();
    match &parts.loader {
        None => vec![program],
        Some(loader) => {
            vec![format!("/lib/{}", file_name(loader)), "--library-path".to_owned(), "/lib".to_owned(), program]
        }
    }
}

/// The root of the image's file system.
async fn archive(host: &dyn Host, parts: &Parts) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let libraries = parts.loader.iter().chain(&parts.libraries);
    let files = libraries.map(|path| (path.clone(), format!("lib/{}", file_name(path))));
    for (path, name) in files.chain([(PathBuf::from(PROGRAM), "macula".to_owned())]) {
        let content = host.read(&path).await?;
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap_or_default());
        header.set_mode(0o755);
        header.set_mtime(0);
        archive.append_data(&mut header, &name, content.as_slice())?;
    }
    archive.into_inner()
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::host::fake::FakeHost;

    pub const MAPS: &str = "\
55d0c0000000-55d0c0a00000 r--p 00000000 08:01 1 /usr/local/bin/macula
55d0c0a00000-55d0c1e00000 r-xp 00a00000 08:01 1 /usr/local/bin/macula
7f0000000000-7f0000026000 r--p 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000026000-7f000017b000 r-xp 00026000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000200000-7f0000203000 r-xp 00003000 08:01 3 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1
7f0000400000-7f0000425000 r-xp 00001000 08:01 4 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffe00000000-7ffe00002000 r-xp 00000000 00:00 0 [vdso]
";

    /// Runs this program, with its libraries.
    pub fn machine() -> FakeHost {
        let host = FakeHost::new().file("/proc/self/maps", MAPS).file("/proc/self/exe", "program");
        let lib = "/usr/lib/x86_64-linux-gnu";
        ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"]
            .into_iter()
            .fold(host, |host, name| host.file(format!("{lib}/{name}"), name))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{MAPS, machine};
    use super::*;

    #[test]
    fn what_the_kernel_has_mapped_is_what_the_program_needs() {
        let found = parts(MAPS);
        assert_eq!(
            found.libraries.iter().map(|path| file_name(path)).collect::<Vec<_>>(),
            ["libc.so.6", "libgcc_s.so.1"]
        );
        assert_eq!(entrypoint(&found), ["/lib/ld-linux-x86-64.so.2", "--library-path", "/lib", "/macula"]);
        let alone = parts("00400000-00500000 r-xp 00000000 08:01 1 /usr/local/bin/macula\n");
        assert_eq!(entrypoint(&alone), ["/macula"]);
    }

    #[tokio::test]
    async fn the_image_holds_the_program_and_its_libraries() {
        let archive = archive(&machine(), &parts(MAPS)).await.unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            names.push(format!("{} {:o}", entry.path().unwrap().display(), entry.header().mode().unwrap()));
        }
        assert_eq!(names, ["lib/ld-linux-x86-64.so.2 755", "lib/libc.so.6 755", "lib/libgcc_s.so.1 755", "macula 755"]);
    }
}
