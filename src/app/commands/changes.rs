//! What a plan means for each service, with old and new values: `plan` speaks of this.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::redact::{Redactor, tells_a_secret};
use crate::app::Prepared;
use crate::apply::doing;
use crate::event::Doing;
use crate::model::{ContainerSpec, ObservedContainer, Service, label};
use crate::plan::{Action, Cause, Plan, ProcessAction, ProcessStep, Reason, Step};

/// What happens to one service, or to something beside the services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub name: String,
    pub kind: ChangeKind,
    /// `environment A: "1" -> "2"`, `build its image`, ...
    pub details: Vec<String>,
    /// It does its work and ends.
    #[serde(skip)]
    pub job: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is taken away and does not come back.
    Remove,
    Create,
    /// A task, once more or for the first time.
    Run,
    /// A new container takes the place of the old one.
    Recreate,
    Restart,
    Start,
    Stop,
    Reload,
    /// It gets another number of containers, and those that stay are left alone.
    Scale,
    /// Only its image is pulled or built.
    Image,
    /// It is waited for.
    Await,
    /// Networks, the base image, the cluster.
    Other,
}

impl ChangeKind {
    /// Of the work that is to be done for a service, or was. Where some of its containers go and others start, it is not
    /// removed.
    pub fn of(does: impl Fn(Doing) -> bool) -> Self {
        match () {
            () if does(Doing::Create) && (does(Doing::Stop) || does(Doing::Remove)) => Self::Recreate,
            () if does(Doing::Create) => Self::Create,
            () if does(Doing::Start) && does(Doing::Stop) => Self::Restart,
            () if does(Doing::Start) => Self::Start,
            () if does(Doing::Reload) || does(Doing::Configure) => Self::Reload,
            () if does(Doing::Remove) => Self::Remove,
            () if does(Doing::Stop) => Self::Stop,
            () if does(Doing::Pull) || does(Doing::Build) || does(Doing::Load) => Self::Image,
            () if does(Doing::Await) || does(Doing::Job) => Self::Await,
            () => Self::Other,
        }
    }
}

impl Change {
    /// What happens to a program of this machine.
    pub fn of_process(step: &ProcessStep) -> Self {
        let kind = match step.action {
            ProcessAction::Start => ChangeKind::Start,
            ProcessAction::Restart => ChangeKind::Restart,
            ProcessAction::Update => ChangeKind::Reload,
            ProcessAction::Remove => ChangeKind::Remove,
        };
        Self { name: step.name.clone(), kind, details: vec![format!("process, {}", step.cause())], job: false }
    }
}

/// In the order of their names, removals first.
pub async fn changes(prepared: &Prepared) -> Vec<Change> {
    let mut all = Vec::new();
    let hide = Redactor::new(prepared.survey.secrets.0.values().flat_map(|all| all.values().cloned()));
    for (name, steps) in groups(&prepared.plan) {
        let kind = planned(prepared, name, &steps);
        let lack = lack(prepared, name);
        let mut details: Vec<String> = lack.iter().cloned().collect();
        if kind == ChangeKind::Scale {
            let (before, wanted) = containers(prepared, name);
            details.push(format!("containers: {before} -> {wanted}"));
        }
        if kind == ChangeKind::Run {
            let runs = |action: &Action| matches!(action, Action::CreateContainer { .. } | Action::RunTask { .. });
            let causes = steps.iter().filter(|step| runs(&step.action));
            details.extend(causes.map(|step| step.cause.to_string()));
        }
        if kind == ChangeKind::Recreate {
            details.extend(differences(prepared, &steps, &hide).await);
        }
        if kind == ChangeKind::Start && steps.iter().any(|step| step.cause == Cause::PostStart) {
            details.push(Cause::PostStart.to_string());
        }
        let mut rest = steps;
        // nothing gets what it lacks
        rest.retain(|step| lack.is_none() || !matches!(step.action, Action::ObtainImage { .. }));
        details.extend(further(&rest, kind));
        let platform = &prepared.survey.platform;
        let job = platform.service(name).is_some_and(|(_, service)| platform.is_job(service))
            || platform.tasks.contains_key(name);
        all.push(Change { name: name.to_owned(), kind, details, job });
    }
    all.sort_by(|a, b| (a.kind != ChangeKind::Remove, &a.name).cmp(&(b.kind != ChangeKind::Remove, &b.name)));
    all
}

