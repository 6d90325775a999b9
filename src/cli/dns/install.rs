use clap::ValueEnum;
use serde_json::json;

use crate::app::{install_dns_service, install_names, uninstall_names};
use crate::dns::install::{Method, Service};

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Let this machine's programs find the platforms' names
///
/// Points the system at the resolver, for the platforms' domains alone where the system knows how,
/// and asks the way programs ask whether that holds; what does not hold is undone, and the next way
/// tried. `macula dns uninstall` puts everything back as it was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The way
    #[arg(long, value_enum, default_value_t = By::Auto, value_name = "WAY")]
    method: By,
    /// Also make the resolver a service, which is there without `macula up`
    #[arg(long, value_enum, value_name = "WHOSE")]
    service: Option<Whose>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The first of the others that holds on this machine
    Auto,
    /// systemd-resolved, 246 and later
    Resolved,
    /// NetworkManager with dnsmasq
    #[value(name = "networkmanager")]
    NetworkManager,
    /// A plain /etc/resolv.conf; needs the resolver on port 53
    ResolvConf,
    /// The names one by one in /etc/hosts; no wildcard
    Hosts,
    /// /etc/resolver
    Macos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Of the system: runs as this user, on port 53, from the start of the machine
    System,
    /// Of this user's session
    User,
}

/// Put back what `macula dns install` changed
#[derive(Debug, clap::Args)]
pub struct UninstallArgs {}

impl From<By> for Method {
    fn from(by: By) -> Self {
        match by {
            By::Auto => Self::Auto,
            By::Resolved => Self::Resolved,
            By::NetworkManager => Self::NetworkManager,
            By::ResolvConf => Self::ResolvConf,
            By::Hosts => Self::Hosts,
            By::Macos => Self::Macos,
        }
    }
}

const QUESTION: &str = "Make the platforms' names work in the browsers and shells of this machine";
pub(in crate::cli) const EXPLAIN: &str = "A file of the system's DNS configuration is changed, as root: where the system can send one domain to a \
     resolver of its own, only the platforms' domain; else /etc/resolv.conf or /etc/hosts. What was there is kept, and \
     `macula dns uninstall` puts it back byte for byte.";

pub async fn install(context: &Context, args: Args) -> Result<(), CliError> {
    let session = context.session_without_engine("dns install");
    context.confirm(QUESTION, EXPLAIN).await?;
    let mut service = None;
    if let Some(whose) = args.service {
        let whose = match whose {
            Whose::System => Service::System,
            Whose::User => Service::User,
        };
        service = Some(install_dns_service(&session, whose).await?.to_string());
    }
    let installed = install_names(&session, args.method.into()).await?;
    if context.json() {
        let tried: Vec<_> = installed
            .tried
            .iter()
            .map(|tried| json!({"method": tried.rung.to_string(), "reason": tried.reason}))
            .collect();
        return context.print_json(&json!({
            "method": installed.rung.to_string(), "changed": installed.changed, "tried": tried,
            "service": service, "notes": installed.notes,
        }));
    }
    let events = context.events();
    for tried in &installed.tried {
        events.info(format!("{}: {}", tried.rung, tried.reason));
    }
    let mut out = match installed.changed {
        true => format!("names resolve, by {}\n", installed.rung),
        false => format!("names resolve already, by {}\n", installed.rung),
    };
    if let Some(service) = service {
        out.push_str(&format!("the resolver is {service}\n"));
    }
    for note in &installed.notes {
        out.push_str(&format!("  {note}\n"));
    }
    context.print(&out)
}

pub async fn uninstall(context: &Context, _: UninstallArgs) -> Result<(), CliError> {
    let session = context.session_without_engine("dns uninstall");
    let undone = uninstall_names(&session).await?;
    if context.json() {
        let all: Vec<_> =
            undone.iter().map(|(rung, notes)| json!({"method": rung.to_string(), "notes": notes})).collect();
        return context.print_json(&all);
    }
    if undone.is_empty() {
        return context.print("nothing to do: nothing was installed\n");
    }
    let mut out = String::new();
    for (rung, notes) in &undone {
        out.push_str(&format!("{rung}: as it was\n"));
        for note in notes {
            out.push_str(&format!("  {note}\n"));
        }
    }
    context.print(&out)
}
