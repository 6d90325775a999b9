//! The store: blocks of compressed rows in files that are only ever added to, and a journal of what is in no block
//! yet. Decided in docs/decisions/telemetry-store.md.
//!
//! | file | holds |
//! |---|---|
//! | `000000000001.seg` ... | blocks, the oldest in the lowest number; removed whole |
//! | `journal` | what was accepted since the last block |
//! | `lock` | held by the one process that writes |

pub mod frame;
mod journal;
mod recent;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::batch::{Batch, Merged};
use frame::{Block, Found, Segment};
use journal::{Journal, Replay, open_own};
use recent::Recent;

use crate::model::AnyError;

#[cfg(test)]
pub(super) mod tests;

/// How a file of blocks begins: what it is, and the version of what stands behind it.
const HEADER: [u8; 8] = *b"MACTEL\x00\x01";
/// Bytes of the journal that become blocks at once, and how long less than that waits.
const SEAL: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(60);
/// So many files share the whole size, so that the oldest can go without the rest.
const FILES: u64 = 16;
/// Of the disk, as a part of it, stays free.
const FREE: u64 = 10;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {source}", path.display())]
    Broken { path: PathBuf, source: AnyError },
    #[error("{} is of a newer version", path.display())]
    Newer { path: PathBuf },
    #[error("another process writes {}", path.display())]
    Held { path: PathBuf },
    #[error("less than a tenth of the disk is free")]
    Full,
    #[error("what was sent before cannot be written")]
    Stuck { source: Arc<StoreError> },
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub size: u64,
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 512 << 20, age: Duration::from_secs(3 * 24 * 3600) }
    }
}

/// Free and all bytes of the disk that a folder lies on.
type Disk = fn(&Path) -> io::Result<(u64, u64)>;

/// Keeps what is accepted. Shared by all who write and read.
#[derive(Debug)]
pub struct Store {
    inner: Mutex<Inner>,
    /// Let go when the store is dropped.
    _lock: File,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: Limits,
    disk: Disk,
    journal: Journal,
    generation: u64,
    /// In the journal.
    tail: Vec<Arc<Batch>>,
    tail_bytes: usize,
    tail_since: Option<Instant>,
    recent: Recent,
    /// The oldest first; blocks are added to the last.
    files: VecDeque<Opened>,
    /// The number of the next file.
    next: u64,
    full: bool,
    /// Why what waits could not be packed. It stays in the journal, and nothing more is taken until it can.
    stuck: Option<Arc<StoreError>>,
}

/// A file of blocks.
#[derive(Debug)]
struct Opened {
    segment: Arc<Segment>,
    number: u64,
    bytes: u64,
    blocks: Vec<Arc<Block>>,
    /// When it was begun, and when the latest block was added; seconds since the epoch.
    begun: u64,
    saved: u64,
}

/// What is kept at one moment.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// In no block yet; the oldest first.
    pub tail: Vec<Arc<Batch>>,
    /// The oldest first.
    pub blocks: Vec<Arc<Block>>,
    /// Nothing is taken, since the disk is full.
    pub full: bool,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

impl Store {
    /// Opens the store in a folder, or makes one. What is damaged or of a newer version is set aside, one of it, and
    /// a new store is begun; the error says which and why.
    ///
    /// # Errors
    /// A folder that cannot be written, or that another process writes.
    pub fn open(folder: &Path, limits: Limits) -> Result<(Self, Option<StoreError>), StoreError> {
        Self::open_on(folder, limits, disk)
    }

