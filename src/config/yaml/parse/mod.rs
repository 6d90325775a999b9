//! YAML as trees in which every value knows where it stands. Anchors and merge keys are resolved,
//! tags other than Compose's own do not survive, and nothing here can be made to grow without end.
//!
//! The events come from a port of libyaml, of which the YAML library of Docker Compose (go-yaml) is
//! one too: what one of them takes, the other takes (docs/decisions/yaml-reader.md).

mod fault;

use std::collections::HashMap;

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};

use super::diagnostic::{FileId, Report, Span, suggestion};
use super::scalar;
use super::tree::{Entry, Map, Node, Value};

/// How deep a file may nest.
const MAX_DEPTH: usize = 64;
/// How many values a file may have once its aliases are expanded.
const MAX_NODES: usize = 100_000;
/// What tags of YAML's own begin with.
const CORE: &str = "tag:yaml.org,2002:";

/// The one document of a YAML text. `None` when it does not parse, which is then in the report; an
/// empty text is null.
pub(in crate::config) fn parse(text: &str, file: FileId, report: &mut Report) -> Option<Node> {
    let documents = documents(text, file, report)?;
    let mut documents = documents.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        report.error_help(
            second.span,
            "a second document begins here",
            "this file holds one document: remove the `---`, or make the second one a file of its own",
        );
        return None;
    }
    Some(first.unwrap_or_else(|| Node::new(Value::Null, Span { file, line: 1, column: 1 })))
}

/// All documents of a YAML text, of which Compose lays each over those before it.
pub(in crate::config) fn documents(text: &str, file: FileId, report: &mut Report) -> Option<Vec<Node>> {
    report.source(file, text);
    if let Some((span, message)) = fault::control_character(text, file) {
        report.error_help(span, message, "remove it, or write an escape in double quotes, as in \"\\x07\"");
        return None;
    }
    // the port of libyaml looks ahead without checking for the end, where no line break stands there
    let (whole, added);
    let text = if text.ends_with('\n') {
        added = false;
        text
    } else {
        added = true;
        whole = format!("{text}\n");
        &whole
    };
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let length = text.chars().count() as u64;
    let mut builder = Builder {
        parser,
        text,
        file,
        report,
        anchors: HashMap::new(),
        open: Vec::new(),
        nodes: 0,
        failed: false,
        end: added.then_some(length),
    };
    let documents = builder.documents();
    (!builder.failed).then_some(documents).flatten()
}

struct Builder<'a, 'i> {
    parser: Parser<&'i mut &'i [u8]>,
    text: &'a str,
    file: FileId,
    report: &'a mut Report,
    anchors: HashMap<String, (Node, usize)>,
    /// Anchors of the values that are being read.
    open: Vec<String>,
    nodes: usize,
    /// Something was reported after which the tree is not whole.
    failed: bool,
    /// Where a line break was added that is not in the file.
    end: Option<u64>,
}

impl Builder<'_, '_> {
    fn span(&self, mark: Mark) -> Span {
        Span {
            file: self.file,
            line: u32::try_from(mark.line + 1).unwrap_or(u32::MAX),
            column: u32::try_from(mark.column + 1).unwrap_or(u32::MAX),
        }
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.failed = true;
        self.report.error_help(span, message, help);
        None
    }

    fn next(&mut self) -> Option<(EventData, Span)> {
        match self.parser.parse() {
            Ok(Event { mut data, start_mark, end_mark, .. }) => {
                // the break that was added is no part of a block of text that ends with the file
                if let EventData::Scalar { value, style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = &mut data
                    && self.end.is_some_and(|end| end_mark.index >= end)
                    && value.ends_with('\n')
                {
                    value.pop();
                }
                Some((data, self.span(start_mark)))
            }
            Err(error) => {
                let fault = fault::explain(&error, self.text);
                let span = self.span(fault.mark);
                self.fail(span, fault.message, fault.help)
            }
        }
    }

    fn documents(&mut self) -> Option<Vec<Node>> {
        let mut roots = Vec::new();
        loop {
            match self.next()? {
                (EventData::StreamEnd, _) => break,
                (EventData::StreamStart { .. } | EventData::DocumentEnd { .. }, _) => {}
                // anchors belong to their document
                (EventData::DocumentStart { .. }, _) => self.anchors.clear(),
                (event, span) => roots.push(self.node(event, span, 0)?),
            }
        }
        Some(roots)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return self.fail(
                span,
                format!("the file has more than {MAX_NODES} values once its aliases are expanded"),
                "split it into several files",
            );
        }
        Some(())
    }

    fn alias(&mut self, anchor: &str, span: Span) -> Option<(Node, usize)> {
        if let Some(found) = self.anchors.get(anchor) {
            return Some(found.clone());
        }
        if self.open.iter().any(|open| open == anchor) {
            return self.fail(span, format!("the alias `*{anchor}` is inside the value it refers to"), "remove it");
        }
        let mut known: Vec<&str> = self.anchors.keys().map(String::as_str).collect();
        known.sort_unstable();
        let help = if known.is_empty() {
            format!("mark a value above this line with `&{anchor}`, or quote the text: \"*{anchor}\"")
        } else {
            suggestion(anchor, known)
        };
        self.fail(span, format!("there is no anchor `{anchor}` above this line"), help)
    }

