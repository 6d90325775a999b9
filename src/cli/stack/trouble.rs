//! Why a stack is not on a swarm, and what to do about it.

use crate::app::DeployError;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::failure::near;
use crate::cli::ui::text;
use crate::model::{SwarmKind, SwarmRole, macula};

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
        DeployError::Foreign { stack, .. } => of(ErrorKind::Conflict)
            .hint("give this stack another name: `name:` at the top of its Compose file")
            .hint(format!("`docker stack ps {stack}` shows what runs there; what deployed it can also remove it")),
        DeployError::Images { missing, nodes } => {
            let mut new = of(ErrorKind::Image);
            new.details = missing.iter().map(|(image, why)| format!("{image}: {why}")).collect();
            let new = match nodes {
                1 => new.hint("this swarm is one node: an image that its engine has is enough"),
                _ => new.hint("build and push it to a registry that every node reaches; `--registry HOST` names it"),
            };
            new.suggest(macula("images build"))
        }
        DeployError::NotRunning { failed, .. } => {
            let mut new = of(ErrorKind::NotHealthy);
            new.details = failed.iter().map(|(service, why)| format!("{service}: {why}")).collect();
            let new = match failed.first() {
                Some((service, _)) => new.shell(["docker", "service", "logs", service]),
                None => new,
            };
            new.hint("what runs is kept; deploying again continues")
        }
        DeployError::UnknownStack { name, known } => {
            let new = of(ErrorKind::Usage);
            match (near(name, known).first(), known.is_empty()) {
                (Some(near), _) => new.hint(format!("did you mean {near}?")),
                (None, true) => new.hint("this platform has deployed none there"),
                (None, false) => new.hint(format!("there are {}", text::some(known, MOST))),
            }
        }
        DeployError::NoReplicas { .. } => of(ErrorKind::Usage),
    }
}
