use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::telemetry::batch::{LineRow, Origin, PointRow, SpanRow};
use crate::telemetry::query::{LineFilter, TraceFilter};
use crate::telemetry::wire::otlp::{KeyValue, Span, SpanStatus};

/// On a disk with room, whatever this machine's is like.
pub(in crate::telemetry) fn roomy(folder: &Path, limits: Limits) -> Result<(Store, Option<StoreError>), StoreError> {
    Store::open_on(folder, limits, |_| Ok((1, 1)))
}

fn id(number: u64) -> Vec<u8> {
    (u128::from(number) + 1).to_be_bytes().to_vec()
}

fn batch(service: &str) -> Batch {
    Batch { origins: vec![Origin { service: service.into(), ..Origin::default() }], ..Batch::default() }
}

fn span(trace: u64, number: u64, start: u64, took: u64) -> SpanRow {
    let parent_span_id = if number == 0 { Vec::new() } else { vec![1; 8] };
    let span_id = (number + 1).to_be_bytes().to_vec();
    let name = format!("step {number}");
    SpanRow {
        origin: 0,
        span: Span { trace_id: id(trace), span_id, parent_span_id, name, start, end: start + took, ..Span::default() },
    }
}

fn spans(service: &str, rows: Vec<SpanRow>) -> Batch {
    Batch { spans: rows, ..batch(service) }
}

fn line(time: u64, text: &str) -> LineRow {
    LineRow { time, text: text.into(), severity: 9, ..LineRow::default() }
}

fn lines(service: &str, texts: &[&str]) -> Batch {
    let rows = texts.iter().enumerate().map(|(at, text)| line(at as u64, text)).collect();
    Batch { lines: rows, ..batch(service) }
}

fn open(folder: &Path) -> Store {
    let (store, problem) = roomy(folder, Limits::default()).unwrap();
    assert!(problem.is_none(), "{problem:?}");
    store
}

fn found(snapshot: &Snapshot, search: &str) -> Vec<String> {
    let wanted = LineFilter { search: search.into(), limit: 1000, ..LineFilter::default() };
    snapshot.lines(&wanted).into_iter().map(|view| view.row.text).collect()
}

/// Of one that is in use; `copy` it, and it is what a kill would leave.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_span_that_was_sent_twice_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, killed) = (folder.path().join("t"), folder.path().join("killed"));
    let store = open(&path);
    let sent = || {
        let failed = SpanStatus { code: 2, ..SpanStatus::default() };
        let mut row = span(1, 1, 20, 5);
        row.span.status = Some(failed);
        spans("shop", vec![span(1, 0, 10, 100), row])
    };
    let counted = |snapshot: &Snapshot| {
        let all = snapshot.traces(&TraceFilter { limit: 10, ..TraceFilter::default() });
        let rows = snapshot.trace(&id(1)).unwrap().len();
        (all.iter().map(|head| (head.spans, head.errors)).collect::<Vec<_>>(), rows)
    };
    store.keep(sent()).unwrap();
    let size = store.size();
    store.keep(sent()).unwrap();
    assert_eq!(store.size(), size, "nothing is kept of it");
    assert_eq!(counted(&store.snapshot()), (vec![(2, 1)], 2));
    // one more with it, and lines: what is new is kept
    store
        .keep(Batch { lines: vec![line(30, "again")], ..spans("shop", vec![span(1, 1, 20, 5), span(1, 2, 30, 5)]) })
        .unwrap();
    assert_eq!((counted(&store.snapshot()), found(&store.snapshot(), "again").len()), ((vec![(3, 1)], 3), 1));
    // the process was killed before it could answer
    copy(&path, &killed);
    let store = open(&killed);
    store.keep(sent()).unwrap();
    assert_eq!(counted(&store.snapshot()), (vec![(3, 1)], 3));
    assert!(store.snapshot().tail.is_empty(), "nothing is kept of it");
}

