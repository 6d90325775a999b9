//! Programs of this machine that belong to a platform (`processes` of macula.yaml). A process of ours, the keeper,
//! starts them, starts them again and holds their names; one a platform, since they are the user's programs with the
//! user's environment, which the background process that serves all platforms has none of.
//!
//! | file in `<data>/<platform>` | holds |
//! |---|---|
//! | `keeper.sock` | where commands ask the keeper |
//! | `keeper.json` | which process it is, and how its programs were last: read where nobody answers |
//! | `keeper.log` | what it says |
//!
//! What a program writes goes to `<data>/<platform>/run/NAME.log`, as with `macula run`.

mod happened;
mod keeper;
mod kept;
mod orphans;
mod program;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::daemon::Route;
use crate::host::{Command, Ending, Family, Host, Unmet, pause, until};
use crate::model::{PlatformName, Process};
use crate::plan::{KEEPER, Parts, ProcessAction};

use super::engine_lock;
use super::lease::LeaseHolder;
use super::resolver;
use super::state::{KEEPER_LOG, KEEPER_RECORD, read, write};
use super::{Error, Session, State};

pub use keeper::keep;
pub use orphans::follow as follow_orphans;

const FORMAT: u64 = 1;
/// Until a keeper that was started answers.
const START: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(10);
/// Between two questions to a keeper that is busy.
const AGAIN: Duration = Duration::from_millis(100);
/// For whatever of programs outlives them, when all of them end.
const ENDING: Duration = Duration::from_secs(4);
/// For an answer that takes no work.
const QUICK: Duration = Duration::from_secs(2);
/// Longest line of a request or an answer: environments are in them.
const MOST: u64 = 8 << 20;
/// What all processes of a keeper and their children have in their environment.
const MARK: &str = "MACULA_PROCESS";

/// A process that is to be kept from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub process: Process,
    /// All of it, but for the port.
    pub environment: BTreeMap<String, String>,
    pub parts: Parts,
    /// Its names; the port is the keeper's to fill in.
    pub routes: Vec<Route>,
    pub log: PathBuf,
    /// What it had before, under another keeper.
    pub port: Option<u16>,
    pub action: ProcessAction,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Ask {
    Tell,
    Apply {
        orders: Vec<Order>,
        remove: Vec<String>,
    },
    Stop {
        names: Vec<String>,
    },
    /// `running`: those that run are stopped first.
    Start {
        names: Vec<String>,
        running: bool,
    },
    End,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    version: String,
    states: Vec<ProcessState>,
}

/// How a process is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessState {
    pub name: String,
    pub condition: ProcessCondition,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub exit_code: Option<i32>,
    /// By itself, since somebody asked for it.
    pub restarts: u32,
    /// Seconds since the epoch: since when it is so.
    pub since: i64,
    /// Why, where the condition does not say it all.
    pub reason: Option<String>,
    /// Why it does not have its name.
    pub nameless: Option<String>,
    pub parts: Parts,
    pub log: PathBuf,
    /// Where in it this run begins.
    pub log_from: u64,
    pub stop_grace_period: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessCondition {
    /// It runs, and is not ready yet.
    Starting,
    Running,
    /// It has ended, and is about to be started again.
    Restarting,
    /// It has ended with an error, and is left so.
    Crashed,
    /// It could not be started.
    Blocked,
    /// It has ended well.
    Finished,
    /// By `macula stop`.
    Stopped,
}

impl ProcessCondition {
    /// It runs, or will again.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Restarting)
    }
}

/// What is written down of a keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeeperRecord {
    format: u64,
    holder: LeaseHolder,
    /// See [`start_of`].
    #[serde(default)]
    start: String,
    /// Of its programs' environment.
    mark: String,
    pub states: Vec<ProcessState>,
}

