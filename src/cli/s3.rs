use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::error::{CliError, ErrorKind};
use crate::s3::{LogLines, ServeError, Server, Settings};

/// The S3 server that runs in the platform's own image
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(ServerArgs),
}

/// Serve a folder, called and configured as MinIO is
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// Where the data lies
    folder: PathBuf,
    /// Answer here
    #[arg(long, value_parser = address, default_value = ":9000", value_name = "[ADDRESS]:PORT")]
    address: SocketAddr,
    /// Show a page for people here
    #[arg(long, env = "MINIO_CONSOLE_ADDRESS", value_parser = address, default_value = ":9001", value_name = "[ADDRESS]:PORT")]
    console_address: SocketAddr,
    #[command(flatten)]
    variables: Variables,
}

/// What the container's environment says, as MinIO's does.
#[derive(Debug, clap::Args)]
struct Variables {
    /// The owner's access key
    #[arg(long, env = "MINIO_ROOT_USER", value_name = "KEY")]
    root_user: String,
    /// The owner's secret: by the environment alone, since arguments can be read by others
    #[arg(long, env = "MINIO_ROOT_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    root_password: String,
    /// BUCKET.DOMAIN is a bucket's host; several are separated by commas
    #[arg(long, env = "MINIO_DOMAIN", value_delimiter = ',', value_name = "DOMAIN")]
    domain: Vec<String>,
    /// A file of users: a line with access key, secret and buckets each
    #[arg(long, env = "MACULA_S3_USERS", value_name = "PATH")]
    users: Option<PathBuf>,
    /// A file with the names of buckets that there are to be
    #[arg(long, env = "MACULA_S3_BUCKETS", value_name = "PATH")]
    buckets: Option<PathBuf>,
}

/// `:9000` is every address of the container.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').and_then(|port| port.parse().ok());
    let any = port.map(|port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    any.or_else(|| text.parse().ok())
        .ok_or_else(|| format!("not a valid address: {text} (write :9000 or 127.0.0.1:9000)"))
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let Command::Server(args) = args.command;
    // as the first process of a container it gets no signal that it does not handle
    let stop = |kind| signal(kind).context("handle signals");
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let _ = tracing_subscriber::fmt().event_format(LogLines).with_writer(std::io::stdout).try_init();
    let variables = args.variables;
    let server = Server::bind(Settings {
        folder: args.folder,
        address: args.address,
        console: args.console_address,
        access_key: variables.root_user,
        secret_key: variables.root_password,
        users: variables.users,
        buckets: variables.buckets,
        domains: variables.domain.into_iter().filter(|domain| !domain.is_empty()).collect(),
    });
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.await.map_err(failed)?.run(stopped).await;
    Ok(())
}

fn failed(error: ServeError) -> CliError {
    let kind = match error {
        ServeError::Store { .. } => ErrorKind::Unexpected,
        ServeError::Listen { .. } => ErrorKind::Conflict,
    };
    CliError::of(kind, &error)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_may_be_a_port_alone() {
        assert_eq!(address(":9000").unwrap().to_string(), "0.0.0.0:9000");
        assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert!(address("9000").unwrap_err().starts_with("not a valid address"));
    }
}
