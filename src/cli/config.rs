use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use crate::config::{self, DiskFiles};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::init::in_place_of;
use super::near::near;
use super::shapes;
use super::ui::text;

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
    Schema {
        /// Of Compose files: the Compose specification's own, and `x-macula`
        #[arg(long)]
        compose: bool,
        /// Of what a command, such as `dns status`, prints with `-o json`
        #[arg(long, value_name = "COMMAND", conflicts_with = "compose")]
        of: Option<String>,
    },
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::Show { stacks } => show(context, &stacks),
        Action::Init { path, force } => init(context, path, force).await,
        Action::Schema { of: Some(command), .. } => match shapes::schema(&command) {
            Some(schema) => context.print_json(&schema),
            None => Err(without_schema(&command)),
        },
        Action::Schema { compose: false, of: None } => context.print_json(&config::schema()),
        Action::Schema { compose: true, of: None } => context.print_json(&config::compose_schema()),
    }
}

fn without_schema(typed: &str) -> CliError {
    let known: Vec<String> = shapes::OUTPUTS.iter().map(|output| output.command.to_owned()).collect();
    let error = CliError::usage(format!("there is no schema of what `{typed}` prints"));
    match near(typed, &known).first() {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("there are those of {}", text::some(&known, 8))),
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
    let text = serde_yaml::to_string(&config::in_force(&loaded)).map_err(CliError::fault)?;
    context.print_data(&text)
}

async fn init(context: &Context, path: PathBuf, force: bool) -> Result<(), CliError> {
    let name = context.name.clone().unwrap_or_default();
    if !force && let Some(file) = in_place_of(context, &path).await {
        let hint = match file == path {
            true => "`--force` overwrites it".to_owned(),
            false => format!("of the two only macula.yaml is read; `--force` writes {} all the same", path.display()),
        };
        return Err(CliError::conflict(format!("{} exists", file.display())).hint(hint));
    }
    let request = context.request(&StackOptions::default())?;
    context.stdout_is_open()?;
    let target = request.cwd.join(&path);
    let beside = target.parent().unwrap_or(&request.cwd).to_owned();
    // the project of whoever stands where the file lies
    let request = config::Request { cwd: context.host.resolved(&beside).await, ..request };
    let stack = config::project_compose_name(&request, &DiskFiles);
    let schema = serde_json::to_vec_pretty(&config::schema());
    let schema = schema.map_err(CliError::fault)?;
    // the file names its schema, which lies beside it: editors need no network for it
    for (file, content) in
        [(target, config::init_file(&name, stack.as_deref()).into_bytes()), (beside.join(config::SCHEMA_FILE), schema)]
    {
        let written = context.host.rewrite(&file, &content, 0o644).await;
        written.with_context(|| format!("write {}", file.display()))?;
    }
    if context.json() {
        return context.print_json(&serde_json::json!({
            "file": path.display().to_string(), "schema": config::SCHEMA_FILE, "stack": stack,
        }));
    }
    let with = stack.map(|stack| format!(", with {stack} as its stack")).unwrap_or_default();
    context.print(&format!("wrote {}{with}, and {} for editors\n", path.display(), config::SCHEMA_FILE))
}
