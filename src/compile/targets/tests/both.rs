//! What is the same for both targets.

use super::*;

#[test]
fn images_of_builds_are_in_a_registry_that_nodes_reach() {
    for (image, want) in [
        ("shop:1", "r.test/shop:1"),
        ("shop/web:1", "r.test/shop/web:1"),
        ("127.0.0.1:5001/web:1", "r.test/web:1"),
        ("localhost/web:1", "r.test/web:1"),
        ("ghcr.io/me/web:1", "ghcr.io/me/web:1"),
        ("registry.macula.local/web:1", "registry.macula.local/web:1"),
        ("docker.io/library/web:1", "docker.io/library/web:1"),
    ] {
        assert_eq!(in_registry(image, "r.test"), want, "{image}");
    }
}

#[test]
fn secrets_are_shown_only_where_they_are_asked_for() {
    let loaded = loaded(SHOP).unwrap();
    let stack = loaded.platform.stacks.last().unwrap();
    let secrets = placeholders(&loaded.platform);
    let text = |options: &Options<'_>| {
        let translation =
            translate(Target::Kubernetes, &loaded.platform, stack, &loaded.said(&stack.name), &secrets, options);
        yaml(&kubernetes_of(translation.unwrap()))
    };
    use base64::Engine as _;
    let key = base64::engine::general_purpose::STANDARD.encode("key");
    assert!(!text(&OPTIONS).contains(&key) && text(&OPTIONS).contains(HIDDEN));
    assert!(text(&OPEN).contains(&key));
}

/// Its ports, volumes and names are not those of where a stack runs, whatever the platform here is called.
#[test]
fn what_this_machine_has_changes_nothing_of_a_stack() {
    let text = "name: edge\nservices:\n  edge:\n    image: x\n    \
                ports: [\"80:80\", \"0.0.0.0:443:8443\", \"0.0.0.0:5432:5432\", \"127.0.0.1:9000:9000\"]\n    \
                volumes: [\"postgres:/p\", \"grafana:/g\"]\n    x-macula: {ingress: {host: edge, port: 80}}\n  \
                api: {image: x, expose: [\"9001\"]}\nvolumes: {postgres: , grafana: }\n";
    for name in ["macula", "w2"] {
        let name = crate::model::PlatformName::near(name);
        let request = Request { name, stacks: Vec::new(), only_own: false, discover: true, ..request("") };
        let loaded = load(&request, &sample_files(text)).unwrap_or_else(|errors| panic!("{errors}"));
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(!told.iter().any(|line| line.contains("compose.yaml")), "{told:?}");
        let stack = swarm_of(translated(&loaded, Target::Swarm, &OPTIONS).unwrap());
        let edge = stack.services.iter().find(|service| service["Name"] == "edge_edge").unwrap();
        let all = |at: &str, key: &str| -> Vec<Value> {
            edge.pointer(at).unwrap().as_array().unwrap().iter().map(|one| one[key].clone()).collect()
        };
        assert_eq!(all("/EndpointSpec/Ports", "PublishedPort"), [80, 443, 5432, 9000]);
        assert_eq!(all("/TaskTemplate/ContainerSpec/Mounts", "Source"), ["edge_postgres", "edge_grafana"]);
        let objects = kubernetes_of(translated(&loaded, Target::Kubernetes, &OPTIONS).unwrap());
        let names = |kind: &str| -> Vec<&str> {
            let objects = objects.iter().filter(|object| object["kind"] == kind);
            objects.filter_map(|object| object["metadata"]["name"].as_str()).collect()
        };
        assert_eq!(names("PersistentVolumeClaim"), ["grafana", "postgres"]);
        // nobody asked for one for the port that is only exposed
        assert_eq!(names("Ingress"), ["edge"]);
        let public = objects.iter().find(|object| object["metadata"]["name"] == "edge-public").unwrap();
        let ports = public["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].clone());
        assert_eq!(ports.collect::<Vec<_>>(), [443, 5432]);
    }
}

/// To Docker and Kubernetes an empty list is the image's own.
#[test]
fn an_empty_entrypoint_leaves_the_command_alone() {
    let text = "name: l\nservices: {web: {image: x, entrypoint: [], command: [sleep, '9']}}\n";
    let stack = swarm_of(of(text, Target::Swarm));
    let container = &stack.services[0]["TaskTemplate"]["ContainerSpec"];
    let words = serde_json::json!(["sleep", "9"]);
    assert_eq!((&container["Command"], &container["Args"]), (&words, &Value::Null));
    let container = &of_kind(text, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["command"], &container["args"]), (&words, &Value::Null));
}
