use std::io::Write;
use std::net::Ipv4Addr;

use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;

use super::*;
use crate::telemetry::query::{LineFilter, TraceFilter};
use crate::telemetry::store::Limits;
use crate::telemetry::store::tests::roomy;
use crate::telemetry::wire::json;
use crate::telemetry::wire::otlp::{KeyValue, LogRecord, LogsRequest, Resource, ResourceLogs, ScopeLogs};

const TRACE: &str = r#"{"resourceSpans": [{"scopeSpans": [{"spans": [
  {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "a", "startTimeUnixNano": "1"},
  {"traceId": "", "spanId": "eee19b7ec3c1b174", "name": "b"}]}]}]}"#;

struct Here {
    address: SocketAddr,
    receivers: Receivers,
    _folder: tempfile::TempDir,
}

/// A receiver of this test's own.
async fn here() -> Here {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = roomy(&folder.path().join("t"), Limits::default()).unwrap();
    let mut receivers = Receivers::new(Arc::new(store));
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    assert!(receivers.keep(&[free].into()).await.is_empty());
    Here { address: free, receivers, _folder: folder }
}

impl Here {
    async fn ask(&self, http2: bool, request: http::request::Builder, body: impl Into<Bytes>) -> Said {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let answer = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        Said { status: head.status, headers: head.headers, trailers, body: body.to_bytes() }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Said {
        let mut request = Request::post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(false, request, body).await
    }

    async fn call(&self, method: &str, encoding: &str, frame: Vec<u8>) -> Said {
        let request = Request::post(format!("http://{}/opentelemetry.proto.collector.{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding);
        self.ask(true, request, frame).await
    }

    fn traces(&self) -> usize {
        let wanted = TraceFilter { limit: 100, ..TraceFilter::default() };
        self.receivers.store().snapshot().traces(&wanted).len()
    }

    fn lines(&self) -> Vec<String> {
        let wanted = LineFilter { limit: 100, ..LineFilter::default() };
        self.receivers.store().snapshot().lines(&wanted).into_iter().map(|view| view.row.text).collect()
    }
}

struct Said {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Bytes,
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn traces_come_in_json_and_in_protobuf_and_compressed() {
    let here = here().await;
    let said = here.post("/v1/traces", &[JSON], TRACE).await;
    assert_eq!(said.status, StatusCode::OK);
    let answer: serde_json::Value = serde_json::from_slice(&said.body).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    let body = json::traces(TRACE.as_bytes()).unwrap().encode_to_vec();
    for (headers, body) in [(&[PROTOBUF][..], body.clone()), (&[PROTOBUF, ("content-encoding", "gzip")], gzip(&body))] {
        let said = here.post("/v1/traces", headers, body).await;
        assert_eq!((said.status, said.headers["content-type"].to_str().unwrap()), (StatusCode::OK, PROTOBUF.1));
        assert_eq!(Taking::decode(said.body).unwrap().partial.unwrap().rejected, 1);
    }
    assert_eq!(here.traces(), 1);
}

#[tokio::test]
async fn who_closes_its_half_after_the_request_is_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let here = here().await;
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        here.address,
        TRACE.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(TRACE.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    assert_eq!(here.traces(), 1);
}

#[tokio::test]
async fn calls_come_over_grpc() {
    let here = here().await;
    let body = json::traces(TRACE.as_bytes()).unwrap().encode_to_vec();
    for (encoding, frame) in [("identity", framed(0, &body)), ("gzip", framed(1, &gzip(&body)))] {
        let said = here.call("trace.v1.TraceService/Export", encoding, frame).await;
        assert_eq!((said.status, said.trailers["grpc-status"].to_str().unwrap()), (StatusCode::OK, "0"));
        assert_eq!(Taking::decode(said.body.slice(5..)).unwrap().partial.unwrap().rejected, 1);
    }
    assert_eq!(here.traces(), 1);
    for (method, frame, code) in [
        ("trace.v1.TraceService/Export", framed(0, b"\xff"), "3"),
        ("trace.v1.TraceService/Export", framed(1, &body), "3"),
        ("trace.v1.TraceService/Export", framed(0, &body)[..9].to_vec(), "3"),
        ("trace.v1.TraceService/Export", vec![0], "3"),
        ("profiles.v1development.ProfilesService/Export", framed(0, &body), "12"),
    ] {
        let said = here.call(method, "identity", frame).await;
        assert_eq!(said.trailers["grpc-status"], code, "{method} {:?}", said.trailers);
    }
    let said = here.call("logs.v1.LogsService/Export", "br", framed(1, &body)).await;
    assert_eq!(said.trailers["grpc-status"], "12");
}

#[tokio::test]
async fn lines_come_as_they_are_pushed_to_loki() {
    let here = here().await;
    let body = r#"{"streams": [{"stream": {"job": "web"}, "values": [["1", "one"], ["2", "two"]]}]}"#;
    assert_eq!(here.post("/loki/api/v1/push", &[JSON], body).await.status, StatusCode::NO_CONTENT);
    let packed = gzip(body.replace("one", "three").as_bytes());
    let said = here.post("/loki/api/v1/push", &[JSON, ("content-encoding", "gzip")], packed).await;
    assert_eq!(said.status, StatusCode::NO_CONTENT);
    // `{job="a"}`, a time of 3 seconds and a line, by hand
    let push = b"\x0a\x17\x0a\x09{job=\"a\"}\x12\x0a\x0a\x02\x08\x03\x12\x04four";
    let snappy = snap::raw::Encoder::new().compress_vec(push).unwrap();
    let said = here.post("/loki/api/v1/push", &[PROTOBUF], snappy).await;
    assert_eq!((said.status, said.body), (StatusCode::NO_CONTENT, Bytes::new()));
    assert_eq!(here.lines(), ["one", "three", "two", "two", "four"]);
}

#[tokio::test]
async fn what_is_refused_is_answered_as_the_protocols_say() {
    let here = here().await;
    let long = vec![b' '; MOST + 1];
    let bomb = gzip(&vec![b' '; OPENED + 1]);
    let gzipped = ("content-encoding", "gzip");
    for (path, headers, body, status) in [
        ("/v1/traces", &[JSON][..], b"{".to_vec(), 400),
        ("/v1/logs", &[PROTOBUF], b"\xff".to_vec(), 400),
        ("/v1/metrics", &[JSON, gzipped], b"no gzip".to_vec(), 400),
        ("/v1/traces", &[("content-type", "text/plain")], b"{}".to_vec(), 415),
        ("/v1/traces", &[], b"{}".to_vec(), 415),
        ("/v1/traces", &[JSON, ("content-encoding", "br")], b"{}".to_vec(), 415),
        ("/v1/traces", &[JSON], long.clone(), 413),
        ("/v1/traces", &[JSON, gzipped], bomb, 413),
        ("/loki/api/v1/push", &[JSON], b"{}".to_vec(), 400),
        ("/loki/api/v1/push", &[PROTOBUF], b"not snappy".to_vec(), 400),
        ("/loki/api/v1/push", &[JSON], long, 413),
        ("/elsewhere", &[JSON], b"{}".to_vec(), 404),
        ("/v1/traces", &[JSON, ("origin", "http://evil.example:4318")], TRACE.into(), 403),
    ] {
        let said = here.post(path, headers, body).await;
        assert_eq!(said.status.as_u16(), status, "{path} {headers:?}");
    }
    let said = here.ask(false, Request::get(format!("http://{}/v1/traces", here.address)), "").await;
    assert_eq!((said.status.as_u16(), said.headers["allow"].to_str().unwrap()), (405, "POST"));
    let said = here.ask(false, Request::get(format!("http://{}/ready", here.address)), "").await;
    assert_eq!(said.status, StatusCode::OK);
    let said = here.post("/v1/traces", &[PROTOBUF], &b"\xff"[..]).await;
    let status = crate::telemetry::wire::otlp::RpcStatus::decode(said.body).unwrap();
    assert!(status.code == 3 && !status.message.is_empty(), "{status:?}");
    assert!(here.receivers.store().snapshot().tail.is_empty());
}

#[tokio::test]
async fn too_much_at_once_is_told_to_come_back() {
    let here = here().await;
    let all = Arc::clone(&here.receivers.shared.budget).acquire_many_owned(BUDGET).await.unwrap();
    let said = here.post("/v1/traces", &[JSON], TRACE).await;
    assert_eq!((said.status.as_u16(), said.headers["retry-after"].to_str().unwrap()), (429, "1"));
    drop(all);
    assert_eq!(here.post("/v1/traces", &[JSON], TRACE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_compressed_body_is_charged_for_what_it_opens_to() {
    let here = here().await;
    let shared = &here.receivers.shared;
    let free = || u32::try_from(shared.budget.available_permits()).unwrap();
    let opened = async |body: Vec<u8>| {
        let turn = shared.room(body.len() * (RATIO + 1)).await.unwrap();
        let before = turn.num_permits();
        shared.opened(Held { body: body.into(), turn }, Compression::Gzip).await.map(|held| (before, held))
    };
    // it does not get any shorter
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let noise: Vec<u8> = noise.take(100_000).collect();
    let (before, held) = opened(gzip(&noise)).await.unwrap();
    assert_eq!((held.turn.num_permits(), &held.body[..]), (before, &noise[..]));
    drop(held);
    assert_eq!(free(), BUDGET);

    let (before, held) = opened(gzip(&vec![b' '; OPENED])).await.unwrap();
    assert!(before < (OPENED >> 10) / 2, "{before}");
    assert_eq!((held.turn.num_permits(), held.body.len()), (OPENED >> 10, OPENED));
    assert_eq!(free(), BUDGET - u32::try_from(OPENED >> 10).unwrap());
    drop(held);
    // what it does not need others can have
    let (_, held) = opened(gzip(&vec![b' '; 1 << 20])).await.unwrap();
    assert_eq!(held.turn.num_permits(), 1 << 10);
    drop(held);
    let refusal = opened(gzip(&vec![b' '; OPENED + 1])).await.err();
    assert!(matches!(refusal, Some(Refusal::Wire(WireError::TooLong { limit: OPENED }))), "{refusal:?}");
    assert_eq!(free(), BUDGET);
}

#[tokio::test]
async fn a_body_that_opens_to_more_than_there_is_room_for_is_told_to_come_back() {
    let here = here().await;
    let gzipped = [JSON, ("content-encoding", "gzip")];
    let long = gzip(&[vec![b' '; 4 << 20], TRACE.into()].concat());
    let most = Arc::clone(&here.receivers.shared.budget).acquire_many_owned(BUDGET - 1024).await.unwrap();
    assert_eq!(here.post("/v1/traces", &gzipped, gzip(TRACE.as_bytes())).await.status, StatusCode::OK);
    assert_eq!(here.post("/v1/traces", &gzipped, long.clone()).await.status, StatusCode::TOO_MANY_REQUESTS);
    drop(most);
    assert_eq!(here.post("/v1/traces", &gzipped, long).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_would_be_repeated_many_times_is_too_long() {
    let here = here().await;
    let body = |scopes: usize| {
        let resource = Some(Resource { attributes: vec![KeyValue::text("a", "b".repeat(1 << 20))] });
        let scope_logs = vec![ScopeLogs { scope: None, records: vec![LogRecord::default()] }; scopes];
        LogsRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] }.encode_to_vec()
    };
    assert_eq!(here.post("/v1/logs", &[PROTOBUF], body(100)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(here.receivers.store().snapshot().tail.is_empty());
    assert_eq!(here.post("/v1/logs", &[PROTOBUF], body(2)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_is_read_as_far_as_its_version_shows() {
    let one = b"GET / HTTP/1.1\r\n\r\n";
    for (mut said, length) in [(&b""[..], 0), (b"PRI", 3), (one, one.len()), (PREFACE, PREFACE.len())] {
        let (whole, begun) = (said, beginning(&mut said).await.unwrap());
        assert_eq!([&begun[..], said].concat(), whole);
        assert_eq!(begun.len(), length);
    }
    // byte by byte, and then nothing: the second tells one from the other
    let (mut here, mut there) = tokio::io::duplex(1);
    let saying = async { tokio::io::AsyncWriteExt::write_all(&mut there, b"PO").await.unwrap() };
    let (begun, ()) = tokio::join!(beginning(&mut here), saying);
    assert_eq!(begun.unwrap(), b"PO");
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_and_one_that_is_not_wanted_is_given_back() {
    let mut here = here().await;
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = taken.local_addr().unwrap();
    let failed = here.receivers.keep(&[here.address, other].into()).await;
    assert_eq!(failed.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [other]);
    drop(taken);
    assert!(here.receivers.keep(&[other].into()).await.is_empty());
    assert_eq!(here.receivers.addresses().collect::<Vec<_>>(), [other]);
    let free = async {
        while std::net::TcpListener::bind(here.address).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), free).await.unwrap();
}
