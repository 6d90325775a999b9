//! What is Macula's own: macula.yaml, `x-macula` in a service, macula.lock, and what is written for the
//! user from the same tables.

pub(super) mod extension;
pub(super) mod file;
mod init;
mod json_schema;
pub(super) mod lock_file;
pub(super) mod machine_tasks;
pub(super) mod processes;
mod program;
mod reference;
mod show;

pub use init::{SCHEMA_FILE, init_file};
pub use json_schema::{compose_schema, schema};
pub use lock_file::lock_text;
pub use reference::{extension_reference, macula_yaml_reference};
pub use show::in_force;
