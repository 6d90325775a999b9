//! Of services that are named, and of nothing else.

use super::*;

#[test]
fn a_selection_takes_what_it_needs_and_leaves_the_rest_alone() {
    let mut world = Observed::default();
    let stranger = BTreeMap::from([
        (label::PLATFORM.to_owned(), "macula".to_owned()),
        (label::SERVICE.to_owned(), "old".to_owned()),
    ]);
    world.containers.push(ObservedContainer {
        name: "macula-old-1".into(),
        labels: stranger,
        ..ObservedContainer::default()
    });
    let chosen = select(&platform(), &["migrate".to_owned()]).unwrap();
    assert_snapshot!(try_plan(&platform(), &world, Some(&chosen)).unwrap().to_string(), @"
    + create network macula (missing)
    + get image db:1 (missing)
    + get image migrate:1 (missing)
    + create volume macula-db-data (missing) after get image db:1
    + create container macula-db-1 (missing) after create network macula, create volume macula-db-data, get image db:1
    + start container macula-db-1 (missing) after create container macula-db-1
      await container macula-db-1 (missing) after start container macula-db-1
    + create container macula-migrate-1 (missing) after create network macula, get image migrate:1
    + start container macula-migrate-1 (missing) after await container macula-db-1, create container macula-migrate-1
      await container macula-migrate-1 (missing) after start container macula-migrate-1
    ");
}

#[test]
fn of_a_chosen_service_the_containers_that_are_too_many_go() {
    let mut three = platform();
    change(&mut three, "web", |service| service.replicas = 3);
    let mut world = right_world(&three);
    // somebody works in a container of its own
    let mut apart = container(&mut world, "macula-web-3").clone();
    apart.name = "macula-web-run-1".into();
    apart.labels.insert(label::ONE_OFF.into(), "true".into());
    world.containers.push(apart);
    let steps = |chosen: &str| -> Vec<String> {
        let chosen = BTreeSet::from([chosen.to_owned()]);
        let plan = try_plan(&platform(), &world, Some(&chosen)).unwrap();
        plan.steps.into_iter().filter(|step| step.cause == Cause::Orphaned).map(|step| step.id).collect()
    };
    assert_eq!(
        steps("web"),
        [
            "stop container macula-web-2",
            "remove container macula-web-2",
            "stop container macula-web-3",
            "remove container macula-web-3",
        ]
    );
    assert_eq!(steps("db"), [""; 0]);
}

#[test]
fn unknown_services_are_named() {
    assert_eq!(select(&platform(), &["wbe".to_owned(), "db".to_owned()]), Err(vec!["wbe".to_owned()]));
}
