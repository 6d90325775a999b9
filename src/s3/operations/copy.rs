//! Copies: the source is a bucket and a key like any other, and needs the same right.

use futures_util::TryStreamExt;
use http::StatusCode;

use super::multipart::whole_checksum;
use super::object::store;
use super::{Answer, Context, Guard, attributes_of, document, names_etag, quoted, refuse_unsupported, tags_of_query};
use crate::model::is_bucket_name;
use crate::s3::checksum::{Algorithm, Summer, hex};
use crate::s3::content::{self, Range};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::{Call, decoded};
use crate::s3::store::{Attributes, Object, Part, Pin};
use crate::s3::time;
use crate::s3::xml::Xml;

/// `/bucket/key?versionId=null`, percent-encoded.
fn source_of(call: &Call) -> Result<(String, String)> {
    let text = call.header("x-amz-copy-source").unwrap_or_default();
    let invalid = || Error::new(Code::InvalidArgument, "The copy source must be a bucket and a key.");
    let (path, version) = match text.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text.as_str(), None),
    };
    if !matches!(version, None | Some("" | "null")) {
        return Err(Code::NoSuchVersion.into());
    }
    let path = decoded(path)?;
    let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(invalid)?;
    if !is_bucket_name(bucket) || key.is_empty() {
        return Err(invalid());
    }
    Ok((bucket.to_owned(), key.to_owned()))
}

/// The source, if whoever asks may read it and it fits the conditions.
async fn source(context: &Context) -> Result<(String, String, Object, Pin)> {
    let (bucket, key) = source_of(&context.call)?;
    context.user.may(Some(&bucket))?;
    context.store.bucket(&bucket).await?;
    let (object, pin) = context.store.object(&bucket, &key)?;
    let call = &context.call;
    let header = |name: &str| call.header(&format!("x-amz-copy-source-{name}"));
    let since = |name: &str| header(name).and_then(|text| time::parse(&text)).map(|time| time / 1000);
    let modified = object.modified / 1000;
    let fits = match (header("if-match"), since("if-unmodified-since")) {
        (Some(list), _) => names_etag(&list, &object.etag),
        (None, Some(time)) => modified <= time,
        (None, None) => true,
    };
    let differs = match (header("if-none-match"), since("if-modified-since")) {
        (Some(list), _) => !names_etag(&list, &object.etag),
        (None, Some(time)) => modified > time,
        (None, None) => true,
    };
    if fits && differs { Ok((bucket, key, object, pin)) } else { Err(Code::PreconditionFailed.into()) }
}

fn replaces(call: &Call, header: &str) -> Result<bool> {
    match call.header(header).as_deref() {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(Error::new(Code::InvalidArgument, format!("Unknown {}.", header.trim_start_matches("x-amz-")))),
    }
}

pub(super) async fn object(context: Context) -> Result<Answer> {
    let call = &context.call;
    let (bucket, key) = (call.bucket()?.to_owned(), call.key()?.to_owned());
    refuse_unsupported(call)?;
    context.store.bucket(&bucket).await?;
    let (from_bucket, from_key, from, pin) = source(&context).await?;
    let itself = (&from_bucket, &from_key) == (&bucket, &key);
    let replaces_metadata = replaces(call, "x-amz-metadata-directive")?;
    let header = |name: &str| call.header(name).filter(|value| !value.is_empty());
    let redirect = header("x-amz-website-redirect-location");
    if itself && !replaces_metadata && redirect.is_none() && header("x-amz-storage-class").is_none() {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing \
            the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(Error::new(Code::InvalidRequest, message));
    }
    let mut attributes = if replaces_metadata {
        attributes_of(call)?
    } else {
        Attributes { tags: Default::default(), ..from.attributes.clone() }
    };
    if let Some(location) = redirect {
        attributes.headers.insert("x-amz-website-redirect-location".to_owned(), location);
    }
    attributes.tags = match replaces(call, "x-amz-tagging-directive")? {
        true => tags_of_query(&call.header("x-amz-tagging").unwrap_or_default())?,
        false => from.attributes.tags.clone(),
    };
    let asked = call.header("x-amz-checksum-algorithm").map(|name| Algorithm::parse(&name)).transpose()?;
    let kept = from.checksum.as_ref().map(|checksum| checksum.algorithm);
    let checksum = match asked {
        Some(algorithm) if kept != asked => Some(whole_checksum(&context, &from, algorithm).await?),
        _ => from.checksum.clone(),
    };
    // the same content under a second name costs neither time nor space; a copy onto itself has one
    // as well, because the files that it was read from go if somebody else writes meanwhile
    let drafts = context.store.share(&pin).await?;
    let pieces = drafts.iter().map(|draft| draft.piece()).collect();
    let object = Object { modified: time::now(), pieces, attributes, checksum, ..from };
    let mut xml = Xml::new("CopyObjectResult");
    xml.text("ETag", quoted(&object.etag)).text("LastModified", time::iso(object.modified));
    if let Some(checksum) = &object.checksum {
        xml.text(checksum.algorithm.element(), &checksum.value).text("ChecksumType", checksum.kind());
    }
    store(&context, drafts, bucket, key, object, Guard::of(call)).await?;
    Ok(document(xml.finish()))
}

