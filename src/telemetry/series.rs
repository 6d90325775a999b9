//! The values of metrics. A series is told from others of its name by its sender, as OpenTelemetry has it
//! (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#timeseries-model>).

use std::collections::{HashMap, HashSet};

use prost::Message;
use serde_json::Value;

use super::batch::{Origin, plain_map};

/// The values of a metric of one sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub service: String,
    pub name: String,
    pub unit: String,
    pub attributes: Value,
    /// Time, value, and of a histogram how many; the oldest first.
    pub points: Vec<(u64, f64, Option<u64>)>,
}

/// What senders of one name say of themselves, the best first.
const TELLING: [&str; 4] = ["service.instance.id", "host.name", "process.pid", SCOPE];
/// The library, as Prometheus has it as `otel_scope_name`.
const SCOPE: &str = "otel.scope.name";
/// A number, where they say nothing that tells one from the other.
const NUMBER: &str = "sender";

/// Each sender once.
#[derive(Default)]
pub(super) struct Senders {
    known: HashMap<Vec<u8>, usize>,
    all: Vec<Origin>,
}

impl Senders {
    /// The numbers of these.
    pub(super) fn numbers(&mut self, origins: &[Origin]) -> Vec<usize> {
        let mut numbers = Vec::with_capacity(origins.len());
        for origin in origins {
            let mut origin = origin.clone();
            // in whatever order they are sent
            origin.attributes.sort_by(|one, other| one.key.cmp(&other.key));
            let all = &mut self.all;
            let number = *self.known.entry(origin.encode_to_vec()).or_insert_with(|| {
                all.push(origin);
                all.len() - 1
            });
            numbers.push(number);
        }
        numbers
    }

    /// Series by the number of their sender, their name and their attributes: those that agree in all that is shown of
    /// them have more attributes, as few as tell them apart.
    pub(super) fn named(&self, all: HashMap<(usize, String, String), Series>) -> Vec<Series> {
        let mut groups: HashMap<_, Vec<(&Origin, Series)>> = HashMap::new();
        for ((sender, name, attributes), series) in all {
            let Some(origin) = self.all.get(sender) else { continue };
            groups.entry((series.service.clone(), name, attributes)).or_default().push((origin, series));
        }
        let mut found = Vec::new();
        for mut group in groups.into_values() {
            if group.len() > 1 {
                tell_apart(&mut group);
            }
            found.extend(group.into_iter().map(|(_, series)| series));
        }
        found
    }
}

fn tell_apart(group: &mut [(&Origin, Series)]) {
    // each time in the same order
    group.sort_by_cached_key(|(origin, _)| origin.encode_to_vec());
    let mut known: Vec<Value> = group.iter().map(|(_, series)| series.attributes.clone()).collect();
    for name in TELLING {
        let with = |(known, (origin, _)): (&Value, &(&Origin, Series))| {
            let mut more = known.clone();
            if let (Value::Object(attributes), Some(value)) = (&mut more, said(origin, name)) {
                attributes.entry(name).or_insert(value);
            }
            more
        };
        let more: Vec<Value> = known.iter().zip(group.iter()).map(with).collect();
        if different(&more) > different(&known) {
            known = more;
        }
    }
    let told = different(&known) == group.len();
    for (at, ((_, series), mut attributes)) in group.iter_mut().zip(known).enumerate() {
        if let Value::Object(attributes) = &mut attributes
            && !told
        {
            attributes.insert(NUMBER.to_owned(), Value::from(at + 1));
        }
        series.attributes = attributes;
    }
}

fn said(origin: &Origin, name: &str) -> Option<Value> {
    if name == SCOPE {
        return (!origin.scope.is_empty()).then(|| Value::from(origin.scope.as_str()));
    }
    plain_map(&origin.attributes).get(name).cloned()
}

fn different(all: &[Value]) -> usize {
    all.iter().map(ToString::to_string).collect::<HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::wire::otlp::KeyValue;

    /// The attributes of one series of each of these senders.
    fn told(origins: &[Origin]) -> Vec<Value> {
        let mut senders = Senders::default();
        let series = |origin: &Origin| Series {
            service: origin.service.clone(),
            name: "load".into(),
            unit: String::new(),
            attributes: json!({"cpu": 0}),
            points: Vec::new(),
        };
        let numbers = senders.numbers(origins);
        let all = origins.iter().zip(numbers).map(|(origin, number)| {
            let series = series(origin);
            ((number, series.name.clone(), series.attributes.to_string()), series)
        });
        let mut found: Vec<Value> = senders.named(all.collect()).into_iter().map(|series| series.attributes).collect();
        found.sort_by_key(Value::to_string);
        found
    }

    #[test]
    fn senders_of_one_name_are_told_apart_by_as_little_as_possible() {
        let of = |service: &str, pairs: &[(&str, &str)], scope: &str| Origin {
            service: service.into(),
            attributes: pairs.iter().map(|(key, value)| KeyValue::text(*key, *value)).collect(),
            scope: scope.into(),
        };
        let (one, other) = ([("host.name", "a"), ("process.pid", "1")], [("process.pid", "1"), ("host.name", "b")]);
        let plain = || json!({"cpu": 0});
        assert_eq!(told(&[of("shop", &one, "")]), [plain()]);
        assert_eq!(told(&[of("shop", &one, ""), of("cart", &one, "")]), [plain(), plain()]);
        assert_eq!(
            told(&[of("shop", &one, ""), of("shop", &other, "")]),
            [json!({"cpu": 0, "host.name": "a"}), json!({"cpu": 0, "host.name": "b"})]
        );
        // the order of what is sent makes no other sender
        let turned = [("process.pid", "1"), ("host.name", "a")];
        assert_eq!(told(&[of("shop", &one, ""), of("shop", &turned, "")]), [plain()]);
        // two libraries of two replicas, one of which says no more
        assert_eq!(
            told(&[of("shop", &one, "sql"), of("shop", &other, "sql"), of("shop", &other, "http")]),
            [
                json!({"cpu": 0, "host.name": "a", "otel.scope.name": "sql"}),
                json!({"cpu": 0, "host.name": "b", "otel.scope.name": "http"}),
                json!({"cpu": 0, "host.name": "b", "otel.scope.name": "sql"}),
            ]
        );
        assert_eq!(
            told(&[of("shop", &[("zone", "x")], ""), of("shop", &[("zone", "y")], "")]),
            [json!({"cpu": 0, "sender": 1}), json!({"cpu": 0, "sender": 2})]
        );
    }
}
