//! What cannot be there at all, with its place.

use super::*;

#[test]
fn objects_of_one_name_are_refused_and_names_in_common_lead_to_all() {
    let rules = "name: l\nservices:\n  web: {image: x, x-macula: {ingress: [{host: a, port: 80}, {host: b, port: 80}]}}\n  \
                 web-2: {image: x, x-macula: {ingress: {host: c, port: 80}}}\n";
    let told = refused(rules, Target::Kubernetes);
    assert!(told.len() == 1 && told[0].starts_with("compose.yaml:4:"), "{told:?}");
    let said = "`web-2` would be the name of 2 objects of kind Ingress, of web and web-2";
    assert!(told[0].contains(said), "{told:?}");
    let volumes = |declared: &str| {
        format!(
            "name: l\nservices: {{web: {{image: x, volumes: [\"a_b:/a\", \"a-b:/b\"]}}}}\nvolumes: {{{declared}}}\n"
        )
    };
    let told = refused(&volumes("a_b: , a-b: "), Target::Kubernetes);
    let said = "`a-b` would be the name of 2 objects of kind PersistentVolumeClaim, of a-b and a_b";
    assert!(told.len() == 1 && told[0].contains(said), "{told:?}");
    // two keys of one volume
    let one = volumes("a_b: {name: d}, a-b: {name: d}");
    assert_eq!(of_kind(&one, "PersistentVolumeClaim").len(), 1);

    let aliases = "name: l\nservices:\n  a: {image: x, expose: [80], networks: {back: {aliases: [api, b, only]}}}\n  \
                   b: {image: x, expose: [81], networks: {back: {aliases: [api]}}}\nnetworks: {back: }\n";
    let services = of_kind(aliases, "Service");
    let names: Vec<&str> = services.iter().filter_map(|service| service["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["a", "only", "b", "api"]);
    let ports: Vec<&Value> =
        services[3]["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["port"]).collect();
    assert_eq!(ports, [80, 81]);
    let selector = services[3]["spec"]["selector"].as_object().unwrap();
    for pods in of_kind(aliases, "Deployment") {
        let labels = &pods["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{labels}");
    }
    assert_eq!(lost(&of(aliases, Target::Kubernetes)), ["stops services.a.networks.back.aliases"]);
}

#[test]
fn what_cannot_run_there_is_refused_with_its_place() {
    let long = "a".repeat(62);
    let text = format!(
        "services:\n  Web_1: {{image: x}}\n  {long}: {{image: x}}\n  db:\n    image: x\n    deploy: {{replicas: 2}}\n    volumes: [\"data:/d\"]\n  api: {{image: x, x-macula: {{scale: {{max: 3}}}}}}\nvolumes: {{data: }}\n"
    );
    insta::assert_snapshot!(refused(&text, Target::Kubernetes).join("\n"), @r#"
    compose.yaml:2:18: `Web_1` cannot be the name of a Service of Kubernetes
        use at most 63 lower-case letters, digits and inner dashes, with a letter first
    compose.yaml:8:43: api is to be scaled by its CPU, of which it reserves none
        set `deploy.resources.reservations.cpus`, such as "0.1"
    compose.yaml:7:15: several replicas of db write the volume data
        run one replica, make the volume read_only, or keep the data in a service of its own
    "#);
    insta::assert_snapshot!(refused(&text, Target::Swarm).join("\n"), @r#"
    compose.yaml:3:75: `w_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is too long for the name of a service of Swarm
        use at most 63 characters, the stack's name included
    "#);
}

#[test]
fn a_name_with_dots_is_refused_at_its_place() {
    let text = "name: l\nservices:\n  web: {image: x}\n  a.b: {image: x, cpuset: \"0\", volumes: [\"./x:/x\"]}\n";
    let of = |one: &Said| one.key == "services.*.cpuset" && one.service.as_deref() == Some("a.b");
    assert!(loaded(text).unwrap().said("l").iter().any(of));
    let refused: Vec<String> = RULED.into_iter().flat_map(|target| refused(text, target)).collect();
    insta::assert_snapshot!(refused.join("\n"), @"
    compose.yaml:4:16: `l_a.b` cannot be the name of a service of Swarm
        use letters, digits, dashes and underscores, with a letter or a digit at the end
    compose.yaml:4:16: `a.b` cannot be the name of a Service of Kubernetes
        use at most 63 lower-case letters, digits and inner dashes, with a letter first
    ");
}

#[test]
fn a_name_leaves_room_for_what_the_cluster_makes_of_it() {
    let needed = "n".repeat(63);
    let text = |data: &str, public: &str| {
        format!(
            "services:\n  {data}: {{image: x, volumes: [\"data:/d\"]}}\n  {public}: {{image: x, ports: [\"0.0.0.0:80:80\"]}}\n  \
             {needed}: {{image: x}}\n  web: {{image: x, depends_on: [{needed}, {data}]}}\nvolumes: {{data: }}\n"
        )
    };
    let (data, public) = ("d".repeat(52), "p".repeat(56));
    let web = of_kind(&text(&data, &public), "Deployment").pop().unwrap();
    let waits = web.pointer("/spec/template/spec/initContainers").unwrap().as_array().unwrap();
    let waits: Vec<&str> = waits.iter().filter_map(|container| container["name"].as_str()).collect();
    assert_eq!(waits, [format!("wait-for-{data}").as_str(), "wait-for-1"]);
    let (data, public) = (format!("{data}d"), format!("{public}p"));
    let told = [
        format!(
            "compose.yaml:3:70: `{public}` is too long for a service with a port on all addresses on Kubernetes\n    \
             use at most 56 characters"
        ),
        format!(
            "compose.yaml:2:66: `{data}` is too long for a service with a volume on Kubernetes\n    \
             use at most 52 characters"
        ),
    ];
    assert_eq!(refused(&text(&data, &public), Target::Kubernetes), told);
}

#[test]
fn an_alias_that_no_service_may_have_is_lost_and_a_namespace_may_be_another() {
    let text = "name: my_shop\nservices:\n  a: {image: x, networks: {default: {aliases: [a.example, other]}}}\n";
    let told = |namespace: Option<&'static str>| -> Vec<String> {
        let options = Options { namespace, ..OPTIONS };
        let translation = match translated(&loaded(text).unwrap(), Target::Kubernetes, &options) {
            Ok(translation) => translation,
            Err(TargetError::Refused { refusals, .. }) => return refusals.iter().map(ToString::to_string).collect(),
            Err(error) => panic!("{error}"),
        };
        let Rendered::Kubernetes(objects) = &translation.rendered else { panic!("not of Kubernetes") };
        let services = objects.iter().filter(|object| object["kind"] == "Service");
        let names = services.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned());
        said_of_losses(&translation).into_iter().chain(names).collect()
    };
    insta::assert_snapshot!([None, Some("a_b"), Some("my-shop")].map(told).concat().join("\n"), @"
    compose.yaml:1:7: `my_shop` cannot be the name of a namespace
        choose another one with `--namespace my-shop`
    `a_b` cannot be the name of a namespace
        choose another one with `--namespace a-b`
    stops compose.yaml:3:47: services.a.networks.default.aliases: `a.example` cannot be the name of a Service, and leads nowhere there: write lower-case letters, digits and dashes
    a
    other
    ");
}
