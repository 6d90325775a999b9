//! The authority and its certificates, as the programs of users judge them: OpenSSL, GnuTLS,
//! rustls' webpki, Java, and Python in a live handshake. And the trust stores of a machine whose
//! folders are copies. What is not installed here is named as skipped.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/require.rs"]
mod require;

mod authority;
mod judges;
mod stores;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use macula::host::Host;
use macula::host::local::LocalHost;
use macula::pki::trust::{self, Anchor, Done, Kind, State};
use macula::pki::{Authority, AuthorityError, Leaf, Renewal, load_or_issue, names};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};

const DOMAIN: &str = "macula.local";

/// An authority on disk, in a home of its own.
struct Machine {
    home: tempfile::TempDir,
    host: LocalHost,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut environment: BTreeMap<String, String> = ["PATH", "LD_LIBRARY_PATH"]
            .iter()
            .filter_map(|name| Some(((*name).into(), std::env::var(name).ok()?)))
            .collect();
        environment.insert("HOME".into(), home.path().display().to_string());
        Self { host: LocalHost::with(environment, None), home }
    }

    fn folder(&self) -> PathBuf {
        self.host.folders().data.join("ca")
    }

    async fn authority(&self) -> Authority {
        Authority::load_or_create(&self.host, &self.folder(), DOMAIN, self.host.now()).await.unwrap()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn root(&self) -> String {
        self.folder().join(DOMAIN).join("root.pem").display().to_string()
    }
}

/// Says whether a program is there; when it is not, says that what needs it is skipped.
fn installed(program: &str, args: &[&str]) -> bool {
    let there = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !there {
        require::skipped(program, &format!("`{program}` is not installed or does not run here"));
    }
    there
}

fn said(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn wanted() -> Vec<String> {
    names(DOMAIN, ["grafana.macula.local", "s3.macula.local", "*.s3.macula.local"])
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
