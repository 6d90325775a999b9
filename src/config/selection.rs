//! Which services take part: the one place that takes any out. A service with a Compose profile is
//! there when it is asked for; one with a profile of the platform (`x-macula.profile`) is there unless
//! others are asked for; macula.yaml leaves out whole built-in stacks and single services.

use std::collections::{BTreeMap, BTreeSet};

use super::loaded::Loaded;
use super::macula::file::{ServiceChange, Settings};
use crate::config::yaml::{Report, Span, suggestion};
use crate::model::{Service, TelemetryMode};

/// Asked for by name only: it stores whatever is pulled.
const BY_NAME_ONLY: &str = "cache";
/// Of services that come with those that need them, and go with them.
pub(super) const ALONG: &str = "needed";

/// Profiles that were asked for, with the places where.
pub(super) type Asked = [(String, Span)];

/// What does not take part, and why.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// What macula.yaml switches off.
    pub(super) off: Vec<Off>,
    /// Services whose profile is not active.
    inactive: BTreeSet<String>,
}

/// What macula.yaml switches off.
#[derive(Debug)]
pub(super) struct Off {
    /// `services.postgres`
    pub(super) key: String,
    pub(super) span: Span,
    /// Those of the switch that no other stack has under the same name.
    pub(super) services: Vec<String>,
}

impl Selection {
    /// Takes out of the stacks whatever does not take part. `kept`: asked for by the last `up`.
    pub(super) fn choose(
        stacks: &mut [Loaded],
        settings: &Settings,
        asked: &Asked,
        kept: &Asked,
        report: &mut Report,
    ) -> Self {
        known(stacks, asked, kept, report);
        let asked = &[asked, kept].concat();
        let mut inactive: BTreeSet<String> =
            stacks.iter().flat_map(|loaded| loaded.project.inactive.keys().cloned()).collect();
        inactive.extend(by_profile(stacks, asked));
        let mut off = built_in_off(&settings.built_in, stacks, report);
        off.extend(services_off(&settings.services, stacks));
        off.extend(telemetry_off(settings, stacks));
        inactive.extend(not_needed(stacks));
        // a name that another stack uses is not missing
        let remaining: BTreeSet<&str> =
            stacks.iter().flat_map(|loaded| loaded.stack.services.keys().map(String::as_str)).collect();
        inactive.retain(|name| !remaining.contains(name.as_str()));
        for off in &mut off {
            off.services.retain(|name| !remaining.contains(name.as_str()));
        }
        Self { off, inactive }
    }

    /// Is there such a service, only that its profile is not active?
    pub(super) fn is_inactive(&self, service: &str) -> bool {
        self.inactive.contains(service)
    }

    /// Has macula.yaml switched it off?
    pub(super) fn is_off(&self, service: &str) -> bool {
        self.off.iter().any(|off| off.services.iter().any(|name| name == service))
    }
}

/// Whoever asks for a profile that nobody has gets nothing for it, which is never what was meant. One that was kept, and
/// that the files do not have now, is only worth a word: nobody has asked for it.
fn known(stacks: &[Loaded], asked: &Asked, kept: &Asked, report: &mut Report) {
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let mut known: BTreeSet<&str> =
        services.flat_map(|service| service.extension.profiles.iter().map(String::as_str)).collect();
    known.extend(stacks.iter().flat_map(|loaded| loaded.project.profiles.iter().map(String::as_str)));
    let is_unknown = |(name, _): &&(String, Span)| name != "*" && !known.contains(name.as_str());
    for (name, span) in kept.iter().filter(is_unknown) {
        report.warn(
            *span,
            format!("the last `up` had the profile `{name}`, which no service has now"),
            "`macula up --reset` forgets it",
        );
    }
    for (name, span) in asked.iter().filter(is_unknown) {
        report.error_help(
            *span,
            format!("no service has the profile `{name}`"),
            suggestion(name, known.iter().copied().filter(|profile| *profile != ALONG)),
        );
    }
}

/// Removes the services that no chosen profile has and no remaining service needs. `asked` may name
/// Compose profiles too; when it names none of the platform's, all of them but `cache` are chosen.
fn by_profile(stacks: &mut [Loaded], asked: &Asked) -> Vec<String> {
    let services =
        || stacks.iter().enumerate().flat_map(|(at, loaded)| loaded.stack.services.values().map(move |one| (at, one)));
    let known: BTreeSet<&str> =
        services().flat_map(|(_, service)| service.extension.profiles.iter().map(String::as_str)).collect();
    let mut chosen: BTreeSet<&str> =
        known.iter().copied().filter(|name| asked.iter().any(|(own, _)| own == name)).collect();
    if asked.iter().any(|(name, _)| name == "*") {
        chosen = known;
    } else if chosen.is_empty() {
        chosen = known.into_iter().filter(|name| *name != BY_NAME_ONLY).collect();
    }
    let active = |service: &Service| {
        let profiles = &service.extension.profiles;
        profiles.is_empty() || profiles.iter().any(|name| chosen.contains(name.as_str()))
    };

    let mut kept: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut open: Vec<(usize, &Service)> = services().filter(|(_, service)| active(service)).collect();
    while let Some((at, service)) = open.pop() {
        if !kept.insert((at, service.name.clone())) {
            continue;
        }
        for (name, _) in service.depends_on.iter().filter(|(_, dependency)| dependency.required) {
            let named = || services().filter(|(_, other)| other.name == *name);
            // what an active service is called need not be looked for elsewhere
            if !named().any(|(_, other)| active(other)) {
                open.extend(named());
            }
        }
    }
    let mut gone = Vec::new();
    for (at, loaded) in stacks.iter_mut().enumerate() {
        loaded.stack.services.retain(|name, _| {
            let keep = kept.contains(&(at, name.clone()));
            if !keep {
                gone.push(name.clone());
            }
            keep
        });
    }
    gone
}

