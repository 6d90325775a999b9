//! What `down`, `stop` and `restart` do, and what is left over.

use proptest::prelude::*;

use super::*;

#[test]
fn down_stops_dependents_first_and_keeps_the_data() {
    let world = right_world(&platform());
    assert_snapshot!(down("macula", &world, Keep::default()).to_string(), @"
    - stop container macula-db-1 (requested) after stop container macula-web-1
    - remove container macula-db-1 (requested) after stop container macula-db-1
    - remove container macula-migrate-1 (requested)
    - stop container macula-web-1 (requested)
    - remove container macula-web-1 (requested) after stop container macula-web-1
    - remove network macula (requested) after remove container macula-db-1, remove container macula-migrate-1, remove container macula-web-1
    ");
}

#[test]
fn what_has_ended_still_ties_those_that_need_it_to_what_it_needs() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.depends_on.remove("db");
    });
    let world = right_world(&platform);
    let plan = down("macula", &world, Keep::default());
    assert_eq!(plan.index()["stop container macula-db-1"].after, ["stop container macula-web-1"]);
}

/// Services that run, called by letters and numbers in their order, each with what it needs.
fn needing(needs: &[Vec<usize>]) -> Observed {
    let name = |at: usize| format!("s{at:03}");
    let containers = needs.iter().enumerate().map(|(at, needs)| {
        let needs: Vec<String> = needs.iter().map(|other| name(*other)).collect();
        let labels =
            [(label::PLATFORM, "macula".to_owned()), (label::SERVICE, name(at)), (label::DEPENDS_ON, needs.join(","))];
        ObservedContainer {
            name: name(at),
            state: ContainerState::Running,
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
            ..ObservedContainer::default()
        }
    });
    Observed { containers: containers.collect(), ..Observed::default() }
}

proptest! {
    #[test]
    fn what_needs_a_service_directly_or_not_stops_before_it(
        needs in prop::collection::vec(prop::collection::vec(0..7_usize, 0..4), 6),
    ) {
        let direct = needs.iter().enumerate().flat_map(|(at, needs)| needs.iter().map(move |other| (at, *other)));
        let mut reached: BTreeSet<(usize, usize)> = direct.collect();
        loop {
            let known: Vec<(usize, usize)> = reached.iter().copied().collect();
            for (from, by) in &known {
                reached.extend(known.iter().filter(|(at, _)| at == by).map(|(_, to)| (*from, *to)));
            }
            if reached.len() == known.len() {
                break;
            }
        }
        let plan = down("macula", &needing(&needs), Keep::default());
        assert_no_circle(&plan);
        for service in 0..needs.len() {
            let before = |other: &usize| {
                let back = reached.contains(&(service, *other));
                *other != service && reached.contains(&(*other, service)) && (!back || *other < service)
            };
            let stops = |at: usize| format!("stop container s{at:03}");
            let wanted: Vec<String> = (0..needs.len()).filter(before).map(stops).collect();
            prop_assert_eq!(&plan.index()[stops(service).as_str()].after, &wanted);
        }
    }
}

#[test]
fn a_long_chain_is_no_long_wait_for_down_and_stop() {
    let needs: Vec<Vec<usize>> = (0..500_usize).map(|at| at.checked_sub(1).into_iter().collect()).collect();
    let world = needing(&needs);
    let services = world.containers.iter().map(|found| found.name.clone()).collect();
    for plan in [down("macula", &world, Keep::default()), stop("macula", &world, &services)] {
        let index = plan.index();
        assert_eq!(index["stop container s499"].after, [""; 0]);
        assert_eq!(index["stop container s000"].after.len(), 499);
    }
}

