//! Builds: by BuildKit where that is right, else by the classic builder, which Docker and Podman have alike.

use bollard::errors::Error;
use bollard::query_parameters::BuildImageOptions;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::build_output::{Output, failure};
use super::context::{DOCKERFILE, stream_context};
use super::version::spoken;
use super::{Docker, buildkit, hash_map};
use crate::engine::{BuildRequest, EngineError, Images, ProgressSink, operation};
use crate::event::Progress;
use crate::model::{ObservedImage, Ulimit};

/// `build.network` of a build without one.
const NO_NETWORK: &str = "none";

pub(super) async fn build(
    docker: &Docker,
    request: &BuildRequest,
    progress: ProgressSink<'_>,
) -> Result<ObservedImage, EngineError> {
    let operation = operation::build(&request.tag);
    for (path, inside) in &request.context {
        // found here, the trouble has a name; on the way it would be a broken stream
        let wrong = match inside.trim_matches('/') {
            "" if !path.is_dir() => "is not a folder",
            _ if !path.exists() => "does not exist",
            _ => continue,
        };
        let message = format!("{} {wrong}", path.display());
        return Err(EngineError::Other { operation, message });
    }
    if buildkit::is_for_buildkit(request, docker.facts.dockerfile) {
        return buildkit::build(docker, request, progress).await;
    }
    let options = options(request, docker.podman());
    let (dockerfile, folders) = (request.dockerfile.clone(), request.context.clone());
    let context = stream_context(dockerfile, folders, request.ignore.clone(), docker.podman());
    let client = with_more(docker, request);
    let mut lines =
        Box::pin(client.build_image(options, docker.logins.all().await, Some(bollard::body_try_stream(context))));
    let mut output = Output::default();
    while let Some(line) = lines.next().await {
        let line = line.map_err(|error| failure(&operation, &request.tag, error, &mut output))?;
        if let Some(text) = &line.stream {
            output.add(text, progress);
        }
        if let (Some(phase), Some(part)) = (&line.status, &line.id) {
            let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
            let detail = line.progress_detail.as_ref();
            progress(Progress::Bytes {
                part: part.clone(),
                current: number(detail.and_then(|detail| detail.current)),
                total: number(detail.and_then(|detail| detail.total)),
                phase: phase.clone(),
            });
        }
    }
    output.end(progress);
    match docker.image(&request.tag).await? {
        Some(image) => Ok(image),
        // an engine that ends the stream without an error has stopped in the middle
        None => {
            let error = Error::DockerStreamError { error: "the build ended without an image".to_owned() };
            Err(failure(&operation, &request.tag, error, &mut output))
        }
    }
}

