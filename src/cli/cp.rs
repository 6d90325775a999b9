use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::app::{
    Copied, CopyError, CopyOptions, Error, Inside, LogSource, Session, ToldCopied, archive_of, copy_from, copy_to,
    pack_from, unpack_to,
};
use crate::model::{Again, macula};

use super::containers::Containers;
use super::context::Context;
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::ui::text;

/// Copy files and folders between a service's container and this machine
///
/// One side is SERVICE:PATH, the other a path of this machine, or `-` for a tar archive on standard input or output. The
/// container does not have to be running. Paths mean what they mean to `docker cp`: a folder that exists gets the copy, any
/// other path becomes its name; `FOLDER/.` is what is in the folder. Without `--index` all containers of a service get the
/// copy, and the first one is copied from. Files belong to root in the container, and to you on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula cp web:/etc/nginx/nginx.conf .\n  macula cp dump.sql postgres:/tmp/\n  \
                  macula cp web:/var/log - | tar -tf -")]
pub struct Args {
    /// SERVICE:PATH, a path of this machine, or -
    #[arg(value_name = "FROM")]
    from: OsString,
    /// The same; one of the two has to name a service
    #[arg(value_name = "TO")]
    to: OsString,
    /// Follow FROM if it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Keep owner and group by their numbers; on this machine only root can give files to others
    #[arg(short, long)]
    archive: bool,
    /// Which container of a service with several, counted from 1
    #[arg(long, value_name = "NUMBER")]
    index: Option<usize>,
}

/// How a path of this machine is written that looks like one in a container.
const COLON: &str = "a path of this machine with a colon is written as ./NAME";

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    Stream,
    Here(PathBuf),
    Inside { service: String, path: String },
}

impl Side {
    fn of(typed: &OsStr) -> Self {
        let here = || Self::Here(typed.into());
        let Some(text) = typed.to_str() else { return here() };
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            // no name of a service begins so, or has a slash in it
            Some((service, path)) if !service.is_empty() && !service.starts_with('.') && !service.contains('/') => {
                Self::Inside { service: service.to_owned(), path: path.to_owned() }
            }
            _ => here(),
        }
    }
}

/// Which way it goes. `None` on this machine: a standard stream.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Out { service: String, path: String, to: Option<PathBuf> },
    In { from: Option<PathBuf>, service: String, path: String },
}