#[test]
fn spans_that_a_store_has_twice_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let sent = || spans("shop", vec![span(1, 0, 10, 100), span(1, 1, 20, 5)]);
    // the next process knows nothing of what is in blocks
    for _ in 0..2 {
        open(folder.path()).keep(sent()).unwrap();
        // the journal becomes a block
        drop(open(folder.path()));
    }
    let snapshot = open(folder.path()).snapshot();
    assert_eq!(snapshot.blocks.len(), 2);
    let tail = snapshot.with([sent(), sent()]);
    let all = tail.traces(&TraceFilter { limit: 10, ..TraceFilter::default() });
    assert_eq!(all.iter().map(|head| head.spans).collect::<Vec<_>>(), [2]);
    assert_eq!(tail.trace(&id(1)).unwrap().len(), 2);
}

#[test]
fn what_was_accepted_is_there_after_a_kill_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (path, killed) = (folder.path().join("t"), folder.path().join("killed"));
    let store = open(&path);
    store.keep(lines("shop", &["first", "second"])).unwrap();
    copy(&path, &killed);
    assert_eq!(found(&store.snapshot(), ""), ["first", "second"]);
    assert_eq!(found(&Snapshot::read(&path).unwrap(), ""), ["first", "second"]);
    assert_eq!(found(&open(&killed).snapshot(), ""), ["first", "second"]);
    // it is in blocks now
    assert_eq!(open(&killed).snapshot().blocks.len(), 1);

    // killed after the block was written and before the journal was emptied
    let journal = std::fs::read(path.join("journal")).unwrap();
    store.inner().seal().unwrap();
    let between = folder.path().join("between");
    copy(&path, &between);
    std::fs::write(between.join("journal"), &journal).unwrap();
    assert_eq!(found(&open(&between).snapshot(), ""), ["first", "second"]);
    // and in the middle of the block
    let half = folder.path().join("half");
    copy(&path, &half);
    std::fs::write(half.join("journal"), &journal).unwrap();
    let segment = half.join("000000000001.seg");
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(found(&open(&half).snapshot(), ""), ["first", "second"]);
    // and while a record was written
    let record = folder.path().join("record");
    copy(&killed, &record);
    let mut torn = std::fs::read(record.join("journal")).unwrap();
    torn.extend_from_slice(&[9, 0, 0, 0, 1, 2]);
    std::fs::write(record.join("journal"), torn).unwrap();
    let store = open(&record);
    store.keep(lines("shop", &["third"])).unwrap();
    drop(store);
    assert_eq!(found(&open(&record).snapshot(), "").len(), 3);
}

#[test]
fn one_kind_that_was_written_without_the_others_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let store = open(&path);
    store.keep(lines("shop", &["before"])).unwrap();
    store.inner().seal().unwrap();
    let both = Batch { spans: vec![span(1, 0, 5, 5)], ..lines("shop", &["after"]) };
    store.keep(both).unwrap();
    let journal = std::fs::read(path.join("journal")).unwrap();
    store.inner().seal().unwrap();
    let last = store.snapshot().blocks.last().unwrap().clone();
    let cut = last.offset - frame::PROLOGUE as u64 - last.head.encoded_len() as u64;
    drop(store);
    std::fs::OpenOptions::new().write(true).open(path.join("000000000001.seg")).unwrap().set_len(cut).unwrap();
    std::fs::write(path.join("journal"), journal).unwrap();
    let snapshot = open(&path).snapshot();
    assert_eq!(found(&snapshot, ""), ["before", "after"]);
    assert_eq!(snapshot.trace(&id(1)).unwrap().len(), 1);
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(roomy(folder.path(), Limits::default()), Err(StoreError::Held { .. })));
    drop(store);
    open(folder.path());
}

#[test]
fn nothing_is_written_through_a_link() {
    for name in ["journal", "lock", "000000000001.seg"] {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "precious").unwrap();
        std::fs::create_dir(folder.path().join("t")).unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("t").join(name)).unwrap();
        if let Ok((store, _)) = Store::open(&folder.path().join("t"), Limits::default()) {
            store.keep(lines("shop", &["one"])).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious", "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_and_said_once() {
    for (what, content) in [
        ("newer", &b"MACTEL\x00\x09more"[..]),
        ("damaged", b"nothing of ours"),
        ("block", b"MACTEL\x00\x01damaged and more of it"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("000000000001.seg"), content).unwrap();
        let (store, problem) = roomy(&path, Limits::default()).unwrap();
        let said = problem.unwrap().to_string();
        assert_eq!(what == "newer", said.contains("newer version"), "{said}");
        store.keep(lines("shop", &["again"])).unwrap();
        drop(store);
        assert_eq!(std::fs::read(aside(&path).join("000000000001.seg")).unwrap(), content);
        assert_eq!(found(&open(&path).snapshot(), ""), ["again"]);
    }
}

#[test]
fn a_block_with_another_checksum_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.keep(lines("shop", &["lost"])).unwrap();
    store.inner().seal().unwrap();
    store.keep(lines("shop", &["there"])).unwrap();
    let block = store.snapshot().blocks[0].clone();
    let file = std::fs::OpenOptions::new().write(true).open(&block.segment.path).unwrap();
    file.write_all_at(&[0xff; 3], block.offset + 2).unwrap();
    assert_eq!(found(&store.snapshot(), ""), ["there"]);
    assert!(matches!(block.part(0), Err(StoreError::Broken { .. })));
}

