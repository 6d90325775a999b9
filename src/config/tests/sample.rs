//! The sample file and the schemas.

use super::*;

#[test]
fn the_sample_file_takes_a_name() {
    let files = MemoryFiles::default().with("/home/dev/macula.yaml", init_file("pr-7", None));
    assert_eq!(run(&request(), &files).unwrap().platform.name, "pr-7");
}

#[test]
fn the_sample_file_takes_a_stack_that_lies_beside_it() {
    let files = MemoryFiles::default()
        .with("/home/dev/macula.yaml", init_file("macula", Some("compose.yaml")))
        .with("/home/dev/compose.yaml", "services: {shop: {image: s}}");
    let inside = Request { discover: true, ..request() };
    assert!(run(&inside, &files).unwrap().platform.service("shop").is_some());
}

#[test]
fn the_schema_of_stacks_lies_over_that_of_compose() {
    let schema = compose_schema();
    assert!(schema["allOf"][0]["$ref"].as_str().unwrap().ends_with("/compose-spec.json"));
    let ours = &schema["allOf"][1]["properties"]["services"]["additionalProperties"]["properties"]["x-macula"];
    let keys: Vec<&String> = ours["properties"].as_object().unwrap().keys().collect();
    assert!(keys.iter().any(|key| *key == "ingress") && keys.iter().any(|key| *key == "address"), "{keys:?}");
}

#[test]
fn the_sample_file_changes_nothing_and_says_nothing() {
    let files = MemoryFiles::default().with("/home/dev/macula.yaml", init_file("macula", None));
    let loaded = run(&request(), &files).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(lines(&loaded.warnings), "");
    assert_eq!(loaded.platform, run(&request(), &MemoryFiles::default()).unwrap().platform);
}

/// Every example in the sample file is one: with the comment signs away it loads.
#[test]
fn the_examples_of_the_sample_file_are_right() {
    let mut text = String::new();
    for line in init_file("macula", None).lines() {
        match line.trim_start().strip_prefix("#   ") {
            Some(example) => {
                // the example stands in place of the empty value above it
                text = text.trim_end().trim_end_matches(" {}").trim_end_matches(" []").to_owned() + "\n";
                let indent = line.len() - line.trim_start().len() + 2;
                text.push_str(&format!("{}{example}\n", " ".repeat(indent)));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    let files = MemoryFiles::default()
        .with("/home/dev/macula.yaml", &text)
        .with("/home/dev/migrations/1.sql", "create table t ();")
        .with("/home/shop/compose.yaml", "services: {grafana: {image: g}}")
        .with("/home/dev/tools/compose.yaml", "services: {postgres: {image: p}}");
    let loaded = run(&request(), &files).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(lines(&loaded.warnings), "");
    assert_eq!(loaded.platform.cluster.udp_services.len(), 1);
    assert!(loaded.platform.service("grafana").is_none());
}

#[test]
fn the_schema_knows_every_key_of_the_sample_file() {
    let schema = schema();
    let sample: serde_json::Value = serde_yaml::from_str(&init_file("macula", None)).unwrap();
    fn hold(value: &serde_json::Value, schema: &serde_json::Value, path: &str) {
        let Some(map) = value.as_object() else { return };
        let Some(properties) = schema["properties"].as_object() else { return };
        for (key, value) in map {
            assert!(properties.contains_key(key), "{path}.{key}");
            hold(value, &properties[key], &format!("{path}.{key}"));
        }
    }
    hold(&sample, &schema, "");
    insta::assert_snapshot!(serde_json::to_string(&schema["properties"]["ingress"]).unwrap(), @r#"{"type":["object","null"],"properties":{"redirect":{"type":"boolean","description":"Redirect http to https; false: both serve."},"http":{"type":"integer","minimum":1,"maximum":65535,"description":"Published port for HTTP, 80 unless given."},"https":{"type":"integer","minimum":1,"maximum":65535,"description":"Published port for HTTPS, 443 unless given."}},"additionalProperties":false,"patternProperties":{"^x-":{}},"description":"The ingress on this machine."}"#);
    for (name, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name} has no description");
    }
}
