//! A YAML value and where it stands.

use indexmap::IndexMap;

use super::diagnostic::Span;

/// A value and where it stands.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Node {
    pub(in crate::config) value: Value,
    pub(in crate::config) span: Span,
    /// Tagged `!override`: takes the place of an earlier value instead of being merged into it.
    pub(in crate::config) replaces: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::config) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above those, up to 64 bits.
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
    /// Tagged `!reset`: takes an earlier value away.
    Reset,
}

pub(in crate::config) type Map = IndexMap<String, Entry>;

/// A value in a map, with the place of its key.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Entry {
    pub(in crate::config) key: Span,
    pub(in crate::config) node: Node,
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
    pub(in crate::config) fn new(value: Value, span: Span) -> Self {
        Self { value, span, replaces: false }
    }

    pub(in crate::config) fn text(text: impl Into<String>, span: Span) -> Self {
        Self::new(Value::Text(text.into()), span)
    }

    pub(in crate::config) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(in crate::config) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(in crate::config) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(in crate::config) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::config) fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub(in crate::config) fn as_float(&self) -> Option<f64> {
        match self.value {
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    pub(in crate::config) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(in crate::config) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The value of a key; `None` where this is no map, has no such key, or has null or `!reset` there.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?
            .get(key)
            .map(|entry| &entry.node)
            .filter(|node| !matches!(node.value, Value::Null | Value::Reset))
    }

    pub(in crate::config) fn get_text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    pub(in crate::config) fn get_int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    pub(in crate::config) fn get_bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The entries of the map at a key; none where there is no map.
    pub(in crate::config) fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Entry)> {
        self.get(key).and_then(Node::as_map).into_iter().flatten().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The elements of the list at a key; none where there is no list.
    pub(in crate::config) fn items(&self, key: &str) -> &[Node] {
        self.get(key).and_then(Node::as_list).unwrap_or_default()
    }

    /// The texts of the list at a key.
    pub(in crate::config) fn texts(&self, key: &str) -> Vec<String> {
        self.items(key).iter().filter_map(|node| node.as_text().map(str::to_owned)).collect()
    }

    /// What a person would call this.
    pub(in crate::config) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Unsigned(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Reset => "!reset",
        }
    }

    /// How many values this has below it, itself included.
    pub(super) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::List(list) => list.iter().map(Node::weight).sum(),
            Value::Map(map) => map.values().map(|entry| entry.node.weight()).sum(),
            _ => 0,
        }
    }
}
