//! `cluster create|delete|start|stop|status|kubeconfig|load`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::cluster::join::{self, Joined};
use crate::app::cluster::look::{ClusterLook, look, look_for};
use crate::app::cluster::status::{ClusterStatus, ask, status_of};
use crate::app::cluster::work::{Work, kind_of, wrote};
use crate::app::prepare::Consent;
use crate::app::records::remove_owned;
use crate::app::survey::{Survey, survey};
use crate::app::{Error, Session};
use crate::apply::Tools;
use crate::cluster::kind;
use crate::cluster::{ClusterError, ClusterProvider, Entry, kubeconfig};
use crate::config::Loaded;
use crate::model::{ClusterRecord, ContainerState, PlatformName, ResourceId, ResourceKind};
use crate::plan::{self, Action, Cause, ClusterAction, Plan, Step, Verb};

/// `cluster create`: the cluster alone, and the network that it is in. Returns the plan that was
/// carried out.
pub async fn create_cluster(
    session: &Session,
    loaded: &Loaded,
    retain: bool,
    consent: &dyn Consent,
) -> Result<Plan, Error> {
    let _lock = session.lock(&loaded.platform.name).await?;
    let mut loaded = loaded.clone();
    loaded.platform.cluster.enabled = true;
    loaded.platform.cluster.required = true;
    let (survey, mut plan, mut joined) = loop {
        let survey = survey(session, &loaded).await?;
        let mut plan = network_alone(&survey);
        let wanted = join::Wanted { may_fetch: true, ..join::Wanted::default() };
        let joined = join::extend(session, &survey, &mut plan, wanted).await?;
        match &survey.certificate {
            Err(reason) => session.events.warn(format!("plain HTTP only: {reason}")),
            Ok(certificate) if certificate.keep(session, &survey.platform).await? => {}
            Ok(_) => continue,
        }
        break (survey, plan, joined);
    };
    if let Some(drift) = join::drift(&survey, &joined) {
        session.events.warn(drift);
    }
    if !obtain_program(session, &mut joined, consent).await? {
        let reason = Some("it was not to be fetched".to_owned());
        return Err(ClusterError::NoProgram { program: "kind".into(), reason, fetched: true }.into());
    }
    for left in &plan.left_out {
        session.events.warn(format!("{} is left out: {}", left.service, left.reason));
    }
    if let Some(foreign) = survey.foreign() {
        return Err(foreign);
    }
    let fixed = loaded.platform.addresses.block.is_some();
    if !survey.state.keep_block(session.host(), survey.block, fixed).await? {
        return Err(Error::NoBlock { name: loaded.platform.name.to_string() });
    }
    join::render_content(session, &survey, &plan, &mut joined).await?;
    if plan.is_empty() {
        return Ok(plan);
    }
    let work = Work::new(session, &survey, joined.decision.as_ref()).retaining(retain);
    plan = run(session, plan, work).await?;
    join::update_scrape_config(session, &self::survey(session, &loaded).await?).await;
    Ok(plan)
}

/// The cluster's nodes are in the platform's network, which is made where it is missing.
fn network_alone(survey: &Survey) -> Plan {
    let mut plan = Plan::default();
    if let Some(spec) = survey.resources.networks.first()
        && survey.observed.network(&spec.name).is_none()
    {
        let resource = ResourceId::new(ResourceKind::Network, &spec.name);
        plan.steps.push(Step {
            id: Verb::Create.step(&resource),
            resource,
            group: "network".into(),
            action: Action::CreateNetwork(spec.clone()),
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        });
    }
    plan
}

/// Gets the provider's program where the plan needs it, having asked. False: the user said no.
pub(super) async fn obtain_program(
    session: &Session,
    joined: &mut Joined,
    consent: &dyn Consent,
) -> Result<bool, Error> {
    let Some(decision) = &mut joined.decision else { return Ok(true) };
    let Some(obtain) = decision.obtain.take() else { return Ok(true) };
    if !consent.install("the cluster needs kind", &obtain.fix()).await? {
        return Ok(false);
    }
    decision.program = Some(join::get_program(session, obtain).await?);
    Ok(true)
}

