//! The ingress's certificate.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use super::certificate::{Bundle, encode};
use super::{Authority, AuthorityError, Certificate, CertificateError, DAY, NameError, authority, name};
use crate::host::Host;

/// One with less than this ahead of it is renewed.
const LEAST_AHEAD: i64 = 30 * DAY;
/// Clocks of containers and virtual machines may be behind.
const BACKDATED: i64 = DAY;

#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    #[error("the certificate cannot have this name: {0}")]
    Name(#[from] NameError),
    #[error("a certificate needs a name")]
    NoName,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why a new certificate is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// There was none, or none that can be read.
    Missing,
    /// Signed by an authority that is gone.
    Authority,
    Names {
        added: Vec<String>,
        removed: Vec<String>,
    },
    /// Less than 30 days are left.
    Expires {
        not_after: i64,
    },
    /// It begins in the future: it was made while the clock was wrong.
    NotYet {
        not_before: i64,
    },
}

/// A certificate with its key and the intermediate that signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    pub certificate: Certificate,
    pub intermediate: Certificate,
    key: Vec<u8>,
}

/// Never shows the key.
impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("names", &self.certificate.names).finish_non_exhaustive()
    }
}

impl Leaf {
    /// From what [`Leaf::to_pem`] gave.
    ///
    /// # Errors
    /// When it is not a key, its certificate and an intermediate.
    pub fn parse(pem: &[u8]) -> Result<Self, CertificateError> {
        let bundle = Bundle::parse(pem)?;
        bundle.key_pair()?;
        let [certificate, intermediate] = <[Certificate; 2]>::try_from(bundle.certificates)
            .map_err(|_| CertificateError::Lacks { what: "pair of a certificate and its intermediate" })?;
        let key = bundle.key.ok_or(CertificateError::Lacks { what: "private key" })?;
        Ok(Self { certificate, intermediate, key })
    }

    /// The private key (PKCS #8), for `ssl_certificate_key`.
    pub fn key_pem(&self) -> String {
        encode("PRIVATE KEY", &self.key)
    }

    /// The certificate and the intermediate, for `ssl_certificate`.
    pub fn chain_pem(&self) -> String {
        [self.certificate.pem(), self.intermediate.pem()].concat()
    }

    /// Key and chain in one, to be kept.
    pub fn to_pem(&self) -> String {
        [self.key_pem(), self.chain_pem()].concat()
    }

    /// Why it is to be replaced; `None`: it serves. `names` as from [`names()`], in any order.
    pub fn needs_renewal(&self, authority: &Authority, names: &[String], now: i64) -> Option<Renewal> {
        let Certificate { not_before, not_after, .. } = self.certificate;
        if self.intermediate != *authority.intermediate() {
            return Some(Renewal::Authority);
        }
        if now < not_before {
            return Some(Renewal::NotYet { not_before });
        }
        if not_after - now < LEAST_AHEAD {
            return Some(Renewal::Expires { not_after });
        }
        let wanted: BTreeSet<&String> = names.iter().collect();
        let there: BTreeSet<&String> = self.certificate.names.iter().collect();
        let owned = |names: Vec<&&String>| names.into_iter().map(|name| (*name).clone()).collect::<Vec<_>>();
        let added = owned(wanted.difference(&there).collect());
        let removed = owned(there.difference(&wanted).collect());
        (!added.is_empty() || !removed.is_empty()).then_some(Renewal::Names { added, removed })
    }
}

/// The names of a platform's certificate: its zone, the zone's wildcard, then every host (fully
/// qualified, wildcards of sub-zones such as `*.s3.macula.local` among them), sorted, each once.
pub fn names(zone: &str, hosts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let first = [zone.to_owned(), format!("*.{zone}")];
    let hosts: BTreeSet<String> = hosts.into_iter().map(|host| host.as_ref().to_ascii_lowercase()).collect();
    let rest: Vec<String> = hosts.into_iter().filter(|host| !first.contains(host)).collect();
    [first.to_vec(), rest].concat()
}

