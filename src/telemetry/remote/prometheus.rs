//! Prometheus's HTTP API (<https://prometheus.io/docs/prometheus/latest/querying/api/>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AskError, Prometheus};
use crate::model::AnyError;
use crate::telemetry::view::{Metric, time};

/// Points of a chart.
const POINTS: u64 = 60;
const NANOS: u64 = 1_000_000_000;

/// A question that a page offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Curve {
    pub title: &'static str,
    pub expression: &'static str,
    /// Who has to be there for it to have an answer.
    pub needs: &'static str,
}

/// What one wants to see first; the same questions as on the dashboards (templates/grafana).
pub const USUAL: [Curve; 6] = [
    Curve { title: "Targets that answer", expression: "up", needs: "a target" },
    Curve {
        title: "Memory of programs",
        expression: "process_resident_memory_bytes",
        needs: "a target that tells its memory",
    },
    Curve {
        title: "CPU of containers",
        expression: "sum by (service) (rate(container_cpu_usage_seconds_total[2m]))",
        needs: "Alloy, which reads it from the engine",
    },
    Curve {
        title: "Memory of containers",
        expression: "sum by (service) (container_memory_working_set_bytes)",
        needs: "Alloy, which reads it from the engine",
    },
    Curve {
        title: "Requests a second, by service",
        expression: "sum by (service) (rate(traces_spanmetrics_calls_total[2m]))",
        needs: "Tempo, which counts them in traces",
    },
    Curve {
        title: "CPU of the machine",
        expression: "1 - avg(rate(node_cpu_seconds_total{mode=\"idle\"}[2m]))",
        needs: "an exporter of the machine's own metrics",
    },
];

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// What an expression says of the last seconds; most of `limit`. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// It does not answer, or does not understand the expression.
    pub async fn range(&self, expression: &str, seconds: u64, now: u64, limit: usize) -> Result<Vec<Metric>, AskError> {
        let query = [
            ("query", expression.to_owned()),
            ("start", now.saturating_sub(seconds).to_string()),
            ("end", now.to_string()),
            ("step", (seconds / POINTS).max(1).to_string()),
        ];
        let answer: Answer = self.0.json("/api/v1/query_range", &query).await?;
        if answer.data.result_type != "matrix" {
            return Err(self.0.malformed(AnyError::said(format!("a {}", answer.data.result_type))));
        }
        Ok(answer.data.result.into_iter().take(limit).filter_map(metric).collect())
    }

    /// The names of all metrics, for who types one.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn names(&self, limit: usize) -> Result<Vec<String>, AskError> {
        #[derive(Deserialize)]
        struct Names {
            data: Vec<String>,
        }
        let names: Names = self.0.json("/api/v1/label/__name__/values", &[("limit", limit.to_string())]).await?;
        Ok(names.data.into_iter().take(limit).collect())
    }
}

fn metric(found: Found) -> Option<Metric> {
    let mut labels = found.metric;
    let name = labels.remove("__name__").unwrap_or_default();
    let named = ["service", "service_name", "job"].iter().find_map(|name| labels.remove(*name));
    // "NaN" and "+Inf" have no place on a chart
    let numbers =
        found.values.iter().map(|(at, value)| (*at, value.parse::<f64>().ok().filter(|value| value.is_finite())));
    let points: Vec<(f64, f64)> = numbers.filter_map(|(at, value)| Some((at, value?))).collect();
    let (at, value) = *points.last()?;
    let labels: serde_json::Map<String, Value> = labels.into_iter().map(|(name, value)| (name, json!(value))).collect();
    Some(Metric {
        service: named.unwrap_or_default(),
        name,
        unit: String::new(),
        attributes: Value::Object(labels),
        time: time((at.max(0.0) as u64).saturating_mul(NANOS)),
        value,
        values: points.iter().map(|(_, value)| *value).collect(),
        times: points.iter().map(|(at, _)| (at.max(0.0) * 1000.0) as u64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_read() {
        // as in the API's reference
        let answer = br#"{"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": {"__name__": "up", "job": "prometheus", "instance": "localhost:9090"},
             "values": [[1435781430.781, "1"], [1435781445.781, "NaN"], [1435781460.781, "0.5"]]},
            {"metric": {}, "values": [[1435781430.781, "+Inf"]]}]}}"#;
        let answer: Answer = serde_json::from_slice(answer).unwrap();
        let all: Vec<Metric> = answer.data.result.into_iter().filter_map(metric).collect();
        let [up] = &all[..] else { panic!("{all:?}") };
        assert_eq!((up.service.as_str(), up.name.as_str(), up.value), ("prometheus", "up", 0.5));
        assert_eq!((&up.values, &up.attributes), (&vec![1.0, 0.5], &json!({"instance": "localhost:9090"})));
        assert_eq!(up.times, [1_435_781_430_781, 1_435_781_460_781]);
        assert_eq!(up.time, "2015-07-01T20:11:00.000000Z");
    }
}
