//! What goes into a cluster: applied, waited for, and taken out again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::cluster::content::{connect, fingerprint};
use crate::app::cluster::look::API_PORT;
use crate::apply::StepError;
use crate::cluster::ClusterError;
use crate::compile::addons::AddOn;
use crate::engine::ProgressSink;
use crate::event::Progress;
use crate::host::pause;
use crate::kubernetes::{Reason, Trouble};
use crate::model::{AnyError, NodeRole};
use crate::system::Inside;

use super::{INGRESS, Work, plain, role};

/// The add-on whose token Prometheus on the host has.
const SCRAPED: &str = "prometheus";
/// How long the cluster may take to make that token.
const TOKEN: Duration = Duration::from_secs(20);

impl Work {
    pub(super) async fn inside(&self) -> Result<&Arc<dyn Inside>, ClusterError> {
        let context = self.record.lock().await.context.clone();
        self.inside.get_or_try_init(|| connect(&self.session, &self.state, &context)).await
    }

    /// Brings the images of an add-on that are in the engine into the nodes, applies it, and waits.
    pub(super) async fn add(&self, name: &str, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let Some(addon) = self.content.wanted().find(|addon| addon.name == name) else { return Ok(None) };
        let failed = |source: AnyError| StepError::AddOn { name: addon.title.clone(), source, log_tail: Vec::new() };
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
        // one of another kind holds the ports of the nodes that this one waits for
        let before = self.record.lock().await.addons.get(name).cloned().filter(|_| name == INGRESS);
        let leaves_something = before.is_some_and(|before| before != fingerprint(addon));
        let work = async {
            inside.apply(addon).await.map_err(|error| failed(error.into()))?;
            if leaves_something {
                let gone = inside.prune(&self.platform, &self.content.addons).await;
                let gone = gone.map_err(|error| failed(error.into()))?;
                if !gone.is_empty() {
                    progress(Progress::Line { text: format!("removed {}", gone.join(", ")) });
                }
            }
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
            return Err(failed(not_ready.into()));
        }
        if addon.name == SCRAPED {
            self.let_scrape(&**inside).await?;
        }
        if addon.is_for_namespaces() {
            self.state.keep_followed(self.host(), addon).await.map_err(plain)?;
        }
        if addon.name == INGRESS {
            self.state.keep_cluster_ingress(self.host(), addon).await.map_err(plain)?;
        }
        let mut record = self.record.lock().await;
        record.addons.insert(addon.name.clone(), fingerprint(addon));
        self.keep(&record).await?;
        Ok(None)
    }

    /// Hands what the add-on made for the Prometheus on the host to the template of its configuration.
    async fn let_scrape(&self, inside: &dyn Inside) -> Result<(), StepError> {
        let failed = |source: AnyError| StepError::AddOn { name: SCRAPED.into(), source, log_tail: Vec::new() };
        let begun = Instant::now();
        let access = loop {
            if let Some(access) = inside.scrape_access().await.map_err(|error| failed(error.into()))? {
                break access;
            }
            if begun.elapsed() > TOKEN {
                return Err(failed(AnyError::said("the cluster makes no token for it")));
            }
            if !pause(Duration::from_millis(100), &self.session.cancel).await {
                return Err(StepError::Cancelled);
            }
        };
        let name = self.record.lock().await.name.clone();
        let Some(server) = self.api_inside(&name).await? else { return Ok(()) };
        let mut secrets = self.state.secrets(self.host()).await.map_err(plain)?;
        access.record(&mut secrets, &name, &server);
        Ok(self.state.keep_secrets(self.host(), &secrets).await.map_err(plain)?)
    }

    /// Where the API server is reached in the platform's network.
    pub(super) async fn api_inside(&self, name: &str) -> Result<Option<String>, ClusterError> {
        let nodes = self.nodes(name).await?;
        let plane = nodes.iter().find(|node| role(node) == Some(NodeRole::ControlPlane));
        let address = plane.and_then(|node| node.addresses.get(&self.network));
        Ok(address.map(|address| format!("{address}:{API_PORT}")))
    }

    pub(super) async fn prune(&self) -> Result<Option<String>, StepError> {
        let keep: Vec<AddOn> = self.content.addons.clone();
        let gone = self.inside().await?.prune(&self.platform, &keep).await;
        let gone = gone.map_err(|error| StepError::AddOn {
            name: "the cluster".into(),
            source: error.into(),
            log_tail: Vec::new(),
        })?;
        let mut record = self.record.lock().await;
        record.addons.retain(|name, _| keep.iter().any(|addon| addon.name == *name));
        self.keep(&record).await?;
        Ok((!gone.is_empty()).then(|| gone.join(", ")))
    }
}
