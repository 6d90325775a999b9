//! The version of the API that is spoken, and how a request is made to name it.

use std::fmt;

/// `1.41`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(pub u16, pub u16);

/// Docker 20.10, Podman 4.
pub(super) const FLOOR: ApiVersion = ApiVersion(1, 41);
/// The newest that was read through; a newer engine still speaks it, and says no more than we know
/// how to read.
pub(super) const CEILING: ApiVersion = ApiVersion(1, 48);

impl ApiVersion {
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        // Podman's own API says 5.3.1; the third number counts for nothing here
        let minor = minor.split('.').next()?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// The version to speak with an engine that knows `lowest..=highest`; `None`: it is too old.
    pub fn negotiate(lowest: Option<Self>, highest: Self) -> Option<Self> {
        if highest < FLOOR {
            return None;
        }
        Some(highest.min(CEILING.max(lowest.unwrap_or(FLOOR))))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The client leaves the version out of the path, which would mean "the newest that the engine
/// has", whose answers change with every release. It also has no way to repeat a parameter:
/// `changes` and `extrahosts` come joined with line breaks.
pub(super) fn versioned(uri: &str, version: ApiVersion) -> String {
    let (before, query) = match uri.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (uri, None),
    };
    let path_at = before.find("://").and_then(|at| {
        let host = at + "://".len();
        before.get(host..)?.find('/').map(|slash| host + slash)
    });
    let (host, path) = before.split_at(path_at.unwrap_or(0));
    let path = versioned_path(path, version);
    let Some(query) = query else { return format!("{host}{path}") };
    let parameters: Vec<String> = query
        .split('&')
        .flat_map(|parameter| match parameter.split_once('=') {
            Some((key @ ("changes" | "extrahosts"), values)) => {
                values.split("%0A").map(|value| format!("{key}={value}")).collect()
            }
            _ => vec![parameter.to_owned()],
        })
        .collect();
    format!("{host}{path}?{}", parameters.join("&"))
}

/// A request of the client as this engine is to hear it.
pub(super) fn spoken<B>(mut request: http::Request<B>, version: ApiVersion) -> http::Request<B> {
    if let Ok(uri) = versioned(&request.uri().to_string(), version).parse() {
        *request.uri_mut() = uri;
    }
    // the client writes the login in plain base64, the engine reads the URL's alphabet
    for name in ["X-Registry-Auth", "X-Registry-Config"] {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(text) = value.to_str()
            && let Ok(url_safe) = text.replace('+', "-").replace('/', "_").parse()
        {
            *value = url_safe;
        }
    }
    request
}

pub(super) fn versioned_path(path: &str, version: ApiVersion) -> String {
    if path.starts_with("/v1.") { path.to_owned() } else { format!("/v{version}{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_newest_that_both_know() {
        let spoken = |lowest: &str, highest: &str| {
            let highest = ApiVersion::parse(highest).unwrap();
            ApiVersion::negotiate(ApiVersion::parse(lowest), highest).map(|version| version.to_string())
        };
        assert_eq!(spoken("1.12", "1.41").as_deref(), Some("1.41"));
        assert_eq!(spoken("1.24", "1.47").as_deref(), Some("1.47"));
        assert_eq!(spoken("1.44", "1.52").as_deref(), Some("1.48"));
        assert_eq!(spoken("1.50", "1.53").as_deref(), Some("1.50"));
        assert_eq!(spoken("", "1.41").as_deref(), Some("1.41"));
        assert_eq!(spoken("1.12", "1.40"), None);
        assert_eq!(ApiVersion::parse("5.3.1"), Some(ApiVersion(5, 3)));
        assert_eq!(ApiVersion::parse("one"), None);
    }

    #[test]
    fn a_request_names_the_version_and_repeats_its_parameters() {
        let version = ApiVersion(1, 44);
        let uri = |uri| versioned(uri, version);
        assert_eq!(uri("unix://2f72/containers/json?all=true"), "unix://2f72/v1.44/containers/json?all=true");
        assert_eq!(uri("http://127.0.0.1:2375/_ping"), "http://127.0.0.1:2375/v1.44/_ping");
        assert_eq!(uri("http://h/v1.53/version"), "http://h/v1.53/version");
        assert_eq!(
            uri("unix://2f72/images/create?fromSrc=-&changes=LABEL+a%3Db%0ALABEL+c%3Dd&platform="),
            "unix://2f72/v1.44/images/create?fromSrc=-&changes=LABEL+a%3Db&changes=LABEL+c%3Dd&platform="
        );
        assert_eq!(uri("unix://2f72/build?labels=%7B%0A%7D"), "unix://2f72/v1.44/build?labels=%7B%0A%7D");
    }
}
