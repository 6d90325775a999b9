//! Small archives on a short way into a container: a shell that is there already unpacks them. An engine that is asked
//! to unpack an archive starts a program for each, which takes ten times as long. Where there is no such shell, or it
//! has ended with its container, the engine is asked.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::engine::{AttachedExec, Conversation, Engine, EngineError};

/// An archive is a line, in base64; so is the answer.
const SCRIPT: &str = "while read -r line; do \
    if printf %s \"$line\" | base64 -d | tar -x -C / -f - >/dev/null 2>&1; then echo yes; else echo no; fi; done";
/// A shell reads its lines letter by letter.
const LARGEST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Unpackers {
    /// Container -> its shell.
    open: HashMap<String, Conversation>,
}

impl Unpackers {
    /// Starts the shell of a container, so that the first archive need not wait for it.
    pub async fn prepare(&mut self, engine: &dyn Engine, container: &str) {
        if self.open.contains_key(container) {
            return;
        }
        let request = AttachedExec {
            command: ["/bin/sh", "-c", SCRIPT].map(str::to_owned).into(),
            user: Some("0".to_owned()),
            ..AttachedExec::default()
        };
        // one that is not there, or has no shell, is left to the engine
        if let Ok(shell) = engine.converse(container, &request).await {
            self.open.insert(container.to_owned(), shell);
        }
    }

    pub async fn unpack(&mut self, engine: &dyn Engine, container: &str, archive: Vec<u8>) -> Result<(), EngineError> {
        if archive.len() <= LARGEST
            && let Some(shell) = self.open.get_mut(container)
        {
            match tokio::time::timeout(PATIENCE, said_yes(shell, &archive)).await {
                Ok(Some(true)) => return Ok(()),
                // it cannot, and will not the next time either; or it has ended
                _ => self.forget(container),
            }
        }
        engine.unpack(container, archive).await
    }

    /// The container has another life now.
    pub fn forget(&mut self, container: &str) {
        self.open.remove(container);
    }
}

/// Whether the shell has unpacked it; nothing, where it has ended.
async fn said_yes(shell: &mut Conversation, archive: &[u8]) -> Option<bool> {
    let line = format!("{}\n", STANDARD.encode(archive));
    shell.input.write_all(line.as_bytes()).await.ok()?;
    shell.input.flush().await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        if shell.output.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    Some(answer == b"yes\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(answer: &'static [u8]) -> Conversation {
        Conversation { input: Box::pin(tokio::io::sink()), output: Box::pin(answer) }
    }

    #[tokio::test]
    async fn only_a_clear_yes_counts() {
        assert_eq!(said_yes(&mut shell(b"yes\n"), b"x").await, Some(true));
        assert_eq!(said_yes(&mut shell(b"no\n"), b"x").await, Some(false));
        assert_eq!(said_yes(&mut shell(b"ye"), b"x").await, None, "it ended in the middle");
    }

    #[test]
    fn the_script_unpacks_what_it_is_told_line_by_line() {
        use std::io::Write as _;
        let folder = tempfile::TempDir::new().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder.append_data(&mut header, "deep/a.txt", b"text".as_slice()).unwrap();
        let archive = builder.into_inner().unwrap();
        let script = SCRIPT.replace("-C /", &format!("-C {}", folder.path().display()));
        let mut sh = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = sh.stdin.take().unwrap();
        writeln!(input, "{}\n{}", STANDARD.encode(&archive), STANDARD.encode([b'x'; 1024])).unwrap();
        drop(input);
        let output = sh.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "yes\nno\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("deep/a.txt")).unwrap(), "text");
    }
}
