//! Finding the `kind` program, and fetching it where that is allowed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cluster::ClusterError;
use crate::host::{Command, Host};
use crate::model::AnyError;
use crate::words;

/// The version that is fetched.
pub const PINNED_VERSION: &str = "0.33.0";

/// A published program and its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub url: &'static str,
    pub sha256: &'static str,
}

/// (system, processor, where, checksum), from the release's own `.sha256sum` files.
const ASSETS: [(&str, &str, Asset); 4] = [
    (
        "linux",
        "x86_64",
        Asset {
            url: "https://github.com/kubernetes-sigs/kind/releases/download/v0.33.0/kind-linux-amd64",
            sha256: "aee6151561422756b764a4ae28e7f44cda5af5a9eead3cc9985112b1de8d8e0d",
        },
    ),
    (
        "linux",
        "aarch64",
        Asset {
            url: "https://github.com/kubernetes-sigs/kind/releases/download/v0.33.0/kind-linux-arm64",
            sha256: "20022bee6cfcd5086cb7234d218e3454e6090022f2a8f55d1fa7fcf42c3867a2",
        },
    ),
    (
        "macos",
        "x86_64",
        Asset {
            url: "https://github.com/kubernetes-sigs/kind/releases/download/v0.33.0/kind-darwin-amd64",
            sha256: "5a99f26f57246dc9319dd294803313197a0f34d33c525b3ea8b655db5916ece0",
        },
    ),
    (
        "macos",
        "aarch64",
        Asset {
            url: "https://github.com/kubernetes-sigs/kind/releases/download/v0.33.0/kind-darwin-arm64",
            sha256: "0c8c7dbe5e23594a198b786c4bc13dacc101fa6196b0cb0b23a1ca44e61f4b4f",
        },
    ),
];

/// The program for a machine; `None`: its checksum is not known here, and it is not fetched.
pub fn asset(os: &str, arch: &str) -> Option<Asset> {
    ASSETS.iter().find(|(known, processor, _)| (*known, *processor) == (os, arch)).map(|(.., asset)| *asset)
}

/// Where one that we have fetched lies.
fn own(host: &dyn Host) -> PathBuf {
    host.folders().data.join("bin").join(format!("kind-{PINNED_VERSION}"))
}

/// One that we have fetched before.
pub async fn fetched(host: &dyn Host) -> Option<PathBuf> {
    let place = own(host);
    host.exists(&place).await.then_some(place)
}

/// The program that is chosen (a path or a name), else `kind` on the PATH, else the one that we have
/// fetched. One that is chosen and not there is not replaced by another.
pub async fn find(host: &dyn Host, chosen: Option<&str>) -> Option<PathBuf> {
    if let Some(chosen) = chosen {
        return host.which(chosen);
    }
    match host.which("kind") {
        Some(found) => Some(found),
        None => fetched(host).await,
    }
}

/// The oldest that makes clusters of today's node images: they bring containerd 2, into which older ones load
/// no images.
const OLDEST: (u32, u32) = (0, 27);

/// What it says, where it is too old to make a cluster.
pub async fn too_old(host: &dyn Host, program: &Path) -> Option<String> {
    let command = Command::new(program.display().to_string(), ["version"]).may_fail();
    let said = host.run(&command).await.ok()?.stdout();
    words::version(&said).filter(|found| *found < OLDEST)?;
    Some(said.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// Since this version the load balancer is Envoy; 0.31 has a HAProxy of its own.
const ENVOY: (u32, u32) = (0, 32);

/// The image that this program starts before several control planes. One that is not there yet will be of the
/// version that is fetched.
pub async fn balancer_image(host: &dyn Host, program: Option<&Path>) -> &'static str {
    let version = match program {
        Some(program) => {
            let command = Command::new(program.display().to_string(), ["version"]).may_fail();
            host.run(&command).await.ok().and_then(|said| words::version(&said.stdout()))
        }
        None => None,
    };
    match version.unwrap_or(ENVOY) {
        newer if newer >= ENVOY => "docker.io/envoyproxy/envoy:v1.36.2",
        (0, 31) => "docker.io/kindest/haproxy:v20251211-v0.29.0-alpha-100-g82a92c5d",
        _ => "docker.io/kindest/haproxy:v20230606-42a2262b",
    }
}

/// A slow line may take a while for ten megabytes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Fetches the pinned version, with whichever program can. It is not put into its place before its
/// checksum is right.
pub async fn fetch(host: &dyn Host, asset: Asset) -> Result<PathBuf, ClusterError> {
    let failed = |source: AnyError| ClusterError::Fetch { url: asset.url.to_owned(), source };
    let place = own(host);
    let mut partial = place.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if let Some(folder) = place.parent() {
        host.create_folder(folder, 0o755).await.map_err(|error| failed(error.into()))?;
    }
    let to = partial.display().to_string();
    let command = if host.which("curl").is_some() {
        Command::new("curl", ["-fsSL", "--connect-timeout", "10", "--retry", "2", "-o", &to, asset.url])
    } else if host.which("wget").is_some() {
        Command::new("wget", ["-q", "--timeout=10", "--tries=3", "-O", &to, asset.url])
    } else {
        return Err(failed(AnyError::said("neither curl nor wget is installed")));
    };
    let fetched = async {
        host.run(&command.timeout(PATIENCE)).await.map_err(|error| failed(error.into()))?;
        let content = host.read(&partial).await.map_err(|error| failed(error.into()))?;
        checked(&content, asset)?;
        host.write(&place, &content, 0o755).await.map_err(|error| failed(error.into()))
    };
    let fetched = fetched.await;
    let _ = host.remove(Path::new(&partial)).await;
    fetched.map(|()| place)
}

fn checked(content: &[u8], asset: Asset) -> Result<(), ClusterError> {
    let found = words::hex(Sha256::digest(content));
    if found == asset.sha256 {
        return Ok(());
    }
    Err(ClusterError::Checksum { url: asset.url.to_owned(), expected: asset.sha256.to_owned(), found })
}
