use crate::app::{self, Error};
use crate::host::Command;

use super::context::{Context, StackOptions};
use super::error::CliError;

/// Open a service's page in the browser
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Only print the address
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("open").await;
    let status = app::status(&session, &loaded).await?;
    // by the service's name, or by the first label of its host: `draw` for draw.macula.local
    let host = |url: &String| url.contains(&format!("://{}.", args.service));
    let named = status.services.iter().find(|service| service.name == args.service);
    let Some(service) = named.or_else(|| status.services.iter().find(|service| service.urls.iter().any(host))) else {
        let known = status.services.into_iter().map(|service| service.name).collect();
        return Err(Error::UnknownService { names: vec![args.service], known }.into());
    };
    if service.state != "running" {
        let error = CliError::not_healthy(format!("{} does not run", service.name));
        return Err(error.suggest(format!("macula up {}", service.name)));
    }
    let Some(url) = service.urls.first() else {
        return Err(CliError::usage(format!("{} has no page", service.name))
            .hint(format!("it listens on {}", service.addresses.join(", "))));
    };
    let opener = if context.host.facts().os == "macos" { "open" } else { "xdg-open" };
    if args.print || context.host.which(opener).is_none() {
        return context.print(&format!("{url}\n"));
    }
    context.host.run(&Command::new(opener, [url.as_str()])).await?;
    Ok(())
}
