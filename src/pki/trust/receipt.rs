//! What was done to trust stores, written down before it is done.
//!
//! | file below `<authorities>/trust` | holds |
//! |---|---|
//! | `receipt.json` | the entries |
//! | `<id>.pem` | an anchor, for the programs that want a file |
//! | `kept-<sha256>` | a file as it was before a store rewrote it |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Anchor, Place, StoreError, needs_root};
use crate::host::kept::{self, checksum};
use crate::host::{FileNow, Host, KeptFile, ReceiptError};

/// An anchor in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub place: Place,
    pub anchor: Anchor,
    /// The store itself was made for it.
    #[serde(default)]
    pub made: bool,
    /// Files that the store rewrites as a whole, as they were before.
    #[serde(default)]
    pub kept: Vec<KeptFile>,
}

impl Entry {
    fn is_of(&self, place: &Place, anchor: &Anchor) -> bool {
        (self.place.kind, &self.place.path, &self.anchor.fingerprint) == (place.kind, &place.path, &anchor.fingerprint)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u64,
    entries: Vec<Entry>,
}

const VERSION: u64 = 1;

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
        let content = kept::load(host, &folder.join("receipt.json"), "version", VERSION).await?;
        let content = content.unwrap_or(Content { version: VERSION, entries: Vec::new() });
        Ok(Self { folder: folder.to_owned(), content })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.content.entries
    }

    async fn save(&self, host: &dyn Host) -> Result<(), ReceiptError> {
        Ok(kept::save(host, &self.folder.join("receipt.json"), &self.content).await?)
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
        // the anchor into such a file last, so a store that lacks it has these files without it; one
        // that was left half written has been put back.
        let made = made || self.find(place, anchor).is_some_and(|entry| entry.made);
        let mut kept_files = Vec::new();
        for path in rewrites {
            let Ok(bytes) = host.read(path).await else { continue };
            kept::keep(host, &self.folder, &bytes).await?;
            kept_files.push(KeptFile::new(path, Some(&bytes), None));
        }
        match self.find(place, anchor) {
            Some(entry) => (entry.made, entry.kept) = (made, kept_files),
            None => {
                let entry = Entry { place: place.clone(), anchor: anchor.clone(), made, kept: kept_files };
                self.content.entries.push(entry);
            }
        }
        self.save(host).await
    }

    /// After it was added, or failed to be.
    pub(super) async fn end(&mut self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<(), ReceiptError> {
        let Some(entry) = self.find(place, anchor) else { return Ok(()) };
        for file in &mut entry.kept {
            file.after = host.read(&file.path).await.ok().map(|bytes| checksum(&bytes));
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

    /// The files of an entry that nobody else has changed since. `damaged`: nothing can read them as they are, so that
    /// they are the work of the run, if that was killed.
    pub(super) async fn untouched<'a>(&self, host: &dyn Host, entry: &'a Entry, damaged: bool) -> Vec<&'a KeptFile> {
        let mut untouched = Vec::new();
        for file in &entry.kept {
            let now = host.read(&file.path).await.ok().map(|bytes| checksum(&bytes));
            let killed = damaged && file.after.is_none();
            if now.is_some() && (now == file.after || killed) {
                untouched.push(file);
            }
        }
        untouched
    }

    /// Of a store whose files cannot be read any more: puts those back that an earlier try, or this one, has left so.
    pub(super) async fn put_all_back(
        &mut self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
    ) -> Result<(), StoreError> {
        let Some(entry) = self.find(place, anchor).cloned() else { return Ok(()) };
        for file in self.untouched(host, &entry, true).await {
            self.put_back(host, file).await?;
        }
        Ok(())
    }

    pub(super) async fn put_back(&self, host: &dyn Host, file: &KeptFile) -> Result<(), StoreError> {
        let copies = kept::copies(host, &self.folder, file).await?;
        if file.now(host, &copies).await? == FileNow::AsItWas {
            return Ok(());
        }
        if let Some(former) = file.former(&copies) {
            kept::put(host, &file.path, former, needs_root(host, &file.path)).await?;
        }
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
        let anchors = entries.iter().map(|entry| format!("{}.pem", entry.anchor.id()));
        let files = entries.iter().flat_map(|entry| &entry.kept);
        kept::tidy(host, &self.folder, files, anchors.chain(["receipt.json".to_owned()])).await
    }
}
