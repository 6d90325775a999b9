//! `upgrade`: the program of a release in the place of this one, as `packaging/install.sh` puts it there: the sum is
//! checked, the new program is started once, and one rename changes everything or nothing.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::app::error::UpgradeError;
use crate::app::resolver::{Renewal, renew};
use crate::app::{Error, Session};
use crate::host::{Command, Host, HostFacts, temporary_name, temporary_writer};
use crate::model::AnyError;
use crate::words;

const SUMS: &str = "SHA256SUMS";
/// More than any list of sums, archive or program of ours has.
const LONGEST_SUMS: u64 = 1 << 20;
const LARGEST_ARCHIVE: u64 = 128 << 20;
const LARGEST_PROGRAM: u64 = 512 << 20;
/// For a program that says its version, and for a package manager that looks into its lists.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    Address(String),
    Folder(PathBuf),
}

impl Release {
    pub fn of(text: &str) -> Self {
        match ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
            true => Self::Address(text.trim_end_matches('/').to_owned()),
            false => Self::Folder(text.into()),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.write_str(address),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

/// What `upgrade` is told.
#[derive(Debug, Clone)]
pub struct Upgrading {
    /// None: nobody has named a place, and the program knows none.
    pub from: Option<Release>,
    /// What this program says of its version.
    pub own: String,
    /// Only look.
    pub check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeState {
    Upgraded,
    /// With `check`: it could be.
    Available,
    /// The release is this program.
    Current,
    /// The release is older than this program, which stays.
    Older,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    pub program: PathBuf,
    pub from: String,
    /// The version of the program that runs this.
    pub own: String,
    pub release: String,
    pub state: UpgradeState,
    /// What became of the resolver. None: the program was not replaced.
    pub resolver: Option<Renewal>,
}

/// Puts the program of a release in the place of this one, and lets the resolver go on as it.
pub async fn upgrade(session: &Session, request: &Upgrading) -> Result<Upgrade, Error> {
    let host = session.host();
    let archive = archive_name(&host.facts())?;
    let from = request.from.as_ref().ok_or(UpgradeError::NoAddress)?;
    let program = &session.program;
    if !request.check
        && let Some(owned) = owner(host, program).await
    {
        return Err(owned.into());
    }
    let content = tokio::select! {
        content = fetched(host, from, &archive) => content?,
        () = session.cancel.cancelled() => return Err(Error::Cancelled),
    };
    // beside the target, so that the last step is one rename; who only looks may not be allowed to write there
    let cache = host.folders().cache;
    let folder = if request.check { cache.as_path() } else { program.parent().unwrap_or(Path::new("/")) };
    forget_dead(host, folder).await;
    let staged = folder.join(temporary_name("macula", std::process::id(), 0));
    let refused = |source| UpgradeError::NotWritten { folder: folder.to_owned(), source };
    let tried = async {
        host.write(&staged, &content, 0o755).await.map_err(refused)?;
        let release = version_of(host, &staged).await?;
        let state = if release == request.own {
            UpgradeState::Current
        } else if is_older(&release, &request.own) {
            UpgradeState::Older
        } else if request.check {
            UpgradeState::Available
        } else {
            host.replace(program, &staged).await.map_err(refused)?;
            UpgradeState::Upgraded
        };
        Ok::<_, UpgradeError>((release, state))
    };
    let tried = tried.await;
    // in its place it is no longer found here
    let _ = host.remove(&staged).await;
    let (release, state) = tried?;
    let resolver = match state {
        UpgradeState::Upgraded => {
            let renewed = renew(session).await;
            Some(renewed.map_err(|error| UpgradeError::NotHandedOver { source: Box::new(error) })?)
        }
        _ => None,
    };
    let own = request.own.clone();
    Ok(Upgrade { program: program.clone(), from: from.to_string(), own, release, state, resolver })
}

/// The archive of this machine, as `packaging/release.sh` calls it.
fn archive_name(facts: &HostFacts) -> Result<String, UpgradeError> {
    match (facts.os.as_str(), facts.arch.as_str()) {
        ("linux", arch @ ("x86_64" | "aarch64")) => Ok(format!("macula-{arch}-linux.tar.gz")),
        (os, arch) => Err(UpgradeError::NoRelease { os: os.to_owned(), arch: arch.to_owned() }),
    }
}

/// The program of the release, whose sum is right.
async fn fetched(host: &dyn Host, from: &Release, archive: &str) -> Result<Vec<u8>, UpgradeError> {
    let sums = get(host, from, SUMS, LONGEST_SUMS).await?;
    let wanted = sum_in(&String::from_utf8_lossy(&sums), archive);
    let wanted = wanted.ok_or_else(|| UpgradeError::Unnamed { archive: archive.to_owned(), from: from.to_string() })?;
    let content = get(host, from, archive, LARGEST_ARCHIVE).await?;
    if words::hex(Sha256::digest(&content)) != wanted {
        return Err(UpgradeError::Damaged { archive: archive.to_owned() });
    }
    let name = archive.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || program_in(&content, &name)).await;
    let unpacked = unpacked.unwrap_or_else(|error| Err(io::Error::other(error)));
    unpacked.map_err(|source| UpgradeError::Archive { archive: archive.to_owned(), source })
}

async fn get(host: &dyn Host, from: &Release, file: &str, most: u64) -> Result<Vec<u8>, UpgradeError> {
    let got = match from {
        Release::Address(address) => host.download(&format!("{address}/{file}"), most).await,
        Release::Folder(folder) => host.read(&folder.join(file)).await,
    };
    got.map_err(|source| UpgradeError::NotThere { file: file.to_owned(), from: from.to_string(), source })
}

/// The sum of a file, as sha256sum(1) lists it: for text or, with a star, for binary files.
fn sum_in(sums: &str, file: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (sum, rest) = line.split_at_checked(64)?;
        let named = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))? == file;
        let hexadecimal = sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (named && hexadecimal).then(|| sum.to_owned())
    })
}

