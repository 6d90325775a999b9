//! `logs`, `exec`: which containers are meant, and what they have written, in the order of time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Peekable};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::engine::{Engine, EngineError, LogLine, LogOptions};
use crate::host::Host;
use crate::model::{ContainerState, EngineKind, ObservedContainer, PlatformName};
use crate::observe;

use super::program_logs;

mod sources;

use sources::source;

pub use sources::{LogFilter, Sieve, Source, all_log_sources, log_sources};

/// What is told while logs are read.
#[derive(Debug)]
pub enum LogEvent {
    Line {
        source: Source,
        /// As the engine writes it: RFC 3339 in UTC.
        time: String,
        stderr: bool,
        text: Vec<u8>,
    },
    /// A container ended, came back, or was replaced; without a service it is about the engine.
    Note { service: String, text: String },
    /// Nothing more can be read.
    Broken(EngineError),
}

/// How often a follower looks for containers that came back.
const AGAIN: Duration = Duration::from_secs(1);
/// Lines that wait for a slow terminal.
const BACKLOG: usize = 1024;

/// What these containers have written, by time; with `follow` also what they and their successors
/// write from now on, until the receiver is dropped or it is later than is meant.
pub fn read_logs(
    engine: Arc<dyn Engine>,
    host: Arc<dyn Host>,
    platform: PlatformName,
    services: Vec<String>,
    sources: Vec<Source>,
    options: LogOptions,
    filter: LogFilter,
) -> Receiver<LogEvent> {
    let (sender, receiver) = channel(BACKLOG);
    tokio::spawn(async move {
        let (last, told, programs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (sieve, broke, unreadable) = (Sieve::new(filter), BTreeMap::new(), BTreeSet::new());
        let mut reader =
            Reader { engine, host, platform, services, sieve, sender, last, told, programs, broke, unreadable };
        // the receiver is gone: nobody reads any more
        let _ = match reader.history(&sources, &options).await {
            Ok(()) if options.follow => match time_left(options.until, reader.host.now()) {
                None => reader.follow(sources, &options).await,
                Some(time) if time.is_zero() => Ok(()),
                Some(time) => tokio::time::timeout(time, reader.follow(sources, &options)).await.unwrap_or(Ok(())),
            },
            Ok(()) => Ok(()),
            Err(Ended::Engine(error)) => reader.sender.send(LogEvent::Broken(error)).await.map_err(|_| Ended::Unread),
            Err(Ended::Unread) => Ok(()),
        };
    });
    receiver
}

/// How long lines are meant that are still to come; `None`: there is no end to it.
fn time_left(until: Option<i64>, now: i64) -> Option<Duration> {
    let seconds = until?.saturating_sub(now);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

enum Ended {
    Engine(EngineError),
    /// Nobody reads any more.
    Unread,
}

/// What comes of a container that is followed; without a line it is the end of its log.
type News = Result<Option<LogLine>, EngineError>;

/// What tells one run of a container from another: when it began, and how often the engine had started it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run(Option<i64>, i64);

impl Run {
    fn of(found: &ObservedContainer) -> Self {
        Self(found.started_at, found.restart_count)
    }
}

/// The engine does not answer, or went away: it is not about this container.
fn is_of_the_engine(error: &EngineError) -> bool {
    matches!(error, EngineError::Unreachable { .. } | EngineError::Gone { .. })
}

fn exited(state: ContainerState, code: Option<i64>) -> String {
    let back = if state == ContainerState::Restarting { "; the engine starts it again" } else { "" };
    format!("exited with code {}{back}", code.unwrap_or_default())
}

struct Reader {
    engine: Arc<dyn Engine>,
    host: Arc<dyn Host>,
    platform: PlatformName,
    services: Vec<String>,
    sieve: Sieve,
    sender: Sender<LogEvent>,
    /// Container's id -> how far it was told.
    last: BTreeMap<String, Place>,
    /// Container's id -> what a second reading has before anything new.
    told: BTreeMap<String, Place>,
    /// Log of a program -> how far it was told.
    programs: BTreeMap<PathBuf, program_logs::Told>,
    /// Container's id -> how far it was told when its log ended with an error.
    broke: BTreeMap<String, Option<Place>>,
    /// Ids of containers whose log the engine cannot read, which was told.
    unreadable: BTreeSet<String>,
}

/// A place in a log. Podman's times are seconds, in which many lines are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    time: String,
    /// How many lines of that time.
    lines: usize,
}

impl Place {
    /// A line follows. One that was written by another stream may have an earlier time.
    fn pass(&mut self, time: String) {
        match time.cmp(&self.time) {
            Ordering::Less => {}
            Ordering::Equal => self.lines += 1,
            Ordering::Greater => *self = Self { time, lines: 1 },
        }
    }

    /// Whether a line of this time lies before this place, in a reading that began before it.
    fn covers(&mut self, time: &str) -> bool {
        match time.cmp(self.time.as_str()) {
            Ordering::Less => true,
            Ordering::Equal if self.lines > 0 => {
                self.lines -= 1;
                true
            }
            _ => false,
        }
    }
}

type Lines = Pin<Box<Peekable<BoxStream<'static, Result<LogLine, EngineError>>>>>;

impl Reader {
    /// Everything so far. Each container's lines are in order, so the earliest of all is among the
    /// first ones.
    async fn history(&mut self, sources: &[Source], options: &LogOptions) -> Result<(), Ended> {
        let follow = options.follow;
        let vague = follow && options.tail.is_some() && self.is_vague().await;
        let (most, tail) = match options.tail {
            // none is told, and what comes later is told from the last one on
            Some(0) if follow && !vague => (Some(0), Some(1)),
            tail if self.sieve.filter.is_all() && !vague => (None, tail),
            // of those that are meant, the last ones
            most => (most, None),
        };
        let options = LogOptions { follow: false, timestamps: true, tail, ..options.clone() };
        let mut streams: Vec<(Source, Lines)> = Vec::new();
        for source in sources {
            let read = match &source.program {
                None => self.engine.logs(&source.id, &options).await,
                Some(log) => {
                    let (lines, told) = program_logs::history(&*self.host, log, &options, follow).await;
                    self.programs.insert(log.clone(), told);
                    Ok(futures_util::stream::iter(lines.into_iter().map(Ok)).boxed())
                }
            };
            let read = match (most, read) {
                (Some(most), Ok(lines)) => last_of(lines, self.sieve.filter.clone(), most).await,
                (_, read) => read.map(|lines| (lines, Place::default())),
            };
            match read {
                Ok((lines, end)) => {
                    // meant or not, it was read; programs are followed by their length
                    if !end.time.is_empty() {
                        self.last.insert(source.id.clone(), end);
                    }
                    streams.push((source.clone(), Box::pin(lines.peekable())));
                }
                Err(error) => self.unread(source, error).await?,
            }
        }
        loop {
            let mut earliest: Option<(Vec<u8>, usize)> = None;
            for (at, (_, lines)) in streams.iter_mut().enumerate() {
                let time = match lines.as_mut().peek().await {
                    None => continue,
                    Some(Ok(line)) => time_of(&line.bytes),
                    Some(Err(_)) => &[],
                };
                // most are later, and nothing of those is copied
                if earliest.as_ref().is_none_or(|(first, _)| time < first.as_slice()) {
                    earliest = Some((time.to_vec(), at));
                }
            }
            let Some((_, at)) = earliest else { return Ok(()) };
            let Some((source, lines)) = streams.get_mut(at) else { return Ok(()) };
            let Some(line) = lines.next().await else { continue };
            let source = source.clone();
            match line {
                Ok(line) => self.tell(&source, line, most.is_some()).await?,
                Err(error) => {
                    drop(streams.remove(at));
                    self.unread(&source, error).await?;
                }
            }
        }
    }

    /// Whether the engine's times are whole seconds, so that they do not tell the last lines from those before them.
    async fn is_vague(&self) -> bool {
        self.engine.facts().await.is_ok_and(|facts| facts.engine_kind == EngineKind::Podman)
    }

    /// The log of one container cannot be read, which keeps nothing of the others back. It is said once.
    async fn unread(&mut self, source: &Source, error: EngineError) -> Result<(), Ended> {
        let why = match error {
            // it went while we looked
            EngineError::NotFound { .. } => return Ok(()),
            error if is_of_the_engine(&error) => return Err(Ended::Engine(error)),
            // such as that its logging driver keeps nothing; what was done to which container is clear
            EngineError::Other { message, .. } => message,
            error => format!("{error:#}"),
        };
        match self.unreadable.insert(source.id.clone()) {
            true => self.note(&source.service, format!("has a log that cannot be read: {why}")).await,
            false => Ok(()),
        }
    }

    /// Whether a log that has just ended with an error is not worth another reading: nothing was told of it, or nothing
    /// since it ended so before.
    fn is_read_in_vain(&mut self, id: &str) -> bool {
        let place = self.last.get(id).cloned();
        let before = self.broke.insert(id.to_owned(), place.clone());
        place.is_none() || before == Some(place)
    }

    /// Tells a line that is meant, unless it was told before. `sifted`: it is meant.
    async fn tell(&mut self, source: &Source, line: LogLine, sifted: bool) -> Result<(), Ended> {
        let (time, text) = split(&line.bytes);
        if !time.is_empty() {
            if let Some(place) = self.told.get_mut(&source.id) {
                if place.covers(&time) {
                    return Ok(());
                }
                self.told.remove(&source.id);
            }
            if !sifted {
                self.last.entry(source.id.clone()).or_default().pass(time.clone());
            }
        }
        if !sifted && !self.sieve.takes(&source.container, &text) {
            return Ok(());
        }
        let event = LogEvent::Line { source: source.clone(), time, stderr: line.stderr, text };
        self.sender.send(event).await.map_err(|_| Ended::Unread)
    }

    async fn note(&self, service: &str, text: impl Into<String>) -> Result<(), Ended> {
        let note = LogEvent::Note { service: service.to_owned(), text: text.into() };
        self.sender.send(note).await.map_err(|_| Ended::Unread)
    }

    /// What comes from now on.
    async fn follow(&mut self, known: Vec<Source>, asked: &LogOptions) -> Result<(), Ended> {
        let (told, mut lines) = channel::<(Source, News)>(BACKLOG);
        // by container's name: who was there the last time
        let mut known: BTreeMap<String, Source> =
            known.into_iter().map(|source| (source.container.clone(), source)).collect();
        let mut attached: BTreeMap<String, ()> = BTreeMap::new();
        for source in known.values() {
            if source.state != ContainerState::Running || self.unreadable.contains(&source.id) {
                continue;
            }
            // nothing was told of what is there, and nothing is to be
            self.attach(source, told.clone(), asked.tail.filter(|lines| *lines == 0), asked.since).await;
            attached.insert(source.id.clone(), ());
        }
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        for source in known.values() {
            if source.program.is_none()
                && attached.contains_key(&source.id)
                && let Ok(found) = self.engine.inspect(&source.id).await
            {
                runs.insert(source.id.clone(), Run::of(&found));
            }
        }
        // the engine does not answer, which was told
        let mut lost = false;
        let mut again = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                biased;
                () = self.sender.closed() => return Ok(()),
                Some((source, news)) = lines.recv() => match news {
                    Ok(Some(line)) => self.tell(&source, line, false).await?,
                    // one that was read before is looked at again, whatever happened meanwhile
                    Err(error @ (EngineError::Other { .. } | EngineError::Local { .. }))
                        if self.is_read_in_vain(&source.id) =>
                    {
                        attached.remove(&source.id);
                        self.unread(&source, error).await?;
                    }
                    Ok(None) | Err(_) => {
                        attached.remove(&source.id);
                        match self.ended(&source).await? {
                            None => self.lose(&mut lost).await?,
                            Some(state) => match known.get_mut(&source.container) {
                                Some(before) if before.id == source.id => before.state = state,
                                _ => {}
                            },
                        }
                    }
                },
                _ = again.tick() => {
                    let observed = match observe::ours(&*self.engine, &self.platform).await {
                        Ok(observed) => observed,
                        Err(error) => {
                            if is_of_the_engine(&error) {
                                self.lose(&mut lost).await?;
                            }
                            continue;
                        }
                    };
                    let found = observed.containers.iter().map(source);
                    let found: Vec<Source> = found
                        .filter(|source| self.services.is_empty() || self.services.contains(&source.service))
                        .collect();
                    if std::mem::take(&mut lost) {
                        self.note("", "the engine answers again").await?;
                        for before in known.values() {
                            self.missed(before, &found).await?;
                        }
                    }
                    known.retain(|name, _| found.iter().any(|source| source.container == *name) || attached_to(&attached, name, &found));
                    for source in found {
                        let is_read = attached.contains_key(&source.id) || self.unreadable.contains(&source.id);
                        if source.state == ContainerState::Running && !is_read {
                            // it went while we looked
                            let Ok(now) = self.engine.inspect(&source.id).await else { continue };
                            let run = Run::of(&now);
                            match known.get(&source.container) {
                                // its log ended with the engine, or with the connection to it
                                Some(before) if before.id == source.id && runs.get(&source.id) == Some(&run) => {}
                                Some(before) if before.id == source.id => self.note(&source.service, "started again").await?,
                                Some(_) => self.note(&source.service, "was replaced").await?,
                                None => self.note(&source.service, "started").await?,
                            }
                            runs.insert(source.id.clone(), run);
                            self.attach(&source, told.clone(), None, asked.since).await;
                            attached.insert(source.id.clone(), ());
                        }
                        known.insert(source.container.clone(), source);
                    }
                }
            }
        }
    }

    /// Says that the engine does not answer, once.
    async fn lose(&self, lost: &mut bool) -> Result<(), Ended> {
        match std::mem::replace(lost, true) {
            true => Ok(()),
            false => self.note("", "the engine no longer answers").await,
        }
    }

    /// Tells what has become of a container whose log has ended: how it is now, unless the engine does not say.
    async fn ended(&self, source: &Source) -> Result<Option<ContainerState>, Ended> {
        let (state, text) = match self.engine.inspect(&source.id).await {
            Ok(found) if found.state == ContainerState::Running => return Ok(Some(found.state)),
            Ok(found) => (found.state, exited(found.state, found.exit_code)),
            Err(EngineError::NotFound { .. }) => (ContainerState::Dead, "was removed".to_owned()),
            Err(_) => return Ok(None),
        };
        self.note(&source.service, text).await?;
        Ok(Some(state))
    }

    /// What has become of a container while the engine was lost.
    async fn missed(&self, before: &Source, found: &[Source]) -> Result<(), Ended> {
        if before.state != ContainerState::Running || before.program.is_some() {
            return Ok(());
        }
        let text = match found.iter().find(|now| now.id == before.id) {
            // whether it has run all the time is told where it is read again
            Some(now) if now.state == ContainerState::Running => return Ok(()),
            Some(now) => exited(now.state, now.exit_code),
            // so is its successor
            None if found.iter().any(|now| now.container == before.container) => return Ok(()),
            None => "was removed".to_owned(),
        };
        self.note(&before.service, text).await
    }

    /// Hands on what the container writes, after the last lines of what it has written, and how that ends. `from`:
    /// nothing before it is meant.
    async fn attach(&mut self, source: &Source, told: Sender<(Source, News)>, tail: Option<u64>, from: Option<i64>) {
        if let Some(log) = &source.program {
            let from = self.programs.get(log).cloned().unwrap_or_default();
            tokio::spawn(program_logs::follow(self.host.clone(), log.clone(), from, source.clone(), told));
            return;
        }
        // from the end of the log on there is nothing that was told before
        let last = self.last.get(&source.id).filter(|_| tail.is_none());
        let since = last.and_then(|place| place.time.parse::<jiff::Timestamp>().ok());
        if let Some(place) = last {
            self.told.insert(source.id.clone(), place.clone());
        }
        let options = LogOptions {
            follow: true,
            timestamps: true,
            since: since.map(|time| time.as_second()).or(from),
            tail,
            ..LogOptions::default()
        };
        let (engine, source) = (self.engine.clone(), source.clone());
        tokio::spawn(async move {
            let end = match engine.logs(&source.id, &options).await {
                Err(error) => Err(error),
                Ok(mut lines) => loop {
                    match lines.next().await {
                        None => break Ok(None),
                        Some(Err(error)) => break Err(error),
                        Some(Ok(line)) => {
                            if told.send((source.clone(), Ok(Some(line)))).await.is_err() {
                                return;
                            }
                        }
                    }
                },
            };
            let _ = told.send((source, end)).await;
        });
    }
}

