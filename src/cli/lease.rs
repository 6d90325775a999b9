use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::app::{Lease, LeaseHolder, State};
use crate::host::Host;
use crate::model::macula;
use crate::words;

use super::context::Context;
use super::error::CliError;
use super::ui::text;

/// Show, extend or end the lease of a platform (`macula up --lease 2h`)
///
/// A platform with a lease is taken down at its end, as by `macula down`: its data stays. The background process that
/// answers for the names looks after it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show when the platform is taken down
    Show,
    /// Keep the platform for this long from now
    Extend {
        /// 30m, 2h, 1h30m
        #[arg(value_parser = words::typed_duration)]
        time: Duration,
    },
    /// Forget the lease: the platform stays until `macula down`
    Cancel,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let name = context.platform_name()?;
    let host = &*context.host;
    let state = State::new(&host.folders().data, &name);
    let lease = state.lease(host).await?;
    let lease = match args.action.unwrap_or(Action::Show) {
        Action::Show => lease,
        Action::Extend { time } => {
            let Some(lease) = lease else {
                return Err(CliError::usage(format!("{name} has no lease"))
                    .suggest(macula("up --lease 2h").why("to give it one")));
            };
            let lease = Lease { until: Some(end(host, time)), ..lease };
            state.keep_lease(host, Some(&lease)).await?;
            Some(lease)
        }
        Action::Cancel => {
            state.keep_lease(host, None).await?;
            None
        }
    };
    if context.json() {
        return context.print_json(&json!({"platform": name, "lease": lease}));
    }
    match lease {
        Some(lease) => context.print(&format!("{name} {}\n", ends(&lease, host.now()))),
        None => context.print(&format!("{name} has no lease: it stays until `macula down`\n")),
    }
}

fn end(host: &dyn Host, time: Duration) -> i64 {
    host.now().saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// `--lease` and `--lease-of` of `up`; none: neither was said.
pub(super) async fn wanted(
    host: &dyn Host,
    time: Option<Duration>,
    pid: Option<u32>,
) -> Result<Option<Lease>, CliError> {
    if time.is_none() && pid.is_none() {
        return Ok(None);
    }
    let process = match pid {
        Some(pid) => Some(
            LeaseHolder::of(host, pid)
                .await
                .ok_or_else(|| CliError::usage(format!("--lease-of: there is no process {pid}")))?,
        ),
        None => None,
    };
    Ok(Some(Lease { until: time.map(|time| end(host, time)), process }))
}

/// When the platform goes, as the end of a sentence.
pub(super) fn ends(lease: &Lease, now: i64) -> String {
    let left = lease.until.map(|until| Duration::from_secs(u64::try_from(until - now).unwrap_or_default()));
    let time = left.map(|left| format!("in {}", text::duration(left)));
    let process = lease.process.as_ref().map(|process| format!("when process {} ends", process.pid));
    let when: Vec<String> = [time, process].into_iter().flatten().collect();
    format!("is taken down {}", when.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_in_words() {
        let holder = LeaseHolder { pid: 7, started: None };
        assert_eq!(ends(&Lease { until: Some(160), process: None }, 100), "is taken down in 1m00s");
        let both = Lease { until: Some(90), process: Some(holder) };
        assert_eq!(ends(&both, 100), "is taken down in 0.0s or when process 7 ends");
    }
}
