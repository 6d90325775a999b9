use std::net::SocketAddr;

use crate::doctor::proof::{Asked, serve};

use super::error::CliError;

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

pub async fn run(args: Args) -> Result<(), CliError> {
    let Args { listen, own_name: name, gateway } = args;
    let served = serve(Asked { listen, name, gateway }).await;
    served.map_err(|error| CliError::io(format!("answer on {listen}"), &error))
}
