//! `up SERVICE...`: these and what they need. And platforms without what is left out.

use std::collections::BTreeSet;

use crate::model::Platform;

/// The named services and all that they depend on. `Err`: the names that no stack has.
pub fn select(platform: &Platform, names: &[String]) -> Result<BTreeSet<String>, Vec<String>> {
    let unknown: Vec<String> = names.iter().filter(|name| platform.service(name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut chosen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some((_, service)) = platform.service(name) else { continue };
        if chosen.insert(name.to_owned()) {
            open.extend(service.depends_on.keys().map(String::as_str));
        }
    }
    Ok(chosen)
}

/// The platform without these services, and without the wish of others for them.
pub fn without(platform: &Platform, names: &BTreeSet<&str>) -> Platform {
    let mut rest = platform.clone();
    for stack in &mut rest.stacks {
        stack.services.retain(|name, _| !names.contains(name.as_str()));
        for service in stack.services.values_mut() {
            service.depends_on.retain(|name, _| !names.contains(name.as_str()));
        }
    }
    rest
}
