use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Bundle, BundleError, Writer};

/// The archive of an image, as `docker save` gives it: a layer of its own and one that all have.
fn archive(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    };
    put("base/layer.tar", &b"what all of them have ".repeat(500));
    put(&format!("{name}/layer.tar"), name.repeat(300).as_bytes());
    put("manifest.json", format!(r#"[{{"RepoTags":["{name}:1"],"Layers":["base/layer.tar"]}}]"#).as_bytes());
    put("repositories", format!(r#"{{"{name}":{{"1":"x"}}}}"#).as_bytes());
    tar.into_inner().unwrap()
}

fn add(writer: &mut Writer, name: &str) -> Result<(), BundleError> {
    writer.add(&format!("sha256:{name}"), &[format!("{name}:1")], &[name.to_owned()], 7, archive(name).as_slice())
}

/// A bundle of two images.
fn bundle(folder: &Path) -> PathBuf {
    let path = folder.join("all.bundle");
    let mut writer = Writer::open(&path).unwrap();
    add(&mut writer, "web").unwrap();
    add(&mut writer, "db").unwrap();
    writer.finish("macula 1", "shop").unwrap();
    path
}

fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

/// What came out of an archive, and how that ended.
fn out_of(bundle: &Bundle, image: &super::Image, leave: usize) -> (Vec<u8>, Result<(), BundleError>) {
    let mut out = Vec::new();
    let mut keep = |piece: Vec<u8>| {
        out.extend(piece);
        true
    };
    let ended = bundle.archive(image, leave, &mut keep);
    (out, ended)
}

/// The archives of all images.
fn contents(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bundle = Bundle::open(path).map_err(|error| error.to_string())?;
    let whole = |image| {
        let (out, ended) = out_of(&bundle, image, 0);
        ended.map(|()| out).map_err(|error| error.to_string())
    };
    bundle.index().images.iter().map(whole).collect()
}

#[test]
fn each_image_comes_out_as_it_went_in() {
    let folder = TempDir::new().unwrap();
    let path = bundle(folder.path());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the folder of what was written is left");
    let bundle = Bundle::open(&path).unwrap();
    let index = bundle.index();
    assert_eq!((index.platform.as_str(), index.written_by.as_str()), ("shop", "macula 1"));
    for ((image, name), out) in index.images.iter().zip(["web", "db"]).zip(contents(&path).unwrap()) {
        assert_eq!((&image.references, image.size), (&vec![format!("{name}:1")], 7));
        assert_eq!(files(&out), files(&archive(name)), "{name}");
    }
}

#[test]
fn the_whole_is_an_archive_that_the_engines_own_program_loads() {
    let folder = TempDir::new().unwrap();
    let packed = fs::read(bundle(folder.path())).unwrap();
    let files = files(&zstd::decode_all(packed.as_slice()).unwrap());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    // what both have stands there once
    insta::assert_snapshot!(names.join("\n"), @r"
    base/layer.tar
    db/layer.tar
    macula.json
    manifest.json
    repositories
    web/layer.tar
    ");
    insta::assert_snapshot!(String::from_utf8_lossy(&files["manifest.json"]), @r#"[{"RepoTags":["web:1"],"Layers":["base/layer.tar"]},{"RepoTags":["db:1"],"Layers":["base/layer.tar"]}]"#);
    insta::assert_snapshot!(String::from_utf8_lossy(&files["repositories"]), @r#"{"web":{"1":"x"},"db":{"1":"x"}}"#);
}

#[test]
fn every_bit_that_is_wrong_is_found() {
    let folder = TempDir::new().unwrap();
    let path = bundle(folder.path());
    let good = fs::read(&path).unwrap();
    let broken = folder.path().join("broken");
    // the frame of the index has a checksum; so have the files. What lies between them is not read
    let read = {
        let bundle = Bundle::open(&path).unwrap();
        let start = usize::try_from(bundle.start).unwrap();
        let at = |place: u64| start + usize::try_from(place).unwrap();
        let files = bundle.index().files.values().map(|file| at(file.at)..at(file.at + file.packed));
        std::iter::once(0..start).chain(files).flatten().collect::<Vec<usize>>()
    };
    assert!(read.len() > 300, "{}", read.len());
    let mut found = 0;
    for &at in &read {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&broken, &bad).unwrap();
        // zstd says in a byte of its own how much memory it takes: a bit that says more harms nothing
        match contents(&broken) {
            Err(_) => found += 1,
            whole => assert_eq!(whole, contents(&path), "byte {at}"),
        }
    }
    assert!(found + 10 > read.len(), "{found} of {}", read.len());
    assert!(contents(&path).is_ok());
}

#[test]
fn an_archive_with_a_damaged_file_is_cut_within_that_file() {
    let folder = TempDir::new().unwrap();
    let path = bundle(folder.path());
    let place = {
        let bundle = Bundle::open(&path).unwrap();
        let file = &bundle.index().files["web/layer.tar"];
        usize::try_from(bundle.start + file.at + file.packed).unwrap() - 1
    };
    let mut bad = fs::read(&path).unwrap();
    // the checksum of its frame: all of the content comes before it
    bad[place] ^= 1;
    fs::write(&path, &bad).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let [web, db] = bundle.index().images.as_slice() else { panic!("two images") };
    let (out, ended) = out_of(&bundle, web, 0);
    assert!(matches!(ended, Err(BundleError::Damaged { file, .. }) if file == "web/layer.tar"));
    let whole = tar::Archive::new(out.as_slice()).entries().unwrap().try_for_each(|entry| {
        let mut entry = entry?;
        std::io::copy(&mut entry, &mut std::io::sink()).map(drop)
    });
    assert!(whole.is_err(), "it could be taken for a whole archive");
    assert!(out_of(&bundle, db, 0).1.is_ok(), "the other image is whole");
}

#[test]
fn layers_that_are_there_are_left_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("all.bundle");
    let mut tar = tar::Builder::new(Vec::new());
    let config =
        br#"{"architecture":"amd64","config":{"Labels":{"a":"b"}},"rootfs":{"diff_ids":["sha256:1","sha256:2"]}}"#;
    let manifest = br#"[{"Config":"c.json","RepoTags":["web:1"],"Layers":["1/layer.tar","2/layer.tar"]}]"#;
    let all: [(&str, &[u8]); 4] = [
        ("1/layer.tar", &[b'1'; 3000]),
        ("2/layer.tar", &[b'2'; 2000]),
        ("c.json", config),
        ("manifest.json", manifest),
    ];
    for (path, content) in all {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    }
    let mut writer = Writer::open(&path).unwrap();
    let names = ["web:1".to_owned()];
    writer.add("sha256:web", &names, &[], 7, tar.into_inner().unwrap().as_slice()).unwrap();
    writer.finish("macula 1", "shop").unwrap();

    let bundle = Bundle::open(&path).unwrap();
    let image = bundle.image("sha256:web").unwrap();
    assert_eq!(bundle.layers(image), ["sha256:1", "sha256:2"]);
    let found = bundle.observed(image);
    assert_eq!((found.id.as_str(), found.labels["a"].as_str(), found.size), ("sha256:web", "b", 7));
    let sent = |leave: usize| {
        let (out, ended) = out_of(&bundle, image, leave);
        ended.unwrap();
        (files(&out).into_keys().collect::<Vec<_>>().join(" "), bundle.to_send(image, leave))
    };
    let rest = config.len() as u64;
    assert_eq!(sent(0), ("1/layer.tar 2/layer.tar c.json manifest.json".to_owned(), 5000 + rest));
    assert_eq!(sent(1), ("2/layer.tar c.json manifest.json".to_owned(), 2000 + rest));
    assert_eq!(sent(2), ("c.json manifest.json".to_owned(), rest));
}

#[test]
fn what_is_no_bundle_is_told() {
    let folder = TempDir::new().unwrap();
    let good = fs::read(bundle(folder.path())).unwrap();
    let path = folder.path().join("other");
    let told = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        contents(&path).unwrap_err().replace(&path.display().to_string(), "other")
    };
    let packed = |tar: &[u8]| zstd::encode_all(tar, 1).unwrap();
    let index = |text: &str| packed(&super::member::small("macula.json", 0o644, 0, text.as_bytes()).unwrap());
    let all = [
        told(b""),
        told(b"text"),
        told(&archive("web")),
        told(&packed(&archive("web"))),
        told(&index("{}")),
        told(&index(r#"{"format": 1}"#)),
        told(&index(r#"{"format": 2}"#)),
        told(&good[..good.len() - 1]),
        told(&[good.as_slice(), b"more"].concat()),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

/// Breaks off after so many bytes.
struct Broken<'a>(&'a [u8], usize);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = buffer.len().min(self.1);
        if size == 0 {
            return Err(std::io::Error::other("the engine went away"));
        }
        self.1 -= size;
        self.0.read(&mut buffer[..size])
    }
}

#[test]
fn it_goes_on_where_it_was_broken_off() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("all.bundle");
    let names = |name: &str| (format!("sha256:{name}"), [format!("{name}:1")], [name.to_owned()]);
    let mut writer = Writer::open(&path).unwrap();
    add(&mut writer, "web").unwrap();
    let whole = archive("db");
    let (id, references, services) = names("db");
    // also where an archive could end: after a whole file
    for length in [700, 12_288, whole.len() - 10] {
        let cut = writer.add(&id, &references, &services, 7, Broken(&whole, length));
        assert_eq!(cut.unwrap_err().to_string(), "the engine's archive of db:1 cannot be read: the engine went away");
    }
    drop(writer);
    assert!(!path.exists());

    let mut writer = Writer::open(&path).unwrap();
    assert!(!writer.resume(&id, &references, &services), "half an image was taken for a whole one");
    let (id, references, services) = names("web");
    // it has another name by now
    assert!(!writer.resume(&id, &["web:2".to_owned()], &services));
    assert!(writer.resume(&id, &references, &services));
    add(&mut writer, "db").unwrap();
    writer.finish("macula 1", "shop").unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(bundle(TempDir::new().unwrap().path())).unwrap());
}

#[test]
fn what_was_kept_and_has_gone_is_saved_anew() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("all.bundle");
    let mut writer = Writer::open(&path).unwrap();
    add(&mut writer, "web").unwrap();
    drop(writer);
    let kept = fs::read_dir(folder.path().join("all.bundle.partial")).unwrap();
    let packed = kept.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "zst"));
    fs::remove_file(packed.unwrap()).unwrap();
    let mut writer = Writer::open(&path).unwrap();
    assert!(!writer.resume("sha256:web", &["web:1".to_owned()], &["web".to_owned()]));
}

#[test]
fn a_bundle_has_one_writer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("all.bundle");
    let first = Writer::open(&path).unwrap();
    let second = Writer::open(&path).unwrap_err();
    assert!(matches!(second, BundleError::Held { .. }), "{second:?}");
    Writer::open(&folder.path().join("other.bundle")).unwrap();
    drop(first);
    Writer::open(&path).unwrap().finish("macula 1", "shop").unwrap();
    assert!(!folder.path().join("all.bundle.partial").exists());
}
