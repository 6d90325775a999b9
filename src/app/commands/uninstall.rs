//! `uninstall`: what Macula has put on this machine, and taking it away again.

use std::path::PathBuf;

use serde::Serialize;

use crate::app::resolver::{ResolverFiles, StartedBy, connect, stop_resolver};
use crate::app::{Error, Session, State, authorities};
use crate::changes::{self, Undoing, Verdict};
use crate::dns::install::{Rung, SERVICE};
use crate::model::PlatformName;
use crate::pki::trust::{self, Done, Outcome, Place};

use super::down::{DownOptions, down};
use super::ls::known_platforms;
use super::names::uninstall_names;

/// What there is of Macula on this machine.
#[derive(Debug, Default, Serialize)]
pub struct Leavings {
    pub platforms: Vec<PlatformName>,
    /// Of somebody else, who shares the engine. They stay.
    pub foreign: Vec<PlatformName>,
    /// The system asks our resolver for the platforms' names.
    pub names: bool,
    /// Trust stores that have our authority.
    #[serde(serialize_with = "labels")]
    pub trust: Vec<Place>,
    /// What `doctor --fix` and installations changed on this machine, and what becomes of it.
    pub changes: Vec<Undoing>,
    /// Passwords, certificates, logs. It stays as long as there is data that needs it.
    pub data: Option<PathBuf>,
    /// Downloads.
    pub cache: Option<PathBuf>,
    /// The user's own settings, which always stay.
    pub settings: Option<PathBuf>,
}

fn labels<S: serde::Serializer>(places: &[Place], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(places.iter().map(|place| &place.label))
}

fn with_notes<S: serde::Serializer>(names: &[(Rung, Vec<String>)], serializer: S) -> Result<S::Ok, S::Error> {
    let of = |(rung, notes): &(Rung, Vec<String>)| serde_json::json!({"method": rung.to_string(), "notes": notes});
    serializer.collect_seq(names.iter().map(of))
}

/// What was taken away, and what was not.
#[derive(Debug, Default, Serialize)]
pub struct Uninstalled {
    pub platforms: Vec<PlatformName>,
    /// Volumes that stay.
    pub volumes: Vec<String>,
    pub folders: Vec<PathBuf>,
    /// How the system was pointed at the resolver, as far as that was put back, and what is to be told of it.
    #[serde(serialize_with = "with_notes")]
    pub names: Vec<(Rung, Vec<String>)>,
    /// What came of each trust store.
    #[serde(skip)]
    pub trust: Vec<Outcome>,
    pub changes: Vec<Undoing>,
}

impl Uninstalled {
    /// Trust stores that still have our authority.
    pub fn failed_stores(&self) -> usize {
        self.trust.iter().filter(|outcome| matches!(outcome.done, Done::Failed(_))).count()
    }

    /// Changes of this machine that could not be undone.
    pub fn failed_changes(&self) -> impl Iterator<Item = &Undoing> {
        self.changes.iter().filter(|change| matches!(change.verdict, Verdict::Failed(_)))
    }
}

/// Looks for all of it. Changes nothing.
pub async fn leavings(session: &Session) -> Result<Leavings, Error> {
    let host = session.host();
    let folders = host.folders();
    let install = ResolverFiles::of(host).install();
    let receipts = [install.join("receipt.json"), install.join(SERVICE).join("receipt.json")];
    let mut found = Leavings {
        names: host.exists(&receipts[0]).await || host.exists(&receipts[1]).await,
        trust: trust::recorded(host, &authorities(session)).await?,
        changes: changes::pending(host).await?,
        ..Leavings::default()
    };
    for row in known_platforms(session).await? {
        if row.owner.is_some() { found.foreign.push(row.name) } else { found.platforms.push(row.name) }
    }
    for (folder, place) in
        [(folders.data, &mut found.data), (folders.cache, &mut found.cache), (folders.config, &mut found.settings)]
    {
        if host.exists(&folder).await {
            *place = Some(folder);
        }
    }
    Ok(found)
}

