//! `stack deploy`, `remove`, `scale` and `status` on a cluster of Kubernetes: server-side apply, in the order of
//! `depends_on`, and waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use serde_json::Value;

use super::StackDeploy;
use super::images::in_registry;
use super::steps::{Steps, step};
use crate::app::{DeployError, Error, Session};
use crate::cluster::kubeconfig;
use crate::compile::addons::{Workload, WorkloadKind};
use crate::compile::targets::{Check, Checked, Rendered};
use crate::event::Doing;
use crate::kubernetes::{
    Applied, Kubernetes, KubernetesError, NodeStatus, NotReady, Rerouted, StackOwner, StackRemoved, StackWorkload,
    workload_of,
};
use crate::model::Remedy;

/// Steps that are no workload's, whose names have a blank.
const OBJECTS: &str = "objects";
const GONE: &str = "gone";
/// How long pods may take to end. Those with a longer period of grace are told.
const LEAVING: Duration = Duration::from_secs(120);

/// Which cluster, and whose stack in which of its namespaces.
#[derive(Debug, Clone, Copy)]
pub struct InCluster<'a> {
    pub platform: &'a str,
    pub stack: &'a str,
    pub namespace: &'a str,
    /// Of the kubeconfig; `None`: the current one.
    pub context: Option<&'a str>,
}

impl<'a> InCluster<'a> {
    fn owner(&self) -> StackOwner<'a> {
        StackOwner { platform: self.platform, stack: Some(self.stack), namespace: Some(self.namespace) }
    }
}

/// What was made of a stack, or would be: `Deployment shop/web`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterDeployed {
    pub created: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
}

impl ClusterDeployed {
    fn add(&mut self, applied: Applied) {
        self.created.extend(applied.created);
        self.changed.extend(applied.changed);
        self.unchanged += applied.unchanged;
    }
}

/// What went of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterRemoved {
    pub removed: Vec<String>,
    /// Claims, with the data.
    pub kept: Vec<String>,
    /// What else lives in its namespace, which stays for it.
    pub others: Vec<String>,
    /// Types of what else may live there and cannot be seen. The namespace stays for these, too.
    #[serde(skip)]
    pub unseen: Vec<String>,
    /// What was still ending when this was over.
    pub ending: Vec<String>,
}

/// Before anything was applied, and where nothing is.
fn before(source: KubernetesError) -> Error {
    DeployError::Kubernetes { source, applied: false }.into()
}

/// When something of a deployment may be there.
fn midway(source: KubernetesError) -> Error {
    DeployError::Kubernetes { source, applied: true }.into()
}

/// The API server that a context of the user's kubeconfigs names.
async fn server(session: &Session, context: Option<&str>) -> Result<Kubernetes, Error> {
    let host = session.host();
    let mut files = Vec::new();
    let mut first = None;
    for path in kubeconfig::paths(host) {
        match host.read(&path).await {
            Ok(text) => files.push((path, String::from_utf8_lossy(&text).into_owned())),
            // kubectl does without those that are not there, too
            Err(source) if source.kind() == ErrorKind::NotFound => drop(first.get_or_insert(source)),
            Err(source) => return Err(DeployError::NoKubeconfig(source).into()),
        }
    }
    if let (true, Some(source)) = (files.is_empty(), first) {
        return Err(DeployError::NoKubeconfig(source).into());
    }
    let kubernetes = Kubernetes::connect_anywhere(&files, context).await.map_err(before)?;
    // one that does not answer is told at once, and not after a minute of trying
    kubernetes.version().await.map_err(before)?;
    Ok(kubernetes)
}

async fn unless_cancelled<T>(session: &Session, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        done = work => Ok(done),
        () = session.cancel.cancelled() => Err(Error::Cancelled),
    }
}

