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
