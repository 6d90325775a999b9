//! Carries out the steps of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::app::survey::Survey;
use crate::app::{Error, Session, State};
use crate::apply::pull::{Pull, Unpulled};
use crate::apply::{ClusterWork, StepError};
use crate::cluster::kind::{self, CLUSTER_LABEL, Kind, ROLE_LABEL};
use crate::cluster::{ClusterError, ClusterProvider, Entry, kubeconfig};
use crate::compile::addons::{AddOn, SCRAPE_SECRETS, SCRAPE_SERVER, digest};
use crate::engine::{Engine, ImageError, ProgressSink};
use crate::event::Progress;
use crate::host::Host;
use crate::kubernetes::{NodeStatus, Reason, Trouble};
use crate::model::{
    ClusterRecord, ClusterSpec, ContainerState, Facts, NodeRole, ObservedContainer, PlatformName, Protocol,
};
use crate::plan::ClusterAction;
use crate::system::Inside;

use super::SHORT;
use super::content::{Content, connect, fingerprint};
use super::decide::{Decision, cannot_be_had};
use super::look::{API_PORT, ClusterLook};

/// How long the API server of nodes that are started again may take.
const AGAIN: Duration = Duration::from_secs(180);

/// The add-on by which applications are reached, its port in the nodes, and how long it may take to answer again.
const INGRESS: &str = "ingress";
const HTTP: u16 = 80;
const INGRESS_PATIENCE: Duration = Duration::from_secs(120);

