//! No key of a Compose file vanishes: what it says is in what the engine is asked for, or a warning
//! says that nothing is done with it. Every key of the tables is tried, with it and without it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::spec::creation;
use super::version::ApiVersion;
use crate::compile::{Block, Site, compile};
use crate::config::{Loaded, Request, load, sample_files};
use crate::engine::Engine as _;
use crate::engine::fake::FakeEngine;
use crate::model::{Facts, Secrets};

/// Keys that are acted on elsewhere, with where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("version", "a warning of its own"),
    ("secrets.*.name", "what it is called in a swarm"),
    ("configs.*.name", "what it is called in a swarm"),
    ("services.*.pull_policy", "the supply of images (plan/supply.rs)"),
    ("services.*.depends_on.*.required", "which services take part (config/check)"),
    ("services.*.volumes[].bind.create_host_path", "the default is written out"),
    ("services.*.ports[].mode", "a warning of its own"),
    ("services.*.deploy.update_config.failure_action", "a warning of its own"),
    ("services.*.env_file[].required", "whether a missing file is an error"),
    ("services.*.networks.*.priority", "the order of networks, which an engine of API 1.44 takes all at once"),
];

fn request() -> Request {
    Request {
        cwd: "/w".into(),
        env: [("HOME".to_owned(), "/home/user".to_owned())].into(),
        stacks: vec!["/w/compose.yaml".into()],
        only_own: true,
        ..Request::default()
    }
}

fn loaded(text: &str) -> Result<Loaded, String> {
    load(&request(), &sample_files(text)).map_err(|errors| errors.to_string())
}

/// Everything that the engine is asked for, and what `watch` does.
fn asked(loaded: &Loaded, facts: &Facts) -> String {
    let site = Site {
        facts,
        subnet: ipnet::Ipv4Net::new(Ipv4Addr::new(10, 222, 7, 0), 24).unwrap(),
        block: Block::DEFAULT,
        secrets: &Secrets::default(),
        certificate: None,
        version: "1",
        resolver: false,
        held: &[],
    };
    let resources = compile(&loaded.platform, &site).unwrap();
    let mut out = format!("{:?}\n{:?}\n{:?}\n", resources.networks, resources.volumes, resources.images);
    for (_, service) in loaded.platform.services() {
        out.push_str(&format!("{:?}\n", service.watch));
    }
    for spec in &resources.containers {
        let creation = creation(spec, "sha256:ab", &spec.labels, &[], ApiVersion(1, 48)).unwrap();
        // through a value: the client's maps have no order of their own
        let body: BTreeMap<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(&creation.body).unwrap()).unwrap();
        let connect: Vec<_> = creation.connect.iter().map(|(name, end)| serde_json::json!({name: end})).collect();
        out.push_str(&format!(
            "{} {body:?} {connect:?} {:?} {:?} {:?} {:?} {:?}\n",
            spec.name, spec.files, spec.depends_on, spec.readiness, spec.options.platform, spec.update
        ));
    }
    out
}

#[tokio::test]
async fn every_key_is_acted_on_or_named_in_a_warning() {
    let facts = FakeEngine::new().facts().await.unwrap();
    let samples = crate::config::samples();
    let mut wrong = Vec::new();
    let (mut acted, mut ignored) = (0, 0);
    for sample in &samples {
        // an external one is refused: it would come from a swarm
        if sample.key == "secrets.*.external" || sample.key == "configs.*.external" {
            assert!(loaded(&sample.with).unwrap_err().contains("swarm"), "{}", sample.with);
            continue;
        }
        let (with, without) = match (loaded(&sample.with), loaded(&sample.without)) {
            (Ok(with), Ok(without)) => (with, without),
            (with, without) => {
                let error = with.err().or(without.err()).unwrap_or_default();
                wrong.push(format!("{}: the sample is refused: {error}\n    {}", sample.key, sample.with));
                continue;
            }
        };
        let warned = with.warnings.len() > without.warnings.len();
        let differs = asked(&with, &facts) != asked(&without, &facts);
        if sample.ignored {
            ignored += 1;
            if !warned {
                wrong.push(format!("{}: nothing is done with it, and nothing says so", sample.key));
            }
        } else if ELSEWHERE.iter().any(|(key, _)| *key == sample.key) {
            continue;
        } else if differs {
            acted += 1;
        } else {
            wrong.push(format!("{}: it changes nothing\n    {}", sample.key, sample.with));
        }
    }
    assert!(wrong.is_empty(), "{} of {} keys:\n{}", wrong.len(), samples.len(), wrong.join("\n"));
    assert!(acted > 120 && ignored > 60, "{acted} keys are acted on, {ignored} are ignored");
    for (key, _) in ELSEWHERE {
        assert!(samples.iter().any(|sample| sample.key == *key), "there is no key {key}");
    }
}
