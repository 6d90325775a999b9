//! Loki, Tempo and Alloy. Both servers refuse a key that they do not know, so that one wrong word is
//! a service that does not start.

use std::collections::BTreeMap;

use super::{LEFT_OUT, file, paths, rendered, resources, with_settings};

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Bool,
    Number,
    Text,
    /// `15s`, `1h30m`
    Time,
    OneOf(&'static [&'static str]),
}
use Kind::*;

/// From <https://grafana.com/docs/loki/latest/configure/> of 3.7.6: all that our template may use.
const LOKI: &[(&str, Kind)] = &[
    ("auth_enabled", Bool),
    ("server.http_listen_port", Number),
    ("server.grpc_listen_port", Number),
    ("server.log_level", OneOf(&["debug", "info", "warn", "error"])),
    ("server.log_format", OneOf(&["logfmt", "json"])),
    ("common.path_prefix", Text),
    ("common.replication_factor", Number),
    ("common.instance_addr", Text),
    ("common.ring.kvstore.store", OneOf(&["consul", "etcd", "inmemory", "memberlist", "multi"])),
    ("common.storage.s3.endpoint", Text),
    ("common.storage.s3.region", Text),
    ("common.storage.s3.bucketnames", Text),
    ("common.storage.s3.s3forcepathstyle", Bool),
    ("common.storage.s3.insecure", Bool),
    ("schema_config.configs[].from", Text),
    ("schema_config.configs[].store", OneOf(&["tsdb"])),
    ("schema_config.configs[].object_store", OneOf(&["s3"])),
    ("schema_config.configs[].schema", OneOf(&["v13"])),
    ("schema_config.configs[].index.prefix", Text),
    ("schema_config.configs[].index.period", Time),
    ("ingester.lifecycler.min_ready_duration", Time),
    ("ingester.wal.dir", Text),
    ("ingester.wal.flush_on_shutdown", Bool),
    ("frontend.scheduler_address", Text),
    ("frontend.scheduler_dns_lookup_period", Time),
    ("frontend_worker.scheduler_address", Text),
    ("frontend_worker.dns_lookup_duration", Time),
    ("compactor.working_directory", Text),
    ("compactor.retention_enabled", Bool),
    ("compactor.delete_request_store", OneOf(&["s3"])),
    ("limits_config.retention_period", Time),
    ("limits_config.allow_structured_metadata", Bool),
    ("limits_config.volume_enabled", Bool),
    ("limits_config.reject_old_samples_max_age", Time),
    ("limits_config.ingestion_rate_mb", Number),
    ("limits_config.ingestion_burst_size_mb", Number),
    ("query_range.results_cache.cache.embedded_cache.enabled", Bool),
    ("query_range.results_cache.cache.embedded_cache.max_size_mb", Number),
    ("analytics.reporting_enabled", Bool),
];

/// From the configuration structures and the manifest of Tempo 3.0.3, and of 2.10.8, which have this much
/// in common. The receivers are those of the OpenTelemetry collector.
const TEMPO: &[(&str, Kind)] = &[
    ("stream_over_http_enabled", Bool),
    ("server.http_listen_port", Number),
    ("server.grpc_listen_port", Number),
    ("server.log_level", OneOf(&["debug", "info", "warn", "error"])),
    ("server.log_format", OneOf(&["logfmt", "json"])),
    ("server.graceful_shutdown_timeout", Time),
    ("querier.frontend_worker.frontend_address", Text),
    ("distributor.receivers.otlp.protocols.grpc.endpoint", Text),
    ("distributor.receivers.otlp.protocols.http.endpoint", Text),
    ("storage.trace.backend", OneOf(&["local", "s3", "gcs", "azure"])),
    ("storage.trace.wal.path", Text),
    ("storage.trace.blocklist_poll", Time),
    ("storage.trace.s3.endpoint", Text),
    ("storage.trace.s3.region", Text),
    ("storage.trace.s3.bucket", Text),
    ("storage.trace.s3.forcepathstyle", Bool),
    ("storage.trace.s3.insecure", Bool),
    ("metrics_generator.registry.external_labels.source", Text),
    ("metrics_generator.registry.external_labels.platform", Text),
    ("metrics_generator.storage.path", Text),
    ("metrics_generator.storage.remote_write[].url", Text),
    ("metrics_generator.storage.remote_write[].send_exemplars", Bool),
    ("overrides.defaults.compaction.block_retention", Time),
    (
        "overrides.defaults.metrics_generator.processors[]",
        OneOf(&["service-graphs", "span-metrics", "host-info", "local-blocks"]),
    ),
    ("usage_report.reporting_enabled", Bool),
];

/// What only Tempo 3 has.
const TEMPO_3: &[(&str, Kind)] = &[
    ("query_frontend.query_end_cutoff", Time),
    ("live_store.max_trace_idle", Time),
    ("live_store.flush_check_period", Time),
    ("backend_worker.backend_scheduler_addr", Text),
    ("backend_worker.finish_on_shutdown_timeout", Time),
    ("backend_worker.backoff.min_period", Time),
    ("backend_worker.backoff.max_period", Time),
];

/// What it refuses to start with.
const TEMPO_2: &[(&str, Kind)] = &[
    ("ingester.trace_idle_period", Time),
    ("ingester.flush_check_period", Time),
    ("ingester.max_block_duration", Time),
    ("ingester.flush_all_on_shutdown", Bool),
    ("ingester.lifecycler.min_ready_duration", Time),
    ("ingester.lifecycler.final_sleep", Time),
];

