//! The cluster's part in a plan: whether one can be had, its steps, and what services of the host learn of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::apply::{Tools, apply};
use crate::cluster::ClusterError;
use crate::cluster::kind;
use crate::compile::{kubernetes_minor, node_images};
use crate::doctor::{self, ClusterNeeds};
use crate::engine::ImageError;
use crate::event::Events;
use crate::model::Platform;
use crate::plan::{self, Action, ClusterAction, ClusterWish, LeftOut, Plan, Step};

use super::content::{Content, broken, content};
use super::decide::{Decision, Obtain, cannot_be_had, decide};

/// What a run wants of the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// No add-on may be left out, nor the cluster.
    pub strict: bool,
    /// It is left as it is.
    pub none: bool,
    /// There is somebody to ask, or who has agreed, before a program is fetched.
    pub may_fetch: bool,
}

/// What the plan does with the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Joined {
    /// What is to be made of it; `None`: nothing, or it cannot be had.
    pub decision: Option<Decision>,
    /// The parts in which the cluster that stands differs from the wanted one.
    pub drift: Vec<String>,
}

/// Adds the cluster's steps to a plan, or the reason why there are none.
pub(in crate::app) async fn extend(
    session: &Session,
    survey: &Survey,
    plan: &mut Plan,
    wanted: Wanted,
) -> Result<Joined, Error> {
    let settings = &survey.platform.cluster;
    if wanted.none || !settings.enabled {
        return Ok(Joined::default());
    }
    let must = settings.required || wanted.strict;
    match decide(session, survey, wanted.may_fetch).await {
        Ok(decision) => {
            let broken = broken(session, survey, &decision.content).await.unwrap_or_default();
            let drift = steps(survey, &decision, &broken, plan);
            for (name, reason) in &decision.content.left_out {
                if wanted.strict {
                    let attempts = vec![ImageError::Other { reference: name.clone(), message: reason.clone() }];
                    return Err(ClusterError::NodeImage { reference: format!("add-on {name}"), attempts }.into());
                }
                plan.left_out.push(LeftOut { service: format!("add-on {name}"), reason: reason.clone().into() });
            }
            Ok(Joined { decision: Some(decision), drift })
        }
        Err(Error::Cluster(error)) if !must && cannot_be_had(&error) => {
            plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason: error.to_string().into() });
            Ok(Joined::default())
        }
        Err(error) => Err(error),
    }
}

/// Returns the parts in which the cluster that stands differs.
fn steps(survey: &Survey, decision: &Decision, broken: &BTreeSet<String>, plan: &mut Plan) -> Vec<String> {
    let network = plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateNetwork(spec) if spec.name == decision.spec.network => Some(step.id.clone()),
        _ => None,
    });
    let wish = ClusterWish {
        spec: &decision.spec,
        record: survey.cluster.record.as_ref(),
        observed: survey.cluster.observed.as_ref(),
        registries: decision.registries.clone(),
        addons: &decision.content.plan(broken),
        network,
    };
    plan::cluster(&wish, plan)
}

/// What a cluster that is about to be made wants of the machine.
pub(in crate::app) fn needs(platform: &Platform, plan: &Plan, joined: &Joined) -> Option<ClusterNeeds> {
    let decision = joined.decision.as_ref()?;
    let made = plan.steps.iter().any(|step| matches!(step.action, Action::Cluster(ClusterAction::Create { .. })));
    made.then(|| wishes(platform, &decision.spec.node_image))
}

/// What `doctor` is to look at for the cluster of a platform.
pub fn doctor_needs(platform: &Platform) -> Option<ClusterNeeds> {
    let image = node_images(platform).0.into_iter().next().unwrap_or_default();
    platform.cluster.enabled.then(|| wishes(platform, &image))
}

fn wishes(platform: &Platform, node_image: &str) -> ClusterNeeds {
    ClusterNeeds {
        minor: kubernetes_minor(node_image).unwrap_or_default(),
        // the configuration tells the kubelet so where it has to be told
        accepts_cgroup_v1: true,
        program: platform.cluster.program.clone(),
        ingress: platform.cluster.ingress.clone(),
    }
}

