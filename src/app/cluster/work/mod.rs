//! Carries out the steps of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::app::survey::Survey;
use crate::app::{Error, Session, State};
use crate::apply::{ClusterWork, StepError};
use crate::cluster::kind::{self, CLUSTER_LABEL, Kind, ROLE_LABEL};
use crate::cluster::{ClusterError, ClusterProvider, Entry, kubeconfig};
use crate::compile::addons::SCRAPE_SECRETS;
use crate::engine::{Engine, ProgressSink};
use crate::event::Progress;
use crate::host::Host;
use crate::model::{ClusterRecord, ClusterSpec, Facts, NodeRole, ObservedContainer, PlatformName, macula};
use crate::plan::ClusterAction;
use crate::system::Inside;

use super::SHORT;
use super::content::Content;
use super::decide::{Decision, cannot_be_had};
use super::look::ClusterLook;

mod addons;
mod images;
mod start;

/// The add-on by which applications are reached.
const INGRESS: &str = "ingress";

/// `kind` on the engine that is used; `patience`: for one of its commands.
pub fn kind_of(
    session: &Session,
    engine: Arc<dyn Engine>,
    facts: Facts,
    program: PathBuf,
    patience: Duration,
) -> Arc<dyn ClusterProvider> {
    Arc::new(Kind::new(session.system.host.clone(), engine, program, facts, session.endpoint(), patience))
}

/// Everything that the steps need. What they learn is written down as they go.
pub struct Work {
    pub session: Session,
    pub engine: Arc<dyn Engine>,
    /// `None`: the program is not here, which starting and (by the engine alone) deleting do without.
    pub provider: Option<Arc<dyn ClusterProvider>>,
    pub state: State,
    /// The platform's, which the nodes are in.
    pub network: String,
    pub record: tokio::sync::Mutex<ClusterRecord>,
    pub subnets: Option<(ipnet::Ipv4Net, ipnet::Ipv4Net)>,
    pub content: Content,
    /// The name that the objects in the cluster bear.
    pub platform: PlatformName,
    /// How long an add-on may take to become ready.
    pub timeout: Duration,
    /// The cluster's API server, once it was connected to.
    pub inside: tokio::sync::OnceCell<Arc<dyn Inside>>,
    /// A cluster that cannot be had on this machine is left out.
    pub lenient: bool,
    /// What fails stays, for a look.
    pub retain: bool,
    /// For one pull.
    pub image_timeout: Duration,
    /// The image of the load balancer, and where it can be pulled: kind makes one for several control planes.
    pub balancer: Option<(String, Vec<String>)>,
    /// Images that are in the nodes since their creation.
    pub loaded: tokio::sync::Mutex<BTreeSet<String>>,
    /// Why the cluster was left out after all.
    pub left_out: Mutex<Option<String>>,
}

impl Work {
    /// For what was decided; without a decision there is nothing that it could make.
    pub fn new(session: &Session, survey: &Survey, decision: Option<&Decision>) -> Self {
        let timeout = survey.platform.cluster.timeout;
        let program = decision.and_then(|decision| decision.program.clone());
        let kind = |program| kind_of(session, survey.engine.clone(), survey.facts.clone(), program, timeout);
        Self {
            provider: program.map(kind),
            subnets: decision.map(|decision| decision.subnets),
            content: decision.map(|decision| decision.content.clone()).unwrap_or_default(),
            timeout,
            image_timeout: survey.platform.timeouts.image,
            balancer: decision.and_then(|decision| decision.balancer.clone()),
            ..Self::bare(session, survey.engine.clone(), &survey.platform.name, survey.cluster.record.clone())
        }
    }

    /// For starting, stopping and deleting a cluster that stands, which need no files; `None`: there is none
    /// of ours.
    pub async fn of_standing(
        session: &Session,
        platform: &PlatformName,
        look: &ClusterLook,
    ) -> Result<Option<Self>, Error> {
        if look.observed.is_none() && look.record.is_none() {
            return Ok(None);
        }
        let engine = session.engine()?;
        let program = kind::find(session.host(), session.host().env("MACULA_KIND").as_deref()).await;
        let facts = engine.facts().await?;
        let usable = program.filter(|_| session.host().which(Kind::client(&facts)).is_some());
        let provider = usable.map(|program| kind_of(session, engine.clone(), facts, program, SHORT));
        Ok(Some(Self { provider, ..Self::bare(session, engine, platform, look.record.clone()) }))
    }

