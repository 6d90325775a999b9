use base64::Engine as _;

use super::*;

fn container(json: serde_json::Value) -> ObservedContainer {
    observed_container(&serde_json::from_value(json).unwrap(), false, true)
}

#[test]
fn the_list_says_how_long_one_runs_or_has_ended() {
    let said = [
        "Up 12 minutes (healthy)",
        "Up About an hour",
        "Up About a minute (unhealthy)",
        "Up 3 weeks",
        "Up Less than a second",
        "Exited (137) 3 days ago",
        "Exited (0) About a minute ago",
        "Exited (0)",
        "Created",
    ];
    let seconds = [Some(720), Some(3600), Some(60), Some(1_814_400), Some(0), Some(259_200), Some(60), None, None];
    assert_eq!(said.map(state_for), seconds);
}

#[test]
fn images_are_found_in_the_list_by_every_way_to_write_them() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let listed: Vec<ListedImage> = serde_json::from_value(serde_json::json!([
        {"Id": "sha256:1", "RepoTags": ["grafana/grafana:12.1"], "RepoDigests": [format!("grafana/grafana@{digest}")],
         "Created": 1_795_224_296, "Size": 7, "Labels": {"a": "b"}},
        {"Id": "sha256:2", "RepoTags": ["nginx:latest", "127.0.0.1:5001/shop:1"], "RepoDigests": null, "Labels": null},
        {"Id": "sha256:3", "RepoTags": null, "RepoDigests": ["<none>@<none>"]},
    ]))
    .unwrap();
    let wanted = ["docker.io/grafana/grafana:12.1", "nginx", "127.0.0.1:5001/shop:1", "nginx:1.30", "sha256:3"];
    let by_digest = format!("grafana/grafana@{digest}");
    let wanted: BTreeSet<String> = wanted.into_iter().chain([by_digest.as_str()]).map(str::to_owned).collect();
    let found = by_reference(&wanted, &listed);
    let shown: Vec<String> = found.iter().map(|(name, image)| format!("{name} {}", image.id)).collect();
    assert_eq!(
        shown,
        [
            "127.0.0.1:5001/shop:1 sha256:2".to_owned(),
            "docker.io/grafana/grafana:12.1 sha256:1".to_owned(),
            format!("grafana/grafana@{digest} sha256:1"),
            "nginx sha256:2".to_owned(),
            "sha256:3 sha256:3".to_owned(),
        ]
    );
    assert_eq!(found["docker.io/grafana/grafana:12.1"].created.as_deref(), Some("2026-11-21T01:24:56Z"));
}

#[test]
fn a_container_is_read_from_what_the_engine_says() {
    let running = container(serde_json::json!({
        "Id": "8f1c",
        "Name": "/macula-grafana-1",
        "Image": "sha256:ab",
        "RestartCount": 2,
        "State": {
            "Status": "running", "Running": true, "OOMKilled": false, "ExitCode": 0, "Error": "",
            "StartedAt": "2026-11-21T01:24:56.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy", "FailingStreak": 0, "Log": []}
        },
        "Config": {"Image": "grafana/grafana:13.2.2", "Labels": {"dev.macula.platform": "macula"}},
        "HostConfig": {"PortBindings": {"3000/tcp": [{"HostIp": "127.0.0.2", "HostPort": ""}]}},
        "NetworkSettings": {
            "Ports": {"3000/tcp": [{"HostIp": "127.0.0.2", "HostPort": "49153"}], "9/udp": null},
            "Networks": {
                "macula": {"IPAddress": "10.3.0.9", "NetworkID": "ab".repeat(32)},
                "down": {"IPAddress": "", "NetworkID": "podman"}
            }
        }
    }));
    insta::assert_debug_snapshot!(running, @r#"
    ObservedContainer {
        id: "8f1c",
        name: "macula-grafana-1",
        image: "grafana/grafana:13.2.2",
        image_id: "sha256:ab",
        state: Running,
        health: Healthy,
        exit_code: None,
        labels: {
            "dev.macula.platform": "macula",
        },
        addresses: {
            "macula": 10.3.0.9,
        },
        networks: {
            "macula": "abababababababababababababababababababababababababababababababab",
        },
        attached: Some(
            {
                "down",
                "macula",
            },
        ),
        ports: [
            PortBinding {
                host_ip: 127.0.0.2,
                host_port: Some(
                    49153,
                ),
                container_port: 3000,
                protocol: Tcp,
            },
        ],
        writes: [],
        reads: [],
        made_at: None,
        started_at: Some(
            1795224296,
        ),
        state_for: None,
        finished_at: None,
        restart_count: 2,
        oom_killed: false,
        error: "",
        untested: [],
    }
    "#);
}