impl Way {
    fn of(from: &OsStr, to: &OsStr) -> Result<Self, CliError> {
        let here = |side| match side {
            Side::Here(path) => Some(path),
            _ => None,
        };
        let way = match (Side::of(from), Side::of(to)) {
            (Side::Inside { .. }, Side::Inside { .. }) => {
                return Err(CliError::usage("copying from one container to another is not supported")
                    .hint("copy it to this machine first, and from there to the other one")
                    .hint(COLON));
            }
            (Side::Inside { service, path }, to) => Self::Out { service, path, to: here(to) },
            (from, Side::Inside { service, path }) => Self::In { from: here(from), service, path },
            _ => {
                return Err(CliError::usage("neither side names a service")
                    .hint("a path in a container is written as SERVICE:PATH: web:/etc/hosts"));
            }
        };
        let (Self::Out { service, path, to: other } | Self::In { service, path, from: other }) = &way;
        if path.is_empty() {
            return Err(CliError::usage(format!("`{service}:` has no path"))
                .hint(format!("`{service}:/` is the root folder of its container")));
        }
        if other.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(CliError::usage("a path of this machine is empty").hint("`.` is the current folder"));
        }
        Ok(way)
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let begun = Instant::now();
    let way = Way::of(&args.from, &args.to)?;
    let options = CopyOptions { follow: args.follow_link, archive: args.archive };
    standard_streams(context, &way)?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let name = context.platform_name()?;
    let session = context.session("cp").await;
    let (Way::Out { service, .. } | Way::In { service, .. }) = &way;
    // no service is named `dump-10`, and a file `dump-10:30.sql` lies here
    let lies_here = [&args.from, &args.to]
        .iter()
        .any(|typed| matches!(Side::of(typed), Side::Inside { .. }) && Path::new(typed).symlink_metadata().is_ok());
    let found = Containers::of(context, &session, &name, service)
        .await
        .map_err(|error| if lies_here { error.hint(COLON) } else { error })?;
    let _in_use = session.in_use(&name);
    let told = ToldCopied::default();
    let lines = || {
        let spinner = context.err_style().spinner(begun.elapsed());
        vec![format!("{spinner} copying {}  {}", text::bytes(told.bytes()), text::duration(begun.elapsed()))]
    };
    let (rows, path, place) = match &way {
        Way::Out { path, to, .. } => {
            let source = found.at(args.index.unwrap_or(1))?;
            let from = inside(&found, source, path);
            let Some(to) = to else { return to_stdout(context, &session, &from, options, &told).await };
            let work = copy_from(&session, &from, to, options, &told);
            let copied = context.while_looking(work, async {}, lines).await?;
            let path = copied.path.clone();
            (vec![(source.container.clone(), Some(copied))], path.clone(), path)
        }
        Way::In { from, path, .. } => {
            let targets = match args.index {
                Some(index) => vec![found.at(index)?],
                None => found.all.iter().collect(),
            };
            if from.is_none() && targets.len() > 1 {
                let all = text::count(targets.len(), "container");
                return Err(CliError::usage(format!(
                    "{} has {all}, and standard input can be read once",
                    found.service
                ))
                .hint("choose one of them with `--index`"));
            }
            let (mut rows, all) = (Vec::new(), targets.len());
            for source in targets {
                let to = inside(&found, source, path);
                let work = one(&session, from.as_deref(), &to, options, &told);
                let copied = context.while_looking(work, async {}, lines).await.map_err(|error| {
                    let mut error = CliError::from(error);
                    if !rows.is_empty() {
                        error.push_cause(format!("copied to {} of {all} containers before", rows.len()));
                    }
                    error
                })?;
                rows.push((source.container.clone(), copied));
            }
            let copied = rows.iter().find_map(|(_, copied)| copied.as_ref());
            let path = copied.map_or_else(|| path.clone(), |copied| copied.path.clone());
            let place = format!("{}:{path}", found.service);
            (rows, path, place)
        }
    };
    // each of several containers lacks the same
    for left in rows.first().and_then(|(_, copied)| copied.as_ref()).into_iter().flat_map(|copied| &copied.left_out) {
        context.events().warn(format!("{left} is left out: it is neither a file, a folder nor a link"));
    }
    if context.json() {
        let all: Vec<Value> =
            rows.iter().map(|(name, copied)| row(&found.service, name, copied, &path, &told)).collect();
        return context.print_json(&all);
    }
    context.finished(begun, true, false, summary(&rows, &place, &told));
    Ok(())
}

/// Into one container; nothing where an archive was passed on, of which nobody knows what was in it.
async fn one(
    session: &Session,
    from: Option<&Path>,
    to: &Inside<'_>,
    options: CopyOptions,
    told: &ToldCopied,
) -> Result<Option<Copied>, Error> {
    match from {
        Some(from) => copy_to(session, from, to, options, told).await.map(Some),
        None => unpack_to(session, archive_of(io::stdin()), to, told).await.map(|()| None),
    }
}

fn inside<'a>(found: &'a Containers, source: &'a LogSource, path: &'a str) -> Inside<'a> {
    Inside { engine: &*found.engine, service: &found.service, container: &source.container, path }
}

/// What cannot go through a terminal, or next to something else.
fn standard_streams(context: &Context, way: &Way) -> Result<(), CliError> {
    match way {
        Way::In { from: None, .. } if context.terminal.stdin_is_tty => {
            Err(CliError::usage("standard input is a terminal, and not an archive").hint("pipe a tar archive into it"))
        }
        Way::Out { to: None, .. } if context.json() => {
            Err(CliError::usage("an archive and a result as JSON cannot share standard output")
                .hint("leave out `-o json`, or copy to a file"))
        }
        Way::Out { to: None, .. } if context.terminal.stdout_is_tty => {
            Err(CliError::usage("standard output is a terminal, which cannot show an archive")
                .hint("pipe it into `tar`, or into a file"))
        }
        _ => Ok(()),
    }
}

