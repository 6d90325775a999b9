//! Buckets and what belongs to them as a whole.

use http::StatusCode;

use super::{Answer, Context, document, empty, private_only, refuse_unsupported, tags_of_body, write_tags};
use crate::s3::cors;
use crate::s3::error::{Code, Result};
use crate::s3::store::{Bucket, Look};
use crate::s3::time;
use crate::s3::xml::Xml;

/// Of a request's own XML.
const DOCUMENT: usize = 1 << 20;

pub(super) async fn list(context: Context) -> Result<Answer> {
    context.store.make_wanted().await?;
    let query = &context.call.query;
    let prefix = query.text("prefix").unwrap_or_default();
    let after = query.text("continuation-token").unwrap_or_default();
    let most = query.number("max-buckets", 10_000)?.unwrap_or(10_000) as usize;
    let mut buckets = context.store.read(|view| view.buckets())?;
    buckets.retain(|(name, _)| name.starts_with(prefix) && name.as_str() > after);
    let more = buckets.len() > most;
    buckets.truncate(most);
    let mut xml = Xml::new("ListAllMyBucketsResult");
    xml.owner("Owner").within("Buckets", |xml| {
        for (name, bucket) in &buckets {
            xml.within("Bucket", |xml| {
                xml.text("Name", name).text("CreationDate", time::iso(bucket.created));
            });
        }
    });
    if let (true, Some((last, _))) = (more, buckets.last()) {
        xml.text("ContinuationToken", last);
    }
    Ok(document(xml.finish()))
}

pub(super) async fn create(context: Context) -> Result<Answer> {
    let name = context.call.bucket()?.to_owned();
    let location = format!("/{name}");
    refuse_unsupported(&context.call)?;
    context
        .store
        .write(Vec::new(), move |tables| match tables.bucket(&name) {
            Ok(_) => Err(Code::BucketAlreadyOwnedByYou.into()),
            Err(error) if error.code == Code::NoSuchBucket => {
                tables.put_bucket(&name, &Bucket { created: time::now(), ..Bucket::default() })?;
                Ok(((), Vec::new()))
            }
            Err(error) => Err(error),
        })
        .await?;
    let mut answer = empty(StatusCode::OK);
    super::set(answer.headers_mut(), "location", &location);
    Ok(answer)
}

pub(super) async fn head(context: Context) -> Result<Answer> {
    context.store.bucket(context.call.bucket()?).await?;
    let mut answer = empty(StatusCode::OK);
    super::set(answer.headers_mut(), "x-amz-bucket-region", "us-east-1");
    Ok(answer)
}

pub(super) async fn delete(context: Context) -> Result<Answer> {
    let name = context.call.bucket()?.to_owned();
    context
        .store
        .write(Vec::new(), move |tables| {
            tables.bucket(&name)?;
            if !tables.is_empty(&name)? {
                return Err(Code::BucketNotEmpty.into());
            }
            let mut gone = Vec::new();
            for (id, _) in tables.uploads(&name)? {
                gone.extend(tables.remove_upload(&name, &id)?.into_iter().map(|(_, part)| part.piece));
            }
            tables.remove_bucket(&name)?;
            Ok(((), gone))
        })
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// An answer that is the same for every bucket that exists.
async fn fixed(context: Context, write: impl FnOnce() -> String) -> Result<Answer> {
    context.store.bucket(context.call.bucket()?).await?;
    Ok(document(write()))
}

/// Empty: the first of Amazon's regions, which signatures name by default.
pub(super) async fn location(context: Context) -> Result<Answer> {
    fixed(context, || Xml::new("LocationConstraint").finish()).await
}

pub(super) async fn versioning(context: Context) -> Result<Answer> {
    fixed(context, || Xml::new("VersioningConfiguration").finish()).await
}

pub(super) async fn notification(context: Context) -> Result<Answer> {
    fixed(context, || Xml::new("NotificationConfiguration").finish()).await
}

pub(super) async fn logging(context: Context) -> Result<Answer> {
    fixed(context, || Xml::new("BucketLoggingStatus").finish()).await
}

pub(super) async fn request_payment(context: Context) -> Result<Answer> {
    fixed(context, || {
        let mut xml = Xml::new("RequestPaymentConfiguration");
        xml.text("Payer", "BucketOwner");
        xml.finish()
    })
    .await
}

pub(super) async fn acl(context: Context) -> Result<Answer> {
    fixed(context, || {
        let mut xml = Xml::new("AccessControlPolicy");
        xml.full_control();
        xml.finish()
    })
    .await
}

pub(super) async fn put_acl(context: Context) -> Result<Answer> {
    context.store.bucket(context.call.bucket()?).await?;
    private_only(&context.call)?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn cors(context: Context) -> Result<Answer> {
    let bucket = context.store.bucket(context.call.bucket()?).await?;
    if bucket.cors.is_empty() {
        return Err(Code::NoSuchCORSConfiguration.into());
    }
    Ok(document(cors::write(&bucket.cors)))
}

pub(super) async fn put_cors(mut context: Context) -> Result<Answer> {
    let rules = cors::parse(&context.body.whole(DOCUMENT).await?)?;
    change(&context, StatusCode::OK, |bucket| bucket.cors = rules).await
}

pub(super) async fn delete_cors(context: Context) -> Result<Answer> {
    change(&context, StatusCode::NO_CONTENT, |bucket| bucket.cors.clear()).await
}

pub(super) async fn tagging(context: Context) -> Result<Answer> {
    let bucket = context.store.bucket(context.call.bucket()?).await?;
    if bucket.tags.is_empty() {
        return Err(Code::NoSuchTagSet.into());
    }
    Ok(document(write_tags(&bucket.tags)))
}

pub(super) async fn put_tagging(mut context: Context) -> Result<Answer> {
    let tags = tags_of_body(&context.body.whole(DOCUMENT).await?, 50)?;
    change(&context, StatusCode::NO_CONTENT, |bucket| bucket.tags = tags).await
}

pub(super) async fn delete_tagging(context: Context) -> Result<Answer> {
    change(&context, StatusCode::NO_CONTENT, |bucket| bucket.tags.clear()).await
}

async fn change(
    context: &Context,
    status: StatusCode,
    how: impl FnOnce(&mut Bucket) + Send + 'static,
) -> Result<Answer> {
    let name = context.call.bucket()?.to_owned();
    context.store.bucket(&name).await?;
    context
        .store
        .write(Vec::new(), move |tables| {
            let mut bucket = tables.bucket(&name)?;
            how(&mut bucket);
            tables.put_bucket(&name, &bucket)?;
            Ok(((), Vec::new()))
        })
        .await?;
    Ok(empty(status))
}
