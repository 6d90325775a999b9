use std::collections::BTreeSet;

use crate::app::{Error, credentials};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};

/// Show the passwords that were made for the services
///
/// Shows those that a person needs, with the address of their service. They are made once, kept in
/// a file that only you can read, and removed with the data (`down --volumes`).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Show every variable, including those that services use among themselves
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("creds").await;
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
    let everything = args.all || !args.services.is_empty();
    let count = all.len();
    if !everything {
        let mut seen = BTreeSet::new();
        all.retain(|credential| credential.address.is_some() && seen.insert(credential.value.clone()));
    }
    let mut table = Table::new(["SERVICE", "ADDRESS", "VARIABLE", "VALUE"].map(|title| (title, Fit::Whole)));
    let mut last = "";
    for credential in &all {
        let first = credential.service != last;
        last = &credential.service;
        table.row([
            Cell::from(if first { credential.service.as_str() } else { "" }),
            Cell::from(credential.address.as_deref().filter(|_| first).unwrap_or_default()),
            Cell::from(&credential.variable),
            Cell::from(&credential.value),
        ]);
    }
    // a value that is cut is of no use
    let mut out = table.render(context.out_style(), None);
    if count > all.len() {
        out.push_str(&context.typed(&format!("all {count} variables: macula creds --all\n")));
    }
    context.print(&out)
}
