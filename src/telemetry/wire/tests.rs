use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::body::{Compression, Encoding, Signal};
use super::otlp::{
    Any, AnyList, AnyMap, AnyValue, KeyValue, LogsRequest, MetricData, MetricsRequest, Number, Partial, Response, Span,
    SpanStatus, TracesRequest,
};
use super::{WireError, hex, json, loki};

/// The example of the specification, with what it leaves open.
const TRACE: &str = r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
  "scopeSpans": [{"scope": {"name": "my.library"}, "spans": [{
    "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "EEE19B7EC3C1B173",
    "name": "I'm a server span", "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000,
    "kind": 2, "unknown": {"later": true}, "status": {"code": 2, "message": "no"},
    "attributes": [{"key": "all", "value": {"arrayValue": {"values": [{"intValue": "7"}, {"boolValue": false}, {"doubleValue": 1.5},
      {"bytesValue": "AQI="}, {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}]}}}],
    "events": [{"timeUnixNano": "1544712660500000000", "name": "e"}], "links": [{"traceId": "00ff", "spanId": "ff"}]}]}]}]}"#;

#[test]
fn traces_in_json_are_those_of_protobuf() {
    let read = json::traces(TRACE.as_bytes()).unwrap();
    let again = TracesRequest::decode(read.encode_to_vec().as_slice()).unwrap();
    assert_eq!(read, again);
    let span = &read.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(crate::words::hex(&span.trace_id), "5b8efff798038103d269b633813fc60c");
    assert_eq!((span.start, span.end - span.start, span.kind), (1_544_712_660_000_000_000, 1_000_000_000, 2));
    assert!(span.failed());
    let Some(Any::List(list)) = span.attributes[0].value.clone().and_then(|value| value.value) else { panic!() };
    assert_eq!(list.values[3].value, Some(Any::Bytes(vec![1, 2])));
    assert_eq!(span.links[0].trace_id, [0, 255]);
}

#[test]
fn logs_and_metrics_in_json() {
    let logs = br#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "severityNumber": 9,
        "body": {"stringValue": "hello"}, "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}]}]}]}"#;
    let record = &json::logs(logs).unwrap().resource_logs[0].scope_logs[0].records[0];
    assert_eq!((record.severity, record.trace_id.len()), (9, 16));
    let metrics = br#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "a", "unit": "1", "sum": {"dataPoints": [{"asInt": "7", "timeUnixNano": "1"}]}},
        {"name": "b", "gauge": {"dataPoints": [{"asDouble": 1.5}]}},
        {"name": "c", "histogram": {"dataPoints": [{"count": "3", "sum": 4.5, "bucketCounts": ["1", "2"]}]}},
        {"name": "d", "exponentialHistogram": {"dataPoints": [{"count": 3}]}},
        {"name": "e", "summary": {"dataPoints": [{"count": "3", "sum": "NaN"}]}}]}]}]}"#;
    let read = json::metrics(metrics).unwrap();
    let all = &read.resource_metrics[0].scope_metrics[0].metrics;
    assert!(matches!(&all[0].data, Some(MetricData::Sum(sum)) if sum.points[0].value == Some(Number::Int(7))));
    assert!(matches!(&all[2].data, Some(MetricData::Histogram(found)) if found.points[0].sum == Some(4.5)));
    assert!(matches!(&all[4].data, Some(MetricData::Summary(found)) if found.points[0].sum.is_nan()));
    assert_eq!(MetricsRequest::decode(read.encode_to_vec().as_slice()).unwrap().resource_metrics.len(), 1);
}

/// As a program writes that does not know of UTF-8.
#[test]
fn text_that_is_not_utf8_costs_no_request() {
    let logs = br#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "caf\u00e9!"}}]}]}]}"#;
    let mut sent = json::logs(logs).unwrap().encode_to_vec();
    let at = sent.windows(2).position(|pair| pair == "é".as_bytes()).unwrap();
    sent[at] = b'_';
    let read = LogsRequest::decode(sent.as_slice()).unwrap();
    let body = read.resource_logs[0].scope_logs[0].records[0].body.clone().unwrap();
    assert_eq!(crate::telemetry::batch::plain(&body.value.unwrap()), "caf_\u{fffd}!");
}

