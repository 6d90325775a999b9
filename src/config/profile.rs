//! Profiles of the platform, `x-macula.profile`. A service with a Compose profile is there when it is
//! asked for; one with a profile of the platform is there unless others are asked for.

use std::collections::BTreeSet;

use super::check::Loaded;
use crate::config::yaml::{Report, Span, suggestion};
use crate::model::Service;

/// Asked for by name only: it stores whatever is pulled.
const BY_NAME_ONLY: &str = "cache";

/// Whoever asks for a profile that nobody has gets nothing for it, which is never what was meant.
pub(super) fn known(stacks: &[Loaded], asked: &[(String, Span)], report: &mut Report) {
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let mut known: BTreeSet<&str> =
        services.flat_map(|service| service.extension.profiles.iter().map(String::as_str)).collect();
    known.extend(stacks.iter().flat_map(|loaded| loaded.project.profiles.iter().map(String::as_str)));
    for (name, span) in asked.iter().filter(|(name, _)| name != "*" && !known.contains(name.as_str())) {
        report.error_help(
            *span,
            format!("no service has the profile `{name}`"),
            suggestion(name, known.iter().copied()),
        );
    }
}

/// Removes the services that no chosen profile has and no remaining service needs. `given` may name
/// Compose profiles too; when it names none of the platform's, all of them but `cache` are chosen.
pub(super) fn choose(stacks: &mut [Loaded], given: &[String]) {
    let services = || stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let known: BTreeSet<&str> =
        services().flat_map(|service| service.extension.profiles.iter().map(String::as_str)).collect();
    let mut chosen: BTreeSet<&str> = known.iter().copied().filter(|name| given.iter().any(|own| own == name)).collect();
    if given.iter().any(|name| name == "*") {
        chosen = known;
    } else if chosen.is_empty() {
        chosen = known.into_iter().filter(|name| *name != BY_NAME_ONLY).collect();
    }
    let active = |service: &Service| {
        let profiles = &service.extension.profiles;
        profiles.is_empty() || profiles.iter().any(|name| chosen.contains(name.as_str()))
    };

    let mut kept: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<&Service> = services().filter(|service| active(service)).collect();
    while let Some(service) = open.pop() {
        if !kept.insert(service.name.clone()) {
            continue;
        }
        let needed = |name: &str| service.depends_on.get(name).is_some_and(|dependency| dependency.required);
        open.extend(services().filter(|other| needed(&other.name)));
    }
    for loaded in stacks {
        let inactive: Vec<String> =
            loaded.stack.services.keys().filter(|name| !kept.contains(*name)).cloned().collect();
        loaded.stack.services.retain(|name, _| kept.contains(name));
        loaded.project.inactive.extend(inactive);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{MemoryFiles, Request, load_with};

    const STACK: &str = "
services:
  ingress: {image: nginx}
  s3: {image: s3, x-macula: {profile: core}}
  registry: {image: registry, x-macula: {profile: core}}
  loki: {image: loki, depends_on: [s3], x-macula: {profile: [observability, observability-no-socket]}}
  logs: {image: logs, depends_on: {loki: {condition: service_started, required: false}}, x-macula: {profile: observability}}
  proxy: {image: proxy, x-macula: {profile: cache}}
  debug: {image: debug, profiles: [dev]}
";

    fn services(profiles: &[&str]) -> String {
        let request = Request {
            cwd: "/".into(),
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
            ..Request::default()
        };
        let loaded = load_with(&request, &MemoryFiles::default(), &[("all.yaml", STACK)]).expect("valid");
        let names: Vec<_> = loaded.platform.services().map(|(_, service)| service.name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn without_a_choice_all_but_the_cache() {
        insta::assert_snapshot!(services(&[]), @"ingress logs loki registry s3");
    }

    #[test]
    fn a_chosen_profile_brings_what_it_needs() {
        insta::assert_snapshot!(services(&["observability-no-socket"]), @"ingress loki s3");
        insta::assert_snapshot!(services(&["core", "cache"]), @"ingress proxy registry s3");
    }

    #[test]
    fn a_profile_that_nobody_has_is_refused() {
        let wrong = |request: Request, yaml: &str| {
            let files = MemoryFiles::default().with("/macula.yaml", yaml);
            load_with(&Request { cwd: "/".into(), ..request }, &files, &[("all.yaml", STACK)]).unwrap_err().to_string()
        };
        let asked = Request { profiles: vec!["caceh".into(), "debug".into()], ..Request::default() };
        insta::assert_snapshot!(wrong(asked, "profiles: [core, dve]"), @"
        macula.yaml:1:18: no service has the profile `dve`
            did you mean `dev`?
        --profile: no service has the profile `caceh`
            did you mean `cache`?
        --profile: no service has the profile `debug`
            known here: `cache`, `core`, `dev`, `observability` and `observability-no-socket`
        ");
    }

    #[test]
    fn a_profile_of_compose_takes_nothing_away() {
        insta::assert_snapshot!(services(&["dev"]), @"debug ingress logs loki registry s3");
        insta::assert_snapshot!(services(&["*"]), @"debug ingress logs loki proxy registry s3");
    }
}
