//! What is kept, and how requests become it. Pure.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use super::wire::loki::Stream;
use super::wire::otlp::{
    Any, AnyValue, KeyValue, LogsRequest, Metric, MetricData, MetricsRequest, Number, Partial, Resource, Scope, Span,
    TracesRequest,
};
use super::wire::{WireError, hex};

/// Who has sent something.
#[derive(Clone, PartialEq, Message)]
pub struct Origin {
    #[prost(string, tag = "1")]
    pub service: String,
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<KeyValue>,
    /// The library that has made it.
    #[prost(string, tag = "3")]
    pub scope: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct SpanRow {
    #[prost(uint32, tag = "1")]
    pub origin: u32,
    #[prost(message, required, tag = "2")]
    pub span: Span,
}

#[derive(Clone, PartialEq, Message)]
pub struct LineRow {
    #[prost(uint32, tag = "1")]
    pub origin: u32,
    /// Nanoseconds since the epoch.
    #[prost(fixed64, tag = "2")]
    pub time: u64,
    /// As OpenTelemetry counts: 1 trace, 5 debug, 9 info, 13 warn, 17 error, 21 fatal; 0 not said.
    #[prost(uint32, tag = "3")]
    pub severity: u32,
    #[prost(string, tag = "4")]
    pub text: String,
    #[prost(bytes = "vec", tag = "5")]
    pub trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub span: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// One value of a metric. Of a histogram its count and sum are kept.
#[derive(Clone, PartialEq, Message)]
pub struct PointRow {
    #[prost(uint32, tag = "1")]
    pub origin: u32,
    #[prost(fixed64, tag = "2")]
    pub time: u64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub unit: String,
    /// Of a histogram: how many there were, and `value` is their sum.
    #[prost(uint64, optional, tag = "5")]
    pub count: Option<u64>,
    #[prost(double, tag = "6")]
    pub value: f64,
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// What came with one request; kept as it is, in one record.
#[derive(Clone, PartialEq, Message)]
pub struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub origins: Vec<Origin>,
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<SpanRow>,
    #[prost(message, repeated, tag = "3")]
    pub lines: Vec<LineRow>,
    #[prost(message, repeated, tag = "4")]
    pub points: Vec<PointRow>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.lines.is_empty() && self.points.is_empty()
    }

    /// The number that the next origin will have.
    fn next_origin(&self) -> u32 {
        u32::try_from(self.origins.len()).unwrap_or(u32::MAX)
    }

    /// The origin of a scope that has a row. One that has none would cost its sender two bytes, and us all the
    /// attributes of its resource.
    fn add_scope(
        &mut self,
        resource: Option<&Resource>,
        scope: Option<Scope>,
        repeats: &mut Repeats,
    ) -> Result<(), WireError> {
        let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        let service = text_of(attributes, "service.name").unwrap_or("unknown");
        repeats.add(held(attributes).saturating_add(service.len()))?;
        let scope = scope.map(|scope| scope.name).unwrap_or_default();
        self.add(Origin { service: service.to_owned(), attributes: attributes.to_vec(), scope });
        Ok(())
    }