#[test]
fn down_with_volumes_takes_the_data_last() {
    let mut world = right_world(&platform());
    world.containers.clear();
    assert_snapshot!(down("macula", &world, Keep { remove_volumes: true }).to_string(), @"
    - remove network macula (requested)
    - remove volume macula-db-data (requested)
    ");
}

#[test]
fn files_that_were_copied_in_go_with_their_container() {
    let mut world = right_world(&platform());
    world.containers.clear();
    let mut files = world.volumes[0].clone();
    files.name = "macula-db-1-files-etc-db".into();
    files.labels.insert(label::FILES.into(), "true".into());
    world.volumes.push(files);
    let plan = down("macula", &world, Keep::default());
    assert_snapshot!(plan.to_string(), @"
    - remove network macula (requested)
    - remove volume macula-db-1-files-etc-db (requested)
    ");
    assert!(plan.steps.iter().all(|step| !step.destructive));
}

#[test]
fn nobody_waits_for_data_that_is_removed() {
    let mut world = right_world(&platform());
    for found in &mut world.containers {
        let writes = match found.label(label::SERVICE) {
            Some("db") => "macula-db-data",
            // a folder of the host, which outlives the platform
            Some("web") => "/srv/pages",
            _ => continue,
        };
        found.writes.push(writes.to_owned());
    }
    assert_snapshot!(down("macula", &world, Keep { remove_volumes: true }).to_string(), @"
    - remove container macula-db-1 (requested)
    - stop container macula-web-1 (requested)
    - remove container macula-web-1 (requested) after stop container macula-web-1
    - remove container macula-migrate-1 (requested)
    - remove network macula (requested) after remove container macula-db-1, remove container macula-web-1, remove container macula-migrate-1
    - remove volume macula-db-data (requested) after remove container macula-db-1
    ");
    // whoever only reads it has it too
    for found in world.containers.iter_mut().filter(|found| found.label(label::SERVICE) == Some("web")) {
        found.reads.push("macula-db-data".to_owned());
    }
    let plan = down("macula", &world, Keep { remove_volumes: true });
    let after = &plan.index()["remove volume macula-db-data"].after;
    assert_eq!(*after, ["remove container macula-db-1", "remove container macula-web-1"]);
    let kept = down("macula", &world, Keep::default()).to_string();
    assert!(kept.contains("stop container macula-db-1"), "{kept}");
}

/// What a run that was killed leaves under temporary names, and two networks of one name.
#[test]
fn what_an_interrupted_run_left_is_removed() {
    let platform = platform();
    let mut world = right_world(&platform);
    let mut left = world.containers.pop().unwrap();
    let service = left.label(label::SERVICE).unwrap().to_owned();
    left.name.push_str(".unfinished");
    left.state = ContainerState::Created;
    world.unfinished.push(left);
    assert_eq!(service, "web");
    assert_snapshot!(plan_of(&platform, &world), @"
    - remove container macula-web-1.unfinished (left by an interrupted run)
    + create container macula-web-1 (missing) after remove container macula-web-1.unfinished
    + start container macula-web-1 (missing) after create container macula-web-1
      await container macula-web-1 (missing) after start container macula-web-1
    ");
    let down = down("macula", &world, Keep::default()).to_string();
    assert!(down.contains("remove container macula-web-1.unfinished (requested)\n"), "{down}");
}

#[test]
fn of_two_networks_with_one_name_none_is_chosen() {
    let platform = platform();
    let mut world = right_world(&platform);
    let mut twin = world.networks[0].clone();
    (world.networks[0].id, twin.id) = ("a1".repeat(32), "b2".repeat(32));
    world.networks.push(twin);
    let (resources, supply) = (resources(&platform), Supply::default());
    let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection: None, relay: false };
    let conflicts = reconcile(&wish, &world).unwrap_err();
    assert_eq!(conflicts[0].to_string(), "network macula: 2 networks have this name: a1a1a1a1a1a1, b2b2b2b2b2b2");
    // each can be named by its id when they go
    let down = down("macula", &world, Keep::default());
    let removed = down.steps.iter().filter(|step| matches!(step.action, Action::RemoveNetwork { .. }));
    assert_eq!(removed.map(|step| step.resource.name.get(..2).unwrap()).collect::<Vec<_>>(), ["a1", "b2"]);
}

#[test]
fn down_leaves_other_platforms_alone() {
    assert_snapshot!(down("pr-1", &right_world(&platform()), Keep { remove_volumes: true }).to_string(), @"");
}

#[test]
fn restart_stops_backwards_and_starts_forwards() {
    let world = right_world(&platform());
    let chosen = ["web".to_owned(), "db".to_owned()].into();
    assert_snapshot!(restart("macula", &resources(&platform()).containers, &world, &chosen).to_string(), @"
    - stop container macula-db-1 (requested) after stop container macula-web-1
    - stop container macula-web-1 (requested)
    + start container macula-db-1 (requested) after stop container macula-db-1
      await container macula-db-1 (requested) after start container macula-db-1
    + start container macula-web-1 (requested) after stop container macula-web-1, await container macula-db-1
      await container macula-web-1 (requested) after start container macula-web-1
    ");
}

#[test]
fn start_takes_what_does_not_run_and_no_job_that_is_done() {
    let all = ["db", "migrate", "web"].map(str::to_owned).into();
    let specs = resources(&platform()).containers;
    for (name, state, exit_code, starts) in [
        ("macula-web-1", ContainerState::Running, None, false),
        ("macula-web-1", ContainerState::Exited, Some(0), true),
        ("macula-web-1", ContainerState::Paused, None, true),
        ("macula-migrate-1", ContainerState::Exited, Some(0), false),
        ("macula-migrate-1", ContainerState::Exited, Some(1), true),
        ("macula-migrate-1", ContainerState::Created, Some(0), true),
    ] {
        let mut world = right_world(&platform());
        let found = container(&mut world, name);
        (found.state, found.exit_code) = (state, exit_code);
        let plan = start(&specs, &world, &all);
        let begun: Vec<&str> = plan.steps.iter().map(|step| step.resource.name.as_str()).collect();
        // its start, and that it answers
        assert_eq!(begun, if starts { vec![name, name] } else { vec![] }, "{name} {state:?} {exit_code:?}");
    }
    let mut world = right_world(&platform());
    for found in &mut world.containers {
        (found.state, found.exit_code) = (ContainerState::Exited, Some(0));
    }
    assert_snapshot!(start(&specs, &world, &all).to_string(), @"
    + start container macula-db-1 (requested)
      await container macula-db-1 (requested) after start container macula-db-1
    + start container macula-web-1 (requested) after await container macula-db-1
      await container macula-web-1 (requested) after start container macula-web-1
    ");
    assert_snapshot!(start(&specs, &world, &["web".to_owned()].into()).to_string(), @"
    + start container macula-web-1 (requested)
      await container macula-web-1 (requested) after start container macula-web-1
    ");
}

#[test]
fn stop_takes_the_running_containers_of_these_services_and_no_others() {
    let mut world = right_world(&platform());
    let mut relay = container(&mut world, "macula-db-1").clone();
    relay.name = "macula-reach".into();
    relay.labels.insert(label::RELAY.into(), "/macula".into());
    world.containers.push(relay);
    let stopped = |platform: &str, services: &[&str]| {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        stop(platform, &world, &services).to_string()
    };
    assert_eq!(stopped("macula", &["db", "migrate"]), "- stop container macula-db-1 (requested)\n");
    assert_eq!(stopped("pr-1", &["db", "migrate"]), "");
}

/// Without the files, as far as labels go.
#[test]
fn labels_say_what_a_container_is_and_needs() {
    let mut platform = platform();
    change(&mut platform, "web", |web| web.depends_on.get_mut("db").unwrap().restart = true);
    let mut world = right_world(&platform);
    let mut relay = container(&mut world, "macula-db-1").clone();
    relay.name = "macula-reach".into();
    relay.labels.insert(label::RELAY.into(), "/macula".into());
    world.containers.push(relay);
    let shown = |spec: ContainerSpec| {
        let need = |on: &DependsOn| format!("{} {:?} {} {}", on.service, on.condition, on.required, on.restart);
        let needs = spec.depends_on.iter().map(need).collect::<Vec<_>>().join(", ");
        let Readiness { probe, one_shot, timeout, .. } = &spec.readiness;
        let ready = format!("{} {one_shot} {}", probe.is_some(), timeout.as_secs());
        format!("{} {} {}: {ready}: {needs}", spec.name, spec.stack, spec.service)
    };
    let specs: Vec<String> = labelled_specs("macula", &world).into_iter().map(shown).collect();
    assert_eq!(
        specs,
        [
            "macula-db-1 app db: false false 120: ",
            "macula-migrate-1 app migrate: false true 120: db ServiceHealthy true false",
            "macula-web-1 app web: false false 120: db ServiceHealthy true true, migrate ServiceHealthy true false",
        ]
    );
    assert!(labelled_specs("pr-1", &world).is_empty());
}

#[test]
fn a_job_that_is_not_run_again_passes_on_what_it_needs() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.depends_on.remove("db");
    });
    let world = right_world(&platform);
    let chosen = ["web".to_owned(), "db".to_owned()].into();
    let plan = restart("macula", &resources(&platform).containers, &world, &chosen);
    assert_eq!(
        plan.index()["start container macula-web-1"].after,
        ["stop container macula-web-1", "await container macula-db-1"]
    );
}

#[test]
fn what_runs_has_started_whatever_its_health() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.depends_on.clear();
        *service = needs(service.clone(), "db", Condition::ServiceStarted);
    });
    let mut world = right_world(&platform);
    for found in &mut world.containers {
        match found.name.as_str() {
            "macula-db-1" => found.health = Health::Unhealthy,
            "macula-web-1" => found.state = ContainerState::Exited,
            _ => {}
        }
    }
    let plan = plan_of(&platform, &world);
    assert_snapshot!(plan, @"
      await container macula-db-1 (not healthy)
    + start container macula-web-1 (not running)
      await container macula-web-1 (not running) after start container macula-web-1
    ");
}
