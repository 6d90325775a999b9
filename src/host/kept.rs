//! What receipts are made of: those of names, of trust stores and of all other changes to the machine. A file of the
//! system's as it was and as we leave it, by checksums, and putting it back without losing what somebody else has
//! written since.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Command, Host, RunError};
use crate::model::AnyError;
use crate::words;

/// A file that is changed, as a receipt has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub path: PathBuf,
    /// SHA-256 of what was there; none: nothing was.
    pub before: Option<String>,
    /// SHA-256 of what we leave there; none: we were killed before that was known.
    pub after: Option<String>,
}

/// What is kept of a file next to a receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
}

/// What a file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileNow {
    AsItWas,
    /// As we left it, or the beginning of it: a write that was ended in the middle.
    Ours,
    /// It is not there, and was.
    Gone,
    /// Somebody else has written this.
    Changed(Vec<u8>),
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The source names the file too where it is the host's.
    #[error("reading or changing {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Run(#[from] RunError),
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("{} is not a valid receipt: {source}", path.display())]
    Damaged { path: PathBuf, source: AnyError },
    #[error("{} was written by a newer macula", path.display())]
    Newer { path: PathBuf },
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileError {
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl KeptFile {
    pub fn new(path: impl Into<PathBuf>, before: Option<&[u8]>, after: Option<&[u8]>) -> Self {
        Self { path: path.into(), before: before.map(checksum), after: after.map(checksum) }
    }

    /// What `there`, the content that the file has now, is to us.
    pub fn judge(&self, there: Option<&[u8]>, copies: &Copies) -> FileNow {
        let Some(there) = there else {
            return if self.before.is_none() { FileNow::AsItWas } else { FileNow::Gone };
        };
        let sum = Some(checksum(there));
        let torn = |copy: &Option<Vec<u8>>| copy.as_ref().is_some_and(|copy| copy.starts_with(there));
        if self.before == sum {
            FileNow::AsItWas
        } else if self.after == sum || torn(&copies.after) || torn(&copies.before) {
            FileNow::Ours
        } else {
            FileNow::Changed(there.to_owned())
        }
    }

    pub async fn now(&self, host: &dyn Host, copies: &Copies) -> Result<FileNow, FileError> {
        Ok(self.judge(read(host, &self.path).await?.as_deref(), copies))
    }

    /// What is to be put back: `Some(None)` where nothing was there. None: the copy is lost or damaged, and the file
    /// must not be touched for it.
    pub fn former<'c>(&self, copies: &'c Copies) -> Option<Option<&'c [u8]>> {
        match (&self.before, &copies.before) {
            (None, _) => Some(None),
            (Some(sum), Some(copy)) if checksum(copy) == *sum => Some(Some(copy)),
            (Some(_), _) => None,
        }
    }
}

/// A receipt; none: there is none. `key` is where it says which format it has, `known` the newest one that is known here.
pub async fn load<T: DeserializeOwned>(
    host: &dyn Host,
    path: &Path,
    key: &str,
    known: u64,
) -> Result<Option<T>, ReceiptError> {
    let bytes = match host.read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged = |source: AnyError| ReceiptError::Damaged { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.into()))?;
    match value.get(key).and_then(serde_json::Value::as_u64) {
        None => Err(damaged(AnyError::said("it names no format"))),
        Some(found) if found > known => Err(ReceiptError::Newer { path: path.to_owned() }),
        Some(_) => serde_json::from_value(value).map(Some).map_err(|error| damaged(error.into())),
    }
}

/// Whole or not at all.
pub async fn save(host: &dyn Host, path: &Path, receipt: &(impl Serialize + Sync)) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(receipt).map_err(io::Error::other)?;
    text.push(b'\n');
    host.write(path, &text, 0o600).await
}

pub fn checksum(bytes: &[u8]) -> String {
    words::hex(Sha256::digest(bytes))
}

/// None: there is no such file.
pub async fn read(host: &dyn Host, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match host.read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io(path)(error)),
    }
}

/// Into the file that is there, so that links, owner, mode and mounts stay as they are; none: removes it.
pub async fn put(host: &dyn Host, path: &Path, content: Option<&[u8]>, root: bool) -> Result<(), FileError> {
    let name = path.to_string_lossy().into_owned();
    let by = |command: Command| if root { command.privileged() } else { command };
    let there = host.exists(path).await;
    match content {
        None if !root => host.remove(path).await.map_err(FileError::io(path))?,
        None => drop(host.run(&by(Command::new("rm", ["-f".to_owned(), name]))).await?),
        Some(content) if !root && !there => host.write(path, content, 0o644).await.map_err(FileError::io(path))?,
        Some(content) => {
            host.run(&by(Command::new("tee", [name.clone()]).stdin(content))).await?;
            if !there {
                host.run(&by(Command::new("chmod", ["644".to_owned(), name]))).await?;
            }
        }
    }
    Ok(())
}

