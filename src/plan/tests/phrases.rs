//! How each step is told: in a line of progress, and in a plan.

use std::time::Duration;

use super::*;

/// One step for each thing that is done, on this container where it is done to one.
fn steps(container: &str) -> Vec<(Step, &'static str, char)> {
    let resources = resources(&platform());
    let (network, volume) = (resources.networks[0].clone(), resources.volumes[0].clone());
    let spec = |task: bool| {
        let task = task.then(TaskSpec::default);
        Box::new(ContainerSpec { task, ..ContainerSpec::default() })
    };
    let image = || Box::new(resources.images[0].clone());
    let base = BaseImage { reference: "base:trixie".into(), suite: "trixie".into() };
    let ready = |one_shot: bool| Readiness { one_shot, ..Readiness::default() };
    let folder = CopiedFolder { shown: "./site".into(), ..CopiedFolder::default() };
    let copied = VolumeSpec { copy: Some(Box::new(folder)), ..volume.clone() };
    let name = || container.to_owned();
    let present = ImageUse::Present { reference: "x:1".into(), source: ImageSource::Image };
    let of = |action: Action| Step {
        id: "step".into(),
        resource: ResourceId::new(ResourceKind::Container, container),
        group: "web".into(),
        action,
        cause: Cause::Missing,
        after: Vec::new(),
        destructive: false,
        needs_privilege: false,
    };
    let rows = vec![
        (Action::CreateNetwork(network), "create network NAME", '+'),
        (Action::RemoveNetwork { name: name() }, "remove network NAME", '-'),
        (
            Action::JoinNetwork { container: name(), network: name(), address: None },
            "put this container into network NAME",
            '~',
        ),
        (Action::LeaveNetwork { container: name(), network: name() }, "leave network NAME", '~'),
        (Action::StartRelay { spec: spec(false) }, "start the relay", '+'),
        (Action::CreateVolume { spec: volume.clone(), provider: None }, "create volume NAME", '+'),
        (Action::FillVolume { spec: Box::new(volume) }, "copy files into volume NAME", '~'),
        (Action::FillVolume { spec: Box::new(copied) }, "copy ./site", '~'),
        (Action::RemoveVolume { name: name() }, "remove volume NAME", '-'),
        (Action::MakeBase(base), "make NAME", '+'),
        (Action::LoadImage { id: "sha256:a".into() }, "load NAME", '+'),
        (Action::ObtainImage { spec: image(), pull: true, build: true }, "get NAME", '+'),
        (Action::ObtainImage { spec: image(), pull: false, build: true }, "build image", '+'),
        (Action::CreateContainer { spec: spec(false), image: present }, "create containerNUMBER", '+'),
        (Action::Start { container: name(), hooks: Vec::new() }, "startNUMBER", '+'),
        (Action::Stop { container: name(), grace: None, hooks: Vec::new() }, "stopNUMBER", '-'),
        (Action::RemoveContainer { container: name() }, "remove containerNUMBER", '-'),
        (Action::RenameContainer { container: name(), to: name() }, "take its nameNUMBER", '~'),
        (Action::Pause { time: Duration::from_millis(1500) }, "pause for 1.5 sNUMBER", ' '),
        (Action::WriteFiles { container: name(), files: Vec::new(), check: Vec::new() }, "copy files in", '~'),
        (Action::Reload { container: name(), how: Reload::None }, "reload", '~'),
        (Action::Cluster(ClusterAction::Start { name: name() }), "start", '+'),
        (Action::Cluster(ClusterAction::Delete { name: name() }), "delete", '-'),
        (Action::Cluster(ClusterAction::Prune), "remove what is no longer wanted", '-'),
        (
            Action::Cluster(ClusterAction::Registries {
                folder: "/certs.d".into(),
                files: BTreeMap::new(),
                gone: Vec::new(),
            }),
            "write registry settings",
            '~',
        ),
        (Action::Cluster(ClusterAction::AddOn { name: name(), title: "the DNS".into() }), "the DNS", '~'),
        (Action::RunTask { spec: Box::default() }, "run it to its end", '+'),
        (Action::AwaitReady { spec: spec(true), readiness: ready(false) }, "run it to its end", ' '),
        (Action::AwaitReady { spec: spec(false), readiness: ready(true) }, "wait until it is done", ' '),
        (Action::AwaitReady { spec: spec(false), readiness: ready(false) }, "wait until it answersNUMBER", ' '),
    ];
    rows.into_iter().map(|(action, phrase, sign)| (of(action), phrase, sign)).collect()
}

#[test]
fn each_step_has_its_words_and_its_sign() {
    // a service with several containers tells them apart
    for (container, number) in [("macula-web-1", ""), ("macula-web-2", " 2"), ("macula-web-x", ""), ("web", "")] {
        for (step, phrase, sign) in steps(container) {
            let phrase = phrase.replace("NAME", container).replace("NUMBER", number);
            assert_eq!((step.phrase(), step.sign()), (phrase, sign), "{:?}", step.action);
            let line = format!("{sign} step (missing)");
            assert_eq!(step.to_string(), line);
        }
    }
}

#[test]
fn what_is_done_with_a_container_is_told_from_what_containers_need() {
    let of_containers = steps("web").into_iter().filter(|(step, ..)| step.action.is_of_container());
    let phrases: BTreeSet<String> = of_containers.map(|(step, ..)| step.phrase()).collect();
    let expected = [
        "copy files in",
        "create container",
        "pause for 1.5 s",
        "reload",
        "remove container",
        "run it to its end",
        "start",
        "stop",
        "take its name",
        "wait until it answers",
        "wait until it is done",
    ];
    assert_eq!(phrases.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn each_cause_has_its_words() {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    for (cause, expected) in [
        (Cause::Missing, "missing"),
        (Cause::Changed { what: list(&["image", "files"]) }, "changed: image, files"),
        (Cause::NotRunning, "not running"),
        (Cause::NotHealthy, "not healthy"),
        (Cause::Unfinished, "left by an interrupted run"),
        (Cause::Orphaned, "no longer wanted"),
        (Cause::Requested, "requested"),
        (Cause::Replaces { what: "db".into() }, "db is replaced"),
        (Cause::Inputs { what: list(&["./a", "its command"]) }, "./a and its command changed"),
        (Cause::NeverRan, "it has not run yet"),
        (Cause::Failed { code: 3 }, "its last run failed with exit code 3"),
        (Cause::PostStart, "its `post_start` has not run well"),
        (Cause::NewData { what: "db".into() }, "the data of db is new"),
    ] {
        assert_eq!(cause.to_string(), expected);
    }
}

#[test]
fn notes_of_what_is_under_way_lie_with_the_platform() {
    let data = std::path::Path::new("/data");
    let shown = |path: std::path::PathBuf| path.display().to_string();
    assert_eq!(shown(stop_notes(data, "macula")), "/data/macula/stop");
    assert_eq!(shown(reload_note(data, "macula", "web")), "/data/macula/reload/web");
    assert_eq!(shown(start_note(data, "macula", "web")), "/data/macula/start/web");
}
