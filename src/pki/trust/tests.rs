use super::*;
use crate::host::Output;
use crate::host::fake::FakeHost;
use crate::pki::Authority;

const AUTHORITIES: &str = "/home/dev/.local/share/macula/ca";

fn anchor() -> Anchor {
    Authority::create("macula.local", 1_790_000_000).unwrap().anchor()
}

/// The machine's answers with the anchor's changing parts taken out.
fn plain(text: &str, anchor: &Anchor) -> String {
    text.replace(&anchor.id(), "<id>").replace(AUTHORITIES, "<ca>").replace(&anchor.common_name, "<name>")
}

fn journal(host: &FakeHost, anchor: &Anchor) -> String {
    plain(&host.journal().join("\n"), anchor)
}

fn summary(outcomes: &[Outcome], anchor: &Anchor) -> String {
    let line = |outcome: &Outcome| match &outcome.done {
        Done::Failed(error) => format!("{}: failed: {error}", outcome.place.label),
        done => format!("{}: {done:?}", outcome.place.label),
    };
    plain(&outcomes.iter().map(line).collect::<Vec<_>>().join("\n"), anchor)
}

fn done(stdout: impl Into<Vec<u8>>) -> Result<Output, RunError> {
    Ok(Output { status: Some(0), stdout: stdout.into(), ..Output::default() })
}

/// A Linux store: the folder's files end in the bundle.
fn linux(folder: &'static str, program: &'static str, line: &str, bundle: &'static str) -> FakeHost {
    FakeHost::new()
        .folder(folder)
        .program(program)
        .program("find")
        .file(bundle, "# others\n")
        .on("sudo install *", |host, command| {
            let [_, _, from, to] = &command.args[..] else { panic!("{command}") };
            host.put(to, host.text(from).unwrap());
            done("")
        })
        .on("sudo rm -f *", |host, command| {
            futures_util::FutureExt::now_or_never(host.remove(Path::new(&command.args[1]))).unwrap().unwrap();
            done("")
        })
        .on(line, move |host, _| {
            let anchors = host.paths().into_iter().filter(|path| path.starts_with(folder));
            host.put(
                bundle,
                anchors.map(|path| host.text(path).unwrap()).fold("# others\n".to_owned(), |all, one| all + &one),
            );
            done("")
        })
}

fn debian() -> FakeHost {
    linux(
        "/usr/local/share/ca-certificates",
        "update-ca-certificates",
        "sudo update-ca-certificates",
        "/etc/ssl/certs/ca-certificates.crt",
    )
}

async fn state(host: &FakeHost, anchor: &Anchor) -> Vec<State> {
    status(host, anchor).await.into_iter().map(|status| status.state).collect()
}

#[tokio::test]
async fn debian_there_and_back() {
    let (host, anchor, ca) = (debian(), anchor(), Path::new(AUTHORITIES));
    let before = host.paths();
    assert_eq!(state(&host, &anchor).await, [State::Missing]);
    assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "the system: Installed");
    assert_eq!(state(&host, &anchor).await, [State::Trusted]);
    assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "the system: Unchanged");
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "the system: Removed");
    assert_eq!(state(&host, &anchor).await, [State::Missing]);
    assert_eq!(host.paths(), before);
    insta::assert_snapshot!(journal(&host, &anchor), @r#"
    sudo install -m 0644 <ca>/trust/<id>.pem /usr/local/share/ca-certificates/<id>.crt
    sudo update-ca-certificates
    sudo rm -f /usr/local/share/ca-certificates/<id>.crt
    sudo rm -f /etc/ssl/certs/<id>.pem
    sudo find /etc/ssl/certs -maxdepth 1 -type l -lname <id>.pem -delete
    sudo update-ca-certificates
    "#);
}

