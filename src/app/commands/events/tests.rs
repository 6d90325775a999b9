use super::*;
use crate::app::testing::process_state;

fn happens(happening: ContainerHappening) -> ContainerEvent {
    ContainerEvent {
        time: "2026-11-29T02:00:00Z".into(),
        container: "macula-web-1".into(),
        id: "a".into(),
        service: "web".into(),
        happening,
    }
}

fn container(name: &str, id: &str, state: ContainerState, health: Health, code: Option<i64>) -> ObservedContainer {
    let labels = [(label::SERVICE.to_owned(), name.to_owned())].into();
    let (name, id) = (format!("macula-{name}-1"), id.to_owned());
    ObservedContainer { name, id, state, health, exit_code: code, labels, ..ObservedContainer::default() }
}

#[test]
fn a_start_after_an_end_is_a_restart() {
    let mut told = Told::default();
    let mut take = |happening| {
        let said = told.take(&happens(happening)).into_iter();
        said.map(|event| (event.event, event.exit_code)).collect::<Vec<_>>()
    };
    assert_eq!(take(ContainerHappening::Created), [(EventKind::Created, None)]);
    assert_eq!(take(ContainerHappening::Started), [(EventKind::Started, None)]);
    assert_eq!(take(ContainerHappening::Unhealthy), [(EventKind::Unhealthy, None)]);
    assert_eq!(take(ContainerHappening::Died { exit_code: Some(3) }), [(EventKind::Died, Some(3))]);
    assert_eq!(take(ContainerHappening::Started), [(EventKind::Restarted, None)]);
    assert_eq!(take(ContainerHappening::OutOfMemory), []);
    let died = told.take(&happens(ContainerHappening::Died { exit_code: Some(137) })).remove(0);
    assert!(died.out_of_memory);
    assert_eq!(
        serde_json::to_string(&died).unwrap(),
        r#"{"time":"2026-11-29T02:00:00Z","event":"died","service":"web","container":"macula-web-1","exit_code":137,"out_of_memory":true}"#
    );
}

#[test]
fn a_container_is_told_of_when_it_has_its_own_name() {
    use ContainerHappening::{Created, Died, Healthy, Removed, Renamed, Started};
    let (own, new) = ("macula-web-1", "macula-web-1.unfinished");
    let mut told = Told::of(&[container("web", "a", ContainerState::Running, Health::Healthy, None)]);
    let mut words = |events: &[(&str, &str, ContainerHappening)]| -> Vec<String> {
        let mut said = Vec::new();
        for (id, name, happening) in events {
            let event = ContainerEvent { id: (*id).into(), container: (*name).into(), ..happens(*happening) };
            said.extend(told.take(&event));
        }
        said.iter().map(|event| format!("{} {:?}", event.event.words(), event.exit_code)).collect()
    };
    // `order: start-first`
    let none: [&str; 0] = [];
    assert_eq!(words(&[("b", new, Created), ("b", new, Started), ("b", new, Healthy)]), none);
    let died = ("a", own, Died { exit_code: Some(0) });
    assert_eq!(
        words(&[died, ("a", own, Removed), ("b", own, Renamed)]),
        ["died Some(0)", "removed None", "created None", "started None", "healthy None"]
    );
    // one with files, which has its name before the engine says that the one before it is gone
    assert_eq!(
        words(&[("c", new, Created), ("c", own, Renamed), ("b", own, Removed), ("c", own, Started)]),
        ["created None", "removed None", "started None"]
    );
    let died = ("c", own, Died { exit_code: None });
    assert_eq!(words(&[died, ("c", own, Started)]), ["died None", "restarted None"]);
    // what a killed run has left, and what somebody else has renamed
    assert_eq!(words(&[("d", new, Created), ("d", new, Removed), ("c", "other", Renamed)]), none);
    assert_eq!(words(&[("e", new, Created)]), none);
    assert_eq!(told.catch_up(&[container("other", "c", ContainerState::Running, Health::None, None)], "now"), []);
}

#[test]
fn only_what_has_run_has_ended() {
    use ContainerState::{Created, Exited, Paused, Running};
    let ended = |state| known(&container("web", "1", state, Health::None, None)).has_ended;
    assert_eq!([Created, Running, Paused, Exited].map(ended), [false, false, false, true]);
}

#[test]
fn what_happened_while_the_engine_was_away_is_found_out() {
    use ContainerState::{Exited, Running};
    let before = [
        container("api", "1", Running, Health::Healthy, None),
        container("db", "2", Running, Health::None, None),
        container("gone", "3", Running, Health::None, None),
        container("web", "4", Exited, Health::None, Some(1)),
    ];
    let after = [
        container("api", "1", Running, Health::Unhealthy, None),
        container("db", "2", Exited, Health::None, Some(143)),
        container("new", "5", Running, Health::None, None),
        container("web", "4", Running, Health::None, None),
    ];
    let mut told = Told::of(&before);
    let events = told.catch_up(&after, "now");
    let lines: Vec<String> = events
        .iter()
        .map(|event| format!("{} {}", event.service.as_deref().unwrap_or_default(), event.event.words()))
        .collect();
    assert_eq!(lines, ["gone removed", "api unhealthy", "db died", "new started", "web restarted"]);
    assert_eq!(events[2].exit_code, Some(143));
    assert!(events.iter().all(|event| event.late));
    assert_eq!(told.catch_up(&after, "later"), []);
}

#[test]
fn processes_are_told_of_like_services() {
    let state = |condition, pid, exit_code| ProcessState { pid, exit_code, ..process_state(condition) };
    let keeping = |states: Vec<ProcessState>| Keeping { states, lost: false };
    let words = |before: &Keeping, now: &Keeping| -> Vec<String> {
        let told = of_processes(before, now, "now").into_iter();
        told.map(|event| format!("{} {:?}", event.event.words(), event.exit_code)).collect()
    };
    let nothing = keeping(Vec::new());
    let starting = keeping(vec![state(ProcessCondition::Starting, Some(7), None)]);
    let running = keeping(vec![state(ProcessCondition::Running, Some(7), None)]);
    let again = keeping(vec![state(ProcessCondition::Running, Some(8), Some(1))]);
    let crashed = keeping(vec![state(ProcessCondition::Crashed, None, Some(2))]);
    assert_eq!(words(&nothing, &starting), ["started None"]);
    assert_eq!(words(&starting, &running), ["healthy None"]);
    assert_eq!(words(&running, &running), Vec::<String>::new());
    assert_eq!(words(&running, &again), ["died Some(1)", "restarted None", "healthy None"]);
    assert_eq!(words(&again, &crashed), ["died Some(2)"]);
    assert_eq!(words(&crashed, &starting), ["restarted None"]);
    assert_eq!(words(&crashed, &nothing), ["removed None"]);
}
