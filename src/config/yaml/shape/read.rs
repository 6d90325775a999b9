//! Single values and short lists, each read in all the spellings it may have.

use super::super::diagnostic::Span;
use super::super::tree::{Entry, Map, Node, Value};
use super::super::units;
use super::Shaper;

/// A scalar as text; `None` for anything else.
pub(super) fn loose(node: &Node) -> Option<String> {
    node.scalar_text()
}

pub(super) fn text(node: &Node, shaper: &mut Shaper<'_>, example: &str) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(_) | Value::Unsigned(_) | Value::Float(_) | Value::Bool(_) => {
            let shown = node.scalar_text().unwrap_or_default();
            let help = format!("put it in quotes: `{}: \"{shown}\"`", shaper.key());
            shaper.wrong(node.span, format!("text belongs here, not {}", node.kind()), help)
        }
        _ => shaper.expected(node, "text", example),
    }
}

pub(super) fn boolean(node: &Node, shaper: &mut Shaper<'_>) -> Option<bool> {
    match &node.value {
        Value::Bool(flag) => Some(*flag),
        Value::Text(text) => match text.to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            "y" | "yes" | "on" => Some(true),
            "n" | "no" | "off" => Some(false),
            _ => shaper.wrong(node.span, format!("`{text}` is neither true nor false"), "write true or false"),
        },
        _ => shaper.expected(node, "true or false", "true"),
    }
}

pub(super) fn integer(node: &Node, shaper: &mut Shaper<'_>) -> Option<i64> {
    match &node.value {
        Value::Int(number) => Some(*number),
        Value::Unsigned(number) => {
            shaper.wrong(node.span, format!("{number} is out of range"), "write a smaller number")
        }
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some(*number as i64),
        Value::Text(text) => match text.trim().parse() {
            Ok(number) => Some(number),
            Err(_) => shaper.wrong(node.span, format!("`{text}` is not a whole number"), "write it in digits"),
        },
        _ => shaper.expected(node, "a whole number", "1"),
    }
}

pub(super) fn float(node: &Node, shaper: &mut Shaper<'_>) -> Option<f64> {
    match &node.value {
        Value::Int(number) => Some(*number as f64),
        Value::Unsigned(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        // in quotes a zero in front is only a zero
        Value::Text(text) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number),
            _ => shaper.wrong(node.span, format!("`{text}` is not a number"), "write it in digits, as 0.5"),
        },
        _ => shaper.expected(node, "a number", "0.5"),
    }
}

pub(super) fn bytes(node: &Node, shaper: &mut Shaper<'_>) -> Option<i64> {
    match &node.value {
        Value::Int(number) => Some(*number),
        Value::Unsigned(_) => Some(i64::MAX),
        Value::Float(number) if number.is_finite() => Some(*number as i64),
        // -1 lifts the limit of swap
        Value::Text(text) => match units::parse_bytes(text).or_else(|| (text == "-1").then_some(-1)) {
            Some(bytes) => Some(bytes),
            None => shaper.wrong(
                node.span,
                format!("`{text}` is not a valid size"),
                "write bytes or a unit: 512m, 1g, 1.5gb",
            ),
        },
        _ => shaper.expected(node, "a size", "512m"),
    }
}

pub(super) fn duration(node: &Node, shaper: &mut Shaper<'_>) -> Option<i64> {
    match &node.value {
        Value::Text(text) => match units::parse_duration(text) {
            Some(duration) => Some(duration),
            None => shaper.wrong(node.span, format!("`{text}` is not a valid duration"), "write 30s, 1m30s or 500ms"),
        },
        Value::Int(0) => Some(0),
        Value::Int(number) => shaper.wrong(
            node.span,
            format!("the duration {number} has no unit"),
            format!("write {number}s for seconds"),
        ),
        _ => shaper.expected(node, "a duration", "30s"),
    }
}

pub(super) fn texts(node: Node, shaper: &mut Shaper<'_>, single: bool, numbers: bool) -> Option<Vec<Node>> {
    let one = |node: Node, shaper: &mut Shaper<'_>| -> Option<Node> {
        let span = node.span;
        let text = if numbers {
            loose(&node).or_else(|| shaper.expected(&node, "text or a number", "[\"80\"]"))?
        } else {
            text(&node, shaper, "[text]")?
        };
        Some(Node::text(text, span))
    };
    match node.value {
        Value::List(items) => {
            let mut out = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                if !matches!(item.value, Value::Reset) {
                    out.extend(shaper.within(format!("[{index}]"), |shaper| one(item, shaper)));
                }
            }
            Some(out)
        }
        Value::Text(_) if single => Some(vec![one(node, shaper)?]),
        _ => shaper.expected(&node, "a list", "[text]"),
    }
}

