//! A stack together with the project that it was made of.

use super::compose::Project;
use super::yaml::{Entry, Node, Span};
use crate::model::Stack;

/// A stack and the project that it was made from, whose places are shown in errors.
pub(super) struct Loaded {
    pub(super) project: Project,
    pub(super) stack: Stack,
    /// Ours, or a file that stands in for one of ours.
    pub(super) built_in: bool,
}

impl Loaded {
    pub(super) fn entry(&self, service: &str) -> Option<&Entry> {
        let found = self.stack.services.get(service);
        let services = self.project.root.get("services")?.as_map()?;
        if let Some(task) = found.and_then(|found| found.extension.task.as_ref()) {
            let own = services.get(&task.service)?.node.get("x-macula")?.get("tasks")?;
            return own.as_map()?.get(&task.name);
        }
        services.get(found.and_then(|found| found.short.as_deref()).unwrap_or(service))
    }

    /// Where a service stands.
    pub(super) fn at(&self, service: &str) -> Span {
        self.entry(service).map(|entry| entry.key).unwrap_or_default()
    }

    /// Where a key of a service stands, or else the service.
    pub(super) fn at_key(&self, service: &str, path: &[&str]) -> Span {
        let mut span = self.at(service);
        let mut node = self.entry(service).map(|entry| &entry.node);
        for key in path {
            let Some(entry) = node.and_then(Node::as_map).and_then(|map| map.get(*key)) else { break };
            span = entry.key;
            node = Some(&entry.node);
        }
        span
    }

    pub(super) fn has_key(&self, service: &str, key: &str) -> bool {
        self.entry(service).and_then(|entry| entry.node.as_map()).is_some_and(|map| map.contains_key(key))
    }
}
