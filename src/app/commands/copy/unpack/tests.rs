use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use super::*;

enum Part<'a> {
    File(&'a str, &'a str, u32),
    Folder(&'a str, u32),
    Link(&'a str, &'a str),
    Same(&'a str, &'a str),
    Pipe(&'a str),
}

fn archive(parts: &[Part<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mtime(1_700_000_000);
        let (name, kind, mode) = match part {
            Part::File(name, _, mode) => (name, tar::EntryType::Regular, *mode),
            Part::Folder(name, mode) => (name, tar::EntryType::Directory, *mode),
            Part::Link(name, _) => (name, tar::EntryType::Symlink, 0o777),
            Part::Same(name, _) => (name, tar::EntryType::Link, 0o644),
            Part::Pipe(name) => (name, tar::EntryType::Fifo, 0o644),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        // as it stands, whatever is odd about it
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        match part {
            Part::File(_, content, _) => {
                header.set_size(content.len() as u64);
                header.set_cksum();
                tar.append(&header, content.as_bytes()).unwrap();
            }
            Part::Link(_, to) | Part::Same(_, to) => {
                header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            }
            _ => {
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn to(folder: &Path, name: &str) -> Target {
    Target { folder: folder.to_owned(), name: (!name.is_empty()).then(|| OsString::from(name)) }
}

fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

const SITE: [Part<'static>; 6] = [
    Part::Folder("etc/", 0o755),
    Part::File("etc/a", "one", 0o640),
    Part::Folder("etc/deep/", 0o700),
    Part::File("etc/deep/b", "two", 0o4755),
    Part::Link("etc/link", "deep/b"),
    Part::Same("etc/twin", "etc/a"),
];

#[test]
fn a_folder_comes_whole_with_its_modes_and_times() {
    let folder = tempfile::TempDir::new().unwrap();
    let told = Told::default();
    let copied = unpack(archive(&SITE).as_slice(), &to(folder.path(), "new"), false, &told).unwrap();
    assert_eq!((copied.files, copied.bytes, told.bytes() > 3000), (4, 6, true));
    assert_eq!(names(folder.path()), ["new"]);
    let at = |name: &str| folder.path().join("new").join(name);
    assert_eq!(names(&at("")), ["a", "deep", "link", "twin"]);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("a"), mode("deep"), mode("deep/b")), (0o640, 0o700, 0o755), "nothing runs as somebody else");
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("deep/b"));
    assert_eq!(fs::metadata(at("a")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(fs::metadata(at("a")).unwrap().ino(), fs::metadata(at("twin")).unwrap().ino());
}

#[test]
fn what_is_there_already_gets_what_is_new() {
    let folder = tempfile::TempDir::new().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(folder.path().join("etc/a"), "before").unwrap();
    fs::write(folder.path().join("etc/own"), "mine").unwrap();
    // again, and into the folder itself
    for target in [to(folder.path(), "etc"), to(folder.path(), "etc"), to(&folder.path().join("etc"), "")] {
        unpack(archive(&SITE).as_slice(), &target, false, &Told::default()).unwrap();
        assert_eq!(names(&folder.path().join("etc")), ["a", "deep", "link", "own", "twin"]);
        assert_eq!(fs::read_to_string(folder.path().join("etc/a")).unwrap(), "one");
    }
}

#[test]
fn a_file_takes_the_place_of_another_in_one_step() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("b");
    fs::write(&file, "before").unwrap();
    let whole = archive(&[Part::File("a", &"x".repeat(2000), 0o600)]);
    let cut = unpack(&whole[..1000], &to(folder.path(), "b"), false, &Told::default());
    assert!(matches!(cut, Err(CopyError::Damaged { .. })), "{cut:?}");
    assert_eq!((names(folder.path()), fs::read_to_string(&file).unwrap().as_str()), (vec!["b".to_owned()], "before"));
    unpack(whole.as_slice(), &to(folder.path(), "b"), false, &Told::default()).unwrap();
    assert_eq!((names(folder.path()), fs::metadata(&file).unwrap().len()), (vec!["b".to_owned()], 2000));
    // of half a folder nothing is left
    let site = archive(&SITE);
    assert!(unpack(&site[..2200], &to(folder.path(), "new"), false, &Told::default()).is_err());
    assert_eq!(names(folder.path()), ["b"]);
}

#[test]
fn no_archive_writes_outside_of_where_it_goes() {
    let folder = tempfile::TempDir::new().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let refused = |parts: &[Part<'_>], name: &str| {
        let done = unpack(archive(parts).as_slice(), &to(folder.path(), name), false, &Told::default());
        assert!(names(&outside).is_empty());
        done.unwrap_err()
    };
    let out = outside.display().to_string();
    let up = [Part::Folder("d/", 0o755), Part::File("d/../outside/a", "x", 0o644)];
    assert!(matches!(refused(&up, "d"), CopyError::Damaged { .. }));
    let through = [Part::Folder("d/", 0o755), Part::Link("d/out", &out), Part::File("d/out/a", "x", 0o644)];
    assert!(matches!(refused(&through, "d"), CopyError::FolderOverLink { .. }));
    let same = [Part::Folder("d/", 0o755), Part::Link("d/l", "/etc"), Part::Same("d/p", "d/l/passwd")];
    assert!(matches!(refused(&same, "d"), CopyError::FolderOverLink { .. }));
    // what comes first is a link itself
    let first = [Part::Link("d", &out), Part::File("d/a", "x", 0o644)];
    assert!(matches!(refused(&first, "fresh"), CopyError::Damaged { .. }));
    let around = folder.path().display().to_string();
    let deep = [Part::Link("d", &around), Part::File("d/outside/a", "x", 0o644)];
    assert!(matches!(refused(&deep, "fresh"), CopyError::Damaged { .. }));
    let twin = [Part::Link("d", &around), Part::Same("d/outside/p", "d/secret")];
    assert!(matches!(refused(&twin, "fresh"), CopyError::Damaged { .. }));
    let pipe = [Part::Pipe("d"), Part::File("d/a", "x", 0o644)];
    assert!(matches!(refused(&pipe, "fresh"), CopyError::Damaged { .. }));
    assert_eq!(names(folder.path()), ["outside"], "and nothing of it is left");
    // a link that lies there already
    fs::create_dir(folder.path().join("there")).unwrap();
    symlink(&outside, folder.path().join("there/sub")).unwrap();
    let deep = [Part::Folder("d/", 0o755), Part::Folder("d/sub/", 0o755), Part::File("d/sub/a", "x", 0o644)];
    assert!(matches!(refused(&deep, "there"), CopyError::FolderOverLink { .. }));
}

#[test]
fn what_does_not_fit_is_said_and_devices_are_left_out() {
    let folder = tempfile::TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("d/a")).unwrap();
    let file = [Part::Folder("d/", 0o755), Part::File("d/a", "x", 0o644)];
    let done = unpack(archive(&file).as_slice(), &to(folder.path(), "d"), false, &Told::default());
    assert!(matches!(done, Err(CopyError::FileOverFolder { .. })));
    let pipe = [Part::Folder("d/", 0o755), Part::Pipe("d/pipe"), Part::File("d/b", "x", 0o644)];
    let copied = unpack(archive(&pipe).as_slice(), &to(folder.path(), "d"), false, &Told::default()).unwrap();
    assert_eq!((copied.files, copied.left_out.len()), (1, 1));
    // by the name that it would have, and not by one that is gone
    let copied = unpack(archive(&pipe).as_slice(), &to(folder.path(), "new"), false, &Told::default()).unwrap();
    assert_eq!(copied.left_out, [folder.path().join("new/pipe").display().to_string()]);
    let file = [Part::Folder("d/", 0o755), Part::File("d/a", "x", 0o644), Part::Folder("d/a/b/", 0o755)];
    match unpack(archive(&file).as_slice(), &to(folder.path(), "other"), false, &Told::default()) {
        Err(CopyError::FolderOverFile { path }) => assert_eq!(path, folder.path().join("other/a")),
        other => panic!("{other:?}"),
    }
    assert!(unpack(archive(&[]).as_slice(), &to(folder.path(), "x"), false, &Told::default()).is_err());
    assert!(unpack([7_u8; 2000].as_slice(), &to(folder.path(), "x"), false, &Told::default()).is_err());
    assert_eq!(names(folder.path()), ["d", "new"]);
}

#[test]
fn an_archive_without_its_end_is_damaged() {
    let folder = tempfile::TempDir::new().unwrap();
    // empty bytes of a file are no end
    let zeros = "\0".repeat(4000);
    for parts in [&SITE[..], &[Part::Folder("d/", 0o755), Part::File("d/zeros", &zeros, 0o644)]] {
        let whole = archive(parts);
        for missing in [1024, 512] {
            let cut = whole.get(..whole.len() - missing).unwrap();
            let done = unpack(cut, &to(folder.path(), "new"), false, &Told::default());
            assert!(matches!(done, Err(CopyError::Damaged { .. })), "{done:?}");
            assert!(names(folder.path()).is_empty());
        }
    }
}

/// An archive of one file whose header somebody else has filled in.
fn one(change: impl Fn(&mut tar::Header)) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(1);
    header.set_mode(0o4755);
    header.set_mtime(1_700_000_000);
    change(&mut header);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, b"x".as_slice()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn nothing_of_somebody_else_runs_as_this_user() {
    let folder = tempfile::TempDir::new().unwrap();
    let own = fs::metadata(folder.path()).unwrap();
    let other = one(|header| {
        header.set_uid(u64::from(own.uid()) + 1);
        header.set_gid(own.gid().into());
    });
    unpack(other.as_slice(), &to(folder.path(), "a"), true, &Told::default()).unwrap();
    let found = fs::metadata(folder.path().join("a")).unwrap();
    // root can give it to the other one
    let expected = if found.uid() == own.uid() { 0o755 } else { 0o4755 };
    assert_eq!(found.mode() & 0o7777, expected);
}

#[test]
fn a_time_that_no_clock_has_is_left_out() {
    let folder = tempfile::TempDir::new().unwrap();
    // one second before 1970, as GNU tar writes it
    let early = one(|header| header.as_old_mut().mtime = [0xff; 12]);
    unpack(early.as_slice(), &to(folder.path(), "a"), false, &Told::default()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "x");
}

#[test]
fn the_target_is_where_links_lead() {
    let folder = tempfile::TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    for (link, to) in [("to-file", "file"), ("to-nothing", "new"), ("round", "round"), ("to-folder", ".")] {
        symlink(to, at(link)).unwrap();
    }
    let real = fs::canonicalize(folder.path()).unwrap();
    assert_eq!(look(&at("to-file")).unwrap(), (real.join("file"), There::File));
    assert_eq!(look(&at("to-nothing")).unwrap(), (at("new"), There::Nothing));
    assert_eq!(look(&at("to-folder")).unwrap(), (at("to-folder"), There::Folder));
    assert_eq!(look(&at("new")).unwrap().1, There::Nothing);
    assert_eq!(look(&at("file/below")).unwrap().1, There::Nothing);
    assert_eq!(look(&at("file")).unwrap(), (at("file"), There::File));
    assert_eq!(look(Path::new("/dev/null")).unwrap().1, There::Other);
    assert!(matches!(look(&at("round")), Err(CopyError::Write { .. } | CopyError::Circle { .. })));
}
