//! An API server in memory, as far as stacks ask of it: what is applied is kept, workloads run at once unless a test
//! says otherwise, and nothing is written by a dry run.

#![allow(dead_code, reason = "each of those who take it needs a part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What a test says no to: method, the end of the path, code, reason and message.
pub type No = (&'static str, &'static str, u16, &'static str, String);

#[derive(Default)]
pub struct Api {
    /// By their paths.
    pub objects: BTreeMap<String, Value>,
    /// Every request, `PATCH /api/v1/namespaces/shop?...`.
    pub asked: Vec<String>,
    pub no: Vec<No>,
    /// The status of the pod of workloads that do not get ready, by the workload's name.
    pub sick: BTreeMap<String, Value>,
    /// What containers wrote, by the pod's name.
    pub logs: BTreeMap<String, String>,
    /// Plurals of kinds that it does not have. A real one has no Status for them where it has nothing of their group.
    pub without: Vec<&'static str>,
    /// What it says of Deployments where the webhook that it has to ask about them does not answer.
    pub silent: Option<String>,
    version: u64,
}

/// Where a request leads.
struct Place {
    /// `/api/v1/namespaces/shop/configmaps`
    collection: String,
    namespace: Option<String>,
    plural: String,
    name: Option<String>,
    below: Option<String>,
}

fn place(path: &str) -> Option<Place> {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let skip = if *words.first()? == "api" { 2 } else { 3 };
    let (root, rest) = (words.get(..skip)?.join("/"), words.get(skip..)?);
    let text = |word: Option<&&str>| word.map(|word| (*word).to_owned());
    Some(match rest {
        ["namespaces", namespace, plural, more @ ..] => Place {
            collection: format!("/{root}/namespaces/{namespace}/{plural}"),
            namespace: Some((*namespace).to_owned()),
            plural: (*plural).to_owned(),
            name: text(more.first()),
            below: text(more.get(1)),
        },
        [plural, more @ ..] => Place {
            collection: format!("/{root}/{plural}"),
            namespace: None,
            plural: (*plural).to_owned(),
            name: text(more.first()),
            below: text(more.get(1)),
        },
        [] => return None,
    })
}

/// A group, its version, and the types of which namespaces hold objects there, each with its kind.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TYPES: &[Group] = &[
    (
        "",
        "v1",
        &[
            ("pods", "Pod"),
            ("services", "Service"),
            ("secrets", "Secret"),
            ("configmaps", "ConfigMap"),
            ("persistentvolumeclaims", "PersistentVolumeClaim"),
            ("serviceaccounts", "ServiceAccount"),
            ("endpoints", "Endpoints"),
            ("events", "Event"),
        ],
    ),
    ("apps", "v1", &[("deployments", "Deployment"), ("statefulsets", "StatefulSet"), ("daemonsets", "DaemonSet")]),
    ("batch", "v1", &[("jobs", "Job"), ("cronjobs", "CronJob")]),
    ("autoscaling", "v2", &[("horizontalpodautoscalers", "HorizontalPodAutoscaler")]),
    ("policy", "v1", &[("poddisruptionbudgets", "PodDisruptionBudget")]),
    ("networking.k8s.io", "v1", &[("ingresses", "Ingress"), ("networkpolicies", "NetworkPolicy")]),
    ("postgresql.cnpg.io", "v1", &[("clusters", "Cluster")]),
    // of a server that is away
    ("metrics.k8s.io", "v1beta1", &[]),
];

/// The answer to a question for them: `/api` or `/apis`.
fn types(path: &str) -> String {
    let resource = |(plural, kind): &(&str, &str)| {
        json!({
            "resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": "Namespaced",
            "singularResource": kind.to_lowercase(), "verbs": ["get", "list", "delete", "patch"],
        })
    };
    let asked = TYPES.iter().filter(|(group, ..)| group.is_empty() == (path == "/api"));
    let groups = asked.map(|(group, version, types)| {
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        let resources: Vec<Value> = types.iter().map(resource).collect();
        json!({
            "metadata": metadata,
            "versions": [{"version": version, "freshness": "Current", "resources": resources}],
        })
    });
    let groups: Vec<Value> = groups.collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups,
    });
    list.to_string()
}

fn status(code: u16, reason: &str, message: &str) -> (u16, String) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message});
    (code, body.to_string())
}

/// What of an object is the user's.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    // the controller's
    if object["kind"] == "Job"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        spec.remove("selector");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
    }
    object
}

/// `a=b,c=d` in a query.
fn selected(query: &str, key: &str) -> Vec<(String, String)> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let text = value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/").replace("%21", "!");
    text.split(',').filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.into(), value.into()))).collect()
}

