//! What is replaced with others, before them and after them.

use super::*;

/// With an ingress for the names of these services.
fn with_names(names: &[&str]) -> Platform {
    let mut platform = platform();
    let mut gate = service("gate");
    gate.extension.role = Some(Role::Ingress);
    let named = names.iter().map(|name| {
        let mut named = service(name);
        named.extension.ingress.push(IngressRule {
            host: (*name).into(),
            port: 80,
            path: "/".into(),
            ..IngressRule::default()
        });
        named
    });
    for service in named.chain([gate]) {
        platform.stacks[0].services.insert(service.name.clone(), service);
    }
    platform
}

#[test]
fn what_stands_in_for_each_other_is_replaced_in_turn() {
    let cells = |version: &str| {
        let mut platform = platform();
        for name in ["cell-a", "cell-b"] {
            let mut cell = service(name);
            cell.image = Some("cell:1".into());
            cell.environment.insert("VERSION".into(), version.into());
            platform.stacks[0].services.insert(name.into(), cell);
        }
        change(&mut platform, "web", |service| {
            service.replicas = 2;
            service.environment.insert("VERSION".into(), version.into());
        });
        platform
    };
    let world = right_world(&cells("1"));
    assert_eq!(plan_of(&cells("1"), &world), "nothing to do\n");
    let plan = try_plan(&cells("2"), &world, None).unwrap();
    let stops = plan.steps.iter().filter(|step| matches!(step.action, Action::Stop { .. }));
    let turns: Vec<String> = stops.map(|step| format!("{} after {}", step.id, step.after.join(", "))).collect();
    assert_eq!(
        turns,
        [
            "stop container macula-cell-a-1 after ",
            "stop container macula-cell-b-1 after await container macula-cell-a-1",
            "stop container macula-web-1 after ",
            "stop container macula-web-2 after await container macula-web-1",
        ]
    );
}

/// The steps of these platforms' replacement that wait for more than their own container's.
fn turns_of(platform: &dyn Fn(&str) -> Platform) -> Vec<String> {
    let plan = try_plan(&platform("2"), &right_world(&platform("1")), None).unwrap();
    let begins = |step: &&Step| step.id.starts_with("stop ") || step.id.starts_with("pause ");
    let lines = plan.steps.iter().filter(begins).map(|step| format!("{} after {}", step.id, step.after.join(", ")));
    lines.map(|line| line.replace(" container macula-", " ")).collect()
}

#[test]
fn members_of_one_cluster_and_services_behind_one_name_take_turns() {
    let members = |version: &str| {
        let mut platform = platform();
        for name in ["etcd-1", "etcd-2"] {
            let mut member = service(name);
            member.image = Some("etcd:1".into());
            member.command = Some(vec!["etcd".into(), "--name".into(), name.into()]);
            member.environment.insert("VERSION".into(), version.into());
            platform.stacks[0].services.insert(name.into(), member);
        }
        platform
    };
    assert_eq!(turns_of(&members), ["stop etcd-1-1 after ", "stop etcd-2-1 after await etcd-1-1"]);
    let shared = |version: &str| {
        let mut platform = with_names(&["stable", "canary"]);
        for name in ["stable", "canary"] {
            change(&mut platform, name, |cell| {
                cell.environment.insert("VERSION".into(), version.into());
                for rule in &mut cell.extension.ingress {
                    rule.host = "shop".into();
                    rule.weight = Some(1);
                }
            });
        }
        platform
    };
    assert_eq!(turns_of(&shared), ["stop canary-1 after ", "stop stable-1 after await canary-1"]);
}

#[test]
fn update_config_says_how_many_are_replaced_at_once_and_in_which_order() {
    let replicas = |update: Update| {
        move |version: &str| {
            let mut platform = platform();
            change(&mut platform, "web", |service| {
                service.replicas = 3;
                service.update = update.clone();
                service.environment.insert("VERSION".into(), version.into());
            });
            platform
        }
    };
    let two = Update { parallelism: 2, delay: std::time::Duration::from_secs(5), ..Update::default() };
    assert_eq!(
        turns_of(&replicas(two)),
        [
            "stop web-1 after ",
            "stop web-2 after ",
            "stop web-3 after pause after web-1, pause after web-2",
            "pause after web-1 after await web-1",
            "pause after web-2 after await web-2",
        ]
    );
    let all = Update { parallelism: 0, ..Update::default() };
    assert!(turns_of(&replicas(all)).iter().all(|line| line.ends_with("after ")));
    let platform = replicas(Update { start_first: true, ..Update::default() });
    let plan = try_plan(&platform("2"), &right_world(&platform("1")), None).unwrap();
    let lines: Vec<String> = plan.to_string().lines().map(str::to_owned).collect();
    let of_second: Vec<&str> =
        lines.iter().filter(|line| line.contains("macula-web-2 (")).map(|line| line.trim()).collect();
    assert_eq!(
        of_second,
        [
            "+ create container macula-web-2 (changed: environment)",
            "+ start container macula-web-2 (changed: environment) after create container macula-web-2, rename container macula-web-1",
            "await container macula-web-2 (changed: environment) after start container macula-web-2",
            "- stop container macula-web-2 (changed: environment) after await container macula-web-2",
            "- remove container macula-web-2 (changed: environment) after stop container macula-web-2",
            "~ rename container macula-web-2 (changed: environment) after remove container macula-web-2",
        ]
    );
    // without new containers there is none that starts first
    let followed = |version: &str| {
        let mut platform = platform("1");
        change(&mut platform, "web", |web| web.depends_on.get_mut("db").unwrap().restart = true);
        change(&mut platform, "db", |db| {
            db.environment.insert("VERSION".into(), version.into());
        });
        platform
    };
    assert_eq!(
        turns_of(&followed),
        ["stop db-1 after ", "stop web-1 after ", "stop web-2 after await web-1", "stop web-3 after await web-2"]
    );
}