/// Why a service of a plan that is only shown would not be started.
fn lack(prepared: &Prepared, service: &str) -> Option<String> {
    let problem = prepared.unavailable.iter().find(|problem| problem.service() == service)?;
    Some(match problem.reason() {
        Some(reason @ Reason::Needs(_)) => reason.to_string(),
        _ => "image unavailable".to_owned(),
    })
}

/// What the plan does with each of its groups.
pub(super) fn kinds(prepared: &Prepared) -> BTreeMap<String, ChangeKind> {
    let groups = groups(&prepared.plan).into_iter();
    groups.map(|(name, steps)| (name.to_owned(), planned(prepared, name, &steps))).collect()
}

fn groups(plan: &Plan) -> BTreeMap<&str, Vec<&Step>> {
    let mut groups: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        groups.entry(&step.group).or_default().push(step);
    }
    groups
}

/// What the steps of a group come to, given what there is of it.
fn planned(prepared: &Prepared, name: &str, steps: &[&Step]) -> ChangeKind {
    let (before, wanted) = containers(prepared, name);
    let scales = before > 0 && wanted > 0 && before != wanted;
    // an ingress gets a second container for addresses that have come, which is new
    let role = prepared.survey.platform.service(name).is_some_and(|(_, found)| found.extension.role.is_some());
    match kind_of(steps) {
        ChangeKind::Create if scales && !role => ChangeKind::Scale,
        ChangeKind::Remove if scales => ChangeKind::Scale,
        kind => kind,
    }
}

/// How many containers a service has, and is to have.
fn containers(prepared: &Prepared, service: &str) -> (usize, usize) {
    let survey = &prepared.survey;
    let ours = |found: &&ObservedContainer| found.replica_of(survey.platform.name.as_str()) == Some(service);
    let there = survey.observed.containers.iter().filter(ours).count();
    (there, survey.resources.containers.iter().filter(|spec| spec.service == service).count())
}

fn kind_of(steps: &[&Step]) -> ChangeKind {
    let has = |wanted: fn(&Action) -> bool| steps.iter().any(|step| wanted(&step.action));
    let creates = has(|action| matches!(action, Action::CreateContainer { .. }));
    let awaits_task = has(|action| matches!(action, Action::AwaitReady { spec, .. } if spec.task.is_some()));
    if creates && awaits_task || has(|action| matches!(action, Action::RunTask { .. })) {
        return ChangeKind::Run;
    }
    // networks and volumes are made and removed, too
    let of_service = |action: &Action| {
        action.is_of_container() || matches!(action, Action::ObtainImage { .. } | Action::LoadImage { .. })
    };
    let of_service = steps.iter().map(|step| &step.action).filter(|action| of_service(action));
    let does: Vec<Doing> = of_service.map(doing).collect();
    ChangeKind::of(|doing| does.contains(&doing))
}

/// Why a container is replaced, with values where they can be had.
async fn differences(prepared: &Prepared, steps: &[&Step], hide: &Redactor) -> Vec<String> {
    let mut details = Vec::new();
    for step in steps {
        let Action::CreateContainer { spec, .. } = &step.action else { continue };
        let parts: BTreeSet<&str> = match &step.cause {
            Cause::Changed { what } => what.iter().map(String::as_str).collect(),
            cause => {
                details.push(cause.to_string());
                continue;
            }
        };
        for part in parts {
            let found = match part {
                "environment" => environment(prepared, spec, hide).await,
                "names" => names(prepared, spec),
                _ => Vec::new(),
            };
            if found.is_empty() {
                details.push(format!("{part} changed"));
            }
            details.extend(found);
        }
    }
    details
}

/// Variables that differ. Values of secrets stay hidden.
async fn environment(prepared: &Prepared, spec: &ContainerSpec, hide: &Redactor) -> Vec<String> {
    let Ok(Some(old)) = prepared.survey.engine.environment(&spec.name).await else { return Vec::new() };
    let declared = prepared.survey.platform.services().find(|(_, service)| service.name == spec.service);
    compared(&old, &spec.env, declared.map(|(_, service)| service), hide)
}

