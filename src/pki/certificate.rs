//! What we need to know of a certificate, and PEM.

use crate::model::AnyError;
use crate::words;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why something is no certificate (or key) of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("it is not valid PEM: {source}")]
    Pem { source: AnyError },
    #[error("it holds no {what}")]
    Lacks { what: &'static str },
    #[error("a certificate in it cannot be read: {source}")]
    Certificate { source: AnyError },
    #[error("the private key in it cannot be read: {source}")]
    Key { source: AnyError },
    #[error("its private key belongs to another certificate")]
    OtherKey,
}

/// A certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub der: Vec<u8>,
    /// CN of its subject, empty when there is none.
    pub common_name: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch; the last second in which it is valid.
    pub not_after: i64,
    /// DNS names and addresses of the subjectAltName, in their order.
    pub names: Vec<String>,
    /// Domains of its name constraints.
    pub permitted: Vec<String>,
    /// The SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// # Errors
    /// When it is no X.509 certificate.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| CertificateError::Certificate { source: error.into() })?;
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        let mut names = Vec::new();
        let mut permitted = Vec::new();
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(alternative) => {
                    names.extend(alternative.general_names.iter().filter_map(text));
                }
                ParsedExtension::NameConstraints(constraints) => {
                    let trees = constraints.permitted_subtrees.iter().flatten();
                    permitted.extend(trees.filter_map(|tree| match &tree.base {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        Ok(Self {
            der: der.to_vec(),
            common_name: common_name.unwrap_or_default().to_owned(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            names,
            permitted,
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// SHA-256 of the whole certificate, in lower-case hex.
    pub fn fingerprint(&self) -> String {
        words::hex(Sha256::digest(&self.der))
    }

    pub fn pem(&self) -> String {
        encode("CERTIFICATE", &self.der)
    }

    /// Whether it may be used at this time (seconds since the epoch).
    pub fn valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// RFC 7468: lines of 64 characters.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = STANDARD.encode(der);
    while !rest.is_empty() {
        let next = rest.split_off(rest.len().min(64));
        text.push_str(&rest);
        text.push('\n');
        rest = next;
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}

/// The contents of a PEM file of ours: at most one private key, and certificates in their order.
#[derive(Default)]
pub(super) struct Bundle {
    pub key: Option<Vec<u8>>,
    pub certificates: Vec<Certificate>,
}

impl Bundle {
    pub fn parse(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut bundle = Self::default();
        for section in x509_parser::pem::Pem::iter_from_buffer(pem) {
            let section = section.map_err(|error| CertificateError::Pem { source: error.into() })?;
            match section.label.as_str() {
                "PRIVATE KEY" => bundle.key = Some(section.contents),
                "CERTIFICATE" => bundle.certificates.push(Certificate::parse(&section.contents)?),
                _ => {}
            }
        }
        Ok(bundle)
    }

    /// The key, if it is that of the first certificate.
    pub fn key_pair(&self) -> Result<rcgen::KeyPair, CertificateError> {
        use rcgen::PublicKeyData as _;
        let key = self.key.as_deref().ok_or(CertificateError::Lacks { what: "private key" })?;
        let first = self.certificates.first().ok_or(CertificateError::Lacks { what: "certificate" })?;
        let pair = rcgen::KeyPair::try_from(key).map_err(|error| CertificateError::Key { source: error.into() })?;
        if pair.subject_public_key_info() == first.public_key { Ok(pair) } else { Err(CertificateError::OtherKey) }
    }
}

/// All certificates in text that may hold other things, too.
pub(super) fn ders(pem: &[u8]) -> Vec<Vec<u8>> {
    let sections = x509_parser::pem::Pem::iter_from_buffer(pem).map_while(Result::ok);
    sections.filter(|section| section.label == "CERTIFICATE").map(|section| section.contents).collect()
}

/// Fingerprints of all certificates in text that may hold other things, too.
pub(super) fn fingerprints(pem: &[u8]) -> Vec<String> {
    let sections = x509_parser::pem::Pem::iter_from_buffer(pem).map_while(Result::ok);
    sections
        .filter(|section| section.label == "CERTIFICATE" || section.label == "TRUSTED CERTIFICATE")
        .map(|section| words::hex(Sha256::digest(&section.contents)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn lines_of_pem_have_64_characters() {
        let shown = |bytes: usize| encode("X", &vec![0; bytes]);
        assert_eq!(shown(0), "-----BEGIN X-----\n-----END X-----\n");
        assert_eq!(shown(3), "-----BEGIN X-----\nAAAA\n-----END X-----\n");
        let line = "A".repeat(64);
        assert_eq!(shown(48), format!("-----BEGIN X-----\n{line}\n-----END X-----\n"));
        assert_eq!(shown(97), format!("-----BEGIN X-----\n{line}\n{line}\nAA==\n-----END X-----\n"));
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let certificate = Certificate {
            der: b"abc".to_vec(),
            common_name: String::new(),
            not_before: 10,
            not_after: 20,
            names: Vec::new(),
            permitted: Vec::new(),
            public_key: Vec::new(),
        };
        assert_eq!([9, 10, 20, 21].map(|now| certificate.valid_at(now)), [false, true, true, false]);
        // the example of FIPS 180-2, appendix B.1
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(certificate.fingerprint(), sum);
        assert_eq!(certificate.pem(), "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n");
        // among other things in a file
        let text = [
            "# of the system\n".to_owned(),
            certificate.pem(),
            encode("PRIVATE KEY", b"key"),
            encode("TRUSTED CERTIFICATE", b"abc"),
            encode("CERTIFICATE", b"d"),
        ]
        .concat();
        assert_eq!(ders(text.as_bytes()), [b"abc".as_slice(), b"d"]);
        let found = fingerprints(text.as_bytes());
        assert_eq!((found.len(), [&*found[0], &*found[1]]), (3, [sum; 2]));
        assert!(ders(b"nothing").is_empty() && fingerprints(b"nothing").is_empty());
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let authority = Authority::create("m.test", NOW).unwrap();
        let root = authority.root();
        assert!(root.common_name.starts_with("Macula root ") && root.common_name.len() == 20, "{}", root.common_name);
        assert!(authority.intermediate().common_name.starts_with("Macula intermediate "));
        for certificate in [root, authority.intermediate()] {
            let times = (certificate.not_before, certificate.not_after);
            assert_eq!(times, (NOW - 2 * 86_400, NOW + 3650 * 86_400));
            assert_eq!(certificate.permitted, ["m.test"]);
            assert!(certificate.names.is_empty());
            assert_eq!(Certificate::parse(&certificate.der).as_ref(), Ok(certificate));
        }
        let names = ["a.m.test", "127.0.0.2", "::1"].map(str::to_owned);
        let leaf = authority.issue(&names, NOW).unwrap().certificate;
        assert_eq!((leaf.names.as_slice(), leaf.common_name.as_str()), (names.as_slice(), "Macula ingress"));
        assert!(leaf.permitted.is_empty() && leaf.public_key != root.public_key);
        assert!(matches!(Certificate::parse(b"no DER"), Err(CertificateError::Certificate { .. })));
    }

    #[test]
    fn a_key_belongs_to_the_first_certificate() {
        let authority = Authority::create("m.test", NOW).unwrap();
        let issue = || authority.issue(&["m.test".to_owned()], NOW).unwrap();
        let (one, other) = (issue(), issue());
        let key_pair = |parts: &[String]| Bundle::parse(parts.concat().as_bytes()).unwrap().key_pair().map(drop);
        let lacks = |what| Err(CertificateError::Lacks { what });
        assert_eq!(key_pair(&[one.key_pem(), one.chain_pem()]), Ok(()));
        assert_eq!(key_pair(&[one.chain_pem(), one.key_pem()]), Ok(()));
        assert_eq!(key_pair(&[other.key_pem(), one.chain_pem()]), Err(CertificateError::OtherKey));
        let turned = [one.key_pem(), one.intermediate.pem(), one.certificate.pem()];
        assert_eq!(key_pair(&turned), Err(CertificateError::OtherKey));
        assert_eq!(key_pair(&[one.chain_pem()]), lacks("private key"));
        assert_eq!(key_pair(&[one.key_pem()]), lacks("certificate"));
    }
}