impl KeeperRecord {
    /// Everything that a keeper that is gone has started, whatever became of it; none: the keeper is there.
    async fn left(&self, host: &dyn Host) -> Option<Family> {
        if self.holder.is_there(host).await {
            return None;
        }
        // within one start, a number is given again only when nobody is in its session any more: who is in it now is no
        // business of ours
        let same_start = !self.start.is_empty() && self.start == start_of(host).await;
        let session = (same_start && !host.alive(self.holder.pid)).then_some(self.holder.pid);
        Some(Family { group: None, session, mark: Some(format!("{MARK}={}", self.mark)) })
    }
}

/// This start of the machine or the container, whose numbers of processes mean nothing in the next one. Empty where a
/// system does not say so.
async fn start_of(host: &dyn Host) -> String {
    let processes = engine_lock::processes(host).await;
    if processes.is_empty() {
        return processes;
    }
    // two containers in a row may say the same of theirs, but for the time of the first one
    let first = LeaseHolder::of(host, 1).await.and_then(|first| first.started);
    format!("{processes} {}", first.unwrap_or_default())
}

/// Where the keeper's files lie.
#[derive(Debug, Clone)]
pub struct KeeperFiles {
    folder: PathBuf,
}

impl KeeperFiles {
    pub fn of(host: &dyn Host, platform: &PlatformName) -> Self {
        Self { folder: State::new(&host.folders().data, platform).folder().to_owned() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("keeper.sock")
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join(KEEPER_RECORD)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(KEEPER_LOG)
    }

    /// What the last keeper has written down; one that cannot be read tells nothing.
    pub async fn record(&self, host: &dyn Host) -> Option<KeeperRecord> {
        read(host, &self.record_file()).await.ok().flatten()
    }

    /// The same of a keeper that is still there. Its number alone does not tell: it may be another program's by now.
    async fn running(&self, host: &dyn Host) -> Option<KeeperRecord> {
        let record = self.record(host).await?;
        record.holder.is_there(host).await.then_some(record)
    }

    async fn keep(&self, host: &dyn Host, record: &KeeperRecord) -> Result<(), Error> {
        write(host, &self.record_file(), record).await
    }

    /// After the end of a keeper.
    async fn forget(&self, host: &dyn Host) {
        for path in [self.socket(), self.record_file()] {
            // the next `up` replaces what stays
            let _ = host.remove(&path).await;
        }
    }
}

/// How the processes of a platform are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keeping {
    pub states: Vec<ProcessState>,
    /// The keeper was killed: these are the states that it has written down last.
    pub lost: bool,
}

/// Asks the keeper, or reads what it has left.
pub async fn keeping(host: &dyn Host, platform: &PlatformName) -> Keeping {
    found(host, platform, None).await
}

/// The same as an `up` of this version takes it: see [`renew`].
pub async fn keeping_for_up(session: &Session, platform: &PlatformName) -> Keeping {
    found(session.host(), platform, Some(session.version)).await
}

/// `version`: a keeper of another one does not go on.
async fn found(host: &dyn Host, platform: &PlatformName, version: Option<&str>) -> Keeping {
    let files = KeeperFiles::of(host, platform);
    if let Ok(answer) = ask(&files.socket(), &Ask::Tell, QUICK).await {
        let goes_on = version.is_none_or(|version| version == answer.version);
        let states = if goes_on { answer.states } else { handed_on(answer.states) };
        return Keeping { states, lost: false };
    }
    let Some(record) = files.record(host).await else { return Keeping::default() };
    // one that is busy with stopping something does not answer at once
    let lost = !record.holder.is_there(host).await;
    Keeping { states: record.states, lost }
}

/// What the next keeper is to take over, since this one ends: it is told by a part that no process is to have.
fn handed_on(mut states: Vec<ProcessState>) -> Vec<ProcessState> {
    for state in &mut states {
        state.parts.insert(KEEPER.to_owned(), String::new());
    }
    states
}

