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

/// Variables of needs and databases that mean one thing for one service and another for the next.
fn ambiguous(platform: &Platform) -> BTreeSet<&str> {
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
    meanings.into_iter().filter(|(_, meanings)| meanings.len() > 1).map(|(variable, _)| variable).collect()
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
        assert_eq!(ambiguous(&loaded.platform), BTreeSet::from(["DB_URL"]));
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
