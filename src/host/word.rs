//! Word of changes, for whoever would otherwise look again and again: the system tells what happens to files.
//!
//! What is told is only that it is worth looking. Whoever waits also looks after a while without any word: a file system
//! that others write to over a network tells nothing of what they do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Host;

/// How often one looks where the system tells of changes.
pub const SELDOM: Duration = Duration::from_secs(20);
/// Nothing more has happened for this long: one look is enough for all of it.
const QUIET: Duration = Duration::from_millis(15);
/// Who changes things without a pause is looked at all the same.
const LONGEST: Duration = Duration::from_millis(100);
/// How often it is tried to watch what could not be watched.
const AGAIN: Duration = Duration::from_secs(60);

/// Tells what happens to files.
#[async_trait]
pub trait FileWatch: Send {
    /// Watches a file, or what is directly in a folder; once more does no harm. False: that cannot be.
    fn add(&mut self, path: &Path) -> bool;
    /// What has been written, made, renamed or removed since; empty: more than could be told. May be dropped while it
    /// waits.
    async fn next(&mut self) -> Vec<PathBuf>;
}

/// What somebody goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// This file, which need not be there, wherever it leads to as a link.
    File(PathBuf),
    /// Whatever is directly in this folder, which need not be there.
    Folder(PathBuf),
}

impl Interest {
    fn path(&self) -> &Path {
        let (Self::File(path) | Self::Folder(path)) = self;
        path
    }

    /// Whether something that happened to `path` is of interest: a folder above may have come or gone.
    fn is_about(&self, path: &Path) -> bool {
        let inside = matches!(self, Self::Folder(folder) if path.parent() == Some(folder.as_path()));
        inside || self.path().starts_with(path)
    }
}

/// What is of interest now; asked again after each change.
pub type Interests = Box<dyn Fn() -> BoxFuture<'static, Vec<Interest>> + Send + Sync>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    count: u64,
    /// Everything of interest is watched.
    whole: bool,
}

/// What is heard.
#[derive(Debug, Clone)]
pub struct Word {
    said: watch::Receiver<Said>,
}

impl Word {
    /// Waits for a change since the last wait: at most `seldom`, and `often` where the system does not tell of all.
    pub async fn wait(&mut self, often: Duration, seldom: Duration) {
        let longest = if self.said.borrow().whole { seldom } else { often };
        if let Ok(Err(_)) = timeout(longest, self.said.changed()).await {
            // nobody tells anything any more
            sleep(often).await;
        }
    }
}

/// Hears of what happens to files for as long as the returned future is run.
pub fn listen(host: Arc<dyn Host>, interests: Interests) -> (Word, impl Future<Output = ()> + Send) {
    let (sender, said) = watch::channel(Said::default());
    let task = async move {
        // its end is heard: whoever waits looks often, then
        let Some(mut watch) = host.watch_files() else { return };
        loop {
            let mut wanted = interests().await;
            let whole = settle(&*host, &mut *watch, &mut wanted).await;
            // what happened before it was watched is worth a look, too
            sender.send_modify(|said| *said = Said { count: said.count.wrapping_add(1), whole });
            until_told(&mut *watch, &wanted, if whole { None } else { Some(AGAIN) }).await;
        }
    };
    (Word { said }, task)
}

/// Watches what is of interest; false: not all of it can be. What files lead to is added to `wanted`.
async fn settle(host: &dyn Host, watch: &mut dyn FileWatch, wanted: &mut Vec<Interest>) -> bool {
    let mut whole = true;
    let mut led_to = Vec::new();
    for interest in &*wanted {
        let path = interest.path();
        whole &= add_nearest(host, watch, interest).await;
        if matches!(interest, Interest::File(_)) && host.exists(path).await {
            // one that is mounted over the other, as in containers, is in no folder that is watched
            whole &= watch.add(path);
            let target = host.resolved(path).await;
            if target != path {
                led_to.push(Interest::File(target));
            }
        }
    }
    for interest in &led_to {
        whole &= add_nearest(host, watch, interest).await;
    }
    wanted.extend(led_to);
    whole
}

