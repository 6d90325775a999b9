//! `macula mcp`: the Model Context Protocol over standard input and output, a message a line
//! (<https://modelcontextprotocol.io/specification/2025-06-18>). Its tools are commands of this program, run as one would
//! type them; see docs/decisions/mcp-server.md.

mod install;
mod tools;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use crate::host::{Command, Host};

pub use install::{EDITORS, Editor, InstallError, added};
pub use tools::Right;
#[cfg(test)]
pub use tools::samples;
use tools::{TOOLS, Tool};

/// Versions of the protocol that are spoken, the latest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Bytes of a message.
const LONGEST: u64 = 1 << 20;
/// Bytes of a result: more than this is of no use to a model.
const MOST: usize = 100_000;
/// For a command.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Commands at once.
const AT_ONCE: usize = 8;

// https://www.jsonrpc.org/specification#error_object
const PARSE: i64 = -32700;
const INVALID: i64 = -32600;
const NO_METHOD: i64 = -32601;
const BAD_PARAMS: i64 = -32602;

/// What a server is told.
pub struct Settings {
    pub program: PathBuf,
    pub version: &'static str,
    /// Global options that each command gets: the platform, and the file.
    pub options: Vec<String>,
    pub rights: Vec<Right>,
    /// Where `report` writes.
    pub report: PathBuf,
}

/// Answers until the input ends.
///
/// # Errors
/// The input cannot be read, or the output not written.
pub async fn serve(
    host: Arc<dyn Host>,
    settings: Settings,
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let server = Arc::new(Server { host, settings });
    let (sender, mut answers) = channel::<Value>(AT_ONCE);
    let mut calls = Calls::default();
    let mut line = Vec::new();
    loop {
        tokio::select! {
            Some(answer) = answers.recv() => say(&mut output, &answer).await?,
            // what was read of a line stays in it when something else comes first
            read = async { (&mut input).take(LONGEST).read_until(b'\n', &mut line).await } => {
                if read? == 0 && line.is_empty() {
                    break;
                }
                let text = std::mem::take(&mut line);
                if let Some(answer) = server.take(&text, &mut calls, &sender) {
                    say(&mut output, &answer).await?;
                }
            }
        }
    }
    // what was asked for is answered, as long as somebody reads
    drop(sender);
    while let Some(answer) = answers.recv().await {
        say(&mut output, &answer).await?;
    }
    Ok(())
}

async fn say(output: &mut (impl AsyncWrite + Unpin), answer: &Value) -> io::Result<()> {
    let mut line = answer.to_string();
    line.push('\n');
    output.write_all(line.as_bytes()).await?;
    output.flush().await
}

struct Server {
    host: Arc<dyn Host>,
    settings: Settings,
}

/// Tools at work, by the id of the request, and the tasks that they are.
#[derive(Default)]
struct Calls {
    tasks: JoinSet<()>,
    running: HashMap<String, tokio::task::AbortHandle>,
}

