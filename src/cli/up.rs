use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::app::{
    self, Choices, Condition, Consent, Counts, NO_CLUSTER, Noting, Prepared, Session, UpOptions, UpResult, Wanted,
    WatchOptions, looks_after, split_processes,
};
use crate::apply::{Timing, critical_path};
use crate::config::{self, DiskFiles, Loaded};
use crate::doctor::{Finding, Fix};
use crate::model::{Again, Invocation, LeaseSettings, Origin, macula};
use crate::plan::CLUSTER_GROUP;
use crate::plan::forecast::Forecast;
use crate::words;

use super::ci::{JOB_VARIABLE, markdown_table};
use super::consent::{Asker, with_engine_of};
use super::context::{Context, Forgets, ImageOptions, LookAhead, ScaleOptions, StackOptions, Upping, given};
use super::error::{CliError, ErrorKind};
use super::excerpt::located;
use super::follow::follow;
use super::ui::up_screen::{self, Entry, Notice};
use super::ui::waterfall::{Span, by_group, waterfall};
use super::ui::{Tally, Tone, left_out, text};
use super::{interrupt, lease, plan, status};

/// What `up` does before it has anything to say.
const CONNECTING: &str = "looking for a container engine";
const PREPARING: &str = "looking at the engine and the images";

/// Start the platform, or whatever part of it is not running
///
/// Reads the stacks, compares them with what is running, and makes the difference: pulls or builds
/// images, creates containers and starts them in the order of their dependencies, in parallel, and
/// checks every service from outside until it answers. Whatever is right already is left alone, so
/// running it again costs next to nothing; after a failure it continues where it stopped.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Services to start, with their dependencies (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: ImageOptions,
    /// Use the images of a file written by `images save`, loading each as it is needed
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleOptions,
    /// Rebuild images even if they already exist
    #[arg(long)]
    build: bool,
    /// Recreate containers even if nothing changed
    #[arg(long)]
    force_recreate: bool,
    /// Do not start the dependencies of these services
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Show the plan without carrying it out
    #[arg(long)]
    dry_run: bool,
    /// Fail (exit code 6) if any image is unavailable, instead of leaving out optional services
    #[arg(long)]
    strict: bool,
    /// Leave the cluster as it is; later commands do so too, until `--cluster` or `--reset`
    #[arg(long, overrides_with = "cluster")]
    no_cluster: bool,
    /// Manage the cluster again after `--no-cluster`
    #[arg(long, overrides_with = "no_cluster")]
    cluster: bool,
    /// Do not start the resolver or register this platform's names, until `--dns` or `--reset`
    #[arg(long, overrides_with = "dns")]
    no_dns: bool,
    /// Register the names again after `--no-dns`
    #[arg(long, overrides_with = "no_dns")]
    dns: bool,
    /// Publish ports of your services that something else holds on addresses of the services' own; later
    /// commands know them, and `--reset` forgets it
    #[arg(long)]
    remap: bool,
    /// Forget the profiles, stacks, image policy and other choices of the last `up`
    #[arg(long)]
    reset: bool,
    /// Remove containers of stacks that are not loaded this time, and replace services of another project
    #[arg(long)]
    remove_orphans: bool,
    /// Health timeout per service, overriding each service's own (90s, 5m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = words::typed_duration)]
    timeout: Option<Duration>,
    /// Take the platform down after this time (30m, 2h), as `macula down` does; `macula lease` extends it
    #[arg(long, value_name = "TIME", value_parser = words::typed_span, conflicts_with = "no_dns")]
    lease: Option<Duration>,
    /// Take the platform down when this process ends
    #[arg(long, value_name = "PID", conflicts_with = "no_dns")]
    lease_of: Option<u32>,
    /// Take the platform down when no command and no connection has used it for this time (30m, 2h)
    #[arg(long, value_name = "TIME", value_parser = words::typed_span, conflicts_with = "no_dns")]
    idle: Option<Duration>,
    /// Show where the time went
    #[arg(long)]
    timings: bool,
    /// Then carry out `develop.watch` until Ctrl-C, as `macula watch` does
    #[arg(short, long, conflicts_with = "dry_run")]
    watch: bool,
    /// Services always run in the background; accepted for those used to it
    #[arg(short, long, hide = true)]
    detach: bool,
    /// Every `up` waits until services are ready; accepted for those used to asking for it
    #[arg(long, hide = true)]
    wait: bool,
}

