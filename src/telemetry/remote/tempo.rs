//! Tempo's HTTP API (<https://grafana.com/docs/tempo/latest/api_docs/>).

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;

use super::{AskError, BACK, Tempo, quoted};
use crate::telemetry::TraceFilter;
use crate::telemetry::batch::{self, Batch};
use crate::telemetry::trace_head::TraceHead;
use crate::telemetry::wire::{hex, otlp::TracesRequest};
use crate::words;

/// What it calls the root's service as long as the root has not come.
const NO_ROOT: &str = "<root span not yet received>";

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    traces: Vec<Trace>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    root_service_name: String,
    root_trace_name: String,
    start_time_unix_nano: String,
    duration_ms: u64,
    /// Since Tempo 2.5.
    service_stats: BTreeMap<String, Stats>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    span_count: u32,
    error_count: u32,
}

impl Tempo {
    /// The newest traces that are wanted. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// It does not answer, or not with traces.
    pub async fn traces(&self, wanted: &TraceFilter, now: u64) -> Result<Vec<TraceHead>, AskError> {
        let query = [
            ("q", question(wanted)),
            ("limit", wanted.limit.to_string()),
            // without both of these only what has just come is looked through
            ("start", now.saturating_sub(BACK).to_string()),
            ("end", (now + 60).to_string()),
        ];
        let found: Found = self.0.json("/api/search", &query).await?;
        Ok(found.traces.into_iter().filter_map(head).collect())
    }

    /// The spans of a trace; `None`: there is no such trace.
    ///
    /// # Errors
    /// It does not answer, or not with a trace.
    pub async fn trace(&self, id: &[u8]) -> Result<Option<Batch>, AskError> {
        let path = format!("/api/traces/{}", words::hex(id));
        let Some(body) = self.0.get(&path, &[], "application/protobuf").await? else { return Ok(None) };
        let request = TracesRequest::decode(&*body).map_err(|error| self.0.malformed(error))?;
        let found = batch::traces(request).batch;
        Ok((!found.is_empty()).then_some(found))
    }
}

/// In TraceQL. Each is asked of the trace as a whole, as here.
fn question(wanted: &TraceFilter) -> String {
    let service = wanted.service.as_ref().map(|service| format!("{{ resource.service.name = {} }}", quoted(service)));
    let errors = wanted.errors.then(|| "{ status = error }".to_owned());
    let slow = (wanted.slow > 0).then(|| format!("{{ traceDuration >= {}us }}", wanted.slow / 1000));
    let all: Vec<String> = [service, errors, slow].into_iter().flatten().collect();
    if all.is_empty() { "{}".to_owned() } else { all.join(" && ") }
}

fn head(found: Trace) -> Option<TraceHead> {
    // it leaves out the zeros in front
    let trace = hex(&format!("{:0>32}", found.trace_id)).filter(|id| id.len() == 16)?;
    let start: u64 = found.start_time_unix_nano.parse().ok()?;
    let rooted = found.root_service_name != NO_ROOT;
    let mut services: Vec<String> = found.service_stats.keys().cloned().collect();
    if services.is_empty() && rooted {
        services.push(found.root_service_name.clone());
    }
    // without its root it goes by whoever takes part
    let service = match rooted {
        true => found.root_service_name,
        false => services.first().cloned().unwrap_or_default(),
    };
    Some(TraceHead {
        trace,
        start,
        end: start.saturating_add(found.duration_ms.saturating_mul(1_000_000)),
        spans: found.service_stats.values().map(|one| one.span_count).sum(),
        errors: found.service_stats.values().map(|one| one.error_count).sum(),
        name: found.root_trace_name,
        service,
        rooted,
        services,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_a_question_in_traceql() {
        let all = TraceFilter { limit: 20, ..TraceFilter::default() };
        assert_eq!(question(&all), "{}");
        let some = TraceFilter { service: Some("a\"b".into()), slow: 500_000_000, errors: true, limit: 20 };
        assert_eq!(
            question(&some),
            r#"{ resource.service.name = "a\"b" } && { status = error } && { traceDuration >= 500000us }"#
        );
    }

    #[test]
    fn what_is_found_is_read() {
        // as in the API's reference, with the statistics of later versions
        let answer = br#"{"traces": [
            {"traceID": "2f3e0cee77ae5dc9c17ade3689eb2e54", "rootServiceName": "shop-backend", "rootTraceName": "update-billing",
             "startTimeUnixNano": "1684778327699392724", "durationMs": 557, "spanSets": [{"spans": [], "matched": 1}],
             "serviceStats": {"shop-backend": {"spanCount": 3, "errorCount": 1}, "billing": {"spanCount": 2}}},
            {"traceID": "d6e9329d67b6146a", "rootServiceName": "frontend", "rootTraceName": "/cart",
             "startTimeUnixNano": "1634727903545000000"},
            {"traceID": "b6e9329d67b6146a", "rootServiceName": "<root span not yet received>",
             "startTimeUnixNano": "1634727903545000000", "serviceStats": {"billing": {"spanCount": 2}}}, {"traceID": "no id"}],
            "metrics": {"totalBlocks": 13}}"#;
        let found: Found = serde_json::from_slice(answer).unwrap();
        let heads: Vec<TraceHead> = found.traces.into_iter().filter_map(head).collect();
        let [first, second, third] = &heads[..] else { panic!("{heads:?}") };
        assert_eq!((first.took(), first.spans, first.errors), (557_000_000, 5, 1));
        assert_eq!(first.services, ["billing", "shop-backend"]);
        assert_eq!(words::hex(&second.trace), "0000000000000000d6e9329d67b6146a");
        assert_eq!((second.took(), second.name.as_str(), second.services.len()), (0, "/cart", 1));
        assert_eq!((third.service.as_str(), third.rooted, second.rooted), ("billing", false, true));
    }
}
