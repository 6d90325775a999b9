//! `run`: what a program of this machine needs to be a member of the platform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::app::resolver::{self, ResolverFiles};
use crate::app::state::{read, write};
use crate::app::{Choices, Consent, Error, Job, LeaseHolder, Prepared, Session, Survey, UpOptions, Wanted, survey, up};
use crate::compile::zone;
use crate::config::Loaded;
use crate::daemon::{Held, Route, RouteError, hold};
use crate::doctor::{Finding, Fix};
use crate::host::{Family, Host, Unmet, until};
use crate::model::{PlatformName, label};
use crate::plan::forecast::Forecast;

use super::membership::{
    LOG, VITE_HOST, has_ingress, log_of, named_url, ports_of, route_to, run_folder, settings, trusted,
};

/// Until a background process that was started takes programs.
const START: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(10);
/// Of what is noted of a program.
const FORMAT: u64 = 1;

/// A program that is to run.
#[derive(Debug, Clone, Default)]
pub struct ProgramRequest {
    /// One label, or several.
    pub name: String,
    /// None: any free one.
    pub port: Option<u16>,
    /// Services that it needs; none: the ingress alone.
    pub needs: Vec<String>,
}

/// What it is started with.
#[derive(Debug, Clone)]
pub struct Program {
    pub url: String,
    pub port: u16,
    /// Beside the environment of this process.
    pub environment: BTreeMap<String, String>,
    pub log: PathBuf,
    /// Why it gets no name; none: it has one.
    pub nameless: Option<Nameless>,
    route: Route,
    socket: PathBuf,
}

/// Why a program gets no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nameless {
    /// The last `up` was told to leave the names alone.
    NoDns,
    /// Nothing that would pass requests on to it.
    NoIngress,
}

/// Where the output of a program is kept for `logs`; none: no program can have that name.
pub fn program_log(host: &dyn Host, platform: &PlatformName, name: &str) -> Option<PathBuf> {
    checked(name).ok().map(|label| log_of(host, platform, &label))
}

/// Where the output of the command of `macula ci` is kept.
pub fn ci_log(host: &dyn Host, platform: &PlatformName) -> PathBuf {
    host.folders().data.join(platform.as_str()).join("ci.log")
}

/// What a command gets beside its own environment: the settings of these services (of all, where none is named), and
/// the platform's certificates.
pub async fn environment_of(
    session: &Session,
    loaded: &Loaded,
    needs: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    let mut environment = settings(session, loaded, needs).await?;
    environment.extend(trusted(session, loaded).await?);
    Ok(environment)
}

/// What there is of a platform before a run that cleans up after itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// A container of it.
    pub running: bool,
    pub data: bool,
}

impl Existing {
    fn of(survey: &Survey) -> Self {
        let (platform, observed) = (survey.platform.name.as_str(), &survey.observed);
        let own = |labels: &BTreeMap<String, String>| labels.get(label::PLATFORM).is_some_and(|name| name == platform);
        Self {
            running: observed.containers.iter().any(|found| own(&found.labels)),
            data: observed.volumes.iter().any(|found| own(&found.labels) && found.holds_data()),
        }
    }
}

/// Asks as another does, and notes what there is. It is told of the plan under the lock of `up`: what another command was
/// just bringing up is there by then.
pub struct Noting<'a> {
    asker: &'a dyn Consent,
    session: &'a Session,
    /// That is to clean up; none: what is started stays.
    job: Option<String>,
    before: OnceLock<Existing>,
    noted: OnceLock<()>,
}

impl<'a> Noting<'a> {
    pub fn new(asker: &'a dyn Consent, session: &'a Session, job: Option<&Job>) -> Self {
        let job = job.map(|job| job.id().to_owned());
        Self { asker, session, job, before: OnceLock::new(), noted: OnceLock::new() }
    }

    /// The job that is to clean up.
    pub fn job(&self) -> Option<&str> {
        self.job.as_deref()
    }

    /// What there was before the `up`, or before the first of the jobs whose platform it is; none: it has not come to its
    /// plan, and has changed nothing.
    pub fn before(&self) -> Option<Existing> {
        self.before.get().copied()
    }

