//! Why a stack is not on a swarm or a cluster, and what to do about it.

use crate::app::DeployError;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::near::near;
use crate::cli::ui::text;
use crate::kubernetes::KubernetesError;
use crate::model::{SwarmKind, SwarmRole, macula};

/// Of `kubectl create`.
const FROM: &str = "--from-file=FILE";
/// Names are told as far as somebody reads them.
const MOST: usize = 5;

pub(in crate::cli) fn explained(error: &DeployError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        DeployError::NoSwarms { .. } => of(ErrorKind::Cluster)
            .hint("Swarm is a part of Docker: name an engine of Docker's with `--context` or DOCKER_HOST"),
        DeployError::Role { role, .. } => match role {
            SwarmRole::None => of(ErrorKind::Cluster)
                .hint("make a swarm of this engine alone, or name a manager of another one with `--context`")
                .shell(["docker", "swarm", "init"]),
            SwarmRole::Worker => {
                of(ErrorKind::Cluster).hint("name a manager with `--context`, or make this node one from a manager")
            }
            SwarmRole::Locked => of(ErrorKind::Cluster).shell(["docker", "swarm", "unlock"]),
            SwarmRole::Unready(_) | SwarmRole::Manager { .. } => {
                of(ErrorKind::Cluster).hint("its log says more; more than half of the managers have to be in reach")
            }
        },
        DeployError::Missing { missing } => {
            missing.iter().fold(of(ErrorKind::Config), |new, (kind, name)| match kind {
                SwarmKind::Network => new.shell(["docker", "network", "create", "--driver", "overlay", name]),
                SwarmKind::Secret => new.shell(["docker", "secret", "create", name, "FILE"]),
                SwarmKind::Config | SwarmKind::Service => new.shell(["docker", "config", "create", name, "FILE"]),
            })
        }
        DeployError::Foreign { by: Some(by), .. } => of(ErrorKind::Conflict)
            .hint(format!("`--name {by}`, in front of `stack`, works on it as that platform"))
            .hint("or give this stack another name: `name:` at the top of its Compose file"),
        DeployError::Foreign { stack, by: None, .. } => of(ErrorKind::Conflict)
            .hint("give this stack another name: `name:` at the top of its Compose file")
            .hint(format!("what deployed {stack} can also remove it")),
        DeployError::Taken { .. } => of(ErrorKind::Conflict)
            .hint("give this stack a namespace of its own (`--namespace`), or its services and volumes other names"),
        DeployError::Images { missing, nodes } => {
            let mut new = of(ErrorKind::Image);
            new.details = missing.iter().map(|(image, why)| format!("{image}: {why}")).collect();
            let new = match nodes {
                1 => new.hint("this swarm is one node: an image that its engine has is enough"),
                _ => new.hint("build and push it to a registry that every node reaches; `--registry HOST` names it"),
            };
            new.suggest(macula("images build").why("where the stack builds it"))
        }
        DeployError::NotRunning { failed, .. } => {
            let mut new = of(ErrorKind::NotHealthy);
            new.details = failed.iter().map(|(service, why)| format!("{service}: {why}")).collect();
            new.hint("what runs is kept; deploying again continues")
        }
        DeployError::UnknownStack { name, known } => {
            meant(of(ErrorKind::Usage), name, known, "this platform has deployed none there")
        }
        DeployError::UnknownService { service, known, .. } => {
            meant(of(ErrorKind::Usage), service, known, "it has none at all")
        }
        DeployError::NoReplicas { .. } => of(ErrorKind::Usage),
        DeployError::Autoscaled { .. } => {
            of(ErrorKind::Usage).hint("change `x-macula.scale` of the service, and deploy the stack again")
        }
        DeployError::OneVolume { .. } => {
            of(ErrorKind::Usage).hint("run one replica, or keep the data in a service of its own")
        }
        DeployError::Elsewhere { elsewhere, .. } => of(ErrorKind::Usage)
            .hint(format!("it is in {}; `--namespace` names the namespace", text::some(elsewhere, MOST))),
        DeployError::NotThere { namespace, missing } => {
            missing.iter().fold(of(ErrorKind::Config).detail("nothing was changed"), |new, (kind, name)| {
                match kind.as_str() {
                    "Secret" => new.shell(["kubectl", "create", "secret", "generic", name, "-n", namespace, FROM]),
                    "ConfigMap" => new.shell(["kubectl", "create", "configmap", name, "-n", namespace, FROM]),
                    _ => new.hint(format!("make a claim {name} in {namespace}, or leave out `external` of the volume")),
                }
            })
        }
        DeployError::NoKubeconfig(_) => of(ErrorKind::Cluster)
            .hint("KUBECONFIG names another file")
            .suggest(macula("cluster kubeconfig").why("to have that of the platform's own cluster")),
        DeployError::Kubernetes { source, applied } => {
            let new = kubernetes(source);
            match applied {
                true => new.hint("what was applied is kept; deploying again continues"),
                false => new,
            }
        }
    }
}

