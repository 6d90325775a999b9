use std::time::Instant;

use serde_json::{Value, json};

use crate::app::{self, Data, DownOptions, Session, data_of, down, must_be_known, platforms_to_take_down};

use crate::model::PlatformName;
use crate::plan::{Action, Plan};
use crate::words;

use super::context::Context;
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::ui::{Style, Tone, text};
use crate::model::macula;

/// Stop and remove the platform; data is kept
///
/// Stops and removes the containers and the network in the reverse order of their dependencies, with
/// each container's own stop signal and grace period. Volumes are kept for the next `up` unless
/// `--volumes` is given. No stack file is needed: macula recognizes what it made by its labels and
/// touches nothing else.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove all data and passwords; this cannot be undone
    #[arg(long)]
    volumes: bool,
    /// Keep the cluster and its network
    #[arg(long)]
    keep_cluster: bool,
    /// Remove the platform even if another user of the engine started it
    #[arg(long)]
    any_owner: bool,
    /// Take down all platforms of this user
    #[arg(long, conflicts_with = "gone")]
    all: bool,
    /// Take down the platforms whose folder no longer exists
    #[arg(long)]
    gone: bool,
    /// Show what would be removed without removing it
    #[arg(long)]
    dry_run: bool,
    /// Only where the platform's lease is over; the process that looks after leases runs this at their end
    #[arg(long, hide = true, conflicts_with_all = ["all", "gone", "volumes"])]
    if_expired: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if !args.all && !args.gone {
        let name = context.platform_name()?;
        let done = one(context, &args, name).await?;
        return if context.json() { context.print_json(&done) } else { Ok(()) };
    }
    if context.name.is_some() {
        return Err(CliError::usage("--name names one platform; leave it out with --all or --gone"));
    }
    let (mut platforms, others) = platforms_to_take_down(&context.session("down").await, args.gone).await?;
    if args.any_owner {
        platforms.extend(others);
    } else if !others.is_empty() {
        let those = words::list(others.iter().map(ToString::to_string));
        context.events().info(format!("{those}: another user's or another data folder's, left alone"));
    }
    if platforms.is_empty() {
        context.events().info("there is no platform to take down");
    }
    let mut all = Vec::new();
    let (mut are_down, mut failed) = (Vec::new(), Vec::new());
    for name in platforms {
        context.events().info(format!("platform {name}"));
        match one(context, &args, name.clone()).await {
            Ok(done) => {
                all.push(done);
                are_down.push(name);
            }
            Err(error) if ends_all(error.kind) => return Err(after(error, &name, &are_down, &failed)),
            // the others have nothing to do with it
            Err(error) => failed.push((name, error)),
        }
    }
    if let Some(error) = told_together(failed) {
        return Err(error);
    }
    if context.json() { context.print_json(&all) } else { Ok(()) }
}

/// Whoever has said no, or is not there to be asked, was asked about all of them; without an engine none goes down.
fn ends_all(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::Declined | ErrorKind::Privilege | ErrorKind::NoEngine)
}

/// The error that ends all of it at one platform, with what became of those before.
fn after(
    mut error: CliError,
    name: &PlatformName,
    down: &[PlatformName],
    failed: &[(PlatformName, CliError)],
) -> CliError {
    let those = words::list(down.iter().map(ToString::to_string));
    let are = if down.len() == 1 { "is" } else { "are" };
    match error.kind {
        _ if down.is_empty() => {}
        ErrorKind::Declined => error.message = format!("{those} {are} down; {name} was left as it is."),
        ErrorKind::Interrupted => {
            error.message = format!("Stopped; {those} {are} down, and what was not taken down yet still runs.");
        }
        _ => error.details.push(format!("{those} {are} down")),
    }
    error.details.extend(failed.iter().map(|(name, error)| format!("{name} is not down: {}", error.message)));
    error
}

/// The error of the first platform that did not go down, and what was the matter with the others.
fn told_together(failed: Vec<(PlatformName, CliError)>) -> Option<CliError> {
    let mut failed = failed.into_iter();
    let (name, mut first) = failed.next()?;
    first.details.insert(0, format!("{name} is not down"));
    for (name, error) in failed {
        first.details.push(format!("{name} is not down: {}", error.message));
    }
    Some(first)
}

