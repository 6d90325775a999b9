use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde::de::DeserializeOwned;

use super::*;

pub(crate) fn input() -> AddOnInput {
    let served =
        |name: &str| Served { chain: format!("{name} chain\n"), key: format!("{name} key\n"), ..Served::default() };
    AddOnInput {
        platform: "macula".into(),
        domain: "macula.local".into(),
        cluster: "macula".into(),
        settings: ClusterSettings::default(),
        status_address: Ipv4Addr::new(127, 0, 0, 10),
        ingress_address: Ipv4Addr::new(10, 222, 7, 2),
        names: ["macula.local", "dns.macula.local", "grafana.macula.local", "*.s3.macula.local"]
            .map(str::to_owned)
            .into(),
        records: BTreeMap::new(),
        certificate: Some(served("ingress")),
        authority: Some("CA\n".into()),
        powerdns_key: Some("secret".into()),
        webhook: Some(WebhookCertificate { authority: "webhook CA\n".into(), served: served("webhook") }),
        overrides: BTreeMap::new(),
        services: ["loki", "prometheus", "tempo", "powerdns"].map(str::to_owned).into(),
    }
}

/// Everything that can be different, so that every line of a template is rendered once.
fn variants() -> Vec<AddOnInput> {
    let full = input();
    let mut udp = input();
    udp.settings.udp_services = [(4433, "media/relay:4433".to_owned()), (53, "media/names:5353".to_owned())].into();
    let mut traefik = udp.clone();
    traefik.settings.ingress = "traefik".into();
    let mut bare = input();
    (bare.certificate, bare.authority, bare.webhook, bare.powerdns_key) = (None, None, None, None);
    bare.services.clear();
    let mut bare_traefik = bare.clone();
    bare_traefik.settings.ingress = "traefik".into();
    let mut all = vec![full, udp, traefik, bare, bare_traefik];
    for service in ["loki", "prometheus", "tempo"] {
        all.push(AddOnInput { services: [service.to_owned()].into(), ..input() });
    }
    all
}

fn addon(input: &AddOnInput, name: &str) -> AddOn {
    addons(input).unwrap().into_iter().find(|addon| addon.name == name).unwrap()
}

fn object<'a>(addon: &'a AddOn, kind: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    addon.manifests.iter().find(is).unwrap_or_else(|| panic!("{kind} {name} is not in {}", addon.name))
}

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap()
}

/// Keys of `before` that are not in `after`, or differ there.
fn lost(path: &str, before: &Value, after: &Value, out: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => lost(&format!("{path}.{key}"), value, other, out),
                    // the API server too takes an absent list or map for an empty one
                    None if *value == json!({}) || *value == json!([]) => {}
                    None => out.push(format!("{path}.{key} is unknown")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                lost(&format!("{path}[{at}]"), a, b, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: {a} became {b}")),
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(&typed).map_err(|error| error.to_string())
}

fn strict(object: &Value) -> Vec<String> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let decode: fn(&Value) -> Result<Value, String> = match (version, kind) {
        ("v1", "Namespace") => round_trip::<Namespace>,
        ("v1", "ConfigMap") => round_trip::<ConfigMap>,
        ("v1", "Secret") => round_trip::<Secret>,
        ("v1", "Service") => round_trip::<Service>,
        ("v1", "ServiceAccount") => round_trip::<ServiceAccount>,
        ("apps/v1", "Deployment") => round_trip::<Deployment>,
        ("apps/v1", "DaemonSet") => round_trip::<DaemonSet>,
        ("networking.k8s.io/v1", "IngressClass") => round_trip::<IngressClass>,
        ("rbac.authorization.k8s.io/v1", "Role") => round_trip::<Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => round_trip::<RoleBinding>,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => round_trip::<ClusterRole>,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => round_trip::<ClusterRoleBinding>,
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            round_trip::<ValidatingWebhookConfiguration>
        }
        ("apiregistration.k8s.io/v1", "APIService") => round_trip::<APIService>,
        _ => return vec![format!("{version} {kind} has no type here: add it")],
    };
    match decode(object) {
        Ok(after) => {
            let mut out = Vec::new();
            lost("", object, &after, &mut out);
            out
        }
        Err(error) => vec![error],
    }
}

