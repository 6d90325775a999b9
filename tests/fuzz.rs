//! Files and messages as nobody writes them: what the corpus and the examples hold, cut, spliced and bent, on a stable
//! compiler. Whatever comes of it is a result or an error with its place: no panic, no endless reading, and the same
//! thing twice.
//!
//! `cargo test` tries a few hundred of each kind, always the same ones. `MACULA_FUZZ=600 cargo test --test fuzz` goes on
//! for 600 seconds each, `MACULA_FUZZ_SEED` begins elsewhere. What fails is printed whole.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use macula::compile::targets::{Options, Target, placeholders, translate};
use macula::config::{ConfigErrors, MemoryFiles, Request, canonical, env_file, load};
use macula::telemetry::wire::{json, loki};

/// Nothing that a person waits for takes as long for one small file, however busy the machine is.
const HANG: Duration = Duration::from_secs(60);
/// Of a small input: what is longer is no longer one.
const LONGEST: usize = 16 << 10;
const ROUNDS: u64 = 250;

/// xorshift64*, so that a failure comes back by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 1).unwrap_or(0).checked_rem(end).unwrap_or(0)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// A piece of `bytes`, mostly a short one.
    fn piece(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let longest = if self.below(4) == 0 { bytes.len() } else { 24 };
        start..(start + self.below(longest + 1)).min(bytes.len())
    }
}

/// What files of this kind are made of.
const WORDS: &[&str] = &[
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "|",
    ">-\n",
    "? ",
    "---\n",
    "\t",
    "\u{feff}",
    "\0",
    "\r\n",
    "null",
    "~",
    "true",
    "0x1f",
    "1e9",
    "-1",
    "0",
    "18446744073709551616",
    "010",
    "1.5",
    "${",
    "}",
    "$$",
    "${A:-",
    "${A:?no}",
    "${A-${B:-c}}",
    "$A",
    "${secret:db.P}",
    "services:",
    "networks:",
    "volumes:",
    "x-macula:",
    "ingress:",
    "extends:",
    "include:",
    "depends_on:",
    "env_file:",
    "../../",
    "/dev/zero",
    "~/",
    "0.0.0.0:80:80",
    "80-90:80-90/udp",
    "::1",
    "é",
    "日本",
    "\u{202e}",
    "\u{1b}[31m",
    "\u{9b}2J",
    "{{ x }}",
    "{% for %}",
];

fn bent(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let pick = |dice: &mut Dice| seeds[dice.below(seeds.len())].clone();
    let mut bytes = pick(dice);
    for _ in 0..=dice.below(6) {
        let here = dice.piece(&bytes);
        match dice.below(7) {
            0 => drop(bytes.drain(here)),
            1 => drop(bytes.splice(here.start..here.start, dice.of(WORDS).bytes())),
            2 => drop(bytes.splice(here, dice.of(WORDS).bytes())),
            3 => {
                let other = pick(dice);
                let piece = dice.piece(&other);
                drop(bytes.splice(here, other[piece].iter().copied()));
            }
            4 => {
                let again = bytes[here.clone()].repeat(1 + dice.below(40));
                drop(bytes.splice(here.start..here.start, again));
            }
            5 => bytes.truncate(here.end),
            _ => {
                if let Some(byte) = bytes.get_mut(here.start) {
                    *byte = dice.roll() as u8;
                }
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// Tries `target` on inputs made of the seeds. It panics where something is wrong.
fn fuzz(kind: &str, seeds: Vec<Vec<u8>>, target: fn(&[u8])) {
    assert!(!seeds.is_empty(), "{kind} has nothing to begin with");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seed, seconds) = (number("MACULA_FUZZ_SEED").unwrap_or(1), number("MACULA_FUZZ"));
    let begun = Instant::now();
    let (sender, receiver) = mpsc::channel::<Option<Vec<u8>>>();
    let worker = std::thread::Builder::new().name(kind.to_owned()).stack_size(8 << 20).spawn(move || {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut round = 0;
        while seconds.map_or(round < ROUNDS, |seconds| begun.elapsed().as_secs() < seconds) {
            // the seeds as they are come first
            let at = usize::try_from(round).unwrap_or(usize::MAX);
            let input = seeds.get(at).cloned().unwrap_or_else(|| bent(&seeds, &mut dice));
            sender.send(Some(input.clone())).expect("somebody looks on");
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                return Err(input);
            }
            round += 1;
        }
        let _ = sender.send(None);
        Ok(round)
    });
    let worker = worker.expect("a thread");
    let mut last = Vec::new();
    loop {
        match receiver.recv_timeout(HANG) {
            Ok(Some(input)) => last = input,
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("{kind}: no end after {} s:\n{}", HANG.as_secs(), last.escape_ascii())
            }
        }
    }
    match worker.join() {
        Ok(Ok(rounds)) => assert!(rounds > 0),
        Ok(Err(input)) => panic!("{kind} (seed {seed}) fell over:\n{}", input.escape_ascii()),
        Err(_) => panic!("{kind} (seed {seed}): the thread ended at\n{}", last.escape_ascii()),
    }
}

/// All files below a folder whose names end so.
fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, end, found);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), end, &mut found);
    found.sort();
    let read = found.iter().map(|path| fs::read(path).unwrap());
    read.filter(|bytes| bytes.len() <= LONGEST).collect()
}

