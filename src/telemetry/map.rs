//! Who calls whom: spans whose parent is a span of another service. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;
use serde::Serialize;

use super::batch::{Origin, SpanRow, origin};
use super::query::{ID, TraceFilter};
use super::store::Snapshot;
use super::store::frame::{Kind, SpanPart};

/// Spans that are looked at, the newest first: of more a picture says no more, and takes longer.
const MOST_SPANS: usize = 200_000;
const PERCENTILE: usize = 95;

/// The services, and the calls between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServiceMap {
    /// What it was drawn from.
    pub spans: usize,
    pub traces: usize,
    pub services: Vec<Served>,
    pub calls: Vec<Calls>,
}

/// What came to a service from outside of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Served {
    pub service: String,
    pub count: usize,
    pub errors: usize,
    pub p95_us: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calls {
    pub from: String,
    pub to: String,
    pub count: usize,
    pub errors: usize,
    /// As the called service has measured it.
    pub p95_us: u64,
}

/// A span without what the map has no use for; the numbers are those of [`super::wire::otlp::Span`].
#[derive(Clone, PartialEq, Message)]
struct Bare {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, optional, tag = "15")]
    status: Option<BareStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct BareStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BareRow {
    #[prost(uint32, tag = "1")]
    origin: u32,
    #[prost(message, required, tag = "2")]
    span: Bare,
}

/// One span as the map counts it.
struct Counted {
    parent: Vec<u8>,
    service: usize,
    took: u64,
    failed: bool,
}

#[derive(Default)]
struct Drawing {
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// By trace and span.
    spans: HashMap<(Vec<u8>, Vec<u8>), Counted>,
}

impl Drawing {
    fn place(&mut self, origins: &[Origin], number: u32) -> usize {
        let name = origin(origins, number).map(|origin| origin.service.as_str()).unwrap_or_default();
        match self.places.get(name) {
            Some(place) => *place,
            None => {
                self.names.push(name.to_owned());
                self.places.insert(name.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            }
        }
    }

    /// Once, however often it was sent.
    fn add(&mut self, trace: Vec<u8>, span: Vec<u8>, counted: Counted) {
        self.spans.entry((trace, span)).or_insert(counted);
    }

    fn is_full(&self) -> bool {
        self.spans.len() >= MOST_SPANS
    }

    fn map(&self) -> ServiceMap {
        let mut calls: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
        let mut services: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut traces: HashSet<&[u8]> = HashSet::new();
        let name = |place: usize| self.names.get(place).map(String::as_str).unwrap_or_default();
        for ((trace, _), span) in &self.spans {
            traces.insert(trace);
            let to = name(span.service);
            let parent = self.spans.get(&(trace.clone(), span.parent.clone()));
            match parent {
                // within a service
                Some(parent) if parent.service == span.service => {
                    services.entry(to).or_default();
                }
                Some(parent) => {
                    calls.entry((name(parent.service), to)).or_default().add(span);
                    services.entry(to).or_default().add(span);
                }
                None => services.entry(to).or_default().add(span),
            }
        }
        ServiceMap {
            spans: self.spans.len(),
            traces: traces.len(),
            services: services
                .into_iter()
                .map(|(service, mut tally)| Served {
                    service: service.to_owned(),
                    count: tally.took.len(),
                    errors: tally.errors,
                    p95_us: tally.p95_us(),
                })
                .collect(),
            calls: calls
                .into_iter()
                .map(|((from, to), mut tally)| Calls {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    count: tally.took.len(),
                    errors: tally.errors,
                    p95_us: tally.p95_us(),
                })
                .collect(),
        }
    }
}

#[derive(Default)]
struct Tally {
    /// Nanoseconds.
    took: Vec<u64>,
    errors: usize,
}

impl Tally {
    fn add(&mut self, span: &Counted) {
        self.took.push(span.took);
        self.errors += usize::from(span.failed);
    }

