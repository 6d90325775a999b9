//! What the commands say: this program, run with `-o json` in the folder that a platform was started from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::host::Command;
use crate::model::{PlatformName, label};

use super::service::lacking;
use super::{Program, Shared};

/// Between the end of a look and the next one, while somebody looks at the page.
const APART: Duration = Duration::from_secs(2);
/// After something has happened.
const SOON: Duration = Duration::from_millis(400);
/// Nobody looks any more, where nobody has asked for that long.
const WATCHED: Duration = Duration::from_secs(10);
/// For a command that only looks.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// For one that stops or starts a service.
const ACTION: Duration = Duration::from_secs(600);
/// For an `up`, which may build.
const APPLY: Duration = Duration::from_secs(3600);
/// Commands at once.
const MOST: usize = 4;

/// The looks at platforms that somebody watches, each made once for all who watch.
pub struct Looks {
    watched: Mutex<BTreeMap<String, Watched>>,
    /// Of the last look; no two have the same.
    number: AtomicU64,
    slots: Semaphore,
    /// What the page is doing now.
    acting: Mutex<BTreeSet<Act>>,
    /// Something was done: whoever waits to look again looks at once.
    acted: Notify,
}

type Act = (PlatformName, Doing);

/// What the page is doing to a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Up,
    To(String, Action),
}

/// A platform that somebody looks at.
struct Watched {
    asked: Instant,
    /// Its number and what was seen; none: the first look is not over.
    last: Option<(u64, Arc<str>)>,
}

impl Looks {
    /// `now`: seconds since the epoch. A page that was there before this process takes no look of ours for one it knows.
    pub fn new(now: i64) -> Self {
        Self {
            watched: Mutex::default(),
            number: AtomicU64::new(u64::try_from(now).unwrap_or_default().saturating_mul(1000)),
            slots: Semaphore::new(MOST),
            acting: Mutex::default(),
            acted: Notify::new(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<String, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acting(&self) -> MutexGuard<'_, BTreeSet<Act>> {
        self.acting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is being done for a page.
    pub fn is_acting(&self) -> bool {
        !self.acting().is_empty()
    }

    /// Returns when nothing is being done.
    pub async fn done(&self) {
        loop {
            let acted = self.acted.notified();
            tokio::pin!(acted);
            // from before the look: what ends meanwhile is heard
            acted.as_mut().enable();
            if !self.is_acting() {
                return;
            }
            acted.await;
        }
    }

    /// What is being done to services of this platform.
    fn acts_on(&self, platform: &PlatformName) -> BTreeMap<String, Action> {
        let acting = self.acting();
        let own = acting.iter().filter(|(of, _)| of == platform);
        let act = |doing: &Doing| match doing {
            Doing::To(service, action) => Some((service.clone(), *action)),
            Doing::Up => None,
        };
        own.filter_map(|(_, doing)| act(doing)).collect()
    }

    /// An `up` that a page has asked for is at work.
    fn applies(&self, platform: &PlatformName) -> bool {
        self.acting().contains(&(platform.clone(), Doing::Up))
    }
}

/// What is to be run for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Doctor,
    Names,
}

/// What of a plan a page is told: the steps themselves have what containers are made with.
const PLANNED: [&str; 3] = ["changes", "left_out", "error"];

/// What a page may do to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Start,
    Stop,
    Restart,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// Something is being done as long as this is there, however it ends.
struct Acting<'a>(&'a Looks, Act);

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.0.acting().remove(&self.1);
        self.0.acted.notify_waiters();
    }
}

impl Shared {
    /// The platform as it was seen last, with the number of that look; `None`: that is the one `known` already, or the
    /// first one is not over. Whoever asks is taken to be looking for a while, and holds no connection meanwhile: a
    /// browser has only six for all of its windows.
    pub fn seen(self: &Arc<Self>, platform: &PlatformName, known: u64) -> Option<(u64, Arc<str>)> {
        self.listen_to(platform);
        let mut watched = self.looks.watched();
        if let Some(found) = watched.get_mut(platform.as_str()) {
            found.asked = Instant::now();
            return found.last.clone().filter(|(number, _)| *number != known);
        }
        watched.insert(platform.to_string(), Watched { asked: Instant::now(), last: None });
        drop(watched);
        tokio::spawn(Arc::clone(self).keep_looking(platform.clone()));
        None
    }

