//! One process that is kept, and where it stands.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::host::Family;

use super::{Order, ProcessCondition, ProcessState};

/// One process and what is done for it.
pub(super) struct Kept {
    pub order: Order,
    pub state: ProcessState,
    pub run: u64,
    pub begun: Instant,
    /// Ends in a row that came soon after their start.
    pub failures: u32,
    /// Of the last run. Without its group once that has ended: the number may be another group's by then, the mark is
    /// nobody else's.
    pub family: Family,
    /// Somebody ends all of the last run.
    pub stopping: Arc<AtomicBool>,
    /// Waits for the end of the last run, and is never ended itself.
    pub end: Option<JoinHandle<()>>,
    /// Until its end, and until it is ready.
    pub of_run: Vec<JoinHandle<()>>,
    /// Its names.
    pub names: Vec<JoinHandle<()>>,
    pub watch: Option<JoinHandle<()>>,
}

impl Kept {
    pub fn new(order: Order, now: i64) -> Self {
        let state = ProcessState {
            name: order.process.name.clone(),
            condition: ProcessCondition::Stopped,
            pid: None,
            port: order.port,
            exit_code: None,
            restarts: 0,
            since: now,
            reason: None,
            nameless: None,
            parts: order.parts.clone(),
            log: order.log.clone(),
            log_from: 0,
            stop_grace_period: order.process.stop_grace_period,
        };
        Self {
            order,
            state,
            run: 0,
            begun: Instant::now(),
            failures: 0,
            family: Family::default(),
            stopping: Arc::default(),
            end: None,
            of_run: Vec::new(),
            names: Vec::new(),
            watch: None,
        }
    }

    pub fn turn(&mut self, condition: ProcessCondition, now: i64) {
        if condition != ProcessCondition::Blocked {
            self.state.reason = None;
        }
        (self.state.condition, self.state.since) = (condition, now);
    }

    /// It could not be started.
    pub fn block(&mut self, reason: String, now: i64) {
        self.names.drain(..).for_each(|task| task.abort());
        self.state.reason = Some(reason);
        self.turn(ProcessCondition::Blocked, now);
    }
}
