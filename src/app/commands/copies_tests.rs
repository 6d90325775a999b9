//! Runs of `up` on an engine, in memory, whose machine does not have what services mount.

use std::path::Path;
use std::sync::Arc;

use crate::app::testing::{Agrees, Heard, heard_session, shop};
use crate::app::{
    Choices, Consent, DownOptions, Error, Prepared, Session, UpOptions, UpResult, Wanted, down, prepare, status, up,
};
use crate::config::Loaded;
use crate::doctor::proof::Record;
use crate::doctor::{Finding, Fix};
use crate::engine::Engine;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::model::{MountSpec, label};
use crate::plan::forecast::Forecast;

struct Project {
    folder: tempfile::TempDir,
    engine: FakeEngine,
    heard: Arc<Heard>,
    session: Session,
}

impl Project {
    /// `inside`: this process is in a container.
    async fn new(inside: bool) -> Self {
        Self::on(|host| host.facts_with(|facts| facts.container = inside)).await
    }

    async fn on(machine: impl FnOnce(FakeHost) -> FakeHost) -> Self {
        let engine = FakeEngine::new().with_image("acme/web:1").elsewhere_with(&[(Path::new("/etc/hosts"), 7)]);
        let maps = "00400000-00500000 r-xp 00000000 08:01 1 /usr/local/bin/macula\n";
        let host = FakeHost::new().file("/proc/self/maps", maps).file("/proc/self/exe", "program");
        let host = machine(host);
        // that its containers run is known
        Record::now(&engine, &host, &engine.facts().await.unwrap()).await.keep(&host).await;
        let heard = Arc::new(Heard::default());
        let session = heard_session(host, &engine, "macula up", &heard);
        let project = Self { folder: tempfile::tempdir().unwrap(), engine, heard, session };
        project.write("site/a.html", "one");
        project.write("app.conf", "level = 1");
        project
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// With this `x-macula.mounts` and these mounts, `.` in front of which is the project's folder.
    fn loaded(&self, setting: &str, mounts: &[&str]) -> Loaded {
        let root = self.folder.path().display().to_string();
        let mounts: Vec<String> = mounts.iter().map(|mount| mount.replacen('.', &root, 1)).collect();
        let mounts = serde_json::to_string(&mounts).unwrap();
        let extension = if setting.is_empty() { String::new() } else { format!("mounts: {setting}") };
        let stack =
            format!("services:\n  web:\n    image: acme/web:1\n    x-macula: {{{extension}}}\n    volumes: {mounts}\n");
        shop(&FakeHost::new(), "", &stack)
    }

    async fn up(&self, loaded: &Loaded) -> Result<UpResult, Error> {
        let options = UpOptions { no_dns: Some(true), choices: Choices::default(), ..UpOptions::default() };
        self.engine.clear_journal();
        // a test's thread has a small stack
        Box::pin(up(&self.session, loaded, &options, &Agrees)).await
    }

    /// The volumes, each with how often it was filled by the last run.
    fn volumes(&self) -> Vec<(String, usize)> {
        let journal = self.engine.journal();
        let filled = |name: &str| {
            let line = format!("copying to / in container {name}.unfinished: /copy/a.html");
            journal.iter().filter(|found| **found == line).count()
        };
        self.engine.volume_names().into_iter().map(|name| (name.clone(), filled(&name))).collect()
    }

    fn said(&self) -> Vec<String> {
        let root = self.folder.path().display().to_string();
        self.heard.said().iter().map(|line| line.replace(&root, ".")).collect()
    }
}

const MOUNTS: [&str; 4] =
    ["./site:/srv:ro", "./app.conf:/etc/app.conf:ro", "./site:/read:ro", "/etc/hosts:/etc/hosts:ro"];

#[tokio::test]
async fn what_the_engine_lacks_is_copied_and_copied_again_when_it_changes() {
    let project = Project::new(false).await;
    let loaded = project.loaded("copy", &MOUNTS);
    project.up(&loaded).await.unwrap();
    let [(first, filled)] = project.volumes().try_into().unwrap();
    assert!(first.starts_with("macula-shop-copy-site-"), "{first}");
    assert_eq!(filled, 1, "{:?}", project.engine.journal());
    let file = project.engine.file("macula-shop-web-1", "/etc/app.conf").unwrap();
    assert_eq!(String::from_utf8(file.content).unwrap(), "level = 1");
    let said = project.said();
    assert!(said.iter().all(|line| !line.contains("copied")), "{said:?}");

    // what is there costs nothing, also for whoever only looks
    assert_eq!(project.up(&loaded).await.unwrap().steps, 0);
    assert_eq!(project.volumes(), [(first.clone(), 0)]);
    let changes = async || status(&project.session, &loaded).await.unwrap().changes;
    assert_eq!(changes().await, [""; 0]);

    project.write("site/a.html", "two");
    assert_eq!(changes().await, ["web"]);
    project.up(&loaded).await.unwrap();
    let [(second, filled)] = project.volumes().try_into().unwrap();
    assert!(second != first && filled == 1, "{second}");
    let creation = project.engine.journal().iter().position(|line| line == "starting container macula-shop-web-1");
    assert!(creation.is_some(), "{:?}", project.engine.journal());

    // a file is a part of its container
    project.write("app.conf", "level = 2");
    project.up(&loaded).await.unwrap();
    assert_eq!(project.volumes(), [(second, 0)]);
    let file = project.engine.file("macula-shop-web-1", "/etc/app.conf").unwrap();
    assert_eq!(String::from_utf8(file.content).unwrap(), "level = 2");

    let known = project.session.state(&loaded.platform.name).folder().join("mounts.json");
    assert!(project.session.host().exists(&known).await);
    down(&project.session, &loaded.platform.name, DownOptions::default()).await.unwrap();
    assert!(!project.session.host().exists(&known).await, "it is asked again");
    // one that a container has in two places, too
    assert_eq!(project.volumes(), []);
    assert_eq!(project.engine.containers(), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_before_anything_is_made() {
    let project = Project::new(false).await;
    std::os::unix::net::UnixListener::bind(project.folder.path().join("app.sock")).unwrap();
    let refused = async |setting: &str, mounts: &[&str]| {
        let loaded = project.loaded(setting, mounts);
        let Err(Error::Mounts(problems)) = project.up(&loaded).await else { panic!("{mounts:?} is mounted") };
        let made = project.engine.journal();
        let made: Vec<&String> = made.iter().filter(|line| line.contains("macula-shop")).collect();
        assert!(made.is_empty(), "{made:?}");
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(problems.iter().all(|problem| problem.service == "web" && problem.target.starts_with("/in/")));
        said.join("\n").replace(&project.folder.path().display().to_string(), ".")
    };
    let all = [
        refused("copy", &["./app.sock:/in/sock:ro", "./gone:/in/gone:ro", "./site:/in/site:ro"]).await,
        refused("copy", &["./site:/in/site", "./app.conf:/in/app.conf", "./site:/in/read:ro"]).await,
        refused("refuse", &["./site:/in/site", "/etc/hosts:/etc/hosts"]).await,
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    web mounts ./app.sock, which is a socket on this machine and cannot be copied to the engine's
    web mounts ./gone, which exists neither on this machine nor on the engine's
    web mounts ./site, which its container may write to; only what it reads is copied (add `:ro`, or mount a named volume)
    web mounts ./app.conf, which its container may write to; only what it reads is copied (add `:ro`, or mount a named volume)
    web mounts ./site, which the engine's machine does not have, and its `x-macula.mounts` is `refuse`
    ");
}

#[tokio::test]
async fn a_plan_before_the_first_up_knows_what_a_container_does_not_share() {
    let mounts = ["./site:/srv:ro"];
    for (inside, copied) in [(true, true), (false, false)] {
        let project = Project::new(inside).await;
        let loaded = project.loaded("copy", &mounts);
        let prepared = prepare(&project.session, &loaded, &Wanted::default()).await.unwrap();
        let copies = &prepared.survey.resources.containers[0].copies;
        assert_eq!(!copies.is_empty(), copied, "{copies:?}");
        let volumes = &prepared.survey.resources.volumes;
        assert_eq!(volumes.iter().any(|volume| volume.labels.contains_key(label::COPY_OF)), copied);
        assert_eq!(project.engine.journal(), [""; 0], "nobody is asked");
    }
}

/// A program that no container there can run carries nothing there: whoever wants it is told before anything is made.
#[tokio::test]
async fn another_processor_is_a_reason_to_refuse() {
    let project = Project::on(|host| host.facts_with(|facts| facts.arch = "aarch64".into())).await;
    let loaded = project.loaded("copy", &["./site:/srv:ro", "/etc/hosts:/etc/hosts:ro"]);
    let Err(Error::Mounts(problems)) = prepare(&project.session, &loaded, &Wanted::default()).await else {
        panic!("it is mounted");
    };
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let said = said.join("\n").replace(&project.folder.path().display().to_string(), ".");
    assert_eq!(
        said,
        "web mounts ./site, which cannot be copied to the engine's machine from here: the engine runs on another \
         processor than this program"
    );
    // what is not asked for is no trouble
    for setting in ["", "refuse"] {
        let loaded = project.loaded(setting, &["./site:/srv:ro"]);
        prepare(&project.session, &loaded, &Wanted::default()).await.unwrap();
    }
}

/// Agrees to everything, while somebody saves a file.
struct Saves(std::path::PathBuf);

#[async_trait::async_trait]
impl Consent for Saves {
    async fn planned(&self, _: &Prepared, _: &[Finding], _: &Forecast) {
        std::fs::write(&self.0, "two").unwrap();
    }

    async fn install(&self, _: &str, _: &Fix) -> Result<bool, Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn files_that_change_after_the_plan_reach_no_container() {
    let project = Project::new(false).await;
    let loaded = project.loaded("copy", &["./site:/site:ro"]);
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let saves = Saves(project.folder.path().join("site/a.html"));
    let ended = Box::pin(up(&project.session, &loaded, &options, &saves)).await.map(drop);
    let Err(Error::Failed(outcome)) = ended else { panic!("{ended:?}") };
    let said: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    assert!(said.len() == 1 && said[0].ends_with("site changed while they were copied"), "{said:?}");
    assert!(project.engine.volume_names().is_empty(), "what it is called is not what it holds");
    project.up(&loaded).await.unwrap();
    let [(_, filled)] = project.volumes().try_into().unwrap();
    assert_eq!(filled, 1);
}

/// Whoever has not asked for copies has what was there before them: the mount as it is written.
#[tokio::test]
async fn without_a_word_nothing_is_looked_at_nor_copied() {
    let project = Project::new(false).await;
    let loaded = project.loaded("", &MOUNTS[..3]);
    project.up(&loaded).await.unwrap();
    assert_eq!(project.volumes(), []);
    let journal = project.engine.journal();
    assert!(journal.iter().all(|line| !line.contains("macula-look") && !line.contains("copying")), "{journal:?}");
    let prepared = prepare(&project.session, &loaded, &Wanted::default()).await.unwrap();
    let spec = &prepared.survey.resources.containers[0];
    assert!(spec.copies.is_empty() && spec.files.is_empty());
    let binds: Vec<bool> = spec.mounts.iter().map(|mount| matches!(mount, MountSpec::Bind { .. })).collect();
    assert_eq!(binds, [true, true, true]);
    let known = project.session.state(&loaded.platform.name).folder().join("mounts.json");
    assert!(!project.session.host().exists(&known).await);
}