/// `NAME/macula` of the archive `NAME.tar.gz`.
fn program_in(content: &[u8], archive: &str) -> io::Result<Vec<u8>> {
    let place = Path::new(archive.trim_end_matches(".tar.gz")).join("macula");
    let mut files = tar::Archive::new(GzDecoder::new(content));
    for file in files.entries()? {
        let file = file?;
        if !file.header().entry_type().is_file() || file.path()? != place {
            continue;
        }
        let mut program = Vec::new();
        if file.take(LARGEST_PROGRAM + 1).read_to_end(&mut program)? as u64 > LARGEST_PROGRAM {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the program in it is too large"));
        }
        return Ok(program);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not in it", place.display())))
}

/// What a program says of its version, without its name.
async fn version_of(host: &dyn Host, program: &Path) -> Result<String, UpgradeError> {
    let command = Command::new(program.to_string_lossy(), ["--version"]).timeout(PATIENCE);
    let said = host.run(&command).await.map_err(|error| UpgradeError::DoesNotRun { source: error.into() })?.stdout();
    match said.trim().strip_prefix("macula ") {
        Some(version) => Ok(version.to_owned()),
        None => {
            let said = format!("it says `{}` of its version", said.trim().lines().next().unwrap_or_default());
            Err(UpgradeError::DoesNotRun { source: AnyError::said(said) })
        }
    }
}

/// By the numbers alone: what comes before a release, or was built in between, is taken as it is.
fn is_older(version: &str, other: &str) -> bool {
    let numbers = |version: &str| -> Vec<u64> {
        let front = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        front.split('.').map_while(|number| number.parse().ok()).collect()
    };
    numbers(version) < numbers(other)
}

/// Removes what a run that was killed has left of a new program.
async fn forget_dead(host: &dyn Host, folder: &Path) {
    for name in host.list(folder).await.unwrap_or_default() {
        let dead = temporary_writer(&name).is_some_and(|pid| !host.alive(pid));
        if dead && name.trim_start_matches('.').starts_with("macula.") {
            // it disturbs nobody
            let _ = host.remove(&folder.join(name)).await;
        }
    }
}

/// Who else looks after this file: what they have installed is not ours to replace.
async fn owner(host: &dyn Host, program: &Path) -> Option<UpgradeError> {
    let owned = |package: String, command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).chain([package.clone()]).collect();
        UpgradeError::Owned { program: program.to_owned(), package, command }
    };
    if let Some(formula) = formula(program) {
        return Some(owned(formula, &["brew", "upgrade"]));
    }
    let path = program.to_string_lossy().into_owned();
    let asked = async |program: &str, words: &[&str]| {
        host.which(program)?;
        let command = Command::new(program, words.iter().chain([&path.as_str()]).copied());
        let output = host.run(&command.may_fail().timeout(PATIENCE)).await.ok()?;
        output.success().then(|| output.stdout())
    };
    if let Some(said) = asked("dpkg", &["-S"]).await
        && let Some(package) = debian_package(&said, &path)
    {
        return Some(owned(package, &["sudo", "apt-get", "install", "--only-upgrade"]));
    }
    let package = asked("rpm", &["-qf", "--queryformat", "%{NAME}\\n"]).await?.lines().next()?.trim().to_owned();
    let by = ["dnf", "zypper", "yum"].into_iter().find(|by| host.which(by).is_some()).unwrap_or("dnf");
    let word = if by == "zypper" { "update" } else { "upgrade" };
    (!package.is_empty()).then(|| owned(package, &["sudo", by, word]))
}

