//! `events`: what happens to the services and processes of a platform, as it happens.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::app::processes::{self, Keeping, ProcessCondition, ProcessState};
use crate::app::{Error, Session};
use crate::engine::{ContainerEvent, ContainerHappening, Engine};
use crate::host::{Interest, SELDOM, listen};
use crate::model::{ContainerState, Health, ObservedContainer, PlatformName, UNFINISHED, label};
use crate::system::System;

/// Between two attempts to reach an engine that has gone.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at the processes, where the system tells nothing of files.
const LOOK: Duration = Duration::from_millis(250);
/// Where it does: a keeper that is killed writes nothing.
const KILLED: Duration = Duration::from_secs(2);
/// Events that wait for a slow reader.
const BACKLOG: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceEvent {
    /// RFC 3339, in UTC.
    pub time: String,
    pub event: EventKind,
    /// None: it is about the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// It is about a program of this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub process: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// It was killed since it needed more memory than its limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// Found by comparing, after a time in which the engine said nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Created,
    Started,
    /// It had ended before.
    Restarted,
    Healthy,
    Unhealthy,
    Died,
    Paused,
    Unpaused,
    Removed,
    /// The engine says nothing any more.
    EngineLost,
    EngineBack,
}

impl EventKind {
    /// As a sentence about a service would end.
    pub fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Restarted => "restarted",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Died => "died",
            Self::Paused => "paused",
            Self::Unpaused => "unpaused",
            Self::Removed => "removed",
            Self::EngineLost => "the engine no longer answers",
            Self::EngineBack => "the engine answers again",
        }
    }
}

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    name: String,
    service: String,
    running: bool,
    has_ended: bool,
    health: Option<Health>,
    out_of_memory: bool,
}

impl Known {
    /// It is still being made, or the one that it takes the place of has the name.
    fn is_unfinished(&self) -> bool {
        self.name.ends_with(UNFINISHED)
    }

    /// What has become of it while nothing was told.
    fn so_far(&self) -> Vec<EventKind> {
        let health = match self.health {
            Some(Health::Healthy) => Some(EventKind::Healthy),
            Some(Health::Unhealthy) => Some(EventKind::Unhealthy),
            _ => None,
        };
        let started = self.running.then_some(EventKind::Started);
        std::iter::once(EventKind::Created).chain(started).chain(health).collect()
    }
}

/// Which containers there are, by id: two of them have one name in turn. Pure.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, Known>);

impl Told {
    fn of(found: &[ObservedContainer]) -> Self {
        Self(found.iter().map(|found| (found.id.clone(), known(found))).collect())
    }

    /// What an event of the engine comes to; nothing where it is part of another one, or about a container that has not
    /// got its own name yet.
    fn take(&mut self, event: &ContainerEvent) -> Vec<ServiceEvent> {
        let known = self.0.entry(event.id.clone()).or_default();
        let was_unfinished = known.is_unfinished();
        known.name.clone_from(&event.container);
        if !event.service.is_empty() {
            known.service.clone_from(&event.service);
        }
        let mut kinds = if was_unfinished { known.so_far() } else { Vec::new() };
        let mut exit_code = None;
        let mut out_of_memory = false;
        kinds.extend(match event.happening {
            ContainerHappening::Created => {
                (known.running, known.has_ended) = (false, false);
                Some(EventKind::Created)
            }
            ContainerHappening::Started => {
                let kind = if known.has_ended { EventKind::Restarted } else { EventKind::Started };
                (known.running, known.health) = (true, None);
                Some(kind)
            }
            ContainerHappening::Died { exit_code: code } => {
                exit_code = code;
                out_of_memory = std::mem::take(&mut known.out_of_memory);
                (known.running, known.has_ended) = (false, true);
                Some(EventKind::Died)
            }
            ContainerHappening::OutOfMemory => {
                known.out_of_memory = true;
                None
            }
            ContainerHappening::Healthy => {
                known.health = Some(Health::Healthy);
                Some(EventKind::Healthy)
            }
            ContainerHappening::Unhealthy => {
                known.health = Some(Health::Unhealthy);
                Some(EventKind::Unhealthy)
            }
            ContainerHappening::Paused => Some(EventKind::Paused),
            ContainerHappening::Unpaused => Some(EventKind::Unpaused),
            ContainerHappening::Renamed => None,
            ContainerHappening::Removed => Some(EventKind::Removed),
        });
        if known.is_unfinished() {
            kinds.clear();
        }
        let service = Some(known.service.clone()).filter(|service| !service.is_empty());
        if event.happening == ContainerHappening::Removed {
            self.0.remove(&event.id);
        }
        let said = |kind: EventKind| ServiceEvent {
            time: event.time.clone(),
            event: kind,
            service: service.clone(),
            container: Some(event.container.clone()),
            process: false,
            exit_code: exit_code.filter(|_| kind == EventKind::Died),
            out_of_memory: out_of_memory && kind == EventKind::Died,
            late: false,
        };
        kinds.into_iter().map(said).collect()
    }