/// Takes one platform down; what `-o json` says of it.
async fn one(context: &Context, args: &Args, name: PlatformName) -> Result<Value, CliError> {
    if context.global.verbose > 0 && !args.volumes {
        context.events().info("`-v` is --verbose here; the data goes with --volumes");
    }
    let begun = Instant::now();
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("down").await;
    // a script that clears up need not know whether there was anything; a person may have mistyped
    if context.name.is_some() && !context.global.yes {
        must_be_known(&session, &name).await?;
    }
    if args.volumes && !args.dry_run {
        agree_to_lose(context, &session, &name, args.any_owner).await?;
    }
    let downed = down(
        &session,
        &name,
        DownOptions {
            volumes: args.volumes,
            keep_cluster: args.keep_cluster,
            dry_run: args.dry_run,
            any_owner: args.any_owner,
            if_expired: args.if_expired,
        },
    )
    .await;
    let downed = downed.map_err(|error| broken(context, begun, error))?;
    let done = json!({
        "platform": name, "steps": downed.plan.steps, "volumes_kept": downed.kept, "processes": downed.processes,
        "dry_run": args.dry_run,
    });
    if context.json() {
        return Ok(done);
    }
    if downed.stays {
        context.finished(begun, true, false, format!("{name} is left as it is: it has no lease that is over"));
        return Ok(done);
    }
    if args.dry_run {
        let text = match context.global.verbose {
            0 => ended(&downed.processes) + &told(&downed.plan, downed.kept.len()),
            _ => downed.plan.to_string(),
        };
        let width = context.terminal.table_width().unwrap_or(usize::MAX);
        let lines = text.lines().flat_map(|line| text::wrap(line, width));
        context.print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
        return Ok(done);
    }
    let kept = match downed.kept.len() {
        0 => String::new(),
        1 => "; its data is kept (1 volume)".into(),
        count => format!("; its data is kept ({count} volumes)"),
    };
    let was = if downed.plan.is_empty() && downed.processes.is_empty() { "already down" } else { "down" };
    let gone = if args.volumes && !downed.plan.is_empty() { ", and its data removed" } else { "" };
    let summary = format!("{name} is {was}{gone}{kept}");
    context.finished(begun, true, false, summary);
    Ok(done)
}

/// Programs of this machine that `down` would end.
fn ended(processes: &[String]) -> String {
    match processes {
        [] => String::new(),
        [one] => format!("ends 1 process: {one}\n"),
        several => format!("ends {} processes: {}\n", several.len(), words::list(several)),
    }
}

/// What `down` would do, in services and volumes; `kept`: how many of these stay.
fn told(plan: &Plan, kept: usize) -> String {
    let steps = || plan.steps.iter();
    let removed = steps().filter(|step| matches!(step.action, Action::RemoveContainer { .. }));
    let (jobs, services): (Vec<String>, Vec<String>) =
        words::unique(removed.map(|step| step.group.clone())).into_iter().partition(|name| plan.jobs.contains(name));
    let volumes = steps().filter_map(|step| match &step.action {
        // volumes of rendered files are made anew
        Action::RemoveVolume { name } if step.destructive => Some(name.clone()),
        _ => None,
    });
    let volumes: Vec<String> = volumes.collect();
    let others = steps().any(|step| matches!(step.action, Action::Cluster(_)));
    let mut out = String::new();
    if !services.is_empty() {
        out.push_str(&format!(
            "stops and removes {}: {}\n",
            text::count(services.len(), "service"),
            words::list(services)
        ));
    }
    if !jobs.is_empty() {
        out.push_str(&format!("removes {}: {}\n", text::count(jobs.len(), "job"), words::list(jobs)));
    }
    if others {
        out.push_str("deletes the Kubernetes cluster\n");
    }
    if !volumes.is_empty() {
        out.push_str(&format!("deletes the data for good: {}\n", words::list(volumes)));
    }
    match (plan.is_empty(), kept) {
        (true, 0) => "nothing to do\n".clone_into(&mut out),
        (_, 0) => {}
        (empty, kept) => {
            let nothing = if empty { "nothing to do; " } else { "" };
            out.push_str(&format!("{nothing}keeps the data ({})\n", text::count(kept, "volume")));
        }
    }
    out
}