/// Takes it away, in an order in which what is left after an error is found by the next try. With
/// `volumes` the data goes too; without, the folder with its passwords stays.
pub async fn uninstall(session: &Session, found: &Leavings, volumes: bool) -> Result<Uninstalled, Error> {
    let host = session.host();
    let (mut done, mut kept) = (Uninstalled::default(), false);
    for name in &found.platforms {
        let downed = match Box::pin(down(session, name, DownOptions { volumes, ..DownOptions::default() })).await {
            // it runs on, and what is known of it stays
            Err(error @ Error::OnAnotherEngine { .. }) => {
                session.events.warn(format!("{error}: what is there stays"));
                kept = true;
                continue;
            }
            downed => downed?,
        };
        kept |= downed.passwords_kept;
        done.volumes.extend(downed.kept);
        done.platforms.push(name.clone());
    }
    done.names = uninstall_names(session).await?;
    done.trust = trust::uninstall(host, &authorities(session), None, None).await?;
    done.changes = changes::undo(host).await?;
    stop_own_resolver(session).await?;
    // passwords of data that stays, which may lie on an engine that was not asked; and the receipt of what could not be
    // undone
    let failed = done.failed_stores() > 0 || done.failed_changes().next().is_some();
    // of what was taken down with its data nothing is known any more
    let known = !State::all(host).await.is_empty() || (!volumes && !found.platforms.is_empty());
    let keep = kept || known || failed;
    for folder in found.cache.iter().chain(found.data.iter().filter(|_| !keep)) {
        host.remove_folder(folder).await.map_err(|source| Error::Io { path: folder.clone(), source })?;
        done.folders.push(folder.clone());
    }
    Ok(done)
}

