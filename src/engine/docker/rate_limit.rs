//! How long a registry that limits pulls wants to be left alone. Engines pass on little of what it says,
//! so that it is asked once more: the head of a manifest, which no registry counts as a pull
//! (<https://docs.docker.com/docker-hub/usage/pulls/>).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::auth::DockerCredentials;
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Deserialize;

use super::reference::Reference;
use crate::engine::Wait;
use crate::model::is_on_loopback;

/// For all questions together: the pull has failed already, and this is only a better word for it.
const PATIENCE: Duration = Duration::from_secs(5);

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// `None`: it does not say, or does not answer.
pub(super) async fn ask(reference: &Reference, login: Option<&DockerCredentials>) -> Option<Wait> {
    tokio::time::timeout(PATIENCE, asked(reference, login)).await.ok().flatten()
}

async fn asked(reference: &Reference, login: Option<&DockerCredentials>) -> Option<Wait> {
    let client = client()?;
    let url = format!("{}/v2/{}/manifests/{}", base(&reference.registry), reference.path, reference.version());
    let head = || client.head(&url).header(ACCEPT, MANIFESTS);
    let mut answer = head().send().await.ok()?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        let challenge = answer.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
        let token = token(&client, challenge, login).await?;
        answer = head().bearer_auth(token).send().await.ok()?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    told(answer.status(), answer.headers(), now)
}

/// Trusts whom this machine trusts.
fn client() -> Option<Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let tls = tls.with_platform_verifier().ok()?.with_no_client_auth();
    // what the engine's proxy is nobody says; without a way there is only no better word
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.user_agent(concat!("macula/", env!("CARGO_PKG_VERSION"))).tls_backend_preconfigured(tls).build().ok()
}

