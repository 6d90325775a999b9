//! What the stores of Linux systems have in common: a folder of the administrator's anchors, a
//! program that makes bundles of them, and the bundle that programs read.

use std::path::{Path, PathBuf};

use super::{Anchor, Kind, Place, State, StoreError, command, judge};
use crate::host::Host;

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

    pub async fn update(&self, host: &dyn Host) -> Result<(), StoreError> {
        let args = self.args.iter().copied();
        host.run(&command(host, Path::new(self.folder), self.program, args)).await?;
        Ok(())
    }
}
