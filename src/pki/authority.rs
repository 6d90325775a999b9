//! The user's own authority, in a folder of its own for each domain:
//!
//! | file | mode | holds |
//! |---|---|---|
//! | `<folder>/<domain>/authority.pem` | 0600 | the intermediate's key, the intermediate, the root |
//! | `<folder>/<domain>/root.pem` | 0644 | the root again, for whoever wants to trust it |
//! | `<folder>/lock` | 0600 | held while one of them is made |
//!
//! The authority is one file, written whole or not at all: a run that is killed leaves either none
//! or a good one. The root's key is in no file, ever.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};

use super::certificate::{Bundle, encode};
use super::trust::Anchor;
use super::{Certificate, CertificateError, DAY, NameError, name};
use crate::host::{Host, Lock, LockError};
use crate::model::AnyError;

/// Ten years: a new root is one that every store has to learn about.
const LIFE: i64 = 3650 * DAY;
/// Seconds that a new certificate of the ingress is valid from now.
pub(super) const LEAF_LIFE: i64 = 90 * DAY;
/// An authority with less than this ahead of it is replaced: it must outlive its leaves.
const LEAST_AHEAD: i64 = LEAF_LIFE + 30 * DAY;
/// Clocks of virtual machines and containers go wrong; the leaf is given one day, too.
const BACKDATED: i64 = 2 * DAY;
/// No clock that is right shows an earlier time: 1 November 2026. One that does is at its factory's
/// setting or without a battery.
const SENSIBLE: i64 = 1_793_491_200;
/// An authority that begins later than this was made by a clock that ran ahead; within it the clock
/// may be the one that is wrong now, and a new authority would have to be trusted anew.
const FAR: i64 = 60 * DAY;
/// Making one takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("there can be no certificate authority for this domain: {0}")]
    Domain(#[from] NameError),
    /// Not replaced by itself: whoever trusts the old root would be told nothing.
    #[error("the certificate authority in {} cannot be used: {source}", path.display())]
    Damaged { path: PathBuf, source: CertificateError },
    #[error(
        "the certificate authority in {} is not valid yet: it was made {hours} hours after the time of this machine's clock", path.display()
    )]
    Clock { path: PathBuf, hours: i64 },
    #[error("the certificate authority is being made by somebody else: {0}")]
    Lock(#[from] LockError),
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("cannot make the {what}: {source}")]
    Sign { what: &'static str, source: AnyError },
}

/// An authority that can sign for the names of one domain.
pub struct Authority {
    domain: String,
    root: Certificate,
    intermediate: Certificate,
    key: KeyPair,
}

/// Never shows the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("root", &self.root.common_name).finish_non_exhaustive()
    }
}

async fn lock(host: &dyn Host, folder: &Path) -> Result<Lock, AuthorityError> {
    Ok(Lock::acquire(host, &folder.join("lock"), "macula trust", Some(PATIENCE), |_| {}).await?)
}

impl Authority {
    /// The authority for `domain` (see [`super::family()`]) in `folder`, made when there is none or
    /// when the one that is there is about to end. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// [`AuthorityError`]; nothing is changed then.
    pub async fn load_or_create(
        host: &dyn Host,
        folder: &Path,
        domain: &str,
        now: i64,
    ) -> Result<Self, AuthorityError> {
        let domain = name::domain(domain)?;
        if let Some(found) = Self::load(host, folder, &domain, now).await?
            && found.root_is_out(host, folder).await
        {
            return Ok(found);
        }
        let _lock = lock(host, folder).await?;
        let authority = match Self::load(host, folder, &domain, now).await? {
            Some(made_meanwhile) => made_meanwhile,
            None => {
                let new = Self::create(&domain, now)?;
                new.write_secret(host, folder).await?;
                new
            }
        };
        authority.hand_out(host, folder).await?;
        Ok(authority)
    }

    /// Writes down an authority that was made by [`Authority::create`]. False, and nothing is written: there
    /// is another one for its domain by now.
    ///
    /// # Errors
    /// As [`Authority::load_or_create`].
    pub async fn keep(&self, host: &dyn Host, folder: &Path, now: i64) -> Result<bool, AuthorityError> {
        let _lock = lock(host, folder).await?;
        match Self::load(host, folder, &self.domain, now).await? {
            Some(kept) if kept.root != self.root => return Ok(false),
            Some(_) => {}
            None => self.write_secret(host, folder).await?,
        }
        self.hand_out(host, folder).await?;
        Ok(true)
    }

    async fn write_secret(&self, host: &dyn Host, folder: &Path) -> Result<(), AuthorityError> {
        host.create_folder(&folder.join(&self.domain), 0o700).await?;
        Ok(host.write(&secret_file(folder, &self.domain), self.to_pem().as_bytes(), 0o600).await?)
    }

    async fn hand_out(&self, host: &dyn Host, folder: &Path) -> Result<(), AuthorityError> {
        if !self.root_is_out(host, folder).await {
            host.write(&root_file(folder, &self.domain), self.root.pem().as_bytes(), 0o644).await?;
        }
        Ok(())
    }

