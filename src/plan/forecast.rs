//! How long a plan takes and how much it fetches, before it is carried out and while it runs. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Action, Plan, Step};

/// Builds that run side by side; everything else overlaps freely.
pub const BUILD_SLOTS: usize = 2;

/// How long images took on this machine, by [`key`].
pub type Known = BTreeMap<String, Duration>;

/// What carrying out a plan comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    pub time: Duration,
    /// Bytes that are fetched.
    pub bytes: u64,
    pub builds: usize,
    pub pulls: usize,
    /// Of the builds, those that nothing is known of: their time is no more than a place in the sum.
    pub unknown: usize,
    /// Whether the time rests on earlier runs on this machine alone.
    pub remembered: bool,
}

/// Seconds on two quiet cores and megabytes fetched, by the name of the built image: estimates
/// for a mirror close by, until this machine has durations of its own.
const BUILDS: &[(&str, u64, u64)] = &[
    ("base", 16, 40),
    ("alertmanager", 14, 30),
    ("excalidraw", 40, 60),
    ("ingress", 10, 15),
    ("minio", 75, 90),
    ("node-exporter", 12, 10),
    ("postgres", 22, 60),
    ("powerdns", 14, 20),
    ("prometheus", 20, 40),
    ("registry", 14, 15),
];
/// For builds and pulls that nothing is known of: what a Dockerfile of the user's fetches is not guessed.
const A_BUILD: (u64, u64) = (30, 0);
const A_PULL: (u64, u64) = (20, 120);

/// Under which name the time of a step is remembered; `None`: it is not worth it.
pub fn key(step: &Step) -> Option<String> {
    match &step.action {
        Action::MakeBase(base) => Some(format!("build {}", repository(&base.reference))),
        Action::ObtainImage { spec, pull: false, .. } => {
            let tag = spec.build.as_ref().map_or(spec.reference.as_str(), |build| build.tag.as_str());
            Some(format!("build {}", repository(tag)))
        }
        Action::ObtainImage { spec, .. } => Some(format!("pull {}", repository(&spec.reference))),
        _ => None,
    }
}

/// Without tag and digest: a new version takes about as long as the one before.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

/// How long one step takes, and whether that is remembered.
pub fn expected(step: &Step, known: &Known) -> (Duration, bool) {
    if let Some(time) = key(step).and_then(|key| known.get(&key)) {
        return (*time, true);
    }
    let time = match &step.action {
        Action::MakeBase(_) | Action::ObtainImage { .. } => Duration::from_secs(usual(step).0),
        Action::AwaitReady { .. } | Action::RunTask { .. } => Duration::from_millis(1500),
        Action::Start { .. } | Action::Stop { .. } => Duration::from_millis(400),
        Action::StartRelay { .. } | Action::LoadImage { .. } | Action::FillVolume { .. } => Duration::from_millis(800),
        Action::Cluster(_) => Duration::from_secs(20),
        Action::Pause { time } => *time,
        _ => Duration::from_millis(100),
    };
    // only what takes long can make the sum a guess
    (time, !matches!(step.action, Action::MakeBase(_) | Action::ObtainImage { .. } | Action::Cluster(_)))
}

/// Seconds and megabytes of an image that was never made here.
fn usual(step: &Step) -> (u64, u64) {
    let Some(key) = key(step) else { return (0, 0) };
    let Some((verb, reference)) = key.split_once(' ') else { return A_BUILD };
    if verb == "pull" {
        return A_PULL;
    }
    let name = reference.rsplit_once('/').map_or(reference, |(_, name)| name);
    let found = BUILDS.iter().find(|(known, ..)| *known == name);
    found.map_or(A_BUILD, |(_, seconds, megabytes)| (*seconds, *megabytes))
}

/// The plan as a whole.
pub fn forecast(plan: &Plan, known: &Known) -> Forecast {
    let mut forecast = Forecast { remembered: true, ..Forecast::default() };
    let mut tasks = Vec::new();
    for step in &plan.steps {
        let (left, remembered) = expected(step, known);
        let build = is_build(step);
        forecast.remembered &= remembered;
        match &step.action {
            Action::ObtainImage { pull: true, .. } => forecast.pulls += 1,
            Action::ObtainImage { .. } => forecast.builds += 1,
            _ => {}
        }
        forecast.unknown += usize::from(key(step).is_some_and(|key| is_a_guess(&key) && !known.contains_key(&key)));
        forecast.bytes += usual(step).1 * 1_000_000;
        tasks.push(Task { id: &step.id, after: &step.after, left, slot: build });
    }
    forecast.time = remaining(&tasks);
    forecast
}

