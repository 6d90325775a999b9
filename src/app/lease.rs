//! A platform for a while: `up --lease 2h`, `up --lease-of PID`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// How long a platform stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The platform goes with this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<LeaseHolder>,
}

/// A process, told from a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    pub pid: u32,
    /// When it was started, in ticks since the machine was; none where the system does not say.
    pub started: Option<u64>,
}

impl LeaseHolder {
    /// None: there is no such process.
    pub async fn of(host: &dyn Host, pid: u32) -> Option<Self> {
        let found = Self { pid, started: started(host, pid).await };
        host.alive(pid).then_some(found)
    }

    async fn is_there(&self, host: &dyn Host) -> bool {
        host.alive(self.pid) && (self.started.is_none() || started(host, self.pid).await == self.started)
    }
}

/// Field 22 of proc_pid_stat(5); the name before it may have spaces and parentheses.
async fn started(host: &dyn Host, pid: u32) -> Option<u64> {
    let text = host.read(Path::new(&format!("/proc/{pid}/stat"))).await.ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Lease {
    /// Why it is over; none: it is not.
    pub(super) async fn over(&self, host: &dyn Host) -> Option<String> {
        if self.until.is_some_and(|until| until <= host.now()) {
            return Some("its time is over".to_owned());
        }
        let process = self.process.as_ref()?;
        (!process.is_there(host).await).then(|| format!("process {} has ended", process.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_lease_ends_with_its_time_or_its_process() {
        let stat = |ticks: u64| format!("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n");
        let host = FakeHost::new().process(7).file("/proc/7/stat", stat(55));
        let holder = LeaseHolder::of(&host, 7).await.unwrap();
        assert_eq!(holder, LeaseHolder { pid: 7, started: Some(55) });
        assert_eq!(LeaseHolder::of(&host, 8).await, None);
        let now = host.now();
        let over = async |lease: Lease, host: &FakeHost| lease.over(host).await;
        assert_eq!(over(Lease { until: Some(now + 1), process: Some(holder.clone()) }, &host).await, None);
        let ended = over(Lease { until: Some(now), process: None }, &host).await;
        assert_eq!(ended.as_deref(), Some("its time is over"));
        // another process has got the number since
        let later = FakeHost::new().process(7).file("/proc/7/stat", stat(99));
        let ended = over(Lease { until: None, process: Some(holder.clone()) }, &later).await;
        assert_eq!(ended.as_deref(), Some("process 7 has ended"));
        let gone = over(Lease { until: None, process: Some(holder) }, &FakeHost::new()).await;
        assert_eq!(gone.as_deref(), Some("process 7 has ended"));
    }
}