/// What is said of a cluster that was made with other settings.
pub fn drift(survey: &Survey, joined: &Joined) -> Option<String> {
    let name = &survey.cluster.observed.as_ref()?.name;
    (!joined.drift.is_empty()).then(|| {
        format!(
            "the cluster {name} was made with other settings ({}); `cluster delete` and `cluster create` \
             create it again, which macula never does unasked",
            joined.drift.join(", ")
        )
    })
}

/// Gets the provider's program, once the user has agreed.
pub(in crate::app) async fn get_program(session: &Session, obtain: Obtain) -> Result<PathBuf, Error> {
    match obtain {
        Obtain::Fetch(asset) => {
            session.events.info(format!("fetching {}", asset.url));
            Ok(kind::fetch(session.host(), asset).await?)
        }
        Obtain::Install(fix) => {
            let told = |action: &doctor::Action| session.events.info(action.to_string());
            doctor::carry_out(session.host(), &fix, &told).await?;
            let missing = || ClusterError::NoProgram { program: "kind".into(), reason: None, fetched: false };
            Ok(kind::find(session.host(), None).await.ok_or_else(missing)?)
        }
    }
}

/// Before the first change: what goes into the cluster is made from what is kept now.
pub(in crate::app) async fn render_content(
    session: &Session,
    survey: &Survey,
    plan: &Plan,
    joined: &mut Joined,
) -> Result<(), Error> {
    let applies = |step: &Step| matches!(step.action, Action::Cluster(ClusterAction::AddOn { .. }));
    if let Some(decision) = &mut joined.decision
        && plan.steps.iter().any(applies)
    {
        let fresh = content(session, survey, true).await?;
        let left_out = std::mem::take(&mut decision.content.left_out);
        decision.content = Content { left_out, ..fresh };
    }
    Ok(())
}

/// What the cluster's steps wrote down reaches the services that read it (Prometheus's jobs and its token
/// for the cluster), where they run: files that can be reloaded, and nothing else. Returns the plan that was
/// carried out.
pub(in crate::app) async fn update_scrape_config(session: &Session, survey: &Survey) -> Plan {
    let Ok((mut plan, _)) = survey.reconcile(None, &BTreeSet::new(), false) else { return Plan::default() };
    plan.steps.retain(|step| matches!(step.action, Action::WriteFiles { .. } | Action::Reload { .. }));
    if plan.is_empty() {
        return plan;
    }
    let tools = Tools { events: Events::none(), ..session.tools(survey.engine.clone(), survey.facts.clone()) };
    let outcome = apply(&session.command, &survey.platform.name, &plan, tools).await;
    if let Some(failure) = outcome.failed.first() {
        session.events.warn(format!("{}: {}; the next `up` tries it again", failure.step, failure.error));
    }
    plan
}

/// Whether steps of a plan may have changed what services of the host read.
pub(in crate::app) fn touches_services(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.action, Action::Cluster(_)))
}

/// Takes the cluster out of a plan.
pub(in crate::app) fn leave_out(plan: &mut Plan, joined: &mut Joined, reason: String) {
    plan.steps.retain(|step| step.group != plan::CLUSTER_GROUP);
    plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason: reason.into() });
    joined.decision = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::shop;
    use crate::host::fake::FakeHost;
    use crate::model::DEFAULT_NODE_IMAGE;

    #[test]
    fn only_a_platform_with_a_cluster_needs_anything_for_it() {
        let mut platform = shop(&FakeHost::new(), "", "services: {web: {image: x}}").platform;
        assert_eq!(doctor_needs(&platform), None);
        platform.cluster.enabled = true;
        platform.cluster.program = Some("/opt/kind".into());
        let needs = |minor| {
            let (program, ingress) = (Some("/opt/kind".into()), platform.cluster.ingress.clone());
            Some(ClusterNeeds { minor, accepts_cgroup_v1: true, program, ingress })
        };
        let usual = kubernetes_minor(DEFAULT_NODE_IMAGE).unwrap();
        assert_eq!(doctor_needs(&platform), needs(usual));
        let with = |image: &str| {
            let mut platform = platform.clone();
            platform.cluster.node_image = Some(image.into());
            doctor_needs(&platform)
        };
        assert_eq!(with("kindest/node:v1.31.9@sha256:0"), needs(31));
        // a tag that says nothing
        assert_eq!(with("kindest/node:mine"), needs(0));
    }
}