/// Asks with what the client has no field for.
fn with_more(docker: &Docker, request: &BuildRequest) -> bollard::Docker {
    let more = more(request, docker.podman());
    if more.is_empty() {
        return docker.client.clone();
    }
    let api = docker.api;
    docker.client.clone().with_request_modifier(move |request| {
        let mut request = spoken(request, api);
        if let Ok(uri) = format!("{}{more}", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        request
    })
}

/// Podman takes the labels of a map in any order, and those of another order are not in its cache: what has not changed
/// would be another image at every other build. A list, which Docker does not know, keeps its order. Limits and hosts are
/// lists of text for Podman, which refuses them as Docker takes them.
fn more(request: &BuildRequest, podman: bool) -> String {
    let mut more = String::new();
    let mut add = |key: &str, values: Vec<Value>| {
        let values = super::answers::encoded(&Value::from(values).to_string());
        more.push_str(&format!("&{key}={values}"));
    };
    if !request.ulimits.is_empty() {
        let one = |(name, Ulimit { soft, hard }): (&String, &Ulimit)| match podman {
            true => Value::from(format!("{name}={soft}:{hard}")),
            false => json!({"Name": name, "Soft": soft, "Hard": hard}),
        };
        add("ulimits", request.ulimits.iter().map(one).collect());
    }
    if podman && !request.extra_hosts.is_empty() {
        add("extrahosts", request.extra_hosts.iter().cloned().map(Value::from).collect());
    }
    // where nobody says otherwise Podman builds in the machine's own network
    if podman && request.network.as_deref() == Some(NO_NETWORK) {
        add("nsoptions", vec![json!({"Name": "network", "Host": false, "Path": ""})]);
    }
    if podman && !request.labels.is_empty() {
        add("labels", request.labels.iter().map(|(key, value)| format!("{key}={value}").into()).collect());
    }
    // the client's own number ends at 2 GiB
    if let Some(size) = request.shm_size {
        more.push_str(&format!("&shmsize={size}"));
    }
    more
}

fn options(request: &BuildRequest, podman: bool) -> BuildImageOptions {
    // Podman takes names of repositories, without a tag, and refuses everything else: the build does without
    let caches = if podman { Vec::new() } else { cached_images(&request.cache_from) };
    BuildImageOptions {
        dockerfile: DOCKERFILE.to_owned(),
        t: Some(request.tag.clone()),
        extrahosts: (!podman && !request.extra_hosts.is_empty()).then(|| request.extra_hosts.join("\n")),
        nocache: request.no_cache,
        pull: request.pull.then(|| "true".to_owned()),
        cachefrom: (!caches.is_empty()).then_some(caches),
        rm: true,
        forcerm: true,
        buildargs: (!request.args.is_empty()).then(|| hash_map(&request.args)),
        labels: (!podman && !request.labels.is_empty()).then(|| hash_map(&request.labels)),
        networkmode: match request.network.as_deref() {
            Some(NO_NETWORK) if podman => Some("NetworkDisabled".to_owned()),
            _ => request.network.clone(),
        },
        platform: request.platform.clone().unwrap_or_default(),
        target: request.target.clone().unwrap_or_default(),
        ..BuildImageOptions::default()
    }
}

/// The classic builder takes names of images, and no other kind of cache.
fn cached_images(from: &[String]) -> Vec<String> {
    let caches = buildkit::caches(from).into_iter().filter(|cache| cache.r#type == "registry");
    caches.filter_map(|mut cache| cache.attrs.remove("ref")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_said_in_the_words_of_the_engine() {
        let map = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let request = BuildRequest {
            tag: "macula/web:1".into(),
            dockerfile: "FROM scratch".into(),
            context: Vec::new(),
            args: map("A", "1"),
            labels: map("l", "2"),
            target: Some("run".into()),
            network: Some("host".into()),
            no_cache: true,
            pull: true,
            cache_from: vec!["type=registry,ref=web:old".into(), "type=local,src=/c".into()],
            platform: Some("linux/arm64".into()),
            extra_hosts: vec!["a:1.2.3.4".into(), "b:::1".into()],
            ..BuildRequest::default()
        };
        insta::assert_debug_snapshot!(options(&request, false), @r#"
        BuildImageOptions {
            dockerfile: ".macula.Dockerfile",
            t: Some(
                "macula/web:1",
            ),
            extrahosts: Some(
                "a:1.2.3.4\nb:::1",
            ),
            remote: None,
            q: false,
            nocache: true,
            cachefrom: Some(
                [
                    "web:old",
                ],
            ),
            pull: Some(
                "true",
            ),
            rm: true,
            forcerm: true,
            memory: None,
            memswap: None,
            cpushares: None,
            cpusetcpus: None,
            cpuperiod: None,
            cpuquota: None,
            buildargs: Some(
                {
                    "A": "1",
                },
            ),
            shmsize: None,
            squash: None,
            labels: Some(
                {
                    "l": "2",
                },
            ),
            networkmode: Some(
                "host",
            ),
            platform: "linux/arm64",
            target: "run",
            version: BuilderV1,
        }
        "#);
    }

    #[test]
    fn labels_come_to_podman_in_the_same_order_each_time() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let request = BuildRequest { labels: map(&[("b", "2"), ("a", "1 & more")]), ..BuildRequest::default() };
        assert_eq!(options(&request, true).labels, None);
        assert_eq!(more(&request, true), "&labels=%5B%22a%3D1%20%26%20more%22%2C%22b%3D2%22%5D");
        // Docker takes a map only
        assert_eq!(options(&request, false).labels.map(|labels| labels.len()), Some(2));
        assert_eq!(more(&request, false), "");
        let limit = Ulimit { soft: 10, hard: 20 };
        let request = BuildRequest { ulimits: [("nofile".to_owned(), limit)].into(), ..request };
        let limits = "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Soft%22%3A10%2C%22Hard%22%3A20%7D%5D";
        assert_eq!(more(&request, false), limits);
        let limits = "&ulimits=%5B%22nofile%3D10%3A20%22%5D";
        assert!(more(&request, true).starts_with(limits) && more(&request, true).contains("&labels="));
        let request = BuildRequest { shm_size: Some(4 << 30), ..BuildRequest::default() };
        assert_eq!(more(&request, false), "&shmsize=4294967296");
    }

    #[test]
    fn podman_is_told_of_hosts_and_networks_in_its_own_words() {
        let request = BuildRequest {
            network: Some("none".into()),
            extra_hosts: vec!["db:10.1.2.3".into()],
            cache_from: vec!["web:old".into()],
            ..BuildRequest::default()
        };
        let said = |podman: bool| {
            let BuildImageOptions { extrahosts, cachefrom, networkmode, .. } = options(&request, podman);
            (extrahosts, cachefrom, networkmode, more(&request, podman))
        };
        let text = |text: &str| Some(text.to_owned());
        let docker = (text("db:10.1.2.3"), Some(vec!["web:old".to_owned()]), text("none"), String::new());
        assert_eq!(said(false), docker);
        let more = "&extrahosts=%5B%22db%3A10.1.2.3%22%5D\
                    &nsoptions=%5B%7B%22Name%22%3A%22network%22%2C%22Host%22%3Afalse%2C%22Path%22%3A%22%22%7D%5D";
        assert_eq!(said(true), (None, None, text("NetworkDisabled"), more.to_owned()));
    }
}
