use super::*;
use crate::app::testing::{session, shop};
use crate::config::{self, MemoryFiles, Request};
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::plan::{LeftOut, without};

const OPTIONAL: &str = "services:\n  web: {image: 'web:1', x-macula: {ingress: [{host: shop, port: 80}]}}\n  \
                        chart: {image: 'chart:1', x-macula: {optional: true, ingress: [{host: chart, port: 80}]}}\n  \
                        none: {image: 'web:1', scale: 0}\n";

fn watch<'a>(session: &'a Session, loaded: &'a Loaded, survey: Option<Survey>) -> Watch<'a> {
    Watch {
        session,
        platform: &loaded.platform,
        survey,
        block: None,
        trust: None,
        want: WaitFor::Healthy,
        by_label: String::new(),
        runs: BTreeMap::new(),
    }
}

/// Gives these answers, one after the other.
async fn answering(statuses: &'static [u16]) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

/// No registry is reached, so that `chart` is left out.
#[tokio::test]
async fn without_names_nobody_waits_for_those_of_what_is_left_out() {
    let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("web:1"));
    let loaded = shop(&host, "", OPTIONAL);
    let session = session(host, &engine, "macula wait");
    let request = WaitRequest { targets: Vec::new(), want: WaitFor::Resolvable, timeout: Duration::ZERO };
    let results = Box::pin(wait_for(&session, &loaded, &request, &|_| ())).await.unwrap();
    let names: Vec<&str> = results.iter().map(|one| one.target.as_str()).collect();
    assert!(names.contains(&"web") && !names.contains(&"chart"), "{names:?}");
}

#[tokio::test]
async fn a_page_is_there_where_it_answers_without_an_error() {
    let address = answering(&[200, 500, 200, 500]).await;
    // nothing answers at the first of its addresses
    let host = FakeHost::new().name("shop", ["127.0.0.2".parse().unwrap(), address.ip()]);
    let trust = Some(Trust::look(&host, None, false).await);
    let loaded = shop(&host, "", OPTIONAL);
    let session = session(host, &FakeEngine::new(), "macula wait");
    let mut watch = Watch { trust, ..watch(&session, &loaded, None) };
    let target = Target::Page(PageAddress::parse(&format!("http://shop:{}/", address.port())).unwrap());
    let there = [Look::Met, Look::Not("it answers 500".into())];
    let gone = [Look::Not("it still answers 200".into()), Look::Met];
    for (want, looks) in [(WaitFor::Healthy, there), (WaitFor::Gone, gone)] {
        watch.want = want;
        for look in looks {
            let seen = Box::pin(watch.look_at(&target, &[], &Keeping::default())).await;
            assert_eq!(seen.unwrap(), look);
        }
    }
}

/// Nothing is surveyed for that, and this machine does not ask our resolver.
#[tokio::test]
async fn a_page_of_the_platform_is_not_gone_while_it_answers() {
    let address = answering(&[200]).await;
    let kept = "/home/dev/.local/share/macula/shop/platform.json";
    let host = FakeHost::new().file(kept, r#"{"format": 1, "block": "127.0.0.0"}"#);
    let loaded = shop(&host, "", OPTIONAL);
    let session = session(host, &FakeEngine::new(), "macula wait");
    let page = format!("http://shop.{}:{}/", loaded.platform.domain, address.port());
    let request = WaitRequest { targets: vec![page], want: WaitFor::Gone, timeout: Duration::ZERO };
    let results = Box::pin(wait_for(&session, &loaded, &request, &|_| ())).await.unwrap();
    let told: Vec<_> = results.iter().map(|one| (one.met, one.reason.as_deref())).collect();
    assert_eq!(told, [(false, Some("it still answers 200"))]);
}

#[tokio::test]
async fn only_what_is_left_out_itself_has_failed_by_it() {
    let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("web:1"));
    let loaded = shop(&host, "", OPTIONAL);
    let session = session(host, &engine, "macula wait");
    let mut survey = Box::pin(survey(&session, &loaded)).await.unwrap();
    survey.supply.left_out = vec![LeftOut { service: "chart".into(), reason: "refused".into() }];
    let watch = watch(&session, &loaded, Some(survey));
    assert_eq!(watch.service("chart", &[]).await.unwrap(), Look::Failed("left out: refused".into()));
    assert_eq!(watch.service("web", &[]).await.unwrap(), Look::Not("it has no container yet".into()));
    // it is to have none
    assert_eq!(watch.service("none", &[]).await.unwrap(), Look::Met);
}

