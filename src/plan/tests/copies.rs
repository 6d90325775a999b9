//! Folders that the engine's machine does not have: copied into volumes, which come and go with their content.

use super::*;
use crate::compile::{Part, lay};

/// web and migrate mount `./site`, with this content.
fn copied(digest: &str) -> Platform {
    let mut platform = platform();
    for name in ["web", "migrate"] {
        change(&mut platform, name, |service| {
            service.mounts.push(Mount::Bind {
                source: "/p/site".into(),
                target: "/srv".into(),
                read_only: true,
                create_host_path: true,
                propagation: None,
                selinux: None,
            });
        });
        let folder = CopiedFolder {
            path: "/p/site".into(),
            shown: "./site".into(),
            digest: digest.into(),
            ..CopiedFolder::default()
        };
        lay(&mut platform.stacks[0], name, [(0, Part::Folder(folder))].into());
    }
    platform
}

fn volume(digest: &str) -> String {
    let folder = CopiedFolder { path: "/p/site".into(), digest: digest.into(), ..CopiedFolder::default() };
    format!("macula-{}", folder.volume())
}

/// As it is when both have their copies.
fn world(digest: &str) -> Observed {
    let mut world = right_world(&copied(digest));
    for name in ["macula-web-1", "macula-migrate-1"] {
        container(&mut world, name).reads.push(volume(digest));
    }
    world
}

/// With the names of the volumes as the test knows them.
fn shown(text: &str) -> String {
    text.replace(&volume("old"), "OLD").replace(&volume("new"), "NEW")
}

