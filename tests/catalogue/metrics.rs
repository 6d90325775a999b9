//! What dashboards and alerts ask for is what somebody gives.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LEFT_OUT, compiled, file};

/// Words of PromQL that stand where a metric could.
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset"];
/// Made by Prometheus itself.
const OWN: &[&str] = &["ALERTS", "up"];

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    // labels, ranges and texts name none
    let mut plain = String::new();
    let (mut depth, mut quoted) = (0, false);
    for letter in expression.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth -= 1;
                plain.push(' ');
            }
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    let mut rest = plain.as_str();
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    while let Some(start) = rest.find(letter) {
        let word_on = &rest[start..];
        let end = word_on.find(|c| !letter(c)).unwrap_or(word_on.len());
        let (word, after) = word_on.split_at(end);
        rest = after;
        match word {
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                if let Some((_, behind)) = after.trim_start().strip_prefix('(').and_then(|list| list.split_once(')')) {
                    rest = behind;
                }
            }
            _ if after.trim_start().starts_with('(') || WORDS.contains(&word) => {}
            // a number, with its unit or not
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => {}
            // `sum by (x) (...)`: the function is followed by a word, not by a bracket
            _ if after.trim_start().starts_with("by ") || after.trim_start().starts_with("without ") => {}
            _ => {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn metrics_are_told_from_the_language() {
    let of = |expression: &str| metrics(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(of("sum by (le, action) (rate(a_bucket{x=~\"b(c\"}[5m])) / scalar(count(d))"), ["a_bucket", "d"]);
    assert_eq!(of("a < 0.1 and b == 0"), ["a", "b"]);
    assert_eq!(of("predict_linear(a[1h], 4 * 3600) < 0 or vector(0)"), ["a"]);
    assert_eq!(of("sum(up == bool 0)"), ["up"]);
}

/// Those that Prometheus answers: a data source of its own has a language of its own.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if fields.get("datasource").is_some_and(|source| source["type"] == "prometheus") {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            }
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn known() -> BTreeSet<&'static str> {
    include_str!("metrics.txt").lines().filter(|line| !line.starts_with('#')).chain(OWN.iter().copied()).collect()
}

#[tokio::test]
async fn dashboards_ask_for_metrics_that_exist() {
    let known = known();
    let resources = compiled(&[]).await;
    let grafana = resources.containers.iter().find(|spec| spec.service == "grafana").unwrap();
    let (mut all, mut wrong) = (0, Vec::new());
    for file in grafana.files.iter().filter(|file| file.path.ends_with(".json")) {
        let mut found = Vec::new();
        expressions(&serde_json::from_slice(&file.content).unwrap(), &mut found);
        for expression in found {
            let names = metrics(&expression);
            assert!(!names.is_empty(), "{expression}");
            all += names.len();
            wrong.extend(
                names
                    .into_iter()
                    .filter(|name| !known.contains(name.as_str()))
                    .map(|name| format!("{}: {name} in {expression}", file.path)),
            );
        }
    }
    assert!(all > 80, "{all}");
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn alerts_ask_for_metrics_that_exist() {
    let known = known();
    for without in LEFT_OUT {
        let Some(text) = file(without, "prometheus", "/etc/prometheus/rules.yml").await else { continue };
        let rules: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let mut alerts = BTreeSet::new();
        let groups = rules["groups"].as_sequence().unwrap();
        for rule in groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap()) {
            let name = rule["alert"].as_str().unwrap();
            assert!(alerts.insert(name), "{name} is there twice");
            let expression = rule["expr"].as_str().unwrap();
            for metric in metrics(expression) {
                assert!(known.contains(metric.as_str()), "{name} asks for {metric}");
            }
            assert!(rule["labels"]["severity"].is_string() && rule["annotations"]["summary"].is_string(), "{name}");
        }
        assert!(alerts.len() >= 10);
    }
}