/// With a name that is near one which is not there, or with those that are; `none`: what is said where there are none.
fn meant(new: CliError, name: &str, known: &[String], none: &str) -> CliError {
    match (near(name, known).first(), known.is_empty()) {
        (Some(near), _) => new.hint(format!("did you mean {near}?")),
        (None, true) => new.hint(none),
        (None, false) => new.hint(format!("there are {}", text::some(known, MOST))),
    }
}

fn kubernetes(error: &KubernetesError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    let contexts = |new: CliError| new.shell(["kubectl", "config", "get-contexts"]);
    match error {
        KubernetesError::Kubeconfig { .. } | KubernetesError::KubeconfigFile { .. } => {
            contexts(of(ErrorKind::Cluster).hint("`--context` names one of its contexts, KUBECONFIG another file"))
        }
        KubernetesError::NoContext { context, known } => {
            let new = of(ErrorKind::Cluster);
            match (context.as_deref().and_then(|name| near(name, known).into_iter().next()), known.is_empty()) {
                (Some(near), _) => new.hint(format!("did you mean {near}?")),
                (None, false) => {
                    new.hint(format!("`--context` names one of its contexts: {}", text::some(known, MOST)))
                }
                (None, true) => new
                    .hint("KUBECONFIG names another file")
                    .suggest(macula("cluster kubeconfig").why("to have that of the platform's own cluster")),
            }
        }
        KubernetesError::Unreachable { source, .. } if format!("{source:#}").contains("certificate") => {
            of(ErrorKind::Cluster).hint(about_certificate(&format!("{source:#}")))
        }
        KubernetesError::Unreachable { source, .. } if format!("{source:#}").contains("fatal alert: Certificate") => {
            of(ErrorKind::Cluster).hint("who answers there does not take this context's client certificate: renew it")
        }
        KubernetesError::Unreachable { .. } => {
            contexts(of(ErrorKind::Cluster).hint("`--context` names another context of the kubeconfig"))
        }
        KubernetesError::Refused { code, object, message, .. } => {
            refused(of(ErrorKind::Cluster), *code, object, message)
        }
        KubernetesError::Login { install, .. } => {
            let new =
                of(ErrorKind::Cluster).hint("renew the login of this context, or name another one with `--context`");
            match install {
                Some(install) => new.hint(install.trim()),
                None => new,
            }
        }
        KubernetesError::Answer { .. } => of(ErrorKind::Cluster).hint("what answers may be no API server"),
        KubernetesError::Manifest { .. } => of(ErrorKind::Unexpected),
    }
}

/// What to do about the certificate of whoever answers.
fn about_certificate(said: &str) -> &'static str {
    if ["certificate expired", "not valid yet"].iter().any(|words| said.contains(words)) {
        "the API server's certificate is not valid now: who runs the cluster renews it, unless this machine's clock is wrong"
    } else if said.contains("not valid for name") {
        "the certificate is for other names than that of `server` in this context: `tls-server-name` of the cluster says which one it has"
    } else {
        "who answers there is not whom `certificate-authority-data` of this context vouches for: get the kubeconfig again"
    }
}

/// `-n shop` of `Service shop/web`, for kubectl.
fn in_its_namespace(object: &str) -> Vec<String> {
    let namespace = object.split_once(' ').and_then(|(_, name)| name.split_once('/'));
    namespace.map(|(namespace, _)| vec!["-n".to_owned(), namespace.to_owned()]).unwrap_or_default()
}

/// A claim that is there and would have to be another one, or a smaller one, or a larger one of a class that does not grow.
fn is_about_what_was(message: &str) -> bool {
    ["immutable", "resize", "less than"].iter().any(|word| message.contains(word))
}

