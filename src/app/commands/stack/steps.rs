//! The steps of a deployment, for whoever shows them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::event::{Doing, Event, Events, Progress, StepInfo};

/// What is under way, and since when.
pub(super) struct Steps<'a> {
    events: &'a Events,
    begun: Mutex<BTreeMap<String, Instant>>,
}

impl<'a> Steps<'a> {
    /// Says what is about to be done.
    pub fn announced(
        events: &'a Events,
        command: &str,
        stack: &str,
        steps: Vec<StepInfo>,
        unchanged: Vec<String>,
    ) -> Self {
        let (command, platform) = (command.to_owned(), stack.to_owned());
        events.emit(Event::Started { command, platform, steps, unchanged });
        Self { events, begun: Mutex::default() }
    }

    pub fn start(&self, id: &str) {
        self.begun().insert(id.to_owned(), Instant::now());
        self.events.emit(Event::StepStarted { id: id.to_owned() });
    }

    pub fn waits(&self, id: &str, reason: String) {
        self.events.emit(Event::StepProgress { id: id.to_owned(), progress: Progress::Waiting { reason } });
    }

    pub fn done(&self, id: &str, note: Option<String>) {
        self.events.emit(Event::StepDone { id: id.to_owned(), millis: self.millis(id), note });
    }

    pub fn failed(&self, id: &str, error: impl Display) {
        self.events.emit(Event::StepFailed { id: id.to_owned(), millis: self.millis(id), error: error.to_string() });
    }

    pub fn skipped(&self, id: &str, because: &str) {
        self.events.emit(Event::StepSkipped { id: id.to_owned(), because: because.to_owned() });
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, id: &str) -> u64 {
        let begun = self.begun().get(id).map(Instant::elapsed).unwrap_or_default();
        u64::try_from(begun.as_millis()).unwrap_or(u64::MAX)
    }
}

/// One step of a service or of what services need.
pub(super) fn step(id: String, group: &str, text: String, doing: Doing, after: Vec<String>) -> StepInfo {
    let service = doing == Doing::Await;
    StepInfo { id, group: group.to_owned(), text, after, doing, service, ..StepInfo::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_a_service() {
        let of = |doing| step("a".to_owned(), "web", "b".to_owned(), doing, vec!["c".to_owned()]);
        let expected = |doing, service| StepInfo {
            id: "a".to_owned(),
            group: "web".to_owned(),
            text: "b".to_owned(),
            after: vec!["c".to_owned()],
            doing,
            service,
            expected_millis: None,
            limit_millis: None,
        };
        assert_eq!(of(Doing::Await), expected(Doing::Await, true));
        assert_eq!(of(Doing::Configure), expected(Doing::Configure, false));
    }
}