impl Args {
    /// Of `scale`.
    pub(super) fn of_scale(scale: ScaleOptions, no_deps: bool, dry_run: bool) -> Self {
        let services = words::unique(scale.services());
        Self { services, scale, no_deps, dry_run, ..Self::default() }
    }
}

fn options_of(args: &Args) -> Upping<'_> {
    Upping { options: &args.stacks, scale: &args.scale, remap: args.remap, services: &args.services }
}

/// What decides on what is done, beyond the options that `plan` knows as well.
fn flags(args: &Args) -> Vec<String> {
    let all = [
        (args.build, "--build"),
        (args.force_recreate, "--force-recreate"),
        (args.no_deps, "--no-deps"),
        (args.strict, "--strict"),
        (args.no_cluster, "--no-cluster"),
        (args.cluster, "--cluster"),
        (args.no_dns, "--no-dns"),
        (args.dns, "--dns"),
        (args.reset, "--reset"),
        (args.remove_orphans, "--remove-orphans"),
    ];
    let bundle = args.bundle.iter().flat_map(|path| ["--bundle".to_owned(), path.to_string_lossy().into_owned()]);
    given(all).chain(bundle).collect()
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let forgets = Forgets { all: args.reset, cluster: args.cluster || args.no_cluster };
    let options = options_of(&args);
    let session = match args.dry_run {
        true => context.session_ahead("up --dry-run", context.services_of(&options)),
        false => context.session_ahead("up", LookAhead::Engine),
    };
    let (loaded, choices) = context.load_for_up(&options, forgets)?;
    let mut services = args.services.clone();
    context.services_meant(&loaded.platform, &mut services);
    // programs of this machine are watched by the process that keeps them
    split_processes(&loaded.platform, &mut services);
    let then = args.watch.then_some(services);
    bring_up(context, args, loaded, choices, session).await?;
    match then {
        // as this `up` has left it: a port may have moved
        Some(services) => {
            let (loaded, choices) = context.load_to_join(&StackOptions::default()).await?;
            follow(context, loaded, WatchOptions { services, all_files: false, choices }).await
        }
        None => Ok(()),
    }
}

/// For commands that work on a platform that is up: says only how it went.
pub(super) async fn bring_up_for(
    context: &Context,
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    consent: &dyn Consent,
) -> Result<(), CliError> {
    let begun = Instant::now();
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    match app::up(session, loaded, options, consent).await {
        Ok(result) => {
            let running = result.now.services.iter().filter(|service| service.condition.runs()).count();
            let summary = format!("{} is up: {}", loaded.platform.name, text::count(running, "service"));
            context.finished(begun, true, !result.left_out.is_empty(), summary);
            summarize(context, &result);
            Ok(())
        }
        Err(error) => Err(broken(context, begun, error, Some(loaded))),
    }
}