impl Authority {
    /// Signs a certificate for these names (or loopback addresses): ECDSA P-256, for servers, 90
    /// days. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// When a name lies outside the authority's domain or is none.
    pub fn issue(&self, names: &[String], now: i64) -> Result<Leaf, LeafError> {
        if names.is_empty() {
            return Err(LeafError::NoName);
        }
        let failed = |error: rcgen::Error| AuthorityError::Sign { what: "certificate", source: error.into() };
        let mut params = CertificateParams::default();
        for name in names {
            let name = match name.parse::<IpAddr>() {
                Ok(address) if address.is_loopback() => SanType::IpAddress(address),
                Ok(address) => return Err(NameError::Address { address }.into()),
                Err(_) => SanType::DnsName(name::inside(name, self.domain())?.try_into().map_err(failed)?),
            };
            if !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        authority::set_validity(&mut params, now - BACKDATED, (now + authority::LEAF_LIFE).min(self.not_after()));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // no host name: where there is a subjectAltName nobody looks here for one (RFC 9525)
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Macula ingress");
        let key = KeyPair::generate().map_err(failed)?;
        let signed = self.issuer().and_then(|issuer| params.signed_by(&key, &issuer)).map_err(failed)?;
        let certificate = Certificate::parse(signed.der())
            .map_err(|error| AuthorityError::Sign { what: "certificate", source: error.into() })?;
        Ok(Leaf { certificate, intermediate: self.intermediate().clone(), key: key.serialize_der() })
    }
}

/// The certificate kept in the file `path` (0600), replaced by a new one where it
/// [needs to be](Leaf::needs_renewal); then the reason comes with it.
///
/// # Errors
/// [`LeafError`]; the file is unchanged then.
pub async fn load_or_issue(
    host: &dyn Host,
    authority: &Authority,
    path: &Path,
    names: &[String],
    now: i64,
) -> Result<(Leaf, Option<Renewal>), LeafError> {
    let kept = match host.read(path).await {
        Ok(content) => Leaf::parse(&content).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let renewal = match &kept {
        Some(leaf) => leaf.needs_renewal(authority, names, now),
        None => Some(Renewal::Missing),
    };
    match (kept, renewal) {
        (Some(leaf), None) => Ok((leaf, None)),
        (_, renewal) => {
            let leaf = authority.issue(names, now)?;
            host.write(path, leaf.to_pem().as_bytes(), 0o600).await?;
            Ok((leaf, renewal))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_leaf_serves_until_its_last_month() {
        let authority = Authority::create("m.test", NOW).unwrap();
        let wanted = owned(&["m.test", "*.m.test", "a.m.test"]);
        let leaf = authority.issue(&wanted, NOW).unwrap();
        let Certificate { not_before, not_after, .. } = leaf.certificate;
        assert_eq!((not_before, not_after), (NOW - DAY, NOW + 90 * DAY));
        let turned: Vec<String> = wanted.iter().rev().cloned().collect();
        let names =
            |added: &[&str], removed: &[&str]| Some(Renewal::Names { added: owned(added), removed: owned(removed) });
        for (names, now, renewal) in [
            (&wanted, NOW, None),
            (&turned, NOW, None),
            (&wanted, not_before, None),
            (&wanted, not_before - 1, Some(Renewal::NotYet { not_before })),
            (&wanted, not_after - 30 * DAY, None),
            (&wanted, not_after - 30 * DAY + 1, Some(Renewal::Expires { not_after })),
            (&owned(&["m.test", "*.m.test", "a.m.test", "b.m.test"]), NOW, names(&["b.m.test"], &[])),
            (&owned(&["m.test", "*.m.test"]), NOW, names(&[], &["a.m.test"])),
            (&owned(&["m.test", "*.m.test", "b.m.test"]), NOW, names(&["b.m.test"], &["a.m.test"])),
        ] {
            assert_eq!(leaf.needs_renewal(&authority, names, now), renewal, "{names:?} {}", now - NOW);
        }
        // whoever signed it counts before all that
        let other = Authority::create("m.test", NOW).unwrap();
        assert_eq!(leaf.needs_renewal(&other, &[], not_after), Some(Renewal::Authority));
        // no longer than what signs it
        let late = authority.not_after() - 10 * DAY;
        let short = authority.issue(&wanted, late).unwrap().certificate;
        assert_eq!((short.not_before, short.not_after), (late - DAY, authority.not_after()));
    }

    #[test]
    fn a_leaf_is_read_as_it_was_written() {
        let authority = Authority::create("m.test", NOW).unwrap();
        // each name once
        let leaf = authority.issue(&owned(&["A.m.test.", "a.m.test", "127.0.0.1", "127.0.0.1"]), NOW).unwrap();
        assert_eq!(leaf.certificate.names, ["a.m.test", "127.0.0.1"]);
        assert_eq!(leaf.chain_pem(), [leaf.certificate.pem(), authority.intermediate().pem()].concat());
        assert_eq!(leaf.to_pem(), [leaf.key_pem(), leaf.chain_pem()].concat());
        assert_eq!(Leaf::parse(leaf.to_pem().as_bytes()).as_ref(), Ok(&leaf));
        let alone = [leaf.key_pem(), leaf.certificate.pem()].concat();
        let three = [leaf.to_pem(), authority.root().pem()].concat();
        for text in [alone, three] {
            let what = "pair of a certificate and its intermediate";
            assert_eq!(Leaf::parse(text.as_bytes()), Err(CertificateError::Lacks { what }));
        }
        let lacks = Err(CertificateError::Lacks { what: "private key" });
        assert_eq!(Leaf::parse(leaf.chain_pem().as_bytes()), lacks);
        let error = authority.issue(&[], NOW).unwrap_err();
        assert!(matches!(error, LeafError::NoName), "{error}");
    }

    #[test]
    fn the_zone_and_its_wildcard_come_first() {
        let hosts = ["b.m.test", "*.m.test", "A.m.test", "a.m.test", "m.test", "*.s3.m.test"];
        let expected = ["m.test", "*.m.test", "*.s3.m.test", "a.m.test", "b.m.test"];
        assert_eq!(names("m.test", hosts), expected);
    }
}
