//! Where a copy goes, and what the copied thing is called there: the rules of `docker cp`
//! (<https://docs.docker.com/reference/cli/docker/container/cp/>), which are those of `cp -r`.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// A path as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Without the marks at its end.
    pub path: PathBuf,
    /// It ends with `/` or `/.`: a folder is meant, or the one that a link leads to.
    pub folder: bool,
    /// It ends with `/.`: what is in the folder, and not the folder itself.
    pub contents: bool,
}

impl Written {
    /// In a container, where every path counts from the root.
    pub fn inside(typed: &str) -> Self {
        let marks = Self::of(typed);
        let mut path = PathBuf::from("/");
        for part in Path::new(typed).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    path.pop();
                }
                _ => {}
            }
        }
        // a root has no name that it could keep
        let contents = marks.contents || path.parent().is_none();
        Self { path, contents, ..marks }
    }

    /// On this machine.
    pub fn here(typed: &Path) -> Self {
        let marks = Self::of(&typed.to_string_lossy());
        // without `.` in the middle and slashes at the end
        Self { path: typed.components().collect(), ..marks }
    }

    fn of(typed: &str) -> Self {
        let contents = typed == "." || typed.ends_with("/.");
        let folder = contents || typed.ends_with('/') || typed == ".." || typed.ends_with("/..");
        Self { path: PathBuf::new(), folder, contents }
    }
}

/// What a copy starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// Its last name; empty for what has none.
    pub name: OsString,
    pub folder: bool,
    pub contents: bool,
}

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    Nothing,
    File,
    Folder,
    /// A device, a socket.
    Other,
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The folder that it is put into, which has to be there.
    pub folder: PathBuf,
    /// What it is called in it; `None`: what is in the copied folder comes into this one.
    pub name: Option<OsString>,
}

impl Target {
    pub fn path(&self) -> PathBuf {
        match &self.name {
            Some(name) => self.folder.join(name),
            None => self.folder.clone(),
        }
    }
}

/// Why there is nowhere to put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A file was to go into a folder that is not there.
    NoFolder,
    /// What was said to be a folder is a file.
    NotAFolder,
    /// A folder would take the place of a file.
    FolderOverFile,
    /// Neither a file nor a folder.
    Special,
}

pub fn target(from: &Thing, to: &Written, there: There) -> Result<Target, Refusal> {
    let called = || {
        let folder = to.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Target { folder: folder.to_owned(), name: to.path.file_name().map(ToOwned::to_owned) }
    };
    match there {
        There::Folder => {
            let name = Some(from.name.clone()).filter(|name| !from.contents && !name.is_empty());
            Ok(Target { folder: to.path.clone(), name })
        }
        There::File if from.folder => Err(Refusal::FolderOverFile),
        There::File if to.folder => Err(Refusal::NotAFolder),
        There::File => Ok(called()),
        There::Other => Err(Refusal::Special),
        There::Nothing if to.folder && !from.folder => Err(Refusal::NoFolder),
        There::Nothing => Ok(called()),
    }
}

/// The path of an archive's entry below the thing that was packed, whose own entry comes first. Engines call that one
/// `etc/`, `./`, `/` or as it is written. The error: an archive of one thing has no such path in it.
pub fn below(first: &Path, entry: &Path) -> Result<PathBuf, ()> {
    let mut rest = parts(entry)?.into_iter();
    match parts(first)?.into_iter().all(|part| rest.next() == Some(part)) {
        true => Ok(rest.collect()),
        false => Err(()),
    }
}

fn parts(path: &Path) -> Result<Vec<OsString>, ()> {
    let mut all = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => all.push(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(()),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_by_their_end_what_they_mean() {
        let inside = |typed: &str| {
            let Written { path, folder, contents } = Written::inside(typed);
            (path.display().to_string(), folder, contents)
        };
        assert_eq!(inside("/etc/app"), ("/etc/app".to_owned(), false, false));
        assert_eq!(inside("etc//app/"), ("/etc/app".to_owned(), true, false));
        assert_eq!(inside("/etc/./app/."), ("/etc/app".to_owned(), true, true));
        assert_eq!(inside("/a/../../b"), ("/b".to_owned(), false, false));
        assert_eq!(inside("/"), ("/".to_owned(), true, true));
        assert_eq!(inside(""), ("/".to_owned(), false, true));
        let here = |typed: &str| Written::here(Path::new(typed));
        assert_eq!(here("site/"), Written { path: "site".into(), folder: true, contents: false });
        assert_eq!(here("./site/."), Written { path: "./site".into(), folder: true, contents: true });
        assert_eq!(here("."), Written { path: ".".into(), folder: true, contents: true });
        assert_eq!(here("../x"), Written { path: "../x".into(), folder: false, contents: false });
        assert_eq!(here(".."), Written { path: "..".into(), folder: true, contents: false });
    }

    /// Every row of the rules of `docker cp`.
    #[test]
    fn a_copy_goes_where_docker_cp_puts_it() {
        let file = Thing { name: "f".into(), folder: false, contents: false };
        let folder = Thing { name: "d".into(), folder: true, contents: false };
        let contents = Thing { contents: true, ..folder.clone() };
        let goes = |from: &Thing, to: &str, there| match target(from, &Written::inside(to), there) {
            Ok(target) if target.name.is_none() => format!("into {}", target.folder.display()),
            Ok(target) => target.path().display().to_string(),
            Err(refusal) => format!("{refusal:?}"),
        };
        assert_eq!(goes(&file, "/x/new", There::Nothing), "/x/new");
        assert_eq!(goes(&file, "/x/new/", There::Nothing), "NoFolder");
        assert_eq!(goes(&file, "/x/old", There::File), "/x/old");
        assert_eq!(goes(&file, "/x/old/", There::File), "NotAFolder");
        assert_eq!(goes(&file, "/x", There::Folder), "/x/f");
        assert_eq!(goes(&file, "/dev/null", There::Other), "Special");
        for from in [&folder, &contents] {
            assert_eq!(goes(from, "/x/new", There::Nothing), "/x/new");
            assert_eq!(goes(from, "/x/new/", There::Nothing), "/x/new");
            assert_eq!(goes(from, "/x/old", There::File), "FolderOverFile");
        }
        assert_eq!(goes(&folder, "/x", There::Folder), "/x/d");
        assert_eq!(goes(&contents, "/x", There::Folder), "into /x");
        let root = Thing { name: OsString::new(), folder: true, contents: true };
        assert_eq!(goes(&root, "/x", There::Folder), "into /x");
        let here = target(&file, &Written::here(Path::new("new")), There::Nothing).unwrap();
        assert_eq!((here.folder.to_str(), here.path().to_str()), (Some("."), Some("./new")));
    }

    #[test]
    fn entries_are_named_from_the_thing_that_was_packed() {
        let named = |first: &str, entry: &str| {
            below(Path::new(first), Path::new(entry)).map(|path| path.display().to_string()).ok()
        };
        assert_eq!(named("etc/", "etc/").as_deref(), Some(""));
        assert_eq!(named("etc/", "etc/a/b").as_deref(), Some("a/b"));
        assert_eq!(named("./", "./a").as_deref(), Some("a"));
        assert_eq!(named("/", "/bin/sh").as_deref(), Some("bin/sh"));
        assert_eq!(named("etc/", "usr/a"), None);
        assert_eq!(named("etc/", "etc/../../passwd"), None);
    }
}
