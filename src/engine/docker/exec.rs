//! Programs in a container, run to their end.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;

use super::program::Output;
use super::take_over::take_over;
use super::{Docker, READ, errors};
use crate::engine::{AttachedExec, Conversation, EngineError, ExecOutput, operation};

/// Of each stream, this much is kept.
const KEPT: usize = 1024 * 1024;
/// How a program is started that is talked to.
const START: &[u8] = br#"{"Detach":false,"Tty":false}"#;
/// The status is known a moment after the output has ended.
const LOOKS: usize = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Of a program that goes on without output.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn exec(
    docker: &Docker,
    container: &str,
    request: &AttachedExec,
    timeout: Duration,
) -> Result<ExecOutput, EngineError> {
    let operation = operation::exec(container, &request.command);
    match tokio::time::timeout(timeout, run(docker, &operation, container, request)).await {
        Ok(result) => result,
        Err(_) => Err(EngineError::Timeout { operation, after: timeout }),
    }
}

async fn run(
    docker: &Docker,
    operation: &str,
    container: &str,
    request: &AttachedExec,
) -> Result<ExecOutput, EngineError> {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(request.command.clone()),
        env: (!request.env.is_empty()).then(|| request.env.clone()),
        user: request.user.clone(),
        working_dir: request.workdir.clone(),
        privileged: request.privileged.then_some(true),
        ..ExecConfig::default()
    };
    let id = docker.call(operation, READ, docker.client.create_exec(container, config)).await?.id;
    let started = docker.client.start_exec(&id, None::<StartExecOptions>);
    let started = docker.call(operation, READ, started).await?;
    let mut result = ExecOutput { exit_code: 0, stdout: Vec::new(), stderr: Vec::new() };
    if let StartExecResults::Attached { mut output, input } = started {
        // the other half stays open until the output ends: Podman takes its end for a hang-up
        let _input = input;
        while let Some(piece) = output.next().await {
            match piece.map_err(|error| errors::engine_error(operation, error))? {
                LogOutput::StdErr { message } => keep(&mut result.stderr, &message),
                LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                    keep(&mut result.stdout, &message)
                }
            }
        }
    }
    result.exit_code = exec_status(docker, operation, &id).await?;
    Ok(result)
}

pub(super) async fn converse(
    docker: &Docker,
    container: &str,
    request: &AttachedExec,
) -> Result<Conversation, EngineError> {
    let operation = operation::exec(container, &request.command);
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(request.command.clone()),
        user: request.user.clone(),
        ..ExecConfig::default()
    };
    let id = docker.call(&operation, READ, docker.client.create_exec(container, config)).await?.id;
    // not the client's: it reads 8 KiB at once, and writes what is given to it together piece by piece
    let head = [("Content-Type", "application/json".to_owned())];
    let path = format!("/exec/{id}/start");
    let started = tokio::time::timeout(READ, take_over(docker, &path, "tcp", &head, Bytes::from_static(START))).await;
    let started = started.map_err(|_| EngineError::Timeout { operation: operation.clone(), after: READ })?;
    let stream = started.map_err(EngineError::local(&operation))?;
    let (output, input) = tokio::io::split(TokioIo::new(stream));
    Ok(Conversation { input: Box::pin(input), output: Box::pin(Output::new(output)) })
}

/// The status of a program whose output has ended. One that has closed it and goes on is waited for: whoever asks has a
/// limit of their own, or a signal.
pub(super) async fn exec_status(docker: &Docker, operation: &str, id: &str) -> Result<i64, EngineError> {
    let (mut looks, mut pause) = (0, BETWEEN_LOOKS);
    while looks < LOOKS {
        let answer = docker.call(operation, READ, docker.client.inspect_exec(id)).await?;
        match (answer.running, answer.exit_code) {
            (Some(true), _) => pause = (pause * 3 / 2).min(LONGEST_PAUSE),
            (_, Some(code)) => return Ok(code),
            (_, None) => looks += 1,
        }
        tokio::time::sleep(pause).await;
    }
    let message = "its output has ended, and the engine does not say how it ended".to_owned();
    Err(EngineError::Other { operation: operation.to_owned(), message })
}

fn keep(kept: &mut Vec<u8>, piece: &[u8]) {
    let room = KEPT.saturating_sub(kept.len());
    kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mebibyte_is_kept_of_a_stream() {
        let mut kept = Vec::new();
        keep(&mut kept, &vec![1; KEPT - 1]);
        keep(&mut kept, &[2, 3]);
        keep(&mut kept, &[4]);
        assert_eq!((kept.len(), kept.last()), (KEPT, Some(&2)));
    }
}
