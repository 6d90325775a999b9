//! `dns install` and `uninstall`: the system is pointed at the resolver, or no longer.

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::install::{self, Installed, Method, Rung, Service, Target};
use crate::dns::{Status, ask};
use crate::host::{Host, until};
use crate::model::{AnyError, RecordData, View};
use crate::pki::family;

use crate::app::error::ResolverError;
use crate::app::resolver::{ResolverFiles, StartedBy, connect, own_address, probe, stop_resolver};
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

/// Makes the resolver a service. One that `up` has started gives way to it.
pub async fn install_dns_service(session: &Session, service: Service) -> Result<Rung, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    service.rung(host)?;
    let by = files.last_process(host).await.map(|process| process.started_by).unwrap_or_default();
    if let Ok(mut client) = connect(host).await {
        if by == StartedBy::Hand {
            return Err(ResolverError::InTerminal.into());
        }
        if by == StartedBy::Up {
            let status = client.status().await;
            stop_resolver(&mut client, &files.control(), &status).await?;
        }
    }
    let answers = async || {
        let connected =
            until(SERVICE, Duration::from_millis(50), &session.cancel, async || connect(host).await.map(drop));
        connected.await.map_err(|_| "the service does not answer; `systemctl status macula-dns` says why".to_owned())
    };
    let address = (crate::compile::RESOLVER, 53).into();
    let folder = files.install().join("service");
    Ok(install::install_service(host, &folder, service, &session.program, address, answers).await?)
}

/// Takes back what was installed, the service too; what it was, and what is to be told.
pub async fn uninstall_names(session: &Session) -> Result<Vec<(Rung, Vec<String>)>, Error> {
    let host = session.host();
    let folder = ResolverFiles::of(host).install();
    let mut all = Vec::new();
    for folder in [folder.clone(), folder.join("service")] {
        all.extend(install::uninstall(host, &folder).await?);
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
