//! The cluster: whether there can be one, making it and taking it away, and what of it is shown.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use crate::apply::{Outcome, Tools, apply};
use crate::cluster::kind::{self, Kind};
use crate::cluster::{ClusterError, ClusterProvider, Entry, kubeconfig};
use crate::compile::addons::AddOn;
use crate::compile::{kubernetes_minor, node_images};
use crate::config::Loaded;
use crate::doctor::{self, ClusterNeeds};
use crate::engine::ImageError;
use crate::event::Events;
use crate::kubernetes::AddOnState;
use crate::model::{ClusterRecord, ContainerState, NodeRole, Platform, PlatformName, ResourceId, ResourceKind};
use crate::plan::{self, Action, Cause, ClusterAction, ClusterWish, LeftOut, Plan, Step, Wish};

use super::commands::up::lock;
use super::prepare::{Look, gather};
use super::records::remove_owned;
use super::{Consent, Error, Prepared, Session, Wanted, certificate};

mod content;
mod decide;
mod follow;
mod look;
mod work;

pub use content::Content;
pub use decide::{Decision, Obtain};
pub(super) use follow::follow;
pub use look::{ClusterLook, look, look_for};
pub(super) use work::Work;

/// A question to a program of this machine.
const SHORT: Duration = Duration::from_secs(5);

/// The cluster of `status -o json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClusterStatus {
    /// `None`: none is wanted, and there is none.
    pub name: Option<String>,
    /// running, stopped, incomplete, missing, left_out
    pub state: &'static str,
    /// The context in the user's kubeconfig.
    pub context: Option<String>,
    pub reason: Option<String>,
    pub nodes: Vec<NodeStatus>,
    pub addons: Vec<AddOnStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub role: NodeRole,
    pub state: ContainerState,
    pub image: String,
    /// In the platform's network.
    pub address: Option<String>,
    /// Of the kubelet; `None`: the cluster was not asked, or did not answer.
    pub version: Option<String>,
    pub ready: Option<bool>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddOnStatus {
    pub name: String,
    pub title: String,
    /// ready, not_ready, missing, left_out; unknown where the cluster does not answer
    pub state: &'static str,
    /// Tags of its images.
    pub versions: Vec<String>,
    pub reason: Option<String>,
}

/// What one look comes to.
pub(super) fn status_of(platform: &Platform, look: &ClusterLook, left_out: Option<&str>) -> ClusterStatus {
    let name = platform.cluster_name();
    let Some(found) = &look.observed else {
        let wanted = platform.cluster.enabled;
        let reason = if look.foreign {
            Some(format!("a cluster called {name} is there, and it is not this platform's"))
        } else {
            left_out.map(str::to_owned)
        };
        return ClusterStatus {
            name: wanted.then_some(name),
            state: if left_out.is_some() { "left_out" } else { "missing" },
            reason,
            ..ClusterStatus::default()
        };
    };
    let record = look.record.as_ref();
    let whole = record.is_some_and(|record| record.complete);
    let down = plan::down_nodes(found);
    let reason = if !whole {
        Some("only half of it was made; `macula cluster create` makes it anew".to_owned())
    } else if !down.is_empty() {
        Some(format!("{} not running; `macula cluster start`", down.join(", ")))
    } else {
        None
    };
    ClusterStatus {
        name: Some(found.name.clone()),
        state: match (whole, down.is_empty()) {
            (false, _) => "incomplete",
            (true, true) => "running",
            (true, false) => "stopped",
        },
        context: record.map(|record| record.context.clone()).filter(|context| !context.is_empty()),
        reason,
        nodes: found
            .nodes
            .iter()
            .map(|node| NodeStatus {
                name: node.name.clone(),
                role: node.role,
                state: node.state,
                image: node.image.clone(),
                address: node.address.map(|address| address.to_string()),
                version: None,
                ready: None,
                reason: None,
            })
            .collect(),
        addons: Vec::new(),
    }
}