/// `cluster delete`: the nodes, the context in the user's kubeconfig, and the records that were written
/// for its applications. The host's data stay. An empty plan: there was none.
pub async fn delete_cluster(session: &Session, loaded: &Loaded) -> Result<Plan, Error> {
    let platform = &loaded.platform;
    let _lock = session.lock(&platform.name).await?;
    let look = look(session, platform).await?;
    if look.foreign {
        return Err(ClusterError::Exists { name: platform.cluster_name() }.into());
    }
    let mut plan = Plan::default();
    let Some(work) = Work::of_standing(session, &platform.name, &look).await? else { return Ok(plan) };
    let name = look.observed.as_ref().map(|found| found.name.clone()).unwrap_or_else(|| platform.cluster_name());
    plan::delete_cluster(&name, &mut plan);
    let done = run(session, plan, work).await?;
    join::update_scrape_config(session, &survey(session, loaded).await?).await;
    // without PowerDNS there is nothing to be cleared away, and the next cluster's ExternalDNS does it
    if let Ok(gone @ 1..) = remove_owned(session, loaded).await {
        session.events.info(format!("{gone} records of its applications are gone"));
    }
    Ok(done)
}

/// `cluster start`: the nodes that are down. An empty plan: all of them run.
pub async fn start_cluster(session: &Session, platform: &PlatformName, name: &str) -> Result<Plan, Error> {
    let _lock = session.lock(platform).await?;
    let look = look_for(session, platform, name, &platform.network()).await?;
    let found = ours(&look, name)?;
    let mut plan = Plan::default();
    if found.runs() {
        return Ok(plan);
    }
    let resource = ResourceId::new(ResourceKind::Cluster, &found.name);
    plan.steps.push(Step {
        id: Verb::Start.step(&resource),
        resource,
        group: plan::CLUSTER_GROUP.into(),
        action: Action::Cluster(ClusterAction::Start { name: found.name.clone() }),
        cause: Cause::Requested,
        after: Vec::new(),
        destructive: false,
        needs_privilege: false,
    });
    match Work::of_standing(session, platform, &look).await? {
        Some(work) => run(session, plan, work).await,
        None => Ok(Plan::default()),
    }
}

/// `cluster stop`: all nodes at once. An empty plan: none ran.
pub async fn stop_cluster(session: &Session, platform: &PlatformName, name: &str) -> Result<Plan, Error> {
    let _lock = session.lock(platform).await?;
    let look = look_for(session, platform, name, &platform.network()).await?;
    let found = ours(&look, name)?;
    let mut plan = Plan::default();
    for node in found.nodes.iter().filter(|node| node.state == ContainerState::Running) {
        let resource = ResourceId::new(ResourceKind::Container, &node.name);
        plan.steps.push(Step {
            id: Verb::Stop.step(&resource),
            resource,
            group: plan::CLUSTER_GROUP.into(),
            action: Action::Stop { container: node.name.clone(), grace: None, hooks: Vec::new() },
            cause: Cause::Requested,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        });
    }
    if plan.is_empty() {
        return Ok(plan);
    }
    match Work::of_standing(session, platform, &look).await? {
        Some(work) => run(session, plan, work).await,
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
    let seen = look(session, &loaded.platform).await?;
    if seen.observed.is_none() {
        // nothing of the rest has to be looked at
        return Ok(status_of(&loaded.platform, &seen, None));
    }
    let survey = survey(session, loaded).await?;
    let mut status = status_of(&loaded.platform, &survey.cluster, None);
    ask(session, &survey, None, &mut status).await?;
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
    let written = look.record.as_ref().is_some_and(|record| wrote(record, &path, context));
    kubeconfig::put(host, &path, &entry, written).await.map_err(ClusterError::from)?;
    if let Some(record) = look.record.clone() {
        let record = ClusterRecord { kubeconfig: Some(path.clone()), ..record };
        session.state(&platform.name).keep_cluster(host, &record).await?;
    }
    Ok((entry.alone(), Some(path)))
}

/// `cluster load`: images of the engine into every node.
pub async fn load_into_cluster(session: &Session, loaded: &Loaded, images: &[String]) -> Result<(), Error> {
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
    let missing = || {
        let name = settings.program.clone().unwrap_or_else(|| "kind".into());
        ClusterError::NoProgram { program: name, reason: None, fetched: settings.program.is_none() }
    };
    let program = program.ok_or_else(missing)?;
    let engine = session.engine()?;
    let facts = engine.facts().await?;
    Ok(kind_of(session, engine, facts, program, settings.timeout))
}

async fn run(session: &Session, plan: Plan, work: Work) -> Result<Plan, Error> {
    let platform = work.platform.clone();
    let tools = session.tools(work.engine.clone(), work.engine.facts().await?);
    let tools = Tools { image_timeout: work.image_timeout, cluster: Some(Arc::new(work)), ..tools };
    session.carry_out(&platform, &plan, tools).await?;
    Ok(plan)
}
