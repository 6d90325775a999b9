//! What the engine itself needs: creates, starts, (waits for health,) kills and removes so many containers by
//! raw requests, eight at a time. Nobody who drives this engine can be faster.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Requests at once.
const SIDE_BY_SIDE: usize = 8;
const NAME: &str = "macula-bench-floor";

/// One run of it.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    pub up: Duration,
    pub down: Duration,
}

/// `health`: each has a check that passes, every two seconds, and is waited for.
pub fn floor(socket: &Path, image: &str, count: usize, health: bool) -> Result<Floor> {
    clear(socket, count);
    let network = json!({"Name": NAME, "Driver": "bridge", "CheckDuplicate": true});
    let mut spec = json!({
        "Image": image, "Cmd": ["sleep", "1d"], "StopSignal": "SIGKILL", "HostConfig": {"NetworkMode": NAME},
    });
    if health {
        spec["Healthcheck"] = json!({"Test": ["CMD", "true"], "Interval": 2_000_000_000u64});
    }
    let begun = Instant::now();
    call(socket, "POST", "/networks/create", Some(&network))?;
    each(count, |at| call(socket, "POST", &format!("/containers/create?name={NAME}-{at}"), Some(&spec)).map(drop))?;
    each(count, |at| call(socket, "POST", &format!("/containers/{NAME}-{at}/start"), None).map(drop))?;
    if health {
        each(count, |at| healthy(socket, at))?;
    }
    let up = begun.elapsed();
    let begun = Instant::now();
    each(count, |at| call(socket, "POST", &format!("/containers/{NAME}-{at}/stop?t=1"), None).map(drop))?;
    each(count, |at| call(socket, "DELETE", &format!("/containers/{NAME}-{at}?force=1&v=1"), None).map(drop))?;
    call(socket, "DELETE", &format!("/networks/{NAME}"), None)?;
    Ok(Floor { up, down: begun.elapsed() })
}

/// What a run that was interrupted has left.
fn clear(socket: &Path, count: usize) {
    let _ = each(count, |at| {
        let _ = call(socket, "DELETE", &format!("/containers/{NAME}-{at}?force=1&v=1"), None);
        Ok(())
    });
    let _ = call(socket, "DELETE", &format!("/networks/{NAME}"), None);
}

fn healthy(socket: &Path, at: usize) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        let found = call(socket, "GET", &format!("/containers/{NAME}-{at}/json"), None)?;
        if found.pointer("/State/Health/Status").and_then(Value::as_str) == Some("healthy") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{NAME}-{at} did not become healthy")
}

fn each(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return Ok(());
                }
                work(at)?;
            }
        };
        let workers: Vec<_> = (0..SIDE_BY_SIDE.min(count)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker ended early")))
    })
}

/// A connection for each request, as HTTP was before it could do otherwise: the engine closes it.
fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("no engine at {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(180)))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status: u16 = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    if !(200..400).contains(&status) {
        bail!("{method} {path}: {status} {}", body.trim());
    }
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}
