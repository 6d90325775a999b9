//! What a file may contain, as tables, and the one pass that holds a tree against them: wrong kinds
//! of values and unknown keys are reported, short forms become long ones, numbers and sizes become
//! numbers. The tables of Compose, `x-macula` and macula.yaml are all read this way.

mod read;

use std::path::{Path, PathBuf};

use super::diagnostic::{MANY, Report, Span, listed, nearest, suggestion};
use super::tree::{Entry, Map, Node, Value};
use crate::config::files::join;
use read::{boolean, bytes, dict, duration, float, integer, loose, text, texts, words};

/// What a value is.
#[derive(Clone, Copy)]
pub(in crate::config) enum Kind {
    /// Anything; it stays as it is.
    Any,
    Text,
    /// Text, with a check of its own.
    Checked(Check),
    Choice(&'static [&'static str]),
    Bool,
    Int(i64, i64),
    /// A number that Compose keeps in 32 bits.
    Float32,
    /// A size; becomes a number of bytes.
    Bytes,
    /// A duration; becomes nanoseconds.
    Duration,
    /// A list of texts.
    Texts,
    /// A text or a list of texts; becomes a list.
    TextOrTexts,
    /// A list of texts or numbers; becomes texts.
    Loose,
    /// A mapping or a list of `KEY=value`; becomes a mapping of texts, with null for a key alone.
    Dict,
    /// The same, with an empty text for a key alone.
    Labels,
    /// A mapping of texts and numbers; becomes one of texts.
    Options,
    /// A command: words, or a line that is split into words. Null takes the image's own back.
    Words,
    /// A path; becomes absolute.
    Path,
    /// A build context: a path, or an address, which stays.
    Context,
    Object(&'static Object),
    List(&'static Kind),
    /// Names of the user's own.
    Map(&'static Kind),
    Nullable(&'static Kind),
    /// A short form, and what it is the short form of.
    Short(Expand, &'static Kind),
}

/// Makes the long form; reports and returns `None` when the short one is wrong. A node that is in
/// the long form already comes back as it is.
pub(in crate::config) type Expand = fn(Node, &mut Shaper<'_>) -> Option<Node>;

/// A check of a text: what is wrong with it and what would be right, or nothing.
pub(in crate::config) type Check = fn(&str) -> Option<(String, String)>;

/// A mapping with known keys.
pub(in crate::config) struct Object {
    /// What a person calls it: `a service`.
    pub(in crate::config) name: &'static str,
    pub(in crate::config) fields: &'static [Field],
    pub(in crate::config) required: &'static [&'static str],
    /// Are keys that begin with `x-` allowed?
    pub(in crate::config) open: bool,
}

#[derive(Clone, Copy)]
pub(in crate::config) struct Field {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) kind: Kind,
    /// Why nothing is done with it, where nothing is.
    pub(in crate::config) ignored: Option<&'static str>,
    /// Printed although it is zero, false or empty.
    pub(in crate::config) keep: bool,
    /// Left out when it is an empty mapping.
    pub(in crate::config) hollow: bool,
    /// For the JSON schema.
    pub(in crate::config) doc: &'static str,
}

pub(in crate::config) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, ignored: None, keep: false, hollow: false, doc: "" }
}

impl Field {
    pub(in crate::config) const fn ignored(mut self, why: &'static str) -> Self {
        self.ignored = Some(why);
        self
    }

    pub(in crate::config) const fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(in crate::config) const fn hollow(mut self) -> Self {
        self.hollow = true;
        self
    }

    pub(in crate::config) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

impl Object {
    /// One that needs no key and takes those that begin with `x-`.
    pub(in crate::config) const fn open(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields, required: &[], open: true }
    }

    pub(in crate::config) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// For [`Kind::Short`]: a text where a list may stand.
pub(in crate::config) fn in_a_list(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match node.value {
        Value::Text(_) => Node::new(Value::List(vec![node]), span),
        _ => node,
    })
}

/// Goes along with [`shape`]: where one is, and where relative paths begin.
pub(in crate::config) struct Shaper<'a> {
    pub(in crate::config) report: &'a mut Report,
    /// The folder from which relative paths count.
    pub(in crate::config) base: &'a Path,
    /// What `~` stands for.
    pub(in crate::config) home: Option<&'a str>,
    path: Vec<String>,
}

impl<'a> Shaper<'a> {
    pub(in crate::config) fn new(report: &'a mut Report, base: &'a Path, home: Option<&'a str>) -> Self {
        Self { report, base, home, path: Vec::new() }
    }

    /// `services.web.ports[0]`
    pub(in crate::config) fn path(&self) -> String {
        let mut out = String::new();
        for part in &self.path {
            if !out.is_empty() && !part.starts_with('[') {
                out.push('.');
            }
            out.push_str(part);
        }
        out
    }

    /// The last key on the way here.
    pub(in crate::config) fn key(&self) -> &str {
        self.path.iter().rev().find(|part| !part.starts_with('[')).map_or("", String::as_str)
    }

    pub(in crate::config) fn within<T>(&mut self, part: impl Into<String>, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(part.into());
        let out = work(self);
        self.path.pop();
        out
    }

