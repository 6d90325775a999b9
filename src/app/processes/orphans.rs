//! What a keeper that was killed has left: its programs get SIGTERM from the kernel, what these have started does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, select_all};

use crate::event::Events;
use crate::host::{Ending, Host, SELDOM, Word};

use super::KeeperFiles;
use crate::app::resolver::ResolverFiles;

/// How often it is looked for where nobody tells.
const LOOK: Duration = Duration::from_secs(1);
/// Until what was asked to end is killed.
pub(super) const GRACE: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(20);

/// Looks after the keepers of all platforms that the background process knows, forever.
pub async fn follow(host: Arc<dyn Host>, files: ResolverFiles, mut word: Word, events: Events) {
    let mut keepers: Vec<u32> = Vec::new();
    loop {
        // the end of one is heard of, and so is that one comes
        let ends = keepers.iter().map(|pid| host.ended(*pid));
        tokio::select! {
            () = word.wait(LOOK, SELDOM) => {}
            () = first(ends) => {}
        }
        keepers.clear();
        for (platform, _) in files.entries(&*host).await {
            let keeper = KeeperFiles::of(&*host, &platform);
            let Some(record) = keeper.record(&*host).await else { continue };
            let Some(family) = record.left(&*host).await else {
                keepers.push(record.holder.pid);
                continue;
            };
            let left = host.members(&family).len();
            if left > 0 {
                events.warn(format!(
                    "the process that keeps the programs of {platform} was killed: {left} of them are ended, too"
                ));
                sweep(&*host, &keeper).await;
            }
        }
    }
}

/// The first of these to end; never, where there is none.
async fn first<'h>(ends: impl Iterator<Item = BoxFuture<'h, ()>>) {
    let ends: Vec<_> = ends.collect();
    match ends.is_empty() {
        true => std::future::pending().await,
        false => drop(select_all(ends).await),
    }
}

/// Ends whatever the last keeper has started, unless it runs.
pub(super) async fn sweep(host: &dyn Host, files: &KeeperFiles) {
    let Some(record) = files.record(host).await else { return };
    let Some(family) = record.left(host).await else { return };
    let begun = std::time::Instant::now();
    host.end(&host.members(&family), Ending::Ask);
    while begun.elapsed() < GRACE * 2 {
        let left = host.members(&family);
        if left.is_empty() {
            return;
        }
        if begun.elapsed() > GRACE {
            host.end(&left, Ending::Kill);
        }
        tokio::time::sleep(SHORT).await;
    }
}
