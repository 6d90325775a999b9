//! Builds with BuildKit, which Docker has built in: a request to solve a Dockerfile on one connection,
//! what it says meanwhile, and a second connection on which it asks us for files and secrets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest, StatusRequest};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tonic::transport::{Channel, Endpoint};

use super::Docker;
use super::answers::Bridge;
use super::build_output::{Output, failure};
use super::take_over::take_over;
use crate::engine::{BuildRequest, EngineError, Images, ProgressSink, operation};
use crate::event::Progress;
use crate::model::{FormatVersion, ObservedImage, Ulimit};
use files::{Tree, Trees};
use session::Session;

mod files;
mod progress;
mod session;

/// HTTP/2 without TLS.
const H2C: &str = "h2c";
/// Answers with the state of a whole build are larger than what gRPC allows otherwise.
const LARGEST_MESSAGE: usize = 16 << 20;
/// Since when limits of the build's processes and of its shared memory are heard.
const LIMITS: FormatVersion = (1, 3);
/// The engine's own address on its bridge.
const HOST_GATEWAY: &str = "host-gateway";

/// Whether BuildKit builds this one, where the engine has it. What it cannot do and the classic builder can is left to
/// that, unless nothing else reads the Dockerfile.
pub(super) fn is_for_buildkit(request: &BuildRequest, format: Option<FormatVersion>) -> bool {
    let Some(format) = format.filter(|_| request.buildkit || request.needs_buildkit) else { return false };
    let limits = !request.ulimits.is_empty() || request.shm_size.is_some();
    let network = request.network.as_deref().unwrap_or("default");
    let foreign = !matches!(network, "default" | "bridge" | "host" | "none");
    request.needs_buildkit || !(foreign || limits && format < LIMITS)
}

/// Ends what runs beside a build, in whatever way that ends.
struct Beside(tokio::task::JoinHandle<()>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn build(
    docker: &Docker,
    request: &BuildRequest,
    progress: ProgressSink<'_>,
) -> Result<ObservedImage, EngineError> {
    let mut output = Output::default();
    let built = match solve(docker, request, &request.dockerfile, &mut output, progress).await {
        Err(status) if does_without(request, status.message()) => {
            let text = "its front end cannot be fetched: the engine's own BuildKit reads the Dockerfile".to_owned();
            progress(Progress::Line { text });
            solve(docker, request, &without_syntax(&request.dockerfile), &mut output, progress).await
        }
        other => other,
    };
    built.map_err(|status| {
        let error = bollard::errors::Error::DockerStreamError { error: status.message().to_owned() };
        failure(&operation::build(&request.tag), &request.tag, error, &mut output)
    })?;
    match docker.image(&request.tag).await? {
        Some(image) => Ok(image),
        None => {
            let error = bollard::errors::Error::DockerStreamError { error: "the build ended without an image".into() };
            Err(failure(&operation::build(&request.tag), &request.tag, error, &mut output))
        }
    }
}

async fn solve(
    docker: &Docker,
    request: &BuildRequest,
    dockerfile: &str,
    output: &mut Output,
    progress: ProgressSink<'_>,
) -> Result<(), tonic::Status> {
    let gone = |error: std::io::Error| tonic::Status::unavailable(error.to_string());
    let id = random_id().map_err(gone)?;
    let session = take_over(docker, "/session", H2C, &head(request, &id), Bytes::new()).await.map_err(gone)?;
    let served = Session {
        trees: trees(request, dockerfile),
        secrets: request.secrets.clone(),
        ssh: request.ssh.clone(),
        logins: Arc::clone(&docker.logins),
    };
    let _session = Beside(tokio::spawn(served.serve(session)));
    let mut client = control(docker).await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let mut watcher = client.clone();
    let build = random_id().map_err(gone)?;
    let asked = SolveRequest {
        r#ref: build.clone(),
        session: id,
        exporter_deprecated: "moby".into(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), request.tag.clone())]),
        frontend: "dockerfile.v0".into(),
        frontend_attrs: attributes(request, gateway(docker, request).await),
        entitlements: request.network.iter().filter(|name| *name == "host").map(|_| "network.host".into()).collect(),
        cache: Some(CacheOptions { imports: caches(&request.cache_from), ..CacheOptions::default() }),
        ..SolveRequest::default()
    };
    let mut told = progress::Told::default();
    let watch = async {
        // without it the build goes on, only silently
        let Ok(answer) = watcher.status(StatusRequest { r#ref: build }).await else { return };
        let mut statuses = answer.into_inner();
        while let Ok(Some(status)) = statuses.message().await {
            told.hear(&status, output, progress);
        }
    };
    let (solved, ()) = tokio::join!(client.solve(asked), watch);
    if solved.is_err() {
        told.end(output, progress);
    }
    solved.map(drop)
}

async fn control(docker: &Docker) -> Result<ControlClient<Channel>, tonic::transport::Error> {
    let docker = docker.clone();
    let connect = tower::service_fn(move |_| {
        let docker = docker.clone();
        async move { take_over(&docker, "/grpc", H2C, &[], Bytes::new()).await }
    });
    // the address goes nowhere: the connection is there
    let channel = Endpoint::from_static("http://engine").connect_with_connector(connect).await?;
    Ok(ControlClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE))
}

