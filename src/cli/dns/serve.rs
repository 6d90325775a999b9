use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use clap::ValueEnum;
use serde_json::json;

use crate::app::{self, DEFAULT_METRICS, ResolverFiles, ServeOptions, Serving, StartedBy};
use crate::dns::{Asked, DOH_PATH, Encrypted, EncryptedListen, Inheritance, Inherited, QueryLog, code_name, type_name};
use crate::event::Events;
use crate::host::Command;
use crate::model::View;
use crate::portal::{self, Portal, Program};

use crate::cli::context::Context;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::interrupt;

/// Where DNS over TLS and over HTTPS are answered unless said otherwise.
const DOT: &str = "127.0.0.9:853";
const DOH: &str = "127.0.0.9:443";
/// Lines of the query log that wait to be written; more are dropped, since answers come first.
const WAITING: usize = 4096;

/// Run the resolver in this terminal
///
/// Prints the address that it answers on, then answers until Ctrl-C: for every platform that has
/// been up, and for those that come up meanwhile; everything else is asked of the machine's own
/// servers. With -v each question is shown.
#[derive(Debug, clap::Args)]
// flattened into `dns` itself, where a group of this name is there already
#[group(skip)]
pub struct Args {
    /// Answer here; port 0 takes any that is free; may be given several times (else 127.0.0.9, port
    /// 53 where that is permitted, or 5335)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Also answer DNS over TLS, at 127.0.0.9:853 or the given address
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, require_equals = true, default_missing_value = DOT)]
    dot: Vec<SocketAddr>,
    /// Also answer DNS over HTTPS (/dns-query), at 127.0.0.9:443 or the given address
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, require_equals = true, default_missing_value = DOH)]
    doh: Vec<SocketAddr>,
    /// Ask this server for all other names; may be given several times (else the machine's own)
    #[arg(long, value_name = "ADDRESS")]
    upstream: Vec<IpAddr>,
    /// Names of this foreign domain may lead to loopback addresses; may be given several times
    #[arg(long, value_name = "DOMAIN")]
    rebind_allow: Vec<String>,
    /// Show counters for Prometheus under http://ADDRESS:PORT/metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = DEFAULT_METRICS)]
    metrics: SocketAddr,
    /// Show the platforms' page under http://ADDRESS:PORT, or at another port of this address if it is taken
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = portal::USUAL)]
    page: SocketAddr,
    /// Who stops it again
    #[arg(long, value_enum, default_value_t = Starter::Hand, hide = true)]
    started_by: Starter,
    /// Start it again whenever it was killed
    #[arg(long, hide = true)]
    keep: bool,
    /// Files that the former version of this program has left open: its sockets
    #[arg(long, hide = true, value_delimiter = ',')]
    inherit: Vec<RawFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Starter {
    Hand,
    Up,
    Service,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let inheritance = Inheritance::adopt(&args.inherit)
        .map_err(|error| CliError::of(ErrorKind::Usage, &error).doing("take over what the former resolver has left"))?;
    if args.keep {
        let session = context.session_without_engine("dns serve");
        return Ok(app::keep_serving(&*context.host, &session.program, &context.cancel).await?);
    }
    let by_hand = args.started_by == Starter::Hand;
    // where it lies now: once it is replaced, the system no longer knows
    let program = context.session_without_engine("dns serve").program;
    let options = ServeOptions {
        listen: args.listen,
        dot: args.dot,
        doh: args.doh,
        upstream: args.upstream,
        rebind_allow: args.rebind_allow,
        metrics: Some(args.metrics),
        started_by: match args.started_by {
            Starter::Hand => StartedBy::Hand,
            Starter::Up => StartedBy::Up,
            Starter::Service => StartedBy::Service,
        },
        query_log: (context.global.verbose > 0).then(query_log),
        version: env!("CARGO_PKG_VERSION"),
        heir: (!by_hand).then(|| program.clone()),
        inheritance: Arc::new(inheritance),
    };
    let _interrupts = interrupt::listen(context.cancel.clone(), Events::none())?;
    let mut serving = app::serve(Arc::clone(&context.host), &context.events(), options).await?;
    let page = show_page(context, &mut serving, args.page, program.clone()).await;
    if by_hand {
        let (addresses, metrics) = (serving.addresses(), serving.metrics_address());
        if context.json() {
            let page = page.as_ref().map(|page| format!("http://{}", page.address()));
            let encrypted = serving.encrypted();
            context
                .print_json(&json!({"listen": addresses, "encrypted": encrypted, "metrics": metrics, "page": page}))?;
        } else {
            let lines: Vec<String> = addresses.iter().map(|address| format!("{address}\n")).collect();
            let encrypted: Vec<String> =
                serving.encrypted().iter().map(|listen| format!("{}\n", encrypted_address(listen))).collect();
            let lines = [lines, encrypted].concat();
            context.print(&lines.concat())?;
        }
    }
    match serving.run(&context.cancel).await {
        Some(sockets) => {
            drop(page);
            let error = go_on_as(context, &program, args.started_by, sockets);
            app::serves_no_more(&*context.host).await;
            Err(error)
        }
        None => {
            // the system starts a service again only when this process has ended
            if let Some(page) = page.filter(|_| args.started_by != Starter::Service) {
                tokio::select! {
                    () = page.finish() => {}
                    () = context.cancel.cancelled() => {}
                }
            }
            Ok(())
        }
    }
}

