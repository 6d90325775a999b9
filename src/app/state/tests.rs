use super::*;
use crate::app::lease::Idle;
use crate::app::testing::shop;
use crate::compile::written_volumes;
use crate::config::MemoryFiles;
use crate::engine::discover::{Attempt, Source};
use crate::host::fake::FakeHost;
use crate::model::ObservedVolume;

#[tokio::test]
async fn choices_that_cannot_be_understood_are_none() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    let remembered = |text: &str| state.remembered(&MemoryFiles::default().with(state.choices_file(), text));
    let damaged = |text: &str| state.damaged_choices(&MemoryFiles::default().with(state.choices_file(), text));
    assert_eq!(state.damaged_choices(&MemoryFiles::default()), None);
    let kept = async |text: &str| state.choices(&FakeHost::new().file(state.choices_file(), text)).await;
    for text in ["{", r#"{"format": 1, "choices": {"images": "x"}}"#] {
        assert_eq!((remembered(text), kept(text).await.unwrap()), (Choices::default(), Choices::default()), "{text}");
        assert_eq!(damaged(text), Some(state.choices_file()), "{text}");
    }
    let newer = r#"{"format": 9, "choices": {"profiles": ["x"]}}"#;
    assert_eq!(remembered(newer), Choices::default());
    assert!(matches!(kept(newer).await, Err(Error::NewerState { found: 9, .. })));
    let good = r#"{"format": 1, "choices": {"profiles": ["x"]}}"#;
    assert_eq!((damaged(newer), damaged(good)), (None, None));
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
        "outside.json",
        "ran.json",
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
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, false, &Secrets::default()).await.unwrap();
    assert!(host.paths().is_empty());
    let logs = Path::new("/data/macula/cluster/logs/kubelet.log");
    let host = FakeHost::new().file(logs.display().to_string(), "x").file("/data/macula/lock", "x");
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, false, &Secrets::default()).await.unwrap();
    assert_eq!(host.paths(), [logs, Path::new("/data/macula/lock")]);
}