#[tokio::test]
async fn roots_of_other_domains_are_known_as_long_as_they_are_there() {
    let (host, ca) = (debian(), Path::new(AUTHORITIES));
    let other = Authority::create("dev.example.com", 1_790_000_000).unwrap().anchor();
    for anchor in [&anchor(), &other] {
        install(&host, ca, anchor).await.unwrap();
    }
    let known = async || domains(&host, ca).await.unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(known().await, ["dev.example.com", "macula.local"]);
    uninstall(&host, ca, Some("macula.local"), None).await.unwrap();
    assert_eq!(known().await, ["dev.example.com"]);
    // its authority may be gone
    uninstall(&host, ca, Some("dev.example.com"), None).await.unwrap();
    assert_eq!(known().await, [""; 0]);
    // as `--all` does
    for anchor in [&anchor(), &other] {
        install(&host, ca, anchor).await.unwrap();
    }
    assert_eq!(uninstall(&host, ca, None, Some(&anchor())).await.unwrap().len(), 2);
    assert_eq!(known().await, [""; 0]);
}

#[tokio::test]
async fn fedora_arch_and_suse_have_their_own_folders() {
    let anchor = anchor();
    let mut all = Vec::new();
    for (folder, program, line, bundle) in [
        (
            "/etc/pki/ca-trust/source/anchors",
            "update-ca-trust",
            "sudo update-ca-trust extract",
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        ),
        (
            "/etc/ca-certificates/trust-source/anchors",
            "update-ca-trust",
            "sudo update-ca-trust",
            "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
        ),
        (
            "/etc/pki/trust/anchors",
            "update-ca-certificates",
            "sudo update-ca-certificates",
            "/var/lib/ca-certificates/ca-bundle.pem",
        ),
    ] {
        let host = linux(folder, program, line, bundle);
        install(&host, Path::new(AUTHORITIES), &anchor).await.unwrap();
        assert_eq!(state(&host, &anchor).await, [State::Trusted]);
        uninstall(&host, Path::new(AUTHORITIES), None, None).await.unwrap();
        assert_eq!(state(&host, &anchor).await, [State::Missing]);
        all.push(journal(&host, &anchor));
    }
    insta::assert_snapshot!(all.join("\n\n"), @r#"
    sudo install -m 0644 <ca>/trust/<id>.pem /etc/pki/ca-trust/source/anchors/<id>.pem
    sudo update-ca-trust extract
    sudo rm -f /etc/pki/ca-trust/source/anchors/<id>.pem
    sudo update-ca-trust extract

    sudo install -m 0644 <ca>/trust/<id>.pem /etc/ca-certificates/trust-source/anchors/<id>.crt
    sudo update-ca-trust
    sudo rm -f /etc/ca-certificates/trust-source/anchors/<id>.crt
    sudo update-ca-trust

    sudo install -m 0644 <ca>/trust/<id>.pem /etc/pki/trust/anchors/<id>.pem
    sudo update-ca-certificates
    sudo rm -f /etc/pki/trust/anchors/<id>.pem
    sudo update-ca-certificates
    "#);
}

#[tokio::test]
async fn a_run_that_was_killed_is_ended_or_undone() {
    let (anchor, ca) = (anchor(), Path::new(AUTHORITIES));
    let refuse = |_: &FakeHost, command: &Command| {
        Err(RunError::Timeout { command: command.to_string(), after: Duration::from_secs(60) })
    };
    let host = debian().on("sudo update-ca-certificates", refuse);
    let outcomes = install(&host, ca, &anchor).await.unwrap();
    assert_eq!(summary(&outcomes, &anchor), "the system: failed: `sudo update-ca-certificates` took longer than 60 s");
    assert!(matches!(state(&host, &anchor).await[..], [State::Partly(_)]));
    // it is in the receipt, so an uninstall finds it, and keeps it there until it is gone
    let failed = uninstall(&host, ca, None, None).await.unwrap();
    assert!(matches!(failed[..], [Outcome { done: Done::Failed(_), .. }]));
    assert_eq!(Receipt::load(&host, &ca.join("trust")).await.unwrap().entries().len(), 1);
    let host = host.on("sudo update-ca-certificates", |host, _| {
        host.put("/etc/ssl/certs/ca-certificates.crt", "# others\n");
        done("")
    });
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "the system: Removed");
    assert!(!host.exists(&ca.join("trust")).await);
}

