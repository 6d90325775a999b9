//! What kind says while it works, and what it means when it fails.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cluster::ClusterError;
use crate::engine::ImageError;
use crate::host::Host;

/// How far a creation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The configuration and the engine are looked at.
    Checks,
    Image,
    /// The containers are made.
    Nodes,
    /// Everything after that: Kubernetes itself.
    Kubernetes,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checks => "looking at the configuration",
            Self::Image => "getting the node image",
            Self::Nodes => "making the nodes",
            Self::Kubernetes => "starting Kubernetes",
        })
    }
}

/// ` • Starting control-plane 🕹️  ...` -> the phase and `starting control-plane`. Lines that end a
/// step, and all others, are none.
pub fn step_of(line: &str) -> Option<(Phase, String)> {
    let rest = line.trim().strip_prefix('•')?.trim().trim_end_matches('.').trim();
    let words: String = rest.chars().filter(|c| c.is_ascii() || c.is_alphanumeric()).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = words.chars().next()?;
    let phase = match words.split_whitespace().next()? {
        "Ensuring" => Phase::Image,
        "Preparing" => Phase::Nodes,
        _ => Phase::Kubernetes,
    };
    Some((phase, format!("{}{}", first.to_ascii_lowercase(), words.get(first.len_utf8()..).unwrap_or_default())))
}

/// What the output of a creation that failed means.
pub fn failure(name: &str, phase: Phase, said: &str) -> ClusterError {
    let low = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
    let message = essence(said);
    if has(&["already exist for a cluster with the name"]) {
        return ClusterError::Exists { name: name.to_owned() };
    }
    if has(&["failed to pull image"]) {
        return ClusterError::NodeImage { reference: image_in(said), attempts: vec![image_error(said)] };
    }
    if has(&["not run on a host using cgroup v1", "cgroup v1 support is in maintenance mode and the kubelet"]) {
        return ClusterError::CgroupV1;
    }
    if has(&["port is already allocated", "address already in use", "ports are not available"]) {
        return ClusterError::PortTaken { lines: vec![message] };
    }
    if has(&["no space left on device", "cannot allocate memory", "not enough memory"]) {
        return ClusterError::NoRoom { message };
    }
    if has(&["too many open files", "inotify"]) {
        return ClusterError::Inotify { message };
    }
    let privileged = ["unable to apply caps", "privileged mode is", "privileged containers", "operation not permitted"];
    if phase == Phase::Nodes && has(&privileged) {
        return ClusterError::NotPrivileged { message };
    }
    match phase {
        Phase::Checks | Phase::Image | Phase::Nodes => {
            ClusterError::Failed { doing: format!("{phase} of {name}"), message, logs: None }
        }
        Phase::Kubernetes => ClusterError::NotReady { name: name.to_owned(), message, logs: None },
    }
}

/// With the folder of logs, and once more judged by what stands in them: a node that does not boot
/// says why only there.
pub(super) async fn with_logs(error: ClusterError, logs: Option<PathBuf>, host: &dyn Host) -> ClusterError {
    let Some(folder) = logs else { return error };
    match error {
        ClusterError::NotReady { name, message, .. } => match told_by(host, &folder).await {
            Some(better) => better,
            None => ClusterError::NotReady { name, message, logs: Some(folder) },
        },
        ClusterError::Failed { doing, message, .. } => match told_by(host, &folder).await {
            Some(better) => better,
            None => ClusterError::Failed { doing, message, logs: Some(folder) },
        },
        other => other,
    }
}

/// The first node's own words, where they name a cause that we know.
async fn told_by(host: &dyn Host, folder: &Path) -> Option<ClusterError> {
    for node in host.list(folder).await.unwrap_or_default() {
        for file in ["serial.log", "kubelet.log"] {
            let Ok(text) = host.read(&folder.join(&node).join(file)).await else { continue };
            let text = String::from_utf8_lossy(&text).to_lowercase();
            if text.contains("host using cgroup v1") {
                return Some(ClusterError::CgroupV1);
            }
            let line = text.lines().find(|line| line.contains("too many open files"));
            if let Some(line) = line.filter(|line| line.contains("inotify") || line.contains("manager object")) {
                return Some(ClusterError::Inotify { message: line.trim().to_owned() });
            }
        }
    }
    None
}

/// The line that says why: the last one of the program that kind ran, else kind's own.
fn essence(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let own = lines.clone().find_map(|line| line.strip_prefix("ERROR:"));
    let output = said.split_once("Command Output:").map(|(_, rest)| rest);
    let beyond = output.and_then(|text| {
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Run '"));
        lines().find(|line| line.to_lowercase().contains("error")).or_else(|| lines().next_back()).map(str::to_owned)
    });
    beyond
        .or_else(|| own.map(|line| line.trim().to_owned()))
        .or_else(|| lines.next_back().map(str::to_owned))
        .unwrap_or_default()
}

/// `failed to pull image "x"`
fn image_in(said: &str) -> String {
    let rest = said.split_once("failed to pull image \"").map(|(_, rest)| rest).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// The words of engines and registries (those of `docker pull`).
fn image_error(said: &str) -> ImageError {
    let low = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
    let (reference, message) = (image_in(said), essence(said));
    if has(&["toomanyrequests", "rate limit"]) {
        ImageError::RateLimited { reference, retry_after: None }
    } else if has(&[
        "no such host",
        "dial tcp",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "tls handshake",
    ]) {
        ImageError::Unreachable { reference, message }
    } else if has(&["unauthorized", "denied", "authentication required"]) {
        ImageError::Denied { reference, message }
    } else if has(&["manifest unknown", "not found"]) {
        ImageError::NotFound { reference }
    } else {
        ImageError::Other { reference, message }
    }
}