    /// The smallest time that 95 of 100 do not exceed.
    fn p95_us(&mut self) -> u64 {
        let at = (self.took.len() * PERCENTILE).div_ceil(100).saturating_sub(1);
        if self.took.is_empty() {
            return 0;
        }
        let (_, found, _) = self.took.select_nth_unstable(at);
        *found / 1000
    }
}

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

impl Snapshot {
    /// The map of the newest traces that are wanted; the filter's limit is how many are looked for where not all
    /// are. A block that cannot be read is passed over.
    pub fn service_map(&self, wanted: &TraceFilter) -> ServiceMap {
        let mut drawing = Drawing::default();
        let chosen: Option<HashSet<Vec<u8>>> =
            wanted.chooses().then(|| self.chosen(wanted).0.into_iter().map(|head| head.trace).collect());
        let takes = |trace: &[u8]| chosen.as_ref().is_none_or(|chosen| chosen.contains(trace));
        for batch in self.tail.iter().rev() {
            for SpanRow { origin, span } in batch.spans.iter().filter(|row| takes(&row.span.trace_id)) {
                let service = drawing.place(&batch.origins, *origin);
                let took = span.end.saturating_sub(span.start);
                let parent = span.parent_span_id.clone();
                let counted = Counted { parent, service, took, failed: span.failed() };
                drawing.add(span.trace_id.clone(), span.span_id.clone(), counted);
            }
        }
        for block in self.blocks.iter().rev().filter(|block| block.head.kind() == Some(Kind::Spans)) {
            if drawing.is_full() {
                break;
            }
            let Ok(part) = block.message::<SpanPart>(1) else { continue };
            for row in &part.rows {
                // each row has its trace's id in front
                let Some((trace, row)) = row.split_at_checked(ID) else { continue };
                if !takes(trace) {
                    continue;
                }
                let Ok(BareRow { origin, span }) = BareRow::decode(row) else { continue };
                let service = drawing.place(&part.origins, origin);
                let failed = span.status.is_some_and(|status| status.code == ERROR);
                let took = span.end.saturating_sub(span.start);
                drawing.add(span.trace, span.span, Counted { parent: span.parent, service, took, failed });
            }
        }
        drawing.map()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::batch::Batch;
    use crate::telemetry::wire::otlp::{Span, SpanStatus};
    use crate::telemetry::{Limits, Store};

    /// Of one trace: id, parent, service, milliseconds, failed.
    fn batch(trace: u8, spans: &[(u8, u8, &str, u64, bool)]) -> Batch {
        let mut batch = Batch::default();
        for (at, (id, parent, service, took, failed)) in spans.iter().enumerate() {
            batch.origins.push(Origin { service: (*service).into(), ..Origin::default() });
            let span = Span {
                trace_id: vec![trace; 16],
                span_id: vec![*id; 8],
                parent_span_id: if *parent == 0 { Vec::new() } else { vec![*parent; 8] },
                name: "x".into(),
                start: 1_000_000,
                end: 1_000_000 + took * 1_000_000,
                status: failed.then(|| SpanStatus { code: ERROR, ..SpanStatus::default() }),
                ..Span::default()
            };
            batch.spans.push(SpanRow { origin: u32::try_from(at).unwrap(), span });
        }
        batch
    }

    fn one() -> Batch {
        // shop calls cart twice, and cart the database once
        batch(
            1,
            &[
                (1, 0, "shop", 100, false),
                (2, 1, "shop", 90, false),
                (3, 2, "cart", 40, false),
                (4, 2, "cart", 60, true),
                (5, 4, "db", 5, false),
            ],
        )
    }

    fn text(map: &ServiceMap) -> String {
        let calls = map.calls.iter().map(|call| {
            let Calls { from, to, count, errors, p95_us } = call;
            format!("{from} > {to}: {count}, {errors} failed, {p95_us} us\n")
        });
        let services = map.services.iter().map(|one| {
            let Served { service, count, errors, p95_us } = one;
            format!("{service}: {count}, {errors} failed, {p95_us} us\n")
        });
        calls.chain(services).collect()
    }

    #[test]
    fn calls_are_spans_of_another_service() {
        let again = one();
        let lost = batch(2, &[(9, 8, "cart", 7, false)]);
        let snapshot = Snapshot { tail: [one(), again, lost].map(Arc::new).into(), ..Snapshot::default() };
        let map = snapshot.service_map(&TraceFilter::default());
        assert_eq!((map.spans, map.traces), (6, 2));
        insta::assert_snapshot!(text(&map), @"
        cart > db: 1, 0 failed, 5000 us
        shop > cart: 2, 1 failed, 60000 us
        cart: 3, 1 failed, 60000 us
        db: 1, 0 failed, 5000 us
        shop: 1, 0 failed, 100000 us
        ");
        assert_eq!(Snapshot::default().service_map(&TraceFilter::default()), ServiceMap::default());
    }

    #[test]
    fn a_map_of_some_traces_has_their_calls_alone() {
        let fine = batch(2, &[(1, 0, "shop", 10, false), (2, 1, "mail", 5, false)]);
        let snapshot = Snapshot { tail: [one(), fine].map(Arc::new).into(), ..Snapshot::default() };
        let calls = |wanted: TraceFilter| {
            let map = snapshot.service_map(&TraceFilter { limit: 10, ..wanted });
            map.calls.into_iter().map(|call| format!("{} > {}", call.from, call.to)).collect::<Vec<_>>()
        };
        assert_eq!(calls(TraceFilter::default()), ["cart > db", "shop > cart", "shop > mail"]);
        assert_eq!(calls(TraceFilter { errors: true, ..TraceFilter::default() }), ["cart > db", "shop > cart"]);
        assert_eq!(calls(TraceFilter { slow: 50_000_000, ..TraceFilter::default() }), ["cart > db", "shop > cart"]);
        let mail = TraceFilter { service: Some("mail".into()), ..TraceFilter::default() };
        assert_eq!(calls(mail), ["shop > mail"]);
    }

    #[test]
    fn blocks_say_the_same_as_the_journal() {
        let folder = tempfile::TempDir::new().unwrap();
        let (store, _) = Store::open(folder.path(), Limits::default()).unwrap();
        store.keep(one()).unwrap();
        let before = store.snapshot().service_map(&TraceFilter::default());
        drop(store);
        let (store, _) = Store::open(folder.path(), Limits::default()).unwrap();
        let snapshot = store.snapshot();
        assert!(snapshot.tail.is_empty() && !snapshot.blocks.is_empty());
        assert_eq!(snapshot.service_map(&TraceFilter::default()), before);
    }
}
