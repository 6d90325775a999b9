//! A registry (<https://distribution.github.io/distribution/spec/api/>) with one image for each repository, and
//! many faults: the first part of a repository says which one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{reached_by_engines, root_tar};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// `good/...` serves the image under every tag, `pushed/...` what was pushed. What the others do stands in
/// [`Served::answer`].
pub struct Registry {
    pub address: String,
    served: Arc<Served>,
}

/// Unlike that of every other registry: an engine that has a layer does not ask for it.
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

struct Served {
    /// By repository.
    images: Mutex<BTreeMap<String, Arc<Image>>>,
    /// Blobs by digest, manifests by repository and tag, uploads by their number.
    pushed: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How many there were: engines have several under way.
    uploads: AtomicUsize,
    /// Method, path and range of each request.
    asked: Mutex<Vec<String>>,
}

struct Answer {
    status: &'static str,
    heads: String,
    body: Vec<u8>,
    /// Of the body; then the connection is closed, or nothing more comes.
    only: Option<(usize, After)>,
}

#[derive(Clone, Copy)]
enum After {
    Close,
    Silence,
}

impl Image {
    fn new(repository: &str, architecture: &str) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        let mark = format!("{repository} {} {:?}", std::process::id(), std::time::SystemTime::now());
        let mut header = tar::Header::new_gnu();
        header.set_size(mark.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "mark", mark.as_bytes()).unwrap();
        // a tar ends with two empty blocks; what is appended stands before them
        let mut layer = builder.into_inner().unwrap();
        layer.truncate(1024);
        layer.extend(root_tar().unwrap());
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["sleep", "infinity"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("application/vnd.docker.container.image.v1+json", &config),
            "layers": [described("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer }
    }

    fn blob(&self, wanted: &str) -> Option<&[u8]> {
        [&self.layer, &self.config].into_iter().find(|blob| digest(blob) == wanted).map(Vec::as_slice)
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)})
}

impl Registry {
    pub fn start() -> Self {
        Self::at(&reached_by_engines())
    }

    /// On an address of this machine.
    pub fn at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = Arc::new(Served {
            images: Mutex::default(),
            pushed: Mutex::default(),
            uploads: AtomicUsize::new(0),
            asked: Mutex::default(),
        });
        let shared = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = shared.clone();
                std::thread::spawn(move || served.serve(stream));
            }
        });
        Self { address, served }
    }

    /// How often a manifest of this repository was asked for, not only by its head.
    pub fn pulls(&self, repository: &str) -> usize {
        self.manifests("GET", repository)
    }

    /// How often it was asked for by its head.
    pub fn heads(&self, repository: &str) -> usize {
        self.manifests("HEAD", repository)
    }

    fn manifests(&self, method: &str, repository: &str) -> usize {
        let front = format!("{method} /v2/{repository}/manifests/");
        self.served.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(&front)).count()
    }

    /// How many manifests were pushed.
    pub fn pushes(&self) -> usize {
        let asked = self.served.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.starts_with("PUT /v2/pushed/") && asked.contains("/manifests/")).count()
    }

    /// How often the layer of this repository was asked for from a place in its middle.
    pub fn resumed(&self, repository: &str) -> usize {
        let front = format!("GET /v2/{repository}/blobs/");
        let asked = self.served.asked.lock().unwrap();
        let place =
            |asked: &String| asked.rsplit(' ').next().is_some_and(|range| range.ends_with('-') && range != "0-");
        asked.iter().filter(|asked| asked.starts_with(&front) && place(asked)).count()
    }
}

