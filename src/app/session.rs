//! What every command has in hand: the machine, the platform's state and lock, and the way to carry out a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apply::{Extras, Outcome, Tools, apply};
use crate::engine::Engine;
use crate::event::Events;
use crate::host::{Host, Lock};
use crate::model::{Facts, PlatformName};
use crate::plan::Plan;
use crate::system::System;

use super::{Error, State};

/// How long one command waits for another that works on the same platform.
const PATIENCE: Duration = Duration::from_secs(600);

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
}

impl Session {
    pub fn host(&self) -> &dyn Host {
        &*self.system.host
    }

    /// The engine, or which ones were tried.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, Error> {
        self.system.engine.clone().ok_or_else(|| Error::NoEngine(self.system.discovery.clone()))
    }

    pub fn state(&self, platform: &PlatformName) -> State {
        State::new(&self.system.host.folders().data, platform)
    }

    /// Where the engine that is used answers.
    pub fn endpoint(&self) -> Option<String> {
        self.system.discovery.used().map(|attempt| attempt.endpoint.clone())
    }

    /// Waits for another run on the same platform to end, and says whose it is.
    pub(super) async fn lock(&self, platform: &PlatformName) -> Result<Lock, Error> {
        let path = self.state(platform).lock_file();
        let host = self.host();
        let now = host.now();
        let acquire = Lock::acquire(host, &path, &self.command, Some(PATIENCE), |held| {
            self.events.info(format!("waiting for {}, which holds {}", held.describe(now), path.display()));
        });
        tokio::select! {
            lock = acquire => Ok(lock?),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
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
            labels: BTreeMap::new(),
            cluster: None,
            extras: Extras::default(),
        }
    }

    /// Carries out a plan of which every step has to succeed.
    pub(super) async fn carry_out(&self, platform: &PlatformName, plan: &Plan, tools: Tools) -> Result<Outcome, Error> {
        let outcome = apply(&self.command, platform, plan, tools).await;
        if outcome.is_ok() { Ok(outcome) } else { Err(Error::of_outcome(outcome)) }
    }
}
