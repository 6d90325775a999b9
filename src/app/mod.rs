//! Floor 7: what the commands do. The only place where the floors below are wired together.

mod bundle;
mod certificate;
pub mod cluster;
mod creds;
mod down;
mod error;
mod images;
mod lifecycle;
mod lock_images;
mod logs;
mod names;
mod prepare;
mod prune;
mod records;
mod renewal;
mod resolver;
mod state;
mod status;
mod trace;
mod up;
mod usage;
mod validate;

pub use bundle::{LoadedBundle, SavedBundle, load_bundle, save_images};
pub use certificate::{authorities, authority_domain};
pub use cluster::{AddOnStatus, ClusterStatus, NodeStatus, doctor_needs as cluster_needs, drift as cluster_drift};
pub use creds::{Credential, credentials, exports};
pub use down::{DownOptions, Downed, down};
pub use error::Error;
pub use images::{ImageRow, image_rows, look_at_contexts, obtain_images};
pub use lifecycle::{Action as LifecycleAction, lifecycle};
pub use lock_images::{LockChange, LockRow, Locked, lock_images};
pub use logs::{LogRequest, Source as LogSource, log_sources};
pub use names::{install_dns_service, install_names, names_may_be_offered, names_were_offered, uninstall_names};
pub use prepare::{Prepared, Session, Wanted, load_for_engine, prepare, survey};
pub use prune::{Pruned, PrunedImage, prune_images};
pub use records::{Added, ListedRecord, add_record, list_records, remove_record};
pub use resolver::{
    DEFAULT_METRICS, DomainNames, Names, ResolverError, ResolverFiles, ServeOptions, Serving, StartedBy, answers,
    connect as connect_resolver, names_status, own_address as resolver_address, probe, serve,
};
pub use state::State;
pub use status::{DnsStatus, PlatformStatus, ServiceStatus, Status, UsageStatus, status, status_with_usage};
pub use trace::SentTrace;
pub use up::{Consent, UpOptions, UpResult, up};
pub use validate::{Traced, full_name, trace_name, validate};

#[cfg(test)]
mod bundle_tests;