    fn add(&mut self, origin: Origin) -> u32 {
        let number = self.next_origin();
        self.origins.push(origin);
        number
    }
}

/// What a batch repeats of its request: the attributes of a resource for each scope, the name and the unit of a metric
/// for each point. Without a limit a short request would become a batch that no memory holds.
struct Repeats {
    limit: usize,
    left: usize,
}

impl Repeats {
    fn up_to(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    /// To be called before something is repeated.
    fn add(&mut self, bytes: usize) -> Result<(), WireError> {
        self.left = self.left.checked_sub(bytes).ok_or(WireError::TooLong { limit: self.limit })?;
        Ok(())
    }
}

/// The bytes of attributes in memory, where an empty one takes many times what it takes in a message.
fn held(pairs: &[KeyValue]) -> usize {
    let value = |pair: &KeyValue| pair.value.as_ref().map_or(0, held_by);
    pairs.iter().map(|pair| size_of::<KeyValue>() + pair.key.len() + value(pair)).sum()
}

/// What a value has outside of itself.
fn held_by(value: &AnyValue) -> usize {
    match &value.value {
        Some(Any::Text(text)) => text.len(),
        Some(Any::Bytes(bytes)) => bytes.len(),
        Some(Any::List(list)) => list.values.iter().map(|value| size_of::<AnyValue>() + held_by(value)).sum(),
        Some(Any::Map(map)) => held(&map.values),
        Some(Any::Bool(_) | Any::Int(_) | Any::Double(_)) | None => 0,
    }
}

/// Batches as one, with each origin once.
#[derive(Debug, Default)]
pub struct Merged {
    pub batch: Batch,
    known: HashMap<Vec<u8>, u32>,
}

impl Merged {
    pub fn add(&mut self, batch: &Batch) {
        let places: Vec<u32> = batch.origins.iter().map(|origin| self.place(origin)).collect();
        let at = |origin: u32| usize::try_from(origin).ok().and_then(|at| places.get(at).copied()).unwrap_or_default();
        let own = &mut self.batch;
        own.spans.extend(batch.spans.iter().map(|row| SpanRow { origin: at(row.origin), span: row.span.clone() }));
        own.lines.extend(batch.lines.iter().map(|row| LineRow { origin: at(row.origin), ..row.clone() }));
        own.points.extend(batch.points.iter().map(|row| PointRow { origin: at(row.origin), ..row.clone() }));
    }

