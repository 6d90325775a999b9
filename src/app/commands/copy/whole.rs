//! Whether an archive came to its end: Podman ends its answer as if all was well when it cannot read on.

use std::cell::Cell;
use std::io::{self, Read};

use futures_util::StreamExt;

use super::{CopyOptions, Inside, Told, blocking, source_inside, text};
use crate::app::commands::pieces::{END, to_thread};
use crate::app::{CopyError, Error, Session};

/// Two empty blocks end every archive (POSIX `pax`, ustar interchange format).
const END_MARK: usize = 1024;

/// An archive that is read, with the empty bytes that came last.
pub struct Counted<'a, R> {
    pub archive: R,
    pub told: &'a Told,
    pub zeros: &'a Cell<usize>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(buffer)?;
        self.told.add(read as u64);
        let got = buffer.get(..read).unwrap_or_default();
        let last = got.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros.set(if last == read { self.zeros.get().saturating_add(last) } else { last });
        Ok(read)
    }
}

impl<R: Read> Counted<'_, R> {
    /// Reads what stands behind the last file: the archive's end, or nothing where it broke off.
    pub fn end(mut self) -> Result<(), CopyError> {
        io::copy(&mut self, &mut io::sink()).map_err(broken)?;
        if self.zeros.get() < END_MARK { Err(broken(broke_off())) } else { Ok(()) }
    }
}

pub fn broke_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off")
}

pub fn broken(source: io::Error) -> CopyError {
    CopyError::Damaged { source }
}

fn read_through(archive: impl Read, told: &Told) -> Result<(), CopyError> {
    let zeros = Cell::new(0);
    let mut read = tar::Archive::new(Counted { archive, told, zeros: &zeros });
    for entry in read.entries().map_err(broken)? {
        io::copy(&mut entry.map_err(broken)?, &mut io::sink()).map_err(broken)?;
        // those at the end of a file's content are not the archive's end
        zeros.set(0);
    }
    read.into_inner().end()
}

/// Something in a container as an archive, for `write`, as it comes.
pub async fn pack_from(
    session: &Session,
    from: &Inside<'_>,
    options: CopyOptions,
    told: &Told,
    write: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
) -> Result<(), Error> {
    let (path, _) = source_inside(from, options.follow).await?;
    let mut pieces = from.engine.pack(from.container, &text(&path, from)?).await?;
    let (sender, archive) = to_thread();
    let told = told.clone();
    let reading = blocking(move || read_through(archive, &told));
    let passing = async {
        // moved in, so that the thread is told when this breaks off
        let sender = sender;
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = session.cancel.cancelled() => return Err(Error::Cancelled),
            };
            let Some(piece) = piece else {
                let _ = sender.send(END).await;
                return Ok(());
            };
            let piece = piece?;
            write(&piece).map_err(|source| CopyError::Unsent { source })?;
            // a thread that has ended has an error of its own, and whoever reads gets all that comes
            if !piece.is_empty() {
                let _ = sender.send(piece).await;
            }
        }
    };
    let (read, passed) = tokio::join!(reading, passing);
    passed?;
    Ok(read??)
}