/// The last lines of those that are meant, and how far the log was read.
async fn last_of(
    mut lines: BoxStream<'static, Result<LogLine, EngineError>>,
    filter: LogFilter,
    most: u64,
) -> Result<(BoxStream<'static, Result<LogLine, EngineError>>, Place), EngineError> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut kept, mut sieve, mut end) = (VecDeque::new(), Sieve::new(filter), Place::default());
    while let Some(line) = lines.next().await {
        let line = line?;
        let (time, text) = split(&line.bytes);
        if !time.is_empty() {
            end.pass(time);
        }
        if sieve.takes("", &text) {
            kept.push_back(line);
        }
        if kept.len() > most {
            kept.pop_front();
        }
    }
    Ok((futures_util::stream::iter(kept.into_iter().map(Ok)).boxed(), end))
}

/// Still told of, although it is listed no more.
fn attached_to(attached: &BTreeMap<String, ()>, name: &str, found: &[Source]) -> bool {
    found.iter().any(|source| source.container == name && attached.contains_key(&source.id))
}

/// The time that the engine writes in front, and the rest.
pub(super) fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let time = time_of(bytes);
    let text = if time.is_empty() { 0 } else { time.len() + 1 };
    (String::from_utf8_lossy(time).into_owned(), bytes.get(text..).unwrap_or_default().to_vec())
}

/// The time that the engine writes in front; empty where it has not.
fn time_of(bytes: &[u8]) -> &[u8] {
    let time = bytes.split(|byte| *byte == b' ').next().filter(|time| time.len() < bytes.len()).unwrap_or_default();
    let looks_so = time.len() >= 20 && time.get(4) == Some(&b'-') && time.get(10) == Some(&b'T');
    if looks_so { time } else { &[] }
}

#[cfg(test)]
mod tests;