/// The add-on whose token Prometheus on the host has.
const SCRAPED: &str = "prometheus";
/// How long the cluster may take to make that token.
const TOKEN: Duration = Duration::from_secs(20);

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
            kubeconfig: None,
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
        record.kubeconfig = self.hand_over(&**provider, &spec.name, &spec.context).await?;
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

    /// Images whose checksum is known are pulled by it into the engine, from where the nodes get them. One
    /// that does not come is left to the nodes, whose pod says why.
    async fn fetch_checked(&self) {
        let wanted = self.content.wanted().flat_map(|addon| &addon.images);
        for image in wanted.filter(|image| !self.content.here.contains(*image)) {
            let Some(digest) = digest(image) else { continue };
            let (repository, _) = image.rsplit_once(':').unwrap_or((image, ""));
            let pinned = format!("{repository}@{digest}");
            if self.engine.pull(&pinned, None, &|_| {}).await.is_ok() {
                // the nodes know it by its tag
                let _ = self.engine.tag(&pinned, image).await;
            }
        }
    }

    /// Brings the images that are here into nodes in which Kubernetes is only starting. What fails is tried
    /// again with its add-on, which says why.
    async fn load_early(
        &self,
        provider: &dyn ClusterProvider,
        cluster: &str,
        running: tokio::sync::oneshot::Receiver<()>,
    ) {
        if running.await.is_err() {
            return;
        }
        for addon in self.content.wanted() {
            let images: Vec<String> =
                addon.images.iter().filter(|image| self.content.here.contains(*image)).cloned().collect();
            let folder = self.state.cluster_folder();
            if !images.is_empty() && provider.load_images(cluster, &images, &folder, &|_| {}).await.is_ok() {
                self.loaded.lock().await.extend(images);
            }
        }
    }

    async fn inside(&self) -> Result<&Arc<dyn Inside>, ClusterError> {
        let context = self.record.lock().await.context.clone();
        self.inside.get_or_try_init(|| connect(&self.session, &self.state, &context)).await
    }

    /// Brings the images of an add-on that are in the engine into the nodes, applies it, and waits.
    async fn add(&self, name: &str, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let Some(addon) = self.content.wanted().find(|addon| addon.name == name) else { return Ok(None) };
        let failed = |reason: String| StepError::AddOn { name: addon.title.clone(), reason, log_tail: Vec::new() };
        let inside = self.inside().await?;
        let cluster = self.record.lock().await.name.clone();
        let mut here = Vec::new();
        let loaded = self.loaded.lock().await.clone();
        for image in addon.images.iter().filter(|image| !loaded.contains(*image)) {
            if self.engine.image(image).await?.is_some() {
                here.push(image.clone());
            }
        }
        if let Some(provider) = self.provider.as_ref().filter(|_| !here.is_empty()) {
            progress(Progress::Line { text: format!("loading {} into the nodes", here.join(", ")) });
            provider.load_images(&cluster, &here, &self.state.cluster_folder(), progress).await?;
        }
        let work = async {
            inside.apply(addon).await.map_err(|error| failed(error.to_string()))?;
            let tell = |reason: &str| progress(Progress::Waiting { reason: reason.to_owned() });
            Ok::<_, StepError>(inside.ready(addon, self.timeout, &tell).await)
        };
        let ready = tokio::select! {
            ready = work => ready?,
            () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
        };
        if let Err(not_ready) = ready {
            // its image is nowhere: nothing of ours, and nothing that another `up` would mend
            let image = |reason: &Reason| matches!(reason.trouble, Trouble::Image { .. });
            if addon.optional && self.lenient && not_ready.reasons.iter().all(image) {
                self.session.events.warn(format!("add-on {name} is left out: {not_ready}"));
                return Ok(Some("left out".into()));
            }
            return Err(failed(not_ready.to_string()));
        }
        if addon.name == SCRAPED {
            self.let_scrape(&**inside).await?;
        }
        if addon.is_for_namespaces() {
            self.state.keep_followed(self.host(), addon).await.map_err(plain)?;
        }
        let mut record = self.record.lock().await;
        record.addons.insert(addon.name.clone(), fingerprint(addon));
        self.keep(&record).await?;
        Ok(None)
    }

    /// Hands what the add-on made for the Prometheus on the host to the template of its configuration.
    async fn let_scrape(&self, inside: &dyn Inside) -> Result<(), StepError> {
        let failed = |reason: String| StepError::AddOn { name: SCRAPED.into(), reason, log_tail: Vec::new() };
        let begun = Instant::now();
        let access = loop {
            match inside.scrape_access().await.map_err(|error| failed(error.to_string()))? {
                Some(access) => break access,
                None if begun.elapsed() > TOKEN => return Err(failed("the cluster makes no token for it".into())),
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let name = self.record.lock().await.name.clone();
        let Some(server) = self.api_inside(&name).await? else { return Ok(()) };
        let mut secrets = self.state.secrets(self.host()).await.map_err(plain)?;
        access.record(&mut secrets, &name, &server);
        Ok(self.state.keep_secrets(self.host(), &secrets).await.map_err(plain)?)
    }

    /// Where the API server is reached in the platform's network.
    async fn api_inside(&self, name: &str) -> Result<Option<String>, ClusterError> {
        let nodes = self.nodes(name).await?;
        let plane = nodes.iter().find(|node| role(node) == Some(NodeRole::ControlPlane));
        let address = plane.and_then(|node| node.addresses.get(&self.network));
        Ok(address.map(|address| format!("{address}:{API_PORT}")))
    }

    async fn prune(&self) -> Result<Option<String>, StepError> {
        let keep: Vec<AddOn> = self.content.addons.clone();
        let gone = self.inside().await?.prune(&self.platform, &keep).await;
        let gone = gone.map_err(|error| StepError::AddOn {
            name: "the cluster".into(),
            reason: error.to_string(),
            log_tail: Vec::new(),
        })?;
        let mut record = self.record.lock().await;
        record.addons.retain(|name, _| keep.iter().any(|addon| addon.name == *name));
        self.keep(&record).await?;
        Ok((!gone.is_empty()).then(|| gone.join(", ")))
    }

    /// The context goes to the user; a kubeconfig that cannot be changed is no reason to have no cluster.
    async fn hand_over(
        &self,
        provider: &dyn ClusterProvider,
        name: &str,
        context: &str,
    ) -> Result<Option<PathBuf>, ClusterError> {
        let text = provider.kubeconfig(name).await?;
        let entry = Entry::of_provider(&text, context)?;
        let path = kubeconfig::path(self.host());
        match kubeconfig::put(self.host(), &path, &entry).await {
            Ok(()) => Ok(Some(path)),
            Err(error) => {
                let hint = "`macula cluster kubeconfig` prints what would go there";
                self.session.events.warn(format!("the context {context} is not in your kubeconfig: {error}; {hint}"));
                Ok(None)
            }
        }
    }

    /// The specification with the image that is there, which is pulled where none is.
    async fn with_image(&self, spec: &ClusterSpec, progress: ProgressSink<'_>) -> Result<ClusterSpec, StepError> {
        if self.engine.image(&spec.node_image).await?.is_some() {
            return Ok(spec.clone());
        }
        match self.pulled(&spec.pull, progress).await? {
            Ok(reference) => {
                let mut spec = spec.clone();
                spec.config = spec.config.replace(&spec.node_image, &reference);
                spec.node_image = reference;
                Ok(spec)
            }
            Err(attempts) => Err(ClusterError::NodeImage { reference: spec.node_image.clone(), attempts }.into()),
        }
    }

    /// The load balancer's image comes before the first node: kind would pull it in the middle, and fail there.
    async fn with_balancer(&self, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let Some((image, pull)) = &self.balancer else { return Ok(()) };
        if self.engine.image(image).await?.is_some() {
            return Ok(());
        }
        match self.pulled(pull, progress).await? {
            Ok(reference) if reference == *image => Ok(()),
            // kind knows it by one name
            Ok(reference) => Ok(self.engine.tag(&reference, image).await?),
            Err(attempts) => Err(ClusterError::BalancerImage { reference: image.clone(), attempts }.into()),
        }
    }

    /// The first of these that can be pulled, or what each said.
    async fn pulled(
        &self,
        from: &[String],
        progress: ProgressSink<'_>,
    ) -> Result<Result<String, Vec<ImageError>>, StepError> {
        let sources = Pull {
            engine: &*self.engine,
            platform: None,
            // node images are lists for many processors: the engine takes its own
            architecture: "",
            timeout: self.image_timeout,
            progress,
        };
        let pulled = tokio::select! {
            pulled = sources.first_of(from) => pulled,
            () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
        };
        match pulled {
            Ok(reference) => Ok(Ok(reference)),
            Err(Unpulled::Engine(error)) => Err(error.into()),
            Err(Unpulled::Refused { attempts, .. }) => Ok(Err(attempts)),
        }
    }

    /// Starts what is down. With several control planes each has to have the address again that it was
    /// made with, since they know each other by it; a single one finds its new address by itself.
    async fn start(&self, name: &str, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let record = self.record.lock().await.clone();
        let network = &self.network;
        let mut nodes = self.nodes(name).await?;
        nodes.sort_by_key(|node| (role(node) != Some(NodeRole::ExternalLoadBalancer), node.name.clone()));
        let several = nodes.iter().filter(|node| role(node) == Some(NodeRole::ControlPlane)).count() > 1;
        let runs = |node: &ObservedContainer| node.state == ContainerState::Running;
        let mut down: Vec<&ObservedContainer> = nodes.iter().filter(|node| !runs(node)).collect();
        if several {
            let moved = |node: &&ObservedContainer| {
                let now = node.addresses.get(network);
                runs(node) && now.is_some() && now != record.addresses.get(&node.name)
            };
            let moved: Vec<&ObservedContainer> = nodes.iter().filter(moved).collect();
            for node in &moved {
                progress(Progress::Line { text: format!("{} has another address than it was made with", node.name) });
                self.engine.stop(&node.name, Some(Duration::from_secs(10))).await?;
            }
            down.extend(moved);
            for node in &down {
                if let Some(address) = record.addresses.get(&node.name) {
                    self.engine.readdress(&node.name, network, *address).await?;
                }
            }
        }
        let since = self.host().now();
        for node in &down {
            progress(Progress::Line { text: format!("starting {}", node.name) });
            self.engine.start(&node.name).await?;
        }
        self.answers(name, progress).await?;
        let version = self.tested(name, since, progress).await?;
        if record.addons.contains_key(INGRESS) {
            self.ingress_answers(name, progress).await?;
        }
        let mut secrets = self.state.secrets(self.host()).await.map_err(plain)?;
        if let Some(server) = self.api_inside(name).await?
            && secrets.get(SCRAPE_SECRETS, SCRAPE_SERVER).is_some_and(|known| known != server)
        {
            secrets.set(SCRAPE_SECRETS, SCRAPE_SERVER, server);
            self.state.keep_secrets(self.host(), &secrets).await.map_err(plain)?;
        }
        let version = version.map(|version| format!(", Kubernetes {version}")).unwrap_or_default();
        Ok(Some(if down.len() == 1 { format!("1 node{version}") } else { format!("{} nodes{version}", down.len()) }))
    }

    /// Waits until the API server accepts connections on this machine.
    async fn answers(&self, name: &str, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let begun = Instant::now();
        loop {
            let nodes = self.nodes(name).await?;
            let address = api_address(&nodes);
            let reason = match address {
                Some(address) => match self.host().connect(address, Duration::from_secs(1)).await {
                    Ok(()) => return Ok(()),
                    Err(error) => format!("{address}: {error}"),
                },
                None => "its port is not published yet".to_owned(),
            };
            if begun.elapsed() > AGAIN {
                return Err(ClusterError::NotReady { name: name.to_owned(), message: reason, logs: None }.into());
            }
            progress(Progress::Waiting { reason });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
            }
        }
    }

    /// Waits until the ingress answers on this machine, by which applications are reached. The nodes run all the
    /// same: where it takes too long, that is said and nothing more.
    async fn ingress_answers(&self, name: &str, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let begun = Instant::now();
        let nodes = self.nodes(name).await?;
        let Some(address) = nodes.iter().find_map(ingress_address) else { return Ok(()) };
        loop {
            // any status is an answer: what an application says is its own affair
            let Err(error) = self.host().http_get(address, "localhost", "/", Duration::from_secs(2)).await else {
                return Ok(());
            };
            let reason = format!("the ingress does not answer at {address}: {error}");
            if begun.elapsed() > INGRESS_PATIENCE {
                self.session.events.warn(format!("{reason}; `macula cluster status` shows its pods"));
                return Ok(());
            }
            progress(Progress::Waiting { reason });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
                () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
            }
        }
    }

    /// The test of itself: the API server answers as one, and every node has said that it is ready `since`
    /// then (seconds since the epoch). What the API server remembers of a node from before proves nothing.
    async fn tested(&self, name: &str, since: i64, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let begun = Instant::now();
        let inside = self.inside().await?;
        let mut first: Option<BTreeMap<String, Option<i64>>> = None;
        loop {
            let reason = match inside.nodes().await {
                Ok(nodes) => {
                    let seen = nodes.iter().map(|node| (node.name.clone(), node.seen)).collect();
                    let first = first.get_or_insert(seen);
                    // a node with another clock than ours is believed once its word is a new one
                    let fresh = |node: &NodeStatus| {
                        node.seen.is_none_or(|seen| seen >= since || first.get(&node.name) != Some(&Some(seen)))
                    };
                    match nodes.iter().find(|node| !node.ready || !fresh(node)) {
                        None => return Ok(nodes.into_iter().next().map(|node| node.version)),
                        Some(node) if node.ready => format!("{}: its kubelet has not reported yet", node.name),
                        Some(node) => format!("{}: {}", node.name, node.reason.as_deref().unwrap_or("not ready")),
                    }
                }
                Err(error) => error.to_string(),
            };
            if begun.elapsed() > AGAIN {
                return Err(ClusterError::NotReady { name: name.to_owned(), message: reason, logs: None }.into());
            }
            progress(Progress::Waiting { reason });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
                () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
            }
        }
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
        let path = record.kubeconfig.clone().unwrap_or_else(|| kubeconfig::path(self.host()));
        let context = if record.context.is_empty() { name } else { &record.context };
        if let Err(error) = kubeconfig::take_out(self.host(), &path, context).await {
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
            ClusterAction::Delete { name } => self.delete(name, progress).await,
            ClusterAction::AddOn { name, .. } => self.add(name, progress).await,
            ClusterAction::Prune => self.prune().await,
        }
    }
}

