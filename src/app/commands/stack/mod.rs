//! `stack render` and what runs stacks elsewhere: files and recorded passwords to a stack in a target's words.

mod images;
mod kubernetes;
mod steps;
mod swarm;

pub use kubernetes::{
    ClusterDeployed, ClusterRemoved, InCluster, all_on_cluster, deploy_to_cluster, remove_from_cluster,
    scale_on_cluster, status_on_cluster, validate_on_cluster,
};
pub use swarm::{
    Deployed, DeployedService, deploy_to_swarm, remove_from_swarm, scale_on_swarm, status_on_swarm, validate_on_swarm,
};

use std::time::Duration;

use crate::app::state::complete_secrets;
use crate::app::{Error, Session};
use crate::compile::targets::{Options, Target, Translation, placeholders, translate};
use crate::config::Loaded;

/// Which stack, and how it is written.
#[derive(Debug, Clone)]
pub struct StackRequest {
    pub stack: String,
    pub target: Target,
    /// Kubernetes's namespace; `None`: the stack's name.
    pub namespace: Option<String>,
    /// Host of the registry for images that are built; `None`: the platform's own.
    pub registry: Option<String>,
    /// The image of init containers that wait; `None`: there are none.
    pub waiting: Option<String>,
    /// With the values of secrets, as they are recorded; those that are not yet are made up.
    pub secrets: bool,
    /// What is made up is recorded.
    pub keep: bool,
}

/// How a stack gets to where it runs.
#[derive(Clone, Copy)]
pub struct StackDeploy<'a> {
    pub loaded: &'a Loaded,
    pub translation: &'a Translation,
    /// Build what the stack builds, also where it is there.
    pub build: bool,
    pub dry_run: bool,
    /// How long a service may take until it runs.
    pub patience: Duration,
}

/// The stack in the target's words. Nothing is sent anywhere.
///
/// # Errors
/// [`Error::UnknownStack`], and [`Error::Target`] with everything that the target cannot run.
pub async fn translate_stack(session: &Session, loaded: &Loaded, request: &StackRequest) -> Result<Translation, Error> {
    let platform = &loaded.platform;
    let Some(stack) = platform.stacks.iter().find(|stack| stack.name == request.stack) else {
        return Err(Error::UnknownStack { name: request.stack.clone(), known: platform.stack_names() });
    };
    let secrets = match request.secrets {
        true => {
            let state = session.state(&platform.name);
            let mut secrets = state.secrets(session.host()).await?;
            if complete_secrets(platform, &mut secrets)? && request.keep {
                state.keep_secrets(session.host(), &secrets).await?;
            }
            secrets
        }
        false => placeholders(platform),
    };
    let own = format!("registry.{}", platform.domain);
    let options = Options {
        waiting: request.waiting.as_deref(),
        registry: request.registry.as_deref().unwrap_or(&own),
        namespace: request.namespace.as_deref(),
        hidden: !request.secrets,
        version: session.version,
    };
    let said = loaded.said(&stack.name);
    Ok(translate(request.target, platform, stack, &said, &secrets, &options)?)
}