/// A number that is read as one and written again may look different: `0644` becomes `420`.
fn written_otherwise(node: &Node, text: &str, shaper: &mut Shaper<'_>) {
    if matches!(node.value, Value::Text(_)) {
        return;
    }
    if let Some(raw) = shaper.report.plain_at(node.span).filter(|raw| raw != text) {
        shaper.warn(
            node.span,
            format!("`{raw}` without quotes is {}, and becomes `{text}`", node.kind()),
            format!("put it in quotes to keep it as it is: \"{raw}\""),
        );
    }
}

pub(super) fn dict(node: Node, shaper: &mut Shaper<'_>, filled: bool) -> Option<Map> {
    let none = |span: Span| Node::new(if filled { Value::Text(String::new()) } else { Value::Null }, span);
    let mut out = Map::new();
    match node.value {
        Value::Map(entries) => {
            for (key, entry) in entries {
                let span = entry.node.span;
                let value = match entry.node.value {
                    Value::Null => none(span),
                    Value::Reset => entry.node,
                    Value::List(_) | Value::Map(_) => {
                        shaper.within(key.as_str(), |shaper| {
                            shaper.wrong::<()>(
                                span,
                                format!("text belongs here, not {}", entry.node.kind()),
                                "write one value, in quotes if need be",
                            )
                        });
                        continue;
                    }
                    _ => {
                        let text = loose(&entry.node).unwrap_or_default();
                        shaper.within(key.as_str(), |shaper| written_otherwise(&entry.node, &text, shaper));
                        Node { replaces: entry.node.replaces, ..Node::text(text, span) }
                    }
                };
                out.insert(key, Entry { key: entry.key, node: value });
            }
        }
        Value::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                let span = item.span;
                if matches!(item.value, Value::Reset) {
                    continue;
                }
                let Some(text) = loose(&item) else {
                    shaper.within(format!("[{index}]"), |shaper| {
                        shaper.expected::<()>(&item, "`KEY=value`", "write `- KEY=value`")
                    });
                    continue;
                };
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Node::text(value, span)),
                    None => (text, none(span)),
                };
                out.insert(key, Entry { key: span, node: value });
            }
        }
        _ => return shaper.expected(&node, "a mapping or a list", "{KEY: value}"),
    }
    Some(out)
}