    /// It is written down for other jobs.
    pub fn noted(&self) -> bool {
        self.noted.get().is_some()
    }

    async fn note(&self, survey: &Survey) -> Result<Existing, Error> {
        let (host, found) = (self.session.host(), Existing::of(survey));
        let Some(job) = &self.job else {
            survey.state.keep_from_jobs(host).await?;
            return Ok(found);
        };
        let of_jobs = survey.state.join_jobs(host, job, found.running, found.data).await?;
        Ok(of_jobs.map_or(found, |data| Existing { running: false, data }))
    }
}

#[async_trait]
impl Consent for Noting<'_> {
    async fn planned(&self, prepared: &Prepared, findings: &[Finding], forecast: &Forecast) {
        if self.before.get().is_none() {
            let before = match self.note(&prepared.survey).await {
                Ok(before) => {
                    self.noted.get_or_init(|| ());
                    before
                }
                // on a full disk, too, what it starts is taken down again
                Err(error) => {
                    let what = match self.job {
                        Some(_) => "other runs of `macula ci` are not told of this one",
                        None => "a `macula ci` that uses the platform may take it down",
                    };
                    self.session.events.warn(format!("{what}: {error}"));
                    Existing::of(&prepared.survey)
                }
            };
            self.before.get_or_init(|| before);
        }
        self.asker.planned(prepared, findings, forecast).await;
    }

    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, Error> {
        self.asker.install(why, fix).await
    }
}

/// Brings up what the program needs, and puts its settings together. `choices`: what the `up` of it keeps.
pub async fn prepare_program(
    session: &Session,
    loaded: &Loaded,
    choices: Choices,
    request: &ProgramRequest,
    consent: &dyn Consent,
) -> Result<Program, Error> {
    let (platform, host) = (&loaded.platform, session.host());
    let label = checked(&request.name)?;
    let host_name = format!("{label}.{}", platform.domain);
    if is_own(&survey(session, loaded).await?, &host_name) || is_a_domain(host, &host_name).await {
        return Err(Error::HostTaken { host: host_name });
    }
    if has_ingress(platform) && !session.state(&platform.name).no_dns(host).await? {
        // containers find it as an alias of the ingress, also where this machine's resolver does not ask ours
        session.state(&platform.name).note_program(host, &host_name).await?;
    }
    let mut wanted: BTreeSet<String> = request.needs.iter().cloned().collect();
    let ways_in = platform.services().filter(|(_, service)| service.extension.role.is_some());
    wanted.extend(ways_in.map(|(_, service)| service.name.clone()));
    let wanted = Wanted { services: wanted.into_iter().collect(), needed: request.needs.clone(), ..Wanted::default() };
    up(session, loaded, &UpOptions { wanted, choices, no_dns: None }, consent).await?;
    let seen = survey(session, loaded).await?;
    let port = match request.port {
        Some(port) => port,
        None => crate::daemon::free_port().map_err(|source| Error::Io { path: "127.0.0.1".into(), source })?,
    };
    let nameless = match has_ingress(&seen.platform) {
        false => Some(Nameless::NoIngress),
        true => session.state(&platform.name).no_dns(host).await?.then_some(Nameless::NoDns),
    };
    let url = match nameless {
        None => named_url(&seen, &label),
        Some(_) => format!("http://127.0.0.1:{port}"),
    };
    let mut environment = settings(session, loaded, &request.needs).await?;
    environment.extend(trusted(session, loaded).await?);
    environment.insert("PORT".into(), port.to_string());
    environment.insert("MACULA_URL".into(), url.clone());
    environment.insert("OTEL_SERVICE_NAME".into(), label.clone());
    environment.insert(VITE_HOST.into(), host_name);
    let log = log_of(host, &platform.name, &label);
    // there is none yet, or it is in order
    let _ = host.keep_end(&log, resolver::LONGEST_LOG).await;
    let before = host.length(&log).await.unwrap_or_default();
    let route = route_to(&seen, &label, port, &log, before);
    Ok(Program { url, port, environment, log, nameless, route, socket: ResolverFiles::of(host).routes() })
}

