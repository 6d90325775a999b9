//! What a target has no word for, with its place.

use super::*;

#[test]
fn what_traefik_does_not_read_from_an_ingress_is_told() {
    let told = |keys: &str| {
        let text = format!(
            "name: l\nservices: {{web: {{image: x, x-macula: {{ingress: [{{host: a, port: 80}}, {{host: b, port: 80{keys}}}]}}}}}}\n"
        );
        let mut loaded = loaded(&text).unwrap();
        loaded.platform.cluster.ingress = "traefik".into();
        let translation = translated(&loaded, Target::Kubernetes, &OPTIONS).unwrap();
        strict_all(&translation);
        let Rendered::Kubernetes(objects) = &translation.rendered else { panic!() };
        assert!(objects.iter().all(|object| object["kind"] != "Secret") && !yaml(objects).contains("nginx"));
        lost(&translation)
    };
    assert_eq!(told(""), [""; 0]);
    let rule = "services.web.x-macula.ingress[1]";
    assert_eq!(
        told(", path: /api, strip: true, auth: 'me:$$2y$$05$$abc'"),
        [format!("stops {rule}.auth"), format!("stops {rule}.strip")]
    );
    assert_eq!(told(", strip: true"), [""; 0], "there is nothing to strip");
    assert_eq!(told(", grpc: true"), [format!("stops {rule}.grpc")]);
    assert_eq!(told(", tls: true, body_size: 1m"), [format!("stops {rule}.tls"), format!("note {rule}.body_size")]);
    assert_eq!(told(", sticky: true"), [format!("stops {rule}.sticky")]);
}

#[test]
fn losses_have_their_places() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    privileged: true\n    network_mode: host\n    restart: \"no\"\n    \
                volumes: [\"./src:/app\", \"/etc/hosts:/h:ro\"]\n    ports: [\"127.0.0.1:80:80\"]\n    user: www\n";
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Kubernetes)).join("\n"), @r#"
    stops compose.yaml:5:17: services.web.privileged: pods would own the node; add capabilities
    stops compose.yaml:6:19: services.web.network_mode: pods would have the node's own network, with every port of it
    note compose.yaml:7:14: services.web.restart: pods of services always start again; a job is tried again where it says `on-failure`
    stops compose.yaml:8:15: services.web.volumes[0].type: the path would be one of each node; make the file a config, or the folder a volume
    stops compose.yaml:8:29: services.web.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:9:13: services.web.ports[0].host_ip: the port is open inside the cluster only; `kubectl port-forward` leads to it
    note compose.yaml:9:13: services.web.ports[0].published: the port is open inside the cluster only, under its number in the container; an ingress rule or `kubectl port-forward` leads to it
    stops compose.yaml:10:11: services.web.user: pods take a number: write `user: "1000:1000"`
    "#);
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Swarm)).join("\n"), @r#"
    stops compose.yaml:5:17: services.web.privileged: Swarm has no privileged containers; add capabilities
    stops compose.yaml:6:19: services.web.network_mode: Swarm has networks only; list them under `networks`
    stops compose.yaml:8:15: services.web.volumes[0].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:8:15: services.web.volumes[0].bind.create_host_path: the path must be there
    stops compose.yaml:8:29: services.web.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:8:29: services.web.volumes[1].bind.create_host_path: the path must be there
    stops compose.yaml:9:13: services.web.ports[0].host_ip: Swarm publishes on every address of the nodes; leave the port out, or put an edge proxy in front
    "#);
}

#[test]
fn a_deployment_that_waits_loses_no_order() {
    let text = "services: {a: {image: \"z:1\", depends_on: [b]}, b: {image: \"z:1\"}}";
    let waits = |options: &Options<'_>| translated(&loaded(text).unwrap(), Target::Swarm, options).unwrap();
    let files = waits(&OPTIONS);
    assert_eq!(files.losses.iter().filter(|loss| loss.behavior).count(), 1);
    let deployed = waits(&Options { waiting: None, ..OPTIONS });
    insta::assert_snapshot!(said_of_losses(&deployed).join("\n"), @"note compose.yaml:1:43: services.a.depends_on: it counts while the stack is deployed; a task that is started again later waits for nobody");
    assert_eq!(deployed.waits["a"], ["b"]);
    // what else it cannot do still counts
    let pinned = loaded("services: {a: {image: \"z:1\", cpuset: \"0\"}}").unwrap();
    let deployed = translated(&pinned, Target::Swarm, &Options { waiting: None, ..OPTIONS }).unwrap();
    assert!(deployed.losses.iter().any(|loss| loss.behavior), "{:?}", deployed.losses);
}

#[test]
fn nobody_waits_until_a_job_takes_connections() {
    let text = "name: l\nservices:\n  migrate: {image: x, x-macula: {once: true}}\n  \
                api: {image: x, depends_on: {migrate: {condition: service_healthy}}}\n  \
                web: {image: x, depends_on: [migrate]}\n";
    let pods = of_kind(text, "Deployment");
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod.pointer("/spec/template/spec/initContainers").is_none()), "{pods:?}");
    let told = lost(&of(text, Target::Kubernetes)).into_iter().filter(|line| line.contains("depends_on"));
    assert_eq!(told.collect::<Vec<_>>(), ["stops services.api.depends_on.migrate"]);
}

#[test]
fn data_in_a_volume_without_a_name_is_told() {
    let text = "services: {db: {image: \"z:1\", volumes: [\"/var/lib/mysql\"]}}";
    let told = RULED.map(|target| said_of_losses(&of(text, target)).join("\n"));
    insta::assert_snapshot!(told.join("\n"), @"
    note compose.yaml:1:41: services.db.volumes: what is written to /var/lib/mysql goes with its task; give the volume a name
    note compose.yaml:1:41: services.db.volumes: what is written to /var/lib/mysql goes with its pod; give the volume a name
    ");
}

#[test]
fn what_a_target_does_as_said_is_no_loss() {
    let text = |said: &str| {
        format!("name: l\nservices: {{web: {{image: x, {said}}}}}\nvolumes: {{there: {{external: true}}}}\n")
    };
    let stops = "stops services.web.entrypoint";
    for (said, swarm, kubernetes) in [
        ("restart: 'no', x-macula: {once: true}", "", ""),
        ("restart: 'on-failure:3', x-macula: {once: true}", "", ""),
        ("ports: [{target: 9100, published: '9101', mode: host}]", "", ""),
        ("ports: ['0.0.0.0:7777:7777']", "", ""),
        ("volumes: ['there:/d']", "note services.web.volumes", ""),
        ("sysctls: {net.ipv4.tcp_syncookies: 1}", "", ""),
        ("sysctls: {net.core.somaxconn: 1024}", "", "note services.web.sysctls"),
        ("entrypoint: [], command: [sleep, '9']", "", ""),
        ("entrypoint: []", stops, stops),
    ] {
        let told = RULED.map(|target| lost(&of(&text(said), target)).join(", "));
        assert_eq!(told, [swarm, kubernetes], "{said}");
    }
}
