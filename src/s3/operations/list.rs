//! Lists: of objects in their two forms, of versions (there is one of each object), of uploads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Answer, Context, document, quoted};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::{Call, encoded};
use crate::s3::store::{Look, Object};
use crate::s3::time;
use crate::s3::xml::Xml;

/// What one page of a list holds at most.
const PAGE: u64 = 1000;

/// Which names are asked for. An empty delimiter is none.
#[derive(Debug, Clone, Default)]
struct Question {
    prefix: String,
    delimiter: String,
    /// What comes up to here has been told.
    after: String,
    most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Object(String, Box<Object>),
    Prefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// Entries in their order, and whether there are more.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    entries: Vec<Entry>,
    more: bool,
}

impl Page {
    /// Where the next page goes on.
    fn last(&self) -> Option<&str> {
        self.entries.last().filter(|_| self.more).map(Entry::name)
    }
}

/// The part of a key that is told in place of all keys that begin with it.
fn common<'k>(question: &Question, key: &'k str) -> Option<&'k str> {
    let rest = key.strip_prefix(question.prefix.as_str()).filter(|_| !question.delimiter.is_empty())?;
    let at = rest.find(question.delimiter.as_str())?;
    key.get(..question.prefix.len() + at + question.delimiter.len())
}

fn page(look: &impl Look, bucket: &str, question: &Question) -> Result<Page> {
    let mut page = Page::default();
    if question.most == 0 {
        return Ok(page);
    }
    let mut from = question.after.clone().max(question.prefix.clone());
    loop {
        // keys below a common prefix are not walked through: the search goes on behind them
        let mut jump = None;
        look.objects(bucket, &from, |key, object| {
            if !key.starts_with(&question.prefix) {
                return Ok(false);
            }
            if key <= question.after.as_str() {
                return Ok(true);
            }
            let told = page.entries.last().map(Entry::name);
            let entry = match common(question, key) {
                Some(prefix) if prefix == question.after || told == Some(prefix) => {
                    jump = Some(format!("{prefix}{}", char::MAX)).filter(|jump| jump.as_str() > key);
                    return Ok(jump.is_none());
                }
                Some(prefix) => Entry::Prefix(prefix.to_owned()),
                None => Entry::Object(key.to_owned(), Box::new(object)),
            };
            if page.entries.len() == question.most {
                page.more = true;
                return Ok(false);
            }
            page.entries.push(entry);
            Ok(true)
        })?;
        match jump {
            Some(jump) => from = jump,
            None => return Ok(page),
        }
    }
}

/// How names are written: as they are, or percent-encoded for those that XML cannot hold.
struct Names(bool);