#[test]
fn a_container_that_is_down_keeps_its_wishes() {
    let exited = container(serde_json::json!({
        "Id": "8f1c",
        "Name": "podman-style",
        "Image": "0123",
        "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true, "StartedAt": "0001-01-01T00:00:00Z"},
        "HostConfig": {"PortBindings": {"53/udp": [{"HostIp": "", "HostPort": "53"}]}},
        "NetworkSettings": {"Ports": {}, "Networks": null}
    }));
    assert_eq!((exited.name.as_str(), exited.image_id.as_str()), ("podman-style", "sha256:0123"));
    assert_eq!((exited.state, exited.exit_code, exited.started_at), (ContainerState::Exited, Some(137), None));
    let ports: Vec<String> =
        exited.ports.iter().map(|port| format!("{}:{:?}/{}", port.host_ip, port.host_port, port.protocol)).collect();
    assert_eq!(ports, ["0.0.0.0:Some(53)/udp"]);
    assert!(exited.oom_killed);
}

#[test]
fn states_of_podman_find_their_place() {
    let state = |status: &str| container(serde_json::json!({"State": {"Status": status}})).state;
    assert_eq!(state("stopped"), ContainerState::Exited);
    assert_eq!(state("configured"), ContainerState::Created);
    assert_eq!(state("stopping"), ContainerState::Running);
    let inspected = serde_json::json!({"Config": {"Image": "docker.io/library/nginx:1"}});
    let seen = observed_container(&serde_json::from_value(inspected).unwrap(), true, true);
    assert_eq!(seen.image, "nginx:1");
}

