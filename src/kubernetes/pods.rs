//! What keeps a pod from being ready, in the words of whoever knows: the scheduler, the kubelet,
//! the container itself.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};

use super::{Kubernetes, KubernetesError, selector};

/// Lines of a crashed container's log that are shown.
const LOG_LINES: i64 = 8;
/// A container that was started again so often and ended once more.
const RESTARTS: i32 = 2;

/// Why something is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The object is not in the cluster.
    Absent,
    /// Nothing is known to be wrong; there are not enough pods yet.
    Waiting {
        ready: i32,
        wanted: i32,
        failure: Option<String>,
    },
    Image {
        image: String,
        trouble: ImageTrouble,
        message: String,
    },
    /// No node takes it.
    Unschedulable {
        message: String,
    },
    /// A container ends, again and again.
    Crashed {
        container: String,
        exit_code: i32,
        /// `Error`, `OOMKilled`.
        reason: String,
        restarts: i32,
        /// The last lines that it wrote.
        log: Vec<String>,
    },
    /// The kubelet cannot make the container: `CreateContainerConfigError` and its like.
    Refused {
        container: String,
        reason: String,
        message: String,
    },
    /// It is being made; the last warning about it, if there is one.
    Starting {
        warning: Option<String>,
    },
    /// It runs and does not say that it is ready.
    NotAnswering {
        container: String,
        warning: Option<String>,
    },
    /// The controller tries no more.
    GivenUp {
        message: String,
    },
    /// It could not be found out.
    Unknown {
        reason: String,
    },
}

/// Why an image cannot be had, as far as the registry's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageTrouble {
    /// There is none of this name or tag.
    Gone,
    /// It needs a login, or this one may not have it.
    Denied,
    /// Too many were pulled.
    RateLimited,
    /// The registry cannot be reached.
    Network,
    /// The reference is none.
    Invalid,
    /// The registry's certificate, or HTTP where HTTPS was expected.
    Tls,
    Other,
}

impl Trouble {
    /// Waiting will not help.
    pub fn is_final(&self) -> bool {
        use ImageTrouble::{Denied, Gone, Invalid};
        matches!(self, Self::Image { trouble: Gone | Denied | Invalid, .. } | Self::GivenUp { .. })
    }

    /// Somebody should look at it now, although it may yet come up: a container that has ended three times.
    pub fn is_hopeless(&self) -> bool {
        self.is_final() || matches!(self, Self::Crashed { restarts, .. } if *restarts >= RESTARTS)
    }

