use std::time::Duration;

use crate::app::{Error, Page, closed_pages, pages};
use crate::host::Command;
use crate::model::macula;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::Tone;
use super::ui::table::{Cell, Fit, Table};

/// Open a service's page in the browser
///
/// Takes the name of a service or of its page: `macula open draw` opens excalidraw. Without one it
/// lists the pages.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service, or the first part of its host name
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Print the address instead of opening it
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

/// For the ingress of this machine to accept a connection.
const PATIENCE: Duration = Duration::from_millis(300);

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    // the files know where the pages are, and no engine has to be asked
    let session = context.session_without_engine("open");
    let (pages, ingress) = pages(&session, &loaded).await?;
    let Some(wanted) = args.service else {
        let session = context.session("open").await;
        return list(context, &pages, &closed_pages(&session, &loaded).await);
    };
    let Some(page) = find(&pages, &wanted) else {
        let named = |page: &Page| page.hosts.iter().cloned().chain([page.service.clone()]).collect::<Vec<_>>();
        let known = pages.iter().filter(|page| !page.urls.is_empty()).flat_map(named).collect();
        return Err(Error::UnknownService { names: vec![wanted], known }.into());
    };
    let Some(url) = page.urls.iter().find(|url| url.contains(&format!("://{wanted}."))).or(page.urls.first()) else {
        return Err(CliError::usage(format!("{} has no page", page.service))
            .hint("its addresses, where it has some, are in the list of services")
            .suggest(macula("open").why("to list the pages"))
            .suggest(macula("status").arg(&page.service)));
    };
    let opener = if context.host.facts().os == "macos" { "open" } else { "xdg-open" };
    if context.json() {
        return context.print_json(&serde_json::json!({"service": page.service, "url": url}));
    }
    if args.print || context.host.which(opener).is_none() {
        return context.print(&format!("{url}\n"));
    }
    if context.host.connect(ingress, PATIENCE).await.is_err() {
        let what = if page.service == wanted { String::new() } else { format!(" ({})", page.service) };
        let error = CliError::not_healthy(format!("{wanted}{what} cannot be opened: {} is down", loaded.platform.name));
        return Err(error.suggest(macula("up").arg(&page.service)));
    }
    context.host.run(&Command::new(opener, [url.as_str()])).await?;
    Ok(())
}

/// By the service's name first, then by a name of a page.
fn find<'a>(pages: &'a [Page], wanted: &str) -> Option<&'a Page> {
    let named = pages.iter().find(|page| page.service == wanted);
    named.or_else(|| pages.iter().find(|page| page.hosts.iter().any(|host| host == wanted)))
}

fn list(context: &Context, pages: &[Page], closed: &[String]) -> Result<(), CliError> {
    if context.json() {
        let page = |page: &Page| {
            let open = !closed.contains(&page.service);
            serde_json::json!({"service": page.service, "urls": page.urls, "left_out": !open})
        };
        let all: Vec<_> = pages.iter().filter(|page| !page.urls.is_empty()).map(page).collect();
        return context.print_json(&all);
    }
    let mut table = Table::new([("SERVICE", Fit::Whole), ("PAGE", Fit::Whole)]);
    // what cannot be opened comes last
    let mut pages: Vec<&Page> = pages.iter().collect();
    pages.sort_by_key(|page| closed.contains(&page.service));
    for page in pages {
        if closed.contains(&page.service) && !page.urls.is_empty() {
            table.row([Cell::from(&page.service), Cell::toned("left out", Tone::Dim)]);
            continue;
        }
        for (at, url) in page.urls.iter().enumerate() {
            let name = if at == 0 { page.service.as_str() } else { "" };
            table.row([Cell::from(name), Cell::from(url)]);
        }
    }
    context.print(&table.render(context.out_style(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_either_name() {
        let page = |service: &str, host: &str| Page {
            service: service.into(),
            hosts: vec![host.into()],
            urls: vec![format!("https://{host}.macula.local")],
        };
        let pages = [page("excalidraw", "draw"), page("draw", "other")];
        assert_eq!(find(&pages, "draw").unwrap().service, "draw", "a service's own name comes first");
        assert_eq!(find(&pages, "other").unwrap().service, "draw");
        assert_eq!(find(&pages, "excalidraw").unwrap().hosts, ["draw"]);
        assert!(find(&pages, "grafana").is_none());
    }
}