/// A secret is hidden by its variable's name, by its value wherever that stands, and by its form: the password in a URL.
fn compared(old: &[String], new: &[String], service: Option<&Service>, hide: &Redactor) -> Vec<String> {
    let map = |all: &[String]| -> BTreeMap<String, String> {
        all.iter().map(|line| line.split_once('=').unwrap_or((line, ""))).map(|(a, b)| (a.into(), b.into())).collect()
    };
    let (old, new) = (map(old), map(new));
    let shown = |name: &str, value: &str| match is_secret(name, service) {
        true => "(hidden)".to_owned(),
        false => format!("\"{}\"", hide.text(value)),
    };
    let mut all = Vec::new();
    for (name, value) in &new {
        match old.get(name) {
            Some(before) if before == value => {}
            Some(before) => {
                all.push(format!("environment {name}: {} -> {}", shown(name, before), shown(name, value)));
            }
            None => all.push(format!("environment {name}: new, {}", shown(name, value))),
        }
    }
    // what the image itself sets is in the container, and in no file: only what macula knows is told
    all
}

fn is_secret(name: &str, service: Option<&Service>) -> bool {
    service.is_some_and(|service| service.extension.secrets.contains_key(name)) || tells_a_secret(name)
}

fn names(prepared: &Prepared, spec: &ContainerSpec) -> Vec<String> {
    let held =
        prepared.survey.observed.container(&spec.name).and_then(|found| found.label(label::NAMES)).unwrap_or_default();
    let held: BTreeSet<&str> = held.split(',').collect();
    let wanted = spec.labels.get(label::NAMES).map(String::as_str).unwrap_or_default();
    wanted
        .split(',')
        .filter(|name| !name.is_empty() && !held.contains(name))
        .map(|name| format!("new name {name}"))
        .collect()
}

