//! The whole server with a client that knows nothing of it: raw HTTP, signed as version 2 has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{Server, Settings};

mod uploads;

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

async fn start(folder: &Path) -> Running {
    let users = folder.join("users");
    std::fs::write(&users, "shop shop-secret uploads\n").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(Settings {
        folder: folder.join("data"),
        address: any,
        console: any,
        access_key: "owner".into(),
        secret_key: "owner-secret".into(),
        users: Some(users),
        buckets: None,
        domains: vec!["s3.test".into()],
    });
    let server = server.await.unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.run(async move { drop(stopped.await) }));
    Running { address, stop: Some(stop) }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    /// The status, and the code of an error.
    fn told(&self) -> (u16, &str) {
        (self.status, self.element("Code").unwrap_or_default())
    }

    /// The text of the first element of this name.
    fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(text, _)| text)
    }
}

/// Signs and sends one request. `path`: as it stands on the wire.
async fn ask(
    server: &Running,
    who: (&str, &str),
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let date = super::time::http(super::time::now());
    let amazon: BTreeMap<&str, &str> = headers.iter().copied().filter(|(name, _)| name.starts_with("x-amz-")).collect();
    let amazon: String = amazon.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (resource, query) = path.split_once('?').unwrap_or((path, ""));
    let signed = ["uploads", "uploadId", "partNumber", "delete", "cors", "tagging"];
    let mut parameters: Vec<&str> =
        query.split('&').filter(|pair| signed.contains(&pair.split('=').next().unwrap_or_default())).collect();
    parameters.sort_unstable();
    let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    let text = format!("{method}\n\n\n{date}\n{amazon}{resource}{query}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, who.1.as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, text.as_bytes()));
    let authorization = format!("AWS {}:{signature}", who.0);
    let mut all = vec![("date", date.as_str())];
    if !who.0.is_empty() {
        all.push(("authorization", &authorization));
    }
    all.extend_from_slice(headers);
    send(server, method, path, &all, body).await
}

async fn send(server: &Running, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        server.address,
        body.len()
    );
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    socket.write_all(format!("{request}\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

const OWNER: (&str, &str) = ("owner", "owner-secret");
const SHOP: (&str, &str) = ("shop", "shop-secret");
const NOBODY: (&str, &str) = ("", "");

async fn owner(server: &Running, method: &str, path: &str, body: &str) -> Answer {
    ask(server, OWNER, method, path, &[], body).await
}

#[tokio::test]
async fn a_key_opens_its_own_bucket_and_no_other_whatever_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    for bucket in ["/uploads", "/others"] {
        assert_eq!(owner(&server, "PUT", bucket, "").await.status, 200);
    }
    assert_eq!(owner(&server, "PUT", "/others/x", "secret").await.status, 200);
    assert_eq!(owner(&server, "PUT", "/uploads/x", "mine").await.status, 200);

    // names that look like ways out are names of the own bucket
    for path in ["/uploads/../others/x", "/uploads/%2e%2e/others/x", "/uploads/..%2Fothers%2Fx"] {
        assert_eq!(ask(&server, SHOP, "GET", path, &[], "").await.told(), (404, "NoSuchKey"), "{path}");
        assert_eq!(ask(&server, SHOP, "PUT", path, &[], "evil").await.status, 200, "{path}");
        assert_eq!(ask(&server, SHOP, "GET", path, &[], "").await.body, "evil", "{path}");
        assert_eq!(ask(&server, SHOP, "DELETE", path, &[], "").await.status, 204, "{path}");
    }
    assert_eq!(owner(&server, "GET", "/others/x", "").await.body, "secret");

    let refused = [
        ("GET", "/others/x", vec![]),
        ("HEAD", "/others/x", vec![]),
        ("PUT", "/others/x", vec![]),
        ("DELETE", "/others/x", vec![]),
        ("GET", "/others", vec![]),
        ("GET", "/others?list-type=2&prefix=x", vec![]),
        ("POST", "/others/x?uploads", vec![]),
        ("PUT", "/others/x?partNumber=1&uploadId=1", vec![]),
        ("POST", "/others?delete", vec![]),
        ("PUT", "/others?cors", vec![]),
        ("PUT", "/others", vec![]),
        ("DELETE", "/others", vec![]),
        ("GET", "/", vec![]),
        ("PUT", "/uploads/copy", vec![("x-amz-copy-source", "/others/x")]),
        ("PUT", "/uploads/copy", vec![("x-amz-copy-source", "others%2Fx")]),
        ("PUT", "/others/copy", vec![("x-amz-copy-source", "/uploads/x")]),
    ];
    for (method, path, headers) in refused {
        let answer = ask(&server, SHOP, method, path, &headers, "").await;
        assert_eq!(answer.status, 403, "{method} {path} {headers:?}: {}", answer.body);
    }
    // a source whose name leads elsewhere only if it is read as a path
    let sideways = [("x-amz-copy-source", "/uploads/../others/x")];
    assert_eq!(ask(&server, SHOP, "PUT", "/uploads/copy", &sideways, "").await.told(), (404, "NoSuchKey"));
    assert_eq!(ask(&server, NOBODY, "GET", "/others/x", &[], "").await.told(), (403, "AccessDenied"));
    assert_eq!(
        ask(&server, ("shop", "wrong"), "GET", "/uploads/x", &[], "").await.told(),
        (403, "SignatureDoesNotMatch")
    );
    assert_eq!(ask(&server, ("who", "x"), "GET", "/uploads/x", &[], "").await.told(), (403, "InvalidAccessKeyId"));
    assert_eq!(owner(&server, "GET", "/others/x", "").await.body, "secret");
}

/// `macula open minio` leads there.
#[tokio::test]
async fn a_browser_gets_a_page_and_a_client_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let html = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = ask(&server, NOBODY, "GET", "/", &html, "").await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html"));
    assert!(page.body.contains("<code>macula creds minio</code>"), "{}", page.body);
    let refused = (403, "AccessDenied");
    assert_eq!(ask(&server, NOBODY, "GET", "/", &[("accept", "*/*")], "").await.told(), refused);
    assert_eq!(ask(&server, NOBODY, "GET", "/uploads", &html, "").await.told(), refused);
    assert_eq!(ask(&server, NOBODY, "PUT", "/", &html, "").await.status, 403);
    let listed = ask(&server, OWNER, "GET", "/", &html, "").await;
    assert_eq!((listed.status, listed.element("ID").is_some()), (200, true), "{}", listed.body);
}

#[tokio::test]
async fn a_copy_onto_itself_keeps_its_content_whoever_writes_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    owner(&server, "PUT", "/uploads/k", "version 0").await;
    let itself = [("x-amz-copy-source", "/uploads/k")];
    assert_eq!(ask(&server, OWNER, "PUT", "/uploads/k", &itself, "").await.told(), (400, "InvalidRequest"));
    let replaced =
        [("x-amz-copy-source", "/uploads/k"), ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-color", "blue")];
    for round in 1..=10 {
        let content = format!("version {round}");
        let copies = async {
            for _ in 0..5 {
                let answer = ask(&server, OWNER, "PUT", "/uploads/k", &replaced, "").await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        };
        let (put, ()) = tokio::join!(owner(&server, "PUT", "/uploads/k", &content), copies);
        assert_eq!(put.status, 200, "{}", put.body);
        let got = owner(&server, "GET", "/uploads/k", "").await;
        // whichever was written last
        let before = format!("version {}", round - 1);
        assert!(got.body == content || got.body == before, "{round}: {} {:?}", got.status, got.body);
        // so that the next round begins with a known version
        owner(&server, "PUT", "/uploads/k", &content).await;
    }
    assert_eq!(ask(&server, OWNER, "PUT", "/uploads/k", &replaced, "").await.status, 200);
    // what changes no metadata is a change as well
    for change in [("x-amz-storage-class", "STANDARD_IA"), ("x-amz-website-redirect-location", "/there")] {
        let answer = ask(&server, OWNER, "PUT", "/uploads/k", &[itself[0], change], "").await;
        assert_eq!(answer.status, 200, "{change:?}: {}", answer.body);
    }
    let got = owner(&server, "GET", "/uploads/k", "").await;
    assert_eq!((got.body.as_str(), got.headers["x-amz-meta-color"].as_str()), ("version 10", "blue"));
    assert_eq!(got.headers["x-amz-website-redirect-location"], "/there");
}

#[tokio::test]
async fn a_copy_has_the_checksum_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let crc32 = [("x-amz-checksum-crc32", "NSRBwg==")];
    assert_eq!(ask(&server, OWNER, "PUT", "/uploads/k", &crc32, "abc").await.status, 200);
    let source = ("x-amz-copy-source", "/uploads/k");
    let sha256 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    for (asked, element, value) in [
        (None, "ChecksumCRC32", "NSRBwg=="),
        (Some("CRC32"), "ChecksumCRC32", "NSRBwg=="),
        (Some("SHA256"), "ChecksumSHA256", sha256),
    ] {
        let mut headers = vec![source];
        headers.extend(asked.map(|asked| ("x-amz-checksum-algorithm", asked)));
        let copied = ask(&server, OWNER, "PUT", "/uploads/copy", &headers, "").await;
        assert_eq!((copied.status, copied.element(element)), (200, Some(value)), "{asked:?}: {}", copied.body);
    }
    let got = ask(&server, OWNER, "GET", "/uploads/copy", &[("x-amz-checksum-mode", "ENABLED")], "").await;
    assert_eq!((got.body.as_str(), got.headers["x-amz-checksum-sha256"].as_str()), ("abc", sha256));
}

#[tokio::test]
async fn a_bucket_is_listed_by_prefix_delimiter_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    for key in ["a/1", "a/2", "a//3", "b", "c/d/e", "c/"] {
        assert_eq!(owner(&server, "PUT", &format!("/uploads/{key}"), "x").await.status, 200, "{key}");
    }
    let names = |answer: &Answer| -> Vec<String> {
        let text =
            answer.body.replace("<CommonPrefixes><Prefix>", "<Key>").replace("</Prefix></CommonPrefixes>", "</Key>");
        text.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0.to_owned()).collect()
    };
    let list = async |query: &str| names(&owner(&server, "GET", &format!("/uploads?{query}"), "").await);
    let all = ["a//3", "a/1", "a/2", "b", "c/", "c/d/e"];
    assert_eq!(list("").await, all);
    assert_eq!(list("list-type=2&delimiter=").await, all);
    assert_eq!(list("delimiter=/").await, ["b", "a/", "c/"]);
    assert_eq!(list("prefix=a/&delimiter=/").await, ["a/1", "a/2", "a//"]);
    assert_eq!(list("prefix=c/&delimiter=/").await, ["c/", "c/d/"]);
    assert_eq!(list("list-type=2&start-after=a/1").await, ["a/2", "b", "c/", "c/d/e"]);
    assert_eq!(list("max-keys=0").await, [""; 0]);

    // every page size gives each name once
    for size in 1..=4 {
        let (mut found, mut marker) = (Vec::new(), String::new());
        for _ in 0..10 {
            let answer =
                owner(&server, "GET", &format!("/uploads?delimiter=/&max-keys={size}&marker={marker}"), "").await;
            found.extend(names(&answer));
            match answer.body.split_once("<NextMarker>") {
                Some((_, rest)) => marker = rest.split_once('<').unwrap().0.to_owned(),
                None => break,
            }
        }
        found.sort();
        assert_eq!(found, ["a/", "b", "c/"], "pages of {size}");
    }
}

