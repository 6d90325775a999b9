//! What the engine does not publish here is passed on by the background process.

use std::io::ErrorKind;

use crate::app::reach::{keep, table};
use crate::app::resolver::{self, ResolverFiles};
use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::apply::{Failure, StepError};
use crate::daemon::reach::{Passed, Table, look_again};
use crate::host::{Host, holders};
use crate::model::{PlatformName, Way};
use crate::plan::REACH_GROUP;

/// Makes sure that it does, and says what cannot be had; the failure: what only root may listen on. Nothing to do where the
/// engine publishes.
pub(super) async fn pass_on(session: &Session, survey: &Survey) -> Option<Failure> {
    let table = table(survey)?;
    let passed = async {
        keep(session.host(), survey.state.folder(), &table).await?;
        // the process is the resolver's too
        resolver::ensure(session, survey).await?;
        let socket = ResolverFiles::of(session.host()).reach();
        let passed = look_again(&socket, &survey.platform.name).await;
        passed.map_err(|source| Error::Io { path: socket, source })
    };
    let mut passed = match passed.await {
        Ok(passed) => passed,
        Err(error) => {
            session.events.warn(format!("nothing is passed on to the platform's addresses: {error}"));
            return None;
        }
    };
    let denied = not_permitted(session.host(), &mut passed).await;
    for (address, protocol, error) in &passed.failed {
        let held = holders(session.host(), *protocol, &[*address]).await.into_iter().next();
        let why = held.map_or_else(|| error.clone(), |holder| format!("it is held by {holder}"));
        session.events.warn(format!("{address} ({protocol}) is not passed on: {why}"));
    }
    if let Some(broken) = &passed.broken {
        session.events.warn(format!("the platform's containers are not reached ({}): {broken}", table.way));
    }
    denied
}

/// Takes out what failed since only root may listen there.
async fn not_permitted(host: &dyn Host, passed: &mut Passed) -> Option<Failure> {
    let mut addresses = Vec::new();
    for (address, protocol, _) in &passed.failed {
        let tried = host.can_bind(*address, *protocol).await;
        // where somebody has it this user is told the same, and the background process may have the right as a service
        if tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            && holders(host, *protocol, &[*address]).await.is_empty()
        {
            addresses.push(*address);
        }
    }
    passed.failed.retain(|(address, ..)| !addresses.contains(address));
    let (first, more) = (*addresses.first()?, addresses.len() - 1);
    let error = StepError::NotPermitted { first, more };
    Some(Failure { step: format!("listen on {first}"), group: REACH_GROUP.to_owned(), error })
}

/// What the background process passes on from before its file was lost would be in the way of the next `up`.
pub(super) async fn forget_the_lost(session: &Session, platform: &PlatformName) {
    // one that is not there listens on nothing
    let _ = look_again(&ResolverFiles::of(session.host()).reach(), platform).await;
}

