//! Why a service is left out, or has no image.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is known of it. Its sentence is made where it is shown; programs get that, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It cannot do without this service, which is left out.
    Needs(String),
    /// Nothing is pulled by `--images local`, and the engine does not have it.
    NotPulled { image: String },
    /// The same, where the engine has another image under the name than macula.lock.
    NotLocked { image: String },
    /// Nothing is built by `--images local`, and only its build would do. `own`: from a stack of the user's.
    NotBuilt { tag: String, own: bool },
    /// Its `pull_policy` is `never`, and the engine does not have it.
    NeverPulled { image: String, has_build: bool },
    /// No registry that has it can be reached, and the engine does not have it.
    OutOfReach { image: String, hosts: Vec<String>, has_build: bool },
    /// The same, where it is to be pulled whether or not the engine has one.
    NotRefreshed { image: String, hosts: Vec<String> },
    /// What was said of this image, as it follows its name.
    Image { image: String, said: String },
    /// In the words of whoever knows.
    Said(String),
}

impl Reason {
    /// What somebody has said of an image, be it with its name in front or not.
    pub fn of_image(image: &str, text: String) -> Self {
        match text.strip_prefix(image) {
            Some(said) if said.starts_with([' ', ':']) => {
                Self::Image { image: image.to_owned(), said: said.to_owned() }
            }
            _ => Self::Said(text),
        }
    }

    /// `--images local` keeps it out, and any other policy may bring it.
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::NotPulled { .. } | Self::NotLocked { .. } | Self::NotBuilt { .. })
    }

    /// Registries that cannot be reached.
    pub fn hosts(&self) -> &[String] {
        match self {
            Self::OutOfReach { hosts, .. } | Self::NotRefreshed { hosts, .. } => hosts,
            _ => &[],
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = |has_build: &bool| if *has_build { "" } else { ", and it has no build" };
        match self {
            Self::Needs(other) => write!(f, "it needs {other}, which is left out"),
            Self::NotPulled { image } => write!(f, "{image} has not been pulled, and --images local pulls nothing"),
            Self::NotLocked { image } => {
                write!(f, "the {image} in the engine is not the one of macula.lock, and --images local pulls nothing")
            }
            Self::NotBuilt { tag, own } => {
                let what = if *own { "of its present files" } else { "of this version of macula" };
                write!(f, "its image {what}, {tag}, is not in the engine, and --images local builds nothing")
            }
            Self::NeverPulled { image, has_build } => {
                write!(f, "{image} is not in the engine, and its pull_policy is never{}", build(has_build))
            }
            Self::OutOfReach { image, hosts, has_build } => {
                let hosts = hosts.join(", ");
                write!(f, "{image} is not in the engine, its registry ({hosts}) cannot be reached{}", build(has_build))
            }
            Self::NotRefreshed { image, hosts } => {
                let hosts = hosts.join(", ");
                write!(f, "{image} cannot be pulled, since its registry ({hosts}) cannot be reached")
            }
            Self::Image { image, said } => write!(f, "{image}{said}"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::Said(text.to_owned())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_image_is_told_from_its_name() {
        let said = |image: &str, text: &str| Reason::of_image(image, text.to_owned());
        let shop = |said: &str| Reason::Image { image: "acme/shop:1".to_owned(), said: said.to_owned() };
        assert_eq!(said("acme/shop:1", "acme/shop:1 was refused: a login"), shop(" was refused: a login"));
        assert_eq!(said("acme/shop:1", "acme/shop:1: no space left"), shop(": no space left"));
        // another image's, and a sentence that begins otherwise
        for text in ["acme/shop:10 was refused", "cannot reach the registry of acme/shop:1"] {
            assert_eq!(said("acme/shop:1", text), Reason::Said(text.to_owned()));
        }
        assert_eq!(shop(" was refused").to_string(), "acme/shop:1 was refused");
        assert_eq!(serde_json::to_string(&shop(" was refused")).unwrap(), r#""acme/shop:1 was refused""#);
    }

    #[test]
    fn what_the_policy_keeps_out_is_told_from_what_cannot_be_had() {
        let (image, tag, hosts) = ("a:1".to_owned(), "t:0".to_owned(), vec!["b".to_owned(), "c".to_owned()]);
        let never = |has_build| Reason::NeverPulled { image: image.clone(), has_build };
        let away = |has_build| Reason::OutOfReach { image: image.clone(), hosts: hosts.clone(), has_build };
        let built = |own| Reason::NotBuilt { tag: tag.clone(), own };
        for (reason, expected, has_hosts, is_chosen) in [
            (Reason::Needs("db".into()), "it needs db, which is left out", false, false),
            (
                Reason::NotPulled { image: image.clone() },
                "a:1 has not been pulled, and --images local pulls nothing",
                false,
                true,
            ),
            (
                Reason::NotLocked { image: image.clone() },
                "the a:1 in the engine is not the one of macula.lock, and --images local pulls nothing",
                false,
                true,
            ),
            (
                built(true),
                "its image of its present files, t:0, is not in the engine, and --images local builds nothing",
                false,
                true,
            ),
            (
                built(false),
                "its image of this version of macula, t:0, is not in the engine, and --images local builds nothing",
                false,
                true,
            ),
            (never(false), "a:1 is not in the engine, and its pull_policy is never, and it has no build", false, false),
            (never(true), "a:1 is not in the engine, and its pull_policy is never", false, false),
            (
                away(false),
                "a:1 is not in the engine, its registry (b, c) cannot be reached, and it has no build",
                true,
                false,
            ),
            (away(true), "a:1 is not in the engine, its registry (b, c) cannot be reached", true, false),
            (
                Reason::NotRefreshed { image: image.clone(), hosts: hosts.clone() },
                "a:1 cannot be pulled, since its registry (b, c) cannot be reached",
                true,
                false,
            ),
            (Reason::from("--images local"), "--images local", false, false),
            (Reason::from("said".to_owned()), "said", false, false),
        ] {
            assert_eq!(reason.to_string(), expected);
            let named: &[String] = if has_hosts { &hosts } else { &[] };
            assert_eq!((reason.hosts(), reason.is_chosen()), (named, is_chosen), "{expected}");
        }
    }
}
