//! Bytes under way, summed over the layers of an image.

use indexmap::IndexMap;

use super::text;

/// Bytes under way in the parts (layers) of one step. Each part goes through phases, such as
/// downloading and extracting; the phase in which some part still lags is the one that is shown,
/// summed over all parts, so that a bar never runs backwards within a phase.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// In order of appearance.
    phases: Vec<String>,
    parts: IndexMap<String, Vec<Amount>>,
}

#[derive(Debug, Clone, Copy)]
struct Amount {
    phase: usize,
    current: u64,
    total: u64,
}

/// The sum over all parts in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum<'a> {
    pub phase: &'a str,
    pub current: u64,
    /// `None`: some part's size is not known.
    pub total: Option<u64>,
}

impl Transfer {
    pub fn put(&mut self, part: &str, phase: &str, current: u64, total: u64) {
        let phase = text::clean_line(phase).to_lowercase();
        let phase = self.phases.iter().position(|known| *known == phase).unwrap_or_else(|| {
            self.phases.push(phase);
            self.phases.len() - 1
        });
        let amounts = self.parts.entry(part.to_owned()).or_default();
        match amounts.iter().position(|amount| amount.phase == phase) {
            // back in an earlier phase: a retry, which makes the later ones void
            Some(at) => amounts.truncate(at),
            None => {
                // it has left the phases before: all of their bytes are there
                for amount in amounts.iter_mut() {
                    amount.current = amount.current.max(amount.total);
                }
            }
        }
        amounts.push(Amount { phase, current, total });
    }

    /// `None` before the first byte is announced.
    pub fn sum(&self) -> Option<Sum<'_>> {
        let mut shown = None;
        for (at, phase) in self.phases.iter().enumerate() {
            let amounts = || {
                self.parts.values().flatten().filter(|amount| amount.phase == at && amount.current + amount.total > 0)
            };
            if amounts().next().is_none() {
                continue;
            }
            let current = amounts().map(|amount| amount.current).fold(0, u64::saturating_add);
            let total = amounts().map(|amount| amount.total).fold(0, u64::saturating_add);
            let known = amounts().all(|amount| amount.total > 0);
            shown = Some(Sum { phase, current, total: known.then_some(total) });
            if !known || current < total {
                break;
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(transfer: &Transfer) -> Option<(&str, u64, Option<u64>)> {
        transfer.sum().map(|sum| (sum.phase, sum.current, sum.total))
    }

    #[test]
    fn layers_are_summed_in_the_phase_that_lags() {
        let mut pull = Transfer::default();
        pull.put("a", "Waiting", 0, 0);
        assert_eq!(sum(&pull), None);
        pull.put("a", "Downloading", 10, 100);
        pull.put("b", "Downloading", 5, 50);
        assert_eq!(sum(&pull), Some(("downloading", 15, Some(150))));
        pull.put("a", "Download complete", 0, 0);
        pull.put("a", "Extracting", 20, 100);
        assert_eq!(sum(&pull), Some(("downloading", 105, Some(150))), "b still comes in");
        pull.put("b", "Extracting", 0, 50);
        assert_eq!(sum(&pull), Some(("extracting", 20, Some(150))));
        pull.put("b", "Downloading", 1, 50);
        assert_eq!(sum(&pull), Some(("downloading", 101, Some(150))), "b is fetched again");
    }

    #[test]
    fn an_unknown_size_gives_no_bar() {
        let mut load = Transfer::default();
        load.put("", "loading", 700, 0);
        assert_eq!(sum(&load), Some(("loading", 700, None)));
    }
}