#[tokio::test]
async fn objects_come_back_as_they_were_described() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let headers = [
        ("content-encoding", "gzip,aws-chunked"),
        ("cache-control", "no-store"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-tagging", "a=b"),
    ];
    let put = ask(&server, OWNER, "PUT", "/uploads/k", &headers, "one").await;
    assert_eq!(put.headers["etag"], "\"f97c5d29941bfb1b2fdab0874906ab82\"");
    let got = owner(&server, "GET", "/uploads/k", "").await;
    let wanted = [
        ("content-encoding", "gzip"),
        ("cache-control", "no-store"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-tagging-count", "1"),
    ];
    for (name, value) in wanted {
        assert_eq!(got.headers[name], value, "{name}");
    }
    let etag = got.headers["etag"].as_str();
    let ask = async |header: (&str, &str), method: &str| {
        ask(&server, OWNER, method, "/uploads/k", &[header], "two").await.status
    };
    assert_eq!(ask(("if-none-match", etag), "GET").await, 304);
    assert_eq!(ask(("if-match", "\"other\""), "GET").await, 412);
    assert_eq!(ask(("if-none-match", "*"), "PUT").await, 412);
    assert_eq!(ask(("if-match", etag), "PUT").await, 200);
    assert_eq!(owner(&server, "GET", "/uploads/k", "").await.body, "two");
}

#[tokio::test]
async fn what_was_not_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let put = async |headers: &[(&str, &str)]| {
        let answer = ask(&server, OWNER, "PUT", "/uploads/k", headers, "one").await;
        let (status, code) = answer.told();
        (status, code.to_owned())
    };
    assert_eq!(put(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]).await.1, "SignatureDoesNotMatch");
    assert_eq!(put(&[("x-amz-checksum-crc32", "AAAAAA==")]).await, (400, "BadDigest".to_owned()));
    for header in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\""),
    ] {
        assert_eq!(put(&[header]).await, (501, "NotImplemented".to_owned()), "{header:?}");
    }
    for (enabled, told) in [("true", (501, "NotImplemented")), ("false", (200, ""))] {
        let lock = [("x-amz-bucket-object-lock-enabled", enabled)];
        assert_eq!(ask(&server, OWNER, "PUT", "/locked", &lock, "").await.told(), told, "{enabled}");
    }
    assert_eq!(owner(&server, "GET", "/uploads/k", "").await.told(), (404, "NoSuchKey"));
    assert_eq!(owner(&server, "PUT", "/Bad_Name", "").await.told(), (400, "InvalidBucketName"));
    assert_eq!(owner(&server, "PUT", "/uploads", "").await.told(), (409, "BucketAlreadyOwnedByYou"));
    assert_eq!(owner(&server, "GET", "/none", "").await.told(), (404, "NoSuchBucket"));
    owner(&server, "PUT", "/uploads/k", "one").await;
    assert_eq!(owner(&server, "DELETE", "/uploads", "").await.told(), (409, "BucketNotEmpty"));
    let many = "<Delete><Object><Key>k</Key></Object><Object><Key>gone</Key></Object></Delete>";
    assert_eq!(owner(&server, "POST", "/uploads?delete", many).await.body.matches("<Deleted>").count(), 2);
    assert_eq!(owner(&server, "DELETE", "/uploads", "").await.status, 204);
}

