//! Pieces of an archive between a task, which waits for the engine, and a thread, which waits for the disk.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

/// Pieces that wait for the other side.
const IN_FLIGHT: usize = 16;
/// Bytes that a thread sends at once.
const PIECE: usize = 64 << 10;

/// The last piece. A sender that goes away without it has broken off, and what it has sent may end
/// where an archive could end.
pub const END: Bytes = Bytes::new();

/// From a task to a thread that reads.
pub fn to_thread() -> (mpsc::Sender<Bytes>, Pieces) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    (sender, Pieces { receiver, piece: Bytes::new(), ended: false })
}

/// What comes from the engine, for a reader on another thread.
pub struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off")),
            }
            self.ended = self.piece.is_empty();
        }
        let taken = self.piece.split_to(self.piece.len().min(buffer.len()));
        buffer.get_mut(..taken.len()).unwrap_or_default().copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// From a thread that writes to a task. The stream fails unless the thread says that it has come to the end.
pub fn from_thread() -> (Sink, BoxStream<'static, io::Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel::<Bytes>(IN_FLIGHT);
    let pieces = stream::unfold((receiver, false), |(mut receiver, ended)| async move {
        if ended {
            return None;
        }
        match receiver.recv().await {
            Some(piece) if piece.is_empty() => None,
            Some(piece) => Some((Ok(piece), (receiver, false))),
            None => Some((Err(io::Error::other("it broke off")), (receiver, true))),
        }
    });
    (Sink { sender, piece: BytesMut::with_capacity(PIECE) }, pieces.boxed())
}

/// The thread's end.
pub struct Sink {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Sink {
    /// All of it was written.
    pub fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(END)
    }

    fn send(&self, piece: Bytes) -> io::Result<()> {
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE.saturating_sub(self.piece.len()));
        self.piece.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.send(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_thread_writes_arrives_whole_or_is_known_to_be_cut() {
        let all: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        for ends in [true, false] {
            let (mut sink, mut pieces) = from_thread();
            let written = all.clone();
            let thread = tokio::task::spawn_blocking(move || {
                sink.write_all(&written).unwrap();
                if ends {
                    sink.end().unwrap();
                }
            });
            let (mut read, mut broken) = (Vec::new(), false);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => read.extend_from_slice(&piece),
                    Err(_) => broken = true,
                }
            }
            thread.await.unwrap();
            assert_eq!(broken, !ends);
            assert_eq!(read == all, ends, "the last piece was not full");
        }
    }

    #[tokio::test]
    async fn a_thread_reads_to_the_end_and_knows_when_it_is_none() {
        for ends in [true, false] {
            let (sender, mut pieces) = to_thread();
            let thread = tokio::task::spawn_blocking(move || {
                let mut read = Vec::new();
                pieces.read_to_end(&mut read).map(|_| read).ok()
            });
            sender.send(Bytes::from_static(b"one ")).await.unwrap();
            sender.send(Bytes::from_static(b"two")).await.unwrap();
            if ends {
                sender.send(END).await.unwrap();
            }
            drop(sender);
            assert_eq!(thread.await.unwrap().as_deref(), ends.then_some(b"one two".as_slice()));
        }
    }

    #[tokio::test]
    async fn a_thread_ends_when_nobody_reads() {
        let (mut sink, pieces) = from_thread();
        drop(pieces);
        let written = tokio::task::spawn_blocking(move || sink.write_all(&[0; 200_000]).map_err(|error| error.kind()));
        assert_eq!(written.await.unwrap(), Err(io::ErrorKind::BrokenPipe));
    }
}
