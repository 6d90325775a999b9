//! What commands print with `-o json`: docs/reference/json.md and the JSON schemas are made of these tables. Tests hold
//! the outputs to them, and scripts rely on them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

mod failure;
mod files;
mod images;
mod looks;
mod names;
mod platform;
mod row;
mod sent;
mod stacks;
mod table;

pub use failure::ERROR;
pub use table::OUTPUTS;

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Text,
    Whole,
    Number,
    Flag,
    Any,
    /// One of these words.
    Word(&'static [&'static str]),
    List(&'static Shape),
    /// An object whose keys are names.
    Names(&'static Shape),
    OrNull(&'static Shape),
    Object(&'static Object),
    Either(&'static [Shape]),
}

/// An object with known keys.
#[derive(Debug)]
pub struct Object {
    /// Of its definition in the schema and its section of the page.
    pub name: &'static str,
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub about: &'static str,
    /// It is there whatever happens, if only as null.
    pub always: bool,
}

/// What one command prints.
#[derive(Debug)]
pub struct Output {
    /// `dns status`
    pub command: &'static str,
    pub about: &'static str,
    pub shape: Shape,
    /// One value on each line, as they come.
    pub lines: bool,
}

/// The schema of what a command prints: by itself, with all that it refers to.
pub fn schema(command: &str) -> Option<Value> {
    let output = OUTPUTS.iter().find(|output| output.command == command)?;
    let mut objects = BTreeMap::new();
    collect(output.shape, &mut objects);
    let mut schema = Map::new();
    schema.insert("$schema".into(), DIALECT.into());
    schema.insert("title".into(), format!("macula {command} -o json").into());
    schema.insert("description".into(), output.about.into());
    schema.extend(fields_of(output.shape));
    if !objects.is_empty() {
        schema.insert("$defs".into(), definitions(&objects));
    }
    Some(Value::Object(schema))
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// All schemas in one: each command's is the definition `output-` and its words, `output-dns-status`.
pub fn schemas() -> Value {
    let mut objects = BTreeMap::new();
    collect(Shape::Object(&ERROR), &mut objects);
    for output in OUTPUTS {
        collect(output.shape, &mut objects);
    }
    let mut all = definitions(&objects);
    if let Some(all) = all.as_object_mut() {
        for output in OUTPUTS {
            let mut one = Map::new();
            one.insert("description".into(), output.about.into());
            one.extend(fields_of(output.shape));
            all.insert(format!("output-{}", output.command.replace(' ', "-")), Value::Object(one));
        }
    }
    json!({"$schema": DIALECT, "title": "What macula prints with -o json", "$defs": all})
}

fn definitions(objects: &BTreeMap<&'static str, &'static Object>) -> Value {
    let one = |object: &Object| {
        let fields = object.fields.iter().map(|field| {
            let mut value = Map::new();
            value.insert("description".into(), field.about.into());
            value.extend(fields_of(field.shape));
            (field.name.to_owned(), Value::Object(value))
        });
        let always = object.fields.iter().filter(|field| field.always).map(|field| field.name);
        json!({"type": "object", "properties": fields.collect::<Map<_, _>>(), "required": always.collect::<Vec<_>>()})
    };
    Value::Object(objects.iter().map(|(name, object)| ((*name).to_owned(), one(object))).collect())
}

fn fields_of(shape: Shape) -> Map<String, Value> {
    match value_of(shape) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn value_of(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Whole => json!({"type": "integer"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Any => json!({}),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::List(inner) => json!({"type": "array", "items": value_of(*inner)}),
        Shape::Names(inner) => json!({"type": "object", "additionalProperties": value_of(*inner)}),
        Shape::OrNull(inner) => json!({"anyOf": [value_of(*inner), {"type": "null"}]}),
        Shape::Object(object) => json!({"$ref": format!("#/$defs/{}", object.name)}),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(|shape| value_of(*shape)).collect::<Vec<_>>()}),
    }
}

/// All objects that a shape leads to, by their names.
fn collect(shape: Shape, objects: &mut BTreeMap<&'static str, &'static Object>) {
    match shape {
        Shape::Object(object) if objects.insert(object.name, object).is_none() => {
            object.fields.iter().for_each(|field| collect(field.shape, objects));
        }
        Shape::List(inner) | Shape::Names(inner) | Shape::OrNull(inner) => collect(*inner, objects),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| collect(*shape, objects)),
        _ => {}
    }
}

/// The page, in Markdown.
pub fn page() -> String {
    let mut out = format!(
        "# JSON output\n\n<!-- Generated from the program's own tables; `cargo test --test docs` holds it to them. -->\n\n{ABOUT}\n"
    );
    out.push_str("\n## Errors\n\nAn error is `{\"error\": {...}}`, whatever the command, with the exit code of [the list](exit-codes.md).\n");
    let mut told = BTreeMap::new();
    told.insert(ERROR.name, &ERROR);
    // the object in it says it all
    for field in ERROR.fields {
        if let Some(object) = object_of(field.shape) {
            told.insert(object.name, object);
            table_of(object, &mut out);
        }
    }
    let mut shared: BTreeMap<&str, &Object> = BTreeMap::new();
    collect(Shape::Object(&ERROR), &mut shared);
    for output in OUTPUTS {
        write!(out, "\n## `{}`\n\n{}", output.command, output.about).unwrap_or_default();
        if output.lines {
            out.push_str(" One value on each line.");
        }
        writeln!(out, " It is {}.", words(output.shape)).unwrap_or_default();
        collect(output.shape, &mut shared);
        if let Some(object) = object_of(output.shape)
            && told.insert(object.name, object).is_none()
        {
            table_of(object, &mut out);
        }
    }
    out.push_str("\n## Objects\n\nWhat the tables above refer to.\n");
    for (name, object) in shared.into_iter().filter(|(name, _)| !told.contains_key(name)) {
        write!(out, "\n### {name}\n").unwrap_or_default();
        table_of(object, &mut out);
    }
    out
}

const ABOUT: &str = "Every command that has a result takes `-o json` and prints one JSON value on standard output, whatever happens; \
`events`, `logs` and what else follows print one on each line. Messages and progress go to standard error \
(`--progress json` makes them one object a line, too).\n\n\
**Stable**: keys and words of this page do not change their meaning and do not go without a line in the changelog. New keys, and new \
words where it says *one of*, may come: a program passes over what it does not know. Sizes are bytes, durations seconds unless the key says \
otherwise, times RFC 3339 in UTC. A key is always there unless its type says *may be absent*.\n\n\
**Schemas**: [json.schema.json](json.schema.json) has all of them (JSON Schema 2020-12), `macula config schema --of \"dns status\"` \
prints one by itself. A command that is not on this page has no output of its own: it hands on a program's, as `exec` does, or a file, \
as `stack config` does.";

fn table_of(object: &Object, out: &mut String) {
    out.push_str("\n| key | type | meaning |\n|---|---|---|\n");
    for field in object.fields {
        let absent = if field.always { "" } else { ", may be absent" };
        writeln!(out, "| `{}` | {}{absent} | {} |", field.name, words(field.shape), field.about).unwrap_or_default();
    }
}

/// The object that a shape is about, in a list or by itself.
fn object_of(shape: Shape) -> Option<&'static Object> {
    match shape {
        Shape::Object(object) => Some(object),
        Shape::List(inner) | Shape::Names(inner) | Shape::OrNull(inner) => object_of(*inner),
        _ => None,
    }
}

fn words(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Whole => "a whole number".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::Any => "anything".to_owned(),
        Shape::Word(all) => {
            format!("one of {}", all.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
        Shape::List(Shape::Object(object)) => format!("a list of {}", object.name),
        Shape::List(inner) => format!("a list: {}", words(*inner)),
        Shape::Names(inner) => format!("names, each with: {}", words(*inner)),
        Shape::OrNull(inner) => format!("{}, or null", words(*inner)),
        Shape::Object(object) => object.name.to_owned(),
        Shape::Either(shapes) => shapes.iter().map(|shape| words(*shape)).collect::<Vec<_>>().join("; or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_all_that_it_refers_to() {
        for output in OUTPUTS {
            let schema = schema(output.command).unwrap().to_string();
            for name in schema.split("#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(schema.contains(&format!("\"{name}\":{{\"type\":\"object\"")), "{}: {name}", output.command);
            }
        }
        assert!(schema("no such command").is_none());
    }

    #[test]
    fn no_two_objects_share_a_name_and_each_key_says_what_it_is() {
        let mut seen: BTreeMap<&str, *const Object> = BTreeMap::new();
        fn walk(shape: Shape, seen: &mut BTreeMap<&str, *const Object>) {
            match shape {
                Shape::Object(object) => {
                    let first = seen.insert(object.name, object);
                    assert!(first.is_none_or(|first| std::ptr::eq(first, object)), "{} is two objects", object.name);
                    for field in object.fields.iter().filter(|_| first.is_none()) {
                        assert!(!field.about.is_empty(), "{}.{}", object.name, field.name);
                        walk(field.shape, seen);
                    }
                }
                Shape::List(inner) | Shape::Names(inner) | Shape::OrNull(inner) => walk(*inner, seen),
                Shape::Either(shapes) => shapes.iter().for_each(|shape| walk(*shape, seen)),
                _ => {}
            }
        }
        for output in OUTPUTS {
            walk(output.shape, &mut seen);
        }
        let commands: std::collections::BTreeSet<&str> = OUTPUTS.iter().map(|output| output.command).collect();
        assert_eq!(commands.len(), OUTPUTS.len());
    }
}
