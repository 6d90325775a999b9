//! What the tests of several commands need: a session on a machine in memory, somebody who says yes, and
//! what was said.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::config::{self, Loaded, MemoryFiles, Request};
use crate::doctor::{Finding, Fix};
use crate::engine::fake::FakeEngine;
use crate::event::{Event, Events, Reporter};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::model::{Invocation, Process};
use crate::plan::Parts;
use crate::system::System;

use super::processes::{ProcessCondition, ProcessState};
use super::{Consent, Error, Prepared, Session};

/// The mounts (proc(5), mountinfo) of a CI job's container that shares a folder with the engine's machine under its own name.
pub const JOB_MOUNTS: &str = "\
600 500 0:55 / / rw,relatime master:100 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A
601 600 0:58 / /proc rw - proc proc rw
602 600 254:1 /var/lib/docker/containers/8f1c/hostname /etc/hostname rw - ext4 /dev/vda1 rw
603 600 254:1 /home/ann/shop /home/ann/shop rw - ext4 /dev/vda1 rw
604 600 254:1 /home/ann/shop /build rw - ext4 /dev/vda1 rw
605 600 254:2 /ann/tools /home/ann/tools rw - ext4 /dev/vda2 rw
";

/// Agrees to everything.
pub struct Agrees;

#[async_trait::async_trait]
impl Consent for Agrees {
    async fn planned(&self, _: &Prepared, _: &[Finding], _: &crate::plan::forecast::Forecast) {}
    async fn install(&self, _: &str, _: &Fix) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Keeps the notes and warnings.
#[derive(Default)]
pub struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Reporter for Heard {
    fn report(&self, event: Event) {
        if let Event::Warning { message, .. } | Event::Info { message } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

/// A session that nobody listens to.
pub fn session(host: FakeHost, engine: &FakeEngine, command: &str) -> Session {
    Session {
        system: System::fake(host, Some(Arc::new(engine.clone()))),
        events: Events::none(),
        cancel: CancellationToken::new(),
        command: command.to_owned(),
        version: "1.0.0",
        program: PathBuf::from("/usr/bin/macula"),
        named: false,
        invocation: Invocation::default(),
    }
}

/// The same, heard.
pub fn heard_session(host: FakeHost, engine: &FakeEngine, command: &str, heard: &Arc<Heard>) -> Session {
    Session { events: Events::new(heard.clone()), ..session(host, engine, command) }
}

/// The platform `shop`, which has this Compose file, these further settings and no cluster.
pub fn shop(host: &FakeHost, settings: &str, stack: &str) -> Loaded {
    let settings = format!("name: shop\nstacks: [all.yaml]\ncluster: {{enabled: false}}\n{settings}");
    let files = MemoryFiles::default().with("/p/macula.yaml", &settings).with("/p/all.yaml", stack);
    let request = Request { cwd: "/p".into(), only_own: true, env: host.environment(), ..Request::default() };
    config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A process of macula.yaml that listens on a port.
pub fn process_state(condition: ProcessCondition) -> ProcessState {
    ProcessState {
        name: "web".into(),
        condition,
        pid: Some(7),
        port: Some(3000),
        exit_code: None,
        restarts: 0,
        since: 0,
        reason: None,
        nameless: None,
        parts: Parts::new(),
        log: "/log".into(),
        log_from: 0,
        stop_grace_period: Process::GRACE,
    }
}
