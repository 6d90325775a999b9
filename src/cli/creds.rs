use std::collections::BTreeSet;

use crate::app::{Credential, Error, credentials};
use crate::model::macula;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::{Style, Tone, text};

/// Show the passwords that were made for the services
///
/// Shows those that a person needs, with the address of their service, or how it is reached. They are made once, kept in
/// a file that only you can read, and removed with the data (`down --volumes`).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services, or host names they answer to
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Show every variable, including those that services use among themselves
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, mut args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    context.services_meant(&loaded.platform, &mut args.services);
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
    let count = all.len();
    if !args.all && args.services.is_empty() {
        leave_out(&mut all);
    }
    if context.json() {
        return context.print_json(&all);
    }
    if count == 0 {
        let wanted = loaded.platform.services().any(|(_, service)| !service.extension.secrets.is_empty());
        return context.print(&if none_yet && !wanted {
            format!("no service of {} has passwords\n", loaded.platform.name)
        } else if none_yet {
            format!("no passwords are recorded: the first `{}` makes them\n", context.line(macula("up")))
        } else {
            format!("{} has no passwords\n", args.services.join(", "))
        });
    }
    let mut out = listed(&all, context.terminal.table_width().unwrap_or(usize::MAX), context.out_style());
    if count > all.len() {
        let (what, command) = (format!("all {}:", text::count(count, "variable")), context.line(macula("creds --all")));
        let room = context.terminal.table_width().unwrap_or(usize::MAX);
        let gap = if text::width(&what) + text::width(&command) < room { " " } else { "\n  " };
        out.push_str(&format!("{what}{gap}{command}\n"));
    }
    context.print_data(&out)
}

/// What nobody needs who has not asked for all of it: what services use among themselves, and a value once more.
fn leave_out(all: &mut Vec<Credential>) {
    let mut seen = BTreeSet::new();
    all.retain(|credential| !credential.internal && seen.insert(credential.value.clone()));
}

/// A block for each service. A value that is cut, or broken by the edge of the terminal, is of no use:
/// where it has no room behind its variable it has a line of its own.
fn listed(all: &[Credential], width: usize, style: Style) -> String {
    let longest = |of: fn(&Credential) -> &str| all.iter().map(|one| text::width(of(one))).max().unwrap_or(0);
    let (variables, values) = (longest(|one| &one.variable), longest(|one| &one.value));
    let in_line = 2 + variables + 2 + values <= width;
    let mut out = String::new();
    let mut last = "";
    for one in all {
        if one.service != last {
            last = &one.service;
            let reach = one.reach.as_deref().map(|reach| format!("  {reach}")).unwrap_or_default();
            out.push_str(&format!("{}{reach}\n", style.paint(Tone::Bold, &one.service)));
        }
        if in_line {
            out.push_str(&format!("  {}  {}\n", text::pad(&one.variable, variables), one.value));
        } else {
            out.push_str(&format!("  {}\n{}\n", style.paint(Tone::Dim, &one.variable), one.value));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn one(service: &str, variable: &str, value: &str) -> Credential {
        Credential {
            service: service.into(),
            variable: variable.into(),
            value: value.into(),
            address: None,
            reach: (service == "minio").then(|| "127.0.0.5:9000".into()),
            internal: false,
        }
    }

    #[test]
    fn what_services_use_among_themselves_is_left_out() {
        let internal = Credential { internal: true, ..one("minio", "PROMETHEUS_TOKEN", "def") };
        let mut all = vec![one("db", "PASSWORD", "abc"), internal, one("shop", "DB_PASSWORD", "abc")];
        leave_out(&mut all);
        let left: Vec<&str> = all.iter().map(|one| one.variable.as_str()).collect();
        assert_eq!(left, ["PASSWORD"]);
    }

    #[test]
    fn a_secret_is_never_broken() {
        let all = [
            one("minio", "MINIO_ACCESS_KEY", "axbGTtyKBKRoMHVYo4sQ"),
            one("minio", "MINIO_ROOT_PASSWORD", "wD67N7EdWw2BSIEtoe8KiRfW1VLOdNIm"),
            one("shop", "KEY", "abc"),
        ];
        let plain = Style { color: false, unicode: true };
        assert_snapshot!(listed(&all, 80, plain), @r"
        minio  127.0.0.5:9000
          MINIO_ACCESS_KEY     axbGTtyKBKRoMHVYo4sQ
          MINIO_ROOT_PASSWORD  wD67N7EdWw2BSIEtoe8KiRfW1VLOdNIm
        shop
          KEY                  abc
        ");
        assert_snapshot!(listed(&all, 40, plain), @r"
        minio  127.0.0.5:9000
          MINIO_ACCESS_KEY
        axbGTtyKBKRoMHVYo4sQ
          MINIO_ROOT_PASSWORD
        wD67N7EdWw2BSIEtoe8KiRfW1VLOdNIm
        shop
          KEY
        abc
        ");
    }
}
