use serde_json::json;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::{
    self, Change, ChangeKind, Prepared, Session, Wanted, changes, expected, planned_processes, prepare, remap,
    split_processes,
};
use crate::config::Loaded;
use crate::doctor::{Fix, Needs};
use crate::engine::absent::Absent;
use crate::model::{MaculaCommand, Platform, PlatformName};
use crate::plan::{CLUSTER_GROUP, Plan, ProcessStep, leave_out_processes};

use super::consent::{missing_engine, opening};
use super::context::{Context, Forgets, ImageOptions, ScaleOptions, Upping, given};
use super::engine_error::no_engine;
use super::error::{CliError, ErrorKind};
use super::excerpt::located;
use super::ui::{Tone, left_out, plan_screen, text};

/// Show what `up` would change, one line per service
///
/// Old and new values are shown where they are known, those of secrets never. `-v` also lists the
/// single steps. Without an engine it shows what a first `up` would do, the engine's installation
/// included. Services whose image is unavailable are marked, and the exit code is 6 then.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services to plan for, with their dependencies (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: ImageOptions,
    #[command(flatten)]
    scale: ScaleOptions,
    /// Exit with 10 if there are changes to make
    #[arg(long)]
    exit_code: bool,
    /// Do not plan changes to the cluster
    #[arg(long)]
    no_cluster: bool,
    /// Fail if any image is unavailable instead of skipping optional services
    #[arg(long)]
    strict: bool,
    /// Plan as `up --remap` would: ports of your services that something else holds move
    #[arg(long)]
    remap: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let options = Upping { options: &args.stacks, scale: &args.scale, remap: args.remap, services: &args.services };
    let session = context.session_ahead("plan", context.services_of(&options));
    let (mut loaded, _) = context.load_for_up(&options, Forgets::default())?;
    app::look_at_contexts(&mut loaded.platform, &context.host.folders().cache).await;
    let mut services = args.services.clone();
    context.services_meant(&loaded.platform, &mut services);
    args.scale.check_given_back(&loaded.platform, &services)?;
    let flags = [(args.no_cluster, "--no-cluster"), (args.strict, "--strict")];
    let up = up_command(&options, given(flags), &services);
    let wanted = Wanted {
        services,
        scaled: args.scale.services().collect(),
        strict: args.strict,
        no_cluster: args.no_cluster.then_some(true),
        dns: None,
        may_fetch: context.may_ask(),
        ahead: true,
        ..Wanted::default()
    };
    let (prepared, pending) = Box::pin(planned(context, session.await, &loaded, wanted, up)).await?;
    if args.exit_code
        && let Some(foreign) = prepared.survey.foreign()
    {
        return Err(foreign.into());
    }
    if args.exit_code && pending {
        return Err(CliError::new(ErrorKind::ChangesPending, "there are changes to make"));
    }
    Ok(())
}

/// The command that carries out a plan. `flags`: what it has beyond the options that both know; `services`: those that
/// the user named, processes among them.
pub fn up_command(options: &Upping<'_>, flags: impl IntoIterator<Item = String>, services: &[String]) -> MaculaCommand {
    let words = std::iter::once("up".to_owned()).chain(options.words()).chain(flags);
    MaculaCommand::of(words.chain(services.iter().cloned()))
}

/// Makes a plan that is not carried out, and shows it with all that is said of it; true: there is something to do in it.
/// The services that are wanted may be processes; `up`: the command that carries it out.
pub async fn planned(
    context: &Context,
    session: Session,
    loaded: &Loaded,
    mut wanted: Wanted,
    up: MaculaCommand,
) -> Result<(Prepared, bool), CliError> {
    let (session, first) = or_an_empty_world(session, loaded).await?;
    let chosen = split_processes(&loaded.platform, &mut wanted.services);
    let processes = chosen.as_ref().map_or(loaded.platform.processes.len(), BTreeSet::len);
    let unknown = match &first {
        Some(_) => not_known(&session, &loaded.platform.name).await,
        None => None,
    };
    let about = About { platform: &loaded.platform, processes, up, unknown };
    let moved = remap(&session, loaded, &wanted.services).await?;
    let loaded = moved.as_ref().unwrap_or(loaded);
    let mut prepared =
        prepare(&session, loaded, &wanted).await.map_err(|error| located(error, loaded, context.excerpt_room()))?;
    if about.unknown.is_some() {
        // all of it comes from an empty world
        (prepared.plan, prepared.unavailable) = (Plan::default(), Vec::new());
    }
    let left_out = &prepared.plan.left_out;
    let processes = planned_processes(&session, loaded, chosen.as_ref(), wanted.recreate, left_out).await?;
    leave_out_processes(&mut prepared.plan.left_out, &loaded.platform.processes, chosen.as_ref());
    let notes = prepared.cluster_drift().into_iter().chain(prepared.kept_notes(&context.invocation()));
    for note in notes.chain(prepared.apart_notes()).filter(|_| about.unknown.is_none()) {
        context.events().warn(note);
    }
    show(context, &session, &prepared, &processes, &about, first.as_ref()).await?;
    if !prepared.unavailable.is_empty() {
        let error = app::Error::Supply(prepared.unavailable);
        return Err(located(error, loaded, context.excerpt_room()));
    }
    let pending = first.is_some() || !prepared.plan.is_empty() || !processes.is_empty();
    Ok((prepared, pending))
}