/// What the engine is to know of the session.
fn head(request: &BuildRequest, id: &str) -> Vec<(&'static str, String)> {
    let key: Vec<String> = request.context.iter().map(|(folder, _)| folder.display().to_string()).collect();
    let key: String = Sha256::digest(key.join("\0")).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut head = vec![
        ("X-Docker-Expose-Session-Uuid", id.to_owned()),
        ("X-Docker-Expose-Session-Name", "macula".to_owned()),
        // with it a later build of the same folders gets only what has changed in them
        ("X-Docker-Expose-Session-Sharedkey", key),
    ];
    head.extend(session::METHODS.map(|method| ("X-Docker-Expose-Session-Grpc-Method", method.to_owned())));
    head
}

fn trees(request: &BuildRequest, dockerfile: &str) -> Trees {
    let mut trees = BTreeMap::from([
        (files::DOCKERFILE.to_owned(), Tree::Text(dockerfile.to_owned())),
        ("context".to_owned(), Tree::Folders(request.context.clone(), request.ignore.clone())),
    ]);
    for (name, place) in &request.contexts {
        if place.starts_with('/') {
            let folder = vec![(place.into(), String::new())];
            trees.insert(local_name(name), Tree::Folders(folder, None));
        }
    }
    Trees(Arc::new(trees))
}

/// Two names are taken by what every build has.
fn local_name(name: &str) -> String {
    if matches!(name, "context" | files::DOCKERFILE) { format!("_{name}") } else { name.to_owned() }
}

/// A build in the words of the front end.
fn attributes(request: &BuildRequest, gateway: Option<String>) -> HashMap<String, String> {
    let mut all = HashMap::from([("filename".to_owned(), files::FILENAME.to_owned())]);
    let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
    for (key, value) in &request.args {
        put(&format!("build-arg:{key}"), value.clone());
    }
    for (key, value) in &request.labels {
        put(&format!("label:{key}"), value.clone());
    }
    for (name, place) in &request.contexts {
        let place = if place.starts_with('/') { format!("local:{}", local_name(name)) } else { place.clone() };
        put(&format!("context:{name}"), place);
    }
    if !request.contexts.is_empty() {
        // a front end that does not know them says so, in place of asking a registry for their names
        put("frontend.caps", "moby.buildkit.frontend.contexts".into());
    }
    if let Some(target) = &request.target {
        put("target", target.clone());
    }
    if let Some(platform) = &request.platform {
        put("platform", platform.clone());
    }
    if request.no_cache {
        put("no-cache", String::new());
    }
    if request.pull {
        put("image-resolve-mode", "pull".into());
    }
    if let Some(network @ ("host" | "none")) = request.network.as_deref() {
        put("force-network-mode", network.to_owned());
    }
    if let Some(size) = request.shm_size {
        put("shm-size", size.to_string());
    }
    if !request.ulimits.is_empty() {
        let one = |(name, Ulimit { soft, hard }): (&String, &Ulimit)| format!("{name}={soft}:{hard}");
        put("ulimit", request.ulimits.iter().map(one).collect::<Vec<_>>().join(","));
    }
    let hosts: Vec<String> =
        request.extra_hosts.iter().filter_map(|host| named_host(host, gateway.as_deref())).collect();
    if !hosts.is_empty() {
        put("add-hosts", hosts.join(","));
    }
    all
}

/// `a:1.2.3.4` as `a=1.2.3.4`.
fn named_host(host: &str, gateway: Option<&str>) -> Option<String> {
    let (name, address) = host.split_once(':')?;
    let address = if address == HOST_GATEWAY { gateway? } else { address.trim_matches(['[', ']']) };
    Some(format!("{name}={address}"))
}

/// The address that `host-gateway` stands for, where somebody asks for it.
async fn gateway(docker: &Docker, request: &BuildRequest) -> Option<String> {
    if !request.extra_hosts.iter().any(|host| host.ends_with(HOST_GATEWAY)) {
        return None;
    }
    let bridge = docker.get::<Bridge>("asking for the gateway", "/networks/bridge").await.ok()?;
    let pools = bridge.ipam.config.unwrap_or_default();
    pools.into_iter().map(|pool| pool.gateway).find(|gateway| gateway.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()))
}

