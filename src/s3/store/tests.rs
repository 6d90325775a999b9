use super::testing::Disk;
use super::*;
use crate::s3::checksum::{Summer, hex};

async fn open(folder: &Path) -> Store {
    Store::open(folder, None).await.unwrap()
}

async fn with_bucket(folder: &Path) -> Store {
    let store = open(folder).await;
    let make = |tables: &mut Tables<'_>| Ok((ensure(tables, "bucket")?, Vec::new()));
    store.write(Vec::new(), make).await.unwrap();
    store
}

async fn put(store: &Store, key: &'static str, content: &str) -> Result<()> {
    let mut draft = store.draft().await.unwrap();
    draft.write(content.as_bytes()).await.unwrap();
    let piece = draft.finish().await.unwrap();
    let object = Object { size: piece.size, etag: content.to_owned(), pieces: vec![piece], ..Object::default() };
    store
        .write(vec![draft], move |tables| {
            let before = tables.put_object("bucket", key, &object)?;
            Ok(((), before.map(|before| before.pieces).unwrap_or_default()))
        })
        .await
}

async fn content(pin: &Pin) -> String {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    pin.open(0).await.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

fn files(store: &Store) -> usize {
    store.blobs.list().unwrap().len()
}

#[tokio::test]
async fn what_is_written_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_bucket(folder.path()).await;
    for key in ["../../etc/passwd", "a//b", "a/", "a", "/"] {
        put(&store, key, key).await.unwrap();
    }
    drop(store);
    let store = open(folder.path()).await;
    for key in ["../../etc/passwd", "a//b", "a/", "a", "/"] {
        let (object, pin) = store.object("bucket", key).unwrap();
        assert_eq!((object.etag.as_str(), content(&pin).await.as_str()), (key, key));
    }
}

#[tokio::test]
async fn a_file_that_is_written_over_stays_as_long_as_somebody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_bucket(folder.path()).await;
    put(&store, "key", "old").await.unwrap();
    let (_, old) = store.object("bucket", "key").unwrap();
    put(&store, "key", "new").await.unwrap();
    assert_eq!(content(&old).await, "old");
    assert_eq!(content(&store.object("bucket", "key").unwrap().1).await, "new");
    assert_eq!(files(&store), 2);
    drop(old);
    assert_eq!(files(&store), 1);
}

#[tokio::test]
async fn what_was_shared_stays_when_its_source_is_written_over_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_bucket(folder.path()).await;
    put(&store, "key", "old").await.unwrap();
    let (old, pin) = store.object("bucket", "key").unwrap();
    put(&store, "key", "new").await.unwrap();
    let drafts = store.share(&pin).await.unwrap();
    let copy = Object { pieces: drafts.iter().map(|draft| draft.piece()).collect(), ..old };
    let written = store.write(drafts, move |tables| {
        let before = tables.put_object("bucket", "key", &copy)?;
        Ok(((), before.map(|before| before.pieces).unwrap_or_default()))
    });
    written.await.unwrap();
    drop(pin);
    assert_eq!(content(&store.object("bucket", "key").unwrap().1).await, "old");
    assert_eq!(files(&store), 1);
}

#[tokio::test]
async fn a_disk_that_was_full_is_written_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = disk.store(folder.path());
    let make = |tables: &mut Tables<'_>| Ok((ensure(tables, "bucket")?, Vec::new()));
    store.write(Vec::new(), make).await.unwrap();
    put(&store, "before", "before").await.unwrap();
    disk.fill(true);
    for key in ["first", "second"] {
        assert_eq!(put(&store, key, key).await.unwrap_err().code, Code::StorageFull, "{key}");
    }
    let trouble = store.trouble().unwrap();
    assert_eq!((trouble.code, trouble.cause()), (Code::StorageFull, "no storage space".to_owned()));
    assert_eq!(content(&store.object("bucket", "before").unwrap().1).await, "before");
    assert_eq!(files(&store), 1);
    disk.fill(false);
    testing::until(|| store.trouble().is_none()).await;
    put(&store, "after", "after").await.unwrap();
    drop(store);
    let store = open(folder.path()).await;
    for key in ["before", "after"] {
        assert_eq!(content(&store.object("bucket", key).unwrap().1).await, key);
    }
    assert_eq!((store.trouble().is_none(), files(&store)), (true, 2));
}

