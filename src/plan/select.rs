//! `up SERVICE...`: these and what they need. And platforms without what is left out.

use std::collections::BTreeSet;

use crate::model::Platform;

/// The named services, and tasks of this machine, and all that they depend on. `Err`: the names that nobody has.
pub fn select(platform: &Platform, names: &[String]) -> Result<BTreeSet<String>, Vec<String>> {
    let known = |name: &String| platform.service(name).is_some() || platform.tasks.contains_key(name);
    let unknown: Vec<String> = names.iter().filter(|name| !known(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut chosen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = names.to_vec();
    while let Some(name) = open.pop() {
        let service = platform.service(&name).map(|(_, service)| service);
        let task = platform.tasks.get(&name);
        if (service.is_none() && task.is_none()) || !chosen.insert(name.clone()) {
            continue;
        }
        open.extend(service.into_iter().flat_map(|service| service.depends_on.keys().cloned()));
        open.extend(platform.tasks_before(&name).map(|task| task.name.clone()));
        open.extend(task.into_iter().flat_map(|task| platform.awaited(task)));
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
    for task in rest.tasks.values_mut() {
        task.before.retain(|name| !names.contains(name.as_str()));
    }
    rest
}
