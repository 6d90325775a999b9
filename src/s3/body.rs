//! The body of a request as the client meant it: the frame of `aws-chunked` taken off, its
//! signatures and digests checked while it streams.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use ring::digest::{Context, SHA256};

use super::auth::{ChunkSigner, Payload};
use super::error::{Code, Error, Result};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Incoming = http_body_util::combinators::BoxBody<Bytes, BoxError>;

/// Yields the data; at its end everything that was signed or counted has been checked.
pub struct Reader {
    incoming: Incoming,
    kind: Kind,
    /// What is still to come of the decoded length, where it was announced.
    left: Option<u64>,
    trailers: BTreeMap<String, String>,
    done: bool,
}

enum Kind {
    Plain,
    Digest { wanted: Vec<u8>, seen: Box<Context> },
    Chunked(Box<Chunks>),
}

impl Reader {
    /// `length`: of the decoded body, where the client says it.
    pub fn new(incoming: Incoming, payload: Payload, length: Option<u64>) -> Self {
        let kind = match payload {
            Payload::Unsigned => Kind::Plain,
            Payload::Sha256(wanted) => Kind::Digest { wanted, seen: Box::new(Context::new(&SHA256)) },
            Payload::Chunked(signer) => Kind::Chunked(Box::new(Chunks::new(signer))),
        };
        Self { incoming, kind, left: length, trailers: BTreeMap::new(), done: false }
    }

    /// The next piece; `None` once all of it has come and was right.
    ///
    /// # Errors
    /// A connection that ended early, a frame, length, digest or signature that is wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            let piece = match &mut self.kind {
                Kind::Chunked(chunks) => match chunks.step(&mut self.trailers)? {
                    Step::Data(bytes) => Some(bytes),
                    Step::End => None,
                    Step::More => {
                        let more = frame(&mut self.incoming).await?.ok_or(Code::IncompleteBody)?;
                        chunks.buffer.extend_from_slice(&more);
                        continue;
                    }
                },
                Kind::Plain | Kind::Digest { .. } => frame(&mut self.incoming).await?,
            };
            let Some(bytes) = piece else {
                self.done = true;
                return self.end().await.map(|()| None);
            };
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(bytes.len() as u64).ok_or(Code::IncompleteBody)?;
            }
            if let Kind::Digest { seen, .. } = &mut self.kind {
                seen.update(&bytes);
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    async fn end(&mut self) -> Result<()> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Code::IncompleteBody.into());
        }
        match &mut self.kind {
            Kind::Plain => Ok(()),
            Kind::Digest { wanted, seen } if Context::clone(seen).finish().as_ref() == wanted.as_slice() => Ok(()),
            Kind::Digest { .. } => Err(Code::XAmzContentSHA256Mismatch.into()),
            // nothing may stand behind the last chunk, and the connection is used again
            Kind::Chunked(chunks) => match frame(&mut self.incoming).await? {
                None if chunks.buffer.is_empty() => Ok(()),
                _ => Err(Code::IncompleteBody.into()),
            },
        }
    }

    /// What came behind the data.
    pub fn trailers(&self) -> &BTreeMap<String, String> {
        &self.trailers
    }

    /// All of it, which may not be more than `most` bytes.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub async fn whole(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > most {
                return Err(Code::EntityTooLarge.into());
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

async fn frame(incoming: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match incoming.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Code::IncompleteBody.into()),
        }
    }
}

/// `SIZE;chunk-signature=...\r\nDATA\r\n`, a chunk of size 0, lines of trailers (none, mostly), an
/// empty line.
struct Chunks {
    buffer: BytesMut,
    state: State,
    signer: Option<Box<ChunkSigner>>,
    /// Of the chunk that is being read.
    seen: Context,
    signature: String,
    /// The trailer's lines that no signature has covered yet.
    lines: String,
}

enum State {
    Size,
    Data(usize),
    AfterData,
    Trailer,
    End,
}

enum Step {
    Data(Bytes),
    More,
    End,
}

/// Longer lines are no frame.
const LINE: usize = 4096;

impl Chunks {
    fn new(signer: Option<Box<ChunkSigner>>) -> Self {
        Self {
            buffer: BytesMut::new(),
            state: State::Size,
            signer,
            seen: Context::new(&SHA256),
            signature: String::new(),
            lines: String::new(),
        }
    }

