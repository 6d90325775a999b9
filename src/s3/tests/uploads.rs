//! Uploads in parts.

use super::*;

async fn begin(server: &Running, key: &str) -> String {
    let begun = owner(server, "POST", &format!("/uploads/{key}?uploads"), "").await;
    begun.element("UploadId").unwrap().to_owned()
}

#[tokio::test]
async fn an_upload_in_parts_is_one_object_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let id = begin(&server, "big").await;
    let first = "a".repeat(5 << 20);
    let mut list = String::new();
    for (number, content) in [(1, first.as_str()), (2, "tail")] {
        let path = format!("/uploads/big?partNumber={number}&uploadId={id}");
        let answer = owner(&server, "PUT", &path, content).await;
        list.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
            answer.headers["etag"]
        ));
    }
    assert_eq!(owner(&server, "GET", "/uploads/big", "").await.told(), (404, "NoSuchKey"));
    let done = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let path = format!("/uploads/big?uploadId={id}");
    assert_eq!(owner(&server, "POST", &path, &done).await.status, 200);
    // asked again by a client that did not hear the answer
    assert_eq!(owner(&server, "POST", &path, &done).await.status, 200);
    let other =
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>aa</ETag></Part></CompleteMultipartUpload>";
    assert_eq!(owner(&server, "POST", &path, other).await.told(), (404, "NoSuchUpload"));
    let range = ask(&server, OWNER, "GET", "/uploads/big", &[("range", "bytes=5242878-5242881")], "").await;
    assert_eq!((range.status, range.body.as_str()), (206, "aata"));
    assert_eq!(range.headers["content-range"], "bytes 5242878-5242881/5242884");
    assert!(range.headers["etag"].ends_with("-2\""));
    let part = owner(&server, "GET", "/uploads/big?partNumber=2", "").await;
    assert_eq!((part.body.as_str(), part.headers["x-amz-mp-parts-count"].as_str()), ("tail", "2"));

    // and as a copy
    let copied = ask(&server, OWNER, "PUT", "/uploads/copy", &[("x-amz-copy-source", "/uploads/big")], "").await;
    assert_eq!(copied.status, 200, "{}", copied.body);
    assert_eq!(owner(&server, "DELETE", "/uploads/big", "").await.status, 204);
    let range = ask(&server, OWNER, "GET", "/uploads/copy", &[("range", "bytes=-4")], "").await;
    assert_eq!(range.body, "tail");
}

#[tokio::test]
async fn an_upload_is_of_the_key_that_it_was_begun_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    owner(&server, "PUT", "/uploads/source", "content").await;
    let id = begin(&server, "big").await;
    let part = owner(&server, "PUT", &format!("/uploads/big?partNumber=1&uploadId={id}"), "content").await;
    let list = format!("<Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>", part.headers["etag"]);
    let done = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let copy = [("x-amz-copy-source", "/uploads/source")];
    let requests = [
        ("PUT", format!("partNumber=1&uploadId={id}"), vec![], "other", 200),
        ("PUT", format!("partNumber=1&uploadId={id}"), copy.to_vec(), "", 200),
        ("GET", format!("uploadId={id}"), vec![], "", 200),
        ("POST", format!("uploadId={id}"), vec![], done.as_str(), 200),
        // done, so that the id is gone for its own key as well
        ("DELETE", format!("uploadId={id}"), vec![], "", 404),
    ];
    for (method, query, headers, body, _) in &requests {
        let answer = ask(&server, OWNER, method, &format!("/uploads/other?{query}"), headers, body).await;
        assert_eq!(answer.told(), (404, "NoSuchUpload"), "{method} {query} {headers:?}");
    }
    for (method, query, headers, body, status) in &requests {
        let answer = ask(&server, OWNER, method, &format!("/uploads/big?{query}"), headers, body).await;
        assert_eq!(answer.status, *status, "{method} {query} {headers:?}: {}", answer.body);
    }
    assert_eq!(owner(&server, "GET", "/uploads/big", "").await.body, "content");
    assert_eq!(owner(&server, "GET", "/uploads/other", "").await.told(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_completion_is_held_to_what_the_client_knows() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let id = begin(&server, "big").await;
    let sum = [("x-amz-checksum-crc32", "NSRBwg==")];
    let path = format!("/uploads/big?partNumber=1&uploadId={id}");
    let part = ask(&server, OWNER, "PUT", &path, &sum, "abc").await;
    assert_eq!(part.status, 200, "{}", part.body);
    let etag = &part.headers["etag"];
    let complete = async |checksum: &str, headers: &[(&str, &str)]| {
        let part = format!(
            "<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><ChecksumCRC32>{checksum}</ChecksumCRC32></Part>"
        );
        let body = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        let answer = ask(&server, OWNER, "POST", &format!("/uploads/big?uploadId={id}"), headers, &body).await;
        let (status, code) = answer.told();
        (status, code.to_owned())
    };
    assert_eq!(complete("AAAAAA==", &[]).await, (400, "InvalidPart".to_owned()));
    for size in ["7", "three"] {
        let told = complete("NSRBwg==", &[("x-amz-mp-object-size", size)]).await;
        assert_eq!(told, (400, "InvalidRequest".to_owned()), "{size}");
    }
    assert_eq!(complete("NSRBwg==", &[("x-amz-mp-object-size", "3")]).await, (200, String::new()));
    assert_eq!(owner(&server, "GET", "/uploads/big", "").await.body, "abc");
}

#[tokio::test]
async fn a_list_of_uploads_goes_on_when_the_last_one_told_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let mut begun = Vec::new();
    for key in ["a", "k", "k", "k", "z"] {
        begun.push(begin(&server, key).await);
    }
    let (mut found, mut markers) = (Vec::new(), String::new());
    loop {
        let page = owner(&server, "GET", &format!("/uploads?uploads&max-uploads=1{markers}"), "").await;
        let (key, id) = (page.element("Key").unwrap().to_owned(), page.element("UploadId").unwrap().to_owned());
        assert_eq!(owner(&server, "DELETE", &format!("/uploads/{key}?uploadId={id}"), "").await.status, 204);
        markers = format!("&key-marker={key}&upload-id-marker={id}");
        found.push(id);
        if page.element("IsTruncated") == Some("false") {
            break;
        }
    }
    for all in [&mut begun, &mut found] {
        all.sort();
    }
    assert_eq!(found, begun);
}
