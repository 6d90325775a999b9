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

fn said(unheeded: &[Unheeded]) -> String {
    unheeded.iter().map(|one| one.said.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_image_that_macula_yaml_names_is_not_passed_over_in_silence() {
    let mut platform = platform();
    let mut world = right_world(&platform);
    world.volumes[0].labels.insert(label::PROVIDER.into(), "db-1".into());
    let told = |platform: &Platform, world: &Observed| {
        let volumes_of = |service: &Service| service_volumes(platform, service);
        let supply = supply(platform, &image_specs(platform), world, false, &volumes_of).0;
        said(&unheeded(platform, &resources(platform), &supply, world, &volumes_of))
    };
    assert_eq!(told(&platform, &world), "", "where only the stack names it, its build is as good");
    platform.images.named = ["db".to_owned()].into();
    assert_snapshot!(plan_of(&platform, &world), @"service db: the volume macula-db-data was written by db-1, which only the build opens (db-1), and services.db.image in macula.yaml names another one");
    world.images.remove("db:1");
    assert!(plan_of(&platform, &world).contains("build image db"), "{}", plan_of(&platform, &world));
    assert_snapshot!(told(&platform, &world), @"service db: services.db.image has no effect: the volume macula-db-data was written by the build (db-1), and no other server opens it");
    // `images.overrides` names it just as well
    platform.images.named.clear();
    platform.images.overrides = [("other:1".to_owned(), "db:1".to_owned())].into();
    assert_snapshot!(told(&platform, &world), @"service db: images.overrides has no effect: the volume macula-db-data was written by the build (db-1), and no other server opens it");
    world.images.insert("db:1".into(), ObservedImage { id: "sha256:db".into(), ..ObservedImage::default() });
    assert_snapshot!(plan_of(&platform, &world), @"service db: the volume macula-db-data was written by db-1, which only the build opens (db-1), and images.overrides in macula.yaml names another one");
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
        let told = unheeded(&platform, &resources(&platform), &supply, &world, &volumes_of);
        assert!(told.iter().all(|one| one.services == ["db".to_owned()].into()), "{told:?}");
        let told = said(&told);
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

/// Small letters: what the engine has, the image or its build; capitals: the bundle of this run has it.
#[test]
fn each_policy_has_an_order_of_its_own() {
    use ImagePolicy as Run;
    use PullPolicy as File;
    let build = image_specs(&platform()).into_iter().find_map(|spec| spec.build).unwrap();
    let chosen = |policy: Run, pull_policy: File, here: &str, answers: bool, wrote: &str| {
        let mut platform = platform();
        platform.images.policy = policy;
        change(&mut platform, "db", |db| db.pull_policy = pull_policy);
        let mut world = Observed::default();
        world.registries.insert("docker.io".into(), answers);
        for (sign, name) in [('i', "db:1"), ('b', build.tag.as_str())] {
            if here.to_ascii_lowercase().contains(sign) {
                world.images.insert(name.to_owned(), ObservedImage { id: sign.into(), ..ObservedImage::default() });
            }
            if here.contains(sign.to_ascii_uppercase()) {
                world.bundled.insert(name.to_owned(), Bundled { id: sign.into(), present: true });
            }
        }
        if !wrote.is_empty() {
            let labels = [(label::PROVIDER.to_owned(), wrote.to_owned())].into();
            world.volumes.push(ObservedVolume { name: "macula-db-data".into(), labels, ..ObservedVolume::default() });
        }
        let volumes_of = |service: &Service| service_volumes(&platform, service);
        let (supply, problems) = supply(&platform, &image_specs(&platform), &world, false, &volumes_of);
        match supply.choices.get("db") {
            Some(Choice::Present { reference, id, source }) => format!("{source:?} {id} {reference}"),
            Some(Choice::Obtain { pull, build, .. }) => format!("pull {pull}, build {build}"),
            None => problems.iter().find(|problem| problem.service() == "db").unwrap().to_string(),
        }
    };
    let (image, built) = ("Image i db:1".to_owned(), format!("Build b {}", build.tag));
    let get = |pull: bool, build: bool| format!("pull {pull}, build {build}");
    let no = |reason: &str| format!("service db: {reason}");
    let data = |wrote: &str, reason: &str| no(&format!("the volume macula-db-data was written by {wrote}, {reason}"));
    let only_image = data("db-2", "which only the image opens (db-2), and it cannot be had");
    let only_build = data("db-1", "which only the build opens (db-1), and it is not allowed");
    let neither = data("db-9", "which neither the image (db-2) nor the build (db-1) opens");
    let not_built = no(&Reason::NotBuilt { tag: build.tag.clone(), own: false }.to_string());
    let not_pulled = no("db:1 has not been pulled, and --images local pulls nothing");
    let away = no("db:1 cannot be pulled, since its registry (docker.io) cannot be reached");
    for (policy, file, here, answers, wrote, expected) in [
        (Run::Auto, File::Missing, "ib", true, "", &image),
        (Run::Auto, File::Missing, "b", true, "", &built),
        (Run::Auto, File::Missing, "", true, "", &get(true, true)),
        (Run::Auto, File::Missing, "", false, "", &get(false, true)),
        (Run::Auto, File::Missing, "i", true, "db-1", &get(false, true)),
        (Run::Auto, File::Missing, "ib", true, "db-1", &built),
        (Run::Auto, File::Missing, "b", true, "db-2", &get(true, false)),
        (Run::Auto, File::Missing, "b", false, "db-2", &only_image),
        (Run::Auto, File::Missing, "ib", true, "db-9", &neither),
        (Run::Auto, File::Always, "ib", true, "", &get(true, true)),
        (Run::Auto, File::Always, "ib", false, "", &image),
        (Run::Auto, File::Never, "i", true, "", &image),
        (Run::Auto, File::Never, "", true, "", &get(false, true)),
        (Run::Auto, File::Never, "", true, "db-2", &only_image),
        (Run::Auto, File::Build, "ib", true, "", &built),
        (Run::Auto, File::Build, "i", true, "", &get(false, true)),
        (Run::Auto, File::Build, "ib", true, "db-2", &image),
        (Run::Build, File::Missing, "ib", true, "", &built),
        (Run::Build, File::Missing, "i", true, "", &get(false, true)),
        (Run::Build, File::Missing, "Ib", true, "", &image),
        (Run::Pull, File::Missing, "ib", true, "", &get(true, false)),
        (Run::Pull, File::Missing, "i", false, "", &away),
        (Run::Pull, File::Missing, "I", false, "", &image),
        (Run::Pull, File::Missing, "B", true, "", &built),
        (Run::Pull, File::Missing, "i", true, "db-1", &only_build),
        (Run::Pull, File::Never, "i", true, "", &image),
        (Run::Local, File::Missing, "i", true, "", &image),
        (Run::Local, File::Missing, "b", true, "", &built),
        (Run::Local, File::Missing, "", true, "", &not_pulled),
        (Run::Local, File::Missing, "i", true, "db-1", &not_built),
        (Run::Local, File::Missing, "b", true, "db-2", &only_image),
        (Run::Local, File::Missing, "ib", true, "db-9", &neither),
    ] {
        let got = chosen(policy, file, here, answers, wrote);
        assert_eq!(got, *expected, "{policy:?} {file:?} {here:?} {answers} {wrote:?}");
    }
}

#[test]
fn a_problem_with_an_image_is_told_from_others() {
    let mut platform = platform();
    let problem_of = |platform: &Platform, world: &Observed| {
        let volumes_of = |service: &Service| service_volumes(platform, service);
        let problems = supply(platform, &image_specs(platform), world, false, &volumes_of).1;
        problems.into_iter().find(|problem| problem.service() == "web").unwrap()
    };
    let mut world = right_world(&platform);
    world.registries.insert("docker.io".into(), false);
    // it is to be pulled again, and the engine has one
    platform.images.policy = ImagePolicy::Pull;
    assert!(matches!(problem_of(&platform, &world), SupplyProblem::NotPulled { .. }));
    // the engine has another one than macula.lock
    platform.images.policy = ImagePolicy::Local;
    platform.images.locked.insert("web:1".into(), "sha256:new".into());
    world.images.get_mut("web:1").unwrap().repo_digests = vec!["web@sha256:old".into()];
    let locked = problem_of(&platform, &world);
    assert!(matches!(locked, SupplyProblem::NoImage { reason: Reason::NotLocked { .. }, .. }), "{locked}");
    world.images.remove("web:1");
    // nothing is pulled, in the words of whoever said so
    platform.images.policy = ImagePolicy::Auto;
    change(&mut platform, "web", |web| web.pull_policy = PullPolicy::Never);
    let never = problem_of(&platform, &world);
    let told = "service web: web:1 is not in the engine, and its pull_policy is never, and it has no build";
    assert_eq!(never.to_string(), told);

    let (service, reason) = ("web".to_owned(), Reason::from("why"));
    let (volume, found, opens) = ("rows".to_owned(), "db-0".to_owned(), "only db-1 opens".to_owned());
    for (problem, is_of_image, reason) in [
        (SupplyProblem::NoImage { service: service.clone(), reason: reason.clone() }, true, Some(&reason)),
        (SupplyProblem::NotPulled { service: service.clone(), reason: reason.clone() }, true, Some(&reason)),
        (SupplyProblem::NotBuilt { service: service.clone(), reason: reason.clone() }, true, Some(&reason)),
        (SupplyProblem::TooOld { service: service.clone(), reason: reason.clone() }, false, Some(&reason)),
        (SupplyProblem::OtherProvider { service: service.clone(), volume, found, opens }, false, None),
    ] {
        assert_eq!((problem.service(), problem.is_of_image(), problem.reason()), ("web", is_of_image, reason));
    }
}

#[test]
fn what_is_left_out_takes_along_what_cannot_do_without_it() {
    for (optional, required, left, told) in [
        (&["migrate", "web"][..], true, "migrate: gone, web: it needs migrate, which is left out", ""),
        (&["migrate"][..], true, "migrate: gone", "web: it needs migrate, which is left out"),
        (&["migrate"][..], false, "migrate: gone", ""),
        (&["web"][..], true, "", "migrate: gone"),
    ] {
        let mut platform = platform();
        for name in optional {
            change(&mut platform, name, |service| service.extension.optional = true);
        }
        change(&mut platform, "web", |web| web.depends_on.get_mut("migrate").unwrap().required = required);
        let (world, specs) = (right_world(&platform), image_specs(&platform));
        let volumes_of = |service: &Service| service_volumes(&platform, service);
        let mut chosen = supply(&platform, &specs, &world, false, &volumes_of).0;
        let gone = LeftOut { service: "migrate".into(), reason: "gone".into() };
        let problems = chosen.leave_out(&platform, vec![gone]);
        let lines = |all: Vec<String>| all.join(", ");
        let out = chosen.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect();
        assert_eq!(lines(out), left, "{optional:?} {required}");
        let of = |problem: &SupplyProblem| format!("{}: {}", problem.service(), problem.reason().unwrap());
        assert_eq!(lines(problems.iter().map(of).collect()), told, "{optional:?} {required}");
        assert!(!chosen.choices.contains_key("migrate"));
        let goes = left.contains("web") || told.contains("web");
        assert_eq!(chosen.choices.contains_key("web"), !goes, "{optional:?} {required}");
    }
    // where nothing may be left out it is a problem
    let mut platform = platform();
    change(&mut platform, "web", |web| web.extension.optional = true);
    let mut world = right_world(&platform);
    world.images.remove("web:1");
    world.registries.insert("docker.io".into(), false);
    let problems = |strict: bool| {
        let volumes_of = |service: &Service| service_volumes(&platform, service);
        let (supply, problems) = supply(&platform, &image_specs(&platform), &world, strict, &volumes_of);
        (supply.left_out.len(), problems.len())
    };
    assert_eq!((problems(false), problems(true)), ((1, 0), (0, 1)));
}

#[test]
fn a_service_without_an_image_counts_as_if_it_had_what_there_may_be() {
    let platform = platform();
    let (mut world, specs) = (right_world(&platform), image_specs(&platform));
    let assumed = |world: &Observed, service: &str| {
        let mut supply = Supply::default();
        supply.assume(service, &specs, world);
        supply.choices.get(service).map(|choice| match choice {
            Choice::Present { reference, id, source } => format!("{source:?} {id} {reference}"),
            Choice::Obtain { spec, pull, build } => format!("{} {pull} {build}", spec.reference),
        })
    };
    assert_eq!(assumed(&world, "db").as_deref(), Some("Image sha256:db:1 db:1"));
    world.images.clear();
    assert_eq!(assumed(&world, "db").as_deref(), Some("db:1 true true"));
    assert_eq!(assumed(&world, "web").as_deref(), Some("web:1 true false"));
    assert_eq!(assumed(&world, "nobody"), None);
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
