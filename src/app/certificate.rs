//! The ingress's certificate: signed by the user's own authority, kept beside the platform's
//! secrets, renewed by `up`, and by the resolver while it runs (see [`super::renewal`]).

use std::path::{Path, PathBuf};

use crate::compile::{Block, routes};
use crate::model::Platform;
use crate::pki::{Authority, AuthorityError, Leaf, family, names};

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
    let hosts = routes(platform, Block::DEFAULT).into_iter().filter(|route| route.own).map(|route| route.host);
    names(&platform.domain, hosts)
}

fn leaf_file(session: &Session, platform: &Platform) -> PathBuf {
    leaf_file_in(&session.state(&platform.name))
}

pub(super) fn leaf_file_in(state: &State) -> PathBuf {
    state.tls_folder().join("ingress.pem")
}

/// What the ingress is to have now.
pub(super) struct Current {
    pub leaf: Leaf,
    /// That signed it.
    pub authority: Authority,
    /// It only lives in memory yet.
    pub new: bool,
}

/// What is kept where that is good, else one that only lives in memory, so that `plan` can show the
/// renewal without writing. The inner error says why no authority can be for this domain (one of one
/// label), whose names are then served over plain HTTP.
pub(super) async fn current(session: &Session, platform: &Platform) -> Result<Result<Current, String>, Error> {
    let host = session.host();
    let domain = authority_domain(platform);
    let authority = match Authority::load(host, &authorities(session), domain, host.now()).await {
        Ok(Some(found)) => found,
        Ok(None) => Authority::create(domain, host.now())?,
        Err(AuthorityError::Domain(reason)) => return Ok(Err(reason.to_string())),
        Err(error) => return Err(error.into()),
    };
    let names = certificate_names(platform);
    let kept = host.read(&leaf_file(session, platform)).await.ok();
    let kept = kept.and_then(|content| Leaf::parse(&content).ok());
    Ok(Ok(match kept {
        Some(leaf) if leaf.needs_renewal(&authority, &names, host.now()).is_none() => {
            Current { leaf, authority, new: false }
        }
        _ => Current { leaf: authority.issue(&names, host.now())?, authority, new: true },
    }))
}

impl Current {
    /// Writes it and its authority down. False: another platform's run made an authority for the domain
    /// after this one was looked for, so that this certificate is nothing that anybody will trust.
    pub(super) async fn keep(&self, session: &Session, platform: &Platform) -> Result<bool, Error> {
        if !self.new {
            return Ok(true);
        }
        let host = session.host();
        if !self.authority.keep(host, &authorities(session), host.now()).await? {
            return Ok(false);
        }
        let path = leaf_file(session, platform);
        let written = host.write(&path, self.leaf.to_pem().as_bytes(), 0o600).await;
        written.map(|()| true).map_err(|source| Error::Io { path, source })
    }
}