    fn bare(
        session: &Session,
        engine: Arc<dyn Engine>,
        platform: &PlatformName,
        record: Option<ClusterRecord>,
    ) -> Self {
        Self {
            session: session.clone(),
            engine,
            provider: None,
            state: session.state(platform),
            network: platform.network(),
            record: tokio::sync::Mutex::new(record.unwrap_or_default()),
            subnets: None,
            content: Content::default(),
            platform: platform.clone(),
            timeout: SHORT,
            inside: tokio::sync::OnceCell::new(),
            lenient: false,
            retain: false,
            image_timeout: Duration::ZERO,
            balancer: None,
            loaded: tokio::sync::Mutex::default(),
            left_out: Mutex::new(None),
        }
    }

    /// A cluster that cannot be had on this machine after all is left out.
    pub fn lenient(self, lenient: bool) -> Self {
        Self { lenient, ..self }
    }

    /// What fails stays, for a look.
    pub fn retaining(self, retain: bool) -> Self {
        Self { retain, ..self }
    }

    fn host(&self) -> &dyn Host {
        self.session.host()
    }

    fn provider(&self) -> Result<&Arc<dyn ClusterProvider>, ClusterError> {
        self.provider.as_ref().ok_or_else(|| ClusterError::NoProgram {
            program: "kind".into(),
            reason: None,
            fetched: false,
        })
    }

    pub fn left_out(&self) -> Option<String> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn keep(&self, record: &ClusterRecord) -> Result<(), ClusterError> {
        self.state.keep_cluster(self.host(), record).await.map_err(plain)
    }

    async fn nodes(&self, name: &str) -> Result<Vec<ObservedContainer>, ClusterError> {
        Ok(self.engine.labelled(&format!("{CLUSTER_LABEL}={name}")).await?)
    }

    async fn create(
        &self,
        spec: &ClusterSpec,
        clear: bool,
        progress: ProgressSink<'_>,
    ) -> Result<Option<String>, StepError> {
        match self.create_or_fail(spec, clear, progress).await {
            Err(StepError::Cluster(error)) if self.lenient && cannot_be_had(&error) => {
                *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                Ok(Some("left out".into()))
            }
            other => other,
        }
    }

