//! Waiting for something that nobody announces: ask again and again, for so long, unless the user
//! stops it.
//!
//! Below `app` (engine, kubernetes, dns, the reading of locks) loops sleep without a token: there the user's
//! Ctrl-C comes as the end of the future, which whoever called has in a `select!` beside the token. So do the
//! loops that run for as long as a process does.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Why the wait ended without what was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet<R> {
    /// The patience is over; what the last look said.
    TooLong(R),
    Cancelled,
}

/// Calls `look` every so often until it gives something. What it gives instead is the reason to wait
/// on. It is called at least once, and a look that has begun is finished.
pub async fn until<T, R>(
    patience: Duration,
    every: Duration,
    cancel: &CancellationToken,
    mut look: impl AsyncFnMut() -> Result<T, R>,
) -> Result<T, Unmet<R>> {
    let begun = Instant::now();
    loop {
        let reason = match look().await {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Unmet::TooLong(reason));
        }
        if !pause(every.min(left), cancel).await {
            return Err(Unmet::Cancelled);
        }
    }
}

/// Between two looks of a loop that has more to do than [`until`]; `false`: the user has stopped it.
pub async fn pause(time: Duration, cancel: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = cancel.cancelled() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn it_asks_until_there_is_an_answer() {
        let (mut asked, nobody) = (0, CancellationToken::new());
        let found = until(Duration::from_secs(60), SOON, &nobody, async || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("not yet") }
        });
        assert_eq!(found.await, Ok(3));
    }

    #[tokio::test]
    async fn without_patience_it_asks_once_and_says_why() {
        let never = async || Err::<(), _>("the door is shut");
        let found = until(Duration::ZERO, SOON, &CancellationToken::new(), never).await;
        assert_eq!(found, Err(Unmet::TooLong("the door is shut")));
        let found = until(Duration::from_millis(5), SOON, &CancellationToken::new(), never).await;
        assert_eq!(found, Err(Unmet::TooLong("the door is shut")));
    }

    #[tokio::test]
    async fn the_user_ends_it_at_once() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let begun = Instant::now();
        let found = until(Duration::from_secs(600), Duration::from_secs(600), &cancel, async || Err::<(), _>(())).await;
        assert_eq!(found, Err(Unmet::Cancelled));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
