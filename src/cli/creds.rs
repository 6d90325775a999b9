use crate::app::{Error, credentials};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};

/// Show the passwords that were made for the services
///
/// They are made once, kept in a file that only you can read, and removed with the data
/// (`down --volumes`).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session_without_engine("creds");
    let known: Vec<String> = loaded.platform.services().map(|(_, service)| service.name.clone()).collect();
    let mut all = credentials(&session, &loaded).await?;
    // a service that no stack names any more may still have some
    let has = |name: &String| known.contains(name) || all.iter().any(|credential| credential.service == *name);
    let unknown: Vec<String> = args.services.iter().filter(|name| !has(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Error::UnknownService { names: unknown, known }.into());
    }
    let none_yet = all.is_empty();
    all.retain(|credential| args.services.is_empty() || args.services.contains(&credential.service));
    if context.json() {
        return context.print_json(&all);
    }
    if all.is_empty() {
        return context.print(&if none_yet {
            "no passwords are recorded: the first `macula up` makes them\n".to_owned()
        } else {
            format!("{} has no passwords\n", args.services.join(", "))
        });
    }
    let mut table = Table::new([("SERVICE", Fit::Whole), ("VARIABLE", Fit::Whole), ("VALUE", Fit::Whole)]);
    for credential in &all {
        table.row([&credential.service, &credential.variable, &credential.value].map(Cell::from));
    }
    // a value that is cut is of no use
    context.print(&table.render(context.out_style(), None))
}