    /// The authority that is there; `None` when there is none that is of use: one that ends soon, or
    /// one that was made while the clock was years ahead. Never writes.
    ///
    /// # Errors
    /// As [`Authority::load_or_create`].
    pub async fn load(host: &dyn Host, folder: &Path, domain: &str, now: i64) -> Result<Option<Self>, AuthorityError> {
        let domain = name::domain(domain)?;
        let path = secret_file(folder, &domain);
        let content = match host.read(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            content => content?,
        };
        let authority =
            Self::parse(&content, &domain).map_err(|source| AuthorityError::Damaged { path: path.clone(), source })?;
        let begins = authority.intermediate.not_before;
        if now >= SENSIBLE && begins - now > FAR {
            return Ok(None);
        }
        if now < begins {
            return Err(AuthorityError::Clock { path, hours: (begins + BACKDATED - now) / 3600 });
        }
        Ok(Some(authority).filter(|authority| now + LEAST_AHEAD <= authority.not_after()))
    }

    /// The root that was handed out last, whatever time it is now and whether or not it still signs.
    pub async fn recorded_root(host: &dyn Host, folder: &Path, domain: &str) -> Option<Certificate> {
        let content = host.read(&root_file(folder, &name::domain(domain).ok()?)).await.ok()?;
        Bundle::parse(&content).ok()?.certificates.into_iter().next()
    }

    /// Where the root lies for whoever wants to trust it.
    pub fn root_path(&self, folder: &Path) -> PathBuf {
        root_file(folder, &self.domain)
    }

    /// A new authority, in memory only. The root's key is gone when this returns.
    ///
    /// # Errors
    /// When `domain` is none that can have one, or the machine has no randomness.
    pub fn create(domain: &str, now: i64) -> Result<Self, AuthorityError> {
        let domain = name::domain(domain)?;
        let failed = |what| move |error: rcgen::Error| AuthorityError::Sign { what, source: error.into() };
        let root_key = KeyPair::generate().map_err(failed("root's key"))?;
        let key = KeyPair::generate().map_err(failed("intermediate's key"))?;
        let root_params = params(&domain, "root", &root_key, now, None);
        let root = root_params.self_signed(&root_key).map_err(failed("root"))?;
        let intermediate = params(&domain, "intermediate", &key, now, Some(0))
            .signed_by(&key, &Issuer::from_params(&root_params, &root_key))
            .map_err(failed("intermediate"))?;
        let read = |der: &[u8]| {
            Certificate::parse(der).map_err(|error| AuthorityError::Sign { what: "root", source: error.into() })
        };
        Ok(Self { root: read(root.der())?, intermediate: read(intermediate.der())?, key, domain })
    }

    fn parse(content: &[u8], domain: &str) -> Result<Self, CertificateError> {
        let bundle = Bundle::parse(content)?;
        let key = bundle.key_pair()?;
        let [intermediate, root] = <[Certificate; 2]>::try_from(bundle.certificates)
            .map_err(|_| CertificateError::Lacks { what: "pair of an intermediate and a root" })?;
        // what is not bound to exactly our domain is none of ours, whoever put it there
        if [&intermediate, &root].iter().any(|certificate| certificate.permitted != [domain]) {
            return Err(CertificateError::Lacks { what: "name constraints for just this domain" });
        }
        Ok(Self { domain: domain.to_owned(), root, intermediate, key })
    }

    /// The domain at and below which it can sign.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub fn root(&self) -> &Certificate {
        &self.root
    }

    pub fn intermediate(&self) -> &Certificate {
        &self.intermediate
    }

    /// What goes into trust stores.
    pub fn anchor(&self) -> Anchor {
        Anchor::new(&self.domain, &self.root)
    }

    pub(super) fn not_after(&self) -> i64 {
        self.intermediate.not_after.min(self.root.not_after)
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.intermediate.der.as_slice().into(), &self.key)
    }

    fn to_pem(&self) -> String {
        let key = encode("PRIVATE KEY", self.key.serialized_der());
        [key, self.intermediate.pem(), self.root.pem()].concat()
    }

    async fn root_is_out(&self, host: &dyn Host, folder: &Path) -> bool {
        let there = host.read(&root_file(folder, &self.domain)).await;
        there.is_ok_and(|content| content == self.root.pem().as_bytes())
    }
}

fn secret_file(folder: &Path, domain: &str) -> PathBuf {
    folder.join(domain).join("authority.pem")
}

/// Where [`Authority::load_or_create`] puts the root's certificate.
pub(super) fn root_file(folder: &Path, domain: &str) -> PathBuf {
    folder.join(domain).join("root.pem")
}

/// Of a root (`path_length` none: the constraint stands on the intermediate) or an intermediate.
fn params(domain: &str, what: &str, key: &KeyPair, now: i64, path_length: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now - BACKDATED, now + LIFE);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Constrained(1), BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if path_length.is_some() {
        // neither mail nor code: name constraints say nothing about those
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
    }
    params.name_constraints = Some(constraints(domain));
    // Part of the key's hash, so that the roots of two users, or an old one and a new one, have
    // different names: programs look issuers up by their name.
    let hash = crate::words::hex(params.key_identifier(key));
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Macula");
    subject.push(DnType::CommonName, format!("Macula {what} {}", hash.get(..8).unwrap_or(&hash)));
    subject.push(DnType::OrganizationalUnitName, unit(domain));
    params.distinguished_name = subject;
    params
}

