//! `extends`: a service takes over what another one says, from this file or another one.

use std::path::{Path, PathBuf};

use super::interpolate::{Variables, interpolate_tree};
use super::{Loader, merge, schema};
use crate::config::files::join;
use crate::config::yaml::{Entry, Kind, Map, Node, Shaper, Span, Value, shape, suggestion};

/// Marks a service whose base was not found, so that nobody looks for what it would have had.
fn leave_extends(service: &mut Node, span: Span) {
    if let Some(map) = service.as_map_mut() {
        map.insert("extends".to_owned(), Entry { key: span, node: Node::new(Value::Null, span) });
    }
}

/// Where a service is looked for: a file, its services, and the folder its paths count from.
struct Place<'a> {
    path: &'a Path,
    folder: &'a Path,
    services: &'a Map,
    /// Services of another file are shaped when they are needed.
    raw: bool,
}

impl Loader<'_, '_> {
    /// Carries out every `extends` of a file.
    pub(super) fn extend_services(&mut self, root: &mut Node, path: &Path, folder: &Path, variables: &Variables) {
        let Some(services) = root.get("services").and_then(Node::as_map).cloned() else { return };
        if !services.values().any(|entry| entry.node.get("extends").is_some()) {
            return;
        }
        let place = Place { path, folder, services: &services, raw: false };
        let mut extended = Vec::new();
        for (name, entry) in &services {
            if entry.node.get("extends").is_some() {
                let node = self.extend(entry.node.clone(), name, &place, variables, &mut Vec::new());
                extended.push((name.clone(), node));
            }
        }
        let Some(services) =
            root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(|entry| entry.node.as_map_mut())
        else {
            return;
        };
        for (name, node) in extended {
            if let Some(entry) = services.get_mut(&name) {
                entry.node = node;
            }
        }
    }

    /// The service with what it extends below it, and without its `extends`.
    fn extend(
        &mut self,
        mut service: Node,
        name: &str,
        place: &Place<'_>,
        variables: &Variables,
        chain: &mut Vec<(PathBuf, String, Span)>,
    ) -> Node {
        let Some(extends) = service.as_map_mut().and_then(|map| map.shift_remove("extends")) else { return service };
        if matches!(extends.node.value, Value::Reset) {
            return service;
        }
        let span = extends.node.span;
        let Some(base_name) = extends.node.get_text("service").map(str::to_owned) else {
            leave_extends(&mut service, span);
            return service;
        };
        let here = (place.path.to_owned(), name.to_owned(), span);
        if let Some(start) = chain.iter().position(|(path, service, _)| *path == here.0 && *service == here.1) {
            // told from its first line on, so that it is told once, wherever it is entered
            let mut circle: Vec<(Span, &str)> =
                chain.iter().skip(start).map(|(_, service, span)| (*span, service.as_str())).collect();
            let first =
                (0..circle.len()).min_by_key(|at| circle.get(*at).map(|(span, _)| (span.file, span.line, span.column)));
            circle.rotate_left(first.unwrap_or(0));
            circle.extend(circle.first().copied());
            let names: Vec<&str> = circle.iter().map(|(_, name)| *name).collect();
            self.report.error_help(
                circle.first().map_or(span, |(span, _)| *span),
                format!("services extend each other in a circle: {}", names.join(" -> ")),
                "take one `extends` away",
            );
            leave_extends(&mut service, span);
            return service;
        }
        chain.push(here);
        let base = match extends.node.get_text("file").map(str::to_owned) {
            None => self.base_service(&base_name, place, span, variables, chain),
            Some(file) => self.base_from_file(&file, &base_name, place, span, variables, chain),
        };
        chain.pop();
        match base {
            Some(base) => merge::merge_services(base, service),
            None => {
                leave_extends(&mut service, span);
                service
            }
        }
    }

    fn base_service(
        &mut self,
        base_name: &str,
        place: &Place<'_>,
        span: Span,
        variables: &Variables,
        chain: &mut Vec<(PathBuf, String, Span)>,
    ) -> Option<Node> {
        let Some(entry) = place.services.get(base_name) else {
            let known: Vec<&str> = place.services.keys().map(String::as_str).collect();
            let file = self.report.file(place.path);
            let place = self.report.place(Span::whole(file));
            self.report.error_help(
                span,
                format!("there is no service `{base_name}` to extend in {place}"),
                suggestion(base_name, known),
            );
            return None;
        };
        let mut base = entry.node.clone();
        if place.raw {
            interpolate_tree(&mut base, variables, self.report);
            let mut shaper = Shaper::new(self.report, place.folder, self.home.as_deref());
            base = shaper.within("services", |shaper| {
                shaper.within(base_name, |shaper| shape(&Kind::Object(&schema::SERVICE), base, shaper))
            })?;
        }
        Some(self.extend(base, base_name, place, variables, chain))
    }

    fn base_from_file(
        &mut self,
        file: &str,
        base_name: &str,
        place: &Place<'_>,
        span: Span,
        variables: &Variables,
        chain: &mut Vec<(PathBuf, String, Span)>,
    ) -> Option<Node> {
        let path = join(place.folder, Path::new(file));
        let root = self.parse(&path, None, span)?;
        let folder = path.parent().unwrap_or(place.folder).to_owned();
        let empty = Map::new();
        let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
        let place = Place { path: &path, folder: &folder, services, raw: true };
        self.base_service(base_name, &place, span, variables, chain)
    }
}
