//! Ctrl-C and its like. The first asks the work to stop; the second stops it.

use std::sync::Arc;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::ErrorKind;
use super::ui;
use crate::event::Events;

/// What the first Ctrl-C says.
const STOPPING: &str = "stopping … (Ctrl-C again: at once)";

/// Handles SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGTSTP from now on; dropped, it handles them no more (the
/// process then ignores them: so it lives as long as the command).
#[derive(Debug)]
pub struct Interrupts(JoinHandle<()>);

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first SIGINT, SIGTERM or SIGHUP cancels `token` and says so; the second gives the terminal back
/// and exits at once with 130 ([`ErrorKind::Interrupted`]), as SIGQUIT does the first time. Ctrl-Z gives the terminal
/// back while we are stopped.
///
/// # Errors
/// When the system takes no handlers.
pub fn listen(token: CancellationToken, events: Events) -> anyhow::Result<Interrupts> {
    let exit = Arc::new(|| std::process::exit(i32::from(ErrorKind::Interrupted.exit_code())));
    listen_with(token, events, exit).context("listen for Ctrl-C")
}

/// As [`listen`], for a command that shows something until it is stopped: there is nothing to say.
///
/// # Errors
/// When the system takes no handlers.
pub fn quietly(token: CancellationToken) -> anyhow::Result<Interrupts> {
    listen(token, Events::none())
}

/// Until SIGINT, SIGTERM or SIGHUP comes, next to whoever else listens.
///
/// # Errors
/// When the system takes no handlers.
pub async fn arrived() -> std::io::Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] = [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?];
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

fn listen_with(
    token: CancellationToken,
    events: Events,
    exit: Arc<dyn Fn() + Send + Sync>,
) -> std::io::Result<Interrupts> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // a terminal that is closed, a job that is cancelled
    let mut hangup = signal(SignalKind::hangup())?;
    // it would end us with the cursor hidden, or on the other screen
    let mut quit = signal(SignalKind::quit())?;
    let mut suspend = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    Ok(Interrupts(tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                Some(()) = hangup.recv() => {}
                Some(()) = quit.recv() => {
                    ui::release_terminal();
                    exit();
                    continue;
                }
                Some(()) = suspend.recv() => {
                    stop_for_a_while();
                    continue;
                }
                else => return,
            }
            // work that others cancelled counts as asked to stop
            if token.is_cancelled() {
                ui::release_terminal();
                exit();
            } else {
                token.cancel();
                // at a question nothing is under way that has to be stopped
                if !ui::confirm::is_open() {
                    events.info(STOPPING);
                }
            }
        }
    })))
}

/// What SIGTSTP does by itself, with the cursor shown meanwhile. Returns after SIGCONT.
fn stop_for_a_while() {
    ui::release_terminal();
    // SIGSTOP cannot fail for ourselves; if it did we would only go on
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
    ui::reclaim_terminal();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::event::{Event, Reporter};

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Reporter for Heard {
        fn report(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    /// Signals reach all tests of this process, so one test sends them all. SIGTERM is used as
    /// nothing else handles it; without our handler it would end the process.
    #[tokio::test]
    async fn once_stops_cleanly_and_twice_at_once() {
        let (token, heard, exits) =
            (CancellationToken::new(), Arc::new(Heard::default()), Arc::new(AtomicUsize::new(0)));
        let (count, notify) = (exits.clone(), Arc::new(tokio::sync::Notify::new()));
        let exited = notify.clone();
        let exit = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            notify.notify_one();
        });
        let interrupts = listen_with(token.clone(), Events::new(heard.clone()), exit).unwrap();
        let send = || rustix::process::kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
        send();
        token.cancelled().await;
        assert_eq!(exits.load(Ordering::SeqCst), 0);
        send();
        exited.notified().await;
        assert_eq!(exits.load(Ordering::SeqCst), 1);
        rustix::process::kill_process(rustix::process::getpid(), Signal::QUIT).unwrap();
        exited.notified().await;
        assert_eq!(exits.load(Ordering::SeqCst), 2);
        assert_eq!(*heard.0.lock().unwrap(), [Event::Info { message: STOPPING.into() }]);
        drop(interrupts);
    }
}
