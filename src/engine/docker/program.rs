//! What a program in a container writes, as an engine sends it: pieces with eight bytes in front of each, which say of
//! which stream it is, and how long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// In front of each piece: the stream, three bytes of nothing, the length.
const HEADER: usize = 8;
const STDERR: u8 = 2;
/// What is read at once: several of the engine's pieces, which have 32 KiB at most.
const READ: usize = 128 << 10;

/// Standard output alone, without what is in front of its pieces. What is written to standard error is left out.
pub(super) struct Output<R> {
    from: R,
    held: BytesMut,
    /// Of the piece that is being read.
    stream: u8,
    left: usize,
}

impl<R> Output<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, held: BytesMut::with_capacity(READ), stream: 0, left: 0 }
    }

    /// Moves what is there to `into`; false: more has to be read first.
    fn give(&mut self, into: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            if self.left == 0 {
                let Some((&[stream, _, _, _, a, b, c, d], _)) = self.held.split_first_chunk::<HEADER>() else {
                    return Ok(false);
                };
                if stream > STDERR {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no stream of a program"));
                }
                (self.stream, self.left) = (stream, u32::from_be_bytes([a, b, c, d]) as usize);
                self.held.advance(HEADER);
                continue;
            }
            let here = self.left.min(self.held.len());
            if here == 0 {
                return Ok(false);
            }
            if self.stream == STDERR {
                self.held.advance(here);
                self.left -= here;
                continue;
            }
            let count = here.min(into.remaining());
            into.put_slice(self.held.get(..count).unwrap_or_default());
            self.held.advance(count);
            self.left -= count;
            if into.remaining() == 0 {
                return Ok(true);
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        while !this.give(into)? && into.filled().len() == before {
            // all of it is free again as soon as it is empty
            if this.held.is_empty() {
                this.held.clear();
                this.held.reserve(READ);
            } else {
                this.held.reserve(HEADER);
            }
            if ready!(poll_read_buf(Pin::new(&mut this.from), cx, &mut this.held))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio_util::io::StreamReader;

    use super::*;

    /// Sent in pieces of so many bytes.
    fn output(sent: &[u8], cut: usize) -> Output<impl AsyncRead + Unpin> {
        let pieces: Vec<_> = sent.chunks(cut).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        Output::new(StreamReader::new(stream::iter(pieces)))
    }

    async fn read(sent: &[u8], cut: usize) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        output(sent, cut).read_to_end(&mut read).await.map(|_| read)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    proptest! {
        #[test]
        fn it_is_what_was_written_to_standard_output(
            pieces in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..700)), 0..12),
            cut in 1usize..300,
        ) {
            let (mut sent, mut written) = (Vec::new(), Vec::new());
            for (stream, piece) in pieces {
                sent.extend_from_slice(&[stream, 0, 0, 0]);
                sent.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_be_bytes());
                sent.extend_from_slice(&piece);
                if stream == 1 {
                    written.extend_from_slice(&piece);
                }
            }
            prop_assert_eq!(runtime().block_on(read(&sent, cut)).unwrap(), written);
        }

        #[test]
        fn whatever_is_sent_is_no_more_than_it_was(sent in prop::collection::vec(any::<u8>(), 0..4096), cut in 1usize..300) {
            if let Ok(read) = runtime().block_on(read(&sent, cut)) {
                prop_assert!(read.len() <= sent.len());
            }
        }
    }

    #[tokio::test]
    async fn a_length_reserves_nothing_and_no_other_stream_is_taken() {
        let mut long = output(&[1, 0, 0, 0, 255, 255, 255, 255, b'x'], 4);
        let mut read = Vec::new();
        long.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"x", "it ended in the middle");
        assert!(long.held.capacity() <= 2 * READ, "{}", long.held.capacity());
        let error = output(&[3, 0, 0, 0, 0, 0, 0, 1, b'x'], 9).read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
