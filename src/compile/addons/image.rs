//! The images of the add-ons, and where they stand in a manifest.

use serde_json::{Value, json};

const INGRESS_NGINX: &str = "registry.k8s.io/ingress-nginx/controller:v1.15.1";
const TRAEFIK: &str = "traefik:v3.7.11";
const METRICS_SERVER: &str = "registry.k8s.io/metrics-server/metrics-server:v0.9.0";
const EXTERNAL_DNS: &str = "registry.k8s.io/external-dns/external-dns:v0.22.0";
const ALLOY: &str = "grafana/alloy:v1.18.1";

/// What a download of an image must come to, where upstream has published it. Manifests name tags,
/// since an image that was loaded into a node is found by its tag alone.
const DIGESTS: [(&str, &str); 1] =
    // deploy/static/provider/kind/deploy.yaml of the release
    [(INGRESS_NGINX, "sha256:594ceea76b01c592858f803f9ff4d2cb40542cae2060410b2c95f75907d659e1")];

/// The digest that a download of this image must have; `None` where none is known.
pub fn digest(reference: &str) -> Option<&'static str> {
    DIGESTS.iter().find(|(name, _)| *name == reference).map(|(_, digest)| *digest)
}

/// Every image that an add-on may run, as `images.overrides` may name it.
pub fn image_names() -> [&'static str; 5] {
    [INGRESS_NGINX, TRAEFIK, METRICS_SERVER, EXTERNAL_DNS, ALLOY]
}

/// For the templates.
pub(super) fn table() -> Value {
    json!({
        "ingress_nginx": INGRESS_NGINX,
        "traefik": TRAEFIK,
        "metrics_server": METRICS_SERVER,
        "external_dns": EXTERNAL_DNS,
        "alloy": ALLOY,
    })
}

/// Calls `change` with every image of a workload.
pub(super) fn in_manifest(manifest: &mut Value, change: &mut impl FnMut(&mut String)) {
    for list in ["initContainers", "containers"] {
        let containers = manifest.pointer_mut(&format!("/spec/template/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(Value::String(reference)) = container.get_mut("image") {
                change(reference);
            }
        }
    }
}
