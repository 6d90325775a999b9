//! The engine's own stream to a program in a container, with nothing of ours in it: what a relay has to live with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::load::{self, AMOUNT, Figures};

/// The same questions as over an address, as far as one stream has them.
pub fn figures(socket: &Path, container: &str, program: &str) -> Result<Figures> {
    let open = |words: &[&str]| Piped::open(socket, container, &[&[program], words].concat());
    let mut stream = open(&["swallow"])?;
    let to = load::rate(AMOUNT, || load::send_all(AMOUNT, &mut stream, Piped::end))?;
    let mut stream = open(&["pour", &AMOUNT.to_string()])?;
    let from = load::rate(AMOUNT, || load::receive(AMOUNT, &mut stream))?;
    let (byte_p50, byte_p99) = load::round_trips(&mut open(&["echo"])?)?;
    Ok(Figures { to, from, byte_p50, byte_p99, ..Figures::default() })
}

/// Both ends of a program. What it writes comes in frames: a kind, three zeros, the length of what follows
/// (<https://docs.docker.com/reference/api/engine/version/v1.41/>, ContainerAttach).
struct Piped {
    stream: BufReader<UnixStream>,
    left: usize,
}

impl Piped {
    fn open(socket: &Path, container: &str, command: &[&str]) -> Result<Self> {
        let spec = json!({"AttachStdin": true, "AttachStdout": true, "Cmd": command});
        let (mut stream, head) = ask(socket, &format!("/containers/{container}/exec"), &spec, "close")?;
        let mut body = String::new();
        stream.read_to_string(&mut body)?;
        // one chunk, or none: the object is what stands between the braces
        let object = body.find('{').zip(body.rfind('}')).and_then(|(from, to)| body.get(from..=to));
        let made: Value = serde_json::from_str(object.with_context(|| format!("{head}: {body}"))?)?;
        let id = made.get("Id").and_then(Value::as_str).with_context(|| format!("{head}: {made}"))?;
        let (stream, _) =
            ask(socket, &format!("/exec/{id}/start"), &json!({"Detach": false, "Tty": false}), "Upgrade")?;
        Ok(Self { stream, left: 0 })
    }

    fn end(&mut self) -> Result<()> {
        Ok(self.stream.get_ref().shutdown(Shutdown::Write)?)
    }
}

fn ask(socket: &Path, path: &str, body: &Value, connection: &str) -> Result<(BufReader<UnixStream>, String)> {
    let mut stream = UnixStream::connect(socket)?;
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: {connection}\r\n\
         Upgrade: tcp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    let mut status = String::new();
    stream.read_line(&mut status)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    if !["101", "200", "201"].iter().any(|code| status.split(' ').nth(1) == Some(code)) {
        bail!("{path}: {}", status.trim());
    }
    Ok((stream, status.trim().to_owned()))
}

impl Read for Piped {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut head = [0; 8];
            self.stream.read_exact(&mut head)?;
            let [_, _, _, _, a, b, c, d] = head;
            self.left = u32::from_be_bytes([a, b, c, d]) as usize;
        }
        let most = to.len().min(self.left);
        let length = self.stream.read(to.get_mut(..most).unwrap_or_default())?;
        self.left -= length;
        Ok(length)
    }
}

impl Write for Piped {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.stream.get_mut().write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.get_mut().flush()
    }
}
