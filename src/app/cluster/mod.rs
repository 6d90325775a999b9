//! The cluster: whether there can be one, its part in a plan, and what of it is shown.

use std::time::Duration;

pub(in crate::app) mod content;
pub(in crate::app) mod decide;
pub(in crate::app) mod follow;
pub(in crate::app) mod join;
pub(in crate::app) mod look;
pub(in crate::app) mod selftest;
pub(in crate::app) mod status;
pub(in crate::app) mod work;

/// A question to a program of this machine.
const SHORT: Duration = Duration::from_secs(5);
