//! Java: the `cacerts` of the JAVA_HOME and of the `java` on the PATH, through `keytool`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{Anchor, Kind, Place, State, Store, StoreError, command, jks, judge};
use crate::host::{Command, Host};
use crate::words;

pub(super) struct Java;

/// Where a keystore may lie below a Java's home: from Java 9 on, and before.
const KEYSTORES: [&str; 2] = ["lib/security/cacerts", "jre/lib/security/cacerts"];
/// Of every `cacerts`, by its makers' documentation: no secret.
const PASSWORD: &str = "changeit";

/// Of a keystore in its usual place.
fn keytool_of(keystore: &Path) -> Option<PathBuf> {
    let below = KEYSTORES.iter().find(|below| keystore.ends_with(below))?;
    keystore.ancestors().nth(Path::new(below).components().count()).map(|home| home.join("bin/keytool"))
}

/// The program for a keystore: the one beside it, else that of the PATH.
async fn keytool(host: &dyn Host, keystore: &Path) -> Option<String> {
    if let Some(beside) = keytool_of(keystore)
        && host.exists(&beside).await
    {
        return Some(beside.to_string_lossy().into_owned());
    }
    host.which("keytool").map(|_| "keytool".to_owned())
}

/// `rest` behind the words that name the keystore. Reading needs no root.
fn arguments<'a>(verb: &'a str, keystore: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "-keystore", keystore, "-storepass", PASSWORD], rest].concat()
}

async fn pem(host: &dyn Host, keytool: &str, keystore: &Path, rest: &[&str]) -> Result<Vec<u8>, StoreError> {
    let path = keystore.to_string_lossy();
    let list = Command::new(keytool, arguments("-list", &path, &[&["-rfc"], rest].concat()));
    // status 1: there is no such alias
    Ok(host.run(&list.may_fail().timeout(super::PROGRAM)).await?.stdout)
}

/// Removes what bears this alias, if that is there.
pub(super) async fn delete_alias(host: &dyn Host, keystore: &Path, alias: &str) -> Result<(), StoreError> {
    let Some(keytool) = keytool(host, keystore).await else { return Ok(()) };
    if !host.exists(keystore).await {
        return Ok(());
    }
    if !pem(host, &keytool, keystore, &["-alias", alias]).await?.windows(5).any(|bytes| bytes == b"BEGIN") {
        return Ok(());
    }
    let path = keystore.to_string_lossy();
    let delete = arguments("-delete", &path, &["-alias", alias]);
    host.run(&command(host, keystore, &keytool, delete)).await?;
    Ok(())
}

/// The home of the `java` on the PATH. Most of these are links into it; of a script only Java itself knows.
async fn home_of_program(host: &dyn Host) -> Option<PathBuf> {
    let program = host.resolved(&host.which("java")?).await;
    if program.ends_with("bin/java")
        && let Some(home) = program.ancestors().nth(2)
    {
        for below in KEYSTORES {
            if host.exists(&home.join(below)).await {
                return Some(home.to_owned());
            }
        }
    }
    let ask = Command::new("java", ["-XshowSettings:properties", "-version"]).may_fail().timeout(super::PROGRAM);
    let said = host.run(&ask).await.ok()?;
    let text = [said.stderr(), said.stdout()].concat();
    let home = text.lines().find_map(|line| line.trim().strip_prefix("java.home = "))?;
    Some(PathBuf::from(home.trim()))
}

