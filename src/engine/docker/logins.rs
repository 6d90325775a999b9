//! Logins for registries, as the `docker` program finds them: in its configuration, or with the helpers that it names there
//! (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>). A helper is started when its registry is
//! asked for something, and once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::host::local::LocalHost;
use crate::host::{Command, Host, RunError};

/// Docker Hub, as everybody keeps it.
const HUB: &str = "https://index.docker.io/v1/";
/// The name that helpers give to a secret that is a token.
const TOKEN: &str = "<token>";
/// A helper may ask its user to unlock a keychain.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `config.json` says of logins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    auths: BTreeMap<String, Login>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    /// `user:password` in base64.
    auth: Option<String>,
    /// The same in two fields, which count where there is no `auth`.
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper says of a registry.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    #[serde(default)]
    username: String,
    secret: String,
}

#[derive(Default)]
pub struct Logins {
    settings: Settings,
    /// What helpers are started with.
    environment: BTreeMap<String, String>,
    home: PathBuf,
    /// What they have said, by registry.
    known: Mutex<BTreeMap<String, Option<DockerCredentials>>>,
}

impl Logins {
    pub fn new(settings: Settings, host: &dyn Host) -> Self {
        let (environment, home) = (host.environment(), host.folders().home);
        Self { settings, environment, home, known: Mutex::default() }
    }

    /// For a registry as images name it: `ghcr.io`, `localhost:5001`, `docker.io`.
    pub(super) async fn of(&self, registry: &str) -> Option<DockerCredentials> {
        match self.helper(registry) {
            // what it does not know may still be in the file
            Some(helper) => self.asked(helper, registry).await.or_else(|| self.written(registry)),
            None => self.written(registry),
        }
    }

    /// Every login, for a build: which registries it will need lies in its Dockerfile.
    pub(super) async fn all(&self) -> Option<HashMap<String, DockerCredentials>> {
        let mut registries: Vec<String> =
            self.settings.auths.keys().chain(self.settings.helpers.keys()).cloned().collect();
        if let Some(store) = &self.settings.store {
            registries.extend(self.listed(store).await);
        }
        registries.sort();
        registries.dedup();
        let found = join_all(registries.iter().map(|registry| self.of(host_of(registry)))).await;
        let logins: HashMap<String, DockerCredentials> =
            registries.iter().zip(found).filter_map(|(registry, login)| Some((registry.clone(), login?))).collect();
        (!logins.is_empty()).then_some(logins)
    }

    /// The helper that has a registry's login.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own =
            self.settings.helpers.iter().find(|(host, _)| same_registry(host, registry)).map(|(_, helper)| helper);
        own.or(self.settings.store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    fn written(&self, registry: &str) -> Option<DockerCredentials> {
        let (_, login) = self.settings.auths.iter().find(|(host, _)| same_registry(host, registry))?;
        let auth = login.auth.as_deref().unwrap_or_default();
        let plain = STANDARD.decode(auth).ok().and_then(|plain| String::from_utf8(plain).ok());
        let (user, password) = match auth.is_empty() {
            true => (login.username.as_deref().unwrap_or_default(), login.password.as_deref().unwrap_or_default()),
            false => plain.as_deref().and_then(|plain| plain.split_once(':')).unwrap_or_default(),
        };
        let token = login.identitytoken.as_deref().unwrap_or_default();
        credentials(registry, user, password.trim_end_matches('\0'), token)
    }

    async fn asked(&self, helper: &str, registry: &str) -> Option<DockerCredentials> {
        // one after the other: whoever has to unlock a keychain does it once
        let mut known = self.known.lock().await;
        if let Some(found) = known.get(registry) {
            return found.clone();
        }
        let address = if same_registry(HUB, registry) { HUB } else { registry };
        let found = match self.run(helper, "get", address).await {
            Ok(said) => serde_json::from_slice::<Kept>(&said).ok().and_then(|kept| match kept.username.as_str() {
                TOKEN => credentials(registry, "", "", &kept.secret),
                user => credentials(registry, user, &kept.secret, ""),
            }),
            Err(error) => {
                // it has none, or is not there: what is public needs none, and the registry says the rest
                tracing::debug!(%error, registry, "no login of a helper");
                None
            }
        };
        known.insert(registry.to_owned(), found.clone());
        found
    }

    /// The registries that a helper has logins of.
    async fn listed(&self, helper: &str) -> Vec<String> {
        let said = self.run(helper, "list", "").await.unwrap_or_default();
        let all: BTreeMap<String, String> = serde_json::from_slice(&said).unwrap_or_default();
        all.into_keys().collect()
    }

    async fn run(&self, helper: &str, verb: &str, input: &str) -> Result<Vec<u8>, RunError> {
        // it is a name on the PATH, and no path
        let program = format!("docker-credential-{}", helper.replace('/', "-"));
        let command = Command::new(program, [verb]).stdin(input).timeout(PATIENCE);
        let machine = LocalHost::with(self.environment.clone(), Some(self.home.clone()));
        Ok(machine.run(&command).await?.stdout)
    }
}

fn credentials(registry: &str, user: &str, password: &str, token: &str) -> Option<DockerCredentials> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let found = DockerCredentials {
        username: given(user),
        password: given(password),
        identitytoken: given(token),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    };
    (found.password.is_some() || found.identitytoken.is_some()).then_some(found)
}

