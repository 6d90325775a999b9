//! When volumes were last written to, as seen by a container that may only read them: their folders are root's, or in
//! a machine of the engine's own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::{Engine, for_a_moment};
use crate::model::{ContainerOptions, ContainerSpec, MountSpec, ObservedContainer, PlatformName, label};
use crate::words;

/// What is only nice to know keeps nobody waiting for long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Images that are tried: not each has a shell.
const IMAGES: usize = 3;
const FOLDER: &str = "/volumes";

/// One line each: the folder's name, and the newest time of change below it. Ends with 127 where the image lacks the
/// tools.
const SCRIPT: &str = r#"
for tool in find stat sort tail; do command -v $tool >/dev/null || exit 127; done
for folder in "$1"/*; do
  echo "${folder##*/} $(find "$folder" -exec stat -c %Y {} + 2>/dev/null | sort -n | tail -n 1)"
done
"#;

/// Seconds since the epoch, by volume; without those of which it cannot be known.
pub(super) async fn last_written(
    engine: &dyn Engine,
    platform: &PlatformName,
    volumes: &[String],
    containers: &[ObservedContainer],
) -> BTreeMap<String, i64> {
    let images = words::unique(containers.iter().map(|found| found.image_id.clone()));
    for image in images.iter().filter(|_| !volumes.is_empty()).take(IMAGES) {
        match for_a_moment(engine, &looking(platform, volumes, image), image, PATIENCE).await {
            Ok(Some(text)) => return read(&text, volumes),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    BTreeMap::new()
}

fn looking(platform: &PlatformName, volumes: &[String], image: &str) -> ContainerSpec {
    let mounts = volumes.iter().enumerate().map(|(at, volume)| MountSpec::Volume {
        source: volume.clone(),
        target: format!("{FOLDER}/{at}"),
        read_only: true,
        no_copy: true,
        subpath: None,
    });
    ContainerSpec {
        name: format!("{}-written-{}", platform.network(), std::process::id()),
        service: "written".into(),
        image: image.to_owned(),
        entrypoint: Some(vec!["/bin/sh".into()]),
        command: Some(["-c", SCRIPT, "sh", FOLDER].map(str::to_owned).to_vec()),
        network_mode: Some("none".into()),
        mounts: mounts.collect(),
        // a server's folder may be for its own user alone
        options: ContainerOptions { user: Some("0".into()), read_only: true, ..ContainerOptions::default() },
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), platform.to_string())]),
        ..ContainerSpec::default()
    }
}

fn read(text: &[u8], volumes: &[String]) -> BTreeMap<String, i64> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let (at, time) = line.split_once(' ')?;
        // an image whose makers set all times to nothing says nothing of when its files came here
        let time = time.trim().parse::<i64>().ok().filter(|time| *time > 0)?;
        Some((volumes.get(at.parse::<usize>().ok()?)?.clone(), time))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_newest_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str, seconds: u64| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            for changed in [path.as_path(), path.parent().unwrap()] {
                std::fs::File::open(changed).unwrap().set_modified(time).unwrap();
            }
        };
        file("0/a b", 1_000_000);
        file("0/deep/er", 2_000_000);
        file("1/c", 3_000_000);
        let times = std::fs::File::open(folder.path().join("0")).unwrap();
        times.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_500_000)).unwrap();
        let said = Command::new("/bin/sh").args(["-c", SCRIPT, "sh"]).arg(folder.path()).output().unwrap();
        if said.status.code() == Some(127) {
            crate::require::skipped("find", "this machine lacks find, stat, sort or tail");
            return;
        }
        let found = read(&said.stdout, &["data".to_owned(), "more".to_owned()]);
        assert_eq!(found, BTreeMap::from([("data".to_owned(), 2_000_000), ("more".to_owned(), 3_000_000)]));
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        let volumes = ["data".to_owned(), "empty".to_owned()];
        let found = read(b"1 \n1 0\n0 17\n9 12\nnoise\n", &volumes);
        assert_eq!(found, BTreeMap::from([("data".to_owned(), 17)]));
    }
}
