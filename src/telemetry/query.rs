//! Questions to what is kept: traces, lines and metrics. The newest first, and no further back than is needed.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost::Message;

use super::batch::{Batch, LineRow, Origin, PointRow, SpanRow, origin, plain_map};
use super::filter::may_have;
use super::scan::Needle;
use super::series::{Senders, Series};
use super::store::frame::{HeadPart, Kind, LinePart, PointPart, SpanPart};
use super::store::{Snapshot, StoreError};
use super::trace_head::{TraceHead, heads};
use super::wire::otlp::Span;

/// Spans of one trace that are shown.
const MOST_SPANS: usize = 20_000;
/// Bytes of a trace's id.
pub(super) const ID: usize = 16;
/// Traces that may come together from several blocks while they are looked for.
const MOST_OPEN: usize = 50_000;
/// Traces of one list whose spans are counted one by one, where they lie in several blocks.
const MOST_COUNTED: usize = 500;
/// Points that are looked at for one picture of the metrics.
const MOST_POINTS: usize = 200_000;
/// Of a series that are shown.
const POINTS: usize = 120;

/// Which traces are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// One that takes part in it.
    pub service: Option<String>,
    /// At least so long, nanoseconds.
    pub slow: u64,
    pub errors: bool,
    /// Most of them.
    pub limit: usize,
}

impl TraceFilter {
    /// Not every trace is wanted.
    pub fn chooses(&self) -> bool {
        self.service.is_some() || self.slow > 0 || self.errors
    }

    fn takes(&self, head: &TraceHead) -> bool {
        head.took() >= self.slow
            && (!self.errors || head.errors > 0)
            && self.service.as_ref().is_none_or(|service| head.services.contains(service))
    }
}

/// A span, and who has sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanView {
    pub span: Span,
    pub origin: Arc<Origin>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineFilter {
    /// In the text, whatever the case of its letters.
    pub search: String,
    pub service: Option<String>,
    pub trace: Option<Vec<u8>>,
    /// As [`LineRow::severity`]; lines that say none are left out above 0.
    pub severity: u32,
    /// Nanoseconds since the epoch.
    pub since: u64,
    /// Most of them, the newest.
    pub limit: usize,
}

/// A line, and who has sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct LineView {
    pub row: LineRow,
    pub origin: Arc<Origin>,
}

impl Snapshot {
    /// With more that is as new as anything in it.
    #[must_use]
    pub fn with(mut self, batches: impl IntoIterator<Item = Batch>) -> Self {
        self.tail.extend(batches.into_iter().map(Arc::new));
        self
    }

    /// The newest traces that are wanted. A block that cannot be read is passed over.
    pub fn traces(&self, wanted: &TraceFilter) -> Vec<TraceHead> {
        let (mut found, scattered) = self.chosen(wanted);
        for head in found.iter_mut().filter(|head| scattered.contains(&head.trace)).take(MOST_COUNTED) {
            // what cannot be read was counted as well as it can be
            if let Ok(spans) = self.trace(&head.trace)
                && spans.len() < MOST_SPANS
            {
                head.spans = u32::try_from(spans.len()).unwrap_or(u32::MAX);
                let failed = spans.iter().filter(|view| view.span.failed()).count();
                head.errors = u32::try_from(failed).unwrap_or(u32::MAX);
            }
        }
        found
    }

    /// The same as their heads say, and those of them that are in several places: their counts may be too high.
    pub(super) fn chosen(&self, wanted: &TraceFilter) -> (Vec<TraceHead>, HashSet<Vec<u8>>) {
        let mut open: HashMap<Vec<u8>, TraceHead> = HashMap::new();
        // a span of theirs may have been counted in each
        let mut scattered: HashSet<Vec<u8>> = HashSet::new();
        let add = |open: &mut HashMap<Vec<u8>, TraceHead>, scattered: &mut HashSet<Vec<u8>>, heads: Vec<TraceHead>| {
            for head in heads {
                match open.get_mut(&head.trace) {
                    Some(known) => {
                        scattered.insert(head.trace.clone());
                        known.add(head);
                    }
                    None => drop(open.insert(head.trace.clone(), head)),
                }
            }
        };
        add(&mut open, &mut scattered, heads(self.tail.iter().rev().map(|batch| &**batch)));
        for block in self.blocks.iter().rev().filter(|block| block.head.kind() == Some(Kind::Spans)) {
            // a trace that is complete enough begins after everything in this block ends
            if wanted.limit > 0
                && open.len() >= wanted.limit
                && let Some(oldest) = oldest_of_newest(&open, wanted)
                && block.head.to < oldest
            {
                break;
            }
            if let Ok(part) = block.message::<HeadPart>(0) {
                add(&mut open, &mut scattered, part.heads);
            }
            if open.len() > MOST_OPEN {
                open.retain(|_, head| wanted.takes(head));
                scattered.retain(|trace| open.contains_key(trace));
            }
        }
        let mut found: Vec<TraceHead> = open.into_values().filter(|head| wanted.takes(head)).collect();
        found.sort_by(|one, other| other.start.cmp(&one.start).then_with(|| one.trace.cmp(&other.trace)));
        found.truncate(wanted.limit);
        (found, scattered)
    }

