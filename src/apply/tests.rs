//! Every state that a kill of the program can leave: the run is cut off at each of its changing
//! requests in turn, the engine carries that one out at each moment of the next run, or never, and
//! what must come of it is always the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::steps::{killed_anyway, stopped_anyway};
use super::*;
use crate::engine::fake::{Cut, FakeEngine};
use crate::engine::{Containers, Images, Query};
use crate::event::Reporter;
use crate::host::fake::FakeHost;
use crate::model::{
    Build, Condition, ContainerSpec, ContainerState, DependsOn, FileSpec, Fingerprint, Health, Healthcheck, Hook,
    ImageBuild, ImageSpec, IpamPool, MountSpec, NetworkAttachment, NetworkSpec, Observed, ObservedContainer,
    ObservedImage, PrepareStep, Readiness, Reload, ResourceId, ResourceKind, Resources, VolumeSpec, label,
};
use crate::plan::{Cause, Choice, Keep, Supply, Wish, down, reconcile, relay, reload_note, start_note};

const NAME: &str = "shop";

fn labels(service: &str) -> BTreeMap<String, String> {
    [(label::PLATFORM, NAME), (label::SERVICE, service)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn network(name: &str, third: u8) -> NetworkSpec {
    let subnet = format!("10.222.{third}.0/24").parse().unwrap();
    NetworkSpec {
        name: name.into(),
        external: false,
        driver: String::new(),
        driver_opts: BTreeMap::new(),
        internal: false,
        attachable: true,
        enable_ipv6: false,
        ipam: vec![IpamPool { subnet, gateway: None, ip_range: None }],
        subnet: None,
        labels: labels("network"),
    }
}

fn file(path: &str, content: &str, reload: bool) -> FileSpec {
    FileSpec { path: path.into(), content: content.into(), uid: 0, gid: 0, mode: 0o644, secret: false, reload }
}

fn service(
    name: &str,
    round: u32,
    networks: &[&str],
    files: Vec<FileSpec>,
    needs: &[(&str, Condition)],
) -> ContainerSpec {
    let fixed: Vec<&[u8]> = files.iter().filter(|file| !file.reload).map(|file| file.content.as_slice()).collect();
    let attached = |network: &&str| NetworkAttachment {
        network: (*network).to_owned(),
        aliases: vec![name.to_owned()],
        links: Vec::new(),
        ipv4: None,
        ipv6: None,
    };
    ContainerSpec {
        name: format!("macula-{NAME}-{name}-1"),
        service: name.into(),
        replica: 1,
        image: "base:1".into(),
        networks: networks.iter().map(attached).collect(),
        healthcheck: Some(Healthcheck {
            test: vec!["CMD".into(), "ask".into()],
            interval: None,
            timeout: None,
            retries: None,
            start_period: None,
            start_interval: None,
        }),
        readiness: Readiness { timeout: Duration::from_secs(30), ..Readiness::default() },
        reload: files.iter().any(|file| file.reload).then(|| Reload::Signal("HUP".into())),
        depends_on: needs
            .iter()
            .map(|(service, condition)| DependsOn {
                service: (*service).to_owned(),
                condition: *condition,
                required: true,
                restart: false,
            })
            .collect(),
        fingerprint: Some(Fingerprint::of(&(name, round, fixed))),
        labels: labels(name),
        files,
        ..ContainerSpec::default()
    }
}

/// A store with data and a file of its own, a job, and a web service in two networks.
fn shop(round: u32) -> Resources {
    let page = format!("page {round}");
    let mut store = service("db", 0, &["back"], vec![file("/etc/db", &page, true)], &[]);
    store.mounts.push(MountSpec::Volume {
        source: "rows".into(),
        target: "/data".into(),
        read_only: false,
        no_copy: false,
        subpath: None,
    });
    let mut job = service("job", 0, &["back"], Vec::new(), &[("db", Condition::ServiceHealthy)]);
    job.readiness.one_shot = true;
    job.healthcheck = None;
    let files = vec![file("/etc/page", &page, false)];
    let web = service("web", round, &["front", "back"], files, &[("job", Condition::ServiceCompletedSuccessfully)]);
    Resources {
        networks: vec![network("front", 1), network("back", 2)],
        volumes: vec![VolumeSpec {
            name: "rows".into(),
            external: false,
            driver: None,
            driver_opts: BTreeMap::new(),
            labels: labels("db"),
            provider: None,
            copy: None,
        }],
        containers: vec![store, job, web],
        ..Resources::default()
    }
}

/// A machine with one engine, and the folder of one user.
#[derive(Clone)]
struct Machine {
    engine: FakeEngine,
    host: FakeHost,
}

impl Machine {
    fn new() -> Self {
        Self { engine: FakeEngine::new().with_image("base:1"), host: FakeHost::new() }
    }

    fn with(&self, engine: FakeEngine) -> Self {
        Self { engine, host: self.host.clone() }
    }

    async fn plan(&self, resources: &Resources) -> Plan {
        let query = Query { platform: NAME.into(), ..Query::default() };
        let found = self.engine.find(&query).await.unwrap();
        let mut observed = Observed {
            containers: found.containers,
            unfinished: found.unfinished,
            networks: found.networks,
            volumes: found.volumes,
            ..Observed::default()
        };
        for spec in &resources.containers {
            for file in spec.files.iter().filter(|file| file.reload) {
                if let Some(held) = self.engine.file(&spec.name, &file.path) {
                    let digest = Fingerprint::of_bytes(&held.content).0;
                    observed.files.entry(spec.name.clone()).or_default().insert(file.path.clone(), digest);
                }
            }
            if self.host.exists(&reload_note(&self.host.folders().data, NAME, &spec.name)).await {
                observed.unreloaded.insert(spec.name.clone());
            }
            if self.host.exists(&start_note(&self.host.folders().data, NAME, &spec.name)).await {
                observed.unhooked.insert(spec.name.clone());
            }
        }
        let image = self.engine.image("base:1").await.unwrap().unwrap();
        let present = Choice::Present { reference: "base:1".into(), id: image.id, source: ImageSource::Image };
        let choices = resources.containers.iter().map(|spec| (spec.service.clone(), present.clone())).collect();
        let supply = Supply { choices, ..Supply::default() };
        reconcile(&Wish { platform: NAME, resources, supply: &supply, selection: None, relay: false }, &observed)
            .unwrap()
    }

    async fn tools(&self) -> Tools {
        Tools {
            engine: Arc::new(self.engine.clone()),
            host: Arc::new(self.host.clone()),
            facts: self.engine.facts().await.unwrap(),
            events: Events::none(),
            cancel: CancellationToken::new(),
            program: "/usr/bin/macula".into(),
            image_timeout: Duration::from_secs(60),
            domain: "macula.local".into(),
            labels: BTreeMap::new(),
            extras: Extras::default(),
            loader: None,
            cluster: None,
            tasks: None,
        }
    }

    async fn carry_out(&self, plan: &Plan) -> Outcome {
        apply("up", NAME, plan, self.tools().await).await
    }

    /// As the command: it looks again when it was overtaken.
    async fn up(&self, resources: &Resources) -> Outcome {
        let outcome = self.carry_out(&self.plan(resources).await).await;
        if outcome.overtaken() { self.carry_out(&self.plan(resources).await).await } else { outcome }
    }

    async fn down(&self) -> Outcome {
        let found = self.engine.find(&Query { platform: NAME.into(), ..Query::default() }).await.unwrap();
        let observed = Observed {
            containers: found.containers,
            unfinished: found.unfinished,
            networks: found.networks,
            volumes: found.volumes,
            ..Observed::default()
        };
        self.carry_out(&down(NAME, &observed, Keep::default())).await
    }

    /// Runs `work` on its own, until it is cut off or done.
    async fn killed(&self, after: usize, words: &'static str, resources: &Resources) -> Arc<Cut> {
        let (engine, cut) = self.engine.killed_after(after);
        let (machine, resources) = (self.with(engine), resources.clone());
        let work = tokio::spawn(async move {
            match words {
                "down" => machine.down().await,
                _ => machine.up(&resources).await,
            }
        });
        for _ in 0..2000 {
            if work.is_finished() || cut.reached() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // whatever else was under way comes to its own gate
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        cut
    }

    /// Everything is there, whole, and nothing else.
    fn is_right(&self, resources: &Resources) -> Result<(), String> {
        let names: BTreeSet<String> = self.engine.containers().into_iter().collect();
        let wanted: BTreeSet<String> = resources.containers.iter().map(|spec| spec.name.clone()).collect();
        if names != wanted {
            return Err(format!("{names:?}"));
        }
        for spec in &resources.containers {
            for file in &spec.files {
                let held = self.engine.file(&spec.name, &file.path).map(|held| held.content);
                if held.as_ref() != Some(&file.content) {
                    return Err(format!("{} holds {held:?} at {}", spec.name, file.path));
                }
            }
            let found = self.engine.container(&spec.name).unwrap_or_default();
            let right = if spec.readiness.one_shot { ContainerState::Exited } else { ContainerState::Running };
            if found.state != right || (!spec.readiness.one_shot && found.addresses.len() != spec.networks.len()) {
                return Err(format!("{}: {:?} {:?}", spec.name, found.state, found.addresses));
            }
        }
        Ok(())
    }
}

/// Kills `words` at each of its requests, with the request under way carried out at each moment of
/// the `up` that follows. How many states that were.
async fn every_state(before: Option<u32>, words: &'static str, round: u32) -> usize {
    let resources = shop(round);
    let mut states = 0;
    for after in 0.. {
        let mut came_so_far = false;
        // the last: it is never carried out
        for late in (0..10).map(Some).chain([None]) {
            let machine = Machine::new();
            if let Some(before) = before {
                assert!(machine.up(&shop(before)).await.is_ok());
            }
            let cut = machine.killed(after, words, &resources).await;
            came_so_far = cut.reached();
            if !came_so_far {
                break;
            }
            states += 1;
            let what = format!("{words} killed after {after} requests, the next carried out before {late:?}");
            let next = match late {
                Some(late) => machine.with(machine.engine.carries_on_late(&cut, late)),
                None => machine.clone(),
            };
            let outcome = next.up(&resources).await;
            assert!(outcome.is_ok(), "{what}: {:?}", outcome.failed);
            // what the engine did after that `up` had done with it is made good by one more
            let left = machine.plan(&resources).await;
            // a job whose dependency the killed `down` had stopped is done again after that one has started
            let harmless = |step: &Step| match words {
                "down" => late.is_some() || matches!(step.cause, Cause::Replaces { .. }),
                _ => late.is_some() && step.cause == Cause::Unfinished,
            };
            assert!(left.steps.iter().all(harmless), "{what}:\n{left}");
            assert!(next.up(&resources).await.is_ok(), "{what}");
            assert_eq!(machine.is_right(&resources), Ok(()), "{what}");
            let mut plan = machine.plan(&resources).await;
            if words == "down" && plan.steps.iter().all(|step| matches!(step.cause, Cause::Replaces { .. })) {
                assert!(next.up(&resources).await.is_ok(), "{what}");
                plan = machine.plan(&resources).await;
            }
            assert!(plan.is_empty(), "{what}:\n{plan}");
        }
        if !came_so_far {
            break;
        }
    }
    states
}

#[tokio::test]
async fn a_first_up_that_is_killed_anywhere_is_made_whole_by_the_next() {
    let states = every_state(None, "up", 1).await;
    assert!(states > 150, "{states}");
}

#[tokio::test]
async fn an_up_that_replaces_and_reloads_may_be_killed_anywhere() {
    let states = every_state(Some(1), "up", 2).await;
    assert!(states > 80, "{states}");
}

#[tokio::test]
async fn a_down_that_is_killed_anywhere_is_undone() {
    let states = every_state(Some(1), "down", 1).await;
    assert!(states > 50, "{states}");
}

#[tokio::test]
async fn files_that_a_killed_run_copied_are_told_of() {
    let machine = Machine::new();
    assert!(machine.up(&shop(1)).await.is_ok());
    let mut changed = shop(1);
    changed.containers[0].files[0].content = b"new".to_vec();
    // the copy is the first request, the signal the second
    machine.killed(1, "up", &changed).await;
    insta::assert_snapshot!(machine.plan(&changed).await, @"~ reload container macula-shop-db-1 (left by an interrupted run)");
    machine.engine.clear_journal();
    assert!(machine.up(&changed).await.is_ok());
    insta::assert_snapshot!(machine.engine.journal().join("\n"), @"sending HUP to container macula-shop-db-1");
    assert!(machine.plan(&changed).await.is_empty());
}

/// "has active endpoints", of a container that is gone: all else goes, and what is left is in nobody's way.
#[tokio::test]
async fn a_network_that_the_engine_holds_is_named_and_hinders_nothing() {
    let machine = Machine::new();
    assert!(machine.up(&shop(1)).await.is_ok());
    let held = machine.with(machine.engine.clone().holds_network("back"));
    for _ in 0..2 {
        let failed = held.down().await.failed;
        let said: Vec<String> = failed.iter().map(|failure| failure.error.to_string()).collect();
        assert_eq!(said, ["removing network back: the engine holds it for a container that is gone"]);
        assert_eq!((held.engine.containers(), held.engine.network_names()), (Vec::new(), vec!["back".to_owned()]));
    }
    assert!(held.up(&shop(1)).await.is_ok());
    assert_eq!(held.is_right(&shop(1)), Ok(()));
    assert_eq!(held.down().await.failed.len(), 1);
    let free = held.with(held.engine.clone().restarted());
    assert!(free.down().await.is_ok());
    assert_eq!(free.engine.network_names(), [""; 0]);
}

#[test]
fn a_hook_that_fails_before_a_stop_is_called_that() {
    let hook = |said: &[&str]| StepError::Hook {
        container: "shop-db-1".into(),
        key: "pre_stop",
        command: "sh -c drain".into(),
        code: 3,
        log_tail: said.iter().map(|line| (*line).to_owned()).collect(),
    };
    let said = |error| stopped_anyway("shop-db-1", &error);
    assert_eq!(
        said(hook(&["busy", "no answer", ""])),
        "shop-db-1: `sh -c drain` of its `pre_stop` ended with exit code 3 (no answer); it is stopped anyway"
    );
    assert_eq!(
        said(hook(&[])),
        "shop-db-1: `sh -c drain` of its `pre_stop` ended with exit code 3; it is stopped anyway"
    );
    assert_eq!(
        said(StepError::Broken("x".into())),
        "shop-db-1: its `pre_stop` could not be run: an unexpected fault: x; it is stopped anyway"
    );
}

#[tokio::test]
async fn of_a_service_that_crashes_again_and_again_the_last_start_is_shown() {
    let engine = FakeEngine::new().with_image("base:1").crashes("web", 1, &["starting", "panic"]);
    let spec = service("web", 1, &[], Vec::new(), &[]);
    engine.create_container(&spec, "base:1", &BTreeMap::new()).await.unwrap();
    for _ in 0..3 {
        engine.start(&spec.name).await.unwrap();
    }
    let found = engine.inspect(&spec.name).await.unwrap();
    // what a stop and a start by hand have written is told apart by the time of the start
    assert_eq!(last_words(&engine, &found).await.len(), 6);
    let brought_back = ObservedContainer { restart_count: 2, ..found };
    assert_eq!(last_words(&engine, &brought_back).await, ["starting", "panic"]);
}

#[tokio::test]
async fn containers_of_a_service_that_were_killed_are_told_once() {
    let machine = Machine::new();
    let mut second = service("web", 1, &[], Vec::new(), &[]);
    second.name = format!("macula-{NAME}-web-2");
    let containers = vec![service("db", 1, &[], Vec::new(), &[]), service("web", 1, &[], Vec::new(), &[]), second];
    let resources = Resources { containers, ..Resources::default() };
    assert!(machine.up(&resources).await.is_ok());
    let heard = Heard::default();
    let tools = Tools { events: Events::new(Arc::new(heard.clone())), ..machine.tools().await };
    let run = Run::new(NAME, &Plan::default(), tools);
    for spec in &resources.containers {
        machine.engine.kill(&spec.name, "SIGKILL").await.unwrap();
        run.look_for_killed(&spec.name, Duration::from_secs(10)).await;
        // one that ends in time needs no word
        run.look_for_killed(&spec.name, Duration::from_secs(1)).await;
    }
    run.tell_killed();
    run.tell_killed();
    let seconds = Duration::from_secs;
    let told = [killed_anyway("db", &[seconds(10)]), killed_anyway("web", &[seconds(10), seconds(10)])];
    assert_eq!(*heard.0.lock().unwrap(), told);
    insta::assert_snapshot!(told.join("\n"), @"
    db did not end at its stop signal within 10 s and was killed; `init: true` in its Compose file, or a handler for the signal, ends it at once
    2 containers of web did not end at their stop signal within 10 s and were killed; `init: true` in its Compose file, or a handler for the signal, ends them at once
    ");
}

/// Keeps what was warned of.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Reporter for Heard {
    fn report(&self, event: Event) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

#[tokio::test]
async fn a_post_start_that_failed_is_run_again_by_the_next_up() {
    let mut resources = shop(1);
    let hook = Hook { command: vec!["greet".into()], ..Hook::default() };
    let web = resources.containers.iter_mut().find(|spec| spec.service == "web").unwrap();
    web.labels.insert(label::POST_START.into(), serde_json::to_string(&[hook]).unwrap());
    let answers =
        |machine: &Machine, code| machine.with(machine.engine.clone().exec_answers("web", "greet", code, "", ""));
    let machine = answers(&Machine::new(), 5);
    for _ in 0..2 {
        let failed = machine.up(&resources).await.failed;
        let said: Vec<String> = failed.iter().map(|failure| failure.error.to_string()).collect();
        assert_eq!(said, ["macula-shop-web-1: `greet` of its `post_start` ended with exit code 5"]);
    }
    insta::assert_snapshot!(machine.plan(&resources).await, @"
    + start container macula-shop-web-1 (its `post_start` has not run well)
      await container macula-shop-web-1 (its `post_start` has not run well) after start container macula-shop-web-1
    ");
    let mended = answers(&machine, 0);
    mended.engine.clear_journal();
    assert!(mended.up(&resources).await.is_ok());
    assert!(mended.engine.journal().iter().any(|line| line.contains("greet")), "{:?}", mended.engine.journal());
    assert!(mended.plan(&resources).await.is_empty());
    // with the container goes what is known of it
    let broken = answers(&mended, 5);
    assert!(broken.down().await.is_ok());
    assert_eq!(broken.up(&resources).await.failed.len(), 1);
    assert!(broken.down().await.is_ok());
    assert!(!broken.host.exists(&start_note(&broken.host.folders().data, NAME, "macula-shop-web-1")).await);
}

/// `order: start-first`: it is made under another name, and works on the data of the one that it replaces.
#[tokio::test]
async fn what_stands_in_for_a_container_has_its_volumes() {
    let image = ObservedImage { id: "sha256:1".into(), volumes: vec!["/data".into()], ..ObservedImage::default() };
    let machine = Machine::new();
    let machine = machine.with(machine.engine.clone().with_image_as("base:1", image));
    let resources = |round| {
        let mut web = service("web", round, &["front"], Vec::new(), &[]);
        web.update.start_first = true;
        Resources { networks: vec![network("front", 1)], containers: vec![web], ..Resources::default() }
    };
    assert!(machine.up(&resources(1)).await.is_ok());
    assert_eq!(machine.engine.volume_names(), ["macula-shop-web-1-data"]);
    assert!(machine.up(&resources(2)).await.is_ok());
    let stood_in = "creating container macula-shop-web-1.unfinished".to_owned();
    assert!(machine.engine.journal().contains(&stood_in), "{:?}", machine.engine.journal());
    assert_eq!(machine.engine.volume_names(), ["macula-shop-web-1-data"]);
    assert_eq!(machine.engine.containers(), ["macula-shop-web-1"]);
    assert!(machine.plan(&resources(2)).await.is_empty());
}

#[tokio::test]
async fn a_service_is_ready_when_the_health_check_of_its_image_says_so() {
    let mut spec = service("web", 1, &[], Vec::new(), &[]);
    spec.healthcheck = None;
    for (health, said) in [
        (Health::None, None),
        (Health::Healthy, None),
        (Health::Unhealthy, Some("web runs, but is not healthy: health check: failing")),
    ] {
        let found = ObservedContainer {
            name: spec.name.clone(),
            state: ContainerState::Running,
            health,
            ..ObservedContainer::default()
        };
        let machine = Machine::new();
        let tools = machine.with(machine.engine.clone().with_container(found)).tools().await;
        let waited = ready::wait(&tools, &spec, &spec.readiness, &|_| {}).await;
        assert_eq!(waited.err().map(|error| error.to_string()).as_deref(), said, "{health:?}");
    }
}

#[tokio::test]
async fn a_build_ends_at_its_limit() {
    let machine = Machine::new();
    let machine = machine.with(machine.engine.clone().builds_take(Duration::from_secs(60)));
    let inline = Some("FROM scratch\n".to_owned());
    let build = ImageBuild {
        tag: "macula/web:1".into(),
        spec: Build { dockerfile_inline: inline, ..Build::default() },
        prepare: Vec::new(),
        base: None,
        fingerprint: Fingerprint("f".into()),
        labels: BTreeMap::new(),
        also: None,
        alike: vec!["macula/page:1".into()],
    };
    let spec = ImageSpec {
        reference: build.tag.clone(),
        pull: Vec::new(),
        locked: Vec::new(),
        build: Some(build),
        always_pull: false,
        platform: None,
        services: vec!["web".into()],
    };
    let step = Step {
        id: "get image macula/web:1".into(),
        resource: ResourceId::new(ResourceKind::Image, "macula/web:1"),
        group: "web".into(),
        action: Action::ObtainImage { spec: Box::new(spec), pull: false, build: true },
        cause: Cause::Missing,
        after: Vec::new(),
        destructive: false,
        needs_privilege: false,
    };
    let plan = Plan { steps: vec![step], ..Plan::default() };
    let tools = Tools { image_timeout: Duration::from_secs(1), ..machine.tools().await };
    let failed = apply("up", NAME, &plan, tools).await.failed;
    let said: Vec<String> = failed.iter().map(|failure| failure.error.to_string()).collect();
    assert_eq!(said, ["web was not built: it took longer than 1 s (`timeouts.image` in macula.yaml)"]);
    // one that comes to its end is there under all its names
    let machine = Machine::new();
    assert!(machine.carry_out(&plan).await.failed.is_empty());
    for name in ["macula/web:1", "macula/page:1"] {
        assert!(machine.engine.image(name).await.unwrap().is_some(), "{name}");
    }
    // what it was prepared with goes once it is there
    let mut prepared = plan.clone();
    let Action::ObtainImage { spec, .. } = &mut prepared.steps[0].action else { panic!("{plan}") };
    spec.build.as_mut().unwrap().prepare =
        vec![PrepareStep::Write { path: "go.mod".into(), content: "module x\n".into() }];
    let machine = Machine::new();
    let folder = super::scratch::folder(&machine.host, "build", "macula/web:1");
    machine.host.put(folder.join("left"), "");
    assert!(machine.carry_out(&prepared).await.failed.is_empty());
    assert!(!machine.host.exists(&folder).await);
    // and one that was stopped before it began has been stopped
    let tools = machine.tools().await;
    tools.cancel.cancel();
    assert!(apply("up", NAME, &plan, tools).await.cancelled);
}

#[tokio::test]
async fn a_container_of_somebody_elses_is_not_taken_for_the_relay() {
    let name = "macula-shop.relay";
    let machine = Machine::new();
    let foreign = ObservedContainer { name: name.into(), ..ObservedContainer::default() };
    let machine = machine.with(machine.engine.clone().with_container(foreign));
    let spec = ContainerSpec { name: name.into(), labels: labels("reach"), ..ContainerSpec::default() };
    let mut plan = Plan::default();
    relay(&mut plan, &spec, &Observed::default());
    let failed = machine.carry_out(&plan).await.failed;
    let said: Vec<String> = failed.iter().map(|failure| failure.error.to_string()).collect();
    assert_eq!(said, ["creating container macula-shop.relay: a container with this name already exists"]);
    assert_eq!(machine.engine.containers(), [name]);
}

#[tokio::test]
async fn steps_that_wait_for_each_other_are_no_success() {
    let step = |name: &str, after: &str| Step {
        id: format!("pause after {name}"),
        resource: ResourceId::new(ResourceKind::Container, name),
        group: name.to_owned(),
        action: Action::Pause { time: Duration::ZERO },
        cause: Cause::Requested,
        after: vec![format!("pause after {after}")],
        destructive: false,
        needs_privilege: false,
    };
    // the first one only waits for those, and what has no step keeps nobody
    let steps = vec![step("web", "api"), step("api", "db"), step("db", "api"), step("page", "gone")];
    let outcome = Machine::new().carry_out(&Plan { steps, ..Plan::default() }).await;
    let said: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    let circle = "an unexpected fault: these steps wait for each other: pause after api, pause after db";
    assert_eq!(said, [circle]);
    assert!(!outcome.is_ok());
    assert_eq!(outcome.skipped, BTreeSet::from(["web".to_owned(), "db".to_owned()]));
    assert_eq!(outcome.ran.iter().map(|ran| ran.step.as_str()).collect::<Vec<_>>(), ["pause after page"]);
}