    async fn keep_looking(self: Arc<Self>, platform: PlatformName) {
        loop {
            // from before the look: what is done meanwhile may have come too late for it
            let acted = self.looks.acted.notified();
            let news = self.happened.news.notified();
            tokio::pin!(acted, news);
            acted.as_mut().enable();
            news.as_mut().enable();
            let look = tokio::select! {
                look = self.look(&platform) => look,
                () = self.stop.cancelled() => return,
            };
            {
                let mut watched = self.looks.watched();
                // under the lock: whoever comes now finds this, or begins again
                match watched.get_mut(platform.as_str()) {
                    Some(found) if found.asked.elapsed() < WATCHED => {
                        let number = self.looks.number.fetch_add(1, Ordering::Relaxed) + 1;
                        found.last = Some((number, look.to_string().into()));
                    }
                    _ => {
                        watched.remove(platform.as_str());
                        return;
                    }
                }
            }
            let soon = async {
                tokio::time::sleep(SOON).await;
                news.await;
            };
            tokio::select! {
                () = tokio::time::sleep(APART) => {}
                () = acted => {}
                () = soon => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// All platforms, and this one.
    async fn look(&self, platform: &PlatformName) -> Value {
        let mut acting = self.looks.acts_on(platform);
        let platforms = self.command(None, None, &["ls"], PATIENCE).await;
        let programs = own_programs((self.programs)(), &platforms, platform);
        let folder = folder(&platforms, platform);
        let known = row(&platforms, platform).is_some();
        let status = match (platforms.get("error"), known) {
            // no engine answers: the same error with its way out
            (Some(_), _) => platforms.clone(),
            (None, false) => Value::Null,
            (None, true) => {
                let words = ["status", "--all", "--stats"];
                self.command(Some(platform), folder.as_ref(), &words, PATIENCE).await
            }
        };
        let lacking = match known {
            true => self.lacking(platform).await,
            false => BTreeMap::new(),
        };
        // what was seen while something was done may be of before, or of in between
        acting.extend(self.looks.acts_on(platform));
        json!({
            "version": self.version,
            "platform": platform,
            "platforms": platforms.as_array(),
            "status": status.get("error").is_none().then_some(&status),
            "problem": status.get("error"),
            "folder": folder,
            "programs": programs,
            "lacking": lacking,
            "acting": acting,
            "applying": self.looks.applies(platform),
            "happened": self.happened.told(platform),
            "now": self.host.now(),
        })
    }

    /// The services that run although something that they need does not, with what that is.
    async fn lacking(&self, platform: &PlatformName) -> BTreeMap<String, BTreeSet<String>> {
        let Ok(engine) = self.session(platform).await.engine() else { return BTreeMap::new() };
        let all = engine.labelled(&format!("{}={platform}", label::PLATFORM)).await;
        all.map(|all| lacking(&all)).unwrap_or_default()
    }

    /// One look for a page that asks for it.
    pub async fn look_at(&self, platform: &PlatformName, what: Look) -> Value {
        let word = match what {
            Look::Doctor => "doctor",
            Look::Names => "validate",
        };
        let folder = self.folder_of(platform).await;
        self.command(Some(platform), folder.as_ref(), &[word], PATIENCE).await
    }

    /// What an `up` of this service would do.
    pub async fn planned(&self, platform: &PlatformName, service: &str) -> Value {
        let folder = self.folder_of(platform).await;
        let mut plan = self.command(Some(platform), folder.as_ref(), &["plan", "--", service], PATIENCE).await;
        if let Some(plan) = plan.as_object_mut() {
            plan.retain(|name, _| PLANNED.contains(&name.as_str()));
        }
        plan
    }

    /// Starts or stops a service, as `macula start` and its like do.
    pub async fn act(&self, platform: &PlatformName, service: &str, action: Action) -> Value {
        let doing = Doing::To(service.to_owned(), action);
        self.carry_out(platform, doing, &[action.word(), "--", service], ACTION).await
    }

    /// Does what an `up` would, as the last one was told. Whatever it would have to ask for is not done.
    pub async fn apply(&self, platform: &PlatformName) -> Value {
        self.carry_out(platform, Doing::Up, &["up"], APPLY).await
    }

    /// Runs a command that changes something, which all who look are told of.
    async fn carry_out(&self, platform: &PlatformName, doing: Doing, words: &[&str], patience: Duration) -> Value {
        let act: Act = (platform.clone(), doing);
        if !self.looks.acting().insert(act.clone()) {
            return failed("this is being done already");
        }
        self.looks.acted.notify_waiters();
        let _acting = Acting(&self.looks, act);
        let folder = self.folder_of(platform).await;
        // it may take long, and must not keep everybody else from looking
        self.run(Some(platform), folder.as_ref(), words, patience).await
    }

    pub(super) async fn folder_of(&self, platform: &PlatformName) -> Option<PathBuf> {
        let platforms = self.command(None, None, &["ls"], PATIENCE).await;
        folder(&platforms, platform)
    }

    /// What the command prints; an error in the form in which commands print theirs.
    pub(super) async fn command(
        &self,
        platform: Option<&PlatformName>,
        folder: Option<&PathBuf>,
        words: &[&str],
        patience: Duration,
    ) -> Value {
        let Ok(_slot) = self.looks.slots.acquire().await else { return failed("the page has ended") };
        self.run(platform, folder, words, patience).await
    }

    async fn run(
        &self,
        platform: Option<&PlatformName>,
        folder: Option<&PathBuf>,
        words: &[&str],
        patience: Duration,
    ) -> Value {
        let mut args = vec!["--output".to_owned(), "json".to_owned(), "--progress".to_owned(), "quiet".to_owned()];
        if let Some(platform) = platform {
            args.extend(["--name".to_owned(), platform.to_string()]);
        }
        args.extend(words.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(self.program.to_string_lossy(), args).may_fail().timeout(patience);
        if let Some(platform) = platform {
            command = command.settings(self.engine_variables(platform).await);
        }
        let home = self.host.folders().home;
        // the folder may be gone, and the one that the process was started in as well
        let folder = match folder {
            Some(folder) if self.host.exists(folder).await => folder.clone(),
            _ => home,
        };
        if self.host.exists(&folder).await {
            command = command.cwd(folder);
        }
        match self.host.run(&command).await {
            Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(|_| failed(output.stderr().trim())),
            Err(error) => failed(&error.to_string()),
        }
    }
}

/// An error in the form in which commands print theirs.
pub fn failed(message: &str) -> Value {
    json!({"error": {"kind": "unexpected", "message": message, "details": [], "causes": [], "hints": [], "try": []}})
}

fn row<'a>(platforms: &'a Value, platform: &PlatformName) -> Option<&'a Value> {
    platforms.as_array()?.iter().find(|row| row.get("name").and_then(Value::as_str) == Some(platform.as_str()))
}

/// The programs of a platform: their names are one label below its domain, and what lies deeper is of another platform.
/// All, where its domain is not known.
fn own_programs(mut programs: Vec<Program>, platforms: &Value, platform: &PlatformName) -> Vec<Program> {
    if let Some(domain) = row(platforms, platform).and_then(|row| row.get("domain")?.as_str()) {
        let label = |host: &str| Some(host.strip_suffix(domain)?.strip_suffix('.')?.to_owned());
        programs.retain(|program| label(&program.host).is_some_and(|label| !label.contains('.')));
    }
    programs
}

/// From which the platform was started last.
fn folder(platforms: &Value, platform: &PlatformName) -> Option<PathBuf> {
    row(platforms, platform)?.get("folder")?.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_platform_is_in_the_list() {
        let platforms = json!([{"name": "macula", "folder": "/home/me/shop"}, {"name": "pr-7", "folder": null}]);
        let of = |name: &str| folder(&platforms, &PlatformName::new(name).unwrap());
        assert_eq!(of("macula"), Some("/home/me/shop".into()));
        assert_eq!((of("pr-7"), of("gone")), (None, None));
        assert_eq!(folder(&failed("no engine"), &PlatformName::default()), None);
    }

    #[test]
    fn a_program_is_told_of_its_own_platform() {
        let platforms =
            json!([{"name": "macula", "domain": "macula.local"}, {"name": "blog", "domain": "blog.macula.local"}]);
        let of = |name: &str| {
            let hosts = ["shop.macula.local", "shop.blog.macula.local", "notmacula.local"];
            let all = hosts.map(|host| Program { host: host.into(), port: 3000 }).into();
            let own = own_programs(all, &platforms, &PlatformName::new(name).unwrap());
            own.into_iter().map(|program| program.host).collect::<Vec<_>>()
        };
        assert_eq!(of("macula"), ["shop.macula.local"]);
        assert_eq!(of("blog"), ["shop.blog.macula.local"]);
        assert_eq!(of("gone").len(), 3);
    }

    #[test]
    fn what_is_being_done_is_told_of_its_own_platform() {
        let looks = Looks::new(0);
        let other = PlatformName::new("pr-7").unwrap();
        looks.acting().insert((PlatformName::default(), Doing::To("shop".into(), Action::Stop)));
        looks.acting().insert((other.clone(), Doing::To("cart".into(), Action::Restart)));
        looks.acting().insert((other.clone(), Doing::Up));
        assert_eq!(json!(looks.acts_on(&PlatformName::default())), json!({"shop": "stop"}));
        assert_eq!(json!(looks.acts_on(&other)), json!({"cart": "restart"}));
        assert_eq!((looks.applies(&PlatformName::default()), looks.applies(&other)), (false, true));
    }

    #[tokio::test]
    async fn what_is_being_done_is_waited_for() {
        let looks = Looks::new(0);
        looks.done().await;
        let act: Act = (PlatformName::default(), Doing::Up);
        looks.acting().insert(act.clone());
        let brief = Duration::from_millis(20);
        assert!(looks.is_acting() && tokio::time::timeout(brief, looks.done()).await.is_err());
        let ends = async {
            // something else has ended first
            looks.acted.notify_waiters();
            tokio::time::sleep(brief).await;
            looks.acting().remove(&act);
            looks.acted.notify_waiters();
        };
        tokio::join!(looks.done(), ends);
        assert!(!looks.is_acting());
    }
}
