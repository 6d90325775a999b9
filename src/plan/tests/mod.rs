//! Each rule with its whole plan as text. The world is made from what is wanted, then changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use insta::assert_snapshot;

use super::*;
use crate::compile::{Block, Site, compile, held, image_specs, service_volumes};
use crate::model::*;
use crate::model::{Invocation, PlatformName};

fn facts() -> Facts {
    Facts {
        api_version: "1.41".into(),
        container_addresses: true,
        architecture: "x86_64".into(),
        cpus: 2,
        memory: 8 << 30,
        cgroup_version: Some(2),
        ..Facts::of("Docker 20.10.24", EngineKind::Docker)
    }
}

fn service(name: &str) -> Service {
    Service { name: name.into(), image: Some(format!("{name}:1")), replicas: 1, ..Service::default() }
}

fn needs(mut service: Service, other: &str, condition: Condition) -> Service {
    service.depends_on.insert(other.into(), Dependency { condition, restart: false, required: true });
    service
}

fn with_volume(mut service: Service, key: &str) -> Service {
    service.mounts.push(Mount::Volume {
        source: Some(key.into()),
        target: "/data".into(),
        read_only: false,
        no_copy: false,
        subpath: None,
    });
    service
}

/// web needs a healthy db, db has data, a job must have ended before web starts.
fn platform() -> Platform {
    let web = needs(
        needs(service("web"), "db", Condition::ServiceHealthy),
        "migrate",
        Condition::ServiceCompletedSuccessfully,
    );
    let mut db = with_volume(service("db"), "db-data");
    db.extension.provider = Some(Provider { image: "db-2".into(), build: "db-1".into(), takes_over: Vec::new() });
    db.build =
        Some(Build { dockerfile_inline: Some("FROM localhost/macula/base:trixie\n".into()), ..Build::default() });
    let migrate = needs(service("migrate"), "db", Condition::ServiceHealthy);
    let services = [web, db, migrate].into_iter().map(|service| (service.name.clone(), service)).collect();
    Platform {
        name: PlatformName::default(),
        domain: "macula.local".into(),
        stacks: vec![Stack {
            scoped: false,
            name: "app".into(),
            origin: Origin::BuiltIn,
            services,
            networks: BTreeMap::new(),
            volumes: [("db-data".to_owned(), Volume::default())].into(),
        }],
        images: ImageSettings::default(),
        ingress: IngressSettings::default(),
        dns: DnsSettings::default(),
        cluster: ClusterSettings::default(),
        addresses: AddressSettings::default(),
        reach: Default::default(),
        telemetry: Default::default(),
        timeouts: Timeouts::default(),
        lease: Default::default(),
        processes: Default::default(),
        tasks: Default::default(),
        programs: Default::default(),
        written: None,
    }
}

fn change(platform: &mut Platform, name: &str, change: impl FnOnce(&mut Service)) {
    change(platform.stacks[0].services.get_mut(name).unwrap());
}

fn resources(platform: &Platform) -> Resources {
    resources_beside(platform, &Observed::default())
}

fn resources_beside(platform: &Platform, world: &Observed) -> Resources {
    let (facts, secrets) = (facts(), Secrets::default());
    let site = Site {
        facts: &facts,
        subnet: "10.222.7.0/24".parse().unwrap(),
        block: Block::DEFAULT,
        secrets: &secrets,
        certificate: None,
        version: "0.1.0",
        resolver: true,
        held: &held(world, &platform.name),
    };
    compile(platform, &site).unwrap()
}

/// A world in which everything is as wanted.
fn right_world(platform: &Platform) -> Observed {
    let resources = resources(platform);
    let mut world = Observed::default();
    for spec in &resources.images {
        let image = ObservedImage { id: format!("sha256:{}", spec.reference), ..ObservedImage::default() };
        world.images.insert(spec.reference.clone(), image);
    }
    for spec in &resources.networks {
        let mut labels = spec.labels.clone();
        labels.insert(label::FINGERPRINT.into(), spec.fingerprint().0);
        world.networks.push(ObservedNetwork { name: spec.name.clone(), labels, ..ObservedNetwork::default() });
    }
    for spec in &resources.volumes {
        let mut labels = spec.labels.clone();
        if let Some(provider) = &spec.provider {
            labels.insert(label::PROVIDER.into(), provider.image.clone());
        }
        world.volumes.push(ObservedVolume { name: spec.name.clone(), labels, made_at: None });
    }
    for spec in &resources.containers {
        world.containers.push(as_wanted(spec));
        for file in spec.files.iter().filter(|file| file.reload) {
            let digest = Fingerprint::of_bytes(&file.content).0;
            world.files.entry(spec.name.clone()).or_default().insert(file.path.clone(), digest);
        }
    }
    world
}