/// Removes what is there for others only and has none left.
fn not_needed(stacks: &mut [Loaded]) -> Vec<String> {
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let needed: BTreeSet<String> = services.flat_map(|service| service.depends_on.keys().cloned()).collect();
    let mut gone = Vec::new();
    for loaded in stacks.iter_mut() {
        loaded.stack.services.retain(|name, service| {
            let keep = service.extension.profiles != [ALONG] || needed.contains(name);
            if !keep {
                gone.push(name.clone());
            }
            keep
        });
    }
    gone
}

/// `built_in` of macula.yaml: takes whole stacks away.
fn built_in_off(wanted: &[(String, bool, Span)], stacks: &mut [Loaded], report: &mut Report) -> Vec<Off> {
    let mut off = Vec::new();
    for (name, there, span) in wanted {
        // one of the user's own that stands in for it goes by the same name
        let own = stacks.iter_mut().find(|loaded| loaded.built_in && loaded.stack.name == *name);
        match own {
            Some(loaded) if !there => {
                let services = std::mem::take(&mut loaded.stack.services).into_keys().collect();
                off.push(Off { key: format!("built_in.{name}"), span: *span, services });
            }
            Some(_) => {}
            None => {
                let known: Vec<&str> =
                    stacks.iter().filter(|loaded| loaded.built_in).map(|loaded| loaded.stack.name.as_str()).collect();
                report.error_help(*span, format!("built_in: there is no stack `{name}`"), suggestion(name, known));
            }
        }
    }
    off
}

/// What the background process takes the place of.
const TAKERS: [&str; 4] = ["alloy", "alloy-docker", "loki", "tempo"];

/// `telemetry: embedded` of macula.yaml.
fn telemetry_off(settings: &Settings, stacks: &mut [Loaded]) -> Vec<Off> {
    if settings.telemetry.mode != TelemetryMode::Embedded {
        return Vec::new();
    }
    let mut services = Vec::new();
    for loaded in stacks.iter_mut().filter(|loaded| loaded.built_in) {
        services.extend(TAKERS.iter().filter_map(|name| Some(loaded.stack.services.remove_entry(*name)?.0)));
    }
    vec![Off { key: "telemetry".to_owned(), span: settings.telemetry_span, services }]
}

/// `services.NAME.enabled: false` of macula.yaml.
fn services_off(changes: &BTreeMap<String, ServiceChange>, stacks: &mut [Loaded]) -> Vec<Off> {
    let mut off = Vec::new();
    for (name, change) in changes.iter().filter(|(_, change)| change.disabled) {
        if stacks.iter_mut().any(|loaded| loaded.stack.services.remove(name).is_some()) {
            off.push(Off { key: format!("services.{name}"), span: change.span, services: vec![name.clone()] });
        }
    }
    off
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
    fn a_profile_of_the_last_up_that_is_gone_is_only_worth_a_word() {
        let of = |kept: &[&str]| {
            let profiles: Vec<String> = ["gone", "core"].map(str::to_owned).into();
            let kept_profiles = kept.iter().map(|name| (*name).to_owned()).collect();
            let request = Request { cwd: "/".into(), profiles, kept_profiles, ..Request::default() };
            load_with(&request, &MemoryFiles::default(), &[("all.yaml", STACK)])
        };
        let loaded = of(&["gone", "core"]).expect("valid");
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let word = "the last `up` had the profile `gone`, which no service has now";
        assert_eq!(warnings.iter().filter(|line| line.contains(word)).count(), 1, "{warnings:?}");
        assert!(loaded.platform.service("registry").is_some() && loaded.platform.service("loki").is_none());
        assert!(of(&["core"]).is_err(), "somebody has said it");
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
    fn a_job_for_another_service_goes_with_it() {
        let stack = "
services:
  registry: {image: r, depends_on: [owner], x-macula: {profile: core}}
  owner: {image: r, x-macula: {profile: needed}}
  web: {image: w}
";
        let services = |settings: &str, profiles: &[&str]| {
            let request = Request {
                cwd: "/".into(),
                profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
                ..Request::default()
            };
            let files = MemoryFiles::default().with("/macula.yaml", settings);
            let loaded = load_with(&request, &files, &[("all.yaml", stack)]).expect("valid");
            let names: Vec<_> = loaded.platform.services().map(|(_, service)| service.name.as_str()).collect();
            names.join(" ")
        };
        assert_eq!(services("name: a", &[]), "owner registry web");
        assert_eq!(services("name: a", &["core"]), "owner registry web");
        assert_eq!(services("services: {registry: {enabled: false}}", &[]), "web");
    }

    #[test]
    fn who_is_named_and_waits_for_a_profile_has_it() {
        let request = Request { cwd: "/".into(), ..Request::default() };
        let loaded = load_with(&request, &MemoryFiles::default(), &[("all.yaml", STACK)]).expect("valid");
        let of = |names: &[&str]| loaded.profiles_of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["debug", "s3"]), ["dev"]);
        // no profile of the platform's: one that is named stands for all that are wanted
        assert_eq!(of(&["proxy"]), [""; 0]);
        assert_eq!(of(&["nobody"]), [""; 0]);
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
