//! When a task runs, and when it has been done.

use super::*;
use crate::config::{MemoryFiles, Request, load};

/// A database in a volume, a service, and its task.
fn shop_with_task() -> (Platform, Observed) {
    let request =
        Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], only_own: true, ..Request::default() };
    let stack = "
services:
  db: {image: 'db:1', volumes: ['rows:/rows']}
  web: {image: 'web:1', x-macula: {tasks: {migrate: {run: [migrate], after: db, when: {changed: ./migrations}}}}}
volumes: {rows: }
";
    let files = MemoryFiles::default().with("/shop/compose.yaml", stack).with("/shop/migrations/1", "x");
    let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    look_at_migrations(&mut platform, "1");
    let mut world = right_world(&platform);
    for volume in &mut world.volumes {
        volume.made_at = Some(100);
    }
    for found in &mut world.containers {
        found.made_at = Some(200);
    }
    container(&mut world, "macula-migrate-1").finished_at = Some(210);
    (platform, world)
}

/// What a look at the files comes to.
fn look_at_migrations(platform: &mut Platform, digest: &str) {
    let job = platform.stacks[0].services.get_mut("migrate").unwrap().extension.task.as_mut().unwrap();
    job.contents = BTreeMap::from([("./migrations".to_owned(), digest.to_owned())]);
}

/// The note that a run with what is wanted now has left, and nothing of its container.
fn noted(platform: &Platform, world: &mut Observed) {
    let resources = resources_beside(platform, world);
    let task = resources.containers.iter().find_map(|spec| spec.task.clone()).unwrap();
    world.tasks.insert("migrate".into(), crate::model::TaskRun::new(task.inputs, 210));
    world.containers.retain(|found| found.name != "macula-migrate-1");
}

fn why_it_runs(platform: &Platform, world: &Observed) -> String {
    let plan = try_plan(platform, world, None).unwrap();
    let mut made = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::CreateContainer { .. }) && step.group == "migrate");
    made.next().map(|step| step.cause.to_string()).unwrap_or_default()
}

#[test]
fn a_task_has_the_time_that_it_asks_for() {
    let (mut platform, world) = shop_with_task();
    let job = platform.stacks[0].services.get_mut("migrate").unwrap().extension.task.as_mut().unwrap();
    job.timeout = std::time::Duration::from_secs(7);
    let resources = resources_beside(&platform, &world);
    let time = |service: &str| {
        let spec = resources.containers.iter().find(|spec| spec.service == service).unwrap();
        spec.readiness.timeout
    };
    assert_eq!((time("migrate").as_secs(), time("web")), (7, platform.timeouts.healthy));
}

#[test]
fn a_task_that_was_done_is_not_done_again_with_or_without_its_container() {
    let (platform, mut world) = shop_with_task();
    // a run that was killed before it noted anything
    assert_eq!(why_it_runs(&platform, &world), "");
    noted(&platform, &mut world);
    assert_eq!(try_plan(&platform, &world, None).unwrap(), Plan::default());
    // nor because its service is made again
    world.containers.retain(|found| found.name != "macula-web-1");
    assert_eq!(why_it_runs(&platform, &world), "");
    world.tasks.clear();
    assert_eq!(why_it_runs(&platform, &world), "it has not run yet");
}

#[test]
fn a_later_run_that_nobody_waited_for_counts_like_the_first_one() {
    let (mut platform, mut world) = shop_with_task();
    noted(&platform, &mut world);
    look_at_migrations(&mut platform, "2");
    assert_eq!(why_it_runs(&platform, &world), "./migrations changed");
    let mut ended = as_wanted(resources(&platform).containers.iter().find(|spec| spec.service == "migrate").unwrap());
    (ended.made_at, ended.finished_at) = (Some(300), Some(310));
    world.containers.push(ended);
    assert_eq!(why_it_runs(&platform, &world), "");
    container(&mut world, "macula-migrate-1").exit_code = Some(3);
    assert_eq!(why_it_runs(&platform, &world), "its last run failed with exit code 3");
}

