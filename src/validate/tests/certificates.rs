//! Certificates, authorities and clocks.

use super::*;

#[tokio::test]
async fn the_certificate_has_expired() {
    let mut world = with(|world| {
        machine(world, |host| host.at(NOW + 91 * DAY));
        world.answer.now = NOW + 91 * DAY;
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate ended on 2026-12-20 14:13 UTC
      macula up
    ");
}

#[tokio::test]
async fn the_clock_is_behind() {
    let mut world = with(|world| {
        machine(world, |host| host.at(NOW - 40 * DAY));
        world.answer.now = NOW - 40 * DAY;
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate begins on 2026-09-20 14:13 UTC, and this machine's clock says 2026-08-12 14:13 UTC: it is behind by 39 days at least
      sudo timedatectl set-ntp true
      where systemd does not run: `sudo hwclock --hctosys`, or set it with `sudo date`
    ");
}

#[tokio::test]
async fn the_clock_of_the_containers_is_another() {
    let mut world = with(|world| world.answer.now = NOW - 7200);
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    tls []: the clock of the containers is 2 hours behind this machine's
      set the clock of this machine, or of the engine's virtual machine
    ");
    // one that agrees proves it: the other is a recorded answer
    let (mut evidence, verdict) = world.look().await;
    assert!(!verdict.is_ok());
    let mut right = evidence.names[0].clone();
    right.http.as_mut().unwrap().as_mut().unwrap().date = Some(NOW);
    evidence.names.push(right);
    assert!(judge(&evidence).is_ok());
}

#[tokio::test]
async fn the_authority_is_not_trusted() {
    let mut world = with(|world| world.trust_system(false));
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate is good, and this machine does not trust its authority
      macula trust install
    ");
}

#[tokio::test]
async fn another_authority_has_signed() {
    let mut world = with(|world| {
        let other = Authority::create(DOMAIN, NOW).unwrap();
        world.leaf = other.issue(&[GRAFANA.to_owned()], NOW).unwrap();
    });
    let told = world.told().await;
    let issuer = world.look().await.0.names[0].tls.clone().unwrap().unwrap().certificate.issuer;
    assert_snapshot!(told.replace(&issuer, "ISSUER"), @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate was signed by another authority than this platform's (`ISSUER`)
      macula up
    ");
}

#[tokio::test]
async fn the_name_is_not_in_the_certificate() {
    let mut world = with(|world| {
        world.leaf = world.authority.issue(&["*.s3.macula.local".to_owned(), POSTGRES.to_owned()], NOW).unwrap();
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate is not for this name, but for *.s3.macula.local, postgres.macula.local
      macula up
    ");
}

#[tokio::test]
async fn an_own_certificate_that_the_machine_trusts_is_fine() {
    let mut world = with(|world| {
        let other = Authority::create(DOMAIN, NOW).unwrap();
        world.leaf = other.issue(&[GRAFANA.to_owned()], NOW).unwrap();
        world.host.put("/etc/ssl/certs/ca-certificates.crt", other.root().pem());
    });
    assert!(world.look().await.1.is_ok());
}

#[tokio::test]
async fn a_name_that_is_too_deep_for_the_certificate() {
    let mut world = with(|world| {
        world.leaf = world.authority.issue(&["*.macula.local".to_owned()], NOW).unwrap();
    });
    let (mut evidence, verdict) = world.look().await;
    assert!(verdict.is_ok());
    evidence.names.truncate(1);
    evidence.names[0].target.asked = "a.grafana.macula.local".into();
    let tls = evidence.names[0].tls.as_mut().unwrap().as_mut().unwrap();
    (tls.ours, tls.system) = (Some(Err(TlsFault::OtherName)), Err(TlsFault::OtherName));
    let faults = judge(&evidence).faults;
    assert_snapshot!(faults[0].cause, @"the certificate covers names of one label below macula.local, and this one has more");
}
