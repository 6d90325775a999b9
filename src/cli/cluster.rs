use std::time::Instant;

use clap::Subcommand;

use crate::app;
use crate::app::{ClusterState, ClusterStatus, Error};
use crate::model::macula;
use crate::plan::Plan;

use super::consent::Asker;
use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, text};

/// The Kubernetes cluster: make it, look at it, take it away
///
/// `macula up` creates it too. Nodes are containers of the engine in the platform's own network; the
/// services on this machine outlive the cluster, and recognize it when it is created again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the cluster, or what is missing of it
    ///
    /// `kind` is taken from the PATH (or MACULA_KIND); where there is none, version 0.33.0 is
    /// fetched after asking, and checked. The context goes into your kubeconfig.
    Create {
        /// Keep the nodes of a cluster that does not come up, for a look at them
        #[arg(long)]
        retain: bool,
    },
    /// Take the cluster away, and its context out of your kubeconfig; the host's data stay
    Delete,
    /// Start the nodes that are down
    Start,
    /// Stop the nodes, and keep them
    Stop,
    /// Show the nodes and what runs on them
    Status,
    /// Print a kubeconfig with this cluster alone
    Kubeconfig {
        /// Put the context into your kubeconfig, and say which file that is
        #[arg(long)]
        merge: bool,
    },
    /// Put images of the engine into the nodes, which then need not pull them
    Load {
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
    },
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let platform = &loaded.platform;
    let name = platform.cluster_name();
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let begun = Instant::now();
    match args.action {
        Action::Create { retain } => {
            let session = context.session("cluster create").await;
            let asker = Asker { context };
            let made = app::create_cluster(&session, &loaded, retain, &asker).await;
            ended(context, begun, made, &format!("{name} is ready"), &format!("{name} runs already"))?;
            show(context, &app::cluster_status(&session, &loaded).await?)
        }
        Action::Delete => {
            let session = context.session("cluster delete").await;
            let gone = app::delete_cluster(&session, &loaded).await;
            let plan = ended(context, begun, gone, &format!("{name} is gone"), &format!("there is no cluster {name}"))?;
            if context.json() { context.print_json(&plan) } else { Ok(()) }
        }
        Action::Start => {
            let session = context.session("cluster start").await;
            let started = app::start_cluster(&session, &platform.name, &name).await;
            ended(context, begun, started, &format!("{name} runs"), &format!("{name} runs already"))?;
            show(context, &app::cluster_status(&session, &loaded).await?)
        }
        Action::Stop => {
            let session = context.session("cluster stop").await;
            let stopped = app::stop_cluster(&session, &platform.name, &name).await;
            let plan = ended(context, begun, stopped, &format!("{name} is stopped"), &format!("{name} does not run"))?;
            if context.json() { context.print_json(&plan) } else { Ok(()) }
        }
        Action::Status => {
            let session = context.session("cluster status").await;
            let now = app::cluster_status(&session, &loaded).await?;
            show(context, &now)?;
            match now.state {
                ClusterState::Running => Ok(()),
                _ if context.json() => Err(CliError::told(ErrorKind::Cluster)),
                // a question about the state has got its answer; the exit code tells scripts
                ClusterState::Missing => {
                    let typed = context.line(macula("cluster create"));
                    context.print(&format!("no cluster: {name} has not been created ({typed})\n"))?;
                    Err(CliError::told(ErrorKind::Cluster))
                }
                state => Err(CliError::new(ErrorKind::Cluster, format!("the cluster {name} is {}", state.word()))
                    .suggest(match state {
                        ClusterState::Stopped => macula("cluster start"),
                        _ => macula("cluster create"),
                    })),
            }
        }
        Action::Kubeconfig { merge } => {
            let session = context.session("cluster kubeconfig").await;
            match app::cluster_kubeconfig(&session, &loaded, merge).await? {
                (_, Some(path)) if context.json() => {
                    context.print_json(&serde_json::json!({"merged_into": path.display().to_string()}))
                }
                (_, Some(path)) => context.print(&format!("{}\n", path.display())),
                (text, None) if context.json() => {
                    let parsed: serde_json::Value = serde_yaml::from_str(&text)
                        .map_err(|error| CliError::unexpected("read the kubeconfig").because(&error))?;
                    context.print_json(&parsed)
                }
                (text, None) => context.print_data(&text),
            }
        }
        Action::Load { images } => {
            let session = context.session("cluster load").await;
            app::load_into_cluster(&session, &loaded, &images).await?;
            context.finished(
                begun,
                true,
                false,
                format!("{} in the nodes of {name}", text::count(images.len(), "image")),
            );
            if context.json() { context.print_json(&serde_json::json!({"loaded": images})) } else { Ok(()) }
        }
    }
}

/// Says how a change ended; an error goes on.
fn ended(
    context: &Context,
    begun: Instant,
    done: Result<Plan, Error>,
    changed: &str,
    nothing: &str,
) -> Result<Plan, CliError> {
    match &done {
        Ok(plan) => context.finished(begun, true, false, if plan.is_empty() { nothing } else { changed }),
        Err(_) => context.finished(begun, false, false, "the cluster is not as it should be"),
    }
    Ok(done?)
}

fn show(context: &Context, status: &ClusterStatus) -> Result<(), CliError> {
    if context.json() {
        return context.print_json(status);
    }
    context.print(&shown(context, status))
}

/// The nodes, and what is to be said of the rest.
pub fn shown(context: &Context, status: &ClusterStatus) -> String {
    let style = context.out_style();
    let Some(name) = &status.name else { return String::new() };
    let mut out = String::new();
    if !status.nodes.is_empty() {
        let mut table = Table::new(vec![
            ("NODE", Fit::Whole),
            ("STATE", Fit::Whole),
            ("ROLE", Fit::Whole),
            ("VERSION", Fit::Whole),
            ("ADDRESS", Fit::Whole),
            ("IMAGE", Fit::Shrink),
        ]);
        for node in &status.nodes {
            table.row(vec![
                Cell::from(&node.name),
                Cell::state(if node.ready == Some(false) { "starting".to_owned() } else { word(&node.state) }),
                Cell::from(word(&node.role)),
                Cell::from(node.version.as_deref().unwrap_or("-")),
                Cell::from(node.address.as_deref().unwrap_or("-")),
                Cell::from(&node.image),
            ]);
        }
        out.push_str(&table.render(style, context.terminal.table_width()));
    }
    if !status.addons.is_empty() {
        let mut table =
            Table::new(vec![("ADD-ON", Fit::Whole), ("STATE", Fit::Whole), ("VERSION", Fit::Whole), ("", Fit::Shrink)]);
        for addon in &status.addons {
            table.row(vec![
                Cell::from(&addon.name),
                Cell::state(addon.state.word()),
                Cell::from(addon.versions.join(", ")),
                Cell::from(addon.reason.as_deref().unwrap_or_default()),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render(style, context.terminal.table_width()));
    }
    for problem in &status.problems {
        out.push_str(&format!("{} {problem}\n", style.paint(Tone::Bad, style.failed())));
    }
    if let Some(reason) = &status.reason {
        let next = match status.state {
            ClusterState::Incomplete => Some(macula("cluster create")),
            ClusterState::Stopped => Some(macula("cluster start")),
            _ => None,
        };
        let next = next.map(|command| format!("; `{}`", context.line(command))).unwrap_or_default();
        out.push_str(&format!("{}\n", style.paint(Tone::Dim, &format!("cluster {name}: {reason}{next}"))));
    }
    out
}

/// As the JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