/// Asks the cluster itself, if it runs: versions, readiness, add-ons. One that does not answer soon is not
/// waited for.
pub(super) async fn ask(session: &Session, prepared: &Prepared, status: &mut ClusterStatus) -> Result<(), Error> {
    if status.state != "running" {
        return Ok(());
    }
    let content = match &prepared.decision {
        Some(decision) => decision.content.clone(),
        None => content::content(session, prepared, &prepared.cluster, false).await?,
    };
    let context = status.context.clone().unwrap_or_default();
    let wanted: Vec<AddOn> = content.wanted().cloned().collect();
    let answers = async {
        let inside = content::connect(session, &prepared.state, &context).await.ok()?;
        let (nodes, addons) = tokio::join!(inside.nodes(), inside.addon_status(&wanted));
        Some((nodes.ok()?, addons.ok()?))
    };
    let answers = tokio::time::timeout(SHORT, answers).await.ok().flatten();
    if answers.is_none() {
        status.reason = Some("its API server does not answer".to_owned());
    }
    let (nodes, addons) = answers.unwrap_or_default();
    for node in &mut status.nodes {
        if let Some(found) = nodes.iter().find(|found| found.name == node.name) {
            node.version = Some(found.version.clone());
            node.ready = Some(found.ready);
            node.reason = found.reason.clone();
        }
    }
    status.addons = content
        .addons
        .iter()
        .map(|addon| {
            let found = addons.iter().find(|found| found.name == addon.name);
            let left_out = content.left_out.get(&addon.name);
            AddOnStatus {
                name: addon.name.clone(),
                title: addon.title.clone(),
                state: match found.map(|found| found.state) {
                    Some(AddOnState::Ready) => "ready",
                    Some(AddOnState::NotReady) => "not_ready",
                    Some(AddOnState::Missing) => "missing",
                    None if left_out.is_some() => "left_out",
                    None => "unknown",
                },
                versions: found.map(|found| found.versions.clone()).unwrap_or_default(),
                reason: left_out.cloned().or_else(|| found?.reason.clone()),
            }
        })
        .collect();
    Ok(())
}

/// Adds the cluster's steps to a plan, or the reason why there are none.
pub(super) async fn extend(session: &Session, prepared: &mut Prepared, wanted: &Wanted) -> Result<(), Error> {
    let settings = &prepared.platform.cluster;
    if wanted.no_cluster || !settings.enabled || !wanted.services.is_empty() {
        return Ok(());
    }
    let must = settings.required || wanted.strict;
    match decide::decide(session, prepared, &prepared.cluster, wanted).await {
        Ok(decision) => {
            let broken = content::broken(session, prepared, &decision.content).await.unwrap_or_default();
            steps(prepared, &decision, &broken);
            for (name, reason) in &decision.content.left_out {
                if wanted.strict {
                    let attempts = vec![ImageError::Other { reference: name.clone(), message: reason.clone() }];
                    return Err(ClusterError::NodeImage { reference: format!("add-on {name}"), attempts }.into());
                }
                prepared.plan.left_out.push(LeftOut { service: format!("add-on {name}"), reason: reason.clone() });
            }
            prepared.decision = Some(decision);
            Ok(())
        }
        Err(Error::Cluster(error)) if !must && decide::cannot_be_had(&error) => {
            prepared.plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason: error.to_string() });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn steps(prepared: &mut Prepared, decision: &Decision, broken: &BTreeSet<String>) {
    let network = prepared.plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateNetwork(spec) if spec.name == decision.spec.network => Some(step.id.clone()),
        _ => None,
    });
    let wish = ClusterWish {
        spec: &decision.spec,
        record: prepared.cluster.record.as_ref(),
        observed: prepared.cluster.observed.as_ref(),
        addons: &decision.content.plan(broken),
        network,
    };
    let differs = plan::cluster(&wish, &mut prepared.plan);
    prepared.cluster_drift = differs;
}