    fn open_on(folder: &Path, limits: Limits, disk: Disk) -> Result<(Self, Option<StoreError>), StoreError> {
        match Self::load(folder, limits, disk) {
            Ok(store) => Ok((store, None)),
            Err(problem @ (StoreError::Broken { .. } | StoreError::Newer { .. })) => {
                let aside = aside(folder);
                match std::fs::remove_dir_all(&aside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&aside)(error)),
                    _ => {}
                }
                std::fs::rename(folder, &aside).map_err(io_error(folder))?;
                Ok((Self::load(folder, limits, disk)?, Some(problem)))
            }
            Err(error) => Err(error),
        }
    }

    fn load(folder: &Path, limits: Limits, disk: Disk) -> Result<Self, StoreError> {
        // what programs say of themselves is nobody else's business
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error(folder))?;
        let lock_path = folder.join("lock");
        let lock = open_own(OpenOptions::new().write(true).create(true).truncate(false), &lock_path);
        let lock = lock.map_err(io_error(&lock_path))?;
        if lock.try_lock().is_err() {
            return Err(StoreError::Held { path: folder.to_owned() });
        }
        let journal_path = folder.join("journal");
        let (journal, replay) = Journal::open(&journal_path).map_err(io_error(&journal_path))?;
        let mut files = VecDeque::new();
        for (number, path) in segments(folder)? {
            files.push_back(Opened::load(number, &path, true)?);
        }
        let mut generation = files.iter().filter_map(Opened::generation).max().unwrap_or_default();
        // one that was being written when the process was killed is made again from the journal
        if let Some(last) = files.back_mut()
            && last.blocks.last().is_some_and(|block| !block.head.last)
        {
            last.forget(generation)?;
            generation = generation.saturating_sub(1);
        }
        let mut inner = Inner {
            folder: folder.to_owned(),
            limits,
            disk,
            journal,
            generation: generation + 1,
            tail: Vec::new(),
            tail_bytes: 0,
            tail_since: None,
            recent: Recent::default(),
            next: files.back().map_or(1, |file| file.number + 1),
            files,
            full: false,
            stuck: None,
        };
        if replay.generation.is_some_and(|found| found > generation) {
            inner.take_up(replay);
        }
        inner.trim(now());
        if !inner.tail.is_empty() && !inner.full {
            inner.seal()?;
        } else if inner.tail.is_empty() {
            let generation = inner.generation;
            inner.journal.restart(generation).map_err(io_error(&journal_path))?;
        }
        Ok(Self { inner: Mutex::new(inner), _lock: lock })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch: it is in the journal when this returns. Spans that have come before are there already.
    ///
    /// # Errors
    /// A disk that is full, or that cannot be written. Then nothing of the batch is kept.
    pub fn keep(&self, mut batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut record = batch.encode_to_vec();
        let mut inner = self.inner();
        if let Some(refusal) = inner.refusal() {
            return Err(refusal);
        }
        if inner.recent.take_known(&mut batch) {
            if batch.is_empty() {
                return Ok(());
            }
            record = batch.encode_to_vec();
        }
        let path = inner.folder.join("journal");
        inner.journal.append(&record).map_err(io_error(&path))?;
        inner.recent.add(&batch);
        inner.tail.push(Arc::new(batch));
        inner.tail_bytes += record.len();
        inner.tail_since.get_or_insert_with(Instant::now);
        if inner.tail_bytes >= SEAL {
            inner.pack();
        }
        Ok(())
    }

    /// Nothing waits to be packed, and nothing is refused.
    pub fn is_at_rest(&self) -> bool {
        let inner = self.inner();
        inner.tail.is_empty() && inner.refusal().is_none()
    }

    /// To be called once a second, and less often at rest: packs what has waited, and removes what is too old or too much.
    pub fn tick(&self) {
        let mut inner = self.inner();
        let refused = inner.refusal().is_some();
        inner.trim(now());
        let waited = inner.tail_since.is_some_and(|since| since.elapsed() >= WAIT);
        if (waited || refused) && !inner.full {
            inner.pack();
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        let blocks = inner.files.iter().flat_map(|file| file.blocks.iter().cloned()).collect();
        Snapshot { tail: inner.tail.clone(), blocks, full: inner.full }
    }

    /// Why nothing is taken now.
    pub fn refusal(&self) -> Option<StoreError> {
        self.inner().refusal()
    }

    /// Bytes on the disk, with what waits in the journal to be packed.
    pub fn size(&self) -> u64 {
        let inner = self.inner();
        let waiting = u64::try_from(inner.tail_bytes).unwrap_or(u64::MAX);
        inner.files.iter().map(|file| file.bytes).fold(waiting, u64::saturating_add)
    }
}

