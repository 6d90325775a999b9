use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::reach::{Within, serve};
use crate::host::Host;

use super::context::Context;

/// Of the pipes to the engine, which hold 64 KiB otherwise: what anybody may ask for.
#[cfg(target_os = "linux")]
const PIPE: libc::c_int = 1 << 20;
/// For one question.
const PATIENCE: Duration = Duration::from_secs(2);

/// The other end of a platform that is reached through its engine, in a container of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take orders from standard input
    #[arg(long)]
    stream: bool,
    /// Say whether a port answers
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "stream")]
    ask: Option<SocketAddr>,
    /// Ask for this, by HTTP
    #[arg(long, value_name = "PATH", requires = "ask")]
    path: Option<String>,
    /// As this host
    #[arg(long, value_name = "NAME", requires = "path", default_value = "localhost")]
    host: String,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    if args.stream {
        return stream().await.context("pass on connections");
    }
    if let Some(address) = args.ask {
        let said = ask(&*context.host, address, args.path.as_deref(), &args.host).await;
        return Ok(context.print(&format!("{said}\n"))?);
    }
    // it is there for the programs that are started in it
    let mut terminate = signal(SignalKind::terminate()).context("handle signals")?;
    terminate.recv().await.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe)).context("wait for the end")
}

async fn stream() -> io::Result<()> {
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let output: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    #[cfg(target_os = "linux")]
    [&input, &output].into_iter().for_each(widen);
    // as engines give them to a program without a terminal
    let (input, output) = (Receiver::from_owned_fd(input)?, Sender::from_owned_fd(output)?);
    serve(tokio::io::join(input, output), Within::OwnNetworks).await
}

/// Makes a pipe hold more, so that the engine's programs on its other end wait less often. Where it cannot be, it holds what it
/// did.
#[cfg(target_os = "linux")]
fn widen(pipe: &OwnedFd) {
    // SAFETY: the descriptor is open for as long as it is borrowed, and F_SETPIPE_SZ takes a number
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
}

/// What `probe` reads: a status of HTTP, 0 for a connection alone, or the kind of an error.
async fn ask(host: &dyn Host, address: SocketAddr, path: Option<&str>, name: &str) -> serde_json::Value {
    let asked = match path {
        Some(path) => host.http_get(address, name, path, PATIENCE).await.map(|answer| answer.status),
        None => host.connect(address, PATIENCE).await.map(|()| 0),
    };
    match asked {
        Ok(status) => json!({"status": status}),
        Err(error) => json!({"refused": error.kind() == io::ErrorKind::ConnectionRefused, "error": error.to_string()}),
    }
}