#[tokio::test]
async fn with_a_cluster_that_stays_goes_nothing_that_says_where_it_is() {
    let stays = ["choices.json", "cluster/kubeconfig", "cluster.json", "engines.json", "lock", "platform.json"];
    let goes = ["secrets/secrets.json", "runs.json", "tls/ingress.pem"];
    let path = |file: &&str| format!("/data/macula/{file}");
    let host = stays.iter().chain(&goes).fold(FakeHost::new(), |host, file| host.file(path(file), "x"));
    State::new(Path::new("/data"), &PlatformName::default()).forget(&host, true, &Secrets::default()).await.unwrap();
    assert_eq!(host.paths(), stays.iter().map(|file| PathBuf::from(path(file))).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_block_and_whether_names_are_left_alone_are_kept_together() {
    let host = FakeHost::new();
    let of = |name: &str| State::new(Path::new("/data"), &PlatformName::new(name).unwrap());
    let block = |last| Block::new(Ipv4Addr::new(127, 70, last, 0)).unwrap();
    let (shop, blog) = (of("shop"), of("blog"));
    let kept = async |state: &State| (state.kept_block(&host).await, state.no_dns(&host).await.unwrap());
    shop.keep_no_dns(&host, true).await.unwrap();
    assert_eq!(kept(&shop).await, (None, false));
    assert!(shop.keep_block(&host, block(1), false).await.unwrap());
    assert_eq!(kept(&shop).await, (Some(block(1).base()), false));
    for no_dns in [true, true, false, true] {
        shop.keep_no_dns(&host, no_dns).await.unwrap();
        assert_eq!(kept(&shop).await, (Some(block(1).base()), no_dns));
    }
    assert!(shop.keep_block(&host, block(2), false).await.unwrap());
    assert_eq!(kept(&shop).await, (Some(block(2).base()), true));
    // what another one has is taken where the file says so, or where it was taken already
    assert!(!blog.keep_block(&host, block(2), false).await.unwrap());
    assert_eq!(kept(&blog).await, (None, false));
    assert!(blog.keep_block(&host, block(1), false).await.unwrap());
    assert!(blog.keep_block(&host, block(2), true).await.unwrap());
    assert!(blog.keep_block(&host, block(2), false).await.unwrap());
    for state in [&shop, &blog] {
        assert!(state.keep_block(&host, Block::DEFAULT, false).await.unwrap());
    }
}

#[tokio::test]
async fn a_block_is_said_or_recorded_or_free() {
    let host = FakeHost::new();
    let mut platform = shop(&host, "", "services: {web: {image: x}}").platform;
    let state = State::new(Path::new("/data"), &platform.name);
    let first = choose_block(&platform.name, &[]).unwrap();
    let second = choose_block(&platform.name, &[first]).unwrap();
    let third = choose_block(&platform.name, &[first, second]).unwrap();
    assert_eq!(state.block(&host, &platform).await.unwrap(), first);
    assert_eq!(state.block_beside(&host, &platform, async || vec![first]).await.unwrap(), second);
    let other = State::new(Path::new("/data"), &PlatformName::new("blog").unwrap());
    assert!(other.keep_block(&host, first, true).await.unwrap());
    assert_eq!(state.block(&host, &platform).await.unwrap(), second);
    assert_eq!(state.block_beside(&host, &platform, async || vec![second]).await.unwrap(), third);
    assert!(state.keep_block(&host, third, false).await.unwrap());
    assert_eq!(state.block_beside(&host, &platform, async || vec![third]).await.unwrap(), third);
    platform.addresses.block = Some(Ipv4Addr::new(127, 9, 9, 0));
    assert_eq!(state.block(&host, &platform).await.unwrap().base(), Ipv4Addr::new(127, 9, 9, 0));
    platform.addresses.block = Some(Ipv4Addr::new(10, 9, 9, 0));
    let refused = state.block(&host, &platform).await;
    assert!(matches!(&refused, Err(Error::NoBlock { name }) if name == "shop"), "{refused:?}");
}

#[tokio::test]
async fn what_is_so_already_is_not_written_again() {
    let (host, state) = (FakeHost::new(), State::new(Path::new("/data"), &PlatformName::default()));
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let choices = |remap| Choices { remap, ..Choices::default() };
    state.keep_stopped(&host, of(&["web"])).await.unwrap();
    state.keep_brought(&host, of(&["db", "web"])).await.unwrap();
    state.keep_ran(&host, of(&["job"])).await.unwrap();
    for service in ["db", "web"] {
        state.note_outside(&host, of(&[service])).await.unwrap();
    }
    state.keep_choices(&host, &choices(true)).await.unwrap();
    // nothing can be written any more
    let sealed = host.clone().read_only("/data");
    state.keep_brought(&sealed, of(&["db", "web"])).await.unwrap();
    state.keep_ran(&sealed, of(&["job"])).await.unwrap();
    state.note_outside(&sealed, of(&["db"])).await.unwrap();
    state.keep_choices(&sealed, &choices(true)).await.unwrap();
    assert!(state.keep_brought(&sealed, of(&["db"])).await.is_err());
    assert!(state.keep_ran(&sealed, of(&["job", "web"])).await.is_err());
    assert!(state.note_outside(&sealed, of(&["db", "job"])).await.is_err());
    assert!(state.keep_choices(&sealed, &choices(false)).await.is_err());
    assert_eq!(state.stopped(&host).await.unwrap(), of(&["web"]));
    assert_eq!((state.brought(&host).await, state.ran(&host).await), (of(&["db", "web"]), of(&["job"])));
    assert_eq!(state.outside(&host).await.unwrap(), of(&["db", "web"]));
    assert_eq!(state.choices(&host).await.unwrap(), choices(true));
}

#[tokio::test]
async fn the_last_sixteen_programs_are_remembered() {
    let (host, state) = (FakeHost::new(), State::new(Path::new("/data"), &PlatformName::default()));
    for number in 0..20 {
        state.note_program(&host, &format!("p{number}")).await.unwrap();
    }
    state.note_program(&host, "p7").await.unwrap();
    assert_eq!(state.programs(&host).await, (4..20).map(|number| format!("p{number}")).collect::<Vec<_>>());
    state.forget_programs(&host).await.unwrap();
    assert_eq!(state.programs(&host).await, [""; 0]);
}

#[tokio::test]
async fn use_is_noted_where_a_lease_ends_without_it() {
    let (host, state) = (FakeHost::new(), State::new(Path::new("/data"), &PlatformName::default()));
    let idle = Idle { seconds: 1800, block: Ipv4Addr::new(127, 0, 0, 0), ports: Vec::new() };
    for lease in [None, Some(Lease { until: Some(9), ..Lease::default() })] {
        state.keep_lease(&host, lease.as_ref()).await.unwrap();
        state.note_use(&host, 5).await;
        assert_eq!((state.lease(&host).await.unwrap(), state.used(&host).await), (lease, None));
    }
    let lease = Lease { idle: Some(idle), ..Lease::default() };
    state.keep_lease(&host, Some(&lease)).await.unwrap();
    for (at, used) in [(5, 5), (4, 5), (6, 6)] {
        state.note_use(&host, at).await;
        assert_eq!(state.used(&host).await, Some(used));
    }
    state.keep_lease(&host, None).await.unwrap();
    assert_eq!(state.lease(&host).await.unwrap(), None);
}

#[tokio::test]
async fn who_works_on_the_platform_is_alive() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    let held = |pid| Held { pid, command: "macula up".into(), since: 1 };
    assert_eq!(state.at_work(&FakeHost::new()).await, None);
    for (said, alive) in [(held(Some(7)), true), (held(Some(8)), false), (held(None), false)] {
        let host = FakeHost::new().process(7).file(state.lock_file(), serde_json::to_vec(&said).unwrap());
        assert_eq!(state.at_work(&host).await, alive.then_some(said));
    }
}

#[tokio::test]
async fn of_a_cluster_that_is_gone_only_logs_stay() {
    let state = State::new(Path::new("/data"), &PlatformName::default());
    let at = |name: &str| state.cluster_folder().join(name);
    let files = ["kind.yaml", "kubeconfig", "logs/kubelet.log"];
    let host = files.iter().fold(FakeHost::new(), |host, file| host.file(at(file), "x"));
    let addon = |name: &str| AddOn {
        name: name.into(),
        title: name.into(),
        images: vec!["x:1".into()],
        manifests: Vec::new(),
        waits: Vec::new(),
        optional: true,
    };
    let record = ClusterRecord { name: "shop".into(), ..ClusterRecord::default() };
    state.keep_cluster(&host, &record).await.unwrap();
    state.keep_followed(&host, &addon("certificates")).await.unwrap();
    state.keep_cluster_ingress(&host, &addon("ingress")).await.unwrap();
    assert_eq!(state.cluster(&host).await.unwrap(), Some(record));
    assert_eq!(state.followed(&host).await.unwrap(), Some(addon("certificates")));
    assert_eq!(state.cluster_ingress(&host).await.unwrap(), Some(addon("ingress")));
    state.forget_cluster(&host).await.unwrap();
    assert_eq!(host.paths(), [at("logs/kubelet.log")]);
    assert_eq!(state.cluster(&host).await.unwrap(), None);
    assert_eq!(state.followed(&host).await.unwrap(), None);
    assert_eq!(state.cluster_ingress(&host).await.unwrap(), None);
}

#[test]
fn a_password_that_data_was_made_with_is_missed() {
    let stack = "services:\n  db: {image: x, volumes: ['rows:/rows'], x-macula: {secrets: {KEY: {generate: 24}}}}\n  \
                 web: {image: x, volumes: ['files:/files'], x-macula: {secrets: {KEY: {from: db.KEY}}}}\n\
                 volumes: {rows: {}, files: {}}\n";
    let platform = shop(&FakeHost::new(), "", stack).platform;
    let state = State::new(Path::new("/data"), &platform.name);
    let volumes_of = |service: &Service| written_volumes(&platform, service);
    let of = |name: &str| volumes_of(platform.service(name).unwrap().1).remove(0);
    let volume = |name: String, owner: &str| ObservedVolume {
        name,
        labels: [(label::PLATFORM.to_owned(), owner.to_owned())].into(),
        ..ObservedVolume::default()
    };
    let known = |values: &[(&str, &str)]| {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Secrets([("db".to_owned(), values)].into())
    };
    let lost = |recorded: Secrets, volumes: Vec<ObservedVolume>| {
        let observed = Observed { volumes, ..Observed::default() };
        match state.check_lost(&platform, &recorded, &observed, &volumes_of) {
            Ok(()) => None,
            Err(Error::SecretsLost { service, volume, path }) => Some((service, volume, path)),
            Err(error) => panic!("{error}"),
        }
    };
    let missed = Some(("db".to_owned(), of("db"), state.secrets_file()));
    assert_eq!(lost(Secrets::default(), vec![volume(of("db"), "shop")]), missed);
    assert_eq!(lost(known(&[]), vec![volume(of("web"), "shop"), volume(of("db"), "shop")]), missed);
    assert_eq!(lost(known(&[("KEY", "x")]), vec![volume(of("db"), "shop")]), None);
    // somebody else's, none, and one of a service whose password is another's
    assert_eq!(lost(Secrets::default(), vec![volume(of("db"), "blog")]), None);
    assert_eq!(lost(Secrets::default(), vec![]), None);
    assert_eq!(lost(Secrets::default(), vec![volume(of("web"), "shop")]), None);
}