fn as_wanted(spec: &ContainerSpec) -> ObservedContainer {
    let mut labels = spec.labels.clone();
    labels.insert(label::FINGERPRINT.into(), spec.fingerprint.clone().unwrap().0);
    labels.insert(label::PARTS.into(), spec.parts.clone());
    let (state, exit_code) =
        if spec.readiness.one_shot { (ContainerState::Exited, Some(0)) } else { (ContainerState::Running, None) };
    ObservedContainer {
        name: spec.name.clone(),
        image: spec.image.clone(),
        image_id: format!("sha256:{}", spec.image),
        state,
        exit_code,
        labels,
        ports: spec.ports.clone(),
        ..ObservedContainer::default()
    }
}

fn container<'a>(world: &'a mut Observed, name: &str) -> &'a mut ObservedContainer {
    world.containers.iter_mut().find(|found| found.name == name).unwrap()
}

fn try_plan(platform: &Platform, world: &Observed, selection: Option<&BTreeSet<String>>) -> Result<Plan, String> {
    let (chosen, problems) =
        super::supply(platform, &image_specs(platform), world, false, &|service| service_volumes(platform, service));
    if !problems.is_empty() {
        return Err(problems.iter().map(|problem| format!("{problem}\n")).collect());
    }
    let left_out: BTreeSet<&str> = chosen.left_out.iter().map(|left| left.service.as_str()).collect();
    let platform = without(platform, &left_out);
    let resources = resources_beside(&platform, world);
    let wish = Wish { platform: &platform.name, resources: &resources, supply: &chosen, selection };
    reconcile(&wish, world).map_err(|conflicts| {
        conflicts
            .iter()
            .map(|conflict| {
                let remedies = conflict.remedies.iter().map(|remedy| remedy.text(&Invocation::default()));
                format!("{conflict}\n  {}\n", remedies.collect::<Vec<_>>().join("\n  "))
            })
            .collect()
    })
}

fn plan_of(platform: &Platform, world: &Observed) -> String {
    match try_plan(platform, world, None) {
        Ok(plan) if plan.is_empty() && plan.left_out.is_empty() => "nothing to do\n".into(),
        Ok(plan) => plan.to_string(),
        Err(text) => text,
    }
}

#[test]
fn what_is_right_stays() {
    assert_snapshot!(plan_of(&platform(), &right_world(&platform())), @"nothing to do");
}

