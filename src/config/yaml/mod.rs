//! Files as trees whose values know where they stand, the tables that say what may stand in them, and
//! the one report that collects everything that is wrong.

mod diagnostic;
mod parse;
pub(super) mod scalar;
mod shape;
mod tree;
mod units;

pub use diagnostic::{ConfigErrors, Diagnostic};
pub(super) use diagnostic::{FileId, Places, Report, Span, listed, nearest, suggestion};
pub(super) use parse::{documents, parse};
pub(super) use shape::{Field, Kind, Object, Shaper, field, in_a_list, is_remote_context, shape};
pub(super) use tree::{Entry, Map, Node, Value};
pub(super) use units::{format_duration, parse_address, parse_bytes, project_name};
