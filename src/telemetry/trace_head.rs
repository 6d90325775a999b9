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
        let known = self.services.len();
        for service in other.services {
            let within = self.services.get(..known).unwrap_or_default();
            if within.binary_search(&service).is_err() {
                self.services.push(service);
            }
        }
        if self.services.len() > known {
            self.services.sort();
            self.services.dedup();
        }
    }
}

/// The traces of these batches, each span of them once: a client that got no answer sends once more.
pub fn heads<'b>(batches: impl IntoIterator<Item = &'b Batch>) -> Vec<TraceHead> {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut seen: HashSet<(&[u8], &[u8])> = HashSet::new();
    // with the services of each, which would take long to sort again for every span
    let mut all: Vec<(TraceHead, BTreeSet<&str>)> = Vec::new();
    let rows = batches.into_iter().flat_map(|batch| batch.spans.iter().map(|row| (&batch.origins, row)));
    for (origins, SpanRow { origin: from, span }) in rows {
        if !seen.insert((span.trace_id.as_slice(), span.span_id.as_slice())) {
            continue;
        }
        let service = origin(origins, *from).map(|origin| origin.service.as_str()).unwrap_or_default();
        let head = TraceHead {
            trace: span.trace_id.clone(),
            start: span.start,
            end: span.end,
            spans: 1,
            errors: u32::from(span.failed()),
            name: span.name.clone(),
            rooted: span.parent_span_id.is_empty(),
            service: service.to_owned(),
            services: Vec::new(),
        };
        match places.get(span.trace_id.as_slice()).and_then(|at| all.get_mut(*at)) {
            Some((known, services)) => {
                known.add(head);
                services.insert(service);
            }
            None => {
                places.insert(&span.trace_id, all.len());
                all.push((head, BTreeSet::from([service])));
            }
        }
    }
    let named = |(head, services): (TraceHead, BTreeSet<&str>)| {
        let services = services.into_iter().map(str::to_owned).collect();
        TraceHead { services, ..head }
    };
    all.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::batch::Origin;
    use crate::telemetry::wire::otlp::Span;

    /// A batch with one trace, and a span of it from each of these.
    fn batch(first: u8, services: &[&str]) -> Batch {
        let origin = |service: &&str| Origin { service: (*service).to_owned(), ..Origin::default() };
        let row = |at: u8| {
            let span = Span { trace_id: vec![7; 16], span_id: vec![first + at; 8], ..Span::default() };
            SpanRow { origin: u32::from(at), span }
        };
        let spans = (0..u8::try_from(services.len()).unwrap()).map(row).collect();
        Batch { origins: services.iter().map(origin).collect(), spans, ..Batch::default() }
    }

    #[test]
    fn services_are_named_once_and_in_order() {
        let one = batch(1, &["shop", "cart", "shop", "billing"]);
        let found = heads([&one]);
        let [head] = &found[..] else { panic!("{found:?}") };
        assert_eq!((head.spans, head.service.as_str()), (4, "shop"));
        assert_eq!(head.services, ["billing", "cart", "shop"]);
        let other = batch(101, &["web", "cart", "api"]);
        let mut all = head.clone();
        all.add(heads([&other]).remove(0));
        assert_eq!((all.spans, all.services.len()), (7, 5));
        assert_eq!(all.services, ["api", "billing", "cart", "shop", "web"]);
        assert_eq!(heads([&one, &other])[0].services, all.services);
    }
}