#[tokio::test]
async fn of_many_objects_those_are_removed_that_fit_their_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    for key in ["right", "wrong", "any", "old", "version"] {
        owner(&server, "PUT", &format!("/uploads/{key}"), "one").await;
    }
    let rows = [
        ("right", "<ETag>\"f97c5d29941bfb1b2fdab0874906ab82\"</ETag>", ""),
        ("wrong", "<ETag>\"other\"</ETag>", "PreconditionFailed"),
        ("any", "", ""),
        ("none", "<ETag>\"other\"</ETag>", "NoSuchKey"),
        ("old", "<LastModifiedTime>Sun, 1 Nov 2026 00:00:00 GMT</LastModifiedTime>", "NotImplemented"),
        ("version", "<VersionId>7</VersionId>", "NoSuchVersion"),
    ];
    let objects = rows.map(|(key, condition, _)| format!("<Object><Key>{key}</Key>{condition}</Object>"));
    let body = format!("<Delete>{}</Delete>", objects.concat());
    let answer = owner(&server, "POST", "/uploads?delete", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (key, _, code) in rows {
        let (_, rest) = answer.body.split_once(&format!("<Key>{key}</Key>")).unwrap();
        let refused = rest
            .split("<Key>")
            .next()
            .unwrap()
            .split_once("<Code>")
            .map_or("", |(_, rest)| rest.split('<').next().unwrap());
        assert_eq!(refused, code, "{key}");
        let left = owner(&server, "HEAD", &format!("/uploads/{key}"), "").await.status;
        assert_eq!(left, if code.is_empty() || key == "none" { 404 } else { 200 }, "{key}");
    }
}

