//! placeholder
#[derive(Debug, Clone)]
pub struct Loaded {
    pub platform: crate::model::Platform,
}
