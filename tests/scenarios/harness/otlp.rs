//! A receiver of OTLP over HTTP that takes only what the protocol allows: an unknown field, an id of
//! the wrong length or a number where the encoding wants text is an answer of 400 and a failed test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    version: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    #[serde(default)]
    pub parent_span_id: String,
    pub name: String,
    kind: u8,
    /// A 64-bit number, as text.
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    pub attributes: Vec<KeyValue>,
    #[serde(default)]
    pub links: Vec<Link>,
    pub status: Status,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    trace_id: String,
    pub span_id: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    #[serde(default)]
    pub code: u8,
    #[serde(default)]
    pub message: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    pub key: String,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Value {
    #[serde(rename = "stringValue")]
    String(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    /// As text, like all 64-bit numbers.
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "arrayValue")]
    Array(Array),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Array {
    pub values: Vec<Value>,
}

impl Span {
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    fn times(&self) -> (u64, u64) {
        (self.start_time_unix_nano.parse().unwrap(), self.end_time_unix_nano.parse().unwrap())
    }
}

/// What the encoding and the data model ask of a request beyond its fields.
fn check(request: &Request) -> Vec<Span> {
    let [resource] = &request.resource_spans[..] else { panic!("not one resource: {request:?}") };
    let name = resource.resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert_eq!(name.value, Value::String("macula".into()));
    let [scope] = &resource.scope_spans[..] else { panic!("not one scope: {request:?}") };
    assert!(!scope.scope.name.is_empty() && !scope.scope.version.is_empty());
    let hex = |id: &str, length: usize| {
        let digits = id.len() == length && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits && id.bytes().any(|byte| byte != b'0')
    };
    let spans = scope.spans.clone();
    let root = &spans[0];
    for (at, span) in spans.iter().enumerate() {
        assert!(hex(&span.trace_id, 32) && hex(&span.span_id, 16), "{span:?}");
        assert_eq!(span.trace_id, root.trace_id);
        assert!(spans[..at].iter().all(|other| other.span_id != span.span_id), "twice: {span:?}");
        assert!((1..=5).contains(&span.kind) && !span.name.is_empty() && span.status.code <= 2, "{span:?}");
        let ((start, end), (first, last)) = (span.times(), root.times());
        assert!(start <= end && first <= start && end <= last, "{span:?} is not within {root:?}");
        let parent = &span.parent_span_id;
        let known = at == 0 || spans.iter().any(|other| other.span_id == *parent);
        assert!((parent.is_empty() && at == 0) || (hex(parent, 16) && known), "{span:?}");
        for link in &span.links {
            assert!(link.trace_id == span.trace_id && spans.iter().any(|other| other.span_id == link.span_id));
        }
        let mut keys: Vec<_> = span.attributes.iter().map(|attribute| &attribute.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), span.attributes.len(), "an attribute twice: {span:?}");
    }
    spans
}

pub struct Otlp {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Otlp {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let keeps = taken.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                let right = head.starts_with("post /v1/traces http/1.1\r\n")
                    && head.contains("\r\ncontent-type: application/json\r\n")
                    && serde_json::from_slice::<Request>(&body).is_ok();
                keeps.lock().unwrap().push(body);
                let status = if right { "200 OK" } else { "400 Bad Request" };
                let answer = "Content-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
                let _ = write!(stream, "HTTP/1.1 {status}\r\n{answer}");
            }
        });
        Self { url, taken }
    }

    /// The spans of the only request since the last look, the root first.
    #[track_caller]
    pub fn spans(&self) -> Vec<Span> {
        let taken = std::mem::take(&mut *self.taken.lock().unwrap());
        let [body] = &taken[..] else { panic!("{} requests", taken.len()) };
        let request = serde_json::from_slice(body);
        check(&request.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body))))
    }

    pub fn nothing(&self) -> bool {
        self.taken.lock().unwrap().is_empty()
    }
}