/// An engine with three containers that writes down what it is asked.
fn recording(socket: &std::path::Path) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let heard = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut first = String::new();
                stream.read_line(&mut first).await.unwrap();
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let path = first.split(' ').nth(1).unwrap_or_default();
                let path = path.trim_start_matches("/v1.41").split('?').next().unwrap_or_default().to_owned();
                let head_alone = first.starts_with("HEAD ");
                let running = |id: &str, name: &str, labels: serde_json::Value| {
                    serde_json::json!({"Id": id, "Names": [format!("/{name}")], "Image": "a:1", "ImageID": "sha256:1",
                        "State": "running", "Status": "Up 2 minutes", "Labels": labels})
                };
                let body = match path.as_str() {
                    "/version" => serde_json::json!({"ApiVersion": "1.41", "Version": "20.10.24"}),
                    "/containers/json" => serde_json::json!([
                        running("1", "macula-a-web-1", serde_json::json!({label::PLATFORM: "a", label::RELOADED: r#"["/x","/y"]"#})),
                        running("2", "named", serde_json::json!({})),
                        running("3", "a-control-plane", serde_json::json!({"cluster": "a"})),
                        running("4", "macula-b-web-1", serde_json::json!({label::PLATFORM: "b", label::RELOADED: r#"["/z"]"#, "cluster": "b"})),
                        {"Id": "5", "Names": ["/macula-a-job-1"], "Image": "a:1", "ImageID": "sha256:1",
                         "State": "exited", "Status": "Exited (0) 2 hours ago", "Labels": {label::PLATFORM: "a"}},
                    ]),
                    "/volumes" => serde_json::json!({"Volumes": [
                        {"Name": "macula-a-data", "Labels": {label::PLATFORM: "a"}, "Driver": "local",
                         "Mountpoint": "/v", "Options": null, "Scope": "local"},
                        {"Name": "other", "Labels": null, "Driver": "local", "Mountpoint": "/w", "Options": null,
                         "Scope": "local"},
                    ]}),
                    "/info" => serde_json::json!({}),
                    "/networks/bridge" => serde_json::json!({"Id": "b", "Created": "2026-11-28T10:00:00Z"}),
                    "/images/a:1/json" => serde_json::json!({"Id": "sha256:1", "Config": {"Labels": {"made": "here"}}}),
                    "/images/b/json" => serde_json::json!({"Id": "sha256:2"}),
                    path if path.starts_with("/images/") && path != "/images/json" => serde_json::Value::Null,
                    _ => serde_json::json!([]),
                };
                let status = if body.is_null() { "404 Not Found" } else { "200 OK" };
                heard.lock().unwrap().push(if head_alone { format!("HEAD {path}") } else { path });
                let body = if head_alone { String::new() } else { body.to_string() };
                // a file of two bytes that nobody has marked
                let stat = base64::prelude::BASE64_STANDARD
                    .encode(r#"{"name":"x","size":2,"mode":420,"mtime":"2026-11-28T10:00:00Z","linkTarget":""}"#);
                let head = format!(
                    "HTTP/1.1 {status}\r\nServer: Docker/20.10.24 (linux)\r\nApi-Version: 1.41\r\n\
                     X-Docker-Container-Path-Stat: {stat}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.get_mut().write_all((head + &body).as_bytes()).await;
            });
        }
    });
    asked
}

fn asked_so_far(asked: &std::sync::Mutex<Vec<String>>) -> Vec<String> {
    let mut asked = std::mem::take(&mut *asked.lock().unwrap());
    asked.sort();
    asked
}

#[tokio::test]
async fn a_look_is_one_list_of_each_kind_and_a_question_for_each_image() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let asked = recording(&socket);
    let docker = Docker::connect(&format!("unix://{}", socket.display())).await.unwrap();
    asked_so_far(&asked);
    let query = Query {
        platform: "a".into(),
        containers: vec!["named".into(), "gone".into()],
        volumes: vec!["none".into()],
        networks: vec!["macula-a".into()],
        images: ["a:1", "b", "c"].map(str::to_owned).to_vec(),
        labels: vec!["cluster=a".into()],
        ..Query::default()
    };
    let lists = ["/containers/json", "/networks", "/volumes"];
    let images = ["/images/a:1/json", "/images/b/json", "/images/c/json"];
    let found = crate::engine::Engine::find(&docker, &query).await.unwrap();
    assert_eq!(asked_so_far(&asked), [lists[0], images[0], images[1], images[2], lists[1], lists[2]]);
    let names = |found: &[ObservedContainer]| found.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.containers), ["macula-a-job-1", "macula-a-web-1", "named"]);
    assert_eq!(names(&found.labelled), ["a-control-plane"]);
    assert_eq!(found.volumes.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["macula-a-data"]);
    let ids: Vec<(&str, &str)> = found.images.iter().map(|(name, image)| (name.as_str(), image.id.as_str())).collect();
    assert_eq!(ids, [("a:1", "sha256:1"), ("b", "sha256:2")]);

    // who looks ahead asks for the images of containers, and nothing is asked twice
    crate::engine::Engine::look_ahead(&docker, None).await;
    assert_eq!(asked_so_far(&asked), [lists[0], images[0], lists[1], lists[2]]);
    let again = crate::engine::Engine::find(&docker, &query).await.unwrap();
    assert_eq!(asked_so_far(&asked), images[1..]);
    assert_eq!((again.images, again.volumes), (found.images, found.volumes));

    // and for the heads of the files that a container of this platform reloads
    let archive = "/containers/macula-a-web-1/archive";
    let head = format!("HEAD {archive}");
    crate::engine::Engine::look_ahead(&docker, Some("a")).await;
    assert_eq!(asked_so_far(&asked), [lists[0], images[0], lists[1], lists[2], &head, &head]);
    let held = async |path: &str| {
        let file = crate::model::FileSpec {
            path: path.into(),
            content: b"xy".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o644,
            secret: false,
            reload: true,
        };
        // this engine has no archive to read it from
        assert!(crate::engine::Streams::held_file(&docker, "macula-a-web-1", &file).await.is_err());
        asked_so_far(&asked)
    };
    assert_eq!(held("/x").await, [archive]);
    assert_eq!(held("/x").await, [archive, &head]);
}

