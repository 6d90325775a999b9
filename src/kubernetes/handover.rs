//! What an earlier deployment of a stack holds and the next one gives to another of its parts: a volume, a port of the
//! nodes, a host of the ingress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::prune::Unwanted;
use super::stack::{LOOK, StackOwner, workload_of};
use super::{Applied, Identity, Kubernetes, KubernetesError, kind_of, selector};
use crate::compile::addons::WorkloadKind;

/// Ingresses that get a host and path which another one of the stack has. The webhook of ingress-nginx takes none of
/// these as long as that one is there.
#[derive(Default)]
pub struct Rerouted {
    /// Those that go first. Some of them are made again, with another host.
    holders: Vec<Unwanted>,
    /// The manifests of those that can only be applied then.
    pub heirs: Vec<Value>,
    /// What becomes of the heirs.
    pub would: Applied,
}

/// What went before others were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacated {
    /// `StatefulSet shop/db`
    pub removed: Vec<String>,
    /// Pods that had not ended when the time was up, after the name of what ran them.
    pub ending: Vec<(String, String)>,
}

impl Kubernetes {
    /// Which Ingresses of a stack have what others of these objects are to have.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses one of those for another reason.
    pub async fn rerouted(&self, owner: StackOwner<'_>, keep: &[Value]) -> Result<Rerouted, KubernetesError> {
        let mut all = Rerouted::default();
        let is_nginx = |object: &&Value| {
            object["kind"] == "Ingress"
                && object.pointer("/spec/ingressClassName").is_some_and(|class| class == "nginx")
        };
        let named = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        let mut wanted: BTreeMap<(String, String), String> = BTreeMap::new();
        for object in keep.iter().filter(is_nginx) {
            let Some(name) = named(object) else { continue };
            wanted.extend(routes(object).into_iter().map(|route| (route, name.clone())));
        }
        if wanted.is_empty() {
            return Ok(all);
        }
        let ingress = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.k8s.io", "v1", "Ingress"));
        let (mut there, mut heirs): (BTreeSet<String>, BTreeSet<&String>) = Default::default();
        for (one, object) in self.whole(owner, vec![ingress], keep, &BTreeSet::new()).await? {
            there.insert(one.object.name.clone());
            let heir = |route: (String, String)| wanted.get(&route).filter(|name| **name != one.object.name);
            let others: BTreeSet<&String> = routes(&object.data).into_iter().filter_map(heir).collect();
            if !others.is_empty() {
                heirs.extend(others);
                all.holders.push(one);
            }
        }
        for object in keep.iter().filter(is_nginx) {
            let (Some(name), Some(identity)) = (named(object), Identity::of(object)) else { continue };
            if heirs.contains(&name) {
                let would = if there.contains(&name) { &mut all.would.changed } else { &mut all.would.created };
                would.push(identity.to_string());
                all.heirs.push(object.clone());
            }
        }
        for heir in &all.heirs {
            match self.check_objects(std::slice::from_ref(heir)).await {
                // what it says beyond that is to be known before anything goes
                Err(error) if error.is_taken_route() => {}
                other => other?,
            }
        }
        Ok(all)
    }

    /// Removes the Ingresses that are in the way of others, and waits until the API server takes those.
    ///
    /// # Errors
    /// As [`Kubernetes::check_objects`], and when a deletion is refused.
    pub async fn reroute(&self, rerouted: Rerouted) -> Result<Vec<String>, KubernetesError> {
        let removed = self.delete(rerouted.holders).await?;
        let deadline = Instant::now() + self.patience;
        loop {
            match self.check_objects(&rerouted.heirs).await {
                // the webhook hears of a removal a moment later
                Err(error) if error.is_taken_route() && Instant::now() < deadline => sleep(LOOK).await,
                other => return other.map(|()| removed),
            }
        }
    }

