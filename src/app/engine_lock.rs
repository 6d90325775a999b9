//! The lock on the engine. The lock file lies in a home; whoever has another home (another user, the next
//! job's container) does not see it, and yet works on the same containers. So whoever changes something also
//! makes a volume of a certain name: of several who ask at once, an engine gives the volume to one.
//!
//! A volume outlives its maker. The lock of a run that is gone is taken away: a run of this home (whose lock
//! file we hold by now), a process of this machine that does not live (another one may have its number), or
//! anybody who gives no sign of life for a minute (as long as a run lasts it makes a second volume anew every few
//! seconds).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::engine::{Engine, EngineError, Query};
use crate::host::{Host, Unmet, until};
use crate::model::{PlatformName, label};

use super::lease::LeaseHolder;
use super::owner::Owner;
use super::{Error, Session};

#[derive(Clone, Copy)]
struct Times {
    /// Between two signs of life.
    beat: Duration,
    /// Whoever gives no sign of life for so long is gone.
    silence: Duration,
    /// After another one's lock was taken away: time for somebody who did the same at the same moment.
    settle: Duration,
}

const TIMES: Times =
    Times { beat: Duration::from_secs(5), silence: Duration::from_secs(60), settle: Duration::from_millis(300) };

/// Who holds the lock, as the volume's label says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Holder {
    /// Of this one run.
    run: String,
    /// Of the data folder, and for people.
    owner: String,
    text: String,
    /// Which processes the pid is one of: those of one start of one machine or container.
    processes: String,
    pid: u32,
    /// As in [`LeaseHolder`].
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
    /// `macula up`
    command: String,
}

impl Holder {
    fn of(labels: &BTreeMap<String, String>) -> Self {
        labels.get(label::LOCK).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let text = serde_json::to_string(self).unwrap_or_default();
        [(label::LOCK.to_owned(), text)].into()
    }
}

/// The lock of one platform on one engine. To be released; whoever is killed is found out.
pub(super) struct EngineLock {
    engine: Arc<dyn Engine>,
    names: Names,
    mine: Holder,
    beat: JoinHandle<()>,
    has_beaten: Arc<AtomicBool>,
}

/// No volume of a platform begins like these.
#[derive(Clone)]
struct Names {
    lock: String,
    beat: String,
}

impl Names {
    fn of(platform: &PlatformName) -> Self {
        Self { lock: format!("macula.lock-{platform}"), beat: format!("macula.beat-{platform}") }
    }
}

impl EngineLock {
    /// Waits for nobody: whoever else works on the platform has made it, and it is not for two. `None`: the
    /// engine makes no such volume, and what is done does without.
    pub async fn acquire(session: &Session, platform: &PlatformName) -> Result<Option<Self>, Error> {
        Self::acquire_within(session, platform, TIMES).await
    }

    async fn acquire_within(session: &Session, platform: &PlatformName, times: Times) -> Result<Option<Self>, Error> {
        let engine = session.engine()?;
        let mine = myself(session).await?;
        let names = Names::of(platform);
        let mut gone: Option<String> = None;
        let mut contested = false;
        loop {
            let there = match engine.claim_volume(&names.lock, &mine.labels()).await {
                Ok(labels) => Holder::of(&labels),
                Err(error) => {
                    session.events.warn(format!("the platform is not locked on the engine: {error}"));
                    return Ok(None);
                }
            };
            if there.run == mine.run {
                if std::mem::take(&mut contested) {
                    // whatever the user says: the lock is ours by now, and is given back in order
                    tokio::time::sleep(times.settle).await;
                    continue;
                }
                break;
            }
            if there.run.is_empty() {
                let message = format!("volume {} already exists and was not made by macula", names.lock);
                let operation = format!("locking the platform {platform}");
                return Err(EngineError::Conflict { operation, message }.into());
            }
            if gone.as_ref() == Some(&there.run) {
                engine.remove_volume(&names.lock).await?;
                contested = true;
                continue;
            }
            let dead = there.owner == mine.owner || !lives(session, &engine, &names, (&there, &mine), times).await?;
            if !dead {
                return Err(Error::AtWork { platform: platform.clone(), owner: there.text, command: there.command });
            }
            gone = Some(there.run);
        }
        let has_beaten = Arc::new(AtomicBool::new(false));
        let beat = tokio::spawn(beat(engine.clone(), names.clone(), mine.clone(), times.beat, has_beaten.clone()));
        Ok(Some(Self { engine, names, mine, beat, has_beaten }))
    }

