//! What stands behind the ingress.

use super::*;

const UNAVAILABLE: Answer = Answer { status: "502 Bad Gateway", mark: Some("unavailable"), now: NOW };

#[tokio::test]
async fn the_service_is_down() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.ends("grafana", 3);
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: macula-grafana-1 has ended with 3
      macula logs grafana
      macula up grafana
    ");
}

#[tokio::test]
async fn the_service_has_no_container() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.containers.retain(|found| found.name != "macula-grafana-1");
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana has no container
      macula up grafana
    ");
}

#[tokio::test]
async fn the_service_runs_and_does_not_listen() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.services.0 = false;
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana runs, and does not answer: connection refused
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn the_service_says_that_it_is_not_healthy() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.container("grafana").health = Health::Unhealthy;
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: macula-grafana-1 runs, and says of itself that it is not healthy
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn the_container_has_a_new_address() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.container("grafana").started_at = Some(NOW);
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana answers on 127.0.0.1:GRAFANA, and the ingress, which was there before it, still asks an older address
      macula restart ingress
    ");
}

#[tokio::test]
async fn the_service_fails() {
    let mut world = with(|world| {
        world.answer = Answer { status: "500 Internal Server Error", mark: None, now: NOW };
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana answers with 500
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn one_of_those_that_share_a_name_gets_no_requests() {
    let (mut evidence, _) = World::new().look().await;
    evidence.names[0].out = vec!["grafana-b".to_owned()];
    let verdict = judge(&evidence);
    assert_eq!(verdict.rows[0].hops[4..6], [State::Broken, State::Broken]);
    let [fault] = verdict.faults.as_slice() else { panic!("one fault") };
    assert_eq!(fault.cause.to_string(), "the ingress leaves out containers of grafana-b: they fail its health check");
    assert_eq!(fault.cause.remedies(true), [macula("logs grafana-b").into(), macula("restart grafana-b").into()]);
}
