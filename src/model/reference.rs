//! Image references.

/// `nginx:1` -> (`docker.io`, `library/nginx:1`), by the rules of the distribution reference
/// grammar: the first component is a host when it holds a dot or a colon, or is `localhost`.
pub fn split_registry(reference: &str) -> (&str, String) {
    match reference.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
        Some(_) => ("docker.io", reference.to_owned()),
        None => ("docker.io", format!("library/{reference}")),
    }
}

/// Has the letters of a reference and no others: a variable that must have a value, and has none, stands as it was written.
fn is_plain(reference: &str) -> bool {
    reference.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter))
}

/// Lacks a name, its tag or its digest where the signs around it are there: `nginx:`.
pub fn has_empty_part(reference: &str) -> bool {
    let named = reference.split_once('@').map_or(reference, |(named, _)| named);
    let lacks = |part: &str| part.is_empty() || part.starts_with(':') || part.ends_with(':') || part.contains("::");
    is_plain(reference) && (named.split('/').any(lacks) || reference.ends_with(['@', ':']))
}

/// The same with its repository in lower case, as all of them are; none where it is so, or where capitals are not all
/// that is wrong. Tags may have capitals.
pub fn in_lower_case(reference: &str) -> Option<String> {
    if !is_plain(reference) || has_empty_part(reference) {
        return None;
    }
    let (named, digest) = reference.split_at(reference.find('@').unwrap_or(reference.len()));
    // what follows the last colon is a tag, unless that is a registry's
    let tag = named.rfind(':').filter(|at| !named.split_at(*at).1.contains('/'));
    let (name, tag) = named.split_at(tag.unwrap_or(named.len()));
    let (registry, repository) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (format!("{host}/"), rest),
        _ => (String::new(), name),
    };
    let lower = repository.to_lowercase();
    (repository != lower).then(|| format!("{registry}{lower}{tag}{digest}"))
}

/// Whether a registry (`127.0.0.1:5001`) is on this machine, where engines speak plain HTTP.
pub fn is_on_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_this_machine_are_known() {
        for (registry, here) in
            [("127.0.0.1:5001", true), ("localhost:5000", true), ("localhost", true), ("docker.io", false)]
        {
            assert_eq!(is_on_loopback(registry), here, "{registry}");
        }
    }

    #[test]
    fn repositories_are_in_lower_case() {
        for (given, lower) in [
            ("Nginx:latest", Some("nginx:latest")),
            ("nginx:Latest", None),
            ("Acme/Shop", Some("acme/shop")),
            ("GHCR.io:5000/Acme/shop:V1@sha256:AB", Some("GHCR.io:5000/acme/shop:V1@sha256:AB")),
            ("localhost:5001/shop", None),
            ("NGINX:::1", None),
            ("", None),
        ] {
            assert_eq!(in_lower_case(given).as_deref(), lower, "{given}");
        }
    }

    #[test]
    fn a_part_that_is_missing_is_seen() {
        let lacking = [
            "nginx:",
            "NGINX:::1",
            "nginx::1",
            "a//b",
            "/nginx",
            "nginx/",
            ":1",
            "ghcr.io/:1",
            "nginx@",
            "nginx:@sha256:ab",
            "nginx@sha256:",
        ];
        let whole = ["nginx", "localhost:5000/nginx:1", "nginx:1@sha256:ab", "nginx:${TAG:?see /docs/:}"];
        assert!(lacking.into_iter().all(has_empty_part) && !whole.into_iter().any(has_empty_part));
    }

    #[test]
    fn registries_are_told_from_repositories() {
        assert_eq!(split_registry("nginx:1.30.4"), ("docker.io", "library/nginx:1.30.4".into()));
        assert_eq!(split_registry("grafana/loki:3.7.6"), ("docker.io", "grafana/loki:3.7.6".into()));
        assert_eq!(split_registry("127.0.0.1:5001/app"), ("127.0.0.1:5001", "app".into()));
        assert_eq!(split_registry("quay.io/minio/minio:x"), ("quay.io", "minio/minio:x".into()));
    }
}
