//! The index: which buckets, objects and uploads there are. One thread writes; what waits for it
//! shares a commit, and is told once the commit is on the disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::blobs::{Blobs, Draft};
use super::record::{Bucket, Object, Part, Piece, Upload};
use crate::s3::error::{Code, Error, Result};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const BUCKETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("buckets");
/// By bucket and key, in the order of their bytes, which is S3's.
const OBJECTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("objects");
/// By bucket and upload.
const UPLOADS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("uploads");
/// By upload and number.
const PARTS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("parts");

/// Raised with every change that an older program could not read.
const FORMAT: u64 = 1;
/// Of pages that are kept in memory; the kernel keeps the rest.
const CACHE: usize = 16 << 20;
/// Changes that share a commit.
const BATCH: usize = 256;
/// Before it is tried again whether a file can be written.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Index {
    file: Arc<File>,
    blobs: Arc<Blobs>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Index {
    /// The last changes are written, and the file is closed, before this returns.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // it has nothing to say but that it panicked, which was told then
            let _ = writer.join();
        }
    }
}

/// The file of the index. After a read or a write of it has failed, redb takes nothing more before
/// it is closed and opened again.
struct File {
    open: Opener,
    database: RwLock<Option<Database>>,
    /// Why no changes are taken.
    trouble: Mutex<Option<Error>>,
}

pub type Opener = Box<dyn Fn() -> std::result::Result<Database, DatabaseError> + Send + Sync>;

impl File {
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(self.trouble().unwrap_or_else(|| Code::InternalError.into())),
        }
    }

    /// Waits for those who read, and returns the number of the last commit that is in the file.
    fn reopen(&self) -> Result<u64> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // first, since a file that is open is locked
        *database = None;
        last_commit(database.insert((self.open)().map_err(failed)?))
    }

    fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what it was before.
    fn set_trouble(&self, trouble: Option<Error>) -> Option<Error> {
        std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }
}

