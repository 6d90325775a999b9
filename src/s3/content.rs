//! An object's content as it goes out: a range of bytes, over all the files that it lies in.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::{Stream, try_unfold};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

use super::error::{Code, Result};
use super::operations::Body;
use super::store::Pin;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: u64,
    pub length: u64,
}

impl Range {
    /// A `Range` header; `None` for one that is to be ignored: malformed, or of several ranges.
    ///
    /// # Errors
    /// `InvalidRange` where nothing of it lies in the object.
    pub fn parse(text: &str, size: u64) -> Result<Option<Self>> {
        let Some((from, to)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return Ok(None);
        };
        let (from, to) = (from.trim(), to.trim());
        let number = |text: &str| text.parse::<u64>().ok();
        let (start, end) = match (from.is_empty(), to.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => match number(to) {
                Some(0) => return Err(Code::InvalidRange.into()),
                Some(last) => (size.saturating_sub(last), size),
                None => return Ok(None),
            },
            (false, true) => match number(from) {
                Some(start) => (start, size),
                None => return Ok(None),
            },
            (false, false) => match (number(from), number(to)) {
                (Some(start), Some(last)) if start <= last => (start, last.saturating_add(1).min(size)),
                _ => return Ok(None),
            },
        };
        if start >= size {
            return Err(Code::InvalidRange.into());
        }
        Ok(Some(Self { start, length: end - start }))
    }

    /// As `Content-Range` has it.
    pub fn describe(self, size: u64) -> String {
        match self.length {
            0 => format!("bytes */{size}"),
            length => format!("bytes {}-{}/{size}", self.start, self.start + length - 1),
        }
    }
}

const CHUNK: usize = 128 << 10;

struct Reading {
    pin: Pin,
    piece: usize,
    /// To be passed over in the next piece.
    skip: u64,
    left: u64,
    file: Option<(File, u64)>,
}

/// The files stay until the last byte has gone out, whatever happens to the object meanwhile.
pub fn chunks(pin: Pin, range: Range) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let reading = Reading { pin, piece: 0, skip: range.start, left: range.length, file: None };
    try_unfold(reading, |mut reading| async move {
        while reading.left > 0 {
            let Some((file, rest)) = &mut reading.file else {
                let Some(piece) = reading.pin.pieces().get(reading.piece).copied() else {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                };
                if reading.skip >= piece.size {
                    reading.skip -= piece.size;
                } else {
                    let mut file = reading.pin.open(reading.piece).await?;
                    file.set_max_buf_size(CHUNK);
                    if reading.skip > 0 {
                        file.seek(SeekFrom::Start(reading.skip)).await?;
                    }
                    reading.file = Some((file, piece.size - reading.skip));
                    reading.skip = 0;
                }
                reading.piece += 1;
                continue;
            };
            let most = reading.left.min(*rest).min(CHUNK as u64);
            if most == 0 {
                reading.file = None;
                continue;
            }
            let mut buffer = BytesMut::with_capacity(usize::try_from(most).unwrap_or(CHUNK));
            if file.take(most).read_buf(&mut buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let read = buffer.len() as u64;
            *rest -= read;
            reading.left -= read;
            return Ok(Some((buffer.freeze(), reading)));
        }
        Ok(None)
    })
}

pub fn stream(pin: Pin, range: Range) -> Body {
    let frames = chunks(pin, range).map_ok(Frame::data).map_err(Into::into);
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        let parse = |text: &str| Range::parse(text, 10).map(|range| range.map(|range| (range.start, range.length)));
        for (text, wanted) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=3-", Some((3, 7))),
            ("bytes=-4", Some((6, 4))),
            ("bytes=-40", Some((0, 10))),
            ("bytes=8-400", Some((8, 2))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(parse(text).unwrap(), wanted, "{text}");
        }
        for text in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(parse(text).unwrap_err().code, Code::InvalidRange, "{text}");
        }
        assert_eq!(Range { start: 3, length: 7 }.describe(10), "bytes 3-9/10");
    }
}
