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
