//! What is pushed to Loki, in JSON and in protobuf (<https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>;
//! pkg/push/push.proto of Loki for the numbers).

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;
use serde_json::Value;

use super::WireError;
use crate::model::AnyError;

/// Lines with the same labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stream {
    pub labels: BTreeMap<String, String>,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub time: u64,
    pub line: String,
    /// Structured metadata.
    pub more: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct JsonPush {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    #[serde(default)]
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
}

pub fn from_json(body: &[u8]) -> Result<Vec<Stream>, WireError> {
    let push: JsonPush = serde_json::from_slice(body).map_err(|error| WireError::Malformed(error.into()))?;
    push.streams
        .into_iter()
        .map(|from| {
            let entries = from.values.into_iter().map(json_entry).collect::<Result<_, _>>()?;
            Ok(Stream { labels: from.stream, entries })
        })
        .collect()
}

/// `["<nanoseconds>", "<line>", {metadata}]`
fn json_entry(values: Vec<Value>) -> Result<Entry, WireError> {
    let malformed = |what: &str| WireError::Malformed(AnyError::said(format!("an entry of `values` has no {what}")));
    let mut values = values.into_iter();
    let time = match values.next() {
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Number(number)) => number.as_u64(),
        _ => None,
    };
    let time = time.ok_or_else(|| malformed("time in nanoseconds"))?;
    let Some(Value::String(line)) = values.next() else { return Err(malformed("line")) };
    let more = match values.next() {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(map)) => map
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                _ => Err(WireError::Malformed(AnyError::said(format!("the metadata `{key}` is not text")))),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(malformed("metadata but something else")),
    };
    Ok(Entry { time, line, more })
}

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<PushEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct PushEntry {
    #[prost(message, optional, tag = "1")]
    time: Option<Timestamp>,
    /// Text, as a program wrote it: not every sender looks whether it is UTF-8, and Loki does not either.
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    more: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

pub fn from_protobuf(body: &[u8]) -> Result<Vec<Stream>, WireError> {
    let push = Push::decode(body).map_err(|error| WireError::Malformed(error.into()))?;
    push.streams
        .into_iter()
        .map(|from| {
            let labels = labels(&from.labels)
                .ok_or_else(|| WireError::Malformed(AnyError::said(format!("`{}` are not labels", from.labels))))?;
            let entries = from.entries.into_iter().map(|entry| {
                let time = entry.time.unwrap_or_default();
                let seconds = u64::try_from(time.seconds).unwrap_or_default();
                let nanos = u64::try_from(time.nanos).unwrap_or_default();
                Entry {
                    time: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
                    line: text(&entry.line),
                    more: entry.more.iter().map(|pair| (text(&pair.name), text(&pair.value))).collect(),
                }
            });
            Ok(Stream { labels, entries: entries.collect() })
        })
        .collect()
}

/// One line that is not UTF-8 is not to cost the whole push, which is not sent again.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `{job="web", level="info"}`, with the escapes of Go.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let (name, more) = rest.split_once('=')?;
        let more = more.trim_start().strip_prefix('"')?;
        let (value, more) = quoted(more)?;
        found.insert(name.trim().to_owned(), value);
        rest = more.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

/// Up to the closing quote, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                kind @ ('x' | 'u') => {
                    let digits = if kind == 'x' { 2 } else { 4 };
                    let code: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                    let code = u32::from_str_radix(&code, 16).ok()?;
                    value.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => value.push(other),
            },
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_in_json() {
        let body = br#"{"streams": [{"stream": {"job": "web"}, "values": [
            ["1700000000000000000", "hello"], ["1700000000000000001", "again", {"trace_id": "ab"}]]}]}"#;
        let streams = from_json(body).unwrap();
        assert_eq!(streams[0].labels["job"], "web");
        assert_eq!(streams[0].entries[1].more, [("trace_id".to_owned(), "ab".to_owned())]);
        assert_eq!(streams[0].entries[0].time, 1_700_000_000_000_000_000);
        for wrong in [
            &b"{}"[..],
            b"[]",
            br#"{"streams": [{"values": [["x", "y"]]}]}"#,
            br#"{"streams": [{"values": [["1"]]}]}"#,
            br#"{"streams": [{"values": [["1", "line", 7]]}]}"#,
            br#"{"streams": [{"values": [["1", "line", {"a": 7}]]}]}"#,
        ] {
            assert!(from_json(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_push_in_protobuf() {
        let entry = PushEntry {
            time: Some(Timestamp { seconds: 1, nanos: 2 }),
            line: "hello".into(),
            more: vec![Pair { name: "a".into(), value: "b".into() }],
        };
        // as a program writes that does not know of UTF-8
        let old = PushEntry {
            line: b"caf\xe9".into(),
            more: vec![Pair { name: "b".into(), value: b"\xff".into() }],
            ..entry.clone()
        };
        let stream = PushStream { labels: r#"{job="we\"b", level="info"}"#.into(), entries: vec![entry, old] };
        let streams = from_protobuf(&Push { streams: vec![stream] }.encode_to_vec()).unwrap();
        assert_eq!(streams[0].labels["job"], "we\"b");
        assert_eq!(streams[0].labels["level"], "info");
        let [entry, old] = &streams[0].entries[..] else { panic!("{streams:?}") };
        assert_eq!((entry.time, entry.line.as_str()), (1_000_000_002, "hello"));
        assert_eq!((old.line.as_str(), &old.more[..]), ("caf\u{fffd}", &[("b".to_owned(), "\u{fffd}".to_owned())][..]));
        assert!(from_protobuf(b"\xff\xff").is_err());
    }

    #[test]
    fn labels_are_read_as_go_writes_them() {
        let pairs = |text: &str| labels(text).map(|found| found.into_iter().collect::<Vec<_>>());
        assert_eq!(pairs("{}"), Some(vec![]));
        assert_eq!(pairs(r#"{a="\u00e9\n\x41"}"#), Some(vec![("a".into(), "é\nA".into())]));
        for wrong in ["", "{", "{a}", "{a=b}", r#"{a="b"#, r#"{a="b" c="d"}"#, r#"{a="\u00"}"#] {
            assert_eq!(pairs(wrong), None, "{wrong}");
        }
    }
}
