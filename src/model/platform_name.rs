//! The name of a platform, and everything that is named after it. A [`PlatformName`] is checked
//! when it is made, so that what is derived from it (a folder, a container, a zone) can neither
//! leave its place nor be read as something else.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{is_dns_label, to_dns_label};

/// The name of the platform when none is given.
pub const DEFAULT_NAME: &str = "macula";
/// The parent of every platform's zone.
pub const DEFAULT_DOMAIN: &str = "macula.local";

/// What macula keeps in its data folder next to the folders of the platforms.
const RESERVED: [&str; 5] = ["bin", "ca", "daemon", "dns", "log"];
/// Leaves room for `macula-`, a service and a number within the 63 characters of a DNS label.
const LONGEST: usize = 40;

/// A lower-case DNS label of at most 40 characters that macula does not use itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlatformName(String);

/// Why a text cannot name a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid name: {rule}")]
pub struct NameError {
    pub text: String,
    /// What the text does not keep to.
    pub rule: String,
    /// What to write instead.
    pub help: String,
}

impl PlatformName {
    /// The only way to a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if RESERVED.contains(&text) {
            let rule = "macula uses it itself".to_owned();
            return Err(NameError { text: text.to_owned(), rule, help: "choose another name".to_owned() });
        }
        if is_dns_label(text) && text.len() <= LONGEST {
            return Ok(Self(text.to_owned()));
        }
        let help = match Self::near(text) {
            Some(name) => format!("for example `{name}`"),
            None => "for example `dev` or `pr-123`".to_owned(),
        };
        let rule = format!("use at most {LONGEST} lower-case letters, digits and inner dashes");
        Err(NameError { text: text.to_owned(), rule, help })
    }

    /// The name that comes nearest to this text, where one can be made of it.
    pub fn near(text: &str) -> Option<Self> {
        let label: String = to_dns_label(text).chars().take(LONGEST).collect();
        let label = label.trim_end_matches('-');
        let usable = !label.is_empty() && !RESERVED.contains(&label);
        usable.then(|| Self(label.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_NAME
    }

    /// `macula` for the default platform, `macula-<name>` for any other: what all names in the
    /// engine begin with.
    pub fn prefix(&self) -> String {
        if self.is_default() { DEFAULT_NAME.to_owned() } else { format!("{DEFAULT_NAME}-{}", self.0) }
    }

    /// The network that all services of the platform are in.
    pub fn network(&self) -> String {
        self.prefix()
    }

    /// The cluster and its context in the user's kubeconfig, unless macula.yaml names it.
    pub fn cluster(&self) -> String {
        self.prefix()
    }

    /// A container, unless the stack names it.
    pub fn container(&self, service: &str, number: u32) -> String {
        format!("{}-{service}-{number}", self.prefix())
    }

    /// A network of one stack, unless the stack names it.
    pub fn stack_network(&self, stack: &str, key: &str) -> String {
        format!("{}-{stack}-{key}", self.prefix())
    }

    /// A volume, unless the stack names it.
    pub fn volume(&self, key: &str) -> String {
        format!("{}-{key}", self.prefix())
    }

    /// A volume of a stack that shares its key with one of ours, unless the stack names it.
    pub fn stack_volume(&self, stack: &str, key: &str) -> String {
        format!("{}-{stack}-{key}", self.prefix())
    }

    /// The zone, where macula.yaml does not say it.
    pub fn domain(&self) -> String {
        if self.is_default() { DEFAULT_DOMAIN.to_owned() } else { self.domain_below(DEFAULT_DOMAIN) }
    }

    /// The zone of a platform that shares a macula.yaml with another one.
    pub fn domain_below(&self, parent: &str) -> String {
        format!("{}.{parent}", self.0)
    }

    /// The platform's folder in macula's data folder.
    pub fn folder(&self, data: &Path) -> PathBuf {
        data.join(&self.0)
    }

    /// A file of the platform among those of the other platforms.
    pub fn file(&self, folder: &Path, ending: &str) -> PathBuf {
        folder.join(format!("{}.{ending}", self.0))
    }
}

impl Default for PlatformName {
    fn default() -> Self {
        Self(DEFAULT_NAME.to_owned())
    }
}

impl Deref for PlatformName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PlatformName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<PlatformName> for String {
    fn from(name: PlatformName) -> Self {
        name.0
    }
}

impl PartialEq<str> for PlatformName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for PlatformName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_a_dns_label_that_macula_does_not_use() {
        for good in ["macula", "pr-123", "a", "7", &"x".repeat(40)] {
            assert_eq!(PlatformName::new(good).unwrap(), good);
        }
        let wrong = [
            "",
            ".",
            "..",
            "../evil",
            "../../../../evil",
            "/etc",
            "feature/login",
            "a\\b",
            "a b",
            "a\nb",
            "a\0b",
            "Foo",
            "-x",
            "x-",
            "a_b",
            "a.b",
            "ä",
            "$(x)",
            "`x`",
            "a;b",
            "%2e%2e",
            "--yes",
            "ca",
            "dns",
            "log",
            "bin",
            "daemon",
            &"x".repeat(41),
        ];
        for text in wrong {
            assert!(PlatformName::new(text).is_err(), "{text:?}");
            assert!(serde_json::from_value::<PlatformName>(text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_named_after_a_platform() {
        let named = |text: &str| {
            let (name, folder) = (PlatformName::new(text).unwrap(), Path::new("/d"));
            let mut all = vec![name.as_str().to_owned(), name.prefix(), name.network(), name.cluster()];
            all.extend([name.container("web", 2), name.stack_network("shop", "back")]);
            all.extend([name.volume("db"), name.stack_volume("shop", "db")]);
            all.extend([name.domain(), name.domain_below("example.com")]);
            all.extend([name.folder(folder), name.file(folder, "lock")].map(|path| path.display().to_string()));
            all.join(" ")
        };
        assert_eq!(
            named("macula"),
            "macula macula macula macula macula-web-2 macula-shop-back macula-db macula-shop-db \
             macula.local macula.example.com /d/macula /d/macula.lock"
        );
        assert_eq!(
            named("dev"),
            "dev macula-dev macula-dev macula-dev macula-dev-web-2 macula-dev-shop-back macula-dev-db \
             macula-dev-shop-db dev.macula.local dev.example.com /d/dev /d/dev.lock"
        );
        let name = PlatformName::new("dev").unwrap();
        assert_eq!(
            (name.len(), name == "dev", name == *"dev", name == "macula", name == *"macula"),
            (3, true, true, false, false)
        );
    }

    #[test]
    fn the_help_is_a_name_that_would_do() {
        let help = |text: &str| PlatformName::new(text).unwrap_err().help;
        assert_eq!(help("feature/Login_2"), "for example `feature-login-2`");
        assert_eq!(help("../ca"), "for example `dev` or `pr-123`");
        assert_eq!(help("///"), "for example `dev` or `pr-123`");
    }

    proptest! {
        /// Whatever is typed: what comes through stays within the folder that it is put into.
        #[test]
        fn no_name_leaves_its_folder(text in "[a-z./\\\\A-Z0-9 _~$-]{0,50}") {
            if let Ok(name) = PlatformName::new(&text) {
                let data = Path::new("/data");
                for path in [name.folder(data), name.file(data, "json")] {
                    prop_assert_eq!(path.parent(), Some(data));
                    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
                    prop_assert!(path.components().all(plain));
                }
                prop_assert!(name.container("web", 1).starts_with(&name.prefix()));
            } else {
                let help = PlatformName::new(&text).unwrap_err().help;
                let example = help.split('`').nth(1).unwrap_or_default().to_owned();
                prop_assert!(PlatformName::new(&example).is_ok(), "{}", help);
            }
        }
    }
}