impl Served {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        let mut words = head.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            // containerd begins with TLS everywhere, and takes this for a registry without
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            return;
        };
        let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let asked = format!("{method} {path} {}", range.clone().unwrap_or_default());
        let seen = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.iter().filter(|earlier| **earlier == asked).count()
        };
        let mut answer = match path.starts_with("/v2/pushed/") {
            true => self.pushed(method, path, body(&head, &mut reader)),
            false => self.answer(path, seen),
        };
        let begin = range.and_then(|range| range.trim_end().trim_end_matches('-').parse::<usize>().ok());
        if let Some(begin) = begin.filter(|begin| answer.status == "200 OK" && *begin <= answer.body.len()) {
            let whole = answer.body.len();
            answer.status = "206 Partial Content";
            answer.heads += &format!("Content-Range: bytes {begin}-{}/{whole}\r\n", whole - 1);
            answer.body.drain(..begin);
        }
        let _ = write!(
            stream,
            "HTTP/1.1 {}\r\n{}Connection: close\r\nAccept-Ranges: bytes\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.heads,
            answer.body.len()
        );
        if method == "HEAD" {
            return;
        }
        match answer.only {
            None => drop(stream.write_all(&answer.body)),
            Some((some, after)) => {
                let _ = stream.write_all(&answer.body[..some.min(answer.body.len())]);
                if let After::Silence = after {
                    let _ = stream.flush();
                    // until the other side has had enough
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
                    let _ = reader.read_line(&mut head);
                }
            }
        }
    }

    /// <https://distribution.github.io/distribution/spec/api/#pushing-an-image>
    fn pushed(&self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let mut pushed = self.pushed.lock().unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let name = path.rsplit('/').next().unwrap_or_default();
        // the range tells an engine how much has arrived
        let at = |status: &'static str, path: &str, arrived: usize| {
            let heads = format!("Location: {path}\r\nRange: 0-{}\r\n", arrived.saturating_sub(1));
            Answer { status, ..Answer::good("text/plain", b"") }.with(&heads)
        };
        match method {
            "POST" => {
                let number = self.uploads.fetch_add(1, Ordering::Relaxed);
                at("202 Accepted", &format!("{}/{number}", path.trim_end_matches('/')), 0)
            }
            "PATCH" => {
                let upload = pushed.entry(path.to_owned()).or_default();
                upload.extend(body);
                at("202 Accepted", path, upload.len())
            }
            "PUT" if path.contains("/manifests/") => {
                let digest = digest(&body);
                // engines ask for it by its digest, too
                let manifests = path.strip_suffix(name).unwrap_or_default();
                pushed.insert(format!("{manifests}{digest}"), body.clone());
                pushed.insert(path.to_owned(), body);
                at("201 Created", path, 0).with(&format!("Docker-Content-Digest: {digest}\r\n"))
            }
            "PUT" => {
                let mut blob = pushed.remove(path).unwrap_or_default();
                blob.extend(body);
                assert!(query.contains(&digest(&blob).replace(':', "%3A")), "{query}");
                let digest = digest(&blob);
                pushed.insert(digest.clone(), blob);
                // containerd compares it
                at("201 Created", path, 0).with(&format!("Docker-Content-Digest: {digest}\r\n"))
            }
            _ if path.contains("/manifests/") => match pushed.get(path) {
                Some(manifest) => {
                    Answer::good(MANIFEST, manifest).with(&format!("Docker-Content-Digest: {}\r\n", digest(manifest)))
                }
                None => Answer::refuses("404 Not Found", "MANIFEST_UNKNOWN"),
            },
            _ => match pushed.get(name) {
                Some(blob) => Answer::good("application/octet-stream", blob),
                None => Answer::refuses("404 Not Found", "BLOB_UNKNOWN"),
            },
        }
    }

    fn image(&self, repository: &str, fault: &str) -> Arc<Image> {
        let mut images = self.images.lock().unwrap();
        let [here, elsewhere] = if cfg!(target_arch = "aarch64") { ["arm64", "amd64"] } else { ["amd64", "arm64"] };
        let image = || Arc::new(Image::new(repository, if fault == "foreign" { elsewhere } else { here }));
        images.entry(repository.to_owned()).or_insert_with(image).clone()
    }

    /// `seen`: how often the same was asked, this time too.
    fn answer(&self, path: &str, seen: usize) -> Answer {
        let Some((repository, kind, wanted)) = parts(path) else { return Answer::good("application/json", b"{}") };
        let fault = repository.split('/').next().unwrap_or_default();
        let image = self.image(repository, fault);
        let manifest = Answer::good(MANIFEST, &image.manifest);
        let manifest = manifest.with(&format!("Docker-Content-Digest: {}\r\n", digest(&image.manifest)));
        let Some(blob) = image.blob(wanted).map(|blob| Answer::good("application/octet-stream", blob)) else {
            // asked for by its digest, it may not be another
            let right = !wanted.starts_with("sha256:") || wanted == digest(&image.manifest) || fault == "wrong";
            return match fault {
                _ if kind != "manifests" => Answer::refuses("404 Not Found", "BLOB_UNKNOWN"),
                "private" => Answer::refuses("401 Unauthorized", "UNAUTHORIZED")
                    .with("WWW-Authenticate: Basic realm=\"registry\"\r\n"),
                "forbidden" => Answer::refuses("403 Forbidden", "DENIED"),
                "busy" => Answer::refuses("429 Too Many Requests", "TOOMANYREQUESTS").with("Retry-After: 4500\r\n"),
                // to the engine's two questions, and to ours for how long
                "moment" if seen <= 2 && !wanted.starts_with("sha256:") => {
                    Answer::refuses("429 Too Many Requests", "TOOMANYREQUESTS").with("Retry-After: 1\r\n")
                }
                "broken" => Answer::refuses("500 Internal Server Error", "UNKNOWN"),
                "hiccup" if seen <= 1 => Answer::refuses("500 Internal Server Error", "UNKNOWN"),
                "mute" => Answer { only: Some((0, After::Silence)), ..manifest },
                "cut" => Answer { only: Some((manifest.body.len() / 2, After::Close)), ..manifest },
                "good" | "wrong" | "foreign" | "hiccup" | "moment" | "stall" | "resume" if right => manifest,
                _ => Answer::refuses("404 Not Found", "MANIFEST_UNKNOWN"),
            };
        };
        let half = blob.body.len() / 2;
        match fault {
            "stall" if wanted == digest(&image.layer) => Answer { only: Some((half, After::Silence)), ..blob },
            // each part comes, and the next request is for the rest
            "resume" if wanted == digest(&image.layer) && seen <= 1 => {
                Answer { only: Some((half, After::Close)), ..blob }
            }
            _ => blob,
        }
    }
}

/// What follows the head of a request.
fn body(head: &str, reader: &mut BufReader<TcpStream>) -> Vec<u8> {
    let head = head.to_lowercase();
    let mut body = Vec::new();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        body.resize(length.trim().parse().unwrap(), 0);
        reader.read_exact(&mut body).unwrap();
    } else if head.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).unwrap();
            body.extend(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    }
    body
}

/// Repository, `manifests` or `blobs`, and which one.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let path = path.strip_prefix("/v2/")?;
    let (before, wanted) = path.rsplit_once('/')?;
    let (repository, kind) = before.rsplit_once('/')?;
    Some((repository, kind, wanted))
}

impl Answer {
    fn good(kind: &str, body: &[u8]) -> Self {
        Self { status: "200 OK", heads: format!("Content-Type: {kind}\r\n"), body: body.to_vec(), only: None }
    }

    fn refuses(status: &'static str, code: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": "no", "detail": null}]}).to_string();
        Self { status, ..Self::good("application/json", body.as_bytes()) }
    }

    fn with(mut self, heads: &str) -> Self {
        self.heads += heads;
        self
    }
}
