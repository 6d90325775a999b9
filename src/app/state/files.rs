//! The files of a platform's folder. Each names its format; a newer one is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::app::choices::Choices;
use crate::app::error::Error;
use crate::app::lease::Lease;
use crate::compile::addons::AddOn;
use crate::host::Host;
use crate::model::{AnyError, ClusterRecord};

/// Raised when an older macula could no longer make sense of the files.
pub(super) const FORMAT: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SecretsFile {
    pub format: u64,
    pub services: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlatformFile {
    pub format: u64,
    pub block: Ipv4Addr,
    /// The last `up` was to leave the names alone.
    #[serde(default)]
    pub no_dns: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChoicesFile {
    pub format: u64,
    pub choices: Choices,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClusterFile {
    pub format: u64,
    pub cluster: ClusterRecord,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServicesFile {
    pub format: u64,
    pub services: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProgramsFile {
    pub format: u64,
    pub names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseFile {
    pub format: u64,
    pub lease: Lease,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UsedFile {
    pub format: u64,
    /// Seconds since the epoch.
    pub at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FollowedFile {
    pub format: u64,
    pub addon: AddOn,
}

pub(in crate::app) async fn read<T: for<'de> Deserialize<'de>>(
    host: &dyn Host,
    path: &Path,
) -> Result<Option<T>, Error> {
    let bytes = match host.read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    };
    let bad = |source: AnyError| Error::BadState { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.into()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > FORMAT => Err(Error::NewerState { path: path.to_owned(), found, known: FORMAT }),
        Some(_) => serde_json::from_value(value).map(Some).map_err(|error| bad(error.into())),
        None => Err(bad(AnyError::said("it names no format"))),
    }
}

pub(in crate::app) async fn write(host: &dyn Host, path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::other)?;
    text.push(b'\n');
    host.write(path, &text, 0o600).await.map_err(|source| Error::Io { path: path.to_owned(), source })
}

pub(super) async fn read_services(host: &dyn Host, path: &Path) -> Result<BTreeSet<String>, Error> {
    Ok(read::<ServicesFile>(host, path).await?.map(|file| file.services).unwrap_or_default())
}

/// Writes them where they differ from what is there. What cannot be understood names none.
pub(super) async fn keep_services(host: &dyn Host, path: PathBuf, services: BTreeSet<String>) -> Result<(), Error> {
    if read_services(host, &path).await.unwrap_or_default() == services {
        return Ok(());
    }
    write_services(host, path, services).await
}

/// There is no file of none.
pub(super) async fn write_services(host: &dyn Host, path: PathBuf, services: BTreeSet<String>) -> Result<(), Error> {
    if services.is_empty() {
        return host.remove(&path).await.map_err(|source| Error::Io { path, source });
    }
    write(host, &path, &ServicesFile { format: FORMAT, services }).await
}
