use super::*;
use crate::app::testing::{process_state, session, shop};
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::model::Restart;

fn process() -> Process {
    Process {
        name: "web".into(),
        command: vec!["sh".into(), "-c".into(), "npm run dev".into()],
        folder: "/p".into(),
        needs: Vec::new(),
        hosts: vec!["web".into()],
        port: None,
        probe: None,
        environment: BTreeMap::new(),
        env_files: Vec::new(),
        watch: Vec::new(),
        restart: Restart::OnFailure(None),
        stop_grace_period: Process::GRACE,
    }
}

#[tokio::test]
async fn one_that_nobody_keeps_is_to_be_started() {
    let host = FakeHost::new();
    let mut loaded = shop(&host, "processes: {api: {command: api}}\n", "services: {db: {image: 'acme/db:1'}}\n");
    let session = session(host, &FakeEngine::new(), "macula plan");
    let steps = planned_processes(&session, &loaded, None, false, &[]).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["api"]);
    // nobody knows what is wanted
    loaded.incomplete = true;
    assert!(planned_processes(&session, &loaded, None, false, &[]).await.unwrap().is_empty());
    let needs = vec!["api".to_owned(), "db".to_owned()];
    assert_eq!(services_of(&loaded.platform, &Process { needs, ..process() }), ["db"]);
}

/// Whoever is named: the others ran, or rested, and are to do so again.
#[test]
fn what_a_keeper_that_is_replaced_has_kept_goes_on() {
    let state = |name: &str, condition, keeper: &[&str]| ProcessState {
        name: name.into(),
        parts: keeper.iter().map(|part| ((*part).to_owned(), String::new())).collect(),
        ..process_state(condition)
    };
    let kept = |keeper: &[&str]| {
        let states = vec![
            state("api", ProcessCondition::Running, keeper),
            state("crashed", ProcessCondition::Crashed, keeper),
            state("job", ProcessCondition::Finished, keeper),
            state("web", ProcessCondition::Running, keeper),
        ];
        Keeping { states, lost: false }
    };
    let wanted: BTreeMap<String, Parts> =
        ["api", "crashed", "job", "new", "web"].map(|name| (name.to_owned(), Parts::new())).into();
    let told = |keeper: &[&str], chosen: Option<&BTreeSet<String>>| -> Vec<String> {
        steps(&wanted, &kept(keeper), chosen, false).iter().map(ToString::to_string).collect()
    };
    let web = BTreeSet::from(["web".to_owned()]);
    assert_eq!(told(&[], None), ["+ start process crashed (not running)", "+ start process new (not running)"]);
    assert_eq!(
        told(&[KEEPER], None),
        [
            "~ restart process api (keeper changed)",
            "+ start process crashed (keeper changed)",
            "~ update process job (keeper changed)",
            "+ start process new (not running)",
            "~ restart process web (keeper changed)",
        ]
    );
    assert_eq!(told(&[], Some(&web)), [""; 0]);
    assert_eq!(
        told(&[KEEPER], Some(&web)),
        [
            "~ restart process web (keeper changed)",
            "~ restart process api (keeper changed)",
            "~ update process job (keeper changed)",
        ]
    );
}

#[tokio::test]
async fn what_a_process_sets_itself_comes_after_its_files() {
    let host = FakeHost::new().file("/p/.env", "A=1\nB=2\n").file("/p/.more", "D=${A}$B\n");
    let session = session(host, &FakeEngine::new(), "macula run");
    let environment = [("B".to_owned(), Some("3".to_owned())), ("C".to_owned(), None)].into();
    let process = Process { env_files: vec!["/p/.env".into(), "/p/.more".into()], environment, ..process() };
    let own = own_environment(&session, &process).await.unwrap();
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    assert_eq!(own.collect::<Vec<_>>(), [("A", Some("1")), ("B", Some("3")), ("C", None), ("D", Some("12"))]);
}

