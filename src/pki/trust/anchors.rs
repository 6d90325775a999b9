//! What the stores of Linux systems have in common: a folder of the administrator's anchors, a
//! program that makes bundles of them, and the bundle that programs read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Anchor, Kind, Place, State, StoreError, command, judge};
use crate::host::Host;

/// What Debian trusts, a file a line, below [`LISTED`].
const LIST: &str = "/etc/ca-certificates.conf";
const LISTED: &str = "/usr/share/ca-certificates";
/// How often the program is run until its bundle is whole.
const TRIES: usize = 3;
/// For another run of the program.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Layout {
    pub kind: Kind,
    pub folder: &'static str,
    /// Of a file's name; others are overlooked by some programs.
    pub extension: &'static str,
    pub program: &'static str,
    pub args: &'static [&'static str],
    /// PEM.
    pub bundle: &'static str,
}

impl Layout {
    pub async fn place(&self, host: &dyn Host) -> Option<Place> {
        let there = host.which(self.program).is_some() && host.exists(Path::new(self.folder)).await;
        there.then(|| Place { kind: self.kind, path: self.folder.into(), label: "the system".into() })
    }

    pub fn file(&self, anchor: &Anchor) -> PathBuf {
        Path::new(self.folder).join(format!("{}.{}", anchor.id(), self.extension))
    }

    pub async fn look(&self, host: &dyn Host, anchor: &Anchor) -> Result<State, StoreError> {
        let ours = self.holds(host, anchor).await?;
        let bundled = host.read(Path::new(self.bundle)).await.is_ok_and(|bundle| anchor.is_in(&bundle));
        Ok(match (ours, bundled) {
            (true, true) => State::Trusted,
            (true, false) => State::Partly(format!("{} has not taken it into {}", self.program, self.bundle)),
            // removed by hand, or killed in the middle of an uninstall
            (false, true) => State::Partly(format!("{} still has it in {}", self.program, self.bundle)),
            (false, false) => State::Missing,
        })
    }

    /// Whether our file is there; an error when it is another certificate.
    pub async fn holds(&self, host: &dyn Host, anchor: &Anchor) -> Result<bool, StoreError> {
        let file = self.file(anchor);
        match host.read(&file).await {
            Ok(content) if content.is_empty() => Ok(false),
            Ok(content) => judge(anchor, &file, &content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn add(&self, host: &dyn Host, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        self.holds(host, anchor).await?;
        let file = self.file(anchor);
        let (from, to) = (certificate.to_string_lossy(), file.to_string_lossy());
        host.run(&command(host, &file, "install", ["-m", "0644", &*from, &*to])).await?;
        self.update(host).await
    }

    pub async fn delete_file(&self, host: &dyn Host, anchor: &Anchor) -> Result<(), StoreError> {
        let file = self.file(anchor);
        if self.holds(host, anchor).await? || host.exists(&file).await {
            host.run(&command(host, &file, "rm", ["-f", &*file.to_string_lossy()])).await?;
        }
        Ok(())
    }

    /// Makes the bundle from the anchors, and looks whether it holds them all: another run of the
    /// program beside ours (a package's, or one whose caller was killed) writes the same files.
    pub async fn update(&self, host: &dyn Host) -> Result<(), StoreError> {
        let mut found = None;
        for _ in 0..TRIES {
            self.alone(host).await?;
            let args = self.args.iter().copied();
            host.run(&command(host, Path::new(self.folder), self.program, args)).await?;
            found = self.count(host).await;
            match found {
                Some((there, wanted)) if there < wanted => {}
                _ => return Ok(()),
            }
        }
        let (there, wanted) = found.unwrap_or_default();
        let bundle = self.bundle.into();
        Err(StoreError::Incomplete { bundle, there, wanted, program: self.program })
    }

    /// Waits until no other run of the program is under way. Through sudo the lock does not reach it.
    async fn alone(&self, host: &dyn Host) -> Result<(), StoreError> {
        let begun = Instant::now();
        while let Some(pid) = self.other_run(host).await {
            if begun.elapsed() > PATIENCE {
                return Err(StoreError::Busy { program: self.program, pid });
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn other_run(&self, host: &dyn Host) -> Option<u32> {
        for name in host.list(Path::new("/proc")).await.unwrap_or_default() {
            let Ok(pid) = name.parse::<u32>() else { continue };
            let Ok(line) = host.read(Path::new(&format!("/proc/{pid}/cmdline"))).await else { continue };
            let program = |word: &[u8]| word.rsplit(|byte| *byte == b'/').next() == Some(self.program.as_bytes());
            if line.split(|byte| *byte == 0).any(program) {
                return Some(pid);
            }
        }
        None
    }

    /// How many certificates the bundle holds, and how many it must hold: those that Debian's list
    /// names, and the administrator's. None where there is no such list.
    async fn count(&self, host: &dyn Host) -> Option<(usize, usize)> {
        let list = host.read(Path::new(LIST)).await.ok()?;
        let list = String::from_utf8_lossy(&list).into_owned();
        let mut wanted = 0;
        for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
            wanted += certificates(host, &Path::new(LISTED).join(line)).await;
        }
        for name in host.list(Path::new(self.folder)).await.unwrap_or_default() {
            if Path::new(&name).extension().is_some_and(|extension| extension == self.extension) {
                wanted += certificates(host, &Path::new(self.folder).join(name)).await;
            }
        }
        Some((certificates(host, Path::new(self.bundle)).await, wanted))
    }
}

/// Certificates in a PEM file; 0 where there is none.
async fn certificates(host: &dyn Host, path: &Path) -> usize {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let content = host.read(path).await.unwrap_or_default();
    content.windows(BEGIN.len()).filter(|window| *window == BEGIN).count()
}
