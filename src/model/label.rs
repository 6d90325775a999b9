//! The keys of every label that we put on what we make. Nothing without [`PLATFORM`] is ever
//! changed or removed.

/// The platform that owns the resource.
pub const PLATFORM: &str = "dev.macula.platform";
/// The stack (one Compose file) that the resource comes from.
pub const STACK: &str = "dev.macula.stack";
/// The Compose service that the container or volume belongs to.
pub const SERVICE: &str = "dev.macula.service";
/// Number of the container within its service, from 1.
pub const REPLICA: &str = "dev.macula.replica";
/// Hash of the create-time specification; see [`crate::model::Fingerprint`].
pub const FINGERPRINT: &str = "dev.macula.fingerprint";
/// Who wrote a data volume or built an image: service, major version, format, uid.
pub const PROVIDER: &str = "dev.macula.provider";
/// The version of macula that made the resource.
pub const VERSION: &str = "dev.macula.version";
/// The Compose name of a volume or network, before the platform's prefix.
pub const NAME: &str = "dev.macula.name";
/// Set (to the time, RFC 3339) on a one-shot container's marker once it ended with 0.
pub const ONE_SHOT: &str = "dev.macula.one-shot";
