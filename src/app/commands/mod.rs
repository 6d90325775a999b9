//! One file a command: what it does, from the top to the bottom. What several of them need stands on the
//! floors below.

mod addresses;
pub(in crate::app) mod bundle;
pub(in crate::app) mod changes;
pub(in crate::app) mod cluster;
pub(in crate::app) mod condition;
pub(in crate::app) mod copy;
pub(in crate::app) mod creds;
pub(in crate::app) mod down;
pub(in crate::app) mod events;
pub(in crate::app) mod forwards;
pub(in crate::app) mod images;
pub(in crate::app) mod job;
pub(in crate::app) mod lifecycle;
pub(in crate::app) mod lock_images;
pub(in crate::app) mod logs;
pub(in crate::app) mod ls;
mod machine_tasks;
mod membership;
pub(in crate::app) mod names;
pub(in crate::app) mod one_off;
pub(in crate::app) mod pages;
mod pieces;
pub(in crate::app) mod ports;
pub(in crate::app) mod process_status;
pub(in crate::app) mod processes;
mod program_logs;
pub(in crate::app) mod programs;
pub(in crate::app) mod prune;
pub(in crate::app) mod redact;
pub(in crate::app) mod report;
pub(in crate::app) mod run;
pub(in crate::app) mod serve;
pub(in crate::app) mod service_status;
pub(in crate::app) mod stack;
pub(in crate::app) mod status;
pub(in crate::app) mod task;
pub(in crate::app) mod top;
pub(in crate::app) mod uninstall;
pub(in crate::app) mod unpacker;
pub(in crate::app) mod up;
pub(in crate::app) mod upgrade;
pub(in crate::app) mod validate;
pub(in crate::app) mod wait;
pub(in crate::app) mod watch;
mod written;

#[cfg(test)]
mod bundle_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod up_tests;
