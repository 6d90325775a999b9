//! The stores of this machine and of its programs that say whom to trust: putting a root of ours
//! in, taking it out again, and looking whether it is there.
//!
//! | store | for | present when |
//! |---|---|---|
//! | [`Kind::Debian`] | curl, git, Python, Go, ... | Debian, Ubuntu, Alpine: `update-ca-certificates` |
//! | [`Kind::P11Kit`] | the same | Fedora, Arch, openSUSE: a folder of anchors |
//! | [`Kind::MacOs`] | everything but Firefox and Java | macOS |
//! | [`Kind::Nss`] | Firefox, Chromium and its kin | a database in the user's home |
//! | [`Kind::Java`] | Java | a Java with its `keytool` |
//!
//! What is put in bears a name made of the domain and the root's fingerprint, and only what bears
//! that name *and* is that certificate is ever taken out. What was done is written to a receipt
//! before it is done, so that a run that was killed can be undone too. Files that a store rewrites
//! as a whole (Java's) are kept aside and put back byte for byte, unless somebody else has changed
//! them since.

mod anchors;
mod debian;
mod java;
mod jks;
mod macos;
mod nss;
mod p11kit;
mod receipt;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Certificate;
use super::certificate::{encode, fingerprints};
use crate::host::{Command, FileError, Host, Lock, LockError, ReceiptError, RunError};
use crate::model::AnyError;

pub use receipt::{Entry, Receipt};

/// Another run's `keytool` and `update-ca-certificates` take seconds.
const PATIENCE: Duration = Duration::from_secs(300);
/// Far more than any of them takes, Java's hook on a busy machine too: none may hang for ever.
const PROGRAM: Duration = Duration::from_secs(300);

/// Where systems keep the roots that they trust, as one file: Debian, Fedora, openSUSE, Alpine and
/// macOS, in the order in which Go's crypto/x509 looks.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The roots that programs of this machine trust, PEM, as far as they are in one file: the one that
/// SSL_CERT_FILE names, else the system's. Empty where there is none.
pub async fn system_roots(host: &dyn Host) -> Vec<u8> {
    let variable = host.env("SSL_CERT_FILE").filter(|path| !path.is_empty());
    for path in variable.iter().map(String::as_str).chain(BUNDLES) {
        if let Ok(content) = host.read(Path::new(path)).await {
            return content;
        }
    }
    Vec::new()
}

/// `root` behind all others that this machine trusts, PEM; the same whether or not the machine
/// trusts it already.
pub async fn bundle(host: &dyn Host, root: &Certificate) -> String {
    let others = super::certificate::ders(&system_roots(host).await);
    let others = others.into_iter().filter(|der| *der != root.der);
    others.map(|der| encode("CERTIFICATE", &der)).chain([root.pem()]).collect()
}

/// A root certificate for trust stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The domain at and below which it can be used.
    pub domain: String,
    /// CN of its subject: what lists of certificates show.
    pub common_name: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// The certificate.
    pub pem: String,
}

impl Anchor {
    pub fn new(domain: &str, root: &Certificate) -> Self {
        Self {
            domain: domain.to_owned(),
            common_name: root.common_name.clone(),
            fingerprint: root.fingerprint(),
            pem: encode("CERTIFICATE", &root.der),
        }
    }

    /// What it is called in stores: `macula-macula.local-1f0c9e7b2a4d6c80`.
    pub fn id(&self) -> String {
        format!("macula-{}-{}", self.domain, self.fingerprint.get(..16).unwrap_or(&self.fingerprint))
    }

    /// Whether it is one of the certificates in this PEM text.
    fn is_in(&self, pem: &[u8]) -> bool {
        fingerprints(pem).contains(&self.fingerprint)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Debian,
    P11Kit,
    MacOs,
    Nss,
    Java,
}

/// One store on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub kind: Kind,
    /// Its folder or file, and what tells two of a kind apart.
    pub path: PathBuf,
    /// Whose it is, for people: `the system`, `Firefox`, `Java`.
    pub label: String,
}

