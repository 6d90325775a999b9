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
        let image = "a:1".to_owned();
        let reach = Reason::OutOfReach { image: image.clone(), hosts: vec!["b".to_owned()], has_build: false };
        assert_eq!(
            reach.to_string(),
            "a:1 is not in the engine, its registry (b) cannot be reached, and it has no build"
        );
        assert_eq!((reach.hosts(), reach.is_chosen()), (&["b".to_owned()][..], false));
        assert!(Reason::NotPulled { image }.is_chosen());
        assert!(!Reason::from("--images local").is_chosen());
    }
}
