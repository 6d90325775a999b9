//! What goes into the cluster: manifests as data, rendered from `kind/addons/`.
//!
//! An [`AddOn`] is a bundle of objects that comes and goes as one. Its manifests are complete: labelled,
//! with the images that are really used, in the order in which they are to be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Served;
use crate::model::{AnyError, ClusterSettings, is_dns_label, label};
use crate::render::{self, RenderError};

mod corefile;
mod image;

pub use image::{digest, image_names};

/// The namespace of what has none of its own.
pub const NAMESPACE: &str = "macula-system";
/// Who applies, in `managedFields`, and the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "macula";
/// The ServiceAccount and the Secret with the token that Prometheus on the host has.
pub const PROMETHEUS: &str = "macula-prometheus";
/// The owner, among the platform's secrets, of what Prometheus reads the cluster with: `TOKEN`, `CA`,
/// `NAME` and `SERVER`.
pub const SCRAPE_SECRETS: &str = "cluster";
/// Of these the one with host and port of the API server.
pub const SCRAPE_SERVER: &str = "SERVER";
/// Name of the ConfigMap with the platform's CA, its key being [`AUTHORITY_KEY`].
pub const AUTHORITY: &str = "macula-ca";
pub const AUTHORITY_KEY: &str = "ca.crt";
/// Namespaces with this label set to `true` get the ConfigMap [`AUTHORITY`].
pub const AUTHORITY_LABEL: &str = "dev.macula.ca";
/// The Secret with what the cluster's ingress serves, and what its pods say of that where they read it only once
/// (kind/addons/).
const CERTIFICATE: &str = "default-certificate";
const CERTIFICATE_DIGEST: &str = "dev.macula/certificate";
/// The host names of the admission webhook of ingress-nginx: what its certificate is for.
pub const WEBHOOK_NAMES: [&str; 2] =
    ["ingress-nginx-controller-admission.ingress-nginx.svc", "ingress-nginx-controller-admission.ingress-nginx"];

/// One part of what runs in the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddOn {
    /// `external-dns`: the value of the label [`label::ADDON`].
    pub name: String,
    /// For people: `ExternalDNS`.
    pub title: String,
    /// References of all images, after overrides, each once.
    pub images: Vec<String>,
    /// Kubernetes objects as JSON, in the order of their application.
    pub manifests: Vec<Value>,
    /// What must be ready for the add-on to be.
    pub waits: Vec<Workload>,
    /// May be left out where an image cannot be had.
    pub optional: bool,
}

impl AddOn {
    /// Whether something of it is to be in every namespace with a label.
    pub fn is_for_namespaces(&self) -> bool {
        self.manifests.iter().any(|manifest| namespaces_of(manifest).is_some())
    }

    /// Has the ingress serve this, as if it were rendered with it; the manifests that are different then.
    pub fn serve(&mut self, served: &Served) -> Vec<Value> {
        let mut changed = Vec::new();
        for manifest in &mut self.manifests {
            let before = manifest.clone();
            let text = |pointer: &str| before.pointer(pointer).and_then(Value::as_str);
            if text("/kind") == Some("Secret") && text("/metadata/name") == Some(CERTIFICATE) {
                manifest["data"] = json!({"tls.crt": encoded(&served.chain), "tls.key": encoded(&served.key)});
            }
            let annotations = manifest.pointer_mut("/spec/template/metadata/annotations");
            if let Some(known) = annotations.and_then(|all| all.get_mut(CERTIFICATE_DIGEST)) {
                *known = json!(brief_digest(&served.chain));
            }
            if *manifest != before {
                changed.push(manifest.clone());
            }
        }
        changed
    }
}

/// As the data of a Secret.
fn encoded(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}

fn brief_digest(text: &str) -> String {
    let digest = crate::model::Fingerprint::of(&text).0;
    digest.get(..16).unwrap_or(&digest).to_owned()
}

/// The selector of the namespaces that a manifest is for, where it is for several: see
/// [`label::EACH_NAMESPACE`].
pub fn namespaces_of(manifest: &Value) -> Option<&str> {
    manifest.pointer("/metadata/annotations")?.get(label::EACH_NAMESPACE)?.as_str()
}

/// Something that runs pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    pub kind: WorkloadKind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    Deployment,
    DaemonSet,
    StatefulSet,
    Job,
}

/// Certificate and key of the admission webhook, and the authority that the API server is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCertificate {
    /// PEM.
    pub authority: String,
    pub served: Served,
}