    /// The next one may begin.
    pub async fn release(self) {
        self.beat.abort();
        // the beat may be under way
        let _ = self.beat.await;
        // nothing depends on it: a lock that stays is that of a run that is gone
        if self.has_beaten.load(Ordering::SeqCst) {
            let _ = self.engine.remove_volume(&self.names.beat).await;
        }
        let there = self.engine.claim_volume(&self.names.lock, &self.mine.labels()).await;
        if there.is_ok_and(|labels| Holder::of(&labels).run == self.mine.run) {
            let _ = self.engine.remove_volume(&self.names.lock).await;
        }
    }
}

async fn myself(session: &Session) -> Result<Holder, Error> {
    let owner = Owner::ensure(session.host()).await?;
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)?;
    let pid = std::process::id();
    Ok(Holder {
        run: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        owner: owner.id().to_owned(),
        text: owner.text().to_owned(),
        processes: processes(session.host()).await,
        pid,
        started: LeaseHolder::of(session.host(), pid).await.and_then(|own| own.started),
        command: session.command.clone(),
    })
}

/// This start of this machine, and the process ids that are seen from here. Empty where a system does not
/// say so.
pub(super) async fn processes(host: &dyn Host) -> String {
    let boot = host.read(Path::new("/proc/sys/kernel/random/boot_id")).await.unwrap_or_default();
    let boot = String::from_utf8_lossy(&boot).trim().to_owned();
    if boot.is_empty() {
        return boot;
    }
    let namespace = rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).unwrap_or_default();
    format!("{boot} {}", namespace.to_string_lossy())
}

/// Whether somebody still works under this lock.
async fn lives(
    session: &Session,
    engine: &Arc<dyn Engine>,
    names: &Names,
    (there, mine): (&Holder, &Holder),
    times: Times,
) -> Result<bool, Error> {
    if !mine.processes.is_empty() && there.processes == mine.processes {
        // of two containers in a row the namespaces may have one number, and the processes theirs
        match (there.started, LeaseHolder::of(session.host(), there.pid).await) {
            (_, None) => return Ok(false),
            (Some(then), Some(LeaseHolder { started: Some(now), .. })) => return Ok(then == now),
            // an older macula's, or another user's where those are hidden
            _ => {}
        }
    }
    let sign = async || {
        let query = Query { volumes: vec![names.lock.clone(), names.beat.clone()], ..Query::default() };
        let found = engine.find(&query).await?.volumes;
        let label = |name: &str, key: &str| {
            found.iter().find(|volume| volume.name == name).and_then(|volume| volume.labels.get(key).cloned())
        };
        Ok::<_, EngineError>((label(&names.lock, label::LOCK), label(&names.beat, label::LOCK)))
    };
    let first = sign().await?;
    session.events.info(format!("looking whether `{}` of {} still runs", there.command, there.text));
    let looked = until(times.silence, times.beat / 5, &session.cancel, async || match sign().await {
        // it has ended, or another one has it: looked at again from the beginning
        Ok((lock, _)) if lock != first.0 => Ok(Ok(false)),
        // between two beats there is none for a moment
        Ok((_, beat)) if beat.is_some() && beat != first.1 => Ok(Ok(true)),
        Ok(_) => Err(()),
        Err(error) => Ok(Err(error)),
    });
    match looked.await {
        Ok(lives) => Ok(lives?),
        Err(Unmet::TooLong(())) => Ok(false),
        Err(Unmet::Cancelled) => Err(Error::Cancelled),
    }
}

