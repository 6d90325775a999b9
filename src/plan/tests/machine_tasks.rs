//! When a task of this machine runs, and what it waits for.

use super::*;
use crate::config::{MemoryFiles, Request, load};
use crate::model::TaskRun;

/// A database in a volume, two services that wait for tasks, one that does not.
fn shop() -> Platform {
    let request = Request { cwd: "/".into(), only_own: true, ..Request::default() };
    let settings = "
stacks: [shop]
tasks:
  migrate: {run: npm run migrate, after: db, before: web, when: {changed: ./migrations}}
  seed: {run: npm run seed, after: migrate}
";
    let stack = "
services:
  db: {image: 'db:1', volumes: ['rows:/rows']}
  web: {image: 'web:1'}
  other: {image: 'other:1'}
volumes: {rows: }
";
    let files = MemoryFiles::default()
        .with("/macula.yaml", settings)
        .with("/shop/compose.yaml", stack)
        .with("/migrations/1", "x");
    let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    look_at_migrations(&mut platform, "1");
    platform
}

fn look_at_migrations(platform: &mut Platform, digest: &str) {
    let task = platform.tasks.get_mut("migrate").unwrap();
    task.contents = BTreeMap::from([("./migrations".to_owned(), digest.to_owned())]);
}

/// Nothing but images.
fn empty_world(platform: &Platform) -> Observed {
    Observed { images: right_world(platform).images, ..Observed::default() }
}

/// Both have run well.
fn done(platform: &Platform) -> Observed {
    let mut world = right_world(platform);
    for volume in &mut world.volumes {
        volume.made_at = Some(100);
    }
    for spec in &resources_beside(platform, &world).tasks {
        world.tasks.insert(spec.name.clone(), TaskRun::new(spec.inputs.clone(), 210));
    }
    world
}

/// The tasks that run, each with its reason and what it waits for.
fn runs(platform: &Platform, world: &Observed, chosen: Option<&[&str]>) -> String {
    let names: Option<Vec<String>> = chosen.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let selection = names.map(|names| select(platform, &names).unwrap());
    let plan = try_plan(platform, world, selection.as_ref()).unwrap();
    let tasks = plan.steps.iter().filter(|step| matches!(step.action, Action::RunTask { .. }));
    tasks.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_task_runs_once_what_it_needs_is_there_and_before_those_that_wait_for_it() {
    let platform = shop();
    let plan = try_plan(&platform, &empty_world(&platform), None).unwrap();
    assert_eq!(
        runs(&platform, &empty_world(&platform), None),
        "+ run task migrate (it has not run yet) after await container macula-db-1\n\
         + run task seed (it has not run yet) after run task migrate"
    );
    let after = |id: &str| plan.steps.iter().find(|step| step.id == id).unwrap().after.clone();
    assert!(after("start container macula-web-1").contains(&"run task migrate".to_owned()));
    assert!(!after("start container macula-other-1").iter().any(|id| id.contains("task")));
    // by name: with what it needs; a service comes with its tasks
    assert_eq!(
        select(&platform, &["web".to_owned()]).unwrap().into_iter().collect::<Vec<_>>(),
        ["db", "migrate", "web"]
    );
    assert_eq!(
        select(&platform, &["seed".to_owned()]).unwrap().into_iter().collect::<Vec<_>>(),
        ["db", "migrate", "seed"]
    );
    assert_eq!(runs(&platform, &empty_world(&platform), Some(&["other"])), "");
    // nobody waits for the task of a service that is left out
    let rest = without(&platform, &BTreeSet::from(["web"]));
    assert!(rest.service("web").is_none() && rest.service("other").is_some());
    assert_eq!((platform.tasks["migrate"].before.join(" "), rest.tasks["migrate"].before.len()), ("web".to_owned(), 0));
}

#[test]
fn a_task_that_was_done_runs_again_for_what_is_different() {
    let platform = shop();
    let world = done(&platform);
    assert_eq!(try_plan(&platform, &world, None).unwrap(), Plan::default());
    let mut changed = platform.clone();
    look_at_migrations(&mut changed, "2");
    assert_eq!(runs(&changed, &world, None), "+ run task migrate (./migrations changed)");
    changed.tasks.get_mut("seed").unwrap().command = vec!["other".into()];
    assert_eq!(
        runs(&changed, &world, None),
        "+ run task migrate (./migrations changed)\n+ run task seed (its command changed) after run task migrate"
    );
    // variables are no reason
    let mut changed = platform.clone();
    changed.tasks.get_mut("seed").unwrap().environment.insert("A".into(), Some("b".into()));
    assert_eq!(runs(&changed, &world, None), "");

    let mut failed = world.clone();
    let inputs = failed.tasks["migrate"].inputs.clone();
    failed.tasks.insert("migrate".into(), TaskRun::failed(inputs, 210, 3));
    assert_eq!(runs(&platform, &failed, None), "+ run task migrate (its last run failed with exit code 3)");
    // also through the other task
    let mut new = world;
    new.volumes[0].made_at = Some(300);
    assert_eq!(
        runs(&platform, &new, None),
        "+ run task migrate (the data of db is new)\n+ run task seed (the data of db is new) after run task migrate"
    );
}