#[test]
fn what_something_else_was_to_make_names_who_needs_it() {
    let mut platform = platform();
    platform.stacks[0].volumes.insert("shop".into(), Volume { external: true, ..Volume::default() });
    for name in ["web", "migrate"] {
        change(&mut platform, name, |service| *service = with_volume(service.clone(), "shop"));
    }
    assert_snapshot!(plan_of(&platform, &Observed::default()), @r"
    migrate and web mount the external volume shop, which does not exist
      docker volume create shop
    ");
}

#[test]
fn everything_is_made_in_the_order_of_its_dependencies() {
    assert_snapshot!(plan_of(&platform(), &Observed::default()), @"
    + create network macula (missing)
    + get image db:1 (missing)
    + get image migrate:1 (missing)
    + get image web:1 (missing)
    + create volume macula-db-data (missing) after get image db:1
    + create container macula-db-1 (missing) after create network macula, create volume macula-db-data, get image db:1
    + start container macula-db-1 (missing) after create container macula-db-1
      await container macula-db-1 (missing) after start container macula-db-1
    + create container macula-migrate-1 (missing) after create network macula, get image migrate:1
    + start container macula-migrate-1 (missing) after await container macula-db-1, create container macula-migrate-1
      await container macula-migrate-1 (missing) after start container macula-migrate-1
    + create container macula-web-1 (missing) after create network macula, get image web:1
    + start container macula-web-1 (missing) after await container macula-db-1, await container macula-migrate-1, create container macula-web-1
      await container macula-web-1 (missing) after start container macula-web-1
    ");
}

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
fn a_changed_variable_recreates_one_container_and_nothing_else() {
    let world = right_world(&platform());
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.environment.insert("COLOUR".into(), "blue".into());
    });
    assert_snapshot!(plan_of(&platform, &world), @"
    - stop container macula-web-1 (changed: environment)
    - remove container macula-web-1 (changed: environment) after stop container macula-web-1
    + create container macula-web-1 (changed: environment) after remove container macula-web-1
    + start container macula-web-1 (changed: environment) after create container macula-web-1
      await container macula-web-1 (changed: environment) after start container macula-web-1
    ");
}

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
            let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection };
            let plan = reconcile_anew(&wish, &db, &world).unwrap();
            let create = plan.steps.iter().find(|step| step.id == "create container macula-web-1").unwrap();
            assert_eq!(create.cause.to_string(), "db is replaced");
            assert!(create.after.contains(&"start container macula-db-1".to_owned()), "{:?}", create.after);
        }
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
fn hooks_lie_in_the_labels_for_commands_that_read_no_files() {
    let mut platform = platform();
    let hook = |word: &str| vec![Hook { command: vec![word.into()], user: Some("7".into()), ..Hook::default() }];
    change(&mut platform, "web", |service| {
        service.post_start = hook("greet");
        service.pre_stop = hook("drain");
    });
    let world = right_world(&platform);
    let told = |plan: &Plan| {
        let of = |step: &Step| match &step.action {
            Action::Start { hooks, .. } | Action::Stop { hooks, .. } if !hooks.is_empty() => {
                Some(format!("{} {:?} {:?}", step.id, hooks[0].command, hooks[0].user))
            }
            _ => None,
        };
        plan.steps.iter().filter_map(of).collect::<Vec<String>>()
    };
    let (stop, start) = (
        "stop container macula-web-1 [\"drain\"] Some(\"7\")".to_owned(),
        "start container macula-web-1 [\"greet\"] Some(\"7\")".to_owned(),
    );
    let web = BTreeSet::from(["web".to_owned()]);
    let labelled = labelled_specs("macula", &world);
    assert_eq!(told(&restart("macula", &labelled, &world, &web)), [stop.clone(), start.clone()]);
    // although nothing else would have to be written out
    assert_eq!(told(&down("macula", &world, Keep { remove_volumes: true })), std::slice::from_ref(&stop));
    // the old container is stopped as it was made, and the new one started as it is wanted
    change(&mut platform, "web", |service| service.pre_stop = hook("other"));
    assert_eq!(told(&try_plan(&platform, &world, None).unwrap()), [stop, start]);
}

#[test]
fn a_build_that_has_failed_takes_along_what_comes_after_it() {
    let plan = try_plan(&platform(), &Observed::default(), None).unwrap();
    assert_eq!(plan.after_failure(&BTreeSet::new()), (std::borrow::Cow::Borrowed(&plan), BTreeSet::new()));
    let (rest, skipped) = plan.after_failure(&BTreeSet::from(["get image web:1".to_owned()]));
    let gone: Vec<&str> =
        plan.steps.iter().filter(|step| !rest.steps.contains(step)).map(|step| step.id.as_str()).collect();
    let web = ["create container macula-web-1", "start container macula-web-1", "await container macula-web-1"];
    assert!(gone.contains(&"get image web:1") && web.iter().all(|id| gone.contains(id)), "{gone:?}");
    assert!(rest.steps.iter().any(|step| step.id == "start container macula-db-1"), "{rest}");
    assert!(rest.steps.iter().all(|step| step.after.iter().all(|id| !gone.contains(&id.as_str()))), "{rest}");
    assert!(skipped.contains("web") && !skipped.contains("db"), "{skipped:?}");
}