/// Signs of life, until it is stopped. Each is another one.
async fn beat(engine: Arc<dyn Engine>, names: Names, mine: Holder, every: Duration, has_beaten: Arc<AtomicBool>) {
    let mut count = 0_u64;
    loop {
        tokio::time::sleep(every).await;
        count = count.saturating_add(1);
        let sign = [(label::LOCK.to_owned(), format!("{} {count}", mine.run))].into();
        // a lost one does no harm: there will be others
        has_beaten.store(true, Ordering::SeqCst);
        let _ = engine.remove_volume(&names.beat).await;
        let _ = engine.claim_volume(&names.beat, &sign).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::engine::fake::FakeEngine;
    use crate::host::Folders;
    use crate::host::fake::{FAKE_PID, FakeHost};

    const LONG: Duration = Duration::from_secs(600);
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";

    fn home(user: &str) -> Folders {
        let home = std::path::PathBuf::from(format!("/home/{user}"));
        let data = home.join(".local/share/macula");
        Folders { config: home.join(".config"), cache: home.join(".cache"), data, home }
    }

    fn machine(user: &str, boot: &str) -> FakeHost {
        let host = FakeHost::new().file(BOOT, boot).with_folders(home(user));
        host.facts_with(|facts| facts.user = user.to_owned()).file(format!("/proc/{FAKE_PID}/stat"), stat(55))
    }

    fn stat(ticks: u64) -> String {
        format!("{FAKE_PID} (macula) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n")
    }

    /// The lock of a run with this process, as it lies on the engine.
    async fn left(engine: &FakeEngine, of: &Session, platform: &PlatformName, pid: u32) -> Holder {
        let started = LeaseHolder::of(of.host(), pid).await.and_then(|found| found.started);
        let holder = Holder { pid, started, ..myself(of).await.unwrap() };
        crate::engine::Networks::claim_volume(engine, &Names::of(platform).lock, &holder.labels()).await.unwrap();
        holder
    }

    /// Signs of life are awaited for long, or for a moment where there are none.
    fn times(silence: Duration) -> Times {
        Times { beat: Duration::from_millis(10), silence, settle: Duration::from_millis(5) }
    }

    async fn taken(session: &Session, platform: &PlatformName, silence: Duration) -> Option<Error> {
        match EngineLock::acquire_within(session, platform, times(silence)).await {
            Ok(lock) => {
                lock.unwrap().release().await;
                None
            }
            Err(error) => Some(error),
        }
    }

    #[tokio::test]
    async fn one_of_two_homes_has_it_and_the_other_is_told_who() {
        let engine = FakeEngine::new();
        let (one, other) = (machine("ann", "b1"), machine("bob", "b1"));
        let (one, other) = (session(one, &engine, "macula up"), session(other, &engine, "macula down"));
        let name = PlatformName::default();
        left(&engine, &one, &name, FAKE_PID).await;
        let Some(Error::AtWork { owner, command, .. }) = taken(&other, &name, LONG).await else {
            panic!("both have it")
        };
        assert_eq!(command, "macula up");
        assert!(owner.starts_with("ann on ") && owner.ends_with("/home/ann/.local/share/macula"), "{owner}");
        // another platform is not concerned
        assert!(taken(&other, &PlatformName::new("pr-1").unwrap(), LONG).await.is_none());
        assert_eq!(engine.volume_names(), ["macula.lock-macula"]);
    }

    #[tokio::test]
    async fn a_lock_of_a_run_that_is_gone_is_healed() {
        let name = PlatformName::default();
        let dead = 4_000_000;
        // the same home, whose lock file is held; a process of this machine; a container that is gone; a process whose
        // number another one has, or may have
        for (user, boot, pid, stat) in [
            ("ann", "b2", FAKE_PID, stat(55)),
            ("bob", "b1", dead, stat(55)),
            ("bob", "b2", FAKE_PID, stat(55)),
            ("bob", "b1", FAKE_PID, stat(54)),
            ("bob", "b1", FAKE_PID, String::new()),
        ] {
            let engine = FakeEngine::new();
            let there = machine(user, boot).file(format!("/proc/{FAKE_PID}/stat"), &stat);
            let before = session(there, &engine, "macula up");
            let host = machine("ann", "b1");
            let me = session(host, &engine, "macula up");
            if user == "ann" {
                // one home has one owner
                let id = Owner::ensure(me.host()).await.unwrap();
                let labels = Holder { owner: id.id().to_owned(), run: "r1".into(), ..Holder::default() }.labels();
                crate::engine::Networks::claim_volume(&engine, &Names::of(&name).lock, &labels).await.unwrap();
            } else {
                left(&engine, &before, &name, pid).await;
            }
            assert!(taken(&me, &name, Duration::from_millis(50)).await.is_none(), "{user} {boot} {pid} {stat}");
            assert!(engine.volume_names().is_empty(), "{:?}", engine.volume_names());
        }
    }

    #[tokio::test]
    async fn a_run_elsewhere_that_gives_signs_of_life_keeps_it() {
        let engine = FakeEngine::new();
        let name = PlatformName::default();
        let there = session(machine("bob", "b2"), &engine, "macula up");
        let held = EngineLock::acquire_within(&there, &name, times(LONG)).await.unwrap().unwrap();
        let me = session(machine("ann", "b1"), &engine, "macula up");
        assert!(matches!(taken(&me, &name, LONG).await, Some(Error::AtWork { .. })));
        held.release().await;
        assert!(taken(&me, &name, LONG).await.is_none());
        assert!(engine.volume_names().is_empty(), "{:?}", engine.volume_names());
    }
}
