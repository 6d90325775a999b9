//! What is known already while the rest is still asked for: a server that is silent never delays what others have
//! said.

use std::time::Duration;

use super::context::Context;
use super::ui;

/// Most looks are over by then, and nothing has to be drawn twice.
const PATIENCE: Duration = Duration::from_millis(150);
/// From one picture to the next.
const TICK: Duration = Duration::from_millis(100);
/// So long a command may say nothing where nothing is drawn.
const SILENCE: Duration = Duration::from_secs(1);

impl Context {
    /// Waits for `work`. Where nothing is drawn meanwhile and it takes long, what `said` comes to is told once.
    pub async fn while_silent<T>(
        &self,
        work: impl Future<Output = T>,
        said: impl Future<Output = Option<String>>,
    ) -> T {
        if self.drafts() {
            return work.await;
        }
        let tell = async {
            // whoever is asked something must be able to read it
            if !ui::confirm::is_open()
                && let Some(said) = said.await
            {
                self.events().info(said);
            }
        };
        told_late(work, SILENCE, tell).await
    }

    /// Whether [`Context::while_looking`] has anything to draw on.
    fn drafts(&self) -> bool {
        self.terminal.stdout_is_tty && !self.json() && self.draws()
    }

    /// Waits for `look` and shows `lines` on the terminal meanwhile. `first` is begun once it takes long: it may
    /// find out what is worth showing.
    pub async fn while_looking<T>(
        &self,
        look: impl Future<Output = T>,
        first: impl Future<Output = ()>,
        lines: impl Fn() -> Vec<String>,
    ) -> T {
        if !self.drafts() {
            return look.await;
        }
        tokio::pin!(look, first);
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut look).await {
            return done;
        }
        let mut tick = tokio::time::interval(TICK);
        let mut found = false;
        loop {
            tokio::select! {
                done = &mut look => {
                    self.draft(&[]);
                    return done;
                }
                () = &mut first, if !found => found = true,
                // whoever is asked something must be able to read it
                _ = tick.tick(), if !ui::confirm::is_open() => {
                    let lines: Vec<String> =
                        lines().iter().map(|line| ui::text::harmless(line).into_owned()).collect();
                    self.draft(&lines);
                }
            }
        }
    }
}

/// Waits for `work`, and `tell`s once that it is not done after this time.
async fn told_late<T>(work: impl Future<Output = T>, after: Duration, tell: impl Future<Output = ()>) -> T {
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(after, &mut work).await {
        return done;
    }
    tell.await;
    work.await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn only_work_that_takes_long_is_told() {
        let work = async |millis| {
            let told = Cell::new(0);
            let work = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                millis
            };
            let done = told_late(work, Duration::from_millis(20), async { told.set(told.get() + 1) }).await;
            (done, told.get())
        };
        assert_eq!(work(0).await, (0, 0));
        assert_eq!(work(200).await, (200, 1));
    }
}
