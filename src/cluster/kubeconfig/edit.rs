//! Changes to the text of a kubeconfig. Lines are moved, not the document written anew; what comes
//! out is read again and compared with what it is to mean, and only where that fails (flow style,
//! anchors, JSON) the document is written from its meaning.

use std::net::IpAddr;

use serde_yaml::{Mapping, Value};

use super::KubeconfigError;
use crate::model::AnyError;

/// What one context needs. All three entries have the context's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub context: String,
    cluster: Value,
    user: Value,
}

/// The lists of a kubeconfig and what an entry of each is called.
const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];

impl Entry {
    /// From a kubeconfig with one cluster, as providers give it.
    pub fn of_provider(text: &str, context: &str) -> Result<Self, KubeconfigError> {
        let bad = |said: &str| KubeconfigError::Provider { source: AnyError::said(said) };
        let value: Value =
            serde_yaml::from_str(text).map_err(|error| KubeconfigError::Provider { source: error.into() })?;
        let part = |list: &str, part: &str| value.get(list)?.get(0)?.get(part).cloned();
        let cluster = part("clusters", "cluster").ok_or_else(|| bad("it names no cluster"))?;
        let user = part("users", "user").ok_or_else(|| bad("it names no user"))?;
        if cluster.get("server").is_none() {
            return Err(bad("its cluster has no server"));
        }
        Ok(Self { context: context.to_owned(), cluster, user })
    }

    /// A kubeconfig of its own.
    pub fn alone(&self) -> String {
        merged("", self).unwrap_or_default()
    }

    fn item(&self, list: &str) -> Value {
        let (name, context) = (Value::from("name"), Value::from(self.context.as_str()));
        let body = match list {
            "clusters" => ("cluster", self.cluster.clone()),
            "users" => ("user", self.user.clone()),
            _ => {
                let pairs = [("cluster", context.clone()), ("user", context.clone())];
                let body: Mapping = pairs.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
                ("context", Value::Mapping(body))
            }
        };
        let pairs = [(Value::from(body.0), body.1), (name, context)];
        Value::Mapping(pairs.into_iter().collect())
    }
}

/// With the entry, in place of one of the same name. `current-context` is set where there was none.
pub fn merged(text: &str, entry: &Entry) -> Result<String, AnyError> {
    let document = read(text)?;
    let mut wanted = document.clone();
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if !wanted.contains_key(key) {
            wanted.insert(key.into(), value.into());
        }
    }
    for (list, _) in LISTS {
        let items = list_of(&mut wanted, list)?;
        let item = entry.item(list);
        match items.iter_mut().find(|item| name_of(item) == Some(&entry.context)) {
            Some(found) => *found = item,
            None => items.push(item),
        }
    }
    let current = document.get("current-context").and_then(Value::as_str).unwrap_or_default();
    if current.is_empty() {
        wanted.insert("current-context".into(), entry.context.as_str().into());
    }
    let edited = || {
        let mut lines = Lines::of(text);
        for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
            if !document.contains_key(key) {
                lines.all.push(format!("{key}: {value}"));
            }
        }
        for (list, _) in LISTS {
            lines.put(list, &entry.context, &entry.item(list))?;
        }
        if current.is_empty() {
            lines.set("current-context", &entry.context);
        }
        Some(lines.text())
    };
    Ok(proven(text, edited(), &wanted))
}

/// What entry of somebody else's has the name of a context of ours: `cluster`, `context` or `user`. Ours lead to this
/// machine, to a cluster and a user of the same name that no other context names, and have no more to say.
pub fn taken(text: &str, context: &str) -> Result<Option<&'static str>, AnyError> {
    let document = read(text)?;
    let found = |list: &str| items_of(&document, list).find(|item| name_of(item) == Some(context));
    let body = found("contexts").and_then(|item| item.get("context"));
    let is = |key: &str, body: &Value| body.get(key).and_then(Value::as_str) == Some(context);
    if body.is_some_and(|body| !is("cluster", body) || !is("user", body) || body.get("extensions").is_some()) {
        return Ok(Some("context"));
    }
    let others: Vec<&Value> = items_of(&document, "contexts")
        .filter(|item| name_of(item) != Some(context))
        .filter_map(|item| item.get("context"))
        .collect();
    let is_shared = |key: &str| others.iter().any(|body| is(key, body));
    if let Some(cluster) = found("clusters").map(|item| item.get("cluster"))
        && (body.is_none() || is_shared("cluster") || !cluster.is_some_and(is_on_this_machine))
    {
        return Ok(Some("cluster"));
    }
    Ok((found("users").is_some() && (body.is_none() || is_shared("user"))).then_some("user"))
}

