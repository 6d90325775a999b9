//! Of services that are named, and of nothing else.

use super::*;

#[test]
fn a_selection_takes_what_it_needs_and_leaves_the_rest_alone() {
    let mut world = Observed::default();
    let stranger = BTreeMap::from([
        (label::PLATFORM.to_owned(), "macula".to_owned()),
        (label::SERVICE.to_owned(), "old".to_owned()),
    ]);
    world.containers.push(ObservedContainer {
        name: "macula-old-1".into(),
        labels: stranger,
        ..ObservedContainer::default()
    });
    let chosen = select(&platform(), &["migrate".to_owned()]).unwrap();
    assert_snapshot!(try_plan(&platform(), &world, Some(&chosen)).unwrap().to_string(), @"
    + create network macula (missing)
    + get image db:1 (missing)
    + get image migrate:1 (missing)
    + create volume macula-db-data (missing) after get image db:1
    + create container macula-db-1 (missing) after create network macula, create volume macula-db-data, get image db:1
    + start container macula-db-1 (missing) after create container macula-db-1
      await container macula-db-1 (missing) after start container macula-db-1
    + create container macula-migrate-1 (missing) after create network macula, get image migrate:1
    + start container macula-migrate-1 (missing) after await container macula-db-1, create container macula-migrate-1
      await container macula-migrate-1 (missing) after start container macula-migrate-1
    ");
}

#[test]
fn of_a_chosen_service_the_containers_that_are_too_many_go() {
    let mut three = platform();
    change(&mut three, "web", |service| service.replicas = 3);
    let mut world = right_world(&three);
    // somebody works in a container of its own
    let mut apart = container(&mut world, "macula-web-3").clone();
    apart.name = "macula-web-run-1".into();
    apart.labels.insert(label::ONE_OFF.into(), "true".into());
    world.containers.push(apart);
    let steps = |chosen: &str| -> Vec<String> {
        let chosen = BTreeSet::from([chosen.to_owned()]);
        let plan = try_plan(&platform(), &world, Some(&chosen)).unwrap();
        plan.steps.into_iter().filter(|step| step.cause == Cause::Orphaned).map(|step| step.id).collect()
    };
    assert_eq!(
        steps("web"),
        [
            "stop container macula-web-2",
            "remove container macula-web-2",
            "stop container macula-web-3",
            "remove container macula-web-3",
        ]
    );
    assert_eq!(steps("db"), [""; 0]);
}

/// Two programs on one volume would destroy what is in it, and a port has one of them.
#[test]
fn what_a_chosen_service_gets_is_let_go_by_a_service_that_is_no_more() {
    let of = |services: Vec<Service>| {
        let mut platform = platform();
        platform.stacks[0].services = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        platform
    };
    let keeping = |name: &str| with_volume(service(name), "db-data");
    let publishing = |name: &str| Service { ports: vec![testing::published(8000, 80)], ..service(name) };
    let shared = |replicas: u32| Service { replicas, ..keeping("worker") };
    let mut world = right_world(&of(vec![keeping("db"), publishing("page"), service("old"), shared(2)]));
    for name in ["macula-db-1", "macula-worker-1", "macula-worker-2"] {
        container(&mut world, name).writes = vec!["macula-db-data".to_owned()];
    }
    let next = of(vec![keeping("store"), publishing("site"), service("new"), shared(1)]);
    let planned = |name: &str| try_plan(&next, &world, Some(&BTreeSet::from([name.to_owned()]))).unwrap();
    let mut store = planned("store");
    assert_snapshot!(store.to_string(), @"
    + get image store:1 (missing)
    + create container macula-store-1 (missing) after get image store:1
    + start container macula-store-1 (missing) after create container macula-store-1, stop container macula-db-1
      await container macula-store-1 (missing) after start container macula-store-1
    - stop container macula-db-1 (no longer wanted)
    - remove container macula-db-1 (no longer wanted) after stop container macula-db-1
    ");
    assert_snapshot!(planned("site").to_string(), @"
    + get image site:1 (missing)
    + create container macula-site-1 (missing) after get image site:1
    + start container macula-site-1 (missing) after create container macula-site-1, stop container macula-page-1
      await container macula-site-1 (missing) after start container macula-site-1
    - stop container macula-page-1 (no longer wanted)
    - remove container macula-page-1 (no longer wanted) after stop container macula-page-1
    ");
    assert!(!planned("new").to_string().contains("no longer wanted"));
    // a command in a container of its own takes nobody's place
    store.leave("store");
    assert_snapshot!(store.to_string(), @"+ get image store:1 (missing)");
}

/// Source code is mounted by many services, which are none of each other's successors.
#[test]
fn a_folder_is_let_go_where_the_service_was_renamed_and_it_is_not_the_source_code() {
    let of = |name: &str, image: &str, folder: &str| {
        let mount = Mount::Bind {
            source: folder.into(),
            target: "/data".into(),
            read_only: false,
            create_host_path: true,
            propagation: None,
            selinux: None,
        };
        let mut platform = platform();
        let only = Service { image: Some(image.into()), mounts: vec![mount], ..service(name) };
        platform.stacks[0].origin = Origin::File("/w/shop/compose.yaml".into());
        platform.stacks[0].services = [(name.to_owned(), only)].into();
        platform
    };
    for (folder, image, goes) in [
        ("/w/shop/rows", "db:1", true),
        ("/srv/rows", "db:1", true),
        ("/w/shop/rows", "store:1", false),
        ("/w/shop", "db:1", false),
        ("/w", "db:1", false),
    ] {
        let mut world = right_world(&of("db", "db:1", folder));
        container(&mut world, "macula-db-1").writes = vec![folder.to_owned()];
        let chosen = BTreeSet::from(["store".to_owned()]);
        let plan = try_plan(&of("store", image, folder), &world, Some(&chosen)).unwrap().to_string();
        assert_eq!(plan.contains("remove container macula-db-1"), goes, "{folder} {image}");
        // without a choice it goes in any case, and first
        let all = plan_of(&of("store", image, folder), &world);
        assert!(all.contains("create container macula-store-1, stop container macula-db-1"), "{all}");
    }
}

#[test]
fn what_is_made_again_with_a_chosen_service_gets_its_image_and_its_volumes() {
    let mut platform = platform();
    change(&mut platform, "web", |web| web.network_mode = Some("service:db".into()));
    let world = right_world(&platform);
    change(&mut platform, "db", |db| db.environment.extend([("A".to_owned(), "b".to_owned())]));
    change(&mut platform, "web", |web| {
        *web = with_volume(web.clone(), "cache");
        web.image = Some("web:2".into());
    });
    platform.stacks[0].volumes.insert("cache".into(), Volume::default());
    let plan = try_plan(&platform, &world, Some(&BTreeSet::from(["db".to_owned()]))).unwrap();
    let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
    for before in ["get image web:2", "create volume macula-cache", "start container macula-db-1"] {
        assert!(create.after.contains(&before.to_owned()), "{before}: {:?}", create.after);
    }
    // what stays as it is gets nothing
    let plan = try_plan(&platform, &world, Some(&BTreeSet::from(["migrate".to_owned()]))).unwrap();
    assert_eq!(plan, Plan::default());
}

#[test]
fn unknown_services_are_named() {
    assert_eq!(select(&platform(), &["wbe".to_owned(), "db".to_owned()]), Err(vec!["wbe".to_owned()]));
}