/// What the add-ons are made from.
#[derive(Clone)]
pub struct AddOnInput {
    /// Name of the platform.
    pub platform: String,
    pub domain: String,
    /// Name of the cluster.
    pub cluster: String,
    pub settings: ClusterSettings,
    /// The platform's .10: what Ingress objects get as their address.
    pub status_address: Ipv4Addr,
    /// The host's ingress container on the platform's network.
    pub ingress_address: Ipv4Addr,
    /// Full names of the infrastructure: exact ones, and wildcards of sub-zones (`*.s3.macula.local`).
    pub names: Vec<String>,
    /// Further addresses that pods find under the domain, by full name.
    pub records: BTreeMap<String, Ipv4Addr>,
    /// What the cluster's ingress serves where an Ingress names no Secret.
    pub certificate: Option<Served>,
    /// The platform's CA, PEM.
    pub authority: Option<String>,
    /// Of PowerDNS's API; without it there is no ExternalDNS.
    pub powerdns_key: Option<String>,
    pub webhook: Option<WebhookCertificate>,
    /// macula.yaml `images.overrides`.
    pub overrides: BTreeMap<String, String>,
    /// Services of the platform that take part, by name: `loki`, `prometheus`, `tempo`, `powerdns`.
    pub services: BTreeSet<String>,
}

/// Never shows a key.
impl fmt::Debug for AddOnInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddOnInput")
            .field("platform", &self.platform)
            .field("domain", &self.domain)
            .field("cluster", &self.cluster)
            .field("settings", &self.settings)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddOnError {
    #[error(transparent)]
    Template(#[from] RenderError),
    /// A template gave what is no YAML, or no object.
    #[error("{file} gives no Kubernetes object: {source}")]
    Manifest { file: String, source: AnyError },
    #[error("cluster.udp_services.{port}: `{service}` is not of the form namespace/service:port")]
    UdpService { port: u16, service: String },
    #[error("cluster.addons: there is no add-on `{name}`; there are {known}")]
    Unknown { name: String, known: String },
}

/// The names of all add-ons there are.
pub use crate::model::ADD_ONS as NAMES;

/// The add-ons of a cluster, the most needed first.
///
/// # Errors
/// When the settings name what there is not. That a template fails is a defect of ours.
pub fn addons(input: &AddOnInput) -> Result<Vec<AddOn>, AddOnError> {
    if let Some(name) = input.settings.addons.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(AddOnError::Unknown { name: name.clone(), known: NAMES.join(", ") });
    }
    let context = context(input)?;
    let has = |service: &str| input.services.contains(service);
    let ingress = match input.settings.ingress.as_str() {
        "traefik" => Part { name: "ingress", title: "Traefik", files: &["traefik.yaml.j2"], optional: false },
        _ => Part { name: "ingress", title: "ingress-nginx", files: &["ingress-nginx.yaml.j2"], optional: false },
    };
    let mut parts = vec![
        Part { name: "platform", title: "namespace and CA", files: &["platform.yaml.j2"], optional: false },
        Part { name: "dns", title: "the platform's names in pods", files: &["coredns.yaml.j2"], optional: false },
        ingress,
        Part { name: "metrics-server", title: "metrics-server", files: &["metrics-server.yaml.j2"], optional: true },
    ];
    if has("prometheus") {
        let title = "access for Prometheus";
        parts.push(Part { name: "prometheus", title, files: &["prometheus.yaml.j2"], optional: false });
    }
    if has("powerdns") && input.powerdns_key.is_some() {
        parts.push(Part {
            name: "external-dns",
            title: "ExternalDNS",
            files: &["external-dns.yaml.j2"],
            optional: true,
        });
    }
    if has("loki") || has("prometheus") || has("tempo") {
        parts.push(Part { name: "alloy", title: "Grafana Alloy", files: &["alloy.yaml.j2"], optional: true });
    }
    parts.into_iter().map(|part| part.build(input, &context)).collect()
}

struct Part {
    name: &'static str,
    title: &'static str,
    /// Below `kind/addons/`.
    files: &'static [&'static str],
    optional: bool,
}

impl Part {
    fn build(self, input: &AddOnInput, context: &Value) -> Result<AddOn, AddOnError> {
        let mut manifests = Vec::new();
        for file in self.files {
            manifests.extend(objects(file, &rendered(file, context)?)?);
        }
        let mut images = BTreeSet::new();
        for manifest in &mut manifests {
            mark(manifest, input, self.name);
            image::in_manifest(manifest, &mut |reference| {
                if let Some(other) = input.overrides.get(reference) {
                    reference.clone_from(other);
                }
                images.insert(reference.clone());
            });
        }
        // in an order that the API server can take: a namespace before what lies in it
        manifests.sort_by_key(|manifest| match manifest.get("kind").and_then(Value::as_str) {
            Some("Namespace") => 0,
            Some("CustomResourceDefinition") => 1,
            _ => 2,
        });
        let waits = manifests.iter().filter_map(workload).collect();
        Ok(AddOn {
            name: self.name.into(),
            title: self.title.into(),
            images: images.into_iter().collect(),
            manifests,
            waits,
            optional: self.optional,
        })
    }
}

