//! Volumes, and files that are put into containers.

use super::*;

#[tokio::test]
async fn data_of_an_image_is_kept_in_a_named_volume() {
    let Some(bench) = Bench::new("data").await else { return };
    let engine = &bench.engine;
    let spec = bench.spec("db", &["sleep", "60"]);
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/seed; echo row >/var/lib/data/row").await, "seed");
    engine.remove_container(&id).await.unwrap();
    let found = engine.find(&Query { platform: bench.name.clone(), ..Query::default() }).await.unwrap();
    let volumes: Vec<&str> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, [format!("{}-var-lib-data", spec.name)]);
    assert!(!found.volumes[0].labels.contains_key(label::FINGERPRINT));
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/row").await, "row");

    // a volume of somebody else's is not taken
    let foreign = VolumeSpec {
        name: format!("{}-other-var-lib-data", bench.name),
        external: false,
        driver: None,
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), format!("{}-x", bench.name))]),
        provider: None,
        copy: None,
    };
    engine.create_volume(&foreign, &BTreeMap::new()).await.unwrap();
    let refused = bench.create(&bench.spec("other", &["true"])).await.unwrap_err();
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    engine.remove_volume(&foreign.name).await.unwrap();
    engine.remove_volume(&foreign.name).await.unwrap();
    let used = engine.remove_volume(volumes[0]).await.unwrap_err();
    assert!(matches!(used, EngineError::Conflict { .. }), "{used:?}");
}

/// Both images declare the path; what the other container has there is meant.
#[tokio::test]
async fn data_that_comes_from_another_container_is_not_hidden() {
    let Some(bench) = Bench::new("from").await else { return };
    let db = bench.spec("db", &["sleep", "60"]);
    let id = bench.started(&db).await;
    bench.shell(&id, "echo row >/var/lib/data/row").await;
    let mut backup = bench.spec("backup", &["sleep", "60"]);
    backup.options.volumes_from = vec![format!("{}:ro", db.name)];
    let id = bench.started(&backup).await;
    assert_eq!(bench.shell(&id, "cat /var/lib/data/row").await, "row");
    let found = bench.engine.find(&Query { platform: bench.name.clone(), ..Query::default() }).await.unwrap();
    let volumes: Vec<&str> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, [format!("{}-var-lib-data", db.name)]);
    // who takes volumes is removed before those who have them
    bench.engine.remove_container(&id).await.unwrap();
}

#[tokio::test]
async fn a_read_only_container_gets_its_files_into_volumes() {
    let Some(bench) = Bench::new("ro").await else { return };
    let mut spec = bench.spec("a", &["sh", "-c", "echo x >/oops || cat /etc/app/app.conf; sleep 60"]);
    spec.options.read_only = true;
    spec.mounts = vec![
        MountSpec::Volume {
            source: format!("{}-conf", bench.name),
            target: "/etc/app".into(),
            read_only: false,
            no_copy: false,
            subpath: None,
        },
        MountSpec::Tmpfs { target: "/scratch".into(), size: Some(1 << 20), mode: Some(0o1777), options: Vec::new() },
    ];
    let volume = VolumeSpec {
        name: format!("{}-conf", bench.name),
        external: false,
        driver: None,
        driver_opts: BTreeMap::new(),
        labels: bench.labels(),
        provider: None,
        copy: None,
    };
    bench.engine.create_volume(&volume, &BTreeMap::new()).await.unwrap();
    spec.files = vec![file("/etc/app/app.conf", "in a volume", 0, 0o644)];
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf; stat -c %a /scratch").await, "in a volume1777");
    // the next container finds what it is given, and not what is in the volume from before
    bench.engine.remove_container(&id).await.unwrap();
    spec.files = vec![file("/etc/app/app.conf", "its own", 0, 0o644), file("/etc/app/more/x", "y", 0, 0o644)];
    let id = bench.started(&spec).await;
    assert_eq!(bench.shell(&id, "cat /etc/app/app.conf /etc/app/more/x").await, "its owny");
    spec.name.push_str("-bad");
    spec.files = vec![file("/etc/elsewhere", "x", 0, 0o644)];
    if bench.podman().await {
        // Podman writes below the read-only root
        bench.create(&spec).await.unwrap();
        return;
    }
    let refused = bench.create(&spec).await.unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
    let gone = bench.engine.inspect(&spec.name).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "half a container is left: {gone:?}");
}
