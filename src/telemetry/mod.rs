//! Floor 4: telemetry where nobody else takes it. What programs send as OpenTelemetry (OTLP over HTTP and gRPC) and
//! push as to Loki is kept in a store of its own, and asked by the page and by `macula traces`.
//!
//! ```text
//! program ─> server ─> wire: bytes to messages ─> batch: what is kept, what is refused ─> store: journal, blocks
//!                                                              view: JSON <─ query <─ snapshot of the store
//! ```
//!
//! `wire`, `batch`, `levels`, `filter`, `scan`, `series`, `map` and `view` are pure; `store` has the files, `server` the connections, and
//! `remote` asks Tempo, Loki and Prometheus where they are.

pub mod batch;
mod filter;
pub mod levels;
mod map;
pub mod query;
pub mod remote;
mod scan;
mod series;
mod server;
pub mod store;
pub mod trace_head;
pub mod view;
pub mod wire;

pub use map::{Calls, Served, ServiceMap};
pub use query::{LineFilter, TraceFilter};
pub use server::Receivers;
pub use store::{Limits, Snapshot, Store, StoreError};
