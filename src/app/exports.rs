//! The settings that services export to programs outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::{CompileError, Site, TemplateContext};
use crate::model::Platform;

/// Every export of these services but for these names (see [`unclear`]), or all that is wrong with them. No service: of
/// all.
pub(super) fn render_exports(
    platform: &Platform,
    site: &Site<'_>,
    only: &[String],
    without: &BTreeSet<&str>,
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    render_exports_with(platform, &TemplateContext::new(platform, site), only, without)
}

/// The same with the context of the platform's templates.
pub(super) fn render_exports_with(
    platform: &Platform,
    context: &TemplateContext,
    only: &[String],
    without: &BTreeSet<&str>,
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    let mut all = BTreeMap::new();
    let mut errors = Vec::new();
    for (stack, service) in platform.services() {
        if !only.is_empty() && !only.contains(&service.name) {
            continue;
        }
        if service.extension.exports.is_empty() {
            continue;
        }
        let own = context.of_service(stack, service);
        let exports = service.extension.exports.iter();
        for (variable, template) in exports.filter(|(variable, _)| !without.contains(variable.as_str())) {
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

/// The names that are left out where no service is named: `DATABASE_URL` would be that of one of them.
pub(super) fn unclear<'a>(platform: &'a Platform, only: &[String]) -> BTreeSet<&'a str> {
    if only.is_empty() { ambiguous(platform) } else { BTreeSet::new() }
}

/// Variables of needs and databases that mean one thing for one service and another for the next, and what belongs to
/// them: a host without its user would lead to a server with whoever asks.
fn ambiguous(platform: &Platform) -> BTreeSet<&str> {
    let mut meanings: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let applications = || {
        let all = platform.services().map(|(_, service)| service);
        all.filter(|service| !service.extension.needs.is_empty() || !service.extension.databases.is_empty())
    };
    for (variable, template) in applications().flat_map(|service| &service.extension.exports) {
        meanings.entry(variable).or_default().insert(template);
    }
    // what the file gives one of them in place of ours means something else, too
    for service in applications() {
        let own = service.environment.iter().filter(|(name, _)| !service.extension.exports.contains_key(*name));
        for (variable, value) in own {
            if let Some(known) = meanings.get_mut(variable.as_str()) {
                known.insert(value);
            }
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
        let several = ["DB_DATABASE", "DB_HOST", "DB_PASSWORD", "DB_PORT", "DB_URL", "DB_USER"];
        assert_eq!(ambiguous(&loaded.platform).into_iter().collect::<Vec<_>>(), several);
        assert_eq!((family("STATS_PGHOST"), family("DATABASE_URL")), (("STATS_", true), ("", true)));
        assert_eq!((family("CACHE_VHOST"), family("LEVEL")), (("CACHE", false), ("LEVEL", false)));
        // whoever names a service has all of its own
        let all: Vec<&str> = unclear(&loaded.platform, &[]).into_iter().collect();
        assert_eq!(all, several);
        assert!(unclear(&loaded.platform, &["web".to_owned()]).is_empty());
    }

    #[test]
    fn what_the_file_sets_itself_is_another_meaning() {
        let stack = "services:
  web: {image: web, environment: {PGUSER: app}, x-macula: {needs: {db: postgres}}}
  worker: {image: web, environment: {PGUSER: mine, LEVEL: x}, x-macula: {needs: {db: postgres, jobs: postgres}}}
";
        let loaded = |stack: &str| {
            let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
            let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
            load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let both = loaded(stack);
        let left_out: Vec<&str> = ambiguous(&both.platform).into_iter().collect();
        // the whole family: a user without its password is of no use
        assert_eq!(left_out, ["DATABASE_URL", "PGDATABASE", "PGHOST", "PGPASSWORD", "PGPORT", "PGUSER"]);
        // and whoever names the service has the user that its container has
        let (_, web) = both.platform.service("web").unwrap();
        assert_eq!(web.extension.exports["PGUSER"], "app");
        let same = loaded(&stack.replace("PGUSER: mine", "PGUSER: app"));
        assert_eq!(ambiguous(&same.platform), BTreeSet::new());
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
