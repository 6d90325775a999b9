use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{
    self, Condition, Counts, DnsStatus, PlatformStatus, ProcessStanding, ProcessStatus, ReachStatus, ResolverFiles,
    ServiceState, ServiceStatus, Status, TaskRow, TaskState, UsageStatus,
};
use crate::model::{MaculaCommand, PlatformName, Way, macula};
use crate::plan::{ImageSource, Reason};
use crate::portal;

use super::context::{Context, ImageOptions};
use super::error::CliError;
use super::interrupt;
use super::ui::full_screen::FullScreen;
use super::ui::status_screen::{Mood, Note, Row, Screen, counted, mood};
use super::ui::{Tone, left_out, terminal_is_back, text};
use crate::words;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Show how the services are and where they are reached
///
/// Asks every service from outside. What is wrong comes first, with its reason and the command to
/// look at it. Changes nothing, but starts the background process again where it was killed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: ImageOptions,
    /// Look again every two seconds, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// List every service, including jobs, exporters and what is left out
    #[arg(short, long)]
    all: bool,
    /// Show what each service uses of CPU (100% is a core) and memory
    #[arg(long)]
    stats: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let mut services = args.services;
    let (loaded, session) = context.begin_to_look("status", &args.stacks, &mut services).await?;
    let all = args.all || !services.is_empty();
    let look = async || {
        let looked = match args.stats {
            true => app::status_with_usage(&session, &loaded).await,
            false => app::status(&session, &loaded).await,
        };
        only(looked?, &services)
    };
    if !args.watch {
        // a service may take long to say how it is, and a registry to say nothing
        let glance = Mutex::new(Vec::new());
        let first = async {
            if let Ok(rows) = app::status_at_a_glance(&session, &loaded).await {
                *glance.lock().unwrap_or_else(PoisonError::into_inner) = rows;
            }
        };
        let lines = || {
            let rows = glance.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = rows.iter().filter(|row| services.is_empty() || services.contains(&row.name));
            first_lines(context, &loaded.platform.name, shown)
        };
        let status = context.while_looking(look(), first, lines).await?;
        return show(context, &status, all).await;
    }
    let live = context.terminal.is_drawn_on() && !context.json();
    let _interrupts = interrupt::quietly(context.cancel.clone())?;
    if live {
        context.finish();
        context.stdout_is_open()?;
    }
    let mut screen = match live {
        true => Some(FullScreen::enter().context("write to standard output")?),
        false => None,
    };
    let resized = signal(SignalKind::window_change()).context("listen for changes of the terminal's size")?;
    Watch { context, all, screen: screen.as_mut(), resized, seen: None }.run(look).await
}

/// What is shown until every service has said how it is.
fn first_lines<'a>(
    context: &Context,
    platform: &PlatformName,
    rows: impl Iterator<Item = &'a ServiceStatus>,
) -> Vec<String> {
    let rows: Vec<Row> = rows.map(|service| Row { command: None, ..row(context, service) }).collect();
    let what = if rows.is_empty() { "looking" } else { "asking every service how it is" };
    let dots = context.err_style().symbol("…", "..");
    let screen = Screen { head: vec![platform.to_string(), format!("{what} {dots}")], rows, ..Screen::default() };
    screen.lines(context.terminal.width.saturating_sub(1), context.err_style())
}