#[test]
fn what_runs_goes_on_until_the_job_is_done_that_its_new_container_waits_for() {
    let with = |version: &str, shared: bool, start_first: bool| {
        let mut platform = platform();
        for name in ["web", "migrate"] {
            change(&mut platform, name, |service| {
                service.environment.insert("VERSION".into(), version.into());
                service.update.start_first = start_first;
                if shared {
                    *service = with_volume(service.clone(), "db-data");
                }
            });
        }
        platform
    };
    let stop = |shared: bool, start_first: bool, network: &str| {
        let mut world = right_world(&with("1", shared, start_first));
        if shared {
            container(&mut world, "macula-web-1").writes = vec!["macula-db-data".to_owned()];
        }
        if !network.is_empty() {
            world.networks[0].labels.insert(label::FINGERPRINT.into(), network.into());
        }
        let plan = try_plan(&with("2", shared, start_first), &world, None).unwrap();
        plan.index()["stop container macula-web-1"].after.join(", ")
    };
    assert_eq!(stop(false, false, ""), "await container macula-migrate-1");
    // it works on the same data, all leave the network, and the new one is ready before
    assert_eq!(stop(true, false, ""), "");
    assert_eq!(stop(false, false, "old"), "");
    assert_eq!(stop(false, true, ""), "await container macula-web-1");
}

#[test]
fn ports_that_shift_within_a_group_are_free_first() {
    let cells = |first: u16| {
        let mut platform = platform();
        for (name, port) in [("cell-a", first), ("cell-b", first + 1)] {
            let ports = vec![testing::published(port, 80)];
            let cell = Service { image: Some("cell:1".into()), ports, ..service(name) };
            platform.stacks[0].services.insert(name.into(), cell);
        }
        platform
    };
    let plan = |from: u16, to: u16| try_plan(&cells(to), &right_world(&cells(from)), None).unwrap();
    // to wait for its turn, the second one would wait for the first, which waits for its port
    let up = plan(8081, 8082);
    let index = up.index();
    assert_eq!(index["stop container macula-cell-b-1"].after, [""; 0]);
    let start = &index["start container macula-cell-a-1"].after;
    assert_eq!(*start, ["create container macula-cell-a-1", "stop container macula-cell-b-1"]);
    let down = plan(8082, 8081);
    assert_eq!(down.index()["stop container macula-cell-b-1"].after, ["await container macula-cell-a-1"]);
}

#[test]
fn nothing_starts_first_or_waits_for_its_image_where_a_network_is_made_again() {
    let with = |start_first: bool| {
        let mut platform = platform();
        change(&mut platform, "web", |web| web.update.start_first = start_first);
        platform
    };
    let mut world = right_world(&with(true));
    world.networks[0].labels.insert(label::FINGERPRINT.into(), "old".into());
    world.images.remove("web:1");
    assert_eq!(plan_of(&with(true), &world), plan_of(&with(false), &world));
    let plan = try_plan(&with(true), &world, None).unwrap();
    let index = plan.index();
    assert_eq!(index["stop container macula-web-1"].after, [""; 0]);
    let created = &index["create container macula-web-1"].after;
    assert_eq!(*created, ["get image web:1", "remove container macula-web-1", "create network macula"]);
}

#[test]
fn what_shares_something_of_a_container_is_made_after_it() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.depends_on.clear();
        service.options.volumes_from = vec!["db:ro".into()];
        service.options.ipc = Some("service:db".into());
    });
    let plan = try_plan(&platform, &Observed::default(), None).unwrap();
    let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
    assert!(create.after.contains(&"start container macula-db-1".to_owned()), "{:?}", create.after);
    // what is there already is waited for by nobody
    let mut world = right_world(&platform);
    world.containers.retain(|found| found.name != "macula-web-1");
    let plan = try_plan(&platform, &world, None).unwrap();
    let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
    assert!(create.after.iter().all(|step| !step.contains("db")), "{:?}", create.after);
}