    fn place(&mut self, origin: &Origin) -> u32 {
        let batch = &mut self.batch;
        *self.known.entry(origin.encode_to_vec()).or_insert_with(|| batch.add(origin.clone()))
    }
}

pub fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// A request, and what of it was refused.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    pub batch: Batch,
    pub partial: Option<Partial>,
}

/// Counts what is refused, and keeps the first reason.
#[derive(Default)]
struct Refusals(Option<Partial>);

impl Refusals {
    fn add(&mut self, reason: &str) {
        let partial = self.0.get_or_insert_with(|| Partial { rejected: 0, message: reason.to_owned() });
        partial.rejected += 1;
    }
}

/// As the specification of traces has it: 16 bytes that are not all zero.
fn is_id(id: &[u8], length: usize) -> bool {
    id.len() == length && id.iter().any(|byte| *byte != 0)
}

/// Without a limit, for what no stranger has sent.
pub fn traces(request: TracesRequest) -> Taken {
    traces_within(request, usize::MAX).unwrap_or_default()
}

/// # Errors
/// More than `limit` bytes of the request would be repeated.
pub fn traces_within(request: TracesRequest, limit: usize) -> Result<Taken, WireError> {
    let (mut batch, mut refused, mut repeats) = (Batch::default(), Refusals::default(), Repeats::up_to(limit));
    for from in request.resource_spans {
        for scoped in from.scope_spans {
            let (origin, before) = (batch.next_origin(), batch.spans.len());
            for mut span in scoped.spans {
                if !is_id(&span.trace_id, 16) || !is_id(&span.span_id, 8) {
                    refused.add("a span needs a trace id of 16 bytes and an id of 8, not all of them zero");
                    continue;
                }
                if !is_id(&span.parent_span_id, 8) {
                    span.parent_span_id.clear();
                }
                // one that was never ended, or by a clock that was set back
                span.end = span.end.max(span.start);
                batch.spans.push(SpanRow { origin, span });
            }
            if batch.spans.len() > before {
                batch.add_scope(from.resource.as_ref(), scoped.scope, &mut repeats)?;
            }
        }
    }
    Ok(Taken { batch, partial: refused.0 })
}

/// Without a limit, for what no stranger has sent.
pub fn logs(request: LogsRequest, now: u64) -> Taken {
    logs_within(request, now, usize::MAX).unwrap_or_default()
}

/// `now`: nanoseconds since the epoch, for a record that says no time.
///
/// # Errors
/// More than `limit` bytes of the request would be repeated.
pub fn logs_within(request: LogsRequest, now: u64, limit: usize) -> Result<Taken, WireError> {
    let (mut batch, mut repeats) = (Batch::default(), Repeats::up_to(limit));
    for from in request.resource_logs {
        for scoped in from.scope_logs {
            let (origin, before) = (batch.next_origin(), batch.lines.len());
            for record in scoped.records {
                let severity = match u32::try_from(record.severity) {
                    Ok(severity @ 1..=24) => severity,
                    _ => severity_of(&record.severity_text),
                };
                let text = match record.body.and_then(|body| body.value) {
                    None => record.event_name,
                    Some(Any::Text(text)) => String::from_utf8_lossy(&text).into_owned(),
                    Some(other) => plain(&other).to_string(),
                };
                let time = [record.time, record.observed, now].into_iter().find(|time| *time > 0).unwrap_or_default();
                // an id that is none links to nothing
                let trace = Some(record.trace_id).filter(|id| is_id(id, 16)).unwrap_or_default();
                let span = Some(record.span_id).filter(|id| is_id(id, 8)).unwrap_or_default();
                batch.lines.push(LineRow { origin, time, severity, text, trace, span, attributes: record.attributes });
            }
            if batch.lines.len() > before {
                batch.add_scope(from.resource.as_ref(), scoped.scope, &mut repeats)?;
            }
        }
    }
    Ok(Taken { batch, partial: None })
}

/// `now`: nanoseconds since the epoch, for a point that says no time.
///
/// # Errors
/// More than `limit` bytes of the request would be repeated.
pub fn metrics_within(request: MetricsRequest, now: u64, limit: usize) -> Result<Taken, WireError> {
    let (mut batch, mut refused, mut repeats) = (Batch::default(), Refusals::default(), Repeats::up_to(limit));
    for from in request.resource_metrics {
        for scoped in from.scope_metrics {
            let (origin, before) = (batch.next_origin(), batch.points.len());
            for metric in scoped.metrics {
                let Metric { name, unit, data } = metric;
                let mut add = |time: u64, count, value, attributes| -> Result<(), WireError> {
                    repeats.add(name.len() + unit.len())?;
                    let time = if time == 0 { now } else { time };
                    let (name, unit) = (name.clone(), unit.clone());
                    batch.points.push(PointRow { origin, time, name, unit, count, value, attributes });
                    Ok(())
                };
                match data {
                    None => refused.add("a metric of an unknown kind"),
                    Some(MetricData::Gauge(found) | MetricData::Sum(found)) => {
                        for point in found.points {
                            match point.value {
                                Some(Number::Double(value)) => add(point.time, None, value, point.attributes)?,
                                Some(Number::Int(value)) => add(point.time, None, value as f64, point.attributes)?,
                                // there is no value: the specification's "no recorded value"
                                None => {}
                            }
                        }
                    }
                    Some(MetricData::Histogram(found)) => {
                        for point in found.points {
                            add(point.time, Some(point.count), point.sum.unwrap_or_default(), point.attributes)?;
                        }
                    }
                    Some(MetricData::Exponential(found)) => {
                        for point in found.points {
                            add(point.time, Some(point.count), point.sum.unwrap_or_default(), point.attributes)?;
                        }
                    }
                    Some(MetricData::Summary(found)) => {
                        for point in found.points {
                            add(point.time, Some(point.count), point.sum, point.attributes)?;
                        }
                    }
                }
            }
            if batch.points.len() > before {
                batch.add_scope(from.resource.as_ref(), scoped.scope, &mut repeats)?;
            }
        }
    }
    Ok(Taken { batch, partial: refused.0 })
}

/// Labels that name the sender, the best first.
const SERVICE_LABELS: [&str; 7] = ["service_name", "service", "app", "application", "container", "job", "component"];

pub fn pushed(streams: Vec<Stream>) -> Taken {
    let mut batch = Batch::default();
    for stream in streams {
        let label = |name: &str| stream.labels.get(name).filter(|value| !value.is_empty());
        let service = SERVICE_LABELS.iter().find_map(|name| label(name)).map_or("unknown", String::as_str).to_owned();
        let severity = label("level").or_else(|| label("detected_level")).map_or(0, |level| severity_of(level));
        let pairs =
            |all: &BTreeMap<String, String>| all.iter().map(|(key, value)| KeyValue::text(key, value)).collect();
        let origin = batch.add(Origin { service, attributes: pairs(&stream.labels), scope: String::new() });
        for entry in stream.entries {
            let more = |name: &str| entry.more.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let id = |name: &str, length| more(name).and_then(hex).filter(|id| is_id(id, length)).unwrap_or_default();
            let severity = more("level").or_else(|| more("detected_level")).map_or(severity, severity_of);
            batch.lines.push(LineRow {
                origin,
                time: entry.time,
                severity,
                trace: id("trace_id", 16),
                span: id("span_id", 8),
                attributes: entry.more.iter().map(|(key, value)| KeyValue::text(key, value)).collect(),
                text: entry.line,
            });
        }
    }
    Taken { batch, partial: None }
}

/// The names of levels, from each number of [`LineRow::severity`] on.
pub(super) const LEVELS: [(u32, &[&str]); 6] = [
    (1, &["trace", "finest"]),
    (5, &["debug", "dbug", "finer", "verbose"]),
    (9, &["info", "information", "informational", "notice"]),
    (13, &["warn", "warning"]),
    (17, &["error", "err", "severe"]),
    (21, &["fatal", "critical", "crit", "alert", "emerg", "emergency", "panic"]),
];

/// The number of a level by its name; 0 for one that is not known.
pub fn severity_of(name: &str) -> u32 {
    let has = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    LEVELS.iter().find(|(_, names)| has(names)).map_or(0, |(number, _)| *number)
}

/// The name of a number.
pub fn level(severity: u32) -> &'static str {
    match severity {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    }
}

