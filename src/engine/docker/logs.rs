//! A container's output, line by line.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Docker, errors};
use crate::engine::{EngineError, LogLine, LogOptions, operation};

/// How a piece begins in which Docker says why there is no more of a log. The client knows no such kind, and takes it for
/// the text of a terminal.
const TROUBLE: [u8; 4] = [3, 0, 0, 0];
/// Bytes in front of what a piece says: its kind and its length.
const HEAD: usize = 8;
/// A longer line comes in pieces.
const LONGEST: usize = 1024 * 1024;

pub(super) fn logs(
    docker: &Docker,
    container: &str,
    options: &LogOptions,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let operation = operation::logs(container);
    let second = |time: Option<i64>| time.and_then(|time| i32::try_from(time).ok()).unwrap_or_default();
    let query = LogsOptions {
        follow: options.follow,
        stdout: true,
        stderr: true,
        since: second(options.since),
        until: second(options.until),
        timestamps: options.timestamps,
        tail: options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
    };
    let pieces = docker.client.logs(container, Some(query)).boxed();
    let state = State { pieces: Some(pieces), lines: Lines::new(options.timestamps), ready: VecDeque::new() };
    stream::unfold((state, operation), |(mut state, operation)| async move {
        let line = state.next(&operation).await?;
        Some((line, (state, operation)))
    })
    .boxed()
}

struct State {
    /// `None`: it has ended.
    pieces: Option<BoxStream<'static, Result<LogOutput, bollard::errors::Error>>>,
    lines: Lines,
    ready: VecDeque<LogLine>,
}

impl State {
    async fn next(&mut self, operation: &str) -> Option<Result<LogLine, EngineError>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            let piece = match self.pieces.as_mut()?.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    self.pieces = None;
                    return Some(Err(errors::engine_error(operation, error)));
                }
                None => {
                    self.pieces = None;
                    self.lines.end(&mut self.ready);
                    return self.ready.pop_front().map(Ok);
                }
            };
            if let LogOutput::Console { message } = &piece
                && message.starts_with(&TROUBLE)
            {
                self.pieces = None;
                let message = String::from_utf8_lossy(message.get(HEAD..).unwrap_or_default()).trim().to_owned();
                return Some(Err(EngineError::Other { operation: operation.to_owned(), message }));
            }
            let stderr = matches!(piece, LogOutput::StdErr { .. });
            self.lines.add(stderr, &piece.into_bytes(), &mut self.ready);
        }
    }
}

/// Puts lines together: the engine stores a long line in pieces of 16 KiB.
struct Lines {
    timestamps: bool,
    /// What has no end yet, of standard output and standard error.
    open: [Vec<u8>; 2],
}

impl Lines {
    fn new(timestamps: bool) -> Self {
        Self { timestamps, open: [Vec::new(), Vec::new()] }
    }

    fn add(&mut self, stderr: bool, piece: &[u8], ready: &mut VecDeque<LogLine>) {
        let [out, err] = &mut self.open;
        let open = if stderr { err } else { out };
        // every stored piece has a time in front, and only that of the line's begin is wanted
        let piece = if self.timestamps && !open.is_empty() { without_time(piece) } else { piece };
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(part);
            if open.last() == Some(&b'\n') {
                open.pop();
                if open.last() == Some(&b'\r') {
                    open.pop();
                }
                emit(stderr, std::mem::take(open), ready);
            } else if open.len() >= LONGEST {
                emit(stderr, std::mem::take(open), ready);
            }
        }
    }

    fn end(&mut self, ready: &mut VecDeque<LogLine>) {
        for (stderr, open) in [false, true].into_iter().zip(&mut self.open) {
            if !open.is_empty() {
                emit(stderr, std::mem::take(open), ready);
            }
        }
    }
}

fn emit(stderr: bool, line: Vec<u8>, ready: &mut VecDeque<LogLine>) {
    if line.len() <= LONGEST {
        ready.push_back(LogLine { stderr, bytes: line });
        return;
    }
    ready.extend(line.chunks(LONGEST).map(|part| LogLine { stderr, bytes: part.to_vec() }));
}

/// `2026-11-21T01:24:56.123456789Z text` without its time.
fn without_time(piece: &[u8]) -> &[u8] {
    let Some(space) = piece.iter().take(40).position(|byte| *byte == b' ') else { return piece };
    let time = piece.get(..space).and_then(|time| std::str::from_utf8(time).ok());
    match time.map(str::parse::<jiff::Timestamp>) {
        Some(Ok(_)) => piece.get(space + 1..).unwrap_or_default(),
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(timestamps: bool, pieces: &[(bool, &str)]) -> Vec<String> {
        let (mut lines, mut ready) = (Lines::new(timestamps), VecDeque::new());
        for (stderr, piece) in pieces {
            lines.add(*stderr, piece.as_bytes(), &mut ready);
        }
        lines.end(&mut ready);
        let name = |stderr| if stderr { "err" } else { "out" };
        ready.iter().map(|line| format!("{} {}", name(line.stderr), String::from_utf8_lossy(&line.bytes))).collect()
    }

    #[test]
    fn pieces_become_lines_of_their_own_stream() {
        let got = told(false, &[(false, "a\nb"), (true, "oh"), (false, "c\r\n\n"), (true, " no\n"), (false, "end")]);
        assert_eq!(got, ["out a", "out bc", "out ", "err oh no", "out end"]);
    }

    #[test]
    fn a_line_stored_in_pieces_has_one_time() {
        let time = "2026-11-21T01:24:56.123456789Z";
        let (first, second) = (format!("{time} long "), format!("{time} line\n"));
        let got = told(true, &[(false, &first), (false, &second), (false, &format!("{time} next\n"))]);
        assert_eq!(got, [format!("out {time} long line"), format!("out {time} next")]);
    }

    #[tokio::test]
    async fn what_docker_says_of_a_damaged_log_is_its_end() {
        let pieces: [&[u8]; 3] = [b"one\n", b"\x03\0\0\0\0\0\0\x1cError grabbing logs: bad\n", b"two\n"];
        let console = |piece: &'static [u8]| Ok(LogOutput::Console { message: piece.into() });
        let pieces = Some(stream::iter(pieces.map(console)).boxed());
        let mut state = State { pieces, lines: Lines::new(false), ready: VecDeque::new() };
        let mut told = Vec::new();
        while let Some(line) = state.next("reading the logs of web").await {
            told.push(match line {
                Ok(line) => String::from_utf8(line.bytes).unwrap(),
                Err(error) => error.to_string(),
            });
        }
        assert_eq!(told, ["one", "reading the logs of web: Error grabbing logs: bad"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = "x".repeat(LONGEST + 10);
        let (mut lines, mut ready) = (Lines::new(false), VecDeque::new());
        lines.add(false, long.as_bytes(), &mut ready);
        lines.add(false, b"rest\n", &mut ready);
        let lengths: Vec<usize> = ready.iter().map(|line| line.bytes.len()).collect();
        assert_eq!(lengths, [LONGEST, 10, 4]);
    }
}