/// `https://index.docker.io/v1/` is about index.docker.io.
fn host_of(key: &str) -> &str {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    host.split('/').next().unwrap_or_default()
}

/// Whether a key of the configuration is about a registry.
fn same_registry(key: &str, registry: &str) -> bool {
    let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    let host = host_of(key);
    host == registry || (hub(host) && hub(registry))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A PATH with a helper that keeps a login and a token, and notes what it is asked.
    fn machine(config: &str) -> (tempfile::TempDir, Logins) {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-test");
        let log = folder.path().join("asked");
        let script = format!(
            r#"#!/bin/sh
read -r server
echo "$1 $server" >> {}
case "$1 $server" in
"list ") echo '{{"https://index.docker.io/v1/": "me", "token.test": "<token>"}}' ;;
"get https://index.docker.io/v1/") echo '{{"ServerURL": "x", "Username": "me", "Secret": "hub secret"}}' ;;
"get token.test") echo '{{"ServerURL": "x", "Username": "<token>", "Secret": "a token"}}' ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"#,
            log.display()
        );
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let logins = Logins {
            settings: serde_json::from_str(config).unwrap(),
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            home: folder.path().to_owned(),
            known: Mutex::default(),
        };
        (folder, logins)
    }

    async fn told(logins: &Logins, registry: &str) -> String {
        match logins.of(registry).await {
            Some(login) => format!("{:?} {:?} {:?}", login.username, login.password, login.identitytoken),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn a_login_is_found_by_its_registry() {
        assert!(same_registry("https://index.docker.io/v1/", "docker.io"));
        assert!(same_registry("localhost:5001", "localhost:5001"));
        assert!(!same_registry("localhost:5001", "localhost:5002"));
    }

    #[tokio::test]
    async fn logins_are_read_from_the_file() {
        let (_folder, logins) = machine(
            r#"{"auths": {"ghcr.io": {"auth": "bWU6c2VjcmV0"}, "https://index.docker.io/v1/": {"auth": "bWU6aHVi"},
                "token.io": {"auth": "bWU6", "identitytoken": "abc"}, "empty.io": {"auth": null, "username": null}, "broken.io": {"auth": "%%"},
                "plain.io": {"username": "ci", "password": "x"}}}"#,
        );
        assert_eq!(told(&logins, "ghcr.io").await, r#"Some("me") Some("secret") None"#);
        assert_eq!(told(&logins, "docker.io").await, r#"Some("me") Some("hub") None"#);
        assert_eq!(told(&logins, "token.io").await, r#"Some("me") None Some("abc")"#);
        assert_eq!(told(&logins, "plain.io").await, r#"Some("ci") Some("x") None"#);
        for without in ["empty.io", "broken.io", "elsewhere.io"] {
            assert_eq!(told(&logins, without).await, "none", "{without}");
        }
        let mut all: Vec<String> = logins.all().await.unwrap().into_keys().collect();
        all.sort();
        assert_eq!(all, ["ghcr.io", "https://index.docker.io/v1/", "plain.io", "token.io"]);
    }

    #[tokio::test]
    async fn a_store_is_asked_once_for_each_registry() {
        let (folder, logins) = machine(r#"{"credsStore": "test", "auths": {"ghcr.io": {"auth": "bWU6c2VjcmV0"}}}"#);
        for _ in 0..2 {
            assert_eq!(told(&logins, "docker.io").await, r#"Some("me") Some("hub secret") None"#);
            assert_eq!(told(&logins, "token.test").await, r#"None None Some("a token")"#);
            // what it does not have stands in the file
            assert_eq!(told(&logins, "ghcr.io").await, r#"Some("me") Some("secret") None"#);
        }
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert_eq!(asked, "get https://index.docker.io/v1/\nget token.test\nget ghcr.io\n");
        let mut all: Vec<String> = logins.all().await.unwrap().into_keys().collect();
        all.sort();
        assert_eq!(all, ["ghcr.io", "https://index.docker.io/v1/", "token.test"]);
    }

    #[tokio::test]
    async fn a_registry_may_have_a_helper_of_its_own() {
        let (folder, logins) =
            machine(r#"{"credHelpers": {"token.test": "test", "gone.test": "missing", "odd.test": "../test"}}"#);
        assert_eq!(told(&logins, "token.test").await, r#"None None Some("a token")"#);
        // one that is not installed is no reason not to try without a login
        assert_eq!(told(&logins, "gone.test").await, "none");
        assert_eq!(told(&logins, "odd.test").await, "none");
        assert_eq!(told(&logins, "docker.io").await, "none");
        assert_eq!(fs::read_to_string(folder.path().join("asked")).unwrap(), "get token.test\n");
    }
}