    /// `work` reads the value that has this anchor.
    fn anchored(&mut self, anchor: Option<String>, work: impl FnOnce(&mut Self) -> Option<Node>) -> Option<Node> {
        let Some(anchor) = anchor else { return work(self) };
        self.open.push(anchor.clone());
        // the name may have belonged to a value further up
        self.anchors.remove(&anchor);
        let node = work(self);
        self.open.pop();
        let node = node?;
        let weight = node.weight();
        self.anchors.insert(anchor, (node.clone(), weight));
        Some(node)
    }

    fn node(&mut self, event: EventData, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return self.fail(
                span,
                format!("nested more than {MAX_DEPTH} levels deep"),
                "no Compose file needs that many",
            );
        }
        let tag;
        let mut node = match event {
            EventData::Alias { anchor } => {
                let (node, weight) = self.alias(&anchor, span)?;
                self.count(weight, span)?;
                return Some(node);
            }
            EventData::Scalar { value, style, anchor, tag: given, .. } => {
                self.count(1, span)?;
                tag = given;
                let value = self.scalar(&value, style, tag.as_deref(), span);
                self.anchored(anchor, |_| Some(Node::new(value, span)))?
            }
            EventData::SequenceStart { anchor, tag: given, .. } => {
                self.count(1, span)?;
                tag = given;
                self.anchored(anchor, |builder| {
                    let mut list = Vec::new();
                    loop {
                        match builder.next()? {
                            (EventData::SequenceEnd, _) => break,
                            (event, span) => list.push(builder.node(event, span, depth + 1)?),
                        }
                    }
                    Some(Node::new(Value::List(list), span))
                })?
            }
            EventData::MappingStart { anchor, tag: given, .. } => {
                self.count(1, span)?;
                tag = given;
                self.anchored(anchor, |builder| Some(Node::new(Value::Map(builder.mapping(depth)?), span)))?
            }
            _ => return self.fail(span, "a value is missing here", "write one, or remove the key"),
        };
        match tag.as_deref() {
            Some("!reset") => node.value = Value::Reset,
            Some("!override") => node.replaces = true,
            _ => {}
        }
        Some(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&str>, span: Span) -> Value {
        let plain = style == ScalarStyle::Plain;
        match tag.map(|tag| tag.strip_prefix(CORE).ok_or(tag)) {
            Some(Ok("str")) => Value::Text(text.to_owned()),
            Some(Ok(kind @ ("int" | "float" | "bool" | "null"))) => {
                let value = scalar::resolve(text);
                let fits = matches!(
                    (&value, kind),
                    (Value::Int(_) | Value::Unsigned(_), "int" | "float")
                        | (Value::Float(_), "float")
                        | (Value::Bool(_), "bool")
                        | (Value::Null, "null")
                );
                if !fits {
                    self.failed = true;
                    self.report.error_help(
                        span,
                        format!("`{text}` is tagged !!{kind}, but is not one"),
                        "correct the value, or remove the tag",
                    );
                }
                match value {
                    Value::Int(number) if kind == "float" => Value::Float(number as f64),
                    Value::Unsigned(number) if kind == "float" => Value::Float(number as f64),
                    value => value,
                }
            }
            // a tag of somebody's own makes it text, as in Compose
            Some(Err(tag)) if !matches!(tag, "!reset" | "!override") => Value::Text(text.to_owned()),
            _ if plain => scalar::resolve(text),
            _ => Value::Text(text.to_owned()),
        }
    }

    fn mapping(&mut self, depth: usize) -> Option<Map> {
        const KEY: &str = "use text as the key";
        let mut map = Map::new();
        let mut merges: Vec<Node> = Vec::new();
        loop {
            let (key, merge, span) = match self.next()? {
                (EventData::MappingEnd, _) => break,
                (EventData::Scalar { value: text, style, anchor, .. }, span) => {
                    self.count(1, span)?;
                    let plain = style == ScalarStyle::Plain;
                    if plain && matches!(scalar::resolve(&text), Value::Null) {
                        return self.fail(span, "a key is missing here", "write one before the `:`");
                    }
                    if let Some(anchor) = anchor {
                        self.anchors.insert(anchor, (Node::text(text.as_str(), span), 1));
                    }
                    let merge = plain && text == "<<";
                    (text, merge, span)
                }
                (EventData::Alias { anchor }, span) => {
                    let (node, _) = self.alias(&anchor, span)?;
                    match node.scalar_text() {
                        Some(text) => (text, false, span),
                        None => return self.fail(span, "a key must be text", KEY),
                    }
                }
                (_, span) => return self.fail(span, "a key must be text, not a list or a mapping", KEY),
            };
            let (event, at) = self.next()?;
            // an empty value has the place of what follows it
            let at = if matches!(&event, EventData::Scalar { value, style: ScalarStyle::Plain, .. } if value.is_empty())
            {
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
                    format!("the key `{key}` is already used in this mapping"),
                    format!("it first appears in line {line}: keep one of the two"),
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
        const HELP: &str = "for example `<<: *defaults`, where `&defaults` marks a mapping";
        let span = node.span;
        let sources = match node.value {
            Value::Map(source) => vec![source],
            Value::List(list) => {
                let mut sources = Vec::new();
                for item in list {
                    match item.value {
                        Value::Map(source) => sources.push(source),
                        _ => return self.fail(item.span, "`<<` takes mappings only", HELP),
                    }
                }
                sources
            }
            _ => return self.fail(span, "`<<` takes a mapping or a list of mappings", HELP),
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
