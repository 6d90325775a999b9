use insta::assert_snapshot;

use super::*;
use crate::engine::ImageError;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;

fn spec() -> ClusterSpec {
    ClusterSpec {
        name: "macula".into(),
        context: "macula".into(),
        config: "kind: Cluster\n".into(),
        node_image: "kindest/node:v1.34.11".into(),
        pull: Vec::new(),
        network: "macula".into(),
        control_planes: 1,
        workers: 0,
        ports: Vec::new(),
        registries: [("localhost:5001/hosts.toml".to_owned(), "server".to_owned())].into(),
        registries_folder: "/home/dev/.local/share/macula/macula/cluster/certs.d".into(),
        parts: Default::default(),
    }
}

async fn kind(host: &FakeHost) -> Kind {
    let engine = FakeEngine::new().with_image("app:1").with_image("web:1");
    let facts = engine.facts().await.unwrap();
    let endpoint = Some("unix:///run/docker.sock".to_owned());
    Kind::new(Arc::new(host.clone()), Arc::new(engine), "kind".into(), facts, endpoint, Duration::from_secs(60))
}

const FOLDER: &str = "/home/dev/.local/share/macula/macula/cluster";
const CREATE: &str = "DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_DOCKER_NETWORK=macula \
                      KIND_EXPERIMENTAL_PROVIDER=docker kind create cluster*";

/// As kind 0.33.0 writes to something that is no terminal.
const STEPS: &str = "Creating cluster \"macula\" ...
 • Ensuring node image (kindest/node:v1.34.11) 🖼️  ...
 ✓ Ensuring node image (kindest/node:v1.34.11) 🖼️
 • Preparing nodes 📦   ...
";

async fn create(said: &str, status: i32) -> (Result<(), ClusterError>, FakeHost, Vec<String>) {
    let host = FakeHost::new().program("docker").program("kind").answer(CREATE, status, "", said);
    let told = std::sync::Mutex::new(Vec::new());
    let progress = |progress: Progress| {
        if let Progress::Line { text } = progress {
            told.lock().unwrap().push(text);
        }
    };
    let running = || told.lock().unwrap().push("(the nodes run)".to_owned());
    let done = kind(&host).await.create(&spec(), Path::new(FOLDER), false, &running, &progress).await;
    let told = told.into_inner().unwrap();
    (done, host, told)
}

#[tokio::test]
async fn a_creation_runs_kind_on_our_engine_and_network() {
    let more = " • Writing configuration 📜  ...\n • Starting control-plane 🕹️  ...\n • Installing CNI 🔌  ...\n";
    let (done, host, told) = create(&format!("{STEPS}{more}"), 0).await;
    done.unwrap();
    assert_eq!(
        told,
        [
            "ensuring node image (kindest/node:v1.34.11)",
            "preparing nodes",
            "(the nodes run)",
            "writing configuration",
            "starting control-plane",
            "installing CNI"
        ]
    );
    assert_snapshot!(host.journal().join("\n"), @"DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_DOCKER_NETWORK=macula KIND_EXPERIMENTAL_PROVIDER=docker kind create cluster --name macula --config /home/dev/.local/share/macula/macula/cluster/kind.yaml --kubeconfig /home/dev/.local/share/macula/macula/cluster/kubeconfig --retain");
    assert_eq!(host.text(format!("{FOLDER}/kind.yaml")).unwrap(), "kind: Cluster\n");
    assert_eq!(host.text(format!("{FOLDER}/certs.d/localhost:5001/hosts.toml")).unwrap(), "server");
}

