//! Programs with everything that they start: a process group each, and what has left it is found by the session or by
//! a mark in the environment.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::LocalHost;
use super::run::{AFTERWARDS, end_with_us, open_log, which};
use crate::host::{Command, Ending, Family, Grouped, RunError};
use crate::model::AnyError;

/// How much of an output is read at once.
const CHUNK: usize = 64 << 10;

struct Child {
    pid: u32,
    child: tokio::process::Child,
    /// Until nobody can write any more; none: it writes to its log itself.
    output: Option<JoinHandle<()>>,
    /// Until when more output is waited for, once it has ended.
    patience: Option<Instant>,
}

#[async_trait]
impl Grouped for Child {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn ended(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let code = match self.child.wait().await {
            Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            // somebody else has waited for it: nothing is known of its end
            Err(_) => 128,
        };
        // what it has started may write for as long as it likes; whoever asks again waits no longer
        let patience = *self.patience.get_or_insert_with(|| Instant::now() + AFTERWARDS);
        if let Some(output) = self.output.as_mut().filter(|output| !output.is_finished()) {
            let _ = timeout_at(patience, output).await;
        }
        code
    }

    async fn heard(&mut self) {
        if let Some(output) = self.output.take().filter(|output| !output.is_finished()) {
            // one that has panicked writes no more
            let _ = output.await;
        }
    }
}

/// Writes down what comes, to the end.
async fn write_down(mut output: pipe::Receiver, log: std::fs::File) {
    let mut log = tokio::fs::File::from_std(log);
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = output.read(&mut chunk).await {
        // a full disk is no reason to stop the program
        let _ = log.write_all(chunk.get(..count).unwrap_or_default()).await;
        let _ = log.flush().await;
    }
}

pub(super) fn start(host: &LocalHost, command: &Command, log: &Path) -> Result<Box<dyn Grouped>, RunError> {
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let missing = || RunError::Missing { command: line.clone(), program: command.program.clone() };
    let path = command.settings.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let program = in_folder(&command.program, command.cwd.as_deref());
    let program = which(&program, &path_in(path, command.cwd.as_deref())).ok_or_else(missing)?;
    let (file, _) = open_log(host, log).map_err(io)?;
    let mut ready = tokio::process::Command::new(program);
    ready.args(&command.args).env_clear().envs(&command.settings).process_group(0).stdin(Stdio::null());
    let piped = match command.writes_itself {
        true => {
            ready.stdout(file.try_clone().map_err(io)?).stderr(file);
            None
        }
        // not the file itself: a program that opens /dev/stderr would empty it
        false => {
            let (reader, writer) = std::io::pipe().map_err(io)?;
            let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(io)?;
            ready.stdout(writer.try_clone().map_err(io)?).stderr(writer);
            Some((reader, file))
        }
    };
    if let Some(folder) = &command.cwd {
        ready.current_dir(folder);
    }
    end_with_us(&mut ready);
    let child = ready.spawn().map_err(io)?;
    let pid =
        child.id().ok_or_else(|| RunError::Io { command: line.clone(), source: AnyError::said("it ended at once") })?;
    let output = piped.map(|(reader, file)| tokio::spawn(write_down(reader, file)));
    Ok(Box::new(Child { pid, child, output, patience: None }))
}

/// A program with a slash that is relative counts from the folder that it is run in.
fn in_folder(program: &str, folder: Option<&Path>) -> String {
    match folder {
        Some(folder) if program.contains('/') && !program.starts_with('/') => {
            folder.join(PathBuf::from(program)).to_string_lossy().into_owned()
        }
        _ => program.to_owned(),
    }
}

/// Where a program without a slash is looked for: relative folders, and empty ones, count from the same folder.
fn path_in(path: &str, folder: Option<&Path>) -> String {
    let Some(folder) = folder else { return path.to_owned() };
    let folders: Vec<String> = path.split(':').map(|one| folder.join(one).to_string_lossy().into_owned()).collect();
    folders.join(":")
}

/// Of proc_pid_stat(5): whether it runs, its process group and its session. The name before them may have spaces and
/// parentheses.
fn stat(text: &str) -> Option<(bool, u32, u32)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    Some((!matches!(state, "Z" | "X"), group, session))
}

pub(super) fn members(family: &Family) -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()).filter(|pid| *pid != own) else {
            continue;
        };
        // it may have ended meanwhile
        let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((true, group, session)) = stat(&text) else { continue };
        let marked = || {
            let Some(mark) = &family.mark else { return false };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        if family.group == Some(group) || family.session == Some(session) || marked() {
            found.push(pid);
        }
    }
    // where there is no such folder, the group is known by its first process
    if found.is_empty() && !Path::new("/proc/self/stat").exists() {
        let alive =
            |group: &u32| as_pid(*group).is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok());
        found.extend(family.group.filter(alive));
    }
    found
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

