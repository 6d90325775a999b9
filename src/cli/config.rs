use std::path::PathBuf;

use clap::Subcommand;

use crate::config;

use super::context::{Context, StackOptions};
use super::error::CliError;

/// Show, start or describe macula.yaml
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the settings in effect, as a macula.yaml
    Show {
        #[command(flatten)]
        stacks: StackOptions,
    },
    /// Write a macula.yaml with every key explained, for the platform that --name names
    Init {
        /// File to write
        #[arg(default_value = "macula.yaml", value_name = "PATH")]
        path: PathBuf,
        /// Overwrite an existing file
        #[arg(long)]
        force: bool,
    },
    /// Print the JSON schema of macula.yaml, for editors
    Schema,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::Show { stacks } => show(context, &stacks),
        Action::Init { path, force } => init(context, path, force).await,
        Action::Schema => context.print_json(&config::schema()),
    }
}

fn show(context: &Context, stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load(stacks)?;
    let platform = &loaded.platform;
    let settings = serde_json::json!({
        "name": platform.name,
        "domain": platform.domain,
        "file": loaded.config_file.as_ref().map(|path| path.display().to_string()),
        "stacks": platform.stacks.iter().map(|stack| &stack.name).collect::<Vec<_>>(),
        "services": platform
            .services()
            .map(|(stack, service)| {
                let settings = serde_json::json!({
                    "stack": stack.name, "image": service.image, "memory": service.options.resources.memory,
                });
                (service.name.clone(), settings)
            })
            .collect::<serde_json::Map<_, _>>(),
        "images": platform.images,
        "ingress": platform.ingress,
        "addresses": platform.addresses,
        "dns": platform.dns,
        "cluster": platform.cluster,
        "timeouts": {
            "healthy": platform.timeouts.healthy.as_secs(),
            "image": platform.timeouts.image.as_secs(),
        },
    });
    if context.json() {
        return context.print_json(&settings);
    }
    let text =
        serde_yaml::to_string(&config::in_force(&loaded)).map_err(|error| CliError::unexpected(error.to_string()))?;
    context.print(&text)
}

async fn init(context: &Context, path: PathBuf, force: bool) -> Result<(), CliError> {
    let name = context.name.clone().unwrap_or_default();
    if !force && context.host.exists(&path).await {
        return Err(CliError::conflict(format!("{} exists", path.display())).hint("`--force` overwrites it"));
    }
    let folder = std::env::current_dir().map_err(|error| CliError::io("find the current folder", &error))?;
    let target = folder.join(&path);
    context
        .host
        .write(&target, config::init_file(&name).as_bytes(), 0o644)
        .await
        .map_err(|error| CliError::io(format!("write {}", target.display()), &error))?;
    context.print(&format!("wrote {}\n", path.display()))
}
