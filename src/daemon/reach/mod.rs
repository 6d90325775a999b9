//! The platform's addresses where nothing arrives that its engine publishes: this process listens in the engine's
//! place, and passes on.
//!
//! ```text
//! direct:  psql ─> 127.0.0.6:5432 ─> 10.222.7.5:5432        this container is in the platform's network
//! relay:   psql ─> 127.0.0.6:5432 ─> engine's API ─> relay ─> 10.222.7.5:5432
//!                  this process      one stream      a container in that network
//! ```
//!
//! And back, for the names of this machine's programs (`macula run`) and of the page:
//!
//! ```text
//! direct:  ingress ─> 10.222.7.9:5380 ─> 127.0.0.1:PORT     an address of this container
//! relay:   ingress ─> 10.222.7.9:5380 ─> engine's API ─> this process ─> 127.0.0.1:PORT
//!                     the relay
//! ```
//!
//! What a platform wants lies in a file, so that a process that was killed goes on where it was; `up` and `down`
//! tell of a change over the socket `reach.sock`.

mod arrivals;
mod link;
mod listen;
mod order;
mod pump;
mod refusal;
mod relay;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::own_socket::OwnSocket;
use super::routes::Entrance;
use crate::host::{Host, next_connection};
use crate::model::{Forward, Protocol, Way};
use arrivals::Arriving;
use link::Link;
use listen::{Listening, listen, slots};
pub use relay::{Within, serve};

/// How often an address that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// For an answer of the background process.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest line of a request.
const LINE: u64 = 4 << 10;
const FORMAT: u64 = 1;

/// What is passed on for a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub format: u64,
    pub way: Way,
    /// The platform's network and its gateway, which is the engine's own machine.
    pub network: String,
    pub gateway: Ipv4Addr,
    /// Where the ingress finds this process: an address of its own container, or of the relay.
    #[serde(default = "nowhere")]
    pub arrivals: Ipv4Addr,
    /// The container that dials. Empty: none is needed.
    pub relay: String,
    /// This process's own container, where the way is direct.
    #[serde(default)]
    pub home: String,
    /// The variables with which `up` found the engine; empty: those of whoever looks for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine: BTreeMap<String, String>,
    pub forwards: Vec<Forward>,
}

impl Table {
    pub fn new(way: Way, network: impl Into<String>) -> Self {
        Self {
            format: FORMAT,
            way,
            network: network.into(),
            gateway: Ipv4Addr::UNSPECIFIED,
            arrivals: nowhere(),
            relay: String::new(),
            home: String::new(),
            engine: BTreeMap::new(),
            forwards: Vec::new(),
        }
    }

    /// Where it lies, in a platform's folder.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("reach.json")
    }

    /// A file that cannot be read is none: the next `up` writes it again.
    pub async fn read(host: &dyn Host, folder: &Path) -> Option<Self> {
        let text = host.read(&Self::file(folder)).await.ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|table| table.format == FORMAT)
    }
}

/// Of a table that an older version wrote.
fn nowhere() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}

/// What the background process says of a platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Ports that are listened on.
    pub listening: usize,
    /// Addresses that cannot be had, and why.
    pub failed: Vec<(SocketAddr, Protocol, String)>,
    /// Why nothing gets through at all.
    pub broken: Option<String>,
}

/// Makes the background process behind `socket` look at a platform's file, and says what came of it.
///
/// # Errors
/// There is no such process, or it does not answer.
pub async fn look_again(socket: &Path, platform: &str) -> io::Result<Passed> {
    let talk = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        stream.write_all(format!("{platform}\n").as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_until(b'\n', &mut reply).await?;
        serde_json::from_slice(&reply).map_err(io::Error::other)
    };
    timeout(ANSWER, talk).await?
}

/// All platforms' ports of this process. Dropped, they are closed.
pub struct Reach {
    /// None: it does not hear of changes yet.
    socket: Option<OwnSocket>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    host: Arc<dyn Host>,
    /// By platform.
    platforms: Mutex<BTreeMap<String, Passing>>,
    /// Where what arrives for this machine's programs goes, once it is there.
    entrance: OnceLock<Entrance>,
    /// A platform's file was looked at.
    looked: Notify,
}

/// What is passed on for one platform.
struct Passing {
    table: Table,
    link: Arc<Link>,
    slots: Arc<tokio::sync::Semaphore>,
    listening: BTreeMap<(SocketAddr, Protocol), (Forward, Listening)>,
    failed: Vec<(SocketAddr, Protocol, String)>,
    /// The way back. Dropped, nothing arrives.
    arriving: Option<Arriving>,
}