#[tokio::test]
async fn a_commit_that_fails_at_its_end_keeps_the_files_that_the_index_names() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = disk.store(folder.path());
    let make = |tables: &mut Tables<'_>| Ok((ensure(tables, "bucket")?, Vec::new()));
    store.write(Vec::new(), make).await.unwrap();
    put(&store, "key", "old").await.unwrap();
    disk.lose_a_sync();
    // everything was written by then, so that the commit may be there, and both files stay; or it is not
    assert!(put(&store, "key", "new").await.is_err());
    let there = content(&store.object("bucket", "key").unwrap().1).await;
    let known = [("old", 1), ("new", 2)];
    assert!(known.contains(&(there.as_str(), files(&store))), "{there}");
    put(&store, "key", "newer").await.unwrap();
    assert_eq!(content(&store.object("bucket", "key").unwrap().1).await, "newer");
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!((content(&store.object("bucket", "key").unwrap().1).await.as_str(), files(&store)), ("newer", 1));
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_bucket(folder.path()).await;
    let draft = store.draft().await.unwrap();
    let refused: Result<()> = store.write(vec![draft], |_| Err(Code::PreconditionFailed.into())).await;
    assert_eq!(refused.unwrap_err().code, Code::PreconditionFailed);
    assert_eq!(files(&store), 0);
}

#[tokio::test]
async fn a_killed_server_leaves_files_that_the_next_one_removes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_bucket(folder.path()).await;
    put(&store, "key", "kept").await.unwrap();
    std::mem::forget(store.draft().await.unwrap());
    assert_eq!(files(&store), 2);
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(files(&store), 1);
    assert_eq!(content(&store.object("bucket", "key").unwrap().1).await, "kept");
}

#[tokio::test]
async fn the_store_of_earlier_versions_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("old/a/b")).unwrap();
    std::fs::create_dir_all(at("old/empty")).unwrap();
    std::fs::create_dir_all(at("nothing")).unwrap();
    std::fs::write(at("old/a/b/one.txt"), "one").unwrap();
    std::fs::write(at("old/two"), "two").unwrap();
    // names as s3s-fs 0.14 makes them: base64 of bucket and key
    std::fs::write(at(".bucket-b2xk.object-dHdv.internal.json"), r#"{"e_tag":"abc-3"}"#).unwrap();
    let metadata = r#"{"content_type":"text/plain","content_encoding":"aws-chunked","user_metadata":{"color":"blue"}}"#;
    std::fs::write(at(".bucket-b2xk.object-dHdv.metadata.json"), metadata).unwrap();
    std::fs::write(at(".upload-1.json"), "null").unwrap();

    let store = open(folder.path()).await;
    let names: Vec<String> = store.read(|view| view.buckets()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["nothing", "old"]);
    let (one, pin) = store.object("old", "a/b/one.txt").unwrap();
    let mut md5 = Summer::new(None);
    md5.update(b"one");
    assert_eq!((one.etag, content(&pin).await), (hex(&md5.finish().md5), "one".to_owned()));
    let (two, pin) = store.object("old", "two").unwrap();
    assert_eq!((two.etag.as_str(), content(&pin).await.as_str()), ("abc-3", "two"));
    assert_eq!(two.attributes.headers, [("content-type".to_owned(), "text/plain".to_owned())].into());
    assert_eq!(two.attributes.metadata["color"], "blue");
    assert_eq!(store.object("old", "empty/").unwrap().0.size, 0);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [FOLDER]);
    drop(pin);
    drop(store);
    assert_eq!(content(&open(folder.path()).await.object("old", "two").unwrap().1).await, "two");
}

#[tokio::test]
async fn buckets_that_are_asked_for_are_made_also_later() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = folder.path().join("wanted.txt");
    std::fs::write(&wanted, "loki\ntempo\n").unwrap();
    let store = Store::open(&folder.path().join("data"), Some(wanted.clone())).await.unwrap();
    store.bucket("tempo").await.unwrap();
    assert_eq!(store.bucket("uploads").await.unwrap_err().code, Code::NoSuchBucket);
    std::fs::write(&wanted, "loki\ntempo\nuploads\n").unwrap();
    store.bucket("uploads").await.unwrap();
}

#[tokio::test]
async fn many_writers_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(with_bucket(folder.path()).await);
    let keys: Vec<&'static str> = (0..64).map(|n| &*format!("key-{n:02}").leak()).collect();
    let puts = keys.iter().map(|key| {
        let store = store.clone();
        async move { put(&store, key, key).await }
    });
    futures_util::future::try_join_all(puts).await.unwrap();
    let mut found = 0;
    let count = |_: &str, _: Object| {
        found += 1;
        Ok(true)
    };
    store.read(|view| view.objects("bucket", "", count)).unwrap();
    assert_eq!((found, files(&store)), (64, 64));
}