impl Snapshot {
    /// What a store holds that another process may be writing.
    ///
    /// # Errors
    /// A folder that cannot be read, or is of a newer version.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("journal");
        let replay = journal::look(&path).map_err(io_error(&path))?;
        let mut blocks = Vec::new();
        for (number, path) in segments(folder)? {
            let opened = match Opened::load(number, &path, false) {
                // removed meanwhile, as the oldest
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            blocks.extend(opened.blocks);
        }
        // made from the journal that was read before
        if let Some(generation) = replay.generation {
            blocks.retain(|block| block.head.generation < generation);
        }
        Ok(Self { tail: replay.batches.into_iter().map(Arc::new).collect(), blocks, full: false })
    }
}

/// Where a store goes that cannot be read.
pub fn aside(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".aside");
    folder.with_file_name(name)
}

/// The files of a folder, the oldest first. None, if there is no folder.
fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error(folder))?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".seg")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

impl Opened {
    /// Reads the heads of a file's blocks. `mend`: a block that was cut off is removed.
    fn load(number: u64, path: &Path, mend: bool) -> Result<Self, StoreError> {
        let fail = || io_error(path);
        let file = open_own(OpenOptions::new().read(true).write(mend), path).map_err(fail())?;
        let length = file.metadata().map_err(fail())?.len();
        let segment = Arc::new(Segment { path: path.to_owned(), file });
        let mut opened = Self { segment, number, bytes: length, blocks: Vec::new(), begun: now(), saved: 0 };
        let mut header = [0; HEADER.len()];
        if length < HEADER.len() as u64 {
            if mend {
                opened.segment.file.set_len(0).map_err(fail())?;
                opened.segment.file.write_all_at(&HEADER, 0).map_err(fail())?;
            }
            opened.bytes = HEADER.len() as u64;
            return Ok(opened);
        }
        opened.segment.file.read_exact_at(&mut header, 0).map_err(fail())?;
        if header != HEADER {
            let [ours @ .., _, _] = HEADER;
            return Err(match header.starts_with(&ours) {
                true => StoreError::Newer { path: path.to_owned() },
                false => StoreError::Broken {
                    path: path.to_owned(),
                    source: AnyError::said("it does not begin as one of ours"),
                },
            });
        }
        let mut at = HEADER.len() as u64;
        loop {
            match frame::read(&opened.segment, at, length)? {
                Found::End => break,
                Found::Torn => {
                    if mend {
                        opened.segment.file.set_len(at).map_err(fail())?;
                    }
                    break;
                }
                Found::Block(block) => {
                    at = block.offset + block.head.length();
                    opened.blocks.push(Arc::new(block));
                }
            }
        }
        opened.bytes = at;
        opened.begun = opened.blocks.first().map_or(opened.begun, |block| block.head.saved);
        opened.saved = opened.blocks.last().map_or(0, |block| block.head.saved);
        Ok(opened)
    }

    fn create(folder: &Path, number: u64) -> Result<Self, StoreError> {
        let path = folder.join(format!("{number:012}.seg"));
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let mut file = open.map_err(io_error(&path))?;
        if let Err(error) = file.write_all(&HEADER) {
            // one that cannot be removed either is empty
            let _ = std::fs::remove_file(&path);
            return Err(io_error(&path)(error));
        }
        let (begun, bytes) = (now(), HEADER.len() as u64);
        Ok(Self { segment: Arc::new(Segment { path, file }), number, bytes, blocks: Vec::new(), begun, saved: begun })
    }

