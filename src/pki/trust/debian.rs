//! Debian, Ubuntu and Alpine: `update-ca-certificates` (8).

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::anchors::Layout;
use super::{Anchor, Kind, Place, State, Store, StoreError, command, java};
use crate::host::Host;

pub(super) struct Debian;

const LAYOUT: Layout = Layout {
    kind: Kind::Debian,
    folder: "/usr/local/share/ca-certificates",
    extension: "crt",
    program: "update-ca-certificates",
    args: &[],
    bundle: "/etc/ssl/certs/ca-certificates.crt",
};
/// Links to all anchors, and to those links by the hash of the subject.
const LINKS: &str = "/etc/ssl/certs";
/// Kept up by a hook of the package ca-certificates-java, where that is installed.
const JAVA: &str = "/etc/ssl/certs/java/cacerts";

#[async_trait]
impl Store for Debian {
    async fn places(&self, host: &dyn Host) -> Vec<Place> {
        LAYOUT.place(host).await.into_iter().collect()
    }

    async fn look(&self, host: &dyn Host, _: &Place, anchor: &Anchor) -> Result<State, StoreError> {
        LAYOUT.look(host, anchor).await
    }

    fn rewrites(&self, _: &Place) -> Vec<PathBuf> {
        vec![JAVA.into()]
    }

    async fn add(&self, host: &dyn Host, _: &Place, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        LAYOUT.add(host, anchor, certificate).await
    }

    async fn remove(&self, host: &dyn Host, _: &Place, anchor: &Anchor, _: &Path, _: bool) -> Result<(), StoreError> {
        LAYOUT.delete_file(host, anchor).await?;
        // Without `--fresh` it leaves the links of an anchor that is gone. With it, all links are
        // made anew and its hooks are told of everything but what is gone. So: just ours.
        let link = format!("{}.pem", anchor.id());
        let links = Path::new(LINKS);
        host.run(&command(host, links, "rm", ["-f", &*links.join(&link).to_string_lossy()])).await?;
        // Alpine's find may not know -lname; its update-ca-certificates does without
        let by_hash = ["-maxdepth", "1", "-type", "l", "-lname", &link, "-delete"];
        host.run(&command(host, links, "find", [&[LINKS], &by_hash[..]].concat()).may_fail()).await?;
        LAYOUT.update(host).await?;
        java::delete_alias(host, Path::new(JAVA), &format!("debian:{link}")).await
    }
}
