//! The certificate of an admission webhook in the cluster.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::certificate::{Bundle, encode};
use super::{AuthorityError, Certificate, CertificateError, DAY, LeafError, authority};
use crate::compile::Served;
use crate::compile::addons::WebhookCertificate;
use crate::host::Host;

/// Seconds. The API server is the only one that looks at it, and the cluster is younger.
const LIFE: i64 = 10 * 365 * DAY;
/// One with less than this ahead of it is replaced.
const LEAST_AHEAD: i64 = 365 * DAY;
/// The clocks of nodes in a virtual machine may be behind.
const BACKDATED: i64 = DAY;

/// A certificate for a webhook that is called under these names, signed by an authority of its own,
/// whose key is dropped at once: the platform's authority may not sign for names of the cluster.
/// `now`: seconds since the epoch.
///
/// # Errors
/// When a name is no DNS name.
pub fn webhook_certificate(names: &[&str], now: i64) -> Result<WebhookCertificate, AuthorityError> {
    let failed = |error: rcgen::Error| AuthorityError::Sign { what: "certificate of a webhook", source: error.into() };
    let mut root = CertificateParams::default();
    authority::set_validity(&mut root, now - BACKDATED, now + LIFE);
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.distinguished_name = DistinguishedName::new();
    root.distinguished_name.push(DnType::CommonName, "Macula webhooks");
    let root_key = KeyPair::generate().map_err(failed)?;
    let root_certificate = root.self_signed(&root_key).map_err(failed)?;

    let mut leaf =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).map_err(failed)?;
    authority::set_validity(&mut leaf, now - BACKDATED, now + LIFE);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.distinguished_name = DistinguishedName::new();
    leaf.distinguished_name.push(DnType::CommonName, "Macula webhook");
    let key = KeyPair::generate().map_err(failed)?;
    let signed = leaf.signed_by(&key, &Issuer::new(root, &root_key)).map_err(failed)?;
    Ok(WebhookCertificate {
        authority: encode("CERTIFICATE", root_certificate.der()),
        served: Served {
            chain: encode("CERTIFICATE", signed.der()),
            key: encode("PRIVATE KEY", &key.serialize_der()),
            ..Served::default()
        },
    })
}

/// The one kept in the file `path` (0600) while it serves, else a new one that is kept there: what
/// goes into the cluster stays the same from one `up` to the next.
///
/// # Errors
/// [`LeafError`]; the file is unchanged then.
pub async fn load_or_issue_webhook(
    host: &dyn Host,
    path: &Path,
    names: &[&str],
    now: i64,
) -> Result<WebhookCertificate, LeafError> {
    match host.read(path).await {
        Ok(content) => {
            if let Some(kept) = parse(&content, names, now) {
                return Ok(kept);
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let made = webhook_certificate(names, now)?;
    let all = [made.served.key.as_str(), &made.served.chain, &made.authority].concat();
    host.write(path, all.as_bytes(), 0o600).await?;
    Ok(made)
}

/// What [`load_or_issue_webhook`] wrote, if it is for these names and lasts.
fn parse(pem: &[u8], names: &[&str], now: i64) -> Option<WebhookCertificate> {
    let read = || -> Result<_, CertificateError> {
        let bundle = Bundle::parse(pem)?;
        bundle.key_pair()?;
        Ok(bundle)
    };
    let bundle = read().ok()?;
    let [leaf, root] = <[Certificate; 2]>::try_from(bundle.certificates).ok()?;
    let lasts = leaf.valid_at(now) && leaf.not_after - now >= LEAST_AHEAD;
    let same = names.iter().all(|name| leaf.names.iter().any(|there| there == name));
    (lasts && same).then(|| WebhookCertificate {
        authority: root.pem(),
        served: Served {
            chain: leaf.pem(),
            key: encode("PRIVATE KEY", &bundle.key.unwrap_or_default()),
            ..Served::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    const NOW: i64 = 1_800_000_000;
    const NAMES: [&str; 2] = ["hook.space.svc", "hook.space"];

    fn verify(made: &WebhookCertificate, name: &str, at: i64) -> Result<(), webpki::Error> {
        let root = CertificateDer::from_pem_slice(made.authority.as_bytes()).unwrap();
        let leaf = CertificateDer::from_pem_slice(made.served.chain.as_bytes()).unwrap();
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let entity = webpki::EndEntityCert::try_from(&leaf).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at as u64));
        entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &[],
            time,
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )?;
        entity.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).unwrap())
    }

    #[test]
    fn an_api_server_that_is_given_the_authority_accepts_the_certificate() {
        let made = webhook_certificate(&NAMES, NOW).unwrap();
        assert_eq!(verify(&made, "hook.space.svc", NOW), Ok(()));
        assert_eq!(verify(&made, "hook.space", NOW + 9 * 365 * DAY), Ok(()));
        assert!(verify(&made, "other.space.svc", NOW).is_err());
        assert!(verify(&made, "hook.space.svc", NOW + 11 * 365 * DAY).is_err());
    }

    #[tokio::test]
    async fn the_next_up_finds_the_same_certificate() {
        let host = FakeHost::default();
        let path = Path::new("/data/webhook.pem");
        let first = load_or_issue_webhook(&host, path, &NAMES, NOW).await.unwrap();
        let second = load_or_issue_webhook(&host, path, &NAMES, NOW + DAY).await.unwrap();
        assert!(first == second);
        // one of its names alone, and the last moment at which a year is left, and the first
        for (names, now) in [(&NAMES[1..], NOW), (&NAMES, NOW + LIFE - LEAST_AHEAD), (&NAMES, NOW - BACKDATED)] {
            assert!(load_or_issue_webhook(&host, path, names, now).await.unwrap() == first);
        }
        // other names, an end that is near, a broken file: a new one
        let other = load_or_issue_webhook(&host, path, &["hook.other.svc"], NOW).await.unwrap();
        assert!(other != first);
        let late = load_or_issue_webhook(&host, path, &["hook.other.svc"], NOW + LIFE - LEAST_AHEAD + 1).await.unwrap();
        assert!(late != other);
        let more = ["hook.other.svc", "hook.other"];
        let both = load_or_issue_webhook(&host, path, &more, NOW + LIFE - LEAST_AHEAD).await.unwrap();
        assert!(both != late);
        // one from the future, of a clock that was wrong
        let past = load_or_issue_webhook(&host, path, &more, NOW).await.unwrap();
        assert!(past != both);
        host.write(path, b"no certificate", 0o600).await.unwrap();
        let again = load_or_issue_webhook(&host, path, &NAMES, NOW).await.unwrap();
        assert_eq!(verify(&again, "hook.space.svc", NOW), Ok(()));
    }
}
