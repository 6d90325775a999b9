//! Floor 8: what a user types and sees. One file a command; beside them the errors with their exit
//! codes ([`error`]), Ctrl-C ([`interrupt`]) and all that is drawn ([`ui`]).

pub mod error;
pub mod interrupt;
pub mod ui;
