use insta::assert_snapshot;

use super::otlp::{Parent, Run, request};
use super::*;
use crate::host::fake::FakeHost;
use crate::model::{ObservedContainer, PortBinding};
use crate::plan::Cause;

fn ran(step: &str, cause: Cause, start: u64, took: u64, after: &[&str]) -> Timing {
    Timing {
        step: step.into(),
        group: "web".into(),
        cause,
        after: after.iter().map(|id| (*id).to_owned()).collect(),
        start: Duration::from_millis(start),
        duration: Duration::from_millis(took),
        error: None,
    }
}

#[test]
fn a_span_a_step_with_its_cause_and_what_it_waited_for() {
    let changed = Cause::Changed { what: vec!["environment".into()] };
    let mut ready = ran("ready/web", Cause::NotHealthy, 25, 5, &["create/web"]);
    ready.error = Some("web ended with 1".into());
    let run = Run {
        command: "macula up".into(),
        platform: "macula".into(),
        version: "0.1.0".into(),
        began: Duration::from_secs(1_800_000_000),
        took: Duration::from_millis(50),
        phases: vec![("plan", Duration::ZERO, Duration::from_millis(10))],
        steps_began: Duration::from_millis(10),
        steps: vec![ran("network", Cause::Missing, 0, 2, &[]), ran("create/web", changed, 2, 20, &["network"]), ready],
        left_out: vec!["loki".into()],
        error: Some("not everything came up".into()),
    };
    let mut count = 0;
    let ids = || {
        count += 1;
        format!("{count:016x}")
    };
    let body = request(&run, "4bf92f3577b34da6a3ce929d0e0e4736", Some("00f067aa0ba902b7"), ids);
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let lines: Vec<String> = spans.iter().map(ToString::to_string).collect();
    assert_snapshot!(lines.join("\n"), @r#"
    {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000001","name":"macula up","kind":1,"startTimeUnixNano":"1800000000000000000","endTimeUnixNano":"1800000000050000000","attributes":[{"key":"macula.platform","value":{"stringValue":"macula"}},{"key":"macula.steps","value":{"intValue":"3"}},{"key":"macula.critical_path","value":{"arrayValue":{"values":[{"stringValue":"network"},{"stringValue":"create/web"},{"stringValue":"ready/web"}]}}},{"key":"macula.left_out","value":{"arrayValue":{"values":[{"stringValue":"loki"}]}}}],"status":{"code":2,"message":"not everything came up"},"parentSpanId":"00f067aa0ba902b7"}
    {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000005","parentSpanId":"0000000000000001","name":"plan","kind":1,"startTimeUnixNano":"1800000000000000000","endTimeUnixNano":"1800000000010000000","attributes":[],"status":{}}
    {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000002","parentSpanId":"0000000000000001","name":"network","kind":1,"startTimeUnixNano":"1800000000010000000","endTimeUnixNano":"1800000000012000000","attributes":[{"key":"macula.group","value":{"stringValue":"web"}},{"key":"macula.cause","value":{"stringValue":"missing"}},{"key":"macula.critical","value":{"boolValue":true}}],"links":[],"status":{}}
    {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000003","parentSpanId":"0000000000000001","name":"create/web","kind":1,"startTimeUnixNano":"1800000000012000000","endTimeUnixNano":"1800000000032000000","attributes":[{"key":"macula.group","value":{"stringValue":"web"}},{"key":"macula.cause","value":{"stringValue":"changed: environment"}},{"key":"macula.critical","value":{"boolValue":true}}],"links":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000002"}],"status":{}}
    {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000004","parentSpanId":"0000000000000001","name":"ready/web","kind":1,"startTimeUnixNano":"1800000000035000000","endTimeUnixNano":"1800000000040000000","attributes":[{"key":"macula.group","value":{"stringValue":"web"}},{"key":"macula.cause","value":{"stringValue":"not healthy"}},{"key":"macula.critical","value":{"boolValue":true}}],"links":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"0000000000000003"}],"status":{"code":2,"message":"web ended with 1"}}
    "#);
    assert_snapshot!(body["resourceSpans"][0]["resource"], @r#"{"attributes":[{"key":"service.name","value":{"stringValue":"macula"}},{"key":"service.version","value":{"stringValue":"0.1.0"}}]}"#);
}

#[test]
fn a_caller_gives_its_trace() {
    let caller = |header| Parent::parse(header).map(|parent| (parent.trace, parent.span, parent.sampled));
    let ids = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let expected = |sampled| Some((ids.0.to_owned(), ids.1.to_owned(), sampled));
    assert_eq!(caller("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), expected(true));
    assert_eq!(caller("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), expected(false));
    assert_eq!(caller("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"), expected(true));
    for wrong in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Parent::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_environment_goes_before_the_platform() {
    let of = |variables: &[(&str, &str)], receiver| {
        let host = variables.iter().fold(FakeHost::new(), |host, (name, value)| host.env_var(name, value));
        endpoint(&host, receiver)
    };
    let own = Some("127.0.0.4:4318");
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/here");
    assert_eq!(of(&[], None), None);
    assert_eq!(of(&[], own).as_deref(), Some("http://127.0.0.4:4318/v1/traces"));
    assert_eq!(of(&[base], own).as_deref(), Some("http://collector:4318/v1/traces"));
    assert_eq!(of(&[base, traces], own).as_deref(), Some("http://collector:4318/here"));
    assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], own).as_deref(), Some("http://127.0.0.4:4318/v1/traces"));
    assert_eq!(of(&[base, ("OTEL_SDK_DISABLED", "true")], own), None);
}

#[test]
fn the_store_goes_before_what_passes_on() {
    let container = |service: &str, address: &str, state| ObservedContainer {
        name: service.into(),
        state,
        labels: [(label::SERVICE.to_owned(), service.to_owned())].into(),
        ports: [3200, PORT]
            .map(|port| PortBinding {
                host_ip: address.parse().unwrap(),
                host_port: Some(port),
                container_port: port,
                protocol: Protocol::Tcp,
            })
            .into(),
        ..ObservedContainer::default()
    };
    let alloy = container("alloy", "127.0.0.12", ContainerState::Running);
    let tempo = |state| container("tempo", "127.0.0.4", state);
    let of = |containers| receiver(&Observed { containers, ..Observed::default() });
    assert_eq!(of(vec![]), None);
    assert_eq!(of(vec![alloy.clone(), tempo(ContainerState::Running)]).as_deref(), Some("127.0.0.4:4318"));
    assert_eq!(of(vec![alloy, tempo(ContainerState::Exited)]).as_deref(), Some("127.0.0.12:4318"));
}

#[tokio::test]
async fn a_run_is_noted_with_who_made_it_and_what_took_place() {
    let engine = crate::engine::fake::FakeEngine::new();
    let session = crate::app::testing::session(FakeHost::new(), &engine, "macula up");
    let mut recorder = Recorder::begin(&session, "shop");
    assert_eq!(recorder.phase("plan", async { 7 }).await, 7);
    recorder.steps(recorder.begun + Duration::from_millis(3), &[ran("network", Cause::Missing, 0, 2, &[])]);
    recorder.left_out(["loki", "tempo"].into_iter());
    let run = &recorder.run;
    assert_eq!((run.command.as_str(), run.platform.as_str(), run.version.as_str()), ("macula up", "shop", "1.0.0"));
    // 2020 and later
    assert!(run.began > Duration::from_secs(1_577_836_800), "{:?}", run.began);
    let [(name, start, took)] = run.phases[..] else { panic!("{:?}", run.phases) };
    assert_eq!(name, "plan");
    assert!(start + took <= recorder.begun.elapsed());
    assert_eq!(run.steps_began, Duration::from_millis(3));
    assert_eq!(run.steps.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["network"]);
    assert_eq!(run.left_out, ["loki", "tempo"]);
}
