//! What lies on this machine and is mounted by its path, where the engine's machine does not have it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `x-macula.mounts`: what becomes of a bind mount of what only this machine has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountsElsewhere {
    /// It is mounted as it is written: the engine has something of its own at that path, or makes an empty folder.
    #[default]
    AsWritten,
    /// It is copied to the engine's machine, if its container only reads it.
    Copy,
    /// Nothing is started.
    Refuse,
}

impl MountsElsewhere {
    /// Nothing is given.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A folder of this machine that is copied into a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFolder {
    pub path: PathBuf,
    /// As people know it: `./conf`, from the folder of its stack file.
    pub shown: String,
    /// Paths in it at which something else is mounted: what lies there is never seen.
    pub without: BTreeSet<String>,
    /// Path in it -> a file of this machine that is mounted there.
    pub with: BTreeMap<String, PathBuf>,
    /// Of everything that is copied; empty as long as nobody has looked.
    pub digest: String,
}

impl CopiedFolder {
    /// The Compose name of the volume: another content is another volume.
    pub fn volume(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).take(24).collect();
        let path = self.path.to_string_lossy();
        let mut hash = Sha256::new();
        for part in [path.as_ref(), &self.digest].into_iter().chain(self.without.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        if name.is_empty() { format!("copy-{digest}") } else { format!("copy-{name}-{digest}") }
    }
}

/// What a folder holds that is to be copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderContent {
    pub digest: String,
    /// With folders and links.
    pub files: u64,
    pub bytes: u64,
    /// Sockets, pipes and devices, which are left out.
    pub special: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_volume() {
        let folder = |path: &str, digest: &str| CopiedFolder {
            path: path.into(),
            digest: digest.into(),
            ..CopiedFolder::default()
        };
        let name = folder("/p/Conf.d", "1").volume();
        assert!(name.starts_with("copy-confd-") && name.len() == "copy-confd-".len() + 12, "{name}");
        assert_eq!(folder("/p/Conf.d", "1").volume(), name);
        for other in [folder("/p/Conf.d", "2"), folder("/q/Conf.d", "1")] {
            assert_ne!(other.volume(), name);
        }
        assert!(folder("/p/日本", "1").volume().starts_with("copy-"));
        let less = CopiedFolder { without: ["x".to_owned()].into(), ..folder("/p/Conf.d", "1") };
        assert_ne!(less.volume(), name);
        // how it is called is no part of it
        assert_eq!(CopiedFolder { shown: "./conf".into(), ..folder("/p/Conf.d", "1") }.volume(), name);
    }
}