#[tokio::test]
async fn what_failed_leaves_its_logs_and_nothing_else() {
    let said = format!(
        "{STEPS} • Starting control-plane 🕹️  ...\n ✗ Starting control-plane 🕹️\nERROR: failed to create cluster: failed to \
         init node with kubeadm: command \"docker exec ...\" failed with error: exit status 1\n\nCommand Output: I0101 \
         init.go\nerror: timed out waiting for the condition\n"
    );
    let (done, host, _) = create(&said, 1).await;
    assert_snapshot!(done.as_ref().unwrap_err(), @"macula did not become ready: error: timed out waiting for the condition");
    assert!(matches!(done, Err(ClusterError::NotReady { logs: Some(_), .. })), "{done:?}");
    let ran: Vec<String> =
        host.journal().iter().filter_map(|line| line.split_once("kind ").map(|(_, rest)| rest.to_owned())).collect();
    assert_snapshot!(ran.join("\n"), @"
    create cluster --name macula --config /home/dev/.local/share/macula/macula/cluster/kind.yaml --kubeconfig /home/dev/.local/share/macula/macula/cluster/kubeconfig --retain
    export logs /home/dev/.local/share/macula/macula/cluster/logs --name macula
    delete cluster --name macula --kubeconfig /home/dev/.cache/macula/kubeconfig-of-kind
    ");
}

#[test]
fn failures_are_told_apart() {
    let pull = |words: &str| {
        format!(
            "ERROR: failed to create cluster: failed to pull image \"kindest/node:v1\": command \"docker pull\" failed with error: exit status 1\n\nCommand Output: Error response from daemon: {words}\n"
        )
    };
    let run = |words: &str| {
        format!(
            "ERROR: failed to create cluster: command \"docker run --name macula-control-plane\" failed with error: exit status 125\n\nCommand Output: 0f3c\ndocker: Error response from daemon: {words}\nRun 'docker run --help' for more information\n"
        )
    };
    let cases = [
        (
            Phase::Image,
            pull("Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host"),
        ),
        (Phase::Image, pull("manifest for kindest/node:v1 not found: manifest unknown: manifest unknown")),
        (Phase::Image, pull("pull access denied for kindest/node, repository does not exist")),
        (Phase::Image, pull("toomanyrequests: You have reached your pull rate limit")),
        (
            Phase::Nodes,
            run(
                "OCI runtime create failed: runc create failed: unable to apply caps: operation not permitted: unknown",
            ),
        ),
        (
            Phase::Nodes,
            run(
                "driver failed programming external connectivity: Bind for 127.0.0.10:80 failed: port is already allocated",
            ),
        ),
        (Phase::Nodes, run("write /var/lib/docker/tmp: no space left on device")),
        (
            Phase::Nodes,
            "ERROR: failed to create cluster: could not find a log line that matches \"Reached target\"\n".into(),
        ),
        (
            Phase::Kubernetes,
            "ERROR: failed to init\n\nCommand Output: kubelet is configured to not run on a host using cgroup v1\n"
                .into(),
        ),
        (
            Phase::Kubernetes,
            "ERROR: failed to init\n\nCommand Output: error: timed out waiting for the condition\n".into(),
        ),
        (
            Phase::Checks,
            "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"macula\"\n".into(),
        ),
        (
            Phase::Checks,
            "ERROR: failed to create cluster: running kind with rootless provider requires cgroup v2\n".into(),
        ),
    ];
    let told: Vec<String> = cases.iter().map(|(phase, said)| failure("macula", *phase, said).to_string()).collect();
    assert_snapshot!(told.join("\n"), @r#"
    no source gave the node image kindest/node:v1: cannot reach the registry of kindest/node:v1: Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host
    no source gave the node image kindest/node:v1: kindest/node:v1 does not exist in its registry (gone, or never there)
    no source gave the node image kindest/node:v1: kindest/node:v1 was refused: Error response from daemon: pull access denied for kindest/node, repository does not exist
    no source gave the node image kindest/node:v1: the registry limits pulls of kindest/node:v1
    the engine may not run privileged containers, which nodes are: docker: Error response from daemon: OCI runtime create failed: runc create failed: unable to apply caps: operation not permitted: unknown
    ports that the cluster publishes are taken: docker: Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.10:80 failed: port is already allocated
    a node needs more memory or disk than there is: docker: Error response from daemon: write /var/lib/docker/tmp: no space left on device
    making the nodes of macula: failed to create cluster: could not find a log line that matches "Reached target"
    the kubelet of this node image refuses cgroup v1, which this machine has
    macula did not become ready: error: timed out waiting for the condition
    a cluster called macula is there already, and it is not this platform's
    looking at the configuration of macula: failed to create cluster: running kind with rootless provider requires cgroup v2
    "#);
    assert!(matches!(failure("macula", Phase::Nodes, &cases[4].1), ClusterError::NotPrivileged { .. }));
    assert!(
        matches!(&failure("macula", Phase::Image, &cases[0].1), ClusterError::NodeImage { attempts, .. } if matches!(attempts[0], ImageError::Unreachable { .. }))
    );
}

#[tokio::test]
async fn a_node_that_does_not_boot_says_why_in_its_log() {
    let said =
        format!("{STEPS}ERROR: failed to create cluster: could not find a log line that matches \"Reached target\"\n");
    let host = FakeHost::new().program("docker").program("kind").answer(CREATE, 1, "", &said).on(
        "DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind export logs*",
        |host, _| {
            host.put(
                format!("{FOLDER}/logs/macula-control-plane/serial.log"),
                "Failed to create control group inotify object: Too many open files\n",
            );
            // of a node that does not boot it cannot have everything
            Ok(Output { status: Some(1), ..Output::default() })
        },
    );
    let done = kind(&host).await.create(&spec(), Path::new(FOLDER), true, &|| {}, &|_| {}).await;
    assert!(matches!(done, Err(ClusterError::Inotify { .. })), "{done:?}");
    assert!(!host.journal().iter().any(|line| line.contains("delete")), "it was to be retained");
}

#[tokio::test]
async fn without_the_engines_client_nothing_is_begun() {
    let host = FakeHost::new().program("kind");
    let error = kind(&host).await.create(&spec(), Path::new(FOLDER), false, &|| {}, &|_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "kind works through the program docker, which is not installed");
    assert_eq!(host.journal(), [""; 0]);
}

#[tokio::test]
async fn an_image_goes_by_way_of_an_archive_where_the_direct_way_fails() {
    let host = FakeHost::new().program("docker").program("kind").answer(
        "DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind load docker-image*",
        1,
        "",
        "ERROR: failed to load image: ctr: content digest sha256:1: not found",
    );
    // in one second, and by archives of their own
    for reference in ["app:1", "web:1"] {
        kind(&host).await.load_images("macula", &[reference.into()], Path::new(FOLDER), &|_| {}).await.unwrap();
    }
    assert_snapshot!(host.journal().join("\n"), @"
    DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind load docker-image app:1 --name macula
    DOCKER_HOST=unix:///run/docker.sock docker save --platform linux/amd64 -o /home/dev/.local/share/macula/macula/cluster/images-1790000000-988ba197ae3e7e37da3eb3c4854b0b4c.tar app:1
    DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind load image-archive /home/dev/.local/share/macula/macula/cluster/images-1790000000-988ba197ae3e7e37da3eb3c4854b0b4c.tar --name macula
    DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind load docker-image web:1 --name macula
    DOCKER_HOST=unix:///run/docker.sock docker save --platform linux/amd64 -o /home/dev/.local/share/macula/macula/cluster/images-1790000000-32549a63d9573e6bbd6f60c8428464f7.tar web:1
    DOCKER_HOST=unix:///run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker kind load image-archive /home/dev/.local/share/macula/macula/cluster/images-1790000000-32549a63d9573e6bbd6f60c8428464f7.tar --name macula
    ");
    let error =
        kind(&host).await.load_images("macula", &["gone:1".into()], Path::new(FOLDER), &|_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "gone:1 is not in the engine");
}

#[tokio::test]
async fn the_program_is_the_chosen_one_or_none() {
    let host = FakeHost::new();
    assert_eq!(find(&host, None).await, None);
    assert_eq!(find(&host, Some("my-kind")).await, None);
    let fetched = host.folders().data.join("bin").join("kind-0.33.0");
    host.put(&fetched, "");
    assert_eq!(find(&host, None).await, Some(fetched));
    host.install("kind");
    assert_eq!(find(&host, None).await, Some("/usr/bin/kind".into()));
    assert_eq!(find(&host, Some("my-kind")).await, None, "what is chosen and not there is not replaced");
}

#[tokio::test]
async fn what_is_fetched_is_checked_before_it_is_put_in_its_place() {
    let abc = Asset {
        url: "https://example.com/kind",
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    };
    let serving = |content: &'static str| {
        FakeHost::new().program("curl").on("curl*", move |host, command| {
            host.put(&command.args[6], content);
            Ok(Output { status: Some(0), ..Output::default() })
        })
    };
    let host = serving("abc");
    let place = fetch(&host, abc).await.unwrap();
    assert_eq!((host.text(&place).as_deref(), host.mode(&place)), (Some("abc"), Some(0o755)));
    let host = serving("abd");
    assert!(matches!(fetch(&host, abc).await, Err(ClusterError::Checksum { .. })));
    assert_eq!(host.paths(), [""; 0].map(PathBuf::from), "nothing of it stays");
    assert!(matches!(fetch(&FakeHost::new(), abc).await, Err(ClusterError::Fetch { .. })));
    assert!(asset("linux", "x86_64").is_some() && asset("linux", "riscv64").is_none());
}
