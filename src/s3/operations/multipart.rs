//! Uploads in parts: each part is a file of the store, and the object is made of those files.

use std::collections::{BTreeMap, HashSet};

use futures_util::TryStreamExt;
use http::StatusCode;
use roxmltree::Node;

use super::object::receive;
use super::{Answer, Context, Guard, attributes_of, document, empty, quoted, refuse_unsupported, set};
use crate::s3::checksum::{self, Algorithm, Checksum, Expected, Summer, hex};
use crate::s3::content::{self, Range};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::Call;
use crate::s3::store::{Draft, Look, Object, Part, Upload};
use crate::s3::time;
use crate::s3::xml::{self, Xml};

const DOCUMENT: usize = 4 << 20;
/// Of every part but the last one.
const SMALLEST: u64 = 5 << 20;

pub(super) async fn create(context: Context) -> Result<Answer> {
    let call = &context.call;
    let (bucket, key) = (call.bucket()?.to_owned(), call.key()?.to_owned());
    refuse_unsupported(call)?;
    let algorithm = call.header("x-amz-checksum-algorithm").map(|name| Algorithm::parse(&name)).transpose()?;
    let whole = match call.header("x-amz-checksum-type").as_deref() {
        Some("FULL_OBJECT") => true,
        Some("COMPOSITE") => false,
        None => algorithm == Some(Algorithm::Crc64Nvme),
        Some(_) => return Err(Error::new(Code::InvalidRequest, "Value for x-amz-checksum-type header is invalid.")),
    };
    let started = time::now();
    let upload = Upload { key: key.clone(), started, algorithm, whole, attributes: attributes_of(call)? };
    context.store.bucket(&bucket).await?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(Error::internal)?;
    // lists are in the order of the ids, which is that of the time, as Amazon has it
    let id = hex(&started.to_be_bytes()) + &hex(&random);
    let mut xml = Xml::new("InitiateMultipartUploadResult");
    xml.text("Bucket", &bucket).text("Key", &key).text("UploadId", &id);
    context
        .store
        .write(Vec::new(), move |tables| {
            tables.bucket(&bucket)?;
            tables.put_upload(&bucket, &id, &upload)?;
            Ok(((), Vec::new()))
        })
        .await?;
    let mut answer = document(xml.finish());
    if let Some(algorithm) = algorithm {
        set(answer.headers_mut(), "x-amz-checksum-algorithm", algorithm.name());
        set(answer.headers_mut(), "x-amz-checksum-type", if whole { "FULL_OBJECT" } else { "COMPOSITE" });
    }
    Ok(answer)
}

