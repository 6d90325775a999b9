//! Entries of an archive as bytes.

use std::io;

use tar::{EntryType, Header};

use super::Member;

/// Archives are written in blocks of this many bytes.
const BLOCK: u64 = 512;

impl Member {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Folder { path, .. }
            | Self::Link { path, .. }
            | Self::File { path, .. }
            | Self::Names { path, .. } => path,
        }
    }

    /// The header. `size`: bytes of the content that follows.
    pub(super) fn header(&self, size: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Folder { path, mode, mtime } => header(EntryType::Directory, path, None, *mode, *mtime, 0),
            Self::Link { path, to, mtime } => header(EntryType::Symlink, path, Some(to), 0o777, *mtime, 0),
            Self::File { path, mode, mtime } | Self::Names { path, mode, mtime, .. } => {
                header(EntryType::Regular, path, None, *mode, *mtime, size)
            }
        }
    }
}

fn header(kind: EntryType, path: &str, link: Option<&str>, mode: u32, mtime: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path)?;
    if let Some(link) = link {
        header.set_link_name(link)?;
    }
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

/// A small file with its header and padding.
pub(super) fn small(path: &str, mode: u32, mtime: u64, content: &[u8]) -> io::Result<Vec<u8>> {
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let mut bytes = header(EntryType::Regular, path, None, mode, mtime, size)?;
    bytes.extend_from_slice(content);
    bytes.extend(padding(size));
    Ok(bytes)
}

/// Fills the last block of a content.
pub(super) fn padding(size: u64) -> Vec<u8> {
    let over = size % BLOCK;
    vec![0; usize::try_from(if over == 0 { 0 } else { BLOCK - over }).unwrap_or_default()]
}

/// Two empty blocks: the end of an archive.
pub(super) fn end() -> Vec<u8> {
    vec![0; 1024]
}
