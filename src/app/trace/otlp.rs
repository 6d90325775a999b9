//! One run of `up` as OTLP/HTTP in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//! Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::apply::{Timing, critical_path};

/// What is known of a run when it has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// As typed: `macula up`.
    pub command: String,
    pub platform: String,
    pub version: String,
    /// Of the run's beginning, since the epoch.
    pub began: Duration,
    pub took: Duration,
    /// What is no step of the plan: name, since the beginning, how long.
    pub phases: Vec<(&'static str, Duration, Duration)>,
    /// Of the first step, since the run's beginning.
    pub steps_began: Duration,
    pub steps: Vec<Timing>,
    pub left_out: Vec<String>,
    pub error: Option<String>,
}

/// Where a run belongs: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    pub trace: String,
    pub span: String,
    /// The caller records its trace.
    pub sampled: bool,
}

impl Parent {
    /// `None` for what the specification tells us to ignore.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let id = |text: &str, length: usize| hex(text, length) && text.bytes().any(|byte| byte != b'0');
        // a later version may say more behind these four
        let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !known || !id(trace, 32) || !id(span, 16) || !hex(flags, 2) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(Self { trace: trace.into(), span: span.into(), sampled })
    }
}

/// The body of `POST /v1/traces`. `span_id` gives a new id at each call.
pub(super) fn request(run: &Run, trace: &str, parent: Option<&str>, mut span_id: impl FnMut() -> String) -> Value {
    let critical = critical_path(&run.steps);
    let root = span_id();
    let ids: Vec<String> = run.steps.iter().map(|_| span_id()).collect();
    let nanos = |offset: Duration| run.began.saturating_add(offset).as_nanos().to_string();
    let path: Vec<Value> = critical.iter().filter_map(|at| run.steps.get(*at)).map(|step| text(&step.step)).collect();
    let mut attributes = vec![
        attribute("macula.platform", text(&run.platform)),
        attribute("macula.steps", json!({"intValue": run.steps.len().to_string()})),
        attribute("macula.critical_path", json!({"arrayValue": {"values": path}})),
    ];
    if !run.left_out.is_empty() {
        let values: Vec<Value> = run.left_out.iter().map(|name| text(name)).collect();
        attributes.push(attribute("macula.left_out", json!({"arrayValue": {"values": values}})));
    }
    let mut first = json!({
        "traceId": trace,
        "spanId": root,
        "name": run.command,
        "kind": 1,
        "startTimeUnixNano": nanos(Duration::ZERO),
        "endTimeUnixNano": nanos(run.took),
        "attributes": attributes,
        "status": status(run.error.as_deref()),
    });
    if let (Some(parent), Some(fields)) = (parent, first.as_object_mut()) {
        fields.insert("parentSpanId".into(), parent.into());
    }
    let mut spans = vec![first];
    for (name, start, duration) in &run.phases {
        spans.push(json!({
            "traceId": trace,
            "spanId": span_id(),
            "parentSpanId": root,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": nanos(*start),
            "endTimeUnixNano": nanos(start.saturating_add(*duration)),
            "attributes": [],
            "status": status(None),
        }));
    }
    for (at, (step, id)) in run.steps.iter().zip(&ids).enumerate() {
        let start = run.steps_began.saturating_add(step.start);
        let links: Vec<Value> = run
            .steps
            .iter()
            .zip(&ids)
            .filter(|(other, _)| step.after.contains(&other.step))
            .map(|(_, id)| json!({"traceId": trace, "spanId": id}))
            .collect();
        spans.push(json!({
            "traceId": trace,
            "spanId": id,
            "parentSpanId": root,
            "name": step.step,
            "kind": 1,
            "startTimeUnixNano": nanos(start),
            "endTimeUnixNano": nanos(start.saturating_add(step.duration)),
            "attributes": [
                attribute("macula.group", text(&step.group)),
                attribute("macula.cause", text(&step.cause.to_string())),
                attribute("macula.critical", json!({"boolValue": critical.contains(&at)})),
            ],
            // what it waited for
            "links": links,
            "status": status(step.error.as_deref()),
        }));
    }
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", text("macula")),
            attribute("service.version", text(&run.version)),
        ]},
        "scopeSpans": [{"scope": {"name": "macula", "version": run.version}, "spans": spans}],
    }]})
}

fn attribute(key: &str, value: Value) -> Value {
    json!({"key": key, "value": value})
}

fn text(value: &str) -> Value {
    json!({"stringValue": value})
}

/// 2 is an error; one that did not fail leaves it unset, as libraries are to do.
fn status(error: Option<&str>) -> Value {
    match error {
        Some(message) => json!({"code": 2, "message": message}),
        None => json!({}),
    }
}
