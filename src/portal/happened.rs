//! What has happened to the services of the platforms that somebody looks at, as `macula events` tells it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::app::{ServiceEvent, follow_events};
use crate::model::PlatformName;

use super::Shared;

/// Events that are kept of a platform.
const MOST: usize = 100;
/// Seconds for which one listens on after the last look: a tab in the background comes back.
const WANTED: i64 = 900;
/// For which one tries to, where no engine answers or the platform is not there yet: nothing has been heard that would
/// be lost.
const TRIED: i64 = 10;
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// By platform.
#[derive(Default)]
pub struct Happened {
    heard: Mutex<BTreeMap<String, Heard>>,
    /// Something has happened: whoever waits to look again may look at once.
    pub news: Notify,
}

/// Of one platform.
struct Heard {
    /// From then on; seconds since the epoch.
    since: i64,
    /// When somebody has last looked.
    asked: i64,
    events: VecDeque<ServiceEvent>,
    /// There were more than are kept.
    dropped: bool,
}

impl Happened {
    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest first, with the time from which on they are kept, and whether the first of them are gone.
    pub fn told(&self, platform: &PlatformName) -> Value {
        let heard = self.heard();
        let known = heard.get(platform.as_str());
        json!({
            "since": known.map(|known| known.since),
            "events": known.map(|known| &known.events),
            "dropped": known.is_some_and(|known| known.dropped),
        })
    }

    /// Somebody looks. True: nobody listens yet.
    fn begin(&self, platform: &PlatformName, now: i64) -> bool {
        let mut heard = self.heard();
        let first = !heard.contains_key(platform.as_str());
        let known = heard.entry(platform.to_string()).or_insert_with(|| Heard {
            since: now,
            asked: now,
            events: VecDeque::new(),
            dropped: false,
        });
        known.asked = now;
        first
    }

    fn is_empty(&self, platform: &PlatformName) -> bool {
        self.heard().get(platform.as_str()).is_none_or(|known| known.events.is_empty())
    }

    fn add(&self, platform: &PlatformName, event: ServiceEvent) {
        if let Some(known) = self.heard().get_mut(platform.as_str()) {
            if known.events.len() == MOST {
                known.events.pop_front();
                known.dropped = true;
            }
            known.events.push_back(event);
        }
        self.news.notify_waiters();
    }

    /// Forgets a platform that nobody has looked at for longer than `most` seconds.
    fn is_over(&self, platform: &PlatformName, now: i64, most: i64) -> bool {
        let mut heard = self.heard();
        let over = heard.get(platform.as_str()).is_none_or(|known| now - known.asked > most);
        if over {
            heard.remove(platform.as_str());
        }
        over
    }
}

impl Shared {
    /// Listens for as long as somebody looks at this platform.
    pub fn listen_to(self: &Arc<Self>, platform: &PlatformName) {
        if self.happened.begin(platform, self.host.now()) {
            tokio::spawn(Arc::clone(self).keep_listening(platform.clone()));
        }
    }

    async fn keep_listening(self: Arc<Self>, platform: PlatformName) {
        loop {
            let follow = async {
                let session = self.session(&platform).await;
                // no engine, or no such platform: the look says which
                let Ok(mut events) = follow_events(&session, &platform, Vec::new()).await else { return };
                while let Some(event) = events.recv().await {
                    self.happened.add(&platform, event);
                }
            };
            let over = async {
                loop {
                    tokio::time::sleep(AGAIN).await;
                    if self.happened.is_over(&platform, self.host.now(), WANTED) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = follow => {}
                () = over => return,
                () = self.stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.stop.cancelled() => return,
            }
            let most = if self.happened.is_empty(&platform) { TRIED } else { WANTED };
            if self.happened.is_over(&platform, self.host.now(), most) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::EventKind;

    fn event(time: &str) -> ServiceEvent {
        ServiceEvent {
            time: time.to_owned(),
            event: EventKind::Started,
            service: Some("web".into()),
            container: None,
            process: false,
            exit_code: None,
            out_of_memory: false,
            late: false,
        }
    }

    #[test]
    fn the_newest_are_kept_while_somebody_looks() {
        let (happened, platform) = (Happened::default(), PlatformName::default());
        happened.add(&platform, event("before anybody looked"));
        assert_eq!(happened.told(&platform), json!({"since": null, "events": null, "dropped": false}));
        assert!(happened.begin(&platform, 100));
        assert!(!happened.begin(&platform, 200), "one listens already");
        for number in 0..MOST {
            happened.add(&platform, event(&number.to_string()));
        }
        assert_eq!(happened.told(&platform)["dropped"], false);
        happened.add(&platform, event(&MOST.to_string()));
        let told = happened.told(&platform);
        let events = told["events"].as_array().unwrap();
        assert_eq!((events.len(), &events[0]["time"], &told["since"]), (MOST, &json!("1"), &json!(100)));
        assert_eq!(told["dropped"], true);
        assert_eq!(events[0]["event"], "started");
        assert!(!happened.is_over(&platform, 200 + WANTED, WANTED));
        assert!(happened.is_over(&platform, 201 + WANTED, WANTED));
        assert!(happened.begin(&platform, 300 + WANTED), "it was forgotten");
        assert!(happened.is_empty(&platform) && !happened.is_over(&platform, 300 + WANTED + TRIED, TRIED));
        assert!(happened.is_over(&platform, 301 + WANTED + TRIED, TRIED));
    }
}