    pub(in crate::config) fn wrong<T>(
        &mut self,
        span: Span,
        message: impl AsRef<str>,
        help: impl Into<String>,
    ) -> Option<T> {
        let path = self.path();
        let message = message.as_ref();
        let message = if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") };
        self.report.error_help(span, message, help);
        None
    }

    pub(in crate::config) fn warn(&mut self, span: Span, message: impl AsRef<str>, help: impl Into<String>) {
        let message = format!("{}: {}", self.path(), message.as_ref());
        self.report.warn(span, message, help);
    }

    fn expected<T>(&mut self, node: &Node, what: &str, example: &str) -> Option<T> {
        let key = self.key().to_owned();
        let help = if example.starts_with('\n')
            || example.starts_with('[')
            || example.starts_with('{')
            || !example.contains(' ')
        {
            format!("for example `{key}: {example}`")
        } else {
            example.to_owned()
        };
        self.wrong(node.span, format!("{what} belongs here, not {}", node.kind()), help)
    }

    /// A path of the file, absolute. One that is absolute stays as it is.
    pub(in crate::config) fn absolute(&self, text: &str) -> PathBuf {
        if text.starts_with('/') {
            return PathBuf::from(text);
        }
        match (text.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => join(Path::new(home), Path::new(rest.trim_start_matches('/'))),
            _ => join(self.base, Path::new(text)),
        }
    }
}

/// Is this a build context that is no folder: an address, or another service?
pub(in crate::config) fn is_remote_context(text: &str) -> bool {
    text.contains("://")
        || ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:"]
            .iter()
            .any(|start| text.starts_with(start))
}

/// The node in the one form that the rest of the program knows, or `None` when it is wrong, which
/// is then in the report.
pub(in crate::config) fn shape(kind: &Kind, mut node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    if matches!(node.value, Value::Reset) {
        return Some(node);
    }
    let span = node.span;
    let replaces = node.replaces;
    let value = match kind {
        Kind::Any => return Some(node),
        Kind::Nullable(inner) => {
            return if node.is_null() { Some(node) } else { shape(inner, node, shaper) };
        }
        Kind::Short(expand, inner) => {
            let mut long = expand(node, shaper)?;
            long.replaces = replaces;
            return shape(inner, long, shaper);
        }
        Kind::Text => Value::Text(text(&node, shaper, "text")?),
        Kind::Checked(check) => {
            let text = loose(&node).or_else(|| shaper.expected(&node, "text", "text"))?;
            if let Some((problem, help)) = check(&text) {
                return shaper.wrong(span, problem, help);
            }
            Value::Text(text)
        }
        Kind::Choice(choices) => {
            let text = text(&node, shaper, choices.first().copied().unwrap_or_default())?;
            if !choices.contains(&text.as_str()) {
                let help = match nearest(&text, choices.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? one of {}", listed(choices.iter().copied(), "or")),
                    None => format!("one of {}", listed(choices.iter().copied(), "or")),
                };
                return shaper.wrong(span, format!("`{text}` is none of the values there are"), help);
            }
            Value::Text(text)
        }
        Kind::Bool => Value::Bool(boolean(&node, shaper)?),
        Kind::Int(least, most) => {
            let number = integer(&node, shaper)?;
            if !(*least..=*most).contains(&number) {
                let help =
                    if *most == i64::MAX { format!("{least} or more") } else { format!("from {least} to {most}") };
                return shaper.wrong(span, format!("{number} is out of range"), help);
            }
            Value::Int(number)
        }
        Kind::Float32 => Value::Float(float(&node, shaper)?),
        Kind::Bytes => Value::Int(bytes(&node, shaper)?),
        Kind::Duration => Value::Int(duration(&node, shaper)?),
        Kind::Texts => Value::List(texts(node, shaper, false, false)?),
        Kind::TextOrTexts => {
            // of a variable that is not set
            let mut all = texts(node, shaper, true, false)?;
            all.retain(|item| item.as_text() != Some(""));
            Value::List(all)
        }
        Kind::Loose => Value::List(texts(node, shaper, true, true)?),
        Kind::Dict => Value::Map(dict(node, shaper, false)?),
        Kind::Labels => Value::Map(dict(node, shaper, true)?),
        Kind::Options => {
            if node.as_map().is_none() {
                return shaper.expected(&node, "a mapping", "{name: value}");
            }
            Value::Map(dict(node, shaper, true)?)
        }
        Kind::Words => words(node, shaper)?,
        Kind::Path => {
            let text = text(&node, shaper, "./path")?;
            Value::Text(shaper.absolute(&text).to_string_lossy().into_owned())
        }
        Kind::Context => {
            let text = text(&node, shaper, "./path")?;
            if is_remote_context(&text) {
                Value::Text(text)
            } else {
                Value::Text(shaper.absolute(&text).to_string_lossy().into_owned())
            }
        }
        Kind::Object(object) => Value::Map(fields(object, node, shaper)?),
        Kind::List(inner) => {
            let Value::List(items) = node.value else { return shaper.expected(&node, "a list", "[...]") };
            let mut out = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                if matches!(item.value, Value::Reset) {
                    continue;
                }
                out.extend(shaper.within(format!("[{index}]"), |shaper| shape(inner, item, shaper)));
            }
            Value::List(out)
        }
        Kind::Map(inner) => {
            let Value::Map(entries) = node.value else { return shaper.expected(&node, "a mapping", "{name: ...}") };
            let mut out = Map::with_capacity(entries.len());
            for (name, entry) in entries {
                // what is wrong stays as null, so that nobody misses it a second time
                let shaped = shaper.within(name.as_str(), |shaper| shape(inner, entry.node, shaper));
                out.insert(
                    name,
                    Entry { key: entry.key, node: shaped.unwrap_or_else(|| Node::new(Value::Null, entry.key)) },
                );
            }
            Value::Map(out)
        }
    };
    node = Node::new(value, span);
    node.replaces = replaces;
    Some(node)
}