pub(super) fn end(pids: &[u32], ending: Ending) {
    let signal = match ending {
        Ending::Ask => Signal::TERM,
        Ending::Kill => Signal::KILL,
    };
    let proc = Path::new("/proc/self/stat").exists();
    for pid in pids.iter().filter_map(|pid| as_pid(*pid)) {
        let _ = match proc {
            true => rustix::process::kill_process(pid, signal),
            false => rustix::process::kill_process_group(pid, signal),
        };
    }
}

/// Returns when this process has ended, as the kernel tells it; at once where the kernel does not.
#[cfg(target_os = "linux")]
pub(super) async fn told_of_the_end(pid: u32) {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::{Interest, unix::AsyncFd};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // SAFETY: it is open, the `AsyncFd` owns it, and nobody changes which one an `OwnedFd` is
    if let Ok(process) = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) } {
        let _ = process.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::host::Host;

    #[test]
    fn fields_of_a_process() {
        assert_eq!(stat("7 (a) b) S 1 8 9 0 -1 4194560 1 0\n"), Some((true, 8, 9)));
        assert_eq!(stat("7 (x) Z 1 8 9 0\n"), Some((false, 8, 9)));
        assert_eq!(stat("7 x"), None);
    }

    #[test]
    fn a_relative_program_counts_from_its_folder() {
        assert_eq!(in_folder("./run", Some(Path::new("/p"))), "/p/./run");
        assert_eq!(in_folder("sh", Some(Path::new("/p"))), "sh");
        assert_eq!(in_folder("/bin/sh", Some(Path::new("/p"))), "/bin/sh");
        let path = "./node_modules/.bin::/usr/bin";
        assert_eq!(path_in(path, Some(Path::new("/p"))), "/p/./node_modules/.bin:/p/:/usr/bin");
        assert_eq!(path_in(path, None), path);
    }

    #[tokio::test]
    async fn what_opens_its_output_anew_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = LocalHost::with(BTreeMap::new(), Some(folder.path().to_owned()));
        let log = folder.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        // one that is left behind does not keep anybody waiting, and is heard
        let script = "(sleep 1; echo four) & echo one; echo two > /dev/stderr; echo three; exit 3";
        let settings = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let command = Command::new("sh", ["-c", script]).settings(settings.into());
        let mut started = host.start_group(&command, &log).await.unwrap();
        let brief = Duration::from_millis(10);
        while tokio::time::timeout(brief, started.ended()).await != Ok(3) {}
        while std::fs::read_to_string(&log).unwrap() != "before\none\ntwo\nthree\nfour\n" {
            tokio::time::sleep(brief).await;
        }
    }

    #[tokio::test]
    async fn what_writes_itself_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let host = LocalHost::with(BTreeMap::new(), Some(folder.path().to_owned()));
        let log = folder.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let script = "[ -f /dev/stdout ] && [ -f /dev/stderr ] && echo out && echo err >&2";
        let settings = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let command = Command::new("sh", ["-c", script]).settings(settings.into()).writes_itself();
        let mut started = host.start_group(&command, &log).await.unwrap();
        assert_eq!(started.ended().await, 0);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "before\nout\nerr\n");
    }

    #[tokio::test]
    async fn all_of_a_program_is_found_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let host = LocalHost::with(BTreeMap::new(), Some(folder.path().to_owned()));
        let log = folder.path().join("log");
        let mark = format!("MACULA_PROCESS=test-{}", std::process::id());
        // one stays in the group, the other has left it and the session
        let script = "setsid sleep 60 & sleep 60 & echo started; wait";
        let (name, value) = mark.split_once('=').unwrap();
        let settings =
            [("PATH", "/usr/bin:/bin"), (name, value)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let command = Command::new("sh", ["-c", script]).settings(settings.into()).cwd(folder.path());
        let mut started = host.start_group(&command, &log).await.unwrap();
        let family = Family { group: Some(started.pid()), session: None, mark: Some(mark) };
        while host.members(&family).len() < 3 || std::fs::read(&log).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        host.end(&host.members(&family), Ending::Ask);
        assert_eq!(started.ended().await, 143);
        while !host.members(&family).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let missing =
            Command::new("no-such-program", ["x"]).settings([("PASSWORD".to_owned(), "hunter2".to_owned())].into());
        let missing = host.start_group(&missing, &log).await.err().unwrap();
        assert_eq!(missing.to_string(), "`no-such-program x`: no-such-program is not installed");
    }
}