#[test]
fn what_shares_something_of_a_container_is_made_again_with_it() {
    type Shared = fn(&mut Service);
    let ways: [Shared; 3] = [
        |service| service.network_mode = Some("service:db".into()),
        |service| service.options.pid = Some("service:db".into()),
        |service| service.options.ipc = Some("service:db".into()),
    ];
    for shared in ways {
        let mut platform = platform();
        change(&mut platform, "web", |service| {
            service.depends_on.get_mut("db").unwrap().restart = true;
            shared(service);
        });
        let world = right_world(&platform);
        let db = BTreeSet::from(["db".to_owned()]);
        let resources = resources(&platform);
        let supply =
            supply(&platform, &image_specs(&platform), &world, false, &|service| service_volumes(&platform, service)).0;
        for selection in [None, Some(&db)] {
            let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection, relay: false };
            let plan = reconcile_anew(&wish, &db, &world).unwrap();
            let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
            assert_eq!(create.cause.to_string(), "db is replaced");
            assert!(create.after.contains(&"start container macula-db-1".to_owned()), "{:?}", create.after);
        }
        // one that starts first has its name once the old one is gone
        let mut first = platform.clone();
        change(&mut first, "db", |db| {
            db.update.start_first = true;
            db.environment.insert("VERSION".into(), "2".into());
        });
        let plan = try_plan(&first, &world, None).unwrap();
        let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
        assert!(create.after.contains(&"rename container macula-db-1".to_owned()), "{:?}", create.after);
        // an earlier version left it with the id of a container that is gone
        let mut stale = world.clone();
        let web = container(&mut stale, "macula-web-1");
        (web.state, web.error) = (ContainerState::Exited, "No such container: 4ab56f".to_owned());
        web.exit_code = Some(128);
        let plan = try_plan(&platform, &stale, None).unwrap();
        assert!(plan.steps.iter().any(|step| step.id == "create container macula-web-1"), "{plan}");
        // who merely ended is started again
        let mut ended = world.clone();
        let web = container(&mut ended, "macula-web-1");
        (web.state, web.exit_code) = (ContainerState::Exited, Some(1));
        let plan = try_plan(&platform, &ended, None).unwrap();
        assert!(plan.steps.iter().all(|step| step.id != "create container macula-web-1"), "{plan}");
    }
}

#[test]
fn who_depends_with_restart_follows_a_restart_and_a_replacement_of_one_service() {
    let mut platform = platform();
    change(&mut platform, "web", |service| service.depends_on.get_mut("db").unwrap().restart = true);
    let world = right_world(&platform);
    let db = BTreeSet::from(["db".to_owned()]);
    let groups = |plan: &Plan| {
        let stops = plan.steps.iter().filter(|step| matches!(step.action, Action::Stop { .. }));
        stops.map(|step| step.group.clone()).collect::<BTreeSet<String>>()
    };
    let both = BTreeSet::from(["db".to_owned(), "web".to_owned()]);
    let specs = resources(&platform).containers;
    assert_eq!(groups(&restart("macula", &specs, &world, &db)), both);
    assert_eq!(groups(&restart("macula", &labelled_specs("macula", &world), &world, &db)), both);
    let resources = resources(&platform);
    let supply =
        supply(&platform, &image_specs(&platform), &world, false, &|service| service_volumes(&platform, service)).0;
    let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection: Some(&db), relay: false };
    let plan = reconcile_anew(&wish, &db, &world).unwrap();
    assert_eq!(groups(&plan), both);
    assert!(plan.to_string().contains("stop container macula-web-1 (db is replaced)"), "{plan}");
    // what does not run is left alone
    let mut world = world;
    container(&mut world, "macula-web-1").state = ContainerState::Exited;
    assert_eq!(groups(&reconcile_anew(&wish, &db, &world).unwrap()), db);
}

