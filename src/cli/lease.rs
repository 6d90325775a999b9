use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::app::{Error, Idle, Lease, LeaseHolder, State, looks_after};
use crate::host::Host;
use crate::model::macula;
use crate::words;

use super::context::Context;
use super::error::CliError;
use super::ui::text;

/// Show, extend or end the lease of a platform (`macula up --lease 2h`, `macula up --idle 30m`)
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
        #[arg(value_parser = words::typed_span)]
        time: Duration,
    },
    /// Forget the lease: the platform stays until `macula down`
    Cancel,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let name = context.platform_name()?;
    let host = &*context.host;
    let state = State::new(&host.folders().data, &name);
    // a name that was typed wrong must not look like a platform that stays
    if context.name.is_some() && !host.exists(state.folder()).await {
        return Err(Error::UnknownPlatform { name: name.to_string(), known: State::all(host).await }.into());
    }
    let lease = state.lease(host).await?;
    let lease = match args.action.unwrap_or(Action::Show) {
        Action::Show => lease,
        Action::Extend { time } => {
            let Some(lease) = lease else {
                return Err(CliError::usage(format!("{name} has no lease"))
                    .suggest(macula("up --lease 2h").why("to give it one")));
            };
            let lease = extended(lease, end(host, time));
            state.keep_lease(host, Some(&lease)).await?;
            state.note_use(host, host.now()).await;
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
    let kept = !state.no_dns(host).await? || looks_after(host, &name).await;
    match lease {
        Some(_) if !kept => context.print(&format!(
            "{name} has a lease that has no effect without the names: nothing looks after it (`{}` changes that)\n",
            context.line(macula("up --dns"))
        )),
        Some(lease) => context.print(&format!("{name} {}\n", ends(&lease, state.used(host).await, host.now()))),
        None => context.print(&format!("{name} has no lease: it stays until `{}`\n", context.line(macula("down")))),
    }
}

fn end(host: &dyn Host, time: Duration) -> i64 {
    host.now().saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// A lease that lasts until then at least, whatever ends it.
fn extended(lease: Lease, until: i64) -> Lease {
    let later = |before: i64| before.max(until);
    Lease { until: lease.until.map(later), at_least: Some(lease.at_least.map_or(until, later)), ..lease }
}

/// What of a lease was said on the command line of `up`, or in macula.yaml.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub time: Option<Duration>,
    pub process: Option<LeaseHolder>,
    pub idle: Option<Duration>,
}

impl Asked {
    /// A process that is not there is an error now; one that ends from here on ends the lease.
    pub async fn of(
        host: &dyn Host,
        time: Option<Duration>,
        pid: Option<u32>,
        idle: Option<Duration>,
    ) -> Result<Self, CliError> {
        let process = match pid {
            Some(pid) => {
                let there = LeaseHolder::of(host, pid).await;
                Some(there.ok_or_else(|| CliError::usage(format!("--lease-of: there is no process {pid}")))?)
            }
            None => None,
        };
        Ok(Self { time, process, idle })
    }

    pub fn is_nothing(&self) -> bool {
        self.time.is_none() && self.process.is_none() && self.idle.is_none()
    }

    /// The lease that an `up` gives, which begins now; none: nobody has asked for one. `ports`: the platform's on
    /// 127.0.0.1.
    pub fn lease(self, host: &dyn Host, block: Ipv4Addr, ports: Vec<u16>) -> Option<Lease> {
        if self.is_nothing() {
            return None;
        }
        let Self { time, process, idle } = self;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let idle = idle.map(|idle| Idle { seconds: seconds(idle), block, ports });
        Some(Lease { until: time.map(|time| end(host, time)), process, idle, at_least: None })
    }
}

/// When the platform goes, as the end of a sentence.
pub(super) fn ends(lease: &Lease, used: Option<i64>, now: i64) -> String {
    let left_until = |until: i64| text::duration(Duration::from_secs(u64::try_from(until - now).unwrap_or_default()));
    let time = lease.until.map(|until| format!("in {}", left_until(until)));
    let process = lease.process.as_ref().map(|process| {
        let kept = lease.at_least.filter(|at| *at > now);
        let earliest = kept.map(|at| format!(" (in {} at the earliest)", left_until(at))).unwrap_or_default();
        format!("when process {} ends{earliest}", process.pid)
    });
    let idle = lease.idle.as_ref().map(|idle| {
        let span = words::span(idle.seconds.unsigned_abs());
        let unused = used.unwrap_or(now).saturating_add(idle.seconds);
        let earliest = lease.at_least.map_or(unused, |at| at.max(unused));
        format!("when nothing has used it for {span} (in {} at the earliest)", left_until(earliest))
    });
    let when: Vec<String> = [time, process, idle].into_iter().flatten().collect();
    format!("is taken down {}", when.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[test]
    fn the_end_is_told_in_words() {
        let holder = LeaseHolder { pid: 7, started: None };
        assert_eq!(ends(&Lease { until: Some(160), ..Lease::default() }, None, 100), "is taken down in 1m00s");
        let both = Lease { until: Some(90), process: Some(holder.clone()), ..Lease::default() };
        assert_eq!(ends(&both, None, 100), "is taken down in 0.0s or when process 7 ends");
        let extended = |at_least: i64| {
            let lease = Lease { process: Some(holder.clone()), at_least: Some(at_least), ..Lease::default() };
            ends(&lease, None, 100)
        };
        assert_eq!(extended(160), "is taken down when process 7 ends (in 1m00s at the earliest)");
        assert_eq!(extended(100), "is taken down when process 7 ends");
    }

    #[tokio::test]
    async fn a_process_that_ends_during_the_up_ends_the_lease() {
        let (host, block) = (FakeHost::new().process(7), Ipv4Addr::new(127, 0, 0, 0));
        let asked = Asked::of(&host, None, Some(7), None).await.unwrap();
        let holder = LeaseHolder { pid: 7, started: None };
        let lease = asked.lease(&FakeHost::new(), block, Vec::new());
        assert_eq!(lease, Some(Lease { process: Some(holder), ..Lease::default() }));
        let gone = Asked::of(&FakeHost::new(), None, Some(7), None).await.unwrap_err();
        assert_eq!(gone.message, "--lease-of: there is no process 7");
        assert_eq!(Asked::default().lease(&host, block, Vec::new()), None);
    }

    #[test]
    fn an_extension_counts_for_all_that_the_lease_is_about() {
        let idle = Idle { seconds: 1800, block: Ipv4Addr::new(127, 0, 0, 0), ports: Vec::new() };
        let process = LeaseHolder { pid: 7, started: None };
        let of_process = Lease { process: Some(process), idle: Some(idle), ..Lease::default() };
        // it gets no end that it did not have
        assert_eq!(extended(of_process.clone(), 7200), Lease { at_least: Some(7200), ..of_process.clone() });
        let timed = Lease { until: Some(100), ..of_process };
        let longer = Lease { until: Some(7200), at_least: Some(7200), ..timed.clone() };
        assert_eq!(extended(timed, 7200), longer);
        assert_eq!(extended(longer.clone(), 7000), longer, "it is not shortened");
    }

    #[test]
    fn an_idle_platform_is_told_when_it_goes_at_the_earliest() {
        let idle = Idle { seconds: 1800, block: Ipv4Addr::new(127, 0, 0, 0), ports: Vec::new() };
        let lease = Lease { idle: Some(idle), ..Lease::default() };
        let told = ends(&lease, Some(100), 400);
        assert_eq!(told, "is taken down when nothing has used it for 30 minutes (in 25m00s at the earliest)");
        let told = ends(&Lease { at_least: Some(4000), ..lease }, Some(100), 400);
        assert_eq!(told, "is taken down when nothing has used it for 30 minutes (in 1h00m at the earliest)");
    }
}
