//! What commands print with `-o json`, held to docs/reference/json.schema.json: no key is missing, and none is there
//! that the schema does not know.

use std::sync::LazyLock;

use macula::cli::shapes::{OUTPUTS, Output, schemas};
use serde_json::Value;

static SCHEMAS: LazyLock<Value> = LazyLock::new(schemas);

/// What is wrong with the output of this command line, each with its place; nothing where its command has no schema.
pub fn wrong_with(line: &str, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.get("error").is_some_and(Value::is_object) {
        fit(&SCHEMAS["$defs"]["Error"], value, "", &mut wrong);
    } else if let Some(output) = output_of(line) {
        let name = format!("output-{}", output.command.replace(' ', "-"));
        fit(&SCHEMAS["$defs"][name], value, "", &mut wrong);
    }
    wrong
}

/// What the command of a line prints.
fn output_of(line: &str) -> Option<&'static Output> {
    let mut here = macula::cli::command();
    let mut path: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match here.find_subcommand(word).cloned() {
            Some(below) => {
                path.push(below.get_name().to_owned());
                here = below;
            }
            None if !path.is_empty() && !here.has_subcommands() => break,
            None => {}
        }
    }
    let path = path.join(" ");
    OUTPUTS.iter().find(|output| output.command == path)
}

fn fit(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let definition = &SCHEMAS["$defs"][name.trim_start_matches("#/$defs/")];
        assert!(definition.is_object(), "{name} is not defined");
        return fit(definition, value, at, wrong);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let attempts = any.iter().map(|one| {
            let mut wrong = Vec::new();
            fit(one, value, at, &mut wrong);
            wrong
        });
        // what comes nearest says most
        wrong.extend(attempts.min_by_key(Vec::len).unwrap_or_default());
        return;
    }
    let right = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !right {
        return wrong.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        wrong.push(format!("{at}: {value} is none of {words:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fit(&schema["items"], item, &format!("{at}[{index}]"), wrong);
    }
    let (Some(fields), true) = (value.as_object(), schema["type"] == "object") else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            wrong.push(format!("{at}: there is no {name}"));
        }
    }
    for (name, inner) in fields {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => wrong.push(format!("{at}: {name} is not in the schema")),
            (Value::Null, any) => fit(any, inner, &format!("{at}.{name}"), wrong),
            (one, _) => fit(one, inner, &format!("{at}.{name}"), wrong),
        }
    }
}