/// Which part of which upload.
pub(super) fn target(call: &Call) -> Result<(String, u32)> {
    let id = call
        .query
        .text("uploadId")
        .ok_or_else(|| Error::new(Code::InvalidArgument, "This operation needs an uploadId."))?;
    match call.query.number("partNumber", 10_001)? {
        Some(number @ 1..=10_000) => Ok((id.to_owned(), u32::try_from(number).unwrap_or(1))),
        _ => Err(Error::new(Code::InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")),
    }
}

/// An upload; its id is good for the key that it was begun for, and for no other.
pub(super) fn upload_of(look: &impl Look, bucket: &str, key: &str, id: &str) -> Result<Upload> {
    look.upload(bucket, id)?.filter(|upload| upload.key == key).ok_or_else(|| Code::NoSuchUpload.into())
}

pub(super) async fn part(mut context: Context) -> Result<Answer> {
    refuse_unsupported(&context.call)?;
    let (bucket, key) = (context.call.bucket()?, context.call.key()?);
    let (id, number) = target(&context.call)?;
    let upload = context.store.read(|view| upload_of(view, bucket, key, &id))?;
    let mut expected = Expected::of(&context.call)?;
    expected.algorithm = expected.algorithm.or(upload.algorithm);
    let (draft, sums) = receive(&mut context, &expected).await?;
    let part = Part { piece: draft.piece(), etag: hex(&sums.md5), modified: time::now(), checksum: sums.checksum };
    let mut answer = empty(StatusCode::OK);
    set(answer.headers_mut(), "etag", &quoted(&part.etag));
    if let Some(checksum) = &part.checksum {
        set(answer.headers_mut(), checksum.algorithm.header(), &checksum.value);
    }
    store_part(&context, draft, id, number, part).await?;
    Ok(answer)
}

pub(super) async fn store_part(context: &Context, draft: Draft, id: String, number: u32, part: Part) -> Result<()> {
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    context
        .store
        .write(vec![draft], move |tables| {
            upload_of(tables, &bucket, &key, &id)?;
            let before = tables.put_part(&id, number, &part)?;
            Ok(((), before.map(|before| before.piece).into_iter().collect()))
        })
        .await
}

pub(super) async fn abort(context: Context) -> Result<Answer> {
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    let id = context.call.query.text("uploadId").unwrap_or_default().to_owned();
    context
        .store
        .write(Vec::new(), move |tables| {
            tables.bucket(&bucket)?;
            upload_of(tables, &bucket, &key, &id)?;
            Ok(((), tables.remove_upload(&bucket, &id)?.into_iter().map(|(_, part)| part.piece).collect()))
        })
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn list(context: Context) -> Result<Answer> {
    let call = &context.call;
    let (bucket, key) = (call.bucket()?, call.key()?);
    let id = call.query.text("uploadId").unwrap_or_default();
    let most = call.query.number("max-parts", 1000)?.unwrap_or(1000) as usize;
    let after = call.query.number("part-number-marker", u64::from(u32::MAX))?.unwrap_or(0);
    let (upload, mut parts) = context.store.read(|view| {
        let upload = upload_of(view, bucket, key, id)?;
        Ok((upload, view.parts(id)?))
    })?;
    parts.retain(|(number, _)| u64::from(*number) > after);
    let more = parts.len() > most;
    parts.truncate(most);
    let mut xml = Xml::new("ListPartsResult");
    xml.text("Bucket", bucket).text("Key", key).text("UploadId", id).owner("Initiator").owner("Owner");
    xml.text("StorageClass", "STANDARD").number("PartNumberMarker", after).number("MaxParts", most as u64);
    if let (true, Some((last, _))) = (more, parts.last()) {
        xml.number("NextPartNumberMarker", u64::from(*last));
    }
    xml.text("IsTruncated", more.to_string());
    if let Some(algorithm) = upload.algorithm {
        xml.text("ChecksumAlgorithm", algorithm.name());
    }
    for (number, part) in &parts {
        xml.within("Part", |xml| {
            xml.number("PartNumber", u64::from(*number)).text("LastModified", time::iso(part.modified));
            xml.text("ETag", quoted(&part.etag)).number("Size", part.piece.size);
            if let Some(checksum) = &part.checksum {
                xml.text(checksum.algorithm.element(), &checksum.value);
            }
        });
    }
    Ok(document(xml.finish()))
}

pub(super) async fn complete(mut context: Context) -> Result<Answer> {
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    let id = context.call.query.text("uploadId").unwrap_or_default().to_owned();
    let chosen = chosen_parts(&context.body.whole(DOCUMENT).await?)?;
    let found = context.store.read(|view| {
        view.bucket(&bucket)?;
        match view.upload(&bucket, &id)? {
            Some(_) => Ok(Ok((upload_of(view, &bucket, &key, &id)?, view.parts(&id)?))),
            // a client that did not hear the answer asks again
            None => done_before(view.object(&bucket, &key)?, &chosen).map(Err),
        }
    })?;
    let (upload, parts) = match found {
        Ok(found) => found,
        Err(object) => return Ok(document(completed(&context, &bucket, &key, &object))),
    };
    let parts = pick(&chosen, parts)?;
    let mut object = Object {
        size: parts.iter().map(|part| part.piece.size).sum(),
        etag: checksum::etag_of_parts(parts.iter().map(|part| part.etag.as_str())),
        modified: time::now(),
        pieces: parts.iter().map(|part| part.piece).collect(),
        parts: true,
        checksum: None,
        attributes: upload.attributes.clone(),
    };
    object.checksum = match (upload.algorithm, upload.whole) {
        (Some(algorithm), true) => Some(whole_checksum(&context, &object, algorithm).await?),
        (Some(algorithm), false) => {
            let sums: Option<Vec<&Checksum>> = parts.iter().map(|part| part.checksum.as_ref()).collect();
            sums.and_then(|sums| checksum::of_parts(algorithm, sums.into_iter()))
        }
        (None, _) => None,
    };
    let told = upload.algorithm.and_then(|algorithm| context.call.header(algorithm.header()));
    if told.is_some_and(|told| object.checksum.as_ref().is_some_and(|sum| sum.value != told)) {
        return Err(Code::BadDigest.into());
    }
    let size = context.call.header("x-amz-mp-object-size");
    if size.is_some_and(|size| size.trim().parse::<u64>() != Ok(object.size)) {
        let message = format!("The parts are {} bytes, which is not what x-amz-mp-object-size says.", object.size);
        return Err(Error::new(Code::InvalidRequest, message));
    }
    let xml = completed(&context, &bucket, &key, &object);
    let guard = Guard::of(&context.call);
    context
        .store
        .write(Vec::new(), move |tables| {
            tables.bucket(&bucket)?;
            upload_of(tables, &bucket, &key, &id)?;
            guard.check(tables.object(&bucket, &key)?.as_ref())?;
            // an upload may have thousands of parts, and every other change waits for this one
            let held: HashSet<u64> = tables.parts(&id)?.into_iter().map(|(_, part)| part.piece.blob).collect();
            let used: HashSet<u64> = object.pieces.iter().map(|piece| piece.blob).collect();
            // a part may have been replaced since it was looked at
            if !used.is_subset(&held) {
                return Err(Code::InvalidPart.into());
            }
            let mut gone: Vec<_> =
                tables.remove_upload(&bucket, &id)?.into_iter().map(|(_, part)| part.piece).collect();
            gone.retain(|piece| !used.contains(&piece.blob));
            let before = tables.put_object(&bucket, &key, &object)?;
            gone.extend(before.map(|before| before.pieces).unwrap_or_default());
            Ok(((), gone))
        })
        .await?;
    Ok(document(xml))
}

/// The object that these parts have become.
fn done_before(object: Option<Object>, chosen: &[Chosen]) -> Result<Object> {
    let etag = checksum::etag_of_parts(chosen.iter().map(|part| part.etag.as_str()));
    object.filter(|object| object.parts && object.etag == etag).ok_or_else(|| Code::NoSuchUpload.into())
}

fn completed(context: &Context, bucket: &str, key: &str, object: &Object) -> String {
    let scheme = context.call.header("x-forwarded-proto").unwrap_or_else(|| "http".to_owned());
    let mut xml = Xml::new("CompleteMultipartUploadResult");
    xml.text("Location", format!("{scheme}://{}{}", context.call.host, context.call.path));
    xml.text("Bucket", bucket).text("Key", key).text("ETag", quoted(&object.etag));
    if let Some(checksum) = &object.checksum {
        xml.text(checksum.algorithm.element(), &checksum.value).text("ChecksumType", checksum.kind());
    }
    xml.finish()
}

/// One of the parts that are to be the object, as the client has it.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    number: u32,
    etag: String,
    checksums: Vec<Checksum>,
}

impl Chosen {
    fn of(part: Node<'_, '_>) -> Result<Self> {
        let text = |name: &'static str| xml::text(part, name).map(str::trim);
        let checksums = Algorithm::ALL.into_iter().filter_map(|algorithm| {
            let value = text(algorithm.element()).filter(|value| !value.is_empty())?.to_owned();
            Some(Checksum { algorithm, value })
        });
        Ok(Self {
            number: text("PartNumber").and_then(|text| text.parse().ok()).ok_or(Code::MalformedXML)?,
            etag: text("ETag").ok_or(Code::MalformedXML)?.trim_matches('"').to_owned(),
            checksums: checksums.collect(),
        })
    }

    /// A checksum that was not made of the part says nothing about it.
    fn is(&self, part: &Part) -> bool {
        let kept = part.checksum.as_ref();
        let differs = |told: &Checksum| kept.is_some_and(|kept| kept.algorithm == told.algorithm && kept != told);
        self.etag == part.etag && !self.checksums.iter().any(differs)
    }
}

fn chosen_parts(body: &[u8]) -> Result<Vec<Chosen>> {
    xml::read(body, "CompleteMultipartUpload", |root| {
        let parts = xml::all(root, "Part").map(Chosen::of).collect::<Result<Vec<Chosen>>>()?;
        if parts.is_empty() { Err(Code::MalformedXML.into()) } else { Ok(parts) }
    })
}

fn pick(chosen: &[Chosen], parts: Vec<(u32, Part)>) -> Result<Vec<Part>> {
    if chosen.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Code::InvalidPartOrder.into());
    }
    let mut parts: BTreeMap<u32, Part> = parts.into_iter().collect();
    let picked = chosen.iter().map(|chosen| {
        parts.remove(&chosen.number).filter(|part| chosen.is(part)).ok_or_else(|| Error::from(Code::InvalidPart))
    });
    let picked: Vec<Part> = picked.collect::<Result<_>>()?;
    let short = picked.iter().take(picked.len().saturating_sub(1)).any(|part| part.piece.size < SMALLEST);
    if short { Err(Code::EntityTooSmall.into()) } else { Ok(picked) }
}

