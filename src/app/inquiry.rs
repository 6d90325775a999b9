//! Questions to whoever has a platform's telemetry: the store of the background process, and Tempo, Loki and Prometheus
//! where the platform has them. Whoever asks need not know which it is.

use futures_util::stream::{self, StreamExt};

use crate::host::Host;
use crate::model::PlatformName;
use crate::telemetry::batch::Batch;
use crate::telemetry::remote::{AskError, Places, Tempo};
use crate::telemetry::trace_head::TraceHead;
use crate::telemetry::view::{self, Line, Trace, TraceSummary};
use crate::telemetry::{LineFilter, ServiceMap, Snapshot, StoreError, TraceFilter};
use crate::words;

use super::receive::kept_telemetry;
use super::resolver::ResolverFiles;

/// Traces that Tempo is asked for one by one, for a map of the services; and at once.
const MAPPED: usize = 50;
const AT_ONCE: usize = 8;
/// Traces that a map is drawn from where it is one of some of them.
const CHOSEN: usize = 10_000;
/// Of its traces that the beginning of an id is looked for in.
pub const LOOKED_THROUGH: usize = 500;
/// Lines of a trace.
const LINES: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("looking through what is kept")]
    Work(#[source] tokio::task::JoinError),
}

/// What was found, and who could not be asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found<T> {
    pub value: T,
    pub problems: Vec<String>,
}

/// One look at all there is.
pub struct Inquiry {
    kept: Snapshot,
    places: Places,
    /// Seconds since the epoch.
    now: u64,
}

impl Inquiry {
    pub fn new(kept: Snapshot, places: Places, now: i64) -> Self {
        Self { kept, places, now: u64::try_from(now).unwrap_or_default() }
    }