fn request() -> Request {
    Request {
        cwd: "/p".into(),
        env: BTreeMap::from([("HOME".to_owned(), "/home/user".to_owned()), ("A".to_owned(), "a b".to_owned())]),
        only_own: true,
        ..Request::default()
    }
}

/// Each message says something, and points into its file.
fn check(errors: &ConfigErrors) {
    assert!(!errors.0.is_empty());
    for error in &errors.0 {
        assert!(!error.message.trim().is_empty(), "{error:?}");
        assert_eq!(error.line == 0, error.column == 0, "{error:?}");
        let shown = error.to_string();
        assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{shown:?}");
    }
}

fn compose_file(input: &[u8]) {
    let files = MemoryFiles::default()
        .with("/p/compose.yaml", input)
        .with("/p/.env", "A=1\nB=two\n")
        .with("/p/Dockerfile", "FROM scratch\n");
    let request = Request { stacks: vec!["/p/compose.yaml".into()], ..request() };
    let loaded = match load(&request, &files) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert_eq!(load(&request, &files).err().map(|again| again.to_string()), Some(errors.to_string()));
            return check(&errors);
        }
    };
    let project = loaded.projects.last().expect("the stack");
    let text = canonical(project);
    let again = load(&request, &files).expect("it was read before");
    assert_eq!(canonical(again.projects.last().expect("the stack")), text);
    let stack = loaded.platform.stacks.last().expect("the stack");
    let options = Options { registry: "registry.macula.local", hidden: true, ..OPTIONS };
    for target in [Target::Swarm, Target::Kubernetes] {
        // what does not run there is refused
        let _ = translate(
            target,
            &loaded.platform,
            stack,
            &loaded.said(&stack.name),
            &placeholders(&loaded.platform),
            &options,
        );
    }
}

const OPTIONS: Options<'static> =
    Options { waiting: None, registry: "", namespace: None, hidden: true, version: env!("CARGO_PKG_VERSION") };

#[test]
fn compose_files() {
    let mut seeds = files("tests/config/valid", ".yaml");
    seeds.extend(files("examples", "compose.yaml"));
    seeds.extend(files("stacks", ".yaml"));
    fuzz("compose file", seeds, compose_file);
}

#[test]
fn broken_compose_files() {
    fuzz("broken compose file", files("tests/config/invalid", ".yaml"), compose_file);
}

