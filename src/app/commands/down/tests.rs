use super::*;
use crate::app::commands::run::Existing;
use crate::app::testing::{Agrees, Heard, heard_session, shop};
use crate::app::{
    Idle, JobEnd, Lease, PlatformState, UpOptions, begin_job, end_job, list_platforms, platforms_to_take_down, up,
};
use crate::engine::fake::FakeEngine;
use crate::host::Host;
use crate::host::fake::FakeHost;

const DATA: &str = "services:\n  db: {image: 'acme/db:1', volumes: ['rows:/data'], \
                    x-macula: {secrets: {PASSWORD: {generate: 20}}}}\nvolumes: {rows: {}}\n";
const NO_DATA: &str = "services: {db: {image: 'acme/db:1', x-macula: {secrets: {PASSWORD: {generate: 20}}}}}\n";

const FIRST: &str = "unix:///run/docker.sock";
const SECOND: &str = "tcp://ci:2375";

fn engine() -> FakeEngine {
    FakeEngine::new().with_image("acme/db:1")
}

fn name() -> PlatformName {
    PlatformName::new("shop").unwrap()
}

/// One user of this machine, whose engine answers there.
fn at(host: &FakeHost, engine: &FakeEngine, endpoint: &str, heard: &Arc<Heard>) -> Session {
    let mut session = heard_session(host.clone(), engine, "macula down", heard);
    session.system.discovery.attempts[0].endpoint = endpoint.to_owned();
    session
}

/// Both on the heap: the frames of several in one test are more than a thread of tests has.
async fn bring_up(session: &Session, host: &FakeHost, stack: &str) {
    let loaded = shop(host, "", stack);
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    Box::pin(up(session, &loaded, &options, &Agrees)).await.unwrap();
}

/// One user of this machine who has two engines; the platform is on the first.
struct Two {
    host: FakeHost,
    heard: Arc<Heard>,
    here: FakeEngine,
    there: FakeEngine,
    first: Session,
    second: Session,
}

async fn two_engines() -> Two {
    let (host, here, there) = (FakeHost::new(), engine(), engine());
    let heard = Arc::new(Heard::default());
    let (first, second) = (at(&host, &here, FIRST, &heard), at(&host, &there, SECOND, &heard));
    bring_up(&first, &host, DATA).await;
    Two { host, heard, here, there, first, second }
}

async fn take_down(session: &Session, options: DownOptions) -> Downed {
    Box::pin(down(session, &name(), options)).await.unwrap()
}

const ITS_END: DownOptions =
    DownOptions { volumes: false, keep_cluster: false, dry_run: false, any_owner: false, if_expired: true };
const WITH_DATA: DownOptions =
    DownOptions { volumes: true, keep_cluster: false, dry_run: false, any_owner: false, if_expired: false };

#[tokio::test]
async fn a_lease_that_gets_more_time_while_its_end_waits_keeps_the_platform() {
    let (host, engine) = (FakeHost::new(), engine());
    let session = at(&host, &engine, FIRST, &Arc::default());
    bring_up(&session, &host, DATA).await;
    let state = session.state(&name());
    let lease = |until: i64| Lease { until: Some(until), ..Lease::default() };
    // an `up` that renews it, which has the lock, and `lease cancel`, which needs none
    for renewed in [Some(lease(host.now() + 60)), None] {
        state.keep_lease(&host, Some(&lease(host.now() - 1))).await.unwrap();
        let held = session.lock(&name()).await.unwrap();
        let meanwhile = async {
            state.keep_lease(&host, renewed.as_ref()).await.unwrap();
            drop(held);
        };
        let (downed, ()) = tokio::join!(take_down(&session, ITS_END), meanwhile);
        assert!(downed.stays && downed.plan.is_empty());
        assert_eq!(state.lease(&host).await.unwrap(), renewed);
        assert_eq!(engine.containers(), ["macula-shop-db-1"]);
    }
    state.keep_lease(&host, Some(&lease(host.now()))).await.unwrap();
    assert!(!take_down(&session, ITS_END).await.stays);
    assert_eq!((engine.containers(), state.lease(&host).await.unwrap()), (Vec::new(), None));
}