/// The checksum over all the content, which has to be read again for it.
pub(super) async fn whole_checksum(context: &Context, object: &Object, algorithm: Algorithm) -> Result<Checksum> {
    let pin = context.store.pin(object.pieces.clone());
    let mut chunks = std::pin::pin!(content::chunks(pin, Range { start: 0, length: object.size }));
    let mut summer = Summer::new(Some(algorithm));
    while let Some(bytes) = chunks.try_next().await? {
        summer.update(&bytes);
    }
    summer.finish().checksum.ok_or_else(|| Code::InternalError.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::store::Piece;

    fn part(size: u64, etag: &str) -> Part {
        Part { piece: Piece { blob: 1, size }, etag: etag.into(), modified: 0, checksum: None }
    }

    fn chosen(number: u32, etag: &str) -> Chosen {
        Chosen { number, etag: etag.into(), checksums: Vec::new() }
    }

    #[test]
    fn parts_are_chosen_by_number_and_etag() {
        let there = || vec![(1, part(SMALLEST, "a")), (2, part(1, "b")), (4, part(1, "d"))];
        let code = |parts: &[(u32, &str)]| {
            let chosen: Vec<Chosen> = parts.iter().map(|(number, etag)| chosen(*number, etag)).collect();
            pick(&chosen, there()).map(|parts| parts.len()).map_err(|error| error.code)
        };
        assert_eq!(code(&[(1, "a"), (4, "d")]), Ok(2));
        assert_eq!(code(&[(2, "b")]), Ok(1));
        assert_eq!(code(&[(2, "b"), (1, "a")]), Err(Code::InvalidPartOrder));
        assert_eq!(code(&[(1, "a"), (1, "a")]), Err(Code::InvalidPartOrder));
        assert_eq!(code(&[(1, "b")]), Err(Code::InvalidPart));
        assert_eq!(code(&[(3, "c")]), Err(Code::InvalidPart));
        assert_eq!(code(&[(2, "b"), (4, "d")]), Err(Code::EntityTooSmall));
    }

    #[test]
    fn a_part_is_held_to_what_the_client_says_of_it() {
        let checksum = |algorithm, value: &str| Checksum { algorithm, value: value.to_owned() };
        let kept = Part { checksum: Some(checksum(Algorithm::Crc32, "sum")), ..part(1, "a") };
        let fits = |kept: &Part, told: Checksum| Chosen { checksums: vec![told], ..chosen(1, "a") }.is(kept);
        assert!(fits(&kept, checksum(Algorithm::Crc32, "sum")));
        assert!(!fits(&kept, checksum(Algorithm::Crc32, "other")));
        assert!(fits(&kept, checksum(Algorithm::Sha256, "other")));
        assert!(fits(&part(1, "a"), checksum(Algorithm::Crc32, "other")));
    }

    #[test]
    fn a_list_without_parts_is_malformed() {
        for body in [
            "<CompleteMultipartUpload/>",
            "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
        ] {
            assert_eq!(chosen_parts(body.as_bytes()).unwrap_err().code, Code::MalformedXML);
        }
        let body = "<CompleteMultipartUpload><Part><ETag>\"a\"</ETag><PartNumber>3</PartNumber>\
            <ChecksumCRC32>DUoRhQ==</ChecksumCRC32><ChecksumSHA1/></Part></CompleteMultipartUpload>";
        let checksums = vec![Checksum { algorithm: Algorithm::Crc32, value: "DUoRhQ==".into() }];
        assert_eq!(chosen_parts(body.as_bytes()).unwrap(), [Chosen { checksums, ..chosen(3, "a") }]);
    }
}