/// Is an empty text in place of this no value at all?
fn can_be_left_out(kind: &Kind) -> bool {
    match kind {
        Kind::Checked(_) | Kind::Choice(_) | Kind::TextOrTexts | Kind::Loose => true,
        Kind::Nullable(inner) | Kind::Short(_, inner) => can_be_left_out(inner),
        _ => false,
    }
}

/// Keys that people look for in a service of a Compose file, and what to write there.
const ELSEWHERE: [(&str, &str); 8] = [
    ("replicas", "write `deploy: {replicas: 3}`, or `scale: 3`"),
    ("resources", "write `deploy: {resources: {limits: {memory: 256M}}}`, or `mem_limit: 256M`"),
    ("memory", "write `mem_limit: 256M`"),
    ("cmd", "write `command`"),
    ("args", "write `command`, or `build: {args: {...}}`"),
    ("env", "write `environment`"),
    ("envs", "write `environment`"),
    ("mounts", "write `volumes`"),
];

fn fields(object: &'static Object, node: Node, shaper: &mut Shaper<'_>) -> Option<Map> {
    let span = node.span;
    let Value::Map(entries) = node.value else {
        // the keys that most have come first to mind
        let usual = ["image", "build", "path", "source", "target", "port", "name"];
        let mut known: Vec<&str> = object.fields.iter().map(|field| field.name).collect();
        known.sort_by_key(|name| usual.iter().position(|usual| usual == name).unwrap_or(usual.len()));
        known.truncate(3);
        let help = format!("{} is a mapping with keys such as {}", object.name, listed(known, "and"));
        return shaper.wrong(span, format!("a mapping belongs here, not {}", node.kind()), help);
    };
    let mut missing: Vec<&str> = object.required.iter().copied().filter(|name| !entries.contains_key(*name)).collect();
    let mut out = Map::with_capacity(entries.len());
    for (name, entry) in entries {
        if object.open && name.starts_with("x-") && object.field(&name).is_none() {
            out.insert(name, entry);
            continue;
        }
        let Some(field) = object.field(&name) else {
            let path = shaper.path();
            let place = if path.is_empty() { object.name.to_owned() } else { path };
            let known = object.fields.iter().map(|field| field.name);
            let near = nearest(&name, known.clone());
            // what is misspelt is there, so that it is not reported as missing, too
            if let Some(meant) = near {
                missing.retain(|name| *name != meant);
                out.entry(meant.to_owned())
                    .or_insert_with(|| Entry { key: entry.key, node: Node::new(Value::Null, entry.key) });
            }
            let of_compose = object.field("deploy").is_some();
            let elsewhere = ELSEWHERE.iter().find(|(key, _)| of_compose && *key == name);
            let help = match (near, elsewhere) {
                (None, Some((_, help))) => (*help).to_owned(),
                (None, None) if object.open && object.fields.len() > MANY => {
                    "see the Compose specification for the keys there are; keys of your own begin with x-".to_owned()
                }
                _ => suggestion(&name, known),
            };
            shaper.report.error_help(entry.key, format!("unknown key `{name}` in {place}"), help);
            continue;
        };
        // a variable that is not set leaves an empty text behind, which Compose takes for no value
        if entry.node.as_text() == Some("") && can_be_left_out(&field.kind) {
            continue;
        }
        let empty = entry.node.is_null() && !matches!(field.kind, Kind::Nullable(_) | Kind::Words | Kind::Any);
        if empty {
            shaper.within(name.as_str(), |shaper| {
                shaper.warn(entry.key, "nothing stands here", "give it a value, or take the line away");
            });
            continue;
        }
        let shaped = shaper.within(name.as_str(), |shaper| {
            if let Some(why) = field.ignored
                && !entry.node.is_null()
                && !shaper.report.orchestrated
            {
                shaper.warn(entry.key, "not supported by macula; ignored", why);
            }
            shape(&field.kind, entry.node, shaper)
        });
        out.insert(name, Entry { key: entry.key, node: shaped.unwrap_or_else(|| Node::new(Value::Null, entry.key)) });
    }
    for name in missing {
        shaper.wrong::<()>(
            span,
            format!("`{name}` is missing"),
            format!("{} needs {}", object.name, listed(object.required.iter().copied(), "and")),
        );
    }
    Some(out)
}