/// Whether a store trusts an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// By what [`install()`] puts there.
    Trusted,
    /// By something else, as Debian's Java takes over what the system trusts.
    TrustedOtherwise,
    /// Begun and not ended: what is amiss.
    Partly(String),
    Missing,
    /// Nothing can be said or done: why, and what to do about it.
    Unavailable {
        reason: String,
        hint: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub place: Place,
    pub state: State,
}

/// What [`install()`] and [`uninstall()`] did with a store.
#[derive(Debug, Clone)]
pub enum Done {
    Installed,
    Removed,
    /// It was so already.
    Unchanged,
    /// As [`State::Unavailable`].
    Unavailable {
        reason: String,
        hint: String,
    },
    Failed(StoreError),
}

#[derive(Debug, Clone)]
pub struct Outcome {
    pub place: Place,
    pub done: Done,
}

/// Why one store could not be changed. The others are not held up by it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// [`RunError::Privilege`] among them.
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{0}")]
    Io(#[source] AnyError),
    #[error("`{}` is there, but it is another certificate: it was left alone", path.display())]
    Foreign { path: PathBuf },
    /// Firefox's primary password, for one: then the certificate has to be imported by hand.
    #[error("it is locked with a password of its own")]
    Locked,
    #[error("its programs ended well, yet it does not hold the certificate")]
    NoEffect,
    #[error("{program} has been running for minutes (pid {pid})")]
    Busy { program: &'static str, pid: u32 },
    #[error("{} holds {there} certificates in place of {wanted} although {program} ended well", bundle.display())]
    Incomplete { bundle: PathBuf, there: usize, wanted: usize, program: &'static str },
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.into())
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { source, .. } => Self::Io(source.into()),
            FileError::Run(error) => Self::Run(error),
        }
    }
}

