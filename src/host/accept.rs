//! The next connection of a listener that must not stop listening.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a listener waits after an error: out of descriptors, most likely, and others close in a moment.
const PAUSE: Duration = Duration::from_millis(50);

/// The next connection, by the `poll_accept` of any kind of listener. An error of accepting is that of one connection or
/// of a moment, never of the listener: it is logged, and asked again after a pause. Nothing is lost when this is dropped.
pub async fn next_connection<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> T {
    loop {
        match poll_fn(&mut poll).await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_ends_nothing() {
        let mut answers = vec![
            Poll::Ready(Ok("a client")),
            Poll::Ready(Err(io::Error::from_raw_os_error(24))),
            Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        ];
        let connection = next_connection(|_| answers.pop().unwrap_or(Poll::Pending)).await;
        assert_eq!(connection, "a client");
        assert!(answers.is_empty());
    }
}
