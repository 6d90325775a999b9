//! Grafana's provisioning: data sources, the dashboards, and what they name of each other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LEFT_OUT, compiled, file, paths};

/// <https://grafana.com/docs/grafana/latest/administration/provisioning/#data-sources>, and the
/// settings of each data source's own page.
const DATA_SOURCE: &[&str] =
    &["name", "uid", "type", "access", "url", "user", "isDefault", "editable", "jsonData", "secureJsonData"];
const TYPES: &[&str] = &["prometheus", "loki", "tempo", "grafana-postgresql-datasource", "alertmanager"];

async fn data_sources(without: &[&str]) -> Option<Vec<serde_yaml::Value>> {
    let text = file(without, "grafana", "/etc/grafana/provisioning/datasources/macula.yaml").await?;
    let document: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let keys: Vec<_> = document.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap()).collect();
    assert_eq!(keys, ["apiVersion", "prune", "datasources"]);
    assert_eq!(document["apiVersion"], 1);
    Some(document["datasources"].as_sequence().cloned().unwrap_or_default())
}

#[tokio::test]
async fn data_sources_name_each_other_only_where_they_are() {
    for without in LEFT_OUT {
        let sources = data_sources(without).await.unwrap();
        let resources = compiled(without).await;
        let uids: BTreeSet<&str> = sources.iter().map(|source| source["uid"].as_str().unwrap()).collect();
        assert_eq!(uids.len(), sources.len(), "a uid twice");
        assert!(sources.iter().filter(|source| source["isDefault"] == true).count() <= 1);
        for source in &sources {
            for key in source.as_mapping().unwrap().keys() {
                assert!(DATA_SOURCE.contains(&key.as_str().unwrap()), "{key:?} is no key of a data source");
            }
            assert!(TYPES.contains(&source["type"].as_str().unwrap()), "{source:?}");
            // it leads to a container that is there
            let address = source["url"].as_str().unwrap().trim_start_matches("http://");
            let name = address.split(':').next().unwrap();
            assert!(resources.containers.iter().any(|spec| spec.service == name), "{address} is nobody's");
            for (path, value) in paths(source) {
                if path.to_ascii_lowercase().ends_with("datasourceuid") {
                    let uid = value.as_str().unwrap();
                    assert!(uids.contains(uid), "{path} is {uid}, which there is not without {without:?}");
                }
            }
        }
    }
}

/// Every data source that a dashboard names, with its type.
fn named(value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            if let Some(source) = fields.get("datasource") {
                let text =
                    |key: &str| source[key].as_str().unwrap_or_else(|| panic!("{source} has no {key}")).to_owned();
                found.insert((text("uid"), text("type")));
            }
            fields.values().for_each(|value| named(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn dashboards_name_data_sources_that_are_provisioned() {
    let types: BTreeSet<(String, String)> = data_sources(&[])
        .await
        .unwrap()
        .iter()
        .map(|source| (source["uid"].as_str().unwrap().to_owned(), source["type"].as_str().unwrap().to_owned()))
        .collect();
    let resources = compiled(&[]).await;
    let grafana = resources.containers.iter().find(|spec| spec.service == "grafana").unwrap();
    let (mut uids, mut count) = (BTreeSet::new(), 0);
    for file in grafana.files.iter().filter(|file| file.path.ends_with(".json")) {
        count += 1;
        let board: Value =
            serde_json::from_slice(&file.content).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        // the form that every version reads: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
        assert!(board["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "{}", file.path);
        let uid = board["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && uids.insert(uid.to_owned()), "{uid} is there twice or too long");
        let mut sources = BTreeSet::new();
        named(&board, &mut sources);
        assert!(!sources.is_empty() && sources.is_subset(&types), "{}: {sources:?} of {types:?}", file.path);
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: a panel's id twice", file.path);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("w") > 0 && place("h") > 0 && place("x") + place("w") <= 24, "{}: {panel}", file.path);
            let mut letters = BTreeSet::new();
            for target in panel["targets"].as_array().into_iter().flatten() {
                assert!(letters.insert(target["refId"].as_str().unwrap()), "{}: a refId twice", file.path);
            }
        }
    }
    assert_eq!(count, 8);
    let provider =
        grafana.files.iter().find(|file| file.path.ends_with("provisioning/dashboards/macula.yaml")).unwrap();
    let provider: serde_yaml::Value = serde_yaml::from_slice(&provider.content).unwrap();
    assert_eq!(provider["providers"][0]["options"]["path"], "/etc/grafana/dashboards");
}