async fn to_stdout(
    context: &Context,
    session: &Session,
    from: &Inside<'_>,
    options: CopyOptions,
    told: &ToldCopied,
) -> Result<(), CliError> {
    context.stdout_is_open()?;
    context.finish();
    let mut write = |piece: &[u8]| io::stdout().lock().write_all(piece);
    let written = match pack_from(session, from, options, told, &mut write).await {
        Err(Error::Copy(CopyError::Unsent { source })) => Err(source),
        Err(Error::Copy(error @ CopyError::Damaged { .. })) => {
            return Err(CliError::of(ErrorKind::Unexpected, &error)
                .hint("what was written is not the whole archive: a file was unreadable, or changed meanwhile"));
        }
        done => {
            done?;
            io::stdout().lock().flush()
        }
    };
    match written {
        // a reader that has gone away has seen enough
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io("write to standard output", &error))
        }
        _ => Ok(()),
    }
}

fn row(service: &str, container: &str, copied: &Option<Copied>, path: &str, told: &ToldCopied) -> Value {
    let none = Vec::new();
    json!({
        "service": service,
        "container": container,
        "path": copied.as_ref().map_or(path, |copied| &copied.path),
        "files": copied.as_ref().map(|copied| copied.files),
        "bytes": copied.as_ref().map_or_else(|| told.bytes(), |copied| copied.bytes),
        "left_out": copied.as_ref().map_or(&none, |copied| &copied.left_out),
    })
}

/// `copied 3 files (12 kB) to web:/srv`
fn summary(rows: &[(String, Option<Copied>)], place: &str, told: &ToldCopied) -> String {
    let what = match rows.first().and_then(|(_, copied)| copied.as_ref()) {
        Some(Copied { files, bytes, .. }) => {
            let count = usize::try_from(*files).unwrap_or(usize::MAX);
            format!("{} ({})", text::count(count, "file"), text::bytes(*bytes))
        }
        None => format!("an archive ({})", text::bytes(told.bytes())),
    };
    let times = match rows.len() {
        0 | 1 => String::new(),
        several => format!(" in {several} containers"),
    };
    format!("copied {what} to {place}{times}")
}

