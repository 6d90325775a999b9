//! `logs`, `exec`: which containers are meant, and what they have written, in the order of time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Peekable};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::app::processes::keeping;
use crate::app::{Error, Session};
use crate::engine::{Engine, EngineError, LogLine, LogOptions};
use crate::host::Host;
use crate::model::{ContainerState, ObservedContainer, PlatformName, label};
use crate::observe;
use crate::telemetry::levels::Levels;

use super::program_logs;
use super::run::program_log;

/// One container that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub service: String,
    pub container: String,
    pub id: String,
    pub state: ContainerState,
    pub exit_code: Option<i64>,
    /// Where it writes to, if it is a program of this machine.
    pub program: Option<PathBuf>,
}

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
    /// A container ended, came back, or was replaced.
    Note { service: String, text: String },
    /// Nothing more can be read.
    Broken(EngineError),
}

/// Which lines are meant; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// What they contain; an upper-case letter in it makes case matter.
    pub grep: Option<String>,
    /// The least severity that they name (1 to 24 as in OTLP); 0: lines that name none, too.
    pub severity: u32,
}

impl LogFilter {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub fn has_text(&self, line: &str) -> bool {
        self.grep.as_deref().is_none_or(|wanted| holds(line, wanted))
    }
}

/// Takes the lines that are meant, each container's in their order.
#[derive(Debug)]
pub struct Sieve {
    filter: LogFilter,
    levels: Levels,
}

impl Sieve {
    pub fn new(filter: LogFilter) -> Self {
        Self { levels: Levels::at_least(filter.severity), filter }
    }

    pub fn takes(&mut self, container: &str, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        // a stack trace goes with the line before it, whatever text is looked for
        let has_level = self.levels.keeps(container, &line);
        has_level && self.filter.has_text(&line)
    }
}

/// As `rg --smart-case`.
fn holds(line: &str, wanted: &str) -> bool {
    if wanted.chars().any(char::is_uppercase) { line.contains(wanted) } else { line.to_lowercase().contains(wanted) }
}

/// How often a follower looks for containers that came back.
const AGAIN: Duration = Duration::from_secs(1);
/// Lines that wait for a slow terminal.
const BACKLOG: usize = 1024;

/// By label, so that the logs of a service that no stack names any more are there too.
pub async fn log_sources(
    session: &Session,
    platform: &PlatformName,
    services: &[String],
) -> Result<(Arc<dyn Engine>, Vec<Source>), Error> {
    let engine = session.engine()?;
    session.check_known(platform).await?;
    let observed = observe::ours(&*engine, platform).await?;
    let mut sources: Vec<Source> = observed.containers.iter().map(source).collect();
    sources.sort_by(|a, b| (&a.service, &a.container).cmp(&(&b.service, &b.container)));
    if services.is_empty() {
        return Ok((engine, sources));
    }
    let unknown: Vec<String> =
        services.iter().filter(|name| !sources.iter().any(|source| source.service == **name)).cloned().collect();
    if !unknown.is_empty() {
        let mut known: Vec<String> = sources.into_iter().map(|source| source.service).collect();
        known.dedup();
        return Err(Error::UnknownService { names: unknown, known });
    }
    sources.retain(|source| services.contains(&source.service));
    Ok((engine, sources))
}

fn source(found: &ObservedContainer) -> Source {
    Source {
        service: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        container: found.name.clone(),
        id: found.id.clone(),
        state: found.state,
        exit_code: found.exit_code,
        program: None,
    }
}

/// [`log_sources`], with programs of this machine among them: those that are named and, where nobody is, the
/// processes of macula.yaml. The containers of a service go before a program that had the same name once.
pub async fn all_log_sources(
    session: &Session,
    platform: &PlatformName,
    names: &[String],
) -> Result<(Arc<dyn Engine>, Vec<Source>), Error> {
    let host = session.host();
    let (engine, mut sources) = log_sources(session, platform, &[]).await?;
    let called = |name: &String| sources.iter().any(|source| source.service == *name);
    let named: Vec<String> = match names {
        [] => keeping(host, platform).await.states.into_iter().map(|state| state.name).collect(),
        names => names.to_vec(),
    };
    let mut programs = Vec::new();
    for name in named.into_iter().filter(|name| !called(name)) {
        let Some(log) = program_log(host, platform, &name) else { continue };
        if host.exists(&log).await {
            programs.push(Source {
                service: name.clone(),
                container: name.clone(),
                id: format!("program {name}"),
                state: ContainerState::Running,
                exit_code: None,
                program: Some(log),
            });
        }
    }
    if !names.is_empty() {
        let other = |name: &&String| programs.iter().all(|program: &Source| program.service != **name);
        let services: Vec<String> = names.iter().filter(other).cloned().collect();
        sources = match services.is_empty() {
            true => Vec::new(),
            false => log_sources(session, platform, &services).await?.1,
        };
    }
    sources.extend(programs);
    Ok((engine, sources))
}