#[test]
fn macula_yaml() {
    let mut seeds = files("examples", "macula.yaml");
    seeds.extend(
        [
            "name: shop\ndomain: shop.test\nstacks: [compose.yaml]\nprofiles: [core]\n",
            "dns: {listen: 127.0.0.53:53, upstreams: [192.0.2.1]}\nimages: {sources: [], overrides: {web: 'x:1'}}\n",
            "services: {postgres: {enabled: false}, s3: {memory: 1G}}\ncluster: {workers: 2, addons: []}\n",
            "telemetry: {size: 100 MiB, age: 1d}\nreach: relay\ndiscover: false\n",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    fuzz("macula.yaml", seeds, |input| {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", input)
            .with("/p/compose.yaml", "services: {web: {image: 'nginx:1'}}\n");
        if let Err(errors) = load(&request(), &files) {
            check(&errors);
        }
    });
}

#[test]
fn env_files() {
    let seeds = [
        "A=1\nexport B='two words'\nC=\"$A ${B:-x}\" # why\n\nD: yaml\nE\n",
        "Q=\"a\\nb\\\"c\"\nR='it''s'\nS=`x`\nT=$$\nU=${V?no}\n\u{feff}W=é\r\n",
    ];
    fuzz("env file", seeds.map(|text| text.as_bytes().to_vec()).into(), |input| {
        let text = String::from_utf8_lossy(input);
        let read = || env_file(&text, &|name| (name == "A").then(|| "outside".to_owned()));
        let first = read();
        if let Err(error) = &first {
            let line = error.strip_prefix("line ").and_then(|rest| rest.split_once(':')).map(|(line, _)| line.parse());
            let Some(Ok(line)) = line else { panic!("{error}") };
            assert!((1..=text.split('\n').count()).contains(&line), "{error}");
        }
        assert_eq!(read(), first);
    });
}

#[test]
fn macula_lock() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let seeds = vec![format!("# what\nformat: 1\nimages:\n  \"nginx:1\": {digest}\n").into_bytes()];
    fuzz("macula.lock", seeds, |input| {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [compose.yaml]\n")
            .with("/p/compose.yaml", "services: {web: {image: 'nginx:1'}}\n")
            .with("/p/macula.lock", input);
        match load(&request(), &files) {
            Ok(loaded) => {
                for digest in loaded.platform.images.locked.values() {
                    assert_eq!(digest.len(), "sha256:".len() + 64, "{digest}");
                }
            }
            Err(errors) => check(&errors),
        }
    });
}

#[test]
fn bundles() {
    let seeds = vec![b"format: 1\n".to_vec(), vec![0; 1024], b"macula".repeat(200)];
    fuzz("bundle", seeds, |input| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), input).unwrap();
        // almost nothing is one; what is has to say so of each of its files
        if let Ok(bundle) = macula::bundle::Bundle::open(file.path()) {
            for image in &bundle.index().images {
                let _ = bundle.archive(image, 1, &mut |_| true);
            }
        }
    });
}

#[test]
fn telemetry_bodies() {
    let seeds = [
        r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "name": "a", "startTimeUnixNano": "1", "endTimeUnixNano": 2, "status": {"code": 2}, "links": [{}]}]}]}]}"#,
        r#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "severityNumber": 9,
            "body": {"kvlistValue": {"values": [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}]}}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "sum": {"dataPoints": [{"asDouble": 1.5}]}},
            {"name": "h", "histogram": {"dataPoints": [{"count": "3", "bucketCounts": ["1", "2"]}]}}]}]}]}"#,
        r#"{"streams": [{"stream": {"app": "shop", "level": "warn"}, "values": [["1", "a line"], ["2", "b", {"t": "x"}]]}]}"#,
    ];
    fuzz("telemetry", seeds.map(|text| text.as_bytes().to_vec()).into(), |input| {
        let _ = (json::traces(input), json::logs(input), json::metrics(input));
        let _ = (loki::from_json(input), loki::from_protobuf(input));
    });
}