/// `PACKAGE: PATH`, `PACKAGE:ARCHITECTURE: PATH`, and lines about other things.
fn debian_package(said: &str, path: &str) -> Option<String> {
    said.lines().find_map(|line| {
        let packages = line.strip_suffix(path)?.strip_suffix(": ")?;
        let first = packages.split(", ").next()?.split(':').next()?;
        (!first.is_empty() && !first.contains(' ')).then(|| first.to_owned())
    })
}

/// Homebrew keeps each package in a folder of its own: `PREFIX/Cellar/NAME/VERSION`.
fn formula(program: &Path) -> Option<String> {
    let mut parts = program.components().map(|part| part.as_os_str().to_string_lossy());
    parts.find(|part| part == "Cellar")?;
    parts.next().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::{FAKE_PID, FakeHost};
    use crate::host::{Output, RunError};

    const PROGRAM: &str = "/usr/bin/macula";
    const ARCHIVE: &str = "macula-x86_64-linux.tar.gz";

    fn archive(place: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, place, content).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// A machine with the program 1.0.0 and a release in /release that says this of itself.
    fn machine(says: &str) -> FakeHost {
        let archive = archive("macula-x86_64-linux/macula", b"the new one");
        let sums = format!("{}  {ARCHIVE}\n", words::hex(Sha256::digest(&archive)));
        let output = Output { status: Some(0), stdout: format!("{says}\n").into_bytes(), stderr: Vec::new() };
        let host = FakeHost::new().file(PROGRAM, "the old one");
        let host = host.file(format!("/release/{ARCHIVE}"), archive).file("/release/SHA256SUMS", sums);
        // whichever name it has until it is in its place
        host.on("/*", move |_, command| {
            assert!(command.program.ends_with(".macula-tmp"), "{command}");
            Ok(output.clone())
        })
    }

    async fn run(host: &FakeHost, check: bool) -> Result<Upgrade, Error> {
        let from = Some(Release::of("/release"));
        let request = Upgrading { from, own: "1.0.0".into(), check };
        upgrade(&session(host.clone(), &FakeEngine::new(), "macula upgrade"), &request).await
    }

    /// Nothing but the release and the program as it was.
    fn assert_unchanged(host: &FakeHost) {
        assert_eq!(host.text(PROGRAM).as_deref(), Some("the old one"));
        let left = host.paths();
        assert!(!left.iter().any(|path| path.to_string_lossy().contains("macula-tmp")), "{left:?}");
    }

    fn refused(tried: Result<Upgrade, Error>) -> UpgradeError {
        match tried {
            Err(Error::Upgrade(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_newer_program_takes_the_place_and_the_mode_of_the_old_one() {
        let host = machine("macula 1.1.0 (abc 2026-01-01)");
        let dead = format!("/usr/bin/{}", temporary_name("macula", 77, 0));
        host.put(&dead, "half of one");
        let looked = run(&host, true).await.unwrap();
        assert_eq!((looked.state, looked.resolver), (UpgradeState::Available, None));
        assert_eq!(host.text(PROGRAM).as_deref(), Some("the old one"));
        let done = run(&host, false).await.unwrap();
        assert_eq!((done.state, done.release.as_str()), (UpgradeState::Upgraded, "1.1.0 (abc 2026-01-01)"));
        assert_eq!(done.resolver, Some(Renewal::NotRunning));
        assert_eq!((host.text(PROGRAM).as_deref(), host.mode(PROGRAM)), (Some("the new one"), Some(0o644)));
        let bin: Vec<PathBuf> = host.paths().into_iter().filter(|path| path.starts_with("/usr/bin")).collect();
        assert_eq!(bin, [PathBuf::from(PROGRAM)]);
    }

    #[tokio::test]
    async fn what_is_there_already_or_older_changes_nothing() {
        for (says, state) in [("macula 1.0.0", UpgradeState::Current), ("macula 0.9.12", UpgradeState::Older)] {
            let host = machine(says);
            let done = run(&host, false).await.unwrap();
            assert_eq!((done.state, done.resolver), (state, None), "{says}");
            assert_unchanged(&host);
        }
    }

    #[tokio::test]
    async fn a_release_that_is_not_right_changes_nothing() {
        let flipped = machine("macula 2.0.0");
        let mut bytes = flipped.read(Path::new("/release").join(ARCHIVE).as_path()).await.unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        flipped.put(format!("/release/{ARCHIVE}"), bytes);
        assert!(matches!(refused(run(&flipped, false).await), UpgradeError::Damaged { .. }));
        assert_unchanged(&flipped);

        let unnamed = machine("macula 2.0.0").file("/release/SHA256SUMS", "0123456789abcdef");
        assert!(matches!(refused(run(&unnamed, false).await), UpgradeError::Unnamed { .. }));
        let gone = machine("macula 2.0.0");
        gone.remove(&Path::new("/release").join(ARCHIVE)).await.unwrap();
        assert!(matches!(refused(run(&gone, false).await), UpgradeError::NotThere { .. }));
        let stranger = machine("hello 2.0.0");
        assert!(matches!(refused(run(&stranger, false).await), UpgradeError::DoesNotRun { .. }));
        assert_unchanged(&stranger);
        let broken = machine("macula 2.0.0").on("/*", |_, command| {
            let (command, status) = (command.to_string(), "status 1".to_owned());
            Err(RunError::Failed { command, status, output: "no such library".into() })
        });
        assert!(matches!(refused(run(&broken, false).await), UpgradeError::DoesNotRun { .. }));
        assert_unchanged(&broken);
    }

    #[tokio::test]
    async fn a_place_that_takes_nothing_is_named() {
        for host in [machine("macula 2.0.0").read_only("/usr/bin"), machine("macula 2.0.0").full("/usr/bin")] {
            let UpgradeError::NotWritten { folder, .. } = refused(run(&host, false).await) else { panic!() };
            assert_eq!(folder, Path::new("/usr/bin"));
            assert_unchanged(&host);
            // to look takes nothing of that folder
            assert_eq!(run(&host, true).await.unwrap().state, UpgradeState::Available);
        }
    }

    #[tokio::test]
    async fn what_a_package_manager_has_installed_is_left_to_it() {
        let debian = machine("macula 2.0.0").program("dpkg").answer(
            "dpkg -S /usr/bin/macula",
            0,
            "macula: /usr/bin/macula\n",
            "",
        );
        let UpgradeError::Owned { package, command, .. } = refused(run(&debian, false).await) else { panic!() };
        assert_eq!(
            (package.as_str(), command.join(" ").as_str()),
            ("macula", "sudo apt-get install --only-upgrade macula")
        );
        assert_unchanged(&debian);
        let both =
            || machine("macula 2.0.0").program("dpkg").program("rpm").answer("dpkg -S *", 1, "", "no path found");
        let fedora = both().answer("rpm -qf *", 0, "macula\n", "").program("dnf");
        let UpgradeError::Owned { command, .. } = refused(run(&fedora, false).await) else { panic!() };
        assert_eq!(command.join(" "), "sudo dnf upgrade macula");
        // there, and of nobody's
        let nobody = both().answer("rpm -qf *", 1, "", "");
        assert_eq!(run(&nobody, false).await.unwrap().state, UpgradeState::Upgraded);
    }

    #[test]
    fn owners_are_read_of_what_package_managers_say() {
        let path = "/usr/bin/macula";
        assert_eq!(debian_package("macula:amd64: /usr/bin/macula\n", path).as_deref(), Some("macula"));
        assert_eq!(debian_package("one, other: /usr/bin/macula\n", path).as_deref(), Some("one"));
        let diverted = "diversion by a from: /usr/bin/macula\nmacula: /usr/bin/macula\n";
        assert_eq!(debian_package(diverted, path).as_deref(), Some("macula"));
        assert_eq!(debian_package("macula: /usr/bin/macula.old\n", path), None);
        let brew = formula(Path::new("/home/linuxbrew/.linuxbrew/Cellar/macula/1.0.0/bin/macula"));
        assert_eq!(brew.as_deref(), Some("macula"));
        assert_eq!(formula(Path::new(path)), None);
    }

    #[test]
    fn archives_and_their_sums() {
        let facts = |os: &str, arch: &str| HostFacts { os: os.into(), arch: arch.into(), ..HostFacts::default() };
        assert_eq!(archive_name(&facts("linux", "aarch64")).unwrap(), "macula-aarch64-linux.tar.gz");
        assert!(archive_name(&facts("macos", "aarch64")).is_err());
        let sum = "ab".repeat(32);
        let sums = format!("{sum}  other.tar.gz\n{sum} *{ARCHIVE}\n");
        assert_eq!(sum_in(&sums, ARCHIVE), Some(sum.clone()));
        for bad in [&format!("{sum}  x{ARCHIVE}"), &format!("{}  {ARCHIVE}", "AB".repeat(32)), "é", ""] {
            assert_eq!(sum_in(bad, ARCHIVE), None, "{bad}");
        }
        assert_eq!(program_in(&archive("macula-x86_64-linux/macula", b"x"), ARCHIVE).unwrap(), b"x");
        assert!(program_in(&archive("elsewhere/macula", b"x"), ARCHIVE).is_err());
        assert!(program_in(b"no archive", ARCHIVE).is_err());
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(is_older("0.9.0", "0.10.0") && is_older("0.1.0", "0.1.1 (abc)") && is_older("1.2", "1.2.1"));
        assert!(!is_older("0.2.0 (abc)", "0.1.9 (abd)") && !is_older("0.2.0-rc1", "0.2.0"));
    }

    #[test]
    fn a_place_is_an_address_or_a_folder() {
        let address = Release::of("https://example.com/r/");
        assert_eq!(
            (address.to_string().as_str(), address),
            ("https://example.com/r", Release::Address("https://example.com/r".into()))
        );
        assert_eq!(Release::of("dist"), Release::Folder("dist".into()));
    }

    #[tokio::test]
    async fn what_somebody_writes_just_now_is_left_alone() {
        let (dead, alive) = (temporary_name("macula", 77, 0), temporary_name("macula", FAKE_PID, 0));
        let other = temporary_name("other", 77, 0);
        let host = FakeHost::new();
        for name in [&dead, &alive, &other] {
            host.put(format!("/bin/{name}"), "");
        }
        forget_dead(&host, Path::new("/bin")).await;
        assert_eq!(host.paths(), [format!("/bin/{alive}"), format!("/bin/{other}")].map(PathBuf::from));
    }
}
