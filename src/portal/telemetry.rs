//! What programs have sent to this process: traces, log lines and metrics.

use serde_json::{Value, json};

use crate::model::PlatformName;
use crate::telemetry::batch::severity_of;
use crate::telemetry::view::{self, Line, Metric, TraceSummary};
use crate::telemetry::{LineFilter, Snapshot, TraceFilter, wire};

use super::Shared;
use super::looks::failed;

/// Traces, lines and series that a page shows.
const TRACES: usize = 200;
const LINES: usize = 500;
const SERIES: usize = 300;
/// Seconds for which metrics are shown.
const METRICS: u64 = 3600;
/// Bytes of a line that are shown in a list.
const LONGEST: usize = 8 << 10;

/// What a page asks for.
#[derive(Debug, Default)]
pub struct Asked {
    pub id: String,
    /// Empty: all.
    pub service: String,
    pub search: String,
    pub slow_ms: u64,
    pub errors: bool,
    /// At least that; empty: all.
    pub level: String,
    /// Seconds back from now; 0: all there is.
    pub since: u64,
}

impl Shared {
    pub async fn telemetry(&self, path: &str, platform: PlatformName, asked: Asked) -> Value {
        // what was kept before stays readable while nothing is taken
        let (snapshot, state) = match self.telemetry.of(&platform) {
            Some(found) => found,
            None => match crate::app::kept_telemetry(&*self.host, &platform).await {
                Ok(snapshot) => (snapshot, Default::default()),
                Err(error) => return failed(&error.to_string()),
            },
        };
        let now = u64::try_from(self.host.now()).unwrap_or_default();
        let path = path.to_owned();
        // thousands of lines are looked through
        let work = move || answer(&path, &snapshot, &asked, now);
        let mut found = match tokio::task::spawn_blocking(work).await {
            Ok(found) => found,
            Err(error) => return failed(&error.to_string()),
        };
        if let Some(found) = found.as_object_mut() {
            found.insert("state".into(), json!(state));
        }
        found
    }
}

fn answer(path: &str, kept: &Snapshot, asked: &Asked, now: u64) -> Value {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let since = |seconds: u64| now.saturating_sub(seconds).saturating_mul(1_000_000_000);
    match path {
        "/api/traces" => {
            let filter = TraceFilter {
                service: some(&asked.service),
                slow: asked.slow_ms.saturating_mul(1_000_000),
                errors: asked.errors,
                limit: TRACES,
            };
            json!({"traces": kept.traces(&filter).iter().map(TraceSummary::from).collect::<Vec<_>>()})
        }
        "/api/trace" => {
            let Some(id) = wire::hex(&asked.id).filter(|id| !id.is_empty()) else {
                return failed("this is not a trace's id");
            };
            let wanted = LineFilter { trace: Some(id.clone()), limit: LINES, ..LineFilter::default() };
            match kept.trace(&id) {
                Ok(spans) => json!({"trace": view::trace(&spans, &kept.lines(&wanted))}),
                Err(error) => failed(&error.to_string()),
            }
        }
        "/api/lines" => {
            let filter = LineFilter {
                search: asked.search.clone(),
                service: some(&asked.service),
                severity: severity_of(&asked.level),
                since: if asked.since == 0 { 0 } else { since(asked.since) },
                limit: LINES,
                ..LineFilter::default()
            };
            json!({"lines": kept.lines(&filter).iter().map(|line| cut(Line::from(line))).collect::<Vec<_>>()})
        }
        _ => {
            let found = kept.metrics(since(METRICS), SERIES);
            json!({"metrics": found.iter().filter_map(Metric::of).collect::<Vec<_>>()})
        }
    }
}

fn cut(mut line: Line) -> Line {
    if line.text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| line.text.is_char_boundary(*at)).unwrap_or_default();
        let rest = line.text.len() - end;
        line.text.truncate(end);
        line.text.push_str(&format!(" … {rest} more bytes"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::batch::{self, Taken};
    use crate::telemetry::wire::json as otlp;
    use std::sync::Arc;

    fn kept() -> Snapshot {
        let id = "5b8efff798038103d269b633813fc60c";
        let spans = format!(
            r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"traceId": "{id}", "spanId": "eee19b7ec3c1b174",
            "name": "</script>", "startTimeUnixNano": "1000000", "endTimeUnixNano": "9000000"}}]}}]}}]}}"#
        );
        let lines = format!(
            r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"timeUnixNano": "5", "severityNumber": 17, "traceId": "{id}",
            "body": {{"stringValue": "{}"}}}}]}}]}}]}}"#,
            "é".repeat(LONGEST)
        );
        let taken: [Taken; 2] = [
            batch::traces(otlp::traces(spans.as_bytes()).unwrap()),
            batch::logs(otlp::logs(lines.as_bytes()).unwrap(), 7),
        ];
        Snapshot { tail: taken.into_iter().map(|taken| Arc::new(taken.batch)).collect(), ..Snapshot::default() }
    }

    #[test]
    fn the_page_is_told_what_was_sent() {
        let ask = |path: &str, asked: Asked| answer(path, &kept(), &asked, 10);
        let all = ask("/api/traces", Asked::default());
        assert_eq!(all["traces"][0]["duration_us"], 8000);
        assert_eq!(ask("/api/traces", Asked { slow_ms: 9, ..Asked::default() })["traces"], json!([]));
        let id = all["traces"][0]["trace"].as_str().unwrap().to_owned();
        let one = ask("/api/trace", Asked { id, ..Asked::default() });
        assert_eq!(one["trace"]["spans"][0]["name"], "</script>");
        assert_eq!(one["trace"]["lines"][0]["level"], "error");
        assert!(ask("/api/trace", Asked { id: "xyz".into(), ..Asked::default() })["error"].is_object());
        assert_eq!(ask("/api/trace", Asked { id: "ab".repeat(16), ..Asked::default() })["trace"], Value::Null);
        let lines = ask("/api/lines", Asked { level: "warn".into(), ..Asked::default() });
        let text = lines["lines"][0]["text"].as_str().unwrap();
        assert!(text.ends_with(" … 8192 more bytes"), "{}", text.len());
        assert_eq!(ask("/api/lines", Asked { level: "fatal".into(), ..Asked::default() })["lines"], json!([]));
        assert_eq!(ask("/api/metrics", Asked::default())["metrics"], json!([]));
    }
}
