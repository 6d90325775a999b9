//! In which order a swarm in memory hears what a stack needs, where one service has what another one is to have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::free;
use super::work::Work;
use crate::app::testing::session;
use crate::app::{DeployError, Error};
use crate::compile::targets::{STACK_LABEL, SwarmStack, held, swarm_changes};
use crate::engine::fake::FakeEngine;
use crate::engine::{Engine, EngineError, Swarm};
use crate::host::fake::FakeHost;
use crate::model::{ObservedSwarm, SwarmKind, SwarmRole, SwarmService, SwarmTask};

/// One task a service, which runs at once. What is removed is seen to end at one look, and gone at the next.
#[derive(Default)]
struct Memory {
    there: Mutex<ObservedSwarm>,
    asked: Mutex<Vec<String>>,
    /// Tasks do not end.
    stuck: bool,
}

impl Memory {
    fn hears(&self, act: &str, body: &Value) -> Result<(), EngineError> {
        let name = body["Name"].as_str().unwrap().to_owned();
        let mut there = self.there.lock().unwrap();
        let ports = |spec: &Value| held(spec).into_iter().filter(|one| one.starts_with("port")).collect::<Vec<_>>();
        let others = there.services.iter().filter(|other| other.name != name);
        let taken = others.flat_map(|other| ports(&other.spec)).any(|port| ports(body).contains(&port));
        let word = if taken { "refused" } else { act };
        self.asked.lock().unwrap().push(format!("{word} {name}"));
        if taken {
            let message = "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'a' (b) as an \
                           ingress port";
            return Err(EngineError::Conflict { operation: act.to_owned(), message: message.to_owned() });
        }
        there.services.retain(|other| other.name != name);
        there.tasks.retain(|task| task.service != name);
        let labels = serde_json::from_value(body["Labels"].clone()).unwrap();
        there.services.push(SwarmService {
            id: name.clone(),
            name: name.clone(),
            labels,
            spec: body.clone(),
            ..SwarmService::default()
        });
        there.tasks.push(SwarmTask {
            id: format!("{name}-task"),
            service: name,
            node: "node1".into(),
            desired: "running".into(),
            state: "running".into(),
            spec: body["TaskTemplate"].clone(),
            ..SwarmTask::default()
        });
        Ok(())
    }
}

#[async_trait]
impl Swarm for Memory {
    async fn role(&self) -> Result<SwarmRole, EngineError> {
        Ok(SwarmRole::Manager { nodes: 1 })
    }

    async fn stacks(&self, _: &str) -> Result<ObservedSwarm, EngineError> {
        let mut there = self.there.lock().unwrap();
        let seen = there.clone();
        for task in seen.tasks.iter().filter(|task| task.desired == "remove" && !self.stuck) {
            self.asked.lock().unwrap().push(format!("{} ends", task.service));
            there.tasks.retain(|other| other.id != task.id);
        }
        Ok(seen)
    }

    async fn ids(&self, kind: SwarmKind) -> Result<BTreeMap<String, String>, EngineError> {
        let there = self.there.lock().unwrap();
        let services = there.services.iter().filter(|_| kind == SwarmKind::Service);
        Ok(services.map(|service| (service.name.clone(), service.id.clone())).collect())
    }

    async fn create(&self, _: SwarmKind, body: &Value) -> Result<String, EngineError> {
        self.hears("create", body).map(|()| String::new())
    }

    async fn update(&self, _: &SwarmService, body: &Value) -> Result<(), EngineError> {
        self.hears("update", body)
    }

    async fn remove(&self, _: SwarmKind, id: &str) -> Result<(), EngineError> {
        self.asked.lock().unwrap().push(format!("remove {id}"));
        let mut there = self.there.lock().unwrap();
        there.services.retain(|service| service.id != id);
        there.tasks.iter_mut().filter(|task| task.service == id).for_each(|task| task.desired = "remove".into());
        Ok(())
    }
}

/// `api* -, web 80 data`: a service without a port, which runs on each node, and one with a port and a volume.
fn stack(services: &str) -> SwarmStack {
    let service = |line: &str| {
        let mut words = line.split(' ');
        let called = words.next().unwrap();
        let name = format!("shop_{}", called.trim_end_matches('*'));
        let mode = if called.ends_with('*') { json!({"Global": {}}) } else { json!({"Replicated": {"Replicas": 1}}) };
        let port = words.next().filter(|word| *word != "-").map(|port| port.parse::<u64>().unwrap());
        let ports: Vec<Value> =
            port.map(|port| json!({"Protocol": "tcp", "PublishedPort": port})).into_iter().collect();
        let mounts = words.map(|volume| json!({"Type": "volume", "Source": format!("shop_{volume}"), "Target": "/d"}));
        let mounts: Vec<Value> = mounts.collect();
        json!({
            "Name": name, "Labels": {(STACK_LABEL): "shop"}, "Mode": mode,
            "TaskTemplate": {"ContainerSpec": {"Image": "a:1", "Mounts": mounts}}, "EndpointSpec": {"Ports": ports},
        })
    };
    SwarmStack { services: services.split(", ").map(service).collect(), ..SwarmStack::default() }
}

/// What a swarm hears that has the first of these and is to have the second, and whether all of that runs then.
async fn deployed(before: &str, after: &str, stuck: bool) -> (String, Result<(), Error>) {
    deployed_after(before, after, stuck, &BTreeMap::new()).await
}