    fn step(&mut self, trailers: &mut BTreeMap<String, String>) -> Result<Step> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    let (size, rest) = line.split_once(';').unwrap_or((&line, ""));
                    let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed())?;
                    rest.trim().strip_prefix("chunk-signature=").unwrap_or_default().clone_into(&mut self.signature);
                    self.seen = Context::new(&SHA256);
                    self.state = State::Data(size);
                    if size == 0 {
                        self.chunk_ends()?;
                        self.state = State::Trailer;
                    }
                }
                State::Data(0) => {
                    self.chunk_ends()?;
                    self.state = State::AfterData;
                }
                State::Data(left) => {
                    if self.buffer.is_empty() {
                        return Ok(Step::More);
                    }
                    let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                    if self.signer.is_some() {
                        self.seen.update(&data);
                    }
                    self.state = State::Data(left - data.len());
                    return Ok(Step::Data(data));
                }
                State::AfterData => {
                    if self.buffer.len() < 2 {
                        return Ok(Step::More);
                    }
                    if &self.buffer[..2] != b"\r\n" {
                        return Err(malformed());
                    }
                    self.buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailer => {
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    if line.is_empty() && self.signer.is_some() && !self.lines.is_empty() {
                        return Err(Code::SignatureDoesNotMatch.into());
                    }
                    if line.is_empty() {
                        self.state = State::End;
                        continue;
                    }
                    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
                    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
                    match (name.as_str(), &mut self.signer) {
                        ("x-amz-trailer-signature", Some(signer)) => {
                            signer.trailer(&self.lines, value)?;
                            self.lines.clear();
                        }
                        _ => {
                            self.lines.push_str(&format!("{name}:{value}\n"));
                            trailers.insert(name, value.to_owned());
                        }
                    }
                }
                State::End => return Ok(Step::End),
            }
        }
    }

    fn chunk_ends(&mut self) -> Result<()> {
        match &mut self.signer {
            Some(signer) => signer.chunk(self.seen.clone().finish().as_ref(), &self.signature),
            None => Ok(()),
        }
    }

    /// The next line without its end, once it is there.
    fn line(&mut self) -> Result<Option<String>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.buffer.len() > LINE { Err(malformed()) } else { Ok(None) };
        };
        let line = self.buffer.split_to(end + 1);
        let line = std::str::from_utf8(&line).map_err(|_| malformed())?;
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn malformed() -> Error {
    Error::new(Code::InvalidRequest, "The chunks of the body are malformed.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    fn reader(pieces: &[&str], payload: Payload, length: Option<u64>) -> Reader {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))))
            .collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Reader::new(Incoming::new(body), payload, length)
    }

    fn chunked() -> Payload {
        Payload::Chunked(None)
    }

    const FRAMED: &str = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";

    #[tokio::test]
    async fn the_frame_is_taken_off_wherever_it_is_cut() {
        for cut in 0..FRAMED.len() {
            let (one, two) = FRAMED.split_at(cut);
            let mut reader = reader(&[one, two], chunked(), Some(11));
            assert_eq!(reader.whole(100).await.unwrap(), b"hello world", "{cut}");
            assert_eq!(reader.trailers().get("x-amz-checksum-crc32").unwrap(), "DUoRhQ==", "{cut}");
        }
    }

    #[tokio::test]
    async fn an_end_that_comes_early_is_incomplete() {
        for cut in 0..FRAMED.len() {
            let error = reader(&[&FRAMED[..cut]], chunked(), Some(11)).whole(100).await.unwrap_err();
            assert_eq!(error.code, Code::IncompleteBody, "{cut}");
        }
        let short = reader(&["hell"], Payload::Unsigned, Some(5)).whole(100).await.unwrap_err();
        assert_eq!(short.code, Code::IncompleteBody);
        let long = reader(&["hello!"], Payload::Unsigned, Some(5)).whole(100).await.unwrap_err();
        assert_eq!(long.code, Code::IncompleteBody);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_told() {
        for bad in ["xyz\r\n", "5\r\nhelloXX", "0\r\nno colon\r\n\r\n", &"a".repeat(5000)] {
            let error = reader(&[bad], chunked(), None).whole(100).await.unwrap_err();
            assert_eq!(error.code, Code::InvalidRequest, "{bad}");
        }
        let behind = format!("{FRAMED}more");
        assert_eq!(reader(&[&behind], chunked(), None).whole(100).await.unwrap_err().code, Code::IncompleteBody);
    }

    #[tokio::test]
    async fn a_signed_digest_is_held_to() {
        let digest = |text: &str| ring::digest::digest(&SHA256, text.as_bytes()).as_ref().to_vec();
        let good = reader(&["hel", "lo"], Payload::Sha256(digest("hello")), None).whole(9).await;
        assert_eq!(good.unwrap(), b"hello");
        let bad = reader(&["hello"], Payload::Sha256(digest("other")), None).whole(9).await;
        assert_eq!(bad.unwrap_err().code, Code::XAmzContentSHA256Mismatch);
        let large = reader(&["hello"], Payload::Unsigned, None).whole(4).await;
        assert_eq!(large.unwrap_err().code, Code::EntityTooLarge);
    }
}
