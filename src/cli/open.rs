use std::net::IpAddr;
use std::time::Duration;

use crate::app::{self, Error, Page, ResolverFiles, Session, closed_pages, left_out_pages, pages};
use crate::config::Loaded;
use crate::host::{Command, RunError, Unmet, until};
use crate::model::{Platform, macula};
use crate::portal;
use crate::words;

use super::context::{Context, StackOptions, why_left_out};
use super::error::{CliError, ErrorKind};
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, text};

/// Open a service's page in the browser
///
/// Takes the name of a service or of its page: `macula open draw` opens excalidraw. `macula open home` opens
/// the platform's own page, and lets this browser start and stop services there. Without a name it lists the pages.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service, or a host name or URL of its page
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Print the address instead of opening it
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

/// The platform's own page, unless a service has the name.
const HOME: &str = "home";
/// For the page of a process that was just started.
const SOON: Duration = Duration::from_secs(5);
/// For the ingress of this machine to accept a connection, and for a name to be found.
const PATIENCE: Duration = Duration::from_millis(300);
/// For the opener to say that there is no browser. One that is still there after that is the browser itself.
const STARTS: Duration = Duration::from_secs(2);

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    // the files know where the pages are; an engine knows only which of them are left out
    let session = context.session_without_engine("open");
    let (pages, ingress) = pages(&session, &loaded).await?;
    // without it the names of the pages lead nowhere
    context.revive(&session, &loaded.platform.name).await;
    let Some(wanted) = args.service else {
        let session = context.session("open").await;
        return list(context, &pages, &closed_pages(&session, &loaded).await);
    };
    let label = loaded.platform.label_of_host(&wanted);
    if [HOME, loaded.platform.domain.as_str()].contains(&label) && find(&pages, label).is_none() {
        return home(context, &session, &loaded.platform, args.print).await;
    }
    let of_host = || loaded.platform.service_of_host(&wanted).and_then(|service| find(&pages, &service.name));
    let Some(page) = find(&pages, &wanted).or_else(of_host) else {
        let named = |page: &Page| page.hosts.iter().cloned().chain([page.service.clone()]).collect::<Vec<_>>();
        let known = pages.iter().filter(|page| !page.urls.is_empty()).flat_map(named);
        let known = words::unique(known.chain([HOME.to_owned()]));
        return Err(Error::UnknownService { names: vec![wanted.clone()], known }.into());
    };
    left_out(context, &loaded, &page.service).await?;
    let Some(url) = page.urls.iter().find(|url| url.contains(&format!("://{label}."))).or(page.urls.first()) else {
        return Err(CliError::usage(format!("{} has no page", page.service))
            .hint("its addresses, where it has some, are in the list of services")
            .suggest(macula("open").why("to list the pages"))
            .suggest(macula("status").arg(&page.service)));
    };
    if context.json() {
        return context.print_json(&serde_json::json!({"service": page.service, "url": url}));
    }
    if args.print || context.host.which(opener(context)).is_none() {
        return context.print(&format!("{url}\n"));
    }
    if context.host.connect(ingress, PATIENCE).await.is_err() {
        let what = if page.service == wanted { String::new() } else { format!(" ({})", page.service) };
        let error = CliError::not_healthy(format!("{wanted}{what} cannot be opened: {} is down", loaded.platform.name));
        return Err(error.suggest(macula("up").arg(&page.service)));
    }
    in_browser(context, &page.service, url).await
}

/// An error where a service was left out of the last `up`: its page is not there.
async fn left_out(context: &Context, loaded: &Loaded, service: &str) -> Result<(), CliError> {
    let session = context.session("open").await;
    if !left_out_pages(&session, loaded).await.iter().any(|closed| closed == service) {
        return Ok(());
    }
    Err(match why_left_out(&session, loaded, service).await {
        Some(reason) => CliError::not_healthy(format!("{service} is left out, so that it has no page: {reason}"))
            .suggest(macula("up").arg(service).why("to try its image again")),
        None => CliError::not_healthy(format!("{service} was not started, so that it has no page"))
            .suggest(macula("up").arg(service)),
    })
}

