//! Objects of Kubernetes.

use super::*;

#[test]
fn a_service_without_networks_is_in_the_default_one_where_another_names_it() {
    let text = |networks: &str| {
        format!(
            "name: l\nservices:\n  web: {{image: w}}\n  api: {{image: a, networks: [{networks}]}}\n  \
             db: {{image: d, networks: [back]}}\nnetworks: {{back: }}\n"
        )
    };
    let joined = |text: &str| -> Vec<String> {
        let networks = |pods: &Value| {
            let labels = pods["spec"]["template"]["metadata"]["labels"].as_object().unwrap().keys();
            labels.filter_map(|key| key.strip_prefix("dev.macula.network/").map(str::to_owned)).collect::<Vec<_>>()
        };
        of_kind(text, "Deployment")
            .iter()
            .map(|pods| format!("{}: {}", pods["metadata"]["name"], networks(pods).join(", ")))
            .collect()
    };
    assert_eq!(joined(&text("default, back")), ["\"api\": back, default", "\"db\": back", "\"web\": default"]);
    assert_eq!(joined(&text("back")), ["\"api\": back", "\"db\": back", "\"web\": "]);
    let policies = of_kind(&text("default, back"), "NetworkPolicy");
    let names: Vec<&str> = policies.iter().filter_map(|policy| policy["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["network-back", "network-default"]);
}

#[test]
fn metrics_are_open_to_the_api_server_which_is_no_pod() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    networks: [back]\n    \
                x-macula: {ingress: {host: a, port: 80}, metrics: {port: 9090}}\nnetworks: {back: }\n";
    let policies = of_kind(text, "NetworkPolicy");
    let reached = policies.iter().find(|policy| policy["metadata"]["name"] == "web-reached").unwrap();
    let rules = serde_json::json!([
        {"from": [{"namespaceSelector": {}}], "ports": [{"port": 80, "protocol": "TCP"}]},
        {"ports": [{"port": 9090, "protocol": "TCP"}]},
    ]);
    assert_eq!(reached["spec"]["ingress"], rules);
}

#[test]
fn one_rule_that_strips_makes_patterns_of_all_paths_of_its_host() {
    let paths = |rules: &str| -> Vec<String> {
        let text =
            format!("name: l\nservices: {{web: {{image: x, expose: [80], x-macula: {{ingress: [{rules}]}}}}}}\n");
        let rule = |ingress: &Value| {
            let path = ingress.pointer("/spec/rules/0/http/paths/0").unwrap();
            let said = |key: &str| {
                ingress["metadata"]["annotations"].get(format!("nginx.ingress.kubernetes.io/{key}")).is_some()
            };
            let (matched, rewritten) = (said("use-regex"), said("rewrite-target"));
            assert_eq!(matched, path["pathType"] == "ImplementationSpecific", "{ingress}");
            format!("{}{}", path["path"].as_str().unwrap(), if rewritten { " rewritten" } else { "" })
        };
        of_kind(&text, "Ingress").iter().map(rule).collect()
    };
    let (app, root) = ("{host: a, path: /app, port: 80}", "{host: a, port: 80}");
    assert_eq!(paths(&format!("{app}, {root}")), ["/app", "/"]);
    assert_eq!(
        paths(&format!(
            "{{host: a, path: /v1.0, port: 80, strip: true}}, {app}, {root}, {{host: b, path: /b, port: 80}}"
        )),
        [r"/v1\.0(/|$)(.*) rewritten", "/app(/|$)(.*)", "/", "/b"]
    );
}

#[test]
fn a_rollout_may_take_longer_than_what_its_pods_have_to_be_ready_for() {
    for (delay, timeout, deadline) in [
        ("30s", "", Value::Null),
        ("30s", "2m", serde_json::json!(120)),
        ("5m", "2m", serde_json::json!(900)),
        ("10m", "", serde_json::json!(1200)),
        ("10m", "20m", serde_json::json!(1200)),
    ] {
        let timeout = if timeout.is_empty() { String::new() } else { format!(", timeout: {timeout}") };
        let text = format!(
            "name: l\nservices: {{web: {{image: x, deploy: {{update_config: {{delay: {delay}}}}}, \
             x-macula: {{probe: {{tcp: {{port: 80}}{timeout}}}}}}}}}\n"
        );
        assert_eq!(of_kind(&text, "Deployment")[0]["spec"]["progressDeadlineSeconds"], deadline, "{text}");
    }
}

#[test]
fn a_job_is_tried_again_where_it_says_so() {
    for (restart, tries) in
        [("", 0), (", restart: \"no\"", 0), (", restart: on-failure", 6), (", restart: on-failure:2", 2)]
    {
        let text = format!("name: l\nservices: {{once: {{image: x, x-macula: {{once: true}}{restart}}}}}\n");
        assert_eq!(of_kind(&text, "Job")[0]["spec"]["backoffLimit"], tries, "{restart}");
    }
}

#[test]
fn what_has_the_node_for_itself_ends_before_its_successor_starts() {
    let host = "ports: [{target: 80, published: \"8080\", mode: host}]";
    let first = "update_config: {parallelism: 2, order: start-first}";
    let text = |keys: &str| format!("name: l\nservices: {{web: {{image: x, {keys}}}}}\n");
    let rolling = |surge: i64, unavailable: i64| {
        serde_json::json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    };
    for (keys, strategy) in [
        ("expose: [80]".to_owned(), Value::Null),
        (host.to_owned(), rolling(0, 1)),
        ("deploy: {placement: {max_replicas_per_node: 1}}".to_owned(), rolling(0, 1)),
        (format!("deploy: {{{first}}}"), rolling(2, 0)),
        (format!("{host}, deploy: {{{first}}}"), rolling(0, 2)),
    ] {
        assert_eq!(of_kind(&text(&keys), "Deployment")[0]["spec"]["strategy"], strategy, "{keys}");
        let order = "stops services.web.deploy.update_config.order".to_owned();
        let told = lost(&of(&text(&keys), Target::Kubernetes)).contains(&order);
        assert_eq!(told, keys.contains(host) && keys.contains(first), "{keys}");
    }
    for (keys, strategy) in [
        ("deploy: {mode: global}".to_owned(), Value::Null),
        ("deploy: {mode: global, update_config: {parallelism: 3}}".to_owned(), rolling(0, 3)),
        (format!("deploy: {{mode: global, {first}}}"), rolling(2, 0)),
    ] {
        assert_eq!(of_kind(&text(&keys), "DaemonSet")[0]["spec"]["updateStrategy"], strategy, "{keys}");
    }
    let data = format!("{}volumes: {{data: }}\n", text(&format!("volumes: [\"data:/d\"], deploy: {{{first}}}")));
    let told = lost(&of(&data, Target::Kubernetes));
    let of_update: Vec<&String> = told.iter().filter(|line| line.contains("update_config")).collect();
    let update = "services.web.deploy.update_config";
    assert_eq!(of_update, [&format!("stops {update}.order"), &format!("note {update}.parallelism")]);
    let each = lost(&of(&text("deploy: {mode: global-job}"), Target::Kubernetes));
    assert_eq!(each, ["stops services.web.deploy.mode"]);
}

#[test]
fn a_port_on_all_addresses_of_both_families_is_one() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    ports:\n      - {target: 80, published: \"80\", host_ip: \"0.0.0.0\"}\n      \
                - {target: 80, published: \"80\", host_ip: \"::\"}\n      - {target: 80, published: \"80\", host_ip: \"::\", protocol: udp}\n";
    let services = of_kind(text, "Service");
    let public = services.iter().find(|service| service["metadata"]["name"] == "web-public").unwrap();
    let names: Vec<&Value> = public["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    assert_eq!(names, ["tcp-80", "udp-80"]);
}

#[test]
fn an_address_with_two_names_is_one_alias() {
    let text =
        "services: {a: {image: \"z:1\", extra_hosts: [\"b.test:10.0.0.1\", \"c.test:10.0.0.2\", \"d.test:10.0.0.1\"]}}";
    let objects = kubernetes_of(of(text, Target::Kubernetes));
    let aliases = objects.iter().find_map(|object| object.pointer("/spec/template/spec/hostAliases")).unwrap();
    let want = serde_json::json!([
        {"ip": "10.0.0.1", "hostnames": ["b.test", "d.test"]}, {"ip": "10.0.0.2", "hostnames": ["c.test"]},
    ]);
    assert_eq!(*aliases, want);
}

#[test]
fn what_an_api_server_would_refuse_is_left_out_or_told() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    hostname: www.shop.test\n    shm_size: 1g\n    tmpfs: [/dev/shm]\n    \
                labels: {\"tls.domains[0].main\": a, \"Shop.Test/team\": b, \"a/b/c\": c}\n    \
                deploy: {placement: {preferences: [{spread: node.labels.zone}, {spread: node.labels.zone}]}}\n";
    let translation = of(text, Target::Kubernetes);
    insta::assert_snapshot!(said_of_losses(&translation).join("\n"), @r#"
    stops compose.yaml:5:15: services.web.hostname: `www.shop.test` cannot be the host name of a pod: write lower-case letters, digits and dashes
    note compose.yaml:8:13: services.web.labels: `a/b/c` cannot be the name of an annotation; it is left out
    note compose.yaml:8:13: services.web.labels: `tls.domains[0].main` cannot be the name of an annotation; it is left out
    "#);
    strict_all(&translation);
    let objects = kubernetes_of(translation);
    let web = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    assert_eq!(web["spec"]["template"]["metadata"]["annotations"], serde_json::json!({"Shop.Test/team": "b"}));
    assert_eq!(web["spec"]["template"]["spec"]["hostname"], Value::Null);
    assert_eq!(web["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap().len(), 1);

    let ports = "services:\n  web:\n    image: x\n    ports:\n      - {target: 80, published: \"8080\", mode: host}\n      \
                 - {target: 80, published: \"8081\", mode: host}\n      - {target: 80, published: \"8081\", mode: host, protocol: udp}\n";
    insta::assert_snapshot!(refused(ports, Target::Kubernetes).join("\n"), @r#"
    compose.yaml:5:18: several ports of the nodes lead to port 80 of web
        publish it under one number
    "#);
}

#[test]
fn a_claim_is_as_large_as_docker_would_make_it() {
    for (said, size) in [
        ("100m", "100Mi"),
        ("2gb", "2Gi"),
        ("2GB", "2Gi"),
        ("1t", "1Ti"),
        ("512b", "512"),
        ("4096", "4096"),
        ("20Gi", "20Gi"),
        ("20G", "20G"),
        ("all", "all"),
    ] {
        let text = format!(
            "services: {{a: {{image: \"z:1\", volumes: [\"data:/v\"]}}}}\nvolumes: {{data: {{driver_opts: {{size: \"{said}\"}}}}}}\n"
        );
        let claim = &of_kind(&text, "PersistentVolumeClaim")[0];
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], size, "{said}");
    }
}
