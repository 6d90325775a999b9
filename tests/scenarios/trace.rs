//! `up` as a trace: what arrives at a receiver of OTLP, and what becomes of `up` without one.

use std::net::TcpListener;

use crate::harness::{Otlp, OtlpValue, Platform};

const WEB: &str = "
services:
  web:
    <<: *base
    command: [httpd, -f, -p, '8080', -h, /www]
    x-macula: {probe: {http: {port: 8080}}}
";

#[test]
fn every_step_is_a_span() {
    let Some(platform) = Platform::new("every_step_is_a_span") else { return };
    let receiver = Otlp::start();
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url);
    platform.stack(WEB);
    platform
        .run("up --timings")
        .ok()
        .prints("* decided how long it took")
        .prints(&format!("{}/v1/traces", receiver.url));
    let spans = receiver.spans();
    let root = &spans[0];
    assert_eq!((root.name.as_str(), root.parent_span_id.as_str(), root.status.code), ("macula up", "", 0));
    assert_eq!(root.attribute("macula.platform"), Some(&OtlpValue::String(platform.name.clone())));
    let steps: Vec<_> = spans.iter().filter(|span| span.attribute("macula.cause").is_some()).collect();
    assert_eq!(root.attribute("macula.steps"), Some(&OtlpValue::Int(steps.len().to_string())));
    let create = steps.iter().find(|span| span.name.contains("create") && span.name.contains("web")).unwrap();
    assert_eq!(create.attribute("macula.cause"), Some(&OtlpValue::String("missing".into())));
    assert_eq!(create.attribute("macula.group"), Some(&OtlpValue::String("web".into())));
    assert!(!create.links.is_empty());
    // the path names the very steps that are marked, in their order
    let critical = steps.iter().filter(|span| span.attribute("macula.critical") == Some(&OtlpValue::Bool(true)));
    let mut marked: Vec<_> = critical.map(|span| OtlpValue::String(span.name.clone())).collect();
    let Some(OtlpValue::Array(path)) = root.attribute("macula.critical_path") else { panic!("{root:?}") };
    assert!(path.values.len() >= 3);
    let mut named = path.values.clone();
    for names in [&mut marked, &mut named] {
        names.sort_by_key(|name| format!("{name:?}"));
    }
    assert_eq!(marked, named);

    // the trace of a caller goes on; one that is not recorded is left alone
    platform.set("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    platform.run("up").ok().says("nothing to do");
    let root = receiver.spans().remove(0);
    assert_eq!(root.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(root.parent_span_id, "00f067aa0ba902b7");
    platform.set("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    platform.run("up").ok();
    assert!(receiver.nothing());
}

#[test]
fn a_run_that_fails_is_traced_with_its_error() {
    let Some(platform) = Platform::new("a_run_that_fails_is_traced") else { return };
    let receiver = Otlp::start();
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url);
    platform.stack("services: {web: {<<: *base, command: [sh, -c, 'exit 3'], healthcheck: {test: ['CMD', 'true']}}}");
    platform.run("up --timeout 20s").exits(7);
    let spans = receiver.spans();
    assert_eq!((spans[0].status.code, spans[0].status.message.as_str()), (2, "not everything came up"));
    let failed: Vec<_> = spans[1..].iter().filter(|span| span.status.code == 2).collect();
    assert_eq!(failed.len(), 1, "{spans:?}");
    assert!(failed[0].status.message.contains("web"), "{failed:?}");
}

#[test]
fn nobody_to_take_the_trace_is_no_matter() {
    let Some(platform) = Platform::new("nobody_takes_the_trace") else { return };
    platform.stack(WEB);
    // takes the connection and never answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", silent.local_addr().unwrap()));
    let first = platform.run("up");
    first.ok().does_not_say("trace");
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    platform.run("up").ok().says("nothing to do").does_not_say("trace");
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", "no address at all");
    platform.run("up").ok().says("nothing to do").does_not_say("trace");
}
