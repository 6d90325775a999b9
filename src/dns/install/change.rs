//! Changes to the system's files that can be taken back exactly: what is going to be done is on disk
//! before it is done, beside copies of what was there and of what comes there.
//!
//! | file in the folder | holds |
//! |---|---|
//! | `receipt.json` | the rung, whether it was carried out, and the files with their checksums |
//! | `<name>.before`, `<name>.after` | a file as it was, and as we leave it |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{InstallError, Rung};
use crate::host::kept::{self, checksum, read};
use crate::host::{Command, Copies, FileNow, Host, KeptFile, ReceiptError};
use crate::model::AnyError;

/// Raised when an older macula could no longer undo what is written here.
const FORMAT: u64 = 1;
/// In every file that is wholly ours.
pub const HEADER: &str = "macula: written by `macula dns install`; `macula dns uninstall` removes this file";
/// Around our part of a file that is not ours.
pub const BEGIN: &str = "# >>> macula dns: put here by `macula dns install`, taken out by `macula dns uninstall`";
pub const END: &str = "# <<< macula dns";
/// The folder below that of what points the system at the resolver, for what makes it a service.
pub const SERVICE: &str = "service";
/// Followed one after the other, as the kernel does.
const LINKS: usize = 40;
/// In front of a line of the file that is out of force for as long as our part is there.
const MUTED: &str = "#macula# ";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    format: u64,
    pub rung: Rung,
    /// False: a run was ended in the middle, in either direction.
    pub complete: bool,
    pub address: SocketAddr,
    pub domains: Vec<String>,
    pub files: Vec<Written>,
    /// Folders that were made for them, outermost first.
    pub folders: Vec<PathBuf>,
}

/// A file of the system's that we write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    #[serde(flatten)]
    pub file: KeptFile,
    /// The file is ours as a whole, and not only a part of it.
    pub whole: bool,
    /// Written as root.
    pub root: bool,
}

/// What a file is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub path: PathBuf,
    pub content: Content,
    pub root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Holds [`HEADER`].
    Whole(String),
    /// In front of what is there. `mute`: lines with this first word are put out of force.
    First { part: String, mute: Option<&'static str> },
    /// Behind what is there.
    Last { part: String },
}

impl Content {
    /// The whole file with it, as it is to be.
    fn over(&self, before: &[u8]) -> Vec<u8> {
        let block = |part: &str| format!("{BEGIN}\n{part}{END}\n").into_bytes();
        match self {
            Self::Whole(text) => text.clone().into_bytes(),
            Self::First { part, mute } => {
                let mut out = block(part);
                for line in before.split_inclusive(|byte| *byte == b'\n') {
                    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                    if mute.is_some_and(|mute| word == mute.as_bytes()) {
                        out.extend_from_slice(MUTED.as_bytes());
                    }
                    out.extend_from_slice(line);
                }
                out
            }
            Self::Last { part } => {
                let mut out = before.to_vec();
                if !out.is_empty() && !out.ends_with(b"\n") {
                    out.push(b'\n');
                }
                out.extend(block(part));
                out
            }
        }
    }
}

/// A file without our part; none when it has none.
pub fn without_our_part(content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len());
    let (mut inside, mut ended) = (false, false);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text == BEGIN.as_bytes() {
            inside = true;
        } else if inside && text == END.as_bytes() {
            (inside, ended) = (false, true);
        } else if !inside {
            out.extend_from_slice(line.strip_prefix(MUTED.as_bytes()).unwrap_or(line));
        }
    }
    // an end that is missing could cut away everything
    (ended && !inside).then_some(out)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> InstallError + '_ {
    |source| InstallError::Io { path: path.to_owned(), source }
}

impl Receipt {
    fn path(folder: &Path) -> PathBuf {
        folder.join("receipt.json")
    }

    fn kept(folder: &Path, file: &Path, when: &str) -> PathBuf {
        folder.join(format!("{}.{when}", file.file_name().unwrap_or_default().to_string_lossy()))
    }