    async fn create_or_fail(
        &self,
        spec: &ClusterSpec,
        clear: bool,
        progress: ProgressSink<'_>,
    ) -> Result<Option<String>, StepError> {
        let provider = self.provider()?;
        let folder = self.state.cluster_folder();
        // what an earlier cluster has put there is ours to replace
        let known = self.state.cluster(self.host()).await.map_err(plain)?;
        let path = kubeconfig::path(self.host());
        let written = known.is_some_and(|known| wrote(&known, &path, &spec.context));
        let subnet = |subnet: Option<ipnet::Ipv4Net>| subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        let mut record = ClusterRecord {
            name: spec.name.clone(),
            context: spec.context.clone(),
            complete: false,
            parts: spec.parts.clone(),
            node_image: spec.node_image.clone(),
            pod_subnet: subnet(self.subnets.map(|(pods, _)| pods)),
            service_subnet: subnet(self.subnets.map(|(_, services)| services)),
            addresses: BTreeMap::new(),
            kubeconfig: written.then(|| path.clone()),
            addons: BTreeMap::new(),
        };
        if clear {
            progress(Progress::Line { text: "clearing away what a run that was stopped left".into() });
            provider.delete(&spec.name).await?;
        }
        let spec = self.with_image(spec, progress).await?;
        self.with_balancer(progress).await?;
        record.node_image = spec.node_image.clone();
        // from here on there may be nodes, which bear no label of ours
        self.keep(&record).await?;
        let begun = Instant::now();
        let (tell, running) = tokio::sync::oneshot::channel();
        let tell = Mutex::new(Some(tell));
        let nodes_run = || {
            if let Some(tell) = tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = tell.send(());
            }
        };
        let create = async {
            let made = provider.create(&spec, &folder, self.retain, &nodes_run, progress).await;
            // nobody waits for nodes that will not come
            tell.lock().unwrap_or_else(PoisonError::into_inner).take();
            made
        };
        let made = tokio::select! {
            // images that are to be checked come down while the nodes start, and those that are here go into them
            // while Kubernetes does
            (made, (), ()) = futures_util::future::join3(
                create,
                self.fetch_checked(),
                self.load_early(&**provider, &spec.name, running),
            ) => made.map_err(StepError::from),
            () = self.session.cancel.cancelled() => {
                // its own program has ended with the future
                let _ = provider.delete(&spec.name).await;
                Err(StepError::Cancelled)
            }
        };
        if let Err(error) = made {
            if (!self.retain || matches!(error, StepError::Cancelled)) && self.cleared(&spec.name).await {
                self.state.forget_cluster(self.host()).await.map_err(plain)?;
            }
            return Err(error);
        }
        record.complete = true;
        record.addresses = addresses(&self.nodes(&spec.name).await?, &spec.network);
        if self.hand_over(&**provider, &spec, &path, written).await? {
            record.kubeconfig = Some(path);
        }
        self.keep(&record).await?;
        *self.record.lock().await = record;
        Ok(Some(format!("{} in {} s", spec.node_image, begun.elapsed().as_secs())))
    }

    /// Whether nothing of a creation that failed is left, having taken away what its own program left behind.
    /// What stays is ours: the record that names it stays too, and the next run takes it from there.
    async fn cleared(&self, name: &str) -> bool {
        let Ok(nodes) = self.nodes(name).await else { return false };
        let mut all = true;
        for node in nodes {
            all &= self.engine.discard_container(&node.name).await.is_ok();
        }
        all
    }

    /// The context goes to the user; a kubeconfig that cannot be changed is no reason to have no cluster. Whether it is
    /// there. `written`: one of its name is ours.
    async fn hand_over(
        &self,
        provider: &dyn ClusterProvider,
        spec: &ClusterSpec,
        path: &Path,
        written: bool,
    ) -> Result<bool, ClusterError> {
        let context = &spec.context;
        let text = provider.kubeconfig(&spec.name).await?;
        let entry = Entry::of_provider(&text, context)?;
        match kubeconfig::put(self.host(), path, &entry, written).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let print = self.session.line(macula("cluster kubeconfig"));
                self.session.events.warn(format!(
                    "the context {context} is not in your kubeconfig: {error}; `{print}` prints what would go there"
                ));
                Ok(false)
            }
        }
    }

    /// Nothing has to start again: the folder is mounted, and is looked at with each pull.
    async fn write_registries(
        &self,
        folder: &Path,
        files: &BTreeMap<String, String>,
        gone: &[String],
    ) -> Result<Option<String>, StepError> {
        for (name, content) in files {
            let written = self.host().write(&folder.join(name), content.as_bytes(), 0o644).await;
            written.map_err(ClusterError::from)?;
        }
        for name in gone {
            self.host().remove_folder(&folder.join(name)).await.map_err(ClusterError::from)?;
        }
        Ok(None)
    }

    async fn delete(&self, name: &str, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let record = self.record.lock().await.clone();
        match &self.provider {
            Some(provider) => provider.delete(name).await?,
            None => {
                for node in self.nodes(name).await? {
                    progress(Progress::Line { text: format!("removing {}", node.name) });
                    self.engine.discard_container(&node.name).await?;
                }
            }
        }
        let context = if record.context.is_empty() { name } else { &record.context };
        // a context of the name that we did not put there is somebody else's
        if let Some(path) = &record.kubeconfig
            && let Err(error) = kubeconfig::take_out(self.host(), path, context).await
        {
            self.session.events.warn(format!("the context {context} stays in {}: {error}", path.display()));
        }
        let mut secrets = self.state.secrets(self.host()).await.map_err(plain)?;
        if secrets.0.remove(SCRAPE_SECRETS).is_some() {
            self.state.keep_secrets(self.host(), &secrets).await.map_err(plain)?;
        }
        self.state.forget_cluster(self.host()).await.map_err(plain)?;
        Ok(None)
    }
}

#[async_trait]
impl ClusterWork for Work {
    async fn run(&self, action: &ClusterAction, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        if self.left_out().is_some() {
            return Ok(Some("left out with the cluster".into()));
        }
        match action {
            ClusterAction::Create { spec, clear } => self.create(spec, *clear, progress).await,
            ClusterAction::Start { name } => self.start(name, progress).await,
            ClusterAction::Registries { folder, files, gone } => self.write_registries(folder, files, gone).await,
            ClusterAction::Delete { name } => self.delete(name, progress).await,
            ClusterAction::AddOn { name, .. } => self.add(name, progress).await,
            ClusterAction::Prune => self.prune().await,
        }
    }
}

/// Whether it is written down that this context went into this kubeconfig.
pub fn wrote(record: &ClusterRecord, path: &Path, context: &str) -> bool {
    record.kubeconfig.as_deref() == Some(path) && record.context == context
}

fn role(node: &ObservedContainer) -> Option<NodeRole> {
    NodeRole::parse(node.label(ROLE_LABEL)?)
}

fn addresses(nodes: &[ObservedContainer], network: &str) -> BTreeMap<String, std::net::Ipv4Addr> {
    nodes.iter().filter_map(|node| Some((node.name.clone(), *node.addresses.get(network)?))).collect()
}

fn plain(error: Error) -> ClusterError {
    ClusterError::Io(error.into())
}