    /// The spans of a trace, by their start.
    ///
    /// # Errors
    /// A block that has some of them cannot be read.
    pub fn trace(&self, id: &[u8]) -> Result<Vec<SpanView>, StoreError> {
        let mut found = Vec::new();
        if id.len() != ID {
            return Ok(found);
        }
        // a client that got no answer sends once more
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for batch in &self.tail {
            for row in batch.spans.iter().filter(|row| row.span.trace_id == id) {
                if !seen.insert(row.span.span_id.clone()) {
                    continue;
                }
                let origin = origin(&batch.origins, row.origin).cloned().unwrap_or_default();
                found.push(SpanView { span: row.span.clone(), origin: Arc::new(origin) });
            }
        }
        for block in self.blocks.iter().rev() {
            if found.len() >= MOST_SPANS || block.head.kind() != Some(Kind::Spans) || !may_have(&block.head.filter, id)
            {
                continue;
            }
            let part = block.message::<SpanPart>(1)?;
            let origins: Vec<Arc<Origin>> = part.origins.into_iter().map(Arc::new).collect();
            for row in &part.rows {
                let Some(row) = row.strip_prefix(id) else { continue };
                let Ok(row) = SpanRow::decode(row) else { continue };
                if !seen.insert(row.span.span_id.clone()) {
                    continue;
                }
                let place = usize::try_from(row.origin).unwrap_or(usize::MAX);
                let origin = origins.get(place).cloned().unwrap_or_default();
                found.push(SpanView { span: row.span, origin });
            }
        }
        found.truncate(MOST_SPANS);
        found.sort_by_key(|view| (view.span.start, Reverse(view.span.end)));
        Ok(found)
    }

    /// Whole ids that begin as typed; most of `limit`.
    pub fn traces_like(&self, typed: &str, limit: usize) -> Vec<TraceHead> {
        let all = TraceFilter { limit: usize::MAX, ..TraceFilter::default() };
        let mut found = self.traces(&all);
        found.retain(|head| crate::words::hex(&head.trace).starts_with(typed));
        found.truncate(limit);
        found
    }

    /// The newest lines that are wanted, the oldest of them first. A block that cannot be read is passed over.
    pub fn lines(&self, wanted: &LineFilter) -> Vec<LineView> {
        let needle = Needle::new(&wanted.search);
        let mut newest = Newest::of(wanted);
        for batch in self.tail.iter().rev() {
            let origins: Vec<Arc<Origin>> = batch.origins.iter().cloned().map(Arc::new).collect();
            for row in batch.lines.iter().rev() {
                if needle.as_ref().is_none_or(|needle| needle.is_in(row.text.as_bytes())) {
                    newest.add(&origins, row, || row.text.clone());
                }
            }
        }
        for block in self.blocks.iter().rev() {
            let head = &block.head;
            if head.kind() != Some(Kind::Lines) || head.to < wanted.since {
                continue;
            }
            if wanted.trace.as_ref().is_some_and(|id| !may_have(&head.filter, id)) {
                continue;
            }
            // what came last need not be the newest
            if newest.oldest().is_some_and(|oldest| head.to < oldest) {
                continue;
            }
            let Ok(texts) = block.part(0) else { continue };
            if needle.as_ref().is_some_and(|needle| !needle.is_in(&texts)) {
                continue;
            }
            let Ok(part) = block.message::<LinePart>(1) else { continue };
            let origins: Vec<Arc<Origin>> = part.origins.into_iter().map(Arc::new).collect();
            for (at, row) in part.rows.iter().enumerate().rev() {
                let end_of = |at: usize| part.ends.get(at).and_then(|end| usize::try_from(*end).ok());
                let start = at.checked_sub(1).and_then(end_of).unwrap_or_default();
                let text = end_of(at).and_then(|end| texts.get(start..end)).unwrap_or_default();
                if needle.as_ref().is_none_or(|needle| needle.is_in(text)) {
                    newest.add(&origins, row, || String::from_utf8_lossy(text).into_owned());
                }
            }
        }
        newest.cut();
        newest.found.reverse();
        newest.found
    }

