//! Where images come from, and what that means for data that is there.

use super::*;

#[test]
fn without_a_registry_what_has_a_build_is_built_and_the_rest_is_a_problem() {
    let mut world = Observed::default();
    world.registries.insert("docker.io".into(), false);
    assert_snapshot!(plan_of(&platform(), &world), @"
    service migrate: migrate:1 is not in the engine, its registry (docker.io) cannot be reached, and it has no build
    service web: web:1 is not in the engine, its registry (docker.io) cannot be reached, and it has no build
    ");
}

#[test]
fn an_optional_service_without_an_image_is_left_out_with_what_needs_it() {
    let mut platform = platform();
    change(&mut platform, "migrate", |service| service.extension.optional = true);
    change(&mut platform, "web", |service| service.extension.optional = true);
    let mut world = Observed::default();
    world.registries.insert("docker.io".into(), false);
    assert_snapshot!(plan_of(&platform, &world), @"
    + create network macula (missing)
    + make image localhost/macula/base:trixie (missing)
    + build image db (missing) after make image localhost/macula/base:trixie
    + create volume macula-db-data (missing) after build image db
    + create container macula-db-1 (missing) after build image db, create network macula, create volume macula-db-data
    + start container macula-db-1 (missing) after create container macula-db-1
      await container macula-db-1 (missing) after start container macula-db-1
      leave out migrate (migrate:1 is not in the engine, its registry (docker.io) cannot be reached, and it has no build)
      leave out web (web:1 is not in the engine, its registry (docker.io) cannot be reached, and it has no build)
    ");
}

#[test]
fn an_image_that_moved_recreates_its_containers() {
    let mut world = right_world(&platform());
    world.images.get_mut("web:1").unwrap().id = "sha256:new".into();
    assert_snapshot!(plan_of(&platform(), &world), @"
    - stop container macula-web-1 (changed: image)
    - remove container macula-web-1 (changed: image) after stop container macula-web-1
    + create container macula-web-1 (changed: image) after remove container macula-web-1
    + start container macula-web-1 (changed: image) after create container macula-web-1
      await container macula-web-1 (changed: image) after start container macula-web-1
    ");
}

#[test]
fn data_of_another_provider_is_left_alone() {
    let mut world = right_world(&platform());
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-0".into());
    assert_snapshot!(plan_of(&platform(), &world), @"service db: the volume macula-db-data was written by db-0, which neither the image (db-2) nor the build (db-1) opens");
}

#[test]
fn a_build_takes_over_the_data_that_it_says() {
    let mut platform = platform();
    change(&mut platform, "db", |service| {
        service.extension.provider.as_mut().unwrap().takes_over = vec!["db-0".into()];
    });
    let mut world = right_world(&platform);
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-0".into());
    world.containers.retain(|found| found.name != "macula-db-1");
    assert!(plan_of(&platform, &world).contains("build image db"), "{}", plan_of(&platform, &world));
}

#[test]
fn an_image_in_the_platforms_own_registry_waits_for_it() {
    let mut platform = platform();
    change(&mut platform, "db", |service| {
        service.ports = vec![testing::published(5001, 5000)];
    });
    change(&mut platform, "web", |service| service.image = Some("127.0.0.1:5001/web:1".into()));
    let plan = try_plan(&platform, &Observed::default(), None).unwrap();
    let get = plan.index()["get image 127.0.0.1:5001/web:1"].after.clone();
    assert_eq!(get, ["await container macula-db-1"]);
    // the ingress may hold its port
    change(&mut platform, "db", |service| {
        let rule =
            IngressRule { host: "db".into(), port: 5000, path: "/".into(), same_origin: true, ..Default::default() };
        service.extension.ingress = vec![rule];
    });
    change(&mut platform, "migrate", |service| service.extension.role = Some(Role::Ingress));
    let plan = try_plan(&platform, &Observed::default(), None).unwrap();
    let get = plan.index()["get image 127.0.0.1:5001/web:1"].after.clone();
    assert_eq!(get, ["await container macula-db-1", "await container macula-migrate-1"]);
}

#[test]
fn auto_stays_with_the_provider_that_wrote_the_data() {
    let mut world = right_world(&platform());
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-1".into());
    world.containers.retain(|found| found.name != "macula-db-1");
    // the image is here, and yet the build is made: the data is its own
    assert_snapshot!(plan_of(&platform(), &world), @"
    + make image localhost/macula/base:trixie (missing)
    + build image db (changed: image) after make image localhost/macula/base:trixie
    + create container macula-db-1 (missing) after build image db
    + start container macula-db-1 (missing) after create container macula-db-1
      await container macula-db-1 (missing) after start container macula-db-1
    ");
}

#[test]
fn an_image_that_macula_yaml_names_is_not_passed_over_in_silence() {
    let mut platform = platform();
    let mut world = right_world(&platform);
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-1".into());
    let told = |platform: &Platform, world: &Observed| {
        let volumes_of = |service: &Service| service_volumes(platform, service);
        let supply = supply(platform, &image_specs(platform), world, false, &volumes_of).0;
        unheeded(platform, &resources(platform), &supply, world, &volumes_of).join("\n")
    };
    assert_eq!(told(&platform, &world), "", "where only the stack names it, its build is as good");
    platform.images.named = ["db".to_owned()].into();
    assert_snapshot!(plan_of(&platform, &world), @"service db: the volume macula-db-data was written by db-1, which only the build opens (db-1), and services.db.image in macula.yaml names another one");
    world.images.remove("db:1");
    assert!(plan_of(&platform, &world).contains("build image db"), "{}", plan_of(&platform, &world));
    assert_snapshot!(told(&platform, &world), @"service db: services.db.image has no effect: the volume macula-db-data was written by the build (db-1), and no other server opens it");
}

#[test]
fn a_volume_keeps_what_it_was_made_with() {
    for (driver, options, wanted, differ) in [
        (None, "", "o", ""),
        (Some("local"), "", "", ""),
        (Some("local"), "o", "o", ""),
        (Some("local"), "", "o", "driver_opts.o"),
        (Some("local"), "o type", "o device", "driver_opts.device and driver_opts.type"),
        (Some("rclone:latest"), "o", "", "driver and driver_opts.o"),
    ] {
        let of = |names: &str| -> BTreeMap<String, String> {
            names.split_whitespace().map(|name| (name.to_owned(), "secret".to_owned())).collect()
        };
        let mut platform = platform();
        let mut world = right_world(&platform);
        (world.volumes[0].driver, world.volumes[0].driver_opts) = (driver.map(str::to_owned), of(options));
        platform.stacks[0].volumes.get_mut("db-data").unwrap().driver_opts = of(wanted);
        let volumes_of = |service: &Service| service_volumes(&platform, service);
        let supply = supply(&platform, &image_specs(&platform), &world, false, &volumes_of).0;
        let told = unheeded(&platform, &resources(&platform), &supply, &world, &volumes_of).join("\n");
        let expected = match differ {
            "" => String::new(),
            differ => format!(
                "volume macula-db-data was made with other settings ({differ}) and keeps them, since its data would be \
                 lost: one with another `name` has those of the file, and begins empty"
            ),
        };
        assert_eq!(told, expected, "{driver:?} {options} {wanted}");
        assert_eq!(plan_of(&platform, &world), "nothing to do\n");
    }
}

#[test]
fn a_build_that_is_only_missing_is_no_data_of_another_version() {
    let mut platform = platform();
    platform.images.policy = ImagePolicy::Local;
    let mut world = right_world(&platform);
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-1".into());
    world.containers.retain(|found| found.name != "macula-db-1");
    let tag = resources(&platform).images.into_iter().find_map(|spec| Some(spec.build?.tag)).unwrap();
    let told = format!(
        "service db: its image of this version of macula, {tag}, is not in the engine, and --images local builds nothing\n"
    );
    assert_eq!(plan_of(&platform, &world), told);
    // the image opens other data, and neither way is there
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-0".into());
    assert!(plan_of(&platform, &world).contains("was written by db-0"), "{}", plan_of(&platform, &world));
    // an own build has no other way
    let world = right_world(&platform);
    change(&mut platform, "web", |web| {
        web.image = None;
        web.build = Some(Build { context: Some("/web".into()), ..Build::default() });
    });
    let told = plan_of(&platform, &world);
    assert!(told.starts_with("service web: its image of its present files, macula/web:"), "{told}");
    // whoever asks for one that is left out is told so, too
    change(&mut platform, "web", |web| web.extension.optional = true);
    let specs = image_specs(&platform);
    let (chosen, problems) = supply(&platform, &specs, &world, false, &|service| service_volumes(&platform, service));
    assert_eq!((problems, chosen.left_out.len()), (Vec::new(), 1));
    let missed = chosen.missed("web", "why".into());
    assert_eq!(missed, SupplyProblem::NotBuilt { service: "web".into(), reason: "why".into() });
    assert!(matches!(chosen.missed("db", "why".into()), SupplyProblem::NoImage { .. }));
}

#[test]
fn an_image_of_changed_files_is_built_anew() {
    let mut platform = platform();
    let build = |content: &str| {
        let content = Some(content.to_owned());
        Some(Build { context: Some("/shop".into()), content, ..Build::default() })
    };
    change(&mut platform, "web", |service| service.build = build("1"));
    let specs = image_specs(&platform);
    let spec = specs.iter().find(|spec| spec.reference == "web:1").unwrap();
    let mut world = right_world(&platform);
    let labels = spec.build.as_ref().unwrap().labels.clone();
    world.images.insert("web:1".into(), ObservedImage { labels, ..world.images["web:1"].clone() });
    let choose = |platform: &Platform, world: &Observed| {
        supply(platform, &image_specs(platform), world, false, &|service| service_volumes(platform, service)).0.choices
            ["web"]
            .clone()
    };
    assert!(matches!(choose(&platform, &world), Choice::Present { .. }));
    change(&mut platform, "web", |service| service.build = build("2"));
    // whatever a registry has under that name
    assert!(matches!(choose(&platform, &world), Choice::Obtain { build: true, pull: false, .. }));
    // it is there already, only not under the service's own name
    let specs = image_specs(&platform);
    let spec = specs.iter().find(|spec| spec.reference == "web:1").unwrap();
    let tag = spec.build.as_ref().unwrap().tag.clone();
    world.images.insert(tag.clone(), world.images["web:1"].clone());
    assert!(matches!(choose(&platform, &world), Choice::Present { reference, .. } if reference == tag));
    // not once more, whoever prefers builds; what asks for a build each time gets it
    platform.images.policy = ImagePolicy::Build;
    assert!(matches!(choose(&platform, &world), Choice::Present { reference, .. } if reference == tag));
    let rebuilt = |world: &Observed| {
        let specs = image_specs(&platform);
        let mut chosen = supply(&platform, &specs, world, false, &|service| service_volumes(&platform, service)).0;
        chosen.rebuild(&platform, &specs, &world.fresh);
        chosen.choices["web"].clone()
    };
    assert!(matches!(rebuilt(&world), Choice::Obtain { build: true, pull: false, .. }));
    let just_built = Observed { fresh: [tag.clone()].into(), ..world.clone() };
    assert!(matches!(rebuilt(&just_built), Choice::Present { .. }));
    change(&mut platform, "web", |service| service.pull_policy = PullPolicy::Build);
    assert!(matches!(choose(&platform, &world), Choice::Obtain { build: true, pull: false, .. }));
    world.fresh.insert(tag.clone());
    assert!(matches!(choose(&platform, &world), Choice::Present { reference, .. } if reference == tag));
}

#[test]
fn what_this_run_has_pulled_is_not_pulled_once_more() {
    let mut world = right_world(&platform());
    let (mut always, mut pulling) = (platform(), platform());
    change(&mut always, "web", |web| web.pull_policy = PullPolicy::Always);
    pulling.images.policy = ImagePolicy::Pull;
    let choose = |platform: &Platform, world: &Observed| {
        let chosen =
            supply(platform, &image_specs(platform), world, false, &|service| service_volumes(platform, service)).0;
        chosen.choices["web"].clone()
    };
    for platform in [&always, &pulling] {
        assert!(matches!(choose(platform, &world), Choice::Obtain { pull: true, .. }));
    }
    world.fresh.insert("web:1".to_owned());
    for platform in [&always, &pulling] {
        assert!(matches!(choose(platform, &world), Choice::Present { .. }));
    }
}

#[test]
fn services_with_one_image_and_one_build_are_built_once() {
    let mut platform = platform();
    let cell = |context: &str| Some(Build { context: Some(context.into()), ..Build::default() });
    let share = |service: &mut Service| {
        service.image = Some("cell:1".into());
        service.build = cell("/cell");
        service.extension.prepare.clear();
    };
    for name in ["web", "db"] {
        change(&mut platform, name, share);
    }
    let builds = |platform: &Platform| {
        let specs = image_specs(platform).into_iter().filter(|spec| spec.reference == "cell:1");
        specs.map(|spec| spec.services).collect::<Vec<_>>()
    };
    assert_eq!(builds(&platform), [["db", "web"]]);
    let plan = plan_of(&platform, &Observed::default());
    assert_eq!(plan.matches("get image cell:1 ").count(), 1, "{plan}");
    // two builds under one name are two steps
    change(&mut platform, "web", |service| service.build = cell("/other"));
    assert_eq!(builds(&platform).len(), 2);
    let plan = plan_of(&platform, &Observed::default());
    assert!(plan.contains("get image cell:1 of "), "{plan}");
}
