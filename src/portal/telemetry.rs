//! What programs have sent, to this process or to Tempo, Loki and Prometheus: traces, log lines and metrics.

use serde_json::{Value, json};

use crate::app::{Inquiry, InquiryError, TelemetryState};
use crate::model::PlatformName;
use crate::telemetry::batch::severity_of;
use crate::telemetry::remote::{Places, USUAL};
use crate::telemetry::view::{Line, Metric};
use crate::telemetry::{LineFilter, Snapshot, TraceFilter, wire};

use super::Shared;
use super::looks::failed;

/// Traces, lines and series that a page shows.
const TRACES: usize = 200;
const LINES: usize = 500;
const SERIES: usize = 300;
/// Names of metrics that are offered.
const NAMES: usize = 5000;
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
    /// To Prometheus; empty: only what was sent here.
    pub expression: String,
}

impl Shared {
    pub async fn telemetry(&self, path: &str, platform: PlatformName, asked: Asked) -> Value {
        let files = crate::app::ResolverFiles::of(&*self.host);
        let places = files.asked(&*self.host, &platform).await;
        // what was kept before stays readable while nothing is taken
        let (snapshot, mut state) = match self.telemetry.of(&platform) {
            Some(found) => found,
            None => match crate::app::kept_telemetry(&*self.host, &platform).await {
                Ok(snapshot) => (snapshot, TelemetryState::default()),
                Err(error) => return failed(&error.to_string()),
            },
        };
        let mut problems = Vec::new();
        let found = answer(path, snapshot, places, &asked, self.host.now(), &mut problems).await;
        let mut found = found.unwrap_or_else(|error| failed(&error.to_string()));
        state.problems.extend(problems);
        if let Some(found) = found.as_object_mut() {
            found.insert("state".into(), json!(state));
            found.insert("asked".into(), json!(places));
        }
        found
    }
}

async fn answer(
    path: &str,
    kept: Snapshot,
    places: Places,
    asked: &Asked,
    now: i64,
    problems: &mut Vec<String>,
) -> Result<Value, InquiryError> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let seconds = u64::try_from(now).unwrap_or_default();
    let since = |back: u64| seconds.saturating_sub(back).saturating_mul(1_000_000_000);
    if path == "/api/metrics" {
        return metrics(kept, places, asked, seconds, since(METRICS), problems).await;
    }
    let inquiry = Inquiry::new(kept, places, now);
    Ok(match path {
        "/api/traces" => {
            let filter = TraceFilter {
                service: some(&asked.service),
                slow: asked.slow_ms.saturating_mul(1_000_000),
                errors: asked.errors,
                limit: TRACES,
            };
            let found = inquiry.traces(&filter).await?;
            problems.extend(found.problems);
            json!({"traces": found.value})
        }
        "/api/map" => {
            let found = inquiry.map(&TraceFilter::default()).await?;
            problems.extend(found.problems);
            json!({"map": found.value})
        }
        "/api/trace" => {
            let Some(id) = wire::hex(&asked.id).filter(|id| !id.is_empty()) else {
                return Ok(failed("this is not a trace's id"));
            };
            let found = inquiry.trace(&id).await?;
            problems.extend(found.problems);
            json!({"trace": found.value})
        }
        _ => {
            let filter = LineFilter {
                search: asked.search.clone(),
                service: some(&asked.service),
                severity: severity_of(&asked.level),
                since: if asked.since == 0 { 0 } else { since(asked.since) },
                limit: LINES,
                ..LineFilter::default()
            };
            let found = inquiry.lines(&filter).await?;
            problems.extend(found.problems);
            json!({"lines": found.value.into_iter().map(cut).collect::<Vec<_>>()})
        }
    })
}

/// What was sent here, and what Prometheus says of an expression.
async fn metrics(
    kept: Snapshot,
    places: Places,
    asked: &Asked,
    now: u64,
    since: u64,
    problems: &mut Vec<String>,
) -> Result<Value, InquiryError> {
    let look = move || kept.metrics(since, SERIES).iter().filter_map(Metric::of).collect::<Vec<_>>();
    let sent = tokio::task::spawn_blocking(look).await.map_err(InquiryError::Work)?;
    let mut found = json!({"metrics": sent});
    if let Some(prometheus) = places.prometheus() {
        let expression = if asked.expression.is_empty() { USUAL[0].expression } else { asked.expression.as_str() };
        let (series, names) = tokio::join!(prometheus.range(expression, METRICS, now, SERIES), prometheus.names(NAMES));
        let mut told = |error: crate::telemetry::remote::AskError| problems.push(error.to_string());
        found["series"] = json!(series.map_err(&mut told).unwrap_or_default());
        found["names"] = json!(names.unwrap_or_default());
        found["expression"] = json!(expression);
        found["usual"] = json!(USUAL);
    }
    Ok(found)
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

    #[tokio::test]
    async fn the_page_is_told_what_was_sent() {
        let ask = async |path: &str, asked: Asked| {
            let mut problems = Vec::new();
            let found = answer(path, kept(), Places::default(), &asked, 10, &mut problems).await.unwrap();
            assert!(problems.is_empty(), "{problems:?}");
            found
        };
        let all = ask("/api/traces", Asked::default()).await;
        assert_eq!(all["traces"][0]["duration_us"], 8000);
        assert_eq!(ask("/api/traces", Asked { slow_ms: 9, ..Asked::default() }).await["traces"], json!([]));
        let id = all["traces"][0]["trace"].as_str().unwrap().to_owned();
        let one = ask("/api/trace", Asked { id, ..Asked::default() }).await;
        assert_eq!(one["trace"]["spans"][0]["name"], "</script>");
        assert_eq!(one["trace"]["lines"][0]["level"], "error");
        assert!(ask("/api/trace", Asked { id: "xyz".into(), ..Asked::default() }).await["error"].is_object());
        assert_eq!(ask("/api/trace", Asked { id: "ab".repeat(16), ..Asked::default() }).await["trace"], Value::Null);
        let lines = ask("/api/lines", Asked { level: "warn".into(), ..Asked::default() }).await;
        let text = lines["lines"][0]["text"].as_str().unwrap();
        assert!(text.ends_with(" … 8192 more bytes"), "{}", text.len());
        assert_eq!(ask("/api/lines", Asked { level: "fatal".into(), ..Asked::default() }).await["lines"], json!([]));
        assert_eq!(ask("/api/metrics", Asked::default()).await, json!({"metrics": []}));
        assert_eq!(ask("/api/map", Asked::default()).await["map"]["services"][0]["count"], 1);
    }

    #[tokio::test]
    async fn a_prometheus_that_does_not_answer_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let places = Places { prometheus: Some(address), ..Places::default() };
        let mut problems = Vec::new();
        let found = answer("/api/metrics", kept(), places, &Asked::default(), 10, &mut problems).await.unwrap();
        assert_eq!((&found["series"], &found["expression"]), (&json!([]), &json!("up")));
        assert!(problems[0].starts_with(&format!("Prometheus at {address} does not answer")), "{problems:?}");
    }
}
