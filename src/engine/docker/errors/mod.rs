//! What an engine says, told apart. Engines put nearly everything into the text of an error, so
//! the words decide; the status of the answer only where it says more than they do. The words are
//! those of Docker 20.10 to 29 and Podman 4 to 5.

use bollard::errors::Error;

use super::super::{EngineError, ImageError, Wait};
use super::lines::NoAnswer;
use crate::model::chain;

/// An error of the client in our terms. `operation` says what was being done, to what.
pub(super) fn engine_error(operation: &str, error: Error) -> EngineError {
    let operation = operation.to_owned();
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            server_error(&operation, Some(status_code), message.trim())
        }
        Error::DockerStreamError { error } => server_error(&operation, None, error.trim()),
        Error::DockerContainerWaitError { error, .. } => server_error(&operation, None, error.trim()),
        Error::HyperLegacyError { err } if err.is_connect() => EngineError::Unreachable { tried: chain(&err) },
        Error::HyperLegacyError { err } => EngineError::Gone { operation, source: err.into() },
        Error::HyperResponseError { err } => EngineError::Gone { operation, source: err.into() },
        Error::IOError { err } => EngineError::Gone { operation, source: err.into() },
        Error::SocketNotFoundError(path) => EngineError::Unreachable { tried: format!("no socket {path}") },
        other => EngineError::Local { operation, source: other.into() },
    }
}

/// The same of a question that was asked over a shared connection.
pub(super) fn no_answer(operation: &str, error: NoAnswer) -> EngineError {
    let operation = operation.to_owned();
    match error {
        NoAnswer::Unreachable(error) => EngineError::Unreachable { tried: chain(&error) },
        NoAnswer::Gone(error) => EngineError::Gone { operation, source: error.into() },
        NoAnswer::Invalid(error) => EngineError::Local { operation, source: error.into() },
    }
}

/// What the engine answered, sorted by its words.
pub(super) fn server_error(operation: &str, status: Option<u16>, message: &str) -> EngineError {
    let operation = operation.to_owned();
    let text = message.to_lowercase();
    if disk_full(&text) {
        return EngineError::DiskFull { operation, message: message.to_owned() };
    }
    if port_trouble(&text)
        && let Some(address) = taken_address(message)
    {
        return EngineError::PortTaken { operation, address };
    }
    if text.contains("swarm does not have a leader") || text.contains("too few managers are online") {
        return EngineError::NoLeader { operation };
    }
    if let Some(what) = missing(message) {
        return EngineError::NotFound { operation, what };
    }
    if SUBNETS.iter().any(|words| text.contains(words)) {
        return EngineError::SubnetTaken { operation, message: message.to_owned() };
    }
    let conflict = status == Some(409) || CONFLICTS.iter().any(|words| text.contains(words));
    if conflict {
        return EngineError::Conflict { operation, message: message.to_owned() };
    }
    if status == Some(404) {
        return EngineError::NotFound { operation, what: format!("thing: {message}") };
    }
    if text.contains("rootfs is marked read-only") || text.contains("read-only file system") {
        let message = format!("{message} (files of a container with a read-only root go into a volume)");
        return EngineError::Other { operation, message };
    }
    EngineError::Other { operation, message: message.to_owned() }
}

/// A subnet that overlaps that of another network, in the words of Docker and of Podman.
const SUBNETS: [&str; 3] = [
    "pool overlaps",
    // Docker 28, of two networks at once
    "failed to allocate gateway",
    "is already used on the host or by another config",
];

/// Somebody else holds a name or an address. Docker answers these with 400, 403, 409 or
/// 500, Podman mostly with 500.
const CONFLICTS: [&str; 9] = [
    "is already in use",
    "already exists",
    "already used",
    "has active endpoints",
    // an address of the network that another container has (with a port it was caught before)
    "address already in use",
    "is already allocated",
    "is being used",
    "volume is in use",
    // Podman: an exec in a container that does not run
    "container state improper",
];

fn disk_full(text: &str) -> bool {
    // the kernel says "no space left" as well when the inotify watches are used up
    let watches = text.contains("inotify") || text.contains("fsnotify");
    !watches
        && ["no space left on device", "disk quota exceeded", "not enough free space", "not enough space on the disk"]
            .iter()
            .any(|words| text.contains(words))
}

fn port_trouble(text: &str) -> bool {
    [
        "port is already allocated",
        "address already in use",
        "only one usage of each socket address",
        "port is already in use",
        "failed to bind host port",
    ]
    .iter()
    .any(|words| text.contains(words))
        // a port below 1024 without the right to it is no conflict
        && !text.contains("permission denied")
        && !text.contains("assign requested address")
}

