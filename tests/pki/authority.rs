//! The authority on disk, its end, and how long a certificate is kept.

use super::*;

#[tokio::test]
async fn an_authority_is_made_once_and_kept_private() {
    let machine = Machine::new();
    let first = machine.authority().await;
    let folder = machine.folder().join(DOMAIN);
    assert_eq!(mode(&folder.join("authority.pem")), 0o600);
    assert_eq!(mode(&folder.join("root.pem")), 0o644);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(machine.authority().await.root(), first.root());
    // the root's key is nowhere: one key in all files, and it is the intermediate's
    let secret = std::fs::read_to_string(folder.join("authority.pem")).unwrap();
    assert_eq!(secret.matches("PRIVATE KEY-----").count(), 2);
    // the copy is made again, and from the same root
    std::fs::write(folder.join("root.pem"), "half").unwrap();
    machine.authority().await;
    assert_eq!(std::fs::read_to_string(folder.join("root.pem")).unwrap(), first.root().pem());
}

#[tokio::test]
async fn all_who_ask_at_once_get_the_same_authority() {
    let machine = Arc::new(Machine::new());
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let machine = machine.clone();
            tokio::spawn(async move { machine.authority().await.root().fingerprint() })
        })
        .collect();
    let mut fingerprints = Vec::new();
    for one in asked {
        fingerprints.push(one.await.unwrap());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1);
}

#[tokio::test]
async fn a_damaged_authority_is_reported_and_left_alone() {
    let machine = Machine::new();
    let authority = machine.authority().await;
    let path = machine.folder().join(DOMAIN).join("authority.pem");
    let whole = std::fs::read_to_string(&path).unwrap();
    let reason = async |content: &str| {
        std::fs::write(&path, content).unwrap();
        let error = Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, machine.host.now()).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        match error.unwrap_err() {
            AuthorityError::Damaged { source, .. } => source.to_string(),
            other => panic!("{other}"),
        }
    };
    let other = Authority::create("other.test", machine.host.now()).unwrap();
    let key_end = whole.find("-----BEGIN CERTIFICATE").unwrap();
    let key = &whole[..key_end];
    let mut said = Vec::new();
    said.push(reason("").await);
    said.push(reason(&whole[..whole.len() - 100]).await);
    said.push(reason(&whole[key_end..]).await);
    said.push(reason(key).await);
    said.push(reason(&format!("{key}{}{}", authority.intermediate().pem(), other.root().pem())).await);
    said.push(reason(&format!("{key}{}{}", other.intermediate().pem(), other.root().pem())).await);
    insta::assert_snapshot!(said.join("\n"), @r"
    it holds no private key
    it is not valid PEM: incomplete PEM
    it holds no private key
    it holds no certificate
    it holds no name constraints for just this domain
    its private key belongs to another certificate
    ");
}

#[tokio::test]
async fn the_clock_and_the_end_of_an_authority() {
    let machine = Machine::new();
    let day = 86_400;
    let now = machine.host.now();
    let at = async |now| Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, now).await;
    let first = at(now).await.unwrap();
    assert_eq!(at(now + 3500 * day).await.unwrap().root(), first.root());
    let early = at(now - 10 * day).await.unwrap_err();
    assert!(matches!(early, AuthorityError::Clock { hours: 240, .. }), "{early}");
    // 119 days before its end a certificate of 90 days with 30 more to spare does not fit in
    let second = at(now + 3531 * day).await.unwrap();
    assert_ne!(second.root(), first.root());
    assert!(second.root().valid_at(now + 7000 * day));
    // made while the clock showed the year 2110: of no use for a lifetime, so that it is replaced
    let machine = Machine::new();
    let at = async |now| Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, now).await;
    let far = at(now + 84 * 365 * day).await.unwrap();
    let now_again = at(now).await.unwrap();
    assert_ne!(now_again.root(), far.root());
    assert!(now_again.root().valid_at(now));
    // but not for a clock without a battery
    assert!(matches!(at(0).await.unwrap_err(), AuthorityError::Clock { .. }));
}

#[tokio::test]
async fn a_leaf_is_kept_until_it_has_to_be_another() {
    let machine = Machine::new();
    let authority = machine.authority().await;
    let day = 86_400;
    let (path, now) = (machine.home.path().join("tls.pem"), machine.host.now());
    let at = async |authority: &Authority, names: &[String], now| {
        load_or_issue(&machine.host, authority, &path, names, now).await.unwrap()
    };
    let (first, why) = at(&authority, &wanted(), now).await;
    assert_eq!(why, Some(Renewal::Missing));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(first.certificate.names, wanted());
    assert_eq!((first.certificate.not_after - now) / day, 90);

    let mut shuffled = wanted();
    shuffled.reverse();
    assert_eq!(at(&authority, &shuffled, now + 59 * day).await, (first.clone(), None));
    let (second, why) = at(&authority, &wanted(), now + 61 * day).await;
    assert_eq!(why, Some(Renewal::Expires { not_after: first.certificate.not_after }));
    assert_ne!(second.key_pem(), first.key_pem());

    let now = now + 61 * day;
    let other = names(DOMAIN, ["grafana.macula.local", "draw.macula.local"]);
    let (_, why) = at(&authority, &other, now).await;
    let added = vec!["draw.macula.local".to_owned()];
    let removed = vec!["*.s3.macula.local".to_owned(), "s3.macula.local".to_owned()];
    assert_eq!(why, Some(Renewal::Names { added, removed }));

    let (_, why) = at(&authority, &other, now - 61 * day).await;
    assert!(matches!(why, Some(Renewal::NotYet { .. })), "{why:?}");
    let replaced = Authority::create(DOMAIN, machine.host.now()).unwrap();
    assert_eq!(at(&replaced, &other, now).await.1, Some(Renewal::Authority));
    std::fs::write(&path, "half").unwrap();
    assert_eq!(at(&authority, &other, now).await.1, Some(Renewal::Missing));
}

#[tokio::test]
async fn no_certificate_for_what_is_not_ours() {
    let authority = Authority::create(DOMAIN, 1_790_000_000).unwrap();
    let said = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        authority.issue(&names, 1_790_000_000).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [said(&[]), said(&["grafana.macula.local", "example.com"]), said(&["8.8.8.8"]), said(&["a b.macula.local"])].join("\n"),
        @r"
    a certificate needs a name
    the certificate cannot have this name: `example.com` does not lie in macula.local, the only domain of this authority
    the certificate cannot have this name: 8.8.8.8 is not a loopback address: certificates of this authority are for 127.0.0.0/8 and ::1
    the certificate cannot have this name: `a b.macula.local` is not a valid DNS name: a label has other characters than letters, digits, - and _
    "
    );
}
