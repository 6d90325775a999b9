//! A path of this container is another one on the engine's machine, or none at all: what lies below one of its mounts
//! is mounted from there.

use std::path::{Path, PathBuf};

use crate::daemon::reach::Table;
use crate::engine::Engine;
use crate::model::{Mount, Platform};

use super::Error;

/// Bind mounts as the engine's machine has them, where this process runs in a container of the engine.
pub(super) async fn translate(engine: &dyn Engine, table: &Table, platform: &mut Platform) -> Result<(), Error> {
    let binds = |mount: &Mount| matches!(mount, Mount::Bind { .. });
    if table.home.is_empty() || !platform.services().any(|(_, service)| service.mounts.iter().any(binds)) {
        return Ok(());
    }
    let mounts = engine.mounts(&table.home).await?;
    for service in platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut()) {
        for mount in &mut service.mounts {
            if let Mount::Bind { source, .. } = mount
                && let Some(there) = on_the_machine(&mounts, source)
            {
                *source = there;
            }
        }
    }
    Ok(())
}

/// By the mount that is nearest to it.
fn on_the_machine(mounts: &[(PathBuf, PathBuf)], path: &Path) -> Option<PathBuf> {
    let above = mounts.iter().filter(|(here, _)| path.starts_with(here));
    let (here, there) = above.max_by_key(|(here, _)| here.components().count())?;
    let rest = path.strip_prefix(here).ok()?;
    Some(if rest.as_os_str().is_empty() { there.clone() } else { there.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_that_of_the_nearest_mount() {
        let mounts = [("/builds", "/srv/runner"), ("/builds/shop/cache", "/srv/cache"), ("/x", "/var/lib/volumes/x")];
        let mounts = mounts.map(|(here, there)| (PathBuf::from(here), PathBuf::from(there)));
        let there = |path: &str| on_the_machine(&mounts, Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(there("/builds/shop/conf").as_deref(), Some("/srv/runner/shop/conf"));
        assert_eq!(there("/builds/shop/cache/a").as_deref(), Some("/srv/cache/a"));
        assert_eq!(there("/x").as_deref(), Some("/var/lib/volumes/x"));
        assert_eq!(there("/buildsite"), None);
    }
}