#[test]
fn the_port_of_its_own_variables_is_where_it_listens() {
    let of = |port, hosts: &[&str], said: Option<&str>| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let more = [("PORT".to_owned(), said.map(str::to_owned))].into();
        fixed_port(&Process { port, hosts, ..process() }, &more)
    };
    let (web, nothing): (&[&str], &[&str]) = (&["web"], &[]);
    for (port, hosts, said, expected) in [
        (None, web, Some("5000"), Some(5000)),
        (Some(3000), web, Some("5000"), Some(3000)),
        (None, web, Some("x"), None),
        (None, web, Some("0"), None),
        (None, web, None, None),
        (None, nothing, Some("5000"), None),
    ] {
        assert_eq!(of(port, hosts, said), expected, "{port:?} {said:?}");
    }
}

#[tokio::test]
async fn the_log_of_a_run_begins_where_the_run_did() {
    let host = FakeHost::new().file("/log", "before\nnow\n");
    let tail = async |log_from| {
        let state = ProcessState { log_from, ..process_state(ProcessCondition::Crashed) };
        log_tail(&host, &state).await
    };
    assert_eq!(tail(7).await, ["now"]);
    assert_eq!(tail(70).await, ["before", "now"], "it has lost its beginning since");
}

#[test]
fn when_a_process_counts_as_up() {
    let told = |state: &ProcessState, listens, over| match verdict(state, listens, over, false) {
        None => "waits".to_owned(),
        Some(Ok(())) => "up".to_owned(),
        Some(Err(reason)) => reason,
    };
    assert_eq!(told(&process_state(ProcessCondition::Running), true, false), "up");
    assert_eq!(told(&process_state(ProcessCondition::Starting), true, false), "waits");
    let late = told(&process_state(ProcessCondition::Starting), true, true);
    assert_eq!(late, "it runs, and is not ready: nothing answers on port 3000");
    assert_eq!(told(&process_state(ProcessCondition::Finished), false, false), "up");
    assert_eq!(
        told(&process_state(ProcessCondition::Finished), true, false),
        "it ended with exit code 0 before it was ready"
    );
    let once = ProcessState { restarts: 1, exit_code: Some(1), ..process_state(ProcessCondition::Restarting) };
    assert_eq!(told(&once, true, false), "waits");
    let often = ProcessState { restarts: 3, exit_code: Some(127), ..once };
    assert_eq!(told(&often, true, false), "it ended 3 times, with exit code 127 (the shell did not find the program)");
    let nameless = ProcessState { nameless: Some("taken".into()), ..process_state(ProcessCondition::Running) };
    assert_eq!(told(&nameless, true, false), "waits");
    let reason = verdict(&nameless, true, false, true).unwrap().unwrap_err();
    assert_eq!(reason, "it runs, and does not have its name: taken");
}

#[test]
fn what_has_changed_is_told_by_its_part() {
    let none = BTreeMap::new();
    let old = parts(&process(), &none, &BTreeMap::new());
    let differs = |new: Parts| -> Vec<String> {
        new.iter().filter(|(part, digest)| old.get(*part) != Some(*digest)).map(|(part, _)| part.clone()).collect()
    };
    assert_eq!(differs(parts(&Process { folder: "/q".into(), ..process() }, &none, &BTreeMap::new())), ["cwd"]);
    let more = [("A".to_owned(), Some("1".to_owned()))].into();
    assert_eq!(differs(parts(&process(), &none, &more)), ["environment"]);
    let receiver = [(OTLP_ENDPOINT.to_owned(), "http://127.0.0.4:4318".to_owned())].into();
    assert!(differs(parts(&process(), &receiver, &BTreeMap::new())).is_empty());
    let worker = Process { hosts: Vec::new(), ..process() };
    assert_eq!(differs(parts(&worker, &none, &BTreeMap::new())), ["environment", "ingress", "port"]);
}