    /// None: nothing was done that is not undone.
    pub async fn load(host: &dyn Host, folder: &Path) -> Result<Option<Self>, InstallError> {
        let path = Self::path(folder);
        kept::load(host, &path, "format", FORMAT).await.map_err(|error| match error {
            ReceiptError::Damaged { path, source } => InstallError::Receipt { path, source },
            ReceiptError::Newer { path } => {
                InstallError::Receipt { path, source: AnyError::said("a newer macula wrote it") }
            }
            ReceiptError::Io(source) => InstallError::Io { path, source },
        })
    }

    /// Whether the resolver was made a service of the system's, which runs whenever the machine does. `folder`: the one
    /// of what points the system at it.
    pub async fn is_service(host: &dyn Host, folder: &Path) -> bool {
        let receipt = Self::load(host, &folder.join(SERVICE)).await.ok().flatten();
        receipt.is_some_and(|receipt| receipt.complete && receipt.rung == Rung::SystemService)
    }

    async fn save(&self, host: &dyn Host, folder: &Path) -> Result<(), InstallError> {
        let path = Self::path(folder);
        kept::save(host, &path, self).await.map_err(io(&path))
    }

    /// Looks at the files and writes down what is going to be done. Nothing of the system is changed.
    pub async fn prepare(
        host: &dyn Host,
        folder: &Path,
        rung: Rung,
        (address, domains): (SocketAddr, &[String]),
        wanted: &[Wanted],
    ) -> Result<Self, InstallError> {
        let mut receipt = Self {
            format: FORMAT,
            rung,
            complete: false,
            address,
            domains: domains.to_vec(),
            files: Vec::new(),
            folders: Vec::new(),
        };
        for want in wanted {
            let mut path = want.path.clone();
            let mut before = read(host, &path).await?;
            let whole = matches!(want.content, Content::Whole(_));
            if before.is_none() && !whole {
                path = end_of_links(host, path).await;
            }
            let path = &path;
            if let (Some(there), true) = (&before, whole) {
                if !String::from_utf8_lossy(there).contains(HEADER) {
                    return Err(InstallError::Foreign { path: path.clone() });
                }
                // of a run whose receipt is lost: ours to replace, and to remove
                before = None;
            }
            // the same of a part
            before = before.map(|there| without_our_part(&there).unwrap_or(there));
            let after = want.content.over(before.as_deref().unwrap_or_default());
            let kept = Self::kept(folder, path, "after");
            host.write(&kept, &after, 0o600).await.map_err(io(&kept))?;
            if let Some(before) = &before {
                let kept = Self::kept(folder, path, "before");
                host.write(&kept, before, 0o600).await.map_err(io(&kept))?;
            }
            receipt.files.push(Written {
                file: KeptFile::new(path, before.as_deref(), Some(&after)),
                whole,
                root: want.root,
            });
            let mut missing = Vec::new();
            for above in path.ancestors().skip(1) {
                if host.exists(above).await {
                    break;
                }
                missing.push(above.to_owned());
            }
            missing.retain(|folder| !receipt.folders.contains(folder));
            receipt.folders.extend(missing.into_iter().rev());
        }
        receipt.save(host, folder).await?;
        Ok(receipt)
    }

    /// Writes the files.
    pub async fn write(&self, host: &dyn Host, folder: &Path) -> Result<(), InstallError> {
        let root = self.files.iter().any(|file| file.root);
        for made in self.folders.iter().filter(|_| root) {
            let name = made.to_string_lossy().into_owned();
            host.run(&Command::new("mkdir", ["-p".to_owned(), "-m755".to_owned(), name]).privileged()).await?;
        }
        for Written { file, root, .. } in &self.files {
            let kept = Self::kept(folder, &file.path, "after");
            let content = host.read(&kept).await.map_err(io(&kept))?;
            // what is there already, of a run whose receipt is lost, needs no right to write it
            if read(host, &file.path).await?.as_ref() != Some(&content) {
                kept::put(host, &file.path, Some(&content), *root).await?;
            }
        }
        Ok(())
    }