/// The rows of these services; none named: all.
fn only(mut status: Status, services: &[String]) -> Result<Status, CliError> {
    let mut known: Vec<String> = status.services.iter().map(|row| row.name.clone()).collect();
    known.extend(status.processes.iter().map(|row| row.name.clone()));
    known.extend(status.tasks.iter().map(|row| row.job.clone()));
    let unknown: Vec<String> = services.iter().filter(|name| !known.contains(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(app::Error::UnknownService { names: unknown, known }.into());
    }
    if !services.is_empty() {
        status.services.retain(|row| services.contains(&row.name));
        status.processes.retain(|row| services.contains(&row.name));
        status.tasks.retain(|row| services.contains(&row.job));
        status.changes.retain(|name| services.contains(name));
        status.unheeded.retain(|one| one.services.iter().any(|name| services.contains(name)));
    }
    Ok(status)
}

/// What the last looks have seen.
struct Seen<T> {
    now: T,
    before: Option<T>,
    /// Why the last look has seen nothing new.
    stale: Option<String>,
}

impl<T> Seen<T> {
    /// With another look. One that fails leaves what was seen: an engine that restarts is there again soon.
    fn with(looked: Result<T, CliError>, seen: Option<Self>) -> Result<Self, CliError> {
        match (looked, seen) {
            (Ok(now), seen) => Ok(Self { now, before: seen.map(|seen| seen.now), stale: None }),
            (Err(error), Some(seen)) => Ok(Self { stale: Some(error.message), ..seen }),
            (Err(error), None) => Err(error),
        }
    }
}

/// `--watch`.
struct Watch<'a> {
    context: &'a Context,
    all: bool,
    /// None: one table after the other.
    screen: Option<&'a mut FullScreen>,
    resized: Signal,
    seen: Option<Seen<Status>>,
}

