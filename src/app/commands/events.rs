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
use crate::model::{ContainerState, Health, ObservedContainer, PlatformName, label};
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
    service: String,
    id: String,
    running: bool,
    has_ended: bool,
    health: Option<Health>,
    out_of_memory: bool,
}

/// Which containers there are, by name. Pure.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, Known>);

impl Told {
    fn of(found: &[ObservedContainer]) -> Self {
        Self(found.iter().map(|found| (found.name.clone(), known(found))).collect())
    }

    /// What an event of the engine comes to; none: it is part of another one.
    fn take(&mut self, event: &ContainerEvent) -> Option<ServiceEvent> {
        let known = self.0.entry(event.container.clone()).or_default();
        if !event.service.is_empty() {
            known.service.clone_from(&event.service);
        }
        known.id.clone_from(&event.id);
        let mut exit_code = None;
        let mut out_of_memory = false;
        let kind = match event.happening {
            ContainerHappening::Created => {
                (known.running, known.has_ended) = (false, false);
                EventKind::Created
            }
            ContainerHappening::Started => {
                let kind = if known.has_ended { EventKind::Restarted } else { EventKind::Started };
                (known.running, known.health) = (true, None);
                kind
            }
            ContainerHappening::Died { exit_code: code } => {
                exit_code = code;
                out_of_memory = std::mem::take(&mut known.out_of_memory);
                (known.running, known.has_ended) = (false, true);
                EventKind::Died
            }
            ContainerHappening::OutOfMemory => {
                known.out_of_memory = true;
                return None;
            }
            ContainerHappening::Healthy => {
                known.health = Some(Health::Healthy);
                EventKind::Healthy
            }
            ContainerHappening::Unhealthy => {
                known.health = Some(Health::Unhealthy);
                EventKind::Unhealthy
            }
            ContainerHappening::Paused => EventKind::Paused,
            ContainerHappening::Unpaused => EventKind::Unpaused,
            ContainerHappening::Removed => EventKind::Removed,
        };
        let service = known.service.clone();
        if kind == EventKind::Removed {
            self.0.remove(&event.container);
        }
        Some(ServiceEvent {
            time: event.time.clone(),
            event: kind,
            service: Some(service).filter(|service| !service.is_empty()),
            container: Some(event.container.clone()),
            process: false,
            exit_code,
            out_of_memory,
            late: false,
        })
    }

    /// What has happened while nobody told, by what there is now.
    fn catch_up(&mut self, found: &[ObservedContainer], time: &str) -> Vec<ServiceEvent> {
        let now = Self::of(found);
        let mut all = Vec::new();
        let mut tell = |name: &str, known: &Known, event, exit_code| {
            all.push(ServiceEvent {
                time: time.to_owned(),
                event,
                service: Some(known.service.clone()),
                container: Some(name.to_owned()),
                process: false,
                exit_code,
                out_of_memory: false,
                late: true,
            });
        };
        for (name, before) in &self.0 {
            if now.0.get(name).is_none_or(|now| now.id != before.id) {
                tell(name, before, EventKind::Removed, None);
            }
        }
        for (name, known) in &now.0 {
            let code = found.iter().find(|found| found.name == *name).and_then(|found| found.exit_code);
            let before = self.0.get(name).filter(|before| before.id == known.id);
            match (before.is_some_and(|before| before.running), known.running) {
                (true, false) => tell(name, known, EventKind::Died, code),
                (false, true) if before.is_some_and(|before| before.has_ended) => {
                    tell(name, known, EventKind::Restarted, None);
                }
                (false, true) => tell(name, known, EventKind::Started, None),
                _ => {}
            }
            let health = known.health.filter(|health| before.and_then(|before| before.health) != Some(*health));
            match health {
                Some(Health::Healthy) => tell(name, known, EventKind::Healthy, None),
                Some(Health::Unhealthy) => tell(name, known, EventKind::Unhealthy, None),
                _ => {}
            }
        }
        *self = now;
        all
    }
}