pub(super) async fn part(context: Context) -> Result<Answer> {
    let call = &context.call;
    let (bucket, key) = (call.bucket()?, call.key()?);
    let (id, number) = super::multipart::target(call)?;
    let upload = context.store.read(|view| super::multipart::upload_of(view, bucket, key, &id))?;
    let (_, _, from, pin) = source(&context).await?;
    let range = match call.header("x-amz-copy-source-range") {
        None => Range { start: 0, length: from.size },
        Some(text) => exact(&text, from.size)?,
    };
    let (draft, sums) = copied(&context, pin, range, upload.algorithm).await?;
    let part = Part { piece: draft.piece(), etag: hex(&sums.md5), modified: time::now(), checksum: sums.checksum };
    let mut xml = Xml::new("CopyPartResult");
    xml.text("ETag", quoted(&part.etag)).text("LastModified", time::iso(part.modified));
    if let Some(checksum) = &part.checksum {
        xml.text(checksum.algorithm.element(), &checksum.value);
    }
    super::multipart::store_part(&context, draft, id, number, part).await?;
    let mut answer = document(xml.finish());
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

/// Here a range has both ends, and both lie in the object.
fn exact(text: &str, size: u64) -> Result<Range> {
    let invalid =
        || Error::new(Code::InvalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last.");
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last || last >= size {
        return Err(Error::new(
            Code::InvalidRange,
            format!("The range is not within the source, which has {size} bytes."),
        ));
    }
    Ok(Range { start: first, length: last - first + 1 })
}

async fn copied(
    context: &Context,
    pin: Pin,
    range: Range,
    algorithm: Option<Algorithm>,
) -> Result<(crate::s3::store::Draft, crate::s3::checksum::Sums)> {
    let mut draft = context.store.draft().await?;
    let mut summer = Summer::new(algorithm);
    let mut chunks = std::pin::pin!(content::chunks(pin, range));
    while let Some(bytes) = chunks.try_next().await? {
        summer.update(&bytes);
        draft.write(&bytes).await?;
    }
    draft.finish().await?;
    Ok((draft, summer.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<(String, String)> {
        let request = http::Request::put("/bucket/key").header("x-amz-copy-source", text);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        source_of(&Call::new(&parts, &[]).unwrap())
    }

    #[test]
    fn a_source_is_a_bucket_and_a_key_and_no_path() {
        assert_eq!(from("/aaa/../bbb/x").unwrap(), ("aaa".into(), "../bbb/x".into()));
        assert_eq!(from("aaa/a%20b%3Fc?versionId=null").unwrap(), ("aaa".into(), "a b?c".into()));
        for bad in ["", "aaa", "aaa/", "../aaa/x", "%2e%2e/aaa"] {
            assert_eq!(from(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        assert_eq!(from("aaa/x?versionId=7").unwrap_err().code, Code::NoSuchVersion);
    }

    #[test]
    fn the_range_of_a_part_has_two_ends_in_the_source() {
        assert_eq!(exact("bytes=0-9", 10).unwrap(), Range { start: 0, length: 10 });
        assert_eq!(exact("bytes=0-10", 10).unwrap_err().code, Code::InvalidRange);
        assert_eq!(exact("bytes=-9", 10).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(exact("0-9", 10).unwrap_err().code, Code::InvalidArgument);
    }
}
