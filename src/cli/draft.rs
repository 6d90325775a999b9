//! What is known already while the rest is still asked for: a server that is silent never delays what others have
//! said.

use std::time::Duration;

use super::context::Context;
use super::ui;

/// Most looks are over by then, and nothing has to be drawn twice.
const PATIENCE: Duration = Duration::from_millis(150);
/// From one picture to the next.
const TICK: Duration = Duration::from_millis(100);

impl Context {
    /// Waits for `look` and shows `lines` on the terminal meanwhile. `first` is begun once it takes long: it may
    /// find out what is worth showing.
    pub async fn while_looking<T>(
        &self,
        look: impl Future<Output = T>,
        first: impl Future<Output = ()>,
        lines: impl Fn() -> Vec<String>,
    ) -> T {
        let watched = self.terminal.stdout_is_tty && !self.json() && self.draws();
        if !watched {
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