fn failure(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn success(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

impl Server {
    /// The answer to a message, unless there is none, or it comes later.
    fn take(self: &Arc<Self>, text: &[u8], calls: &mut Calls, sender: &Sender<Value>) -> Option<Value> {
        while calls.tasks.try_join_next().is_some() {}
        calls.running.retain(|_, call| !call.is_finished());
        if text.trim_ascii().is_empty() {
            return None;
        }
        let Ok(message) = serde_json::from_slice::<Value>(text) else {
            return Some(failure(&Value::Null, PARSE, "this is not JSON, or longer than a megabyte"));
        };
        let params = message.get("params").cloned().unwrap_or_else(|| json!({}));
        let id = message.get("id").filter(|id| id.is_string() || id.is_number());
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            // an answer: we ask nothing
            let answers = message.get("result").is_some() || message.get("error").is_some();
            return (!answers).then(|| failure(id.unwrap_or(&Value::Null), INVALID, "a request needs a method"));
        };
        let Some(id) = id else {
            if method == "notifications/cancelled"
                && let Some(request) = params.get("requestId")
                && let Some(call) = calls.running.remove(&request.to_string())
            {
                call.abort();
            }
            return None;
        };
        match method {
            "initialize" => Some(success(id, self.introduce(&params))),
            "ping" => Some(success(id, json!({}))),
            "tools/list" => {
                let tools = TOOLS.iter().filter(|tool| tool.is_allowed(&self.settings.rights));
                Some(success(id, json!({"tools": tools.map(Tool::described).collect::<Vec<_>>()})))
            }
            "tools/call" => self.call(id, &params, calls, sender),
            _ => Some(failure(id, NO_METHOD, &format!("there is no method {method}"))),
        }
    }

    fn introduce(&self, params: &Value) -> Value {
        let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let [latest, ..] = VERSIONS;
        let version = if VERSIONS.contains(&asked) { asked } else { latest };
        json!({
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "macula", "title": "Macula", "version": self.settings.version},
            "instructions": "A platform of services on this machine. `status` says how they are and why; `logs` and \
                             `validate` say more. Errors name the command that helps.",
        })
    }

    fn call(self: &Arc<Self>, id: &Value, params: &Value, calls: &mut Calls, sender: &Sender<Value>) -> Option<Value> {
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(tool) = Tool::find(name, &self.settings.rights) else {
            let why = match TOOLS.iter().find(|tool| tool.name == name).and_then(|tool| tool.right) {
                Some(right) => format!("{name} is not allowed: start the server with `--allow {}`", right.word()),
                None => format!("there is no tool {name}"),
            };
            return Some(failure(id, BAD_PARAMS, &why));
        };
        let none = Map::new();
        let arguments = match params.get("arguments") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Some(failure(id, BAD_PARAMS, "the arguments must be an object")),
        };
        let words = match tool.words(arguments) {
            Ok(words) => words,
            Err(why) => return Some(failure(id, BAD_PARAMS, &why)),
        };
        if calls.running.len() >= AT_ONCE {
            return Some(success(id, content("too many tools are at work: ask again when one has ended", true)));
        }
        let (server, sender, request) = (Arc::clone(self), sender.clone(), id.clone());
        let task = calls.tasks.spawn(async move {
            let (text, failed) = server.run(tool, words).await;
            // whoever asked may have gone
            let _ = sender.send(success(&request, content(&text, failed))).await;
        });
        calls.running.insert(id.to_string(), task);
        None
    }

    /// What the command prints, and whether it failed.
    async fn run(&self, tool: &Tool, words: Vec<String>) -> (String, bool) {
        let fixed = ["--output", "json", "--progress", "quiet"].map(str::to_owned);
        let mut args: Vec<String> =
            fixed.into_iter().chain(self.settings.options.iter().cloned()).chain(words).collect();
        if tool.name == "report" {
            args.extend(["--to".to_owned(), self.settings.report.to_string_lossy().into_owned()]);
        }
        let command = Command::new(self.settings.program.to_string_lossy(), args).may_fail().timeout(PATIENCE);
        let output = match self.host.run(&command).await {
            Ok(output) => output,
            Err(error) => return (error.to_string(), true),
        };
        let printed = output.stdout();
        if printed.trim().is_empty() {
            return (output.stderr(), !output.success());
        }
        // a check that finds something has worked
        let failed =
            !output.success() && serde_json::from_str::<Value>(&printed).is_ok_and(|it| it.get("error").is_some());
        let hides = tool.name == "env" && !self.settings.rights.contains(&Right::EnvValues) && output.success();
        (if hides { names_only(&printed) } else { printed }, failed)
    }
}

/// The names of settings; nothing where they cannot be told from the values.
fn names_only(printed: &str) -> String {
    let settings = serde_json::from_str::<Map<String, Value>>(printed).unwrap_or_default();
    let names: Vec<&String> = settings.keys().collect();
    json!({"names": names, "values": "hidden: start the server with `--allow env-values` to show them"}).to_string()
}

/// A result of a tool. The end of a long one says more than its beginning.
fn content(text: &str, failed: bool) -> Value {
    let mut from = text.len().saturating_sub(MOST);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let cut = if from > 0 { format!("({from} bytes before this were left out)\n") } else { String::new() };
    let text = cut + text.get(from..).unwrap_or_default();
    json!({"content": [{"type": "text", "text": text}], "isError": failed})
}

#[cfg(test)]
mod tests;