    /// It holds.
    pub async fn complete(&mut self, host: &dyn Host, folder: &Path) -> Result<(), InstallError> {
        Self { complete: true, ..self.clone() }.save(host, folder).await?;
        self.complete = true;
        Ok(())
    }

    /// Whether lines of a file are out of force now.
    pub async fn mutes(&self, host: &dyn Host) -> bool {
        for Written { file, .. } in &self.files {
            let there = host.read(&file.path).await.unwrap_or_default();
            if there.split(|byte| *byte == b'\n').any(|line| line.starts_with(MUTED.as_bytes())) {
                return true;
            }
        }
        false
    }

    /// Whether every file is as we left it.
    pub async fn intact(&self, host: &dyn Host) -> Result<bool, InstallError> {
        self.all(host, |file| file.after.as_ref()).await
    }

    /// Files that are gone, and files that are not as we left them.
    pub async fn strayed(&self, host: &dyn Host) -> Result<(Vec<PathBuf>, Vec<PathBuf>), InstallError> {
        let (mut missing, mut changed) = (Vec::new(), Vec::new());
        for Written { file, .. } in &self.files {
            match read(host, &file.path).await? {
                None => missing.push(file.path.clone()),
                Some(now) if file.after != Some(checksum(&now)) => changed.push(file.path.clone()),
                Some(_) => {}
            }
        }
        Ok((missing, changed))
    }

    /// Whether every file is as it was.
    pub async fn untouched(&self, host: &dyn Host) -> Result<bool, InstallError> {
        self.all(host, |file| file.before.as_ref()).await
    }

