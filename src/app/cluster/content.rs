//! What goes into the cluster, and how it fares there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::app::records::{applications, written_addresses};
use crate::app::survey::Survey;
use crate::app::{Error, Session, State};
use crate::cluster::{ClusterError, Entry};
use crate::compile::addons::{AddOn, AddOnInput, WEBHOOK_NAMES, addons};
use crate::compile::{applications_address, ingress_address, name_as_the_domain, received, zone};
use crate::engine::Query;
use crate::kubernetes::{AddOnState, KubernetesError};
use crate::model::{Fingerprint, ImagePolicy, View, split_registry};
use crate::observe;
use crate::pki::{load_or_issue_webhook, webhook_certificate};
use crate::plan::WantedAddOn;
use crate::system::Inside;

/// An API server that has not answered by then is not waited for: it is on this machine.
const QUICK: Duration = Duration::from_secs(3);

/// Where a name is to lead in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To the platform's ingress.
    Platform(Ipv4Addr),
    /// To the cluster's own, whose address is one of its services.
    Cluster,
    /// To what somebody has written.
    Elsewhere(Ipv4Addr),
}

/// The add-ons of a platform's cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    pub addons: Vec<AddOn>,
    /// Those whose image cannot be had, with the reason.
    pub left_out: BTreeMap<String, String>,
    /// Images of theirs that are in the engine: the nodes get them from there.
    pub here: BTreeSet<String>,
    /// Every name that pods find.
    pub names: BTreeMap<String, Leads>,
}

impl Content {
    /// Those that take part.
    pub fn wanted(&self) -> impl Iterator<Item = &AddOn> {
        self.addons.iter().filter(|addon| !self.left_out.contains_key(&addon.name))
    }

    /// For the plan; `broken`: those that are not as they should be.
    pub fn plan(&self, broken: &BTreeSet<String>) -> Vec<WantedAddOn> {
        let wanted = self.wanted().map(|addon| WantedAddOn {
            name: addon.name.clone(),
            title: addon.title.clone(),
            fingerprint: fingerprint(addon),
            broken: broken.contains(&addon.name),
        });
        wanted.collect()
    }
}

/// Whether an add-on is the same as when it was applied.
pub fn fingerprint(addon: &AddOn) -> String {
    Fingerprint::of(&addon.manifests).0
}

/// Renders the add-ons, and sees which of their images can be had. `write`: what has to stay the same
/// from one run to the next is kept; else it lives in memory only, so that `plan` writes nothing.
pub async fn content(session: &Session, survey: &Survey, write: bool) -> Result<Content, Error> {
    let input = input(session, survey, write).await?;
    let applications = applications(session, &survey.platform, input.status_address).await;
    let mut names: BTreeMap<String, Leads> = applications.into_iter().map(|name| (name, Leads::Cluster)).collect();
    names.extend(input.records.iter().map(|(name, address)| (name.clone(), Leads::Elsewhere(*address))));
    names.extend(input.names.iter().map(|name| (name.clone(), Leads::Platform(input.ingress_address))));
    let addons = addons(&input).map_err(|error| {
        Error::Compile(vec![crate::compile::CompileError::Template {
            service: "cluster".into(),
            path: "cluster".into(),
            source: error.into(),
        }])
    })?;
    let images: BTreeSet<String> = addons.iter().flat_map(|addon| addon.images.clone()).collect();
    let query = Query { images: images.iter().cloned().collect(), ..Query::default() };
    let here: BTreeSet<String> = survey.engine.find(&query).await?.images.into_keys().collect();
    // what was applied once has its images in the nodes
    let applied = survey.cluster.record.as_ref().map(|record| record.addons.clone()).unwrap_or_default();
    let new = |addon: &&AddOn| !applied.contains_key(&addon.name);
    let missing: BTreeSet<&str> = addons
        .iter()
        .filter(new)
        .flat_map(|addon| addon.images.iter().map(String::as_str))
        .filter(|image| !here.contains(*image))
        .collect();
    let local = survey.platform.images.policy == ImagePolicy::Local;
    let hosts: BTreeSet<&str> = missing.iter().map(|image| split_registry(image).0).collect();
    let answers = join_all(hosts.into_iter().map(|registry| async move {
        let known = survey.observed.registries.get(registry).copied();
        let answer = match known {
            Some(answer) => answer,
            None => !local && observe::reaches(session.host(), registry).await,
        };
        (registry, answer)
    }));
    let answers: BTreeMap<&str, bool> = answers.await.into_iter().collect();
    let mut left_out = BTreeMap::new();
    for addon in addons.iter().filter(new) {
        let gone = addon
            .images
            .iter()
            .find(|image| missing.contains(image.as_str()) && answers.get(split_registry(image).0) != Some(&true));
        if let Some(image) = gone {
            let registry = split_registry(image).0;
            let reason = format!("{image} is not in the engine, and {registry} does not answer");
            left_out.insert(addon.name.clone(), reason);
        }
    }
    Ok(Content { addons, left_out, here, names })
}

