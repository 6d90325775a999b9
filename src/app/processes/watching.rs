//! Files whose change restarts a program, by the rules of `develop.watch`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::WatchRule;
use crate::watch::{Files, Filter, Seen, Told, Tree, WatchError, gathered, look};

/// Between two looks for folders that were deleted.
const BACK: Duration = Duration::from_millis(500);

/// Tells of every batch of changes, until it is dropped or cannot go on.
pub(super) async fn watching(rules: &[WatchRule], changed: impl Fn(PathBuf)) -> Result<(), WatchError> {
    let (mut files, mut told) = Files::new()?;
    let mut trees = Vec::new();
    for rule in rules {
        let path = std::fs::canonicalize(&rule.path).unwrap_or_else(|_| rule.path.clone());
        let rule = WatchRule { path: path.clone(), ..rule.clone() };
        // patterns were not looked at before; one that is not valid leaves its rule out
        let Ok(filter) = Filter::new(&rule, None, true) else { continue };
        let mut tree = Tree::new(path, filter);
        look(&mut tree, &[], &mut files)?;
        trees.push(tree);
    }
    let gone = |trees: &[Tree]| -> Vec<PathBuf> {
        trees.iter().map(Tree::root).filter(|root| !root.exists()).map(Path::to_owned).collect()
    };
    let mut missing = gone(&trees);
    loop {
        let paths = tokio::select! {
            first = told.recv() => match first {
                Some(first) => gathered(first, &mut told).await,
                None => return Ok(()),
            },
            () = tokio::time::sleep(BACK), if !missing.is_empty() => {
                let back = missing.iter().filter(|root| root.exists()).cloned().map(Told::Path).collect();
                missing = gone(&trees);
                back
            }
        };
        if paths.is_empty() {
            continue;
        }
        let mut first = None;
        for tree in &mut trees {
            let Seen { changed, removed, .. } = look(tree, &paths, &mut files)?;
            first = first.or_else(|| changed.into_iter().chain(removed).next());
        }
        missing = gone(&trees);
        if let Some(path) = first {
            changed(path);
        }
    }
}