    /// What has happened while nobody told, by what there is now.
    fn catch_up(&mut self, found: &[ObservedContainer], time: &str) -> Vec<ServiceEvent> {
        let now = Self::of(found);
        let mut all = Vec::new();
        let mut tell = |known: &Known, event, exit_code| {
            all.push(ServiceEvent {
                time: time.to_owned(),
                event,
                service: Some(known.service.clone()),
                container: Some(known.name.clone()),
                process: false,
                exit_code,
                out_of_memory: false,
                late: true,
            });
        };
        // nobody was told of those that had not got their names
        self.0.retain(|_, before| !before.is_unfinished());
        for (_, before) in by_name(self.0.iter().filter(|(id, _)| !now.0.contains_key(*id))) {
            tell(before, EventKind::Removed, None);
        }
        for (id, known) in by_name(now.0.iter()) {
            let code = found.iter().find(|found| found.id == *id).and_then(|found| found.exit_code);
            let before = self.0.get(id);
            match (before.is_some_and(|before| before.running), known.running) {
                (true, false) => tell(known, EventKind::Died, code),
                (false, true) if before.is_some_and(|before| before.has_ended) => {
                    tell(known, EventKind::Restarted, None);
                }
                (false, true) => tell(known, EventKind::Started, None),
                _ => {}
            }
            let health = known.health.filter(|health| before.and_then(|before| before.health) != Some(*health));
            match health {
                Some(Health::Healthy) => tell(known, EventKind::Healthy, None),
                Some(Health::Unhealthy) => tell(known, EventKind::Unhealthy, None),
                _ => {}
            }
        }
        *self = now;
        all
    }
}

/// Containers with their ids, in the order of their names.
fn by_name<'a>(containers: impl Iterator<Item = (&'a String, &'a Known)>) -> Vec<(&'a String, &'a Known)> {
    let mut all: Vec<_> = containers.collect();
    all.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    all
}

fn known(found: &ObservedContainer) -> Known {
    let running = found.holds_ports();
    Known {
        name: found.name.clone(),
        service: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        running,
        has_ended: !running && found.state != ContainerState::Created,
        health: running.then_some(found.health),
        out_of_memory: false,
    }
}

/// What has become of the processes between two looks. Pure.
fn of_processes(before: &Keeping, now: &Keeping, time: &str) -> Vec<ServiceEvent> {
    let mut all = Vec::new();
    let alive =
        |keeping: &Keeping, state: &ProcessState| state.condition.is_alive() && !keeping.lost && state.pid.is_some();
    for state in &now.states {
        let old = before.states.iter().find(|old| old.name == state.name);
        let mut tell = |event, exit_code: Option<i32>| {
            all.push(ServiceEvent {
                time: time.to_owned(),
                event,
                service: Some(state.name.clone()),
                container: None,
                process: true,
                exit_code: exit_code.map(i64::from),
                out_of_memory: false,
                late: false,
            });
        };
        let (was, is) = (old.filter(|old| alive(before, old)), alive(now, state));
        let other = was.is_some_and(|old| old.pid != state.pid);
        if was.is_some() && (!is || other) {
            tell(EventKind::Died, state.exit_code);
        }
        if is && (was.is_none() || other) {
            tell(if old.is_some() { EventKind::Restarted } else { EventKind::Started }, None);
        }
        let ready = |state: &ProcessState| state.condition == ProcessCondition::Running;
        if is && ready(state) && (other || !was.is_some_and(ready)) {
            tell(EventKind::Healthy, None);
        }
    }
    for old in &before.states {
        if now.states.iter().all(|state| state.name != old.name) {
            all.push(ServiceEvent {
                time: time.to_owned(),
                event: EventKind::Removed,
                service: Some(old.name.clone()),
                container: None,
                process: true,
                exit_code: None,
                out_of_memory: false,
                late: false,
            });
        }
    }
    all
}