/// As kind publishes the API server of ours.
fn is_on_this_machine(cluster: &Value) -> bool {
    let server = cluster.get("server").and_then(Value::as_str).unwrap_or_default();
    let host = server.strip_prefix("https://").and_then(|rest| rest.rsplit_once(':')).map(|(host, _)| host);
    let address = host.and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    address.is_some_and(|address| address.is_loopback())
}

/// Without the context and what belongs to it alone; `None`: it is not there, or leads to another machine by now. A
/// `current-context` that pointed to it points nowhere then, as kind leaves it.
pub fn removed(text: &str, context: &str) -> Result<Option<String>, AnyError> {
    let document = read(text)?;
    let cluster = items_of(&document, "clusters").find(|item| name_of(item) == Some(context));
    if cluster.and_then(|item| item.get("cluster")).is_some_and(|cluster| !is_on_this_machine(cluster)) {
        return Ok(None);
    }
    let mut wanted = document.clone();
    let mut found = false;
    for (list, _) in LISTS {
        if let Some(Value::Sequence(items)) = wanted.get_mut(list) {
            let before = items.len();
            items.retain(|item| name_of(item) != Some(context));
            found |= items.len() != before;
        }
    }
    let current = document.get("current-context").and_then(Value::as_str) == Some(context);
    if current {
        wanted.insert("current-context".into(), "".into());
    }
    if !found && !current {
        return Ok(None);
    }
    let edited = || {
        let mut lines = Lines::of(text);
        for (list, _) in LISTS {
            lines.take_out(list, context)?;
        }
        if current {
            lines.set("current-context", "");
        }
        Some(lines.text())
    };
    Ok(Some(proven(text, edited(), &wanted)))
}

/// The edited text if it means what is wanted, else the meaning written anew.
fn proven(text: &str, edited: Option<String>, wanted: &Mapping) -> String {
    if let Some(edited) = edited
        && read(&edited).is_ok_and(|found| found == *wanted)
    {
        return edited;
    }
    if text.trim_start().starts_with('{') {
        return serde_json::to_string_pretty(wanted).map(|text| text + "\n").unwrap_or_default();
    }
    serde_yaml::to_string(wanted).unwrap_or_default()
}

fn read(text: &str) -> Result<Mapping, AnyError> {
    match serde_yaml::from_str(text)? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(document) => Ok(document),
        _ => Err(AnyError::said("it is not a mapping")),
    }
}

fn list_of<'a>(document: &'a mut Mapping, list: &str) -> Result<&'a mut Vec<Value>, AnyError> {
    let place = document.entry(list.into()).or_insert(Value::Null);
    if place.is_null() {
        *place = Value::Sequence(Vec::new());
    }
    match place {
        Value::Sequence(items) => Ok(items),
        _ => Err(AnyError::said(format!("{list} is not a list"))),
    }
}

fn items_of<'a>(document: &'a Mapping, list: &str) -> impl Iterator<Item = &'a Value> {
    document.get(list).and_then(Value::as_sequence).into_iter().flatten()
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

