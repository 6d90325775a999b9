//! Why there is no cluster, as the user sees it: what to type about each reason.

use crate::cluster::{ClusterError, KubeconfigError};
use crate::engine::ImageError;
use crate::model::macula;

use super::engine_error::with_image_hints;
use super::error::{CliError, ErrorKind};

/// No cluster: each reason has a remedy of its own.
pub(super) fn cluster(error: &ClusterError) -> CliError {
    let new = CliError::of(ErrorKind::Cluster, error);
    let without = || macula("up --no-cluster").why("to continue without a cluster");
    match error {
        ClusterError::NoProgram { fetched: true, .. } => new
            .hint("macula downloads kind and verifies its checksum; MACULA_KIND or `cluster.program` in macula.yaml names another program")
            .suggest(macula("cluster create --yes"))
            .suggest(without()),
        ClusterError::NoProgram { .. } => new
            .hint("install kind, or name the program in MACULA_KIND or under `cluster.program` in macula.yaml")
            .suggest(without()),
        ClusterError::NoClient { client, .. } => new
            .hint(format!("install it: on Debian and Ubuntu the package is {client}-cli or {client}.io"))
            .suggest(without()),
        ClusterError::Fetch { .. } => new
            .hint("download it yourself, and name the program in MACULA_KIND or under `cluster.program` in macula.yaml")
            .suggest(without()),
        ClusterError::Checksum { .. } => new
            .hint("the download was discarded: a proxy may have answered instead, or somebody changed the file")
            .suggest(macula("cluster create --yes")),
        ClusterError::BalancerImage { attempts, .. } => with_attempts(new, attempts)
            .hint("with `cluster: {control_planes: 1}` in macula.yaml no load balancer is needed")
            .suggest(without()),
        ClusterError::NodeImage { attempts, .. } => with_attempts(new, attempts)
            .hint("MACULA_NODE_IMAGE, or `cluster: {node_image: ...}` in macula.yaml, names another node image")
            .suggest(without()),
        ClusterError::CgroupV1 => new
            .hint("boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line")
            .hint("or use a node with Kubernetes 1.34: `cluster: {node_image: kindest/node:v1.34.11}` in macula.yaml"),
        ClusterError::NotPrivileged { .. } => new
            .hint("an engine in a container, a rootless one without delegation, or one with a restrictive policy cannot run nodes")
            .suggest(macula("doctor privileged"))
            .suggest(without()),
        ClusterError::Inotify { .. } => new.suggest(macula("doctor --fix inotify")),
        ClusterError::NoRoom { .. } => new
            .hint("a node needs about 2 GiB of memory and 3 GiB of disk")
            .suggest(macula("doctor disk-space memory")),
        ClusterError::PortTaken { .. } => new
            .hint("stop the program that holds the port, or give this platform another name with `--name`")
            .suggest(without()),
        ClusterError::Exists { name } => new
            .hint("if nobody needs that cluster, delete it")
            .hint("or give this platform's cluster another name: `cluster: {name: ...}` in macula.yaml")
            .shell(["kind", "delete", "cluster", "--name", name]),
        ClusterError::Missing { .. } => new.suggest(macula("cluster create")),
        ClusterError::NotReady { logs, .. } | ClusterError::Failed { logs, .. } => {
            let new = match logs {
                Some(folder) => new.hint(format!("the logs of its nodes are in {}", folder.display())),
                None => new,
            };
            new.hint("`cluster.timeout` in macula.yaml gives it more time")
                .suggest(macula("cluster create --retain").why("to keep the nodes for debugging"))
        }
        ClusterError::NoSuchImage { reference } => new.shell(["docker", "pull", reference]),
        ClusterError::Kubeconfig(KubeconfigError::Locked { path }) => {
            new.hint("if no other program is changing it, remove the lock").shell(["rm".to_owned(), path.display().to_string()])
        }
        ClusterError::Kubeconfig(KubeconfigError::Malformed { .. }) => new
            .hint("macula has not changed it: fix it first")
            .suggest(macula("cluster kubeconfig --merge")),
        ClusterError::Kubeconfig(KubeconfigError::Taken { .. }) => new
            .hint("macula has not changed it: rename that entry, or give this platform's cluster another name: `cluster: {name: ...}` in macula.yaml")
            .suggest(macula("cluster kubeconfig").why("to have a kubeconfig with this cluster alone")),
        ClusterError::Engine(error) => error.clone().into(),
        ClusterError::Kubeconfig(_) | ClusterError::Run(_) | ClusterError::Io(_) => new,
    }
}

/// What to do about an image of the cluster that no source gave.
fn with_attempts(new: CliError, attempts: &[ImageError]) -> CliError {
    attempts.iter().fold(new, |new, attempt| match attempt {
        ImageError::Unreachable { .. } => new.hint(
            "check the network and the engine's proxy variables, or copy the image from another machine with `docker save` and `docker load`",
        ),
        other => with_image_hints(new, other),
    })
}
