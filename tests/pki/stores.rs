//! The trust stores of a machine whose folders are copies.

use super::*;

/// Runs [`trust_on_copies`] where /etc, /usr/local and /var are copies that are thrown away.
#[test]
fn stores_of_a_throw_away_machine() {
    if !installed("unshare", &["--mount", "true"]) || !installed("update-ca-certificates", &["--help"]) {
        return;
    }
    let copies = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    // a tmpfs, since an overlay cannot lie on an overlay
    let script = r#"
        set -e
        mount -t tmpfs tmpfs "$1"
        for folder in etc usr/local var; do
            mkdir -p "$1/$folder/upper" "$1/$folder/work"
            mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" "/$folder" || exit 77
        done
        mkdir "$1/home"
        HOME="$1/home" exec "$2" --ignored --exact stores::trust_on_copies --nocapture
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(copies.path()).arg(me);
    let output = unshare.output().unwrap();
    if output.status.code() == Some(77) {
        require::skipped("mounts", "no overlay can be mounted here");
        return;
    }
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Every file with its hash, every link with its target.
fn checksums(folder: &Path) -> BTreeMap<PathBuf, String> {
    use sha2::Digest;
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            all.insert(path.clone(), format!("-> {}", std::fs::read_link(&path).unwrap().display()));
        } else if path.is_dir() {
            all.extend(checksums(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            let mode = mode(&path);
            all.insert(path, format!("{:x?} {mode:o}", sha2::Sha256::digest(content)));
        }
    }
    all
}

#[tokio::test]
#[ignore = "only on copies of the system's folders: see stores_of_a_throw_away_machine"]
async fn trust_on_copies() {
    let environment =
        ["PATH", "HOME", "LD_LIBRARY_PATH"].iter().filter_map(|name| Some(((*name).into(), std::env::var(name).ok()?)));
    let host = LocalHost::with(environment.collect(), None);
    let folder = host.folders().data.join("ca");
    // what the machine has not taken in yet is not what is looked for
    assert!(said(Command::new("update-ca-certificates")).0);
    let states = async |anchor: &Anchor| {
        trust::status(&host, anchor)
            .await
            .into_iter()
            // a browser's store without certutil
            .filter(|status| !matches!(status.state, State::Unavailable { .. }))
            .map(|status| (status.place.kind, status.state))
            .collect::<Vec<_>>()
    };
    let authority = Authority::load_or_create(&host, &folder, DOMAIN, host.now()).await.unwrap();
    let anchor = authority.anchor();
    let nss = host.folders().home.join(".pki/nssdb");
    let with_nss = host.which("certutil").is_some();
    if with_nss {
        std::fs::create_dir_all(&nss).unwrap();
        assert!(
            host.run(&macula::host::Command::new(
                "certutil",
                ["-N", "--empty-password", "-d", &format!("sql:{}", nss.display())]
            ))
            .await
            .is_ok()
        );
    }
    let before = checksums(Path::new("/etc"));
    let missing = states(&anchor).await;
    assert!(missing.iter().all(|(_, state)| *state == State::Missing), "{missing:?}");

    for round in ["first", "again"] {
        let mut outcomes = trust::install(&host, &folder, &anchor).await.unwrap();
        outcomes.retain(|outcome| !matches!(outcome.done, Done::Unavailable { .. }));
        for outcome in &outcomes {
            let done =
                matches!(outcome.done, Done::Installed) && round == "first" || matches!(outcome.done, Done::Unchanged);
            assert!(done, "{round}: {outcome:?}");
        }
        assert_eq!(outcomes.len(), missing.len());
    }
    let trusted = states(&anchor).await;
    assert!(trusted.iter().all(|(_, state)| matches!(state, State::Trusted | State::TrustedOtherwise)), "{trusted:?}");
    assert_eq!(with_nss, trusted.contains(&(Kind::Nss, State::Trusted)));
    assert_ne!(checksums(Path::new("/etc")), before);
    let leaf = authority.issue(&wanted(), host.now()).unwrap();
    let chain = host.folders().home.join("chain.pem");
    std::fs::write(&chain, leaf.chain_pem()).unwrap();
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-untrusted"]).args([&chain, &chain]);
    let (accepted, text) = said(verify);
    assert!(accepted, "{text}");

    // another anchor of the same name is left alone
    let other = Authority::create(DOMAIN, host.now()).unwrap().anchor();
    assert!(trust::uninstall(&host, &folder, Some("other.test"), Some(&other)).await.unwrap().is_empty());
    assert_eq!(states(&anchor).await, trusted);

    for outcome in trust::uninstall(&host, &folder, Some(DOMAIN), None).await.unwrap() {
        assert!(matches!(outcome.done, Done::Removed), "{outcome:?}");
    }
    assert_eq!(states(&anchor).await, missing);
    let after = checksums(Path::new("/etc"));
    for path in before.keys().chain(after.keys()) {
        assert_eq!(before.get(path), after.get(path), "{}", path.display());
    }
    assert!(!folder.join("trust").exists());
    assert!(trust::uninstall(&host, &folder, None, Some(&anchor)).await.unwrap().is_empty());
}
