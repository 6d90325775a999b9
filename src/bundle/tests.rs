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

/// The archives of all images.
fn contents(path: &Path) -> Vec<Vec<u8>> {
    let bundle = Bundle::open(path).unwrap();
    let contents = bundle.index().images.iter().map(|image| {
        let mut out = Vec::new();
        bundle
            .archive(image, &mut |piece| {
                out.extend(piece);
                true
            })
            .unwrap();
        out
    });
    contents.collect()
}

fn verify(path: &Path) -> Result<bool, String> {
    Bundle::open(path).and_then(|bundle| bundle.verify(&mut |_| true)).map_err(|error| error.to_string())
}

#[test]
fn each_image_comes_out_as_it_went_in() {
    let folder = TempDir::new().unwrap();
    let path = bundle(folder.path());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the folder of what was written is left");
    let bundle = Bundle::open(&path).unwrap();
    assert!(bundle.verify(&mut |_| true).unwrap());
    let index = bundle.index();
    assert_eq!((index.platform.as_str(), index.written_by.as_str()), ("shop", "macula 1"));
    for ((image, name), out) in index.images.iter().zip(["web", "db"]).zip(contents(&path)) {
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
        match verify(&broken) {
            Err(_) => found += 1,
            Ok(_) => assert_eq!(contents(&broken), contents(&path), "byte {at}"),
        }
    }
    assert!(found + 10 > read.len(), "{found} of {}", read.len());
    assert_eq!(verify(&path), Ok(true));
}

#[test]
fn what_is_no_bundle_is_told() {
    let folder = TempDir::new().unwrap();
    let good = fs::read(bundle(folder.path())).unwrap();
    let path = folder.path().join("other");
    let told = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        verify(&path).unwrap_err().replace(&path.display().to_string(), "other")
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