    /// Without logs, on one line.
    pub fn short(&self) -> String {
        match self {
            Self::Crashed { container, exit_code, reason, restarts, .. } => {
                format!("{container} ended with {exit_code} ({reason}), restarted {restarts} times")
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let and = |f: &mut fmt::Formatter<'_>, more: &Option<String>| match more {
            Some(more) => write!(f, ": {more}"),
            None => Ok(()),
        };
        match self {
            Self::Absent => f.write_str("it is not in the cluster"),
            Self::Waiting { ready, wanted, failure } => {
                write!(f, "{ready} of {wanted} pods are ready")?;
                if ready >= wanted && *wanted > 0 {
                    f.write_str(", and some are of an older specification")?;
                }
                and(f, failure)
            }
            Self::Image { image, trouble, message } => {
                let what = match trouble {
                    ImageTrouble::Gone => "does not exist",
                    ImageTrouble::Denied => "may not be pulled without a login",
                    ImageTrouble::RateLimited => "cannot be pulled now, the registry's limit is reached",
                    ImageTrouble::Network => "cannot be pulled, its registry is not reached",
                    ImageTrouble::Invalid => "is not a valid image name",
                    ImageTrouble::Tls => "cannot be pulled, no TLS with its registry",
                    ImageTrouble::Other => "cannot be pulled",
                };
                write!(f, "the image {image} {what}")?;
                if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Self::Unschedulable { message } => write!(f, "no node takes it: {message}"),
            Self::Crashed { log, .. } => {
                f.write_str(&self.short())?;
                log.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Self::Refused { container, reason, message } => {
                write!(f, "the kubelet cannot start {container}: {reason}")?;
                if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Self::Starting { warning } => {
                f.write_str("it is being started")?;
                and(f, warning)
            }
            Self::NotAnswering { container, warning } => {
                write!(f, "{container} runs and is not ready")?;
                and(f, warning)
            }
            Self::GivenUp { message } => {
                f.write_str("it failed")?;
                if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Self::Unknown { reason } => f.write_str(reason),
        }
    }
}

impl Kubernetes {
    /// Of the pods with these labels that are not ready, each with what keeps it.
    pub(super) async fn pod_troubles(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<(String, Trouble)>, KubernetesError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = api.list(&ListParams::default().labels(&selector(labels))).await;
        let found = found.map_err(|error| self.error("list", format!("pods in {namespace}"), error))?;
        let mut all = Vec::new();
        let mut pods = found.items;
        // the newest last
        pods.sort_by_key(|pod| {
            (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone())
        });
        for pod in pods {
            // on its way out: its successor is the one to look at
            if pod.metadata.deletion_timestamp.is_some() || is_ready(&pod) {
                continue;
            }
            let name = pod.metadata.name.clone().unwrap_or_default();
            let trouble = self.trouble(&api, namespace, &name, &pod).await;
            all.push((name, trouble));
        }
        Ok(all)
    }

    async fn trouble(&self, api: &Api<Pod>, namespace: &str, name: &str, pod: &Pod) -> Trouble {
        match told_by(pod) {
            Told::All(Trouble::Unschedulable { message }) => {
                let message = std::iter::once(message).chain(self.claims_say(namespace, pod).await);
                Trouble::Unschedulable { message: message.collect::<Vec<_>>().join("; ") }
            }
            Told::All(trouble) => trouble,
            Told::Crashed { container, exit_code, reason, restarts, previous, message } => {
                let how = LogParams {
                    container: Some(container.clone()),
                    previous,
                    tail_lines: Some(LOG_LINES),
                    ..LogParams::default()
                };
                // a log that cannot be read (the node is away) is no reason to say nothing
                let log = api.logs(name, &how).await.unwrap_or_default();
                // what could not even be started has written nothing; the node knows why
                let log = if log.trim().is_empty() { message } else { log };
                let log = log.lines().map(str::to_owned).collect();
                Trouble::Crashed { container, exit_code, reason, restarts, log }
            }
            Told::Starting => {
                Trouble::Starting { warning: self.warning(namespace, "Pod", name, pod.metadata.uid.as_deref()).await }
            }
            Told::NotAnswering { container } => {
                let warning = self.warning(namespace, "Pod", name, pod.metadata.uid.as_deref()).await;
                Trouble::NotAnswering { container, warning }
            }
        }
    }

    /// Why claims of a pod have no volume: that there is no class to make one of is no warning.
    async fn claims_say(&self, namespace: &str, pod: &Pod) -> Vec<String> {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let mut all = Vec::new();
        for claim in volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            for reason in ["ProvisioningFailed", "FailedBinding"] {
                let fields = format!("reason={reason}");
                let event = self.newest_event(namespace, "PersistentVolumeClaim", &claim.claim_name, &fields).await;
                if let Some(message) = event {
                    all.push(format!("claim {}: {message}", claim.claim_name));
                    break;
                }
            }
        }
        all
    }

    /// The newest warning about an object. Why no node took a pod before one did is of no more interest, nor is what was
    /// said of an earlier object of that name: pods of a StatefulSet keep theirs, and events stay for an hour.
    pub(super) async fn warning(&self, namespace: &str, kind: &str, name: &str, uid: Option<&str>) -> Option<String> {
        let this = uid.map(|uid| format!("involvedObject.uid={uid},")).unwrap_or_default();
        let fields = format!("{this}type=Warning,reason!=FailedScheduling");
        self.newest_event(namespace, kind, name, &fields).await
    }

    async fn newest_event(&self, namespace: &str, kind: &str, name: &str, which: &str) -> Option<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},{which}");
        let events = api.list(&ListParams::default().fields(&fields)).await.ok()?.items;
        let newest = events.into_iter().max_by_key(|event| {
            let single = event.event_time.as_ref().map(|time| time.0);
            event.last_timestamp.as_ref().map(|time| time.0).or(single)
        });
        newest?.message.map(|message| message.trim().to_owned())
    }
}

/// What the pod's own status says, before anything else is asked for.
enum Told {
    All(Trouble),
    Crashed { container: String, exit_code: i32, reason: String, restarts: i32, previous: bool, message: String },
    Starting,
    NotAnswering { container: String },
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn told_by(pod: &Pod) -> Told {
    let Some(status) = &pod.status else { return Told::Starting };
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Told::All(Trouble::Unschedulable { message: condition.message.clone().unwrap_or_default() });
    }
    let containers: Vec<&ContainerStatus> =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten()).collect();
    containers.iter().find_map(|container| told_by_container(container)).unwrap_or_else(|| {
        // evicted, refused by the node
        if status.phase.as_deref() == Some("Failed") {
            let reason = status.reason.clone().unwrap_or_else(|| "Failed".to_owned());
            let message = status.message.clone().unwrap_or_default();
            return Told::All(Trouble::Refused { container: "the pod".into(), reason, message });
        }
        let running = |container: &&&ContainerStatus| {
            container.state.as_ref().is_some_and(|state| state.running.is_some()) && !container.ready
        };
        match containers.iter().find(running) {
            Some(container) => Told::NotAnswering { container: container.name.clone() },
            None => Told::Starting,
        }
    })
}

fn told_by_container(container: &ContainerStatus) -> Option<Told> {
    let state = container.state.as_ref()?;
    let ended = |state: &k8s_openapi::api::core::v1::ContainerStateTerminated, previous| Told::Crashed {
        container: container.name.clone(),
        exit_code: state.exit_code,
        reason: state.reason.clone().unwrap_or_else(|| "Error".to_owned()),
        restarts: container.restart_count,
        previous,
        message: state.message.clone().unwrap_or_default(),
    };
    if let Some(terminated) = &state.terminated {
        return (terminated.exit_code != 0).then(|| ended(terminated, false));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_default();
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            Some(match last {
                Some(last) => ended(last, true),
                None => Told::All(Trouble::Refused {
                    container: container.name.clone(),
                    reason: reason.to_owned(),
                    message,
                }),
            })
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            let trouble = image_trouble(reason, &message);
            Some(Told::All(Trouble::Image { image: container.image.clone(), trouble, message }))
        }
        _ => {
            Some(Told::All(Trouble::Refused { container: container.name.clone(), reason: reason.to_owned(), message }))
        }
    }
}