/// What a cluster that is about to be made wants of the machine.
pub(super) fn needs(prepared: &Prepared) -> Option<ClusterNeeds> {
    let decision = prepared.decision.as_ref()?;
    let made =
        prepared.plan.steps.iter().any(|step| matches!(step.action, Action::Cluster(ClusterAction::Create { .. })));
    made.then(|| wishes(&prepared.platform, &decision.spec.node_image))
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
pub fn drift(prepared: &Prepared) -> Option<String> {
    let name = prepared.cluster.observed.as_ref()?.name.clone();
    (!prepared.cluster_drift.is_empty()).then(|| {
        format!(
            "the cluster {name} was made with other settings ({}); `macula cluster delete` and `macula cluster create` \
             make it anew, which is never done unasked",
            prepared.cluster_drift.join(", ")
        )
    })
}

/// Gets the provider's program where the plan needs it, having asked. False: the user said no.
pub(super) async fn obtain(session: &Session, prepared: &mut Prepared, consent: &dyn Consent) -> Result<bool, Error> {
    let Some(decision) = &mut prepared.decision else { return Ok(true) };
    let Some(obtain) = decision.obtain.take() else { return Ok(true) };
    let fix = obtain.fix();
    if !consent.install("the cluster needs kind", &fix).await? {
        return Ok(false);
    }
    let program = match obtain {
        Obtain::Fetch(asset) => {
            session.events.info(format!("fetching {}", asset.url));
            kind::fetch(session.host(), asset).await?
        }
        Obtain::Install(fix) => {
            for action in &fix.actions {
                if let doctor::Action::Run(command) = action {
                    session.events.info(command.to_string());
                    session.host().run(command).await?;
                }
            }
            let missing = || ClusterError::NoProgram { program: "kind".into(), reason: None };
            kind::find(session.host(), None).await.ok_or_else(missing)?
        }
    };
    decision.program = Some(program);
    Ok(true)
}

/// Before the first change: what goes into the cluster is made from what is kept now.
pub(super) async fn settle(session: &Session, prepared: &mut Prepared) -> Result<(), Error> {
    let Some(mut decision) = prepared.decision.take() else { return Ok(()) };
    let applies = |step: &Step| matches!(step.action, Action::Cluster(ClusterAction::AddOn { .. }));
    if prepared.plan.steps.iter().any(applies) {
        let fresh = content::content(session, prepared, &prepared.cluster, true).await?;
        decision.content = Content { left_out: decision.content.left_out, ..fresh };
    }
    prepared.decision = Some(decision);
    Ok(())
}

/// What the cluster's steps wrote down reaches the services that read it (Prometheus's jobs and its token
/// for the cluster), where they run: files that can be reloaded, and nothing else.
pub(super) async fn hand_on(session: &Session, loaded: &Loaded) -> Result<(), Error> {
    let (prepared, _) = gather(session, loaded, Look::default()).await?;
    let wish = Wish {
        platform: &prepared.platform.name,
        resources: &prepared.resources,
        supply: &prepared.supply,
        selection: None,
    };
    let Ok(mut plan) = plan::reconcile(&wish, &prepared.observed) else { return Ok(()) };
    plan.steps.retain(|step| matches!(step.action, Action::WriteFiles { .. } | Action::Reload { .. }));
    if plan.is_empty() {
        return Ok(());
    }
    let tools = Tools { events: Events::none(), image_timeout: Duration::ZERO, ..prepared.tools(session, None) };
    let outcome = apply(&session.command, &prepared.platform.name, &plan, tools).await;
    if let Some(failure) = outcome.failed.first() {
        session.events.warn(format!("{}: {}; the next `up` tries it again", failure.step, failure.error));
    }
    Ok(())
}

/// Whether steps of a plan may have changed what services of the host read.
pub(super) fn touches_services(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.action, Action::Cluster(_)))
}

/// Takes the cluster out of a plan.
pub(super) fn leave_out(prepared: &mut Prepared, reason: String) {
    prepared.plan.steps.retain(|step| step.group != plan::CLUSTER_GROUP);
    prepared.plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason });
    prepared.decision = None;
}

