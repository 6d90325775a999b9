//! The catalogue: built-in stacks that are there only where macula.yaml's `add` or a service's
//! `x-macula.needs` asks for them.

use std::collections::BTreeMap;

use super::loaded::Loaded;
use super::macula::file::Settings;
use super::yaml::{Report, Span, suggestion};
use crate::model::Server;
use crate::render;

/// The stacks that are asked for and where; what there is none of is an error.
pub(super) fn wanted(
    settings: &Settings,
    stacks: &[Loaded],
    report: &mut Report,
) -> BTreeMap<&'static str, &'static str> {
    let catalog: BTreeMap<&str, (&'static str, &'static str)> = render::catalog()
        .into_iter()
        .filter_map(|(file, text)| Some((file.strip_suffix(".yaml")?, (file, text))))
        .collect();
    let mut out = BTreeMap::new();
    for (name, span) in &settings.add {
        match catalog.get(name.as_str()) {
            Some((file, text)) => {
                out.insert(*file, *text);
            }
            None => unknown(name, *span, catalog.keys().copied(), report),
        }
    }
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let needs = services.flat_map(|service| service.extension.needs.values());
    for server in needs.copied().filter(|server| *server != Server::Postgres) {
        if let Some((file, text)) = catalog.get(server.name()) {
            out.insert(*file, *text);
        }
    }
    out
}

/// The names of the catalogue's stacks, and what each is: the first sentence of its file.
pub fn catalog() -> Vec<(String, String)> {
    let about = |text: &str| {
        let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let comment = comment.join(" ");
        let end = comment.find(". ").unwrap_or(comment.len());
        comment[..end].trim_end_matches('.').to_owned()
    };
    let named = |(file, text): (&str, &str)| Some((file.strip_suffix(".yaml")?.to_owned(), about(text)));
    render::catalog().into_iter().filter_map(named).collect()
}

fn unknown<'a>(name: &str, span: Span, known: impl Iterator<Item = &'a str> + Clone, report: &mut Report) {
    report.error_help(span, format!("add: the catalog has no stack `{name}`"), suggestion(name, known));
}
