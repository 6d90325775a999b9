//! The keeper's own process. One task decides; the others wait for something and tell it. Programs are started by that
//! task alone, on the main thread: the kernel ends them with the thread that has started them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::lease::LeaseHolder;
use crate::app::{Error, Session, resolver};
use crate::daemon::{OwnSocket, Route};
use crate::host::{Command, Family, RunError};
use crate::model::{DnsSettings, PlatformName};
use crate::plan::{ProcessAction, SETTLED, process_again};

use super::happened::{Happened, accept, hold_name};
use super::kept::Kept;
use super::orphans::GRACE;
use super::program::{end_family, port, ready};
use super::watching::watching;
use super::{Answer, Ask, FORMAT, KeeperFiles, KeeperRecord, MARK, Order, ProcessCondition, QUICK, ask, start_of};

/// Between two looks at the logs, and whether anybody can still ask.
const LOOK: Duration = Duration::from_secs(2);
/// How exactly it is known when programs have written their lines.
const GROWTH: Duration = Duration::from_millis(200);
/// The kept output of a program loses its older half when it gets longer than this.
const LONGEST_OUTPUT: u64 = 4 << 20;
/// The background process is started again at most so often.
const SERVE_AGAIN: Duration = Duration::from_secs(10);

struct Keeper {
    session: Session,
    files: KeeperFiles,
    holder: LeaseHolder,
    start: String,
    mark: String,
    kept: BTreeMap<String, Kept>,
    written: Option<KeeperRecord>,
    /// The last record could not be written, which was said.
    unwritten: bool,
    runs: u64,
    /// When the background process was started last.
    served: Option<Instant>,
    tell: UnboundedSender<Happened>,
}

