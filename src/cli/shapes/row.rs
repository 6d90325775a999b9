//! How the tables are written.

use super::Shape::{List, OrNull, Text, Whole};
use super::{Field, Shape};

pub(super) const fn f(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, about, always: true }
}

/// One that is left out where it has nothing to say.
pub(super) const fn maybe(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, about, always: false }
}

pub(super) const TEXTS: Shape = List(&Text);
pub(super) const TEXT_OR_NULL: Shape = OrNull(&Text);
pub(super) const WHOLE_OR_NULL: Shape = OrNull(&Whole);