impl Api {
    /// Puts an object in, as somebody else than Macula.
    pub fn put(&mut self, path: &str, object: Value) {
        self.objects.insert(path.to_owned(), object);
    }

    /// Names of what is there, `deployments/web`, without the namespaces' names.
    pub fn names(&self) -> Vec<String> {
        let short = |path: &String| {
            path.rsplit('/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/")
        };
        self.objects.keys().map(short).collect()
    }

    /// The one object whose path ends so.
    pub fn get(&self, end: &str) -> Option<&Value> {
        self.objects.iter().find(|(path, _)| path.ends_with(end)).map(|(_, object)| object)
    }

    /// Requests that wrote something.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.asked.iter().filter(|line| !line.starts_with("GET") && !line.contains("dryRun=All"));
        writes.map(|line| line.split('?').next().unwrap_or_default().to_owned()).collect()
    }

    pub fn answer(&mut self, method: &str, target: &str, body: &Value) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // a deletion says so in its body
        let dry = query.contains("dryRun=All") || body["dryRun"][0] == "All";
        let told = if dry && method == "DELETE" { "dryRun=All" } else { "" };
        self.asked.push(format!("{method} {target}{told}"));
        if let Some((_, _, code, reason, message)) =
            self.no.iter().find(|(verb, part, ..)| *verb == method && path.ends_with(part))
        {
            return status(*code, reason, message);
        }
        if path == "/version" {
            let info = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            return (200, info.to_string());
        }
        if let "/api" | "/apis" = path {
            return (200, types(path));
        }
        let Some(place) = place(path) else { return status(404, "NotFound", "no such path") };
        if self.without.contains(&place.plural.as_str()) {
            return (404, "404 page not found\n".to_owned());
        }
        let Some(name) = &place.name else { return self.list(&place, query) };
        let own = format!("{}/{name}", place.collection);
        match (method, place.below.as_deref()) {
            ("GET", Some("log")) => (200, self.logs.get(name).cloned().unwrap_or_default()),
            ("PATCH", Some("scale")) => self.scale(&own, body),
            ("GET", None) => match self.objects.get(&own) {
                Some(object) => (200, object.to_string()),
                None => status(404, "NotFound", &format!("{} \"{name}\" not found", place.plural)),
            },
            ("PATCH", None) => self.apply(&place, &own, body, dry),
            ("DELETE", None) if dry => match self.objects.get(&own) {
                Some(object) => (200, object.to_string()),
                None => status(404, "NotFound", "not there"),
            },
            ("DELETE", None) => self.delete(&own),
            _ => status(405, "MethodNotAllowed", &format!("{method} {path}")),
        }
    }

    fn list(&self, place: &Place, query: &str) -> (u16, String) {
        let labels = selected(query, "labelSelector");
        let fields = selected(query, "fieldSelector");
        let (root, _) = place.collection.rsplit_once('/').unwrap_or_default();
        let within = |path: &str| match &place.namespace {
            Some(_) => path.strip_prefix(&place.collection).is_some_and(|rest| rest.starts_with('/')),
            None => path.starts_with(root) && path.rsplit('/').nth(1) == Some(&place.plural),
        };
        let bears = |object: &Value| labels.iter().all(|(key, value)| object["metadata"]["labels"][key] == **value);
        let about = |object: &Value| {
            let of = |key: &str| fields.iter().find(|(field, _)| field == key).map(|(_, value)| value.as_str());
            let field = |key: &str, at: &Value| of(key).is_none_or(|value| *at == *value);
            field("involvedObject.kind", &object["involvedObject"]["kind"])
                && field("involvedObject.name", &object["involvedObject"]["name"])
                && field("involvedObject.uid", &object["involvedObject"]["uid"])
        };
        let found = self.objects.iter().filter(|(path, object)| within(path) && bears(object) && about(object));
        let items: Vec<&Value> = found.map(|(_, object)| object).collect();
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}).to_string())
    }

    fn apply(&mut self, place: &Place, own: &str, body: &Value, dry: bool) -> (u16, String) {
        if let Some(namespace) = place.namespace.as_ref().filter(|_| place.plural != "namespaces")
            && !self.objects.contains_key(&format!("/api/v1/namespaces/{namespace}"))
        {
            return status(404, "NotFound", &format!("namespaces \"{namespace}\" not found"));
        }
        if let Some(said) = self.silent.as_ref().filter(|_| place.plural == "deployments") {
            return status(500, "InternalError", said);
        }
        let there = self.objects.get(own).cloned();
        if let Some(there) = &there {
            if bare(there) == bare(body) {
                return (200, there.to_string());
            }
            if place.plural == "services" && there["spec"]["clusterIP"] != body["spec"]["clusterIP"] {
                return status(
                    422,
                    "Invalid",
                    "Service is invalid: spec.clusterIPs[0]: Invalid value: may not change once set",
                );
            }
            if place.plural == "jobs" && there["spec"]["template"] != body["spec"]["template"] {
                return status(422, "Invalid", "Job is invalid: spec.template: Invalid value: field is immutable");
            }
        }
        let mut object = body.clone();
        let kept = there.unwrap_or(json!({"metadata": {"uid": format!("uid-{}", self.version), "generation": 0}}));
        let changed = kept["spec"] != object["spec"];
        let generation = kept["metadata"]["generation"].as_u64().unwrap_or(0) + u64::from(changed);
        object["metadata"]["uid"] = kept["metadata"]["uid"].clone();
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["managedFields"] = json!([{"manager": "macula", "operation": "Apply"}]);
        if !kept["status"].is_null() {
            object["status"] = kept["status"].clone();
        }
        if dry {
            return (200, object.to_string());
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(own.to_owned(), object.clone());
        self.run(own);
        (200, object.to_string())
    }

    fn scale(&mut self, own: &str, body: &Value) -> (u16, String) {
        let Some(object) = self.objects.get_mut(own) else { return status(404, "NotFound", "not there") };
        object["spec"]["replicas"] = body["spec"]["replicas"].clone();
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        let name = object["metadata"]["name"].clone();
        self.run(own);
        let scale =
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name}, "spec": body["spec"]});
        (200, scale.to_string())
    }

    fn delete(&mut self, own: &str) -> (u16, String) {
        let Some(object) = self.objects.remove(own) else { return status(404, "NotFound", "not there") };
        let inside = own.strip_prefix("/api/v1").filter(|_| object["kind"] == "Namespace").map(|own| format!("{own}/"));
        self.objects.retain(|path, other| {
            let owner = &other["metadata"]["ownerReferences"][0];
            let owned = owner["name"] == object["metadata"]["name"] && owner["kind"] == object["kind"];
            !owned && !inside.as_ref().is_some_and(|inside| path.contains(inside.as_str()))
        });
        (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string())
    }

    /// What controllers and kubelets do.
    pub fn run(&mut self, own: &str) {
        let Some(object) = self.objects.get(own).cloned() else { return };
        let (kind, name) =
            (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default());
        if !["Deployment", "StatefulSet", "DaemonSet", "Job"].contains(&kind) {
            return;
        }
        let sick = self.sick.get(name).cloned();
        let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
        let ready = if sick.is_some() { 0 } else { wanted };
        let seen = object["metadata"]["generation"].clone();
        let status = match kind {
            "Deployment" => json!({"observedGeneration": seen, "replicas": wanted, "updatedReplicas": wanted,
                "availableReplicas": ready}),
            "StatefulSet" => json!({"observedGeneration": seen, "replicas": wanted, "updatedReplicas": wanted,
                "readyReplicas": ready}),
            "DaemonSet" => {
                json!({"observedGeneration": seen, "desiredNumberScheduled": 1, "numberAvailable": ready.min(1),
                "updatedNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": ready.min(1)})
            }
            _ if sick.is_some() => json!({"failed": 1, "conditions": [{"type": "Failed", "status": "True",
                "message": "Job has reached the specified backoff limit"}]}),
            _ => json!({"succeeded": 1}),
        };
        if kind == "Job" {
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            self.objects.get_mut(own).unwrap()["spec"]["selector"] = json!({"matchLabels": labels});
        }
        self.version += 1;
        let kept = self.objects.get_mut(own).unwrap();
        kept["status"] = status;
        kept["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let pod = format!("/api/v1/namespaces/{namespace}/pods/{name}-1");
        match sick {
            Some(sick) => {
                let labels = object["spec"]["template"]["metadata"]["labels"].clone();
                let owner = json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "1"}]);
                let metadata = json!({"name": format!("{name}-1"), "namespace": namespace, "labels": labels,
                    "ownerReferences": owner, "uid": "pod"});
                self.objects.insert(pod, json!({"metadata": metadata, "spec": {"containers": []}, "status": sick}));
            }
            None => drop(self.objects.remove(&pod)),
        }
    }
}

/// An API server on a port of its own, and its address. It serves until the test ends.
pub fn start() -> (Arc<Mutex<Api>>, String) {
    let api = Arc::new(Mutex::new(Api::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::clone(&api);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let api = Arc::clone(&asked);
            std::thread::spawn(move || serve(&stream, &api));
        }
    });
    (api, address)
}

fn serve(stream: &TcpStream, api: &Mutex<Api>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (method, target) = line.split_once(' ')?;
        let target = target.split(' ').next()?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (code, text) = api.lock().unwrap().answer(method, &target, &body);
        let head = format!(
            "HTTP/1.1 {code} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        writer.write_all((head + &text).as_bytes()).ok()?;
    }
}