/// The one that `up` started; one in a terminal of the user's is the user's.
async fn stop_own_resolver(session: &Session) -> Result<(), Error> {
    let files = ResolverFiles::of(session.host());
    let by = files.last_process(session.host()).await.map(|process| process.started_by);
    if by != Some(StartedBy::Up) {
        return Ok(());
    }
    let Ok(mut client) = connect(session.host()).await else { return Ok(()) };
    let status = client.status().await;
    stop_resolver(&mut client, &files.control(), &status).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{Agrees, session};
    use crate::app::{UpOptions, up};
    use crate::changes::Change;
    use crate::config::{self, MemoryFiles, Request};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::host::{Host, Output, RunError};
    use crate::system::System;

    async fn up_as(session: &Session, name: &str) {
        let files = MemoryFiles::default()
            .with("/shop/macula.yaml", "stacks: [compose.yaml]\ncluster: {enabled: false}\n")
            .with(
                "/shop/compose.yaml",
                "services: {web: {image: acme/web:1, volumes: ['data:/data']}}\nvolumes: {data: {}}\n",
            );
        let name = Some(PlatformName::new(name).unwrap());
        let request = Request { name, only_own: true, cwd: "/shop".into(), ..Request::default() };
        let loaded = config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
        Box::pin(up(session, &loaded, &options, &Agrees)).await.unwrap();
    }

    #[tokio::test]
    async fn all_of_this_user_goes_the_data_last_and_nothing_of_another() {
        let engine = FakeEngine::new().pullable("acme/web:1");
        // behind a proxy nothing can be known of a registry beforehand
        let host = || FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
        let (ours, theirs) = (host(), host());
        let (mine, stranger) = (session(ours.clone(), &engine, "macula up"), session(theirs, &engine, "macula up"));
        for name in ["one", "two"] {
            up_as(&mine, name).await;
        }
        up_as(&stranger, "three").await;
        let names = |platforms: &[PlatformName]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>();

        let found = leavings(&mine).await.unwrap();
        assert_eq!(
            (names(&found.platforms), names(&found.foreign)),
            (vec!["one".into(), "two".into()], vec!["three".into()])
        );
        // an engine that knows nothing of the data is no reason to lose its passwords
        let elsewhere = session(ours.clone(), &FakeEngine::new(), "macula up");
        let seen = leavings(&elsewhere).await.unwrap();
        assert!(uninstall(&elsewhere, &seen, false).await.unwrap().volumes.is_empty());
        assert!(ours.exists(&ours.folders().data).await);

        // nor is one where somebody else has a platform of the name
        let (shared, apart) = (FakeEngine::new().pullable("acme/web:1"), host());
        up_as(&session(apart.clone(), &FakeEngine::new().pullable("acme/web:1"), "macula up"), "one").await;
        up_as(&session(host(), &shared, "macula up"), "one").await;
        let confused = session(apart.clone(), &shared, "macula uninstall");
        let seen = leavings(&confused).await.unwrap();
        assert_eq!((names(&seen.platforms), names(&seen.foreign)), (vec![], vec!["one".to_owned()]));
        for volumes in [false, true] {
            uninstall(&confused, &seen, volumes).await.unwrap();
            assert!(apart.exists(&apart.folders().data.join("one")).await);
        }

        // nor is one that does not answer, where nothing but the passwords is left of a platform's records
        let folder = ours.folders().data.join("two");
        let record = ours.read(&folder.join("platform.json")).await.unwrap();
        ours.remove(&folder.join("platform.json")).await.unwrap();
        ours.put(folder.join("secrets").join("secrets.json"), r#"{"format": 1, "services": {}}"#);
        let silent = Session {
            system: System { engine: None, ..mine.system.clone() },
            ..session(ours.clone(), &engine, "macula up")
        };
        let seen = leavings(&silent).await.unwrap();
        assert_eq!(names(&seen.platforms), ["one", "two"]);
        for volumes in [false, true] {
            let refused = uninstall(&silent, &seen, volumes).await.unwrap_err();
            assert!(matches!(refused, Error::NoEngine(_)), "{refused}");
            assert!(ours.exists(&folder.join("secrets").join("secrets.json")).await);
        }
        ours.put(folder.join("platform.json"), String::from_utf8(record).unwrap());

        let kept = uninstall(&mine, &found, false).await.unwrap();
        assert_eq!(kept.volumes, ["macula-one-data", "macula-two-data"]);
        assert!(ours.exists(&ours.folders().data).await, "the passwords of the data");
        assert_eq!(engine.containers(), ["macula-three-web-1"]);

        let gone = uninstall(&mine, &leavings(&mine).await.unwrap(), true).await.unwrap();
        assert_eq!((gone.volumes.len(), gone.folders.contains(&ours.folders().data)), (0, true));
        assert!(leavings(&mine).await.unwrap().platforms.is_empty());
        assert_eq!(engine.containers(), ["macula-three-web-1"]);
    }

    #[tokio::test]
    async fn what_cannot_be_undone_keeps_its_list() {
        const FORWARD: &str = "net.ipv4.ip_forward";
        let obey = |host: FakeHost| {
            host.on("sudo sysctl *", |host, command| {
                let (name, value) = command.args[1].split_once('=').unwrap();
                host.set(name, value);
                Ok(Output { status: Some(0), ..Output::default() })
            })
        };
        let host = obey(FakeHost::new().setting(FORWARD, "0"));
        let forward = Change::settings(&[(FORWARD, "1".to_owned())], false);
        changes::make(&host, "a test", &forward, &|_: &str| ()).await.unwrap();
        let list = host.folders().data.join("host.d/receipt.json");

        let host = host.on("sudo *", |_, command| Err(RunError::Privilege { command: command.to_string() }));
        let session = session(host.clone(), &FakeEngine::new(), "macula uninstall");
        let found = leavings(&session).await.unwrap();
        assert_eq!(found.changes.len(), 1);
        let done = uninstall(&session, &found, true).await.unwrap();
        assert_eq!((done.failed_changes().count(), host.exists(&list).await), (1, true));
        assert!(!done.folders.contains(&host.folders().data));

        let host = obey(host);
        let done = uninstall(&session, &leavings(&session).await.unwrap(), false).await.unwrap();
        assert_eq!((done.failed_changes().count(), host.exists(&host.folders().data).await), (0, false));
        assert_eq!(host.sysctl(FORWARD).await.unwrap(), "0");
    }
}