    /// What metrics were sent since a moment, by sender and name; most of `limit`. Two senders of one name have a series
    /// each: replicas, workers, libraries.
    pub fn metrics(&self, since: u64, limit: usize) -> Vec<Series> {
        let mut senders = Senders::default();
        let mut all: HashMap<(usize, String, String), Series> = HashMap::new();
        let mut looked = 0;
        let mut add = |origins: &[Origin], rows: &[PointRow]| {
            let numbers = senders.numbers(origins);
            for row in rows.iter().filter(|row| row.time >= since) {
                let place = usize::try_from(row.origin).unwrap_or(usize::MAX);
                let (Some(sender), Some(origin)) = (numbers.get(place), origins.get(place)) else { continue };
                let attributes = plain_map(&row.attributes);
                let key = (*sender, row.name.clone(), attributes.to_string());
                if all.len() >= limit && !all.contains_key(&key) {
                    continue;
                }
                let series = all.entry(key).or_insert_with(|| Series {
                    service: origin.service.clone(),
                    name: row.name.clone(),
                    unit: row.unit.clone(),
                    attributes,
                    points: Vec::new(),
                });
                series.points.push((row.time, row.value, row.count));
            }
        };
        for batch in self.tail.iter().rev() {
            looked += batch.points.len();
            add(&batch.origins, &batch.points);
        }
        for block in self.blocks.iter().rev().filter(|block| block.head.kind() == Some(Kind::Points)) {
            if looked >= MOST_POINTS {
                break;
            }
            if block.head.to < since {
                continue;
            }
            let Ok(part) = block.message::<PointPart>(0) else { continue };
            looked += part.rows.len();
            add(&part.origins, &part.rows);
        }
        let mut found = senders.named(all);
        for series in &mut found {
            series.points.sort_by_key(|point| point.0);
            let surplus = series.points.len().saturating_sub(POINTS);
            series.points.drain(..surplus);
        }
        found.sort_by(|one, other| {
            let key = |series: &Series| (series.service.clone(), series.name.clone(), series.attributes.to_string());
            key(one).cmp(&key(other))
        });
        found
    }
}

/// When the last of the newest ones that are wanted began, if there are as many as that.
fn oldest_of_newest(open: &HashMap<Vec<u8>, TraceHead>, wanted: &TraceFilter) -> Option<u64> {
    let mut starts: Vec<u64> = open.values().filter(|head| wanted.takes(head)).map(|head| head.start).collect();
    let last = wanted.limit.checked_sub(1)?;
    if starts.len() <= last {
        return None;
    }
    let (_, oldest, _) = starts.select_nth_unstable_by(last, |one, other| other.cmp(one));
    Some(*oldest)
}

/// The newest lines of all that are looked at, the last that came first.
struct Newest<'a> {
    wanted: &'a LineFilter,
    /// Up to twice as many as are wanted.
    found: Vec<LineView>,
    /// None that is older can be among them.
    oldest: Option<u64>,
}

impl<'a> Newest<'a> {
    fn of(wanted: &'a LineFilter) -> Self {
        Self { wanted, found: Vec::new(), oldest: None }
    }

    fn add(&mut self, origins: &[Arc<Origin>], row: &LineRow, text: impl FnOnce() -> String) {
        let place = usize::try_from(row.origin).unwrap_or(usize::MAX);
        let Some(origin) = origins.get(place) else { return };
        let wanted = self.wanted;
        let takes = row.time >= wanted.since
            && row.severity >= wanted.severity
            && wanted.trace.as_ref().is_none_or(|id| *id == row.trace)
            && wanted.service.as_ref().is_none_or(|service| *service == origin.service)
            // of the same moment: the last that came
            && self.oldest.is_none_or(|oldest| row.time > oldest);
        if takes {
            let row = LineRow { text: text(), attributes: row.attributes.clone(), ..bare(row) };
            self.found.push(LineView { row, origin: Arc::clone(origin) });
        }
        if self.found.len() > wanted.limit.saturating_mul(2) {
            self.cut();
        }
    }

    /// The time of the oldest of them, once there are as many as are wanted.
    fn oldest(&mut self) -> Option<u64> {
        let limit = self.wanted.limit;
        if self.found.len() > limit || (self.found.len() == limit && self.oldest.is_none()) {
            self.cut();
        }
        self.oldest
    }

    /// Lets go of those that are too many.
    fn cut(&mut self) {
        self.found.sort_by_key(|view| Reverse(view.row.time));
        self.found.truncate(self.wanted.limit);
        if self.found.len() == self.wanted.limit {
            self.oldest = self.found.last().map(|view| view.row.time);
        }
    }
}

/// Without what is copied only where it is needed.
fn bare(row: &LineRow) -> LineRow {
    LineRow {
        origin: row.origin,
        time: row.time,
        severity: row.severity,
        text: String::new(),
        trace: row.trace.clone(),
        span: row.span.clone(),
        attributes: Vec::new(),
    }
}
