use crate::app::{self, ResolverError};
use crate::dns::{Trace, record_type};
use crate::model::View;

use crate::cli::context::{Context, StackOptions};
use crate::cli::error::CliError;
use crate::cli::ui::text;

/// Ask the resolver for a name, and show the way that the question takes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name; without a dot it lies below the platform's domain (`localhost`, or `com.` with a dot
    /// at its end, is meant as it stands)
    #[arg(value_name = "NAME")]
    record: String,
    /// A, AAAA, TXT, MX, ..., or TYPE65
    #[arg(value_name = "TYPE", default_value = "A")]
    rtype: String,
    /// As containers of the platform see it
    #[arg(long)]
    inside: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let Some(number) = record_type(&args.rtype) else {
        return Err(CliError::usage(format!("`{}` is not a record type", args.rtype))
            .hint("such as A, AAAA, CNAME, TXT, MX, SRV, HTTPS, PTR, SOA, NS, CAA, or TYPE65"));
    };
    let view = if args.inside { View::Container } else { View::Host };
    let domain = context.load(&StackOptions::default())?.platform.domain;
    let name = app::full_name(&args.record, &domain);
    let mut client = app::connect_resolver(&*context.host).await?;
    let trace =
        client.trace(&name, number, view).await.map_err(|error| app::Error::from(ResolverError::from(error)))?;
    if context.json() {
        return context.print_json(&trace);
    }
    let width = context.terminal.table_width().unwrap_or(usize::MAX);
    context.print(&shown(&trace, width, context.global.verbose > 0))
}

/// `all`: with the authority section, which says whose answer it is and for how long there is none.
fn shown(trace: &Trace, width: usize, all: bool) -> String {
    let mut out = format!("{} {}: {}\n", trace.name, trace.rtype, trace.rcode);
    for record in &trace.answers {
        out.push_str(&format!("  {record}\n"));
    }
    if trace.answers.is_empty() {
        // the zone's SOA, which comes with such an answer, is easily taken for the answer itself
        out.push_str(&format!("  no {} records\n", trace.rtype));
    }
    if all && !trace.authority.is_empty() {
        out.push_str("authority:\n");
        for record in &trace.authority {
            out.push_str(&format!("  {record}\n"));
        }
    }
    out.push_str("how:\n");
    for hop in &trace.path {
        let lines = text::wrap(&hop.to_string(), width.saturating_sub(4));
        out.push_str(&format!("  {}\n", lines.join("\n    ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_for_those_who_ask_for_more() {
        let trace = Trace {
            name: "no.macula.local".into(),
            rtype: "A".into(),
            view: View::Host,
            path: Vec::new(),
            rcode: "NXDOMAIN".into(),
            answers: Vec::new(),
            authority: vec!["macula.local. 60 IN SOA ns.macula.local.".into()],
        };
        let head = "no.macula.local A: NXDOMAIN\n  no A records\n";
        assert_eq!(shown(&trace, 80, false), format!("{head}how:\n"));
        let soa = "authority:\n  macula.local. 60 IN SOA ns.macula.local.\n";
        assert_eq!(shown(&trace, 80, true), format!("{head}{soa}how:\n"));
    }
}