/// With an engine, or with an empty world in its place, where one could be installed: then with what that
/// would take.
async fn or_an_empty_world(mut session: Session, loaded: &Loaded) -> Result<(Session, Option<Fix>), CliError> {
    if session.system.engine.is_some() {
        return Ok((session, None));
    }
    let needs = Needs { platform: loaded.platform.name.to_string(), ..Needs::default() };
    let Some((_, fix)) = missing_engine(&session, &needs).await? else {
        return Err(no_engine(&session.system.discovery));
    };
    session.system.engine = Some(Arc::new(Absent::on(&session.system.host.facts())));
    Ok((session, Some(fix)))
}

/// What is said of a platform that was brought up, while no engine says what there is of it; none: it was not.
async fn not_known(session: &Session, platform: &PlatformName) -> Option<String> {
    let (host, state) = (session.host(), session.state(platform));
    if !state.is_known(host).await {
        return None;
    }
    let last = match state.brought(host).await.len() {
        0 => String::new(),
        count => format!("; the last `up` brought up {}", text::count(count, "service")),
    };
    Some(format!("what is there, its data included, is not known until the engine runs{last}"))
}

/// What a plan is about, beyond what it is made of.
struct About<'a> {
    /// With the services that are left out.
    platform: &'a Platform,
    /// How many programs of this machine.
    processes: usize,
    /// The command that carries it out.
    up: MaculaCommand,
    /// Why it says nothing of the services.
    unknown: Option<String>,
}

/// Prints a plan that is not carried out. `first`: how there comes to be an engine.
async fn show(
    context: &Context,
    session: &Session,
    prepared: &Prepared,
    processes: &[ProcessStep],
    about: &About<'_>,
    first: Option<&Fix>,
) -> Result<(), CliError> {
    for note in prepared.other_project_notes(&context.invocation()) {
        context.events().warn(note);
    }
    let plan = &prepared.plan;
    let mut changes = changes(prepared).await;
    changes.extend(processes.iter().map(Change::of_process));
    // it is not as wanted
    if changes.is_empty() && !prepared.unavailable.is_empty() {
        return Ok(());
    }
    if context.json() {
        let (owner, engine) = (&prepared.survey.foreign, first.map(|fix| &fix.actions));
        return context.print_json(&json!({
            "engine": engine, "steps": plan.steps, "left_out": plan.left_out, "changes": changes, "processes": processes, "owner": owner,
        }));
    }
    if let Some(owner) = &prepared.survey.foreign {
        let name = &prepared.survey.platform.name;
        return context.print(&format!("nothing to do here: the platform {name} belongs to {owner}\n"));
    }
    if let (Some(fix), Some(unknown)) = (first, &about.unknown) {
        let width = context.terminal.table_width().unwrap_or(160);
        let apply = format!("{unknown}; apply: {}", context.line(about.up.clone()));
        let mut lines: Vec<String> =
            [format!("+ engine  {}", fix.text), apply].iter().flat_map(|line| text::wrap(line, width)).collect();
        if context.global.verbose > 0 {
            lines.extend(fix.actions.iter().map(|action| format!("+ {action}")));
        }
        return context.print(&(lines.join("\n") + "\n"));
    }
    if let Some(fix) = first {
        // nothing can be compared: it is new as a whole
        let details = vec![fix.text.clone()];
        let engine = Change { name: "engine".to_owned(), kind: ChangeKind::Other, details, job: false };
        changes.insert(0, engine);
    }
    let style = context.out_style();
    let width = context.terminal.table_width().unwrap_or(160);
    let services = prepared.services() + about.processes;
    // without the images it would fail
    let up = prepared.unavailable.is_empty().then(|| context.line(about.up.clone()));
    let mut out = plan_screen::screen(&changes, services, up.as_deref(), width, style);
    if prepared.unavailable.is_empty()
        && let Some(opening) = opening(prepared, &expected(session, plan).await)
    {
        for line in text::wrap(&opening, width) {
            out.push_str(&format!("{line}\n"));
        }
    }
    if context.global.verbose > 0 && !changes.is_empty() {
        out.push('\n');
        for action in first.iter().flat_map(|fix| &fix.actions) {
            out.push_str(&format!("+ {action}\n"));
        }
        for step in &plan.steps {
            out.push_str(&format!("{} {} ({})\n", step.sign(), step.id, step.cause));
        }
        for step in processes {
            out.push_str(&format!("{step}\n"));
        }
    }
    let services_only = plan.left_out.iter().filter(|left| left.service != CLUSTER_GROUP);
    let pairs = services_only.map(|left| (left.service.as_str(), &left.reason));
    for cause in left_out::known(left_out::causes(pairs), |name| about.platform.is_helper(name)) {
        let line = format!("{} left out, since {}: {}", cause.services.len(), cause.why, cause.names(4));
        for line in text::wrap(&line, width) {
            out.push_str(&format!("{}\n", style.paint(Tone::Dim, &line)));
        }
    }
    if let Some(left) = plan.left_out.iter().find(|left| left.service == CLUSTER_GROUP) {
        let line = format!("no Kubernetes cluster: {}", left.reason);
        for line in text::wrap(&line, width) {
            out.push_str(&format!("{}\n", style.paint(Tone::Dim, &line)));
        }
    }
    context.print(&out)
}