fn fits(kind: Kind, value: &serde_yaml::Value) -> bool {
    let text = value.as_str();
    match kind {
        Bool => value.is_bool(),
        Number => value.is_u64(),
        Text => text.is_some_and(|text| !text.is_empty()),
        Time => text.is_some_and(|text| {
            let mut parts = text.split_inclusive(|c: char| c.is_ascii_alphabetic()).peekable();
            // `500ms` splits into `500m` and `s`
            let part =
                |part: &str| part == "s" || (part.ends_with(['s', 'm', 'h']) && part.as_bytes()[0].is_ascii_digit());
            parts.peek().is_some_and(|first| *first != "s") && parts.all(part) && !text.contains(' ')
        }),
        OneOf(words) => text.is_some_and(|text| words.contains(&text)),
    }
}

#[track_caller]
fn check(text: &str, schema: &[(&str, Kind)]) -> BTreeMap<String, serde_yaml::Value> {
    let found = paths(&serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}")));
    let kinds: BTreeMap<&str, Kind> = schema.iter().copied().collect();
    for (path, value) in &found {
        let kind = kinds.get(path.as_str()).unwrap_or_else(|| panic!("`{path}` is no key that is known of it"));
        assert!(fits(*kind, value), "`{path}` is {value:?}, not {kind:?}");
    }
    found
}

#[tokio::test]
async fn loki_knows_every_key() {
    for without in LEFT_OUT {
        let Some(text) = file(without, "loki", "/etc/loki/loki.yml").await else { continue };
        let found = check(&text, LOKI);
        assert_eq!(found.len(), LOKI.len(), "the table has keys that the template lacks");
        assert_eq!(found["common.storage.s3.bucketnames"], "loki");
        assert_eq!(found["analytics.reporting_enabled"], false);
        assert_eq!(found["ingester.wal.flush_on_shutdown"], true);
    }
}

#[tokio::test]
async fn tempo_knows_every_key() {
    for without in LEFT_OUT {
        let Some(text) = file(without, "tempo", "/etc/tempo/tempo.yml").await else { continue };
        let found = check(&text, &[TEMPO, TEMPO_3].concat());
        assert_eq!(found["storage.trace.s3.bucket"], "tempo");
        assert_eq!(found["usage_report.reporting_enabled"], false);
        // it remote-writes only where there is somebody to write to
        let generates = found.keys().any(|path| path.starts_with("metrics_generator"));
        assert_eq!(generates, !without.contains(&"prometheus"), "{text}");
    }
}

/// The image says which it is, however it was chosen.
#[tokio::test]
async fn tempo_2_has_an_ingester() {
    for (settings, old) in [
        ("services: {tempo: {image: 'grafana/tempo:2.10.8'}}", true),
        ("services: {tempo: {image: 'registry.example:5000/tempo:v2.10.8@sha256:11'}}", true),
        ("images: {overrides: {'grafana/tempo:3.0.3': 'mirror.example/grafana/tempo:2.10.8'}}", true),
        ("services: {tempo: {image: 'grafana/tempo:3.1.0'}}", false),
        ("services: {tempo: {image: 'registry.example:2000/tempo'}}", false),
    ] {
        let resources = resources(&with_settings(settings)).await;
        let text = rendered(&resources, "tempo", "/etc/tempo/tempo.yml").unwrap();
        let found = check(&text, &[TEMPO, if old { TEMPO_2 } else { TEMPO_3 }].concat());
        assert_eq!(found.keys().any(|path| path.starts_with("ingester.")), old, "{settings}");
    }
}

#[test]
fn an_unknown_key_and_a_wrong_value_are_found() {
    let wrong = |text: &str| {
        let text = text.to_owned();
        std::panic::catch_unwind(move || check(&text, LOKI)).is_err()
    };
    assert!(!wrong("auth_enabled: false"));
    assert!(wrong("auth_enable: false"));
    assert!(wrong("auth_enabled: 'false'"));
    assert!(wrong("limits_config: {retention_period: 7 days}"));
    assert!(wrong("server: {log_level: quiet}"));
}

/// Components by `kind "label"`, and the references to them: a reference to what is not there keeps
/// Alloy from starting.
#[tokio::test]
async fn alloy_refers_to_what_it_has() {
    for without in LEFT_OUT {
        for service in ["alloy", "alloy-docker"] {
            let text = file(without, service, "/etc/alloy/config.alloy").await.unwrap();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let mut components = Vec::new();
            for line in &code {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let [kind, label, "{"] = words[..]
                    && !line.starts_with('\t')
                {
                    let name = format!("{kind}.{}", label.trim_matches('"'));
                    assert!(!components.contains(&name), "{name} is there twice");
                    components.push(name);
                }
            }
            let code = code.join("\n");
            for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
                // the stages' own templates are in balance, too
                assert_eq!(code.matches(open).count(), code.matches(close).count(), "{open} in\n{code}");
            }
            let export = [".receiver", ".input", ".targets", ".rules"];
            let references = code
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                .filter_map(|word| export.iter().find_map(|end| word.strip_suffix(end)))
                .filter(|word| word.contains('.'));
            let mut count = 0;
            for reference in references {
                count += 1;
                assert!(components.iter().any(|name| name == reference), "{service} has no {reference}:\n{text}");
            }
            let mut peers = ["loki", "tempo", "prometheus"].into_iter();
            let nothing = service == "alloy-docker" && peers.all(|peer| peer == "tempo" || without.contains(&peer));
            assert!(count > 0 || nothing, "{text}");
            for peer in without.iter() {
                assert!(!text.contains(&format!("{peer}:")), "{service} sends to {peer}, which is not there");
            }
        }
    }
}
