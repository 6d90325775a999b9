//! Several projects and several platforms on one engine: what is whose.

use super::*;

#[tokio::test]
async fn a_stack_that_is_not_loaded_keeps_its_containers_unless_they_are_to_go() {
    let (host, engine) = machine();
    let with_all = loaded(&host, "optional: true");
    let session = session(host.clone(), &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    up(&session, &with_all, &options, &Agrees).await.unwrap();
    let files = MemoryFiles::default()
        .with("/q/macula.yaml", "name: shop\nstacks: [other.yaml]\ncluster: {enabled: false}\n")
        .with("/q/other.yaml", "name: other\nservices: {more: {image: 'acme/web:1'}}\n");
    let request = Request { cwd: "/q".into(), only_own: true, env: host.environment(), ..Request::default() };
    let other = config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
    let prepared = prepare(&session, &other, &Wanted::default()).await.unwrap();
    insta::assert_snapshot!(prepared.kept_notes(&Invocation::default()).join("\n"), @"web of the stack p is kept: that stack was not loaded this time (`macula up --remove-orphans` removes its containers)");
    up(&session, &other, &options, &Agrees).await.unwrap();
    assert_eq!(engine.containers(), ["macula-shop-more-1", "macula-shop-web-1"]);
    assert_eq!(status(&session, &other).await.unwrap().drift, [""; 0]);
    let wanted = Wanted { remove_orphans: true, ..Wanted::default() };
    up(&session, &other, &UpOptions { wanted, ..options }, &Agrees).await.unwrap();
    assert_eq!(engine.containers(), ["macula-shop-more-1"]);
}

/// Two folders whose Compose files both call a service `web`, one after the other on one platform.
#[tokio::test]
async fn what_another_project_runs_is_replaced_only_where_that_is_asked_for() {
    let (host, engine) = machine();
    let project = |folder: &str| {
        let stack = format!("services: {{web: {{image: 'acme/web:1', environment: {{FROM: {folder}}}}}}}\n");
        let files = MemoryFiles::default()
            .with(format!("{folder}/macula.yaml"), "name: shop\ndiscover: true\ncluster: {enabled: false}\n")
            .with(format!("{folder}/compose.yaml"), &stack);
        let env = host.environment();
        let request = Request { cwd: folder.into(), only_own: true, discover: true, env, ..Request::default() };
        config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let on_disk = |folder: &str| host.put(format!("{folder}/compose.yaml"), "");
    let session = session(host.clone(), &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    on_disk("/w/shop");
    boxed_up(&session, &project("/w/shop"), &options, &Agrees).await.unwrap();

    engine.clear_journal();
    let blog = project("/w/blog");
    let refused = boxed_up(&session, &blog, &options, &Agrees).await.unwrap_err();
    assert!(matches!(refused, Error::OtherProjects { .. }), "{refused:?}");
    insta::assert_snapshot!(refused.to_string(), @"web belongs to the project shop in /w/shop, which this up would replace");
    assert_eq!(engine.journal(), [""; 0]);
    let prepared = prepare(&session, &blog, &Wanted::default()).await.unwrap();
    insta::assert_snapshot!(prepared.other_project_notes(&Invocation::default()).join("\n"), @"web belongs to the project shop in /w/shop, which this up would replace; it changes nothing then (`macula up --remove-orphans` takes the place of shop, whose data stays)");
    // whoever asks for it has it, and has no question afterwards
    let wanted = Wanted { remove_orphans: true, ..Wanted::default() };
    boxed_up(&session, &blog, &UpOptions { wanted, ..options.clone() }, &Agrees).await.unwrap();
    assert_eq!(boxed_up(&session, &blog, &options, &Agrees).await.unwrap().steps, 0);
    // its folder was never on this disk: it was renamed
    boxed_up(&session, &project("/w/journal"), &options, &Agrees).await.unwrap();
    // of one name, and so one project
    on_disk("/w/journal");
    boxed_up(&session, &project("/elsewhere/journal"), &options, &Agrees).await.unwrap();
    assert_eq!(engine.containers(), ["macula-shop-web-1"]);
}

#[tokio::test]
async fn a_platform_of_which_the_engine_says_nothing_hides_no_other() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let first = session(host.clone(), &engine, "macula up");
    up(&first, &loaded, &UpOptions { no_dns: Some(true), ..UpOptions::default() }, &Agrees).await.unwrap();
    // another one, of which the engine knows nothing
    host.put(host.folders().data.join("zoo/platform.json"), "{}");
    let states = async |engine: &FakeEngine| {
        let heard = Arc::new(Heard::default());
        let session = heard_session(host.clone(), engine, "macula ls", &heard);
        let rows = list_platforms(&session).await.unwrap();
        let all = rows.iter().map(|row| format!("{} {}", row.name, row.state.word())).collect::<Vec<_>>();
        (all.join(", "), heard.said().len(), platforms_to_take_down(&session, false).await.is_ok())
    };
    assert_eq!(states(&engine).await, ("shop running, zoo down".to_owned(), 0, true));
    let answers = engine.calls();
    states(&engine).await;
    // the last of its questions to the engine is about the last of them
    let calls = (engine.calls() - answers) / 2;
    let silent = engine.clone().dies_after(calls - 1);
    assert_eq!(states(&silent).await, ("shop running, zoo unknown".to_owned(), 1, false));
    let gone = silent.dies_after(0);
    assert_eq!(states(&gone).await.0, "shop unknown, zoo unknown");
}

#[tokio::test]
async fn a_platform_that_was_named_and_never_made_is_an_error_with_those_there_are() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let session = session(host.clone(), &engine, "macula down");
    up(&session, &loaded, &UpOptions { no_dns: Some(true), ..UpOptions::default() }, &Agrees).await.unwrap();
    let named = Session { named: true, ..session };
    let other = PlatformName::new("shpo").unwrap();
    let error = down(&named, &other, DownOptions::default()).await.unwrap_err();
    let Error::UnknownPlatform { known, .. } = error else { panic!("{error:?}") };
    assert_eq!(known.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop"]);
    // a second `down` of one that was there has nothing to do
    for volumes in [true, true] {
        // on a disk the lock's file stays
        host.put(named.state(&loaded.platform.name).lock_file(), "");
        let options = DownOptions { volumes, ..DownOptions::default() };
        down(&named, &loaded.platform.name, options).await.unwrap();
    }
}

/// Two projects that both call a volume `data`, one after the other on one platform.
#[tokio::test]
async fn data_of_another_project_stays_its_own() {
    let (host, engine) = machine();
    let named = |name: &str, folder: &str, service: &str| {
        let stack = format!(
            "{name}services: {{{service}: {{image: 'acme/web:1', volumes: ['data:/data']}}}}\nvolumes: {{data: {{}}}}\n"
        );
        let files = MemoryFiles::default()
            .with(format!("{folder}/macula.yaml"), "name: shop\ndiscover: true\ncluster: {enabled: false}\n")
            .with(format!("{folder}/compose.yaml"), &stack);
        host.put(format!("{folder}/compose.yaml"), "");
        let request = Request {
            cwd: folder.into(),
            only_own: true,
            discover: true,
            env: host.environment(),
            ..Request::default()
        };
        config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let project = |folder: &str, service: &str| named("", folder, service);
    let session = session(host.clone(), &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let shop = project("/w/shop", "web");
    boxed_up(&session, &shop, &options, &Agrees).await.unwrap();
    // no container says any more whose it is
    Box::pin(down(&session, &shop.platform.name, DownOptions::default())).await.unwrap();
    let blog = project("/w/blog", "db");
    let prepared = prepare(&session, &blog, &Wanted::default()).await.unwrap();
    insta::assert_snapshot!(prepared.apart_notes().join("\n"), @"macula-shop-data has the data of the project shop in /w/shop: data of blog is macula-shop-blog-data (to share it: `volumes: {data: {name: macula-shop-data}}`)");
    boxed_up(&session, &blog, &options, &Agrees).await.unwrap();
    assert_eq!(engine.volume_names(), ["macula-shop-blog-data", "macula-shop-data"]);
    // and so it stays, whether the other one runs or not
    down(&session, &blog.platform.name, DownOptions::default()).await.unwrap();
    boxed_up(&session, &blog, &options, &Agrees).await.unwrap();
    assert_eq!(boxed_up(&session, &blog, &options, &Agrees).await.unwrap().steps, 0);
    assert!(prepare(&session, &blog, &Wanted::default()).await.unwrap().apart_notes().is_empty());
    // nor does another name take it away
    Box::pin(down(&session, &blog.platform.name, DownOptions::default())).await.unwrap();
    boxed_up(&session, &named("name: journal\n", "/w/blog", "db"), &options, &Agrees).await.unwrap();
    assert_eq!(engine.volume_names(), ["macula-shop-blog-data", "macula-shop-data"]);
    Box::pin(down(&session, &shop.platform.name, DownOptions::default())).await.unwrap();
    // one that was moved, or is away for now, has not left its data to whoever comes next
    host.remove(Path::new("/w/shop/compose.yaml")).await.unwrap();
    boxed_up(&session, &project("/w/wiki", "web"), &options, &Agrees).await.unwrap();
    assert_eq!(engine.volume_names(), ["macula-shop-blog-data", "macula-shop-data", "macula-shop-wiki-data"]);
}
