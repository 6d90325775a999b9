use std::net::SocketAddr;

use anyhow::Context as _;

use crate::doctor::proof::{Asked, serve};

/// The other end of `doctor container-runs`, in a container of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Answer here
    listen: SocketAddr,
    /// The name of this container, which the engine's DNS is asked for
    #[arg(value_name = "NAME")]
    own_name: String,
    /// Who is to be reached
    gateway: SocketAddr,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { listen, own_name: name, gateway } = args;
    serve(Asked { listen, name, gateway }).await.with_context(|| format!("answer on {listen}"))
}
