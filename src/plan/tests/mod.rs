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
fn unknown_services_are_named() {
    assert_eq!(select(&platform(), &["wbe".to_owned(), "db".to_owned()]), Err(vec!["wbe".to_owned()]));
}

mod copies;
mod ending;
mod images;
mod machine_tasks;
mod tasks;
mod turns;