async fn bring_up(
    context: &Context,
    args: Args,
    mut loaded: Loaded,
    choices: Choices,
    session: impl Future<Output = Session>,
) -> Result<(), CliError> {
    let begun = Instant::now();
    app::look_at_contexts(&mut loaded.platform, &context.host.folders().cache).await;
    let said = |no: bool, yes: bool| if no { Some(true) } else { (yes || args.reset).then_some(false) };
    let no_dns = said(args.no_dns, args.dns);
    let mut services = args.services.clone();
    context.services_meant(&loaded.platform, &mut services);
    args.scale.check_given_back(&loaded.platform, &services)?;
    let bundle = app::open_bundle(args.bundle.as_deref()).await?;
    let wanted = Wanted {
        services,
        bundle,
        no_deps: args.no_deps,
        scaled: args.scale.services().collect(),
        apart: None,
        build: args.build,
        fresh: Vec::new(),
        recreate: args.force_recreate,
        strict: args.strict,
        needed: Vec::new(),
        no_cluster: said(args.no_cluster, args.cluster),
        remove_orphans: args.remove_orphans,
        retry: args.reset || args.stacks.images.is_some(),
        dns: no_dns.map(|no_dns| !no_dns),
        may_fetch: context.may_ask(),
        timeout: args.timeout,
        tasks: Vec::new(),
        ahead: args.dry_run,
    };
    if args.dry_run {
        let up = plan::up_command(&options_of(&args), flags(&args), &wanted.services);
        return Box::pin(plan::planned(context, session.await, &loaded, wanted, up)).await.map(drop);
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    // a process that is not there is told before anything is done
    let mut asked = lease::Asked::of(&*context.host, args.lease, args.lease_of, args.idle).await?;
    let drawn = |what: &str| {
        let spinner = context.err_style().spinner(begun.elapsed());
        vec![format!("{spinner} {what}  {}", text::duration(begun.elapsed()))]
    };
    let session = context.while_silent(session, async { Some(CONNECTING.to_owned()) });
    let session = context.while_looking(session, async {}, || drawn(CONNECTING)).await;
    let session = with_engine_of(context, &loaded, session).await?;
    let options = UpOptions { wanted, no_dns, choices };
    let settings = &loaded.platform.lease;
    let from_file = asked.is_nothing() && *settings != LeaseSettings::default();
    if from_file {
        (asked.time, asked.idle) = (settings.time, settings.idle);
    }
    // however long it takes: nothing is idle that is being brought up
    let in_use = session.in_use(&loaded.platform.name);
    let (host, state) = (session.host(), session.state(&loaded.platform.name));
    let before = state.lease(host).await?;
    let renews = before.is_some() && (args.reset || !asked.is_nothing());
    let asker = Renewing { asker: Asker { context }, session: &session, renews, planned: AtomicBool::new(false) };
    // until there is a plan, which may take a container and answers of registries; whoever waits for another run has
    // said so
    let said = async {
        let waits = state.at_work(host).await.is_some_and(|held| held.pid != Some(std::process::id()));
        (!waits && !asker.planned.load(Ordering::Relaxed)).then(|| PREPARING.to_owned())
    };
    // whoever asks for it keeps it from the end of a job that has started it, but for that job itself
    let keeping = Noting::new(&asker, &session, None);
    let of_a_job = host.env(JOB_VARIABLE).is_some_and(|job| !job.is_empty());
    let consent: &dyn Consent = if of_a_job { &asker } else { &keeping };
    let up = context.while_silent(app::up(&session, &loaded, &options, consent), said);
    let mut result = match context.while_looking(up, async {}, || drawn(PREPARING)).await {
        Ok(result) => result,
        Err(error) => {
            // what works is kept, for as long as was asked for; a run that was refused changes no lease
            let kept = asker.planned.load(Ordering::Relaxed) && looks_after(host, &loaded.platform.name).await;
            let block = state.block(host, &loaded.platform).await.ok().filter(|_| kept);
            let (http, https) = (loaded.platform.ingress.http, loaded.platform.ingress.https);
            let lease = block.and_then(|block| asked.lease(host, block.base(), vec![http, https]));
            if lease.is_some() || renews {
                state.keep_lease(host, lease.or(before).as_ref()).await?;
                state.note_use(host, host.now()).await;
            }
            return Err(broken(context, begun, error, Some(&loaded)));
        }
    };
    let no_dns = state.no_dns(host).await.unwrap_or_default();
    let kept = !no_dns || looks_after(host, &loaded.platform.name).await;
    if !kept && !asked.is_nothing() {
        let what = if from_file { "`lease` in macula.yaml" } else { "the lease" };
        context.events().warn(format!("{what} has no effect without the names: nothing looks after it"));
        asked = lease::Asked::default();
    }
    let block = state.block(host, &loaded.platform).await?.base();
    let lease = asked.lease(host, block, shared_ports(&loaded, &result));
    if lease.is_some() || args.reset {
        state.keep_lease(host, lease.as_ref()).await?;
    } else if renews {
        state.keep_lease(host, before.as_ref()).await?;
    }
    state.note_use(host, host.now()).await;
    drop(in_use);
    let lease = state.lease(host).await?.filter(|_| kept);
    let took = text::duration(begun.elapsed());
    let name = &loaded.platform.name;
    let dot = context.err_style().symbol("·", "-");
    let steps = result.steps + result.processes.len();
    let what = what_runs(Counts::running(&result.now.services, &result.now.processes));
    let summary = match steps {
        0 if nothing_to_start(&loaded) => {
            let own = loaded.platform.stacks.iter().any(|stack| matches!(stack.origin, Origin::File(_)));
            match own {
                true => "nothing to start: no service of your stacks is active".to_owned(),
                false => format!("nothing to start: {}", no_stack(context, &loaded)?),
            }
        }
        0 => format!("{name} is up, nothing to do {dot} {what} {dot} {took}"),
        _ => {
            let changed = context.changed(NAMED, &result.changes);
            let changed = changed.map(|changed| format!(" {dot} {changed}")).unwrap_or_default();
            format!("{name} is up {dot} {what} {dot} ready in {took}{changed}")
        }
    };
    context.finished(begun, true, !result.left_out.is_empty(), summary);
    summarize(context, &result);
    if args.timings && !context.json() {
        let draw = if context.global.verbose > 0 { waterfall } else { by_group };
        context.print(&draw(&spans(&result.timings), context.terminal.width, context.out_style()))?;
        if let Some(trace) = &result.trace {
            context.print(&format!("trace {} is at {}\n", trace.id, trace.url))?;
        }
    }
    if context.json() {
        return status::show(context, &result.now, false).await;
    }
    let mut notices = notices(&loaded, &result, no_dns);
    if let Some(lease) = &lease {
        let text = format!("{} {}", loaded.platform.name, lease::ends(lease, state.used(host).await, host.now()));
        notices.push(Notice { text, command: Some(macula("lease extend 1h")) });
    }
    if steps == 0 {
        // that was said when the platform came up, and by every `status`
        notices.retain(|notice| notice.command != Some(macula("cluster create")));
        return context.print(&in_one_line(&notices, context));
    }
    let width = context.terminal.table_width().unwrap_or(100);
    let (mut entries, invocation) = (entries(&loaded, &result), context.invocation());
    if let Some(url) = status::page(context).await
        && entries.iter().all(|entry| entry.name != HOME)
    {
        entries.push(Entry { name: HOME.to_owned(), url: Some(url), own: true, ..Entry::default() });
    }
    let next = next(&entries, &invocation);
    context.print(&up_screen::screen(&entries, &notices, &next, &invocation, width, context.out_style()))?;
    let dns = &mut result.now.dns;
    if dns.healthy && !dns.installed {
        super::offer::names_and_trust(context, &session, &loaded).await?;
    }
    Ok(())
}

/// No stack has a service, and there is no program of this machine.
fn nothing_to_start(loaded: &Loaded) -> bool {
    loaded.platform.services().next().is_none() && loaded.platform.processes.is_empty()
}

/// Why there is none of the user's.
fn no_stack(context: &Context, loaded: &Loaded) -> Result<String, CliError> {
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = config::project_compose_file(&context.request(&StackOptions::default())?, &DiskFiles);
    Ok(match (found, &loaded.config_file) {
        (Some(found), Some(config)) => {
            format!("{} is not among the stacks of {}; `discover: true` there adds it", file(&found), file(config))
        }
        (Some(found), None) => format!("{} is left out", file(&found)),
        (None, _) => "there is no Compose file here or above".to_owned(),
    })
}

/// Asks as [`Asker`] does. Under the lock of `up` the lease before goes where another one follows: a `down` at its end may
/// wait for the lock, and goes by what is written down then. The new one begins when everything is up.
struct Renewing<'a> {
    asker: Asker<'a>,
    session: &'a Session,
    renews: bool,
    /// It is known what is to be done, and nothing was in the way.
    planned: AtomicBool,
}