/// The list of all takes as long as there are images, which is less than one question for each of very many.
#[tokio::test]
async fn very_many_images_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let asked = recording(&socket);
    let docker = Docker::connect(&format!("unix://{}", socket.display())).await.unwrap();
    asked_so_far(&asked);
    let images: Vec<String> = (0..=MANY).map(|number| format!("x:{number}")).collect();
    docker.find_images(&images).await.unwrap();
    assert_eq!(asked_so_far(&asked), ["/images/json"]);
}

/// Docker writes the id in place of a name that means another image by now.
#[test]
fn only_names_that_still_mean_it_are_asked_ahead() {
    let listed: Vec<Listed> = serde_json::from_value(serde_json::json!([
        {"Image": "b:1", "Labels": {label::PLATFORM: "a"}},
        {"Image": "sha256:0123", "Labels": {label::PLATFORM: "a"}},
        {"Image": "a:1", "Labels": {label::PLATFORM: "b"}},
        {"Image": "b:1", "Labels": {label::PLATFORM: "b"}},
        {"Image": "c:1", "Labels": null},
    ]))
    .unwrap();
    assert_eq!(images_in_use(&listed), ["a:1", "b:1"]);
}

/// When a job has started stands in its details only, and counts where it follows another service.
#[tokio::test]
async fn a_job_that_follows_another_service_is_looked_at_closely() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let asked = recording(&socket);
    let docker = Docker::connect(&format!("unix://{}", socket.display())).await.unwrap();
    asked.lock().unwrap().clear();
    let query = Query { platform: "a".into(), timed: vec!["macula-a-job-1".into()], ..Query::default() };
    crate::engine::Engine::find(&docker, &query).await.unwrap();
    assert!(asked.lock().unwrap().contains(&"/containers/5/json".to_owned()));
}

#[tokio::test]
async fn an_engine_that_is_known_is_only_asked_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let asked = recording(&socket);
    let endpoint = format!("unix://{}", socket.display());
    let sorted = || {
        let mut asked = std::mem::take(&mut *asked.lock().unwrap());
        asked.sort();
        asked
    };
    let (first, learned) = Docker::reach(&endpoint, None, None).await.unwrap();
    assert_eq!(sorted(), ["/_ping", "/info", "/networks/bridge", "/version"]);
    let (again, nothing) = Docker::reach(&endpoint, None, learned.as_ref()).await.unwrap();
    assert_eq!(sorted(), ["/_ping", "/networks/bridge"]);
    assert!(learned.is_some() && nothing.is_none());
    assert_eq!(format!("{:?}", first.facts), format!("{:?}", again.facts));
}

