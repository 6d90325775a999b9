use std::path::PathBuf;

/// An exclusive lock file of a platform, held while something is changed.
#[derive(Debug)]
pub struct Lock {
    pub path: PathBuf,
}

#[derive(Debug)]
pub struct Held;

#[derive(Debug, thiserror::Error)]
pub enum LockError {}
