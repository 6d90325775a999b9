//! OTLP in JSON, as <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding> has it: ids in hex, 64-bit
//! integers as text or numbers, enums as numbers, names in lowerCamelCase; what is not known is passed over.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::WireError;
use super::otlp::{
    Any, AnyList, AnyMap, AnyValue, ExponentialPoint, Exponentials, HistogramPoint, Histograms, KeyValue, LogRecord,
    LogsRequest, Metric, MetricData, MetricsRequest, Number, NumberPoint, Numbers, Resource, ResourceLogs,
    ResourceMetrics, ResourceSpans, Scope, ScopeLogs, ScopeMetrics, ScopeSpans, Span, SpanEvent, SpanLink, SpanStatus,
    Summaries, SummaryPoint, TracesRequest,
};
use crate::model::AnyError;

type Read<T> = Result<T, WireError>;

pub fn traces(body: &[u8]) -> Read<TracesRequest> {
    let root = parse(body)?;
    Ok(TracesRequest { resource_spans: root.each("resourceSpans", resource_spans)? })
}

pub fn logs(body: &[u8]) -> Read<LogsRequest> {
    let root = parse(body)?;
    Ok(LogsRequest { resource_logs: root.each("resourceLogs", resource_logs)? })
}

pub fn metrics(body: &[u8]) -> Read<MetricsRequest> {
    let root = parse(body)?;
    Ok(MetricsRequest { resource_metrics: root.each("resourceMetrics", resource_metrics)? })
}

/// An object whose fields are read by name.
struct Fields(Map<String, Value>);

fn parse(body: &[u8]) -> Read<Fields> {
    fields(serde_json::from_slice(body).map_err(|error| WireError::Malformed(error.into()))?, "the body")
}

fn fields(value: Value, what: &str) -> Read<Fields> {
    match value {
        Value::Object(map) => Ok(Fields(map)),
        Value::Null => Ok(Fields(Map::new())),
        _ => Err(wrong(what, "an object")),
    }
}

fn wrong(what: &str, wanted: &str) -> WireError {
    WireError::Malformed(AnyError::said(format!("{what} is not {wanted}")))
}

impl Fields {
    fn take(&mut self, key: &str) -> Value {
        self.0.get_mut(key).map(Value::take).unwrap_or_default()
    }

    fn each<T>(mut self, key: &str, read: impl FnMut(Fields) -> Read<T>) -> Read<Vec<T>> {
        self.list(key, read)
    }

    fn list<T>(&mut self, key: &str, mut read: impl FnMut(Fields) -> Read<T>) -> Read<Vec<T>> {
        match self.take(key) {
            Value::Null => Ok(Vec::new()),
            Value::Array(all) => all.into_iter().map(|one| read(fields(one, key)?)).collect(),
            _ => Err(wrong(key, "a list")),
        }
    }

    fn some<T>(&mut self, key: &str, read: impl FnOnce(Fields) -> Read<T>) -> Read<Option<T>> {
        match self.take(key) {
            Value::Null => Ok(None),
            value => Ok(Some(read(fields(value, key)?)?)),
        }
    }

    fn text(&mut self, key: &str) -> Read<String> {
        match self.take(key) {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text),
            _ => Err(wrong(key, "text")),
        }
    }

    fn id(&mut self, key: &str) -> Read<Vec<u8>> {
        let text = self.text(key)?;
        super::hex(&text).ok_or_else(|| wrong(key, "a hexadecimal id"))
    }

    fn nanos(&mut self, key: &str) -> Read<u64> {
        match self.take(key) {
            Value::Null => Ok(0),
            Value::String(text) => text.parse().map_err(|_| wrong(key, "a 64-bit integer")),
            Value::Number(number) => number.as_u64().ok_or_else(|| wrong(key, "a 64-bit integer")),
            _ => Err(wrong(key, "a 64-bit integer")),
        }
    }

    fn number(&mut self, key: &str) -> Read<i32> {
        let value = self.take(key);
        if value.is_null() {
            return Ok(0);
        }
        signed(&value).and_then(|found| i32::try_from(found).ok()).ok_or_else(|| wrong(key, "a number"))
    }

    fn real(&mut self, key: &str) -> Read<Option<f64>> {
        match self.take(key) {
            Value::Null => Ok(None),
            value => real(&value).map(Some).ok_or_else(|| wrong(key, "a number")),
        }
    }

    fn attributes(&mut self) -> Read<Vec<KeyValue>> {
        self.list("attributes", key_value)
    }
}

