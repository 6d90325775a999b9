//! `extends`: a service takes over what another one says, from this file or another one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
#[derive(Clone)]
struct Place {
    path: PathBuf,
    folder: PathBuf,
    root: Rc<Node>,
    /// Services of another file are shaped when they are needed.
    raw: bool,
}

impl Place {
    fn services(&self) -> Option<&Map> {
        self.root.get("services").and_then(Node::as_map)
    }
}

/// A service on the way down to the one that extends nothing.
struct Link {
    path: PathBuf,
    name: String,
    /// Where its `extends` is.
    span: Span,
    service: Node,
}

/// What is needed again by other services of the same file.
#[derive(Default)]
struct Known {
    files: HashMap<PathBuf, Option<Rc<Node>>>,
    /// Services with what they extend, by file and name.
    done: HashMap<(PathBuf, String), Node>,
}

impl Loader<'_, '_> {
    /// Carries out every `extends` of a file.
    pub(super) fn extend_services(&mut self, root: &mut Node, path: &Path, folder: &Path, variables: &Variables) {
        let extends = |services: &Map| services.values().any(|entry| entry.node.get("extends").is_some());
        if !root.get("services").and_then(Node::as_map).is_some_and(extends) {
            return;
        }
        let place = Place { path: path.to_owned(), folder: folder.to_owned(), root: Rc::new(root.clone()), raw: false };
        let mut known = Known::default();
        let Some(services) =
            root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(|entry| entry.node.as_map_mut())
        else {
            return;
        };
        for (name, entry) in services.iter_mut().filter(|(_, entry)| entry.node.get("extends").is_some()) {
            entry.node = self.extend(std::mem::take(&mut entry.node), name, &place, variables, &mut known);
        }
    }

    /// The service with what it extends below it, and without its `extends`. Without recursion, and each
    /// service once, since chains may be long.
    fn extend(&mut self, service: Node, name: &str, place: &Place, variables: &Variables, known: &mut Known) -> Node {
        let mut place = place.clone();
        let mut chain: Vec<Link> = Vec::new();
        let (mut service, mut name) = (service, name.to_owned());
        let mut base = loop {
            let here = (place.path.clone(), name.clone());
            if let Some(done) = known.done.get(&here) {
                break done.clone();
            }
            let extends = match service.as_map_mut().and_then(|map| map.shift_remove("extends")) {
                Some(extends) if !matches!(extends.node.value, Value::Reset) => extends.node,
                _ => break service,
            };
            let span = extends.span;
            if let Some(start) = chain.iter().position(|link| link.path == here.0 && link.name == here.1) {
                self.circle(chain.get(start..).unwrap_or_default());
                leave_extends(&mut service, span);
                break service;
            }
            let next = extends.get_text("service").map(str::to_owned).and_then(|base| {
                let place = match extends.get_text("file") {
                    None => Some(place.clone()),
                    Some(file) => self.place_of(file, &place, span, known),
                }?;
                Some((self.base_service(&base, &place, span, variables)?, base, place))
            });
            let Some((below, below_name, below_place)) = next else {
                leave_extends(&mut service, span);
                break service;
            };
            chain.push(Link { path: here.0, name: here.1, span, service });
            (service, name, place) = (below, below_name, below_place);
        };
        while let Some(link) = chain.pop() {
            base = merge::merge_services(base, link.service);
            known.done.insert((link.path, link.name), base.clone());
        }
        base
    }

    /// Reported at the first line of the circle, so that it is reported once wherever it is entered.
    fn circle(&mut self, links: &[Link]) {
        let mut circle: Vec<(Span, &str)> = links.iter().map(|link| (link.span, link.name.as_str())).collect();
        let first =
            (0..circle.len()).min_by_key(|at| circle.get(*at).map(|(span, _)| (span.file, span.line, span.column)));
        circle.rotate_left(first.unwrap_or(0));
        circle.extend(circle.first().copied());
        let names: Vec<&str> = circle.iter().map(|(_, name)| *name).collect();
        self.report.error_help(
            circle.first().map(|(span, _)| *span).unwrap_or_default(),
            format!("services extend each other in a circle: {}", names.join(" -> ")),
            "remove one `extends`",
        );
    }

    /// The service that is extended, as it is in its file.
    fn base_service(&mut self, name: &str, place: &Place, span: Span, variables: &Variables) -> Option<Node> {
        let Some(entry) = place.services().and_then(|services| services.get(name)) else {
            let known: Vec<&str> = place.services().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let file = self.report.file(&place.path);
            let place = self.report.place(Span::whole(file));
            self.report.error_help(
                span,
                format!("there is no service `{name}` to extend in {place}"),
                suggestion(name, known),
            );
            return None;
        };
        let mut base = entry.node.clone();
        if place.raw {
            interpolate_tree(&mut base, variables, self.report);
            let mut shaper = Shaper::new(self.report, &place.folder, self.home.as_deref());
            base = shaper.within("services", |shaper| {
                shaper.within(name, |shaper| shape(&Kind::Object(&schema::SERVICE), base, shaper))
            })?;
            self.count_from_project(&mut base, &place.folder);
        }
        Some(base)
    }

    fn place_of(&mut self, file: &str, from: &Place, span: Span, known: &mut Known) -> Option<Place> {
        let path = join(&from.folder, Path::new(file));
        let root = match known.files.get(&path) {
            Some(root) => root.clone(),
            None => {
                let root = self.parse(&path, None, span).into_iter().next().map(Rc::new);
                known.files.insert(path.clone(), root.clone());
                root
            }
        }?;
        let folder = path.parent().unwrap_or(&from.folder).to_owned();
        Some(Place { path, folder, root, raw: true })
    }
}
