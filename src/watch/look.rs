//! From what the system tells to what has changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::files::{Files, Told, WatchError};
use super::tree::{Seen, Tree};

/// Nothing more has happened for this long: the batch is whole.
const QUIET: Duration = Duration::from_millis(15);
/// A batch is carried out after this long, whatever else happens.
const LONGEST: Duration = Duration::from_millis(100);

/// What belongs to one batch.
pub async fn gathered(first: Told, told: &mut UnboundedReceiver<Told>) -> Vec<Told> {
    let begun = Instant::now();
    let mut all = BTreeSet::from([first]);
    while begun.elapsed() < LONGEST {
        match tokio::time::timeout(QUIET, told.recv()).await {
            Ok(Some(one)) => {
                all.insert(one);
            }
            Ok(None) | Err(_) => break,
        }
    }
    all.into_iter().collect()
}

/// Looks at these paths, or at everything, and watches the folders that are new.
pub fn look(tree: &mut Tree, paths: &[Told], files: &mut Files) -> Result<Seen, WatchError> {
    let root = tree.root().to_owned();
    let mut seen = Seen::default();
    let mut open: Vec<PathBuf> = match paths {
        [] => vec![root.clone()],
        paths if paths.contains(&Told::Lost) => vec![root.clone()],
        paths => paths
            .iter()
            .filter_map(|told| if let Told::Path(path) = told { Some(path.clone()) } else { None })
            .collect(),
    };
    let whole = open.contains(&root);
    for round in 0..2 {
        let mut found = Seen::default();
        for path in &open {
            tree.look(path, &mut found);
        }
        seen.changed.append(&mut found.changed);
        seen.removed.append(&mut found.removed);
        for folder in &found.folders {
            files.add(folder)?;
        }
        // what was written before a new folder was watched is seen by another look
        open = found.folders;
        if open.is_empty() || round > 0 {
            break;
        }
    }
    if whole && let Some(above) = root.parent() {
        // tells when the root goes and comes back
        files.add(above)?;
    }
    Ok(seen)
}
