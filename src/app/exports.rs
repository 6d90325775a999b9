//! The settings that services export to programs outside.

use std::collections::BTreeMap;

use crate::compile::{CompileError, Site, export_context, for_service};
use crate::model::Platform;
use crate::render;

/// Every export, or all that is wrong with them.
pub(super) fn render_exports(
    platform: &Platform,
    site: &Site<'_>,
) -> Result<BTreeMap<String, String>, Vec<CompileError>> {
    let context = export_context(platform, site);
    let mut all = BTreeMap::new();
    let mut errors = Vec::new();
    for (stack, service) in platform.services() {
        if service.extension.exports.is_empty() {
            continue;
        }
        let own = for_service(&context, stack, service);
        for (variable, template) in &service.extension.exports {
            match render::render(variable, template, &own) {
                Ok(value) => {
                    all.insert(variable.clone(), value);
                }
                Err(error) => errors.push(CompileError::Template {
                    service: service.name.clone(),
                    path: format!("x-macula.exports.{variable}"),
                    message: error.inside(variable),
                }),
            }
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}
