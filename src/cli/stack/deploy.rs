//! `stack deploy`: a stack on a swarm or a cluster.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;

use super::render::{Form, check_namespace, tell};
use crate::app::{
    self, ClusterDeployed, Deployed, InCluster, Session, StackDeploy, StackRequest, deploy_to_cluster, deploy_to_swarm,
    translate_stack,
};
use crate::cli::context::{Context, StackOptions};
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::interrupt;
use crate::cli::ui::text::count;
use crate::compile::targets::{SwarmAct, Target};
use crate::model::Remedy;
use crate::words;

/// Run a stack on a swarm or a cluster, and keep it as its files say
///
/// Makes what is not there yet, changes what is otherwise, removes what the stack no longer has, and waits until all of
/// it runs. Services start in the order of `depends_on`: each is made when those that it needs run. What runs as the
/// files say is left alone.
///
/// Images are pinned by the digest that their registry names, and the login of `docker login` is passed on. A swarm of
/// one node also runs what its engine has from no registry. For several nodes and for clusters, what the stack builds is
/// built and pushed where the registry does not have it (`--build`: always).
///
/// Nothing is made before everything is known to be right: keys that the target cannot do (exit code 3), networks and
/// secrets that are `external` and not there, images that nodes cannot have (6), somebody else's stack of that name (5).
/// An engine that does not manage a swarm and an API server that does not answer or refuses are exit code 9, a service
/// that does not run is 7, with what its task or pod says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula stack deploy shop --target swarm --dry-run\n  \
                  macula stack deploy shop --target swarm --context production\n  \
                  macula stack deploy shop --target kubernetes --registry registry.example.com")]
pub struct Args {
    /// The stack
    #[arg(value_name = "STACK")]
    which: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
    /// Build what the stack builds, even if the image exists
    #[arg(long)]
    build: bool,
    /// Show what would change without changing it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Where a stack runs that does not run on this machine's engine alone.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// What the stack runs on
    #[arg(long, value_enum, value_name = "TARGET")]
    pub target: On,
    /// Docker context of a manager, or context of the kubeconfig (default: the current one)
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// A swarm of Docker engines
    Swarm,
    /// A cluster of Kubernetes
    Kubernetes,
}

impl Place {
    /// With the engine where it is asked: a cluster has its own.
    pub async fn session(&self, context: &Context, command: &str) -> Session {
        match self.target {
            On::Swarm => context.session_as(command, self.context.as_deref()).await,
            On::Kubernetes => context.session_without_engine(command),
        }
    }

    /// Command lines of kubectl's ask the cluster that was asked.
    pub fn in_context(&self, mut error: CliError) -> CliError {
        let (On::Kubernetes, Some(context)) = (self.target, &self.context) else { return error };
        for hint in &mut error.hints {
            if let Remedy::Shell(line) = hint
                && let Some(rest) = line.strip_prefix("kubectl ").filter(|rest| !rest.starts_with("config "))
            {
                *line = format!("kubectl --context {} {rest}", words::shell_word(context));
            }
        }
        error
    }

    /// # Errors
    /// A namespace on a swarm.
    pub fn check_namespace(&self, namespace: Option<&str>) -> Result<(), CliError> {
        match self.target {
            On::Swarm => check_namespace(Target::Swarm, namespace),
            On::Kubernetes => check_namespace(Target::Kubernetes, namespace),
        }
    }

    /// Where in a cluster a stack is; a stack has the namespace of its name unless another one is given.
    pub fn in_cluster<'a>(&'a self, platform: &'a str, stack: &'a str, namespace: Option<&'a str>) -> InCluster<'a> {
        InCluster { platform, stack, namespace: namespace.unwrap_or(stack), context: self.context.as_deref() }
    }
}