#[tokio::test]
async fn without_root_nothing_is_changed_and_the_reason_is_kept() {
    let refuse = |_: &FakeHost, command: &Command| Err(RunError::Privilege { command: command.to_string() });
    let (host, anchor) = (debian().on("sudo *", refuse), anchor());
    let outcomes = install(&host, Path::new(AUTHORITIES), &anchor).await.unwrap();
    assert!(matches!(outcomes[0].done, Done::Failed(StoreError::Run(RunError::Privilege { .. }))));
    assert!(!host.exists(&Path::new(AUTHORITIES).join("trust")).await, "nothing to undo, so no receipt");
    assert_eq!(state(&host, &anchor).await, [State::Missing]);
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let (anchor, other) = (anchor(), anchor());
    let path = format!("/usr/local/share/ca-certificates/{}.crt", anchor.id());
    let host = debian().file(&path, &other.pem);
    let outcomes = install(&host, Path::new(AUTHORITIES), &anchor).await.unwrap();
    assert!(matches!(outcomes[0].done, Done::Failed(StoreError::Foreign { .. })));
    assert!(uninstall(&host, Path::new(AUTHORITIES), None, Some(&anchor)).await.unwrap().is_empty());
    assert_eq!(host.text(&path), Some(other.pem));
    assert_eq!(host.journal(), [""; 0]);
}

#[tokio::test]
async fn a_lost_receipt_and_a_replaced_root() {
    let (host, old, new, ca) = (debian(), anchor(), anchor(), Path::new(AUTHORITIES));
    install(&host, ca, &old).await.unwrap();
    install(&host, ca, &new).await.unwrap();
    host.remove_folder(&ca.join("trust")).await.unwrap();
    // without the receipt only the present root is known
    assert_eq!(uninstall(&host, ca, None, Some(&new)).await.unwrap().len(), 1);
    assert_eq!(state(&host, &new).await, [State::Missing]);
    assert_eq!(state(&host, &old).await, [State::Trusted]);
    // an install takes note of what is there
    install(&host, ca, &old).await.unwrap();
    install(&host, ca, &new).await.unwrap();
    assert_eq!(uninstall(&host, ca, Some("other.test"), None).await.unwrap().len(), 0);
    assert_eq!(uninstall(&host, ca, Some("macula.local"), None).await.unwrap().len(), 2);
    assert_eq!(state(&host, &old).await, [State::Missing]);
}