impl Names {
    fn of(call: &Call) -> Result<Self> {
        match call.query.text("encoding-type") {
            None => Ok(Self(false)),
            Some("url") => Ok(Self(true)),
            Some(_) => Err(Error::new(Code::InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    fn write(&self, name: &str) -> String {
        if self.0 { encoded(name, false) } else { name.to_owned() }
    }
}

fn question(call: &Call, after: String) -> Result<Question> {
    let text = |name: &str| call.query.text(name).unwrap_or_default().to_owned();
    let most = call.query.number("max-keys", PAGE)?.unwrap_or(PAGE);
    Ok(Question {
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        after,
        most: usize::try_from(most).unwrap_or(0),
    })
}

async fn ask(context: &Context, question: &Question) -> Result<Page> {
    let bucket = context.call.bucket()?;
    context.store.bucket(bucket).await?;
    context.store.read(|view| page(view, bucket, question))
}

/// What all lists begin with.
fn begin(xml: &mut Xml, call: &Call, names: &Names, question: &Question, page: &Page) -> Result<()> {
    xml.text("Name", call.bucket()?).text("Prefix", names.write(&question.prefix));
    if !question.delimiter.is_empty() {
        xml.text("Delimiter", names.write(&question.delimiter));
    }
    xml.number("MaxKeys", question.most as u64).text("IsTruncated", page.more.to_string());
    if names.0 {
        xml.text("EncodingType", "url");
    }
    Ok(())
}

fn contents(xml: &mut Xml, names: &Names, page: &Page, owner: bool, version: bool) {
    let element = if version { "Version" } else { "Contents" };
    for entry in &page.entries {
        let Entry::Object(key, object) = entry else { continue };
        xml.within(element, |xml| {
            xml.text("Key", names.write(key));
            if version {
                xml.text("VersionId", "null").text("IsLatest", "true");
            }
            xml.text("LastModified", time::iso(object.modified)).text("ETag", quoted(&object.etag));
            if let Some(checksum) = &object.checksum {
                xml.text("ChecksumAlgorithm", checksum.algorithm.name()).text("ChecksumType", checksum.kind());
            }
            xml.number("Size", object.size).text("StorageClass", "STANDARD");
            if owner {
                xml.owner("Owner");
            }
        });
    }
    for entry in &page.entries {
        if let Entry::Prefix(prefix) = entry {
            xml.within("CommonPrefixes", |xml| {
                xml.text("Prefix", names.write(prefix));
            });
        }
    }
}

pub(super) async fn objects(context: Context) -> Result<Answer> {
    let call = &context.call;
    let names = Names::of(call)?;
    let marker = call.query.text("marker").unwrap_or_default().to_owned();
    let question = question(call, marker.clone())?;
    let page = ask(&context, &question).await?;
    let mut xml = Xml::new("ListBucketResult");
    begin(&mut xml, call, &names, &question, &page)?;
    xml.text("Marker", names.write(&marker));
    if let Some(last) = page.last().filter(|_| !question.delimiter.is_empty()) {
        xml.text("NextMarker", names.write(last));
    }
    contents(&mut xml, &names, &page, true, false);
    Ok(document(xml.finish()))
}

pub(super) async fn objects_v2(context: Context) -> Result<Answer> {
    let call = &context.call;
    let names = Names::of(call)?;
    let start = call.query.text("start-after").unwrap_or_default().to_owned();
    let token = call.query.get("continuation-token");
    let after = match token {
        None | Some("") => start.clone(),
        Some(token) => {
            let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
            let last = String::from_utf8(bytes).ok().filter(|last| !last.is_empty());
            last.ok_or_else(|| Error::new(Code::InvalidArgument, "The continuation token provided is incorrect"))?
        }
    };
    let question = question(call, after)?;
    let page = ask(&context, &question).await?;
    let mut xml = Xml::new("ListBucketResult");
    begin(&mut xml, call, &names, &question, &page)?;
    xml.number("KeyCount", page.entries.len() as u64);
    if let Some(token) = token {
        xml.text("ContinuationToken", token);
    }
    if !start.is_empty() {
        xml.text("StartAfter", names.write(&start));
    }
    if let Some(last) = page.last() {
        xml.text("NextContinuationToken", URL_SAFE_NO_PAD.encode(last));
    }
    contents(&mut xml, &names, &page, call.query.get("fetch-owner") == Some("true"), false);
    Ok(document(xml.finish()))
}

pub(super) async fn versions(context: Context) -> Result<Answer> {
    let call = &context.call;
    let names = Names::of(call)?;
    let marker = call.query.text("key-marker").unwrap_or_default().to_owned();
    let question = question(call, marker.clone())?;
    let page = ask(&context, &question).await?;
    let mut xml = Xml::new("ListVersionsResult");
    begin(&mut xml, call, &names, &question, &page)?;
    xml.text("KeyMarker", names.write(&marker)).text("VersionIdMarker", "");
    if let Some(last) = page.last() {
        xml.text("NextKeyMarker", names.write(last)).text("NextVersionIdMarker", "null");
    }
    contents(&mut xml, &names, &page, true, true);
    Ok(document(xml.finish()))
}

pub(super) async fn uploads(context: Context) -> Result<Answer> {
    let call = &context.call;
    let names = Names::of(call)?;
    let bucket = call.bucket()?;
    let text = |name: &str| call.query.text(name).unwrap_or_default().to_owned();
    let (marker, id_marker) = (text("key-marker"), text("upload-id-marker"));
    let most = usize::try_from(call.query.number("max-uploads", PAGE)?.unwrap_or(PAGE)).unwrap_or(0);
    let question = Question { prefix: text("prefix"), delimiter: text("delimiter"), after: String::new(), most };
    context.store.bucket(bucket).await?;
    let all = context.store.read(|view| view.uploads(bucket))?;
    let mut shown = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut more = false;
    for (id, upload) in &all {
        // up to the upload that the last page ended with, which may be gone, or to all of its key
        let told = match id_marker.is_empty() {
            true => upload.key <= marker,
            false => (&upload.key, id) <= (&marker, &id_marker),
        };
        if told || !upload.key.starts_with(&question.prefix) {
            continue;
        }
        let prefix = common(&question, &upload.key);
        if prefix.is_some_and(|prefix| prefixes.last().is_some_and(|last| last == prefix) || prefix == marker) {
            continue;
        }
        if shown.len() + prefixes.len() == most {
            more = true;
            break;
        }
        match prefix {
            Some(prefix) => prefixes.push(prefix.to_owned()),
            None => shown.push((id, upload)),
        }
    }
    let mut xml = Xml::new("ListMultipartUploadsResult");
    xml.text("Bucket", bucket).text("KeyMarker", names.write(&marker)).text("UploadIdMarker", &id_marker);
    if more {
        let last_prefix = prefixes.last().map(String::as_str);
        let last = shown.last().map(|(id, upload)| (upload.key.as_str(), id.as_str()));
        let (key, id) = match (last, last_prefix) {
            (Some((key, _)), Some(prefix)) if prefix > key => (prefix, ""),
            (Some(last), _) => last,
            (None, prefix) => (prefix.unwrap_or_default(), ""),
        };
        xml.text("NextKeyMarker", names.write(key)).text("NextUploadIdMarker", id);
    }
    xml.text("Prefix", names.write(&question.prefix));
    if !question.delimiter.is_empty() {
        xml.text("Delimiter", names.write(&question.delimiter));
    }
    if names.0 {
        xml.text("EncodingType", "url");
    }
    xml.number("MaxUploads", most as u64).text("IsTruncated", more.to_string());
    for (id, upload) in shown {
        xml.within("Upload", |xml| {
            xml.text("Key", names.write(&upload.key)).text("UploadId", id).owner("Initiator").owner("Owner");
            xml.text("StorageClass", "STANDARD").text("Initiated", time::iso(upload.started));
            if let Some(algorithm) = upload.algorithm {
                xml.text("ChecksumAlgorithm", algorithm.name());
            }
        });
    }
    for prefix in &prefixes {
        xml.within("CommonPrefixes", |xml| {
            xml.text("Prefix", names.write(prefix));
        });
    }
    Ok(document(xml.finish()))
}