#[test]
fn what_is_different_makes_a_task_run_and_others_wait_for_it() {
    let (mut platform, mut world) = shop_with_task();
    noted(&platform, &mut world);
    world.containers.retain(|found| found.name != "macula-web-1");
    look_at_migrations(&mut platform, "2");
    assert_eq!(why_it_runs(&platform, &world), "./migrations changed");
    let plan = try_plan(&platform, &world, None).unwrap();
    let start = plan.steps.iter().find(|step| step.id == "start container macula-web-1").unwrap();
    assert!(start.after.contains(&"await container macula-migrate-1".to_owned()), "{:?}", start.after);
    // its environment is no reason
    let (mut platform, world) = shop_with_task();
    platform.stacks[0].services.get_mut("migrate").unwrap().environment.insert("A".into(), "b".into());
    assert_eq!(why_it_runs(&platform, &world), "");
    platform.stacks[0].services.get_mut("migrate").unwrap().command = Some(vec!["other".into()]);
    assert_eq!(why_it_runs(&platform, &world), "its command changed");
}

#[test]
fn another_image_under_its_tag_makes_a_task_run_unless_it_names_files() {
    for (named, expected) in [(false, "its image changed"), (true, "")] {
        let (mut platform, _) = shop_with_task();
        let job = platform.stacks[0].services.get_mut("migrate").unwrap().extension.task.as_mut().unwrap();
        if !named {
            job.changed.clear();
            job.contents.clear();
        }
        let mut world = right_world(&platform);
        for found in &mut world.containers {
            (found.made_at, found.finished_at) = (Some(200), Some(210));
        }
        world.volumes[0].made_at = Some(100);
        assert_eq!(why_it_runs(&platform, &world), "", "{named}");
        world.images.get_mut("web:1").unwrap().id = "sha256:new".into();
        assert_eq!(why_it_runs(&platform, &world), expected, "{named}");
        // of a run that has left a note alone nobody knows which one it was
        noted(&platform, &mut world);
        assert_eq!(why_it_runs(&platform, &world), "", "{named}");
    }
}

#[test]
fn a_task_that_was_done_only_leaves_a_network_that_is_made_again() {
    let (platform, mut world) = shop_with_task();
    let resources = resources_beside(&platform, &world);
    let task = resources.containers.iter().find_map(|spec| spec.task.clone()).unwrap();
    world.tasks.insert("migrate".into(), crate::model::TaskRun::new(task.inputs, 210));
    for network in &mut world.networks {
        network.labels.insert(label::FINGERPRINT.into(), "of another subnet".into());
    }
    let plan = try_plan(&platform, &world, None).unwrap();
    let own = plan.steps.iter().filter(|step| step.group == "migrate").map(|step| step.id.as_str());
    assert_eq!(own.collect::<Vec<_>>(), ["remove container macula-migrate-1"]);
    let network = plan.steps.iter().find(|step| matches!(step.action, Action::RemoveNetwork { .. })).unwrap();
    assert!(network.after.contains(&"remove container macula-migrate-1".to_owned()), "{:?}", network.after);
    // without the note its container alone would know that it was done
    world.tasks.clear();
    assert!(why_it_runs(&platform, &world).ends_with(" is replaced"), "{}", why_it_runs(&platform, &world));
    // and of one that names no files it alone knows which image it was
    for (id, is_replaced) in [("sha256:web:1", false), ("sha256:new", true)] {
        let (mut platform, _) = shop_with_task();
        let job = platform.stacks[0].services.get_mut("migrate").unwrap().extension.task.as_mut().unwrap();
        job.changed.clear();
        job.contents.clear();
        let mut world = right_world(&platform);
        for found in &mut world.containers {
            (found.made_at, found.finished_at) = (Some(200), Some(210));
        }
        world.volumes[0].made_at = Some(100);
        let resources = resources_beside(&platform, &world);
        let task = resources.containers.iter().find_map(|spec| spec.task.clone()).unwrap();
        world.tasks.insert("migrate".into(), crate::model::TaskRun::new(task.inputs, 210));
        for network in &mut world.networks {
            network.labels.insert(label::FINGERPRINT.into(), "of another subnet".into());
        }
        world.images.get_mut("web:1").unwrap().id = id.into();
        assert_eq!(why_it_runs(&platform, &world).ends_with(" is replaced"), is_replaced, "{id}");
    }
}

