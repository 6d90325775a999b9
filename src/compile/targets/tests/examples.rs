//! Whole stacks, among them the examples of this repository.

use std::path::Path;

use super::*;
use crate::config::{DiskFiles, Files};

#[test]
fn a_shop_on_kubernetes() {
    let translation = of(SHOP, Target::Kubernetes);
    strict_all(&translation);
    let Rendered::Kubernetes(objects) = &translation.rendered else { panic!() };
    let list: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
        .collect();
    insta::assert_snapshot!(
        "shop-kubernetes",
        format!("{}\n\n{}\n\n{}", list.join("\n"), said_of_losses(&translation).join("\n"), yaml(objects))
    );
    assert_eq!(translation.order, ["db", "migrate", "web"]);
    assert_eq!(translation.pushed["shop/web:1"], "registry.macula.local/shop/web:1");
    assert_eq!(of(SHOP, Target::Kubernetes), translation);
}

#[test]
fn a_shop_on_swarm() {
    let translation = of(SHOP, Target::Swarm);
    strict_all(&translation);
    let Rendered::Swarm(stack) = &translation.rendered else { panic!() };
    let text = serde_yaml::to_string(stack).unwrap();
    insta::assert_snapshot!("shop-swarm", format!("{}\n\n{text}", said_of_losses(&translation).join("\n")));
}

/// The stack of an example folder, among the built-in ones.
fn example(name: &str) -> Loaded {
    example_with(name, &[])
}

/// With these in the environment.
fn example_with(name: &str, variables: &[(&str, &str)]) -> Loaded {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root.join("examples").join(name).join("compose.yaml");
    assert!(DiskFiles.exists(&file), "{}", file.display());
    let request = Request {
        // variables of Compose's own count in the project's folder alone
        cwd: if variables.is_empty() { root } else { file.parent().unwrap() }.to_owned(),
        file: Some(file.with_file_name("macula.yaml")),
        // a worktree of this repository has a name of its own
        name: Some(crate::model::PlatformName::default()),
        stacks: Vec::new(),
        only_own: false,
        ..request("")
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = Request { env: request.env.clone().into_iter().chain(variables).collect(), ..request };
    load(&request, &DiskFiles).unwrap()
}

#[test]
fn the_examples_on_both_targets() {
    for name in ["tech-garden", "togglemaster", "gardenos"] {
        let loaded = example(name);
        for target in RULED {
            let translation = translated(&loaded, target, &OPTIONS).unwrap();
            strict_all(&translation);
            let text = match &translation.rendered {
                Rendered::Kubernetes(objects) => yaml(objects),
                Rendered::Swarm(stack) => serde_yaml::to_string(stack).unwrap(),
            };
            let target = if target == Target::Swarm { "swarm" } else { "kubernetes" };
            let losses = said_of_losses(&translation).join("\n");
            insta::assert_snapshot!(format!("{name}-{target}"), format!("{losses}\n\n{text}"));
        }
    }
}

/// Nothing of it stops a deployment but `depends_on`, whose order `stack deploy` keeps itself.
#[test]
fn the_shop_of_the_examples_runs_on_a_swarm_as_it_stands() {
    let webhook = [("COMPOSE_PROFILES", "webhook"), ("DEPLOY_SECRET", "x")];
    for (used, services) in [(0, 4), (2, 5)] {
        let translation = translated(&example_with("swarm", &webhook[..used]), Target::Swarm, &OPTIONS).unwrap();
        let lost = translation.losses.iter().filter(|loss| loss.behavior && !loss.path.contains(".depends_on"));
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<&Loss>::new());
        let stack = swarm_of(translation);
        assert_eq!((stack.services.len(), stack.secrets.len()), (services, services - 3));
    }
}
