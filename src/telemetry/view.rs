//! What is kept as JSON: for `-o json`, the page and MCP, and the waterfall of a trace. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::batch::{level, plain_map};
use super::query::{LineView, SpanView};
use super::series::Series;
use super::trace_head::TraceHead;
use crate::words::hex;

/// A trace in a list. Times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceSummary {
    pub trace: String,
    pub name: String,
    pub service: String,
    pub services: Vec<String>,
    pub start: String,
    pub duration_us: u64,
    pub spans: u32,
    pub errors: u32,
}

impl From<&TraceHead> for TraceSummary {
    fn from(head: &TraceHead) -> Self {
        Self {
            trace: hex(&head.trace),
            name: head.name.clone(),
            service: head.service.clone(),
            services: head.services.clone(),
            start: time(head.start),
            duration_us: head.took() / 1000,
            spans: head.spans,
            errors: head.errors,
        }
    }
}

/// A whole trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    pub trace: String,
    pub start: String,
    pub duration_us: u64,
    pub services: Vec<String>,
    /// As a tree that was walked from its root, each level by the start.
    pub spans: Vec<Row>,
    /// Who has called whom, and how often.
    pub calls: Vec<Call>,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub span: String,
    pub parent: Option<String>,
    pub depth: usize,
    pub service: String,
    pub name: String,
    pub kind: &'static str,
    /// Since the trace's start.
    pub offset_us: u64,
    pub duration_us: u64,
    pub error: bool,
    pub message: String,
    pub scope: String,
    pub attributes: Value,
    pub resource: Value,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub offset_us: u64,
    pub name: String,
    pub attributes: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    pub trace: String,
    pub span: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    pub from: String,
    pub to: String,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub time: String,
    pub level: &'static str,
    pub service: String,
    pub text: String,
    pub trace: Option<String>,
    pub span: Option<String>,
    pub attributes: Value,
}

