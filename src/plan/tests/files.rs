//! Files that are copied in.

use super::*;

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
    // one that does not run takes it up when it starts
    let mut stopped = world.clone();
    let web = container(&mut stopped, "macula-web-1");
    (web.state, web.exit_code) = (ContainerState::Exited, Some(137));
    assert_snapshot!(plan_of(&platform, &stopped), @"
    ~ copy files into container macula-web-1 (changed: /etc/web.conf)
    + start container macula-web-1 (not running) after copy files into container macula-web-1
      await container macula-web-1 (not running) after start container macula-web-1
    ");
    // and one that looks for itself whenever it changes
    change(&mut platform, "web", |service| service.extension.reload = Some(Reload::None));
    assert_snapshot!(plan_of(&platform, &world), @"~ copy files into container macula-web-1 (changed: /etc/web.conf)");
}

#[test]
fn a_file_is_checked_where_the_service_runs() {
    let with = |content: &str| {
        let mut platform = platform();
        change(&mut platform, "web", |service| {
            with_file(service, content);
            service.extension.reload_check = vec!["web".into(), "-t".into()];
        });
        platform
    };
    let checks = |world: &Observed| -> Vec<(Vec<String>, Vec<String>)> {
        let plan = try_plan(&with("two"), world, None).unwrap();
        let write = |step: Step| match step.action {
            Action::WriteFiles { files, check, .. } => Some((files.into_iter().map(|file| file.path).collect(), check)),
            _ => None,
        };
        plan.steps.into_iter().filter_map(write).collect()
    };
    let mut world = right_world(&with("one"));
    let files = || vec!["/etc/web.conf".to_owned()];
    assert_eq!(checks(&world), [(files(), vec!["web".to_owned(), "-t".to_owned()])]);
    let web = container(&mut world, "macula-web-1");
    (web.state, web.exit_code) = (ContainerState::Exited, Some(137));
    assert_eq!(checks(&world), [(files(), Vec::<String>::new())]);
}

#[test]
fn a_service_that_was_not_told_is_told_now() {
    let mut platform = platform();
    change(&mut platform, "web", |service| with_file(service, "one"));
    let mut world = right_world(&platform);
    world.unreloaded.insert("macula-db-1".into());
    assert_snapshot!(plan_of(&platform, &world), @"nothing to do");
    world.unreloaded.insert("macula-web-1".into());
    assert_snapshot!(plan_of(&platform, &world), @"~ reload container macula-web-1 (left by an interrupted run)");
    // a start is enough
    let web = container(&mut world, "macula-web-1");
    (web.state, web.exit_code) = (ContainerState::Exited, Some(137));
    assert_snapshot!(plan_of(&platform, &world), @"
    + start container macula-web-1 (not running)
      await container macula-web-1 (not running) after start container macula-web-1
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