/// Makes a cluster have this stack, and waits until it runs.
///
/// # Errors
/// Before anything is made: no API server, objects of somebody else's, what the stack needs and is not there, and what
/// the API server's own dry run refuses. Afterwards: what it refuses all the same, and [`DeployError::NotRunning`] with
/// what the pods say.
pub async fn deploy_to_cluster(
    session: &Session,
    place: InCluster<'_>,
    request: &StackDeploy<'_>,
) -> Result<ClusterDeployed, Error> {
    let Rendered::Kubernetes(objects) = &request.translation.rendered else { return Ok(ClusterDeployed::default()) };
    let kubernetes = unless_cancelled(session, server(session, place.context)).await??;
    let looks = async {
        let found = kubernetes.foreign(place.owner(), objects).await.map_err(before)?;
        if !found.stacks.is_empty() {
            let (stack, namespace) = (place.stack.to_owned(), place.namespace.to_owned());
            return Err(DeployError::Taken { stack, namespace, names: found.objects, stacks: found.stacks }.into());
        }
        if !found.objects.is_empty() {
            let (stack, by) = (place.stack.to_owned(), found.by);
            return Err(DeployError::Foreign { stack, names: found.objects, by }.into());
        }
        if !found.missing.is_empty() {
            let (namespace, missing) = (place.namespace.to_owned(), found.missing);
            return Err(DeployError::NotThere { namespace, missing }.into());
        }
        // a namespace that was there before is somebody else's, and stays as it is
        let own = |object: &&Value| !found.namespace || object["kind"] != "Namespace";
        let mut objects: Vec<Value> = objects.iter().filter(own).cloned().collect();
        let digests = in_registry(session, request).await?;
        objects.iter_mut().for_each(|object| pin(object, &digests));
        let gone = kubernetes.prune_stack(place.owner(), &objects, true).await.map_err(before)?;
        let rerouted = kubernetes.rerouted(place.owner(), &objects).await.map_err(before)?;
        let asked: Vec<Value> = objects.iter().filter(|object| !rerouted.heirs.contains(object)).cloned().collect();
        kubernetes.check_objects(&asked).await.map_err(before)?;
        match request.dry_run {
            true => {
                let mut would = ClusterDeployed { removed: gone, ..ClusterDeployed::default() };
                would.add(kubernetes.compare_objects(asked).await.map_err(before)?);
                would.add(rerouted.would.clone());
                Ok::<_, Error>((objects, rerouted, Some(would)))
            }
            false => Ok((objects, rerouted, None)),
        }
    };
    let (objects, rerouted, would) = unless_cancelled(session, looks).await??;
    match would {
        Some(would) => Ok(would),
        None => Rollout { session, kubernetes: &kubernetes, place, request }.all(&objects, rerouted).await,
    }
}

/// Puts the digest that a registry names behind each image: another build under the same tag is another rollout.
fn pin(object: &mut Value, digests: &BTreeMap<String, String>) {
    let containers = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let image = container["image"].as_str().and_then(|image| Some(format!("{image}@{}", digests.get(image)?)));
        if let Some(image) = image {
            container["image"] = Value::String(image);
        }
    }
}

/// One deployment that is under way.
struct Rollout<'a> {
    session: &'a Session,
    kubernetes: &'a Kubernetes,
    place: InCluster<'a>,
    request: &'a StackDeploy<'a>,
}