#[test]
fn a_copy_is_whole_before_anybody_has_it() {
    let plan = plan_of(&copied("new"), &Observed::default());
    let steps: Vec<&str> = plan.lines().filter(|line| line.contains("copy-site")).collect();
    assert_snapshot!(shown(&steps.join("\n")), @"
    + create volume NEW (missing)
    ~ copy files into volume NEW (missing) after create volume NEW
    + create container macula-migrate-1 (missing) after copy files into volume NEW, create network macula, create volume NEW, get image migrate:1
    + create container macula-web-1 (missing) after copy files into volume NEW, create network macula, create volume NEW, get image web:1
    ");
    let plan = try_plan(&copied("new"), &Observed::default(), None).unwrap();
    let fill = plan.steps.iter().find(|step| matches!(step.action, Action::FillVolume { .. })).unwrap();
    assert_eq!(fill.phrase(), "copy ./site");
}

#[test]
fn what_is_copied_already_costs_nothing() {
    assert_snapshot!(plan_of(&copied("new"), &world("new")), @"nothing to do");
    // another container of the same service takes the same copy
    let mut more = copied("new");
    change(&mut more, "web", |service| service.replicas = 2);
    let plan = plan_of(&more, &world("new"));
    assert!(plan.contains("create container macula-web-2") && !plan.contains("copy files"), "{plan}");
}

/// As for a task that was done: its container is gone, and is not made again.
#[test]
fn nothing_is_copied_for_containers_that_are_not_made() {
    let mut world = world("new");
    for name in ["macula-web-1", "macula-migrate-1"] {
        container(&mut world, name).reads.clear();
    }
    assert_snapshot!(plan_of(&copied("new"), &world), @"nothing to do");
    world.volumes.retain(|found| found.name != volume("new"));
    assert_snapshot!(plan_of(&copied("new"), &world), @"nothing to do");
}

#[test]
fn changed_files_are_another_copy_and_the_old_one_goes_with_the_last_that_has_it() {
    assert_snapshot!(shown(&plan_of(&copied("new"), &world("old"))), @"
    + create volume NEW (missing)
    ~ copy files into volume NEW (missing) after create volume NEW
    - stop container macula-migrate-1 (changed: files of ./site) after copy files into volume NEW, create volume NEW
    - remove container macula-migrate-1 (changed: files of ./site) after stop container macula-migrate-1
    + create container macula-migrate-1 (changed: files of ./site) after copy files into volume NEW, create volume NEW, remove container macula-migrate-1
    + start container macula-migrate-1 (changed: files of ./site) after create container macula-migrate-1
      await container macula-migrate-1 (changed: files of ./site) after start container macula-migrate-1
    - stop container macula-web-1 (changed: files of ./site) after await container macula-migrate-1, copy files into volume NEW, create volume NEW
    - remove container macula-web-1 (changed: files of ./site) after stop container macula-web-1
    + create container macula-web-1 (changed: files of ./site) after copy files into volume NEW, create volume NEW, remove container macula-web-1
    + start container macula-web-1 (changed: files of ./site) after await container macula-migrate-1, create container macula-web-1
      await container macula-web-1 (changed: files of ./site) after start container macula-web-1
    - remove volume OLD (no longer wanted) after remove container macula-migrate-1, remove container macula-web-1
    ");
    let plan = try_plan(&copied("new"), &world("old"), None).unwrap();
    assert!(plan.steps.iter().all(|step| !step.destructive), "what was copied is still here");
    // one that is not chosen keeps it
    let chosen = BTreeSet::from(["web".to_owned()]);
    let plan = try_plan(&copied("new"), &world("old"), Some(&chosen)).unwrap().to_string();
    assert!(plan.contains("remove container macula-web-1") && !plan.contains("remove volume"), "{plan}");
}

#[test]
fn a_mount_that_is_gone_takes_its_copy_along() {
    let plan = shown(&plan_of(&platform(), &world("old")));
    assert!(plan.contains("remove container macula-web-1 (changed: files of ./site, mounts)"), "{plan}");
    assert!(plan.contains("- remove volume OLD (no longer wanted) after remove container"), "{plan}");
    // nobody has it, be it since another `up` has failed
    let mut alone = right_world(&platform());
    alone.volumes.extend(world("old").volumes.into_iter().filter(|found| found.name == volume("old")));
    assert_snapshot!(shown(&plan_of(&platform(), &alone)), @"- remove volume OLD (no longer wanted)");
    // neither somebody else's nor data
    type Change = fn(&mut BTreeMap<String, String>) -> Option<String>;
    let changes: [Change; 2] =
        [|labels| labels.remove(label::COPY_OF), |labels| labels.insert(label::PLATFORM.into(), "other".into())];
    for change in changes {
        let mut other = alone.clone();
        change(&mut other.volumes.last_mut().unwrap().labels);
        assert_eq!(plan_of(&platform(), &other), "nothing to do\n");
    }
}

#[test]
fn a_copy_that_was_interrupted_is_made_again() {
    let mut world = world("new");
    world.containers.retain(|found| found.name == "macula-db-1");
    let carrier = ObservedContainer {
        name: format!("{}{UNFINISHED}", volume("new")),
        labels: [(label::PLATFORM, "macula"), (label::SERVICE, "migrate")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        writes: vec![volume("new")],
        ..ObservedContainer::default()
    };
    world.unfinished.push(carrier);
    let plan = plan_of(&copied("new"), &world);
    let steps: Vec<&str> = plan.lines().filter(|line| line.contains("copy-site") && !line.contains("create")).collect();
    assert_snapshot!(shown(&steps.join("\n")), @"
    ~ copy files into volume NEW (left by an interrupted run) after remove container NEW.unfinished
    - remove container NEW.unfinished (left by an interrupted run)
    ");
}

#[test]
fn down_removes_copies() {
    let plan = down("macula", &world("new"), Keep::default());
    let removed = shown(&plan.index()[format!("remove volume {}", volume("new")).as_str()].to_string());
    assert_eq!(
        removed,
        "- remove volume NEW (requested) after remove container macula-migrate-1, remove container macula-web-1"
    );
    assert!(plan.steps.iter().all(|step| !step.destructive && step.resource.name != "macula-db-data"));
}

#[test]
fn what_another_stack_still_has_stays() {
    let world = world("old");
    let mut plan = try_plan(&copied("new"), &world, None).unwrap();
    // as it is where only the other stack's containers had it
    plan.steps.retain(|step| matches!(step.action, Action::RemoveVolume { .. } | Action::RemoveContainer { .. }));
    for step in &mut plan.steps {
        step.cause = Cause::Orphaned;
    }
    let kept = keep_other_stacks(&mut plan, &Resources::default(), &world, &BTreeSet::new(), &BTreeSet::new()).unwrap();
    assert_eq!(kept["app"], ["migrate".to_owned(), "web".to_owned()].into());
    assert!(plan.is_empty(), "{plan}");
}