/// RFC 5280 allows 64 characters.
fn unit(domain: &str) -> String {
    let start = domain.len().saturating_sub(64);
    domain.get(start..).unwrap_or_default().to_owned()
}

/// RFC 5280, section 4.2.1.10. As soon as one subtree of a kind of name is listed as permitted,
/// every other name of that kind is refused. Some programs count IPv4 and IPv6 as two kinds, hence
/// both. (GnuTLS 3.7 then refuses loopback addresses too; certificates of a platform hold none.)
fn constraints(domain: &str) -> NameConstraints {
    NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(domain.to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    }
}

/// Into the fields of a certificate, from seconds since the epoch; cut off where X.509 knows no
/// time (before 1970 for us, after 9999).
pub(super) fn set_validity(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    const LAST: u64 = 253_402_300_799;
    let moment = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = moment(not_before);
    params.not_after = moment(not_after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    const MADE: i64 = 1_800_000_000;
    const HOUR: i64 = 3600;

    #[tokio::test]
    async fn an_authority_serves_while_the_clock_and_its_end_allow_it() {
        let (host, folder) = (FakeHost::new(), Path::new("/data/authorities"));
        let made = Authority::load_or_create(&host, folder, "m.test", MADE).await.unwrap();
        let (begins, ends) = (made.intermediate().not_before, made.not_after());
        assert_eq!((begins, ends), (MADE - 2 * DAY, MADE + 3650 * DAY));
        for (now, found) in [
            (MADE, "it"),
            (begins, "it"),
            (begins - 1, "Clock 48"),
            // two months ahead it may be this clock that is wrong, and further ahead it was the other one
            (begins - 60 * DAY, "Clock 1488"),
            (begins - 60 * DAY - 1, "none"),
            // but not by a clock that shows a time before there was this program
            (SENSIBLE, "none"),
            (SENSIBLE - 1, "Clock 1808"),
            (ends - 120 * DAY, "it"),
            (ends - 120 * DAY + 1, "none"),
        ] {
            let said = match Authority::load(&host, folder, "M.test.", now).await {
                Ok(Some(authority)) if authority.root() == made.root() => "it".to_owned(),
                Ok(Some(_)) => "another".to_owned(),
                Ok(None) => "none".to_owned(),
                Err(AuthorityError::Clock { hours, .. }) => format!("Clock {hours}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, found, "{} hours after it was made", (now - MADE) / HOUR);
        }
        assert!(matches!(Authority::load(&host, folder, "other.test", MADE).await, Ok(None)));
    }

    #[tokio::test]
    async fn the_one_that_is_kept_first_stays() {
        let (host, folder) = (FakeHost::new(), Path::new("/data/authorities"));
        let [one, other] = [(); 2].map(|()| Authority::create("m.test", MADE).unwrap());
        let root = one.root_path(folder);
        assert_eq!(root, folder.join("m.test/root.pem"));
        assert!(Authority::recorded_root(&host, folder, "m.test").await.is_none());
        assert!(one.keep(&host, folder, MADE).await.unwrap());
        assert_eq!(host.text(&root), Some(one.root().pem()));
        assert!(!other.keep(&host, folder, MADE).await.unwrap());
        assert_eq!(Authority::recorded_root(&host, folder, "m.test").await.as_ref(), Some(one.root()));
        // what was handed out comes back, whoever changed it
        for again in ["load", "keep"] {
            host.put(&root, "something else");
            if again == "keep" {
                assert!(one.keep(&host, folder, MADE).await.unwrap());
            } else {
                let loaded = Authority::load_or_create(&host, folder, "m.test", MADE).await.unwrap();
                assert_eq!(loaded.root(), one.root());
            }
            assert_eq!(host.text(&root), Some(one.root().pem()), "{again}");
        }
        let anchor = one.anchor();
        assert_eq!((anchor.domain.as_str(), anchor.fingerprint), ("m.test", one.root().fingerprint()));
    }

    #[test]
    fn times_and_names_are_cut_where_x509_ends() {
        let mut params = CertificateParams::default();
        set_validity(&mut params, -1, i64::MAX);
        let seconds = [params.not_before, params.not_after].map(|time| time.unix_timestamp());
        assert_eq!(seconds, [0, 253_402_300_799]);
        set_validity(&mut params, 1, 253_402_300_798);
        let seconds = [params.not_before, params.not_after].map(|time| time.unix_timestamp());
        assert_eq!(seconds, [1, 253_402_300_798]);
        let long = format!("x{}", "y".repeat(64));
        let kept = "y".repeat(64);
        assert_eq!([unit(&long), unit(&long[1..]), unit("m.test")], [kept.as_str(), kept.as_str(), "m.test"]);
    }
}
