//! Floor 7: what the commands do. The only place where the floors below are wired together.

mod certificate;
pub mod cluster;
mod commands;
mod error;
mod prepare;
mod records;
mod renewal;
mod resolver;
mod state;
mod trace;
mod usage;

pub use certificate::{authorities, authority_domain};
pub use cluster::{AddOnStatus, ClusterStatus, NodeStatus, doctor_needs as cluster_needs, drift as cluster_drift};
pub use commands::bundle::{LoadedBundle, SavedBundle, load_bundle, save_images};
pub use commands::creds::{Credential, credentials, exports};
pub use commands::down::{DownOptions, Downed, down};
pub use commands::images::{ImageRow, image_rows, look_at_contexts, obtain_images};
pub use commands::lifecycle::{Action as LifecycleAction, lifecycle};
pub use commands::lock_images::{LockChange, LockRow, Locked, lock_images};
pub use commands::logs::{LogRequest, Source as LogSource, log_sources};
pub use commands::names::{
    install_dns_service, install_names, names_may_be_offered, names_were_offered, uninstall_names,
};
pub use commands::prune::{Pruned, PrunedImage, prune_images};
pub use commands::serve::{DEFAULT_METRICS, ServeOptions, Serving, serve};
pub use commands::status::{DnsStatus, PlatformStatus, ServiceStatus, Status, UsageStatus, status, status_with_usage};
pub use commands::up::{Consent, UpOptions, UpResult, up};
pub use commands::validate::{Traced, full_name, trace_name, validate};
pub use error::Error;
pub use prepare::{Prepared, Session, Wanted, load_for_engine, prepare, survey};
pub use records::{Added, ListedRecord, add_record, list_records, remove_record};
pub use resolver::{
    DomainNames, Names, ResolverError, ResolverFiles, StartedBy, answers, connect as connect_resolver, names_status,
    own_address as resolver_address, probe,
};
pub use state::State;
pub use trace::SentTrace;