/// A document by its lines, without their ends.
struct Lines {
    all: Vec<String>,
    crlf: bool,
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { all: text.lines().map(str::to_owned).collect(), crlf: text.contains("\r\n") }
    }

    fn text(&self) -> String {
        let end = if self.crlf { "\r\n" } else { "\n" };
        self.all.iter().flat_map(|line| [line.as_str(), end]).collect()
    }

    fn line(&self, at: usize) -> &str {
        self.all.get(at).map_or("", String::as_str)
    }

    /// The line of a key of the document itself, and what stands behind its colon.
    fn key(&self, key: &str) -> Option<(usize, &str)> {
        self.all.iter().enumerate().find_map(|(at, line)| {
            let rest = line.strip_prefix(key)?.trim_start().strip_prefix(':')?;
            Some((at, rest.trim()))
        })
    }

    fn set(&mut self, key: &str, value: &str) {
        let line = if value.is_empty() { format!("{key}: \"\"") } else { format!("{key}: {value}") };
        match self.key(key).map(|(at, _)| at) {
            Some(at) => {
                if let Some(place) = self.all.get_mut(at) {
                    *place = line;
                }
            }
            None => self.all.push(line),
        }
    }

    /// The lines of a list in block style, those of its key not among them, and the indentation of its
    /// dashes. `None`: it is written in another style.
    fn list(&self, list: &str) -> Option<(usize, usize, usize)> {
        let (at, rest) = self.key(list)?;
        if !rest.is_empty() && !rest.starts_with('#') {
            return None;
        }
        let start = at + 1;
        let ends = |line: &String| {
            let first = line.chars().next();
            first.is_some_and(|c| !c.is_whitespace() && c != '-' && c != '#')
        };
        let mut end = self.all.iter().skip(start).position(ends).map_or(self.all.len(), |length| start + length);
        // what stands apart before the next key belongs to that
        while end > start && is_idle(self.line(end - 1)) {
            end -= 1;
        }
        let first = self.all.get(start..end)?.iter().find(|line| !is_idle(line))?;
        first.trim_start().starts_with('-').then(|| (start, end, indentation(first)))
    }

    /// The lines of the item with this name.
    fn item(&self, list: &str, name: &str) -> Option<(usize, usize)> {
        let (start, end, indent) = self.list(list)?;
        let begins: Vec<usize> = (start..end)
            .filter(|at| indentation(self.line(*at)) == indent && self.line(*at).trim_start().starts_with('-'))
            .collect();
        begins.iter().enumerate().find_map(|(number, begin)| {
            let mut stop = begins.get(number + 1).copied().unwrap_or(end);
            while stop > *begin && is_idle(self.line(stop - 1)) {
                stop -= 1;
            }
            let text = self.all.get(*begin..stop)?.join("\n");
            let items: Vec<Value> = serde_yaml::from_str(&text).ok()?;
            (items.len() == 1 && items.first().and_then(name_of) == Some(name)).then_some((*begin, stop))
        })
    }

    fn put(&mut self, list: &str, name: &str, item: &Value) -> Option<()> {
        let written = |indent: usize| -> Option<Vec<String>> {
            let text = serde_yaml::to_string(&vec![item]).ok()?;
            Some(text.lines().map(|line| format!("{}{line}", " ".repeat(indent))).collect())
        };
        if let Some((begin, stop)) = self.item(list, name) {
            let indent = indentation(self.line(begin));
            self.all.splice(begin..stop, written(indent)?);
        } else if let Some((_, end, indent)) = self.list(list) {
            self.all.splice(end..end, written(indent)?);
        } else {
            match self.key(list).map(|(at, rest)| (at, rest.to_owned())) {
                None => self.all.push(format!("{list}:")),
                Some((at, rest)) if ["", "[]", "null", "~"].contains(&rest.as_str()) || rest.starts_with('#') => {
                    let tail = self.all.split_off(at);
                    self.all.push(format!("{list}:"));
                    self.all.extend(written(0)?);
                    self.all.extend(tail.into_iter().skip(1));
                    return Some(());
                }
                Some(_) => return None,
            }
            self.all.extend(written(0)?);
        }
        Some(())
    }

    /// Nothing to take out is no failure.
    fn take_out(&mut self, list: &str, name: &str) -> Option<()> {
        let Some((begin, stop)) = self.item(list, name) else { return Some(()) };
        self.all.drain(begin..stop);
        // a list without items has to say that it is one
        if self.list(list).is_none()
            && let Some((at, _)) = self.key(list)
            && let Some(place) = self.all.get_mut(at)
        {
            *place = format!("{list}: []");
        }
        Some(())
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Nothing but a comment, or nothing at all.
fn is_idle(line: &str) -> bool {
    let text = line.trim();
    text.is_empty() || text.starts_with('#')
}
