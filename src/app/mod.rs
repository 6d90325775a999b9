//! Floor 7: what the commands do. The only place where the floors below are wired together.
//!
//! It has floors of its own, which `tests/layers.rs` enforces: `commands`, one file each, stand on `prepare`
//! (files to a plan), which stands on `cluster` (its part of the plan), as `renewal` does, then `records`, `resolver`,
//! `survey` (one look at everything), and at the bottom `session`, `state` and `error`.

mod apart;
mod builds;
mod certificate;
mod choices;
mod cluster;
mod commands;
mod copies;
mod durations;
mod engine_lock;
mod engine_paths;
mod error;
mod expiry;
mod exports;
mod identity;
mod inquiry;
mod lease;
mod mounts;
mod owner;
mod prepare;
mod presence;
mod processes;
mod reach;
mod receive;
mod records;
#[cfg(test)]
mod records_tests;
mod remap;
mod renewal;
mod requests;
mod resolver;
mod session;
mod state;
mod staying;
mod survey;
#[cfg(test)]
mod testing;
mod trace;
mod usage;

pub use builds::look_at_contexts;
pub use certificate::{authorities, authority_domain};
pub use choices::{Applied, Choices, Refused};
pub use cluster::join::doctor_needs as cluster_needs;
pub use cluster::status::{AddOnCondition, AddOnStatus, ClusterState, ClusterStatus, NodeStatus};
pub use commands::bundle::{LoadedBundle, SavedBundle, load_bundle, open_bundle, save_images};
pub use commands::changes::{Change, ChangeKind, changes};
pub use commands::cluster::{
    cluster_kubeconfig, cluster_status, create_cluster, delete_cluster, load_into_cluster, start_cluster, stop_cluster,
};
pub use commands::condition::Condition;
pub use commands::copy::{
    Copied, CopyOptions, Inside, Told as ToldCopied, archive_of, copy_from, copy_to, pack_from, unpack_to,
};
pub use commands::creds::{Credential, credentials, exports, exports_for};
pub use commands::down::{Data, DownOptions, Downed, data_of, down, must_be_known};
pub use commands::events::{EventKind, ServiceEvent, follow_events};
pub use commands::images::{ImageRow, image_rows, obtain_images};
pub use commands::job::{JobEnd, begin_job, end_job};
pub use commands::lifecycle::{Action as LifecycleAction, lifecycle, must_have_containers};
pub use commands::lock_images::{LockChange, LockRow, Locked, lock_images};
pub use commands::logs::{LogEvent, LogFilter, Sieve, Source as LogSource, all_log_sources, log_sources, read_logs};
pub use commands::ls::{PlatformRow, PlatformState, list_platforms, platforms_to_take_down};
pub use commands::names::{
    install_dns_service, install_names, names_may_be_offered, names_were_offered, uninstall_names,
};
pub use commands::one_off::{one_off, shell};
pub use commands::pages::{Page, closed_pages, left_out_pages, pages};
pub use commands::ports::{PortRow, ServicePorts, service_ports};
pub use commands::process_status::{ProcessStanding, ProcessStatus};
pub use commands::processes::{
    ProcessWork, bring_up_processes, file_variables, own_environment, planned_processes, process_is_kept,
    split_processes, work_on_processes,
};
pub use commands::prune::{Pruned, PrunedImage, prune_images};
pub use commands::redact::{Redactor, tells_a_secret};
pub use commands::report::{ReportFile, report};
pub use commands::run::{
    Existing, Nameless, Noting, Program, ProgramRequest, ci_log, environment_of, prepare_program, program_log,
};
pub use commands::serve::{DEFAULT_METRICS, ServeOptions, Serving, serve, serves_no_more};
pub use commands::service_status::{Replicas, ServiceState, ServiceStatus, UsageStatus};
pub use commands::stack::{
    ClusterDeployed, ClusterRemoved, Deployed, DeployedService, InCluster, StackDeploy, StackRequest, all_on_cluster,
    deploy_to_cluster, deploy_to_swarm, remove_from_cluster, remove_from_swarm, scale_on_cluster, scale_on_swarm,
    status_on_cluster, status_on_swarm, translate_stack, validate_on_cluster, validate_on_swarm,
};
pub use commands::status::{
    Counts, NO_CLUSTER, PlatformStatus, ReachStatus, Status, status, status_at_a_glance, status_with_usage,
};
pub use commands::task::{TaskRow, TaskState, jobs_of_task, task_output, tasks, with_arguments};
pub use commands::top::{Top, TopKind, TopRow, TopState, TopTotal, TopWatch};
pub use commands::uninstall::{Leavings, Uninstalled, leavings, uninstall};
pub use commands::up::{UpOptions, UpResult, up};
pub use commands::upgrade::{Release, Upgrade, UpgradeState, Upgrading, upgrade};
pub use commands::validate::{Absent, Told, Traced, bridges, full_name, trace_name, validate};
pub use commands::wait::{WaitFor, WaitRequest, Waited, wait_for};
pub use commands::watch::{Left, Onlooker, WatchOptions, watch};
pub use error::{CopyError, DeployError, Error, MissingPath, ProcessFailure, ResolverError, UpgradeError};
pub use inquiry::{Found, Inquiry, InquiryError, LOOKED_THROUGH};
pub use lease::{Idle, Lease, LeaseHolder};
pub use prepare::{Consent, Prepared, Wanted, expected, prepare};
pub use processes::{follow_orphans, keep as keep_processes};
pub use receive::{Telemetry, TelemetryState, kept_telemetry};
pub use records::{Added, ListedRecord, RecordSource, add_record, list_records, remove_record};
pub use remap::remap;
pub use resolver::{
    DnsStatus, DomainNames, Names, NamesSoFar, Renewal, ResolverFiles, StartedBy, answers, connect as connect_resolver,
    ensure_process, keep_serving, looks_after, names_status, own_address as resolver_address, probe, revive,
};
pub use session::Session;
pub use state::{Job, State};
pub use survey::{Survey, load_for_engine, survey};
pub use trace::SentTrace;
pub use usage::{MachineUsage, Rates};