impl Rollout<'_> {
    async fn all(&self, objects: &[Value], rerouted: Rerouted) -> Result<ClusterDeployed, Error> {
        let stack = self.place.stack;
        let (mut workloads, mut others): (BTreeMap<String, (Workload, &Value)>, Vec<Value>) = Default::default();
        for object in objects {
            match workload_of(object) {
                Some(workload) => drop(workloads.insert(workload.name.clone(), (workload, object))),
                None => others.push(object.clone()),
            }
        }
        let mut infos = vec![step(OBJECTS.into(), OBJECTS, "apply what pods need".into(), Doing::Create, Vec::new())];
        for (name, (workload, _)) in &workloads {
            let needed = self.needed(name).filter_map(|needed| workloads.get(needed));
            let after = needed.map(|(needed, _)| needed.to_string()).collect();
            infos.push(step(workload.to_string(), name, format!("apply {workload}"), Doing::Await, after));
        }
        infos.push(step(GONE.into(), GONE, "remove what is no longer wanted".into(), Doing::Remove, Vec::new()));
        let session = self.session;
        let steps = Steps::announced(&session.events, &session.command, stack, infos, Vec::new());

        let mut deployed = ClusterDeployed::default();
        steps.start(OBJECTS);
        let tell = |line: &str| steps.waits(OBJECTS, line.to_owned());
        let prepared = Box::pin(self.prepared(rerouted, others, objects, &tell));
        let prepared = unless_cancelled(session, prepared).await?;
        let prepared = prepared.inspect_err(|error| steps.failed(OBJECTS, error));
        let (applied, first, ending) = prepared.map_err(midway)?;
        deployed.add(applied);
        if !ending.is_empty() {
            steps.failed(OBJECTS, "pods have not ended");
            return Err(DeployError::NotRunning { stack: stack.to_owned(), failed: ending }.into());
        }
        steps.done(OBJECTS, None);

        let failed = self.workloads(&steps, &workloads, &mut deployed).await?;
        if !failed.is_empty() {
            return Err(DeployError::NotRunning { stack: stack.to_owned(), failed }.into());
        }
        steps.start(GONE);
        let removed = self.kubernetes.prune_stack(self.place.owner(), objects, false).await;
        let removed = removed.inspect_err(|error| steps.failed(GONE, error)).map_err(midway)?;
        deployed.removed = first.into_iter().chain(removed).collect();
        steps.done(GONE, None);
        Ok(deployed)
    }

    /// Makes room for what takes over a host, a volume or a port, and applies what pods need. What was removed for it,
    /// and the pods that have not ended in time, after the name of what ran them.
    async fn prepared(
        &self,
        rerouted: Rerouted,
        others: Vec<Value>,
        objects: &[Value],
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(Applied, Vec<String>, Vec<(String, String)>), KubernetesError> {
        let mut removed = self.kubernetes.reroute(rerouted).await?;
        let (spaces, others): (Vec<Value>, Vec<Value>) =
            others.into_iter().partition(|object| object["kind"] == "Namespace");
        let space = self.kubernetes.apply_objects(spaces).await?;
        if !space.created.is_empty() {
            // what the cluster says of what goes into it can be asked only now
            self.kubernetes.check_objects(objects).await?;
        }
        let Applied { created, mut changed, unchanged } = self.kubernetes.apply_objects(others).await?.with(space);
        // with another host
        let (again, created): (Vec<String>, Vec<String>) = created.into_iter().partition(|name| removed.contains(name));
        removed.retain(|name| !again.contains(name));
        changed.extend(again);
        let (owner, namespace, patience) = (self.place.owner(), self.place.namespace, self.request.patience);
        let vacated = self.kubernetes.vacate(owner, namespace, objects, patience, tell).await?;
        removed.extend(vacated.removed);
        let why =
            |pod: String| format!("{pod} has not ended, and has a volume or a port that another service is to have");
        let ending = vacated.ending.into_iter().map(|(name, pod)| (name, why(pod))).collect();
        Ok((Applied { created, changed, unchanged }, removed, ending))
    }

    /// The services that one waits for.
    fn needed(&self, name: &str) -> impl Iterator<Item = &String> {
        self.request.translation.waits.get(name).into_iter().flatten()
    }

    /// Each when those that it needs run; those that do not, with why.
    async fn workloads(
        &self,
        steps: &Steps<'_>,
        workloads: &BTreeMap<String, (Workload, &Value)>,
        deployed: &mut ClusterDeployed,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut left: BTreeSet<&String> = workloads.keys().collect();
        let (mut up, mut failed): (BTreeSet<&String>, Vec<(String, String)>) = Default::default();
        let mut running = FuturesUnordered::new();
        loop {
            let mut at_rest = true;
            for name in left.clone() {
                let needed: Vec<&String> = self.needed(name).filter(|needed| workloads.contains_key(*needed)).collect();
                let lost = needed.iter().find(|needed| failed.iter().any(|(failed, _)| failed == **needed));
                let Some((workload, object)) = workloads.get(name) else { continue };
                if let Some(lost) = lost {
                    let why = format!("not applied: {lost} does not run");
                    steps.skipped(&workload.to_string(), &format!("{lost} does not run"));
                    failed.push((name.clone(), why));
                } else if needed.iter().all(|needed| up.contains(needed)) {
                    running.push(async move { (name, self.one(steps, workload, object).await) });
                } else {
                    continue;
                }
                left.remove(name);
                at_rest = false;
            }
            // what was skipped may be what others need
            if !at_rest {
                continue;
            }
            let Some((name, done)) = unless_cancelled(self.session, running.next()).await? else { return Ok(failed) };
            let (applied, not_ready) = done.map_err(midway)?;
            deployed.add(applied);
            match not_ready {
                None => drop(up.insert(name)),
                Some(why) => failed.push((name.clone(), why.to_string())),
            }
        }
    }

    async fn one(
        &self,
        steps: &Steps<'_>,
        workload: &Workload,
        object: &Value,
    ) -> Result<(Applied, Option<NotReady>), KubernetesError> {
        steps.start(&workload.to_string());
        let applied = async {
            let again = self.kubernetes.forget_failed(workload).await?;
            let mut applied = self.kubernetes.apply_objects(vec![object.clone()]).await?;
            if again {
                applied.changed.append(&mut applied.created);
            }
            Ok(applied)
        };
        let applied = applied.await.inspect_err(|error: &KubernetesError| {
            steps.failed(&workload.to_string(), error);
        })?;
        let wait = (self.request.patience, !applied.is_nothing());
        let not_ready = rolled_out(self.kubernetes, steps, workload, wait).await;
        Ok((applied, not_ready))
    }
}