/// Where a copy with this checksum lies.
pub fn copy(folder: &Path, sum: &str) -> PathBuf {
    folder.join(format!("kept-{sum}"))
}

/// Keeps a copy; its checksum.
pub async fn keep(host: &dyn Host, folder: &Path, content: &[u8]) -> io::Result<String> {
    let sum = checksum(content);
    host.write(&copy(folder, &sum), content, 0o600).await?;
    Ok(sum)
}

/// The copies of a file, as far as they are there.
pub async fn copies(host: &dyn Host, folder: &Path, file: &KeptFile) -> Result<Copies, FileError> {
    Ok(Copies {
        before: kept_copy(host, folder, file.before.as_deref()).await?,
        after: kept_copy(host, folder, file.after.as_deref()).await?,
    })
}

async fn kept_copy(host: &dyn Host, folder: &Path, sum: Option<&str>) -> Result<Option<Vec<u8>>, FileError> {
    match sum {
        Some(sum) => read(host, &copy(folder, sum)).await,
        None => Ok(None),
    }
}

/// Removes from a receipt's folder what neither `files` nor `names` need.
pub async fn tidy<'f>(
    host: &dyn Host,
    folder: &Path,
    files: impl IntoIterator<Item = &'f KeptFile>,
    names: impl IntoIterator<Item = String>,
) -> io::Result<()> {
    let sums = files.into_iter().flat_map(|file| file.before.iter().chain(&file.after));
    let needed: BTreeSet<String> = sums.map(|sum| format!("kept-{sum}")).chain(names).collect();
    for name in host.list(folder).await? {
        if !needed.contains(&name) {
            host.remove(&folder.join(name)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Output;
    use crate::host::fake::FakeHost;

    #[test]
    fn a_file_is_put_back_only_where_nobody_else_has_written() {
        let file = KeptFile::new("/etc/x", Some(b"before"), Some(b"after"));
        let copies = Copies { before: Some(b"before".to_vec()), after: Some(b"after".to_vec()) };
        let judged = |there: Option<&str>| file.judge(there.map(str::as_bytes), &copies);
        assert_eq!(judged(Some("before")), FileNow::AsItWas);
        assert_eq!(judged(Some("after")), FileNow::Ours);
        assert_eq!(judged(Some("aft")), FileNow::Ours);
        assert_eq!(judged(Some("")), FileNow::Ours);
        assert_eq!(judged(Some("theirs")), FileNow::Changed(b"theirs".to_vec()));
        assert_eq!(judged(None), FileNow::Gone);
        assert_eq!(file.former(&copies), Some(Some(b"before".as_slice())));

        let new = KeptFile::new("/etc/x", None, Some(b"after"));
        assert_eq!(new.judge(None, &Copies::default()), FileNow::AsItWas);
        assert_eq!(new.former(&Copies::default()), Some(None));
        // killed before it was known what was left there
        let begun = KeptFile { after: None, ..file.clone() };
        assert_eq!(begun.judge(Some(b"half"), &copies), FileNow::Changed(b"half".to_vec()));
        // a copy that is lost or damaged is no reason to write anything
        assert_eq!(file.former(&Copies::default()), None);
        assert_eq!(file.former(&Copies { before: Some(b"befor".to_vec()), after: None }), None);
    }

    #[tokio::test]
    async fn what_is_there_is_written_into() {
        let host = FakeHost::new().on("*", |host, command| {
            if let Some(content) = &command.stdin {
                host.put(&command.args[0], content);
            }
            Ok(Output { status: Some(0), ..Output::default() })
        });
        put(&host, Path::new("/etc/x"), Some(b"1"), true).await.unwrap();
        put(&host, Path::new("/etc/x"), Some(b"2"), true).await.unwrap();
        put(&host, Path::new("/home/dev/y"), Some(b"1"), false).await.unwrap();
        put(&host, Path::new("/home/dev/y"), Some(b"2"), false).await.unwrap();
        assert_eq!((host.text("/etc/x").as_deref(), host.text("/home/dev/y").as_deref()), (Some("2"), Some("2")));
        put(&host, Path::new("/home/dev/y"), None, false).await.unwrap();
        assert_eq!(host.text("/home/dev/y"), None);
        put(&host, Path::new("/etc/x"), None, true).await.unwrap();
        assert_eq!(
            host.journal(),
            ["sudo tee /etc/x", "sudo chmod 644 /etc/x", "sudo tee /etc/x", "tee /home/dev/y", "sudo rm -f /etc/x"]
        );
    }
}
