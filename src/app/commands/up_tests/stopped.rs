//! What is stopped and started again, and who may do that.

use super::*;

#[tokio::test]
async fn what_runs_is_stopped_and_started_without_its_files() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let session = session(host, &engine, "macula stop");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    assert!(!boxed_up(&session, &loaded, &options, &Agrees).await.unwrap().now.platform.down);
    let name = loaded.platform.name.clone();
    // what the engine's lists say is there before anybody is asked how it is
    let glance = status_at_a_glance(&session, &loaded).await.unwrap();
    let glance: Vec<(&str, Condition)> = glance.iter().map(|row| (row.name.as_str(), row.condition)).collect();
    assert_eq!(glance, [("web", Condition::Running)]);
    let act = async |action, services: &[&str]| {
        let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
        lifecycle(&session, &name, None, action, &services).await.map(|plan| plan.to_string())
    };
    insta::assert_snapshot!(act(LifecycleAction::Stop, &[]).await.unwrap(), @"- stop container macula-shop-web-1 (requested)");
    insta::assert_snapshot!(act(LifecycleAction::Start, &["web"]).await.unwrap(), @"
    + start container macula-shop-web-1 (requested)
      await container macula-shop-web-1 (requested) after start container macula-shop-web-1
    ");
    let unknown = act(LifecycleAction::Restart, &["wbe"]).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownService { known, .. } if known == ["web"]));
    down(&session, &name, DownOptions::default()).await.unwrap();
    // nothing was restarted, and that is no success
    let nothing = act(LifecycleAction::Restart, &[]).await.unwrap_err();
    assert!(matches!(nothing, Error::Down { .. }), "{nothing}");
    assert_eq!(act(LifecycleAction::Stop, &[]).await.unwrap(), "");
    assert!(Box::pin(status(&session, &loaded)).await.unwrap().platform.down);
}

#[tokio::test]
async fn what_somebody_else_runs_is_neither_stopped_nor_started() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let first = session(host, &engine, "macula up");
    up(&first, &loaded, &UpOptions { no_dns: Some(true), ..UpOptions::default() }, &Agrees).await.unwrap();
    let name = loaded.platform.name.clone();
    let second = session(FakeHost::new(), &engine, "macula stop");
    engine.clear_journal();
    for action in [LifecycleAction::Stop, LifecycleAction::Start, LifecycleAction::Restart] {
        for services in [Vec::new(), vec!["web".to_owned()]] {
            let refused = lifecycle(&second, &name, None, action, &services).await.unwrap_err();
            assert!(matches!(&refused, Error::Foreign { platform, .. } if *platform == name), "{action:?}: {refused}");
        }
    }
    assert_eq!(engine.journal(), [""; 0]);
    assert!(!lifecycle(&first, &name, None, LifecycleAction::Stop, &[]).await.unwrap().is_empty());
    let owners = async |session: &Session| {
        let rows = list_platforms(session).await.unwrap();
        rows.into_iter().map(|row| (row.name.to_string(), row.owner)).collect::<Vec<_>>()
    };
    assert_eq!(owners(&first).await, [("shop".to_owned(), None)]);
    let theirs = owners(&second).await;
    let [(_, Some(owner))] = theirs.as_slice() else { panic!("{theirs:?}") };
    assert!(owner.ends_with(", with the data folder /home/dev/.local/share/macula"), "{owner}");
    let (ours, others) = platforms_to_take_down(&second, false).await.unwrap();
    assert_eq!((ours.len(), others.len()), (0, 1));
}

#[tokio::test]
async fn a_stop_that_a_killed_run_has_asked_for_is_waited_for() {
    let host = FakeHost::new();
    let engine = FakeEngine::new().with_image("acme/web:1").with_image("acme/note:1").with_image("acme/chart:3");
    let loaded = loaded(&host, "optional: true");
    let session = heard_session(host.clone(), &engine, "macula up", &Arc::default());
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    up(&session, &loaded, &options, &Agrees).await.unwrap();
    // it was killed while the engine had this to do, and the container still runs
    let note = crate::plan::stop_notes(&host.folders().data, "shop").join("macula-shop-web-1");
    host.put(&note, "");
    engine.clear_journal();
    up(&session, &loaded, &options, &Agrees).await.unwrap();
    let of_web: Vec<String> = engine.journal().into_iter().filter(|line| line.ends_with("macula-shop-web-1")).collect();
    assert_eq!(of_web, ["stopping container macula-shop-web-1", "starting container macula-shop-web-1"]);
    assert!(!host.exists(&note).await);
    assert!(session.state(&loaded.platform.name).stopped(&host).await.unwrap().is_empty());
    // what is removed need not be waited for, and by now somebody else's may have the name
    host.put(&note, "");
    down(&session, &loaded.platform.name, DownOptions::default()).await.unwrap();
    assert!(!host.exists(&note).await);
    let theirs =
        ObservedContainer { name: "db".into(), state: ContainerState::Running, ..ObservedContainer::default() };
    let engine = engine.with_container(theirs);
    let note = crate::plan::stop_notes(&host.folders().data, "shop").join("db");
    host.put(&note, "");
    engine.clear_journal();
    let session = heard_session(host.clone(), &engine, "macula up", &Arc::default());
    up(&session, &loaded, &options, &Agrees).await.unwrap();
    assert!(!engine.journal().iter().any(|line| line.ends_with(" db")), "{:?}", engine.journal());
    assert!(!host.exists(&note).await);
}

/// Both end with 0, as redis and nginx do; the second as at the end of the engine.
#[tokio::test]
async fn what_was_stopped_and_ended_with_0_is_started_again() {
    let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
    let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}, db: {image: 'acme/web:1'}}\n");
    let session = session(host, &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
    let name = loaded.platform.name.clone();
    lifecycle(&session, &name, None, LifecycleAction::Stop, &["web".to_owned()]).await.unwrap();
    engine.stop_by_hand("macula-shop-db-1");
    // whoever starts one of them has said nothing of the other
    let wanted = Wanted { services: vec!["web".into()], ..Wanted::default() };
    boxed_up(&session, &loaded, &UpOptions { wanted, ..options.clone() }, &Agrees).await.unwrap();
    let state = |name: &str| engine.container(name).unwrap().state;
    assert_eq!(state("macula-shop-db-1"), ContainerState::Exited);
    boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
    assert_eq!(["macula-shop-db-1", "macula-shop-web-1"].map(state), [ContainerState::Running; 2]);
    assert_eq!(boxed_up(&session, &loaded, &options, &Agrees).await.unwrap().steps, 0);
}

/// Whoever brings up one service has the others left alone, whatever a killed run did with which of them.
#[tokio::test]
async fn only_what_a_killed_run_was_about_to_stop_is_stopped() {
    let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
    let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}, db: {image: 'acme/web:1'}}\n");
    let session = session(host.clone(), &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
    let killed = r#"{"pid": 4711, "command": "macula restart web", "since": 0}"#;
    host.put(session.state(&loaded.platform.name).lock_file(), killed);
    host.put(crate::plan::stop_notes(&host.folders().data, "shop").join("macula-shop-web-1"), "");
    engine.clear_journal();
    let wanted = Wanted { services: vec!["web".into()], ..Wanted::default() };
    boxed_up(&session, &loaded, &UpOptions { wanted, ..options }, &Agrees).await.unwrap();
    let journal = engine.journal();
    assert_eq!(journal.first().map(String::as_str), Some("stopping container macula-shop-web-1"));
    assert!(!journal.iter().any(|line| line.contains("macula-shop-db-1")), "{journal:?}");
}