/// Why something was not copied.
pub(super) fn explained(error: &CopyError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        CopyError::NotThere { .. }
        | CopyError::NotAFolder { .. }
        | CopyError::Special { .. }
        | CopyError::Circle { .. }
        | CopyError::NotText { .. } => of(ErrorKind::Usage),
        CopyError::FolderOverFile { .. } | CopyError::FileOverFolder { .. } | CopyError::FolderOverLink { .. } => {
            of(ErrorKind::Usage)
                .hint("macula does not replace one with the other: choose another name, or remove it yourself")
        }
        CopyError::InMemory { service, folder, .. } => {
            let (exec, folder) = (macula("exec -T").arg(service).arg("tar"), folder.to_string_lossy());
            of(ErrorKind::Usage)
                .suggest(
                    exec.clone()
                        .arg("-cf")
                        .arg("-")
                        .arg("-C")
                        .arg(&*folder)
                        .arg(".")
                        .why("an archive of what is in it; unpack it here with `| tar -xf -` behind"),
                )
                .suggest(
                    exec.arg("-xf")
                        .arg("-")
                        .arg("-C")
                        .arg(folder)
                        .why("copies a file into it, with `tar -cf - FILE |` in front"),
                )
        }
        CopyError::ReadOnly { message, .. } => {
            let mut new = of(ErrorKind::Unexpected);
            new.push_cause(message.clone());
            new.hint("copy it into a volume of the service, or leave out `read_only` in its file")
        }
        CopyError::Read { source, .. } | CopyError::Write { source, .. } => {
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Privilege,
                _ => ErrorKind::Unexpected,
            };
            match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    of(kind).hint("check its owner and mode: this user has no permission")
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    of(kind).hint("free some space").again(Again::AsItIs)
                }
                _ => of(kind),
            }
        }
        CopyError::Damaged { .. } => of(ErrorKind::Unexpected)
            .hint("files that had already been copied into an existing folder stay there; nothing else was changed")
            .again(Again::AsItIs),
        CopyError::Unsent { .. } => of(ErrorKind::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(typed: &str) -> Side {
        Side::of(OsStr::new(typed))
    }

    #[test]
    fn a_side_is_a_container_where_it_names_a_service() {
        let inside = |service: &str, path: &str| Side::Inside { service: service.into(), path: path.into() };
        assert_eq!(side("web:/etc"), inside("web", "/etc"));
        assert_eq!(side("draw.macula.local:etc:x"), inside("draw.macula.local", "etc:x"));
        assert_eq!(side("-"), Side::Stream);
        for here in ["file", "./a:b", "/a:b", "../x:y", "d/a:b", ":x", ".:x"] {
            assert_eq!(side(here), Side::Here(here.into()), "{here}");
        }
    }

    #[test]
    fn one_side_is_a_container_and_the_other_is_not() {
        let way = |from: &str, to: &str| Way::of(OsStr::new(from), OsStr::new(to));
        let told = |from: &str, to: &str| way(from, to).unwrap_err().message;
        assert_eq!(way("web:/etc", "-").unwrap(), Way::Out { service: "web".into(), path: "/etc".into(), to: None });
        assert_eq!(
            way("a", "web:/etc").unwrap(),
            Way::In { from: Some("a".into()), service: "web".into(), path: "/etc".into() }
        );
        assert_eq!(told("a:/x", "b:/y"), "copying from one container to another is not supported");
        assert_eq!(told("x", "-"), "neither side names a service");
        assert_eq!(told("web:", "."), "`web:` has no path");
        assert_eq!(told("web:/etc", ""), "a path of this machine is empty");
    }

    #[test]
    fn what_was_copied_is_said_in_a_line() {
        let copied = Copied { files: 3, bytes: 1200, path: "/srv".into(), ..Copied::default() };
        let row = ("web-1".to_owned(), Some(copied));
        let told = ToldCopied::default();
        assert_eq!(summary(std::slice::from_ref(&row), "web:/srv", &told), "copied 3 files (1.2 kB) to web:/srv");
        assert_eq!(
            summary(&[row.clone(), row], "web:/srv", &told),
            "copied 3 files (1.2 kB) to web:/srv in 2 containers"
        );
        assert_eq!(summary(&[("web-1".into(), None)], "web:/srv", &told), "copied an archive (0 B) to web:/srv");
    }

    #[test]
    fn what_the_system_refuses_says_what_to_do() {
        let write = |kind: io::ErrorKind| CopyError::Write { path: "/x".into(), source: kind.into() };
        let full = explained(&write(io::ErrorKind::StorageFull));
        assert_eq!((full.message.as_str(), full.hints.len()), ("cannot write /x", 2));
        assert_eq!(explained(&write(io::ErrorKind::PermissionDenied)).kind, ErrorKind::Privilege);
        let message = "container rootfs is marked read-only".to_owned();
        let locked = explained(&CopyError::ReadOnly { place: "web:/".into(), message });
        assert_eq!((locked.causes.len(), locked.hints.len()), (1, 1));
        let place = "web:/run/x".to_owned();
        let memory = explained(&CopyError::InMemory { service: "web".into(), place, folder: "/run".into() });
        assert_eq!(memory.kind, ErrorKind::Usage);
        let told = "web:/run/x lies in memory (a tmpfs at /run), and the engine copies only what lies on disk";
        assert_eq!((memory.message.as_str(), memory.hints.len()), (told, 2));
    }
}
