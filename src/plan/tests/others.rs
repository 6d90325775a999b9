//! What is no longer wanted, what is of another stack, and what is somebody else's.

use super::*;

#[test]
fn orphans_go_and_their_volumes_stay() {
    let world = right_world(&platform());
    let mut platform = platform();
    platform.stacks[0].services.retain(|name, _| name == "db");
    assert_snapshot!(plan_of(&platform, &world), @"
    - stop container macula-migrate-1 (no longer wanted)
    - remove container macula-migrate-1 (no longer wanted) after stop container macula-migrate-1
    - stop container macula-web-1 (no longer wanted)
    - remove container macula-web-1 (no longer wanted) after stop container macula-web-1
    ");
}

#[test]
fn a_relay_stays_as_long_as_the_platform_may_be_reached_through_it() {
    let platform = platform();
    let mut world = right_world(&platform);
    let labels = [(label::PLATFORM, "macula"), (label::SERVICE, "reach"), (label::RELAY, "/macula")];
    world.containers.push(ObservedContainer {
        name: "macula-reach".into(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..world.containers[0].clone()
    });
    let (resources, supply) = (resources_beside(&platform, &world), Supply::default());
    let removed = |relay| {
        let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection: None, relay };
        let steps = reconcile(&wish, &world).unwrap().steps.into_iter();
        steps.filter(|step| matches!(step.action, Action::RemoveContainer { .. })).map(|step| step.resource.name)
    };
    assert_eq!(removed(true).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(removed(false).collect::<Vec<_>>(), ["macula-reach"]);
}

#[test]
fn a_port_of_another_stack_is_free_once_its_container_is_stopped_and_taken_while_it_stays() {
    let port = testing::published(8000, 80);
    let publishing = |stack: &str, name: &str| {
        let mut platform = platform();
        let service = Service { ports: vec![port.clone()], ..service(name) };
        platform.stacks[0].name = stack.into();
        platform.stacks[0].services = [(name.to_owned(), service)].into();
        platform
    };
    let world = right_world(&publishing("shop", "web"));
    let platform = publishing("blog", "page");
    assert_snapshot!(plan_of(&platform, &world), @"
    + get image page:1 (missing)
    + create container macula-page-1 (missing) after get image page:1
    + start container macula-page-1 (missing) after create container macula-page-1, stop container macula-web-1
      await container macula-page-1 (missing) after start container macula-page-1
    - stop container macula-web-1 (no longer wanted)
    - remove container macula-web-1 (no longer wanted) after stop container macula-web-1
    ");
    let mut plan = try_plan(&platform, &world, None).unwrap();
    let wanted = resources(&platform);
    let conflicts = keep_other_stacks(&mut plan, &wanted, &world, &["blog"].into(), &BTreeSet::new()).unwrap_err();
    assert_snapshot!(conflicts[0].to_string(), @"container macula-page-1: it publishes a port of macula-web-1, which runs and belongs to the stack shop; that stack is not loaded now");
}

#[test]
fn what_services_of_another_stack_need_stays_with_them() {
    // the job is of the built-in stack, and only there since the shop needs it
    let mut both = platform();
    change(&mut both, "web", |web| {
        web.depends_on.remove("db");
    });
    let web = both.stacks[0].services.remove("web").unwrap();
    let other = needs(service("page"), "db", Condition::ServiceStarted);
    both.stacks.push(Stack {
        name: "shop".into(),
        origin: Origin::File("/shop/compose.yaml".into()),
        services: [("web".to_owned(), web)].into(),
        volumes: BTreeMap::new(),
        ..both.stacks[0].clone()
    });
    let world = right_world(&both);
    let mut next = both.clone();
    next.stacks[0].services.remove("migrate");
    next.stacks[1].name = "blog".into();
    next.stacks[1].origin = Origin::File("/blog/compose.yaml".into());
    next.stacks[1].services = [("page".to_owned(), other)].into();
    let mut plan = try_plan(&next, &world, None).unwrap();
    assert!(plan.to_string().contains("remove container macula-migrate-1"), "{plan}");
    let wanted = resources(&next);
    let kept = keep_other_stacks(&mut plan, &wanted, &world, &["app", "blog"].into(), &BTreeSet::new()).unwrap();
    assert_eq!(kept, [("shop".to_owned(), ["web".to_owned()].into())].into());
    assert_snapshot!(plan.to_string(), @"
    + get image page:1 (missing)
    + create container macula-page-1 (missing) after get image page:1
    + start container macula-page-1 (missing) after create container macula-page-1
      await container macula-page-1 (missing) after start container macula-page-1
    ");
    // with the stack that needs it the job goes, too
    let mut plan = try_plan(&next, &world, None).unwrap();
    keep_other_stacks(&mut plan, &wanted, &world, &["app", "blog", "shop"].into(), &BTreeSet::new()).unwrap();
    assert!(plan.to_string().contains("remove container macula-migrate-1"), "{plan}");
}

/// Two servers on one volume would destroy it.
#[test]
fn a_project_that_was_renamed_starts_once_its_old_containers_have_stopped() {
    let project = |name: &str, file: &str| {
        let mut platform = platform();
        let db = with_volume(service(&format!("{name}-db")), "db-data");
        platform.stacks[0].name = name.into();
        platform.stacks[0].origin = Origin::File(file.into());
        platform.stacks[0].services = [(db.name.clone(), db)].into();
        platform
    };
    let (before, elsewhere) = ("/w/shop/compose.yaml", "/w/store/compose.yaml");
    let mut world = right_world(&project("shop", before));
    let planned = |world: &Observed, file: &str, gone: &[&str]| {
        let next = project("store", file);
        let mut plan = try_plan(&next, world, None).unwrap();
        let gone = gone.iter().map(std::path::PathBuf::from).collect();
        let kept = keep_other_stacks(&mut plan, &resources(&next), world, &["store"].into(), &gone).unwrap();
        assert_no_circle(&plan);
        (plan.to_string(), kept)
    };
    // its data lies in a folder that has moved with it, and nothing else tells
    let (moved, kept) = planned(&world, elsewhere, &[before]);
    assert!(kept.is_empty());
    assert_snapshot!(moved, @"
    + get image store-db:1 (missing)
    + create container macula-store-db-1 (missing) after get image store-db:1
    + start container macula-store-db-1 (missing) after create container macula-store-db-1, stop container macula-shop-db-1
      await container macula-store-db-1 (missing) after start container macula-store-db-1
    - stop container macula-shop-db-1 (no longer wanted)
    - remove container macula-shop-db-1 (no longer wanted) after stop container macula-shop-db-1
    ");
    container(&mut world, "macula-shop-db-1").writes = vec!["macula-db-data".to_owned()];
    let rows: [(&str, &[&str]); 3] = [(elsewhere, &[before]), ("/w/shop/store.yaml", &[]), (before, &[])];
    for (file, gone) in rows {
        assert_eq!(planned(&world, file, gone), (moved.clone(), BTreeMap::new()), "{file}");
    }
    // also where it is asked for by its name
    let (next, chosen) = (project("store", elsewhere), BTreeSet::from(["store-db".to_owned()]));
    let mut plan = try_plan(&next, &world, Some(&chosen)).unwrap();
    let (wanted, gone) = (resources(&next), [std::path::PathBuf::from(before)].into());
    keep_other_stacks(&mut plan, &wanted, &world, &["store"].into(), &gone).unwrap();
    assert_eq!(plan.to_string(), moved);
    // another project, which is still there, and one of the same folder that was loaded with it
    let other: BTreeMap<String, BTreeSet<String>> = [("shop".to_owned(), ["shop-db".to_owned()].into())].into();
    let (plan, kept) = planned(&world, elsewhere, &[]);
    assert_eq!(kept, other);
    assert!(!plan.contains("macula-shop-db-1"), "{plan}");
    world.volumes[0].labels.insert(label::SHARED_BY.into(), "store".into());
    assert_eq!(planned(&world, "/w/shop/store.yaml", &[]), (plan, other));
}

#[test]
fn data_in_a_volume_that_is_called_after_its_container_is_told_where_it_is_left_behind() {
    let shop = |name: &str, container_name: Option<&str>| {
        let mut platform = platform();
        let db = Service { container_name: container_name.map(str::to_owned), ..service(name) };
        platform.stacks[0].name = "shop".into();
        platform.stacks[0].services = [(name.to_owned(), db)].into();
        platform
    };
    let mut world = right_world(&shop("db", None));
    let labels = [(label::PLATFORM.to_owned(), "macula".to_owned())].into();
    let own = ObservedVolume { name: "macula-db-1-var-lib-rows".into(), labels, ..ObservedVolume::default() };
    container(&mut world, "macula-db-1").writes = vec![own.name.clone(), "/srv/rows".into()];
    world.volumes.push(own);
    let told = |next: &Platform| {
        let plan = try_plan(next, &world, None).unwrap();
        left_behind(&plan, &world).iter().map(LeftBehind::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(told(&shop("db", Some("rows"))), @"db: rows takes the place of macula-db-1 and does not have what is in macula-db-1-var-lib-rows, which stays (to go on with it, mount it: `volumes: {data: {name: macula-db-1-var-lib-rows}}`)");
    // a service of ours has its name by now
    assert_snapshot!(told(&shop("shop-db", None)), @"shop-db: macula-shop-db-1 takes the place of macula-db-1 and does not have what is in macula-db-1-var-lib-rows, which stays (to go on with it, mount it: `volumes: {data: {name: macula-db-1-var-lib-rows}}`)");
    // another service, and the same container made again
    let mut again = shop("db", None);
    change(&mut again, "db", |db| {
        db.environment.insert("VERSION".into(), "2".into());
    });
    assert_eq!([told(&shop("store", None)), told(&again)], ["", ""]);
}

#[test]
fn nothing_foreign_is_touched() {
    let mut world = right_world(&platform());
    world.networks[0].labels.clear();
    world.volumes[0].labels.clear();
    container(&mut world, "macula-web-1").labels =
        [("com.docker.compose.project".to_owned(), "shop".to_owned())].into();
    container(&mut world, "macula-db-1").labels =
        [(label::PLATFORM.to_owned(), "pr-1".to_owned()), (label::STACK.to_owned(), "shop".to_owned())].into();
    assert_snapshot!(plan_of(&platform(), &world), @"
    network macula: exists and was not made by macula
      remove the network if nothing needs it
      docker network rm macula
      or choose another name for this platform with `--name`
    volume macula-db-data: exists and was not made by macula
      remove the volume if nothing needs it
      or choose another name for this platform with `--name`
    container macula-db-1: belongs to the platform pr-1, to its stack shop
      choose another name for this platform with `--name`
    container macula-web-1: exists and was not made by macula; it belongs to the Compose project shop
      docker rename macula-web-1 macula-web-1-old
      or choose another name for this platform with `--name`
    ");
}

/// A project that ran under docker compose, whose volumes have its name.
fn of_docker_compose(name: &str) -> ObservedVolume {
    let labels = [(label::COMPOSE_PROJECT.to_owned(), "shop".to_owned())].into();
    ObservedVolume { name: name.into(), labels, ..ObservedVolume::default() }
}

#[test]
fn data_that_docker_compose_has_is_named_when_an_empty_volume_is_made() {
    let mut project = platform();
    project.stacks[0].name = "shop".into();
    project.stacks[0].origin = Origin::File("/shop/compose.yaml".into());
    let told = |platform: &Platform, volume: ObservedVolume, mut world: Observed| {
        world.volumes.push(volume);
        let plan = try_plan(platform, &world, None).unwrap();
        of_compose(&plan, &world).iter().map(OfCompose::to_string).collect::<Vec<_>>().join("\n")
    };
    let empty = Observed::default;
    let of_compose = || of_docker_compose("shop_db-data");
    assert_snapshot!(told(&project, of_compose(), empty()), @"shop_db-data has data of shop from docker compose, and db-data begins with an empty macula-db-data (to use the data, stop `docker compose` and mount it: `volumes: {db-data: {name: shop_db-data, external: true}}`)");
    // it has data of its own by now, it is not the project's, and it is ours
    let mut ours = of_compose();
    ours.labels.insert(label::PLATFORM.into(), "shop".into());
    let mut other = of_compose();
    other.labels.insert(label::COMPOSE_PROJECT.into(), "blog".into());
    let mut built_in = project.clone();
    built_in.stacks[0].origin = Origin::BuiltIn;
    let silent = [
        told(&project, of_compose(), right_world(&project)),
        told(&project, other, empty()),
        told(&project, ours, empty()),
        told(&built_in, of_compose(), empty()),
    ];
    assert_eq!(silent, ["", "", "", ""]);
}

#[test]
fn a_volume_of_docker_composes_is_used_and_never_removed() {
    let mut project = platform();
    project.stacks[0].name = "shop".into();
    project.stacks[0].origin = Origin::File("/shop/compose.yaml".into());
    let world = |name: &str| Observed { volumes: vec![of_docker_compose(name)], ..Observed::default() };
    assert_snapshot!(plan_of(&project, &world("macula-db-data")), @"
    volume macula-db-data: exists and was not made by macula; it belongs to the Compose project shop
      to use it as it is, say `external: true`, and macula never removes it: `volumes: {db-data: {name: macula-db-data, external: true}}`
      or choose another name for this platform with `--name`
    ");
    // another platform's, which has met it by its name alone
    let mut theirs = world("macula-db-data");
    theirs.volumes[0].labels.insert(label::PLATFORM.into(), "pr-1".into());
    assert_snapshot!(plan_of(&project, &theirs), @"
    volume macula-db-data: belongs to the platform pr-1
      choose another name for this platform with `--name`
    ");
    project.stacks[0].volumes.get_mut("db-data").unwrap().name = Some("shop_rows".into());
    assert_snapshot!(plan_of(&project, &world("shop_rows")), @"
    volume shop_rows: exists and was not made by macula; it belongs to the Compose project shop
      to use it as it is, say `external: true`, and macula never removes it: `volumes: {db-data: {name: shop_rows, external: true}}`
    ");
}

/// Older versions did not label it.
#[test]
fn what_a_container_mounts_without_a_name_is_its_own_with_or_without_labels() {
    let mut platform = platform();
    change(&mut platform, "db", |db| {
        let (target, subpath) = ("/var/lib/rows".into(), None);
        db.mounts.push(Mount::Volume { source: None, target, read_only: false, no_copy: false, subpath });
    });
    platform.stacks[0].volumes.insert("web-10".into(), Volume::default());
    change(&mut platform, "web", |web| *web = with_volume(web.clone(), "web-10"));
    let mut world = right_world(&platform);
    assert_snapshot!(plan_of(&platform, &world), @"nothing to do");
    let labels = |world: &mut Observed, name: &str, labels: BTreeMap<String, String>| {
        world.volumes.iter_mut().find(|found| found.name == name).unwrap().labels = labels;
    };
    labels(&mut world, "macula-db-1-var-lib-rows", BTreeMap::new());
    assert_snapshot!(plan_of(&platform, &world), @"nothing to do");
    // somebody else's, and one that only looks like it
    labels(&mut world, "macula-db-1-var-lib-rows", [(label::PLATFORM.to_owned(), "pr-1".to_owned())].into());
    labels(&mut world, "macula-web-10", BTreeMap::new());
    assert_snapshot!(plan_of(&platform, &world), @"
    volume macula-web-10: exists and was not made by macula
      remove the volume if nothing needs it
      or choose another name for this platform with `--name`
    volume macula-db-1-var-lib-rows: belongs to the platform pr-1
      choose another name for this platform with `--name`
    ");
}

/// Forwards are in no fingerprint, and taken up while their container runs.
#[test]
fn what_is_passed_on_is_wanted_of_a_container_that_is_right() {
    let platform = platform();
    let (mut world, mut resources) = (right_world(&platform), resources(&platform));
    let web = resources.containers.iter_mut().find(|spec| spec.service == "web").unwrap();
    let forward = Forward {
        listen: "127.0.0.1:8000".parse().unwrap(),
        protocol: Protocol::Tcp,
        service: "web".into(),
        container: web.name.clone(),
        port: 80,
    };
    web.forwards.push(forward);
    let chosen =
        supply(&platform, &image_specs(&platform), &world, false, &|service| service_volumes(&platform, service)).0;
    let wish = Wish { platform: &platform.name, resources: &resources, supply: &chosen, selection: None, relay: true };
    assert!(reconcile(&wish, &world).unwrap().is_empty());
    world.listeners.push(Listener {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 8000,
        protocol: Protocol::Tcp,
        pid: Some(4711),
        process: Some("nginx".into()),
        stopped_by: StoppedBy::Signal,
    });
    let conflicts = reconcile(&wish, &world).unwrap_err();
    assert_snapshot!(conflicts[0].to_string(), @"port 8000 is taken: nginx (pid 4711) listens on 127.0.0.1:8000, and web needs 127.0.0.1:8000/tcp");
}

#[test]
fn a_taken_port_is_named_with_its_holder_before_anything_is_made() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        let port = |published| testing::published(published, 80);
        service.ports = vec![port(8000), port(8001)];
    });
    let world = Observed {
        listeners: vec![
            Listener {
                address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port: 8000,
                protocol: Protocol::Tcp,
                pid: Some(4711),
                process: Some("nginx".into()),
                stopped_by: StoppedBy::Signal,
            },
            // another address, or another protocol, is not in the way
            Listener {
                address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)),
                port: 8001,
                protocol: Protocol::Tcp,
                pid: None,
                process: None,
                stopped_by: StoppedBy::Unknown,
            },
        ],
        ..Observed::default()
    };
    assert_snapshot!(plan_of(&platform, &world), @"
    port 8000 is taken: nginx (pid 4711) listens on 0.0.0.0:8000, and web needs 127.0.0.1:8000/tcp
      kill 4711
      publish on another port, or choose another name for this platform with `--name`
    ");
    // what systemd keeps is stopped there, and of what is somebody else's it is only to be seen whose
    let mut kept = world.clone();
    kept.listeners[0].stopped_by = StoppedBy::Unit { name: "nginx.service".into(), user: false };
    assert!(plan_of(&platform, &kept).contains("\n  sudo systemctl stop nginx.service\n"));
    kept.listeners[0].stopped_by = StoppedBy::Unknown;
    assert!(plan_of(&platform, &kept).contains("\n  ps -fp 4711\n"));
    // a process of ours serves other platforms, too
    kept.listeners[0].stopped_by = StoppedBy::Macula;
    assert_snapshot!(plan_of(&platform, &kept), @"
    port 8000 is taken: a background process of macula (pid 4711) listens on 0.0.0.0:8000, and web needs 127.0.0.1:8000/tcp
      macula ls  (to see which platform has the address)
      publish on another port, or choose another name for this platform with `--name`
    ");
    // where a proxy listens for a container it is the container that helps
    let mut neighbour = right_world(&platform).containers.remove(0);
    neighbour.name = "shop-web-1".into();
    neighbour.labels.clear();
    neighbour.ports = vec![PortBinding {
        host_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        host_port: Some(8000),
        container_port: 80,
        protocol: Protocol::Tcp,
    }];
    let world = Observed { neighbours: vec![neighbour], ..world };
    assert_snapshot!(plan_of(&platform, &world), @"
    port 8000 is taken: the container shop-web-1 listens on 0.0.0.0:8000, and web needs 127.0.0.1:8000/tcp
      docker stop shop-web-1
      publish on another port, or choose another name for this platform with `--name`
    ");
}

#[test]
fn a_network_goes_after_those_that_leave_it() {
    let on = |networks: &[&str]| {
        let mut platform = platform();
        for name in networks {
            platform.stacks[0].networks.insert((*name).to_owned(), NetworkDecl::default());
            change(&mut platform, "web", |web| {
                web.networks.insert((*name).to_owned(), ServiceNetwork::default());
            });
        }
        platform
    };
    let plan = try_plan(&on(&["front"]), &right_world(&on(&["front", "back"])), None).unwrap();
    assert_eq!(plan.index()["remove network macula-app-back"].after, ["remove container macula-web-1"]);
}

#[test]
fn who_was_taken_off_a_network_is_made_again() {
    let network = resources(&platform()).networks[0].name.clone();
    let others: BTreeSet<String> = ["bridge".to_owned()].into();
    for (attached, made) in [(None, false), (Some([network].into()), false), (Some(others), true)] {
        let mut world = right_world(&platform());
        container(&mut world, "macula-web-1").attached = attached.clone();
        let plan = try_plan(&platform(), &world, None).unwrap();
        assert_eq!(plan.index().contains_key("create container macula-web-1"), made, "{attached:?}");
        // of one that has ended, engines say what was
        container(&mut world, "macula-migrate-1").attached = attached.clone();
        let plan = try_plan(&platform(), &world, None).unwrap();
        assert!(!plan.index().contains_key("create container macula-migrate-1"), "{attached:?}");
    }
}

#[test]
fn data_is_let_go_before_its_new_container_starts() {
    let alone = |service: Service| {
        let mut platform = platform();
        platform.stacks[0].services = [(service.name.clone(), service)].into();
        platform
    };
    let keeping = |name: &str| {
        let mut service = with_volume(service(name), "db-data");
        service.mounts.push(Mount::Bind {
            source: "/srv/rows".into(),
            target: "/rows".into(),
            read_only: false,
            create_host_path: true,
            propagation: None,
            selinux: None,
        });
        service
    };
    for place in ["macula-db-data", "/srv/rows"] {
        let mut world = right_world(&alone(keeping("db")));
        container(&mut world, "macula-db-1").writes = vec![place.to_owned()];
        let named = Service { container_name: Some("shop-db".into()), ..keeping("db") };
        for (next, name) in [(keeping("store"), "macula-store-1"), (named, "shop-db")] {
            let plan = try_plan(&alone(next), &world, None).unwrap();
            let start = format!("start container {name}");
            let after = [format!("create container {name}"), "stop container macula-db-1".to_owned()];
            assert_eq!(plan.index()[start.as_str()].after, after, "{place}");
        }
        // who goes on to have it shares it
        let mut both = alone(keeping("db"));
        both.stacks[0].services.insert("store".into(), keeping("store"));
        change(&mut both, "db", |db| {
            db.environment.insert("VERSION".into(), "2".into());
        });
        let plan = try_plan(&both, &world, None).unwrap();
        assert!(plan.index().contains_key("stop container macula-db-1"), "{plan}");
        let start = &plan.index()["start container macula-store-1"].after;
        assert_eq!(*start, ["create container macula-store-1"]);
    }
    // who waits for the one that takes it over does not start first
    let first = |mut web: Service| {
        web.update.start_first = true;
        web
    };
    let mut world = right_world(&alone(first(keeping("web"))));
    container(&mut world, "macula-web-1").writes = vec!["macula-db-data".to_owned()];
    let mut next = alone(first(needs(service("web"), "store", Condition::ServiceHealthy)));
    next.stacks[0].services.insert("store".into(), keeping("store"));
    let plan = try_plan(&next, &world, None).unwrap();
    let index = plan.index();
    let start = &index["start container macula-store-1"].after;
    assert_eq!(*start, ["create container macula-store-1", "stop container macula-web-1"]);
    assert!(!index.contains_key("rename container macula-web-1"), "{plan}");
}
