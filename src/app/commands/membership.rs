//! What makes a program of this machine a member of the platform, be it one of `run` or of macula.yaml: its name and
//! the way there, the settings of what it needs, the certificates, its log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::app::certificate::{authorities, authority_domain};
use crate::app::{Error, Session, Survey};
use crate::compile::{gateway, ingress_address, own_address};
use crate::config::Loaded;
use crate::daemon::Route;
use crate::host::{Family, Host};
use crate::model::{Platform, PlatformName, Role};
use crate::pki::{Authority, trust};

use super::creds::{add_receiver, exports_of};

/// Vite's development server refuses requests for names that it was not told of; from 6.1 on this tells it one more.
pub(super) const VITE_HOST: &str = "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS";

/// How the logs of programs end.
pub(super) const LOG: &str = ".log";

/// Where the output of a program is kept for `logs`.
pub(super) fn log_of(host: &dyn Host, platform: &PlatformName, label: &str) -> PathBuf {
    run_folder(host, platform).join(format!("{label}{LOG}"))
}

/// Of everything that is kept for programs.
pub(super) fn run_folder(host: &dyn Host, platform: &PlatformName) -> PathBuf {
    host.folders().data.join(platform.as_str()).join("run")
}

/// Whether something passes on what comes for a name.
pub(super) fn has_ingress(platform: &Platform) -> bool {
    platform.services().any(|(_, service)| service.extension.role == Some(Role::Ingress))
}

/// Where a name below the domain leads, for whoever types it.
pub(super) fn named_url(seen: &Survey, name: &str) -> String {
    let platform = &seen.platform;
    platform.ingress.url(&format!("{name}.{}", platform.domain), seen.certificate.is_ok())
}

/// The way from a name below the domain to a port of this machine.
pub(super) fn route_to(seen: &Survey, name: &str, port: u16, log: &Path, log_from: u64) -> Route {
    Route {
        host: format!("{name}.{}", seen.platform.domain),
        port,
        gateway: gateway(seen.subnet),
        ingress: own_address(seen.block),
        ingress_inside: ingress_address(seen.subnet),
        log: log.to_owned(),
        log_from,
    }
}

/// What the services export that it needs; of all, where none is named.
pub(super) async fn settings(
    session: &Session,
    loaded: &Loaded,
    needs: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = match exports_of(session, loaded, needs).await {
        Ok(all) => all,
        // a platform of an ingress alone
        Err(Error::NoSecrets) => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    add_receiver(session, &loaded.platform.name, &mut all).await;
    Ok(all)
}

/// Variables by which programs trust the platform's certificates, and the files behind them.
pub(super) async fn trusted(session: &Session, loaded: &Loaded) -> Result<BTreeMap<String, String>, Error> {
    let host = session.host();
    let domain = authority_domain(&loaded.platform);
    let Some(authority) = Authority::load(host, &authorities(session), domain, host.now()).await? else {
        return Ok(BTreeMap::new());
    };
    let folder = run_folder(host, &loaded.platform.name);
    let (root, bundle) = (folder.join("ca.pem"), folder.join("ca-bundle.pem"));
    keep(host, &root, &authority.root().pem()).await?;
    keep(host, &bundle, &trust::bundle(host, authority.root()).await).await?;
    let (root, bundle) = (root.display().to_string(), bundle.display().to_string());
    let all = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"].map(|name| (name.to_owned(), bundle.clone()));
    Ok(all.into_iter().chain([("NODE_EXTRA_CA_CERTS".to_owned(), root)]).collect())
}

async fn keep(host: &dyn Host, path: &Path, content: &str) -> Result<(), Error> {
    let written = host.write(path, content.as_bytes(), 0o644).await;
    written.map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// The ports that these processes listen on, as far as this user may see them.
pub(super) async fn ports_of(host: &dyn Host, family: &Family) -> Vec<u16> {
    let members = host.members(family);
    let all = host.owners(host.listeners().await.unwrap_or_default()).await;
    all.iter().filter(|one| one.pid.is_some_and(|pid| members.contains(&pid))).map(|one| one.port).collect()
}