/// Waits until one is rolled out, and tells of it. The last one: how long, and whether it was changed.
async fn rolled_out(
    kubernetes: &Kubernetes,
    steps: &Steps<'_>,
    workload: &Workload,
    (patience, changed): (Duration, bool),
) -> Option<NotReady> {
    let id = workload.to_string();
    let tell = |line: &str| steps.waits(&id, line.to_owned());
    match kubernetes.rolled_out(workload, patience, changed, &tell).await {
        Ok(()) => {
            steps.done(&id, None);
            None
        }
        Err(not_ready) => {
            steps.failed(&id, not_ready.to_string().lines().next().unwrap_or_default());
            Some(not_ready)
        }
    }
}

/// Removes a stack, and waits until its pods have ended. Claims stay unless `volumes` says otherwise.
///
/// # Errors
/// No API server, no such stack.
pub async fn remove_from_cluster(
    session: &Session,
    place: InCluster<'_>,
    volumes: bool,
) -> Result<ClusterRemoved, Error> {
    let work = async {
        let kubernetes = server(session, place.context).await?;
        let gone = kubernetes.remove_stack(place.owner(), place.namespace, volumes).await.map_err(before)?;
        if gone.removed.is_empty() {
            return Err(unknown(&kubernetes, place).await);
        }
        let ending = kubernetes.ended(place.owner(), place.namespace, LEAVING).await.map_err(before)?;
        let StackRemoved { removed, kept, others, unseen } = gone;
        Ok(ClusterRemoved { removed, kept, others, unseen, ending })
    };
    unless_cancelled(session, work).await?
}

