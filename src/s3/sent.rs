//! The body of a request, which is read to its end also where the answer does not wait for that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For how long, and how much, is read that nobody wants.
const PATIENCE: Duration = Duration::from_secs(10);
const UNWANTED: usize = 64 << 20;

/// Where a body goes away before its end, hyper closes the connection. A client that still sends
/// sees that, and not the answer; so the rest is read behind the scenes.
pub struct Sent {
    rest: Option<Incoming>,
    /// The client sends nothing before it is asked to, and then uses the connection for its next
    /// request.
    waits: bool,
}

impl Sent {
    pub fn new(incoming: Incoming, headers: &HeaderMap) -> Self {
        Self { rest: Some(incoming), waits: headers.contains_key(header::EXPECT) }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = Pin::new(rest).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let rest = self.rest.take().filter(|rest| !self.waits && !rest.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(PATIENCE, discard(rest)));
        }
    }
}

async fn discard(mut rest: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > UNWANTED {
            return;
        }
    }
}