/// A value as plain JSON.
pub fn plain(value: &Any) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Any::Text(text) => Value::String(String::from_utf8_lossy(text).into_owned()),
        Any::Bool(value) => Value::Bool(*value),
        Any::Int(value) => Value::from(*value),
        // JSON has no NaN
        Any::Double(value) if !value.is_finite() => Value::String(value.to_string()),
        Any::Double(value) => Value::from(*value),
        Any::List(list) => Value::Array(list.values.iter().map(plain_or_null).collect()),
        Any::Map(map) => plain_map(&map.values),
        Any::Bytes(bytes) => Value::String(crate::words::hex(bytes)),
    }
}

fn plain_or_null(value: &AnyValue) -> serde_json::Value {
    value.value.as_ref().map(plain).unwrap_or_default()
}

/// Attributes as plain JSON.
pub fn plain_map(pairs: &[KeyValue]) -> serde_json::Value {
    let value = |pair: &KeyValue| pair.value.as_ref().map(plain_or_null).unwrap_or_default();
    serde_json::Value::Object(pairs.iter().map(|pair| (pair.key.clone(), value(pair))).collect())
}

pub(super) fn origin(origins: &[Origin], number: u32) -> Option<&Origin> {
    origins.get(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::wire::json;
    use crate::telemetry::wire::otlp::{
        AnyList, AnyMap, LogRecord, ResourceLogs, ResourceMetrics, ResourceSpans, ScopeLogs, ScopeMetrics, ScopeSpans,
        Summaries, SummaryPoint,
    };

    /// About what an origin with the resource below takes, and a limit for a few of them.
    const LARGE: usize = 1 << 10;
    const LIMIT: usize = 8 * LARGE;

    fn large() -> Option<Resource> {
        Some(Resource { attributes: vec![KeyValue::text("service.name", "s".repeat(LARGE / 2))] })
    }

    fn spans(trace: &str, span: &str) -> Taken {
        let text = format!(
            r#"{{"resourceSpans": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
            "scopeSpans": [{{"spans": [{{"traceId": "{trace}", "spanId": "{span}", "startTimeUnixNano": "9"}}]}}]}}]}}"#
        );
        traces(json::traces(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_span_without_an_id_is_refused_and_the_others_are_not() {
        let fine = spans("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174");
        assert_eq!(fine.partial, None);
        assert_eq!((fine.batch.origins[0].service.as_str(), fine.batch.spans[0].span.end), ("shop", 9));
        for (trace, span) in [("", "eee19b7ec3c1b174"), ("5b8efff798038103d269b633813fc60c", "0000000000000000")] {
            let refused = spans(trace, span);
            assert!(refused.batch.is_empty());
            assert_eq!(refused.partial.map(|partial| partial.rejected), Some(1));
        }
    }

    #[test]
    fn a_line_has_a_time_a_level_and_a_text() {
        let text = br#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [
            {"severityText": "WARN", "body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "1"}}]}}, "traceId": "ff"},
            {"severityNumber": 17, "observedTimeUnixNano": "5", "eventName": "login"}]}]}]}"#;
        let batch = logs(json::logs(text).unwrap(), 77).batch;
        let [first, second] = &batch.lines[..] else { panic!("{batch:?}") };
        assert_eq!((first.time, level(first.severity), first.text.as_str()), (77, "warn", r#"{"a":1}"#));
        assert!(first.trace.is_empty(), "an id of one byte is none");
        assert_eq!((second.time, level(second.severity), second.text.as_str()), (5, "error", "login"));
        assert_eq!(batch.origins[0].service, "unknown");
    }

    #[test]
    fn labels_say_whose_a_line_is_and_metadata_which_trace() {
        let body = br#"{"streams": [{"stream": {"job": "web", "level": "info"}, "values": [
            ["1", "a"], ["2", "b", {"trace_id": "5b8efff798038103d269b633813fc60c", "level": "error"}]]}]}"#;
        let batch = pushed(crate::telemetry::wire::loki::from_json(body).unwrap()).batch;
        assert_eq!(batch.origins[0].service, "web");
        assert_eq!((batch.lines[0].severity, batch.lines[1].severity), (9, 17));
        assert_eq!(batch.lines[1].trace.len(), 16);
    }

    #[test]
    fn batches_share_their_origins() {
        let one = spans("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174").batch;
        let mut merged = Merged::default();
        merged.add(&one);
        merged.add(&one);
        let other = Batch { origins: vec![Origin { service: "cart".into(), ..Origin::default() }], ..one.clone() };
        merged.add(&other);
        assert_eq!(merged.batch.origins.len(), 2);
        assert_eq!(merged.batch.spans.iter().map(|row| row.origin).collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn points_of_all_kinds() {
        let text = br#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [
            {"name": "a", "sum": {"dataPoints": [{"asInt": "7", "timeUnixNano": "1"}, {"timeUnixNano": "1"}]}},
            {"name": "b", "histogram": {"dataPoints": [{"count": "3", "sum": 4.5}]}}, {"name": "c"}]}]}]}"#;
        let taken = metrics_within(json::metrics(text).unwrap(), 77, usize::MAX).unwrap();
        let points: Vec<_> = taken.batch.points.iter().map(|row| (row.time, row.count, row.value)).collect();
        assert_eq!(points, [(1, None, 7.0), (77, Some(3), 4.5)]);
        assert_eq!(taken.partial.map(|partial| partial.rejected), Some(1));
    }

    #[test]
    fn a_scope_without_rows_repeats_nothing_of_its_resource() {
        let none = Span { name: "without an id".into(), ..Span::default() };
        let mut scope_spans = vec![ScopeSpans::default(); 1000];
        scope_spans.extend(vec![ScopeSpans { scope: None, spans: vec![none] }; 1000]);
        let fine = Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
        let scope = Some(Scope { name: "last".into() });
        scope_spans.push(ScopeSpans { scope, spans: vec![fine] });
        let request = TracesRequest { resource_spans: vec![ResourceSpans { resource: large(), scope_spans }] };
        let taken = traces_within(request, LIMIT).unwrap();
        assert_eq!(taken.partial.map(|partial| partial.rejected), Some(1000));
        let [origin] = &taken.batch.origins[..] else { panic!("{}", taken.batch.origins.len()) };
        assert_eq!((origin.scope.as_str(), taken.batch.spans[0].origin), ("last", 0));

        let scope_logs = vec![ScopeLogs::default(); 1000];
        let request = LogsRequest { resource_logs: vec![ResourceLogs { resource: large(), scope_logs }] };
        assert_eq!(logs_within(request, 7, LIMIT), Ok(Taken::default()));
        let scope_metrics = vec![ScopeMetrics::default(); 1000];
        let request = MetricsRequest { resource_metrics: vec![ResourceMetrics { resource: large(), scope_metrics }] };
        assert_eq!(metrics_within(request, 7, LIMIT), Ok(Taken::default()));
    }

    #[test]
    fn what_repeats_too_much_of_a_request_is_too_long() {
        let logs_of = |scopes: usize| {
            let scope_logs = vec![ScopeLogs { scope: None, records: vec![LogRecord::default()] }; scopes];
            LogsRequest { resource_logs: vec![ResourceLogs { resource: large(), scope_logs }] }
        };
        let taken = logs_within(logs_of(4), 7, LIMIT).unwrap();
        assert_eq!(taken.batch.lines.iter().map(|row| row.origin).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(taken.batch.origins.len(), 4);
        let too_long: Result<Taken, WireError> = Err(WireError::TooLong { limit: LIMIT });
        assert_eq!(logs_within(logs_of(1000), 7, LIMIT), too_long);
        assert_eq!(logs(logs_of(1000), 7).batch.origins.len(), 1000, "what is ours has no limit");

        let metrics_of = |points: usize| {
            let data = Some(MetricData::Summary(Summaries { points: vec![SummaryPoint::default(); points] }));
            let metric = Metric { name: "n".repeat(LARGE), unit: "u".repeat(LARGE), data };
            let scope_metrics = vec![ScopeMetrics { scope: None, metrics: vec![metric] }];
            MetricsRequest { resource_metrics: vec![ResourceMetrics { resource: None, scope_metrics }] }
        };
        assert_eq!(metrics_within(metrics_of(3), 7, LIMIT).unwrap().batch.points.len(), 3);
        assert_eq!(metrics_within(metrics_of(1000), 7, LIMIT), too_long);
    }

    #[test]
    fn what_attributes_hold_is_counted_to_the_bottom() {
        let value = |value| Some(AnyValue { value: Some(value) });
        let empty = |count: usize| vec![KeyValue::default(); count];
        let pair = |found| KeyValue { key: "key".into(), value: value(found) };
        let one = size_of::<KeyValue>();
        assert_eq!(held(&empty(3)), 3 * one);
        assert_eq!(held(&[KeyValue::text("key", "value")]), one + 8);
        assert_eq!(held(&[pair(Any::Map(AnyMap { values: empty(5) }))]), 6 * one + 3);
        let list = AnyList { values: vec![AnyValue { value: Some(Any::Bytes(vec![0; 9])) }; 2] };
        assert_eq!(held(&[pair(Any::List(list))]), one + 3 + 2 * (size_of::<AnyValue>() + 9));
    }
}
