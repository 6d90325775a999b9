//! A container from its beginning to its end, its output, and what the engine says of itself.

use super::*;

#[tokio::test]
async fn a_container_lives_and_dies() {
    let Some(bench) = Bench::new("life").await else { return };
    let engine = &bench.engine;
    let mut spec =
        bench.spec("a", &["sh", "-c", "echo out; echo oops >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done"]);
    spec.files = vec![
        file("/etc/app/app.conf", "port = 1\n", 1000, 0o640),
        file("/etc/passwd", "root:x:0:0::/:/bin/sh\n", 0, 0o644),
    ];
    spec.options.user = Some("0:0".into());
    spec.options.sysctls = BTreeMap::new();
    let id = bench.create(&spec).await.unwrap();
    let created = engine.inspect(&spec.name).await.unwrap();
    assert_eq!((created.id.as_str(), created.state, created.exit_code), (id.as_str(), ContainerState::Created, None));
    assert_eq!(created.label(label::PLATFORM), Some(bench.name.as_str()));
    assert_eq!(created.label(label::FINGERPRINT), Some(spec.fingerprint.as_ref().unwrap().0.as_str()));

    engine.start(&spec.name).await.unwrap();
    let running = engine.inspect(&spec.name).await.unwrap();
    assert_eq!((running.state, running.health), (ContainerState::Running, Health::None));
    assert!(running.started_at.is_some());

    // files: content, owner, mode, and the folder that was made for them
    assert_eq!(bench.shell(&id, "stat -c '%u:%g %a' /etc/app/app.conf").await, "1000:1000 640");
    assert_eq!(bench.shell(&id, "stat -c '%u:%g %a' /etc/app").await, "0:0 755");
    assert_eq!(engine.read_file(&id, "/etc/app/app.conf").await.unwrap().unwrap(), b"port = 1\n");
    assert_eq!(engine.read_file(&id, "/bin/sh").await.unwrap().unwrap().get(..4).unwrap(), b"\x7fELF");
    assert_eq!(engine.read_file(&id, "/etc/none").await.unwrap(), None);
    assert_eq!(engine.read_file(&id, "/no/such/folder").await.unwrap(), None);
    let missing = engine.read_file("engine-test-nobody", "/etc/passwd").await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    engine.write_files(&id, &[file("/etc/app/app.conf", "port = 2\n", 0, 0o600)]).await.unwrap();
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf; stat -c %a /etc/app/app.conf").await, "port = 2\n600");

    // exec: status, both streams, and a limit
    let command = ["sh", "-c", "echo to out; echo to err >&2; exit 7"].map(str::to_owned);
    let output = engine.exec(&id, &command, 10 * SECOND).await.unwrap();
    assert_eq!(
        (output.exit_code, output.stdout.as_slice(), output.stderr.as_slice()),
        (7, &b"to out\n"[..], &b"to err\n"[..])
    );
    let slow = engine.exec(&id, &["sleep", "5"].map(str::to_owned), SECOND / 2).await.unwrap_err();
    assert!(matches!(slow, EngineError::Timeout { .. }), "{slow:?}");
    // it has closed its output, and goes on for longer than a look or two
    let quiet = ["sh", "-c", "exec >/dev/null 2>&1; sleep 2; exit 4"].map(str::to_owned);
    assert_eq!(engine.exec(&id, &quiet, 20 * SECOND).await.unwrap().exit_code, 4);

    // a name that nobody bears is not the beginning of somebody's id
    let name = id.get(..8).unwrap();
    assert!(matches!(engine.inspect(name).await, Err(EngineError::NotFound { .. })));
    assert!(matches!(engine.kill(name, "SIGKILL").await, Err(EngineError::NotFound { .. })));
    engine.stop(name, None).await.unwrap();
    engine.remove_container(name).await.unwrap();
    assert_eq!(engine.inspect(id.get(..12).unwrap()).await.unwrap().state, ContainerState::Running);

    // logs
    let lines = engine.logs(&id, &LogOptions::default()).await.unwrap();
    let mut lines: Vec<(bool, Vec<u8>)> = lines.map_ok(|line| (line.stderr, line.bytes)).try_collect().await.unwrap();
    lines.sort();
    assert_eq!(lines, [(false, b"out".to_vec()), (true, b"oops".to_vec())]);
    let mut following =
        engine.logs(&id, &LogOptions { follow: true, tail: Some(1), ..LogOptions::default() }).await.unwrap();
    assert!(following.next().await.unwrap().is_ok());

    let facts = engine.facts().await.unwrap();
    match engine.usage(&id).await {
        Err(error) if facts.rootless && facts.cgroup_version == Some(1) => {
            assert!(error.to_string().contains("without root nothing is counted"), "{error}");
        }
        usage => {
            let usage = usage.unwrap();
            assert!(usage.memory > 0 && usage.memory_limit >= usage.memory, "{usage:?}");
            assert!(usage.cpu > Duration::ZERO && usage.at.is_some(), "{usage:?}");
        }
    }

    // its own signal handler decides the status
    let (ended, stopped) = tokio::join!(engine.wait(&id), engine.stop(&id, Some(10 * SECOND)));
    stopped.unwrap();
    assert_eq!(ended.unwrap(), 3);
    engine.stop(&id, None).await.unwrap();
    let exited = engine.inspect(&id).await.unwrap();
    assert_eq!((exited.state, exited.exit_code), (ContainerState::Exited, Some(3)));
    assert_eq!(engine.read_file(&id, "/etc/app/app.conf").await.unwrap().unwrap(), b"port = 2\n");
    let dead = engine.exec(&id, &["true".to_owned()], SECOND).await.unwrap_err();
    assert!(matches!(dead, EngineError::Conflict { .. }), "{dead:?}");

    engine.start(&id).await.unwrap();
    engine.kill(&id, "SIGKILL").await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 137);

    engine.remove_container(&id).await.unwrap();
    engine.remove_container(&id).await.unwrap();
    let gone = engine.inspect(&id).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn long_lines_and_terminals_are_read_whole() {
    let Some(bench) = Bench::new("logs").await else { return };
    // 40000 letters in one line: the engine stores it in three pieces
    let script = "i=0; while [ $i -lt 400 ]; do echo -n 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo; echo -n end";
    for tty in [false, true] {
        let mut spec = bench.spec(if tty { "tty" } else { "plain" }, &["sh", "-c", script]);
        spec.options.tty = tty;
        let id = bench.started(&spec).await;
        assert_eq!(bench.engine.wait(&id).await.unwrap(), 0);
        // the log of a terminal has no frames: the times within a long line cannot be told from it
        for timestamps in if tty { &[false][..] } else { &[false, true] } {
            let timestamps = *timestamps;
            let options = LogOptions { timestamps, ..LogOptions::default() };
            let lines: Vec<usize> = bench
                .engine
                .logs(&id, &options)
                .await
                .unwrap()
                .map_ok(|line| {
                    let time = if timestamps { line.bytes.iter().position(|b| *b == b' ').unwrap() + 1 } else { 0 };
                    line.bytes.len() - time
                })
                .try_collect()
                .await
                .unwrap();
            assert_eq!(lines, [40_000, 3], "tty {tty}, timestamps {timestamps}");
        }
    }
    let missing = bench.engine.logs("engine-test-nobody", &LogOptions::default()).await.unwrap().next().await;
    assert!(matches!(missing, Some(Err(EngineError::NotFound { .. }))));
}

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let Some(bench) = Bench::new("facts").await else { return };
    let facts = bench.engine.facts().await.unwrap();
    assert!(facts.engine.starts_with("Docker ") || facts.engine.starts_with("Podman "), "{facts:?}");
    assert!(facts.cpus > 0 && facts.memory > 0 && !facts.architecture.is_empty(), "{facts:?}");
}
