//! Images: built, saved, loaded, pulled.

use std::io::Write as _;

use super::*;

/// What only BuildKit can do, where the engine has it: mounts, secrets, an agent of SSH, modes, stages that nobody
/// uses, and a front end that no registry here has.
async fn with_buildkit(bench: &Bench, folder: &std::path::Path) {
    let engine = &bench.engine;
    if engine.facts().await.unwrap().dockerfile.is_none() {
        return skipped("build", "BuildKit", "the engine has none").unwrap_or_default();
    }
    let socket = folder.join("agent.sock");
    let _agent = tokio::net::UnixListener::bind(&socket).unwrap();
    let tag = format!("{}:buildkit", bench.name);
    let image = &bench.image;
    let request = BuildRequest {
        dockerfile: format!(
            "# syntax=registry.invalid/docker/dockerfile:1\nFROM {image} AS unused\nRUN exit 9\nFROM {image}\n\
             COPY --chmod=701 site/index /index\n\
             RUN --mount=type=secret,id=token --mount=type=cache,target=/c cat /run/secrets/token >/token\n\
             RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo agent >/answer\n"
        ),
        context: vec![(folder.to_owned(), String::new())],
        ignore: Some("*\n!site/index\n".to_owned()),
        buildkit: true,
        needs_buildkit: true,
        syntax: Some(("registry.invalid/docker/dockerfile:1".to_owned(), true)),
        secrets: BTreeMap::from([("token".to_owned(), SecretBytes(b"sesame".to_vec()))]),
        ssh: BTreeMap::from([("default".to_owned(), socket)]),
        ..build_request(&tag)
    };
    std::fs::write(folder.join("site/index"), "kit").unwrap();
    engine.build(&request, &|_| {}).await.unwrap();
    let spec = bench.spec("kit", &["sh", "-c", "cat /index /token /answer; stat -c %a /index"]);
    let id = engine.create_container(&spec, &tag, &BTreeMap::new()).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 0);
    let said: Vec<Vec<u8>> =
        engine.logs(&id, &LogOptions::default()).await.unwrap().map_ok(|line| line.bytes).try_collect().await.unwrap();
    assert_eq!(said, [&b"kitsesameagent"[..], b"701"], "{said:?}");
    engine.remove_container(&id).await.unwrap();
    engine.remove_image(&tag).await.unwrap();
}