#[derive(Debug, clap::Args)]
pub struct Patience {
    /// How long a service may take until it runs
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = words::typed_duration)]
    pub timeout: Duration,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let begun = Instant::now();
    args.place.check_namespace(args.form.namespace.as_deref())?;
    let loaded = context.load_orchestrated(&args.stacks)?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = args.place.session(context, "stack deploy").await;
    let target = match args.place.target {
        On::Swarm => Target::Swarm,
        On::Kubernetes => Target::Kubernetes,
    };
    let request = StackRequest {
        stack: args.which.clone(),
        target,
        namespace: args.form.namespace.clone(),
        registry: args.form.registry,
        waiting: None,
        secrets: true,
        keep: !args.dry_run,
    };
    let translation = translate_stack(&session, &loaded, &request).await?;
    tell(context, target, &translation.losses, args.form.accept_losses)?;
    let request = StackDeploy {
        loaded: &loaded,
        translation: &translation,
        build: args.build,
        dry_run: args.dry_run,
        patience: args.patience.timeout,
    };
    if target == Target::Kubernetes {
        // an engine is asked for what the stack builds alone
        let session = match translation.pushed.is_empty() {
            true => session,
            false => context.session_as("stack deploy", None).await,
        };
        let place = args.place.in_cluster(loaded.platform.name.as_str(), &args.which, args.form.namespace.as_deref());
        let deployed = deploy_to_cluster(&session, place, &request).await;
        let deployed = deployed.map_err(|error| args.place.in_context(broken(context, begun, error)))?;
        if context.json() {
            let (stack, dry_run) = (&args.which, args.dry_run);
            return context.print_json(&json!({"stack": stack, "dry_run": dry_run, "changes": deployed}));
        }
        if args.dry_run {
            return context.print(&compared(&deployed));
        }
        let summary = told([
            (deployed.created.len(), "created"),
            (deployed.changed.len(), "changed"),
            (deployed.removed.len(), "removed"),
            (deployed.unchanged, "unchanged"),
        ]);
        context.finished(begun, true, false, format!("{} runs on {target}: {summary}", args.which));
        return Ok(());
    }
    let deployed =
        deploy_to_swarm(&session, &args.which, &request).await.map_err(|error| broken(context, begun, error))?;
    if context.json() {
        let objects = &deployed.changes;
        return context.print_json(&json!({"stack": args.which, "dry_run": args.dry_run, "changes": objects}));
    }
    if args.dry_run {
        return context.print(&planned(&deployed));
    }
    context.finished(begun, true, false, format!("{} runs on {target}: {}", args.which, summary(&deployed)));
    Ok(())
}

/// The end of a run that did not come to its end.
pub fn broken(context: &Context, begun: Instant, error: app::Error) -> CliError {
    if matches!(error, app::Error::Cancelled) {
        context.finished(begun, false, false, "");
        return CliError::new(ErrorKind::Interrupted, "Stopped; what was done so far is kept.");
    }
    context.broke_off(begun);
    error.into()
}

fn verb(act: SwarmAct) -> &'static str {
    match act {
        SwarmAct::Create => "create",
        SwarmAct::Update => "update",
        SwarmAct::Replace => "replace",
        SwarmAct::Keep => "keep",
        SwarmAct::Remove => "remove",
    }
}

/// A line for each thing that would change.
fn planned(deployed: &Deployed) -> String {
    let changes = deployed.changes.iter().filter(|change| change.act != SwarmAct::Keep);
    let mut text: String = changes
        .map(|change| match change.what.is_empty() {
            true => format!("{:<8} {} {}\n", verb(change.act), change.kind, change.name),
            false => format!("{:<8} {} {} ({})\n", verb(change.act), change.kind, change.name, change.what.join(", ")),
        })
        .collect();
    let kept = deployed.changes.iter().filter(|change| change.act == SwarmAct::Keep).count();
    match (text.is_empty(), kept) {
        (true, _) => text.push_str("nothing to do\n"),
        (false, 0) => {}
        (false, kept) => text.push_str(&format!("{kept} unchanged\n")),
    }
    text
}

/// `2 created, 1 changed, 3 unchanged`
pub fn summary(deployed: &Deployed) -> String {
    let number = |acts: &[SwarmAct]| deployed.changes.iter().filter(|change| acts.contains(&change.act)).count();
    told([
        (number(&[SwarmAct::Create]), "created"),
        (number(&[SwarmAct::Update, SwarmAct::Replace]), "changed"),
        (number(&[SwarmAct::Remove]), "removed"),
        (number(&[SwarmAct::Keep]), "unchanged"),
    ])
}

/// What would change in a cluster.
fn compared(deployed: &ClusterDeployed) -> String {
    let lines = |verb: &'static str, objects: &[String]| -> String {
        objects.iter().map(|object| format!("{verb:<8} {object}\n")).collect()
    };
    let text =
        lines("create", &deployed.created) + &lines("update", &deployed.changed) + &lines("remove", &deployed.removed);
    match (text.is_empty(), deployed.unchanged) {
        (true, _) => "nothing to do\n".to_owned(),
        (false, 0) => text,
        (false, kept) => format!("{text}{kept} unchanged\n"),
    }
}

fn told(parts: [(usize, &str); 4]) -> String {
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, verb)| format!("{number} {verb}")).collect();
    match parts.is_empty() {
        true => count(0, "change"),
        false => parts.join(", "),
    }
}
