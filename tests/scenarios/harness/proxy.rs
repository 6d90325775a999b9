//! A socket in front of the engine's that dies at a chosen call: an engine that dies in the middle,
//! at the same place each time.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Engine;

/// What happens to the call at which the engine dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The engine never saw it.
    Before,
    /// The engine did it, and the answer is lost.
    After,
}

pub struct Proxy {
    pub path: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Calls that change something, left until the end.
    left: usize,
    death: Death,
    dead: bool,
    open: Vec<UnixStream>,
}

impl State {
    fn die(&mut self) {
        self.dead = true;
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Proxy {
    /// Dies at the call after `after` calls that change something.
    pub fn start(engine: &Engine, folder: &Path, after: usize, death: Death) -> Self {
        let path = folder.join("proxy.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let state = Arc::new(Mutex::new(State { left: after, death, dead: false, open: Vec::new() }));
        let (upstream, shared) = (engine.socket.clone(), state.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let mut now = shared.lock().unwrap();
                if now.dead {
                    // the listener goes with this thread: from now on connections are refused
                    return;
                }
                let Ok(server) = UnixStream::connect(&upstream) else { return };
                now.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(now);
                // set once the call has gone out at whose answer the engine dies
                let swallow = Arc::new(AtomicBool::new(false));
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (state, last) = (shared.clone(), swallow.clone());
                std::thread::spawn(move || answers(from, to, &state, &last));
                let state = shared.clone();
                std::thread::spawn(move || calls(client, server, &state, &swallow));
            }
        });
        Self { path, state }
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().die();
        // wakes the listener
        let _ = UnixStream::connect(&self.path);
    }
}

fn calls(mut client: UnixStream, mut server: UnixStream, state: &Mutex<State>, swallow: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..read];
        if changes(bytes) {
            let mut now = state.lock().unwrap();
            if now.left == 0 && now.death == Death::Before {
                return now.die();
            }
            swallow.store(now.left == 0, Ordering::SeqCst);
            now.left = now.left.saturating_sub(1);
        }
        if server.write_all(bytes).is_err() {
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

fn answers(mut server: UnixStream, mut client: UnixStream, state: &Mutex<State>, swallow: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if swallow.load(Ordering::SeqCst) {
            return state.lock().unwrap().die();
        }
        if client.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
}

/// The head of a call that changes something. Heads come in one piece.
fn changes(bytes: &[u8]) -> bool {
    let head = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let verb = [&b"POST /"[..], b"PUT /", b"DELETE /"].iter().any(|verb| head.starts_with(verb));
    verb && head.ends_with(b" HTTP/1.1")
}
