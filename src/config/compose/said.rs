//! Every value of a stack by its key, with its place: for targets that have to say what becomes of each.

use super::{Project, schema};
use crate::config::macula::extension::EXTENSION;
use crate::config::yaml::{Kind, Node, Object, Places, Value};

/// One value that a stack gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// As in the tables: `services.*.ports[].mode`.
    pub key: String,
    /// As in the file: `services.web.ports[0].mode`.
    pub path: String,
    /// Whose it is, by its name in the file.
    pub service: Option<String>,
    /// `shop/compose.yaml:7:9`
    pub place: String,
    pub value: serde_json::Value,
}

impl Said {
    /// The value, where it is text.
    pub fn text(&self) -> Option<&str> {
        self.value.as_str()
    }
}

impl Project {
    /// What the project says after everything is resolved: nothing of services that take no part.
    pub(in crate::config) fn said(&self, places: &Places) -> Vec<Said> {
        let mut walk = Walk { places, named: &self.named, service: None, all: Vec::new() };
        walk.object(&schema::FILE, &self.root, "", "");
        walk.all
    }
}

struct Walk<'a> {
    places: &'a Places,
    named: &'a [(String, String)],
    /// The one that is looked at: a path does not tell, since names may have dots.
    service: Option<String>,
    all: Vec<Said>,
}

impl Walk<'_> {
    fn object(&mut self, object: &'static Object, node: &Node, key: &str, path: &str) {
        for (name, entry) in node.as_map().into_iter().flatten() {
            let Some(field) = object.field(name) else { continue };
            let key = below(key, name);
            let path = below(path, name);
            if name == "x-macula" {
                self.object(&EXTENSION, &entry.node, &key, &path);
            } else {
                self.value(&field.kind, &entry.node, key, path);
            }
        }
    }

    fn value(&mut self, kind: &'static Kind, node: &Node, key: String, path: String) {
        match (kind, &node.value) {
            (_, Value::Null | Value::Reset) => {}
            (Kind::Nullable(inner) | Kind::Short(_, inner), _) => self.value(inner, node, key, path),
            (Kind::Object(object), Value::Map(_)) => self.object(object, node, &key, &path),
            (Kind::Map(inner), Value::Map(map)) => {
                let services = key == "services";
                for (name, entry) in map {
                    if services {
                        self.service = Some(name.clone());
                    }
                    self.value(inner, &entry.node, format!("{key}.*"), format!("{path}.{name}"));
                }
                if services {
                    self.service = None;
                }
            }
            (Kind::List(inner), Value::List(items)) if is_object(inner) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(inner, item, format!("{key}[]"), format!("{path}[{index}]"));
                }
            }
            // one in place of a list, as `x-macula` allows
            (Kind::List(inner), Value::Map(_)) => self.value(inner, node, format!("{key}[]"), path),
            // a name that Compose gives says nothing
            _ if self.is_given(&key, &path) => {}
            _ => {
                let place = self.places.place(node.span);
                self.all.push(Said { key, path, service: self.service.clone(), place, value: json(node) });
            }
        }
    }
}

impl Walk<'_> {
    /// The name of a resource whose name the user did not choose.
    fn is_given(&self, key: &str, path: &str) -> bool {
        let Some((section, rest)) = path.split_once('.') else { return false };
        let Some(resource) = rest.strip_suffix(".name").filter(|_| key == format!("{section}.*.name")) else {
            return false;
        };
        !self.named.iter().any(|(known, name)| known == section && name == resource)
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is_object(kind: &Kind) -> bool {
    match kind {
        Kind::Object(_) => true,
        Kind::Nullable(inner) | Kind::Short(_, inner) => is_object(inner),
        _ => false,
    }
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null | Value::Reset => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Unsigned(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(map) => map.iter().map(|(name, entry)| (name.clone(), json(&entry.node))).collect(),
    }
}
