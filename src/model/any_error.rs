//! What an error keeps of the one below it.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An error of a lower floor or of a library, as the source of ours. Shared, so that what holds it can be cloned; two
/// are equal when they say the same all the way down. It stands for the error itself (and is none, so that
/// `#[source]` and `downcast_ref` see what is in it). `{}` is its own text, `{:#}` that of its causes too.
#[derive(Clone)]
pub struct AnyError(Arc<dyn Error + Send + Sync>);

impl AnyError {
    /// Where nothing but words is known: what a program wrote, what we found wrong ourselves.
    pub fn said(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self::boxed(text.into())
    }

    pub fn boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error.into())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for AnyError {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl Deref for AnyError {
    type Target = dyn Error + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for AnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => f.write_str(&chain(&*self.0)),
            false => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for AnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for AnyError {
    fn eq(&self, other: &Self) -> bool {
        chain(&*self.0) == chain(&*other.0)
    }
}

impl Eq for AnyError {}

/// An error and its causes on one line, each text once: the outermost of some libraries says only "client error".
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("write {file}")]
    struct Outer {
        file: &'static str,
        source: AnyError,
    }

    fn outer(kind: io::ErrorKind) -> Outer {
        Outer { file: "a.json", source: io::Error::from(kind).into() }
    }

    #[test]
    fn the_error_in_it_is_the_source() {
        let error = outer(io::ErrorKind::PermissionDenied);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(error, error.clone());
        assert_ne!(error, outer(io::ErrorKind::NotFound));
    }

    #[test]
    fn the_whole_of_it_stands_on_one_line() {
        let cause = AnyError::from(outer(io::ErrorKind::PermissionDenied));
        assert_eq!(cause.to_string(), "write a.json");
        assert_eq!(format!("{cause:#}"), "write a.json: permission denied");
        assert_eq!(AnyError::said("no more").to_string(), "no more");
        assert_eq!(AnyError::said("no more"), AnyError::boxed("no more".into()));
    }
}