/// What each engine is told in words of its own, and a folder that comes in although the rules leave its name out.
async fn with_hosts_limits_and_no_network(bench: &Bench, folder: &std::path::Path) {
    std::fs::create_dir(folder.join("made")).unwrap();
    std::fs::write(folder.join("made/page"), "made\n").unwrap();
    let tag = format!("{}:told", bench.name);
    let image = &bench.image;
    let request = BuildRequest {
        dockerfile: format!("FROM {image}\nCOPY dist /dist\nRUN cat /dist/page /etc/hosts; echo limit $(ulimit -n)\n"),
        context: vec![(folder.join("site"), String::new()), (folder.join("made"), "dist".to_owned())],
        ignore: Some("dist\n".to_owned()),
        cache_from: vec!["engine-test-web:none".to_owned()],
        extra_hosts: vec!["db.test:10.1.2.3".to_owned()],
        ulimits: BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 123, hard: 456 })]),
        ..build_request(&tag)
    };
    let lines = std::sync::Mutex::new(Vec::new());
    let sink = |progress| {
        if let Progress::Line { text } = progress {
            lines.lock().unwrap().push(text);
        }
    };
    bench.engine.build(&request, &sink).await.unwrap();
    let said = |line: &str| {
        lines.lock().unwrap().iter().any(|found: &String| found.split_whitespace().eq(line.split_whitespace()))
    };
    assert!(said("limit 123") && said("10.1.2.3 db.test"), "{lines:?}");
    bench.engine.remove_image(&tag).await.unwrap();
    let alone = BuildRequest {
        dockerfile: format!("FROM {image}\nRUN test -z \"$(ip route)\"\n"),
        network: Some("none".to_owned()),
        ..build_request(&tag)
    };
    bench.engine.build(&alone, &|_| {}).await.unwrap();
    bench.engine.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn images_are_built_saved_and_loaded() {
    let Some(bench) = Bench::new("build").await else { return };
    let engine = &bench.engine;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site/sub")).unwrap();
    std::fs::write(folder.path().join("site/sub/index"), "hello").unwrap();
    std::fs::write(folder.path().join("site/secret"), "secret").unwrap();
    std::fs::write(folder.path().join("site/.dockerignore"), "secret\n").unwrap();
    let mut large = std::fs::File::create(folder.path().join("site/large")).unwrap();
    large.write_all(&vec![7; 3_000_000]).unwrap();
    let tag = format!("{}:1", bench.name);
    let request = BuildRequest {
        dockerfile: format!(
            "FROM {}\nARG WHO\nCOPY . /site\nRUN echo building for $WHO && test ! -e /site/secret && echo $WHO >/who\n",
            bench.image
        ),
        context: vec![(folder.path().join("site"), String::new())],
        args: BTreeMap::from([("WHO".to_owned(), "you and me".to_owned())]),
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), bench.name.clone())]),
        ..build_request(&tag)
    };
    let lines = std::sync::Mutex::new(Vec::new());
    let built = engine
        .build(&request, &|progress| {
            if let Progress::Line { text } = progress {
                lines.lock().unwrap().push(text);
            }
        })
        .await
        .unwrap();
    assert_eq!(built.labels[label::PLATFORM], bench.name);
    assert!(lines.lock().unwrap().iter().any(|line| line == "building for you and me"), "{lines:?}");
    let mut spec = bench.spec("site", &["sh", "-c", "cat /site/sub/index /who; stat -c %s /site/large"]);
    spec.image.clone_from(&tag);
    let id = engine.create_container(&spec, &tag, &BTreeMap::new()).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 0);
    let said: Vec<Vec<u8>> =
        engine.logs(&id, &LogOptions::default()).await.unwrap().map_ok(|line| line.bytes).try_collect().await.unwrap();
    assert_eq!(said, [&b"helloyou and me"[..], b"3000000"]);
    engine.remove_container(&id).await.unwrap();

    let broken = BuildRequest {
        dockerfile: format!("FROM {}\nRUN echo before; echo it breaks here; exit 9\n", bench.image),
        ..build_request(&format!("{}:broken", bench.name))
    };
    match engine.build(&broken, &|_| {}).await.unwrap_err() {
        EngineError::Image { source: ImageError::BuildFailed { log_tail, message, .. }, .. } => {
            assert!(log_tail.iter().any(|line| line == "it breaks here"), "{log_tail:?}");
            assert!(message.contains('9'), "{message}");
        }
        other => panic!("{other:?}"),
    }

    with_buildkit(&bench, folder.path()).await;
    with_hosts_limits_and_no_network(&bench, folder.path()).await;

    // another name, an archive, and back from it
    let other = format!("{}:2", bench.name);
    engine.tag(&built.id, &other).await.unwrap();
    assert_eq!(engine.image(&other).await.unwrap().unwrap().id, built.id);
    let archive = folder.path().join("images.tar");
    engine.save(&[tag.clone(), other.clone()], &archive).await.unwrap();
    for name in [&tag, &other, &other] {
        engine.remove_image(name).await.unwrap();
    }
    assert_eq!(engine.image(&tag).await.unwrap(), None);
    let missing = engine.save(std::slice::from_ref(&tag), &archive.with_extension("x")).await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    let pieces = futures_util::stream::iter([std::fs::read(&archive).map(Into::into)]).boxed();
    let mut loaded = engine.load_from(pieces, &|_| {}).await.unwrap();
    loaded.sort();
    assert_eq!(loaded, [tag.clone(), other.clone()]);
    assert_eq!(engine.image(&tag).await.unwrap().unwrap().id, built.id);
    for name in [&tag, &other] {
        engine.remove_image(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_pull_without_a_way_out_says_so() {
    let Some(bench) = Bench::new("pull").await else { return };
    // port 1 of this machine: refused at once, wherever the test runs
    let refused = bench.engine.pull("127.0.0.1:1/engine-test/nothing:1", None, &|_| {}).await.unwrap_err();
    assert!(matches!(refused, EngineError::Image { source: ImageError::Unreachable { .. }, .. }), "{refused:?}");
    let wrong = bench.engine.pull("Not An Image", None, &|_| {}).await.unwrap_err();
    assert!(matches!(wrong, EngineError::Image { source: ImageError::Other { .. }, .. }), "{wrong:?}");
}
