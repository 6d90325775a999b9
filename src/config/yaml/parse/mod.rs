//! YAML as a tree in which every value knows where it stands. Anchors and merge keys are resolved,
//! tags other than Compose's own do not survive, and nothing here can be made to grow without end.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::diagnostic::{FileId, Report, Span};
use super::scalar;
use super::tree::{Entry, Map, Node, Value};

/// How deep a file may nest.
const MAX_DEPTH: usize = 64;
/// How many values a file may have once its aliases are expanded.
const MAX_NODES: usize = 100_000;
/// How long a file may be, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The one document of a YAML text. `None` when it does not parse, which is then in the report; an
/// empty text is null.
pub(in crate::config) fn parse(text: &str, file: FileId, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_BYTES {
        report.error(Span::whole(file), format!("the file has more than {} MiB", MAX_BYTES >> 20));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { parser: Parser::new_from_str(text), file, report, anchors: HashMap::new(), nodes: 0, failed: false };
    let node = builder.document();
    (!builder.failed).then_some(node).flatten()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    file: FileId,
    report: &'a mut Report,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// Something was reported after which the tree is not whole.
    failed: bool,
}

impl<'a> Builder<'a> {
    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span {
            file: self.file,
            line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
            column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.failed = true;
        self.report.error(span, message);
        None
    }

    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.parser.next_event()? {
                Ok((Event::Nothing, _)) => {}
                Ok((event, span)) => {
                    let span = self.span(span);
                    return Some((event, span));
                }
                Err(error) => {
                    let at = self.span(saphyr_parser::Span::empty(*error.marker()));
                    self.failed = true;
                    let help = if error.info().contains("tab") {
                        "indent with spaces, not with tabs"
                    } else {
                        "look at the indentation, the quotes and the brackets of this line and the one above"
                    };
                    self.report.error_help(at, format!("this is not valid YAML: {}", error.info()), help);
                    return None;
                }
            }
        }
    }

    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, span)) = self.next() {
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    self.failed = true;
                    self.report.error_help(
                        span,
                        "a second document begins here",
                        "one file holds one document: take the `---` away, or make it a file of its own",
                    );
                    return None;
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        if self.failed {
            return None;
        }
        Some(root.unwrap_or_else(|| Node::new(Value::Null, Span { file: self.file, line: 1, column: 1 })))
    }

    fn count(&mut self, nodes: usize, span: Span) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return self.fail(span, format!("the file has more than {MAX_NODES} values once its aliases are expanded"));
        }
        Some(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return self.fail(span, format!("nested more than {MAX_DEPTH} deep"));
        }
        let (mut node, anchor, tag) = match event {
            Event::Alias(id) => {
                let Some((node, weight)) = self.anchors.get(&id).map(|(node, weight)| (node.clone(), *weight)) else {
                    return self.fail(span, "this alias stands inside the value it refers to");
                };
                self.count(weight, span)?;
                return Some(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, span)?;
                (Node::new(self.scalar(&text, style, tag.as_deref(), span), span), anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => {
                self.count(1, span)?;
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => list.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Node::new(Value::List(list), span), anchor, tag)
            }
            Event::MappingStart(anchor, tag) => {
                self.count(1, span)?;
                (Node::new(Value::Map(self.mapping(depth)?), span), anchor, tag)
            }
            _ => return self.fail(span, "this is not valid YAML: a value is missing here"),
        };
        if let Some(tag) = tag.as_deref().filter(|tag| !tag.is_yaml_core_schema() && tag.handle == "!") {
            match tag.suffix.as_str() {
                "reset" => node.value = Value::Reset,
                "override" => node.replaces = true,
                _ => {}
            }
        }
        if anchor > 0 {
            let weight = node.weight();
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Some(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        match core {
            Some("str") => Value::Text(text.to_owned()),
            Some(kind @ ("int" | "float" | "bool" | "null")) => {
                let value = scalar::resolve(text);
                let fits = matches!(
                    (&value, kind),
                    (Value::Int(_), "int" | "float")
                        | (Value::Float(_), "float")
                        | (Value::Bool(_), "bool")
                        | (Value::Null, "null")
                );
                if !fits {
                    self.failed = true;
                    self.report.error(span, format!("`{text}` is tagged !!{kind}, and is none"));
                }
                match value {
                    Value::Int(number) if kind == "float" => Value::Float(number as f64),
                    value => value,
                }
            }
            _ if style != ScalarStyle::Plain => Value::Text(text.to_owned()),
            // a tag of somebody's own makes it text, as in Compose
            _ if tag.is_some_and(|tag| tag.handle == "!" && !matches!(tag.suffix.as_str(), "reset" | "override")) => {
                Value::Text(text.to_owned())
            }
            _ => scalar::resolve(text),
        }
    }

    fn mapping(&mut self, depth: usize) -> Option<Map> {
        let mut map = Map::new();
        let mut merges: Vec<Node> = Vec::new();
        loop {
            let (key, merge, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, anchor, _), span) => {
                    self.count(1, span)?;
                    let plain = style == ScalarStyle::Plain;
                    if plain && matches!(scalar::resolve(&text), Value::Null) {
                        return self.fail(span, "a key is missing here");
                    }
                    if anchor > 0 {
                        self.anchors.insert(anchor, (Node::text(text.as_ref(), span), 1));
                    }
                    let merge = plain && text == "<<";
                    (text.into_owned(), merge, span)
                }
                (Event::Alias(id), span) => match self.anchors.get(&id).and_then(|(node, _)| node.scalar_text()) {
                    Some(text) => (text, false, span),
                    None => return self.fail(span, "a key must be text"),
                },
                (_, span) => return self.fail(span, "a key must be text, not a list or a mapping"),
            };
            let (event, at) = self.next()?;
            // an empty value has the place of what follows it
            let at = if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty()) {
                span
            } else {
                at
            };
            let node = self.node(event, at, depth + 1)?;
            if merge {
                merges.push(node);
            } else if let Some(first) = map.get(&key) {
                let first: &Entry = first;
                let line = first.key.line;
                // the tree stays whole: more may be wrong below
                self.report.error_help(
                    span,
                    format!("the key `{key}` stands here a second time"),
                    format!("it stands first in line {line}: keep one of the two"),
                );
            } else {
                map.insert(key, Entry { key: span, node });
            }
        }
        for node in merges {
            self.merge(&mut map, node)?;
        }
        Some(map)
    }

    /// `<<`: what the map does not have itself comes from the other; of several, the first counts.
    fn merge(&mut self, map: &mut Map, node: Node) -> Option<()> {
        let span = node.span;
        let sources = match node.value {
            Value::Map(source) => vec![source],
            Value::List(list) => {
                let mut sources = Vec::new();
                for item in list {
                    match item.value {
                        Value::Map(source) => sources.push(source),
                        _ => return self.fail(item.span, "`<<` takes mappings"),
                    }
                }
                sources
            }
            _ => return self.fail(span, "`<<` takes a mapping or a list of mappings"),
        };
        for source in sources {
            for (key, entry) in source {
                map.entry(key).or_insert(entry);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