#[tokio::test]
async fn a_client_that_still_sends_hears_why_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let large = "x".repeat(32 << 20);
    assert_eq!(owner(&server, "PUT", "/none/k", &large).await.told(), (404, "NoSuchBucket"));
    let stranger = ask(&server, ("owner", "wrong"), "PUT", "/none/k", &[], &large).await;
    assert_eq!(stranger.told(), (403, "SignatureDoesNotMatch"));
    // one that waits to be asked sends nothing, and the connection ends
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "PUT /none/k HTTP/1.1\r\nhost: s3.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_why_it_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let allowed = |answer: &Answer| answer.headers.get("access-control-allow-origin").cloned();
    let page = [("origin", "https://a.test")];
    let missing = ask(&server, OWNER, "GET", "/uploads/none", &page, "").await;
    assert_eq!((missing.told(), allowed(&missing)), ((404, "NoSuchKey"), Some("*".into())));
    let stranger = ask(&server, ("owner", "wrong"), "GET", "/uploads/none", &page, "").await;
    assert_eq!((stranger.told(), allowed(&stranger)), ((403, "SignatureDoesNotMatch"), Some("*".into())));
    let unknown = ask(&server, OWNER, "PUT", "/uploads?inventory", &page, "").await;
    assert_eq!((unknown.told(), allowed(&unknown)), ((501, "NotImplemented"), Some("*".into())));
    assert_eq!(allowed(&owner(&server, "GET", "/uploads/none", "").await), None);

    let rules = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.test</AllowedOrigin></CORSRule></CORSConfiguration>";
    assert_eq!(owner(&server, "PUT", "/uploads?cors", rules).await.status, 200);
    let missing = ask(&server, OWNER, "GET", "/uploads/none", &page, "").await;
    assert_eq!((missing.told(), allowed(&missing)), ((404, "NoSuchKey"), Some("https://a.test".into())));
    let other = ask(&server, OWNER, "GET", "/uploads/none", &[("origin", "https://b.test")], "").await;
    assert_eq!((other.told(), allowed(&other)), ((404, "NoSuchKey"), None));
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_and_health_needs_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    owner(&server, "PUT", "/uploads", "").await;
    let preflight = [("origin", "https://shop.test"), ("access-control-request-method", "PUT")];
    let answer = send(&server, "OPTIONS", "/uploads/k", &preflight, "").await;
    assert_eq!((answer.status, answer.headers["access-control-allow-origin"].as_str()), (200, "*"));
    let rules = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.test</AllowedOrigin></CORSRule></CORSConfiguration>";
    assert_eq!(owner(&server, "PUT", "/uploads?cors", rules).await.status, 200);
    assert_eq!(send(&server, "OPTIONS", "/uploads/k", &preflight, "").await.told(), (403, "AccessForbidden"));
    assert_eq!(send(&server, "GET", "/minio/health/live", &[], "").await.status, 200);
    let metrics = send(&server, "GET", "/minio/v2/metrics/cluster", &[], "").await;
    assert!(metrics.body.contains("minio_cluster_bucket_total 1\n"), "{}", metrics.body);
    assert!(metrics.body.contains("minio_s3_requests_total{api=\"createbucket\"} 1\n"), "{}", metrics.body);
}
