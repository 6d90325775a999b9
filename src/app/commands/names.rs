//! `dns install` and `uninstall`: the system is pointed at the resolver, or no longer.

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::install::{self, InstallError, Installed, Method, Rung, Service, Target};
use crate::dns::{Status, ask};
use crate::host::{Command, Host, until};
use crate::model::{AnyError, RecordData, View};
use crate::pki::family;

use crate::app::error::ResolverError;
use crate::app::resolver::{ResolverFiles, StartedBy, connect, own_address, probe, start_unless_there, stop_resolver};
use crate::app::{Error, Session};

/// How long the system may take to follow.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a service may take until its resolver answers.
const SERVICE: Duration = Duration::from_secs(10);

/// Points the system at the resolver for the domains of all platforms that it serves.
pub async fn install_names(session: &Session, method: Method) -> Result<Installed, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let mut client = connect(host).await?;
    let status = client.status().await.map_err(ResolverError::from)?;
    let target = target(host, &files, &status).await?;
    for (name, address) in &target.probes {
        // what does not answer itself is nothing to point anybody at
        let answered = ask(target.address, name, 1, PATIENCE).await;
        if !answered.as_ref().is_ok_and(|found| found.contains(address)) {
            let source = answered.err().map_or_else(|| AnyError::said("another address"), AnyError::from);
            return Err(ResolverError::Silent { address: target.address, name: name.clone(), source }.into());
        }
    }
    Ok(install::install(host, &files.install(), &target, method).await?)
}

async fn target(host: &dyn Host, files: &ResolverFiles, status: &Status) -> Result<Target, Error> {
    let address = own_address(status).ok_or(ResolverError::NoZones)?;
    let mut target = Target { address, domains: Vec::new(), names: Vec::new(), probes: Vec::new(), patience: PATIENCE };
    for (platform, entry) in files.entries(host).await {
        if !status.zones.iter().any(|zone| zone.apex == entry.zone.apex) {
            continue;
        }
        let domain = family(&platform, &entry.zone.apex).to_owned();
        if !target.domains.contains(&domain) {
            target.domains.push(domain);
        }
        target.probes.push(probe(host, &entry.zone.apex).await);
        for record in &entry.zone.records {
            if let RecordData::A(address) = record.data
                && record.view != Some(View::Container)
                && !record.name.starts_with('*')
            {
                target.names.push((record.name.clone(), IpAddr::V4(address)));
            }
        }
    }
    if target.domains.is_empty() {
        return Err(ResolverError::NoZones.into());
    }
    let all = target.domains.clone();
    target.domains.retain(|domain| !all.iter().any(|other| domain.ends_with(&format!(".{other}"))));
    target.domains.sort();
    target.names.sort();
    Ok(target)
}

/// Makes the resolver a service. One that `up` has started gives way to it, and comes back where it does not start.
pub async fn install_dns_service(session: &Session, service: Service) -> Result<Rung, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    service.rung(host)?;
    let by = files.last_process(host).await.map(|process| process.started_by).unwrap_or_default();
    let ran = if let Ok(mut client) = connect(host).await {
        if by == StartedBy::Hand {
            return Err(ResolverError::InTerminal.into());
        }
        if by == StartedBy::Up {
            if service == Service::System {
                // nothing is ended for what root refuses
                host.run(&Command::new("true", [""; 0]).privileged()).await.map_err(InstallError::from)?;
            }
            let status = client.status().await;
            stop_resolver(&mut client, &files.control(), &status).await?;
        }
        true
    } else {
        false
    };
    let unanswered = unanswered(host, &files, service);
    let answers = async || {
        let connected =
            until(SERVICE, Duration::from_millis(50), &session.cancel, async || connect(host).await.map(drop));
        connected.await.map_err(|_| unanswered.clone())
    };
    let address = (crate::compile::RESOLVER, 53).into();
    let folder = files.install().join(install::SERVICE);
    let (program, log) = (&session.program, files.log());
    let installed = install::install_service(host, &folder, service, program, &log, address, answers).await;
    if installed.is_err() && ran {
        Box::pin(bring_back(session, &files)).await;
    }
    Ok(installed?)
}

