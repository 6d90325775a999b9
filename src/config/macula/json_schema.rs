use serde_json::{Map, Value, json};

use super::extension::EXTENSION;
use super::file::MACULA;
use crate::config::yaml::{Kind, Object};

/// The JSON schema (draft 7) of macula.yaml, made from the same table that reads it.
pub fn schema() -> Value {
    let mut schema = object(&MACULA);
    if let Value::Object(map) = &mut schema {
        map.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        map.insert("title".to_owned(), json!("macula.yaml"));
    }
    schema
}

/// Where the Compose specification keeps its own.
const COMPOSE_SPEC: &str = "https://raw.githubusercontent.com/compose-spec/compose-spec/main/schema/compose-spec.json";

/// The JSON schema of a stack: that of the Compose specification, and over it `x-macula` of a service.
pub fn compose_schema() -> Value {
    let service = json!({"type": "object", "properties": {"x-macula": object(&EXTENSION)}});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A stack of macula's: a Compose file, and x-macula",
        "allOf": [
            {"$ref": COMPOSE_SPEC},
            {"properties": {"services": {"type": "object", "additionalProperties": service}}},
        ],
    })
}

fn object(object: &Object) -> Value {
    let mut properties = Map::new();
    for field in object.fields {
        let mut value = kind(&field.kind);
        if let (Value::Object(map), false) = (&mut value, field.doc.is_empty()) {
            map.insert("description".to_owned(), json!(field.doc));
        }
        properties.insert(field.name.to_owned(), value);
    }
    let mut out = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if let Value::Object(map) = &mut out {
        if object.open {
            map.insert("patternProperties".to_owned(), json!({"^x-": {}}));
        }
        if !object.required.is_empty() {
            map.insert("required".to_owned(), json!(object.required));
        }
    }
    out
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn either(one: Value, other: Value) -> Value {
    json!({"oneOf": [one, other]})
}

fn kind(kind_: &Kind) -> Value {
    let text = || json!({"type": "string"});
    let scalar = || json!({"type": ["string", "number", "boolean"]});
    match kind_ {
        Kind::Any => json!({}),
        Kind::Text | Kind::Checked(_) | Kind::Path | Kind::Context => text(),
        Kind::Choice(choices) => json!({"type": "string", "enum": choices}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int(least, most) => {
            let mut out = json!({"type": "integer"});
            if let Value::Object(map) = &mut out {
                if *least > i64::MIN {
                    map.insert("minimum".to_owned(), json!(least));
                }
                if *most < i64::MAX {
                    map.insert("maximum".to_owned(), json!(most));
                }
            }
            out
        }
        Kind::Float32 => json!({"type": "number"}),
        Kind::Bytes => json!({"type": ["integer", "string"]}),
        Kind::Duration => json!({"type": "string", "pattern": "^([0-9.]+(ns|us|ms|s|m|h))+$"}),
        Kind::Texts => list(text()),
        Kind::TextOrTexts => either(text(), list(text())),
        Kind::Loose => list(json!({"type": ["string", "number"]})),
        Kind::Dict | Kind::Labels => either(
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}),
            list(text()),
        ),
        Kind::Options => json!({"type": "object", "additionalProperties": scalar()}),
        Kind::Words => either(text(), list(text())),
        Kind::Object(inner) => object(inner),
        Kind::List(inner) => list(kind(inner)),
        Kind::Map(inner) => json!({"type": "object", "additionalProperties": kind(inner)}),
        Kind::Nullable(inner) => {
            let mut out = kind(inner);
            if let Value::Object(map) = &mut out
                && let Some(name) = map.get("type").cloned()
            {
                map.insert("type".to_owned(), json!([name, "null"]));
            }
            out
        }
        // every short form of macula.yaml is one element in place of a list, or one value in place of a mapping
        Kind::Short(_, inner) => match inner {
            Kind::List(item) => either(kind(item), kind(inner)),
            Kind::Nullable(Kind::Object(_)) => either(text(), kind(inner)),
            inner => kind(inner),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_bounds_that_they_are_given() {
        for (least, most, expected) in [
            (i64::MIN, i64::MAX, json!({"type": "integer"})),
            (1, 65_535, json!({"type": "integer", "minimum": 1, "maximum": 65_535})),
            (0, i64::MAX, json!({"type": "integer", "minimum": 0})),
            (i64::MIN, 5, json!({"type": "integer", "maximum": 5})),
        ] {
            assert_eq!(kind(&Kind::Int(least, most)), expected);
        }
    }
}