/// Who carries out the cluster's steps.
pub(super) fn work(session: &Session, prepared: &Prepared, lenient: bool, retain: bool) -> Work {
    let decision = prepared.decision.as_ref();
    let program = decision.and_then(|decision| decision.program.clone());
    Work {
        session: session.clone(),
        engine: prepared.engine.clone(),
        provider: program.map(|program| provider(session, prepared, program)),
        state: prepared.state.clone(),
        network: prepared.platform.name.network(),
        record: tokio::sync::Mutex::new(prepared.cluster.record.clone().unwrap_or_default()),
        subnets: decision.map(|decision| decision.subnets),
        content: decision.map(|decision| decision.content.clone()).unwrap_or_default(),
        platform: prepared.platform.name.to_string(),
        timeout: prepared.platform.cluster.timeout,
        inside: tokio::sync::OnceCell::new(),
        lenient,
        retain,
        image_timeout: prepared.platform.timeouts.image,
        loaded: tokio::sync::Mutex::default(),
        left_out: Mutex::new(None),
    }
}

fn provider(session: &Session, prepared: &Prepared, program: PathBuf) -> Arc<dyn ClusterProvider> {
    let endpoint = session.system.discovery.attempts.iter().find(|attempt| attempt.outcome.is_ok());
    Arc::new(Kind::new(
        session.system.host.clone(),
        prepared.engine.clone(),
        program,
        prepared.facts.clone(),
        endpoint.map(|attempt| attempt.endpoint.clone()),
        prepared.platform.cluster.timeout,
    ))
}

/// `cluster create`: the cluster alone, and the network that it is in. Returns the plan that was
/// carried out.
pub async fn create(session: &Session, loaded: &Loaded, retain: bool, consent: &dyn Consent) -> Result<Plan, Error> {
    let _lock = lock(session, &loaded.platform.name).await?;
    let mut loaded = loaded.clone();
    loaded.platform.cluster.enabled = true;
    loaded.platform.cluster.required = true;
    let (mut prepared, _) = gather(session, &loaded, Look::default()).await?;
    let wanted = Wanted { may_fetch: true, ..Wanted::default() };
    if let Some(spec) = prepared.resources.networks.first()
        && prepared.observed.network(&spec.name).is_none()
    {
        let resource = ResourceId::new(ResourceKind::Network, &spec.name);
        let step = Step {
            id: format!("create {resource}"),
            resource,
            group: "network".into(),
            action: Action::CreateNetwork(spec.clone()),
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        };
        prepared.plan.steps.push(step);
    }
    extend(session, &mut prepared, &wanted).await?;
    if let Some(drift) = drift(&prepared) {
        session.events.warn(drift);
    }
    if !obtain(session, &mut prepared, consent).await? {
        let reason = Some("it was not to be fetched".to_owned());
        return Err(ClusterError::NoProgram { program: "kind".into(), reason }.into());
    }
    for left in &prepared.plan.left_out {
        session.events.warn(format!("{} is left out: {}", left.service, left.reason));
    }
    certificate::ensure(session, &loaded).await?;
    prepared.state.keep_block(session.host(), prepared.block).await?;
    settle(session, &mut prepared).await?;
    let work = Arc::new(work(session, &prepared, false, retain));
    if prepared.plan.is_empty() {
        return Ok(prepared.plan);
    }
    let done = run(session, &prepared.platform.name, prepared.plan, work).await?;
    hand_on(session, &loaded).await?;
    Ok(done)
}

/// `cluster delete`: the nodes, the context in the user's kubeconfig, and the records that were written
/// for its applications. The host's data stay. An empty plan: there was none.
pub async fn delete(session: &Session, loaded: &Loaded) -> Result<Plan, Error> {
    let platform = &loaded.platform;
    let _lock = lock(session, &platform.name).await?;
    let look = look(session, platform).await?;
    if look.foreign {
        return Err(ClusterError::Exists { name: platform.cluster_name() }.into());
    }
    let mut plan = Plan::default();
    let Some(work) = deletion(session, &platform.name, &look).await? else { return Ok(plan) };
    let name = look.observed.as_ref().map(|found| found.name.clone()).unwrap_or_else(|| platform.cluster_name());
    plan::delete_cluster(&name, &mut plan);
    let done = run(session, &platform.name, plan, work).await?;
    hand_on(session, loaded).await?;
    // without PowerDNS there is nothing to be cleared away, and the next cluster's ExternalDNS does it
    if let Ok(gone @ 1..) = remove_owned(session, loaded).await {
        session.events.info(format!("{gone} records of its applications are gone"));
    }
    Ok(done)
}

