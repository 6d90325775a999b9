//! From an address to the ingress and the ports of services.

use super::*;

#[tokio::test]
async fn nginx_is_down() {
    let mut world = with(|world| {
        world.ends("ingress", 1);
        world.listening = false;
        world.inside = format!("{GRAFANA}||\n{POSTGRES}||\n");
    });
    assert_snapshot!(world.told().await, @"
    ..X??.? grafana.macula.local
    ...--.? postgres.macula.local
    connect [grafana.macula.local]: the ingress does not run: macula-ingress-1 has ended with 1
      macula up
      macula logs ingress
    ");
}

/// What was seen is changed here: to wait for who never answers takes ten seconds.
#[tokio::test]
async fn a_service_hangs() {
    let mut world = World::new();
    let (mut evidence, _) = world.look().await;
    evidence.names[0].http = Some(Err(reach::silence()));
    let verdict = judge(&evidence);
    let [fault] = verdict.faults.as_slice() else { panic!("{:?}", verdict.faults) };
    assert_snapshot!(fault.cause.to_string(), @"grafana runs, and does not answer: it accepts connections, and there is no answer in 10 s");
    let remedies = fault.cause.remedies(true);
    let remedies: Vec<String> = remedies.iter().map(|remedy| remedy.text(&Invocation::default())).collect();
    assert_eq!(remedies, ["macula logs grafana", "macula restart grafana"]);
    // somebody is silent, and that need not be the service
    evidence.names[0].tls = None;
    let verdict = judge(&evidence);
    assert!(verdict.faults.iter().any(|fault| matches!(fault.cause, Cause::NoHttp { .. })), "{:?}", verdict.faults);
}

#[tokio::test]
async fn the_engine_is_down() {
    let mut world = with(|world| {
        world.no_engine = Some("nothing listens on unix:///var/run/docker.sock".into());
        world.listening = false;
        world.services = (false, false);
    });
    assert_snapshot!(world.told().await, @"
    ..X???? grafana.macula.local
    ..X--?? postgres.macula.local
    connect [grafana.macula.local postgres.macula.local]: no container engine answers: nothing listens on unix:///var/run/docker.sock
      macula doctor --fix
    ");
    // it went away, and what it started still runs
    (world.listening, world.services) = (true, (true, true));
    assert_snapshot!(world.told().await, @"
    ......? grafana.macula.local
    ...--?? postgres.macula.local
    connect []: no container engine answers: nothing listens on unix:///var/run/docker.sock
      macula doctor --fix
    ");
}

#[tokio::test]
async fn the_ingress_port_is_taken() {
    let mut world = World::new();
    world.ends("ingress", 128);
    world.container("ingress").error = "driver failed: address already in use".into();
    // the servers of the world are somebody else's now
    let (evidence, _) = world.look().await;
    let [NameSeen { connect, .. }, _] = evidence.names.as_slice() else { panic!("two names") };
    assert_eq!(connect.len(), 2);
    assert_snapshot!(world.told().await, @"
    ..X??.? grafana.macula.local
    ...--.? postgres.macula.local
    connect [grafana.macula.local]: a program that this user may not see listens on 127.0.0.1:HTTPS, 127.0.0.1:HTTP instead of the ingress
      sudo ss -lptun 'sport = :HTTPS or sport = :HTTP'
      stop the program that it shows
      macula up  (after that)
    ");
}

#[tokio::test]
async fn a_direct_port_is_closed() {
    let mut world = with(|world| {
        world.ends("postgres", 137);
        world.services.1 = false;
        world.inside = world.inside.replace("|open", "|bash: connect: Connection refused");
    });
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ..X--X? postgres.macula.local
    service [postgres.macula.local]: macula-postgres-1 has ended with 137
      macula logs postgres
      macula up postgres
    ");
}

#[tokio::test]
async fn a_proxy_is_in_the_way() {
    let refusing = server(LOCAL, None, Answer { status: "403 Forbidden", mark: None, now: NOW }, true).await;
    let mut world = with(|world| {
        world.redact(refusing.0.port(), "PROXY");
        let proxy = format!("http://me:secret@{}", refusing.0);
        machine(world, |host| host.env_var("https_proxy", &proxy).env_var("no_proxy", "localhost,127.0.0.1"));
    });
    assert_snapshot!(world.told().await, @r#"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    connect []: https_proxy sends programs through the proxy http://127.0.0.1:PROXY, which does not reach the platform: it says 403 Forbidden
      export NO_PROXY='localhost,127.0.0.1,.macula.local,127.0.0.0/8' no_proxy='localhost,127.0.0.1,.macula.local,127.0.0.0/8'
    "#);
    // of a domain of its own, and of the company's exceptions in capitals
    let (mut evidence, _) = world.look().await;
    evidence.domain = "dev.test".into();
    evidence.machine.proxy.as_mut().unwrap().exceptions = "localhost,10.0.0.0/8".into();
    let fault = judge(&evidence).faults.into_iter().find(|fault| matches!(fault.cause, Cause::Proxy { .. })).unwrap();
    let list = "localhost,10.0.0.0/8,.dev.test,127.0.0.0/8";
    let line = fault.cause.remedies(true)[0].text(&Invocation::default());
    assert_eq!(line, format!("export NO_PROXY='{list}' no_proxy='{list}'"));
    // one that lets through, and one that is not used
    machine(&mut world, |host| host.env_var("no_proxy", "localhost,.local"));
    assert!(world.look().await.1.is_ok());
    let passing = server(LOCAL, None, Answer { status: "200 OK", mark: None, now: NOW }, true).await;
    let proxy = format!("http://{}", passing.0);
    machine(&mut world, |host| host.env_var("https_proxy", &proxy).env_var("no_proxy", ""));
    assert!(world.look().await.1.is_ok());
}

#[tokio::test]
async fn the_route_is_missing() {
    let mut world = with(|world| world.answer = Answer { status: "404 Not Found", mark: Some("no-route"), now: NOW });
    assert_snapshot!(world.told().await, @"
    ....X.. grafana.macula.local
    ...--.. postgres.macula.local
    http [grafana.macula.local]: the ingress has no route for this name
      macula up
    ");
}