#[tokio::test]
async fn the_end_of_a_lease_is_for_the_engine_that_the_platform_is_on() {
    let Two { host, here, first, second, .. } = two_engines().await;
    let (state, over) = (first.state(&name()), Lease { until: Some(host.now()), ..Lease::default() });
    state.keep_lease(&host, Some(&over)).await.unwrap();
    let error = Box::pin(down(&second, &name(), ITS_END)).await.unwrap_err();
    assert_eq!(error.to_string(), "shop was brought up on unix:///run/docker.sock, and this is tcp://ci:2375");
    assert_eq!((here.containers().len(), state.lease(&host).await.unwrap()), (1, Some(over)));
    assert!(!take_down(&first, ITS_END).await.stays && here.containers().is_empty());
}

#[tokio::test]
async fn an_engine_that_has_nothing_of_it_takes_nothing_from_the_one_that_has() {
    let Two { host, heard, here, first, second, .. } = two_engines().await;
    let (state, lease) = (first.state(&name()), Lease { until: Some(host.now() + 60), ..Lease::default() });
    state.keep_lease(&host, Some(&lease)).await.unwrap();
    host.put(Table::file(state.folder()), "{}");
    let before = host.paths();
    for options in [DownOptions::default(), WITH_DATA, DownOptions { dry_run: true, ..DownOptions::default() }] {
        let error = Box::pin(down(&second, &name(), options)).await.unwrap_err();
        assert!(matches!(error, Error::OnAnotherEngine { .. }), "{error}");
    }
    assert!(platforms_to_take_down(&second, false).await.unwrap().0.is_empty());
    let said = heard.said();
    assert!(said.contains(&"shop was brought up on unix:///run/docker.sock, and is left alone".to_owned()), "{said:?}");
    assert_eq!((host.paths(), state.lease(&host).await.unwrap()), (before, Some(lease)));
    for (session, state) in [(&first, PlatformState::Running), (&second, PlatformState::Elsewhere)] {
        let rows = Box::pin(list_platforms(session)).await.unwrap();
        assert_eq!(rows.iter().find(|row| row.name == name()).map(|row| row.state), Some(state));
    }
    assert!(platforms_to_take_down(&first, false).await.unwrap().0.contains(&name()));
    take_down(&first, DownOptions::default()).await;
    assert!(here.containers().is_empty());
}

#[tokio::test]
async fn a_job_that_made_nothing_on_its_engine_takes_nothing_from_another() {
    let two = two_engines().await;
    let job = begin_job(&two.second, &name()).await.unwrap();
    let before = Existing { running: false, data: false };
    let ended = Box::pin(end_job(&two.second, &name(), job, Some(before), false)).await.unwrap();
    assert_eq!((ended, two.here.containers().len()), (JobEnd::Nothing, 1));
}

#[tokio::test]
async fn the_end_of_a_lease_is_no_use_of_the_platform() {
    let (host, engine) = (FakeHost::new(), engine());
    let session = at(&host, &engine, FIRST, &Arc::default());
    bring_up(&session, &host, DATA).await;
    let state = session.state(&name());
    let idle = Idle { seconds: 1800, block: std::net::Ipv4Addr::new(127, 0, 0, 0), ports: Vec::new() };
    state.keep_lease(&host, Some(&Lease { idle: Some(idle), ..Lease::default() })).await.unwrap();
    state.note_use(&host, host.now()).await;
    assert!(take_down(&session, ITS_END).await.stays);
    let later = host.clone().at(host.now() + 1800);
    assert!(!take_down(&session, ITS_END).await.stays);
    assert_eq!((engine.containers(), state.lease(&later).await.unwrap()), (Vec::new(), None));
}