#[test]
fn a_job_is_done_again_when_what_it_worked_on_has_been_started_since() {
    let mut platform = platform();
    change(&mut platform, "migrate", |service| service.depends_on.get_mut("db").unwrap().restart = true);
    let mut world = right_world(&platform);
    container(&mut world, "macula-migrate-1").started_at = Some(100);
    container(&mut world, "macula-db-1").started_at = Some(90);
    assert_eq!(plan_of(&platform, &world), "nothing to do\n");
    container(&mut world, "macula-db-1").started_at = Some(110);
    assert_snapshot!(plan_of(&platform, &world), @"
    + start container macula-migrate-1 (db is replaced)
      await container macula-migrate-1 (db is replaced) after start container macula-migrate-1
    ");
}

/// Engines cannot add a name or an address to a container that is there, and one too many does no harm.
#[test]
fn what_is_new_to_the_ingress_goes_to_one_more_and_the_old_one_stays() {
    let world = right_world(&with_names(&["page"]));
    assert_snapshot!(plan_of(&with_names(&["page"]), &world), @"nothing to do");
    let more = right_world(&with_names(&["page", "wiki"]));
    assert_snapshot!(plan_of(&with_names(&["page"]), &more), @"
    - stop container macula-wiki-1 (no longer wanted)
    - remove container macula-wiki-1 (no longer wanted) after stop container macula-wiki-1
    ");
    assert_snapshot!(plan_of(&with_names(&["page", "wiki"]), &world), @"
    + get image wiki:1 (missing)
    + create container macula-gate-2 (missing)
    + start container macula-gate-2 (missing) after create container macula-gate-2
      await container macula-gate-2 (missing) after start container macula-gate-2
    + create container macula-wiki-1 (missing) after get image wiki:1
    + start container macula-wiki-1 (missing) after create container macula-wiki-1
      await container macula-wiki-1 (missing) after start container macula-wiki-1
    ");

    // an address of its own, and another port of HTTP
    let mut platform = with_names(&["page"]);
    change(&mut platform, "page", |service| service.extension.address = Some(Ipv4Addr::new(127, 0, 0, 77)));
    assert_snapshot!(plan_of(&platform, &world), @"
    + create container macula-gate-2 (missing)
    + start container macula-gate-2 (missing) after create container macula-gate-2
      await container macula-gate-2 (missing) after start container macula-gate-2
    ");
    let mut both = world.clone();
    let extra = resources_beside(&platform, &world).containers;
    let extra = extra.iter().find(|spec| spec.name == "macula-gate-2").unwrap();
    let addresses: Vec<String> = extra.ports.iter().map(|port| port.host_ip.to_string()).collect();
    // with those of the names behind which telemetry is taken
    assert_eq!(addresses, ["127.0.0.3", "127.0.0.12", "127.0.0.77"]);
    assert!(extra.networks.iter().all(|network| network.aliases.is_empty()), "{:?}", extra.networks);
    both.containers.push(as_wanted(extra));
    assert_snapshot!(plan_of(&platform, &both), @"nothing to do");
    // the address goes, and with it what was made for it
    assert_snapshot!(plan_of(&with_names(&["page"]), &both), @"
    - stop container macula-gate-2 (no longer wanted)
    - remove container macula-gate-2 (no longer wanted) after stop container macula-gate-2
    ");
    // what is made anew has room for all
    change(&mut platform, "gate", |service| {
        service.environment.insert("COLOUR".into(), "blue".into());
    });
    assert_snapshot!(plan_of(&platform, &both), @"
    - stop container macula-gate-1 (changed: environment)
    - remove container macula-gate-1 (changed: environment) after stop container macula-gate-1
    + create container macula-gate-1 (changed: environment) after remove container macula-gate-1
    + start container macula-gate-1 (changed: environment) after create container macula-gate-1, stop container macula-gate-2
      await container macula-gate-1 (changed: environment) after start container macula-gate-1
    - stop container macula-gate-2 (no longer wanted)
    - remove container macula-gate-2 (no longer wanted) after stop container macula-gate-2
    ");
    let mut platform = with_names(&["page"]);
    platform.ingress.http = 8080;
    assert_snapshot!(plan_of(&platform, &world), @"
    - stop container macula-gate-1 (changed: ports)
    - remove container macula-gate-1 (changed: ports) after stop container macula-gate-1
    + create container macula-gate-1 (changed: ports) after remove container macula-gate-1
    + start container macula-gate-1 (changed: ports) after create container macula-gate-1
      await container macula-gate-1 (changed: ports) after start container macula-gate-1
    ");
}

#[test]
fn a_dependent_that_asks_for_it_restarts_when_its_dependency_is_recreated() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.depends_on.get_mut("db").unwrap().restart = true;
    });
    let world = right_world(&platform);
    change(&mut platform, "db", |service| {
        service.environment.insert("COLOUR".into(), "blue".into());
    });
    assert_snapshot!(plan_of(&platform, &world), @"
    - stop container macula-db-1 (changed: environment)
    - remove container macula-db-1 (changed: environment) after stop container macula-db-1
    + create container macula-db-1 (changed: environment) after remove container macula-db-1
    + start container macula-db-1 (changed: environment) after create container macula-db-1
      await container macula-db-1 (changed: environment) after start container macula-db-1
    - stop container macula-web-1 (db is replaced)
    + start container macula-web-1 (db is replaced) after await container macula-db-1, stop container macula-web-1
      await container macula-web-1 (db is replaced) after start container macula-web-1
    ");
}
