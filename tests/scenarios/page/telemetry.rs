//! What programs send, on the page and in a terminal, with what others have of it.

use super::*;

/// What two programs send of one request, the second of which failed.
const TRACE: &str = r#"{"resourceSpans": [
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}, "scopeSpans": [{"spans": [
    {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /checkout", "kind": 2,
     "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000250000000"}]}]},
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}, "scopeSpans": [{"spans": [
    {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175", "parentSpanId": "eee19b7ec3c1b174",
     "name": "SELECT <b id=evil>", "kind": 3, "startTimeUnixNano": "1790000000100000000", "endTimeUnixNano": "1790000000200000000",
     "attributes": [{"key": "db.system", "value": {"stringValue": "postgres"}}], "status": {"code": 2, "message": "no such table"}}]}]}]}"#;
const LOGS: &str = r#"{"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
  "scopeLogs": [{"logRecords": [{"timeUnixNano": "1790000000150000000", "severityNumber": 17, "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b175", "body": {"stringValue": "the Query failed </script>"}}]}]}]}"#;
const PUSH: &str = r#"{"streams": [{"stream": {"job": "worker", "level": "info"}, "values": [["1790000001000000000", "pushed as to Loki"]]}]}"#;

#[test]
fn what_programs_send_is_taken_and_shown() {
    let Some(platform) = Platform::new("telemetry") else { return };
    platform.stack(STACK);
    let at = own_address(97);
    let running = serve_at(&platform, at);
    platform.run("up --dns").ok();
    let env = platform.run("env -o json").ok().json();
    let url = env["OTEL_EXPORTER_OTLP_ENDPOINT"].as_str().unwrap();
    let otlp: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let loki = {
        let SocketAddr::V4(v4) = otlp else { panic!("{otlp}") };
        let [a, b, c, _] = v4.ip().octets();
        SocketAddr::from(([a, b, c, 3], 3100))
    };
    // `up` has sent its own
    platform.run("traces").ok().prints("macula up");
    assert_eq!(post(otlp, "/v1/traces", TRACE).unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(post(otlp, "/v1/logs", LOGS).unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(post(loki, "/loki/api/v1/push", PUSH).unwrap(), "HTTP/1.1 204 No Content");
    assert_eq!(post(otlp, "/v1/traces", "{").unwrap(), "HTTP/1.1 400 Bad Request");

    // killed at once, and there again
    running.signal(Signal::KILL);
    running.wait();
    let found = platform.run("traces --service cart --errors --slow 200ms -o json").ok().json();
    assert_eq!(found[0]["name"], "GET /checkout");
    assert_eq!(
        (&found[0]["spans"], &found[0]["errors"], &found[0]["duration_us"]),
        (&json!(2), &json!(1), &json!(250_000))
    );
    platform.run("traces 5b8ef").ok().prints("cart and shop").prints("no such table").prints("the Query failed");
    platform.run("logs --trace 5b8efff798038103d269b633813fc60c").ok().prints("the Query failed").prints("error");
    platform.run("traces 7777777777").exits(2).says("there is no trace 7777777777");
    let map = platform.run("traces --map -o json").ok().json();
    let call = json!({"from": "shop", "to": "cart", "count": 1, "errors": 1, "p95_us": 100_000});
    assert_eq!(map["calls"], json!([call]));
    platform.run("traces --map").ok().prints("FROM").prints("cart").prints("100ms");

    let running = serve_at(&platform, at);
    eventually("it is taken again", || post(otlp, "/v1/traces", TRACE).is_ok());
    let Some(browser) = Browser::start("telemetry", "") else { return };
    browser.open(&link(&platform));
    browser.shows("healthy");
    browser.run("location.hash = '#/traces'");
    browser.shows("GET /checkout");
    browser.shows("cart, shop");
    browser.run("location.hash = '#/traces/5b8efff798038103d269b633813fc60c'");
    browser.shows("shop → cart");
    browser.shows("SELECT <b id=evil>");
    browser.shows("the Query failed </script>");
    assert_eq!(browser.run("return document.getElementById('evil')"), json!(null));
    browser.run("[...document.querySelectorAll('button.span')].at(-1).click()");
    browser.shows("postgres");
    browser.shows("no such table");
    browser.run("location.hash = '#/traces/map'");
    browser.shows("1×, 1 failed");
    let drawn = browser.run(
        "return [document.querySelectorAll('svg.map path.call.failed').length, document.querySelectorAll('svg.map rect').length > 1, \
         [...document.querySelectorAll('td')].map(one => one.innerText).includes('cart')]",
    );
    assert_eq!(drawn, json!([1, true, true]));
    browser.run("location.hash = '#/traces/lines'");
    browser.shows("pushed as to Loki");
    browser.run("const word = document.getElementById('line-search'); word.value = 'QUERY'; word.dispatchEvent(new Event('input'))");
    eventually("only what has the word", || !browser.text().contains("pushed as to Loki"));
    browser.shows("the Query failed");

    // the receivers go with the platform, and what was sent stays
    platform.run("down").ok();
    eventually("nothing listens", || TcpStream::connect(otlp).is_err());
    platform.run("traces").ok().prints("GET /checkout");
    running.signal(Signal::TERM);
    running.wait();
}

/// What stands in for Tempo, Loki and Prometheus, none of which can be had everywhere; from the references of their APIs.
fn others() -> SocketAddr {
    let trace = TRACE.replace("5b8efff798038103d269b633813fc60c", "00000000000000000bcdef0123456789");
    let trace = prost::Message::encode_to_vec(&macula::telemetry::wire::json::traces(trace.as_bytes()).unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let found = json!({"traces": [{
        "traceID": "bcdef0123456789", "rootServiceName": "shop", "rootTraceName": "GET /by-tempo",
        "startTimeUnixNano": now.to_string(), "durationMs": 250,
        "serviceStats": {"shop": {"spanCount": 1}, "cart": {"spanCount": 1, "errorCount": 1}}}]});
    let lines = json!({"status": "success", "data": {"resultType": "streams", "result": [{
        "stream": {"service_name": "web", "level": "error"},
        "values": [[now.to_string(), "from Loki </script>", {"structuredMetadata": {"trace_id": "00000000000000000bcdef0123456789"}}]]}]}});
    let curve = json!({"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"__name__": "up", "job": "node"}, "values": [[1790000000.0, "1"], [1790000060.0, "0.25"]]}]}});
    let names = json!({"status": "success", "data": ["up", "node_load1"]});
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            // as theirs, it goes by what the question says it can read
            let says = |line: &str| head.to_ascii_lowercase().contains(line);
            let (status, body) = match path.split('?').next().unwrap_or_default() {
                "/api/traces/00000000000000000bcdef0123456789" if !says("accept: application/protobuf") => {
                    (200, br#"{"batches": []}"#.to_vec())
                }
                "/loki/api/v1/query_range" if !says("x-loki-response-encoding-flags: categorize-labels") => {
                    (400, b"a stream for each set of metadata".to_vec())
                }
                "/api/search" => (200, found.to_string().into_bytes()),
                "/api/traces/00000000000000000bcdef0123456789" => (200, trace.clone()),
                "/loki/api/v1/query_range" => (200, lines.to_string().into_bytes()),
                "/api/v1/label/__name__/values" => (200, names.to_string().into_bytes()),
                "/api/v1/query_range" if path.contains("query=nonsense") => (
                    400,
                    br#"{"status": "error", "errorType": "bad_data", "error": "parse error: no such thing"}"#.to_vec(),
                ),
                "/api/v1/query_range" => (200, curve.to_string().into_bytes()),
                _ => (404, Vec::new()),
            };
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    address
}

#[test]
fn who_else_has_the_telemetry_is_asked() {
    let Some(platform) = Platform::new("asked") else { return };
    platform.stack(STACK);
    let at = own_address(96);
    let running = serve_at(&platform, at);
    platform.run("up --dns").ok();
    // as an `up` with Tempo, Loki and Prometheus would have recorded it
    let zone = platform.data().with_file_name("dns").join(format!("zones/{}.json", platform.name));
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&zone).unwrap()).unwrap();
    let others = others();
    kept["asked"] = json!({"tempo": others, "loki": others, "prometheus": others});
    std::fs::write(&zone, kept.to_string()).unwrap();

    platform.run("traces").ok().prints("GET /by-tempo").prints("macula up");
    platform.run("traces 0000").ok().prints("no such table").prints("from Loki");
    platform.run("traces --map").ok().prints("shop").prints("cart");
    platform.run("logs --trace 00000000000000000bcdef0123456789").ok().prints("from Loki");

    if let Some(browser) = Browser::start("asked", "") {
        browser.open(&link(&platform));
        browser.shows("healthy");
        browser.run("location.hash = '#/traces'");
        browser.shows("GET /by-tempo");
        browser.shows(&format!("Tempo ({others})"));
        browser.run("location.hash = '#/traces/00000000000000000bcdef0123456789'");
        browser.shows("SELECT <b id=evil>");
        browser.shows("from Loki </script>");
        browser.run("location.hash = '#/traces/map'");
        browser.shows("1×, 1 failed");
        browser.run("location.hash = '#/traces/metrics'");
        browser.shows("node");
        assert_eq!(browser.run("return document.querySelectorAll('svg.curves polyline').length"), 1);
        browser.run("const typed = document.getElementById('metric-expression'); typed.value = 'nonsense'; typed.dispatchEvent(new Event('change'))");
        browser.shows("Prometheus refused the question (400): parse error: no such thing");
    }

    // gone: said, and what is kept here is there
    kept["asked"] = json!({"tempo": "127.0.0.1:1", "loki": null, "prometheus": null});
    std::fs::write(&zone, kept.to_string()).unwrap();
    platform.run("traces").ok().prints("macula up").says("Tempo at 127.0.0.1:1 does not answer");
    running.signal(Signal::TERM);
    running.wait();
}