/// From the words of containerd and of the registries, as the kubelet hands them on.
fn image_trouble(reason: &str, message: &str) -> ImageTrouble {
    let text = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // the order matters: Docker Hub says "may require authorization" of what does not exist too
    if reason == "InvalidImageName" {
        ImageTrouble::Invalid
    } else if says(&["toomanyrequests", "429 too many", "rate limit"]) {
        ImageTrouble::RateLimited
    } else if says(&[
        "insufficient_scope",
        "authorization failed",
        "pull access denied",
        "401 unauthorized",
        "403 forbidden",
        "unauthorized",
        "denied",
    ]) {
        ImageTrouble::Denied
    } else if says(&["x509", "tls:", "certificate", "server gave http response to https client"]) {
        ImageTrouble::Tls
    } else if reason == "RegistryUnavailable"
        || says(&[
            "dial tcp",
            "no such host",
            "i/o timeout",
            "connection refused",
            "network is unreachable",
            "connection reset",
            "context deadline",
            "tls handshake timeout",
        ])
    {
        ImageTrouble::Network
    } else if says(&["not found", "manifest unknown", "name unknown", "does not exist"]) {
        ImageTrouble::Gone
    } else {
        ImageTrouble::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_registries_tell_why_an_image_is_not_to_be_had() {
        let cases = [
            (
                "ErrImagePull",
                "rpc error: code = NotFound desc = failed to pull and unpack image \"registry.k8s.io/x:1\": failed to resolve reference \"registry.k8s.io/x:1\": registry.k8s.io/x:1: not found",
                ImageTrouble::Gone,
            ),
            (
                "ErrImagePull",
                "failed to pull and unpack image \"docker.io/library/nix:1\": failed to resolve reference: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                ImageTrouble::Denied,
            ),
            (
                "ImagePullBackOff",
                "Back-off pulling image \"a\": ErrImagePull: unexpected status code 429 Too Many Requests - toomanyrequests: You have reached your pull rate limit",
                ImageTrouble::RateLimited,
            ),
            (
                "ErrImagePull",
                "failed to do request: Head \"https://registry.k8s.io/v2/x\": dial tcp: lookup registry.k8s.io on 10.222.0.1:53: no such host",
                ImageTrouble::Network,
            ),
            (
                "ErrImagePull",
                "failed to do request: Head \"https://registry.macula.local/v2/x\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                ImageTrouble::Tls,
            ),
            ("ErrImagePull", "http: server gave HTTP response to HTTPS client", ImageTrouble::Tls),
            ("InvalidImageName", "couldn't parse image name \"A:B:C\"", ImageTrouble::Invalid),
            ("ErrImagePull", "no space left on device", ImageTrouble::Other),
            ("ErrImagePull", "net/http: TLS handshake timeout", ImageTrouble::Network),
        ];
        for (reason, message, expected) in cases {
            assert_eq!(image_trouble(reason, message), expected, "{message}");
        }
    }
}
