use super::*;

fn info(id: &str, group: &str, doing: Doing, after: &[&str]) -> StepInfo {
    StepInfo {
        id: id.into(),
        group: group.into(),
        text: format!("do {id}"),
        after: after.iter().map(|id| (*id).to_owned()).collect(),
        doing,
        service: group != "network",
        ..StepInfo::default()
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn run(steps: Vec<StepInfo>) -> Run {
    Run::new("macula up".into(), "macula".into(), steps, 0, at(0))
}

fn start(run: &mut Run, id: &str, now: u64) {
    run.hear(&Event::StepStarted { id: id.into() }, at(now));
}

fn done(run: &mut Run, id: &str, now: u64) {
    run.hear(&Event::StepDone { id: id.into(), millis: 0, note: None }, at(now));
}

fn standings(run: &Run) -> Vec<Standing> {
    run.groups.iter().map(|group| run.standing(group)).collect()
}

#[test]
fn only_what_works_is_working() {
    let mut run = run(vec![
        info("n", "network", Doing::Network, &[]),
        info("c", "web", Doing::Create, &["n"]),
        info("s", "web", Doing::Start, &["c"]),
    ]);
    assert_eq!(standings(&run), [Standing::Waiting, Standing::Waiting]);
    assert_eq!(run.blockers(&run.groups[1]), ["network"]);
    start(&mut run, "n", 1);
    done(&mut run, "n", 2);
    start(&mut run, "c", 2);
    assert_eq!(standings(&run), [Standing::Done, Standing::Working]);
    done(&mut run, "c", 3);
    assert_eq!(standings(&run)[1], Standing::Waiting, "one step is done and another is to come");
    assert!(!run.working());
    start(&mut run, "s", 9);
    done(&mut run, "s", 10);
    assert_eq!(run.groups[1].worked(at(20)), Some(at(2)), "the pause between the steps does not count");
    assert_eq!(run.groups[1].result(), "started");
    assert_eq!(run.counts(), (1, 1, "service"), "a network is no service");
}

#[test]
fn a_queue_has_places_and_its_time_is_no_work() {
    let builds = ["a", "b", "c"];
    let mut run = run(builds.iter().map(|id| info(id, id, Doing::Build, &[])).collect());
    start(&mut run, "a", 0);
    for id in ["c", "b"] {
        start(&mut run, id, 0);
        run.hear(&Event::StepQueued { id: id.into() }, at(0));
    }
    assert_eq!(standings(&run), [Standing::Working, Standing::Queued(2), Standing::Queued(1)]);
    done(&mut run, "a", 60);
    start(&mut run, "c", 60);
    assert_eq!(standings(&run), [Standing::Done, Standing::Queued(1), Standing::Working]);
    done(&mut run, "c", 65);
    assert_eq!(run.groups[2].worked(at(99)), Some(at(5)));
    assert_eq!(run.groups[1].worked(at(99)), None);
}

#[test]
fn what_was_stopped_is_counted_by_what_runs() {
    let steps = ["a", "b", "c"].iter().flat_map(|name| {
        let (create, start, ready) = (format!("create {name}"), format!("start {name}"), format!("await {name}"));
        [
            info(&create, name, Doing::Create, &[]),
            info(&start, name, Doing::Start, &[&create]),
            info(&ready, name, Doing::Await, &[&start]),
        ]
    });
    let mut run = Run::new("macula up".into(), "macula".into(), steps.collect(), 2, at(0));
    for id in ["create a", "start a", "await a", "create b", "start b"] {
        start(&mut run, id, 1);
        done(&mut run, id, 1);
    }
    start(&mut run, "await b", 1);
    for id in ["await b", "create c", "start c", "await c"] {
        run.hear(&Event::StepSkipped { id: id.into(), because: "stopped".into() }, at(2));
    }
    assert_eq!(run.tally(), Tally { services: 5, done: 3, run: 4, failed: 0, untouched: 1, leaving: 0, gone: 0 });
}

#[test]
fn what_is_taken_down_does_not_count_as_up() {
    let steps = ["a", "b"].iter().flat_map(|name| {
        let stop = format!("stop {name}");
        [info(&stop, name, Doing::Stop, &[]), info(&format!("remove {name}"), name, Doing::Remove, &[&stop])]
    });
    let mut run = run(steps.chain([info("create web", "web", Doing::Create, &[])]).collect());
    for id in ["stop a", "remove a", "stop b"] {
        start(&mut run, id, 1);
        done(&mut run, id, 1);
    }
    assert_eq!(run.tally(), Tally { services: 1, untouched: 1, leaving: 2, gone: 1, ..Tally::default() });
    assert_eq!(run.counts(), (1, 3, "service"), "the headline counts what is done");
}

#[test]
fn what_ended_after_its_start_is_not_up() {
    let mut run = run(vec![info("start web", "web", Doing::Start, &[]), info("await web", "web", Doing::Await, &[])]);
    for id in ["start web", "await web"] {
        start(&mut run, id, 1);
        done(&mut run, id, 1);
    }
    assert_eq!((run.tally().done, run.tally().failed), (1, 0));
    run.hear(&Event::StepFailed { id: "await web".into(), error: "stopped after its start".into(), millis: 1 }, at(2));
    assert_eq!((run.tally().done, run.tally().failed), (0, 1));
}

#[test]
fn what_was_changed_is_told_by_what_came_of_it() {
    let steps = |doings: &'static [(&'static str, &'static [Doing])]| {
        let steps = doings.iter().flat_map(|(name, doings)| {
            doings.iter().map(move |doing| info(&format!("{doing:?} {name}"), name, *doing, &[]))
        });
        steps.collect::<Vec<_>>()
    };
    let changed_as = |steps: Vec<StepInfo>, unchanged: usize, planned: &[(&str, ChangeKind)]| {
        let planned = planned.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let ids: Vec<String> = steps.iter().map(|step| step.id.clone()).collect();
        let mut run = Run::new("macula up".into(), "macula".into(), steps, unchanged, at(0));
        for id in &ids {
            start(&mut run, id, 0);
            done(&mut run, id, 1);
        }
        let all = run.changed(&planned).into_iter();
        all.map(|(word, names)| format!("{word} {}", names.join(" "))).collect::<Vec<_>>()
    };
    let changed = |steps, unchanged| changed_as(steps, unchanged, &[]);
    const FIRST: &[(&str, &[Doing])] =
        &[("a", &[Doing::Create, Doing::Start, Doing::Await]), ("b", &[Doing::Create, Doing::Start])];
    assert_eq!(changed(steps(FIRST), 0), [""; 0]);
    assert_eq!(changed(steps(FIRST), 3), ["started a b"]);
    const LATER: &[(&str, &[Doing])] = &[
        ("new", &[Doing::Create, Doing::Start]),
        ("old", &[Doing::Stop, Doing::Remove]),
        ("web", &[Doing::Stop, Doing::Remove, Doing::Create, Doing::Start]),
    ];
    assert_eq!(changed(steps(LATER), 0), ["replaced web", "removed old", "started new"]);
    // some of its containers are gone, or have come: the service itself was there before and is now
    let fewer = [("old", ChangeKind::Scale), ("new", ChangeKind::Scale), ("web", ChangeKind::Recreate)];
    assert_eq!(changed_as(steps(LATER), 0, &fewer), ["replaced web", "scaled down old", "started new"]);
    let mut failed = Run::new("macula up".into(), "macula".into(), steps(FIRST), 1, at(0));
    failed.hear(&Event::StepFailed { id: "Create a".into(), error: "no".into(), millis: 1 }, at(1));
    assert_eq!(failed.changed(&BTreeMap::new()), []);
}

#[test]
fn rows_keep_a_fixed_order_and_circles_are_told_apart() {
    let run = run(vec![
        info("build image minio", "minio", Doing::Build, &[]),
        info("await s3-buckets", "s3-buckets", Doing::Job, &[]),
        info("create buckets", "s3-buckets", Doing::Create, &["build image minio"]),
        info("n", "network", Doing::Network, &[]),
        info("create alloy", "alloy", Doing::Create, &["await s3-buckets"]),
    ]);
    let names: Vec<&str> = run.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["network", "alloy", "minio", "s3-buckets"]);
    let waits = |name: &str| run.blockers(run.groups.iter().find(|group| group.name == name).unwrap());
    assert_eq!(waits("alloy"), ["s3-buckets"]);
    assert_eq!(waits("s3-buckets"), [""; 0], "its first step may begin");
}