    /// Reads what is kept from its files, whoever writes them.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub async fn of(host: &dyn Host, platform: &PlatformName) -> Result<Self, StoreError> {
        let kept = kept_telemetry(host, platform).await?;
        let places = ResolverFiles::of(host).asked(host, platform).await;
        Ok(Self::new(kept, places, host.now()))
    }

    /// The newest traces that are wanted.
    pub async fn traces(&self, wanted: &TraceFilter) -> Result<Found<Vec<TraceSummary>>, InquiryError> {
        let found = self.heads(wanted).await?;
        Ok(Found { value: found.value.iter().map(TraceSummary::from).collect(), problems: found.problems })
    }

    async fn heads(&self, wanted: &TraceFilter) -> Result<Found<Vec<TraceHead>>, InquiryError> {
        let mut found: Found<Vec<TraceHead>> = Found::default();
        if let Some(tempo) = self.places.tempo() {
            match tempo.traces(wanted, self.now).await {
                Ok(heads) => found.value = heads,
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        let filter = wanted.clone();
        for head in self.work(move |kept| kept.traces(&filter)).await? {
            // one that went to both
            if found.value.iter().all(|known| known.trace != head.trace) {
                found.value.push(head);
            }
        }
        found.value.sort_by(|one, other| other.start.cmp(&one.start).then_with(|| one.trace.cmp(&other.trace)));
        found.value.truncate(wanted.limit);
        Ok(found)
    }

    /// Whether Tempo has traces of the platform, too. It finds one by its whole id alone.
    pub fn asks_tempo(&self) -> bool {
        self.places.tempo().is_some()
    }

    /// Whole ids that begin as typed; most of `limit`.
    pub async fn ids_like(&self, typed: &str, limit: usize) -> Result<Found<Vec<Vec<u8>>>, InquiryError> {
        let all = TraceFilter { limit: LOOKED_THROUGH, ..TraceFilter::default() };
        let mut found: Found<Vec<Vec<u8>>> = Found::default();
        if let Some(tempo) = self.places.tempo() {
            match tempo.traces(&all, self.now).await {
                Ok(heads) => found.value = heads.into_iter().map(|head| head.trace).collect(),
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        found.value.retain(|id| words::hex(id).starts_with(typed));
        let text = typed.to_owned();
        found
            .value
            .extend(self.work(move |kept| kept.traces_like(&text, limit)).await?.into_iter().map(|head| head.trace));
        found.value.sort();
        found.value.dedup();
        found.value.truncate(limit);
        Ok(found)
    }

    /// A trace with its log lines; `None`: there is no such trace.
    pub async fn trace(&self, id: &[u8]) -> Result<Found<Option<Trace>>, InquiryError> {
        let (mut batches, mut problems) = (Vec::new(), Vec::new());
        if let Some(tempo) = self.places.tempo() {
            match tempo.trace(id).await {
                Ok(batch) => batches.extend(batch),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let wanted = LineFilter { trace: Some(id.to_vec()), limit: LINES, ..LineFilter::default() };
        if let Some(loki) = self.places.loki() {
            match loki.lines(&wanted, self.now).await {
                Ok(batch) => batches.push(batch),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let id = id.to_vec();
        let work = move |kept: Snapshot| {
            let kept = kept.with(batches);
            Ok::<_, StoreError>(view::trace(&kept.trace(&id)?, &kept.lines(&wanted)))
        };
        Ok(Found { value: self.work(work).await??, problems })
    }

    /// The newest lines that are wanted, the oldest of them first.
    pub async fn lines(&self, wanted: &LineFilter) -> Result<Found<Vec<Line>>, InquiryError> {
        let (mut batches, mut problems) = (Vec::new(), Vec::new());
        if let Some(loki) = self.places.loki() {
            match loki.lines(wanted, self.now).await {
                Ok(batch) => batches.push(batch),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let filter = wanted.clone();
        let work = move |kept: Snapshot| kept.with(batches).lines(&filter).iter().map(Line::from).collect();
        Ok(Found { value: self.work(work).await?, problems })
    }

    /// Who calls whom, by the newest traces, or the newest of those that are wanted.
    pub async fn map(&self, wanted: &TraceFilter) -> Result<Found<ServiceMap>, InquiryError> {
        let (mut batches, mut problems) = (Vec::new(), Vec::new());
        if let Some(tempo) = self.places.tempo() {
            match newest(&tempo, wanted, self.now).await {
                Ok(found) => batches = found,
                Err(error) => problems.push(error.to_string()),
            }
        }
        let filter = TraceFilter { limit: CHOSEN, ..wanted.clone() };
        let work = move |kept: Snapshot| kept.with(batches).service_map(&filter);
        Ok(Found { value: self.work(work).await?, problems })
    }

    /// On a thread of its own: thousands of rows are looked through.
    async fn work<T: Send + 'static>(
        &self,
        look: impl FnOnce(Snapshot) -> T + Send + 'static,
    ) -> Result<T, InquiryError> {
        let kept = self.kept.clone();
        tokio::task::spawn_blocking(move || look(kept)).await.map_err(InquiryError::Work)
    }
}

/// The spans of the newest traces.
async fn newest(tempo: &Tempo, wanted: &TraceFilter, now: u64) -> Result<Vec<Batch>, AskError> {
    let wanted = TraceFilter { limit: MAPPED, ..wanted.clone() };
    let heads = tempo.traces(&wanted, now).await?;
    let asked: Vec<_> = heads.iter().map(|head| tempo.trace(&head.trace)).collect();
    let found: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let found: Result<Vec<_>, AskError> = found.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use prost::Message;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::telemetry::batch;
    use crate::telemetry::wire::json;

    const ID: &str = "5b8efff798038103d269b633813fc60c";
    const OURS: &str = "aa8efff798038103d269b633813fc60c";

    fn spans(trace: &str) -> String {
        let part = |service: &str, span: &str, parent: &str, start: &str, end: &str| {
            format!(
                r#"{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "{service}"}}}}]}},
                "scopeSpans": [{{"spans": [{{"traceId": "{trace}", "spanId": "{span}", "parentSpanId": "{parent}", "name": "GET",
                "startTimeUnixNano": "{start}", "endTimeUnixNano": "{end}"}}]}}]}}"#
            )
        };
        let shop = part("shop", "eee19b7ec3c1b174", "", "1790000000000000000", "1790000000009000000");
        let cart = part("cart", "eee19b7ec3c1b175", "eee19b7ec3c1b174", "1790000000001000000", "1790000000005000000");
        format!(r#"{{"resourceSpans": [{shop}, {cart}]}}"#)
    }

    /// What stands in for Tempo and Loki: answers by the beginning of the path, and what it was asked.
    async fn double(answers: Vec<(&'static str, u16, Vec<u8>)>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut more = [0; 1024];
                    let count = stream.read(&mut more).await.unwrap();
                    assert!(count > 0);
                    head.extend_from_slice(&more[..count]);
                }
                let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().to_owned();
                let found = answers.iter().find(|(start, ..)| path.starts_with(start));
                let (status, body) = found.map_or((404, Vec::new()), |(_, status, body)| (*status, body.clone()));
                heard.lock().unwrap().push(path);
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
            }
        });
        (address, asked)
    }

    fn kept() -> Snapshot {
        Snapshot::default().with([batch::traces(json::traces(spans(OURS).as_bytes()).unwrap()).batch])
    }

    #[tokio::test]
    async fn what_tempo_and_loki_have_is_shown_with_what_is_kept_here() {
        let search = format!(
            r#"{{"traces": [{{"traceID": "{ID}", "rootServiceName": "shop", "rootTraceName": "GET",
            "startTimeUnixNano": "1790000000000000001", "durationMs": 9}}]}}"#
        );
        let trace = json::traces(spans(ID).as_bytes()).unwrap().encode_to_vec();
        let (tempo, asked) = double(vec![("/api/search", 200, search.into()), ("/api/traces/5b8e", 200, trace)]).await;
        let lines = format!(
            r#"{{"status": "success", "data": {{"resultType": "streams", "result": [{{"stream": {{"service_name": "cart"}},
            "values": [["1790000000002000000", "it failed", {{"structuredMetadata": {{"trace_id": "{ID}", "level": "error"}}}}]]}}]}}}}"#
        );
        let (loki, questions) = double(vec![("/loki/api/v1/query_range", 200, lines.into())]).await;
        let places = Places { tempo: Some(tempo), loki: Some(loki), prometheus: None };
        let inquiry = Inquiry::new(kept(), places, 1_790_000_100);

        let all = inquiry.traces(&TraceFilter { limit: 9, ..TraceFilter::default() }).await.unwrap();
        let ids: Vec<&str> = all.value.iter().map(|one| one.trace.as_str()).collect();
        assert_eq!((ids, all.problems), (vec![ID, OURS], Vec::new()));
        let id = crate::telemetry::wire::hex(ID).unwrap();
        let one = inquiry.trace(&id).await.unwrap().value.unwrap();
        assert_eq!((one.services.len(), one.duration_us, one.lines[0].text.as_str()), (2, 9000, "it failed"));
        let own = crate::telemetry::wire::hex(OURS).unwrap();
        assert_eq!(inquiry.trace(&own).await.unwrap().value.unwrap().spans.len(), 2, "Tempo has no such trace");
        assert_eq!(inquiry.ids_like("5b8", 5).await.unwrap().value, [id]);
        assert_eq!(inquiry.ids_like("aa", 5).await.unwrap().value, [own]);
        let map = inquiry.map(&TraceFilter::default()).await.unwrap().value;
        assert_eq!((map.traces, map.calls[0].count, map.calls[0].to.as_str()), (2, 2, "cart"));
        let wanted = LineFilter { search: "FAILED".into(), severity: 17, limit: 5, ..LineFilter::default() };
        assert_eq!(inquiry.lines(&wanted).await.unwrap().value.len(), 1);
        assert!(asked.lock().unwrap()[0].contains("q=%7B%7D&limit=9&start=1789740900&end=1790000160"));
        let question = questions.lock().unwrap().last().unwrap().clone();
        assert!(question.contains("limit=5&start=1789740900000000000&end=1790000160000000000&direction=backward"));
    }

    #[tokio::test]
    async fn an_error_of_theirs_is_said_and_what_is_kept_here_is_shown() {
        let (tempo, _) = double(vec![("/api", 400, "invalid TraceQL query: parse error".into())]).await;
        let (loki, _) = double(vec![("/loki", 200, "not json".into())]).await;
        let places = Places { tempo: Some(tempo), loki: Some(loki), prometheus: None };
        let inquiry = Inquiry::new(kept(), places, 1_790_000_100);
        let all = inquiry.traces(&TraceFilter { limit: 9, ..TraceFilter::default() }).await.unwrap();
        assert_eq!(all.value.len(), 1);
        assert_eq!(all.problems, ["Tempo refused the question (400): invalid TraceQL query: parse error"]);
        assert_eq!(inquiry.map(&TraceFilter::default()).await.unwrap().value.calls.len(), 1);
        let lines = inquiry.lines(&LineFilter { limit: 5, ..LineFilter::default() }).await.unwrap();
        assert!(lines.problems[0].starts_with("Loki answered something that its API does not have: "), "{lines:?}");
    }
}