impl Reach {
    /// Listens for every platform that wants it. Waits for no engine: the containers are looked for afterwards.
    pub async fn start(host: Arc<dyn Host>) -> Self {
        let shared =
            Arc::new(Shared { host, platforms: Mutex::default(), entrance: OnceLock::new(), looked: Notify::new() });
        let data = shared.host.folders().data;
        for name in shared.host.list(&data).await.unwrap_or_default() {
            shared.settle(&name).await;
        }
        let again = Arc::clone(&shared);
        let retry = tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                if !again.retry().await {
                    again.looked.notified().await;
                }
            }
        });
        Self { socket: None, tasks: vec![retry], shared }
    }

    /// Hears of a change on `socket` from now on.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn hear(mut self, socket: &Path) -> io::Result<Self> {
        let (listener, socket) = OwnSocket::listen(socket)?;
        let asked = Arc::clone(&self.shared);
        self.tasks.push(tokio::spawn(async move {
            loop {
                let (stream, _) = next_connection(|cx| listener.poll_accept(cx)).await;
                tokio::spawn(answer(Arc::clone(&asked), stream));
            }
        }));
        self.socket = Some(socket);
        Ok(self)
    }

    /// What arrives for programs of this machine goes there from now on.
    pub async fn lead_in(&self, entrance: Entrance) {
        let entrance = self.shared.entrance.get_or_init(|| entrance);
        for passing in self.shared.platforms.lock().await.values_mut() {
            passing.let_in(entrance).await;
        }
    }

    /// Nothing is passed on for anybody.
    pub async fn is_idle(&self) -> bool {
        self.shared.platforms.lock().await.is_empty()
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        // while it is listened on: see `OwnSocket::remove`
        if let Some(socket) = &self.socket {
            socket.remove();
        }
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(shared: Arc<Shared>, stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let Ok(Ok(_)) = timeout(ANSWER, (&mut stream).take(LINE).read_line(&mut line)).await else { return };
    let passed = shared.look(line.trim()).await;
    if let Ok(mut text) = serde_json::to_vec(&passed) {
        text.push(b'\n');
        // whoever went away needs no answer
        let _ = stream.write_all(&text).await;
    }
}

impl Shared {
    /// Does what a platform's file says now, and says whether its containers are reached.
    async fn look(&self, platform: &str) -> Passed {
        let (passed, link) = self.settle(platform).await;
        self.looked.notify_one();
        let broken = match link {
            Some(link) => link.check().await.err().map(|error| error.to_string()),
            None => None,
        };
        Passed { broken, ..passed }
    }

    /// Does what a platform's file says now, and gives the way to its containers. None: it needs none.
    async fn settle(&self, platform: &str) -> (Passed, Option<Arc<Link>>) {
        let folder = self.host.folders().data.join(platform);
        let table = match platform.contains('/') || platform.is_empty() {
            true => None,
            false => Table::read(&*self.host, &folder).await,
        };
        let mut platforms = self.platforms.lock().await;
        let Some(table) = table.filter(|table| table.way != Way::Published) else {
            if let Some(former) = platforms.remove(platform) {
                former.close().await;
            }
            return (Passed::default(), None);
        };
        let same = |passing: &Passing| {
            let forwards = table.forwards.clone();
            Table { forwards, ..passing.table.clone() } == table
        };
        if !platforms.get(platform).is_some_and(same) {
            // another way: what was open on the old one ends
            if let Some(former) = platforms.remove(platform) {
                former.close().await;
            }
            let link = Arc::new(Link::new(Arc::clone(&self.host), &table));
            let passing = Passing {
                table: table.clone(),
                link,
                slots: slots(table.way),
                listening: BTreeMap::new(),
                failed: Vec::new(),
                arriving: None,
            };
            platforms.insert(platform.to_owned(), passing);
        }
        let Some(passing) = platforms.get_mut(platform) else { return (Passed::default(), None) };
        passing.table = table;
        passing.settle().await;
        if let Some(entrance) = self.entrance.get() {
            passing.let_in(entrance).await;
        }
        let passed = Passed { listening: passing.listening.len(), failed: passing.failed.clone(), broken: None };
        (passed, Some(Arc::clone(&passing.link)))
    }

    /// False: there is nothing that could need it before a file is looked at.
    async fn retry(&self) -> bool {
        let mut any = false;
        for passing in self.platforms.lock().await.values_mut() {
            if !passing.failed.is_empty() {
                passing.settle().await;
            }
            any |= !passing.failed.is_empty() || passing.table.way == Way::Relay;
            let link = Arc::clone(&passing.link);
            if passing.table.way == Way::Relay && !passing.table.forwards.is_empty() {
                // whoever comes next is not to wait for a tunnel that was cut
                tokio::spawn(async move {
                    if let Err(error) = link.keep_open().await {
                        tracing::debug!(%error, "the relay is not reached");
                    }
                });
            }
        }
        any
    }
}

impl Passing {
    /// Opens the way back, unless it is open.
    async fn let_in(&mut self, entrance: &Entrance) {
        if self.arriving.is_none() && !self.table.arrivals.is_unspecified() {
            self.arriving = Some(Arriving::open(entrance, &self.link, &self.table).await);
        }
    }

    /// Returns once others may have its addresses.
    async fn close(self) {
        for (_, listening) in self.listening.into_values() {
            listening.close().await;
        }
    }

    /// Closes what is not wanted, and listens on what is.
    async fn settle(&mut self) {
        let wanted: BTreeMap<_, _> =
            self.table.forwards.iter().map(|forward| ((forward.listen, forward.protocol), forward)).collect();
        for (key, (forward, listening)) in std::mem::take(&mut self.listening) {
            if wanted.get(&key).is_some_and(|wanted| **wanted == forward) {
                self.listening.insert(key, (forward, listening));
            } else {
                // its address may be wanted again
                listening.close().await;
            }
        }
        self.failed.clear();
        for (key, forward) in wanted {
            if self.listening.contains_key(&key) {
                continue;
            }
            match listen(forward, &self.link, &self.slots).await {
                Ok(listening) => drop(self.listening.insert(key, (forward.clone(), listening))),
                Err(error) => self.failed.push((key.0, key.1, error.to_string())),
            }
        }
    }
}
