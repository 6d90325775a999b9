//! Floor 4: telemetry where nobody else takes it. What programs send as OpenTelemetry (OTLP over HTTP and gRPC) and
//! push as to Loki is kept in a store of its own, and asked by the page and by `macula traces`.
//!
//! ```text
//! program ─> server ─> wire: bytes to messages ─> batch: what is kept, what is refused ─> store: journal, blocks
//!                                                              view: JSON <─ query <─ snapshot of the store
//! ```
//!
//! `wire`, `batch`, `filter`, `scan` and `view` are pure; `store` has the files, `server` the connections.

pub mod batch;
mod filter;
pub mod query;
mod scan;
mod server;
pub mod store;
pub mod trace_head;
pub mod view;
pub mod wire;

pub use query::{LineFilter, TraceFilter};
pub use server::Receivers;
pub use store::{Limits, Snapshot, Store, StoreError};