#[test]
fn a_task_is_done_again_for_files_that_are_copied_for_it_unless_it_names_its_own() {
    let copied = |digest: &str, named: bool| {
        let (mut platform, _) = shop_with_task();
        let service = platform.stacks[0].services.get_mut("migrate").unwrap();
        if !named {
            let job = service.extension.task.as_mut().unwrap();
            job.changed.clear();
            job.contents.clear();
        }
        service.mounts = vec![Mount::Bind {
            source: "/shop/sql".into(),
            target: "/sql".into(),
            read_only: true,
            create_host_path: true,
            propagation: None,
            selinux: None,
        }];
        let folder = CopiedFolder {
            path: "/shop/sql".into(),
            shown: "./sql".into(),
            digest: digest.into(),
            ..CopiedFolder::default()
        };
        crate::compile::lay(&mut platform.stacks[0], "migrate", [(0, crate::compile::Part::Folder(folder))].into());
        platform
    };
    for (named, expected) in [(false, "files of ./sql changed"), (true, "")] {
        let platform = copied("1", named);
        let (_, mut world) = shop_with_task();
        noted(&platform, &mut world);
        assert_eq!(try_plan(&platform, &world, None).unwrap(), Plan::default(), "no copy for a task that was done");
        assert_eq!(why_it_runs(&copied("2", named), &world), expected);
    }
}

#[test]
fn other_data_makes_a_task_run() {
    let (platform, mut world) = shop_with_task();
    noted(&platform, &mut world);
    // a database that is made again keeps what is in its volume
    container(&mut world, "macula-db-1").made_at = Some(300);
    assert_eq!(why_it_runs(&platform, &world), "");
    world.volumes[0].made_at = Some(210);
    assert_eq!(why_it_runs(&platform, &world), "");
    world.volumes[0].made_at = Some(300);
    assert_eq!(why_it_runs(&platform, &world), "the data of db is new");
    world.volumes.clear();
    assert_eq!(why_it_runs(&platform, &world), "the data of db is new");
    // without a volume the container has it
    let (mut platform, mut world) = shop_with_task();
    platform.stacks[0].services.get_mut("db").unwrap().mounts.clear();
    world.volumes.clear();
    let resources = resources_beside(&platform, &world);
    let spec = resources.containers.iter().find(|spec| spec.service == "db").unwrap();
    *container(&mut world, "macula-db-1") = ObservedContainer { made_at: Some(200), ..as_wanted(spec) };
    noted(&platform, &mut world);
    assert_eq!(why_it_runs(&platform, &world), "");
    let mut other = platform.clone();
    change(&mut other, "db", |db| db.environment.extend([("A".to_owned(), "b".to_owned())]));
    assert_eq!(why_it_runs(&other, &world), "the data of db is new", "it is made again in the same run");
    container(&mut world, "macula-db-1").made_at = Some(300);
    assert_eq!(why_it_runs(&platform, &world), "the data of db is new");
    world.containers.retain(|found| found.name != "macula-db-1");
    assert_eq!(why_it_runs(&platform, &world), "the data of db is new");
    // nobody knows how old a folder of this machine is, and what is only read holds no data
    for (read_only, expected) in [(false, ""), (true, "the data of db is new")] {
        let (mut platform, mut world) = shop_with_task();
        let folder = Mount::Bind {
            source: "/srv/rows".into(),
            target: "/rows".into(),
            read_only,
            create_host_path: true,
            propagation: None,
            selinux: None,
        };
        change(&mut platform, "db", |db| db.mounts = vec![folder]);
        world.volumes.clear();
        noted(&platform, &mut world);
        container(&mut world, "macula-db-1").made_at = Some(300);
        assert_eq!(why_it_runs(&platform, &world), expected, "{read_only}");
    }
}

#[test]
fn a_task_that_failed_runs_again_and_one_that_runs_is_waited_for() {
    let (platform, mut world) = shop_with_task();
    container(&mut world, "macula-migrate-1").exit_code = Some(3);
    assert_eq!(why_it_runs(&platform, &world), "its last run failed with exit code 3");
    let found = container(&mut world, "macula-migrate-1");
    (found.state, found.exit_code) = (ContainerState::Running, None);
    let plan = try_plan(&platform, &world, None).unwrap();
    assert_eq!(
        plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
        ["await container macula-migrate-1"]
    );
    // one that was made and never started
    container(&mut world, "macula-migrate-1").state = ContainerState::Created;
    assert_eq!(why_it_runs(&platform, &world), "it has not run yet");
}
