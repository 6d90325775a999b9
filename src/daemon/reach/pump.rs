//! Both directions of a connection: between two sockets, and between a socket and a stream of the tunnel. An end
//! of one direction is passed on as such (half-close); whatever breaks one side resets the other.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What is read at once, at first and of a socket that has more.
const PIECE: usize = 8 << 10;
const LARGE_PIECE: usize = 64 << 10;
/// The longest datagram, and the two bytes in front of each that say how long it is.
pub(super) const DATAGRAM: usize = 65_535;
const LENGTH: usize = 2;

/// The peer sees a reset in place of an end.
pub(super) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

/// Between two sockets, until both directions have ended.
pub(super) async fn between(mut one: TcpStream, mut other: TcpStream) {
    let passed = tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, LARGE_PIECE, LARGE_PIECE).await;
    if passed.is_err() {
        reset(&one);
        reset(&other);
    }
}

/// Between a socket and a stream of the tunnel.
pub(super) async fn through(mut socket: TcpStream, mut send: SendStream<Bytes>, mut receive: RecvStream) {
    let (read, mut write) = socket.split();
    let there = async {
        let mut size = PIECE;
        loop {
            tokio::select! {
                ready = read.readable() => ready?,
                _ = poll_fn(|cx| send.poll_reset(cx)) => return Err(io::ErrorKind::ConnectionReset.into()),
            }
            // none is held by a connection that is silent
            let mut piece = BytesMut::with_capacity(size);
            match read.try_read_buf(&mut piece) {
                Ok(0) => return send.send_data(Bytes::new(), true).map_err(io::Error::other),
                Ok(count) => {
                    size = if count == size { LARGE_PIECE } else { PIECE };
                    pass(&mut send, piece.freeze()).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    };
    let back = async {
        while let Some(piece) = receive.data().await {
            let piece = piece.map_err(io::Error::other)?;
            write.write_all(&piece).await?;
            receive.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
        }
        write.shutdown().await
    };
    if tokio::try_join!(there, back).is_err() {
        send.send_reset(Reason::CANCEL);
        reset(&socket);
    }
}

/// As much as the other side has room for, until all is sent: whoever reads slowly is waited for.
async fn pass(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let room = poll_fn(|cx| poll_room(send, cx, bytes.len())).await?;
        send.send_data(bytes.split_to(room), false).map_err(io::Error::other)?;
    }
    Ok(())
}

/// A datagram, where the other side has room for it now; else it is lost, as anywhere on its way. Whoever waited for
/// room would read nothing meanwhile, and both sides might wait for each other.
pub(super) fn pass_or_lose(send: &mut SendStream<Bytes>, frame: Bytes) -> io::Result<()> {
    send.reserve_capacity(frame.len());
    if send.capacity() < frame.len() {
        return Ok(());
    }
    send.send_data(frame, false).map_err(io::Error::other)
}

/// How much of so many bytes the other side has room for, as soon as it has any.
pub(super) fn poll_room(send: &mut SendStream<Bytes>, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
    send.reserve_capacity(wanted);
    let granted = match send.capacity() {
        0 => match ready!(send.poll_capacity(cx)) {
            Some(granted) => granted.map_err(io::Error::other)?,
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        },
        granted => granted,
    };
    Poll::Ready(Ok(granted.min(wanted)))
}

/// What a stream of the tunnel brings of datagrams, until it ends. Whoever stops waiting for one loses none.
pub(super) struct Datagrams {
    receive: RecvStream,
    unframe: Unframe,
}

impl Datagrams {
    pub fn new(receive: RecvStream) -> Self {
        Self { receive, unframe: Unframe::default() }
    }

    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(datagram) = self.unframe.next() {
                return Some(Ok(datagram));
            }
            if let Err(error) = self.piece().await? {
                return Some(Err(error));
            }
        }
    }

    async fn piece(&mut self) -> Option<io::Result<()>> {
        let piece = self.receive.data().await?;
        let taken = piece.and_then(|piece| {
            self.unframe.push(&piece);
            self.receive.flow_control().release_capacity(piece.len())
        });
        Some(taken.map_err(io::Error::other))
    }
}

/// A datagram as it travels in a stream.
pub(super) fn framed(datagram: &[u8]) -> Bytes {
    let datagram = datagram.get(..DATAGRAM).unwrap_or(datagram);
    let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
    let mut frame = BytesMut::with_capacity(LENGTH + datagram.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(datagram);
    frame.freeze()
}

/// Datagrams out of the pieces of a stream. It holds no more than one of them and the piece that came last.
#[derive(Debug, Default)]
struct Unframe {
    held: BytesMut,
}

impl Unframe {
    fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next one that is whole.
    fn next(&mut self) -> Option<Bytes> {
        let [high, low, ..] = *self.held.as_ref() else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.held.len() < LENGTH + length {
            return None;
        }
        self.held.advance(LENGTH);
        Some(self.held.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn datagrams_arrive_as_they_were_sent(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..12),
            cut in 1usize..300,
        ) {
            let stream: Vec<u8> = datagrams.iter().flat_map(|one| framed(one).to_vec()).collect();
            let mut unframe = Unframe::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                unframe.push(piece);
                while let Some(one) = unframe.next() {
                    found.push(one.to_vec());
                }
            }
            prop_assert_eq!(found, datagrams);
            prop_assert!(unframe.held.is_empty());
        }

        #[test]
        fn whatever_a_stream_holds_is_cut_into_no_more_than_it_is(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut unframe = Unframe::default();
            let mut count = 0;
            for piece in bytes.chunks(97) {
                unframe.push(piece);
                while let Some(one) = unframe.next() {
                    count += one.len() + LENGTH;
                }
                prop_assert!(unframe.held.len() <= LENGTH + DATAGRAM + 97);
            }
            prop_assert_eq!(count + unframe.held.len(), bytes.len());
        }
    }
}