#[test]
fn a_post_start_that_has_not_run_well_is_run_again() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        service.post_start = vec![Hook { command: vec!["greet".into()], ..Hook::default() }];
    });
    let mut world = right_world(&platform);
    assert!(try_plan(&platform, &world, None).unwrap().is_empty());
    world.unhooked.insert("macula-web-1".into());
    let plan = try_plan(&platform, &world, None).unwrap();
    assert_snapshot!(plan.to_string(), @"
    + start container macula-web-1 (its `post_start` has not run well)
      await container macula-web-1 (its `post_start` has not run well) after start container macula-web-1
    ");
    let hooks = plan.steps.iter().find_map(|step| match &step.action {
        Action::Start { hooks, .. } => Some(hooks.clone()),
        _ => None,
    });
    assert_eq!(hooks.map(|hooks| hooks.len()), Some(1));
    // a container that is started anyway runs it, too
    container(&mut world, "macula-web-1").state = ContainerState::Exited;
    container(&mut world, "macula-web-1").exit_code = Some(1);
    assert_snapshot!(plan_of(&platform, &world), @"
    + start container macula-web-1 (not running)
      await container macula-web-1 (not running) after start container macula-web-1
    ");
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
    let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection: Some(&db) };
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
    assert_eq!(extra.ports.iter().map(|port| port.host_ip.to_string()).collect::<Vec<_>>(), ["127.0.0.77"]);
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

fn with_file(service: &mut Service, content: &str) {
    service.extension.reload = Some(Reload::Signal("SIGHUP".into()));
    service.files = vec![FileMount {
        target: "/etc/web.conf".into(),
        content: content.into(),
        uid: 0,
        gid: 0,
        mode: 0o644,
        secret: false,
        source: String::new(),
        external: None,
    }];
}

#[test]
fn a_changed_file_is_copied_in_and_the_service_told() {
    let mut platform = platform();
    change(&mut platform, "web", |service| with_file(service, "one"));
    let world = right_world(&platform);
    change(&mut platform, "web", |service| with_file(service, "two"));
    assert_snapshot!(plan_of(&platform, &world), @"
    ~ copy files into container macula-web-1 (changed: /etc/web.conf)
    ~ reload container macula-web-1 (changed: /etc/web.conf) after copy files into container macula-web-1
    ");
}

#[test]
fn a_changed_file_of_a_service_that_cannot_reload_recreates_it() {
    let mut platform = platform();
    let fixed = |service: &mut Service, text: &str| {
        with_file(service, text);
        service.extension.reload = None;
    };
    change(&mut platform, "web", |service| fixed(service, "one"));
    let world = right_world(&platform);
    change(&mut platform, "web", |service| fixed(service, "two"));
    assert_snapshot!(plan_of(&platform, &world), @"
    - stop container macula-web-1 (changed: files)
    - remove container macula-web-1 (changed: files) after stop container macula-web-1
    + create container macula-web-1 (changed: files) after remove container macula-web-1
    + start container macula-web-1 (changed: files) after create container macula-web-1
      await container macula-web-1 (changed: files) after start container macula-web-1
    ");
}

#[test]
fn a_container_that_was_stopped_by_hand_is_started() {
    let mut world = right_world(&platform());
    let stopped = container(&mut world, "macula-db-1");
    (stopped.state, stopped.exit_code) = (ContainerState::Exited, Some(137));
    assert_snapshot!(plan_of(&platform(), &world), @"
    + start container macula-db-1 (not running)
      await container macula-db-1 (not running) after start container macula-db-1
    ");
}

#[test]
fn a_container_that_waits_for_the_engines_next_try_is_started_now() {
    let mut world = right_world(&platform());
    let web = container(&mut world, "macula-web-1");
    (web.state, web.exit_code, web.restart_count) = (ContainerState::Restarting, Some(1), 9);
    assert_snapshot!(plan_of(&platform(), &world), @"
    - stop container macula-web-1 (not running)
    + start container macula-web-1 (not running) after stop container macula-web-1
      await container macula-web-1 (not running) after start container macula-web-1
    ");
}

#[test]
fn a_container_that_was_removed_by_hand_is_made_again() {
    let mut world = right_world(&platform());
    world.containers.retain(|found| found.name != "macula-web-1");
    assert_snapshot!(plan_of(&platform(), &world), @"
    + create container macula-web-1 (missing)
    + start container macula-web-1 (missing) after create container macula-web-1
      await container macula-web-1 (missing) after start container macula-web-1
    ");
}

#[test]
fn a_job_that_failed_runs_again() {
    let mut world = right_world(&platform());
    container(&mut world, "macula-migrate-1").exit_code = Some(3);
    assert_snapshot!(plan_of(&platform(), &world), @"
    + start container macula-migrate-1 (not running)
      await container macula-migrate-1 (not running) after start container macula-migrate-1
    ");
}

#[test]
fn an_unhealthy_service_is_waited_for() {
    let mut world = right_world(&platform());
    container(&mut world, "macula-web-1").health = Health::Unhealthy;
    assert_snapshot!(plan_of(&platform(), &world), @"  await container macula-web-1 (not healthy)");
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
fn a_port_of_another_stack_is_free_once_its_container_is_stopped_and_taken_while_it_stays() {
    let port = PublishedPort {
        target: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
        published: Some(8000),
        published_to: None,
        host_mode: false,
        name: None,
        app_protocol: None,
    };
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
    let specs = resources(&platform).containers;
    let conflicts = keep_other_stacks(&mut plan, &specs, &world, &["blog"].into()).unwrap_err();
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
    next.stacks[1].services = [("page".to_owned(), other)].into();
    let mut plan = try_plan(&next, &world, None).unwrap();
    assert!(plan.to_string().contains("remove container macula-migrate-1"), "{plan}");
    let specs = resources(&next).containers;
    let kept = keep_other_stacks(&mut plan, &specs, &world, &["app", "blog"].into()).unwrap();
    assert_eq!(kept, [("shop".to_owned(), ["web".to_owned()].into())].into());
    assert_snapshot!(plan.to_string(), @"
    + get image page:1 (missing)
    + create container macula-page-1 (missing) after get image page:1
    + start container macula-page-1 (missing) after create container macula-page-1
      await container macula-page-1 (missing) after start container macula-page-1
    ");
    // with the stack that needs it the job goes, too
    let mut plan = try_plan(&next, &world, None).unwrap();
    keep_other_stacks(&mut plan, &specs, &world, &["app", "blog", "shop"].into()).unwrap();
    assert!(plan.to_string().contains("remove container macula-migrate-1"), "{plan}");
}

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
fn nothing_foreign_is_touched() {
    let mut world = right_world(&platform());
    world.networks[0].labels.clear();
    world.volumes[0].labels.clear();
    container(&mut world, "macula-web-1").labels =
        [("com.docker.compose.project".to_owned(), "shop".to_owned())].into();
    container(&mut world, "macula-db-1").labels = [(label::PLATFORM.to_owned(), "pr-1".to_owned())].into();
    assert_snapshot!(plan_of(&platform(), &world), @"
    network macula: exists and was not made by macula
      remove the network if nothing needs it
      docker network rm macula
      or choose another name for this platform with `--name`
    volume macula-db-data: exists and was not made by macula
      remove the volume if nothing needs it
      docker volume rm macula-db-data
      or choose another name for this platform with `--name`
    container macula-db-1: belongs to the platform pr-1
      or choose another name for this platform with `--name`
    container macula-web-1: exists and was not made by macula; it belongs to the Compose project shop
      docker rename macula-web-1 macula-web-1-old
      or choose another name for this platform with `--name`
    ");
}

#[test]
fn a_taken_port_is_named_with_its_holder_before_anything_is_made() {
    let mut platform = platform();
    change(&mut platform, "web", |service| {
        let port = |published| PublishedPort {
            target: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
            published: Some(published),
            published_to: None,
            host_mode: false,
            name: None,
            app_protocol: None,
        };
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
fn a_network_with_another_subnet_moves_and_takes_its_containers_along() {
    let mut world = right_world(&platform());
    world.networks[0].labels.insert(label::FINGERPRINT.into(), "old".into());
    assert_snapshot!(plan_of(&platform(), &world), @"
    - stop container macula-db-1 (network macula is replaced)
    - remove container macula-db-1 (network macula is replaced) after stop container macula-db-1
    + create container macula-db-1 (network macula is replaced) after remove container macula-db-1, create network macula
    + start container macula-db-1 (network macula is replaced) after create container macula-db-1
      await container macula-db-1 (network macula is replaced) after start container macula-db-1
    - stop container macula-migrate-1 (network macula is replaced)
    - remove container macula-migrate-1 (network macula is replaced) after stop container macula-migrate-1
    + create container macula-migrate-1 (network macula is replaced) after remove container macula-migrate-1, create network macula
    + start container macula-migrate-1 (network macula is replaced) after await container macula-db-1, create container macula-migrate-1
      await container macula-migrate-1 (network macula is replaced) after start container macula-migrate-1
    - stop container macula-web-1 (network macula is replaced)
    - remove container macula-web-1 (network macula is replaced) after stop container macula-web-1
    + create container macula-web-1 (network macula is replaced) after remove container macula-web-1, create network macula
    + start container macula-web-1 (network macula is replaced) after await container macula-db-1, await container macula-migrate-1, create container macula-web-1
      await container macula-web-1 (network macula is replaced) after start container macula-web-1
    - remove network macula (changed: specification) after remove container macula-db-1, remove container macula-migrate-1, remove container macula-web-1
    + create network macula (changed: specification) after remove network macula
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
        service.ports = vec![PublishedPort {
            target: 5000,
            protocol: Protocol::Tcp,
            host_ip: None,
            published: Some(5001),
            published_to: None,
            host_mode: false,
            name: None,
            app_protocol: None,
        }];
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
    assert!(matches!(chosen.missed("db", String::new()), SupplyProblem::NoImage { .. }));
}

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
    let wish = Wish { platform: "macula", resources: &resources, supply: &supply, selection: None };
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
    change(&mut platform, "web", |service| service.pull_policy = PullPolicy::Build);
    assert!(matches!(choose(&platform, &world), Choice::Obtain { build: true, pull: false, .. }));
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

#[test]
fn unknown_services_are_named() {
    assert_eq!(select(&platform(), &["wbe".to_owned(), "db".to_owned()]), Err(vec!["wbe".to_owned()]));
}

mod machine_tasks;
mod tasks;