#[test]
fn the_oldest_goes_first_when_it_is_too_much_or_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { size: 64 << 10, age: Duration::from_secs(1000) };
    let (store, _) = roomy(folder.path(), limits).unwrap();
    // what does not compress
    let noise = |seed: u64| {
        let mut text = String::new();
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        while text.len() < 3000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("{state:x}"));
        }
        text
    };
    for number in 0..60 {
        store.keep(lines("shop", &[&format!("line {number} {}", noise(number))])).unwrap();
        store.inner().seal().unwrap();
        store.tick();
        assert!(store.size() <= (64 << 10) + (8 << 10), "{}", store.size());
    }
    let left = found(&store.snapshot(), "line");
    assert!(left.len() > 10 && left.len() < 50, "{}", left.len());
    assert!(left.last().unwrap().starts_with("line 59 "));
    store.inner().trim(now() + 2000);
    assert!(store.snapshot().blocks.is_empty());
    store.keep(lines("shop", &["new"])).unwrap();
    store.inner().seal().unwrap();
    assert_eq!(found(&store.snapshot(), ""), ["new"]);
}

#[test]
fn a_full_disk_stops_it_and_loses_nothing_that_was_accepted() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LEFT: AtomicU64 = AtomicU64::new(50);
    let folder = tempfile::tempdir().unwrap();
    let (store, _) =
        Store::open_on(folder.path(), Limits::default(), |_| Ok((LEFT.load(Ordering::Relaxed), 100))).unwrap();
    store.keep(lines("shop", &["before"])).unwrap();
    LEFT.store(9, Ordering::Relaxed);
    store.tick();
    assert!(matches!(store.refusal(), Some(StoreError::Full)) && store.snapshot().full);
    assert!(matches!(store.keep(lines("shop", &["refused"])), Err(StoreError::Full)));
    LEFT.store(10, Ordering::Relaxed);
    store.tick();
    store.keep(lines("shop", &["after"])).unwrap();
    assert_eq!(found(&store.snapshot(), ""), ["before", "after"]);
}

#[test]
fn a_file_that_cannot_be_made_is_no_full_disk_and_stops_it_for_that_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // what is left of one whose first bytes could not be written
    std::fs::write(folder.path().join("000000000001.seg"), "").unwrap();
    let large = "x".repeat(SEAL);
    store.keep(lines("shop", &[&large])).unwrap();
    assert!(matches!(store.keep(lines("shop", &["refused"])), Err(StoreError::Stuck { .. })));
    let said = crate::model::chain(&store.refusal().unwrap());
    let path = folder.path().join("000000000001.seg");
    let wanted = format!("what was sent before cannot be written: {}: File exists (os error 17)", path.display());
    assert_eq!(said, wanted);
    store.tick();
    assert!(store.refusal().is_none());
    store.keep(lines("shop", &["after"])).unwrap();
    drop(store);
    assert_eq!(found(&open(folder.path()).snapshot(), ""), [large, "after".to_owned()]);
}