impl From<&LineView> for Line {
    fn from(view: &LineView) -> Self {
        let id = |id: &[u8]| (!id.is_empty()).then(|| hex(id));
        Self {
            time: time(view.row.time),
            level: level(view.row.severity),
            service: view.origin.service.clone(),
            text: view.row.text.clone(),
            trace: id(&view.row.trace),
            span: id(&view.row.span),
            attributes: plain_map(&view.row.attributes),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    pub service: String,
    pub name: String,
    pub unit: String,
    pub attributes: Value,
    pub time: String,
    /// The latest; of a histogram the mean of all there were.
    pub value: f64,
    pub values: Vec<f64>,
    /// When each of them was, milliseconds since the epoch.
    pub times: Vec<u64>,
}

impl Metric {
    /// `None` without a point that is a number.
    pub fn of(series: &Series) -> Option<Self> {
        let shown = |value: f64, count: Option<u64>| match count {
            None => value,
            Some(0) => 0.0,
            Some(count) => value / count as f64,
        };
        // JSON has no NaN, and a picture no place for it
        let points = series.points.iter().map(|(at, value, count)| (*at, shown(*value, *count)));
        let points: Vec<(u64, f64)> = points.filter(|(_, value)| value.is_finite()).collect();
        let (last, value) = *points.last()?;
        Some(Self {
            service: series.service.clone(),
            name: series.name.clone(),
            unit: series.unit.clone(),
            attributes: series.attributes.clone(),
            time: time(last),
            value,
            values: points.iter().map(|(_, value)| *value).collect(),
            times: points.iter().map(|(at, _)| at / 1_000_000).collect(),
        })
    }
}

/// A time as people and programs read it; empty for one that is in no calendar.
pub fn time(nanos: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn kind(number: i32) -> &'static str {
    match number {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "",
    }
}

/// The trace of these spans and lines; `None` for none.
pub fn trace(spans: &[SpanView], lines: &[LineView]) -> Option<Trace> {
    let first = spans.first()?;
    let start = spans.iter().map(|view| view.span.start).min()?;
    let end = spans.iter().map(|view| view.span.end).max()?;
    let mut services: Vec<String> = spans.iter().map(|view| view.origin.service.clone()).collect();
    services.sort();
    services.dedup();
    let rows = ordered(spans).into_iter().map(|(depth, view)| row(view, depth, start)).collect();
    Some(Trace {
        trace: hex(&first.span.trace_id),
        start: time(start),
        duration_us: end.saturating_sub(start) / 1000,
        services,
        spans: rows,
        calls: calls(spans),
        lines: lines.iter().map(Line::from).collect(),
    })
}

/// Children behind their parents. A span whose parent has not come is a root, and so is the first of a circle.
fn ordered(spans: &[SpanView]) -> Vec<(usize, &SpanView)> {
    let there: HashSet<&[u8]> = spans.iter().map(|view| view.span.span_id.as_slice()).collect();
    let mut children: HashMap<&[u8], Vec<&SpanView>> = HashMap::new();
    let (mut roots, mut rest): (Vec<&SpanView>, Vec<&SpanView>) = (Vec::new(), Vec::new());
    for view in spans {
        let parent = view.span.parent_span_id.as_slice();
        if there.contains(parent) && parent != view.span.span_id.as_slice() {
            children.entry(parent).or_default().push(view);
            rest.push(view);
        } else {
            roots.push(view);
        }
    }
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    // after the trees: what hangs on no root
    for root in roots.into_iter().chain(rest) {
        let mut open = vec![(0, root)];
        while let Some((depth, view)) = open.pop() {
            if !seen.insert(view.span.span_id.as_slice()) {
                continue;
            }
            all.push((depth, view));
            let below = children.get(view.span.span_id.as_slice()).into_iter().flatten().rev();
            open.extend(below.map(|view| (depth + 1, *view)));
        }
    }
    all
}

fn row(view: &SpanView, depth: usize, start: u64) -> Row {
    let span = &view.span;
    let since = |time: u64| time.saturating_sub(start) / 1000;
    let event = |event: &super::wire::otlp::SpanEvent| Event {
        offset_us: since(event.time),
        name: event.name.clone(),
        attributes: plain_map(&event.attributes),
    };
    Row {
        span: hex(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        depth,
        service: view.origin.service.clone(),
        name: span.name.clone(),
        kind: kind(span.kind),
        offset_us: since(span.start),
        duration_us: span.end.saturating_sub(span.start) / 1000,
        error: span.failed(),
        message: span.status.as_ref().map(|status| status.message.clone()).unwrap_or_default(),
        scope: view.origin.scope.clone(),
        attributes: plain_map(&span.attributes),
        resource: plain_map(&view.origin.attributes),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(|link| Link { trace: hex(&link.trace_id), span: hex(&link.span_id) }).collect(),
    }
}

fn calls(spans: &[SpanView]) -> Vec<Call> {
    let whose: HashMap<&[u8], &str> =
        spans.iter().map(|view| (view.span.span_id.as_slice(), view.origin.service.as_str())).collect();
    let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for view in spans {
        let to = view.origin.service.as_str();
        if let Some(from) = whose.get(view.span.parent_span_id.as_slice()).filter(|from| **from != to) {
            *counted.entry((from, to)).or_default() += 1;
        }
    }
    counted.into_iter().map(|((from, to), count)| Call { from: from.into(), to: to.into(), count }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::batch::Origin;
    use crate::telemetry::wire::otlp::Span;

    fn span(id: u8, parent: u8, service: &str, start: u64, end: u64) -> SpanView {
        let some = |id: u8| if id == 0 { Vec::new() } else { vec![id; 8] };
        let span = Span {
            trace_id: vec![1; 16],
            span_id: some(id),
            parent_span_id: some(parent),
            name: format!("span {id}"),
            start,
            end,
            ..Span::default()
        };
        SpanView { span, origin: Arc::new(Origin { service: service.into(), ..Origin::default() }) }
    }

    #[test]
    fn a_trace_is_a_tree_with_offsets() {
        let spans = [
            span(1, 0, "shop", 1_000_000, 9_000_000),
            span(3, 1, "shop", 2_000_000, 3_000_000),
            span(2, 1, "cart", 4_000_000, 8_000_000),
            span(4, 2, "cart", 5_000_000, 6_000_000),
            span(5, 99, "lost", 5_000_000, 6_000_000),
        ];
        let trace = trace(&spans, &[]).unwrap();
        let shown: Vec<_> = trace.spans.iter().map(|row| (row.depth, row.name.as_str(), row.offset_us)).collect();
        let wanted =
            [(0, "span 1", 0), (1, "span 3", 1000), (1, "span 2", 3000), (2, "span 4", 4000), (0, "span 5", 4000)];
        assert_eq!(shown, wanted);
        assert_eq!(trace.calls, [Call { from: "shop".into(), to: "cart".into(), count: 1 }]);
        assert_eq!((trace.duration_us, trace.start.as_str()), (8000, "1970-01-01T00:00:00.001000Z"));
    }

    #[test]
    fn only_finite_values_are_points() {
        let series = |points| Series {
            service: "shop".into(),
            name: "ratio".into(),
            unit: String::new(),
            attributes: Value::Null,
            points,
        };
        let (nan, first, mean, over) = (
            (1_000_000, f64::NAN, None),
            (2_000_000, 2.0, None),
            (3_000_000, 9.0, Some(2)),
            (4_000_000, f64::INFINITY, None),
        );
        let metric = Metric::of(&series(vec![nan, first, mean, over])).unwrap();
        assert_eq!((metric.value, metric.values, metric.times), (4.5, vec![2.0, 4.5], vec![2, 3]));
        assert_eq!(metric.time, "1970-01-01T00:00:00.003000Z");
        assert_eq!(Metric::of(&series(vec![nan, over])), None);
    }

    #[test]
    fn a_circle_of_spans_is_shown_once() {
        let spans = [span(1, 2, "shop", 1, 9), span(2, 1, "shop", 2, 3), span(3, 3, "shop", 2, 3)];
        let mut names: Vec<_> = trace(&spans, &[]).unwrap().spans.into_iter().map(|row| row.name).collect();
        names.sort();
        assert_eq!(names, ["span 1", "span 2", "span 3"]);
        assert_eq!(trace(&[], &[]), None);
    }
}