/// The address out of one of the many ways to say that it is taken; `/udp` is kept.
fn taken_address(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let udp = ["/udp", "listen udp", "port udp "].iter().any(|words| lower.contains(words));
    let named = [
        // Bind for 127.0.0.1:80 failed: port is already allocated
        "Bind for ",
        // failed to bind host port for 127.0.0.1:80:172.17.0.2:80/tcp: address already in use
        "host port for ",
        // failed to bind host port 127.0.0.1:80/tcp: address already in use
        "host port ",
        // exposing port TCP 0.0.0.0:80 -> 127.0.0.1:0: ...
        "exposing port TCP ",
        "exposing port UDP ",
        // listen tcp4 0.0.0.0:80: bind: address already in use
        "listen tcp4 ",
        "listen tcp6 ",
        "listen tcp ",
        "listen udp4 ",
        "listen udp6 ",
        "listen udp ",
        // Failed to bind port 8080 (Address already in use) for option '-t 8080-8080:80-80'
        "to bind port ",
    ];
    let token = named.iter().find_map(|mark| {
        let (_, rest) = message.split_once(mark)?;
        let token = rest.split_whitespace().next()?;
        address_of(token)
    })?;
    Some(if udp { format!("{token}/udp") } else { token })
}

/// `host:port` at the front of a word; a bare port or `:port` stands for every address.
fn address_of(word: &str) -> Option<String> {
    let word = word.trim_end_matches([',', ';', ')', ':']);
    let word = word.split('/').next()?;
    let (host, rest) = if let Some(rest) = word.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (format!("[{host}]"), rest.strip_prefix(':')?)
    } else if let Some(rest) = word.strip_prefix(":::") {
        ("[::]".to_owned(), rest)
    } else if let Some((host, rest)) = word.split_once(':') {
        (if host.is_empty() { "0.0.0.0".to_owned() } else { host.to_owned() }, rest)
    } else {
        ("0.0.0.0".to_owned(), word)
    };
    let port: u16 = rest.split(':').next()?.parse().ok()?;
    Some(format!("{host}:{port}"))
}

/// `container macula-x-1`, when the message says that something is not there.
fn missing(message: &str) -> Option<String> {
    let message = message.strip_prefix("Error: ").unwrap_or(message);
    let lower = message.to_lowercase();
    for kind in ["container", "image", "network", "volume", "exec instance"] {
        // No such container: x
        let words = format!("no such {kind}: ");
        if let Some(at) = lower.find(&words) {
            let name = message.get(at + words.len()..)?.split_whitespace().next().unwrap_or_default();
            return Some(format!("{kind} {}", name.trim_end_matches([':', ','])));
        }
        // get x: no such volume; no container with name or ID "x" found: no such container
        if lower.contains(&format!("no such {kind}")) {
            let name = quoted(message).or_else(|| message.strip_prefix("get ")?.split(':').next().map(str::to_owned));
            return Some(match name {
                Some(name) => format!("{kind} {name}"),
                None => kind.to_owned(),
            });
        }
    }
    // network x not found
    if let Some(rest) = lower.find("network ").and_then(|at| message.get(at + "network ".len()..))
        && let Some(name) = rest.strip_suffix(" not found")
        && !name.contains(' ')
    {
        return Some(format!("network {name}"));
    }
    // unable to find network with name or ID x: network not found
    if let Some((before, _)) = message.split_once(": network not found") {
        return Some(format!("network {}", before.split_whitespace().next_back().unwrap_or_default()));
    }
    if let Some((name, _)) = message.split_once(": image not known") {
        return Some(format!("image {}", name.split_whitespace().next_back().unwrap_or_default()));
    }
    None
}

