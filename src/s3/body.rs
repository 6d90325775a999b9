//! The body of a request as the client meant it: the frame of `aws-chunked` taken off, its
//! signatures and digests checked while it streams.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use ring::digest::{Context, SHA256};
use tokio::time::timeout;

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
    /// A connection that ended early or from which nothing comes any longer, a frame, length, digest
    /// or signature that is wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            let piece = match &mut self.kind {
                Kind::Chunked(chunks) => match chunks.step(&mut self.trailers)? {
                    Step::Data(bytes) => Some(bytes),
                    Step::End => None,
                    Step::More => {
                        let more = frame(&mut self.incoming).await?.ok_or_else(|| chunks.cut_short())?;
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
            // the connection is used again, so nothing may stand behind the end but the second empty
            // line that minio-go puts behind a trailer without a signature
            Kind::Chunked(chunks) => {
                while chunks.buffer.len() <= 2 {
                    let Some(more) = frame(&mut self.incoming).await? else { break };
                    chunks.buffer.extend_from_slice(&more);
                }
                if matches!(&chunks.buffer[..], b"" | b"\r\n") { Ok(()) } else { Err(Code::IncompleteBody.into()) }
            }
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

/// Between two frames of a body. A client that stays connected and sends nothing would hold its
/// connection and a half-written file for as long as the server runs. The limit is the one between
/// two requests: a client that is busy or far away has sent something by then.
const IDLE: Duration = Duration::from_secs(60);

async fn frame(incoming: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match timeout(IDLE, incoming.frame()).await.map_err(|_| Code::RequestTimeout)? {
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

/// `SIZE;chunk-signature=...\r\nDATA\r\n`, a chunk of size 0, lines of trailers (none, mostly) and
/// their signature where chunks are signed, an empty line.
struct Chunks {
    buffer: BytesMut,
    state: State,
    signer: Option<Box<ChunkSigner>>,
    /// Of the chunk that is being read.
    seen: Context,
    signature: String,
    /// The trailer's lines that no signature has covered yet.
    lines: String,
    /// How long the trailer is so far.
    trailer: usize,
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
/// A trailer is kept in memory, and holds a checksum and its signature, which are short.
const TRAILER: usize = 16 << 10;

impl Chunks {
    fn new(signer: Option<Box<ChunkSigner>>) -> Self {
        Self {
            buffer: BytesMut::new(),
            state: State::Size,
            signer,
            seen: Context::new(&SHA256),
            signature: String::new(),
            lines: String::new(),
            trailer: 0,
        }
    }

    /// Lines of the trailer have come whose signature has not.
    fn lacks_signature(&self) -> bool {
        self.signer.is_some() && !self.lines.is_empty()
    }

    /// What is wrong with a body that ends here.
    fn cut_short(&self) -> Code {
        if self.lacks_signature() { Code::SignatureDoesNotMatch } else { Code::IncompleteBody }
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
                    let before = self.buffer.len();
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    self.trailer += before - self.buffer.len();
                    if self.trailer > TRAILER {
                        return Err(malformed());
                    }
                    if line.is_empty() {
                        // minio-go puts an empty line between the trailer and its signature as well;
                        // where no signature follows, the body ends too early
                        if !self.lacks_signature() {
                            self.state = State::End;
                        }
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
    use crate::s3::auth;
    use crate::s3::request::Call;
    use crate::s3::users::Users;
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
    async fn a_trailer_without_a_signature_may_end_as_minio_go_ends_it() {
        let body = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\n\r\n\r\n";
        for cut in 0..body.len() {
            let (one, two) = body.split_at(cut);
            let mut reader = reader(&[one, two], chunked(), Some(11));
            assert_eq!(reader.whole(100).await.unwrap(), b"hello world", "{cut}");
            assert_eq!(reader.trailers().get("x-amz-checksum-crc32").unwrap(), "DUoRhQ==", "{cut}");
        }
        for behind in ["\r\n", "\n", "more", "0\r\n\r\n"] {
            let pieces = [body, behind];
            let error = reader(&pieces, chunked(), Some(11)).whole(100).await.unwrap_err();
            assert_eq!(error.code, Code::IncompleteBody, "{behind:?}");
        }
        for end in ["\r", "\n", "\n\r", "\r\nx"] {
            let pieces = [FRAMED, end];
            let error = reader(&pieces, chunked(), Some(11)).whole(100).await.unwrap_err();
            assert_eq!(error.code, Code::IncompleteBody, "{end:?}");
        }
    }

    /// The documentation's example of an upload whose trailer is signed.
    fn signed() -> Payload {
        let signature = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
            SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,\
            Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
        let (parts, ()) = http::Request::put("/examplebucket/chunkObject.txt")
            .header("host", "s3.amazonaws.com")
            .header("authorization", signature)
            .header("x-amz-date", "20130524T000000Z")
            .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
            .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "66560")
            .header("x-amz-trailer", "x-amz-checksum-crc32c")
            .body(())
            .unwrap()
            .into_parts();
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let users = Users::new("AKIAIOSFODNN7EXAMPLE".into(), secret.into(), None);
        auth::check(&Call::new(&parts, &[]).unwrap(), &users, 1_369_353_600_000).unwrap().payload
    }

    /// Its body up to the trailer.
    fn signed_chunks() -> String {
        [
            ("10000", "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", "a".repeat(65_536) + "\r\n"),
            ("400", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", "a".repeat(1024) + "\r\n"),
            ("0", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", String::new()),
        ]
        .map(|(size, signature, data)| format!("{size};chunk-signature={signature}\r\n{data}"))
        .concat()
    }

    const SIGNATURE: &str = "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

    #[tokio::test]
    async fn a_signed_trailer_may_have_an_empty_line_before_its_signature() {
        let chunks = signed_chunks();
        // as Amazon's clients send it, and as minio-go does
        for between in ["\r\n", "\n\r\n"] {
            let end = format!("x-amz-checksum-crc32c:sOO8/Q=={between}{SIGNATURE}\r\n\r\n");
            for cut in 0..end.len() {
                let (one, two) = end.split_at(cut);
                let mut whole = reader(&[&chunks, one, two], signed(), Some(66_560));
                assert_eq!(whole.whole(66_560).await.unwrap().len(), 66_560, "{cut}");
                assert_eq!(whole.trailers().get("x-amz-checksum-crc32c").unwrap(), "sOO8/Q==", "{cut}");
                assert!(reader(&[&chunks, one], signed(), Some(66_560)).whole(66_560).await.is_err(), "{cut}");
            }
            let behind = reader(&[&chunks, &end, "more"], signed(), Some(66_560)).whole(66_560).await;
            assert_eq!(behind.unwrap_err().code, Code::IncompleteBody);
        }
    }

    #[tokio::test]
    async fn a_trailer_that_is_not_signed_as_it_should_be_is_refused() {
        let chunks = signed_chunks();
        let line = "x-amz-checksum-crc32c:sOO8/Q==\n";
        for end in [
            format!("{line}\r\n"),
            format!("{line}\r\n\r\n"),
            format!("{line}\r\nx-amz-trailer-signature:aa\r\n\r\n"),
            format!("x-amz-checksum-crc32c:AAAAAA==\n\r\n{SIGNATURE}\r\n\r\n"),
            format!("{line}\r\n{SIGNATURE}\r\nx-amz-checksum-sha1:more\r\n\r\n"),
        ] {
            let error = reader(&[&chunks, &end], signed(), Some(66_560)).whole(66_560).await.unwrap_err();
            assert_eq!(error.code, Code::SignatureDoesNotMatch, "{end}");
        }
    }

    #[tokio::test]
    async fn a_trailer_is_only_so_long() {
        let body = |lines: usize| format!("0\r\n{}\r\n", "x-amz-meta-a:b\r\n".repeat(lines));
        assert_eq!(reader(&[&body(1000)], chunked(), None).whole(9).await.unwrap(), b"");
        // whether it comes at once or bit by bit
        let long = body(1100);
        assert_eq!(reader(&[&long], chunked(), None).whole(9).await.unwrap_err().code, Code::InvalidRequest);
        let bits: Vec<&str> = long.split_inclusive('\n').collect();
        assert_eq!(reader(&bits, chunked(), None).whole(9).await.unwrap_err().code, Code::InvalidRequest);
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
