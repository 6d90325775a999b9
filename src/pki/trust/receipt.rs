//! What was done to trust stores, written down before it is done.
//!
//! | file below `<authorities>/trust` | holds |
//! |---|---|
//! | `receipt.json` | the entries |
//! | `<id>.pem` | an anchor, for the programs that want a file |
//! | `kept-<sha256>` | a file as it was before a store rewrote it |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Anchor, Place, StoreError, command};
use crate::host::Host;
use crate::words;

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("{} is not a valid receipt: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} was written by a newer macula", path.display())]
    Newer { path: PathBuf },
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// An anchor in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub place: Place,
    pub anchor: Anchor,
    /// The store itself was made for it.
    #[serde(default)]
    pub made: bool,
    #[serde(default)]
    pub kept: Vec<KeptFile>,
}

impl Entry {
    fn is_of(&self, place: &Place, anchor: &Anchor) -> bool {
        (self.place.kind, &self.place.path, &self.anchor.fingerprint) == (place.kind, &place.path, &anchor.fingerprint)
    }
}

/// A file that a store rewrites as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub path: PathBuf,
    /// SHA-256 of what was there before, and the name under which that is kept.
    pub before: String,
    /// SHA-256 of what we left there; `None`: we were killed on the way.
    pub after: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    entries: Vec<Entry>,
}

const VERSION: u32 = 1;

/// The receipt in its folder. Each change is on disk before the next thing is done.
#[derive(Debug)]
pub struct Receipt {
    folder: PathBuf,
    content: Content,
}

impl Receipt {
    /// Empty when there is none. `folder`: see the top of this file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn load(host: &dyn Host, folder: &Path) -> Result<Self, ReceiptError> {
        let path = folder.join("receipt.json");
        let content = match host.read(&path).await {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ReceiptError::Damaged { path: path.clone(), reason: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Content { version: VERSION, ..Content::default() }
            }
            Err(error) => return Err(error.into()),
        };
        if content.version > VERSION {
            return Err(ReceiptError::Newer { path });
        }
        Ok(Self { folder: folder.to_owned(), content })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.content.entries
    }

    async fn save(&self, host: &dyn Host) -> Result<(), ReceiptError> {
        let text = serde_json::to_vec_pretty(&self.content).map_err(std::io::Error::other)?;
        Ok(host.write(&self.folder.join("receipt.json"), &text, 0o600).await?)
    }

    fn find(&mut self, place: &Place, anchor: &Anchor) -> Option<&mut Entry> {
        self.content.entries.iter_mut().find(|entry| entry.is_of(place, anchor))
    }

    /// Of something that is there already. Keeps an entry that there is.
    pub(super) async fn remember(
        &mut self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
    ) -> Result<(), ReceiptError> {
        if self.find(place, anchor).is_some() {
            return Ok(());
        }
        let entry = Entry { place: place.clone(), anchor: anchor.clone(), made: false, kept: Vec::new() };
        self.content.entries.push(entry);
        self.save(host).await
    }

    /// Before something is added: keeps the files aside that it `rewrites`.
    pub(super) async fn begin(
        &mut self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        rewrites: &[PathBuf],
        made: bool,
    ) -> Result<(), ReceiptError> {
        // An earlier try may have left an entry. What it kept does not count any longer: stores put
        // the anchor into such a file last, so a store that lacks it has these files without it.
        let made = made || self.find(place, anchor).is_some_and(|entry| entry.made);
        let mut kept = Vec::new();
        for path in rewrites {
            let Ok(bytes) = host.read(path).await else { continue };
            let before = sha256(&bytes);
            host.write(&self.kept_file(&before), &bytes, 0o600).await?;
            kept.push(KeptFile { path: path.clone(), before, after: None });
        }
        match self.find(place, anchor) {
            Some(entry) => (entry.made, entry.kept) = (made, kept),
            None => self.content.entries.push(Entry { place: place.clone(), anchor: anchor.clone(), made, kept }),
        }
        self.save(host).await
    }

    /// After it was added, or failed to be.
    pub(super) async fn end(&mut self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<(), ReceiptError> {
        let Some(entry) = self.find(place, anchor) else { return Ok(()) };
        for file in &mut entry.kept {
            file.after = host.read(&file.path).await.ok().map(|bytes| sha256(&bytes));
        }
        self.save(host).await
    }

    /// The last one first: each puts back what it found.
    pub(super) fn entries_to_undo(&self, domain: Option<&str>) -> Vec<Entry> {
        let wanted = |entry: &&Entry| domain.is_none_or(|domain| entry.anchor.domain == domain);
        self.content.entries.iter().rev().filter(wanted).cloned().collect()
    }

    pub(super) async fn forget(&mut self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<(), ReceiptError> {
        self.content.entries.retain(|entry| !entry.is_of(place, anchor));
        self.save(host).await
    }

    /// The files of an entry that nobody else has changed since.
    pub(super) async fn untouched<'a>(&self, host: &dyn Host, entry: &'a Entry) -> Vec<&'a KeptFile> {
        let mut untouched = Vec::new();
        for file in &entry.kept {
            let now = host.read(&file.path).await.ok().map(|bytes| sha256(&bytes));
            if now.is_some() && now == file.after {
                untouched.push(file);
            }
        }
        untouched
    }

    pub(super) async fn put_back(&self, host: &dyn Host, file: &KeptFile) -> Result<(), StoreError> {
        let there = host.read(&file.path).await.map(|bytes| sha256(&bytes)).ok();
        let kept = self.kept_file(&file.before);
        if there.as_deref() == Some(&file.before) || !host.exists(&kept).await {
            return Ok(());
        }
        // into the file that is there: its owner and mode stay
        let (from, to) = (kept.to_string_lossy(), file.path.to_string_lossy());
        host.run(&command(host, &file.path, "cp", [&*from, &*to])).await?;
        Ok(())
    }

    /// A file with the anchor's PEM.
    pub(super) async fn anchor_file(&self, host: &dyn Host, anchor: &Anchor) -> std::io::Result<PathBuf> {
        let path = self.folder.join(format!("{}.pem", anchor.id()));
        let there = host.read(&path).await;
        if !there.is_ok_and(|content| content == anchor.pem.as_bytes()) {
            host.write(&path, anchor.pem.as_bytes(), 0o644).await?;
        }
        Ok(path)
    }

    /// Removes the files that no entry needs, and the folder with the last of them.
    pub(super) async fn tidy(&self, host: &dyn Host) -> std::io::Result<()> {
        if self.content.entries.is_empty() {
            return host.remove_folder(&self.folder).await;
        }
        let entries = &self.content.entries;
        let kept = entries.iter().flat_map(|entry| &entry.kept).map(|file| format!("kept-{}", file.before));
        let anchors = entries.iter().map(|entry| format!("{}.pem", entry.anchor.id()));
        let needed: BTreeSet<String> = kept.chain(anchors).chain(["receipt.json".to_owned()]).collect();
        for name in host.list(&self.folder).await? {
            if !needed.contains(&name) {
                host.remove(&self.folder.join(name)).await?;
            }
        }
        Ok(())
    }

    fn kept_file(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("kept-{sha256}"))
    }
}

fn sha256(bytes: &[u8]) -> String {
    words::hex(Sha256::digest(bytes))
}
