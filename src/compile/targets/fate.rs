//! What becomes of a key of a Compose file on another target, in the words of the table.

use super::Target;
use crate::config::Said;

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It means the same there.
    Kept,
    /// It is carried out in this way.
    As(&'static str),
    /// It means nothing there, and the service works as before.
    Lost(&'static str),
    /// The service would behave in another way.
    Breaks(&'static str),
    /// It depends on the value.
    Value(&'static Choice),
}

/// A key of which some values have another fate than others.
pub(super) struct Choice {
    pub(super) takes: fn(&Said) -> bool,
    pub(super) then: Fate,
    pub(super) otherwise: Fate,
}

pub(super) struct Rule {
    /// A key of the tables; what lies below it is meant as well, unless it has a rule of its own.
    pub(super) key: &'static str,
    pub(super) swarm: Fate,
    pub(super) kubernetes: Fate,
}

impl Rule {
    pub(super) fn fate(&self, target: Target) -> Fate {
        match target {
            Target::Swarm => self.swarm,
            Target::Kubernetes => self.kubernetes,
        }
    }
}
