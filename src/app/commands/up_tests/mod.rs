//! Runs of `up` whose images are refused by their registry, on an engine in memory.

mod platforms;
mod stopped;

use std::path::Path;
use std::sync::Arc;

use crate::app::testing::{Agrees, Heard, heard_session, session, shop};
use crate::app::{
    Choices, Condition, DownOptions, Error, LifecycleAction, ProgramRequest, ServiceState, Session, TaskState,
    UpOptions, UpResult, Wanted, down, image_rows, lifecycle, list_platforms, platforms_to_take_down, prepare,
    prepare_program, status, status_at_a_glance, tasks, trace_name, up, validate,
};
use crate::config::{self, Loaded, MemoryFiles, Request};
use crate::engine::fake::{FakeEngine, FakePull};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::model::{ContainerState, ImagePolicy, Invocation, ObservedContainer, ObservedImage, PlatformName};

/// `chart` may be left out, `note` needs it, `web` tells in a file who takes part.
fn loaded(host: &FakeHost, note: &str) -> Loaded {
    let stack = format!(
        "services:\n  web: {{image: 'acme/web:1', x-macula: {{configs: {{/etc/who: who.j2}}}}}}\n  \
         chart: {{image: 'acme/chart:3', volumes: ['charts:/data'], x-macula: {{optional: true}}}}\n  \
         note: {{image: 'acme/note:1', depends_on: [chart], volumes: ['notes:/data'], x-macula: {{{note}}}}}\n\
         volumes: {{charts: {{}}, notes: {{}}}}\n"
    );
    let files = MemoryFiles::default()
        .with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]\ncluster: {enabled: false}\n")
        .with("/p/all.yaml", &stack)
        .with("/p/who.j2", "{{ services | items | map(attribute=0) | join(' ') }}");
    let request = Request { cwd: "/p".into(), only_own: true, env: host.environment(), ..Request::default() };
    config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
}

async fn run(note: &str, strict: bool) -> (Result<UpResult, Error>, FakeEngine, Vec<String>) {
    // behind a proxy nothing can be known of a registry beforehand
    let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
    let engine =
        FakeEngine::new().pullable("acme/web:1").pullable("acme/note:1").pull_fails("acme/chart:3", FakePull::Denied);
    let heard = Arc::new(Heard::default());
    let loaded = loaded(&host, note);
    let session = heard_session(host, &engine, "macula up", &heard);
    let wanted = Wanted { strict, ..Wanted::default() };
    let options = UpOptions { no_dns: Some(true), wanted, ..UpOptions::default() };
    let up = up(&session, &loaded, &options, &Agrees).await;
    (up, engine, heard.said())
}

#[tokio::test]
async fn an_image_that_is_refused_and_not_needed_is_left_out_with_what_hangs_on_it() {
    let (up, engine, said) = run("optional: true", false).await;
    let up = up.unwrap();
    let left: Vec<String> = up.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect();
    insta::assert_snapshot!(left.join("\n"), @"
    chart: acme/chart:3 was refused: a login is needed
    note: it needs chart, which is left out
    ");
    insta::assert_snapshot!(said.join("\n"), @"chart is left out: acme/chart:3 was refused: a login is needed");
    assert_eq!(engine.containers(), ["macula-shop-web-1"]);
    let who = engine.file("macula-shop-web-1", "/etc/who").unwrap();
    assert_eq!(String::from_utf8(who.content).unwrap(), "web");
    assert_eq!(engine.volume_names(), [""; 0], "the note's was made before the chart was refused");
}

#[tokio::test]
async fn an_image_that_is_refused_and_needed_is_an_error() {
    let (up, engine, _) = run("optional: false", false).await;
    let Error::Failed(outcome) = up.unwrap_err() else { panic!("another error") };
    let failed: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    insta::assert_snapshot!(failed.join("\n"), @"could not get acme/chart:3: acme/chart:3 was refused: a login is needed");
    assert!(engine.containers().contains(&"macula-shop-web-1".to_owned()), "what works is kept");
    let (up, _, _) = run("optional: true", true).await;
    assert!(matches!(up.unwrap_err(), Error::Failed(_)));
}

/// Whoever goes on with a service has no use for a platform without it.
#[tokio::test]
async fn what_somebody_goes_on_to_use_is_not_left_out() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let session = session(host.clone(), &engine, "macula ci");
    let needing = |name: &str| {
        let wanted = Wanted { services: vec![name.into()], needed: vec![name.into()], ..Wanted::default() };
        UpOptions { no_dns: Some(true), wanted, ..UpOptions::default() }
    };
    // the registry says no when it is asked
    let Err(Error::Failed(outcome)) = up(&session, &loaded, &needing("note"), &Agrees).await else { panic!() };
    assert!(outcome.failed[0].error.to_string().contains("acme/chart:3 was refused: a login is needed"));
    up(&session, &loaded, &UpOptions { no_dns: Some(true), ..UpOptions::default() }, &Agrees).await.unwrap();
    up(&session, &loaded, &needing("web"), &Agrees).await.unwrap();
    // without a registry it is told before anything is done
    let mut local = loaded.clone();
    local.platform.images.policy = ImagePolicy::Local;
    engine.clear_journal();
    let Err(Error::Supply(problems)) = up(&session, &local, &needing("note"), &Agrees).await else { panic!() };
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["service note: it needs chart, which is left out"]);
    assert_eq!(engine.journal(), [""; 0]);
}