fn quoted(message: &str) -> Option<String> {
    let (_, rest) = message.split_once('"')?;
    let (name, _) = rest.split_once('"')?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Why an image could not be pulled. A full disk and an engine that went away are no trouble of
/// the image.
pub(super) fn pull_error(operation: &str, reference: &str, error: Error) -> EngineError {
    let message = match error {
        Error::DockerResponseServerError { message, .. } => message,
        Error::DockerStreamError { error } => error,
        other => return engine_error(operation, other),
    };
    let message = message.trim();
    if disk_full(&message.to_lowercase()) {
        return EngineError::DiskFull { operation: operation.to_owned(), message: message.to_owned() };
    }
    EngineError::Image { operation: operation.to_owned(), source: image_error(reference, message) }
}

/// Without the web page that an engine quotes when something else than a registry answered: a proxy, a sign-in, the
/// server of another name.
fn without_page(message: &str) -> String {
    let page = ["\"<", "\"\\n<", "\"\\ufeff<"].iter().filter_map(|start| message.find(start)).min();
    match page.and_then(|at| message.get(..at)) {
        Some(before) => format!("{} (a web page answered, not a registry)", before.trim_end_matches([' ', ':'])),
        None => message.to_owned(),
    }
}

/// Sorts the registry's trouble by its words. The order matters: a rate limit also says "denied",
/// a network without a way out also says "not found".
pub(super) fn image_error(reference: &str, message: &str) -> ImageError {
    let reference = reference.to_owned();
    let message = &without_page(message);
    let text = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let message = message.to_owned();
    if says(&["toomanyrequests", "too many requests", "pull rate limit", "rate exceeded"]) {
        return ImageError::RateLimited { reference, retry_after: retry_after(&text).map(Wait::In) };
    }
    if says(&["no matching manifest", "does not match the specified platform", "cannot be used on this platform"]) {
        return ImageError::OtherPlatform { reference, message };
    }
    if says(&[
        "verification failed for digest",
        "unexpected commit digest",
        "digest did not match",
        "does not match provided manifest digest",
    ]) {
        return ImageError::WrongDigest { reference, message };
    }
    if says(&["x509:", "tls: failed to verify"]) {
        return ImageError::Untrusted { reference, message };
    }
    if says(&[
        "no such host",
        "connection refused",
        "client.timeout exceeded",
        "context deadline exceeded",
        "request canceled while waiting",
        "network is unreachable",
        "no route to host",
        "proxyconnect",
        "temporary failure in name resolution",
        "server misbehaving",
        "gave http response to https client",
        "first record does not look like a tls handshake",
        "dial tcp",
        "dial udp",
    ]) {
        return ImageError::Unreachable { reference, message };
    }
    if says(&[
        "unexpected http status: 5",
        "unexpected status code 5",
        "internal server error",
        "bad gateway",
        "service unavailable",
        "gateway timeout",
        "gateway time-out",
    ]) {
        return ImageError::ServerFault { reference, message };
    }
    if says(&[
        "i/o timeout",
        "tls handshake timeout",
        "tls: ",
        "connection reset by peer",
        "broken pipe",
        "http2: ",
        "stream error",
        "unexpected end of json input",
    ]) || text.ends_with("eof")
    {
        return ImageError::BrokeOff { reference, message };
    }
    let denied =
        |reference, message: &str| ImageError::Denied { reference, message: format!("a login is needed ({message})") };
    // before containerd's words for both, which stand also in front of this
    if says(&["no basic auth credentials"]) {
        return denied(reference, &message);
    }
    // a 403 in the words of Podman 5, of Podman 4, and of containerd
    let refused = text.starts_with("denied: ")
        || (says(&["reading manifest "]) && says(&[": denied: "]))
        || says(&["403 forbidden"]);
    // Docker Hub, and every registry that hides what one may not see, has one answer for both
    if refused
        || says(&[
            "repository does not exist or may require",
            "requested access to the resource is denied",
            "insufficient_scope",
            "pull access denied",
        ])
    {
        let message = format!("it is gone or private, its registry has one answer for both ({message})");
        return ImageError::Denied { reference, message };
    }
    if says(&[
        "manifest unknown",
        "manifest_unknown",
        "name unknown",
        "name_unknown",
        "repository name not known",
        "no such image",
        "image not known",
        "404 not found",
        "error parsing http 404 ",
        "not found",
        "does not exist",
    ]) {
        return ImageError::NotFound { reference };
    }
    if says(&[
        "unauthorized",
        "authentication required",
        "authorization failed",
        "access forbidden",
        "forbidden",
        "denied",
        "incorrect username or password",
        "unable to retrieve auth token",
    ]) {
        return denied(reference, &message);
    }
    ImageError::Other { reference, message }
}

/// Seconds out of `retry-after: 1.284ms` (ghcr.io) or `retry-after: 30`, rounded up.
fn retry_after(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("retry-after:").or_else(|| text.split_once("retry after "))?;
    let rest = rest.trim_start();
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(digits);
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit: String = unit.chars().take_while(|c| c.is_alphabetic()).collect();
    let seconds = match unit.as_str() {
        "ns" => number / 1e9,
        "us" | "µs" | "μs" => number / 1e6,
        "ms" => number / 1e3,
        "m" | "min" | "minutes" | "minute" => number * 60.0,
        "h" => number * 3600.0,
        _ => number,
    };
    // a float beyond the range of u64 saturates
    Some(seconds.ceil() as u64)
}

#[cfg(test)]
mod tests;