#[tokio::test]
async fn passwords_stay_as_long_as_another_engine_may_have_data() {
    let Two { host, heard, here, there, first, second } = two_engines().await;
    let state = first.state(&name());
    let passwords = state.secrets(&host).await.unwrap();

    // nothing was ever there
    let (data, _, lost) = data_of(&second, &name(), false).await.unwrap();
    assert!(data.is_empty() && !lost, "nobody need be asked");

    // data on both: the passwords go with the last of it
    bring_up(&second, &host, DATA).await;
    assert!(take_down(&first, WITH_DATA).await.passwords_kept);
    let note = "`DOCKER_HOST=tcp://ci:2375 macula --name shop down --volumes`";
    let said = heard.said();
    assert!(said.iter().any(|line| line.starts_with("the passwords of shop stay") && line.contains(note)), "{said:?}");
    assert_eq!((here.volume_names(), there.volume_names()), (Vec::new(), vec!["macula-shop-rows".to_owned()]));
    assert_eq!(state.secrets(&host).await.unwrap(), passwords);
    assert!(data_of(&second, &name(), false).await.unwrap().2);
    assert!(!take_down(&second, WITH_DATA).await.passwords_kept);
    assert!(!state.is_known(&host).await && there.volume_names().is_empty());
}

#[tokio::test]
async fn where_no_engine_is_written_down_passwords_go_where_the_platform_is() {
    let Two { host, heard, first, second, .. } = two_engines().await;
    let state = first.state(&name());
    host.remove(&state.folder().join("engines.json")).await.unwrap();
    assert!(take_down(&second, WITH_DATA).await.passwords_kept);
    let said = heard.said();
    let note = "`rm -r /home/dev/.local/share/macula/shop`";
    assert!(said.iter().any(|line| line.starts_with("the passwords of shop stay") && line.contains(note)), "{said:?}");
    take_down(&first, DownOptions::default()).await;
    assert!(!take_down(&first, WITH_DATA).await.passwords_kept);
    assert!(!state.is_known(&host).await);
}

#[tokio::test]
async fn passwords_of_data_outside_of_the_platforms_volumes_stay_with_it() {
    let stack = "services:\n  db: {image: 'acme/db:1', volumes: ['./rows:/data'], \
                 x-macula: {secrets: {PASSWORD: {generate: 20}}}}\n  \
                 web: {image: 'acme/db:1', volumes: ['.:/app'], x-macula: {secrets: {TOKEN: {generate: 20}}}}\n";
    let (host, engine, heard) = (FakeHost::new(), engine(), Arc::new(Heard::default()));
    let session = at(&host, &engine, FIRST, &heard);
    let state = session.state(&name());
    bring_up(&session, &host, stack).await;
    let before = state.secrets(&host).await.unwrap();
    take_down(&session, DownOptions::default()).await;
    assert!(data_of(&session, &name(), false).await.unwrap().2, "the token goes");
    // the second time there is nothing else, and no other engine that had any of it
    for _ in 0..2 {
        assert!(take_down(&session, WITH_DATA).await.passwords_kept);
        let left = state.secrets(&host).await.unwrap();
        assert_eq!(left.0.keys().collect::<Vec<_>>(), ["db"]);
        assert!(!data_of(&session, &name(), false).await.unwrap().2, "nobody need be asked");
    }
    let told: Vec<String> = heard.said().into_iter().filter(|line| line.starts_with("the passwords")).collect();
    let stay = "the passwords of db stay: there is data outside of the volumes of shop, which stays, too. To remove \
                them: `rm /home/dev/.local/share/macula/shop/secrets/secrets.json \
                /home/dev/.local/share/macula/shop/outside.json`";
    assert_eq!(told, [stay, stay]);
    bring_up(&session, &host, stack).await;
    let after = state.secrets(&host).await.unwrap();
    let [db, web] = [("db", "PASSWORD"), ("web", "TOKEN")]
        .map(|(service, key)| before.get(service, key) == after.get(service, key));
    assert!(db && !web);
}

#[tokio::test]
async fn passwords_of_what_has_no_data_go_once_it_is_down() {
    let (host, engine) = (FakeHost::new(), engine());
    let session = at(&host, &engine, FIRST, &Arc::default());
    let state = session.state(&name());
    bring_up(&session, &host, NO_DATA).await;
    take_down(&session, DownOptions::default()).await;
    assert!(state.has_secrets(&host).await && engine.network_names().is_empty());
    assert!(!take_down(&session, WITH_DATA).await.passwords_kept);
    assert!(!state.is_known(&host).await);
}
