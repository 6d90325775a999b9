use crate::app::list_platforms;

use super::context::Context;
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};

/// List all platforms of this user
///
/// Shows each platform with its state, its domain, the address of its ingress, and the folder from which it was
/// started last, with the number of other projects that run on it. What others run on the same engine is there
/// too, with whose it is. `macula down --gone` takes down those whose folder no longer exists.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let session = context.session("ls").await;
    let rows = list_platforms(&session).await?;
    if context.json() {
        return context.print_json(&rows);
    }
    if rows.is_empty() {
        return context.print("no platform has been started yet; `macula up` starts one\n");
    }
    let columns: [(&str, Fit); 5] = ["NAME", "STATE", "SERVICES", "DOMAIN", "ADDRESS"].map(|title| (title, Fit::Whole));
    let mut table = Table::new(columns.into_iter().chain([("FOLDER", Fit::Shrink)]).collect::<Vec<_>>());
    for row in &rows {
        let folder = row.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
        let more = match row.other_folders.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let folder = match &row.owner {
            Some(owner) => format!("(of {owner})"),
            None if row.gone => format!("{folder} (gone){more}"),
            None => format!("{folder}{more}"),
        };
        table.row(vec![
            Cell::from(row.name.as_str()),
            Cell::state(row.state.word()),
            Cell::from(&format!("{}/{}", row.running, row.services)),
            Cell::from(&row.domain),
            Cell::from(row.address.as_deref().unwrap_or("-")),
            Cell::from(&folder),
        ]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}