#[async_trait]
impl Consent for Renewing<'_> {
    async fn planned(&self, prepared: &Prepared, findings: &[Finding], forecast: &Forecast) {
        self.planned.store(true, Ordering::Relaxed);
        if self.renews
            && let Err(error) = prepared.survey.state.keep_lease(self.session.host(), None).await
        {
            self.asker.context.events().warn(format!("the lease before is still in force: {error}"));
        }
        self.asker.planned(prepared, findings, forecast).await;
    }

    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, app::Error> {
        self.asker.install(why, fix).await
    }
}

/// The platform's ports on 127.0.0.1, which is not its own address.
fn shared_ports(loaded: &Loaded, result: &UpResult) -> Vec<u16> {
    let ingress = &loaded.platform.ingress;
    let addresses = result.now.services.iter().flat_map(|row| &row.addresses);
    let local = addresses.filter_map(|address| address.parse::<SocketAddr>().ok());
    let local = local.filter(|address| address.ip() == Ipv4Addr::LOCALHOST).map(|address| address.port());
    words::unique([ingress.http, ingress.https].into_iter().chain(local))
}

/// `3 services and 2 processes`
fn what_runs((services, processes): (usize, usize)) -> String {
    let services = text::count(services, "service");
    match processes {
        0 => services,
        1 => format!("{services} and 1 process"),
        count => format!("{services} and {count} processes"),
    }
}