/// A build that does not stand in the table of built-in estimates.
fn is_a_guess(key: &str) -> bool {
    let Some(reference) = key.strip_prefix("build ") else { return false };
    let name = reference.rsplit_once('/').map_or(reference, |(_, name)| name);
    !BUILDS.iter().any(|(known, ..)| *known == name)
}

fn is_build(step: &Step) -> bool {
    matches!(step.action, Action::ObtainImage { pull: false, .. })
}

/// Something that is still to be done, or under way.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    pub id: &'a str,
    pub after: &'a [String],
    pub left: Duration,
    /// Takes one of the [`BUILD_SLOTS`] while it works.
    pub slot: bool,
}

/// How long it is until all of them are done, each begun as soon as what it waits for is done and,
/// for builds, a place is free. Tasks of the beginning of the list come first.
pub fn remaining(tasks: &[Task<'_>]) -> Duration {
    let place: HashMap<&str, usize> = tasks.iter().enumerate().map(|(at, task)| (task.id, at)).collect();
    let mut open = vec![0usize; tasks.len()];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        for before in task.after.iter().filter_map(|id| place.get(id.as_str())) {
            open[at] += 1;
            dependents[*before].push(at);
        }
    }
    let mut begun = vec![false; tasks.len()];
    // end of what works, and its place in the list
    let mut working: Vec<(Duration, usize)> = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        let mut free = BUILD_SLOTS.saturating_sub(working.iter().filter(|(_, at)| tasks[*at].slot).count());
        for (at, task) in tasks.iter().enumerate() {
            if begun[at] || open[at] > 0 || (task.slot && free == 0) {
                continue;
            }
            begun[at] = true;
            free -= usize::from(task.slot);
            working.push((now + task.left, at));
        }
        // a circle of steps would leave some for ever: they are not counted
        let Some(first) = working.iter().enumerate().min_by_key(|(_, (end, _))| *end).map(|(at, _)| at) else {
            return now;
        };
        let (end, done) = working.swap_remove(first);
        now = end;
        for at in &dependents[done] {
            open[*at] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BaseImage, Build, Fingerprint, ImageBuild, ImageSpec, Readiness, ResourceId, ResourceKind};
    use crate::plan::{Cause, ClusterAction};

    fn task<'a>(id: &'a str, after: &'a [String], seconds: u64, slot: bool) -> Task<'a> {
        Task { id, after, left: Duration::from_secs(seconds), slot }
    }

    #[test]
    fn builds_share_two_places_and_the_rest_overlaps() {
        let base = ["base".to_owned()];
        let image = ["c".to_owned()];
        let tasks = [
            task("base", &[], 10, false),
            task("a", &base, 20, true),
            task("b", &base, 20, true),
            task("c", &base, 5, true),
            task("start", &image, 1, false),
            task("network", &[], 40, false),
        ];
        // base, then a and b side by side, then c, then what needs c
        assert_eq!(remaining(&tasks), Duration::from_secs(40));
        assert_eq!(remaining(&tasks[..5]), Duration::from_secs(36));
        assert_eq!(remaining(&[]), Duration::ZERO);
    }

    #[test]
    fn what_waits_for_each_other_ends_all_the_same() {
        let (a, b) = (["b".to_owned()], ["a".to_owned()]);
        assert_eq!(remaining(&[task("a", &a, 1, false), task("b", &b, 1, false)]), Duration::ZERO);
    }

    #[test]
    fn only_a_build_of_the_users_is_a_guess() {
        assert!(is_a_guess("build macula-side/shop"));
        assert!(!is_a_guess("build macula/postgres"));
        assert!(!is_a_guess("pull grafana/grafana"));
    }

    fn step(id: &str, action: Action) -> Step {
        Step {
            id: id.into(),
            resource: ResourceId::new(ResourceKind::Container, "c"),
            group: "g".into(),
            action,
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        }
    }

    fn obtain(reference: &str, tag: Option<&str>, pull: bool) -> Action {
        let build = tag.map(|tag| ImageBuild {
            tag: tag.into(),
            spec: Build::default(),
            prepare: Vec::new(),
            base: None,
            fingerprint: Fingerprint("f".into()),
            labels: BTreeMap::new(),
            also: None,
            alike: Vec::new(),
        });
        let spec = ImageSpec {
            reference: reference.into(),
            pull: Vec::new(),
            locked: Vec::new(),
            build,
            always_pull: false,
            platform: None,
            services: Vec::new(),
        };
        Action::ObtainImage { spec: Box::new(spec), pull, build: true }
    }

    fn base() -> Action {
        Action::MakeBase(BaseImage { reference: "localhost/macula/base:trixie".into(), suite: "trixie".into() })
    }

    #[test]
    fn each_step_has_a_time_and_what_takes_long_may_be_a_guess() {
        let container = || "c".to_owned();
        let ready = Action::AwaitReady { spec: Box::default(), readiness: Readiness::default() };
        for (action, key_of_it, millis, sure) in [
            (base(), Some("build localhost/macula/base"), 16_000, false),
            (obtain("db:1", Some("macula/postgres:ab"), false), Some("build macula/postgres"), 22_000, false),
            (obtain("db:1", Some("macula-side/shop:ab"), false), Some("build macula-side/shop"), 30_000, false),
            (obtain("shop:1", None, false), Some("build shop"), 30_000, false),
            (obtain("db:1", Some("macula/postgres:ab"), true), Some("pull db"), 20_000, false),
            (Action::Cluster(ClusterAction::Prune), None, 20_000, false),
            (ready, None, 1500, true),
            (Action::RunTask { spec: Box::default() }, None, 1500, true),
            (Action::Start { container: container(), hooks: Vec::new() }, None, 400, true),
            (Action::Stop { container: container(), grace: None, hooks: Vec::new() }, None, 400, true),
            (Action::StartRelay { spec: Box::default() }, None, 800, true),
            (Action::LoadImage { id: "sha256:a".into() }, None, 800, true),
            (Action::Pause { time: Duration::from_secs(30) }, None, 30_000, true),
            (Action::RemoveContainer { container: container() }, None, 100, true),
        ] {
            let step = step("x", action);
            assert_eq!(key(&step).as_deref(), key_of_it, "{:?}", step.action);
            let time = Duration::from_millis(millis);
            assert_eq!(expected(&step, &Known::new()), (time, sure), "{:?}", step.action);
            // an earlier run tells better
            let Some(key) = key(&step) else { continue };
            let known = Known::from([(key, Duration::from_secs(7))]);
            assert_eq!(expected(&step, &known), (Duration::from_secs(7), true), "{:?}", step.action);
        }
    }

    #[test]
    fn a_plan_is_the_sum_of_what_it_gets_and_as_long_as_its_longest_way() {
        let start = Action::Start { container: "c".into(), hooks: Vec::new() };
        let mut plan = Plan {
            steps: vec![
                step("base", base()),
                step("db", obtain("db:1", Some("macula/postgres:ab"), false)),
                step("shop", obtain("shop:1", Some("macula-side/shop:ab"), false)),
                step("web", obtain("web:1", None, true)),
                step("start", start),
            ],
            ..Plan::default()
        };
        plan.steps[1].after = vec!["base".into()];
        plan.steps[4].after = vec!["db".into()];
        let seconds = Duration::from_secs;
        let guessed = Forecast {
            // the base, its build and the start of that
            time: Duration::from_millis(16_000 + 22_000 + 400),
            // 40 MB of the base, 60 of the server, nothing that is known of the shop's, 120 of a pull
            bytes: 220_000_000,
            builds: 2,
            pulls: 1,
            unknown: 1,
            remembered: false,
        };
        assert_eq!(forecast(&plan, &Known::new()), guessed);
        let mut known = Known::new();
        for (key, time) in [
            ("build localhost/macula/base", 1),
            ("build macula/postgres", 2),
            ("build macula-side/shop", 3),
            ("pull web", 9),
        ] {
            known.insert(key.to_owned(), seconds(time));
        }
        let remembered = Forecast { time: seconds(9), unknown: 0, remembered: true, ..guessed };
        assert_eq!(forecast(&plan, &known), remembered);
        let nothing = Forecast { remembered: true, ..Forecast::default() };
        assert_eq!(forecast(&Plan::default(), &known), nothing);
    }

    #[test]
    fn a_reference_is_remembered_without_its_version() {
        assert_eq!(repository("macula/postgres:1916"), "macula/postgres");
        assert_eq!(repository("127.0.0.1:5001/shop"), "127.0.0.1:5001/shop");
        assert_eq!(repository("grafana/loki:3.1@sha256:ab"), "grafana/loki");
    }
}
