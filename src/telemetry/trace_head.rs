//! What is known of a trace without its spans.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost::Message;

use super::batch::{Batch, SpanRow, origin};

/// A trace without its spans.
#[derive(Clone, PartialEq, Message)]
pub struct TraceHead {
    #[prost(bytes = "vec", tag = "1")]
    pub trace: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    #[prost(fixed64, tag = "3")]
    pub end: u64,
    #[prost(uint32, tag = "4")]
    pub spans: u32,
    #[prost(uint32, tag = "5")]
    pub errors: u32,
    /// Of the root, or of the first span while that has not come.
    #[prost(string, tag = "6")]
    pub name: String,
    #[prost(string, tag = "7")]
    pub service: String,
    #[prost(bool, tag = "8")]
    pub rooted: bool,
    /// All that take part, in order.
    #[prost(string, repeated, tag = "9")]
    pub services: Vec<String>,
}

impl TraceHead {
    /// Nanoseconds.
    pub fn took(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn add(&mut self, other: Self) {
        let better = other.rooted && !self.rooted || (other.rooted == self.rooted && other.start < self.start);
        if better {
            (self.name, self.service) = (other.name, other.service);
        }
        self.rooted |= other.rooted;
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.spans = self.spans.saturating_add(other.spans);
        self.errors = self.errors.saturating_add(other.errors);
        if self.services != other.services {
            let all: BTreeSet<String> = self.services.drain(..).chain(other.services).collect();
            self.services = all.into_iter().collect();
        }
    }
}

/// The traces of these batches, each span of them once: a client that got no answer sends once more.
pub fn heads<'b>(batches: impl IntoIterator<Item = &'b Batch>) -> Vec<TraceHead> {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut seen: HashSet<(&[u8], &[u8])> = HashSet::new();
    let mut all: Vec<TraceHead> = Vec::new();
    let rows = batches.into_iter().flat_map(|batch| batch.spans.iter().map(|row| (&batch.origins, row)));
    for (origins, SpanRow { origin: from, span }) in rows {
        if !seen.insert((span.trace_id.as_slice(), span.span_id.as_slice())) {
            continue;
        }
        let service = origin(origins, *from).map(|origin| origin.service.clone()).unwrap_or_default();
        let head = TraceHead {
            trace: span.trace_id.clone(),
            start: span.start,
            end: span.end,
            spans: 1,
            errors: u32::from(span.failed()),
            name: span.name.clone(),
            rooted: span.parent_span_id.is_empty(),
            services: vec![service.clone()],
            service,
        };
        match places.get(span.trace_id.as_slice()).and_then(|at| all.get_mut(*at)) {
            Some(known) => known.add(head),
            None => {
                places.insert(&span.trace_id, all.len());
                all.push(head);
            }
        }
    }
    all
}
