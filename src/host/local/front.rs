//! A program in the foreground: it has our terminal or our pipes, and what it writes is kept as well.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::run::{AFTERWARDS, end_with_us, open_log};
use super::{LocalHost, files};
use crate::host::{Command, RunError};

/// The kept output of a program in the foreground loses its older half when it gets longer than this.
const LONGEST_OUTPUT: u64 = 4 << 20;
/// How much is written between two looks at that.
const LOOK_AFTER: usize = 1 << 20;
/// What a pipe holds at most (pipe(7), `pipe-max-size`): more than that was not written before the program's end.
const PIPE: usize = 1 << 20;

pub(super) async fn run_in_front(host: &LocalHost, command: &Command, log: &Path) -> Result<i32, RunError> {
    use tokio::signal::unix::{SignalKind, signal};
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let mut ready = host.prepared(command, &[])?;
    let (file, _) = open_log(host, log).map_err(io)?;
    let file = tokio::fs::File::from_std(file);
    let other = file.try_clone().await.map_err(io)?;
    ready.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end_with_us(&mut ready);
    // before the program is there: a signal in between would end us and not it
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(io)?;
    let mut child = ready.spawn().map_err(io)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (our_out, our_err) =
        (std::io::stdout().as_fd().try_clone_to_owned(), std::io::stderr().as_fd().try_clone_to_owned());
    let ours = |stream: std::io::Result<OwnedFd>| stream.map(|stream| tokio::fs::File::from_std(File::from(stream)));
    let ended = CancellationToken::new();
    let out = tokio::spawn(tee(stdout, ours(our_out).map_err(io)?, file, log.to_owned(), ended.clone()));
    let err = tokio::spawn(tee(stderr, ours(our_err).map_err(io)?, other, log.to_owned(), ended.clone()));
    let pass_on = |which: Signal| {
        if let Some(pid) = pid {
            // it may have ended meanwhile
            let _ = rustix::process::kill_process(pid, which);
        }
    };
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(io)?,
            // Ctrl-C reaches all that run in the foreground of the terminal
            _ = interrupt.recv() => if !in_foreground() { pass_on(Signal::INT) },
            _ = terminate.recv() => pass_on(Signal::TERM),
            _ = hang_up.recv() => pass_on(Signal::HUP),
        }
    };
    // all that it has written, however slowly it is read from us
    ended.cancel();
    let mut rest = std::pin::pin!(async { tokio::join!(out, err) });
    let begun = Instant::now();
    loop {
        let signal = tokio::select! {
            biased;
            _ = &mut rest => return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hang_up.recv() => Signal::HUP,
        };
        // the one that has ended the program arrives here, too
        if begun.elapsed() >= AFTERWARDS {
            return Ok(128 + signal.as_raw());
        }
    }
}

/// This process is in the foreground of the terminal that it was started in.
fn in_foreground() -> bool {
    let terminal = File::open("/dev/tty").and_then(|terminal| Ok(rustix::termios::tcgetpgrp(terminal)?));
    terminal.is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}

/// Passes on what a program writes as it comes, and keeps the end of it. `ended`: the program has, and only what it has
/// left in the pipe is read.
async fn tee(
    from: Option<impl AsyncRead + Unpin>,
    mut to: tokio::fs::File,
    mut log: tokio::fs::File,
    path: PathBuf,
    ended: CancellationToken,
) {
    let Some(mut from) = from else { return };
    let mut chunk = [0u8; 8192];
    let mut written = 0;
    let mut left: Option<(Duration, usize)> = None;
    loop {
        if left.is_none() && ended.is_cancelled() {
            left = Some((AFTERWARDS, PIPE));
        }
        let asked = Instant::now();
        let read = match &left {
            None => tokio::select! {
                biased;
                read = from.read(&mut chunk) => read,
                () = ended.cancelled() => continue,
            },
            Some((time, _)) => match tokio::time::timeout(*time, from.read(&mut chunk)).await {
                Ok(read) => read,
                Err(_) => return,
            },
        };
        let Ok(count @ 1..) = read else { return };
        if let Some((time, bytes)) = &mut left {
            // only the waiting counts: the writing takes as long as whoever reads from us
            *time = time.saturating_sub(asked.elapsed());
            *bytes = bytes.saturating_sub(count);
        }
        let bytes = chunk.get(..count).unwrap_or_default();
        // a terminal that has gone, or a full disk, is no reason to stop the program
        let _ = to.write_all(bytes).await;
        let _ = to.flush().await;
        let _ = log.write_all(bytes).await;
        let _ = log.flush().await;
        written += count;
        let noted = path.clone();
        let _ = tokio::task::spawn_blocking(move || files::note_length(&noted)).await;
        if written > LOOK_AFTER {
            written = 0;
            let path = path.clone();
            let _ = tokio::task::spawn_blocking(move || files::keep_end(&path, LONGEST_OUTPUT)).await;
        }
        if left.is_some_and(|(_, bytes)| bytes == 0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What is passed on of what a program has written when it ended, to a reader that takes its time.
    async fn passed_on(from: impl AsyncRead + Unpin + Send + 'static) -> usize {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("shop.log");
        let log = tokio::fs::File::create(&path).await.unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let to = tokio::fs::File::from_std(File::from(OwnedFd::from(writer)));
        let ended = CancellationToken::new();
        ended.cancel();
        let tee = tokio::spawn(tee(Some(from), to, log, path.clone(), ended));
        tokio::time::sleep(AFTERWARDS * 2).await;
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        });
        let count = read.await.unwrap().unwrap();
        tee.await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), count);
        count
    }

    #[tokio::test]
    async fn a_slow_reader_gets_all_that_a_program_has_written() {
        let (mut program, from) = tokio::io::duplex(PIPE);
        program.write_all(&vec![b'x'; 300_000]).await.unwrap();
        // whom it has started keeps the other end open, and says nothing
        assert_eq!(passed_on(from).await, 300_000);
        drop(program);
    }

    #[tokio::test]
    async fn what_a_program_has_left_running_is_not_followed() {
        let (mut program, from) = tokio::io::duplex(8192);
        let writes = tokio::spawn(async move { while program.write_all(&[b'x'; 8192]).await.is_ok() {} });
        assert!(passed_on(from).await >= PIPE);
        writes.await.unwrap();
    }
}
