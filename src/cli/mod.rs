//! Floor 8: what a user types and sees. One file a command; beside them the errors with their exit

pub mod error;
pub mod ui;
