//! A program in a container, or a container's own, with this process's own terminal or pipes.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::{AttachContainerOptions, ResizeContainerTTYOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rustix::process::{Pid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::exec::exec_status;
use super::{Docker, READ, errors};
use crate::engine::{AttachedExec, Containers, EngineError, operation};

/// What is read from a keyboard or a pipe at once.
const CHUNK: usize = 16 * 1024;
/// For a request to end a program.
const END: Duration = Duration::from_secs(2);

pub(super) async fn exec_attached(
    docker: &Docker,
    container: &str,
    request: &AttachedExec,
) -> Result<i64, EngineError> {
    let operation = operation::exec(container, &request.command);
    let config = ExecConfig {
        attach_stdin: Some(request.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(request.tty),
        env: (!request.env.is_empty()).then(|| request.env.clone()),
        cmd: Some(request.command.clone()),
        privileged: Some(request.privileged),
        user: request.user.clone(),
        working_dir: request.workdir.clone(),
        ..ExecConfig::default()
    };
    // before it is started: a signal then is for it
    let ended = Ended::listen().map_err(EngineError::local::<std::io::Error>(&operation))?;
    let id = docker.call(&operation, READ, docker.client.create_exec(container, config)).await?.id;
    let options = StartExecOptions { tty: request.tty, ..StartExecOptions::default() };
    let started = docker.call(&operation, READ, docker.client.start_exec(&id, Some(options))).await?;
    let StartExecResults::Attached { output, input } = started else {
        let message = "the engine did not attach it".to_owned();
        return Err(EngineError::Other { operation, message });
    };
    talk(docker, &Program::Further { container, id: &id }, request, &operation, (output, input), ended).await
}

pub(super) async fn run_attached(docker: &Docker, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
    let operation = operation::start(container);
    let ended = Ended::listen().map_err(EngineError::local::<std::io::Error>(&operation))?;
    let options = AttachContainerOptions {
        stream: true,
        stdin: request.stdin,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    // before it is started: it may end at once
    let attached = docker.call(&operation, READ, docker.client.attach_container(container, Some(options))).await?;
    docker.start(container).await?;
    talk(docker, &Program::First { container }, request, &operation, (attached.output, attached.input), ended).await
}

/// Whom our terminal or pipes belong to for now.
enum Program<'a> {
    /// Beside the container's own.
    Further { container: &'a str, id: &'a str },
    /// The container's own.
    First { container: &'a str },
}

impl Program<'_> {
    async fn status(&self, docker: &Docker, operation: &str) -> Result<i64, EngineError> {
        match self {
            Self::Further { id, .. } => exec_status(docker, operation, id).await,
            Self::First { container } => docker.wait(container).await,
        }
    }

    /// `ended`: a second signal waits for nothing.
    async fn end(&self, docker: &Docker, ended: &mut Ended) {
        match self {
            Self::Further { container, id } => end_program(docker, container, id).await,
            // it is removed next, by force: until then it may end as any service does
            Self::First { container } => tokio::select! {
                // one that has ended is none to be told
                _ = docker.stop(container, None) => {}
                _ = ended.by() => {}
            },
        }
    }

    /// How it ended. A signal still ends it.
    async fn finished(&self, docker: &Docker, operation: &str, ended: &mut Ended) -> Result<i64, EngineError> {
        let number = tokio::select! {
            status = self.status(docker, operation) => return status,
            number = ended.by() => number,
        };
        self.end(docker, ended).await;
        Ok(128 + i64::from(number))
    }

    /// Gives the program the size of our terminal. A wrong size is no reason to end it.
    async fn fit_terminal(&self, docker: &Docker) {
        let Ok(size) = tcgetwinsize(std::io::stdout().as_fd()) else { return };
        let (height, width) = (size.ws_row, size.ws_col);
        if height == 0 {
            return;
        }
        let resized = match self {
            Self::Further { id, .. } => {
                let size = ResizeExecOptions { height, width };
                docker.call("resizing the terminal", READ, docker.client.resize_exec(id, size)).await
            }
            Self::First { container } => {
                let size = ResizeContainerTTYOptions { h: height.into(), w: width.into() };
                docker.call("resizing the terminal", READ, docker.client.resize_container_tty(container, size)).await
            }
        };
        if let Err(error) = resized {
            tracing::debug!(%error, "the terminal's size was not passed on");
        }
    }
}

/// What the program writes, and what it reads.
type Streams =
    (Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>, Pin<Box<dyn AsyncWrite + Send>>);

/// Until the program ends, or this one is told to. `ended`: from before the program was started.
async fn talk(
    docker: &Docker,
    program: &Program<'_>,
    request: &AttachedExec,
    operation: &str,
    (mut output, mut input): Streams,
    mut ended: Ended,
) -> Result<i64, EngineError> {
    let other = EngineError::local::<std::io::Error>(operation);
    // put back when this function ends, in whatever way
    let mut raw = request.tty.then(RawTerminal::enter).flatten();
    let typed = if request.stdin { standard_input() } else { mpsc::channel(1).1 };
    let mut resized = signal(SignalKind::window_change()).map_err(&other)?;
    if request.tty {
        program.fit_terminal(docker).await;
    }
    // beside what it says: one that reads no more, or has ended, leaves a full pipe that is never taken up
    let feed = feed(typed, &mut input);
    tokio::pin!(feed);
    let mut feeding = request.stdin;
    loop {
        tokio::select! {
            piece = output.next() => match piece {
                Some(Ok(piece)) => {
                    let (written, place) = match piece {
                        LogOutput::StdErr { message } => (put(std::io::stderr(), &message), "standard error"),
                        piece => (put(std::io::stdout(), &piece.into_bytes()), "standard output"),
                    };
                    let Err(error) = written else { continue };
                    // what comes next ends a container of its own
                    if let Program::Further { .. } = program {
                        program.end(docker, &mut ended).await;
                    }
                    // a reader that has seen enough ends a program here, too
                    return match error.kind() {
                        std::io::ErrorKind::BrokenPipe => Ok(128 + i64::from(rustix::process::Signal::PIPE.as_raw())),
                        _ => Err(other(std::io::Error::new(error.kind(), format!("write to {place}: {error}")))),
                    };
                }
                // a program that ends before it has read all of its input resets the connection: how
                // it ended counts, where the engine knows that
                Some(Err(error)) => {
                    drop(raw.take());
                    let status = program.finished(docker, operation, &mut ended).await;
                    return status.map_err(|_| errors::engine_error(operation, error));
                }
                None => break,
            },
            // it reads no more: its output and its status still count
            () = &mut feed, if feeding => feeding = false,
            _ = resized.recv(), if request.tty => program.fit_terminal(docker).await,
            number = ended.by() => {
                program.end(docker, &mut ended).await;
                // as shells say it of a program that a signal has ended
                return Ok(128 + i64::from(number));
            }
        }
    }
    // its terminal is gone, and keys are signals again: it may go on for long
    drop(raw.take());
    program.finished(docker, operation, &mut ended).await
}

/// What is typed goes to the program, for as long as it reads; the end of our input is the end of its.
async fn feed(mut typed: mpsc::Receiver<Bytes>, input: &mut (impl AsyncWrite + Unpin)) {
    while let Some(piece) = typed.recv().await {
        if input.write_all(&piece).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    // one that has ended needs no end of its input
    let _ = input.shutdown().await;
}

/// Signals that end this program. Keys of a terminal are none: they go to the program in the container.
struct Ended {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ended {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    async fn by(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

/// Ends the program in the container. An engine leaves it running, with nobody to read what it says, and knows
/// no request to end it.
async fn end_program(docker: &Docker, container: &str, id: &str) {
    let inspected = docker.call("looking at the program", READ, docker.client.inspect_exec(id)).await;
    let Ok(exec) = inspected else { return };
    let (Some(pid), Some(of)) = (exec.pid.and_then(|pid| i32::try_from(pid).ok()), exec.container_id) else { return };
    // the number is one of the engine's machine, which may be another
    let cgroup = tokio::fs::read_to_string(format!("/proc/{pid}/cgroup")).await.unwrap_or_default();
    let Some(process) = Pid::from_raw(pid).filter(|_| cgroup.contains(&of)) else { return };
    if kill_process(process, rustix::process::Signal::TERM).is_ok() {
        return;
    }
    // who may use the engine may end it from inside, where it has another number
    let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await.unwrap_or_default();
    let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().next_back());
    if let Some(inside) = inside {
        let command = ["sh", "-c", "kill -TERM \"$0\"", inside].map(str::to_owned);
        let request = AttachedExec { command: command.to_vec(), ..AttachedExec::default() };
        let _ = super::exec::exec(docker, container, &request, END).await;
    }
}

/// Written at once and in this thread: there is nothing else to do until it is.
fn put(mut stream: impl Write, piece: &[u8]) -> std::io::Result<()> {
    stream.write_all(piece)?;
    stream.flush()
}

/// Standard input in pieces. A thread of its own: a read from a terminal cannot be called off, and
/// one of the runtime's would keep the process from ending.
fn standard_input() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match std::io::stdin().lock().read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    let piece = Bytes::copy_from_slice(chunk.get(..read).unwrap_or_default());
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Keys go through one by one and unechoed; how it was is put back on drop.
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` when standard input is not a terminal.
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // nothing better can be done here than to try
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