pub(super) fn words(node: Node, shaper: &mut Shaper<'_>) -> Option<Value> {
    match &node.value {
        Value::Null => Some(Value::Null),
        Value::Text(line) => {
            let Some(split) = units::split_words(line) else {
                return shaper.wrong(
                    node.span,
                    "a quote or a backslash here has no end",
                    "write a list: [\"sh\", \"-c\", \"...\"]",
                );
            };
            if let Some(dropped) = split.dropped {
                shaper.warn(
                    node.span,
                    format!("`{dropped}` is dropped, as Compose drops it: no shell reads this line"),
                    "write a list that names one: [\"sh\", \"-c\", \"...\"]",
                );
            }
            Some(Value::List(split.words.into_iter().map(|word| Node::text(word, node.span)).collect()))
        }
        Value::List(_) => Some(Value::List(texts(node, shaper, false, false)?)),
        _ => shaper.expected(&node, "a command", "[\"program\", \"argument\"]"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::diagnostic::Report;
    use super::*;

    type Read<T> = fn(&Node, &mut Shaper<'_>) -> Option<T>;

    /// What is made of a value; an error is told for nothing.
    fn of<T>(read: Read<T>, value: Value) -> Option<T> {
        let mut report = Report::new(Path::new("/"));
        let found = read(&Node::new(value, Span::default()), &mut Shaper::new(&mut report, Path::new("/"), None));
        assert_eq!(report.has_errors(), found.is_none());
        found
    }

    fn text_of(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn each_kind_of_value_has_its_spellings() {
        for (value, flag) in [
            (Value::Bool(true), Some(true)),
            (Value::Bool(false), Some(false)),
            (text_of("True"), Some(true)),
            (text_of("FALSE"), Some(false)),
            (text_of("y"), Some(true)),
            (text_of("Yes"), Some(true)),
            (text_of("on"), Some(true)),
            (text_of("n"), Some(false)),
            (text_of("no"), Some(false)),
            (text_of("Off"), Some(false)),
            (text_of("maybe"), None),
            (text_of(""), None),
            (Value::Int(1), None),
        ] {
            assert_eq!(of(boolean, value.clone()), flag, "{value:?}");
        }
        for (value, number) in [
            (Value::Int(-5), Some(-5)),
            (Value::Float(2.0), Some(2)),
            (Value::Float(2.5), None),
            // as far as each number has a spelling of its own
            (Value::Float(-999_999_999_999_999.0), Some(-999_999_999_999_999)),
            (Value::Float(1e15), None),
            (Value::Float(f64::INFINITY), None),
            (Value::Unsigned(u64::MAX), None),
            (text_of(" 7 "), Some(7)),
            (text_of("7x"), None),
            (Value::Null, None),
        ] {
            assert_eq!(of(integer, value.clone()), number, "{value:?}");
        }
        for (value, number) in [
            (Value::Int(2), Some(2.0)),
            (Value::Unsigned(1 << 63), Some(9_223_372_036_854_775_808.0)),
            (Value::Float(0.5), Some(0.5)),
            (text_of(" 0.5 "), Some(0.5)),
            (text_of("inf"), None),
            (text_of("half"), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(of(float, value.clone()), number, "{value:?}");
        }
        for (value, size) in [
            (Value::Int(5), Some(5)),
            (Value::Unsigned(u64::MAX), Some(i64::MAX)),
            (Value::Float(1.9), Some(1)),
            (Value::Float(f64::NAN), None),
            (text_of("1k"), Some(1024)),
            (text_of("-1"), Some(-1)),
            (text_of("much"), None),
            (Value::Null, None),
        ] {
            assert_eq!(of(bytes, value.clone()), size, "{value:?}");
        }
        for (value, nanoseconds) in [
            (text_of("1s"), Some(1_000_000_000)),
            (Value::Int(0), Some(0)),
            (Value::Int(5), None),
            (text_of("soon"), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(of(duration, value.clone()), nanoseconds, "{value:?}");
        }
    }

    #[test]
    fn lists_and_mappings_of_texts_have_theirs() {
        let shaped = |work: &dyn Fn(&mut Shaper<'_>) -> Option<String>| {
            let mut report = Report::new(Path::new("/"));
            let found = work(&mut Shaper::new(&mut report, Path::new("/"), None));
            assert_eq!(report.has_errors(), found.is_none());
            found
        };
        let node = |value: Value| Node::new(value, Span::default());
        let list = |values: &[Value]| Value::List(values.iter().cloned().map(node).collect());
        let shown = |nodes: &[Node]| nodes.iter().filter_map(Node::as_text).collect::<Vec<_>>().join(" ");
        let texts_of = |value: Value, single: bool, numbers: bool| {
            shaped(&|shaper| texts(node(value.clone()), shaper, single, numbers).map(|nodes| shown(&nodes)))
        };
        let both = [text_of("a"), Value::Reset, text_of("b")];
        assert_eq!(texts_of(list(&both), false, false).as_deref(), Some("a b"));
        assert_eq!(texts_of(text_of("a"), true, false).as_deref(), Some("a"));
        assert_eq!(texts_of(text_of("a"), false, false), None);
        assert_eq!(texts_of(Value::Int(1), true, true), None);
        assert_eq!(texts_of(list(&[Value::Int(1)]), false, true).as_deref(), Some("1"));
        let command = |value: Value| {
            shaped(&|shaper| {
                words(node(value.clone()), shaper).map(|value| match value {
                    Value::List(nodes) => format!("[{}]", shown(&nodes)),
                    other => format!("{other:?}"),
                })
            })
        };
        assert_eq!(command(text_of("run 'it now'")).as_deref(), Some("[run it now]"));
        assert_eq!(command(text_of("run 'it")), None);
        assert_eq!(command(list(&both)).as_deref(), Some("[a b]"));
        assert_eq!(command(Value::Null).as_deref(), Some("Null"));
        assert_eq!(command(Value::Int(1)), None);
        let pairs = |value: Value, filled: bool| {
            shaped(&|shaper| {
                let map = dict(node(value.clone()), shaper, filled)?;
                let pairs = map.iter().map(|(key, entry)| format!("{key}={}", entry.node.as_text().unwrap_or("?")));
                Some(pairs.collect::<Vec<_>>().join(" "))
            })
        };
        let lines = list(&[text_of("A=1=2"), text_of("B"), Value::Reset, text_of("C=")]);
        assert_eq!(pairs(lines.clone(), false).as_deref(), Some("A=1=2 B=? C="));
        assert_eq!(pairs(lines, true).as_deref(), Some("A=1=2 B= C="));
        let entry = |value: Value| Entry { key: Span::default(), node: node(value) };
        let map = |entries: [(&str, Value); 3]| {
            Value::Map(entries.map(|(key, value)| (key.to_owned(), entry(value))).into_iter().collect())
        };
        let mapping = map([("A", Value::Int(1)), ("B", Value::Null), ("C", Value::Reset)]);
        assert_eq!(pairs(mapping.clone(), false).as_deref(), Some("A=1 B=? C=?"));
        assert_eq!(pairs(mapping, true).as_deref(), Some("A=1 B= C=?"));
        assert_eq!(pairs(text_of("A=1"), false), None);
    }
}
