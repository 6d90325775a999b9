//! When each step ran, and which chain of them decided how long the run took. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::plan::{Cause, StepId};

/// One step that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub step: StepId,
    pub group: String,
    pub cause: Cause,
    /// Steps that had to end before.
    pub after: Vec<StepId>,
    /// Since the beginning of the run.
    pub start: Duration,
    pub duration: Duration,
    /// What went wrong.
    pub error: Option<String>,
}

impl Timing {
    fn end(&self) -> Duration {
        self.start.saturating_add(self.duration)
    }
}

/// Indices of the steps that decided the length of the run, first to last: from the step that
/// ended last, back over the latest of those that it waited for.
pub fn critical_path(timings: &[Timing]) -> Vec<usize> {
    let places: HashMap<&str, usize> = timings.iter().enumerate().map(|(at, step)| (step.step.as_str(), at)).collect();
    // of those that end together, the one that lasted longer says more
    let latest = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates
            .filter_map(|at| timings.get(at).map(|step| (step.end(), step.duration, Reverse(at))))
            .max()
            .map(|(_, _, at)| at.0)
    };
    let mut path = Vec::new();
    let mut next = latest(&mut (0..timings.len()));
    while let Some(at) = next {
        path.push(at);
        let before = timings.get(at).map(|step| step.after.as_slice()).unwrap_or_default();
        // a step met before would be a cycle
        let mut candidates =
            before.iter().filter_map(|id| places.get(id.as_str()).copied()).filter(|at| !path.contains(at));
        next = latest(&mut candidates);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(step: &str, start: u64, duration: u64, after: &[&str]) -> Timing {
        Timing {
            step: step.into(),
            group: String::new(),
            cause: Cause::Missing,
            after: after.iter().map(|id| (*id).to_owned()).collect(),
            start: Duration::from_millis(start),
            duration: Duration::from_millis(duration),
            error: None,
        }
    }

    #[test]
    fn the_path_leads_back_over_the_latest() {
        let timings = [
            ran("network", 0, 60, &[]),
            ran("image", 2, 6200, &[]),
            ran("create", 6205, 90, &["network", "image"]),
            ran("web", 61, 80, &["network"]),
            ran("web-ready", 150, 4000, &["web"]),
            ran("ready", 6540, 2300, &["create"]),
        ];
        let path: Vec<&str> = critical_path(&timings).into_iter().map(|at| timings[at].step.as_str()).collect();
        assert_eq!(path, ["image", "create", "ready"]);
        assert_eq!(critical_path(&[]), [0; 0]);
    }

    #[test]
    fn a_cycle_and_unknown_steps_end_the_path() {
        assert_eq!(critical_path(&[ran("a", 0, 5, &["b", "gone"]), ran("b", 0, 9, &["a"])]), [0, 1]);
    }
}