    /// Of the latest block.
    fn generation(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.head.generation)
    }

    /// Removes the blocks of a generation, which are the last.
    fn forget(&mut self, generation: u64) -> Result<(), StoreError> {
        let keep = self.blocks.iter().take_while(|block| block.head.generation != generation).count();
        self.blocks.truncate(keep);
        self.bytes = self.blocks.last().map_or(HEADER.len() as u64, |block| block.offset + block.head.length());
        self.segment.file.set_len(self.bytes).map_err(io_error(&self.segment.path))
    }
}

impl Inner {
    /// What a process that was killed had in its journal.
    fn take_up(&mut self, replay: Replay) {
        self.generation = replay.generation.unwrap_or(self.generation);
        self.tail_bytes = replay.bytes;
        self.tail_since = (!replay.batches.is_empty()).then(Instant::now);
        self.tail = replay.batches.into_iter().map(Arc::new).collect();
        // whoever was not answered will try again
        self.tail.iter().for_each(|batch| self.recent.add(batch));
    }

    fn refusal(&self) -> Option<StoreError> {
        if self.full {
            return Some(StoreError::Full);
        }
        self.stuck.clone().map(|source| StoreError::Stuck { source })
    }

    /// The journal becomes blocks now, or with one of the next attempts.
    fn pack(&mut self) {
        self.stuck = self.seal().err().map(Arc::new);
    }

    /// The journal becomes blocks.
    fn seal(&mut self) -> Result<(), StoreError> {
        if self.tail.is_empty() {
            return Ok(());
        }
        let mut merged = Merged::default();
        self.tail.iter().for_each(|batch| merged.add(batch));
        let sealed = frame::seal(merged.batch, self.generation, now()).map_err(io_error(&self.folder))?;
        let length = u64::try_from(sealed.bytes.len()).unwrap_or(u64::MAX);
        let old = |file: &Opened| {
            let each = self.limits.age.as_secs() / FILES;
            file.bytes.saturating_add(length) > self.limits.size / FILES || now().saturating_sub(file.begun) > each
        };
        if self.files.back().is_none_or(|file| !file.blocks.is_empty() && old(file)) {
            // where it cannot be made, another one is
            let number = self.next;
            self.next += 1;
            self.files.push_back(Opened::create(&self.folder, number)?);
        }
        let Some(file) = self.files.back_mut() else { return Ok(()) };
        let path = &file.segment.path;
        let written = file.segment.file.write_all_at(&sealed.bytes, file.bytes);
        // before the journal forgets it
        if let Err(error) = written.and_then(|()| file.segment.file.sync_data()) {
            let error = io_error(path)(error);
            // what stays of it is known as cut off
            let _ = file.segment.file.set_len(file.bytes);
            return Err(error);
        }
        for (offset, head) in sealed.blocks {
            let block = Block { segment: Arc::clone(&file.segment), offset: file.bytes + offset, head };
            file.blocks.push(Arc::new(block));
        }
        file.bytes += length;
        file.saved = now();
        self.tail.clear();
        self.tail_bytes = 0;
        self.tail_since = None;
        self.generation += 1;
        let path = self.folder.join("journal");
        self.journal.restart(self.generation).map_err(io_error(&path))
    }

    /// Removes the oldest files while there is too much, they are too old, or the disk is nearly full.
    fn trim(&mut self, now: u64) {
        let age = self.limits.age.as_secs();
        while let Some(oldest) = self.files.front() {
            let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
            let old = !oldest.blocks.is_empty() && now.saturating_sub(oldest.saved) > age;
            let last = self.files.len() == 1;
            let wanted = old || (!last && (bytes > self.limits.size || self.is_short()));
            if !wanted {
                break;
            }
            // one that cannot be removed now is tried again with the next start
            let _ = std::fs::remove_file(&oldest.segment.path);
            self.files.pop_front();
        }
        self.full = self.is_short();
    }

    fn is_short(&self) -> bool {
        // a disk that says nothing of itself is taken for one with room
        (self.disk)(&self.folder).is_ok_and(|(free, all)| free < all / FREE)
    }
}