/// What happens from now on, until the receiver is dropped. `services`: only these; none: all.
pub async fn follow_events(
    session: &Session,
    platform: &PlatformName,
    services: Vec<String>,
) -> Result<Receiver<ServiceEvent>, Error> {
    session.check_known(platform).await?;
    let engine = session.engine()?;
    let by_label = format!("{}={platform}", label::PLATFORM);
    // the stream first: nothing is missed between the look and it
    let events = engine.container_events(&by_label).await?;
    let told = Told::of(&engine.labelled(&by_label).await?);
    let (sender, receiver) = channel(BACKLOG);
    let teller = Teller { sender: sender.clone(), services: services.clone() };
    let of_engine = Followed { session: session.clone(), by_label, told, teller };
    tokio::spawn(of_engine.follow(engine, events));
    let (session, platform) = (session.clone(), platform.clone());
    tokio::spawn(follow_processes(session, platform, Teller { sender, services }));
    Ok(receiver)
}

/// Hands on what somebody wants to know.
struct Teller {
    sender: Sender<ServiceEvent>,
    services: Vec<String>,
}

impl Teller {
    /// False: nobody reads any more.
    async fn tell(&self, event: ServiceEvent) -> bool {
        let wanted =
            event.service.as_ref().is_none_or(|service| self.services.is_empty() || self.services.contains(service));
        !wanted || self.sender.send(event).await.is_ok()
    }
}

type Events = futures_util::stream::BoxStream<'static, Result<ContainerEvent, crate::engine::EngineError>>;

struct Followed {
    session: Session,
    by_label: String,
    told: Told,
    teller: Teller,
}

impl Followed {
    async fn follow(mut self, mut engine: Arc<dyn Engine>, mut events: Events) {
        loop {
            let next = tokio::select! {
                next = events.next() => next,
                () = self.teller.sender.closed() => return,
            };
            if let Some(Ok(event)) = next {
                for event in self.told.take(&event) {
                    if !self.teller.tell(event).await {
                        return;
                    }
                }
                continue;
            }
            if !self.teller.tell(of_engine(EventKind::EngineLost)).await {
                return;
            }
            drop(engine);
            let Some((again, stream, found)) = self.reconnect().await else { return };
            (engine, events) = (again, stream);
            if !self.teller.tell(of_engine(EventKind::EngineBack)).await {
                return;
            }
            for event in self.told.catch_up(&found, &now()) {
                if !self.teller.tell(event).await {
                    return;
                }
            }
        }
    }

    /// Until the engine answers; none: nobody reads any more.
    async fn reconnect(&self) -> Option<(Arc<dyn Engine>, Events, Vec<ObservedContainer>)> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.teller.sender.closed() => return None,
            }
            // the same engine, whatever else the environment leads to
            let system = &self.session.system;
            let variables = system.discovery.used().map(|used| used.variables(&*system.host)).unwrap_or_default();
            let again = System::connect_with(system.host.clone(), variables).await;
            let Some(engine) = again.engine else { continue };
            let Ok(events) = engine.container_events(&self.by_label).await else { continue };
            if let Ok(found) = engine.labelled(&self.by_label).await {
                return Some((engine, events, found));
            }
        }
    }
}

async fn follow_processes(session: Session, platform: PlatformName, teller: Teller) {
    // the keeper writes down there whatever becomes of them
    let folder = session.state(&platform).folder().to_owned();
    let interests =
        move || -> BoxFuture<'static, Vec<Interest>> { ready(vec![Interest::Folder(folder.clone())]).boxed() };
    let (mut word, hearing) = listen(session.system.host.clone(), Box::new(interests));
    let mut hearing = std::pin::pin!(hearing.fuse());
    let mut before = processes::keeping(session.host(), &platform).await;
    loop {
        let seldom = if before.states.is_empty() { SELDOM } else { KILLED };
        tokio::select! {
            // its end is no change: from then on `word` waits as briefly as without it
            () = &mut hearing => continue,
            () = word.wait(LOOK, seldom) => {}
            () = teller.sender.closed() => return,
        }
        let found = processes::keeping(session.host(), &platform).await;
        for event in of_processes(&before, &found, &now()) {
            if !teller.tell(event).await {
                return;
            }
        }
        before = found;
    }
}

fn of_engine(event: EventKind) -> ServiceEvent {
    ServiceEvent {
        time: now(),
        event,
        service: None,
        container: None,
        process: false,
        exit_code: None,
        out_of_memory: false,
        late: false,
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests;