fn signed(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        // `NaN`, `Infinity` and `-Infinity` are text in the JSON of protobuf
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

fn key_value(mut from: Fields) -> Read<KeyValue> {
    Ok(KeyValue { key: from.text("key")?, value: from.some("value", any)? })
}

/// The first of the fields that is there counts, as there may be only one.
fn any(mut from: Fields) -> Read<AnyValue> {
    let kinds = ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"];
    let Some(kind) = kinds.into_iter().find(|kind| from.0.get(*kind).is_some_and(|value| !value.is_null())) else {
        return Ok(AnyValue::default());
    };
    let value = from.take(kind);
    let value = match (kind, value) {
        ("stringValue", Value::String(text)) => Any::Text(text.into_bytes()),
        ("boolValue", Value::Bool(value)) => Any::Bool(value),
        ("intValue", value) => Any::Int(signed(&value).ok_or_else(|| wrong(kind, "a 64-bit integer"))?),
        ("doubleValue", value) => Any::Double(real(&value).ok_or_else(|| wrong(kind, "a number"))?),
        ("arrayValue", value) => Any::List(AnyList { values: fields(value, kind)?.each("values", any)? }),
        ("kvlistValue", value) => Any::Map(AnyMap { values: fields(value, kind)?.each("values", key_value)? }),
        ("bytesValue", Value::String(text)) => {
            Any::Bytes(BASE64_STANDARD.decode(text).map_err(|_| wrong(kind, "base64"))?)
        }
        ("stringValue", _) => return Err(wrong(kind, "text")),
        ("boolValue", _) => return Err(wrong(kind, "true or false")),
        _ => return Err(wrong(kind, "base64")),
    };
    Ok(AnyValue { value: Some(value) })
}

fn resource(mut from: Fields) -> Read<Resource> {
    Ok(Resource { attributes: from.attributes()? })
}

fn scope(mut from: Fields) -> Read<Scope> {
    Ok(Scope { name: from.text("name")? })
}

fn resource_spans(mut from: Fields) -> Read<ResourceSpans> {
    let resource = from.some("resource", resource)?;
    let scope_spans = from.list("scopeSpans", |mut from| {
        Ok(ScopeSpans { scope: from.some("scope", scope)?, spans: from.list("spans", span)? })
    })?;
    Ok(ResourceSpans { resource, scope_spans })
}

fn span(mut from: Fields) -> Read<Span> {
    Ok(Span {
        trace_id: from.id("traceId")?,
        span_id: from.id("spanId")?,
        parent_span_id: from.id("parentSpanId")?,
        name: from.text("name")?,
        kind: from.number("kind")?,
        start: from.nanos("startTimeUnixNano")?,
        end: from.nanos("endTimeUnixNano")?,
        attributes: from.attributes()?,
        events: from.list("events", |mut from| {
            Ok(SpanEvent {
                time: from.nanos("timeUnixNano")?,
                name: from.text("name")?,
                attributes: from.attributes()?,
            })
        })?,
        links: from.list("links", |mut from| {
            Ok(SpanLink { trace_id: from.id("traceId")?, span_id: from.id("spanId")?, attributes: from.attributes()? })
        })?,
        status: from
            .some("status", |mut from| Ok(SpanStatus { message: from.text("message")?, code: from.number("code")? }))?,
    })
}

fn resource_logs(mut from: Fields) -> Read<ResourceLogs> {
    let resource = from.some("resource", resource)?;
    let scope_logs = from.list("scopeLogs", |mut from| {
        Ok(ScopeLogs { scope: from.some("scope", scope)?, records: from.list("logRecords", log_record)? })
    })?;
    Ok(ResourceLogs { resource, scope_logs })
}

fn log_record(mut from: Fields) -> Read<LogRecord> {
    Ok(LogRecord {
        time: from.nanos("timeUnixNano")?,
        severity: from.number("severityNumber")?,
        severity_text: from.text("severityText")?,
        body: from.some("body", any)?,
        attributes: from.attributes()?,
        trace_id: from.id("traceId")?,
        span_id: from.id("spanId")?,
        observed: from.nanos("observedTimeUnixNano")?,
        event_name: from.text("eventName")?,
    })
}

fn resource_metrics(mut from: Fields) -> Read<ResourceMetrics> {
    let resource = from.some("resource", resource)?;
    let scope_metrics = from.list("scopeMetrics", |mut from| {
        Ok(ScopeMetrics { scope: from.some("scope", scope)?, metrics: from.list("metrics", metric)? })
    })?;
    Ok(ResourceMetrics { resource, scope_metrics })
}

fn metric(mut from: Fields) -> Read<Metric> {
    let numbers = |mut from: Fields| Ok(Numbers { points: from.list("dataPoints", number_point)? });
    let (name, unit) = (from.text("name")?, from.text("unit")?);
    let data = if let Some(found) = from.some("gauge", numbers)? {
        Some(MetricData::Gauge(found))
    } else if let Some(found) = from.some("sum", numbers)? {
        Some(MetricData::Sum(found))
    } else if let Some(points) = from.some("histogram", |from| from.each("dataPoints", histogram_point))? {
        Some(MetricData::Histogram(Histograms { points }))
    } else if let Some(points) = from.some("exponentialHistogram", |from| from.each("dataPoints", exponential_point))? {
        Some(MetricData::Exponential(Exponentials { points }))
    } else {
        let points = from.some("summary", |from| from.each("dataPoints", summary_point))?;
        points.map(|points| MetricData::Summary(Summaries { points }))
    };
    Ok(Metric { name, unit, data })
}

fn number_point(mut from: Fields) -> Read<NumberPoint> {
    let int = from.take("asInt");
    let value = match int {
        Value::Null => from.real("asDouble")?.map(Number::Double),
        value => Some(Number::Int(signed(&value).ok_or_else(|| wrong("asInt", "a 64-bit integer"))?)),
    };
    Ok(NumberPoint { time: from.nanos("timeUnixNano")?, value, attributes: from.attributes()? })
}

fn histogram_point(mut from: Fields) -> Read<HistogramPoint> {
    let (time, count) = (from.nanos("timeUnixNano")?, from.nanos("count")?);
    Ok(HistogramPoint { time, count, sum: from.real("sum")?, attributes: from.attributes()? })
}

fn exponential_point(from: Fields) -> Read<ExponentialPoint> {
    let HistogramPoint { time, count, sum, attributes } = histogram_point(from)?;
    Ok(ExponentialPoint { attributes, time, count, sum })
}

fn summary_point(from: Fields) -> Read<SummaryPoint> {
    let HistogramPoint { time, count, sum, attributes } = histogram_point(from)?;
    Ok(SummaryPoint { time, count, sum: sum.unwrap_or_default(), attributes })
}
