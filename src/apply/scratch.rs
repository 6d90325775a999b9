//! Folders of the cache in which images are made: one for each image, and one run at a time in it.

use std::path::{Path, PathBuf};

use crate::event::Progress;
use crate::host::{Held, Host, Lock};

use super::StepError;
use super::files::file_error;

/// The folder of an image below `kind`. No two images share one: the tag of a build has neither `+` nor `@`.
pub(super) fn folder(host: &dyn Host, kind: &str, tag: &str) -> PathBuf {
    host.folders().cache.join(kind).join(tag.replace('/', "+").replace(':', "@"))
}

/// The right to work in a scratch folder.
pub(super) struct Turn {
    _lock: Lock,
    /// Another run was at it until now.
    pub waited: bool,
}

/// A scratch folder bears the name of what is made in it, which two runs may want at once. Whoever is done takes it
/// away, and must not take it from one that is packing it: that one's image would lack files, for good.
pub(super) async fn turn(
    host: &dyn Host,
    scratch: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Turn, StepError> {
    let file = PathBuf::from(format!("{}.lock", scratch.display()));
    let mut waited = false;
    let waiting = |held: &Held| {
        waited = true;
        progress(Progress::Line { text: format!("waiting for {held}, which makes the same image") });
    };
    if let Some(folder) = file.parent() {
        host.create_folder(folder, 0o700).await.map_err(|error| file_error(folder, error))?;
    }
    let lock = Lock::acquire(host, &file, "macula up", None, waiting).await;
    let lock = lock.map_err(|error| file_error(&file, error))?;
    Ok(Turn { _lock: lock, waited })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn of_two_runs_one_works_in_the_scratch_folder_and_the_other_knows_of_it() {
        let host = FakeHost::new();
        let scratch = Path::new("/cache/build/macula-mail-1");
        let first = turn(&host, scratch, &|_| {}).await.unwrap();
        assert!(!first.waited);
        let (there, told) = (host.clone(), Arc::new(Mutex::new(Vec::new())));
        let said = told.clone();
        let second = tokio::spawn(async move {
            let progress = move |progress: Progress| said.lock().unwrap().push(format!("{progress:?}"));
            turn(&there, scratch, &progress).await.unwrap().waited
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
        assert!(told.lock().unwrap()[0].contains("which makes the same image"), "{told:?}");
    }

    #[test]
    fn images_of_like_names_have_folders_of_their_own() {
        let host = FakeHost::new();
        let name = |tag: &str| folder(&host, "git", tag).file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name("acme/web:1"), "acme+web@1");
        assert_ne!(name("acme/web:1"), name("acme-web:1"));
        assert_ne!(name("acme/web:1"), name("acme/web-1"));
    }
}