#[test]
fn every_object_is_what_its_type_says() {
    let mut wrong = Vec::new();
    for input in variants() {
        for addon in addons(&input).unwrap() {
            for object in &addon.manifests {
                let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
                wrong.extend(strict(object).into_iter().map(|line| format!("{}: {name}{line}", addon.name)));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert_eq!(wrong, Vec::<String>::new());
}

/// One of some 1,700 has digits alone, which are a number to YAML.
#[test]
fn a_digest_of_digits_is_a_text() {
    let mut wrong = Vec::new();
    for input in variants() {
        let mut context = context(&input).unwrap();
        for file in ["corefile", "alloy_config", "traefik_config", "certificate"] {
            if let Some(digest) = context.pointer_mut(&format!("/{file}/digest")) {
                *digest = json!("1234567890123456");
            }
        }
        for file in ["coredns.yaml.j2", "traefik.yaml.j2", "alloy.yaml.j2"] {
            let all = objects(file, &rendered(file, &context).unwrap()).unwrap();
            wrong.extend(all.iter().flat_map(strict).map(|line| format!("{file}: {line}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_field_that_no_type_has_is_noticed() {
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"ports": [{"port": 1, "targetport": 2}]}});
    assert_eq!(strict(&object), [".spec.ports[0].targetport is unknown"]);
}

#[test]
fn what_goes_in_by_default() {
    let text: String = addons(&input())
        .unwrap()
        .iter()
        .map(|addon| {
            let objects: Vec<String> = addon
                .manifests
                .iter()
                .map(|object| {
                    let place = object["metadata"]["namespace"].as_str().map(|ns| format!("{ns}/")).unwrap_or_default();
                    format!(
                        "  {} {place}{}\n",
                        object["kind"].as_str().unwrap(),
                        object["metadata"]["name"].as_str().unwrap()
                    )
                })
                .collect();
            let waits: Vec<String> = addon.waits.iter().map(ToString::to_string).collect();
            format!(
                "{} ({}){} images {:?} waits {waits:?}\n{}",
                addon.name,
                addon.title,
                if addon.optional { " optional" } else { "" },
                addon.images,
                objects.concat()
            )
        })
        .collect();
    insta::assert_snapshot!(text);
}

#[test]
fn every_object_bears_our_labels_and_every_pod_has_limits() {
    for input in variants() {
        for addon in addons(&input).unwrap() {
            for object in &addon.manifests {
                let labels = &object["metadata"]["labels"];
                assert_eq!(labels["dev.macula.platform"], "macula");
                assert_eq!(labels["dev.macula.addon"], addon.name.as_str());
                assert_eq!(labels["app.kubernetes.io/managed-by"], "macula");
                for container in
                    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
                {
                    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
                    for path in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
                        assert!(container.pointer(path).is_some(), "{} has no {path}", container["name"]);
                    }
                    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
                    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
                }
            }
        }
    }
}

#[test]
fn a_selector_matches_the_pods_that_are_made() {
    for input in variants() {
        for addon in addons(&input).unwrap() {
            for object in addon.manifests.iter().filter(|object| object.pointer("/spec/selector/matchLabels").is_some())
            {
                let wanted = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object).unwrap();
                let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object).unwrap();
                for (key, value) in wanted {
                    assert_eq!(labels.get(key), Some(value), "{}", object["metadata"]["name"]);
                }
            }
        }
    }
}

#[test]
fn another_certificate_changes_only_what_has_it() {
    for (ingress, kinds) in [("nginx", &["Secret"][..]), ("traefik", &["Secret", "Deployment"][..])] {
        let mut input = input();
        input.settings.ingress = ingress.into();
        let mut there = addon(&input, "ingress");
        assert_eq!(there.serve(input.certificate.as_ref().unwrap()), Vec::<Value>::new());
        let other = Served { chain: "other chain\n".into(), key: "other key\n".into(), ..Served::default() };
        let changed = there.serve(&other);
        assert_eq!(changed.iter().map(|manifest| manifest["kind"].as_str().unwrap()).collect::<Vec<_>>(), kinds);
        input.certificate = Some(other);
        assert_eq!(there, addon(&input, "ingress"), "as another `up` would have it");
    }
}

#[test]
fn the_ingress_serves_our_certificate_and_gives_our_address() {
    let ingress = addon(&input(), "ingress");
    insta::assert_snapshot!(yaml(object(&ingress, "Deployment", "ingress-nginx-controller")));
    insta::assert_snapshot!(yaml(object(&ingress, "ValidatingWebhookConfiguration", "ingress-nginx-admission")));
    // base64 of "ingress chain\n" and "ingress key\n"
    let secret = object(&ingress, "Secret", "default-certificate");
    assert_eq!(secret["data"], json!({"tls.crt": "aW5ncmVzcyBjaGFpbgo=", "tls.key": "aW5ncmVzcyBrZXkK"}));
}

#[test]
fn the_ingress_cuts_nothing_that_the_hosts_lets_through() {
    let nginx = addon(&input(), "ingress");
    let expected = json!({
        "proxy-body-size": "0",
        "proxy-read-timeout": "86400",
        "proxy-send-timeout": "86400",
        "client-body-timeout": "86400",
        "proxy-buffer-size": "64k",
        "large-client-header-buffers": "4 64k",
    });
    assert_eq!(object(&nginx, "ConfigMap", "ingress-nginx-controller")["data"], expected);
    let mut wanted = input();
    wanted.settings.ingress = "traefik".into();
    let traefik = addon(&wanted, "ingress");
    let args = yaml(&object(&traefik, "Deployment", "traefik")["spec"]["template"]["spec"]["containers"][0]["args"]);
    for entrypoint in ["http", "https"] {
        let argument = format!("--entrypoints.{entrypoint}.transport.respondingtimeouts.readtimeout=0");
        assert!(args.contains(&argument), "{args}");
    }
}

/// What the example says is found in Prometheus by the label that Prometheus gives.
#[test]
fn the_example_names_a_label_that_there_is() {
    let scraped = include_str!("../../../templates/prometheus/prometheus.yml.j2");
    assert!(
        scraped.contains("__meta_kubernetes_pod_label_app_kubernetes_io_name], regex: (.+), target_label: service}")
    );
    let example = include_str!("../../../kind/examples/hello.yaml");
    assert!(example.contains(r#"in Prometheus as {service="hello"}"#));
}

#[test]
fn udp_services_are_ports_of_the_node() {
    let mut wanted = input();
    wanted.settings.udp_services = [(4433, "media/relay:4434".to_owned())].into();
    let nginx = addon(&wanted, "ingress");
    assert_eq!(object(&nginx, "ConfigMap", "udp-services")["data"], json!({"4433": "media/relay:4434"}));
    let port = |object: &Value| {
        let ports = object.pointer("/spec/template/spec/containers/0/ports").unwrap().as_array().unwrap().clone();
        ports.into_iter().find(|port| port["protocol"] == "UDP").unwrap()
    };
    let expected = json!({"name": "udp-4433", "containerPort": 4433, "hostPort": 4433, "protocol": "UDP"});
    assert_eq!(port(object(&nginx, "Deployment", "ingress-nginx-controller")), expected);
    wanted.settings.ingress = "traefik".into();
    let traefik = addon(&wanted, "ingress");
    assert_eq!(port(object(&traefik, "Deployment", "traefik")), expected);
    insta::assert_snapshot!(object(&traefik, "ConfigMap", "traefik")["data"]["dynamic.yaml"].as_str().unwrap());
    wanted.settings.udp_services = [(4433, "relay:4433".to_owned())].into();
    insta::assert_snapshot!(addons(&wanted).unwrap_err(), @"cluster.udp_services.4433: `relay:4433` is not of the form namespace/service:port");
}

#[test]
fn external_dns_writes_what_it_owns_into_powerdns() {
    let dns = addon(&input(), "external-dns");
    let deployment = object(&dns, "Deployment", "external-dns");
    insta::assert_snapshot!(yaml(&deployment["spec"]["template"]["spec"]["containers"][0]["args"]));
    let without = AddOnInput { powerdns_key: None, ..input() };
    assert!(!addons(&without).unwrap().iter().any(|addon| addon.name == "external-dns"));
}

#[test]
fn pods_find_the_platforms_names() {
    let mut wanted = input();
    wanted.records = [
        ("nas.macula.local".to_owned(), Ipv4Addr::new(192, 168, 1, 5)),
        // what ExternalDNS wrote for the host: in a pod that would be the pod itself
        ("hello.macula.local".to_owned(), Ipv4Addr::new(127, 0, 0, 10)),
    ]
    .into();
    let dns = addon(&wanted, "dns");
    insta::assert_snapshot!(object(&dns, "ConfigMap", "coredns")["data"]["Corefile"].as_str().unwrap());
    // the pods of CoreDNS follow, and stay kubeadm's in all else
    insta::assert_snapshot!(yaml(object(&dns, "Deployment", "coredns")));
    let changed = addon(&input(), "dns");
    assert_ne!(object(&dns, "Deployment", "coredns"), object(&changed, "Deployment", "coredns"));
}

#[test]
fn many_names_do_not_exceed_what_coredns_takes() {
    let mut wanted = input();
    wanted.names = (0..2000).map(|number| format!("service-{number}.macula.local")).collect();
    let corefile = corefile::corefile(&wanted);
    assert!(corefile.lines().all(|line| line.len() < 10_000));
    assert!(corefile.contains("service-0[.]macula") && corefile.contains("service-1999[.]macula"));
}

#[test]
fn the_collector_sends_to_what_is_there() {
    let config = |services: &[&str]| {
        let services = services.iter().map(|name| (*name).to_owned()).collect();
        let alloy = addon(&AddOnInput { services, ..input() }, "alloy");
        object(&alloy, "ConfigMap", "alloy")["data"]["config.alloy"].as_str().unwrap().to_owned()
    };
    insta::assert_snapshot!(config(&["loki", "prometheus", "tempo"]));
    let tempo = config(&["tempo"]);
    assert!(!tempo.contains("loki") && !tempo.contains("prometheus"), "{tempo}");
    assert!(
        !addons(&AddOnInput { services: BTreeSet::new(), ..input() })
            .unwrap()
            .iter()
            .any(|addon| addon.name == "alloy")
    );
}

#[test]
fn another_image_stands_in_the_manifest_and_in_the_list() {
    let overrides = [(image_names()[0].to_owned(), "127.0.0.1:5001/mine:1".to_owned())].into();
    let ingress = addon(&AddOnInput { overrides, ..input() }, "ingress");
    assert_eq!(ingress.images, ["127.0.0.1:5001/mine:1"]);
    let deployment = object(&ingress, "Deployment", "ingress-nginx-controller");
    assert_eq!(deployment.pointer("/spec/template/spec/containers/0/image"), Some(&json!("127.0.0.1:5001/mine:1")));
}

#[test]
fn manifests_name_tags_and_the_table_has_digests() {
    for name in image_names() {
        assert!(!name.contains('@'));
    }
    assert!(digest(image_names()[0]).unwrap().starts_with("sha256:"));
    assert_eq!(digest("127.0.0.1:5001/mine:1"), None);
}

#[test]
fn an_add_on_that_there_is_not_is_an_error() {
    let mut wanted = input();
    wanted.settings.addons = vec!["metrics-server".into()];
    assert!(addons(&wanted).is_ok());
    wanted.settings.addons = vec!["istio".into()];
    insta::assert_snapshot!(
        addons(&wanted).unwrap_err(),
        @"cluster.addons: there is no add-on `istio`; there are platform, dns, ingress, metrics-server, prometheus, external-dns, alloy"
    );
}

#[test]
fn no_key_is_shown_by_debug() {
    let text = format!("{:?}", input());
    assert!(!text.contains("secret") && !text.contains("chain"), "{text}");
}