/// What runs where, and what is missing, on the page of a CI system's run.
fn summarize(context: &Context, result: &UpResult) {
    let Some(ci) = &context.ci else { return };
    let running = result.now.services.iter().filter(|row| row.condition.runs()).map(|row| {
        let place = row.urls.first().or(row.addresses.first()).cloned().unwrap_or_default();
        let state = if row.condition == Condition::Unhealthy { "unhealthy" } else { "up" };
        [row.name.clone(), place, state.to_owned()]
    });
    let helper = |name: &str| result.now.services.iter().any(|row| row.helper && row.name == name);
    let left_out = result.left_out.iter().filter(|left| !helper(&left.service));
    let left_out = left_out.map(|left| [left.service.clone(), String::new(), left.reason.to_string()]);
    ci.summarize(&markdown_table(["service", "where", "state"], running.chain(left_out)));
}

/// The end of a run that did not come to its end: Ctrl-C, or an error.
pub(super) fn broken(context: &Context, begun: Instant, error: app::Error, loaded: Option<&Loaded>) -> CliError {
    if matches!(error, app::Error::Cancelled) {
        context.finished(begun, false, false, "");
        return stopped(context.tally(), begun.elapsed());
    }
    context.broke_off(begun);
    match loaded {
        Some(loaded) => located(error, loaded, context.excerpt_room()),
        None => error.into(),
    }
}

/// Ctrl-C: what runs, what was not begun, and how to go on or away.
fn stopped(tally: Tally, took: Duration) -> CliError {
    let took = text::duration(took);
    let message = match (tally.services, tally.leaving) {
        (0, 0) => format!("Stopped after {took}; nothing was changed."),
        (0, all) => format!("Stopped after {took}. {} of {all} services no longer run.", tally.gone),
        (all, _) => {
            let some = |count: usize, word: &str| if count > 0 { format!(", {count} {word}") } else { String::new() };
            let half = some(all.saturating_sub(tally.run + tally.untouched), "made and not ready");
            let untouched = some(tally.untouched, "not begun");
            format!("Stopped after {took}. {} of {all} services run{half}{untouched}.", tally.run)
        }
    };
    CliError::new(ErrorKind::Interrupted, message)
        .again(Again::AsItIs)
        .suggest(macula("down").why("to remove it; data is kept"))
}