/// No such stack there, and those that are.
async fn unknown(kubernetes: &Kubernetes, place: InCluster<'_>) -> Error {
    let all = StackOwner { platform: place.platform, stack: None, namespace: None };
    // who may not look everywhere is told of none
    let all = kubernetes.stack_workloads(all).await.unwrap_or_default();
    let known = crate::words::unique(all.iter().map(|one| one.stack.clone()));
    let here = |one: &&StackWorkload| one.stack == place.stack;
    let elsewhere = crate::words::unique(all.iter().filter(here).map(|one| one.workload.namespace.clone()));
    let (name, namespace) = (place.stack.to_owned(), place.namespace.to_owned());
    match elsewhere.is_empty() {
        true => DeployError::UnknownStack { name, known }.into(),
        false => DeployError::Elsewhere { name, namespace, elsewhere }.into(),
    }
}

async fn standing(kubernetes: &Kubernetes, place: InCluster<'_>) -> Result<Vec<StackWorkload>, Error> {
    let all = kubernetes.stack_workloads(place.owner()).await.map_err(before)?;
    match all.is_empty() {
        true => Err(unknown(kubernetes, place).await),
        false => Ok(all),
    }
}

/// Gives services other numbers of pods, and waits for them.
///
/// # Errors
/// No API server, no such stack or service, one that has no number, whose number is an autoscaler's, or whose pods would
/// write one volume.
pub async fn scale_on_cluster(
    session: &Session,
    place: InCluster<'_>,
    numbers: &BTreeMap<String, u64>,
    patience: Duration,
) -> Result<(), Error> {
    let kubernetes = unless_cancelled(session, server(session, place.context)).await??;
    let all = standing(&kubernetes, place).await?;
    let (mut chosen, mut unseen) = (Vec::new(), Vec::new());
    for (name, number) in numbers {
        let Some(found) = all.iter().find(|one| one.workload.name == *name) else {
            let known = all.iter().map(|one| one.workload.name.clone()).collect();
            let (stack, service) = (place.stack.to_owned(), name.clone());
            return Err(DeployError::UnknownService { stack, service, known }.into());
        };
        let service = name.clone();
        if matches!(found.workload.kind, WorkloadKind::Job | WorkloadKind::DaemonSet) {
            return Err(DeployError::NoReplicas { service }.into());
        }
        if let (true, Some(claim)) = (*number > 1, found.writes.first()) {
            return Err(DeployError::OneVolume { service, claim: claim.clone() }.into());
        }
        match kubernetes.is_autoscaled(&found.workload).await.map_err(before)? {
            Some(true) => return Err(DeployError::Autoscaled { service }.into()),
            Some(false) => {}
            None => unseen.push(service),
        }
        chosen.push((found.workload.clone(), *number));
    }
    if !unseen.is_empty() {
        session.events.warn(format!(
            "the user of this context may not list autoscalers: if {} has one, it sets the number back",
            crate::words::list(unseen)
        ));
    }
    let infos = chosen.iter().map(|(workload, number)| {
        let text = format!("scale {workload} to {number}");
        step(workload.to_string(), &workload.name, text, Doing::Await, Vec::new())
    });
    let steps = Steps::announced(&session.events, &session.command, place.stack, infos.collect(), Vec::new());
    let scaled = async {
        for (workload, number) in &chosen {
            let id = workload.to_string();
            steps.start(&id);
            let scaled = kubernetes.scale(workload, *number).await;
            scaled.inspect_err(|error| steps.failed(&id, error)).map_err(before)?;
        }
        let waits = chosen.iter().map(|(workload, _)| async {
            let not_ready = rolled_out(&kubernetes, &steps, workload, (patience, true)).await;
            not_ready.map(|not_ready| (workload.name.clone(), not_ready.to_string()))
        });
        let failed: Vec<(String, String)> = futures_util::future::join_all(waits).await.into_iter().flatten().collect();
        match failed.is_empty() {
            true => Ok(()),
            false => Err(DeployError::NotRunning { stack: place.stack.to_owned(), failed }.into()),
        }
    };
    unless_cancelled(session, scaled).await?
}