/// Who takes a cluster away; `None`: there is none of ours.
pub(super) async fn deletion(
    session: &Session,
    platform: &PlatformName,
    look: &ClusterLook,
) -> Result<Option<Arc<Work>>, Error> {
    if look.observed.is_none() && look.record.is_none() {
        return Ok(None);
    }
    let engine = session.engine()?;
    let state = session.state(platform);
    let program = kind::find(session.host(), session.host().env("MACULA_KIND").as_deref()).await;
    let facts = engine.facts().await?;
    let usable = program.filter(|_| session.host().which(Kind::client(&facts)).is_some());
    let endpoint = session.system.discovery.attempts.iter().find(|attempt| attempt.outcome.is_ok());
    let endpoint = endpoint.map(|attempt| attempt.endpoint.clone());
    let provider = usable.map(|program| {
        let host = session.system.host.clone();
        Arc::new(Kind::new(host, engine.clone(), program, facts, endpoint, SHORT)) as Arc<dyn ClusterProvider>
    });
    Ok(Some(Arc::new(Work {
        session: session.clone(),
        engine,
        provider,
        state,
        network: platform.network(),
        record: tokio::sync::Mutex::new(look.record.clone().unwrap_or_default()),
        subnets: None,
        content: Content::default(),
        platform: platform.to_string(),
        timeout: SHORT,
        inside: tokio::sync::OnceCell::new(),
        lenient: false,
        retain: false,
        image_timeout: Duration::ZERO,
        loaded: tokio::sync::Mutex::default(),
        left_out: Mutex::new(None),
    })))
}

/// `cluster start`: the nodes that are down. An empty plan: all of them run.
pub async fn start(session: &Session, platform: &PlatformName, name: &str) -> Result<Plan, Error> {
    let _lock = lock(session, platform).await?;
    let look = look_for(session, platform, name, &platform.network()).await?;
    let found = ours(&look, name)?;
    let mut plan = Plan::default();
    if found.runs() {
        return Ok(plan);
    }
    let resource = ResourceId::new(ResourceKind::Cluster, &found.name);
    plan.steps.push(Step {
        id: format!("start {resource}"),
        resource,
        group: plan::CLUSTER_GROUP.into(),
        action: Action::Cluster(ClusterAction::Start { name: found.name.clone() }),
        cause: Cause::Requested,
        after: Vec::new(),
        destructive: false,
        needs_privilege: false,
    });
    match deletion(session, platform, &look).await? {
        Some(work) => run(session, platform, plan, work).await,
        None => Ok(Plan::default()),
    }
}

/// `cluster stop`: all nodes at once. An empty plan: none ran.
pub async fn stop(session: &Session, platform: &PlatformName, name: &str) -> Result<Plan, Error> {
    let _lock = lock(session, platform).await?;
    let look = look_for(session, platform, name, &platform.network()).await?;
    let found = ours(&look, name)?;
    let mut plan = Plan::default();
    for node in found.nodes.iter().filter(|node| node.state == ContainerState::Running) {
        let resource = ResourceId::new(ResourceKind::Container, &node.name);
        plan.steps.push(Step {
            id: format!("stop {resource}"),
            resource,
            group: plan::CLUSTER_GROUP.into(),
            action: Action::Stop { container: node.name.clone(), grace: None },
            cause: Cause::Requested,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        });
    }
    if plan.is_empty() {
        return Ok(plan);
    }
    match deletion(session, platform, &look).await? {
        Some(work) => run(session, platform, plan, work).await,
        None => Ok(Plan::default()),
    }
}

fn ours<'a>(look: &'a ClusterLook, name: &str) -> Result<&'a crate::model::ObservedCluster, Error> {
    if look.foreign {
        return Err(ClusterError::Exists { name: name.to_owned() }.into());
    }
    look.observed.as_ref().ok_or_else(|| ClusterError::Missing { name: name.to_owned() }.into())
}