fn rendered(file: &str, context: &Value) -> Result<String, AddOnError> {
    let path = format!("addons/{file}");
    let source = render::kind(&path).unwrap_or_default();
    Ok(render::render(&path, source, context)?)
}

/// The documents of a YAML file.
fn objects(file: &str, text: &str) -> Result<Vec<Value>, AddOnError> {
    let wrong = |source: AnyError| AddOnError::Manifest { file: file.to_owned(), source };
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        match Value::deserialize(document).map_err(|error| wrong(error.into()))? {
            Value::Null => {}
            object @ Value::Object(_) => all.push(object),
            other => return Err(wrong(AnyError::said(format!("a document is {other}")))),
        }
    }
    Ok(all)
}

/// Puts our labels on an object and on the pods that it makes.
fn mark(manifest: &mut Value, input: &AddOnInput, addon: &str) {
    let labels =
        [("app.kubernetes.io/managed-by", MANAGER), (label::PLATFORM, input.platform.as_str()), (label::ADDON, addon)];
    put_labels(manifest, &labels);
    // a part of somebody else's pods is not ours to label
    if !is_adopted(manifest)
        && let Some(template) = manifest.pointer_mut("/spec/template")
    {
        put_labels(template, &labels);
    }
}

fn put_labels(object: &mut Value, labels: &[(&str, &str)]) {
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let all = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    let Some(all) = all.as_object_mut() else { return };
    for (key, value) in labels {
        all.insert((*key).to_owned(), json!(value));
    }
}

/// Objects that were there before us, and stay when the add-on goes.
pub fn is_adopted(manifest: &Value) -> bool {
    let annotations = manifest.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.is_some_and(|all| all.contains_key(label::ADOPTED))
}

fn workload(manifest: &Value) -> Option<Workload> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let kind = match manifest.get("kind").and_then(Value::as_str)? {
        "Deployment" => WorkloadKind::Deployment,
        "DaemonSet" => WorkloadKind::DaemonSet,
        "StatefulSet" => WorkloadKind::StatefulSet,
        _ => return None,
    };
    Some(Workload { kind, namespace: text("/metadata/namespace")?, name: text("/metadata/name")? })
}

fn context(input: &AddOnInput) -> Result<Value, AddOnError> {
    let settings = &input.settings;
    let udp: Vec<Value> = settings
        .udp_services
        .iter()
        .map(|(port, service)| {
            let wrong = || AddOnError::UdpService { port: *port, service: service.clone() };
            let (namespace, rest) = service.split_once('/').ok_or_else(wrong)?;
            let (name, target) = rest.split_once(':').ok_or_else(wrong)?;
            let target: u16 = target.parse().map_err(|_| wrong())?;
            if !is_dns_label(namespace) || !is_dns_label(name) {
                return Err(wrong());
            }
            Ok(json!({"port": port, "namespace": namespace, "service": name, "target": target}))
        })
        .collect::<Result<_, _>>()?;
    let pair = |served: &Served| json!({"certificate": encoded(&served.chain), "key": encoded(&served.key)});
    let services: Map<String, Value> = input.services.iter().map(|name| (name.clone(), json!(true))).collect();
    let mut context = json!({
        "name": input.platform,
        "domain": input.domain,
        "cluster": input.cluster,
        "namespace": NAMESPACE,
        "prometheus": PROMETHEUS,
        "ca": {"name": AUTHORITY, "key": AUTHORITY_KEY, "label": AUTHORITY_LABEL, "pem": input.authority},
        "labels": {"each": label::EACH_NAMESPACE, "adopted": label::ADOPTED},
        "status_address": input.status_address,
        "ingress_address": input.ingress_address,
        "ingress": settings.ingress,
        "images": image::table(),
        "udp_services": udp,
        "certificate": input.certificate.as_ref().map(pair),
        "webhook": input.webhook.as_ref().map(|webhook| {
            let mut value = pair(&webhook.served);
            value["authority"] = json!(encoded(&webhook.authority));
            value
        }),
        "powerdns_key": input.powerdns_key.as_deref().map(encoded),
        "services": services,
    });
    // files that stand in a ConfigMap, and a digest that makes pods follow a change of theirs
    let files = [
        ("corefile", corefile::corefile(input)),
        ("alloy_config", rendered("config.alloy.j2", &context)?),
        ("traefik_config", rendered("traefik-dynamic.yaml.j2", &context)?),
    ];
    for (key, text) in files {
        context[key] = json!({"text": text, "digest": brief_digest(&text)});
    }
    if let Some(served) = &input.certificate {
        context["certificate"]["digest"] = json!(brief_digest(&served.chain));
    }
    Ok(context)
}

#[cfg(test)]
mod tests;