/// The same, with what services wait for.
async fn deployed_after(
    before: &str,
    after: &str,
    stuck: bool,
    waits: &BTreeMap<String, Vec<String>>,
) -> (String, Result<(), Error>) {
    let memory = Memory { stuck, ..Memory::default() };
    for body in stack(before).services {
        memory.hears("create", &body).unwrap();
    }
    memory.asked.lock().unwrap().clear();
    let fake = FakeEngine::new();
    let session = session(FakeHost::new(), &fake, "macula stack deploy");
    let engine: Arc<dyn Engine> = Arc::new(fake.clone());
    let patience = if stuck { Duration::ZERO } else { Duration::from_secs(60) };
    let work = Work { session: &session, engine: &engine, swarm: &memory, stack: "shop", patience };
    let observed = memory.stacks("").await.unwrap();
    let changes = swarm_changes(&stack(after), &observed, &BTreeMap::new());
    let done = work.carry_out(changes, waits).await;
    let asked = memory.asked.lock().unwrap().join(", ");
    (asked, done)
}

#[tokio::test]
async fn who_has_what_another_one_gets_goes_first_and_has_ended_before_that_one_comes() {
    let cases = [
        ("web - data", "site - data", "remove shop_web, shop_web ends, create shop_site"),
        ("web 80", "site 80", "remove shop_web, shop_web ends, create shop_site"),
        // its mode changes
        ("web* - data", "web - data", "remove shop_web, shop_web ends, create shop_web"),
        ("web* -", "web -", "remove shop_web, create shop_web"),
        // what nobody takes over is removed at the end
        ("web 80 data", "site 81 other", "create shop_site, remove shop_web"),
        // both stay
        ("api -, web 80", "api 80, web -", "refused shop_api, update shop_web, update shop_api"),
        // and exchange their ports: one of them is without its own for a moment
        (
            "api 81, web 80",
            "api 80, web 81",
            "refused shop_api, refused shop_web, update shop_api, refused shop_api, update shop_web, update shop_api",
        ),
    ];
    let all = cases.map(|(before, after, asked)| async move {
        let (heard, done) = deployed(before, after, false).await;
        assert_eq!((heard.as_str(), done.is_ok()), (asked, true), "{before}: {after}: {done:?}");
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn who_waits_for_another_one_gives_it_its_port_first() {
    let waits = BTreeMap::from([("web".to_owned(), vec!["api".to_owned()])]);
    let (heard, done) = deployed_after("api -, web 80", "api 80, web 81", false, &waits).await;
    assert_eq!(heard, "refused shop_api, update shop_web, update shop_api, update shop_web");
    assert!(done.is_ok(), "{done:?}");
}

#[tokio::test]
async fn what_cannot_be_freed_is_told() {
    // one that keeps it
    let (heard, done) = deployed("web 80", "api 80, web 80", false).await;
    assert!(heard.starts_with("refused shop_api, update shop_web, refused shop_api"), "{heard}");
    let Err(Error::Deploy(error)) = done else { panic!("{done:?}") };
    let DeployError::NotRunning { failed, .. } = error else { panic!("{error:?}") };
    assert!(failed.iter().all(|(_, why)| why.contains("is already in use by service")), "{failed:?}");

    let (heard, done) = deployed("web - data", "site - data", true).await;
    assert_eq!(heard, "remove shop_web");
    let Err(Error::Deploy(error)) = done else { panic!("{done:?}") };
    let DeployError::NotRunning { failed, .. } = error else { panic!("{error:?}") };
    let why = "it has not ended, and has a volume or a port that another service is to have";
    assert_eq!(failed, [("a task on node1".to_owned(), why.to_owned())]);

    let (heard, done) = deployed("web* - data", "web - data", true).await;
    assert_eq!(heard, "remove shop_web");
    let Err(Error::Deploy(error)) = done else { panic!("{done:?}") };
    let DeployError::NotRunning { failed, .. } = error else { panic!("{error:?}") };
    let why = "what it ran before has not ended: a task on node1";
    assert_eq!(failed, [("shop_web".to_owned(), why.to_owned())]);
}

/// Made by `docker service create`, without the labels of a stack.
#[tokio::test]
async fn a_name_that_something_else_has_is_told_before_anything_is_made() {
    let memory = Memory::default();
    memory.hears("create", &stack("web -").services[0]).unwrap();
    let changes = swarm_changes(&stack("api -, web -"), &ObservedSwarm::default(), &BTreeMap::new());
    let Err(Error::Deploy(error)) = free(&memory, "shop", &changes).await else { panic!("it is not free") };
    assert_eq!(error.to_string(), "shop is there and was not deployed by this platform: shop_web");
    let changes = swarm_changes(&stack("api -"), &ObservedSwarm::default(), &BTreeMap::new());
    free(&memory, "shop", &changes).await.unwrap();
}

#[tokio::test]
async fn what_ended_before_has_to_go_on_running_again() {
    let memory = Memory::default();
    let fake = FakeEngine::new();
    let session = session(FakeHost::new(), &fake, "macula stack deploy");
    let engine: Arc<dyn Engine> = Arc::new(fake.clone());
    let patience = Duration::from_secs(60);
    let work = Work { session: &session, engine: &engine, swarm: &memory, stack: "shop", patience };
    for (ended, watched) in [(false, true), (false, false), (true, true)] {
        if ended {
            let mut there = memory.there.lock().unwrap();
            let task = there.tasks[0].clone();
            let (desired, state) = ("shutdown".into(), "complete".into());
            there.tasks.push(SwarmTask { id: "ended".into(), desired, state, ..task });
        }
        let observed = memory.stacks("").await.unwrap();
        let changes = swarm_changes(&stack("web -"), &observed, &BTreeMap::new());
        let begun = Instant::now();
        work.carry_out(changes, &BTreeMap::new()).await.unwrap();
        assert_eq!(begun.elapsed() >= Duration::from_secs(2), watched, "{ended}");
    }
    assert_eq!(*memory.asked.lock().unwrap(), ["create shop_web"]);
}