/// Why nothing at all was done, or no more than the receipt says.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the trust stores are being changed: {0}")]
    Lock(#[from] LockError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A kind of store. Only an anchor's own id and fingerprint decide what is its own.
#[async_trait]
trait Store: Send + Sync {
    /// Those on this machine, in the order in which they are worked on.
    async fn places(&self, host: &dyn Host) -> Vec<Place>;
    async fn look(&self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<State, StoreError>;
    /// Files that are rewritten as a whole when something is added.
    fn rewrites(&self, _place: &Place) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Whether its own programs cannot read it any more: one that was ended in the middle has left half of a file.
    async fn is_damaged(&self, _host: &dyn Host, _place: &Place) -> bool {
        false
    }
    /// Whether the store itself has to be made first, and taken away in the end.
    async fn must_be_made(&self, _host: &dyn Host, _place: &Place) -> bool {
        false
    }
    /// `certificate`: a file with the anchor's PEM.
    async fn add(&self, host: &dyn Host, place: &Place, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError>;
    /// No error when it is not there. `made`: as [`Store::must_be_made`] said when it was added.
    async fn remove(
        &self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        certificate: &Path,
        made: bool,
    ) -> Result<(), StoreError>;
}

fn store(kind: Kind) -> &'static dyn Store {
    match kind {
        Kind::Debian => &debian::Debian,
        Kind::P11Kit => &p11kit::P11Kit,
        Kind::MacOs => &macos::MacOs,
        Kind::Nss => &nss::Nss,
        Kind::Java => &java::Java,
    }
}

/// All stores of this machine. The system's come first, since others may take over from them.
async fn places(host: &dyn Host) -> Vec<Place> {
    let mut all = Vec::new();
    for kind in [Kind::Debian, Kind::P11Kit, Kind::MacOs, Kind::Nss, Kind::Java] {
        all.extend(store(kind).places(host).await);
    }
    all
}

/// Which stores of this machine trust the anchor. Never writes.
pub async fn status(host: &dyn Host, anchor: &Anchor) -> Vec<Status> {
    let mut all = Vec::new();
    for place in places(host).await {
        let state = store(place.kind).look(host, &place, anchor).await.unwrap_or_else(|error| unavailable(&error));
        all.push(Status { place, state });
    }
    all
}

fn unavailable(error: &StoreError) -> State {
    State::Unavailable { reason: error.to_string(), hint: String::new() }
}

/// Where the receipt, the files kept aside and the anchors lie, below the authorities' folder.
fn folder(authorities: &Path) -> PathBuf {
    authorities.join("trust")
}

async fn lock(host: &dyn Host, authorities: &Path, command: &str) -> Result<Lock, LockError> {
    let lock = Lock::acquire(host, &authorities.join("trust.lock"), command, Some(PATIENCE), |_| {}).await?;
    // `update-ca-certificates` goes on when we are killed, and two of them at once spoil the bundle
    lock.hand_down()?;
    Ok(lock)
}

/// Lets every store of this machine trust the anchor. `authorities` is the folder of
/// [`super::Authority::load_or_create`]. A store that fails does not hold up the others.
///
/// # Errors
/// When the receipt cannot be read or written: then nothing more is done.
pub async fn install(host: &dyn Host, authorities: &Path, anchor: &Anchor) -> Result<Vec<Outcome>, TrustError> {
    let _lock = lock(host, authorities, "macula trust install").await?;
    let mut receipt = Receipt::load(host, &folder(authorities)).await?;
    let certificate = receipt.anchor_file(host, anchor).await?;
    let mut outcomes = Vec::new();
    for place in places(host).await {
        let store = store(place.kind);
        let done = match store.look(host, &place, anchor).await {
            Err(error) => Done::Failed(error),
            Ok(State::Unavailable { reason, hint }) => Done::Unavailable { reason, hint },
            Ok(State::Trusted) => {
                // of a run whose receipt is lost: from now on it is known again
                receipt.remember(host, &place, anchor).await?;
                Done::Unchanged
            }
            Ok(State::TrustedOtherwise) => Done::Unchanged,
            Ok(State::Partly(_) | State::Missing) => add(host, &mut receipt, &place, anchor, &certificate).await?,
        };
        outcomes.push(Outcome { place, done });
    }
    receipt.tidy(host).await?;
    Ok(outcomes)
}

async fn add(
    host: &dyn Host,
    receipt: &mut Receipt,
    place: &Place,
    anchor: &Anchor,
    certificate: &Path,
) -> Result<Done, TrustError> {
    let store = store(place.kind);
    let mut damaged = store.is_damaged(host, place).await;
    if damaged {
        // by a run that was killed: what it has kept aside is the only good copy
        if let Err(error) = receipt.put_all_back(host, place, anchor).await {
            return Ok(Done::Failed(error));
        }
        damaged = store.is_damaged(host, place).await;
    }
    let made = store.must_be_made(host, place).await;
    receipt.begin(host, place, anchor, &store.rewrites(place), made).await?;
    let added = match store.add(host, place, anchor, certificate).await {
        Ok(()) => verify(store.look(host, place, anchor).await),
        failed => failed,
    };
    let mut spoiled = false;
    if added.is_err() && !damaged && store.is_damaged(host, place).await {
        // what cannot be put back now stays in the receipt
        spoiled = receipt.put_all_back(host, place, anchor).await.is_err();
    }
    let nothing_done =
        added.is_err() && !made && !spoiled && matches!(store.look(host, place, anchor).await, Ok(State::Missing));
    if nothing_done {
        receipt.forget(host, place, anchor).await?;
    } else {
        receipt.end(host, place, anchor).await?;
    }
    Ok(added.map_or_else(Done::Failed, |()| Done::Installed))
}

fn verify(state: Result<State, StoreError>) -> Result<(), StoreError> {
    match state? {
        State::Trusted | State::TrustedOtherwise => Ok(()),
        _ => Err(StoreError::NoEffect),
    }
}

/// Undoes every [`install()`] for `domain`, or for all domains: what the receipt lists, those of
/// roots that have been replaced too, and what bears the name of `anchor` without being listed.
/// Stores that trust nothing of ours are not in the outcome.
///
/// # Errors
/// As [`install()`]. What could not be undone stays in the receipt.
pub async fn uninstall(
    host: &dyn Host,
    authorities: &Path,
    domain: Option<&str>,
    anchor: Option<&Anchor>,
) -> Result<Vec<Outcome>, TrustError> {
    let _lock = lock(host, authorities, "macula trust uninstall").await?;
    let mut receipt = Receipt::load(host, &folder(authorities)).await?;
    if let Some(anchor) = anchor.filter(|anchor| domain.is_none_or(|domain| anchor.domain == domain)) {
        for place in places(host).await {
            let state = store(place.kind).look(host, &place, anchor).await;
            if matches!(state, Ok(State::Trusted | State::Partly(_))) {
                receipt.remember(host, &place, anchor).await?;
            }
        }
    }
    let mut outcomes = Vec::new();
    for entry in receipt.entries_to_undo(domain) {
        let done = match undo(host, &receipt, &entry).await {
            Ok(()) => {
                receipt.forget(host, &entry.place, &entry.anchor).await?;
                Done::Removed
            }
            Err(error) => Done::Failed(error),
        };
        outcomes.push(Outcome { place: entry.place, done });
    }
    receipt.tidy(host).await?;
    Ok(outcomes)
}

/// The stores that an [`install()`] has changed and no [`uninstall()`] has put right yet.
///
/// # Errors
/// When the receipt cannot be read.
pub async fn recorded(host: &dyn Host, authorities: &Path) -> Result<Vec<Place>, TrustError> {
    let receipt = Receipt::load(host, &folder(authorities)).await?;
    Ok(receipt.entries_to_undo(None).into_iter().map(|entry| entry.place).collect())
}

/// The domains whose roots an [`install()`] has put into stores and no [`uninstall()`] has taken out of all of them yet.
///
/// # Errors
/// When the receipt cannot be read.
pub async fn domains(host: &dyn Host, authorities: &Path) -> Result<BTreeSet<String>, TrustError> {
    let receipt = Receipt::load(host, &folder(authorities)).await?;
    Ok(receipt.entries().iter().map(|entry| entry.anchor.domain.clone()).collect())
}

async fn undo(host: &dyn Host, receipt: &Receipt, entry: &Entry) -> Result<(), StoreError> {
    let certificate = receipt.anchor_file(host, &entry.anchor).await?;
    let store = store(entry.place.kind);
    let damaged = store.is_damaged(host, &entry.place).await;
    let untouched = receipt.untouched(host, entry, damaged).await;
    store.remove(host, &entry.place, &entry.anchor, &certificate, entry.made).await?;
    for file in untouched {
        receipt.put_back(host, file).await?;
    }
    match store.look(host, &entry.place, &entry.anchor).await? {
        State::Trusted | State::Partly(_) => Err(StoreError::NoEffect),
        _ => Ok(()),
    }
}

/// Whether changing a file takes root: everything outside of the user's home.
fn needs_root(host: &dyn Host, path: &Path) -> bool {
    !path.starts_with(host.folders().home)
}

/// With a time limit, and as root where `path` asks for it.
fn command<'a>(host: &dyn Host, path: &Path, program: &str, args: impl IntoIterator<Item = &'a str>) -> Command {
    let command = Command::new(program, args).timeout(PROGRAM);
    if needs_root(host, path) { command.privileged() } else { command }
}

/// What a tool answers when asked for the certificate of our name.
fn judge(anchor: &Anchor, path: &Path, pem: &[u8]) -> Result<bool, StoreError> {
    match fingerprints(pem) {
        found if found.contains(&anchor.fingerprint) => Ok(true),
        found if found.is_empty() => Ok(false),
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}
