//! The settings that services export to programs outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::{CompileError, Site, TemplateContext};
use crate::model::Platform;

/// Every export of these services, or all that is wrong with them. None of them: of all services, and then without the
/// names that mean one thing for one service and another for the next: `DATABASE_URL` would be that of one of them.
pub(super) fn render_exports(
    platform: &Platform,
    site: &Site<'_>,
    only: &[String],
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    render_exports_with(platform, &TemplateContext::new(platform, site), only)
}

/// The same with the context of the platform's templates.
pub(super) fn render_exports_with(
    platform: &Platform,
    context: &TemplateContext,
    only: &[String],
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    let mut all = BTreeMap::new();
    let mut errors = Vec::new();
    let ambiguous = ambiguous(platform);
    for (stack, service) in platform.services() {
        if !only.is_empty() && !only.contains(&service.name) {
            continue;
        }
        if service.extension.exports.is_empty() {
            continue;
        }
        let own = context.of_service(stack, service);
        let exports = service.extension.exports.iter();
        for (variable, template) in
            exports.filter(|(variable, _)| !only.is_empty() || !ambiguous.contains(variable.as_str()))
        {
            match own.render(variable, template) {
                Ok(value) => {
                    all.insert(variable.clone(), value);
                }
                Err(error) => errors.push(CompileError::Template {
                    service: service.name.clone(),
                    path: format!("x-macula.exports.{variable}"),
                    source: error.inside(variable).into(),
                }),
            }
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

/// Variables of needs and databases that mean one thing for one service and another for the next, and what belongs to
/// them: a host without its user would lead to a server with whoever asks.
pub(super) fn ambiguous(platform: &Platform) -> BTreeSet<&str> {
    let mut meanings: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, service) in platform.services() {
        let extension = &service.extension;
        if extension.needs.is_empty() && extension.databases.is_empty() {
            continue;
        }
        for (variable, template) in &extension.exports {
            meanings.entry(variable).or_default().insert(template);
        }
    }
    let unclear = meanings.into_iter().filter(|(_, meanings)| meanings.len() > 1).map(|(variable, _)| variable);
    let families: BTreeSet<(&str, bool)> = unclear.map(family).collect();
    let all = platform.services().flat_map(|(_, service)| service.extension.exports.keys());
    all.map(String::as_str).filter(|variable| families.contains(&family(variable))).collect()
}

/// What a variable is a part of: a database (`PGHOST`, `STATS_DATABASE_URL`) or a need (`CACHE_URL`, `CACHE_HOST`).
fn family(variable: &str) -> (&str, bool) {
    const DATABASE: [&str; 6] = ["DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"];
    const NEED: [&str; 7] = ["_URL", "_HOST", "_PORT", "_USER", "_PASSWORD", "_DATABASE", "_VHOST"];
    let without = |ends: &[&str]| ends.iter().find_map(|end| variable.strip_suffix(end));
    match without(&DATABASE) {
        Some(prefix) => (prefix, true),
        None => (without(&NEED).unwrap_or(variable), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};

    #[test]
    fn short_names_that_several_stacks_have_are_those_of_none() {
        let stack = |needs: &str| format!("services: {{SERVICE: {{image: web, x-macula: {{needs: {needs}}}}}}}");
        let files = MemoryFiles::default()
            .with("/shop/compose.yaml", stack("{db: postgres, cache: valkey}").replace("SERVICE", "web"))
            .with("/blog/compose.yaml", stack("{db: mariadb}").replace("SERVICE", "page"));
        let stacks = ["/shop/compose.yaml", "/blog/compose.yaml"].map(Into::into).into();
        let request = Request { cwd: "/".into(), stacks, ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let unclear = ["DB_DATABASE", "DB_HOST", "DB_PASSWORD", "DB_PORT", "DB_URL", "DB_USER"];
        assert_eq!(ambiguous(&loaded.platform).into_iter().collect::<Vec<_>>(), unclear);
        assert_eq!((family("STATS_PGHOST"), family("DATABASE_URL")), (("STATS_", true), ("", true)));
    }

    #[test]
    fn two_services_of_one_stack_with_the_same_need_mean_the_same() {
        let stack = "services: {web: {image: web, x-macula: {needs: {cache: valkey}}}, jobs: {image: web, x-macula: {needs: {cache: valkey}}}, \
                     other: {image: web, x-macula: {needs: {sessions: valkey}}}}";
        let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
        let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(ambiguous(&loaded.platform), BTreeSet::from(["REDIS_URL"]));
    }
}
