//! The user's kubeconfig: one context put in and taken out again, everything else left as it is,
//! comments and order included. The rules are kubectl's: the first file of `$KUBECONFIG`, else
//! `~/.kube/config`; locked by a file beside it; private; written then renamed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::Host;
use crate::model::AnyError;

mod edit;

pub use edit::{Entry, merged, removed, taken};

/// Why a kubeconfig was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// A file that cannot be read is never written over.
    #[error("{} is not a valid kubeconfig: {source}", path.display())]
    Malformed { path: PathBuf, source: AnyError },
    #[error("{} is locked: another program changes the kubeconfig, or died while it did", path.display())]
    Locked { path: PathBuf },
    /// An entry of somebody else's has the name of ours. `kind`: cluster, context or user.
    #[error("{} already has a {kind} called {name} that macula did not write", path.display())]
    Taken { path: PathBuf, kind: &'static str, name: String },
    /// The text names the file.
    #[error("{0}")]
    Io(#[source] AnyError),
    /// What the provider said of its cluster makes no sense.
    #[error("the provider's kubeconfig cannot be used: {source}")]
    Provider { source: AnyError },
}

/// How often and how long another program's lock is waited for: others hold it for milliseconds.
const TRIES: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(50);

/// Where the user's kubeconfig is: `kubectl config view` has the same rule for writing.
pub fn path(host: &dyn Host) -> PathBuf {
    paths(host).swap_remove(0)
}

/// All that are read, at least one: the first to say something counts.
pub fn paths(host: &dyn Host) -> Vec<PathBuf> {
    let listed = host.env("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> = listed.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    match listed.is_empty() {
        true => vec![host.folders().home.join(".kube").join("config")],
        false => listed,
    }
}

/// Puts the context in, in place of one of the same name. `written`: it is known that we wrote that one; else it has to
/// look like ours.
///
/// # Errors
/// [`KubeconfigError::Taken`] where it does not, and what keeps the file from being changed.
pub async fn put(host: &dyn Host, path: &Path, entry: &Entry, written: bool) -> Result<(), KubeconfigError> {
    let edit = |path: &Path, text: &str| {
        let malformed = |source| KubeconfigError::Malformed { path: path.to_owned(), source };
        let kind = if written { None } else { taken(text, &entry.context).map_err(malformed)? };
        match kind {
            Some(kind) => Err(KubeconfigError::Taken { path: path.to_owned(), kind, name: entry.context.clone() }),
            None => merged(text, entry).map(Some).map_err(malformed),
        }
    };
    change(host, path, edit).await
}

/// Takes the context out. No error when it, or the file, is not there.
pub async fn take_out(host: &dyn Host, path: &Path, context: &str) -> Result<(), KubeconfigError> {
    if !host.exists(path).await {
        return Ok(());
    }
    let edit = |path: &Path, text: &str| {
        removed(text, context).map_err(|source| KubeconfigError::Malformed { path: path.to_owned(), source })
    };
    change(host, path, edit).await
}

async fn change(
    host: &dyn Host,
    path: &Path,
    edit: impl Fn(&Path, &str) -> Result<Option<String>, KubeconfigError>,
) -> Result<(), KubeconfigError> {
    let io = |error: std::io::Error| KubeconfigError::Io(error.into());
    // a link into a folder of settings under version control stays one
    let path = host.resolved(path).await;
    if let Some(folder) = path.parent() {
        host.create_folder(folder, 0o700).await.map_err(io)?;
    }
    let mut lock = path.clone().into_os_string();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let mut tries = 0;
    while !host.create_new(&lock).await.map_err(io)? {
        tries += 1;
        if tries >= TRIES {
            return Err(KubeconfigError::Locked { path: lock });
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let done = async {
        let text = match host.read(&path).await {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|error| KubeconfigError::Malformed { path: path.clone(), source: error.into() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error)),
        };
        match edit(&path, &text)? {
            Some(new) if new != text => host.write(&path, new.as_bytes(), 0o600).await.map_err(io),
            _ => Ok(()),
        }
    };
    let done = done.await;
    // nobody else has it while we do
    let unlocked = host.remove(&lock).await.map_err(io);
    done.and(unlocked)
}

#[cfg(test)]
mod tests;
