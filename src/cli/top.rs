use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::{
    self, Condition, LifecycleAction, LogEvent, LogFilter, ProcessWork, Session, Top, TopKind, TopWatch,
    all_log_sources, lifecycle, read_logs, work_on_processes,
};
use crate::config::Loaded;
use crate::engine::LogOptions;
use crate::event::Events;
use crate::model::PlatformName;

use super::context::{Context, ImageOptions};
use super::error::CliError;
use super::interrupt;
use super::status::down_screen;
use super::ui::full_screen::{self, FullScreen};
use super::ui::top_screen::{Order, Sort, TopScreen, once, order};
use super::ui::{Tone, size_of_stdout, terminal_is_back, text};

/// Show what services, processes and programs use: CPU, memory, network, disks
///
/// One screen, read every two seconds, until q or Ctrl-C. 100% CPU is one core. States are those of `macula status`,
/// asked for every 20 seconds; what is wrong comes first. Keys: c, m and n sort by CPU, memory
/// and name; / filters; enter shows the log of the chosen row, in which / searches; r restarts it, after a question;
/// ? shows all keys. In a pipe, with `--once` and with `-o json`, one table of what was used in one second.
///
/// REQ/s is the number of requests per second that the ingress passes to a service, from this machine and from containers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: ImageOptions,
    /// Print one table instead of the screen
    #[arg(long)]
    once: bool,
    /// How to sort the rows
    #[arg(long, value_enum, default_value_t = Sort::Cpu, value_name = "ORDER")]
    sort: Sort,
}

/// Between the two readings for one table.
const SECOND: Duration = Duration::from_secs(1);
/// Between the first two readings for the screen, at least.
const SHORT: Duration = Duration::from_millis(250);
/// Lines of a log that the view begins with.
const TAIL: u64 = 200;
/// A log is drawn at most this often, however much is written.
const FRAME: Duration = Duration::from_millis(100);

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let mut services = args.services;
    let (loaded, session) = context.begin_to_look("top", &args.stacks, &mut services).await?;
    let live = !args.once && context.terminal.is_drawn_on() && !context.json();
    let name = loaded.platform.name.to_string();
    let dots = context.err_style().symbol("…", "..");
    let lines = || vec![format!("{name}: reading what everything uses {dots}")];
    let first = async {
        let mut watch = TopWatch::begin(&session, &loaded).await?;
        let apart = if live { SHORT } else { SECOND };
        tokio::time::sleep(apart.saturating_sub(watch.age())).await;
        let top = watch.next().await;
        Ok::<_, app::Error>((watch, top))
    };
    let (watch, top) = context.while_looking(first, async {}, lines).await?;
    let mut top = only(top, &services, &loaded)?;
    if context.json() {
        top.services.sort_by(|a, b| order(args.sort, a, b));
        return context.print_json(&top);
    }
    let style = context.out_style();
    let width = context.terminal.table_width().unwrap_or(160);
    let gone = |condition| matches!(condition, Condition::LeftOut | Condition::Finished);
    let down = top.platform.down && top.services.iter().all(|row| gone(row.condition));
    if down || !live {
        let lines = match down {
            true => down_screen(context, &top.platform).lines(width, style),
            false => once(&top, args.sort, width, style),
        };
        return context.print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    let screen = TopScreen::new(top, args.sort);
    let live = Live { context, session: quiet(&session), loaded: Arc::new(loaded), services, screen, work: None };
    live.show(watch).await
}

/// What is done from the screen has no other place to say anything.
fn quiet(session: &Session) -> Session {
    Session { events: Events::none(), ..session.clone() }
}

/// The rows of these; none named: all.
fn only(mut top: Top, services: &[String], loaded: &Loaded) -> Result<Top, CliError> {
    let platform = &loaded.platform;
    let there = |name: &String| top.services.iter().any(|row| row.name == *name);
    let known = |name: &&String| {
        there(name) || platform.service(name).is_some() || platform.processes.contains_key(name.as_str())
    };
    let unknown: Vec<String> = services.iter().filter(|name| !known(name)).cloned().collect();
    if !unknown.is_empty() {
        let mut all: Vec<String> = platform.services().map(|(_, service)| service.name.clone()).collect();
        all.extend(platform.processes.keys().cloned());
        return Err(app::Error::UnknownService { names: unknown, known: all }.into());
    }
    top.keep(services);
    Ok(top)
}

/// The screen and whatever it waits for.
struct Live<'a> {
    context: &'a Context,
    session: Session,
    loaded: Arc<Loaded>,
    services: Vec<String>,
    screen: TopScreen,
    /// A restart that is under way.
    work: Option<JoinHandle<(Tone, String)>>,
}

/// What a log's reader says.
struct LogNews {
    /// Empty where it is not known.
    time: String,
    text: String,
}

