//! What is written for a user's project: a macula.yaml after a look at the folder ([`look`]), and stacks of the
//! catalogue put into one that is there ([`with_added`]).

mod added;
mod look;
mod variable;

pub use added::{AddError, with_added};
pub use look::{ProjectFile, look};