/// `cache_from`: the name of an image, or `type=registry,ref=NAME`.
pub(super) fn caches(from: &[String]) -> Vec<CacheOptionsEntry> {
    let entry = |text: &String| {
        if !text.contains('=') {
            let attrs = HashMap::from([("ref".to_owned(), text.clone())]);
            return CacheOptionsEntry { r#type: "registry".into(), attrs };
        }
        let mut attrs: HashMap<String, String> = text
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let kind = attrs.remove("type").unwrap_or_else(|| "registry".into());
        CacheOptionsEntry { r#type: kind, attrs }
    };
    from.iter().map(entry).collect()
}

/// The front end that the Dockerfile names was not to be had, and the engine's own knows enough.
fn does_without(request: &BuildRequest, message: &str) -> bool {
    let Some((syntax, true)) = &request.syntax else { return false };
    let name = syntax.split(['@', ' ']).next().unwrap_or(syntax);
    let of_it = message.contains(name) || message.contains("docker/dockerfile");
    let no_way = [
        "no such host",
        "dial tcp",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "TLS handshake timeout",
        "server misbehaving",
        "context deadline exceeded",
    ];
    of_it && no_way.iter().any(|words| message.contains(words))
}

/// The line stays, so that the numbers of the others do.
fn without_syntax(dockerfile: &str) -> String {
    let is_syntax = |line: &str| {
        let key = line.trim().strip_prefix('#').and_then(|rest| rest.split_once('='));
        key.is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case("syntax"))
    };
    let mut done = false;
    let lines: Vec<&str> = dockerfile
        .trim_start_matches('\u{feff}')
        .split('\n')
        .map(|line| {
            if !done && is_syntax(line) {
                done = true;
                "#"
            } else {
                line
            }
        })
        .collect();
    lines.join("\n")
}

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 13];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_said_in_the_words_of_the_front_end() {
        let request = BuildRequest {
            tag: "web:1".into(),
            args: [("A".to_owned(), "1".to_owned())].into(),
            labels: [("l".to_owned(), "2".to_owned())].into(),
            target: Some("run".into()),
            network: Some("host".into()),
            no_cache: true,
            pull: true,
            shm_size: Some(1 << 20),
            platform: Some("linux/arm64".into()),
            extra_hosts: vec!["a:1.2.3.4".into(), "b:::1".into(), "c:host-gateway".into()],
            ulimits: [("nofile".to_owned(), Ulimit { soft: 10, hard: 20 })].into(),
            contexts: [("src".to_owned(), "/src".to_owned()), ("base".to_owned(), "docker-image://b:1".to_owned())]
                .into(),
            ..BuildRequest::default()
        };
        let said: BTreeMap<String, String> = attributes(&request, Some("172.17.0.1".into())).into_iter().collect();
        let lines: Vec<String> = said.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let expected = [
            "add-hosts a=1.2.3.4,b=::1,c=172.17.0.1",
            "build-arg:A 1",
            "context:base docker-image://b:1",
            "context:src local:src",
            "filename Dockerfile",
            "force-network-mode host",
            "frontend.caps moby.buildkit.frontend.contexts",
            "image-resolve-mode pull",
            "label:l 2",
            "no-cache ",
            "platform linux/arm64",
            "shm-size 1048576",
            "target run",
            "ulimit nofile=10:20",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn caches_are_named_in_both_forms() {
        let found = caches(&["web:1".into(), "type=local,src=/c".into()]);
        assert_eq!((found[0].r#type.as_str(), found[0].attrs["ref"].as_str()), ("registry", "web:1"));
        assert_eq!((found[1].r#type.as_str(), found[1].attrs["src"].as_str()), ("local", "/c"));
    }

    #[test]
    fn what_buildkit_cannot_do_is_left_to_the_classic_builder() {
        let plain = || BuildRequest { buildkit: true, ..BuildRequest::default() };
        let on = |network: &str| BuildRequest { network: Some(network.into()), ..plain() };
        let limited = || BuildRequest { shm_size: Some(1), ..plain() };
        for (request, format, expected) in [
            (plain(), Some((1, 2)), true),
            (plain(), None, false),
            (BuildRequest::default(), Some(LIMITS), false),
            (on("host"), Some((1, 2)), true),
            (on("mine"), Some(LIMITS), false),
            (BuildRequest { needs_buildkit: true, ..on("mine") }, Some((1, 2)), true),
            (limited(), Some((1, 2)), false),
            (limited(), Some(LIMITS), true),
        ] {
            assert_eq!(is_for_buildkit(&request, format), expected, "{request:?} {format:?}");
        }
    }

    #[test]
    fn without_a_registry_the_engine_reads_what_it_can() {
        let request =
            |own| BuildRequest { syntax: Some(("docker/dockerfile:1".into(), own)), ..BuildRequest::default() };
        let message = "failed to do request: Head \"https://registry-1.docker.io/v2/docker/dockerfile/manifests/1\": dial tcp: no such host";
        assert!(does_without(&request(true), message));
        assert!(!does_without(&request(false), message));
        assert!(!does_without(&request(true), "executor failed running [/bin/sh -c x]: exit code: 1"));
        assert_eq!(without_syntax("# syntax=docker/dockerfile:1\nFROM a\n# syntax=b\n"), "#\nFROM a\n# syntax=b\n");
    }
}