    /// Removes the workloads of a stack that are not among these objects and have a volume or a port of the nodes that
    /// one of these is to have, and waits until their pods have ended: two at a time would write one volume, and no node
    /// takes a pod whose port it has given away. `tell` hears what is waited for.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses a deletion.
    pub async fn vacate(
        &self,
        owner: StackOwner<'_>,
        namespace: &str,
        keep: &[Value],
        timeout: Duration,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vacated, KubernetesError> {
        let workloads: Vec<&Value> = keep.iter().filter(|object| workload_of(object).is_some()).collect();
        let wanted: BTreeSet<String> = workloads.iter().flat_map(|object| held(&object["spec"]["template"])).collect();
        let mut all = Vacated::default();
        if wanted.is_empty() {
            return Ok(all);
        }
        let own: BTreeSet<Identity> = workloads.iter().filter_map(|object| Identity::of(object)).collect();
        let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::Job];
        let resources = kinds.map(|kind| ApiResource::from_gvk(&kind_of(kind))).to_vec();
        let mut holders = Vec::new();
        for (one, object) in self.whole(owner, resources, keep, &own).await? {
            if !held(&object.data["spec"]["template"]).is_disjoint(&wanted) {
                holders.push(one);
            }
        }
        all.removed = self.delete(holders).await?;
        let pod = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let pods: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &pod);
        let how = ListParams::default().labels(&selector(&owner.labels()));
        let deadline = Instant::now() + timeout;
        let mut told = String::new();
        loop {
            // also those that an earlier deployment did not wait for to its end
            let found = match pods.list(&how).await.map_err(|error| self.error("list", "pods".into(), error)) {
                Ok(found) => found.items,
                // who has removed nothing need not see pods
                Err(KubernetesError::Refused { code: 403, .. }) if all.removed.is_empty() => return Ok(all),
                Err(error) => return Err(error),
            };
            let left = found.iter().filter(|pod| !is_over(pod) && !held(&pod.data).is_disjoint(&wanted));
            let left = left.filter_map(|pod| {
                let (kind, name) = workload_name(pod)?;
                let is_own = own.iter().any(|one| one.kind == kind && one.name == name);
                (!is_own).then(|| (name, format!("Pod {namespace}/{}", pod.name_any())))
            });
            let left: Vec<(String, String)> = left.collect();
            if left.is_empty() || Instant::now() >= deadline {
                all.ending = left;
                return Ok(all);
            }
            let line = format!("{} to end", crate::words::list(left.iter().map(|(_, pod)| pod)));
            if line != told {
                tell(&line);
                told = line;
            }
            sleep(LOOK).await;
        }
    }

    /// What a stack has of these types and is not among those that stay, whole.
    async fn whole(
        &self,
        owner: StackOwner<'_>,
        resources: Vec<ApiResource>,
        keep: &[Value],
        stays: &BTreeSet<Identity>,
    ) -> Result<Vec<(Unwanted, DynamicObject)>, KubernetesError> {
        let needed = keep.iter().filter_map(|object| object["kind"].as_str()).collect();
        let found = self.visible(resources, owner.namespace, &selector(&owner.labels()), &needed).await?;
        let mut all = Vec::new();
        for one in self.unwanted(found, stays) {
            let object = self.api(&one.object).get_opt(&one.object.name).await;
            let object = object.map_err(|error| self.error("read", one.object.to_string(), error))?;
            all.extend(object.map(|object| (one, object)));
        }
        Ok(all)
    }
}

/// Hosts and paths of an Ingress.
fn routes(ingress: &Value) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for rule in ingress.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten() {
        let host = rule["host"].as_str().unwrap_or_default();
        for path in rule.pointer("/http/paths").and_then(Value::as_array).into_iter().flatten() {
            all.insert((host.to_owned(), path["path"].as_str().unwrap_or("/").to_owned()));
        }
    }
    all
}

/// Claims and ports of the node that a pod has, or those of a template.
fn held(pod: &Value) -> BTreeSet<String> {
    let list = |at: &'static str| pod.pointer(at).and_then(Value::as_array).into_iter().flatten();
    let claims =
        list("/spec/volumes").filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str());
    let ports = list("/spec/containers").filter_map(|container| container["ports"].as_array()).flatten();
    let ports = ports.filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        Some(format!("port {}/{protocol}", port["hostPort"].as_u64().filter(|number| *number > 0)?))
    });
    claims.map(|claim| format!("claim {claim}")).chain(ports).collect()
}

