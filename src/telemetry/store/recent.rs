//! The spans that have come lately, so that one is kept once: a client that got no answer sends once more.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::telemetry::batch::{Batch, SpanRow};

/// Spans of one generation; there are two. At the rate that the store is made for that is a minute and more, the
/// longest that clients wait before they try again, in 10 MB.
const MOST: usize = 1 << 18;

/// By their hashes, whose key nobody outside knows.
#[derive(Debug, Default)]
pub(super) struct Recent {
    now: HashSet<u64>,
    before: HashSet<u64>,
    state: RandomState,
}

impl Recent {
    /// Takes those out of a batch that are known; true: there were some.
    pub fn take_known(&self, batch: &mut Batch) -> bool {
        let all = batch.spans.len();
        let mut within = HashSet::with_capacity(all);
        batch.spans.retain(|row| {
            let hash = self.hash(row);
            !self.now.contains(&hash) && !self.before.contains(&hash) && within.insert(hash)
        });
        batch.spans.len() < all
    }

    /// To be called once they are kept: what could not be is sent again.
    pub fn add(&mut self, batch: &Batch) {
        for row in &batch.spans {
            if self.now.len() >= MOST {
                self.before = std::mem::take(&mut self.now);
            }
            self.now.insert(self.hash(row));
        }
    }

    fn hash(&self, SpanRow { span, .. }: &SpanRow) -> u64 {
        self.state.hash_one((&span.trace_id, &span.span_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::wire::otlp::Span;

    fn row(number: u64) -> SpanRow {
        let span = Span { trace_id: vec![1; 16], span_id: number.to_be_bytes().to_vec(), ..Span::default() };
        SpanRow { origin: 0, span }
    }

    fn batch(numbers: impl Iterator<Item = u64>) -> Batch {
        Batch { spans: numbers.map(row).collect(), ..Batch::default() }
    }

    #[test]
    fn a_span_is_known_for_long_and_not_forever() {
        let mut recent = Recent::default();
        let left = |recent: &Recent, numbers: &[u64]| {
            let mut all = batch(numbers.iter().copied());
            let some = recent.take_known(&mut all);
            (some, all.spans.len())
        };
        assert_eq!(left(&recent, &[1, 2, 2]), (true, 2), "within one request");
        assert_eq!(left(&recent, &[1, 2]), (false, 2), "nothing of it was kept yet");
        recent.add(&batch(1..3));
        assert_eq!(left(&recent, &[1, 2, 3]), (true, 1));
        let many = u64::try_from(MOST).unwrap();
        recent.add(&batch(10..many + 10));
        assert_eq!(left(&recent, &[1]), (true, 0), "one generation back");
        recent.add(&batch(many + 10..2 * many + 10));
        assert_eq!(left(&recent, &[1]), (false, 1));
        assert!(recent.now.len() <= MOST && recent.before.len() <= MOST);
    }
}
