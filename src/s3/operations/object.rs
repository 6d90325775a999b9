//! Objects: written, read, looked at, removed.

use http::{HeaderMap, Method, StatusCode};
use roxmltree::Node;

use super::{
    Answer, Context, Guard, attributes_of, document, empty, full, names_etag, only_version, private_only, quoted,
    refuse_unsupported, set, set_bytes, tags_of_body, write_tags,
};
use crate::s3::checksum::{Expected, Summer, Sums, hex};
use crate::s3::content::{self, Range};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::Call;
use crate::s3::store::{Draft, Look, Object, Tables};
use crate::s3::time;
use crate::s3::xml::{self, Xml};

const DOCUMENT: usize = 4 << 20;
/// Of one upload; larger objects come in parts.
pub(super) const UPLOAD: u64 = 5 << 30;

/// Takes the body into a file of the store, and holds it to what was announced of it.
pub(super) async fn receive(context: &mut Context, expected: &Expected) -> Result<(Draft, Sums)> {
    let mut draft = context.store.draft().await?;
    let mut summer = Summer::new(expected.algorithm);
    while let Some(bytes) = context.body.next().await? {
        if draft.piece().size + bytes.len() as u64 > UPLOAD {
            return Err(Code::EntityTooLarge.into());
        }
        summer.update(&bytes);
        draft.write(&bytes).await?;
    }
    let sums = summer.finish();
    expected.check(&sums, context.body.trailers())?;
    draft.finish().await?;
    Ok((draft, sums))
}

pub(super) async fn put(mut context: Context) -> Result<Answer> {
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    refuse_unsupported(&context.call)?;
    let attributes = attributes_of(&context.call)?;
    let expected = Expected::of(&context.call)?;
    let guard = Guard::of(&context.call);
    context.store.bucket(&bucket).await?;
    let current = context.store.read(|view| view.object(&bucket, &key))?;
    guard.check(current.as_ref())?;

    let (draft, sums) = receive(&mut context, &expected).await?;
    let object = Object {
        size: draft.piece().size,
        etag: hex(&sums.md5),
        modified: time::now(),
        pieces: vec![draft.piece()],
        parts: false,
        checksum: sums.checksum,
        attributes,
    };
    let mut answer = empty(StatusCode::OK);
    set(answer.headers_mut(), "etag", &quoted(&object.etag));
    set_checksum(answer.headers_mut(), &object);
    store(&context, vec![draft], bucket, key, object, guard).await?;
    Ok(answer)
}

/// Puts an object in its place, if what is there still fits the conditions. Its pieces are those of
/// `drafts` and of no other object: they would go with that one.
pub(super) async fn store(
    context: &Context,
    drafts: Vec<Draft>,
    bucket: String,
    key: String,
    object: Object,
    guard: Guard,
) -> Result<()> {
    context
        .store
        .write(drafts, move |tables| {
            tables.bucket(&bucket)?;
            guard.check(tables.object(&bucket, &key)?.as_ref())?;
            let before = tables.put_object(&bucket, &key, &object)?;
            Ok(((), before.map(|before| before.pieces).unwrap_or_default()))
        })
        .await
}

pub(super) fn set_checksum(headers: &mut HeaderMap, object: &Object) {
    if let Some(checksum) = &object.checksum {
        set(headers, checksum.algorithm.header(), &checksum.value);
        set(headers, "x-amz-checksum-type", checksum.kind());
    }
}

/// Where there is no object, the reason may be that there is no bucket.
async fn missing(context: &Context, error: Error) -> Error {
    match (&context.call.bucket, error.code) {
        (Some(bucket), Code::NoSuchKey) => context.store.bucket(bucket).await.err().unwrap_or(error),
        _ => error,
    }
}

/// GET and HEAD, which differ in the body alone.
pub(super) async fn get(context: Context) -> Result<Answer> {
    let (bucket, key) = (context.call.bucket()?, context.call.key()?);
    let (object, pin) = match context.store.object(bucket, key) {
        Ok(found) => found,
        Err(error) => return Err(missing(&context, error).await),
    };
    only_version(&context.call)?;
    let call = &context.call;
    match conditions(call, &object) {
        Err(error) if error.code == Code::NotModified => {
            let mut answer = empty(StatusCode::NOT_MODIFIED);
            set(answer.headers_mut(), "etag", &quoted(&object.etag));
            set(answer.headers_mut(), "last-modified", &time::http(object.modified));
            return Ok(answer);
        }
        checked => checked?,
    }

    let whole = Range { start: 0, length: object.size };
    let part = part_number(call)?;
    let range = match (part, call.header("range")) {
        (Some(_), Some(_)) => {
            return Err(Error::new(
                Code::InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter",
            ));
        }
        (Some(number), None) => Some(range_of_part(&object, number)?),
        (None, Some(text)) => Range::parse(&text, object.size)?,
        (None, None) => None,
    };
    let mut answer = empty(if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let headers = answer.headers_mut();
    describe(headers, &object);
    if part.is_some() && object.parts {
        set(headers, "x-amz-mp-parts-count", &object.pieces.len().to_string());
    }
    let wants_checksum = call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if wants_checksum && range.is_none_or(|range| range == whole) {
        set_checksum(headers, &object);
    }
    for (name, value) in call.query.iter() {
        if let Some(header) = name.strip_prefix("response-").filter(|header| OVERRIDES.contains(header)) {
            set(headers, header, value);
        }
    }
    if let Some(range) = range {
        set(headers, "content-range", &range.describe(object.size));
    }
    let range = range.unwrap_or(whole);
    set(headers, "content-length", &range.length.to_string());
    if call.method == Method::GET {
        *answer.body_mut() = content::stream(pin, range);
    } else {
        *answer.body_mut() = full(bytes::Bytes::new());
    }
    Ok(answer)
}

const OVERRIDES: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];

