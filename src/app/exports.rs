//! The settings that services export to programs outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::{CompileError, Site, export_context, for_service};
use crate::model::{Platform, ServerNeed};
use crate::render;

/// Every export of these services, or all that is wrong with them. None of them: of all services, and then without the
/// short names of what several stacks need: `DB_URL` would be that of one of them.
pub(super) fn render_exports(
    platform: &Platform,
    site: &Site<'_>,
    only: &[String],
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    let context = export_context(platform, site);
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
        let own = for_service(&context, stack, service);
        let exports = service.extension.exports.iter();
        for (variable, template) in exports.filter(|(variable, _)| !only.is_empty() || !ambiguous.contains(*variable)) {
            match render::render(variable, template, &own) {
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

/// Variables of needs that mean one thing in one stack and another in the next.
fn ambiguous(platform: &Platform) -> BTreeSet<String> {
    let mut stacks: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (stack, service) in platform.services() {
        for (key, server) in &service.extension.needs {
            let variable = ServerNeed::new(&stack.name, key, *server).url();
            stacks.entry(variable).or_default().insert(&stack.name);
        }
    }
    stacks.into_iter().filter(|(_, stacks)| stacks.len() > 1).map(|(variable, _)| variable).collect()
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
        assert_eq!(ambiguous(&loaded.platform), BTreeSet::from(["DB_URL".to_owned()]));
    }
}
