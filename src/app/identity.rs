//! What the resolver shows to clients that ask over TLS or HTTPS: certificates for the platforms'
//! domains and for its own loopback addresses, signed by the user's authorities, in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dns::{EncryptedListen, Identities};
use crate::event::Events;
use crate::host::{Host, SELDOM, Word};
use crate::pki::{Authority, family, names};

use super::certificate::authorities_in;
use super::resolver::ResolverFiles;

/// Platforms that come or go are noticed after so long where nobody tells.
const LOOK: Duration = Duration::from_secs(5);
/// They are good for 90 days, and made anew long before: that costs a millisecond.
const FRESH: i64 = 24 * 60 * 60;

/// What a set of certificates was made for; others are made when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// Names by the domain of the authority that signs them, with that authority's fingerprint.
    names: BTreeMap<String, (String, Vec<String>)>,
    /// The day, so that they are fresh.
    day: i64,
}

/// Keeps the certificates right, for ever.
pub(super) async fn follow(
    host: Arc<dyn Host>,
    files: ResolverFiles,
    mut word: Word,
    listen: Vec<EncryptedListen>,
    identities: Arc<Identities>,
    events: Events,
) {
    let mut shown = None;
    loop {
        shown = update(&*host, &files, &listen, &identities, shown, &events).await;
        word.wait(LOOK, SELDOM).await;
    }
}

/// The first ones, before anybody can ask.
pub(super) async fn show(
    host: &dyn Host,
    files: &ResolverFiles,
    listen: &[EncryptedListen],
    identities: &Identities,
    events: &Events,
) {
    if listen.is_empty() {
        return;
    }
    let shown = update(host, files, listen, identities, None, events).await;
    if shown.is_none_or(|shown| shown.names.is_empty()) {
        events.warn("no certificate can be shown to encrypted questions before the first `macula up`");
    }
}

/// Makes them anew where something has changed; what is shown now.
async fn update(
    host: &dyn Host,
    files: &ResolverFiles,
    listen: &[EncryptedListen],
    identities: &Identities,
    shown: Option<Wanted>,
    events: &Events,
) -> Option<Wanted> {
    let now = host.now();
    let folder = authorities_in(&host.folders().data);
    let mut wanted = Wanted { names: BTreeMap::new(), day: now / FRESH };
    let mut authorities = BTreeMap::new();
    for (platform, entry) in files.entries(host).await {
        let domain = family(&platform, &entry.zone.apex).to_owned();
        // `up` says what is wrong with an authority; here there is none to show, then
        let Ok(Some(authority)) = Authority::load(host, &folder, &domain, now).await else { continue };
        let addresses = listen.iter().map(|listen| listen.address.ip()).filter(|address| address.is_loopback());
        let start = || (authority.root().fingerprint(), addresses.map(|address| address.to_string()).collect());
        let (_, all) = wanted.names.entry(domain.clone()).or_insert_with(start);
        all.extend(names(&entry.zone.apex, Vec::<String>::new()));
        authorities.insert(domain, authority);
    }
    if shown.as_ref() == Some(&wanted) {
        return shown;
    }
    let mut pems = Vec::new();
    for (domain, authority) in &authorities {
        let names = wanted.names.get(domain).map(|(_, names)| names.as_slice()).unwrap_or_default();
        match authority.issue(names, now) {
            Ok(leaf) => pems.push((domain.as_str(), leaf.to_pem())),
            Err(error) => events.warn(format!("no certificate for encrypted questions below {domain}: {error}")),
        }
    }
    match identities.replace(pems.iter().map(|(domain, pem)| (*domain, pem.as_str()))) {
        Ok(()) => Some(wanted),
        Err(error) => {
            events.warn(format!("the certificates for encrypted questions cannot be used: {error}"));
            shown
        }
    }
}