fn describe(headers: &mut HeaderMap, object: &Object) {
    set(headers, "content-type", "binary/octet-stream");
    for (name, value) in &object.attributes.headers {
        set(headers, name, value);
    }
    for (name, value) in &object.attributes.metadata {
        set_bytes(headers, &format!("x-amz-meta-{name}"), value);
    }
    if !object.attributes.tags.is_empty() {
        set(headers, "x-amz-tagging-count", &object.attributes.tags.len().to_string());
    }
    set(headers, "accept-ranges", "bytes");
    set(headers, "etag", &quoted(&object.etag));
    set(headers, "last-modified", &time::http(object.modified));
}

fn part_number(call: &Call) -> Result<Option<usize>> {
    match call.query.number("partNumber", 10_001)? {
        Some(number @ 1..=10_000) => Ok(Some(number as usize)),
        Some(_) => {
            Err(Error::new(Code::InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
        }
        None => Ok(None),
    }
}

fn range_of_part(object: &Object, number: usize) -> Result<Range> {
    if !object.parts {
        let whole = Range { start: 0, length: object.size };
        return if number == 1 { Ok(whole) } else { Err(Code::InvalidPartNumber.into()) };
    }
    let piece = object.pieces.get(number - 1).ok_or(Code::InvalidPartNumber)?;
    let start = object.pieces.iter().take(number - 1).map(|piece| piece.size).sum();
    Ok(Range { start, length: piece.size })
}

/// As RFC 9110 has it: an ETag counts more than a time. Times are whole seconds.
fn conditions(call: &Call, object: &Object) -> Result<()> {
    let since = |name: &str| call.header(name).and_then(|text| time::parse(&text)).map(|time| time / 1000);
    let modified = object.modified / 1000;
    match (call.header("if-match"), since("if-unmodified-since")) {
        (Some(list), _) if !names_etag(&list, &object.etag) => return Err(Code::PreconditionFailed.into()),
        (None, Some(time)) if modified > time => return Err(Code::PreconditionFailed.into()),
        _ => {}
    }
    match (call.header("if-none-match"), since("if-modified-since")) {
        (Some(list), _) if names_etag(&list, &object.etag) => Err(Code::NotModified.into()),
        (None, Some(time)) if modified <= time => Err(Code::NotModified.into()),
        _ => Ok(()),
    }
}

pub(super) async fn delete(context: Context) -> Result<Answer> {
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    only_version(&context.call)?;
    let guard = Guard { matches: context.call.header("if-match"), ..Guard::default() };
    context
        .store
        .write(Vec::new(), move |tables| {
            tables.bucket(&bucket)?;
            guard.check(tables.object(&bucket, &key)?.as_ref())?;
            let before = tables.remove_object(&bucket, &key)?;
            Ok(((), before.map(|before| before.pieces).unwrap_or_default()))
        })
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_many(mut context: Context) -> Result<Answer> {
    let bucket = context.call.bucket()?.to_owned();
    let expected = Expected::of(&context.call)?;
    let body = context.body.whole(DOCUMENT).await?;
    let mut summer = Summer::new(expected.algorithm);
    summer.update(&body);
    expected.check(&summer.finish(), context.body.trailers())?;
    let (rows, quiet) = xml::read(&body, "Delete", |root| {
        let rows = xml::all(root, "Object").map(Row::of).collect::<Result<Vec<Row>>>()?;
        Ok((rows, xml::text(root, "Quiet") == Some("true")))
    })?;
    if rows.is_empty() || rows.len() > 1000 {
        return Err(Code::MalformedXML.into());
    }
    let change = move |tables: &mut Tables<'_>| {
        tables.bucket(&bucket)?;
        let (mut told, mut gone) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let checked = row.check(tables.object(&bucket, &row.key)?.as_ref());
            if checked.is_ok() {
                gone.extend(tables.remove_object(&bucket, &row.key)?.map(|before| before.pieces).unwrap_or_default());
            }
            told.push((row, checked.err()));
        }
        Ok((told, gone))
    };
    let told = context.store.write(Vec::new(), change).await?;
    let mut xml = Xml::new("DeleteResult");
    for (row, refused) in &told {
        if let Some(error) = refused {
            xml.within("Error", |xml| {
                xml.text("Key", &row.key);
                if let Some(version) = &row.version {
                    xml.text("VersionId", version);
                }
                xml.text("Code", error.code.name()).text("Message", &error.message);
            });
        } else if !quiet {
            xml.within("Deleted", |xml| {
                xml.text("Key", &row.key);
            });
        }
    }
    Ok(document(xml.finish()))
}

/// One of the objects of a list that are to be removed.
struct Row {
    key: String,
    version: Option<String>,
    guard: Guard,
    /// A condition that nothing here can be held to.
    unknown: Option<&'static str>,
}

impl Row {
    fn of(object: Node<'_, '_>) -> Result<Self> {
        let text = |name: &'static str| xml::text(object, name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            key: text("Key").ok_or(Code::MalformedXML)?,
            version: text("VersionId"),
            guard: Guard { matches: text("ETag"), ..Guard::default() },
            unknown: ["LastModifiedTime", "Size"].into_iter().find(|&name| text(name).is_some()),
        })
    }

    fn check(&self, current: Option<&Object>) -> Result<()> {
        if let Some(name) = self.unknown {
            return Err(Error::new(Code::NotImplemented, format!("This server does not implement {name}.")));
        }
        match self.version.as_deref() {
            None | Some("null") => self.guard.check(current),
            Some(_) => Err(Code::NoSuchVersion.into()),
        }
    }
}

