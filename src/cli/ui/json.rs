//! NDJSON: each event on one line of standard error, with its time.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::Streams;
use crate::event::{Event, Reporter};

/// `{"time":"2026-03-01T12:00:00.000Z","event":"step_started","id":"..."}`: `time` in UTC with
/// milliseconds, then the fields of [`Event`] by their names.
pub(super) struct Json(Mutex<Streams>);

impl Json {
    pub fn new(streams: Streams) -> Self {
        Self(Mutex::new(streams))
    }
}

impl Reporter for Json {
    fn report(&self, event: Event) {
        let Ok(Value::Object(fields)) = serde_json::to_value(&event) else { return };
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Map::new();
        line.insert("time".into(), format!("{:.3}", streams.clock.now()).into());
        line.extend(fields);
        // nobody reads any more: no reason to stop the work
        let _ = streams.err.write_all(format!("{}\n", Value::Object(line)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::testing::{Script, pipe};
    use super::*;

    #[test]
    fn every_event_is_a_line_with_its_time() {
        let (streams, out, clock) = pipe();
        let json = Json::new(streams);
        Script::all_kinds().play(&json, &clock, |_| {});
        assert_snapshot!(out.text(), @r#"
        {"time":"2026-03-01T12:00:00.000Z","event":"started","command":"macula up","platform":"macula","steps":[{"id":"network","group":"network","text":"create network macula","after":[],"doing":"network","service":false},{"id":"image","group":"images","text":"pull grafana/grafana:12.1","after":[],"doing":"pull","service":false},{"id":"create","group":"grafana","text":"create container macula-grafana-1","after":["network","image"],"doing":"create","service":true},{"id":"start","group":"grafana","text":"start container macula-grafana-1","after":["create"],"doing":"start","service":true},{"id":"ready","group":"grafana","text":"wait for macula-grafana-1","after":["start"],"doing":"await","service":true},{"id":"alloy","group":"alloy","text":"create container macula-alloy-1","after":["network"],"doing":"create","service":true}],"unchanged":[]}
        {"time":"2026-03-01T12:00:00.000Z","event":"info","message":"using Docker 28.2.2"}
        {"time":"2026-03-01T12:00:00.010Z","event":"step_started","id":"network"}
        {"time":"2026-03-01T12:00:00.010Z","event":"step_started","id":"image"}
        {"time":"2026-03-01T12:00:00.090Z","event":"step_done","id":"network","millis":80,"note":null}
        {"time":"2026-03-01T12:00:00.400Z","event":"step_progress","id":"image","progress":{"kind":"bytes","part":"aa","current":10000000,"total":80000000,"phase":"downloading"}}
        {"time":"2026-03-01T12:00:00.450Z","event":"step_progress","id":"image","progress":{"kind":"bytes","part":"bb","current":500000,"total":8000000,"phase":"downloading"}}
        {"time":"2026-03-01T12:00:00.900Z","event":"warning","message":"compose.yaml:4:7: `cpu_shares` is not acted on"}
        {"time":"2026-03-01T12:00:01.000Z","event":"step_skipped","id":"alloy","because":"docker.io cannot be reached"}
        {"time":"2026-03-01T12:00:06.000Z","event":"step_progress","id":"image","progress":{"kind":"bytes","part":"aa","current":80000000,"total":80000000,"phase":"downloading"}}
        {"time":"2026-03-01T12:00:08.200Z","event":"step_done","id":"image","millis":8190,"note":"88.0 MB"}
        {"time":"2026-03-01T12:00:08.200Z","event":"step_started","id":"create"}
        {"time":"2026-03-01T12:00:08.300Z","event":"step_done","id":"create","millis":100,"note":null}
        {"time":"2026-03-01T12:00:08.300Z","event":"step_started","id":"start"}
        {"time":"2026-03-01T12:00:08.600Z","event":"step_done","id":"start","millis":300,"note":null}
        {"time":"2026-03-01T12:00:08.600Z","event":"step_started","id":"ready"}
        {"time":"2026-03-01T12:00:08.700Z","event":"step_progress","id":"ready","progress":{"kind":"waiting","reason":"not listening on port 3000 yet"}}
        {"time":"2026-03-01T12:00:10.900Z","event":"step_done","id":"ready","millis":2300,"note":null}
        {"time":"2026-03-01T12:00:11.000Z","event":"finished","ok":true,"degraded":false,"millis":11000,"summary":"macula is up · 1 service · 11.0s"}
        "#);
    }
}