fn opener(context: &Context) -> &'static str {
    if context.host.facts().os == "macos" { "open" } else { "xdg-open" }
}

/// The page of the platform itself, which the background process shows: it is started for that where none runs.
async fn home(context: &Context, session: &Session, platform: &Platform, print: bool) -> Result<(), CliError> {
    app::ensure_process(session, &platform.dns).await?;
    let socket = portal::socket(ResolverFiles::of(session.host()).folder());
    // one that was just started shows its page a moment after it answers
    let opened = until(SOON, Duration::from_millis(20), &session.cancel, async || portal::ticket(&socket).await);
    let opened = opened.await.map_err(|unmet| match unmet {
        Unmet::TooLong(error) => CliError::of(ErrorKind::Unexpected, &error)
            .hint("its log says why")
            .suggest(macula("dns status").why("to see what runs, and its version")),
        Unmet::Cancelled => Error::Cancelled.into(),
    })?;
    let url = opened.url(platform.name.as_str());
    if context.json() {
        return context.print_json(&serde_json::json!({"service": HOME, "url": url}));
    }
    if print || context.host.which(opener(context)).is_none() {
        return context.print(&format!("{url}\n"));
    }
    in_browser(context, HOME, &url).await
}

/// What the opener says of the browsers that it did not find helps nobody; the address does. It may become the browser,
/// which stays open when this has ended.
async fn in_browser(context: &Context, service: &str, url: &str) -> Result<(), CliError> {
    let opener = Command::new(opener(context), [url]).to_its_end("/dev/null").timeout(STARTS);
    if matches!(context.host.run(&opener).await, Ok(_) | Err(RunError::Timeout { .. })) {
        return Ok(());
    }
    let error = CliError::unexpected("no browser could be opened")
        .hint(format!("open this address yourself: {url}"))
        .suggest(macula("open --print").arg(service).why("to print the address only"));
    Err(if resolves(context, url).await {
        error
    } else {
        error.suggest(macula("dns install").why("so that this machine finds the name"))
    })
}

/// Whether this machine finds the name in a URL; one that is not answered for at once counts as found.
async fn resolves(context: &Context, url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or(rest);
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let asked = tokio::time::timeout(PATIENCE, context.host.resolve(host)).await;
    asked.is_err() || asked.is_ok_and(|found| found.is_ok_and(|found| !found.is_empty()))
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
            serde_json::json!({"service": page.service, "urls": page.urls, "running": open})
        };
        let all: Vec<_> = pages.iter().filter(|page| !page.urls.is_empty()).map(page).collect();
        return context.print_json(&all);
    }
    let mut table = Table::new([("SERVICE", Fit::Whole), ("PAGE", Fit::Whole)]);
    if find(pages, HOME).is_none() {
        table.row([Cell::from(HOME), Cell::toned("the platform's own page", Tone::Dim)]);
    }
    // what cannot be opened comes last
    let mut pages: Vec<&Page> = pages.iter().collect();
    pages.sort_by_key(|page| closed.contains(&page.service));
    let names = pages.iter().map(|page| text::width(&page.service)).max().unwrap_or(0);
    let mut below: Vec<(String, String)> = Vec::new();
    for page in pages {
        if closed.contains(&page.service) && !page.urls.is_empty() {
            table.row([Cell::from(&page.service), Cell::toned("not available now", Tone::Dim)]);
            continue;
        }
        for (at, url) in page.urls.iter().enumerate() {
            let name = if at == 0 { page.service.as_str() } else { "" };
            // in a narrow terminal a URL has a line of its own, so that it can be copied
            let room = context.terminal.table_width().is_none_or(|width| names + 2 + text::width(url) <= width);
            match room {
                true => table.row([Cell::from(name), Cell::from(url)]),
                false => {
                    below.push((name.to_owned(), url.clone()));
                    continue;
                }
            };
        }
    }
    let mut out = table.render(context.out_style(), None);
    for (name, url) in below {
        if !name.is_empty() {
            out.push_str(&format!("{name}\n"));
        }
        out.push_str(&format!("  {url}\n"));
    }
    context.print(&out)
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