/// The end of a run that did not come to its end: Ctrl-C, or an error.
pub(super) fn broken(context: &Context, begun: Instant, error: app::Error) -> CliError {
    if matches!(error, app::Error::Cancelled) {
        context.finished(begun, false, false, "");
        let message = "Stopped; what was not taken down yet still runs.";
        return CliError::new(ErrorKind::Interrupted, message).suggest(macula("down"));
    }
    context.broke_off(begun);
    error.into()
}

/// Shows what would be lost for good, and has the platform's name typed.
async fn agree_to_lose(
    context: &Context,
    session: &Session,
    name: &PlatformName,
    any_owner: bool,
) -> Result<(), CliError> {
    if context.global.yes {
        return Ok(());
    }
    let (data, owner, passwords) = data_of(session, name, context.may_ask()).await?;
    // it would be refused after the question
    if let Some(owner) = owner.clone().filter(|_| !any_owner) {
        return Err(app::Error::Foreign { platform: name.clone(), owner }.into());
    }
    // the passwords are those of data elsewhere, which `down` says
    if data.is_empty() && !passwords {
        return Ok(());
    }
    let total: u64 = data.iter().filter_map(|data| data.size).sum();
    if !context.may_ask() {
        let what = match data.len() {
            0 => format!("the generated passwords of {name} would be lost for good"),
            count => format!(
                "the data of {name} ({}, {}) would be lost for good",
                text::count(count, "volume"),
                text::bytes(total)
            ),
        };
        let mut error = CliError::new(ErrorKind::Privilege, format!("not removed: {what}"));
        error.details = data.iter().map(named).collect();
        return Err(error
            .hint("there is no terminal to ask on; `--yes` confirms that the data may go")
            .suggest(macula("down").why("to keep the data")));
    }
    let loss = Loss { platform: name.as_str(), owner: owner.as_deref(), data: &data, passwords };
    let text = loss.text(context.err_style(), context.terminal.width);
    context.confirm_loss(name.as_str(), &text).await
}

/// In one line, with whose it is.
fn named(data: &Data) -> String {
    let size = data.size.map(text::bytes);
    let project = data.project.as_ref().map(|project| format!("of {project}"));
    let known: Vec<String> = size.into_iter().chain(project).collect();
    match known.is_empty() {
        true => data.volume.clone(),
        false => format!("{} ({})", data.volume, known.join(", ")),
    }
}

struct Loss<'a> {
    platform: &'a str,
    /// Somebody else's.
    owner: Option<&'a str>,
    data: &'a [Data],
    /// They go, too.
    passwords: bool,
}

/// Volumes that are listed; the rest in one line.
const LISTED: usize = 8;

