//! Files as archives for the engine.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An archive is ended after so many bytes, so that a large folder is never in memory as a whole.
const LARGEST: usize = 32 << 20;

/// Archives to be unpacked in `/`, one after another. A file that has gone meanwhile is left out: its end is told, too.
pub struct Archives {
    files: std::vec::IntoIter<(PathBuf, String)>,
}

/// `put`: file on this machine -> path in the container.
pub fn pack(put: &BTreeMap<PathBuf, String>) -> Archives {
    let files: Vec<(PathBuf, String)> = put.iter().map(|(file, inside)| (file.clone(), inside.clone())).collect();
    Archives { files: files.into_iter() }
}

impl Iterator for Archives {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut any = false;
        for (file, inside) in self.files.by_ref() {
            match append(&mut builder, &file, &inside) {
                Ok(added) => any |= added,
                Err(error) => return Some(Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())))),
            }
            if builder.get_ref().len() >= LARGEST {
                break;
            }
        }
        any.then(|| builder.into_inner())
    }
}

/// Whether it was there.
fn append(builder: &mut tar::Builder<Vec<u8>>, file: &Path, inside: &str) -> io::Result<bool> {
    let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let metadata = match std::fs::symlink_metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&metadata, tar::HeaderMode::Complete);
    // as in an image: whoever owns it here is nobody there
    header.set_uid(0);
    header.set_gid(0);
    let target = inside.trim_start_matches('/');
    if metadata.is_symlink() {
        header.set_size(0);
        builder.append_link(&mut header, target, std::fs::read_link(file)?)?;
        return Ok(true);
    }
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut content = Vec::new();
    match std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut content)) {
        Ok(_) => {}
        Err(error) if gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    }
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, target, content.as_slice())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_are_packed_and_what_is_gone_is_left_out() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "text").unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        let put = [("a", "/app/a"), ("gone", "/app/gone"), ("link", "/app/link")];
        let put = put.into_iter().map(|(file, inside)| (at(file), inside.to_owned())).collect();
        let archives: Vec<Vec<u8>> = pack(&put).map(Result::unwrap).collect();
        assert_eq!(archives.len(), 1);
        let mut archive = tar::Archive::new(archives[0].as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let kind = entry.header().entry_type();
                (entry.path().unwrap().display().to_string(), kind.is_symlink(), entry.header().uid().unwrap())
            })
            .collect();
        assert_eq!(entries, [("app/a".to_owned(), false, 0), ("app/link".to_owned(), true, 0)]);
        assert_eq!(pack(&BTreeMap::new()).count(), 0);
    }
}