impl Live<'_> {
    async fn show(mut self, watch: TopWatch) -> Result<(), CliError> {
        let failed = "write to standard output";
        let cancel = self.context.cancel.clone();
        let _interrupts = interrupt::quietly(cancel.clone())?;
        let mut resized = signal(SignalKind::window_change()).context("listen for changes of the terminal's size")?;
        self.context.finish();
        self.context.stdout_is_open()?;
        let mut full = FullScreen::enter().context(failed)?;
        let mut typed = full_screen::typed();
        let mut readings = watch.follow();
        let mut log: Option<Receiver<LogNews>> = None;
        let mut pause: Option<Instant> = None;
        'shown: loop {
            if pause.is_none() {
                let size = size_of_stdout(&self.context.terminal);
                let lines = self.screen.lines(size, self.context.out_style());
                full.draw(&lines, size).context(failed)?;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                piece = next(&mut typed) => {
                    pause = None;
                    // a terminal that is gone takes the whole program with it
                    let Some(piece) = piece else { typed = None; continue };
                    for key in full_screen::keys(&piece) {
                        match self.screen.key(key) {
                            Order::Nothing => {}
                            Order::Quit => break 'shown,
                            Order::Log(_, name) => log = Some(self.read_log(name)),
                            Order::EndLog => log = None,
                            Order::Restart(kind, name) => self.restart(kind, name),
                        }
                    }
                }
                _ = resized.recv() => pause = None,
                () = terminal_is_back() => pause = None,
                done = ended(&mut self.work) => {
                    pause = None;
                    self.work = None;
                    self.screen.notice(done.0, done.1);
                }
                Some(read) = readings.recv() => {
                    pause = None;
                    match read {
                        Ok(mut top) => {
                            top.keep(&self.services);
                            self.screen.now(top);
                        }
                        Err(error) => self.screen.stale(CliError::from(error).message),
                    }
                }
                // drawn a moment after the first line of many
                () = passed(pause) => pause = None,
                news = next(&mut log) => match news {
                    Some(LogNews { time, text }) => {
                        self.screen.log_line(&time, &text);
                        pause = pause.or(Some(Instant::now() + FRAME));
                    }
                    None => log = None,
                },
            }
        }
        drop(full);
        // a service is not left stopped for want of patience; Ctrl-C is obeyed as by `restart`
        if let Some(work) = self.work.take() {
            self.context.events().info("waiting for the restart that is under way");
            let (_, said) = ended(&mut Some(work)).await;
            self.context.events().info(said);
        }
        Ok(())
    }

    fn restart(&mut self, kind: TopKind, name: String) {
        if self.work.is_some() {
            self.screen.notice(Tone::Warn, "the last restart is still under way".to_owned());
            return;
        }
        let dots = self.context.out_style().symbol("…", "..");
        self.screen.notice(Tone::Plain, format!("restarting {name} {dots}"));
        let (session, loaded) = (self.session.clone(), self.loaded.clone());
        self.work = Some(tokio::spawn(async move {
            let platform = &loaded.platform.name;
            let done = match kind {
                TopKind::Service => {
                    let names = std::slice::from_ref(&name);
                    lifecycle(&session, platform, Some(&loaded), LifecycleAction::Restart, names).await.map(drop)
                }
                TopKind::Process | TopKind::Program => {
                    let names = [name.clone()].into();
                    work_on_processes(&session, platform, Some(&loaded), ProcessWork::Restart, Some(&names))
                        .await
                        .map(drop)
                }
            };
            match done {
                Ok(()) => (Tone::Good, format!("restarted {name}")),
                Err(error) => (Tone::Bad, CliError::from(error).message),
            }
        }));
    }

    /// The end of a log, and what is written from now on, until the receiver is dropped.
    fn read_log(&self, name: String) -> Receiver<LogNews> {
        let (sender, receiver) = channel(64);
        let (session, platform) = (self.session.clone(), self.loaded.platform.name.clone());
        tokio::spawn(async move {
            // the receiver is gone: nobody reads any more
            let _ = read_log(&session, platform, name, &sender).await;
        });
        receiver
    }
}

type Sent = Result<(), tokio::sync::mpsc::error::SendError<LogNews>>;

async fn read_log(session: &Session, platform: PlatformName, name: String, to: &Sender<LogNews>) -> Sent {
    let say = |text: String| to.send(LogNews { time: String::new(), text });
    let services = vec![name];
    let (engine, sources) = match all_log_sources(session, &platform, &services).await {
        Ok(found) => found,
        Err(error) => return say(CliError::from(error).message).await,
    };
    let options = LogOptions { follow: true, tail: Some(TAIL), timestamps: true, ..LogOptions::default() };
    let mut events =
        read_logs(engine, session.system.host.clone(), platform, services, sources, options, LogFilter::default());
    while let Some(event) = events.recv().await {
        match event {
            LogEvent::Line { time, text, .. } => {
                to.send(LogNews { time, text: String::from_utf8_lossy(&text).into_owned() }).await?;
            }
            LogEvent::Note { service, text } if service.is_empty() => say(format!("-- {text}")).await?,
            LogEvent::Note { service, text } => say(format!("-- {service} {text}")).await?,
            LogEvent::Broken(error) => say(CliError::from(error).message).await?,
        }
    }
    Ok(())
}

/// At this time; never where there is none.
async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The next of what comes; never where nothing does.
async fn next<T>(from: &mut Option<Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

/// What came of the work; never where there is none.
async fn ended(work: &mut Option<JoinHandle<(Tone, String)>>) -> (Tone, String) {
    match work {
        Some(work) => match work.await {
            Ok(done) => done,
            Err(error) => (Tone::Bad, text::clean_line(&error.to_string())),
        },
        None => std::future::pending().await,
    }
}