/// What is noted of a program for as long as it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RunRecord {
    format: u64,
    /// Its `macula run`.
    holder: LeaseHolder,
    url: String,
    since: i64,
}

/// A program of `macula run`, one that has ended lately among them: its log is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramStatus {
    pub name: String,
    /// What belongs to it; none: it has ended.
    pub family: Option<Family>,
    /// Of its `macula run`, while that is there.
    pub pid: Option<u32>,
    /// Since it has been so.
    pub seconds: Option<u64>,
}

/// Seconds after which a program that has ended is of no interest any more, although its log is kept.
const LATELY: i64 = 24 * 3600;

/// The programs of `macula run`, but for these.
pub(super) async fn programs(host: &dyn Host, platform: &PlatformName, but: &BTreeSet<&str>) -> Vec<ProgramStatus> {
    let folder = run_folder(host, platform);
    let files = host.list(&folder).await.unwrap_or_default();
    let names = files.iter().filter_map(|file| file.strip_suffix(LOG)).filter(|name| !but.contains(name));
    let mut all = Vec::new();
    for name in names {
        let log = folder.join(format!("{name}{LOG}"));
        // one that cannot be read tells nothing
        let record: Option<RunRecord> = read(host, &record_of(&log)).await.ok().flatten();
        let runs = match &record {
            Some(record) => record.holder.is_there(host).await,
            None => false,
        };
        let since = match &record {
            Some(record) if runs => record.since,
            _ => host.modified(&log).await.unwrap_or_default(),
        };
        let age = host.now().saturating_sub(since);
        if !runs && age > LATELY {
            continue;
        }
        let record = record.filter(|_| runs);
        all.push(ProgramStatus {
            name: name.to_owned(),
            family: record.as_ref().map(|record| family(&record.url)),
            pid: record.map(|record| record.holder.pid),
            seconds: u64::try_from(age).ok(),
        });
    }
    all
}

fn record_of(log: &Path) -> PathBuf {
    log.with_extension("json")
}

/// It and what it has started: they have its address in their environment.
fn family(url: &str) -> Family {
    Family { mark: Some(format!("MACULA_URL={url}")), ..Family::default() }
}

impl Program {
    /// From now on it runs. Nothing depends on the note but that others see it.
    pub async fn begun(&self, host: &dyn Host) {
        let Some(holder) = LeaseHolder::of(host, std::process::id()).await else { return };
        let record = RunRecord { format: FORMAT, holder, url: self.url.clone(), since: host.now() };
        let _ = write(host, &record_of(&self.log), &record).await;
    }

    /// It has ended.
    pub async fn ended(&self, host: &dyn Host) {
        // of one that stays it is known that its process is gone
        let _ = host.remove(&record_of(&self.log)).await;
    }

    /// The ports that it and what it has started listen on.
    pub async fn ports(&self, host: &dyn Host) -> Vec<u16> {
        ports_of(host, &family(&self.url)).await
    }

    /// Takes the name, until the value is dropped; starts the background process where none runs. `again`: it had the
    /// name before, and a `down` may have come meanwhile, which it must not undo.
    pub async fn take_name(&self, session: &Session, loaded: &Loaded, again: bool) -> Result<Held, Error> {
        match hold(&self.socket, &self.route).await {
            Err(RouteError::Io(_)) => {}
            held => return Ok(held?),
        }
        let platform = &loaded.platform.name;
        let survey = survey(session, loaded).await?;
        if again && !session.host().exists(&ResolverFiles::of(session.host()).zone(platform)).await {
            return Err(Error::Down { platform: platform.clone() });
        }
        resolver::ensure(session, &survey).await?;
        // it answers for names a moment before it takes programs
        let held = until(START, SHORT, &session.cancel, async || match hold(&self.socket, &self.route).await {
            Err(error @ RouteError::Io(_)) => Err(error),
            held => Ok(held),
        });
        match held.await {
            Ok(held) => Ok(held?),
            Err(Unmet::TooLong(error)) => Err(error.into()),
            Err(Unmet::Cancelled) => Err(Error::Cancelled),
        }
    }
}