/// How the services of a stack stand.
///
/// # Errors
/// No API server, no such stack.
pub async fn status_on_cluster(session: &Session, place: InCluster<'_>) -> Result<Vec<StackWorkload>, Error> {
    let kubernetes = server(session, place.context).await?;
    standing(&kubernetes, place).await
}

/// The same of all stacks that this platform has deployed, in one namespace or in all.
///
/// # Errors
/// No API server.
pub async fn all_on_cluster(
    session: &Session,
    platform: &str,
    namespace: Option<&str>,
    context: Option<&str>,
) -> Result<Vec<StackWorkload>, Error> {
    let kubernetes = server(session, context).await?;
    kubernetes.stack_workloads(StackOwner { platform, stack: None, namespace }).await.map_err(before)
}

/// Checks the nodes of a cluster, and a stack there or all that this platform has deployed. Whoever may not list nodes
/// learns of that, and of the rest.
///
/// # Errors
/// No API server, no such stack.
pub async fn validate_on_cluster(
    session: &Session,
    platform: &str,
    (stack, namespace): (Option<&str>, Option<&str>),
    context: Option<&str>,
) -> Result<Vec<Check>, Error> {
    let kubernetes = server(session, context).await?;
    let workloads = async {
        match stack {
            Some(stack) => {
                let namespace = namespace.unwrap_or(stack);
                standing(&kubernetes, InCluster { platform, stack, namespace, context }).await
            }
            None => kubernetes.stack_workloads(StackOwner { platform, stack, namespace }).await.map_err(before),
        }
    };
    let (nodes, workloads) = tokio::join!(kubernetes.nodes(), workloads);
    let workloads = workloads?;
    let mut all: Vec<Check> = match nodes {
        Ok(nodes) => nodes.iter().map(|node| node_check(node, context)).collect(),
        Err(error) => vec![Check::new("node", "all", Checked::Warning, format!("cannot list them: {error}"))],
    };
    all.extend(workloads.iter().map(|row| workload_check(row, context)));
    Ok(all)
}

fn node_check(node: &NodeStatus, context: Option<&str>) -> Check {
    let check = |state, seen: String| Check::new("node", &node.name, state, seen);
    match (node.ready, node.unschedulable) {
        (true, false) => check(Checked::Ok, format!("ready, {}", node.version)),
        (true, true) => check(Checked::Warning, "cordoned: it takes no new pods".to_owned())
            .remedy(Remedy::in_context("kubectl", context, &["uncordon", &node.name])),
        (false, _) => check(Checked::Failed, node.reason.clone().unwrap_or_else(|| "not ready".to_owned()))
            .remedy(Remedy::in_context("kubectl", context, &["describe", "node", &node.name])),
    }
}

fn workload_check(row: &StackWorkload, context: Option<&str>) -> Check {
    let name = row.workload.to_string();
    let done = if row.workload.kind == WorkloadKind::Job { "done" } else { "ready" };
    let ready = format!("{} of {} {done}", row.ready, row.wanted);
    let scaler = row.scaler.as_ref().and_then(|scaler| scaler.trouble.as_ref());
    let scaler = scaler.map(|why| format!("its autoscaler does not work: {why}"));
    if row.reasons.is_empty() {
        // as many pods run as there are
        return match scaler {
            Some(scaler) => Check::new("workload", name, Checked::Warning, format!("{ready}; {scaler}")),
            None => Check::new("workload", name, Checked::Ok, ready),
        };
    }
    let reasons: Vec<String> = row.reasons.iter().map(ToString::to_string).chain(scaler).collect();
    Check::new("workload", name, Checked::Failed, reasons.join("; ")).remedy(Remedy::in_context(
        "kubectl",
        context,
        &["get", "events", "-n", &row.workload.namespace],
    ))
}