/// What can be opened or connected to.
fn entries(loaded: &Loaded, result: &UpResult) -> Vec<Entry> {
    let nameless = !(result.now.dns.healthy && result.now.dns.installed);
    let service = |name: &str| loaded.platform.services().find(|(_, service)| service.name == name);
    let processes = result.now.processes.iter().filter(|row| row.runs()).map(|row| Entry {
        name: row.name.clone(),
        url: row.urls.first().cloned(),
        address: row.port.map(|port| format!("127.0.0.1:{port}")),
        command: None,
        own: true,
        nameless,
    });
    let services = result.now.services.iter().filter(|row| row.condition.runs()).filter_map(|row| {
        let (_, found) = service(&row.name)?;
        // everything is reached through it, and nothing is there but what the others have
        if found.extension.role.is_some() || (row.urls.is_empty() && row.addresses.is_empty()) {
            return None;
        }
        let secrets = !found.extension.secrets.is_empty();
        Some(Entry {
            name: row.name.clone(),
            url: row.urls.first().cloned(),
            address: row.addresses.first().cloned(),
            command: secrets.then(|| macula("creds").arg(&row.name)),
            own: row.own,
            nameless,
        })
    });
    processes.chain(services).collect()
}

/// What is missing, a line for each cause.
fn notices(loaded: &Loaded, result: &UpResult, no_dns: bool) -> Vec<Notice> {
    let pairs = result.left_out.iter().filter(|left| left.service != CLUSTER_GROUP);
    let causes = left_out::causes(pairs.map(|left| (left.service.as_str(), &left.reason)));
    let mut all = up_screen::left_out(&left_out::known(causes, |name| loaded.platform.is_helper(name)));
    let dns = &result.now.dns;
    if !no_dns && dns.healthy && !dns.installed {
        let text = format!("*.{} does not resolve on this machine yet", loaded.platform.domain);
        all.push(Notice { text, command: Some(macula("dns install")) });
    } else if let Some(text) = status::unlisted(&dns.unlisted).filter(|_| !no_dns && dns.healthy) {
        all.push(Notice { text, command: Some(macula("dns install")) });
    } else if !no_dns && !dns.healthy {
        let text = match &dns.problem {
            Some(problem) => format!("names: {problem}"),
            None => format!("*.{} does not resolve", loaded.platform.domain),
        };
        all.push(Notice { text, command: Some(macula("dns status")) });
    }
    // what was asked for is no news
    let missed = |reason: &&String| result.now.cluster.nodes.is_empty() && *reason != NO_CLUSTER;
    if let Some(reason) = result.now.cluster.reason.as_ref().filter(missed) {
        all.push(Notice { text: format!("no Kubernetes cluster: {reason}"), command: Some(macula("cluster create")) });
    }
    all
}

