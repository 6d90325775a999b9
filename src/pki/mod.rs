//! Certificates: the user's own authority, the ingress's leaf, and the stores of the machine that
//! trust the authority.
//!
//! ```text
//! root (key dropped) -> intermediate (path length 0, key 0600) -> leaf (90 days, made by `up`)
//! ```
//! Root and intermediate bear the same name constraints: names at and below one domain, addresses
//! in 127.0.0.0/8 and ::1. Java and others do not look at those of a root, so they are on both.
//! Whoever gets the intermediate's key can impersonate the platform, and nothing else.

mod authority;
mod certificate;
mod leaf;
mod name;
pub mod trust;
mod webhook;

pub use authority::{Authority, AuthorityError};
pub use certificate::{Certificate, CertificateError};
pub use leaf::{Leaf, LeafError, Renewal, load_or_issue, names};
pub use name::{NameError, family};
pub use webhook::{load_or_issue_webhook, webhook_certificate};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
