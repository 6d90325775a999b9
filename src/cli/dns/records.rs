use serde_json::json;

use crate::app::{Error, ResolverError, add_record, list_records, remove_record};
use crate::model::macula;

use crate::cli::context::{Context, LookAhead, StackOptions};
use crate::cli::error::CliError;
use crate::cli::ui::table::{Cell, Fit, Table};
use crate::cli::ui::text;

/// List the platform's names: its own, and what was written into PowerDNS
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    stacks: StackOptions,
}

/// Add a record; it is kept in PowerDNS, and answers within a second
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula dns add shop A 127.0.0.50\n  macula dns add '*.shop' CNAME shop\n  \
                  macula dns add shop TXT \"hello there\"\n  macula dns add @ MX \"10 mail\"")]
pub struct AddArgs {
    /// Below the platform's domain: `shop`, or `shop.macula.local`; `@` is the domain itself
    #[arg(value_name = "NAME")]
    record: String,
    /// A, AAAA, CNAME, TXT, MX, SRV, CAA, PTR, HTTPS, SVCB, SSHFP, TLSA
    #[arg(value_name = "TYPE")]
    rtype: String,
    /// As in a zone file; a host without a dot lies below the platform's domain
    #[arg(value_name = "VALUE", required = true)]
    value: Vec<String>,
    /// How long others may keep it, seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    ttl: u32,
}

/// Remove a name's records from PowerDNS, of one type or all
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[arg(value_name = "NAME")]
    record: String,
    #[arg(value_name = "TYPE")]
    rtype: Option<String>,
}

pub async fn list(context: &Context, args: ListArgs) -> Result<(), CliError> {
    let session = context.session_ahead("dns list", LookAhead::Lists);
    let loaded = context.load(&args.stacks)?;
    let session = session.await;
    let (records, failed) = list_records(&session, &loaded).await?;
    if let Some(error) = failed {
        let slow = matches!(&error, Error::Resolver(ResolverError::Records(error)) if error.is_timeout());
        let error = CliError::from(error);
        let why = error.causes.last().and_then(|cause| cause.split(" (os error").next());
        let why = why.map(|cause| format!(" ({cause})")).unwrap_or_default();
        let more = match slow {
            true => format!("`{}` says more", context.line(macula("logs powerdns"))),
            false => format!("`{}` starts it", context.line(macula("up powerdns"))),
        };
        context.events().warn(format!("your own records are not shown: {error}{why}; {more}"));
    }
    if context.json() {
        return context.print_json(&records);
    }
    let mut table = Table::new([
        ("NAME", Fit::Whole),
        ("TYPE", Fit::Whole),
        ("VALUE", Fit::Shrink),
        ("TTL", Fit::Whole),
        ("FROM", Fit::Whole),
    ]);
    for record in &records {
        table.row([
            Cell::from(&record.name),
            Cell::from(&record.rtype),
            Cell::from(&record.value),
            Cell::from(&record.ttl.to_string()),
            Cell::from(record.source.word()),
        ]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

pub async fn add(context: &Context, args: AddArgs) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let session = context.session_without_engine("dns add");
    let value = args.value.join(" ");
    let domain = &loaded.platform.domain;
    let known = |name: &str| loaded.platform.service(name).is_some() || loaded.platform.service_of_host(name).is_some();
    if seems_whole(&args.record, domain, known) {
        let name = &args.record;
        context.events().info(format!("{name} is taken as a name below {domain}, the only one that is answered for"));
    }
    let added = add_record(&session, &loaded, &args.record, &args.rtype, &value, args.ttl).await?;
    if context.json() {
        return context.print_json(&added);
    }
    let done = if added.changed { "added" } else { "it was there already" };
    let seen = match added.seen {
        Some(true) => "; the resolver answers with it".to_owned(),
        Some(false) => {
            let status = context.line(macula("dns status"));
            format!("; the resolver does not answer with it yet (`{status}` says how its feed is)")
        }
        None => format!("; no resolver runs (`{}` starts it)", context.line(macula("up"))),
    };
    context.print(&format!("{} {} {} {}: {done}{seen}\n", added.name, added.ttl, added.rtype, added.value))
}

/// Whether a name that is taken as one below the domain may have been meant as a name of its own.
fn seems_whole(name: &str, domain: &str, known: impl Fn(&str) -> bool) -> bool {
    let Some((rest, last)) = name.rsplit_once('.') else { return false };
    let below = name == domain || name.ends_with(&format!(".{domain}"));
    !last.is_empty() && !below && !rest.starts_with(['*', '_']) && !last.starts_with('_') && !known(last)
}

pub async fn remove(context: &Context, args: RemoveArgs) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let session = context.session_without_engine("dns remove");
    let (name, count) = remove_record(&session, &loaded, &args.record, args.rtype.as_deref()).await?;
    if context.json() {
        return context.print_json(&json!({"name": name, "removed": count}));
    }
    if count == 0 {
        let what = args.rtype.map(|rtype| format!("{} ", rtype.to_ascii_uppercase())).unwrap_or_default();
        let error = CliError::usage(format!("PowerDNS has no {what}records of {name}"));
        return Err(error.suggest(macula("dns list")));
    }
    context.print(&format!("{name}: {} removed\n", text::count(count, "record")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_may_be_meant_as_it_stands() {
        for (name, whole) in [
            ("shop", false),
            ("shop.example.com", true),
            ("shop.macula.local", false),
            ("macula.local", false),
            ("*.shop", false),
            ("_http._tcp", false),
            ("_sip._tcp.shop", false),
            ("www.prometheus", false),
            ("shop.example.com.", false),
        ] {
            assert_eq!(seems_whole(name, "macula.local", |name| name == "prometheus"), whole, "{name}");
        }
    }
}