/// What the certificates of a keystore say.
fn state(anchor: &Anchor, path: &Path, entries: &[jks::Entry<'_>]) -> Result<State, StoreError> {
    let is_ours = |entry: &jks::Entry<'_>| words::hex(Sha256::digest(entry.certificate)) == anchor.fingerprint;
    // aliases are kept in lower case
    match entries.iter().find(|entry| entry.alias.eq_ignore_ascii_case(&anchor.id())) {
        Some(entry) if is_ours(entry) => Ok(State::Trusted),
        Some(_) => Err(StoreError::Foreign { path: path.to_owned() }),
        None if entries.iter().any(is_ours) => Ok(State::TrustedOtherwise),
        None => Ok(State::Missing),
    }
}

#[async_trait]
impl Store for Java {
    async fn places(&self, host: &dyn Host) -> Vec<Place> {
        let named = host.env("JAVA_HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let homes = [named, home_of_program(host).await];
        let mut all: Vec<Place> = Vec::new();
        for home in homes.into_iter().flatten() {
            for below in KEYSTORES {
                let path = home.join(below);
                let new = all.iter().all(|place| place.path != path);
                if new && host.exists(&path).await && keytool(host, &path).await.is_some() {
                    all.push(Place { kind: Kind::Java, path, label: "Java".into() });
                }
            }
        }
        all
    }

    async fn look(&self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<State, StoreError> {
        let Some(keytool) = keytool(host, &place.path).await else {
            let (reason, hint) = ("keytool is not installed".into(), "install a JDK, or the whole JRE".into());
            return Ok(State::Unavailable { reason, hint });
        };
        if let Ok(content) = host.read(&place.path).await
            && let Some(entries) = jks::entries(&content)
        {
            return state(anchor, &place.path, &entries);
        }
        let id = anchor.id();
        if judge(anchor, &place.path, &pem(host, &keytool, &place.path, &["-alias", &id]).await?)? {
            return Ok(State::Trusted);
        }
        let all = pem(host, &keytool, &place.path, &[]).await?;
        Ok(if anchor.is_in(&all) { State::TrustedOtherwise } else { State::Missing })
    }

    fn rewrites(&self, place: &Place) -> Vec<PathBuf> {
        vec![place.path.clone()]
    }

    /// Java says so itself, of formats that are not read here.
    async fn is_damaged(&self, host: &dyn Host, place: &Place) -> bool {
        let Ok(content) = host.read(&place.path).await else { return false };
        if jks::entries(&content).is_some() {
            return false;
        }
        let Some(keytool) = keytool(host, &place.path).await else { return false };
        let path = place.path.to_string_lossy();
        let list = Command::new(keytool, arguments("-list", &path, &[])).may_fail().timeout(super::PROGRAM);
        host.run(&list).await.is_ok_and(|output| !output.success())
    }

    async fn add(&self, host: &dyn Host, place: &Place, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        let Some(keytool) = keytool(host, &place.path).await else { return Ok(()) };
        let (path, file, id) = (place.path.to_string_lossy(), certificate.to_string_lossy(), anchor.id());
        let import = arguments("-importcert", &path, &["-noprompt", "-alias", &id, "-file", &file]);
        host.run(&command(host, &place.path, &keytool, import)).await?;
        Ok(())
    }

    async fn remove(
        &self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        _: &Path,
        _: bool,
    ) -> Result<(), StoreError> {
        if self.look(host, place, anchor).await? == State::Trusted {
            delete_alias(host, &place.path, &anchor.id()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`.
    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_keystore_tells_where_its_program_is() {
        for (keystore, program) in [
            ("/jdk/lib/security/cacerts", Some("/jdk/bin/keytool")),
            ("/jdk/jre/lib/security/cacerts", Some("/jdk/jre/bin/keytool")),
            ("/etc/ssl/certs/java/cacerts", None),
        ] {
            assert_eq!(keytool_of(Path::new(keystore)).as_deref(), program.map(Path::new), "{keystore}");
        }
    }

    #[test]
    fn the_alias_counts_and_then_the_certificate() {
        let anchor = Anchor {
            domain: "m.test".into(),
            common_name: "Macula root 1".into(),
            fingerprint: SUM.into(),
            pem: String::new(),
        };
        let found = |entries: &[(&str, &'static [u8])]| {
            let entries: Vec<jks::Entry<'_>> =
                entries.iter().map(|(alias, certificate)| jks::Entry { alias: (*alias).into(), certificate }).collect();
            match state(&anchor, Path::new("/cacerts"), &entries) {
                Ok(state) => format!("{state:?}"),
                Err(StoreError::Foreign { path }) => format!("foreign {}", path.display()),
                Err(error) => error.to_string(),
            }
        };
        let (id, upper) = (anchor.id(), anchor.id().to_ascii_uppercase());
        assert_eq!(found(&[]), "Missing");
        assert_eq!(found(&[("other", b"x")]), "Missing");
        assert_eq!(found(&[("other", b"abc")]), "TrustedOtherwise");
        assert_eq!(found(&[("other", b"x"), (&id, b"abc")]), "Trusted");
        assert_eq!(found(&[(&upper, b"abc")]), "Trusted");
        assert_eq!(found(&[("other", b"abc"), (&id, b"x")]), "foreign /cacerts");
    }
}
