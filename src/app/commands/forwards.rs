//! What the engine does not publish here is passed on by the background process.

use crate::daemon::reach::{Table, look_again};
use crate::host::holders;

use crate::app::reach::{keep, table};
use crate::app::resolver::{self, ResolverFiles};
use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::model::Way;

/// Makes sure that it does, and says what cannot be had. Nothing to do where the engine publishes.
pub(super) async fn pass_on(session: &Session, survey: &Survey) {
    let Some(table) = table(survey) else { return };
    let passed = async {
        keep(session.host(), survey.state.folder(), &table).await?;
        // the process is the resolver's too
        resolver::ensure(session, survey).await?;
        let socket = ResolverFiles::of(session.host()).reach();
        let passed = look_again(&socket, &survey.platform.name).await;
        passed.map_err(|source| Error::Io { path: socket, source })
    };
    let passed = match passed.await {
        Ok(passed) => passed,
        Err(error) => {
            session.events.warn(format!("nothing is passed on to the platform's addresses: {error}"));
            return;
        }
    };
    for (address, protocol, error) in &passed.failed {
        let held = holders(session.host(), *protocol, &[*address]).await.into_iter().next();
        let why = held.map_or_else(|| error.clone(), |holder| format!("it is held by {holder}"));
        session.events.warn(format!("{address} ({protocol}) is not passed on: {why}"));
    }
    if let Some(broken) = &passed.broken {
        session.events.warn(format!("the platform's containers are not reached ({}): {broken}", table.way));
    }
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
    use std::net::SocketAddr;

    use super::*;
    use crate::app::survey::survey;
    use crate::app::testing::{session, shop};
    use crate::app::{Wanted, prepare};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{Forward, Protocol};

    /// A platform that was reached by a relay is to be published again, as macula.yaml says.
    #[tokio::test]
    async fn the_background_process_gives_way_to_the_engine() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "reach: published\n", "services: {web: {image: 'acme/web:1', ports: ['8081:80']}}");
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
}