/// The folder, or the nearest one above that is there.
async fn add_nearest(host: &dyn Host, watch: &mut dyn FileWatch, interest: &Interest) -> bool {
    let mut folder = match interest {
        Interest::Folder(folder) => Some(folder.as_path()),
        Interest::File(file) => file.parent(),
    };
    while let Some(found) = folder {
        if host.exists(found).await {
            return watch.add(found);
        }
        folder = found.parent();
    }
    false
}

async fn until_told(watch: &mut dyn FileWatch, wanted: &[Interest], most: Option<Duration>) {
    let of_interest = |paths: &[PathBuf]| {
        paths.is_empty() || paths.iter().any(|path| wanted.iter().any(|interest| interest.is_about(path)))
    };
    let told = async { while !of_interest(&watch.next().await) {} };
    let told = match most {
        Some(most) => timeout(most, told).await.is_ok(),
        None => {
            told.await;
            true
        }
    };
    if told {
        let rest = async { while timeout(QUIET, watch.next()).await.is_ok() {} };
        let _ = timeout(LONGEST, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::host::local::LocalHost;

    const LONG: Duration = Duration::from_secs(60);

    /// Hears of these; the task ends with the test.
    fn hear(interests: Vec<Interest>) -> Word {
        let all: Interests = Box::new(move || Box::pin(std::future::ready(interests.clone())));
        let (word, task) = listen(Arc::new(LocalHost::new()), all);
        tokio::spawn(task);
        word
    }

    /// Whether something is heard within five seconds.
    async fn hears(word: &mut Word) -> bool {
        let begun = Instant::now();
        let _ = timeout(Duration::from_secs(5), word.wait(LONG, LONG)).await;
        begun.elapsed() < Duration::from_secs(5)
    }

    async fn is_quiet(word: &mut Word) -> bool {
        timeout(Duration::from_millis(300), word.wait(LONG, LONG)).await.is_err()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_happens_to_files_is_heard_and_nothing_else() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = folder.path();
        let (file, below) = (root.join("resolv.conf"), root.join("later/zones"));
        std::fs::create_dir(root.join("run")).unwrap();
        std::fs::write(root.join("run/real.conf"), "a").unwrap();
        std::os::unix::fs::symlink(root.join("run/real.conf"), &file).unwrap();
        let mut word = hear(vec![Interest::File(file.clone()), Interest::Folder(below.clone())]);
        assert!(hears(&mut word).await, "that it is watched");
        assert!(is_quiet(&mut word).await);
        std::fs::write(root.join("other"), "x").unwrap();
        std::fs::read(&file).unwrap();
        assert!(is_quiet(&mut word).await);
        std::fs::write(root.join("run/real.conf"), "b").unwrap();
        assert!(hears(&mut word).await, "where the link leads to");
        std::fs::write(root.join(".new"), "c").unwrap();
        std::fs::rename(root.join(".new"), &file).unwrap();
        assert!(hears(&mut word).await, "another file in its place");
        assert!(is_quiet(&mut word).await);
        std::fs::write(&file, "d").unwrap();
        assert!(hears(&mut word).await, "and that one");
        std::fs::create_dir_all(&below).unwrap();
        assert!(hears(&mut word).await, "a folder that comes");
        while !is_quiet(&mut word).await {}
        std::fs::write(below.join("macula.json"), "{}").unwrap();
        assert!(hears(&mut word).await, "and what is in it");
        while !is_quiet(&mut word).await {}
        std::fs::remove_dir_all(root.join("later")).unwrap();
        assert!(hears(&mut word).await, "that it goes");
    }

    #[tokio::test]
    async fn where_nothing_is_told_one_looks_often() {
        let nothing: Interests = Box::new(|| Box::pin(std::future::ready(Vec::new())));
        let (mut word, task) = listen(Arc::new(FakeHost::new()), nothing);
        task.await;
        let begun = Instant::now();
        for _ in 0..3 {
            word.wait(Duration::from_millis(10), LONG).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(30) && begun.elapsed() < LONG);
    }
}
