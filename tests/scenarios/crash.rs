//! Ends in the middle: of the engine, and of the program itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Death, Done, Platform, Proxy, eventually};

const SMALL: &str = "
services:
  db:
    <<: *base
    environment: {ROUND: '0'}
    command: [sleep, infinity]
    volumes: ['rows:/data']
    x-macula: {secrets: {PASSWORD: {generate: 20}}}
  job: {<<: *base, command: ['true'], depends_on: [db]}
  web:
    <<: *base
    environment: {ROUND: '0'}
    command: [httpd, -f, -p, '8080', -h, /www]
    depends_on: {job: {condition: service_completed_successfully}}
    x-macula: {probe: {http: {port: 8080}}, configs: {/etc/page: page.j2}}
volumes: {rows: }
";

fn small(platform: &Platform) {
    platform.write("page.j2", "hello\n");
    platform.stack(SMALL);
}

/// Everything as it should be after an `up`, whatever was before.
#[track_caller]
fn converged(platform: &Platform) {
    platform.run("up").ok();
    platform.run("up").ok().says("nothing to do");
    let containers = platform.containers();
    assert_eq!(containers.keys().map(String::as_str).collect::<Vec<_>>(), ["db", "job", "web"]);
    assert!(containers["db"].running && containers["web"].running);
    assert_eq!(containers["job"].exit_code, 0);
    assert_eq!(platform.everything().len(), 5, "{:?}", platform.everything());
    // a container that was created and never furnished would run without it
    assert_eq!(platform.shell("web", "cat /etc/page"), "hello");
    whole_files(platform);
}

/// Each file that is there can be read to its end.
#[track_caller]
fn whole_files(platform: &Platform) {
    for file in ["platform.json", "secrets/secrets.json"] {
        if let Ok(bytes) = std::fs::read(platform.data().join(file)) {
            assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(), "{file}: {bytes:?}");
        }
    }
}

/// Runs with an engine that dies after so many calls that change something.
#[track_caller]
fn dies(platform: &Platform, words: &str, calls: usize, death: Death) {
    let proxy = Proxy::start(&platform.engine, platform.home(), calls, death);
    platform.engine_at(format!("unix://{}", proxy.path.display()));
    let done = platform.run(words);
    assert!(proxy.is_dead(), "{death:?} after {calls} calls: it makes fewer\n{done}");
    done.exits(4).says("macula").does_not_say("panicked");
    drop(proxy);
    platform.engine_at(platform.engine.endpoint());
    if death == Death::After {
        // what an engine was at dies with it; this one lives, and ends what it has begun
        settled(platform);
    }
}

/// Waits until the engine has nothing under way for the platform.
#[track_caller]
fn settled(platform: &Platform) {
    let look = || (platform.everything(), platform.containers());
    let mut last = look();
    eventually("the engine has settled", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = look();
        std::mem::replace(&mut last, now.clone()) == now
    });
}

#[test]
fn the_engine_dies_in_the_middle_of_up() {
    let Some(platform) = Platform::new("engine_dies") else { return };
    small(&platform);
    for calls in 0..8 {
        let death = if calls % 2 == 0 { Death::Before } else { Death::After };
        dies(&platform, "up", calls, death);
        platform.run("up").ok();
        if calls == 7 {
            converged(&platform);
        }
        platform.run("down --volumes --yes").ok();
    }
}

#[test]
fn the_engine_dies_while_a_container_is_replaced() {
    let Some(platform) = Platform::new("engine_dies_replacing") else { return };
    small(&platform);
    platform.run("up").ok();
    platform.shell("db", "echo row > /data/rows");
    for calls in 0..4 {
        platform.stack(&SMALL.replacen("'0'", &format!("'{}'", calls + 1), 1));
        let death = if calls % 2 == 0 { Death::After } else { Death::Before };
        dies(&platform, "up", calls, death);
        converged(&platform);
        assert_eq!(platform.shell("db", "cat /data/rows; echo $ROUND"), format!("row\n{}", calls + 1));
    }
}

#[test]
fn the_engine_dies_in_the_middle_of_down() {
    let Some(platform) = Platform::new("engine_dies_down") else { return };
    small(&platform);
    let rows = |last: usize| (0..=last).map(|row| row.to_string()).collect::<Vec<_>>().join("\n");
    for calls in 0..6 {
        converged(&platform);
        platform.shell("db", &format!("echo {calls} >> /data/rows"));
        dies(&platform, "down", calls, if calls % 2 == 0 { Death::Before } else { Death::After });
    }
    converged(&platform);
    assert_eq!(platform.shell("db", "cat /data/rows"), rows(5));
    platform.run("down").ok();
}

