//! Stacks, printed and rendered.

use super::*;

#[test]
fn a_stack_is_printed_as_compose_prints_it() {
    let home = Home::new();
    home.write(
        "compose.yaml",
        "
name: shop
services:
  web:
    image: shop:${TAG:-1}
    ports: ['8080:80']
    environment: [COLOUR=blue]
    depends_on: [db]
  db: {image: db:1, x-macula: {probe: {tcp: 5432}}}
",
    );
    assert_snapshot!(home.run("stack config shop --stack compose.yaml").all(), @r#"
    name: shop
    services:
      db:
        image: db:1
        networks:
          default: null
        x-macula:
          probe:
            tcp: 5432
      web:
        depends_on:
          db:
            condition: service_started
            required: true
        environment:
          COLOUR: blue
        image: shop:1
        networks:
          default: null
        ports:
          - mode: ingress
            target: 80
            published: "8080"
            protocol: tcp
    networks:
      default:
        name: shop_default
    exit code 0
    "#);
    let list = home.run("stack list -o json --stack compose.yaml").exits(0).json();
    let shop = list.as_array().unwrap().iter().find(|stack| stack["name"] == "shop").unwrap();
    assert_eq!(shop["services"], serde_json::json!(["db", "web"]));
    let unknown = home.run("stack config shpo --stack compose.yaml");
    assert!(unknown.exits(2).err.contains("no stack is called shpo\n  hint: did you mean shop?"), "{}", unknown.err);
    let placed = home.run("stack render shop --target swarm --namespace away --stack compose.yaml");
    assert!(placed.exits(2).err.contains("`--namespace` is for Kubernetes"), "{}", placed.err);
    let unknown = home.run("stack render xyz --target swarm --stack compose.yaml");
    assert!(unknown.exits(2).err.contains("hint: there are shop, "), "{}", unknown.err);
    // a folder that is called like a stack of ours
    std::fs::create_dir(home.project().join("metrics")).unwrap();
    home.write("metrics/compose.yaml", "services: {a: {image: 'a:1'}}\n");
    let own = home.run("stack config metrics-2 -o json --stack metrics").exits(0).json();
    assert_eq!(own["services"]["a"]["image"], "a:1");
    let ours = home.run("stack config metrics --stack metrics");
    assert!(!ours.exits(0).out.contains("image: a:1") && ours.out.contains("prometheus"), "{}", ours.out);
}

/// Whoever applies the folder would apply what an earlier rendering left, too.
#[test]
fn a_folder_of_manifests_has_those_of_the_last_rendering_alone() {
    let home = Home::new();
    let stack = |services: &str| home.write("shop.yaml", &format!("name: shop\nservices: {{{services}}}\n"));
    let render = || home.run("stack render shop --stack shop.yaml --target kubernetes --dir out");
    let names = || {
        let files = std::fs::read_dir(home.project().join("out")).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    stack("a: {image: 'a:1', expose: [80]}, web: {image: 'web:1', expose: [80]}");
    let first = render();
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(names().len(), 5);
    home.write("out/007-deployment-mine.yaml", "kind: Deployment\nmetadata: {name: mine}\n");
    home.write("out/kustomization.yaml", "resources: []\n");
    stack("web: {image: 'web:2', expose: [80]}");
    let second = render();
    assert!(second.err.contains("3 files in out; 4 files of an earlier rendering removed"), "{}", second.err);
    let left = [
        "001-namespace-shop.yaml",
        "002-service-web.yaml",
        "003-deployment-web.yaml",
        "007-deployment-mine.yaml",
        "kustomization.yaml",
    ];
    assert_eq!(names(), left);
}