/// Does its work, unless there is a reason not to, and says how to answer once it is known what
/// became of the commit; with an error where the database itself has failed, and with it everything
/// of this commit.
type Job = Box<dyn FnOnce(Result<&mut Tables<'_>>) -> (Answer, Result<()>) + Send>;
type Answer = Box<dyn FnOnce(End<'_>) + Send>;

#[derive(Clone, Copy)]
enum End<'e> {
    Committed,
    Failed(&'e Error),
    /// It failed, and nobody knows whether the commit is in the file all the same.
    Unknown(&'e Error),
}

impl Index {
    /// # Errors
    /// A file that is not an index, or one that a newer program has written.
    pub fn open(path: &Path, blobs: Arc<Blobs>) -> Result<Self> {
        let path = path.to_owned();
        Self::with(Box::new(move || Database::builder().set_cache_size(CACHE).create(&path)), blobs)
    }

    /// # Errors
    /// As [`Index::open`].
    pub fn with(open: Opener, blobs: Arc<Blobs>) -> Result<Self> {
        let database = open().map_err(failed)?;
        prepare(&database)?;
        let commit = last_commit(&database)?;
        let file = Arc::new(File { open, database: RwLock::new(Some(database)), trouble: Mutex::default() });
        let (jobs, queue) = mpsc::channel();
        let writer = Writer { file: file.clone(), queue, commit };
        let writer = std::thread::Builder::new().name("s3-index".into()).spawn(move || writer.run())?;
        Ok(Self { file, blobs, jobs: Some(jobs), writer: Some(writer) })
    }

    /// Why no changes are taken, where that is so.
    pub fn trouble(&self) -> Option<Error> {
        let ended = self.writer.as_ref().is_none_or(JoinHandle::is_finished);
        if ended { Some(stopped()) } else { self.file.trouble() }
    }

    /// Looks at the index as it is now, whatever is written meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        self.file.with(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let view = View {
                buckets: transaction.open_table(BUCKETS).map_err(failed)?,
                objects: transaction.open_table(OBJECTS).map_err(failed)?,
                uploads: transaction.open_table(UPLOADS).map_err(failed)?,
                parts: transaction.open_table(PARTS).map_err(failed)?,
            };
            look(&view)
        })
    }

    /// Changes the index. `drafts` are kept if `change` succeeds and is committed, else they go;
    /// the pieces that it returns go with the commit. It goes on when nobody waits any longer: a
    /// client that has hung up leaves no half of anything.
    ///
    /// # Errors
    /// Those of `change`, after which nothing has changed, and of the database.
    pub async fn write<T: Send + 'static>(
        &self,
        mut drafts: Vec<Draft>,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(T, Vec<Piece>)> + Send + 'static,
    ) -> Result<T> {
        let (done, waiter) = oneshot::channel::<Result<T>>();
        let blobs = self.blobs.clone();
        let job: Job = Box::new(move |tables| {
            let outcome = tables.and_then(change);
            let broken = match &outcome {
                Err(error) if matches!(error.code, Code::InternalError | Code::StorageFull) => Err(error.clone()),
                _ => Ok(()),
            };
            let answer: Answer = Box::new(move |end| {
                let outcome = match end {
                    End::Committed => outcome,
                    End::Failed(error) => Err(error.clone()),
                    End::Unknown(error) => {
                        // the index may name them, or those that were to go; what it does not name, the next
                        // start removes
                        drafts.drain(..).for_each(Draft::keep);
                        Err(error.clone())
                    }
                };
                // what goes is gone before anybody hears of it
                let result = match outcome {
                    Ok((value, gone)) => {
                        drafts.into_iter().for_each(Draft::keep);
                        blobs.discard(&gone);
                        Ok(value)
                    }
                    Err(error) => {
                        drop(drafts);
                        Err(error)
                    }
                };
                // nobody may be waiting any longer
                let _ = done.send(result);
            });
            (answer, broken)
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(stopped)?;
        waiter.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Error {
    Error::new(Code::InternalError, "the index takes no more changes")
}

/// The thread that writes.
struct Writer {
    file: Arc<File>,
    queue: mpsc::Receiver<Job>,
    /// The number of the last commit that was tried. It is part of the commit: of one that failed
    /// it says whether it is in the file all the same.
    commit: u64,
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut jobs = vec![first];
            jobs.extend(std::iter::from_fn(|| self.queue.try_recv().ok()).take(BATCH - 1));
            if !self.change(jobs) {
                self.recover();
            }
        }
    }

    /// False if the commit failed. Then the file has been opened again, or could not be.
    fn change(&mut self, jobs: Vec<Job>) -> bool {
        self.commit += 1;
        let mut jobs = jobs.into_iter();
        let mut answers = Vec::with_capacity(jobs.len());
        let result = self.file.with(|database| commit(database, self.commit, &mut jobs, &mut answers));
        let end = match &result {
            Ok(()) => End::Committed,
            Err(error) => {
                tracing::error!(source = error.cause(), "a change of the index failed: {error}");
                // those that were not tried any more
                answers.extend(jobs.map(|job| job(Err(error.clone())).0));
                match self.file.reopen() {
                    Ok(last) if last != self.commit => End::Failed(error),
                    // what was written but not synced is seen here, and may be gone after a power cut
                    _ => End::Unknown(error),
                }
            }
        };
        answers.into_iter().for_each(|answer| answer(end));
        result.is_ok()
    }

    /// Tries whether the file can be written, until it can; what is asked for meanwhile is refused.
    fn recover(&self) {
        loop {
            let started = Instant::now();
            let Err(error) = self.file.with(prepare) else { break };
            // so that it can be read meanwhile
            let error = self.file.reopen().err().unwrap_or(error);
            if self.file.set_trouble(Some(error.clone())).is_none() {
                tracing::error!(source = error.cause(), "the index takes no changes for now: {error}");
            }
            // a large file is looked through when it is opened, and nobody can read it then
            let until = Instant::now() + PAUSE.max(started.elapsed() * 10);
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match self.queue.recv_timeout(left) {
                    Ok(job) => {
                        let (answer, _) = job(Err(error.clone()));
                        answer(End::Failed(&error));
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => break,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        }
        if self.file.set_trouble(None).is_some() {
            tracing::info!("the index takes changes again");
        }
    }
}

/// Writes what every index has.
fn prepare(database: &Database) -> Result<()> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let format = meta.get("format").map_err(failed)?.map(|found| found.value());
        if format.is_some_and(|format| format > FORMAT) {
            return Err(Error::new(Code::InternalError, "a newer version of the program has written this store"));
        }
        meta.insert("format", FORMAT).map_err(failed)?;
        Tables::open(&transaction)?;
    }
    transaction.commit().map_err(failed)
}

fn last_commit(database: &Database) -> Result<u64> {
    let meta = database.begin_read().map_err(failed)?.open_table(META).map_err(failed)?;
    let last = meta.get("commit").map_err(failed)?;
    Ok(last.map_or(0, |last| last.value()))
}

fn commit(
    database: &Database,
    number: u64,
    jobs: &mut impl Iterator<Item = Job>,
    answers: &mut Vec<Answer>,
) -> Result<()> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut tables = Tables::open(&transaction)?;
        for job in jobs {
            let (answer, broken) = job(Ok(&mut tables));
            answers.push(answer);
            broken?;
        }
        let mut meta = transaction.open_table(META).map_err(failed)?;
        meta.insert("commit", number).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// The index at one moment.
pub struct View {
    buckets: ReadOnlyTable<&'static str, &'static [u8]>,
    objects: ReadOnlyTable<(&'static str, &'static str), &'static [u8]>,
    uploads: ReadOnlyTable<(&'static str, &'static str), &'static [u8]>,
    parts: ReadOnlyTable<(&'static str, u32), &'static [u8]>,
}

/// The index while it is changed.
pub struct Tables<'t> {
    buckets: Table<'t, &'static str, &'static [u8]>,
    objects: Table<'t, (&'static str, &'static str), &'static [u8]>,
    uploads: Table<'t, (&'static str, &'static str), &'static [u8]>,
    parts: Table<'t, (&'static str, u32), &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            buckets: transaction.open_table(BUCKETS).map_err(failed)?,
            objects: transaction.open_table(OBJECTS).map_err(failed)?,
            uploads: transaction.open_table(UPLOADS).map_err(failed)?,
            parts: transaction.open_table(PARTS).map_err(failed)?,
        })
    }

    pub fn put_bucket(&mut self, name: &str, bucket: &Bucket) -> Result<()> {
        self.buckets.insert(name, packed(bucket)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    pub fn remove_bucket(&mut self, name: &str) -> Result<()> {
        self.buckets.remove(name).map_err(failed)?;
        Ok(())
    }

    /// Returns what was there before.
    pub fn put_object(&mut self, bucket: &str, key: &str, object: &Object) -> Result<Option<Object>> {
        let packed = packed(object)?;
        let before = self.objects.insert((bucket, key), packed.as_slice()).map_err(failed)?;
        before.map(|found| unpacked(found.value())).transpose()
    }

    pub fn remove_object(&mut self, bucket: &str, key: &str) -> Result<Option<Object>> {
        let before = self.objects.remove((bucket, key)).map_err(failed)?;
        before.map(|found| unpacked(found.value())).transpose()
    }

    pub fn put_upload(&mut self, bucket: &str, id: &str, upload: &Upload) -> Result<()> {
        self.uploads.insert((bucket, id), packed(upload)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    pub fn put_part(&mut self, upload: &str, number: u32, part: &Part) -> Result<Option<Part>> {
        let packed = packed(part)?;
        let before = self.parts.insert((upload, number), packed.as_slice()).map_err(failed)?;
        before.map(|found| unpacked(found.value())).transpose()
    }

    /// With all its parts, which are returned.
    pub fn remove_upload(&mut self, bucket: &str, id: &str) -> Result<Vec<(u32, Part)>> {
        self.uploads.remove((bucket, id)).map_err(failed)?;
        let parts = self.parts(id)?;
        for (number, _) in &parts {
            self.parts.remove((id, *number)).map_err(failed)?;
        }
        Ok(parts)
    }
}

/// The questions that can be asked of either.
pub trait Look {
    type Buckets: ReadableTable<&'static str, &'static [u8]>;
    type Pairs: ReadableTable<(&'static str, &'static str), &'static [u8]>;
    type Parts: ReadableTable<(&'static str, u32), &'static [u8]>;

    fn tables(&self) -> (&Self::Buckets, &Self::Pairs, &Self::Pairs, &Self::Parts);

    /// # Errors
    /// `NoSuchBucket`.
    fn bucket(&self, name: &str) -> Result<Bucket> {
        let found = self.tables().0.get(name).map_err(failed)?;
        unpacked(found.ok_or(Code::NoSuchBucket)?.value())
    }

    fn buckets(&self) -> Result<Vec<(String, Bucket)>> {
        let rows = self.tables().0.iter().map_err(failed)?;
        let rows = rows.map(|row| {
            let (name, bucket) = row.map_err(failed)?;
            Ok((name.value().to_owned(), unpacked(bucket.value())?))
        });
        rows.collect()
    }

    fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>> {
        let found = self.tables().1.get((bucket, key)).map_err(failed)?;
        found.map(|found| unpacked(found.value())).transpose()
    }

    /// The objects of a bucket whose keys do not come before `from`, in their order, until `each`
    /// says that it has seen enough.
    fn objects(&self, bucket: &str, from: &str, mut each: impl FnMut(&str, Object) -> Result<bool>) -> Result<()> {
        for row in self.tables().1.range((bucket, from)..).map_err(failed)? {
            let (name, object) = row.map_err(failed)?;
            let (found, key) = name.value();
            if found != bucket || !each(key, unpacked(object.value())?)? {
                break;
            }
        }
        Ok(())
    }

    /// Nothing in it and nothing on its way into it.
    fn is_empty(&self, bucket: &str) -> Result<bool> {
        let mut empty = true;
        self.objects(bucket, "", |_, _| {
            empty = false;
            Ok(false)
        })?;
        Ok(empty)
    }

    fn upload(&self, bucket: &str, id: &str) -> Result<Option<Upload>> {
        let found = self.tables().2.get((bucket, id)).map_err(failed)?;
        found.map(|found| unpacked(found.value())).transpose()
    }

    /// The uploads into a bucket, by key and then by id.
    fn uploads(&self, bucket: &str) -> Result<Vec<(String, Upload)>> {
        let mut found = Vec::new();
        for row in self.tables().2.range((bucket, "")..).map_err(failed)? {
            let (name, upload) = row.map_err(failed)?;
            let (into, id) = name.value();
            if into != bucket {
                break;
            }
            found.push((id.to_owned(), unpacked::<Upload>(upload.value())?));
        }
        // those of a key stay in the order of the table
        found.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        Ok(found)
    }

    fn parts(&self, upload: &str) -> Result<Vec<(u32, Part)>> {
        let rows = self.tables().3.range((upload, 0)..=(upload, u32::MAX)).map_err(failed)?;
        let rows = rows.map(|row| {
            let (name, part) = row.map_err(failed)?;
            Ok((name.value().1, unpacked(part.value())?))
        });
        rows.collect()
    }

    /// Every piece that an object or a part is made of.
    fn pieces(&self) -> Result<Vec<Piece>> {
        let (_, objects, _, parts) = self.tables();
        let mut pieces = Vec::new();
        for row in objects.iter().map_err(failed)? {
            pieces.extend(unpacked::<Object>(row.map_err(failed)?.1.value())?.pieces);
        }
        for row in parts.iter().map_err(failed)? {
            pieces.push(unpacked::<Part>(row.map_err(failed)?.1.value())?.piece);
        }
        Ok(pieces)
    }
}

impl Look for View {
    type Buckets = ReadOnlyTable<&'static str, &'static [u8]>;
    type Pairs = ReadOnlyTable<(&'static str, &'static str), &'static [u8]>;
    type Parts = ReadOnlyTable<(&'static str, u32), &'static [u8]>;

    fn tables(&self) -> (&Self::Buckets, &Self::Pairs, &Self::Pairs, &Self::Parts) {
        (&self.buckets, &self.objects, &self.uploads, &self.parts)
    }
}

impl<'t> Look for Tables<'t> {
    type Buckets = Table<'t, &'static str, &'static [u8]>;
    type Pairs = Table<'t, (&'static str, &'static str), &'static [u8]>;
    type Parts = Table<'t, (&'static str, u32), &'static [u8]>;

    fn tables(&self) -> (&Self::Buckets, &Self::Pairs, &Self::Pairs, &Self::Parts) {
        (&self.buckets, &self.objects, &self.uploads, &self.parts)
    }
}

fn packed(record: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(Error::internal)
}

fn unpacked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(Error::internal)
}

fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        error => Error::internal(error),
    }
}