/// The object of a request that asks about it without its content.
async fn found(context: &Context) -> Result<Object> {
    only_version(&context.call)?;
    let (bucket, key) = (context.call.bucket()?, context.call.key()?);
    match context.store.object(bucket, key) {
        Ok((object, _)) => Ok(object),
        Err(error) => Err(missing(context, error).await),
    }
}

pub(super) async fn tagging(context: Context) -> Result<Answer> {
    Ok(document(write_tags(&found(&context).await?.attributes.tags)))
}

pub(super) async fn put_tagging(mut context: Context) -> Result<Answer> {
    let tags = tags_of_body(&context.body.whole(DOCUMENT).await?, 10)?;
    change(&context, StatusCode::OK, |object| object.attributes.tags = tags).await
}

pub(super) async fn delete_tagging(context: Context) -> Result<Answer> {
    change(&context, StatusCode::NO_CONTENT, |object| object.attributes.tags.clear()).await
}

async fn change(
    context: &Context,
    status: StatusCode,
    how: impl FnOnce(&mut Object) + Send + 'static,
) -> Result<Answer> {
    found(context).await?;
    let (bucket, key) = (context.call.bucket()?.to_owned(), context.call.key()?.to_owned());
    context
        .store
        .write(Vec::new(), move |tables| {
            let mut object = tables.object(&bucket, &key)?.ok_or(Code::NoSuchKey)?;
            how(&mut object);
            tables.put_object(&bucket, &key, &object)?;
            Ok(((), Vec::new()))
        })
        .await?;
    Ok(empty(status))
}

pub(super) async fn acl(context: Context) -> Result<Answer> {
    found(&context).await?;
    let mut xml = Xml::new("AccessControlPolicy");
    xml.full_control();
    Ok(document(xml.finish()))
}

pub(super) async fn put_acl(context: Context) -> Result<Answer> {
    found(&context).await?;
    private_only(&context.call)?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn attributes(context: Context) -> Result<Answer> {
    let object = found(&context).await?;
    let asked = context.call.header("x-amz-object-attributes").unwrap_or_default();
    let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    if asked.is_empty() || asked.iter().any(|name| !known.contains(name)) {
        return Err(Error::new(Code::InvalidArgument, "Invalid attribute name specified."));
    }
    let mut xml = Xml::new("GetObjectAttributesResponse");
    for name in asked {
        match name {
            "ETag" => {
                xml.text("ETag", &object.etag);
            }
            "Checksum" => {
                if let Some(checksum) = &object.checksum {
                    xml.within("Checksum", |xml| {
                        xml.text(checksum.algorithm.element(), &checksum.value).text("ChecksumType", checksum.kind());
                    });
                }
            }
            "ObjectParts" if object.parts => {
                xml.within("ObjectParts", |xml| {
                    xml.number("PartsCount", object.pieces.len() as u64).text("IsTruncated", "false");
                    for (number, piece) in (1..).zip(&object.pieces) {
                        xml.within("Part", |xml| {
                            xml.number("PartNumber", number).number("Size", piece.size);
                        });
                    }
                });
            }
            "StorageClass" => {
                xml.text("StorageClass", "STANDARD");
            }
            "ObjectSize" => {
                xml.number("ObjectSize", object.size);
            }
            _ => {}
        }
    }
    let mut answer = document(xml.finish());
    set(answer.headers_mut(), "last-modified", &time::http(object.modified));
    Ok(answer)
}