#[tokio::test]
async fn receipts_that_cannot_be_read_stop_everything() {
    let (anchor, ca) = (anchor(), Path::new(AUTHORITIES));
    let said = async |receipt: &str| {
        let host = debian().file(ca.join("trust/receipt.json"), receipt);
        let error = install(&host, ca, &anchor).await.unwrap_err().to_string();
        assert_eq!(host.journal(), [""; 0]);
        plain(&error, &anchor)
    };
    assert_eq!(
        said("{").await,
        "<ca>/trust/receipt.json is not a valid receipt: EOF while parsing an object at line 1 column 1"
    );
    assert_eq!(said(r#"{"version":2,"entries":[]}"#).await, "<ca>/trust/receipt.json was written by a newer macula");
}

/// certutil on a Chromium's database: a text file with one name a line.
fn chromium() -> FakeHost {
    let database = "/home/dev/.pki/nssdb/cert9.db";
    let line = |verb: &str| format!("certutil -d sql:/home/dev/.pki/nssdb -f /dev/null {verb}");
    FakeHost::new()
        .program("chromium")
        .on(&line("-N *"), move |host, _| {
            host.put(database, "");
            done("")
        })
        .on(&line("-A *"), move |host, command| {
            host.put(database, format!("{}\n{}", command.args[8], host.text(command.args.last().unwrap()).unwrap()));
            done("")
        })
        .on(&line("-L"), move |host, _| {
            let heading = "Certificate Nickname  Trust Attributes\n  SSL,S/MIME,JAR/XPI\n\n";
            let name = host.text(database).unwrap().lines().next().map(|name| format!("{name}   C,,  \n"));
            done(format!("{heading}{}", name.unwrap_or_default()))
        })
        .on(&line("-L -n *"), move |host, _| done(host.text(database).unwrap()))
        .on(&line("-D *"), move |host, _| {
            host.put(database, "");
            done("")
        })
        .answer(&line("-K"), 255, "certutil: no keys found\n", "")
}

#[tokio::test]
async fn a_browser_that_has_no_database_yet_gets_one_and_loses_it_again() {
    let (host, anchor, ca) = (chromium().program("certutil"), anchor(), Path::new(AUTHORITIES));
    assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "Chromium: Installed");
    assert_eq!(state(&host, &anchor).await, [State::Trusted]);
    assert_eq!(host.mode("/home/dev/.pki/nssdb"), Some(0o700));
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "Chromium: Removed");
    assert!(!host.exists(Path::new("/home/dev/.pki")).await);
    insta::assert_snapshot!(journal(&host, &anchor), @r#"
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -N --empty-password
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -A -t C,, -n <id> -i <ca>/trust/<id>.pem
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L -n <id> -a
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L -n <id> -a
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L -n <id> -a
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -D -n <id>
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -L
    certutil -d sql:/home/dev/.pki/nssdb -f /dev/null -K
    "#);
}

#[tokio::test]
async fn a_bundle_is_made_by_one_program_at_a_time_and_holds_all_that_is_listed() {
    let layout = super::anchors::Layout {
        kind: Kind::Debian,
        folder: "/usr/local/share/ca-certificates",
        extension: "crt",
        program: "update-ca-certificates",
        args: &[],
        bundle: "/etc/ssl/certs/ca-certificates.crt",
    };
    let listed = debian()
        .file("/etc/ca-certificates.conf", "a.crt\n")
        .file("/usr/share/ca-certificates/a.crt", "-----BEGIN CERTIFICATE-----\n");
    let error = layout.update(&listed).await.unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { there: 0, wanted: 1, .. }), "{error}");
    let busy = debian().file("/proc/7/cmdline", "/bin/sh\0/usr/sbin/update-ca-certificates\0");
    tokio::time::timeout(std::time::Duration::from_millis(50), layout.update(&busy)).await.unwrap_err();
    assert_eq!(busy.journal(), [""; 0]);
}

#[tokio::test]
async fn a_missing_certutil_and_a_locked_database() {
    let (anchor, ca) = (anchor(), Path::new(AUTHORITIES));
    let host = FakeHost::new()
        .program("apt-get")
        .file("/home/dev/.mozilla/firefox/abc.default/cert9.db", "")
        .file("/home/dev/snap/firefox/common/.mozilla/firefox/xyz.default/cert9.db", "")
        .file("/home/dev/.mozilla/firefox/profiles.ini", "");
    insta::assert_snapshot!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), @r#"
    Firefox, profile abc.default: Unavailable { reason: "certutil is not installed", hint: "sudo apt-get install libnss3-tools" }
    Firefox, profile xyz.default: Unavailable { reason: "certutil is not installed", hint: "sudo apt-get install libnss3-tools" }
    "#);

    let host = FakeHost::new().program("certutil").file("/home/dev/.mozilla/firefox/abc.default/cert9.db", "").answer(
        "certutil -d sql:/home/dev/.mozilla/firefox/abc.default -f /dev/null -A *",
        255,
        "",
        "SEC_ERROR_BAD_PASSWORD: no",
    );
    insta::assert_snapshot!(
        summary(&install(&host, ca, &anchor).await.unwrap(), &anchor),
        @"Firefox, profile abc.default: failed: it is locked with a password of its own"
    );
    // what certutil has left in it by then is taken out again
    assert!(host.journal().iter().any(|line| line.contains(" -D -n ")));
}