    async fn all(&self, host: &dyn Host, sum: impl Fn(&KeptFile) -> Option<&String>) -> Result<bool, InstallError> {
        for Written { file, .. } in &self.files {
            if read(host, &file.path).await?.as_deref().map(checksum).as_ref() != sum(file) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts every file back; what somebody else changed meanwhile is told in the notes. May be run
    /// again after it was ended in the middle.
    pub async fn undo(&self, host: &dyn Host, folder: &Path) -> Result<Vec<String>, InstallError> {
        if self.complete {
            Self { complete: false, ..self.clone() }.save(host, folder).await?;
        }
        let mut notes = Vec::new();
        for file in &self.files {
            notes.extend(undo_file(host, folder, file).await?);
        }
        for made in self.folders.iter().rev() {
            let name = made.to_string_lossy().into_owned();
            let command = Command::new("rmdir", [name]).may_fail();
            let root = self.files.iter().any(|file| file.root);
            // one that somebody else put something into stays
            let _ = host.run(&if root { command.privileged() } else { command }).await;
        }
        Ok(notes)
    }

    /// Forgets it, once everything is undone.
    pub async fn forget(&self, host: &dyn Host, folder: &Path) -> Result<(), InstallError> {
        for Written { file, .. } in &self.files {
            for when in ["before", "after"] {
                let kept = Self::kept(folder, &file.path, when);
                host.remove(&kept).await.map_err(io(&kept))?;
            }
        }
        let path = Self::path(folder);
        host.remove(&path).await.map_err(io(&path))
    }
}

/// Where a file comes to lie that is written to a path with nothing behind it: the path may be a link to what another
/// program has not made yet. That link is not ours to remove.
async fn end_of_links(host: &dyn Host, mut path: PathBuf) -> PathBuf {
    for _ in 0..LINKS {
        let command = Command::new("readlink", [path.to_string_lossy().into_owned()]).may_fail();
        let Ok(said) = host.run(&command).await else { break };
        let said = said.stdout();
        let to = said.trim_end_matches('\n');
        if to.is_empty() {
            break;
        }
        path = path.parent().unwrap_or(Path::new("/")).join(to);
    }
    path
}

/// What is to be told.
async fn undo_file(host: &dyn Host, folder: &Path, written: &Written) -> Result<Option<String>, InstallError> {
    let Written { file, whole, root } = written;
    let path = &file.path;
    let shown = path.display();
    let copies = Copies {
        before: match &file.before {
            Some(_) => read(host, &Receipt::kept(folder, path, "before")).await?,
            // one that lies there of an earlier run is not of this file
            None => None,
        },
        after: read(host, &Receipt::kept(folder, path, "after")).await?,
    };
    let now = match file.now(host, &copies).await? {
        FileNow::AsItWas => return Ok(None),
        FileNow::Gone => return Ok(Some(format!("{shown} was removed meanwhile, and is left so"))),
        FileNow::Ours => {
            if let Some(former) = file.former(&copies) {
                kept::put(host, path, former, *root).await?;
                return Ok(None);
            }
            let there = read(host, path).await?.unwrap_or_default();
            let Some(rest) = without_our_part(&there) else {
                return Ok(Some(format!("the copy of what {shown} was is lost; the file is left as it is")));
            };
            kept::put(host, path, Some(&rest), *root).await?;
            return Ok(Some(format!("the copy of what {shown} was is lost; macula's part was taken out")));
        }
        FileNow::Changed(now) => now,
    };
    if *whole {
        if !String::from_utf8_lossy(&now).contains(HEADER) {
            return Ok(Some(format!("{shown} is somebody else's now, and is left as it is")));
        }
        kept::put(host, path, None, *root).await?;
        return Ok(Some(format!("{shown} was changed meanwhile; it bore our mark and is removed")));
    }
    match without_our_part(&now) {
        Some(rest) if rest.is_empty() && file.before.is_none() => {
            kept::put(host, path, None, *root).await?;
            Ok(None)
        }
        Some(rest) => {
            kept::put(host, path, Some(&rest), *root).await?;
            Ok(Some(format!("{shown} was changed meanwhile; only our part of it was taken out")))
        }
        None => {
            Ok(Some(format!("{shown} has been rewritten in the meantime without macula's part, and is left as it is")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn our_part_stands_before_or_behind_what_is_there() {
        let first = |mute| Content::First { part: "ours\n".into(), mute };
        let last = Content::Last { part: "ours\n".into() };
        let block = format!("{BEGIN}\nours\n{END}\n");
        let servers = "# nameserver\nnameserver 192.0.2.1\nnameserver\t192.0.2.2\nnameservers x\n";
        let muted = "# nameserver\n#macula# nameserver 192.0.2.1\n#macula# nameserver\t192.0.2.2\nnameservers x\n";
        for (content, before, after) in [
            (Content::Whole("all\n".into()), "before\n", "all\n".to_owned()),
            (first(None), "", block.clone()),
            (first(None), servers, format!("{block}{servers}")),
            (first(Some("nameserver")), servers, format!("{block}{muted}")),
            (first(Some("nameserver")), "x\nnameserver y", format!("{block}x\n#macula# nameserver y")),
            (last.clone(), "", block.clone()),
            (last.clone(), "a\nb\n", format!("a\nb\n{block}")),
            // a line that was not ended is
            (last, "a\nb", format!("a\nb\n{block}")),
        ] {
            assert_eq!(text(content.over(before.as_bytes())), after, "{content:?} {before}");
        }
    }

    #[test]
    fn our_part_is_taken_out_and_nothing_else() {
        let block = format!("{BEGIN}\nours\n{END}\n");
        for (there, left) in [
            (format!("a\n{block}b\n"), Some("a\nb\n")),
            (format!("{block}#macula# nameserver x\n# macula# y"), Some("nameserver x\n# macula# y")),
            // of two runs whose receipts are lost
            (format!("{block}a\n{block}"), Some("a\n")),
            (block.clone(), Some("")),
            (format!("a\n{BEGIN}\nours\n{END}"), Some("a\n")),
            ("a\nb\n".to_owned(), None),
            (String::new(), None),
            (format!("a\n{END}\nb\n"), None),
            // an end that is missing would take everything along
            (format!("a\n{BEGIN}\nb\n"), None),
            (format!("{block}{BEGIN}\nb\n"), None),
            (format!("{BEGIN} \nb\n{END}\n"), None),
        ] {
            assert_eq!(without_our_part(there.as_bytes()).map(text).as_deref(), left, "{there}");
        }
    }
}
