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
    fn registries_are_told_from_repositories() {
        assert_eq!(split_registry("nginx:1.30.4"), ("docker.io", "library/nginx:1.30.4".into()));
        assert_eq!(split_registry("grafana/loki:3.7.6"), ("docker.io", "grafana/loki:3.7.6".into()));
        assert_eq!(split_registry("127.0.0.1:5001/app"), ("127.0.0.1:5001", "app".into()));
        assert_eq!(split_registry("quay.io/minio/minio:x"), ("quay.io", "minio/minio:x".into()));
    }
}
