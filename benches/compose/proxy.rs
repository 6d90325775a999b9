//! A socket in front of the engine's that counts the requests that pass, and how long each waits
//! for the first byte of its answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

type Calls = Arc<Mutex<BTreeMap<String, (usize, Duration)>>>;

pub struct Proxy {
    socket: PathBuf,
    calls: Calls,
}

impl Proxy {
    pub fn start(socket: &Path, engine: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let calls = Calls::default();
        let (engine, counted) = (engine.to_owned(), calls.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, calls) = (engine.clone(), counted.clone());
                std::thread::spawn(move || pass(client, &engine, &calls));
            }
        });
        Ok(Self { socket: socket.to_owned(), calls })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What passed since the last call: kind of request, how many, waiting time of all of them.
    pub fn take(&self) -> Vec<(String, usize, Duration)> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = std::mem::take(&mut *calls).into_iter().map(|(kind, (n, t))| (kind, n, t)).collect();
        all.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
        all
    }
}

/// One connection; requests follow one another on it.
fn pass(client: UnixStream, engine: &Path, calls: &Calls) {
    let Ok(server) = UnixStream::connect(engine) else { return };
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let open: Arc<Mutex<Option<(String, Instant)>>> = Arc::default();
    let asked = open.clone();
    let up = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer) {
            let Some(piece) = buffer.get(..length) else { break };
            if let Some(kind) = request(piece) {
                *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((kind, Instant::now()));
            }
            if to_server.write_all(piece).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut buffer) {
        if let Some((kind, since)) = open.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = calls.entry(kind).or_default();
            *entry = (entry.0 + 1, entry.1 + since.elapsed());
        }
        let Some(piece) = buffer.get(..length) else { break };
        if to_client.write_all(piece).is_err() {
            break;
        }
    }
    let _ = to_client.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
}

/// `POST /containers/*/start`, when a request begins here.
fn request(piece: &[u8]) -> Option<String> {
    let line = piece.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/") {
        return None;
    }
    let path = path.split('?').next()?.trim_start_matches('/');
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.first().is_some_and(|part| part.starts_with("v1.")) {
        parts.remove(0);
    }
    const WORDS: [&str; 24] = [
        "containers",
        "images",
        "networks",
        "volumes",
        "exec",
        "json",
        "create",
        "start",
        "stop",
        "kill",
        "wait",
        "archive",
        "connect",
        "disconnect",
        "resize",
        "events",
        "info",
        "version",
        "_ping",
        "top",
        "logs",
        "prune",
        "attach",
        "system",
    ];
    let parts: Vec<&str> = parts.into_iter().map(|part| if WORDS.contains(&part) { part } else { "*" }).collect();
    let path = parts.join("/").replace("*/*", "*").replace("*/*", "*");
    Some(format!("{method} /{path}"))
}