/// A webhook that does not answer, by its name, and where it runs: `failed calling webhook "policy.test": failed to call
/// webhook: Post "https://policy.guard.svc:443/validate?timeout=10s": no endpoints available for service "policy"`.
fn about_webhook(new: CliError, message: &str) -> CliError {
    let name = message.split_once("failed calling webhook \"").and_then(|(_, rest)| rest.split('"').next());
    let called = name.map_or_else(|| "a webhook of this cluster".to_owned(), |name| format!("the webhook {name}"));
    let new = new.hint(format!("{called} does not answer, and the cluster takes nothing that it has to ask it about"));
    let host = message.split_once("https://").and_then(|(_, rest)| rest.split(['/', ':']).next());
    let new = match host.and_then(|host| host.strip_suffix(".svc")).and_then(|host| host.split_once('.')) {
        Some((_, namespace)) => new.shell(["kubectl", "get", "pods", "-n", namespace]),
        None => new,
    };
    new.shell(["kubectl", "get", "validatingwebhookconfigurations,mutatingwebhookconfigurations"])
}

/// By what the API server says: its codes are the same for rights, quotas and rules.
fn refused(new: CliError, code: u16, object: &str, message: &str) -> CliError {
    let says = |words: &str| message.contains(words);
    let kubectl = |words: &str| -> Vec<String> {
        let words = words.split(' ').map(str::to_owned);
        std::iter::once("kubectl".to_owned()).chain(words).chain(in_its_namespace(object)).collect()
    };
    match code {
        401 => new.hint("the login of this context is not valid any more: renew it"),
        _ if says("exceeded quota") => new
            .hint("a quota of the namespace is used up: raise it, or lower what the stack asks for")
            .shell(kubectl("describe quota")),
        _ if says("imum ") && says(" usage per ") || says("limit to request ratio per ") => new
            .hint("a limit range of the namespace does not allow so much, or so little: change it, or what the stack asks for")
            .shell(kubectl("describe limitrange")),
        _ if says("failed calling webhook") => about_webhook(new, message),
        _ if says("being terminated") => new.hint(
            "what still lives in the namespace keeps it: wait until it is gone, or name another one with `--namespace`",
        ),
        409 if says("still being deleted") && object.starts_with("PersistentVolumeClaim") => {
            new.hint("the pods that use it keep it: scale their service to 0, then deploy again")
        }
        409 if says("still being deleted") => {
            new.hint("what it still has to let go of keeps it: wait until it is gone, then deploy again")
        }
        _ if says("admission webhook") || says("violates PodSecurity") || says("ValidatingAdmissionPolicy") => {
            new.hint("a rule of this cluster forbids it: change what it names, or ask who runs the cluster")
        }
        403 if says("User \"") && object.starts_with("Namespace ") => {
            new.hint("the user of this context makes no namespaces: `--namespace` names one that is there")
        }
        400 | 403 | 422 if object.starts_with("PersistentVolumeClaim") && is_about_what_was(message) => {
            CliError { kind: ErrorKind::Config, ..new }
                .hint("a claim is data and is never replaced: say what it was, or give the volume another name")
        }
        403 if says("at the cluster scope") => {
            new.hint("the user of this context may not look into all namespaces: name the stack or a `--namespace`")
        }
        403 => new
            .hint("the user of this context may not do that: ask for a role that may, or name another context")
            .shell(kubectl("auth can-i --list")),
        400 | 413 | 422 => CliError { kind: ErrorKind::Config, ..new }.hint("the cluster does not take what the files say"),
        // server-side apply, of a field that it does not know, of an item that is there twice, of a value that is none
        500 if says("failed to create typed patch object")
            || says("failed to convert new object")
            || says("request is too large") =>
        {
            CliError { kind: ErrorKind::Config, ..new }.hint("the cluster does not take what the files say")
        }
        _ if says("the answer is ") && code < 500 => new.hint("what answers may be no API server"),
        404 => new.hint("this cluster does not know such objects: it may be too old for them"),
        429 | 502..=504 => new.hint("the API server, or what stands in front of it, takes no requests now: try again in a moment"),
        _ => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_of_another_platform_names_it() {
        let told = |by: Option<&str>| {
            let by = by.map(str::to_owned);
            let error = DeployError::Foreign { stack: "shop".to_owned(), names: vec!["shop_web".to_owned()], by };
            format!("{error} {:?}", explained(&error).hints)
        };
        let known = told(Some("w2"));
        assert!(known.starts_with("shop is there and was deployed by the platform w2: shop_web"), "{known}");
        assert!(known.contains("`--name w2`"), "{known}");
        let unknown = told(None);
        assert!(unknown.starts_with("shop is there and was not deployed by this platform: shop_web"), "{unknown}");
    }

    #[test]
    fn a_service_that_a_stack_does_not_have_leads_to_those_that_it_has() {
        let told = |service: &str, known: &[&str]| {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            let error = DeployError::UnknownService { stack: "shop".to_owned(), service: service.to_owned(), known };
            format!("{error} {:?}", explained(&error).hints)
        };
        assert!(told("nope", &["db", "web"]).contains("there are db"), "{}", told("nope", &["db", "web"]));
        assert!(told("wbe", &["db", "web"]).contains("did you mean web?"));
        assert!(told("wbe", &[]).starts_with("shop has no service wbe"));
    }

    /// As API servers say it (1.36).
    #[test]
    fn what_an_api_server_refuses_tells_what_to_do() {
        let hint = |code: u16, object: &str, message: &str| {
            let refused = refused(CliError::new(ErrorKind::Cluster, message), code, object, message);
            (refused.kind, format!("{:?}", refused.hints))
        };
        let may_not =
            "is forbidden: User \"me\" cannot patch resource \"x\" in API group \"\" in the namespace \"shop\"";
        for (code, object, message, kind, words) in [
            (403, "PersistentVolumeClaim shop/data", may_not, ErrorKind::Cluster, "a role that may"),
            (403, "Namespace shop", may_not, ErrorKind::Cluster, "`--namespace` names one that is there"),
            (
                422,
                "PersistentVolumeClaim shop/data",
                "spec: Forbidden: spec is immutable after creation except resources.requests",
                ErrorKind::Config,
                "never replaced",
            ),
            (
                403,
                "PersistentVolumeClaim shop/data",
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
                ErrorKind::Config,
                "never replaced",
            ),
            (
                422,
                "PersistentVolumeClaim shop/data",
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
                ErrorKind::Config,
                "does not take what the files say",
            ),
            (
                500,
                "Deployment shop/web",
                "Internal error occurred: failed calling webhook \"policy.test\": dial tcp 127.0.0.1:9: connect: connection refused",
                ErrorKind::Cluster,
                "the webhook policy.test does not answer",
            ),
            (
                500,
                "Deployment shop/web",
                "Internal error occurred: failed calling webhook \"policy.test\": failed to call webhook: Post \"https://policy.guard.svc:443/validate?timeout=10s\": no endpoints available for service \"policy\"",
                ErrorKind::Cluster,
                "kubectl get pods -n guard",
            ),
            (
                500,
                "Deployment shop/web",
                "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.template.spec.hostAliases: duplicate entries for key [ip=\"10.0.0.1\"]",
                ErrorKind::Config,
                "does not take what the files say",
            ),
            (403, "Namespace shop", "it is being terminated", ErrorKind::Cluster, "wait until it is gone"),
            (
                409,
                "PersistentVolumeClaim shop/data",
                "it is still being deleted",
                ErrorKind::Cluster,
                "the pods that use it keep it",
            ),
            (
                403,
                "PersistentVolumeClaim shop/data",
                "persistentvolumeclaims \"data\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 5Gi",
                ErrorKind::Cluster,
                "kubectl describe limitrange -n shop",
            ),
            (
                403,
                "Deployment shop/web",
                "deployments.apps \"web\" is forbidden: exceeded quota: small, requested: count/deployments.apps=1, used: count/deployments.apps=2, limited: count/deployments.apps=2",
                ErrorKind::Cluster,
                "kubectl describe quota -n shop",
            ),
            (
                403,
                "deployments",
                "deployments.apps is forbidden: User \"me\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope",
                ErrorKind::Cluster,
                "`--namespace`",
            ),
            (
                413,
                "ConfigMap shop/files",
                "Request entity too large: limit is 3145728",
                ErrorKind::Config,
                "does not take what the files say",
            ),
            (429, "the version", "Too many requests, please try again later.", ErrorKind::Cluster, "in a moment"),
            (404, "the version", "the answer is 404 Not Found", ErrorKind::Cluster, "may be no API server"),
            (502, "the version", "the answer is 502 Bad Gateway", ErrorKind::Cluster, "in a moment"),
            (409, "Service shop/web-public", "it is still being deleted", ErrorKind::Cluster, "wait until it is gone"),
        ] {
            let (found, hints) = hint(code, object, message);
            assert_eq!(found, kind, "{message}");
            assert!(hints.contains(words), "{message}: {hints}");
        }
    }

    #[test]
    fn a_certificate_that_does_not_fit_tells_why() {
        for (said, words) in [
            ("invalid peer certificate: certificate expired: verification time 2 (UNIX)", "renews it"),
            ("invalid peer certificate: certificate not valid for name \"127.0.0.1\"", "`tls-server-name`"),
            ("invalid peer certificate: UnknownIssuer", "`certificate-authority-data`"),
        ] {
            assert!(about_certificate(said).contains(words), "{said}");
        }
    }
}