/// As a name below the domain.
fn checked(typed: &str) -> Result<String, Error> {
    let fail = |reason: &str| Error::ProgramName { name: typed.to_owned(), reason: reason.to_owned() };
    let ascii = crate::dns::Name::ascii(typed.trim()).map_err(|error| fail(error.reason))?.to_ascii_lowercase();
    let plain = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inside && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    if ascii.len() > 100 || !ascii.split('.').all(plain) {
        return Err(fail("use letters, digits and dashes"));
    }
    Ok(ascii)
}

/// Whether the platform itself has the name.
fn is_own(seen: &Survey, host: &str) -> bool {
    let zone = zone(&seen.platform, seen.block, seen.subnet, false, None);
    zone.records.iter().any(|record| record.name == host)
}

/// Whether it is the domain of a platform: `blog.macula.local` is that of `macula --name blog`. Noted as a program's,
/// it would lead containers to this platform's ingress instead.
async fn is_a_domain(host: &dyn Host, name: &str) -> bool {
    let platforms = ResolverFiles::of(host).entries(host).await;
    platforms.iter().any(|(_, entry)| entry.zone.apex.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::app::testing::{Agrees, session, shop};
    use crate::app::{DownOptions, JobEnd, begin_job, down, end_job};
    use crate::engine::Containers;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::ContainerSpec;

    #[tokio::test]
    async fn what_another_command_is_bringing_up_was_there_before() {
        let stack = "services: {web: {image: 'nginx:1', volumes: ['data:/data']}}\nvolumes: {data: {}}\n";
        let host = FakeHost::new();
        let loaded = shop(&host, "", stack);
        let engine = FakeEngine::new().with_image("nginx:1");
        let session = session(host, &engine, "macula ci");
        let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
        let (name, nothing) = (&loaded.platform.name, Existing { running: false, data: false });
        let job = begin_job(&session, name).await.unwrap();
        let first = Noting::new(&Agrees, &session, Some(&job));
        assert_eq!(first.before(), None);
        Box::pin(up(&session, &loaded, &options, &first)).await.unwrap();
        assert_eq!(first.before(), Some(nothing));
        let ended = end_job(&session, name, job, first.before(), first.noted());
        assert_eq!(Box::pin(ended).await.unwrap(), JobEnd::Down { volumes: true });
        assert_eq!((engine.containers(), engine.volume_names()), (Vec::new(), Vec::new()));
        // somebody asks for it while the job uses it
        let job = begin_job(&session, name).await.unwrap();
        let first = Noting::new(&Agrees, &session, Some(&job));
        Box::pin(up(&session, &loaded, &options, &first)).await.unwrap();
        let person = Noting::new(&Agrees, &session, None);
        Box::pin(up(&session, &loaded, &options, &person)).await.unwrap();
        let ended = end_job(&session, name, job, first.before(), first.noted());
        assert_eq!(Box::pin(ended).await.unwrap(), JobEnd::Stays);
        assert_eq!(engine.containers(), ["macula-shop-web-1"]);
        down(&session, name, DownOptions { volumes: true, ..DownOptions::default() }).await.unwrap();
        // it begins while nothing but the data is there, and waits
        Box::pin(up(&session, &loaded, &options, &Agrees)).await.unwrap();
        down(&session, name, DownOptions::default()).await.unwrap();
        let job = begin_job(&session, name).await.unwrap();
        let lock = session.lock(name).await.unwrap();
        let second = Noting::new(&Agrees, &session, Some(&job));
        let waits = Box::pin(up(&session, &loaded, &options, &second));
        let other = async {
            tokio::task::yield_now().await;
            assert_eq!(second.before(), None);
            let spec = ContainerSpec { name: "macula-shop-web-1".into(), ..ContainerSpec::default() };
            let labels = [(label::PLATFORM, "shop"), (label::SERVICE, "web")];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            engine.create_container(&spec, "nginx:1", &labels).await.unwrap();
            drop(lock);
        };
        let (ended, ()) = tokio::join!(waits, other);
        ended.unwrap();
        assert_eq!(second.before(), Some(Existing { running: true, data: true }));
        let ended = end_job(&session, name, job, second.before(), second.noted());
        assert_eq!(Box::pin(ended).await.unwrap(), JobEnd::Stays);
        assert_eq!(engine.containers(), ["macula-shop-web-1"]);
    }

    #[tokio::test]
    async fn programs_are_known_while_they_run_and_for_a_day() {
        let platform = PlatformName::default();
        let host = FakeHost::new();
        let log = |name: &str| log_of(&host, &platform, name);
        for name in ["shop", "lost", "web"] {
            host.put(log(name), "listening\n");
        }
        host.put(log("shop").with_file_name("ca.pem"), "");
        let record = |pid| RunRecord {
            format: FORMAT,
            holder: LeaseHolder { pid, started: None },
            url: format!("https://{pid}.macula.local"),
            since: host.now() - 60,
        };
        write(&host, &record_of(&log("shop")), &record(7)).await.unwrap();
        // its `macula run` was killed
        write(&host, &record_of(&log("lost")), &record(8)).await.unwrap();
        let host = host.process(7);
        let found = programs(&host, &platform, &["web"].into()).await;
        let told: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.pid, one.seconds)).collect();
        assert_eq!(told, [("lost", None, Some(0)), ("shop", Some(7), Some(60))]);
        let mark = found[1].family.as_ref().unwrap().mark.as_deref();
        assert_eq!(mark, Some("MACULA_URL=https://7.macula.local"));
    }

    #[tokio::test]
    async fn the_domain_of_a_platform_is_no_programs_name() {
        let host = FakeHost::new();
        let entry = crate::dns::ZoneEntry::new(crate::model::Zone::new("blog.macula.local", 1));
        let settings = crate::model::DnsSettings::default();
        let kept = serde_json::json!({"format": 1, "entry": entry, "settings": settings});
        host.put(ResolverFiles::of(&host).zone(&PlatformName::new("blog").unwrap()), kept.to_string());
        assert!(is_a_domain(&host, "blog.macula.local").await);
        assert!(!is_a_domain(&host, "shop.blog.macula.local").await);
        assert!(!is_a_domain(&host, "shop.macula.local").await);
    }

    #[tokio::test]
    async fn a_program_does_not_bring_back_a_platform_that_was_taken_down() {
        let (host, folder) = (FakeHost::new(), tempfile::tempdir().unwrap());
        let loaded = shop(&host, "", "services: {web: {image: nginx:1}}");
        let session = session(host.clone(), &FakeEngine::new(), "macula run");
        let log = folder.path().join("run.log");
        let route = Route {
            host: "api.shop.local".into(),
            port: 4001,
            gateway: Ipv4Addr::LOCALHOST,
            ingress: Ipv4Addr::LOCALHOST,
            ingress_inside: Ipv4Addr::LOCALHOST,
            log: log.clone(),
            log_from: 0,
        };
        let program = Program {
            url: "https://api.shop.local".into(),
            port: 4001,
            environment: BTreeMap::new(),
            log,
            nameless: None,
            route,
            socket: folder.path().join("routes.sock"),
        };
        // the background process is gone, and so are the platform's names
        let refused = Box::pin(program.take_name(&session, &loaded, true)).await.unwrap_err();
        assert!(matches!(refused, Error::Down { .. }), "{refused}");
        let zone = ResolverFiles::of(&host).zone(&loaded.platform.name);
        assert!(host.text(zone).is_none());
        assert!(!host.journal().iter().any(|line| line.contains("dns serve")));
    }

    #[test]
    fn names_of_programs() {
        assert_eq!(checked("Shop").unwrap(), "shop");
        assert_eq!(checked("api.shop").unwrap(), "api.shop");
        assert_eq!(checked("bücher").unwrap(), "xn--bcher-kva");
        for wrong in ["", "a/b", "-a", "a..b", "*", "a b", &"x".repeat(64)] {
            assert!(matches!(checked(wrong), Err(Error::ProgramName { .. })), "{wrong}");
        }
    }
}
