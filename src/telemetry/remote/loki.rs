//! Loki's HTTP API (<https://grafana.com/docs/loki/latest/reference/loki-http-api/>).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{AskError, BACK, Loki, quoted};
use crate::model::AnyError;
use crate::telemetry::LineFilter;
use crate::telemetry::batch::{self, Batch, LEVELS};
use crate::telemetry::wire::loki::{Entry, Stream};
use crate::words;

/// Lines that it gives at once (`max_entries_limit_per_query`).
const MOST: usize = 5000;
const NANOS: u64 = 1_000_000_000;

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
}

impl Loki {
    /// The newest lines that are wanted. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// It does not answer, or not with lines.
    pub async fn lines(&self, wanted: &LineFilter, now: u64) -> Result<Batch, AskError> {
        let back = now.saturating_sub(BACK).saturating_mul(NANOS);
        let query = [
            ("query", question(wanted)),
            ("limit", wanted.limit.clamp(1, MOST).to_string()),
            ("start", wanted.since.max(back).to_string()),
            ("end", now.saturating_add(60).saturating_mul(NANOS).to_string()),
            ("direction", "backward".to_owned()),
        ];
        let answer: Answer = self.0.json("/loki/api/v1/query_range", &query).await?;
        let streams = answer.data.result.into_iter().map(stream).collect::<Option<Vec<Stream>>>();
        let streams = streams.ok_or_else(|| self.0.malformed(AnyError::said("a line without a time or a text")))?;
        Ok(batch::pushed(streams).batch)
    }
}

/// In LogQL. Each stream has a `service_name`: a label of ours, the sender's name, or what Loki makes of the others.
fn question(wanted: &LineFilter) -> String {
    let mut text = match &wanted.service {
        Some(service) => format!("{{service_name={}}}", quoted(service)),
        None => r#"{service_name=~".+"}"#.to_owned(),
    };
    if !wanted.search.is_empty() {
        let pattern = format!("(?i){}", regex::escape(&wanted.search));
        text.push_str(&format!(" |~ {}", quoted(&pattern)));
    }
    if wanted.severity > 0 {
        let these = LEVELS.iter().filter(|(number, _)| *number >= wanted.severity);
        let names: Vec<&str> = these.flat_map(|(_, names)| names.iter().copied()).collect();
        let pattern = quoted(&format!("(?i)({})", names.join("|")));
        text.push_str(&format!(" | level=~{pattern} or detected_level=~{pattern}"));
    }
    if let Some(id) = &wanted.trace {
        text.push_str(&format!(" | trace_id={}", quoted(&words::hex(id))));
    }
    text
}

/// What a stream has of its lines where these do not say it: older versions put all into the labels.
const OF_LINES: [&str; 2] = ["trace_id", "span_id"];

fn stream(found: Found) -> Option<Stream> {
    let labels = found.stream;
    let entry = |values: Vec<Value>| {
        let mut values = values.into_iter();
        let time = values.next()?.as_str()?.parse().ok()?;
        let Value::String(line) = values.next()? else { return None };
        let mut more: Vec<(String, String)> = Vec::new();
        for part in ["structuredMetadata", "parsed"] {
            let pairs = values.as_slice().first().and_then(|all| all.get(part)?.as_object()).into_iter().flatten();
            more.extend(pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))));
        }
        for name in OF_LINES {
            let known = more.iter().any(|(known, _)| known == name);
            more.extend(labels.get(name).filter(|_| !known).map(|value| (name.to_owned(), value.clone())));
        }
        Some(Entry { time, line, more })
    };
    let entries = found.values.into_iter().map(entry).collect::<Option<Vec<Entry>>>()?;
    Some(Stream { labels, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::batch::level;

    #[test]
    fn what_is_asked_for_is_a_question_in_logql() {
        assert_eq!(question(&LineFilter::default()), r#"{service_name=~".+"}"#);
        let some = LineFilter {
            search: "a.b\" (".into(),
            service: Some("shop".into()),
            severity: 17,
            trace: Some(vec![0xab; 16]),
            ..LineFilter::default()
        };
        insta::assert_snapshot!(question(&some), @r#"{service_name="shop"} |~ "(?i)a\\.b\" \\(" | level=~"(?i)(error|err|severe|fatal|critical|crit|alert|emerg|emergency|panic)" or detected_level=~"(?i)(error|err|severe|fatal|critical|crit|alert|emerg|emergency|panic)" | trace_id="abababababababababababababababab""#);
    }

    fn lines(values: &str) -> Option<Batch> {
        let answer = format!(
            r#"{{"status": "success", "data": {{"resultType": "streams", "encodingFlags": ["categorize-labels"], "result": [
            {{"stream": {{"service_name": "shop", "level": "warn"}}, "values": {values}}}], "stats": {{}}}}}}"#
        );
        let answer: Answer = serde_json::from_str(&answer).unwrap();
        let streams = answer.data.result.into_iter().map(stream).collect::<Option<Vec<Stream>>>()?;
        Some(batch::pushed(streams).batch)
    }

    #[test]
    fn what_is_found_is_read() {
        let found = lines(
            r#"[["1790000000000000000", "one"], ["1790000000000000001", "two",
            {"structuredMetadata": {"trace_id": "5b8efff798038103d269b633813fc60c", "detected_level": "error"}}]]"#,
        );
        let found = found.unwrap();
        assert_eq!(found.origins[0].service, "shop");
        let read: Vec<_> = found.lines.iter().map(|row| (row.text.as_str(), level(row.severity))).collect();
        assert_eq!(read, [("one", "warn"), ("two", "error")]);
        assert_eq!((found.lines[0].trace.len(), found.lines[1].trace.len()), (0, 16));
        assert_eq!(lines(r#"[["soon", "one"]]"#), None);
        assert_eq!(lines(r#"[["1"]]"#), None);
    }
}