/// The unit is gone by the time that this is read, and what it has said is not.
fn unanswered(host: &dyn Host, files: &ResolverFiles, service: Service) -> String {
    let why = match service {
        Service::User if host.facts().os == "macos" => format!("its log is {}", files.log().display()),
        Service::User => "`journalctl --user -u macula-dns -n 20` says why".to_owned(),
        Service::System => "`journalctl -u macula-dns -n 20` says why".to_owned(),
    };
    format!("the service does not answer; {why}")
}

/// The platforms need the background process that was there, whatever started it.
async fn bring_back(session: &Session, files: &ResolverFiles) {
    if let Err(error) = start_unless_there(session, files, async || Vec::new()).await {
        session.events.warn(format!("the resolver was not started again: {error}"));
    }
}

/// Takes back what was installed, the service too; what it was, and what is to be told.
pub async fn uninstall_names(session: &Session) -> Result<Vec<(Rung, Vec<String>)>, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let folder = files.install();
    let mut all = Vec::new();
    for folder in [folder.clone(), folder.join(install::SERVICE)] {
        all.extend(install::uninstall(host, &folder).await?);
    }
    let service =
        |(rung, _): &(Rung, Vec<String>)| matches!(rung, Rung::SystemService | Rung::UserService | Rung::LaunchAgent);
    if all.iter().any(service) && !files.entries(host).await.is_empty() {
        Box::pin(bring_back(session, &files)).await;
    }
    Ok(all)
}

/// Whether `up` may offer to install the names: they resolve nowhere yet, and nobody has been asked.
pub async fn names_may_be_offered(session: &Session) -> bool {
    let host = session.host();
    let files = ResolverFiles::of(host);
    !host.exists(&files.offered()).await && !host.exists(&files.install().join("receipt.json")).await
}

/// One question is enough, whatever the answer.
pub async fn names_were_offered(session: &Session) -> Result<(), Error> {
    let path = ResolverFiles::of(session.host()).offered();
    session.host().write(&path, b"", 0o600).await.map_err(|source| Error::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::dns::ZoneEntry;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{PlatformName, Zone};

    /// Whether the background process is started after `dns uninstall`.
    async fn started(rung: &str, platforms: &[&str]) -> bool {
        let host = FakeHost::new();
        let files = ResolverFiles::of(&host);
        let receipt = serde_json::json!({
            "format": 1, "rung": rung, "complete": true, "address": "127.0.0.9:53", "domains": [], "files": [],
            "folders": [],
        });
        host.put(files.install().join(install::SERVICE).join("receipt.json"), receipt.to_string());
        for name in platforms {
            let entry = ZoneEntry::new(Zone::new(format!("{name}.macula.local"), 1));
            let zone = files.zone(&PlatformName::new(name).unwrap());
            host.put(zone, serde_json::json!({"format": 1, "entry": entry}).to_string());
        }
        let session = session(host.clone(), &FakeEngine::new(), "macula dns uninstall");
        assert_eq!(uninstall_names(&session).await.unwrap().len(), 1);
        // nothing answers in this world: that it is started is seen in the journal
        host.journal().iter().any(|line| line.contains("dns serve --started-by=up"))
    }

    #[tokio::test]
    async fn without_its_service_the_process_goes_on_for_platforms_that_are_up() {
        assert!(started("user_service", &["shop"]).await);
        assert!(started("system_service", &["shop"]).await);
        assert!(!started("system_service", &[]).await, "nobody needs it");
        assert!(!started("hosts", &["shop"]).await, "it was not stopped");
    }

    #[test]
    fn what_a_service_said_is_found_after_its_unit_is_gone() {
        let said = |host: &FakeHost, service| unanswered(host, &ResolverFiles::of(host), service);
        let (linux, mac) = (FakeHost::new(), FakeHost::new().facts_with(|facts| facts.os = "macos".into()));
        insta::assert_snapshot!(
            [said(&linux, Service::System), said(&linux, Service::User), said(&mac, Service::User)].join("\n"),
            @r"
        the service does not answer; `journalctl -u macula-dns -n 20` says why
        the service does not answer; `journalctl --user -u macula-dns -n 20` says why
        the service does not answer; its log is /home/dev/.local/share/macula/dns/resolver.log
        "
        );
    }
}
