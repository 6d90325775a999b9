//! What every command has in hand: the machine, the platform's state and lock, and the way to carry out a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apply::{Extras, Outcome, Tools, apply};
use crate::engine::Engine;
use crate::event::Events;
use crate::host::{Host, Lock};
use crate::model::{Facts, Invocation, MaculaCommand, PlatformName, label};
use crate::plan::Plan;
use crate::system::System;

use super::{Error, State};

/// How long one command waits for another that works on the same platform.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often a command that goes on for long says that it uses the platform.
const IN_USE: Duration = Duration::from_secs(10);

/// See [`Session::in_use`].
pub struct InUse(JoinHandle<()>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What every command has in hand.
#[derive(Clone)]
pub struct Session {
    pub system: System,
    pub events: Events,
    pub cancel: CancellationToken,
    /// As typed, for the lock file: `macula up`.
    pub command: String,
    pub version: &'static str,
    /// This program, for what it leaves running.
    pub program: PathBuf,
    /// The user named the platform: one that does not exist is a mistake, where a command makes none.
    pub named: bool,
    /// What commands to type have to repeat.
    pub invocation: Invocation,
}

impl Session {
    pub fn host(&self) -> &dyn Host {
        &*self.system.host
    }

    /// The engine, or which ones were tried.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, Error> {
        self.system.engine.clone().ok_or_else(|| Error::NoEngine(self.system.discovery.clone()))
    }

    /// A command to type, as it means the same platform.
    pub fn line(&self, command: MaculaCommand) -> String {
        command.line(&self.invocation)
    }

    pub fn state(&self, platform: &PlatformName) -> State {
        State::new(&self.system.host.folders().data, platform)
    }

    /// Where the engine that is used answers.
    pub fn endpoint(&self) -> Option<String> {
        self.system.discovery.used().map(|attempt| attempt.endpoint.clone())
    }

    /// The engines that the platform was brought up on, where the one that is used is none of them, as far as that was
    /// written down.
    pub(super) async fn engines_elsewhere(&self, platform: &PlatformName) -> Result<BTreeSet<String>, Error> {
        let (host, state) = (self.host(), self.state(platform));
        match self.endpoint() {
            Some(endpoint) if !state.is_on(host, &endpoint).await? => state.engines(host).await,
            _ => Ok(BTreeSet::new()),
        }
    }

    /// For commands that make no platform: one that the user named has to exist. What `down` leaves behind
    /// (a lock) is enough, so that a second `down` has nothing to do.
    pub(super) async fn check_known(&self, platform: &PlatformName) -> Result<(), Error> {
        if !self.named || self.host().exists(self.state(platform).folder()).await {
            return Ok(());
        }
        // without an engine nobody knows what runs there
        self.engine()?;
        let known = self.platforms().await;
        match known.contains(platform) {
            true => Ok(()),
            false => Err(Error::UnknownPlatform {
                name: platform.to_string(),
                known: known.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// All platforms of this user: those that were brought up once and not removed, and what runs on the engine.
    pub(super) async fn platforms(&self) -> BTreeSet<PlatformName> {
        let host = self.host();
        let data = host.folders().data;
        let mut all = BTreeSet::new();
        for name in host.list(&data).await.unwrap_or_default() {
            let Ok(name) = PlatformName::new(&name) else { continue };
            if State::new(&data, &name).exists(host).await {
                all.insert(name);
            }
        }
        if let Some(engine) = &self.system.engine {
            let running = engine.labelled(label::PLATFORM).await.unwrap_or_default();
            let names = running.iter().filter_map(|found| found.label(label::PLATFORM));
            all.extend(names.filter_map(|name| PlatformName::new(name).ok()));
        }
        all
    }

    /// Waits for another run on the same platform to end, and says whose it is.
    pub(super) async fn lock(&self, platform: &PlatformName) -> Result<Lock, Error> {
        let lock = self.lock_unused(platform).await?;
        self.state(platform).note_use(self.host(), self.host().now()).await;
        Ok(lock)
    }

    /// The same, but for the note that the platform is used: that its lease ends is no use.
    pub(super) async fn lock_unused(&self, platform: &PlatformName) -> Result<Lock, Error> {
        let path = self.state(platform).lock_file();
        let host = self.host();
        let now = host.now();
        let acquire = Lock::acquire(host, &path, &self.command, Some(PATIENCE), |held| {
            // the services that this very command serves take turns
            if held.pid != Some(std::process::id()) {
                self.events.info(format!("waiting for {}, which holds {}", held.describe(now), path.display()));
            }
        });
        let lock = tokio::select! {
            lock = acquire => lock?,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        };
        Ok(lock)
    }

    /// The platform counts as used until the value is dropped.
    pub fn in_use(&self, platform: &PlatformName) -> InUse {
        let (host, state) = (self.system.host.clone(), self.state(platform));
        InUse(tokio::spawn(async move {
            loop {
                state.note_use(&*host, host.now()).await;
                tokio::time::sleep(IN_USE).await;
            }
        }))
    }

    /// For carrying out a plan that obtains no image and makes no cluster.
    pub(super) fn tools(&self, engine: Arc<dyn Engine>, facts: Facts) -> Tools {
        Tools {
            engine,
            host: self.system.host.clone(),
            facts,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            program: self.program.clone(),
            image_timeout: Duration::ZERO,
            domain: String::new(),
            labels: BTreeMap::new(),
            loader: None,
            cluster: None,
            tasks: None,
            extras: Extras::default(),
        }
    }

    /// Carries out a plan of which every step has to succeed.
    pub(super) async fn carry_out(&self, platform: &PlatformName, plan: &Plan, tools: Tools) -> Result<Outcome, Error> {
        let outcome = apply(&self.command, platform, plan, tools).await;
        if outcome.is_ok() { Ok(outcome) } else { Err(Error::of_outcome(outcome)) }
    }
}