#[test]
fn traces_come_together_from_several_senders_and_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.keep(spans("shop", vec![span(1, 0, 1000, 500), span(1, 1, 1100, 100), span(2, 0, 3000, 10)])).unwrap();
    store.inner().seal().unwrap();
    let mut failed = span(1, 2, 1200, 900);
    failed.span.status = Some(SpanStatus { code: 2, message: "no".into() });
    store.keep(spans("cart", vec![failed])).unwrap();
    for sealed in [false, true] {
        if sealed {
            store.inner().seal().unwrap();
        }
        let snapshot = store.snapshot();
        let all = |wanted: TraceFilter| {
            let heads = snapshot.traces(&TraceFilter { limit: 10, ..wanted });
            heads.iter().map(|head| (head.trace.last().copied().unwrap() - 1, head.took())).collect::<Vec<_>>()
        };
        assert_eq!(all(TraceFilter::default()), [(2, 10), (1, 1100)]);
        assert_eq!(all(TraceFilter { service: Some("cart".into()), ..TraceFilter::default() }), [(1, 1100)]);
        assert_eq!(all(TraceFilter { slow: 1000, ..TraceFilter::default() }), [(1, 1100)]);
        assert_eq!(all(TraceFilter { errors: true, ..TraceFilter::default() }), [(1, 1100)]);
        let head = &snapshot.traces(&TraceFilter { errors: true, limit: 1, ..TraceFilter::default() })[0];
        assert_eq!((head.spans, head.errors, head.name.as_str(), head.service.as_str()), (3, 1, "step 0", "shop"));
        assert_eq!(head.services, ["cart", "shop"]);
        let spans = snapshot.trace(&id(1)).unwrap();
        let shown: Vec<_> = spans.iter().map(|view| (view.span.name.as_str(), view.origin.service.as_str())).collect();
        assert_eq!(shown, [("step 0", "shop"), ("step 1", "shop"), ("step 2", "cart")]);
        assert_eq!(snapshot.traces_like("00000000000000000000000000000003", 5).len(), 1);
        assert!(snapshot.trace(&id(77)).unwrap().is_empty());
    }
    // sent once more by a client that got no answer
    store.keep(spans("shop", vec![span(2, 0, 3000, 10)])).unwrap();
    assert_eq!(store.snapshot().trace(&id(2)).unwrap().len(), 1);
}

#[test]
fn lines_are_found_by_word_level_time_sender_and_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut rows = vec![line(10, "Hello World"), line(20, "an error"), line(30, "hello again")];
    rows[1].severity = 17;
    rows[1].trace = id(7);
    store.keep(Batch { lines: rows, ..batch("shop") }).unwrap();
    store.keep(Batch { lines: vec![line(40, "hello cart")], ..batch("cart") }).unwrap();
    for sealed in [false, true] {
        if sealed {
            store.inner().seal().unwrap();
        }
        let snapshot = store.snapshot();
        let texts = |wanted: LineFilter| {
            let found =
                snapshot.lines(&LineFilter { limit: if wanted.limit == 0 { 10 } else { wanted.limit }, ..wanted });
            found.into_iter().map(|view| view.row.text).collect::<Vec<_>>()
        };
        let any = LineFilter::default;
        assert_eq!(texts(LineFilter { search: "HELLO".into(), ..any() }), ["Hello World", "hello again", "hello cart"]);
        assert_eq!(texts(LineFilter { severity: 13, ..any() }), ["an error"]);
        assert_eq!(texts(LineFilter { since: 30, ..any() }), ["hello again", "hello cart"]);
        assert_eq!(texts(LineFilter { service: Some("cart".into()), ..any() }), ["hello cart"]);
        assert_eq!(texts(LineFilter { trace: Some(id(7)), ..any() }), ["an error"]);
        assert_eq!(texts(LineFilter { limit: 2, ..any() }), ["hello again", "hello cart"]);
        // a word may not reach from one line into the next
        assert!(texts(LineFilter { search: "Worldan".into(), ..any() }).is_empty());
    }
}

