//! From changed files to the work on one service. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::{Hook, WatchAction, WatchRule};

/// What the changed files come to for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// File on this machine -> path in the container.
    pub put: BTreeMap<PathBuf, String>,
    /// Paths in the container, with everything below them.
    pub remove: BTreeSet<String>,
    pub exec: Vec<Hook>,
    pub restart: bool,
    pub rebuild: bool,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One file that has changed and that the rule is about.
    pub fn changed(&mut self, rule: &WatchRule, path: &Path) {
        if let Some(inside) = self.act(rule, path) {
            self.remove.remove(&inside);
            self.put.insert(path.to_owned(), inside);
        }
    }

    /// One file or folder that is no longer there.
    pub fn removed(&mut self, rule: &WatchRule, path: &Path) {
        let Some(inside) = self.act(rule, path) else { return };
        self.put.retain(|file, _| !file.starts_with(path));
        let above = |one: &String| inside == *one || inside.strip_prefix(one).is_some_and(|rest| rest.starts_with('/'));
        // what goes with its folder need not be named
        if !self.remove.iter().any(above) {
            self.remove.insert(inside);
        }
    }

    /// Where it is in the container, if the rule copies.
    fn act(&mut self, rule: &WatchRule, path: &Path) -> Option<String> {
        match rule.action {
            WatchAction::Rebuild => self.rebuild = true,
            WatchAction::Restart | WatchAction::SyncRestart => self.restart = true,
            WatchAction::SyncExec => {
                if let Some(exec) = rule.exec.as_ref().filter(|exec| !self.exec.contains(exec)) {
                    self.exec.push(exec.clone());
                }
            }
            WatchAction::Sync => {}
        }
        rule.action.copies().then(|| inside(rule, path)).flatten()
    }

    /// Everything that another batch of the same service has to do, too.
    pub fn add(&mut self, later: Self) {
        // of what waited, not of its own: a file that has become a folder goes, and what is in the folder comes
        for path in later.remove {
            self.put.retain(|_, inside| {
                *inside != path && !inside.strip_prefix(&path).is_some_and(|rest| rest.starts_with('/'))
            });
            self.remove.insert(path);
        }
        for (file, inside) in later.put {
            self.remove.remove(&inside);
            self.put.insert(file, inside);
        }
        for exec in later.exec {
            if !self.exec.contains(&exec) {
                self.exec.push(exec);
            }
        }
        self.restart |= later.restart;
        self.rebuild |= later.rebuild;
    }
}

/// The path in the container of a file below the rule's path.
pub fn inside(rule: &WatchRule, path: &Path) -> Option<String> {
    let target = rule.target.as_deref()?.trim_end_matches('/');
    let relative = path.strip_prefix(&rule.path).ok()?;
    match relative.as_os_str().is_empty() {
        // the rule is about one file, or about the folder itself
        true => Some(if target.is_empty() { "/".to_owned() } else { target.to_owned() }),
        false => Some(format!("{target}/{}", relative.to_string_lossy())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, action: WatchAction) -> WatchRule {
        WatchRule { target: Some("/app/".into()), ..WatchRule::new(path.into(), action) }
    }

    #[test]
    fn files_are_copied_below_the_target() {
        let mut batch = Batch::default();
        let sync = rule("/p/src", WatchAction::Sync);
        batch.changed(&sync, Path::new("/p/src/a/b.js"));
        batch.changed(&rule("/p/one.conf", WatchAction::Sync), Path::new("/p/one.conf"));
        assert_eq!(batch.put[Path::new("/p/src/a/b.js")], "/app/a/b.js");
        assert_eq!(batch.put[Path::new("/p/one.conf")], "/app");
        assert!(!batch.restart && !batch.rebuild && batch.remove.is_empty());
    }

    #[test]
    fn what_is_gone_is_removed_with_what_was_below_it() {
        let mut batch = Batch::default();
        let sync = rule("/p", WatchAction::Sync);
        batch.changed(&sync, Path::new("/p/a/b"));
        batch.removed(&sync, Path::new("/p/a"));
        batch.removed(&sync, Path::new("/p/a/b"));
        assert!(batch.put.is_empty());
        assert_eq!(batch.remove, BTreeSet::from(["/app/a".to_owned()]));
        // and it is back
        batch.changed(&sync, Path::new("/p/a"));
        assert!(batch.remove.is_empty());
    }

    #[test]
    fn actions_are_done_once_a_batch() {
        let mut batch = Batch::default();
        let exec = Hook { command: vec!["reload".into()], ..Hook::default() };
        let with = WatchRule { exec: Some(exec.clone()), ..rule("/p", WatchAction::SyncExec) };
        batch.changed(&with, Path::new("/p/a"));
        batch.changed(&with, Path::new("/p/b"));
        batch.changed(&rule("/p", WatchAction::SyncRestart), Path::new("/p/a"));
        assert_eq!((batch.exec.as_slice(), batch.put.len(), batch.restart), ([exec].as_slice(), 2, true));
        let mut rebuild = Batch::default();
        rebuild.changed(&rule("/p", WatchAction::Rebuild), Path::new("/p/package.json"));
        assert_eq!(rebuild, Batch { rebuild: true, ..Batch::default() });
        let mut restart = Batch::default();
        restart.removed(&rule("/p", WatchAction::Restart), Path::new("/p/a"));
        assert_eq!(restart, Batch { restart: true, ..Batch::default() });
    }

    #[test]
    fn batches_that_wait_are_one() {
        let sync = rule("/p", WatchAction::Sync);
        let mut first = Batch::default();
        first.changed(&sync, Path::new("/p/a/b"));
        first.removed(&sync, Path::new("/p/c"));
        let mut later = Batch::default();
        later.removed(&sync, Path::new("/p/a"));
        later.changed(&sync, Path::new("/p/c"));
        first.add(later);
        assert_eq!(first.put.keys().collect::<Vec<_>>(), [Path::new("/p/c")]);
        assert_eq!(first.remove, BTreeSet::from(["/app/a".to_owned()]));
        let mut folder = Batch::default();
        folder.removed(&sync, Path::new("/p/e"));
        folder.changed(&sync, Path::new("/p/e/x"));
        let mut waiting = Batch::default();
        waiting.changed(&sync, Path::new("/p/e"));
        waiting.add(folder.clone());
        assert_eq!(waiting, folder, "a file has become a folder");
    }
}