/// The same numbers for the same seed: a round that fails can be run again.
struct Random(u64);

impl Random {
    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn killed_at_any_moment_up_converges_and_no_row_is_lost() {
    let Some(platform) = Platform::new("kill") else { return };
    small(&platform);
    let (rounds, seed) = (number("MACULA_KILL_ROUNDS", 10), number("MACULA_KILL_SEED", 1));
    let mut random = Random(seed);
    let timed = |words: &str| {
        let begun = Instant::now();
        platform.run(words).ok();
        begun.elapsed()
    };
    let up = timed("up");
    platform.shell("db", "echo \"row 0 $PASSWORD\" >> /data/rows");
    let mut rows = vec![platform.shell("db", "cat /data/rows")];
    let down = timed("down");
    let mut killed = 0;
    for round in 1..=rounds {
        // what the run that is killed has to do: everything, one service, or to take it all away
        let kind = random.below(3);
        if kind > 0 {
            platform.run("up").ok();
        }
        if kind == 1 {
            platform.stack(&SMALL.replace("'0'", &format!("'{round}'")));
        }
        let (words, usual) = if kind == 2 { ("down", down) } else { ("up", up) };
        let moment = Duration::from_micros(random.below((usual.as_micros() as u64).saturating_mul(11) / 10));
        let what = format!("seed {seed}, round {round}: {words} killed after {moment:?}");
        let run = platform.start(words);
        std::thread::sleep(moment);
        run.signal(Signal::KILL);
        let done: Done = run.wait();
        killed += u64::from(done.code == 137);
        assert!([0, 137].contains(&done.code), "{what}\n{done}");
        whole_files(&platform);

        let up = platform.run("up");
        assert_eq!(up.code, 0, "{what}\n{done}\n{up}");
        converged(&platform);
        assert_eq!(platform.shell("db", "cat /data/rows"), rows.join("\n"), "{what}");
        // the database still opens with its password
        platform.shell("db", &format!("echo \"row {round} $PASSWORD\" >> /data/rows"));
        rows.push(rows[0].replacen("row 0", &format!("row {round}"), 1));
        assert_eq!(platform.shell("db", "cat /data/rows"), rows.join("\n"), "{what}");
        if random.below(2) == 0 {
            platform.run("down").ok();
        }
    }
    assert!(killed > 0, "no run was killed");
    // nothing half written is left once doctor has been there
    platform.run("doctor leftovers --fix --yes").ok();
    let left: Vec<_> = walk(&platform.data());
    let whole = [
        "lock",
        "brought.json",
        "choices.json",
        "engines.json",
        "platform.json",
        "ran.json",
        "secrets.json",
        "ingress.pem",
        "runs.json",
    ];
    assert!(left.iter().all(|name| whole.contains(&name.as_str())), "{left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn ctrl_c_stops_and_keeps_what_works() {
    let Some(platform) = Platform::new("ctrl_c") else { return };
    let stack = "
services:
  quick: {<<: *base, command: [sleep, infinity]}
  slow: {<<: *base, command: [sleep, infinity], healthcheck: {test: [CMD, test, -e, /tmp/ready]}}
  after: {<<: *base, command: [sleep, infinity], depends_on: {slow: {condition: service_healthy}}}
";
    platform.stack(stack);
    for signal in [Signal::INT, Signal::TERM] {
        let mut up = platform.start("up --timeout 100s");
        eventually("slow runs", || platform.containers().get("slow").is_some_and(|slow| slow.running));
        up.until_says("health check: exit code 1");
        eventually("quick runs", || platform.containers().get("quick").is_some_and(|quick| quick.running));
        let begun = Instant::now();
        up.signal(signal);
        let done = up.wait();
        done.exits(130).says("Stopped");
        assert!(begun.elapsed() < Duration::from_secs(60), "{done}");
        assert!(platform.container("quick").running);
        assert!(!platform.containers().get("after").is_some_and(|after| after.running));
    }
    platform.shell("slow", "touch /tmp/ready");
    let before = platform.container("quick");
    platform.run("up").ok();
    assert!(platform.container("after").running);
    assert_eq!(platform.container("quick"), before);
}