#[tokio::test]
async fn a_program_takes_no_name_of_the_platform() {
    let host = FakeHost::new();
    let engine = FakeEngine::new().with_image("acme/web:1");
    let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1', x-macula: {ingress: {host: shop, port: 80}}}}");
    let session = session(host, &engine, "macula run");
    let request = ProgramRequest { name: "Shop".into(), ..ProgramRequest::default() };
    let taken = prepare_program(&session, &loaded, Choices::default(), &request, &Agrees).await.unwrap_err();
    assert!(matches!(taken, Error::HostTaken { ref host } if host == "shop.shop.macula.local"), "{taken:?}");
    assert_eq!(engine.containers(), [""; 0], "nothing was started for it");
}

/// A task of this machine that is due, and what waits for it.
#[tokio::test]
async fn a_task_of_this_machine_that_cannot_run_is_told_and_keeps_back_what_waits_for_it() {
    let host = FakeHost::new();
    let engine = FakeEngine::new().with_image("acme/db:1").with_image("acme/web:1");
    let settings = "tasks: {migrate: {run: [migrate], after: db, before: web}}\n";
    let loaded = shop(&host, settings, "services: {db: {image: 'acme/db:1'}, web: {image: 'acme/web:1'}}");
    let session = session(host, &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let Err(Error::Failed(outcome)) = up(&session, &loaded, &options, &Agrees).await else { panic!() };
    let failed: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    assert_eq!(failed, ["migrate was not started: `migrate`: programs cannot be kept here"]);
    assert!(outcome.skipped.contains("web"));
    let rows = tasks(&session, &loaded).await.unwrap();
    assert_eq!(
        (rows[0].state, rows[0].due.as_deref()),
        (TaskState::Failed, Some("its last run failed with exit code 126"))
    );
    // what does not wait for it is up, and the rest comes without it where nobody asks for more
    let wanted = Wanted { services: vec!["db".into()], ..Wanted::default() };
    up(&session, &loaded, &UpOptions { wanted, ..options.clone() }, &Agrees).await.unwrap();
    let wanted = Wanted { services: vec!["web".into()], ..Wanted::default() };
    assert!(matches!(up(&session, &loaded, &UpOptions { wanted, ..options }, &Agrees).await, Err(Error::Failed(_))));
}

/// The machine of [`run`], for several commands one after the other.
fn machine() -> (FakeHost, FakeEngine) {
    let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
    let engine =
        FakeEngine::new().pullable("acme/web:1").pullable("acme/note:1").pull_fails("acme/chart:3", FakePull::Denied);
    (host, engine)
}

#[tokio::test]
async fn what_was_refused_once_is_left_out_for_all_commands_until_somebody_asks_for_it() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let session = session(host.clone(), &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let first = up(&session, &loaded, &options, &Agrees).await.unwrap();
    assert_eq!((first.left_out.len(), first.now.drift.len()), (2, 0));

    engine.clear_journal();
    let second = up(&session, &loaded, &options, &Agrees).await.unwrap();
    assert_eq!((second.steps, engine.journal().len()), (0, 0), "nothing is done for it again");
    let left: Vec<&str> = second.left_out.iter().map(|left| left.service.as_str()).collect();
    assert_eq!(left, ["chart", "note"]);
    let plan = prepare(&session, &loaded, &Wanted::default()).await.unwrap().plan;
    assert!(plan.is_empty());
    let now = status(&session, &loaded).await.unwrap();
    let chart = now.services.iter().find(|service| service.name == "chart").unwrap();
    assert_eq!((chart.state, now.drift.len()), (ServiceState::LeftOut, 0));
    assert_eq!(chart.reason.as_deref(), Some("acme/chart:3 was refused: a login is needed"));
    let rows = image_rows(&session, &loaded).await.unwrap();
    let row = rows.iter().find(|row| row.reference == "acme/chart:3").unwrap();
    assert_eq!(row.why, "left out: acme/chart:3 was refused: a login is needed");
    let left_out = row.left_out.as_ref().map(ToString::to_string);
    assert_eq!(left_out.as_deref(), Some("acme/chart:3 was refused: a login is needed"));
    let traced = trace_name(&session, &loaded, "note").await.unwrap();
    let faults: Vec<String> = traced.verdict.faults.iter().map(|fault| fault.cause.to_string()).collect();
    assert!(faults.contains(&"note is left out: it needs chart, which is left out".to_owned()), "{faults:?}");
    let (.., absent) = validate(&session, &loaded, None).await.unwrap();
    let absent: Vec<(&str, &str)> = absent.iter().map(|it| (it.service.as_str(), it.name.as_str())).collect();
    assert_eq!(absent, [("chart", "chart.shop.macula.local"), ("note", "note.shop.macula.local")]);

    // by its name, by that of what needs it, and with --reset, it is tried again
    let engine = engine.pullable("acme/chart:3");
    let again = crate::app::testing::session(host, &engine, "macula up note");
    let wanted = Wanted { services: vec!["note".into()], ..Wanted::default() };
    up(&again, &loaded, &UpOptions { wanted, ..options }, &Agrees).await.unwrap();
    assert_eq!(engine.containers(), ["macula-shop-chart-1", "macula-shop-note-1", "macula-shop-web-1"]);
}

/// A proxy says nothing of the registries behind it.
#[tokio::test]
async fn what_was_out_of_reach_stays_left_out_where_a_proxy_is_set_since() {
    let host = FakeHost::new();
    let engine = FakeEngine::new().with_image("acme/web:1").pullable("acme/note:1").pullable("acme/chart:3");
    let loaded = loaded(&host, "optional: true");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let first = up(&session(host.clone(), &engine, "macula up"), &loaded, &options, &Agrees).await.unwrap();
    assert_eq!(first.left_out.len(), 2);

    let session = session(host.env_var("HTTPS_PROXY", "http://proxy:3128"), &engine, "macula up");
    assert!(prepare(&session, &loaded, &Wanted::default()).await.unwrap().plan.is_empty());
    for _ in 0..2 {
        let again = up(&session, &loaded, &options, &Agrees).await.unwrap();
        assert_eq!((again.steps, again.left_out.len()), (0, 2));
    }
    let (.., absent) = validate(&session, &loaded, None).await.unwrap();
    assert_eq!(absent.iter().map(|it| it.service.as_str()).collect::<Vec<_>>(), ["chart", "note"]);

    let wanted = Wanted { services: vec!["note".into()], ..Wanted::default() };
    up(&session, &loaded, &UpOptions { wanted, ..options }, &Agrees).await.unwrap();
    assert_eq!(engine.containers(), ["macula-shop-chart-1", "macula-shop-note-1", "macula-shop-web-1"]);
}

#[tokio::test]
async fn status_goes_by_labels_where_the_files_cannot_be_read() {
    let (host, engine) = machine();
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let session = session(host.clone(), &engine, "macula up");
    up(&session, &loaded(&host, "optional: true"), &options, &Agrees).await.unwrap();
    let name = Some(PlatformName::new("shop").unwrap());
    let request =
        Request { name, only_own: true, only_built_in: true, stacks: vec!["/gone".into()], ..Request::default() };
    let without = config::load(&request, &MemoryFiles::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let now = status(&session, &without).await.unwrap();
    let rows: Vec<_> = now.services.iter().map(|row| (row.name.as_str(), row.condition, row.reason.clone())).collect();
    assert_eq!(rows, [("web", Condition::Running, None)]);
    assert!(now.drift.is_empty() && now.changes.is_empty(), "nobody knows what is wanted");
}

#[tokio::test]
async fn status_without_the_passwords_tells_the_rest() {
    let (host, engine) = machine();
    let loaded = loaded(&host, "optional: true");
    let session = session(host.clone(), &engine, "macula status");
    boxed_up(&session, &loaded, &UpOptions { no_dns: Some(true), ..UpOptions::default() }, &Agrees).await.unwrap();
    let conditions =
        |now: &crate::app::Status| now.services.iter().map(|row| (row.name.clone(), row.condition)).collect::<Vec<_>>();
    let before = Box::pin(status(&session, &loaded)).await.unwrap();
    assert_eq!(before.platform.unread, None);
    host.put(host.folders().data.join("shop/secrets/secrets.json"), "{}");
    let now = Box::pin(status(&session, &loaded)).await.unwrap();
    assert_eq!(conditions(&now), conditions(&before));
    assert!(now.drift.is_empty() && now.changes.is_empty(), "{:?}", now.drift);
    let why = now.platform.unread.unwrap();
    assert!(why.ends_with("secrets.json cannot be read: it names no format"), "{why}");
    // whoever is to change something is not told the half of it
    assert!(matches!(Box::pin(prepare(&session, &loaded, &Wanted::default())).await, Err(Error::BadState { .. })));
}

/// Built-in services that a file with errors may have switched off are not said to be left out.
#[tokio::test]
async fn without_the_files_only_what_up_found_out_is_left_out() {
    let (host, engine) = machine();
    let session = session(host.clone(), &engine, "macula status");
    let left_out = async |policy: ImagePolicy| {
        let mut known = loaded(&host, "optional: true");
        known.platform.images.policy = policy;
        known.incomplete = true;
        let rows = status(&session, &known).await.unwrap().services;
        let left = rows.into_iter().filter(|row| row.condition == Condition::LeftOut);
        left.map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(left_out(ImagePolicy::Local).await, [""; 0]);
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    up(&session, &loaded(&host, "optional: true"), &options, &Agrees).await.unwrap();
    assert_eq!(left_out(ImagePolicy::Auto).await, ["chart"]);
}

/// On the heap: the frames of several in one test are more than a thread of tests has.
fn boxed_up<'a>(
    session: &'a Session,
    loaded: &'a Loaded,
    options: &'a UpOptions,
    consent: &'a dyn crate::app::Consent,
) -> std::pin::Pin<Box<dyn Future<Output = Result<UpResult, Error>> + 'a>> {
    Box::pin(up(session, loaded, options, consent))
}

#[tokio::test]
async fn what_is_pulled_each_time_is_replaced_where_it_is_another_image() {
    let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
    let engine = FakeEngine::new().pullable("acme/web:1");
    let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1', pull_policy: always}}\n");
    let session = session(host, &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let run = async || {
        engine.clear_journal();
        boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
        let journal = engine.journal();
        let of = |what: &str| journal.iter().filter(|line| line.contains(what)).count();
        (of("pulling "), of("creating container macula-shop-web-1"), of("stopping container macula-shop-web-1"))
    };
    assert_eq!(run().await, (1, 1, 0));
    assert_eq!(run().await, (1, 0, 0));
    let moved = ObservedImage { id: "sha256:moved".into(), ..ObservedImage::default() };
    let _ = engine.clone().pullable_as("acme/web:1", moved);
    assert_eq!(run().await, (1, 1, 1));
    assert_eq!(run().await, (1, 0, 0));
}

/// One of several pulls fails, which is no reason to pull the others twice, nor for another container of anything.
#[tokio::test]
async fn what_was_pulled_when_another_pull_failed_is_as_good_as_pulled() {
    let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
    let engine = FakeEngine::new().pullable("acme/web:1").pullable("acme/db:1");
    let stack = "services:\n  web: {image: 'acme/web:1', pull_policy: always}\n  \
                 db: {image: 'acme/db:1', pull_policy: always}\n";
    let loaded = shop(&host, "", stack);
    let session = session(host, &engine, "macula up");
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
    let _ = engine.clone().pull_fails("acme/db:1", FakePull::Denied);
    engine.clear_journal();
    let Err(Error::Failed(outcome)) = boxed_up(&session, &loaded, &options, &Agrees).await else { panic!() };
    let failed: Vec<&str> = outcome.failed.iter().map(|failure| failure.group.as_str()).collect();
    assert_eq!(failed, ["db"]);
    let about =
        |line: &String| ["acme/", "macula-shop-web-1", "macula-shop-db-1"].iter().any(|what| line.contains(what));
    let mut journal: Vec<String> = engine.journal().into_iter().filter(about).collect();
    journal.sort();
    assert_eq!(journal, ["pulling acme/db:1", "pulling acme/web:1"]);
}

/// Files of a job's container, and the engine outside of it.
#[tokio::test]
async fn a_folder_that_the_engine_does_not_see_is_told() {
    const SHARED: &str = "603 600 254:1 /p/shared /p/shared rw - ext4 /dev/vda1 rw\n";
    let stack = "services:\n  web:\n    image: 'acme/web:1'\n    volumes: ['./conf:/etc/conf', './shared:/shared', \
                 './none:/none', '/etc/localtime:/etc/localtime:ro', '/:/host:ro']\n";
    let loaded = shop(&FakeHost::new(), "", stack);
    let told = async |container: bool| {
        let host = FakeHost::new()
            .env_var("HTTPS_PROXY", "http://proxy:3128")
            .facts_with(|facts| facts.container = container)
            .file("/proc/self/mountinfo", SHARED)
            .file("/p/conf/a.txt", "hello")
            .file("/p/shared/b.txt", "hello")
            .file("/etc/localtime", "");
        let heard = Arc::new(Heard::default());
        let session = heard_session(host, &FakeEngine::new().pullable("acme/web:1"), "macula plan", &heard);
        prepare(&session, &loaded, &Wanted::default()).await.unwrap();
        heard.said()
    };
    insta::assert_snapshot!(told(true).await.join("\n"), @"web: /p/conf is in this container only, and the engine, which is outside of it, mounts its own path of that name: mount the project into this container under the path that it has on the engine's machine, use `configs:`, or have what is only read copied with `x-macula: {mounts: copy}`");
    assert!(told(false).await.is_empty());
}

/// `docker rm` is not `macula down`, and what was left to start is not gone.
#[tokio::test]
async fn what_was_brought_up_and_removed_by_hand_is_missed_until_down() {
    let (host, engine) = machine();
    let stack = "services:\n  web: {image: 'acme/web:1'}\n  db: {image: 'acme/web:1'}\n  late: {image: 'acme/web:1'}\n  \
                 job: {image: 'acme/web:1', x-macula: {once: true}}\n";
    let loaded = shop(&host, "", stack);
    let session = session(host.clone(), &engine, "macula up");
    let bring = async |services: &[&str]| {
        let wanted = Wanted { services: services.iter().map(|&name| name.to_owned()).collect(), ..Wanted::default() };
        let options = UpOptions { no_dns: Some(true), wanted, ..UpOptions::default() };
        boxed_up(&session, &loaded, &options, &Agrees).await.unwrap();
    };
    let look = async || {
        let now = status(&session, &loaded).await.unwrap();
        let of = |name: &str| now.services.iter().find(|row| row.name == name).map(|row| row.condition);
        ([of("db"), of("job"), of("late"), of("web")].map(Option::unwrap), now.changes)
    };
    bring(&["web", "db", "job"]).await;
    engine.remove_by_hand("macula-shop-web-1");
    engine.remove_by_hand("macula-shop-job-1");
    use Condition::{Gone, Missing, Running};
    assert_eq!(look().await, ([Running, Missing, Missing, Gone], vec!["web".to_owned()]));
    // whoever brings up something else has not taken it back
    bring(&["late"]).await;
    assert_eq!(look().await.0, [Running, Missing, Running, Gone]);
    bring(&["web"]).await;
    assert_eq!(look().await, ([Running, Missing, Running, Running], Vec::new()));
    down(&session, &PlatformName::new("shop").unwrap(), DownOptions::default()).await.unwrap();
    bring(&["db"]).await;
    assert_eq!(look().await.0, [Running, Missing, Missing, Missing]);
}
