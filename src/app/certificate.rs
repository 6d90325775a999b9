//! The ingress's certificate: signed by the user's own authority, kept beside the platform's
//! secrets, renewed by `up`, and by the resolver while it runs (see [`super::renewal`]).

use std::path::{Path, PathBuf};

use crate::compile::{Block, routes};
use crate::config::Loaded;
use crate::model::Platform;
use crate::pki::{Authority, AuthorityError, Certificate, Leaf, family, load_or_issue, names};

use super::{Error, Session, State};

/// Where the user's authorities lie, one folder a domain.
pub fn authorities(session: &Session) -> PathBuf {
    authorities_in(&session.system.host.folders().data)
}

/// The same, for who has no session. `data`: the user's data folder of macula.
pub(super) fn authorities_in(data: &Path) -> PathBuf {
    data.join("ca")
}

/// The domain whose authority signs for this platform.
pub fn authority_domain(platform: &Platform) -> &str {
    family(&platform.name, &platform.domain)
}

/// Every name that the ingress answers to, those of services that are left out today as well: they
/// may be there tomorrow.
fn certificate_names(platform: &Platform) -> Vec<String> {
    let hosts = routes(platform, Block::DEFAULT).into_iter().map(|route| route.host);
    names(&platform.domain, hosts)
}

fn leaf_file(session: &Session, platform: &Platform) -> PathBuf {
    leaf_file_in(&session.state(&platform.name))
}

pub(super) fn leaf_file_in(state: &State) -> PathBuf {
    state.folder().join("tls").join("ingress.pem")
}

/// Makes or renews what is missing. A domain that no authority can be for (one label) is served
/// over plain HTTP, with a warning.
pub(super) async fn ensure(session: &Session, loaded: &Loaded) -> Result<(), Error> {
    let platform = &loaded.platform;
    let host = session.host();
    let domain = authority_domain(platform);
    let authority = match Authority::load_or_create(host, &authorities(session), domain, host.now()).await {
        Err(AuthorityError::Domain(reason)) => {
            session.events.warn(format!("no certificate for {domain}, plain HTTP only: {reason}"));
            return Ok(());
        }
        found => found?,
    };
    let path = leaf_file(session, platform);
    load_or_issue(host, &authority, &path, &certificate_names(platform), host.now()).await?;
    Ok(())
}

/// What the ingress is to have now.
pub(super) struct Current {
    pub leaf: Leaf,
    /// Of the authority that signed it.
    pub root: Certificate,
    /// It only lives in memory yet.
    pub new: bool,
}

/// What is kept where that is good, else one that only lives in memory, so that `plan` can show the
/// renewal without writing. None: no authority can be for this domain.
pub(super) async fn current(session: &Session, platform: &Platform) -> Result<Option<Current>, Error> {
    let host = session.host();
    let domain = authority_domain(platform);
    let authority = match Authority::load(host, &authorities(session), domain, host.now()).await {
        Ok(Some(found)) => found,
        Ok(None) => Authority::create(domain, host.now())?,
        Err(AuthorityError::Domain(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let names = certificate_names(platform);
    let kept = host.read(&leaf_file(session, platform)).await.ok();
    let kept = kept.and_then(|content| Leaf::parse(&content).ok());
    let root = authority.root().clone();
    Ok(Some(match kept {
        Some(leaf) if leaf.needs_renewal(&authority, &names, host.now()).is_none() => {
            Current { leaf, root, new: false }
        }
        _ => Current { leaf: authority.issue(&names, host.now())?, root, new: true },
    }))
}

/// The platform's CA, PEM; `None`: there is none yet, or none can be for its domain.
pub(super) async fn authority(session: &Session, platform: &Platform) -> Result<Option<String>, Error> {
    let host = session.host();
    match Authority::load(host, &authorities(session), authority_domain(platform), host.now()).await {
        Ok(found) => Ok(found.map(|authority| authority.root().pem())),
        Err(AuthorityError::Domain(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