fn role(node: &ObservedContainer) -> Option<NodeRole> {
    NodeRole::parse(node.label(ROLE_LABEL)?)
}

fn addresses(nodes: &[ObservedContainer], network: &str) -> BTreeMap<String, std::net::Ipv4Addr> {
    nodes.iter().filter_map(|node| Some((node.name.clone(), *node.addresses.get(network)?))).collect()
}

/// Where this machine reaches the ingress in the nodes.
fn ingress_address(node: &ObservedContainer) -> Option<SocketAddr> {
    let port = node.ports.iter().find(|port| port.container_port == HTTP && port.protocol == Protocol::Tcp)?;
    Some(SocketAddr::new(port.host_ip, port.host_port?))
}

/// Where the API server is published: at the load balancer where there is one.
fn api_address(nodes: &[ObservedContainer]) -> Option<SocketAddr> {
    let balancer = nodes.iter().find(|node| role(node) == Some(NodeRole::ExternalLoadBalancer));
    let node = balancer.or_else(|| nodes.iter().find(|node| role(node) == Some(NodeRole::ControlPlane)))?;
    let port = node.ports.iter().find(|port| port.container_port == API_PORT)?;
    let ip = if port.host_ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { port.host_ip };
    Some(SocketAddr::new(ip, port.host_port?))
}

fn plain(error: Error) -> ClusterError {
    ClusterError::Io(error.to_string())
}
