//! What was accepted and is in no block yet: one record a request, written before the answer goes out. The program may
//! be killed at any moment; the kernel writes what it was given.
//!
//! ```text
//! MACTELJ1 | generation | (length, CRC, record) ...
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use prost::Message;
use rustix::fs::OFlags;

use super::frame::checksum;
use crate::telemetry::batch::Batch;

const MAGIC: [u8; 8] = *b"MACTELJ1";
const HEADER: usize = 16;

/// The journal of a store that is written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    length: u64,
}

/// What was in a journal.
#[derive(Debug, Default, PartialEq)]
pub struct Replay {
    /// `None`: there is none, or none that is whole.
    pub generation: Option<u64>,
    pub batches: Vec<Batch>,
    /// Bytes of each.
    pub bytes: usize,
}

/// Reads as far as it is whole.
pub fn replay(content: &[u8]) -> Replay {
    let mut found = Replay::default();
    let Some((header, mut rest)) = content.split_at_checked(HEADER) else { return found };
    let Some((magic, generation)) = header.split_at_checked(MAGIC.len()) else { return found };
    let Ok(generation) = <[u8; 8]>::try_from(generation) else { return found };
    if magic != MAGIC {
        return found;
    }
    found.generation = Some(u64::from_le_bytes(generation));
    while let [a, b, c, d, e, f, g, h, more @ ..] = rest {
        let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let Some((record, more)) = more.split_at_checked(length) else { break };
        if length == 0 || checksum(record) != u32::from_le_bytes([*e, *f, *g, *h]) {
            break;
        }
        let Ok(batch) = Batch::decode(record) else { break };
        found.batches.push(batch);
        found.bytes += length;
        rest = more;
    }
    found
}

/// The journal in a folder whose store somebody else may be writing just now.
pub fn look(path: &Path) -> io::Result<Replay> {
    let generation = || {
        let mut header = Vec::new();
        File::open(path)?.take(HEADER as u64).read_to_end(&mut header)?;
        Ok::<_, io::Error>(replay(&header).generation)
    };
    loop {
        let found = match std::fs::read(path) {
            Ok(content) => replay(&content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Replay::default()),
            Err(error) => return Err(error),
        };
        if generation()? == found.generation {
            return Ok(found);
        }
    }
}

/// A file of the store's: what is written there goes through no link into somebody else's, and no pipe is waited for.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

impl Journal {
    pub fn open(path: &Path) -> io::Result<(Self, Replay)> {
        let mut file = open_own(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((Self { file, length: 0 }, replay(&content)))
    }

    /// Empty, for the next generation.
    pub fn restart(&mut self, generation: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&generation.to_le_bytes());
        self.file.write_all(&header)?;
        self.length = HEADER as u64;
        Ok(())
    }

    /// Adds a record; one that could not be written whole is not there.
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(record.len() + 8);
        bytes.extend_from_slice(&u32::try_from(record.len()).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend_from_slice(&checksum(record).to_le_bytes());
        bytes.extend_from_slice(record);
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}
