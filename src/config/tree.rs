//! YAML as a tree in which every value knows where it stands. Anchors and merge keys are resolved,
//! tags other than Compose's own do not survive, and nothing here can be made to grow without end.

use std::collections::HashMap;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::diagnostic::Report;
use super::scalar;

/// How deep a file may nest.
const MAX_DEPTH: usize = 64;
/// How many values a file may have once its aliases are expanded.
const MAX_NODES: usize = 100_000;
/// How long a file may be, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Index into the report's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(pub(super) u32);

/// Where a value begins: line and column from 1; both 0 for the file as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: FileId,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Span {
    pub(super) fn whole(file: FileId) -> Self {
        Self { file, line: 0, column: 0 }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
    /// Tagged `!override`: takes the place of an earlier value instead of being merged into it.
    pub(super) replaces: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
    /// Tagged `!reset`: takes an earlier value away.
    Reset,
}

pub(super) type Map = IndexMap<String, Entry>;

/// A value in a map, with the place of its key.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) node: Node,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

/// Places do not count: two equal values are equal wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    pub(super) fn new(value: Value, span: Span) -> Self {
        Self { value, span, replaces: false }
    }

    pub(super) fn text(text: impl Into<String>, span: Span) -> Self {
        Self::new(Value::Text(text.into()), span)
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self.value {
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The value of a key; `None` where this is no map, has no such key, or has null or `!reset` there.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?
            .get(key)
            .map(|entry| &entry.node)
            .filter(|node| !matches!(node.value, Value::Null | Value::Reset))
    }

    pub(super) fn get_text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    pub(super) fn get_int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    pub(super) fn get_bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The entries of the map at a key; none where there is no map.
    pub(super) fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Entry)> {
        self.get(key).and_then(Node::as_map).into_iter().flatten().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The elements of the list at a key; none where there is no list.
    pub(super) fn items(&self, key: &str) -> &[Node] {
        self.get(key).and_then(Node::as_list).unwrap_or_default()
    }

    /// The texts of the list at a key.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.items(key).iter().filter_map(|node| node.as_text().map(str::to_owned)).collect()
    }

    /// What a person would call this.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Reset => "!reset",
        }
    }

    /// A scalar as Go prints it; `None` for lists and maps. Null is `None` too.
    pub(super) fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(scalar::format_float(*number)),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Reset => None,
        }
    }

    /// How many values this has below it, itself included.
    fn weight(&self) -> usize {
        1 + match &self.value {
            Value::List(list) => list.iter().map(Node::weight).sum(),
            Value::Map(map) => map.values().map(|entry| entry.node.weight()).sum(),
            _ => 0,
        }
    }
}

/// The one document of a YAML text. `None` when it does not parse, which is then in the report; an
/// empty text is null.
pub(super) fn parse(text: &str, file: FileId, report: &mut Report) -> Option<Node> {
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
                    self.report.error_help(at, format!("this is no YAML: {}", error.info()), help);
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
            _ => return self.fail(span, "this is no YAML: a value is missing here"),
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
#[path = "tree_tests.rs"]
mod tests;