impl Watch<'_> {
    /// Until Ctrl-C.
    async fn run(mut self, look: impl AsyncFn() -> Result<Status, CliError>) -> Result<(), CliError> {
        loop {
            let Some(looked) = self.while_drawn(look()).await? else { return Ok(()) };
            let before = self.seen.take().filter(|_| self.screen.is_some());
            let seen = self.seen.insert(Seen::with(looked, before)?);
            match &self.screen {
                Some(_) => self.paint()?,
                // one value on each line, as of all that goes on
                None if self.context.json() => {
                    let value = serde_json::to_string(&seen.now).map_err(CliError::fault)?;
                    self.context.print_data(&(value + "\n"))?;
                }
                None => show(self.context, &seen.now, self.all).await?,
            }
            if self.context.reader_gone() || self.while_drawn(tokio::time::sleep(PAUSE)).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// What the work comes to; meanwhile the picture is drawn again where the terminal has changed. None: Ctrl-C.
    async fn while_drawn<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, CliError> {
        let mut work = Box::pin(work);
        let (context, full) = (self.context, self.screen.is_some());
        loop {
            tokio::select! {
                done = &mut work => return Ok(Some(done)),
                () = context.cancel.cancelled() => return Ok(None),
                _ = self.resized.recv(), if full => {}
                () = terminal_is_back(), if full => {}
            }
            self.paint()?;
        }
    }

    /// One picture, cut to the size of the terminal.
    fn paint(&mut self) -> Result<(), CliError> {
        let (Some(on), Some(seen)) = (self.screen.as_deref_mut(), &self.seen) else { return Ok(()) };
        let size = super::ui::size_of_stdout(&self.context.terminal);
        let mut screen = screen_of(self.context, &seen.now, self.all);
        let condition = |status: &Status, name: &str| {
            status.services.iter().find(|service| service.name == name).map(|service| service.condition)
        };
        for row in &mut screen.rows {
            let old = seen.before.as_ref().and_then(|before| condition(before, &row.name));
            row.changed = old.is_some() && old != condition(&seen.now, &row.name);
        }
        let (style, room) = (self.context.out_style(), size.columns.saturating_sub(1));
        let mut lines: Vec<String> = Vec::new();
        if let Some(why) = &seen.stale {
            lines.extend(text::wrap(why, room).iter().map(|line| style.paint(Tone::Warn, line)));
        }
        lines.extend(screen.lines(room, style));
        for line in &mut lines {
            // a command that is too long would push away what is below
            let plain = text::clean_line(line);
            if text::width(&plain) > room {
                *line = style.paint(Tone::Active, &text::fit(&plain, room, style));
            }
        }
        if lines.len() > size.rows {
            let more = lines.len() - size.rows + 1;
            lines.truncate(size.rows.saturating_sub(1));
            lines.push(format!("{} {more} more", style.symbol("…", "..")));
        }
        Ok(on.draw(&lines, size).context("write to standard output")?)
    }
}

/// The whole picture, once.
pub async fn show(context: &Context, status: &Status, all: bool) -> Result<(), CliError> {
    if context.json() {
        return context.print_json(status);
    }
    let style = context.out_style();
    let width = context.terminal.table_width().unwrap_or(160);
    let mut screen = screen_of(context, status, all);
    if let Some(url) = page(context).await {
        screen.notes.push((format!("home: {url}"), Some(macula("open home"))));
    }
    let mut out: String = screen.lines(width, style).iter().map(|line| format!("{line}\n")).collect();
    if !status.cluster.nodes.is_empty() {
        out.push_str(&format!("\n{}", super::cluster::shown(context, &status.cluster)));
    }
    context.print(&out)
}

/// Where the platforms' page is served.
pub(super) async fn page(context: &Context) -> Option<String> {
    let socket = portal::socket(ResolverFiles::of(&*context.host).folder());
    Some(format!("http://{}", portal::address(&socket).await?))
}

fn screen_of(context: &Context, status: &Status, all: bool) -> Screen {
    let platform = &status.platform;
    if platform.down && !status.processes.iter().any(|row| row.runs() || row.is_problem()) {
        return down_screen(context, platform);
    }
    let mut screen = Screen { head: head(status), invocation: context.invocation(), ..Screen::default() };
    screen.notes.extend(platform.owner.as_deref().map(belongs));
    screen.notes.extend(platform.at_work.as_deref().map(at_work));
    screen.notes.extend(platform.unread.as_deref().map(unread));
    let mut out: Vec<(&str, &Reason)> = Vec::new();
    let nameless = !(status.dns.healthy && status.dns.installed);
    let is_task = |name: &str| status.tasks.iter().any(|task| task.job == name);
    for service in &status.services {
        if is_task(&service.name) && service.condition != Condition::LeftOut {
            continue;
        }
        let quiet = match service.condition {
            Condition::LeftOut => {
                out.extend(service.left_out.as_ref().map(|reason| (service.name.as_str(), reason)));
                continue;
            }
            // one that an `up` would fail for says why
            Condition::Missing if !all && !service.helper && service.reason.is_some() => false,
            Condition::Missing | Condition::Created if !all => {
                screen.not_started.push(service.name.clone());
                continue;
            }
            Condition::Finished => true,
            Condition::Healthy | Condition::Running => {
                service.urls.is_empty() && service.addresses.is_empty() && !service.own
            }
            _ => false,
        };
        if quiet && !all {
            let of = if service.condition == Condition::Finished { &mut screen.finished } else { &mut screen.quiet };
            of.push(service.name.clone());
        } else {
            screen.rows.push(Row { nameless, ..row(context, service) });
        }
    }
    for process in &status.processes {
        match process.state {
            ProcessStanding::LeftOut => {
                out.extend(process.left_out.as_ref().map(|reason| (process.name.as_str(), reason)));
            }
            ProcessStanding::Missing if !all => screen.not_started.push(process.name.clone()),
            _ => screen.rows.push(Row { nameless, ..process_row(process) }),
        }
    }
    let left_out = |name: &str| out.iter().any(|(other, _)| *other == name);
    screen.rows.extend(status.tasks.iter().filter(|task| !left_out(&task.job)).map(task_row));
    let helper = |name: &str| status.services.iter().any(|service| service.helper && service.name == name);
    screen.left_out = left_out::known(left_out::causes(out), helper);
    screen.not_started = left_out::known_names(screen.not_started, helper);
    let used: Vec<UsageStatus> = status.services.iter().filter_map(|service| service.usage).collect();
    if !used.is_empty() {
        screen.notes.push((total(&used), None));
    }
    if status.cluster.nodes.is_empty()
        && let Some(reason) = &status.cluster.reason
    {
        screen.notes.push((format!("no Kubernetes cluster: {reason}"), Some(macula("cluster create"))));
    }
    if let Some(problem) = status.cluster.problems.first() {
        screen.notes.push((format!("the cluster: {problem}"), Some(macula("cluster status"))));
    }
    screen.notes.extend(reach_note(status));
    // the names of somebody else's platform are somebody else's to install
    if platform.owner.is_none() {
        screen.notes.extend(names_note(status));
    }
    screen.notes.extend(status.unheeded.iter().map(|one| (one.said.clone(), None)));
    if !status.changes.is_empty() {
        let note = format!("`up` changes {}; to see how first:", text::some(&status.changes, 4));
        screen.notes.push((note, Some(macula("plan"))));
    }
    screen
}

/// Of a platform of which nothing runs.
pub fn down_screen(context: &Context, platform: &PlatformStatus) -> Screen {
    let (state, data) = match platform.volumes {
        0 if !platform.elsewhere.is_empty() => {
            ("not on this engine", format!("it was brought up on {}", words::list(&platform.elsewhere)))
        }
        0 => ("down", "no data is kept".to_owned()),
        count => ("down", format!("the data is kept ({})", text::count(count, "volume"))),
    };
    let head = vec![platform.name.clone(), state.to_owned(), data];
    let notes = match (&platform.owner, &platform.at_work) {
        (Some(owner), _) => vec![belongs(owner)],
        (None, Some(command)) => vec![at_work(command)],
        (None, None) => vec![("start it:".to_owned(), Some(macula("up")))],
    };
    Screen { head, notes, invocation: context.invocation(), ..Screen::default() }
}

/// Whatever is typed here is not for this user to change.
fn belongs(owner: &str) -> Note {
    (format!("it belongs to {owner}: `up` and `down` of this user leave it alone"), None)
}

/// Nobody knows whether what runs has them.
fn unread(why: &str) -> Note {
    (format!("the passwords could not be read: {why}"), Some(macula("doctor state-files")))
}

/// What stands below is on its way.
fn at_work(command: &str) -> Note {
    (format!("{command} is at work on it"), None)
}

/// `macula · up 12m · 10 running, 1 failing · nothing to change`
fn head(status: &Status) -> Vec<String> {
    let counts = counted(Counts::of(&status.services, &status.processes, &status.tasks));
    let since =
        status.platform.up_seconds.map_or("up".to_owned(), |seconds| format!("up {}", text::short_age(seconds)));
    let drift = match status.changes.len() {
        _ if status.platform.incomplete || status.platform.unread.is_some() => {
            "what `up` would change is unknown".to_owned()
        }
        // it is what `up` would still bring up that is listed below
        0 if !status.drift.is_empty() && status.services.iter().any(|row| row.condition == Condition::Missing) => {
            "nothing to change in what runs".to_owned()
        }
        0 => "nothing to change".to_owned(),
        count => format!("{} to change", text::count(count, "service")),
    };
    vec![status.platform.name.clone(), since, counts, drift]
}

/// A program of this machine.
fn process_row(process: &ProcessStatus) -> Row {
    let age = process.seconds.map(text::short_age).unwrap_or_default();
    let name = &process.name;
    let (mood, state, command) = match process.state {
        _ if process.lost => (Mood::Bad, "lost".to_owned(), Some(macula("up"))),
        ProcessStanding::Running if process.restarts > 0 => {
            (Mood::Good, format!("running {age}, restarted {}x", process.restarts), None)
        }
        ProcessStanding::Running => (Mood::Good, format!("running {age}"), None),
        ProcessStanding::Starting => (Mood::Busy, format!("starting {age}"), Some(macula("logs").arg(name))),
        ProcessStanding::Finished => (Mood::Good, format!("done {age} ago"), None),
        ProcessStanding::Stopped => (Mood::Idle, format!("stopped {age} ago"), Some(macula("start").arg(name))),
        ProcessStanding::Missing => (Mood::Idle, "not started".to_owned(), Some(macula("up").arg(name))),
        ProcessStanding::LeftOut => (Mood::Idle, "left out".to_owned(), None),
        ProcessStanding::Blocked => (Mood::Bad, "not started".to_owned(), Some(macula("up").arg(name))),
        ProcessStanding::Crashed => (Mood::Bad, format!("crashed {age} ago"), Some(macula("logs").arg(name))),
        ProcessStanding::Restarting => (Mood::Bad, "restarting".to_owned(), Some(macula("logs").arg(name))),
    };
    Row {
        name: name.clone(),
        mood,
        state: state.trim_end().to_owned(),
        url: process.urls.first().cloned(),
        address: process.port.map(|port| format!("127.0.0.1:{port}")),
        reason: process.reason.clone(),
        command,
        own: true,
        ..Row::default()
    }
}

/// What is done once for each state of what it works on.
fn task_row(task: &TaskRow) -> Row {
    let ago = task.ended.map(|seconds| format!(" {} ago", text::short_age(seconds))).unwrap_or_default();
    let (mood, state, command) = match task.state {
        TaskState::Failed => (Mood::Bad, format!("failed{ago}"), Some(macula("logs").arg(&task.job))),
        TaskState::Running => (Mood::Busy, "running".to_owned(), None),
        TaskState::Done if task.due.is_some() => (Mood::Idle, format!("done{ago}"), None),
        TaskState::Done => (Mood::Good, format!("done{ago}"), None),
        TaskState::Never => (Mood::Idle, "never run".to_owned(), None),
    };
    let reason = match (task.state, task.exit_code, &task.due) {
        (TaskState::Failed, Some(code), _) => Some(format!("exit code {code}")),
        (TaskState::Failed, None, _) => Some("it could not be started".to_owned()),
        (TaskState::Done, _, Some(why)) => Some(format!("the next up runs it: {why}")),
        (TaskState::Never, _, Some(_)) => Some("the next up runs it".to_owned()),
        _ => None,
    };
    Row { name: task.job.clone(), mood, state, reason, command, ..Row::default() }
}

fn row(context: &Context, service: &ServiceStatus) -> Row {
    let verbose = context.global.verbose > 0;
    let (mood, state) = state(service);
    let command = match service.condition {
        Condition::Crashed | Condition::Restarting | Condition::Unhealthy | Condition::OutOfMemory => {
            Some(macula("logs").arg(&service.name))
        }
        Condition::Stopped | Condition::Paused => Some(macula("start").arg(&service.name)),
        Condition::Gone | Condition::Created | Condition::Missing => Some(macula("up").arg(&service.name)),
        _ => None,
    };
    Row {
        name: service.name.clone(),
        mood,
        state,
        url: service.urls.first().cloned(),
        address: service.addresses.first().cloned(),
        reason: service.reason.clone(),
        command,
        usage: service.usage.map(usage),
        image: verbose.then(|| image(service)),
        note: service.note.clone().filter(|_| verbose),
        own: service.own,
        ..Row::default()
    }
}

fn state(service: &ServiceStatus) -> (Mood, String) {
    let age = service.seconds.map(text::short_age);
    let since = |word: &str| age.as_ref().map_or(word.to_owned(), |age| format!("{word} {age}"));
    let ago = |word: &str| age.as_ref().map_or(word.to_owned(), |age| format!("{word} {age} ago"));
    let running = service.state == ServiceState::Running;
    let (mood, word) = mood(service.condition, running);
    let text = match service.condition {
        Condition::Healthy | Condition::Running | Condition::Starting | Condition::Unhealthy => since(word),
        Condition::Unclaimed if running => since(word),
        Condition::Finished | Condition::Crashed | Condition::Stopped | Condition::Unclaimed => ago(word),
        _ => word.to_owned(),
    };
    (mood, [Some(text), service.replicas.shown()].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// CPU and memory, as the table has them.
fn usage(usage: UsageStatus) -> (String, String) {
    (
        format!("{:.1}%", usage.cpu_percent),
        format!("{} / {}", words::memory(usage.memory), words::memory(usage.memory_limit)),
    )
}

fn total(used: &[UsageStatus]) -> String {
    let cpu: f64 = used.iter().map(|usage| usage.cpu_percent).sum();
    let memory = used.iter().fold(0u64, |sum, usage| sum.saturating_add(usage.memory));
    format!("together: {cpu:.1}% of a core, {}", words::memory(memory))
}

/// The way to the addresses, where it is not the usual one.
fn reach_note(status: &Status) -> Option<Note> {
    let ReachStatus { way, ports, problem } = &status.reach;
    let how = match way {
        Way::Published => return None,
        Way::Direct => "directly, from this container",
        Way::Relay => "through a relay",
    };
    match problem {
        Some(problem) => Some((format!("the addresses are not reached ({way}): {problem}"), Some(macula("up")))),
        None if *ports == 0 => None,
        None => {
            let verb = if *ports == 1 { "is" } else { "are" };
            Some((format!("{} {verb} passed on {how}", text::count(*ports, "port")), None))
        }
    }
}

/// Why names do not work here, and what to type.
fn names_note(status: &Status) -> Option<Note> {
    let domain = &status.platform.domain;
    let note = |text: String, command: MaculaCommand| Some((text, Some(command)));
    match &status.dns {
        dns if dns.off => {
            note(format!("*.{domain} does not resolve: the last `up` had `--no-dns`"), macula("up --dns"))
        }
        DnsStatus { problem: Some(problem), .. } => note(format!("names: {problem}"), macula("dns status")),
        dns if dns.installed && dns.healthy => {
            let text = unlisted(&dns.unlisted)?;
            note(text, macula("dns install"))
        }
        dns if dns.address.is_none() => {
            note(format!("*.{domain} does not resolve: the resolver does not run"), macula("up"))
        }
        dns if !dns.healthy => {
            note(format!("*.{domain} does not resolve: the resolver does not answer"), macula("dns status"))
        }
        _ => note(format!("*.{domain} does not resolve on this machine yet"), macula("dns install")),
    }
}

/// Names that do not resolve, although others do.
pub(super) fn unlisted(names: &[String]) -> Option<String> {
    let verb = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| format!("{} {verb} not in /etc/hosts yet", text::some(names, 3)))
}

fn image(service: &ServiceStatus) -> String {
    match service.image_source {
        // here, or where its bundle was written
        Some(ImageSource::Build) => "a build".to_owned(),
        _ => service.image.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_goes_on_while_the_engine_is_away() {
        let fails = || Err(CliError::unexpected("the engine does not answer"));
        assert!(Seen::<u8>::with(fails(), None).is_err(), "the first look");
        let mut seen = None;
        let mut told = Vec::new();
        for looked in [Ok(1), Ok(2), fails(), Ok(3)] {
            let now = Seen::with(looked, seen.take()).unwrap();
            told.push((now.before, now.now, now.stale.is_some()));
            seen = Some(now);
        }
        assert_eq!(told, [(None, 1, false), (Some(1), 2, false), (Some(1), 2, true), (Some(2), 3, false)]);
    }

    #[test]
    fn a_task_says_how_it_ended_and_whether_it_runs_again() {
        let row = |state, exit_code: Option<i64>, due: Option<&str>| {
            let ended = exit_code.map(|_| 300);
            let job = "migrate".to_owned();
            let due = due.map(str::to_owned);
            let task = TaskRow { name: job.clone(), service: None, stack: None, job, state, ended, exit_code, due };
            let row = task_row(&task);
            (row.mood, row.state, row.reason.unwrap_or_default())
        };
        let told = |mood, state: &str, reason: &str| (mood, state.to_owned(), reason.to_owned());
        assert_eq!(row(TaskState::Done, Some(0), None), told(Mood::Good, "done 5m ago", ""));
        let due = row(TaskState::Done, Some(0), Some("./migrations changed"));
        assert_eq!(due, told(Mood::Idle, "done 5m ago", "the next up runs it: ./migrations changed"));
        let failed = row(TaskState::Failed, Some(3), Some("failed"));
        assert_eq!(failed, told(Mood::Bad, "failed 5m ago", "exit code 3"));
        assert_eq!(row(TaskState::Failed, None, None), told(Mood::Bad, "failed", "it could not be started"));
        assert_eq!(row(TaskState::Never, None, Some("never")), told(Mood::Idle, "never run", "the next up runs it"));
    }

    #[test]
    fn use_is_shown_in_the_units_of_limits() {
        let one = UsageStatus { cpu_percent: 1.25, memory: 33 << 20, memory_limit: 512 << 20 };
        let two = UsageStatus { cpu_percent: 150.0, memory: (1 << 30) - 1, memory_limit: 8 << 30 };
        assert_eq!(usage(one), ("1.2%".into(), "33 MiB / 512 MiB".into()));
        assert_eq!(usage(two), ("150.0%".into(), "1023 MiB / 8 GiB".into()));
        assert_eq!(total(&[one, two]), "together: 151.2% of a core, 1 GiB");
    }
}