/// This process becomes the program that lies in its place by now, and goes on with its sockets.
fn go_on_as(context: &Context, program: &Path, by: Starter, sockets: Vec<Inherited>) -> CliError {
    let files: Vec<OwnedFd> = sockets.into_iter().flat_map(Inherited::into_files).collect();
    let numbers: Vec<String> = files.iter().map(|file| file.as_raw_fd().to_string()).collect();
    let mut words = vec!["dns".to_owned(), "serve".to_owned()];
    words.extend(by.to_possible_value().map(|by| format!("--started-by={}", by.get_name())));
    if !numbers.is_empty() {
        words.push(format!("--inherit={}", numbers.join(",")));
    }
    context.host.become_program(&Command::new(program.to_string_lossy(), words), files).into()
}

/// Shows the page of the platforms as well; names are worth more, and go on without it.
async fn show_page(context: &Context, serving: &mut Serving, address: SocketAddr, program: PathBuf) -> Option<Portal> {
    let programs = serving.programs();
    let programs = move || programs().into_iter().map(|(host, port)| Program { host, port }).collect();
    let settings = portal::Settings {
        address,
        folder: ResolverFiles::of(&*context.host).folder().to_owned(),
        program,
        version: env!("CARGO_PKG_VERSION"),
        programs: Arc::new(programs),
        telemetry: serving.telemetry(),
    };
    match Portal::start(Arc::clone(&context.host), settings).await {
        Ok(page) => {
            serving.show(page.address(), page.wanted());
            Some(page)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            context.events().warn(format!("the page is not shown: {error}{cause}"));
            None
        }
    }
}

/// An address as clients write it: `tls://127.0.0.9:853`, `https://127.0.0.9/dns-query`.
pub fn encrypted_address(listen: &EncryptedListen) -> String {
    let EncryptedListen { protocol, address } = listen;
    match protocol {
        Encrypted::Dot => format!("tls://{address}"),
        Encrypted::Doh if address.port() == 443 => {
            let host = address.to_string();
            format!("https://{}{DOH_PATH}", host.strip_suffix(":443").unwrap_or(&host))
        }
        Encrypted::Doh => format!("https://{address}{DOH_PATH}"),
    }
}

/// Writes each question to standard error, from a thread of its own: no answer waits for a terminal.
fn query_log() -> QueryLog {
    let (sender, receiver) = sync_channel::<String>(WAITING);
    std::thread::spawn(move || {
        for line in receiver {
            // a terminal that has gone away is no reason to stop answering
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    });
    let log = move |asked: &Asked| note(&sender, asked);
    Arc::new(log)
}

fn note(sender: &SyncSender<String>, asked: &Asked) {
    let rtype = type_name(asked.qtype);
    let code = code_name(asked.rcode);
    let protocol = if asked.tcp { "tcp" } else { "udp" };
    let inside = if asked.view == View::Container { " inside" } else { "" };
    let way = format!("{:?}", asked.way).to_ascii_lowercase();
    let name = if asked.name.is_empty() { "(unreadable)" } else { &asked.name };
    let _ = sender.try_send(format!("{} {protocol}{inside} {name} {rtype}: {code} ({way})\n", asked.client));
}
