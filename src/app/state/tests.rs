use super::*;
use crate::config::MemoryFiles;
use crate::engine::discover::{Attempt, Source};
use crate::host::fake::FakeHost;

#[tokio::test]
async fn choices_that_cannot_be_understood_are_none() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    let remembered = |text: &str| state.remembered(&MemoryFiles::default().with(state.choices_file(), text));
    let kept = async |text: &str| state.choices(&FakeHost::new().file(state.choices_file(), text)).await;
    for text in ["{", r#"{"format": 1, "choices": {"images": "x"}}"#] {
        assert_eq!((remembered(text), kept(text).await.unwrap()), (Choices::default(), Choices::default()), "{text}");
    }
    let newer = r#"{"format": 9, "choices": {"profiles": ["x"]}}"#;
    assert_eq!(remembered(newer), Choices::default());
    assert!(matches!(kept(newer).await, Err(Error::NewerState { found: 9, .. })));
    let good = r#"{"format": 1, "choices": {"profiles": ["x"]}}"#;
    assert_eq!(
        (remembered(good).profiles, kept(good).await.unwrap().profiles),
        (vec!["x".to_owned()], vec!["x".to_owned()])
    );
}

#[test]
fn a_platform_of_choices_alone_was_not_up() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    assert!(!state.was_up(&MemoryFiles::default().with(state.choices_file(), "{}")));
    assert!(state.was_up(&MemoryFiles::default().with(state.platform_file(), "{}")));
    assert!(state.was_up(&MemoryFiles::default().with(state.secrets_file(), "{}")));
    assert!(state.was_up(&MemoryFiles::default().with(state.cluster_file(), "{}")));
}

#[tokio::test]
async fn a_cluster_alone_makes_a_platform_known() {
    let host = FakeHost::new();
    let state = State::new(&host.folders().data, &PlatformName::default());
    state.keep_choices(&host, &Choices { no_cluster: true, ..Choices::default() }).await.unwrap();
    assert!(!state.exists(&host).await && State::all(&host).await.is_empty());
    state.keep_cluster(&host, &ClusterRecord::default()).await.unwrap();
    assert!(state.exists(&host).await);
    assert_eq!(State::all(&host).await, ["macula"]);
}

#[tokio::test]
async fn engines_are_known_until_the_data_is_gone_from_them() {
    let host = FakeHost::new();
    let state = State::new(Path::new("/data"), &PlatformName::default());
    assert!(state.engines(&host).await.unwrap().is_empty() && state.is_on(&host, "tcp://ci:2375").await.unwrap());
    assert!(state.engine_variables(&host).await.is_empty());
    for endpoint in ["unix:///run/docker.sock", "tcp://ci:2375", "unix:///run/docker.sock"] {
        let host = host.clone().env_var("DOCKER_HOST", endpoint);
        let used = Attempt { endpoint: endpoint.to_owned(), source: Source::DockerHost, outcome: Ok(()) };
        state.keep_engine(&host, &used).await.unwrap();
        assert_eq!(state.engine_variables(&host).await, used.variables(&host));
    }
    let known: Vec<String> = state.engines(&host).await.unwrap().into_iter().collect();
    assert_eq!(known, ["tcp://ci:2375", "unix:///run/docker.sock"]);
    for endpoint in ["tcp://ci:2375", "tcp://elsewhere:2375"] {
        state.forget_engine(&host, endpoint).await.unwrap();
    }
    let known: Vec<String> = state.engines(&host).await.unwrap().into_iter().collect();
    assert_eq!(known, ["unix:///run/docker.sock"]);
    assert!(!state.is_on(&host, "tcp://ci:2375").await.unwrap());
    assert_eq!(state.engine_variables(&host).await["DOCKER_HOST"], "unix:///run/docker.sock");
    // it says how an engine is found, and nothing else
    host.put(state.engines_file(), r#"{"format": 1, "engines": [], "variables": {"LD_PRELOAD": "/tmp/x"}}"#);
    assert!(state.engine_variables(&host).await.is_empty());
}

#[tokio::test]
async fn services_are_missed_as_far_as_their_file_can_be_understood() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    let host = FakeHost::new().file(state.brought_file().display().to_string(), "{");
    assert_eq!(state.brought(&host).await, BTreeSet::new());
    let web: BTreeSet<String> = ["web".to_owned()].into();
    state.keep_brought(&host, web.clone()).await.unwrap();
    assert_eq!(state.brought(&host).await, web);
    state.keep_brought(&host, BTreeSet::new()).await.unwrap();
    assert!(host.paths().is_empty(), "{:?}", host.paths());
}

#[tokio::test]
async fn nothing_that_opens_or_signs_outlives_the_data() {
    let files = [
        "secrets/secrets.json",
        "platform.json",
        "choices.json",
        "brought.json",
        "runs.json",
        "tls/ingress.pem",
        "tasks/migrate.json",
        "stacks/metrics.yaml",
        "programs.json",
        "mounts.json",
        "engines.json",
        "cluster.json",
        "lock",
    ];
    let host = files.iter().fold(FakeHost::new(), |host, file| host.file(format!("/data/macula/{file}"), "x"));
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, false).await.unwrap();
    assert!(host.paths().is_empty());
    let logs = Path::new("/data/macula/cluster/logs/kubelet.log");
    let host = FakeHost::new().file(logs.display().to_string(), "x").file("/data/macula/lock", "x");
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, false).await.unwrap();
    assert_eq!(host.paths(), [logs, Path::new("/data/macula/lock")]);
}

#[tokio::test]
async fn with_a_cluster_that_stays_goes_nothing_that_says_where_it_is() {
    let stays = ["choices.json", "cluster/kubeconfig", "cluster.json", "engines.json", "lock", "platform.json"];
    let goes = ["secrets/secrets.json", "runs.json", "tls/ingress.pem"];
    let path = |file: &&str| format!("/data/macula/{file}");
    let host = stays.iter().chain(&goes).fold(FakeHost::new(), |host, file| host.file(path(file), "x"));
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, true).await.unwrap();
    assert_eq!(host.paths(), stays.iter().map(|file| PathBuf::from(path(file))).collect::<Vec<_>>());
}