/// The engine publishes from now on: the background process lets go of the addresses before a container gets them.
/// Whoever is not heard of within a moment is not waited for: the engine then says who has the address.
pub(super) async fn stop_passing_on(session: &Session, survey: &Survey) -> Result<(), Error> {
    let host = session.host();
    let Some(table) = survey.reach.as_ref().filter(|table| table.way == Way::Published) else { return Ok(()) };
    // one that is not there listens on nothing; for the ingress it may have a relay listen also where it listens on nothing
    let _ = look_again(&ResolverFiles::of(host).reach(), &survey.platform.name).await;
    if table.forwards.is_empty() {
        return Ok(());
    }
    let addresses: Vec<_> = table.forwards.iter().map(|forward| (forward.listen, forward.protocol)).collect();
    resolver::until_free(session, &addresses).await?;
    keep(host, survey.state.folder(), &Table { forwards: Vec::new(), ..table.clone() }).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    use super::*;
    use crate::app::staying::in_the_way;
    use crate::app::survey::survey;
    use crate::app::testing::{session, shop};
    use crate::app::{Wanted, prepare, remap};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{ContainerState, Forward, ObservedContainer, Protocol, label};

    const STACK: &str = "services: {web: {image: 'acme/web:1', ports: ['8081:80']}}";

    /// A platform that was reached by a relay is to be published again, as macula.yaml says.
    #[tokio::test]
    async fn the_background_process_gives_way_to_the_engine() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "reach: published\n", STACK);
        let session = session(host.clone(), &engine, "macula up");
        let seen = survey(&session, &loaded).await.unwrap();
        let port = seen.resources.containers[0].ports[0].clone();
        let listen = SocketAddr::new(port.host_ip, port.host_port.unwrap());
        let host = host.listener(&listen.to_string(), Protocol::Tcp, Some((7, "macula")));
        // one that passes on nothing for this platform is in the way, and is not to be killed
        let Err(Error::Conflicts(conflicts)) = prepare(&session, &loaded, &Wanted::default()).await else { panic!() };
        assert!(conflicts[0].to_string().contains("a background process of macula (pid 7) listens on"));

        let forward = Forward {
            listen,
            protocol: Protocol::Tcp,
            service: "web".into(),
            container: "macula-shop-web-1".into(),
            port: 80,
        };
        let folder = seen.state.folder().to_owned();
        let relay = Table { forwards: vec![forward.clone()], ..Table::new(Way::Relay, "macula-shop") };
        keep(&host, &folder, &relay).await.unwrap();
        let by_relay = survey(&session, &loaded).await.unwrap();
        assert!(by_relay.resources.containers[0].ports.is_empty(), "as the last `up` made it");
        let ahead = Wanted { ahead: true, ..Wanted::default() };
        let prepared = prepare(&session, &loaded, &ahead).await.unwrap();
        assert_eq!(
            prepared.survey.resources.containers[0].ports,
            std::slice::from_ref(&port),
            "as the next `up` makes it"
        );
        assert_eq!(Table::read(&host, &folder).await, Some(relay), "who only looks writes nothing");

        crate::app::reach::choose(&session, &loaded.platform).await.unwrap();
        let chosen = Table::read(&host, &folder).await.unwrap();
        assert_eq!((chosen.way, &chosen.forwards), (Way::Published, &vec![forward]), "it still listens");
        let prepared = prepare(&session, &loaded, &Wanted::default()).await.unwrap();
        assert_eq!(prepared.survey.resources.containers[0].ports, [port]);
        // it has let go
        let free = FakeHost::new();
        stop_passing_on(&crate::app::testing::session(free.clone(), &engine, "macula up"), &prepared.survey)
            .await
            .unwrap();
        assert_eq!(Table::read(&free, &folder).await, Some(Table::new(Way::Published, "macula-shop")));
        // somebody else's program that has come to the same address
        let other = FakeHost::new().listener(&listen.to_string(), Protocol::Tcp, Some((8, "nginx")));
        keep(&other, &folder, &Table { forwards: chosen.forwards, ..Table::new(Way::Published, "macula-shop") })
            .await
            .unwrap();
        let on_other = crate::app::testing::session(other, &engine, "macula up");
        assert!(matches!(prepare(&on_other, &loaded, &Wanted::default()).await, Err(Error::Conflicts(_))));
    }

    /// A second project on the platform, whose `up` knows nothing of the first one's files.
    #[tokio::test]
    async fn what_another_project_runs_goes_on_to_be_passed_on() {
        let labels = [(label::PLATFORM, "shop"), (label::STACK, "blog"), (label::SERVICE, "web")];
        let web = ObservedContainer {
            id: "f".repeat(64),
            name: "macula-shop-web-1".into(),
            state: ContainerState::Running,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..ObservedContainer::default()
        };
        let host = FakeHost::new();
        let engine = FakeEngine::new().with_image("acme/web:1").with_container(web);
        let session = session(host.clone(), &engine, "macula up");
        let api = |port: u16| {
            let stack = format!("services: {{api: {{image: 'acme/web:1', ports: ['{port}:80']}}}}");
            shop(&host, "reach: relay\n", &stack)
        };
        let folder = survey(&session, &api(9090)).await.unwrap().state.folder().to_owned();
        let mut relay = Table::new(Way::Relay, "macula-shop");
        keep(&host, &folder, &relay).await.unwrap();
        let own = survey(&session, &api(8081)).await.unwrap().resources.containers[0].forwards[0].clone();
        let theirs = Forward { service: "web".into(), container: "macula-shop-web-1".into(), ..own };
        relay.forwards.push(theirs.clone());
        keep(&host, &folder, &relay).await.unwrap();

        // nothing listens for one that was not started
        let passed = table(&survey(&session, &api(9090)).await.unwrap()).unwrap().forwards;
        assert_eq!(passed, std::slice::from_ref(&theirs));
        // both want it
        let seen = survey(&session, &api(8081)).await.unwrap();
        let (plan, _) = seen.reconcile(None, &BTreeSet::new(), false).unwrap();
        let told = in_the_way(&seen, &plan).await.unwrap()[0].to_string();
        let listen = theirs.listen;
        assert_eq!(
            told,
            format!(
                "container macula-shop-api-1: {listen} is passed on to macula-shop-web-1, which runs and belongs to the stack blog; \
                 that stack is not loaded now"
            )
        );
    }

    #[tokio::test]
    async fn sctp_is_refused_where_it_would_have_to_be_passed_on() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let stack = "services: {web: {image: 'acme/web:1', ports: ['3868:3868/sctp']}}";
        let (loaded, session) = (shop(&host, "reach: relay\n", stack), session(host.clone(), &engine, "macula up"));
        let folder = survey(&session, &loaded).await.unwrap().state.folder().to_owned();
        keep(&host, &folder, &Table::new(Way::Relay, "macula-shop")).await.unwrap();
        let prepared = prepare(&session, &loaded, &Wanted::default()).await;
        let Err(Error::Unsupported { services, .. }) = prepared else { panic!() };
        let why = "where the engine does not publish, only TCP and UDP are passed on";
        assert_eq!(services, [format!("service web: port 3868/sctp: {why}")]);
    }

    #[tokio::test]
    async fn what_only_root_may_listen_on_is_one_failure() {
        let denied = std::net::Ipv4Addr::new(127, 0, 0, 2).into();
        let host = FakeHost::new().unbindable(denied, ErrorKind::PermissionDenied);
        let failed = |address: &str| (address.parse().unwrap(), Protocol::Tcp, "no".to_owned());
        let all = ["127.0.0.2:80", "127.0.0.3:80", "127.0.0.2:443"].map(failed).into();
        let mut passed = Passed { failed: all, ..Passed::default() };
        let told = not_permitted(&host, &mut passed).await.unwrap().error.to_string();
        assert_eq!(told, "this user may not listen on 127.0.0.2:80 and 1 more");
        assert_eq!(passed.failed, [failed("127.0.0.3:80")]);
        assert!(not_permitted(&host, &mut passed).await.is_none());
    }

    /// Where the engine does not publish, the background process listens: the same addresses are wanted, and the same is
    /// in their way.
    #[tokio::test]
    async fn what_is_passed_on_is_looked_at_before_anything_is_made() {
        let engine = FakeEngine::new().with_image("acme/web:1");
        let of = |host: &FakeHost| (shop(host, "reach: relay\n", STACK), session(host.clone(), &engine, "macula up"));
        let free = FakeHost::new();
        let (loaded, on_free) = of(&free);
        let folder = survey(&on_free, &loaded).await.unwrap().state.folder().to_owned();
        let relay = Table::new(Way::Relay, "macula-shop");
        keep(&free, &folder, &relay).await.unwrap();
        let seen = survey(&on_free, &loaded).await.unwrap();
        let forward = seen.resources.containers[0].forwards[0].clone();
        let listens = |owner| FakeHost::new().listener(&forward.listen.to_string(), Protocol::Tcp, owner);

        let taken = listens(Some((8, "nginx")));
        keep(&taken, &folder, &relay).await.unwrap();
        let (loaded, on_taken) = of(&taken);
        let Err(Error::Conflicts(conflicts)) = prepare(&on_taken, &loaded, &Wanted::default()).await else { panic!() };
        let told = format!("port 8081 is taken: nginx (pid 8) listens on {0}, and web needs {0}/tcp", forward.listen);
        assert!(conflicts[0].to_string().contains(&told), "{}", conflicts[0]);

        // it can go elsewhere, also where our own had the address before
        for (owner, moves) in [(Some((8, "nginx")), true), (Some((7, "macula")), false), (None, false)] {
            let host = listens(owner);
            keep(&host, &folder, &Table { forwards: vec![forward.clone()], ..relay.clone() }).await.unwrap();
            let loaded = shop(&host, "reach: relay\nports: remap\n", STACK);
            let moved = remap(&session(host, &engine, "macula up"), &loaded, &[]).await.unwrap();
            assert_eq!(moved.is_some(), moves, "{owner:?}");
        }

        // our own, and root's, whose name is not told
        for owner in [Some((7, "macula")), None] {
            let own = listens(owner);
            keep(&own, &folder, &Table { forwards: vec![forward.clone()], ..relay.clone() }).await.unwrap();
            let (loaded, on_own) = of(&own);
            let listeners = survey(&on_own, &loaded).await.unwrap().observed.listeners;
            assert!(listeners.is_empty(), "{owner:?}: {listeners:?}");
        }
    }
}
