//! `run`: what a program of this machine needs to be a member of the platform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::app::resolver::{self, ResolverFiles};
use crate::app::{Choices, Consent, Error, Session, Survey, UpOptions, Wanted, survey, up};
use crate::compile::zone;
use crate::config::Loaded;
use crate::daemon::{Held, Route, RouteError, hold};
use crate::host::{Family, Host, Unmet, until};
use crate::model::{ObservedVolume, PlatformName};
use crate::observe;

use super::membership::{VITE_HOST, has_ingress, log_of, named_url, ports_of, route_to, settings, trusted};

/// Until a background process that was started takes programs.
const START: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(10);

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

pub async fn existing(session: &Session, platform: &PlatformName) -> Result<Existing, Error> {
    let observed = observe::ours(&*session.engine()?, platform).await?;
    Ok(Existing {
        running: !observed.containers.is_empty(),
        data: observed.volumes.iter().any(ObservedVolume::holds_data),
    })
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
    if is_own(&survey(session, loaded).await?, &host_name) {
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

impl Program {
    /// The ports that it and what it has started listen on.
    pub async fn ports(&self, host: &dyn Host) -> Vec<u16> {
        let mark = Some(format!("MACULA_URL={}", self.url));
        ports_of(host, &Family { mark, ..Family::default() }).await
    }

    /// Takes the name, until the value is dropped; starts the background process where none runs.
    pub async fn take_name(&self, session: &Session, loaded: &Loaded) -> Result<Held, Error> {
        match hold(&self.socket, &self.route).await {
            Err(RouteError::Io(_)) => {}
            held => return Ok(held?),
        }
        resolver::ensure(session, &survey(session, loaded).await?).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