#[test]
fn an_image_tells_its_volumes() {
    let image = observed_image(
        &serde_json::from_value(serde_json::json!({
            "Id": "sha256:ab", "RepoDigests": ["nginx@sha256:cd"], "Size": 12, "Created": "2026-11-01T00:00:00Z",
            "Config": {"Labels": {"a": "b"}, "Volumes": {"/z": {}, "/a": {}}}
        }))
        .unwrap(),
    );
    insta::assert_debug_snapshot!(image, @r#"
    ObservedImage {
        id: "sha256:ab",
        labels: {
            "a": "b",
        },
        repo_digests: [
            "nginx@sha256:cd",
        ],
        size: 12,
        created: Some(
            "2026-11-01T00:00:00Z",
        ),
        volumes: [
            "/a",
            "/z",
        ],
        architecture: "",
    }
    "#);
}

#[test]
fn a_container_that_runs_is_read_from_the_list() {
    let listed = |json: serde_json::Value| settled(&serde_json::from_value(json).unwrap());
    let mut json = serde_json::json!({
        "Id": "8f1c",
        "Names": ["/other/db", "/macula-grafana-1"],
        "Image": "grafana/grafana:13.2.2",
        "ImageID": "sha256:ab",
        "Created": 1795224290,
        "State": "running",
        "Status": "Up 3 minutes (health: starting)",
        "Labels": {"dev.macula.platform": "macula"},
        "Ports": [
            {"IP": "127.0.0.2", "PrivatePort": 3000, "PublicPort": 49153, "Type": "tcp"},
            {"PrivatePort": 9, "Type": "udp"}
        ],
        "NetworkSettings": {"Networks": {"macula": {"IPAddress": "10.3.0.9"}, "down": {"IPAddress": ""}}}
    });
    insta::assert_debug_snapshot!(listed(json.clone()), @r#"
    Some(
        ObservedContainer {
            id: "8f1c",
            name: "macula-grafana-1",
            image: "grafana/grafana:13.2.2",
            image_id: "sha256:ab",
            state: Running,
            health: Starting,
            exit_code: None,
            labels: {
                "dev.macula.platform": "macula",
            },
            addresses: {
                "macula": 10.3.0.9,
            },
            networks: {},
            attached: Some(
                {
                    "down",
                    "macula",
                },
            ),
            ports: [
                PortBinding {
                    host_ip: 127.0.0.2,
                    host_port: Some(
                        49153,
                    ),
                    container_port: 3000,
                    protocol: Tcp,
                },
            ],
            writes: [],
            reads: [],
            made_at: Some(
                1795224290,
            ),
            started_at: Some(
                1795224290,
            ),
            state_for: Some(
                180,
            ),
            finished_at: None,
            restart_count: 0,
            oom_killed: false,
            error: "",
            untested: [],
        },
    )
    "#);
    for (status, health) in [
        ("Up 3 minutes", Health::None),
        ("Up 11 seconds (healthy)", Health::Healthy),
        ("Up 2 hours (unhealthy)", Health::Unhealthy),
    ] {
        json["Status"] = status.into();
        assert_eq!(listed(json.clone()).unwrap().health, health, "{status}");
    }
    // one that is started again and again looks so, too
    for status in ["Up Less than a second", "Up 1 second (healthy)", "Up 9 seconds"] {
        json["Status"] = status.into();
        assert_eq!(listed(json.clone()), None, "{status}");
    }
    json["Status"] = "Up 3 minutes".into();
    // the name under which it was made is lost, or it does not simply run: only an inspection tells
    json["Image"] = "sha256:ab".into();
    assert_eq!(listed(json.clone()), None);
    json["Image"] = "grafana/grafana:13.2.2".into();
    json["State"] = "restarting".into();
    assert_eq!(listed(json.clone()), None);
    // a job that has done its work says so in the list, and why another one failed stands elsewhere
    json["State"] = "exited".into();
    json["Status"] = "Exited (1) 2 minutes ago".into();
    assert_eq!(listed(json.clone()), None);
    json["Status"] = "Exited (0) 2 minutes ago".into();
    let done = listed(json).unwrap();
    assert_eq!((done.state, done.exit_code, done.state_for), (ContainerState::Exited, Some(0), Some(120)));
}

#[test]
fn one_that_is_being_started_or_has_ended_is_read_from_the_list_at_a_glance() {
    let listed = |state: &str, status: &str| -> Listed {
        serde_json::from_value(serde_json::json!({
            "Id": "8f1c",
            "Names": ["/macula-postgres-1"],
            "Image": "sha256:ab",
            "ImageID": "sha256:ab",
            "Created": 1_795_224_290,
            "State": state,
            "Status": status,
            "Labels": {"dev.macula.platform": "macula"},
            "NetworkSettings": {"Networks": {"macula": {"IPAddress": ""}}},
            "Mounts": [
                {"Type": "volume", "Name": "macula-postgres", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "macula-keys", "Destination": "/keys", "RW": false},
                {"Type": "bind", "Source": "/etc/localtime", "Destination": "/etc/localtime", "RW": false},
            ],
        }))
        .unwrap()
    };
    for (state, status, expected) in [
        ("created", "Created", ContainerState::Created),
        ("running", "Up Less than a second", ContainerState::Running),
        ("restarting", "Restarting (1) 2 seconds ago", ContainerState::Restarting),
        ("exited", "Exited (2) 3 seconds ago", ContainerState::Exited),
    ] {
        let listed = listed(state, status);
        let found = from_list(&listed).unwrap();
        assert_eq!((found.name.as_str(), found.state), ("macula-postgres-1", expected), "{state}");
        assert_eq!(
            (found.writes, found.reads),
            (vec!["macula-postgres".into()], vec!["macula-keys".into()]),
            "{state}"
        );
        // its details are asked for otherwise
        assert!(settled(&listed).is_none(), "{state}");
    }
}