const KEYSTORE: &str = "/opt/jdk/lib/security/cacerts";

/// A Java, with its keystore of a format that only its own program reads; it cannot read `half`.
fn java() -> FakeHost {
    FakeHost::new()
        .env_var("JAVA_HOME", "/opt/jdk")
        .file(KEYSTORE, "original bytes")
        .file("/opt/jdk/bin/keytool", "")
        .on("/opt/jdk/bin/keytool -list *", |host, command| {
            let content = host.text(KEYSTORE).unwrap();
            let listed = !command.args.contains(&"-alias".to_owned()) || content.contains("BEGIN");
            let listed = listed && content != "half";
            if listed { done(content) } else { Ok(Output { status: Some(1), ..Output::default() }) }
        })
        .on("sudo /opt/jdk/bin/keytool -importcert *", |host, command| {
            let certificate = host.text(command.args.last().unwrap()).unwrap();
            host.put(KEYSTORE, format!("rewritten\n{certificate}"));
            done("")
        })
        .on("sudo /opt/jdk/bin/keytool -delete *", |host, _| {
            host.put(KEYSTORE, "rewritten twice");
            done("")
        })
        .on("sudo tee *", |host, command| {
            host.put(&command.args[0], command.stdin.clone().unwrap());
            done("")
        })
}

/// The same whose program is ended in the middle of its writing.
fn java_that_is_killed() -> FakeHost {
    java().on("sudo /opt/jdk/bin/keytool -importcert *", |host, command| {
        host.put(KEYSTORE, "half");
        Err(RunError::Timeout { command: command.to_string(), after: Duration::from_secs(300) })
    })
}

#[tokio::test]
async fn a_keystore_that_was_left_half_written_gets_its_content_back() {
    let (anchor, ca) = (anchor(), Path::new(AUTHORITIES));
    let receipt = ca.join("trust/receipt.json");
    // at once, where that can be
    let host = java_that_is_killed();
    let outcomes = install(&host, ca, &anchor).await.unwrap();
    assert!(matches!(outcomes[0].done, Done::Failed(StoreError::Run(RunError::Timeout { .. }))));
    assert_eq!(host.text(KEYSTORE).as_deref(), Some("original bytes"));
    assert!(!host.exists(&ca.join("trust")).await, "nothing to undo, so no receipt");

    // else by the next run: this one cannot, and one that was killed could not either
    for killed in [false, true] {
        let left = async || {
            let refuse = |_: &FakeHost, command: &Command| Err(RunError::Privilege { command: command.to_string() });
            let host = java_that_is_killed().on("sudo tee *", refuse);
            install(&host, ca, &anchor).await.unwrap();
            assert_eq!(host.text(KEYSTORE).as_deref(), Some("half"));
            let mut list: serde_json::Value = serde_json::from_str(&host.text(&receipt).unwrap()).unwrap();
            if killed {
                list["entries"][0]["kept"][0]["after"] = serde_json::Value::Null;
            }
            let next = java().file(KEYSTORE, "half").file(&receipt, list.to_string());
            let copy = |path: &&PathBuf| path.to_string_lossy().contains("/kept-");
            host.paths().iter().filter(copy).fold(next, |next, path| next.file(path, host.text(path).unwrap()))
        };
        let host = left().await;
        assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "Java: Removed");
        assert_eq!(host.text(KEYSTORE).as_deref(), Some("original bytes"), "{killed}");

        let host = left().await;
        assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "Java: Installed");
        assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "Java: Removed");
        assert_eq!(host.text(KEYSTORE).as_deref(), Some("original bytes"), "{killed}");
    }
}