#[test]
fn the_newest_lines_are_those_of_the_latest_time_whenever_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let newest = |snapshot: &Snapshot, limit: usize| {
        let found = snapshot.lines(&LineFilter { limit, ..LineFilter::default() });
        found.into_iter().map(|view| view.row.text).collect::<Vec<_>>()
    };
    store.keep(Batch { lines: vec![line(100, "new"), line(101, "newer")], ..batch("shop") }).unwrap();
    store.inner().seal().unwrap();
    // a shipper begins with the file of yesterday
    let old = |from: u64| Batch { lines: (from..from + 5).map(|time| line(time, "old")).collect(), ..batch("shipper") };
    store.keep(old(1)).unwrap();
    for sealed in [false, true] {
        if sealed {
            store.inner().seal().unwrap();
        }
        assert_eq!(newest(&store.snapshot(), 2), ["new", "newer"]);
        assert_eq!(newest(&store.snapshot(), 0), Vec::<String>::new());
        // and Loki has as many
        assert_eq!(newest(&store.snapshot().with([old(10)]), 2), ["new", "newer"]);
        let more = Batch { lines: vec![line(200, "newest"), line(50, "between")], ..batch("shop") };
        assert_eq!(newest(&store.snapshot().with([more]), 3), ["new", "newer", "newest"]);
    }
    // of the same moment: as they came
    store.keep(Batch { lines: vec![line(300, "first"), line(300, "second")], ..batch("shop") }).unwrap();
    store.inner().seal().unwrap();
    store.keep(Batch { lines: vec![line(300, "third")], ..batch("shop") }).unwrap();
    assert_eq!(newest(&store.snapshot(), 4), ["newer", "first", "second", "third"]);
    assert_eq!(newest(&store.snapshot(), 2), ["second", "third"]);
}

#[test]
fn metrics_are_series_of_a_sender() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let point = |time, value| PointRow { time, value, name: "load".into(), ..PointRow::default() };
    store.keep(Batch { points: vec![point(1, 1.0), point(2, 2.0)], ..batch("shop") }).unwrap();
    store.inner().seal().unwrap();
    store.keep(Batch { points: vec![point(3, 3.0)], ..batch("shop") }).unwrap();
    let series = store.snapshot().metrics(2, 10);
    assert_eq!(series.len(), 1);
    assert_eq!((series[0].service.as_str(), &series[0].points[..]), ("shop", &[(2, 2.0, None), (3, 3.0, None)][..]));
    assert_eq!(series[0].attributes, json!({}));
    // two replicas
    let replica = |id: &str, points| {
        let attributes = vec![KeyValue::text("service.instance.id", id)];
        let origin = Origin { service: "web".into(), attributes, ..Origin::default() };
        Batch { origins: vec![origin], points, ..Batch::default() }
    };
    store.keep(replica("a", vec![point(10, 10.0), point(12, 12.0)])).unwrap();
    store.keep(replica("b", vec![point(11, 900.0), point(13, 903.0)])).unwrap();
    for sealed in [false, true] {
        if sealed {
            store.inner().seal().unwrap();
        }
        let found = store.snapshot().metrics(10, 10);
        let told: Vec<_> = found.iter().map(|one| (&one.attributes["service.instance.id"], &one.points[..])).collect();
        let (a, b) = ([(10, 10.0, None), (12, 12.0, None)], [(11, 900.0, None), (13, 903.0, None)]);
        assert_eq!(told, [(&json!("a"), &a[..]), (&json!("b"), &b[..])]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_left_of_the_files_it_opens(
        damage in prop::collection::vec((0usize..2000, any::<u8>()), 0..4), cut in 0usize..2000, journal_cut in 0usize..400,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let store = open(&path);
        for number in 0..4 {
            store.keep(Batch { spans: vec![span(number, 0, number, 1)], ..lines("shop", &["a line of the shop", "another"]) }).unwrap();
            store.inner().seal().unwrap();
        }
        store.keep(lines("shop", &["in the journal"])).unwrap();
        drop(store);
        let segment = path.join("000000000001.seg");
        let mut content = std::fs::read(&segment).unwrap();
        for (at, byte) in damage {
            if let Some(place) = content.get_mut(at) {
                *place = byte;
            }
        }
        content.truncate(content.len().saturating_sub(cut).max(1));
        std::fs::write(&segment, content).unwrap();
        let journal = std::fs::read(path.join("journal")).unwrap();
        std::fs::write(path.join("journal"), &journal[..journal.len().saturating_sub(journal_cut)]).unwrap();
        let (store, _) = roomy(&path, Limits::default()).unwrap();
        store.keep(lines("shop", &["new"])).unwrap();
        let snapshot = store.snapshot();
        prop_assert!(found(&snapshot, "new").contains(&"new".to_owned()));
        let _ = (snapshot.traces(&TraceFilter { limit: 10, ..TraceFilter::default() }), snapshot.trace(&id(1)));
    }
}
