//! The digests of the S3 API: MD5 for ETags, and the five checksums that a client may send along.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_64_NVME, Crc, Digest as CrcDigest, Table};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::{Code, Error, Result};
use super::request::Call;

static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_NVME);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Of the element in lists and results: `ChecksumCRC32`.
    pub fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// # Errors
    /// A name that is none of the five.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| Error::new(Code::InvalidRequest, format!("Checksum algorithm not known: {name}")))
    }
}

/// A checksum as it is kept: of the whole object, or of the checksums of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// Base64; with `-N` behind it where it is one of N parts' checksums.
    pub value: String,
}

impl Checksum {
    pub fn kind(&self) -> &'static str {
        if self.value.contains('-') { "COMPOSITE" } else { "FULL_OBJECT" }
    }
}

/// What a client announces of the body that it sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    md5: Option<Vec<u8>>,
    pub algorithm: Option<Algorithm>,
    /// Known from the start; else it comes behind the body.
    value: Option<String>,
}

impl Expected {
    /// # Errors
    /// `InvalidDigest` for an MD5 that is none, `InvalidRequest` for two checksums.
    pub fn of(call: &Call) -> Result<Self> {
        let md5 = call.header("content-md5").map(|text| {
            let bytes = BASE64.decode(text.trim()).unwrap_or_default();
            if bytes.len() == 16 { Ok(bytes) } else { Err(Error::from(Code::InvalidDigest)) }
        });
        let mut named = Algorithm::ALL.into_iter().filter_map(|one| Some((one, call.header(one.header())?)));
        let first = named.next();
        if named.next().is_some() {
            return Err(Error::new(Code::InvalidRequest, "Expecting a single x-amz-checksum- header."));
        }
        let trailer = call.header("x-amz-trailer").and_then(|names| {
            let names = names.to_ascii_lowercase();
            Algorithm::ALL.into_iter().find(|one| names.split(',').any(|name| name.trim() == one.header()))
        });
        let asked = call.header("x-amz-sdk-checksum-algorithm").map(|name| Algorithm::parse(&name)).transpose()?;
        let (algorithm, value) = match first {
            Some((algorithm, value)) => (Some(algorithm), Some(value)),
            None => (trailer.or(asked), None),
        };
        Ok(Self { md5: md5.transpose()?, algorithm, value })
    }

    /// # Errors
    /// `BadDigest` where what was announced, in front or behind, is not what came.
    pub fn check(&self, sums: &Sums, trailers: &BTreeMap<String, String>) -> Result<()> {
        if self.md5.as_ref().is_some_and(|md5| *md5 != sums.md5) {
            return Err(Code::BadDigest.into());
        }
        let Some(algorithm) = self.algorithm else { return Ok(()) };
        let told = self.value.as_ref().or_else(|| trailers.get(algorithm.header()));
        if told.is_some_and(|told| Some(told.trim()) != sums.checksum.as_ref().map(|sum| sum.value.as_str())) {
            let name = algorithm.name();
            let message = format!("The {name} you specified did not match the calculated checksum.");
            return Err(Error::new(Code::BadDigest, message));
        }
        Ok(())
    }
}

/// The digests of a body while it arrives.
pub struct Summer {
    md5: Md5,
    checksum: Option<(Algorithm, Running)>,
}

enum Running {
    Crc32(CrcDigest<'static, u32, Table<16>>),
    Crc64(CrcDigest<'static, u64, Table<16>>),
    Sha(Box<ring::digest::Context>),
}

/// The digests of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    pub md5: Vec<u8>,
    pub checksum: Option<Checksum>,
}

impl Summer {
    pub fn new(algorithm: Option<Algorithm>) -> Self {
        Self { md5: Md5::new(), checksum: algorithm.map(|algorithm| (algorithm, Running::new(algorithm))) }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some((_, running)) = &mut self.checksum {
            running.update(bytes);
        }
    }

    pub fn finish(self) -> Sums {
        let checksum =
            self.checksum.map(|(algorithm, running)| Checksum { algorithm, value: BASE64.encode(running.finish()) });
        Sums { md5: self.md5.finalize().to_vec(), checksum }
    }
}

impl Running {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(CRC32.digest()),
            Algorithm::Crc32c => Self::Crc32(CRC32C.digest()),
            Algorithm::Crc64Nvme => Self::Crc64(CRC64.digest()),
            Algorithm::Sha1 => Self::Sha(Box::new(ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY))),
            Algorithm::Sha256 => Self::Sha(Box::new(ring::digest::Context::new(&ring::digest::SHA256))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(digest) => digest.update(bytes),
            Self::Crc64(digest) => digest.update(bytes),
            Self::Sha(context) => context.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(digest) => digest.finalize().to_be_bytes().to_vec(),
            Self::Crc64(digest) => digest.finalize().to_be_bytes().to_vec(),
            Self::Sha(context) => context.finish().as_ref().to_vec(),
        }
    }
}

/// The checksum of the parts' checksums, as S3 has it for an object of several parts.
pub fn of_parts<'a>(algorithm: Algorithm, parts: impl ExactSizeIterator<Item = &'a Checksum>) -> Option<Checksum> {
    let count = parts.len();
    let mut running = Running::new(algorithm);
    for part in parts {
        running.update(&BASE64.decode(&part.value).ok()?);
    }
    Some(Checksum { algorithm, value: format!("{}-{count}", BASE64.encode(running.finish())) })
}

/// The ETag of an object of several parts: the MD5 of their MD5s, and how many they are.
pub fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = etags.len();
    let mut md5 = Md5::new();
    for etag in etags {
        md5.update(unhex(etag).unwrap_or_default());
    }
    format!("{}-{count}", hex(&md5.finalize()))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    if digits.len() % 2 != 0 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, text: &str) -> String {
        let mut summer = Summer::new(Some(algorithm));
        summer.update(text.as_bytes());
        summer.finish().checksum.unwrap().value
    }

    #[test]
    fn the_sums_are_those_that_everybody_else_computes() {
        // check values of the CRC catalogue, FIPS 180 and RFC 1321
        assert_eq!(sum(Algorithm::Crc32, "123456789"), BASE64.encode(0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(sum(Algorithm::Crc32c, "123456789"), BASE64.encode(0xe306_9283_u32.to_be_bytes()));
        assert_eq!(sum(Algorithm::Crc64Nvme, "123456789"), BASE64.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(
            sum(Algorithm::Sha1, "abc"),
            BASE64.encode(unhex("a9993e364706816aba3e25717850c26c9cd0d89d").unwrap())
        );
        assert_eq!(hex(&Summer::new(None).finish().md5), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn parts_are_summed_again() {
        assert_eq!(
            etag_of_parts(["d41d8cd98f00b204e9800998ecf8427e"].into_iter()),
            "59adb24ef3cdbe0297f05b395827453f-1"
        );
        let part = Checksum { algorithm: Algorithm::Crc32, value: sum(Algorithm::Crc32, "a") };
        let whole = of_parts(Algorithm::Crc32, [&part, &part].into_iter()).unwrap();
        assert!(whole.value.ends_with("-2"));
        assert_eq!((whole.kind(), part.kind()), ("COMPOSITE", "FULL_OBJECT"));
    }

    #[test]
    fn odd_text_is_not_hexadecimal() {
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
    }
}