#[test]
fn the_time_that_is_left_shrinks() {
    let mut steps: Vec<StepInfo> = ["a", "b", "c"].iter().map(|id| info(id, id, Doing::Build, &[])).collect();
    for step in &mut steps {
        step.expected_millis = Some(10_000);
    }
    let mut run = run(steps);
    assert_eq!(run.left(at(0)), Some(at(20)), "two places for three builds");
    for id in ["a", "b"] {
        start(&mut run, id, 0);
    }
    assert_eq!(run.left(at(4)), Some(at(16)));
    assert_eq!(run.left(at(4) + Duration::from_millis(500)), Some(Duration::from_millis(15_500)));
    assert_eq!(run.left(at(12)), Some(at(11)), "late, and still not done");
    assert_eq!(run.left(at(30)), None, "nobody knows how slow this machine is");
    done(&mut run, "a", 30);
    start(&mut run, "c", 30);
    assert_eq!(run.left(at(31)), Some(at(29)), "three times as slow as was thought");
    assert_eq!(run.left(at(78)), None, "and this one is slower still");
    let mut steps = vec![info("a", "a", Doing::Await, &[]), info("b", "b", Doing::Build, &[])];
    for step in &mut steps {
        step.expected_millis = Some(10_000);
    }
    let mut unanswered = Run::new("macula up".into(), "macula".into(), steps, 0, at(0));
    start(&mut unanswered, "a", 0);
    assert_eq!(unanswered.left(at(12)), Some(at(10)));
    assert_eq!(unanswered.left(at(14)), None, "it is over its own time");
    let mut steps = vec![info("l", "l", Doing::Load, &[]), info("b", "b", Doing::Build, &[])];
    for (step, millis) in steps.iter_mut().zip([800, 10_000]) {
        step.expected_millis = Some(millis);
    }
    let mut bundled = Run::new("macula up".into(), "macula".into(), steps, 0, at(0));
    assert_eq!(bundled.left(at(0)), None, "an image of a bundle takes as long as it is large");
    start(&mut bundled, "l", 0);
    done(&mut bundled, "l", 30);
    assert_eq!(bundled.left(at(30)), Some(at(10)));
    let mut steps: Vec<StepInfo> = ["a", "b"].iter().map(|id| info(id, id, Doing::Build, &[])).collect();
    steps.push(info("s", "s", Doing::Stop, &[]));
    for (step, millis) in steps.iter_mut().zip([10_000, 60_000, 400]) {
        step.expected_millis = Some(millis);
    }
    let mut cached = Run::new("macula up".into(), "macula".into(), steps, 0, at(0));
    start(&mut cached, "a", 0);
    done(&mut cached, "a", 1);
    start(&mut cached, "b", 1);
    start(&mut cached, "s", 1);
    assert_eq!(cached.left(at(56)), Some(at(3)), "what was built before says nothing of what is not late yet");
    let mut silent = Run::default();
    assert_eq!(silent.left(at(1)), None);
}

#[test]
fn a_build_says_at_which_of_its_steps_it_is() {
    let mut run = run(vec![info("b", "web", Doing::Build, &[])]);
    let mut say = |text: &str| {
        run.hear(&Event::StepProgress { id: "b".into(), progress: Progress::Line { text: text.into() } }, at(1))
    };
    say("Step 2/7 : RUN make\n");
    say(" ---> Running in a8d6");
    let step = &run.groups[0].steps[0];
    assert_eq!((step.stage.as_deref(), step.line.as_deref()), (Some("2/7"), Some("RUN make")));
}

#[test]
fn a_step_that_nobody_announced_is_a_group_of_its_own() {
    let mut run = Run::default();
    start(&mut run, "pull nginx", 0);
    assert_eq!(run.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["pull nginx"]);
    assert!(run.working());
}