#[tokio::test]
async fn what_the_user_has_stopped_is_not_waited_for() {
    let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("web:1"));
    let loaded = shop(&host, "", OPTIONAL);
    let session = session(host, &engine, "macula wait");
    let survey = Box::pin(survey(&session, &loaded)).await.unwrap();
    let spec = survey.resources.containers.iter().find(|spec| spec.service == "web").unwrap();
    let ended = |state| ObservedContainer {
        name: spec.name.clone(),
        state,
        exit_code: Some(143),
        labels: [(label::SERVICE.to_owned(), "web".to_owned())].into(),
        ..ObservedContainer::default()
    };
    let (exited, restarting) = (ended(ContainerState::Exited), ended(ContainerState::Restarting));
    let watch = watch(&session, &loaded, Some(survey));
    let look = async |found: &ObservedContainer| watch.service("web", std::slice::from_ref(found)).await.unwrap();
    assert_ne!(look(&exited).await, Look::Stopped);
    let state = session.state(&loaded.platform.name);
    state.keep_stopped(session.host(), ["web".to_owned()].into()).await.unwrap();
    assert_eq!(look(&exited).await, Look::Stopped);
    assert_ne!(look(&restarting).await, Look::Stopped);
    // a command that was started at the same time may be about to start it
    let mut found = exited.clone();
    found.labels.insert(label::PLATFORM.to_owned(), loaded.platform.name.to_string());
    let _engine = engine.with_container(found);
    let wait = async |patience: Duration, at_most: Duration| {
        let request = WaitRequest { targets: vec!["web".to_owned()], want: WaitFor::Healthy, timeout: patience };
        timeout(at_most, Box::pin(wait_for(&session, &loaded, &request, &|_| ()))).await
    };
    assert!(wait(HOPELESS * 10, HOPELESS / 4).await.is_err());
    let results = wait(Duration::ZERO, HOPELESS * 10).await.unwrap().unwrap();
    let told: Vec<_> = results.iter().map(|one| (one.met, one.stopped, one.reason.as_deref())).collect();
    assert_eq!(told, [(false, true, Some(STOPPED))]);
}

#[test]
fn names_of_what_is_left_out_are_not_waited_for() {
    let files = MemoryFiles::default()
        .with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]\ncluster: {enabled: false}\n")
        .with("/p/all.yaml", OPTIONAL);
    let request = Request { cwd: "/p".into(), ..Request::default() };
    let loaded = config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
    let present = without(&loaded.platform, &["chart"].into());
    let request = |targets: &[&str]| WaitRequest {
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        want: WaitFor::Resolvable,
        timeout: Duration::ZERO,
    };
    let names = |request: &WaitRequest| {
        let all = targets(&loaded.platform, &present, &[], request, true).unwrap();
        all.into_iter().map(|(typed, _)| typed).collect::<Vec<_>>()
    };
    let all = names(&request(&[]));
    assert!(all.contains(&"web".to_owned()) && !all.contains(&"chart".to_owned()), "{all:?}");
    // whoever names one waits for it
    assert_eq!(names(&request(&["chart"])), ["chart"]);
}

/// One may become due while others are waited for.
#[test]
fn each_task_that_is_due_is_told_once() {
    let open = ["seed", "migrate", "web"].map(|name| (name.to_owned(), Target::Task(name.to_owned())));
    let looks = [Look::Due("new".into()), Look::Due("old".into()), Look::Not("busy".into())];
    let told = |told: &[&str]| {
        let told = told.iter().map(|name| (*name).to_owned()).collect();
        due(&open, &looks, &told).into_iter().map(|(typed, reason)| format!("{typed}: {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(told(&[]), ["seed: new", "migrate: old"]);
    assert_eq!(told(&["seed"]), ["migrate: old"]);
    assert_eq!(told(&["seed", "migrate"]), [""; 0]);
}

#[test]
fn what_was_not_seen_is_not_met() {
    let results = unseen(&["web".to_owned(), "db".to_owned()], Duration::from_micros(1_004_200));
    let told: Vec<_> = results.iter().map(|one| (one.target.as_str(), one.met, one.seconds)).collect();
    assert_eq!(told, [("web", false, 1.004), ("db", false, 1.004)]);
}