/// `cluster status`.
pub async fn cluster_status(session: &Session, loaded: &Loaded) -> Result<ClusterStatus, Error> {
    let (prepared, _) = gather(session, loaded, Look::default()).await?;
    let mut status = status_of(&loaded.platform, &prepared.cluster, None);
    ask(session, &prepared, &mut status).await?;
    Ok(status)
}

/// `cluster kubeconfig`: a kubeconfig with this cluster alone; with `merge` it also goes into the
/// user's, whose path is the second value.
pub async fn cluster_kubeconfig(
    session: &Session,
    loaded: &Loaded,
    merge: bool,
) -> Result<(String, Option<PathBuf>), Error> {
    let platform = &loaded.platform;
    let name = platform.cluster_name();
    let look = look(session, platform).await?;
    let found = ours(&look, &name)?;
    let host = session.host();
    let kept = host.read(&session.state(&platform.name).cluster_folder().join("kubeconfig")).await.ok();
    let text = match kept {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => ready_provider(session, loaded).await?.kubeconfig(&found.name).await?,
    };
    let context = look.record.as_ref().map_or(&name, |record| &record.context);
    let entry = Entry::of_provider(&text, context).map_err(ClusterError::from)?;
    if !merge {
        return Ok((entry.alone(), None));
    }
    let path = kubeconfig::path(host);
    kubeconfig::put(host, &path, &entry).await.map_err(ClusterError::from)?;
    if let Some(record) = look.record.clone() {
        let record = ClusterRecord { kubeconfig: Some(path.clone()), ..record };
        session.state(&platform.name).keep_cluster(host, &record).await?;
    }
    Ok((entry.alone(), Some(path)))
}

/// `cluster load`: images of the engine into every node.
pub async fn load(session: &Session, loaded: &Loaded, images: &[String]) -> Result<(), Error> {
    let platform = &loaded.platform;
    let look = look(session, platform).await?;
    let found = ours(&look, &platform.cluster_name())?;
    let provider = ready_provider(session, loaded).await?;
    let folder = session.state(&platform.name).cluster_folder();
    let events = session.events.clone();
    let progress = move |progress: crate::event::Progress| {
        if let crate::event::Progress::Line { text } = progress {
            events.info(text);
        }
    };
    let loading = provider.load_images(&found.name, images, &folder, &progress);
    tokio::select! {
        done = loading => Ok(done?),
        () = session.cancel.cancelled() => Err(Error::Cancelled),
    }
}

async fn ready_provider(session: &Session, loaded: &Loaded) -> Result<Arc<dyn ClusterProvider>, Error> {
    let settings = &loaded.platform.cluster;
    let program = kind::find(session.host(), settings.program.as_deref()).await;
    let missing =
        || ClusterError::NoProgram { program: settings.program.clone().unwrap_or_else(|| "kind".into()), reason: None };
    let program = program.ok_or_else(missing)?;
    let engine = session.engine()?;
    let facts = engine.facts().await?;
    let endpoint = session.system.discovery.attempts.iter().find(|attempt| attempt.outcome.is_ok());
    let endpoint = endpoint.map(|attempt| attempt.endpoint.clone());
    Ok(Arc::new(Kind::new(session.system.host.clone(), engine, program, facts, endpoint, settings.timeout)))
}

async fn run(session: &Session, platform: &PlatformName, plan: Plan, work: Arc<Work>) -> Result<Plan, Error> {
    let tools = Tools {
        engine: work.engine.clone(),
        host: session.system.host.clone(),
        facts: work.engine.facts().await?,
        events: session.events.clone(),
        cancel: session.cancel.clone(),
        image_timeout: work.image_timeout,
        cluster: Some(work),
    };
    let outcome: Outcome = apply(&session.command, platform, &plan, tools).await;
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    if outcome.is_ok() { Ok(plan) } else { Err(Error::Failed(Box::new(outcome))) }
}

#[cfg(test)]
mod tests;