/// Some things to do now: the platform's own page shows all the others.
fn next(entries: &[Entry], invocation: &Invocation) -> Vec<String> {
    // of built-in services what has a page and no address of its own is there for people, not for programs
    let pages = entries
        .iter()
        .filter(|entry| entry.name != HOME && entry.url.is_some() && (entry.own || entry.address.is_none()));
    let page = pages.min_by_key(|entry| !entry.own).filter(|entry| !entry.nameless);
    let mut all = vec![macula("open home").line(invocation)];
    if entries.iter().any(|entry| entry.command.is_some()) {
        all.push(macula("creds").line(invocation));
    }
    all.extend(page.map(|entry| macula("open").arg(&entry.name).line(invocation)));
    all.push(macula("logs -f").line(invocation));
    all.push(format!(r#"eval "$({})""#, macula("env --format shell").line(invocation)));
    all
}

/// The platforms' own page, as `open` calls it.
const HOME: &str = "home";
/// Services of a kind that the first line of the last screen names.
const NAMED: usize = 3;
/// Columns below which a line says nothing.
const LEGIBLE: usize = 30;

/// The notices of a run that had nothing to do.
fn in_one_line(notices: &[Notice], context: &Context) -> String {
    let style = context.out_style();
    let mut texts: Vec<String> = notices.iter().map(|notice| notice.text.clone()).collect();
    // what is cut is the end of the longest
    texts.sort_by_key(|one| text::width(one));
    if texts.is_empty() {
        return String::new();
    }
    let tail = context.line(macula("status"));
    let whole = context.terminal.table_width().unwrap_or(usize::MAX);
    let room = whole.saturating_sub(4 + text::width(&tail));
    let sign = style.paint(Tone::Warn, style.warning());
    let (joined, tail) = (texts.join(style.symbol(" · ", " - ")), style.paint(Tone::Active, &tail));
    if room >= LEGIBLE || text::width(&joined) <= room {
        return format!("{sign} {}  {tail}\n", text::fit(&joined, room, style));
    }
    // of a line that is cut to a few words nobody would learn anything
    let lines = text::wrap(&joined, whole.saturating_sub(3));
    format!("{sign} {}\n  {tail}\n", lines.join("\n  "))
}

fn spans(timings: &[Timing]) -> Vec<Span> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let critical = critical_path(timings);
    timings
        .iter()
        .enumerate()
        .map(|(at, timing)| Span {
            group: timing.group.clone(),
            text: timing.step.clone(),
            start_ms: millis(timing.start),
            duration_ms: millis(timing.duration),
            critical: critical.contains(&at),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_carries_out_a_plan_has_its_options() {
        let stacks = StackOptions { profiles: vec!["debug".into(), String::new()], ..StackOptions::default() };
        let args = Args {
            stacks: ImageOptions { stacks, images: None },
            scale: ScaleOptions { scale: vec![("web".into(), config::Scale::Asked(2))] },
            bundle: Some("my images.tar".into()),
            force_recreate: true,
            remap: true,
            timeout: Some(Duration::from_secs(60)),
            ..Args::default()
        };
        let up = plan::up_command(&options_of(&args), flags(&args), &["web".to_owned()]);
        assert_eq!(
            up.line(&Invocation::default()),
            "macula up --profile debug --scale web=2 --remap --force-recreate --bundle 'my images.tar' web"
        );
    }

    #[test]
    fn the_page_comes_first_and_then_what_is_made_for_people() {
        let entry = |name: &str, address: Option<&str>, own: bool| Entry {
            name: name.to_owned(),
            url: Some(format!("https://{name}.macula.local")),
            address: address.map(str::to_owned),
            command: None,
            own,
            nameless: false,
        };
        let server = entry("powerdns", Some("127.0.0.8:53"), false);
        let (draw, shop) = (entry("draw", None, false), entry("shop", Some("127.0.0.1:80"), true));
        let first = |entries: &[Entry]| next(entries, &Invocation::default()).into_iter().take(2).collect::<Vec<_>>();
        assert_eq!(first(std::slice::from_ref(&server)), ["macula open home", "macula logs -f"]);
        assert_eq!(first(&[server.clone(), draw.clone()]), ["macula open home", "macula open draw"]);
        assert_eq!(first(&[server, draw, shop]), ["macula open home", "macula open shop"]);
    }

    #[test]
    fn ctrl_c_tells_what_runs_or_what_no_longer_does() {
        let told = |tally: Tally| stopped(tally, Duration::from_millis(2100)).message;
        assert_eq!(told(Tally::default()), "Stopped after 2.1s; nothing was changed.");
        let up = Tally { services: 5, done: 2, run: 3, untouched: 1, ..Tally::default() };
        assert_eq!(told(up), "Stopped after 2.1s. 3 of 5 services run, 1 made and not ready, 1 not begun.");
        let down = Tally { leaving: 5, gone: 3, ..Tally::default() };
        assert_eq!(told(down), "Stopped after 2.1s. 3 of 5 services no longer run.");
        assert_eq!(told(Tally { leaving: 1, ..up }), told(up));
    }
}