#[test]
fn what_is_malformed_is_an_error() {
    for wrong in [
        "",
        "[]",
        "7",
        r#"{"resourceSpans": 7}"#,
        r#"{"resourceSpans": [7]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 7}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "-1"}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "SPAN_KIND_SERVER"}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": {"intValue": "x"}}]}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": {"bytesValue": "?"}}]}]}]}]}"#,
    ] {
        assert!(matches!(json::traces(wrong.as_bytes()), Err(WireError::Malformed(_))), "{wrong}");
    }
    // nested deeper than anybody reads
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(json::traces(deep.as_bytes()).is_err());
    let mut value = AnyValue { value: Some(Any::Bool(true)) };
    for _ in 0..500 {
        value = AnyValue { value: Some(Any::List(AnyList { values: vec![value] })) };
    }
    let map = AnyMap { values: vec![KeyValue { key: "deep".into(), value: Some(value) }] };
    let bytes = AnyValue { value: Some(Any::Map(map)) }.encode_to_vec();
    assert!(AnyValue::decode(bytes.as_slice()).is_err());
}

#[test]
fn bodies_are_opened_and_never_longer_than_the_limit() {
    let plain = Bytes::from(vec![7; 100_000]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = Bytes::from(gzip.finish().unwrap());
    let snappy = Bytes::from(snap::raw::Encoder::new().compress_vec(&plain).unwrap());
    for (kind, body) in [(Compression::None, plain.clone()), (Compression::Gzip, gzip), (Compression::Snappy, snappy)] {
        assert_eq!(kind.open(&body, 100_000).as_ref(), Ok(&plain));
        assert_eq!(kind.open(&body, 99_999), Err(WireError::TooLong { limit: 99_999 }));
        if kind != Compression::None {
            for broken in [body.slice(..body.len() / 2), Bytes::from_static(b"nothing of it")] {
                assert!(matches!(kind.open(&broken, 100_000), Err(WireError::Packed { .. })), "{kind:?}");
            }
        }
    }
    assert_eq!(Compression::of(Some("GZIP")), Ok(Compression::Gzip));
    assert_eq!(Compression::of(Some("br")), Err(WireError::Unsupported("br".into())));
    assert_eq!(Encoding::of(Some("application/json; charset=utf-8")), Ok(Encoding::Json));
    assert!(Encoding::of(Some("text/plain")).is_err() && Encoding::of(None).is_err());
}

#[test]
fn answers_are_written_as_the_request_was() {
    let partial = Response { partial: Some(Partial { rejected: 2, message: "no id".into() }) };
    assert_eq!(Encoding::Json.response(&Response::default(), Signal::Traces), b"{}");
    assert_eq!(Encoding::Protobuf.response(&Response::default(), Signal::Traces), b"");
    for (signal, name) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Logs, "rejectedLogRecords"),
        (Signal::Metrics, "rejectedDataPoints"),
    ] {
        // what none has sent, none is rejected of
        let text = String::from_utf8(Encoding::Json.response(&partial, signal)).unwrap();
        assert_eq!(text, format!(r#"{{"partialSuccess":{{"{name}":"2","errorMessage":"no id"}}}}"#));
        assert_eq!(Response::decode(Encoding::Protobuf.response(&partial, signal).as_slice()).unwrap(), partial);
    }
    assert_eq!(Encoding::Json.status(3, "x"), br#"{"code":3,"message":"x"}"#);
}

#[test]
fn ids_are_hexadecimal() {
    assert_eq!(hex("00fF"), Some(vec![0, 255]));
    assert_eq!((hex(""), hex("0"), hex("zz")), (Some(vec![]), None, None));
}

proptest! {
    #[test]
    fn noise_is_an_error_or_a_message(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let _ = (encoding.traces(&body), encoding.logs(&body), encoding.metrics(&body));
        }
        let _ = (loki::from_json(&body), loki::from_protobuf(&body));
        for kind in [Compression::Gzip, Compression::Snappy] {
            let opened = kind.open(&body.clone().into(), 1000);
            prop_assert!(opened.map_or(0, |content| content.len()) <= 1000);
        }
    }

    #[test]
    fn spans_come_back_as_they_were(trace in any::<[u8; 16]>(), name in ".{0,40}", start: u64, code in 0..3i32, message in ".{0,20}") {
        let span = Span { trace_id: trace.to_vec(), name, start, status: Some(SpanStatus { message, code }), ..Span::default() };
        prop_assert_eq!(Span::decode(span.encode_to_vec().as_slice()).unwrap(), span);
    }

    #[test]
    fn a_body_that_was_cut_off_is_no_other_message(cut in 1usize..80) {
        let whole = json::traces(TRACE.as_bytes()).unwrap().encode_to_vec();
        // a field that ends where the cut is may be a whole message; ours has one that reaches to its end
        prop_assert!(Encoding::Protobuf.traces(&whole[..whole.len() - cut]).is_err());
    }
}

#[test]
fn requests_of_another_kind_have_nothing_of_ours() {
    let logs = LogsRequest::default().encode_to_vec();
    assert_eq!(TracesRequest::decode(logs.as_slice()).unwrap(), TracesRequest::default());
}