/// Hands over what is wanted; starts a keeper where none runs.
pub async fn apply(
    session: &Session,
    platform: &PlatformName,
    orders: Vec<Order>,
    remove: Vec<String>,
) -> Result<Vec<ProcessState>, Error> {
    let (socket, states) = ensure(session, platform).await?;
    let ordered = orders.iter().map(|order| order.process.name.clone());
    let names: Vec<String> = remove.iter().cloned().chain(ordered).collect();
    // what runs by now ends as it was ordered before
    let before = graces(&states, &names);
    let patience = patience(before.chain(orders.iter().map(|order| order.process.stop_grace_period)));
    let answer = ask(&socket, &Ask::Apply { orders, remove }, patience).await;
    answer.map(|answer| answer.states).map_err(|source| Error::Keeper { source })
}

/// Stops these; where no keeper runs, nothing of it does.
pub async fn stop(session: &Session, platform: &PlatformName, names: &[String]) -> Result<(), Error> {
    carry_out(session, platform, names, &Ask::Stop { names: names.to_vec() }).await
}

/// Starts these as they were ordered last.
pub async fn start(session: &Session, platform: &PlatformName, names: &[String], running: bool) -> Result<(), Error> {
    carry_out(session, platform, names, &Ask::Start { names: names.to_vec(), running }).await
}

/// Asks for something that ends these, and waits for as long as that may take.
async fn carry_out(session: &Session, platform: &PlatformName, names: &[String], request: &Ask) -> Result<(), Error> {
    let files = KeeperFiles::of(session.host(), platform);
    let failed = |source| Error::Keeper { source };
    // what it does at the moment may take as long again: that is waited for first
    let states = told(session, &files).await?.map_err(failed)?.states;
    ask(&files.socket(), request, patience(graces(&states, names))).await.map(drop).map_err(failed)
}

/// Ends all processes of a platform and their keeper, and whatever one that was killed has left. Returns their names.
pub async fn end(session: &Session, platform: &PlatformName) -> Result<Vec<String>, Error> {
    let host = session.host();
    let files = KeeperFiles::of(host, platform);
    let found = keeping(host, platform).await;
    let names =
        found.states.iter().filter(|state| state.condition.is_alive()).map(|state| state.name.clone()).collect();
    // what it does at the moment comes first
    let _ = told(session, &files).await?;
    let limit = patience(found.states.iter().map(|state| state.stop_grace_period)) + ENDING;
    match ask(&files.socket(), &Ask::End, limit).await {
        Ok(_) => {}
        Err(source) if files.running(host).await.is_some() => return Err(Error::Keeper { source }),
        Err(_) => orphans::sweep(host, &files).await,
    }
    files.forget(host).await;
    Ok(names)
}

/// How long those of these may take to end that are named.
fn graces(states: &[ProcessState], names: &[String]) -> impl Iterator<Item = Duration> {
    states.iter().filter(move |state| names.contains(&state.name)).map(|state| state.stop_grace_period)
}

/// For an answer that waits until programs have ended.
fn patience(graces: impl IntoIterator<Item = Duration>) -> Duration {
    graces.into_iter().max().unwrap_or(Process::GRACE) + START + QUICK
}

/// What the keeper says once it has time: while a program takes its time to end, it answers nobody. An error: none is
/// there, or it was silent for longer than any of its programs may take.
async fn told(session: &Session, files: &KeeperFiles) -> Result<io::Result<Answer>, Error> {
    let (host, socket) = (session.host(), files.socket());
    let mut begun = Instant::now();
    let mut seen: Option<KeeperRecord> = None;
    loop {
        let source = match ask(&socket, &Ask::Tell, QUICK).await {
            Ok(answer) => return Ok(Ok(answer)),
            // one that listens no more is not busy
            Err(source) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&source.kind()) => {
                return Ok(Err(source));
            }
            Err(source) => source,
        };
        // there never was one, or it has ended meanwhile
        let Some(record) = files.running(host).await else { return Ok(Err(source)) };
        if seen.is_none() {
            session.events.info("waiting for the process that keeps your programs, which does not answer yet");
        }
        // it writes down what it has done: one after the other may take its time to end
        if seen.as_ref().is_some_and(|seen| *seen != record) {
            begun = Instant::now();
        }
        let limit = patience(record.states.iter().map(|state| state.stop_grace_period));
        seen = Some(record);
        if begun.elapsed() >= limit {
            return Ok(Err(source));
        }
        if !pause(AGAIN, &session.cancel).await {
            return Err(Error::Cancelled);
        }
    }
}