/// What these containers have written, by time; with `follow` also what they and their successors
/// write from now on, until the receiver is dropped.
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
        let sieve = Sieve::new(filter);
        let mut reader = Reader { engine, host, platform, services, sieve, sender, last, told, programs };
        // the receiver is gone: nobody reads any more
        let _ = match reader.history(&sources, &options).await {
            Ok(()) if options.follow => reader.follow(sources, &options).await,
            Ok(()) => Ok(()),
            Err(Ended::Engine(error)) => reader.sender.send(LogEvent::Broken(error)).await.map_err(|_| Ended::Unread),
            Err(Ended::Unread) => Ok(()),
        };
    });
    receiver
}

enum Ended {
    Engine(EngineError),
    /// Nobody reads any more.
    Unread,
}

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
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
        // of those that are meant, the last ones
        let most = if self.sieve.filter.is_all() { None } else { options.tail };
        let tail = if most.is_some() { None } else { options.tail };
        let options = LogOptions { follow: false, timestamps: true, tail, ..options.clone() };
        let mut streams: Vec<(Source, Lines)> = Vec::new();
        for source in sources {
            let lines = match &source.program {
                None => self.engine.logs(&source.id, &options).await?,
                Some(log) => {
                    let (lines, told) = program_logs::history(&*self.host, log, &options, follow).await;
                    self.programs.insert(log.clone(), told);
                    futures_util::stream::iter(lines.into_iter().map(Ok)).boxed()
                }
            };
            let lines = match most {
                Some(most) => {
                    let (lines, end) = last_of(lines, self.sieve.filter.clone(), most).await?;
                    // meant or not, it was read; programs are followed by their length
                    if !end.time.is_empty() {
                        self.last.insert(source.id.clone(), end);
                    }
                    lines
                }
                None => lines,
            };
            streams.push((source.clone(), Box::pin(lines.peekable())));
        }
        loop {
            let mut earliest: Option<(String, usize)> = None;
            for (at, (_, lines)) in streams.iter_mut().enumerate() {
                let time = match lines.as_mut().peek().await {
                    None => continue,
                    Some(Ok(line)) => split(&line.bytes).0,
                    Some(Err(_)) => String::new(),
                };
                if earliest.as_ref().is_none_or(|(first, _)| time < *first) {
                    earliest = Some((time, at));
                }
            }
            let Some((_, at)) = earliest else { return Ok(()) };
            let Some((source, lines)) = streams.get_mut(at) else { return Ok(()) };
            let Some(line) = lines.next().await else { continue };
            let (source, line) = (source.clone(), line?);
            self.tell(&source, line, most.is_some()).await?;
        }
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
        let (told, mut lines) = channel::<(Source, Option<LogLine>)>(BACKLOG);
        // by container's name: who was there the last time
        let mut known: BTreeMap<String, Source> =
            known.into_iter().map(|source| (source.container.clone(), source)).collect();
        let mut attached: BTreeMap<String, ()> = BTreeMap::new();
        for source in known.values().filter(|source| source.state == ContainerState::Running) {
            // nothing was told of what is there, and nothing is to be
            self.attach(source, told.clone(), asked.tail.filter(|lines| *lines == 0), asked.since).await;
            attached.insert(source.id.clone(), ());
        }
        let mut again = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                biased;
                () = self.sender.closed() => return Ok(()),
                Some((source, line)) = lines.recv() => match line {
                    Some(line) => self.tell(&source, line, false).await?,
                    None => {
                        attached.remove(&source.id);
                        self.ended(&source).await?;
                    }
                },
                _ = again.tick() => {
                    let Ok(observed) = observe::ours(&*self.engine, &self.platform).await else { continue };
                    let found = observed.containers.iter().map(source);
                    let found: Vec<Source> = found
                        .filter(|source| self.services.is_empty() || self.services.contains(&source.service))
                        .collect();
                    known.retain(|name, _| found.iter().any(|source| source.container == *name) || attached_to(&attached, name, &found));
                    for source in found {
                        if source.state == ContainerState::Running && !attached.contains_key(&source.id) {
                            match known.get(&source.container) {
                                Some(before) if before.id == source.id => self.note(&source.service, "started again").await?,
                                Some(_) => self.note(&source.service, "was replaced").await?,
                                None => self.note(&source.service, "started").await?,
                            }
                            self.attach(&source, told.clone(), None, asked.since).await;
                            attached.insert(source.id.clone(), ());
                        }
                        known.insert(source.container.clone(), source);
                    }
                }
            }
        }
    }

    async fn ended(&self, source: &Source) -> Result<(), Ended> {
        match self.engine.inspect(&source.id).await {
            Ok(found) if found.state == ContainerState::Running => Ok(()),
            Ok(found) => {
                let code = found.exit_code.unwrap_or_default();
                let back = if found.state == ContainerState::Restarting { "; the engine starts it again" } else { "" };
                self.note(&source.service, format!("exited with code {code}{back}")).await
            }
            Err(_) => self.note(&source.service, "was removed").await,
        }
    }

    /// Hands on what the container writes, after the last lines of what it has written; `None` at its end. `from`: nothing
    /// before it is meant.
    async fn attach(
        &mut self,
        source: &Source,
        told: Sender<(Source, Option<LogLine>)>,
        tail: Option<u64>,
        from: Option<i64>,
    ) {
        if let Some(log) = &source.program {
            let from = self.programs.get(log).copied().unwrap_or_default();
            tokio::spawn(program_logs::follow(self.host.clone(), log.clone(), from, source.clone(), told));
            return;
        }
        let last = self.last.get(&source.id);
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
            if let Ok(mut lines) = engine.logs(&source.id, &options).await {
                while let Some(Ok(line)) = lines.next().await {
                    if told.send((source.clone(), Some(line))).await.is_err() {
                        return;
                    }
                }
            }
            let _ = told.send((source, None)).await;
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
fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let Some(blank) = bytes.iter().position(|byte| *byte == b' ') else { return (String::new(), bytes.to_vec()) };
    let (time, rest) = bytes.split_at(blank);
    let looks_so = time.len() >= 20 && time.get(4) == Some(&b'-') && time.get(10) == Some(&b'T');
    match looks_so {
        true => (String::from_utf8_lossy(time).into_owned(), rest.get(1..).unwrap_or_default().to_vec()),
        false => (String::new(), bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_second_are_told_apart() {
        let times = ["1:00", "1:01", "1:00", "1:01"];
        let mut place = Place::default();
        for time in times {
            place.pass(time.into());
        }
        assert_eq!(place, Place { time: "1:01".into(), lines: 2 });
        // read again from there: two of that second are known, the third is new
        let known: Vec<bool> = ["1:00", "1:01", "1:01", "1:01", "1:02"].map(|time| place.covers(time)).into();
        assert_eq!(known, [true, true, true, false, false]);
    }

    #[tokio::test]
    async fn the_last_lines_are_the_last_of_those_that_are_meant() {
        let line =
            |text: &str| Ok(LogLine { bytes: format!("2026-11-28T07:07:05.1Z {text}").into_bytes(), stderr: false });
        let written = ["locked 1", "level=error locked 2", "Locked 3", "fine"];
        let last = async |filter: LogFilter, most: u64| {
            let lines = futures_util::stream::iter(written.map(line)).boxed();
            let kept: Vec<_> = last_of(lines, filter, most).await.unwrap().0.collect().await;
            let text = |line: Result<LogLine, EngineError>| String::from_utf8(split(&line.unwrap().bytes).1).unwrap();
            kept.into_iter().map(text).collect::<Vec<_>>()
        };
        let grep = |text: &str| LogFilter { grep: Some(text.into()), severity: 0 };
        assert_eq!(last(grep("locked"), 2).await, ["level=error locked 2", "Locked 3"]);
        assert_eq!(last(grep("Locked"), 2).await, ["Locked 3"]);
        assert_eq!(last(LogFilter { grep: None, severity: 17 }, 9).await, ["level=error locked 2"]);
        assert!(last(grep("locked"), 0).await.is_empty());
    }

    #[test]
    fn the_engines_time_is_taken_off() {
        assert_eq!(
            split(b"2026-11-28T07:07:05.123456789Z hello  world"),
            ("2026-11-28T07:07:05.123456789Z".into(), b"hello  world".to_vec())
        );
        assert_eq!(split(b"no time here"), (String::new(), b"no time here".to_vec()));
        assert_eq!(split(b"2026-11-28T07:07:05.1Z "), ("2026-11-28T07:07:05.1Z".into(), Vec::new()));
    }
}