async fn input(session: &Session, survey: &Survey, write: bool) -> Result<AddOnInput, Error> {
    let platform = &survey.platform;
    let host = session.host();
    let path = survey.state.folder().join("tls").join("webhook.pem");
    let webhook = if write || host.exists(&path).await {
        load_or_issue_webhook(host, &path, &WEBHOOK_NAMES, host.now()).await?
    } else {
        webhook_certificate(&WEBHOOK_NAMES, host.now())?
    };
    // the names inside are the resolver's, but for those that nobody owns
    let mut zone = zone(platform, survey.block, survey.subnet, survey.tls(), None);
    if survey.resolver {
        let received = received(platform, survey.block).into_iter();
        name_as_the_domain(&mut zone, received.map(|received| (received.host, None)));
    }
    let apart = [zone.soa.primary.clone(), format!("*.{}", platform.domain)];
    let names: BTreeSet<String> = zone
        .records
        .iter()
        .filter(|record| record.view == Some(View::Container) && !apart.contains(&record.name))
        .map(|record| record.name.clone())
        .collect();
    Ok(AddOnInput {
        platform: platform.name.to_string(),
        domain: platform.domain.clone(),
        cluster: platform.cluster_name(),
        settings: platform.cluster.clone(),
        status_address: applications_address(survey.block),
        ingress_address: ingress_address(survey.subnet),
        names: names.into_iter().collect(),
        records: written_addresses(session, platform).await,
        certificate: survey.served.clone(),
        authority: survey.authority(),
        powerdns_key: survey.secrets.get("powerdns", "PDNS_API_KEY").map(str::to_owned),
        webhook: Some(webhook),
        overrides: platform.images.overrides.clone(),
        services: platform.services().map(|(_, service)| service.name.clone()).collect(),
    })
}

/// The API server of our cluster, from the kubeconfig that its provider wrote.
pub async fn connect(session: &Session, state: &State, context: &str) -> Result<Arc<dyn Inside>, ClusterError> {
    let path = state.cluster_folder().join("kubeconfig");
    let text = session.host().read(&path).await?;
    let entry = Entry::of_provider(&String::from_utf8_lossy(&text), context)?;
    let inside = session.system.reach.connect(&entry.alone(), context).await;
    inside.map_err(|error| ClusterError::Io(error.into()))
}

/// Which add-ons are not in the cluster as they should be. A cluster that does not answer in time says
/// nothing of them.
pub async fn broken(session: &Session, survey: &Survey, content: &Content) -> Option<BTreeSet<String>> {
    let record = survey.cluster.record.as_ref()?;
    let inside = connect(session, &survey.state, &record.context).await.ok()?;
    let applied: Vec<&AddOn> = content.wanted().filter(|addon| record.addons.contains_key(&addon.name)).collect();
    let looks = join_all(applied.iter().map(|addon| {
        let inside = inside.clone();
        async move {
            let (drift, status) = tokio::join!(inside.drift(addon), inside.addon_status(std::slice::from_ref(*addon)));
            let same = match drift {
                Ok(drift) => drift.is_nothing(),
                Err(KubernetesError::Unreachable { .. }) => return None,
                // a namespace that is going, a type that is gone: not as it should be
                Err(_) => false,
            };
            let ready = status.ok()?.iter().all(|one| one.state == AddOnState::Ready);
            Some((addon.name.clone(), same && ready))
        }
    }));
    let looks: Vec<(String, bool)> =
        tokio::time::timeout(QUICK, looks).await.ok()?.into_iter().collect::<Option<_>>()?;
    Some(looks.into_iter().filter(|(_, right)| !right).map(|(name, _)| name).collect())
}
