//! The house of macula. Imports point only to lower floors; `tests/layers.rs` holds to it.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 9 | `cli` | one file a command: arguments and a call |
//! | 8 | `portal` | the page of the platforms, which the background process shows |
//! | 7 | `app` | the only wiring: commands above; prepare, cluster, survey and session below |
//! | 6 | `daemon` | what the background process does beside the resolver: routes to programs of this machine |
//! | 6 | `observe`, `apply`, `doctor`, `validate` | one look at the world; carries out a plan; checks of the machine; the names walked from outside |
//! | 6 | `watch` | changed files of this machine and what they mean for services |
//! | 5 | `changes` | what doctor and installations change on the machine: written down first, and undone |
//! | 5 | `system` | the engine, the host and the way into a cluster as one handle |
//! | 5 | `cluster` | clusters by kind, which makes them of the engine's containers; the user's kubeconfig |
//! | 4 | `engine` | Docker and Podman |
//! | 4 | `kubernetes` | the cluster's API server: server-side apply, readiness, prune |
//! | 4 | `dns` | the resolver: zones to answers, forwarding, its handle |
//! | 4 | `s3` | an S3 server, the program's second role: an index of names, and files without any |
//! | 4 | `telemetry` | traces, log lines and metrics where nobody else takes them: receivers, store, questions |
//! | 3 | `host`, `event`, `bundle` | the machine; what work says while it runs; images as one file |
//! | 2 | `compile`, `plan` | pure: platform to resources; resources and the world to steps |
//! | 1 | `config` | files to platform, every error at once |
//! | 0 | `model`, `render` | pure: the types; the embedded templates |
//! | | `words` | the cellar, which every floor may use: how values read in a sentence and how people type them |

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

#[cfg(test)]
#[path = "../tests/common/require.rs"]
mod require;

pub mod app;
pub mod apply;
pub mod changes;
pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod doctor;
pub mod observe;
pub mod portal;
pub mod probe;
pub mod system;
pub mod validate;
pub mod watch;

// Floors 0 to 4 are a crate of their own (src/ground.rs): the two halves compile side by side.
pub use macula_ground::{
    bundle, compile, config, dns, engine, event, host, kubernetes, model, pki, plan, render, s3, telemetry, words,
};