/// What belongs to the change beside the container.
fn further(steps: &[&Step], kind: ChangeKind) -> Vec<String> {
    let mut all = Vec::new();
    for step in steps {
        match &step.action {
            Action::ObtainImage { pull: true, spec, .. } => all.push(format!("pull {}", spec.reference)),
            Action::ObtainImage { .. } => all.push("build its image".to_owned()),
            Action::LoadImage { .. } => all.push("load its image".to_owned()),
            // its files are named as what has changed
            Action::FillVolume { .. } if kind == ChangeKind::Recreate => {}
            Action::FillVolume { .. } => all.push(step.phrase()),
            // files that are copied in each time are no data
            Action::CreateVolume { spec, .. } if spec.labels.contains_key(label::FILES) => {}
            Action::CreateVolume { spec, .. } => all.push(format!("new volume {}", spec.name)),
            Action::RemoveVolume { name } if step.destructive => all.push(format!("DATA LOST: volume {name}")),
            Action::Start { .. } | Action::RemoveContainer { .. } | Action::AwaitReady { .. }
                if matches!(kind, ChangeKind::Start | ChangeKind::Remove | ChangeKind::Restart | ChangeKind::Await) =>
            {
                all.push(step.cause.to_string());
            }
            Action::Reload { .. } | Action::WriteFiles { .. } => all.push(step.cause.to_string()),
            Action::JoinNetwork { .. } | Action::LeaveNetwork { .. } | Action::StartRelay { .. } => {
                all.push(step.phrase());
            }
            Action::CreateNetwork(_) | Action::RemoveNetwork { .. } | Action::MakeBase(_) | Action::Cluster(_) => {
                all.push(step.phrase());
            }
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|detail| seen.insert(detail.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::app::{Error, Wanted, prepare};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{ImagePolicy, ResourceId, ResourceKind, VolumeSpec};

    #[tokio::test]
    async fn who_only_looks_sees_the_plan_and_what_it_lacks() {
        let host = FakeHost::new();
        let engine = FakeEngine::new().with_image("acme/web:1");
        let stack = "services: {web: {image: 'acme/web:1'}, db: {image: 'acme/db:1', volumes: ['data:/d']}}\nvolumes: {data: }\n";
        let mut loaded = shop(&host, "", stack);
        loaded.platform.images.policy = ImagePolicy::Local;
        let session = session(host, &engine, "macula plan");
        let ahead = Wanted { ahead: true, ..Wanted::default() };
        let prepared = prepare(&session, &loaded, &ahead).await.unwrap();
        let rows = changes(&prepared).await.into_iter().filter(|change| change.kind == ChangeKind::Create);
        let rows: Vec<String> = rows.map(|row| format!("{}: {}", row.name, row.details.join(", "))).collect();
        assert_eq!(rows, ["db: image unavailable, new volume macula-shop-data", "web: "]);
        let told: Vec<String> = prepared.unavailable.iter().map(|problem| problem.service().to_owned()).collect();
        assert_eq!(told, ["db"]);
        let Err(Error::Supply(problems)) = prepare(&session, &loaded, &Wanted::default()).await else { panic!() };
        assert_eq!(problems, prepared.unavailable);
    }

    #[test]
    fn files_that_are_copied_are_told_unless_the_container_is_made_for_them() {
        let spec = VolumeSpec {
            name: "shop-files".into(),
            external: false,
            driver: None,
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
            provider: None,
            copy: None,
        };
        let fill = Step {
            id: "fill".into(),
            resource: ResourceId::new(ResourceKind::Volume, "shop-files"),
            group: "web".into(),
            action: Action::FillVolume { spec: Box::new(spec) },
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        };
        assert_eq!(further(&[&fill], ChangeKind::Create), [fill.phrase()]);
        assert_eq!(further(&[&fill], ChangeKind::Recreate), [""; 0]);
    }

    #[test]
    fn what_is_done_for_a_service_has_one_name() {
        use Doing::{Await, Build, Cluster, Configure, Create, Job, Load, Network, Pull, Reload, Remove, Start, Stop};
        for (doings, kind) in [
            (&[Build, Create, Stop, Remove, Start, Await][..], ChangeKind::Recreate),
            (&[Pull, Create, Start, Await], ChangeKind::Create),
            (&[Create, Start, Job], ChangeKind::Create),
            (&[Stop, Start, Await], ChangeKind::Restart),
            (&[Start, Await], ChangeKind::Start),
            // one of its containers goes, another one stays
            (&[Stop, Remove, Start], ChangeKind::Restart),
            (&[Remove, Configure], ChangeKind::Reload),
            (&[Reload], ChangeKind::Reload),
            (&[Stop, Remove], ChangeKind::Remove),
            (&[Stop], ChangeKind::Stop),
            (&[Load], ChangeKind::Image),
            (&[Pull, Await], ChangeKind::Image),
            (&[Job], ChangeKind::Await),
            (&[Await], ChangeKind::Await),
            (&[Network, Cluster], ChangeKind::Other),
            (&[], ChangeKind::Other),
        ] {
            assert_eq!(ChangeKind::of(|doing| doings.contains(&doing)), kind, "{doings:?}");
        }
    }

    #[test]
    fn a_secret_inside_another_value_is_hidden() {
        let hide = Redactor::new(["generated-one".to_owned()]);
        let shown = |old: &str, new: &str| compared(&[old.to_owned()], &[new.to_owned()], None, &hide).join("\n");
        assert_eq!(
            shown("CACHE_URL=redis://shop:of-before@cache:6379/0", "CACHE_URL=redis://shop:of-now@cache:6379/1"),
            "environment CACHE_URL: \"redis://shop:[hidden]@cache:6379/0\" -> \"redis://shop:[hidden]@cache:6379/1\""
        );
        assert_eq!(
            shown("OPTIONS=", "OPTIONS=--pass generated-one"),
            "environment OPTIONS: \"\" -> \"--pass [hidden]\""
        );
    }

    #[test]
    fn variables_are_compared_and_secrets_hidden() {
        let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let old = lines(&["A=1", "PATH=/bin", "DB_PASSWORD=old", "SAME=x"]);
        let new = lines(&["A=2", "B=", "DB_PASSWORD=new", "SAME=x"]);
        assert_eq!(
            compared(&old, &new, None, &Redactor::new([])),
            [
                "environment A: \"1\" -> \"2\"",
                "environment B: new, \"\"",
                "environment DB_PASSWORD: (hidden) -> (hidden)"
            ]
        );
    }
}
