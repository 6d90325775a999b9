//! Reference pages of macula.yaml and `x-macula`, made from the tables that read them.

use std::fmt::Write;

use super::extension::EXTENSION;
use super::file::MACULA;
use crate::config::yaml::{Kind, Object};

/// Text that no check takes, so that a check says what it wants instead.
const WRONG: &str = "?!";

/// The page of macula.yaml, in Markdown.
pub fn macula_yaml_reference() -> String {
    page(
        "# macula.yaml",
        "Every key is optional, and so is the file. `macula config init` writes one, `macula config show` prints what is in \
         force, and `macula config schema` the JSON schema for editors. Keys that begin with `x-` are yours. A key that is \
         not here, or a value that is not valid, is an error with its line (exit code 3).",
        &MACULA,
    )
}

/// The page of `x-macula`, in Markdown.
pub fn extension_reference() -> String {
    page(
        "# x-macula",
        "What a Compose file lacks stands under `x-macula` of a service; Compose itself ignores it. How it works together \
         is on the page about [stacks](../stacks.md). `macula config schema --compose` prints the JSON schema for editors. \
         A key that is not here, or a value that is not valid, is an error with its line (exit code 3).",
        &EXTENSION,
    )
}

fn page(title: &str, about: &str, root: &'static Object) -> String {
    let made = "<!-- Generated from the program's own tables; `cargo test --test docs` holds it to them. -->";
    let mut out = format!("{title}\n\n{made}\n\n{about}\n");
    section(root, "", &mut out);
    out
}

/// The table of one mapping, then those of the mappings in it.
fn section(object: &'static Object, path: &str, out: &mut String) {
    if !path.is_empty() {
        write!(out, "\n## `{path}`\n").unwrap_or_default();
    }
    out.push_str("\n| key | value | meaning |\n|---|---|---|\n");
    for field in object.fields {
        let required = if object.required.contains(&field.name) { ", required" } else { "" };
        let cells = [format!("`{}`", field.name), value(&field.kind) + required, field.doc.to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(out, "| {} |", cells.join(" | ")).unwrap_or_default();
    }
    for field in object.fields {
        let inner = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        if let Some((object, suffix)) = mapping(&field.kind) {
            section(object, &format!("{inner}{suffix}"), out);
        }
    }
}

/// The mapping inside a value, and how its place is written after the key.
fn mapping(kind: &Kind) -> Option<(&'static Object, String)> {
    match kind {
        Kind::Object(object) => Some((object, String::new())),
        Kind::List(inner) => mapping(inner).map(|(object, rest)| (object, format!("[]{rest}"))),
        Kind::Map(inner) => mapping(inner).map(|(object, rest)| (object, format!(".NAME{rest}"))),
        Kind::Nullable(inner) | Kind::Short(_, inner) => mapping(inner),
        _ => None,
    }
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Any => "anything".to_owned(),
        Kind::Text => "text".to_owned(),
        // the check says itself what it takes
        Kind::Checked(check) => check(WRONG)
            .map_or_else(|| "text".to_owned(), |(_, help)| help.strip_prefix("use ").unwrap_or(&help).to_owned()),
        Kind::Choice(choices) => choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(0, most) if *most > 1_000_000 => "a number".to_owned(),
        Kind::Int(least, most) if *most == 0o7777 && *least == 0 => "four octal digits in quotes".to_owned(),
        Kind::Int(least, most) => format!("{least} to {most}"),
        Kind::Float32 => "a number".to_owned(),
        Kind::Bytes => "a size: `512m`, `1g`, or bytes".to_owned(),
        Kind::Duration => "a duration: `30s`, `5m`, `1h30m`".to_owned(),
        Kind::Texts | Kind::Loose => "a list".to_owned(),
        Kind::TextOrTexts => "one, or a list".to_owned(),
        Kind::Dict | Kind::Labels => "a mapping, or a list of `KEY=value`".to_owned(),
        Kind::Options => "a mapping".to_owned(),
        Kind::Words => "a command: a list of words, or one line".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Context => "a path or an address".to_owned(),
        Kind::Object(_) => "a mapping, see below".to_owned(),
        Kind::List(inner) => format!("a list: {}", value(inner)),
        Kind::Map(inner) => format!("names, each with: {}", value(inner)),
        Kind::Nullable(inner) => value(inner),
        Kind::Short(_, inner) => match inner {
            Kind::List(item) => format!("one or a list: {}", value(item)),
            Kind::Object(_) => "short, or a mapping, see below".to_owned(),
            inner => value(inner),
        },
    }
}