#[tokio::test]
async fn java_gets_its_file_back_unless_others_changed_it() {
    let keystore = KEYSTORE;
    let (host, anchor, ca) = (java(), anchor(), Path::new(AUTHORITIES));
    assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "Java: Installed");
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "Java: Removed");
    assert_eq!(host.text(keystore).as_deref(), Some("original bytes"));

    // as the first versions wrote it
    let host = java();
    install(&host, ca, &anchor).await.unwrap();
    let receipt = ca.join("trust/receipt.json");
    let before = crate::host::kept::checksum(b"original bytes");
    let after = crate::host::kept::checksum(host.text(keystore).unwrap().as_bytes());
    let old = serde_json::json!({"version": 1, "entries": [{
        "place": {"kind": "java", "path": keystore, "label": "Java"},
        "anchor": &anchor,
        "made": false,
        "kept": [{"path": keystore, "before": before, "after": after}],
    }]});
    let new: serde_json::Value = serde_json::from_str(&host.text(&receipt).unwrap()).unwrap();
    assert_eq!(new, old);
    host.put(&receipt, old.to_string());
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "Java: Removed");
    assert_eq!(host.text(keystore).as_deref(), Some("original bytes"));

    let host = java();
    install(&host, ca, &anchor).await.unwrap();
    host.put(keystore, format!("{}more", host.text(keystore).unwrap()));
    uninstall(&host, ca, None, None).await.unwrap();
    assert_eq!(host.text(keystore).as_deref(), Some("rewritten twice"));
}

/// A Java takes longer to start than everything else together.
#[tokio::test]
async fn a_keystore_of_javas_own_format_is_read_without_java() {
    let (anchor, keystore) = (anchor(), "/opt/jdk/lib/security/cacerts");
    let der = crate::pki::certificate::ders(anchor.pem.as_bytes()).remove(0);
    let id = anchor.id();
    let (id, other) = (id.as_str(), b"other".as_slice());
    let cases = [
        (vec![("a", other)], "Ok(Missing)"),
        (vec![("a", other), (id, &der)], "Ok(Trusted)"),
        (vec![("a", der.as_slice())], "Ok(TrustedOtherwise)"),
        (vec![(id, other)], "Err(Foreign { path: \"/opt/jdk/lib/security/cacerts\" })"),
    ];
    for (entries, expected) in cases {
        // the programs are there, and would have no answer
        let host = FakeHost::new()
            .env_var("JAVA_HOME", "/opt/jdk")
            .file(keystore, super::jks::tests::keystore(&entries))
            .file("/opt/jdk/bin/keytool", "");
        let java = super::java::Java;
        let places = java.places(&host).await;
        assert_eq!(places.len(), 1);
        assert_eq!(format!("{:?}", java.look(&host, &places[0], &anchor).await), expected);
        assert_eq!(host.journal(), [""; 0]);
    }
}

#[tokio::test]
async fn the_keystores_of_java_lie_in_its_homes() {
    const BELOW: &str = "lib/security/cacerts";
    let (said, jdk) = ("Property settings:\n    java.home = /opt/jdk-21 \n    java.io.tmpdir = /tmp\n", "/opt/jdk-21");
    let host = || FakeHost::new().program("java").program("keytool");
    let keystore = |host: FakeHost, home: &str| host.file(format!("{home}/{BELOW}"), "");
    let answers = |stdout: &str, stderr: &str| keystore(host(), "/opt/jdk-21").answer("java *", 0, stdout, stderr);
    for (host, asked, homes) in [
        (keystore(FakeHost::new().program("keytool"), jdk), false, vec![]),
        // the program lies in its home
        (keystore(host(), "/usr"), false, vec!["/usr"]),
        (keystore(host(), "/usr/jre"), false, vec!["/usr/jre"]),
        // it has to say where
        (answers("", said), true, vec![jdk]),
        (answers(said, ""), true, vec![jdk]),
        (answers("", "openjdk version 21\n"), true, vec![]),
        (answers("", said).env_var("JAVA_HOME", jdk), true, vec![jdk]),
        (keystore(answers("", said), "/opt/8/jre").env_var("JAVA_HOME", "/opt/8"), true, vec!["/opt/8/jre", jdk]),
        (keystore(host(), "opt/8").env_var("JAVA_HOME", "opt/8"), true, vec![]),
        // one whose program is not there is read by nobody
        (keystore(FakeHost::new().program("java"), "/usr"), false, vec![]),
        (keystore(FakeHost::new().program("java"), "/usr").file("/usr/bin/keytool", ""), false, vec!["/usr"]),
    ] {
        let places = super::java::Java.places(&host).await;
        let place = |home: &str| Place { kind: Kind::Java, path: Path::new(home).join(BELOW), label: "Java".into() };
        assert_eq!(places, homes.into_iter().map(place).collect::<Vec<_>>());
        let questions = host.journal().join("\n");
        assert_eq!(questions, if asked { "java -XshowSettings:properties -version" } else { "" });
    }
}

