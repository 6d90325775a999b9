//! The world behind one handle.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::discover::Discovery;
use crate::host::Host;

/// What effects go through. An engine may be absent: `doctor` says why.
#[derive(Clone)]
pub struct System {
    pub host: Arc<dyn Host>,
    pub engine: Option<Arc<dyn Engine>>,
    pub discovery: Discovery,
}