fn known(found: &ObservedContainer) -> Known {
    let running = matches!(found.state, ContainerState::Running | ContainerState::Paused);
    Known {
        service: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        id: found.id.clone(),
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
                if let Some(event) = self.told.take(&event)
                    && !self.teller.tell(event).await
                {
                    return;
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
            let Some(engine) = System::connect(self.session.system.host.clone()).await.engine else { continue };
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
mod tests {
    use super::*;
    use crate::app::testing::process_state;

    fn happens(happening: ContainerHappening) -> ContainerEvent {
        ContainerEvent {
            time: "2026-11-29T02:00:00Z".into(),
            container: "macula-web-1".into(),
            id: "a".into(),
            service: "web".into(),
            happening,
        }
    }

    fn container(name: &str, id: &str, state: ContainerState, health: Health, code: Option<i64>) -> ObservedContainer {
        let labels = [(label::SERVICE.to_owned(), name.to_owned())].into();
        let (name, id) = (format!("macula-{name}-1"), id.to_owned());
        ObservedContainer { name, id, state, health, exit_code: code, labels, ..ObservedContainer::default() }
    }

    #[test]
    fn a_start_after_an_end_is_a_restart() {
        let mut told = Told::default();
        let mut take = |happening| told.take(&happens(happening)).map(|event| (event.event, event.exit_code));
        assert_eq!(take(ContainerHappening::Created), Some((EventKind::Created, None)));
        assert_eq!(take(ContainerHappening::Started), Some((EventKind::Started, None)));
        assert_eq!(take(ContainerHappening::Unhealthy), Some((EventKind::Unhealthy, None)));
        assert_eq!(take(ContainerHappening::Died { exit_code: Some(3) }), Some((EventKind::Died, Some(3))));
        assert_eq!(take(ContainerHappening::Started), Some((EventKind::Restarted, None)));
        assert_eq!(take(ContainerHappening::OutOfMemory), None);
        let died = told.take(&happens(ContainerHappening::Died { exit_code: Some(137) })).unwrap();
        assert!(died.out_of_memory);
        assert_eq!(
            serde_json::to_string(&died).unwrap(),
            r#"{"time":"2026-11-29T02:00:00Z","event":"died","service":"web","container":"macula-web-1","exit_code":137,"out_of_memory":true}"#
        );
    }

    #[test]
    fn only_what_has_run_has_ended() {
        use ContainerState::{Created, Exited, Paused, Running};
        let ended = |state| known(&container("web", "1", state, Health::None, None)).has_ended;
        assert_eq!([Created, Running, Paused, Exited].map(ended), [false, false, false, true]);
    }

    #[test]
    fn what_happened_while_the_engine_was_away_is_found_out() {
        use ContainerState::{Exited, Running};
        let before = [
            container("api", "1", Running, Health::Healthy, None),
            container("db", "2", Running, Health::None, None),
            container("gone", "3", Running, Health::None, None),
            container("web", "4", Exited, Health::None, Some(1)),
        ];
        let after = [
            container("api", "1", Running, Health::Unhealthy, None),
            container("db", "2", Exited, Health::None, Some(143)),
            container("new", "5", Running, Health::None, None),
            container("web", "4", Running, Health::None, None),
        ];
        let mut told = Told::of(&before);
        let events = told.catch_up(&after, "now");
        let lines: Vec<String> = events
            .iter()
            .map(|event| format!("{} {}", event.service.as_deref().unwrap_or_default(), event.event.words()))
            .collect();
        assert_eq!(lines, ["gone removed", "api unhealthy", "db died", "new started", "web restarted"]);
        assert_eq!(events[2].exit_code, Some(143));
        assert!(events.iter().all(|event| event.late));
        assert_eq!(told.catch_up(&after, "later"), []);
    }

    #[test]
    fn processes_are_told_of_like_services() {
        let state = |condition, pid, exit_code| ProcessState { pid, exit_code, ..process_state(condition) };
        let keeping = |states: Vec<ProcessState>| Keeping { states, lost: false };
        let words = |before: &Keeping, now: &Keeping| -> Vec<String> {
            let told = of_processes(before, now, "now").into_iter();
            told.map(|event| format!("{} {:?}", event.event.words(), event.exit_code)).collect()
        };
        let nothing = keeping(Vec::new());
        let starting = keeping(vec![state(ProcessCondition::Starting, Some(7), None)]);
        let running = keeping(vec![state(ProcessCondition::Running, Some(7), None)]);
        let again = keeping(vec![state(ProcessCondition::Running, Some(8), Some(1))]);
        let crashed = keeping(vec![state(ProcessCondition::Crashed, None, Some(2))]);
        assert_eq!(words(&nothing, &starting), ["started None"]);
        assert_eq!(words(&starting, &running), ["healthy None"]);
        assert_eq!(words(&running, &running), Vec::<String>::new());
        assert_eq!(words(&running, &again), ["died Some(1)", "restarted None", "healthy None"]);
        assert_eq!(words(&again, &crashed), ["died Some(2)"]);
        assert_eq!(words(&crashed, &starting), ["restarted None"]);
        assert_eq!(words(&crashed, &nothing), ["removed None"]);
    }
}
