//! Programs that run after a start and before an end.

use super::*;

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