/// What an `up` begins with. A keeper of another version is ended, and so is one that does not answer: with all of its
/// programs, whatever the `up` is about, which are told as those that are handed on.
pub async fn renew(session: &Session, platform: &PlatformName) -> Result<Keeping, Error> {
    Ok(match renewed(session, platform).await? {
        Ok(states) => Keeping { states, lost: false },
        Err(left) => left,
    })
}

/// How the processes of a keeper of this version are. An error: there is none, and that is what the last one has left.
async fn renewed(session: &Session, platform: &PlatformName) -> Result<Result<Vec<ProcessState>, Keeping>, Error> {
    let host = session.host();
    let files = KeeperFiles::of(host, platform);
    match told(session, &files).await? {
        Ok(answer) if answer.version == session.version => return Ok(Ok(answer.states)),
        Ok(answer) => {
            session.events.info("another version of macula keeps the processes: they are started again by this one");
            end(session, platform).await?;
            return Ok(Err(Keeping { states: handed_on(answer.states), lost: false }));
        }
        Err(_) => {}
    }
    let mut left = Keeping::default();
    if let Some(record) = files.record(host).await {
        let was_there = record.holder.is_there(host).await;
        if was_there {
            // it has had the time that its programs may take, and nothing else can be done with it
            host.end(&[record.holder.pid], Ending::Kill);
            let begun = Instant::now();
            // the sweep looks once more
            while record.holder.is_there(host).await && begun.elapsed() < QUICK && pause(SHORT, &session.cancel).await {
            }
        }
        if record.states.iter().any(|state| state.condition.is_alive()) {
            session.events.warn("the process that keeps your programs was killed; they are started again");
        }
        orphans::sweep(host, &files).await;
        left = match was_there {
            true => Keeping { states: handed_on(record.states), lost: false },
            false => Keeping { states: record.states, lost: true },
        };
    }
    files.forget(host).await;
    Ok(Err(left))
}

/// The socket of a keeper of this version, and how its processes are.
async fn ensure(session: &Session, platform: &PlatformName) -> Result<(PathBuf, Vec<ProcessState>), Error> {
    let host = session.host();
    let files = KeeperFiles::of(host, platform);
    let socket = files.socket();
    if let Ok(states) = renewed(session, platform).await? {
        return Ok((socket, states));
    }
    let log = files.log();
    let _ = host.keep_end(&log, resolver::LONGEST_LOG).await;
    let before = usize::try_from(host.length(&log).await.unwrap_or_default()).unwrap_or(usize::MAX);
    let program = session.program.to_string_lossy().into_owned();
    let command = Command::new(program, ["keep-processes", platform.as_str()]);
    let pid = host.spawn_detached(&command, &log).await?;
    let answered = until(START, SHORT, &session.cancel, async || {
        let alive = host.alive(pid);
        match ask(&socket, &Ask::Tell, QUICK).await {
            Ok(answer) => Ok(Some(answer.states)),
            Err(_) if alive => Err(()),
            Err(_) => Ok(None),
        }
    });
    match answered.await {
        Ok(Some(states)) => Ok((socket, states)),
        Err(Unmet::Cancelled) => Err(Error::Cancelled),
        Ok(None) | Err(Unmet::TooLong(())) => {
            let text = host.read(&log).await.unwrap_or_default();
            let said = String::from_utf8_lossy(text.get(before..).unwrap_or_default()).into_owned();
            let said = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
            Err(Error::KeeperNotStarted { said: said.to_owned(), log })
        }
    }
}

async fn ask(socket: &Path, request: &Ask, patience: Duration) -> io::Result<Answer> {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut reply = Vec::new();
        BufReader::new(stream).take(MOST).read_until(b'\n', &mut reply).await?;
        if reply.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&reply)?)
    };
    timeout(patience, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