#[tokio::test]
async fn files_that_others_have_changed_are_not_ours_to_put_back() {
    let kept = |name: &str, after: Option<&str>| {
        crate::host::KeptFile::new(format!("/f/{name}"), Some(b"before".as_slice()), after.map(str::as_bytes))
    };
    let place = Place { kind: Kind::Java, path: KEYSTORE.into(), label: "Java".into() };
    let kept = vec![
        kept("ours", Some("ours")),
        kept("theirs", Some("ours")),
        kept("unknown", None),
        kept("gone", Some("ours")),
        kept("never", None),
    ];
    let entry = super::receipt::Entry { place, anchor: anchor(), made: false, kept };
    let host = FakeHost::new().file("/f/ours", "ours").file("/f/theirs", "changed").file("/f/unknown", "half");
    let receipt = super::receipt::Receipt::load(&host, Path::new(AUTHORITIES)).await.unwrap();
    // nobody but the run that was killed leaves what cannot be read
    for (damaged, expected) in [(false, vec!["/f/ours"]), (true, vec!["/f/ours", "/f/unknown"])] {
        let untouched = receipt.untouched(&host, &entry, damaged).await;
        let paths: Vec<String> = untouched.into_iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, expected, "{damaged}");
    }
}

#[tokio::test]
async fn macos_there_and_back() {
    let anchor = anchor();
    let listing = format!(
        "SHA-256 hash: AAAA\nSHA-1 hash: 1111\nSHA-256 hash: {}\nSHA-1 hash: 2222\n",
        anchor.fingerprint.to_uppercase()
    );
    let trusted =
        format!("Number of trusted certs = 1\nCert 0: {}\n   Number of trust settings : 1\n", anchor.common_name);
    let marker = "/Library/Keychains/marker";
    let host = FakeHost::new()
        .facts_with(|facts| facts.os = "macos".into())
        .program("security")
        .on("security find-certificate *", move |host, _| {
            done(host.text(marker).map_or(String::new(), |_| listing.clone()))
        })
        .on("security dump-trust-settings -d", move |host, _| {
            done(host.text(marker).map_or(String::new(), |_| trusted.clone()))
        })
        .on("sudo security add-trusted-cert *", move |host, _| {
            host.put(marker, "");
            done("")
        })
        .on("sudo security delete-certificate *", move |host, _| {
            futures_util::FutureExt::now_or_never(host.remove(Path::new(marker))).unwrap().unwrap();
            done("")
        })
        .answer("sudo security remove-trusted-cert *", 0, "", "");
    let ca = Path::new(AUTHORITIES);
    assert_eq!(summary(&install(&host, ca, &anchor).await.unwrap(), &anchor), "the system: Installed");
    assert_eq!(summary(&uninstall(&host, ca, None, None).await.unwrap(), &anchor), "the system: Removed");
    let changes = host.journal().into_iter().filter(|line| line.starts_with("sudo ")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(plain(&changes, &anchor), @r#"
    sudo security add-trusted-cert -d -r trustRoot -p ssl -p basic -k /Library/Keychains/System.keychain <ca>/trust/<id>.pem
    sudo security remove-trusted-cert -d <ca>/trust/<id>.pem
    sudo security delete-certificate -Z 2222 /Library/Keychains/System.keychain
    "#);
}

#[tokio::test]
async fn a_keychain_may_hold_what_nobody_trusts() {
    let anchor = anchor();
    let ours = format!("SHA-256 hash: {}\nSHA-1 hash: 2222 \n", anchor.fingerprint);
    let theirs = "SHA-256 hash: AAAA\nSHA-1 hash: 1111\n".to_owned();
    let named = format!("Number of trusted certs = 1\nCert 0: {}\n", anchor.common_name);
    let like_it = format!("Cert 0: {} too\n", anchor.common_name);
    let none = String::new();
    let partly = || State::Partly("it is in the keychain, but not trusted".into());
    let distrust = "sudo security remove-trusted-cert -d /root.pem";
    let delete = "sudo security delete-certificate -Z 2222 /Library/Keychains/System.keychain";
    let place =
        Place { kind: Kind::MacOs, path: "/Library/Keychains/System.keychain".into(), label: "the system".into() };
    let mac = || FakeHost::new().facts_with(|facts| facts.os = "macos".into());
    for (listing, settings, state, changes) in [
        (&ours, &named, State::Trusted, vec![distrust, delete]),
        (&ours, &none, partly(), vec![delete]),
        (&ours, &like_it, partly(), vec![delete]),
        (&theirs, &named, State::Missing, vec![distrust]),
        (&none, &none, State::Missing, vec![]),
    ] {
        let host = mac()
            .program("security")
            .answer("security find-certificate *", if listing.is_empty() { 44 } else { 0 }, listing, "")
            .answer("security dump-trust-settings -d", i32::from(settings.is_empty()), settings, "")
            .answer("sudo security *", 0, "", "");
        let store = super::macos::MacOs;
        assert_eq!(store.places(&host).await, std::slice::from_ref(&place));
        assert_eq!(store.look(&host, &place, &anchor).await.unwrap(), state);
        store.remove(&host, &place, &anchor, Path::new("/root.pem"), false).await.unwrap();
        let made: Vec<String> = host.journal().into_iter().filter(|line| line.starts_with("sudo ")).collect();
        assert_eq!(made, changes);
    }
    for host in [mac(), FakeHost::new().program("security")] {
        assert!(super::macos::MacOs.places(&host).await.is_empty());
    }
}

/// What containers are given: the same whether or not the machine trusts our root.
#[tokio::test]
async fn our_root_stands_behind_those_of_the_machine_once() {
    let root = |domain| crate::pki::Authority::create(domain, 1_800_000_000).unwrap().root().clone();
    let (ours, other) = (root("m.test"), root("other.test"));
    let file = |host: FakeHost, path: &str, roots: &[&crate::pki::Certificate]| {
        host.file(path, roots.iter().map(|root| root.pem()).collect::<String>())
    };
    let whole = [other.pem(), ours.pem()].concat();
    assert_eq!(system_roots(&FakeHost::new()).await, b"");
    assert_eq!(bundle(&FakeHost::new(), &ours).await, ours.pem());
    let last = file(FakeHost::new(), "/etc/ssl/cert.pem", &[&other]);
    assert_eq!(bundle(&last, &ours).await, whole);
    // Debian's goes before it
    let first = file(last, "/etc/ssl/certs/ca-certificates.crt", &[&ours, &other]);
    assert_eq!(bundle(&first, &ours).await, whole);
    assert_eq!(system_roots(&first).await, [ours.pem(), other.pem()].concat().into_bytes());
    // and the one that is named before all, if it is there
    for named in ["", "/none.pem"] {
        let host = first.clone().env_var("SSL_CERT_FILE", named);
        assert_eq!(bundle(&host, &ours).await, whole, "{named}");
    }
    let own = file(first, "/own.pem", &[&ours]).env_var("SSL_CERT_FILE", "/own.pem");
    assert_eq!(bundle(&own, &ours).await, ours.pem());
}