impl Loss<'_> {
    /// In lines of at most `width` columns: what would be lost must not be cut.
    fn text(&self, style: Style, width: usize) -> String {
        let begin = "This permanently deletes, from the platform ";
        let mut out = match text::width(begin) + text::width(self.platform) < width {
            true => format!("{begin}{}:\n", style.paint(Tone::Bold, self.platform)),
            false => text::wrap(&format!("{begin}{}:", self.platform), width).join("\n") + "\n",
        };
        if let Some(owner) = self.owner {
            out.push_str(&format!("  {} {owner}\n", style.paint(Tone::Warn, "which belongs to")));
        }
        let names = self.data.iter().take(LISTED).map(|data| text::width(&data.volume)).max().unwrap_or(0);
        for data in self.data.iter().take(LISTED) {
            let size = data.size.map_or_else(String::new, text::bytes);
            let whose = match (data.services.is_empty(), data.in_use) {
                (true, _) => String::new(),
                (false, true) => format!("  {}, running", words::list(&data.services)),
                (false, false) => format!("  {}", words::list(&data.services)),
            };
            let project = data.project.as_ref().map_or_else(String::new, |project| format!("  of {project}"));
            let whose = whose + &project;
            let written = data.written.map_or_else(String::new, |seconds| match seconds {
                0..2 => "  written just now".to_owned(),
                _ => format!("  written {} ago", words::span(seconds)),
            });
            let line = format!("  {}  {}{written}{whose}", text::pad(&data.volume, names), text::pad_left(&size, 9));
            if text::width(line.trim_end()) <= width {
                out.push_str(line.trim_end());
                out.push('\n');
                continue;
            }
            let (name, rest) = (&data.volume, format!("{size}{written}{whose}"));
            let name = text::wrap(name, width.saturating_sub(2)).into_iter().map(|line| format!("  {line}\n"));
            let rest = text::wrap(rest.trim(), width.saturating_sub(4)).into_iter().map(|line| format!("    {line}\n"));
            out.extend(name.chain(rest));
        }
        let rest = self.data.get(LISTED..).unwrap_or_default();
        if !rest.is_empty() {
            let size: u64 = rest.iter().filter_map(|data| data.size).sum();
            let names = words::list(rest.iter().map(|data| &data.volume));
            let rest = format!("and {} more ({}): {names}", rest.len(), text::bytes(size));
            let lines = text::wrap(&rest, width.saturating_sub(2));
            out.extend(lines.into_iter().map(|line| format!("  {line}\n")));
        }
        let and = if self.data.is_empty() { "" } else { "and " };
        if self.passwords {
            out.push_str(&format!("  {and}the passwords that were generated\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::cli::context::declined;
    use crate::model::{ResourceId, ResourceKind};
    use crate::plan::{Cause, Step};

    #[test]
    fn whoever_stops_half_way_learns_what_is_down() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| PlatformName::new(name).unwrap());
        let failed = [(d, CliError::unexpected("busy"))];
        let told = |error: CliError, down: &[PlatformName]| {
            let error = after(error, &c, down, &failed);
            std::iter::once(error.message).chain(error.details).collect::<Vec<_>>().join("\n")
        };
        assert_snapshot!(told(declined(), &[]), @r"
        Nothing was changed.
        d is not down: busy
        ");
        assert_snapshot!(told(declined(), &[a.clone(), b]), @r"
        a and b are down; c was left as it is.
        d is not down: busy
        ");
        let interrupted = || CliError::new(ErrorKind::Interrupted, "Cancelled; nothing was changed.");
        assert_snapshot!(told(interrupted(), &[a]), @r"
        Stopped; a is down, and what was not taken down yet still runs.
        d is not down: busy
        ");
    }

    #[test]
    fn what_would_go_is_told_in_services_and_volumes() {
        let step = |group: &str, action| Step {
            id: format!("{group} {action:?}"),
            resource: ResourceId::new(ResourceKind::Container, group),
            group: group.into(),
            action,
            cause: Cause::Requested,
            after: Vec::new(),
            destructive: group == "db",
            needs_privilege: false,
        };
        let remove = |service: &str, at: usize| {
            step(service, Action::RemoveContainer { container: format!("macula-{service}-{at}") })
        };
        let mut plan = Plan { steps: vec![remove("db", 1), remove("web", 1), remove("web", 2)], ..Plan::default() };
        assert_snapshot!(told(&plan, 2), @r"
        stops and removes 2 services: db and web
        keeps the data (2 volumes)
        ");
        let jobs = Plan { jobs: ["web".to_owned()].into(), ..plan.clone() };
        assert_snapshot!(told(&jobs, 0), @r"
        stops and removes 1 service: db
        removes 1 job: web
        ");
        plan.steps.push(step("web", Action::RemoveVolume { name: "macula-web-1-files-etc".into() }));
        plan.steps.push(step("db", Action::RemoveVolume { name: "macula-db-data".into() }));
        assert_snapshot!(told(&plan, 0), @r"
        stops and removes 2 services: db and web
        deletes the data for good: macula-db-data
        ");
        assert_snapshot!(told(&Plan::default(), 1), @"nothing to do; keeps the data (1 volume)");
        assert_snapshot!(told(&Plan::default(), 0), @"nothing to do");
    }

    #[test]
    fn one_platform_that_stays_keeps_no_other() {
        assert!(told_together(Vec::new()).is_none());
        let failed = |name: &str, message: &str| {
            (PlatformName::try_from(name.to_owned()).unwrap(), CliError::new(ErrorKind::Conflict, message))
        };
        let both = told_together(vec![failed("a", "it belongs to root"), failed("b", "it is locked")]).unwrap();
        assert_eq!((both.kind, both.message.as_str()), (ErrorKind::Conflict, "it belongs to root"));
        assert_eq!(both.details, ["a is not down", "b is not down: it is locked"]);
        assert!(ends_all(ErrorKind::Interrupted) && ends_all(ErrorKind::Declined) && !ends_all(ErrorKind::Conflict));
    }

    #[test]
    fn what_is_lost_is_listed_with_its_size() {
        let data: Vec<Data> = (0..10)
            .map(|at| Data {
                volume: format!("macula-volume-{at}"),
                size: (at != 7).then_some(212_000_000 / (at + 1)),
                written: [Some(1), Some(130), Some(200_000)].get(at as usize).copied().flatten(),
                services: if at < 2 { vec![format!("db-{at}")] } else { Vec::new() },
                in_use: at == 0,
                project: (at == 1).then(|| "shop in /w/shop".to_owned()),
            })
            .collect();
        let loss = Loss { platform: "macula", owner: None, data: &data, passwords: true };
        let plain = Style { color: false, unicode: true };
        let narrow = Loss { platform: "macula", owner: None, data: &data[..2], passwords: true };
        assert_snapshot!(narrow.text(plain, 40), @r"
        This permanently deletes, from the
        platform macula:
          macula-volume-0
            212.0 MB  written just now  db-0,
            running
          macula-volume-1
            106.0 MB  written 2 minutes ago
            db-1  of shop in /w/shop
          and the passwords that were generated
        ");
        assert_snapshot!(loss.text(plain, 80), @r"
        This permanently deletes, from the platform macula:
          macula-volume-0   212.0 MB  written just now  db-0, running
          macula-volume-1   106.0 MB  written 2 minutes ago  db-1  of shop in /w/shop
          macula-volume-2    70.6 MB  written 2 days ago
          macula-volume-3    53.0 MB
          macula-volume-4    42.4 MB
          macula-volume-5    35.3 MB
          macula-volume-6    30.2 MB
          macula-volume-7
          and 2 more (44.7 MB): macula-volume-8 and macula-volume-9
          and the passwords that were generated
        ");
        assert_eq!(named(&data[1]), "macula-volume-1 (106.0 MB, of shop in /w/shop)");
        assert_eq!(named(&data[7]), "macula-volume-7");
        let nothing = Loss { platform: "macula", owner: None, data: &[], passwords: true };
        assert_snapshot!(nothing.text(plain, 80), @r"
        This permanently deletes, from the platform macula:
          the passwords that were generated
        ");
        let owned = Loss { platform: "shop", owner: Some("root on ci-7"), data: &data[..1], passwords: true };
        assert_snapshot!(owned.text(plain, 80), @r"
        This permanently deletes, from the platform shop:
          which belongs to root on ci-7
          macula-volume-0   212.0 MB  written just now  db-0, running
          and the passwords that were generated
        ");
        let elsewhere = Loss { platform: "macula", owner: None, data: &data[..1], passwords: false };
        assert_snapshot!(elsewhere.text(plain, 80), @r"
        This permanently deletes, from the platform macula:
          macula-volume-0   212.0 MB  written just now  db-0, running
        ");
    }

    /// Nobody types it, and so nobody would notice.
    #[test]
    fn what_the_end_of_a_lease_runs_is_understood() {
        let words = ["macula", "--name", "shop", "--progress", "plain", "down", "--if-expired"];
        let read = crate::cli::command().try_get_matches_from(words);
        assert!(read.is_ok(), "{read:?}");
    }
}
