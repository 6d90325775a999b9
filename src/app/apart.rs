//! Files that a container is given by their path, where the engine sees other files at that path: this program
//! runs in a container, and the engine outside of it. The engine makes empty folders in their place, and
//! nobody is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::model::{Facts, Mount, MountsElsewhere, Platform};

pub(super) const MOUNTS: &str = "/proc/self/mountinfo";
/// Whoever gives these to a container means the machine's.
const OF_THE_SYSTEM: [&str; 8] = ["/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var"];

/// `service: path` for each that the engine does not have. Of services with `x-macula.mounts` the engine itself is asked.
pub(super) async fn unseen_by_the_engine(
    host: &dyn Host,
    facts: &Facts,
    platform: &Platform,
    chosen: Option<&BTreeSet<String>>,
) -> Vec<String> {
    if !host.facts().container {
        return Vec::new();
    }
    // an engine in the same container sees what we see
    if let Some(root) = &facts.data_root
        && host.exists(Path::new(root)).await
    {
        return Vec::new();
    }
    let mounts = String::from_utf8_lossy(&host.read(Path::new(MOUNTS)).await.unwrap_or_default()).into_owned();
    let mut unseen = Vec::new();
    let chosen = |name: &String| chosen.is_none_or(|chosen| chosen.contains(name));
    for (_, service) in platform.services().filter(|(_, service)| chosen(&service.name)) {
        if service.extension.mounts != MountsElsewhere::AsWritten {
            continue;
        }
        for mount in &service.mounts {
            let Mount::Bind { source, .. } = mount else { continue };
            let root = source.parent().is_none();
            let of_the_system = root || OF_THE_SYSTEM.iter().any(|folder| source.starts_with(folder));
            if !of_the_system && host.exists(source).await && !is_shared(&mounts, source) {
                unseen.push(format!("{}: {}", service.name, source.display()));
            }
        }
    }
    unseen
}

/// Whether a path of this container is a mount of the same path of the machine, as far as
/// /proc/self/mountinfo (proc(5)) says.
pub(super) fn is_shared(mounts: &str, path: &Path) -> bool {
    let deepest = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            Some((PathBuf::from(fields.next()?), PathBuf::from(fields.next()?)))
        })
        .filter(|(_, at)| path.starts_with(at))
        .max_by_key(|(_, at)| at.components().count());
    // the root of a container is none of the machine's
    deepest.is_some_and(|(root, at)| at != Path::new("/") && root.ends_with(at.strip_prefix("/").unwrap_or(&at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::JOB_MOUNTS;

    #[test]
    fn a_path_is_shared_where_it_is_mounted_under_its_own_name() {
        let shared = |path: &str| is_shared(JOB_MOUNTS, Path::new(path));
        assert!(shared("/home/ann/shop/conf") && shared("/home/ann/shop"));
        // under another name, and not at all
        assert!(!shared("/build/conf") && !shared("/proj/conf") && !shared("/home/ann/shopping"));
        assert!(!is_shared("", Path::new("/proj/conf")));
    }
}
