//! A store on a disk that can be full.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

use super::{Blobs, FOLDER, Index, Store};

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<State>);

#[derive(Debug, Default)]
struct State {
    full: AtomicBool,
    loses_a_sync: AtomicBool,
}

impl Disk {
    pub fn fill(&self, full: bool) {
        self.0.full.store(full, Ordering::SeqCst);
    }

    /// The next time that the index is synced, it is not.
    pub fn lose_a_sync(&self) {
        self.0.loses_a_sync.store(true, Ordering::SeqCst);
    }

    /// Content always finds room: only the index lies on the disk.
    pub fn store(&self, folder: &Path) -> Store {
        let own = folder.join(FOLDER);
        std::fs::create_dir_all(&own).unwrap();
        let blobs = Blobs::open(own.join("blobs")).unwrap();
        let (disk, path) = (self.clone(), own.join("index.redb"));
        let open = move || {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            Database::builder().create_with_backend(OnDisk { file: FileBackend::new(file)?, disk: disk.clone() })
        };
        let index = Index::with(Box::new(open), blobs.clone()).unwrap();
        Store { index, blobs, wanted: None, seen: Mutex::default() }
    }
}

pub async fn until(there: impl Fn() -> bool) {
    let looking = async {
        while !there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.unwrap();
}

#[derive(Debug)]
struct OnDisk {
    file: FileBackend,
    disk: Disk,
}

/// The first page, which is there from the start and is written over in place.
const HEADER: u64 = 4096;

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.0.loses_a_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("not synced"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset >= HEADER && self.disk.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