/// Keeps the processes of a platform until it is asked to end, by a command or a signal.
pub async fn keep(session: &Session, platform: &PlatformName) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let host = session.host();
    let files = KeeperFiles::of(host, platform);
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Io { path, source }
    };
    host.create_folder(&files.folder, 0o700).await.map_err(io(&files.folder))?;
    let path = files.socket();
    // this one may have been so slow that somebody has started another
    if ask(&path, &Ask::Tell, QUICK).await.is_ok() {
        return Err(Error::said("another process keeps the programs of this platform"));
    }
    let (listener, socket) = OwnSocket::listen(&path).map_err(io(&path))?;
    let mut ends = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        ends.push(signal(kind).map_err(io(&path))?);
    }
    let own = std::process::id();
    let holder = LeaseHolder::of(host, own).await.ok_or_else(|| Error::said("this process is not there"))?;
    let mut random = [0u8; 16];
    getrandom::fill(&mut random)?;
    let mark = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (tell, mut happened) = unbounded_channel();
    tokio::spawn(accept(listener, tell.clone()));
    let mut keeper = Keeper {
        session: session.clone(),
        files,
        holder,
        start: start_of(host).await,
        mark,
        kept: BTreeMap::new(),
        written: None,
        unwritten: false,
        runs: 0,
        served: None,
        tell,
    };
    keeper.write_down().await;
    let signalled = async {
        let all = ends.iter_mut().map(|end| Box::pin(end.recv()));
        futures_util::future::select_all(all).await;
    };
    tokio::pin!(signalled);
    let last = keeper.work(&socket, &mut happened, signalled.as_mut()).await;
    keeper.stop_all().await;
    // the files may be another one's by now
    if socket.is_there() {
        keeper.files.forget(keeper.session.host()).await;
    }
    if let Some(reply) = last {
        let _ = reply.send(keeper.answer());
        // for the answer to be written
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

impl Keeper {
    /// Until the end, which somebody may wait for.
    async fn work(
        &mut self,
        socket: &OwnSocket,
        happened: &mut UnboundedReceiver<Happened>,
        mut signalled: impl Future<Output = ()> + Unpin,
    ) -> Option<oneshot::Sender<Answer>> {
        let mut look = tokio::time::interval(LOOK);
        let mut growth = tokio::time::interval(GROWTH);
        loop {
            let one = tokio::select! {
                one = happened.recv() => one?,
                () = &mut signalled => return None,
                _ = growth.tick() => {
                    for kept in self.kept.values().filter(|kept| kept.state.condition.is_alive()) {
                        // without it the lines have a later time
                        let _ = self.session.host().note_length(&kept.state.log).await;
                    }
                    continue;
                }
                _ = look.tick() => {
                    if !socket.is_there() {
                        let events = &self.session.events;
                        events.info("the platform's folder is gone, or another process keeps its programs: these end");
                        return None;
                    }
                    self.write_down().await;
                    for kept in self.kept.values() {
                        // there is none yet, or it is in order
                        let _ = self.session.host().keep_end(&kept.state.log, LONGEST_OUTPUT).await;
                    }
                    continue;
                }
            };
            match one {
                Happened::Asked { ask: Ask::End, reply } => return Some(reply),
                Happened::Asked { ask, reply } => {
                    self.carry_out(ask).await;
                    // whoever asked may have gone
                    let _ = reply.send(self.answer());
                }
                other => self.follow(other).await,
            }
            self.write_down().await;
        }
    }

    fn answer(&self) -> Answer {
        let states = self.kept.values().map(|kept| kept.state.clone()).collect();
        Answer { version: self.session.version.to_owned(), states }
    }

    /// For whoever finds that this process is gone. Most questions change nothing.
    async fn write_down(&mut self) {
        let states = self.kept.values().map(|kept| kept.state.clone()).collect();
        let (holder, start, mark) = (self.holder.clone(), self.start.clone(), self.mark.clone());
        let record = KeeperRecord { format: FORMAT, holder, start, mark, states };
        if self.written.as_ref() == Some(&record) {
            return;
        }
        match self.files.keep(self.session.host(), &record).await {
            Ok(()) => (self.written, self.unwritten) = (Some(record), false),
            // the next look tries again
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    self.session.events.warn(format!("the state is not written down: {error}"));
                }
            }
        }
    }

    async fn carry_out(&mut self, ask: Ask) {
        match ask {
            Ask::Tell | Ask::End => {}
            Ask::Apply { orders, remove } => {
                let restarts = orders.iter().filter(|order| order.action != ProcessAction::Update);
                let stops: Vec<String> =
                    remove.iter().cloned().chain(restarts.map(|order| order.process.name.clone())).collect();
                self.stop(&stops, ProcessCondition::Stopped).await;
                self.kept.retain(|name, _| !remove.contains(name));
                for order in orders {
                    self.order(order).await;
                }
            }
            Ask::Stop { names } => self.stop(&names, ProcessCondition::Stopped).await,
            Ask::Start { names, running } => {
                let wanted = |kept: &Kept| running || !kept.state.condition.is_alive();
                let names: Vec<String> =
                    names.into_iter().filter(|name| self.kept.get(name).is_some_and(wanted)).collect();
                self.stop(&names, ProcessCondition::Stopped).await;
                for name in &names {
                    self.begin(name).await;
                }
            }
        }
    }

    async fn follow(&mut self, happened: Happened) {
        match happened {
            Happened::Asked { .. } => {}
            Happened::Nameless => {
                if self.served.is_none_or(|at| at.elapsed() > SERVE_AGAIN) {
                    self.served = Some(Instant::now());
                    // the next time, then
                    let _ = resolver::ensure_process(&self.session, &DnsSettings::default()).await;
                }
            }
            Happened::Named { name, problem } => {
                if let Some(kept) = self.kept.get_mut(&name) {
                    kept.state.nameless = problem;
                }
            }
            Happened::Ready { name, run } => {
                if let Some(kept) = self.kept.get_mut(&name).filter(|kept| kept.run == run) {
                    kept.turn(ProcessCondition::Running, self.session.host().now());
                }
            }
            Happened::Again { name, run } => {
                if self.kept.get(&name).is_some_and(|kept| kept.run == run) {
                    self.start(&name).await;
                }
            }
            Happened::Changed { name, path, at } => {
                let Some(kept) = self.kept.get_mut(&name) else { return };
                // a run that has begun since has seen it: many files come in many batches
                if kept.state.condition == ProcessCondition::Stopped || at <= kept.begun {
                    return;
                }
                self.session.events.info(format!("{name}: {} has changed: it is started again", path.display()));
                kept.failures = 0;
                self.stop(std::slice::from_ref(&name), ProcessCondition::Restarting).await;
                self.start(&name).await;
            }
            Happened::Ended { name, run, code } => self.ended(&name, run, code),
        }
    }

    fn ended(&mut self, name: &str, run: u64, code: i32) {
        let now = self.session.host().now();
        let Some(kept) = self.kept.get_mut(name).filter(|kept| kept.run == run) else { return };
        kept.of_run.drain(..).for_each(|task| task.abort());
        kept.failures = if kept.begun.elapsed() >= SETTLED { 1 } else { kept.failures.saturating_add(1) };
        kept.family.group = None;
        kept.state.pid = None;
        kept.state.exit_code = Some(code);
        self.session.events.info(format!("{name}: ended with exit code {code}"));
        match process_again(&kept.order.process.restart, code, kept.failures) {
            Some(pause) => {
                kept.state.restarts = kept.state.restarts.saturating_add(1);
                kept.turn(ProcessCondition::Restarting, now);
                let (tell, name) = (self.tell.clone(), name.to_owned());
                kept.of_run.push(tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // the keeper ends
                    let _ = tell.send(Happened::Again { name, run });
                }));
            }
            None => {
                kept.names.drain(..).for_each(|task| task.abort());
                let ended = if code == 0 { ProcessCondition::Finished } else { ProcessCondition::Crashed };
                kept.turn(ended, now);
            }
        }
    }

    /// Takes up what is wanted of one process.
    async fn order(&mut self, order: Order) {
        let name = order.process.name.clone();
        let action = order.action;
        let routes = order.routes.clone();
        match self.kept.get_mut(&name) {
            Some(kept) => {
                kept.state.parts.clone_from(&order.parts);
                kept.state.stop_grace_period = order.process.stop_grace_period;
                let other_names = kept.order.routes != routes;
                let other_rules = kept.order.process.watch != order.process.watch;
                kept.order = order;
                if action == ProcessAction::Update {
                    let alive = kept.state.condition != ProcessCondition::Stopped;
                    if other_rules && alive {
                        self.watch(&name);
                    }
                    if other_names {
                        self.take_names(&name);
                    }
                    return;
                }
            }
            None => {
                let kept = Kept::new(order, self.session.host().now());
                self.kept.insert(name.clone(), kept);
                // it rests, as it did under another keeper
                if action == ProcessAction::Update {
                    return;
                }
            }
        }
        self.begin(&name).await;
    }

    /// A start that somebody has asked for.
    async fn begin(&mut self, name: &str) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        (kept.failures, kept.state.restarts, kept.state.exit_code) = (0, 0, None);
        self.start(name).await;
        self.watch(name);
    }

    async fn start(&mut self, name: &str) {
        self.runs += 1;
        let run = self.runs;
        let session = self.session.clone();
        let host = session.host();
        let Some(kept) = self.kept.get_mut(name) else { return };
        kept.of_run.drain(..).for_each(|task| task.abort());
        (kept.run, kept.begun) = (run, Instant::now());
        let process = kept.order.process.clone();
        let before = kept.state.port;
        kept.state.log_from = host.length(&kept.state.log).await.unwrap_or_default();
        match port(host, &process, before).await {
            Ok(port) => kept.state.port = port,
            Err(reason) => return kept.block(reason, host.now()),
        }
        let Some((program, arguments)) = process.command.split_first() else { return };
        let mut command = Command::new(program, arguments).cwd(&process.folder);
        command.settings.clone_from(&kept.order.environment);
        let mark = mark_of_run(&self.mark, name, run);
        command.settings.insert(MARK.to_owned(), self.mark.clone());
        command.settings.insert(format!("{MARK}_NAME"), mark.clone());
        if let Some(port) = kept.state.port {
            command.settings.entry("PORT".to_owned()).or_insert_with(|| port.to_string());
        }
        let mut started = match host.start_group(&command, &kept.state.log).await {
            Ok(started) => started,
            Err(RunError::Missing { program, .. }) => {
                return kept.block(format!("{program} is not installed"), host.now());
            }
            Err(error) => return kept.block(error.to_string(), host.now()),
        };
        kept.family = Family { group: Some(started.pid()), session: None, mark: Some(format!("{MARK}_NAME={mark}")) };
        kept.state.pid = Some(started.pid());
        kept.turn(ProcessCondition::Starting, host.now());
        session.events.info(format!("{name}: started (process {})", started.pid()));
        let (tell, family, grace) = (self.tell.clone(), kept.family.clone(), process.stop_grace_period);
        let (of_end, named) = (session.clone(), name.to_owned());
        let stopping = Arc::new(AtomicBool::new(false));
        kept.stopping = stopping.clone();
        // not ended with the others: it is what reaps the program
        kept.end = Some(tokio::spawn(async move {
            let code = started.ended().await;
            // what it has started has no one to belong to any more; a second SIGTERM would cut its end short
            match stopping.load(Ordering::SeqCst) {
                true => started.heard().await,
                false => end_family(of_end.host(), &family, grace).await,
            }
            // the keeper ends
            let _ = tell.send(Happened::Ended { name: named, run, code });
        }));
        let (tell, named, of_ready, port) = (self.tell.clone(), name.to_owned(), session.clone(), kept.state.port);
        let address = kept.order.routes.first().map_or_else(|| "localhost".to_owned(), |route| route.host.clone());
        let ready = tokio::spawn(async move {
            ready(of_ready.host(), &process, port, &address).await;
            let _ = tell.send(Happened::Ready { name: named, run });
        });
        kept.of_run.push(ready);
        if kept.names.is_empty() || before != kept.state.port {
            self.take_names(name);
        }
    }

    /// Holds its names from now on.
    fn take_names(&mut self, name: &str) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        kept.names.drain(..).for_each(|task| task.abort());
        kept.state.nameless = None;
        let Some(port) = kept.state.port.filter(|_| kept.state.condition.is_alive()) else { return };
        let socket = resolver::ResolverFiles::of(self.session.host()).routes();
        for route in &kept.order.routes {
            let route = Route { port, log: kept.state.log.clone(), log_from: kept.state.log_from, ..route.clone() };
            let (tell, name) = (self.tell.clone(), name.to_owned());
            kept.names.push(tokio::spawn(hold_name(socket.clone(), route, tell, name)));
        }
    }

    fn watch(&mut self, name: &str) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        if let Some(task) = kept.watch.take() {
            task.abort();
        }
        let rules = kept.order.process.watch.clone();
        if rules.is_empty() {
            return;
        }
        let (tell, events, name) = (self.tell.clone(), self.session.events.clone(), name.to_owned());
        kept.watch = Some(tokio::spawn(async move {
            let told = |path| drop(tell.send(Happened::Changed { name: name.clone(), path, at: Instant::now() }));
            if let Err(error) = watching(&rules, told).await {
                events.warn(format!("{name} is not started again when files change: {error}"));
            }
        }));
    }

    /// Ends what these have running, side by side.
    async fn stop(&mut self, names: &[String], then: ProcessCondition) {
        let host = self.session.host();
        let (mut families, mut ends) = (Vec::new(), Vec::new());
        for name in names {
            let Some(kept) = self.kept.get_mut(name) else { continue };
            kept.stopping.store(true, Ordering::SeqCst);
            ends.extend(kept.end.take());
            self.runs += 1;
            kept.run = self.runs;
            kept.of_run.drain(..).for_each(|task| task.abort());
            if then == ProcessCondition::Stopped {
                kept.names.drain(..).for_each(|task| task.abort());
                if let Some(task) = kept.watch.take() {
                    task.abort();
                }
            }
            families.push((kept.family.clone(), kept.order.process.stop_grace_period));
        }
        join_all(families.iter().map(|(family, grace)| end_family(host, family, *grace))).await;
        // for the last lines; what is not to be killed keeps nobody waiting
        let _ = timeout(QUICK, join_all(ends)).await;
        for name in names {
            if let Some(kept) = self.kept.get_mut(name) {
                kept.family.group = None;
                kept.state.pid = None;
                kept.state.reason = None;
                kept.turn(then, host.now());
            }
        }
    }

    async fn stop_all(&mut self) {
        let names: Vec<String> = self.kept.keys().cloned().collect();
        self.stop(&names, ProcessCondition::Stopped).await;
        // of any run: those before the last one, and those of processes that were removed
        let all = Family { group: None, session: None, mark: Some(format!("{MARK}={}", self.mark)) };
        end_family(self.session.host(), &all, GRACE).await;
    }
}

/// What a run and all that it starts have in their environment. No other run has the same: whoever ends what one has
/// left must not find the next one, which may have begun by then.
fn mark_of_run(keeper: &str, name: &str, run: u64) -> String {
    format!("{keeper}.{name}.{run}")
}
