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
    let stack = Stack {
        scoped: false,
        name: "app".into(),
        origin: Origin::BuiltIn,
        services,
        networks: BTreeMap::new(),
        volumes: [("db-data".to_owned(), Volume::default())].into(),
    };
    Platform::new(PlatformName::default(), vec![stack])
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
        world.volumes.push(ObservedVolume { name: spec.name.clone(), labels, ..ObservedVolume::default() });
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
    let wish = Wish { platform: &platform.name, resources: &resources, supply: &chosen, selection, relay: false };
    reconcile(&wish, world).inspect(assert_no_circle).map_err(|conflicts| {
        conflicts
            .iter()
            .map(|conflict| {
                let remedies = conflict.remedies.iter().map(|remedy| remedy.text(&Invocation::default()));
                format!("{conflict}\n  {}\n", remedies.collect::<Vec<_>>().join("\n  "))
            })
            .collect()
    })
}

/// Every step comes to its turn.
fn assert_no_circle(plan: &Plan) {
    let mut left: Vec<&Step> = plan.steps.iter().collect();
    while !left.is_empty() {
        let ids: BTreeSet<&str> = left.iter().map(|step| step.id.as_str()).collect();
        let waits = |step: &&Step| step.after.iter().any(|id| ids.contains(id.as_str()));
        let (waiting, turn): (Vec<&Step>, Vec<&Step>) = left.iter().copied().partition(waits);
        assert!(!turn.is_empty(), "these wait for each other: {ids:?}\n{plan}");
        left = waiting;
    }
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
    platform.stacks[0].networks.insert("office".into(), NetworkDecl { external: true, ..NetworkDecl::default() });
    change(&mut platform, "web", |service| {
        service.networks.insert("office".into(), ServiceNetwork::default());
    });
    assert_snapshot!(plan_of(&platform, &Observed::default()), @r"
    web is on the external network office, which does not exist
      docker network create office
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
fn a_container_that_was_stopped_by_hand_is_started() {
    let mut world = right_world(&platform());
    let stopped = container(&mut world, "macula-db-1");
    (stopped.state, stopped.exit_code) = (ContainerState::Exited, Some(137));
    assert_snapshot!(plan_of(&platform(), &world), @"
    + start container macula-db-1 (not running)
      await container macula-db-1 (not running) after start container macula-db-1
    ");
}

/// Many a server ends with 0 when it is told to stop, and so does a program that has done its work.
#[test]
fn what_has_ended_with_0_is_started_where_it_was_to_go_on() {
    let mut world = right_world(&platform());
    let ended = container(&mut world, "macula-db-1");
    (ended.state, ended.exit_code) = (ContainerState::Exited, Some(0));
    assert_snapshot!(plan_of(&platform(), &world), @"nothing to do");
    world.lasting.insert("db".to_owned());
    assert_snapshot!(plan_of(&platform(), &world), @"
    + start container macula-db-1 (not running)
      await container macula-db-1 (not running) after start container macula-db-1
    ");
}

#[test]
fn a_container_whose_network_was_removed_is_made_again_where_it_has_to_start() {
    let mut world = right_world(&platform());
    for found in &mut world.containers {
        found.networks.insert("macula".to_owned(), "a".repeat(64));
    }
    world.networks[0].id = "b".repeat(64);
    assert_snapshot!(plan_of(&platform(), &world), @"nothing to do");
    let web = container(&mut world, "macula-web-1");
    (web.state, web.exit_code) = (ContainerState::Exited, Some(137));
    assert_snapshot!(plan_of(&platform(), &world), @"
    - stop container macula-web-1 (network macula is replaced)
    - remove container macula-web-1 (network macula is replaced) after stop container macula-web-1
    + create container macula-web-1 (network macula is replaced) after remove container macula-web-1
    + start container macula-web-1 (network macula is replaced) after create container macula-web-1
      await container macula-web-1 (network macula is replaced) after start container macula-web-1
    ");
    world.networks.clear();
    assert_snapshot!(plan_of(&platform(), &world), @"
    + create network macula (missing)
    - stop container macula-web-1 (network macula is replaced) after create network macula
    - remove container macula-web-1 (network macula is replaced) after stop container macula-web-1
    + create container macula-web-1 (network macula is replaced) after create network macula, remove container macula-web-1
    + start container macula-web-1 (network macula is replaced) after create container macula-web-1
      await container macula-web-1 (network macula is replaced) after start container macula-web-1
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

mod chosen;
mod copies;
mod ending;
mod files;
mod hooks;
mod images;
mod machine_tasks;
mod others;
mod phrases;
mod tasks;
mod turns;