/// Docker Hub's API has another name than its images; engines take plain HTTP from loopback only.
fn base(registry: &str) -> String {
    match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        _ if is_on_loopback(registry) => format!("http://{registry}"),
        _ => format!("https://{registry}"),
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

/// Asks where the registry sends us for a token
/// (<https://distribution.github.io/distribution/spec/auth/token/>). The limit is the account's: with a
/// login its token is asked for.
async fn token(client: &Client, challenge: &str, login: Option<&DockerCredentials>) -> Option<String> {
    let parameters = challenge.strip_prefix("Bearer ").or_else(|| challenge.strip_prefix("bearer "))?;
    let value = |key: &str| {
        let (_, rest) = parameters.split_once(&format!("{key}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let realm = value("realm")?;
    let query: Vec<(&str, &str)> =
        ["service", "scope"].into_iter().filter_map(|key| Some((key, value(key)?))).collect();
    let url = reqwest::Url::parse_with_params(realm, query).ok()?;
    let safe = url.scheme() == "https";
    let mut request = client.get(url);
    if let Some(DockerCredentials { username: Some(user), password, .. }) = login.filter(|_| safe) {
        request = request.basic_auth(user, password.as_deref());
    }
    Some(request.send().await.ok()?.json::<Token>().await.ok()?.token)
}

/// What the heads of an answer say, the most exact first. `now`: seconds since the epoch.
fn told(status: StatusCode, heads: &HeaderMap, now: u64) -> Option<Wait> {
    let text = |name: &str| heads.get(name)?.to_str().ok().map(str::trim);
    // `0;w=21600`: the count, and the seconds that it is counted over
    let counted = |name: &str| {
        let mut parts = text(name)?.split(';').map(str::trim);
        let count = parts.next()?.parse::<u64>().ok()?;
        Some((count, parts.find_map(|part| part.strip_prefix("w=")?.parse::<u64>().ok())))
    };
    let remaining = counted("ratelimit-remaining");
    let refused = status == StatusCode::TOO_MANY_REQUESTS;
    if !refused && remaining.is_none_or(|(left, _)| left > 0) {
        return None;
    }
    let after = text(RETRY_AFTER.as_str()).and_then(|text| match text.parse::<u64>() {
        Ok(seconds) => Some(seconds),
        // an HTTP date is one of mail, too
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
            Some(u64::try_from(at).ok()?.saturating_sub(now))
        }
    });
    // seconds in the draft of the IETF, a point in time with Docker Hub and GitHub
    let reset = ["ratelimit-reset", "x-ratelimit-reset"].into_iter().find_map(text);
    let reset = reset.and_then(|text| text.parse::<u64>().ok()).map(|at| if at > now { at - now } else { at });
    // a time of the past says nothing
    let reset = reset.filter(|seconds| *seconds < 10 * 365 * 24 * 3600);
    let window = remaining.and_then(|(_, window)| window).or_else(|| counted("ratelimit-limit")?.1);
    after.or(reset).map(Wait::In).or(window.map(Wait::Within))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn heads(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_heads_say_how_long() {
        const NOW: u64 = 1_800_000_000;
        let busy = |lines: &[(&'static str, &str)]| told(StatusCode::TOO_MANY_REQUESTS, &heads(lines), NOW);
        assert_eq!(busy(&[]), None);
        assert_eq!(busy(&[("retry-after", "77")]), Some(Wait::In(77)));
        assert_eq!(busy(&[("retry-after", "Fri, 15 Jan 2027 08:01:00 GMT")]), Some(Wait::In(60)));
        assert_eq!(busy(&[("retry-after", "soon"), ("ratelimit-reset", "900")]), Some(Wait::In(900)));
        assert_eq!(busy(&[("x-ratelimit-reset", "1800000120")]), Some(Wait::In(120)));
        assert_eq!(busy(&[("x-ratelimit-reset", "1700000000")]), None);
        let hub = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")];
        assert_eq!(busy(&hub), Some(Wait::Within(21600)));
        // the head of a manifest is still given when no pulls are left
        assert_eq!(told(StatusCode::OK, &heads(&hub), NOW), Some(Wait::Within(21600)));
        assert_eq!(told(StatusCode::OK, &heads(&[("ratelimit-remaining", "3;w=21600")]), NOW), None);
        assert_eq!(told(StatusCode::NOT_FOUND, &heads(&[("retry-after", "5")]), NOW), None);
    }

    #[test]
    fn only_loopback_is_asked_in_the_clear() {
        assert_eq!(base("docker.io"), "https://registry-1.docker.io");
        assert_eq!(base("ghcr.io"), "https://ghcr.io");
        assert_eq!(base("127.0.0.1:5001"), "http://127.0.0.1:5001");
        assert_eq!(base("localhost"), "http://localhost");
        assert_eq!(base("127.0.0.1.example.com:80"), "https://127.0.0.1.example.com:80");
    }

    /// Answers each connection's first request; what was asked.
    async fn registry(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().replace(&port.to_string(), "PORT");
                let told = |line: &&str| line.contains("HTTP/1.1") || line.starts_with("authorization");
                asked.push(head.lines().filter(told).collect::<Vec<_>>().join(" | "));
                stream.write_all(answer.replace("PORT", &port.to_string()).as_bytes()).await.unwrap();
            }
            asked
        });
        (port, served)
    }

    #[tokio::test]
    async fn a_token_is_asked_for_where_the_registry_says() {
        let challenge = r#"Bearer realm="http://127.0.0.1:PORT/token",service="hub",scope="repository:acme/web:pull""#;
        let (port, served) = registry(vec![
            format!("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{\"token\": \"abc\"}".replace("15", "16"),
            "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n".into(),
        ])
        .await;
        let reference = Reference::parse(&format!("127.0.0.1:{port}/acme/web:1")).unwrap();
        // in the clear no password is handed out
        let login =
            DockerCredentials { username: Some("me".into()), password: Some("secret".into()), ..Default::default() };
        assert_eq!(ask(&reference, Some(&login)).await, Some(Wait::In(3600)));
        insta::assert_snapshot!(served.await.unwrap().join("\n"), @"
        HEAD /v2/acme/web/manifests/1 HTTP/1.1
        GET /token?service=hub&scope=repository%3Aacme%2Fweb%3Apull HTTP/1.1
        HEAD /v2/acme/web/manifests/1 HTTP/1.1 | authorization: Bearer abc
        ");
    }

    #[tokio::test]
    async fn nobody_there_says_nothing() {
        let reference = Reference::parse("127.0.0.1:1/acme/web:1").unwrap();
        assert_eq!(ask(&reference, None).await, None);
    }
}