/// It runs nothing any more: the pod of a job that is done.
fn is_over(pod: &DynamicObject) -> bool {
    let phase = pod.data.pointer("/status/phase").and_then(Value::as_str);
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Kind and name of what runs a pod. A ReplicaSet is called after its Deployment.
fn workload_name(pod: &DynamicObject) -> Option<(String, String)> {
    let owner = pod.owner_references().first()?;
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let (deployment, _) = owner.name.rsplit_once('-')?;
            Some(("Deployment".to_owned(), deployment.to_owned()))
        }
        kind => Some((kind.to_owned(), owner.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::stack_tests::{OWNER, objects, server};

    async fn vacated(server: &crate::kubernetes::server::Server, keep: &[Value]) -> Vacated {
        server.kubernetes.vacate(OWNER, "shop", keep, Duration::ZERO, &|_| {}).await.unwrap()
    }

    #[tokio::test]
    async fn what_has_a_volume_or_a_port_that_another_gets_goes_before_it() {
        let data = |name: &str| {
            format!(
                "services: {{{name}: {{image: 'db:1', volumes: ['data:/d']}}, web: {{image: 'w:1'}}}}\nvolumes: {{data: {{}}}}\n"
            )
        };
        let port =
            |service: &str| format!("services: {{{service}, other: {{image: 'o:1'}}}}\nvolumes: {{data: {{}}}}\n");
        let host = "ports: [{target: 80, published: '8080', mode: host}]";
        for (before, after, removed) in [
            (data("db"), data("database"), vec!["StatefulSet shop/db"]),
            (data("db"), data("db"), Vec::new()),
            (data("db"), port("web: {image: 'w:1'}"), Vec::new()),
            (
                port(&format!("web: {{image: 'w:1', {host}}}")),
                port(&format!("site: {{image: 'w:1', {host}}}")),
                vec!["Deployment shop/web"],
            ),
            // the same service, as another kind
            (
                port(&format!("web: {{image: 'w:1', {host}}}")),
                port(&format!("web: {{image: 'w:1', {host}, volumes: ['data:/d']}}")),
                vec!["Deployment shop/web"],
            ),
        ] {
            let (server, _) = server().await;
            server.kubernetes.apply_objects(objects(&before)).await.unwrap();
            let all = vacated(&server, &objects(&after)).await;
            assert_eq!((all.removed.as_slice(), all.ending), (strings(&removed).as_slice(), Vec::new()), "{after}");
        }
    }

    #[tokio::test]
    async fn a_pod_that_has_not_ended_keeps_its_volume() {
        let (server, memory) = server().await;
        let text = |name: &str| {
            format!("services: {{{name}: {{image: 'db:1', volumes: ['data:/d']}}}}\nvolumes: {{data: {{}}}}\n")
        };
        let wanted = objects(&text("database"));
        server.kubernetes.apply_objects(wanted.clone()).await.unwrap();
        let labels = memory.lock().unwrap().get("/statefulsets/database").unwrap()["metadata"]["labels"].clone();
        let pod = |owner: &str, phase: &str| {
            json!({
                "metadata": {
                    "name": format!("{owner}-0"), "namespace": "shop", "labels": labels,
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": "u"}],
                },
                "spec": {"containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
                "status": {"phase": phase},
            })
        };
        for (owner, phase, ending) in [
            ("db", "Running", vec![("db".to_owned(), "Pod shop/db-0".to_owned())]),
            ("db", "Succeeded", Vec::new()),
            ("database", "Running", Vec::new()),
        ] {
            memory.lock().unwrap().put("/api/v1/namespaces/shop/pods/one", pod(owner, phase));
            assert_eq!(vacated(&server, &wanted).await, Vacated { removed: Vec::new(), ending }, "{owner} {phase}");
        }
    }

    #[tokio::test]
    async fn an_ingress_goes_where_another_one_gets_its_host() {
        let text = |hosts: &str| {
            let rules = hosts.split(' ').map(|host| format!("{{host: {host}, port: 80}}"));
            let rules = rules.collect::<Vec<_>>().join(", ");
            objects(&format!("services: {{web: {{image: 'w:1', x-macula: {{ingress: [{rules}]}}}}}}\n"))
        };
        let (web, second) = ("Ingress shop/web", "Ingress shop/web-2");
        for (before, after, removed, would) in [
            ("a b", "a b", Vec::new(), (Vec::new(), Vec::new())),
            ("a", "a b", Vec::new(), (Vec::new(), Vec::new())),
            ("a b", "b", vec![second], (Vec::new(), vec![web])),
            ("a b", "b a", vec![web, second], (Vec::new(), vec![web, second])),
            ("a", "new a", vec![web], (vec![second], Vec::new())),
        ] {
            let (server, memory) = server().await;
            server.kubernetes.apply_objects(text(before)).await.unwrap();
            let wanted = text(after);
            let rerouted = server.kubernetes.rerouted(OWNER, &wanted).await.unwrap();
            assert_eq!(
                rerouted.would,
                Applied { created: strings(&would.0), changed: strings(&would.1), unchanged: 0 }
            );
            assert_eq!(rerouted.heirs.len(), would.0.len() + would.1.len());
            assert_eq!(server.kubernetes.reroute(rerouted).await.unwrap(), strings(&removed), "{before}: {after}");
            let left = memory.lock().unwrap().names().iter().filter(|name| name.starts_with("ingresses/")).count();
            assert_eq!(left, before.split(' ').count() - removed.len());
        }
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}
