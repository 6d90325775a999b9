//! The one place that starts programs.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{LocalHost, files};
use crate::host::{Capabilities, Command, LineSink, Output, RunError};
use crate::model::AnyError;

/// Where the system's own programs lie, which a user's PATH often leaves out.
const SYSTEM_PROGRAMS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Where root's programs are looked for first: what lies in a folder of the user's is not to become root's by its name.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of a failed program's output that its error shows.
const SHOWN_LINES: usize = 20;
/// How long more output is waited for when a program has ended: what it has started may keep its pipes open.
pub(super) const AFTERWARDS: Duration = Duration::from_millis(200);

impl LocalHost {
    /// The PATH with the system's own programs at its end.
    pub(super) fn search_path(&self) -> String {
        let path = self.environment.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
        let mut folders: Vec<&str> = path.split(':').filter(|folder| !folder.is_empty()).collect();
        for folder in SYSTEM_PROGRAMS {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.join(":")
    }

    /// Ready to start but for its streams; through `sudo -n` where root is needed and we are not.
    /// `wrapper` is a program with arguments that sudo is to run the command with.
    pub(super) fn prepared(&self, command: &Command, wrapper: &[&str]) -> Result<tokio::process::Command, RunError> {
        let line = command.to_string();
        let path = self.search_path();
        let missing = || RunError::Missing { command: line.clone(), program: command.program.clone() };
        let mut ready = if through_sudo(command) {
            let program = which_of_root(&command.program, &path).ok_or_else(missing)?;
            let sudo = which("sudo", &path).ok_or_else(|| RunError::Privilege { command: line.clone() })?;
            let mut ready = tokio::process::Command::new(sudo);
            // sudo cleans the environment, hence `env`; its own messages are looked at in C's words
            ready.args(["-n", "--"]).arg(which_of_root("env", &path).unwrap_or_else(|| "env".into()));
            ready.args(command.env.iter().map(|(name, value)| format!("{name}={value}")));
            if let Some((first, rest)) = wrapper.split_first() {
                ready.arg(which_of_root(first, &path).unwrap_or_else(|| first.into())).args(rest);
            }
            ready.arg(program);
            ready.env_clear().envs(&self.environment).env("LC_ALL", "C");
            ready
        } else {
            let program = which(&command.program, &path).ok_or_else(missing)?;
            let mut ready = tokio::process::Command::new(program);
            ready.env_clear().envs(&self.environment).env("PATH", path).envs(&command.env).envs(&command.settings);
            ready
        };
        ready.args(&command.args);
        if let Some(folder) = &command.cwd {
            ready.current_dir(folder);
        }
        Ok(ready)
    }
}

fn through_sudo(command: &Command) -> bool {
    command.privileged && !rustix::process::geteuid().is_root()
}

/// The first executable file of this name in `path`; a name with a slash is a path itself.
pub(super) fn which(program: &str, path: &str) -> Option<PathBuf> {
    let executable = |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(executable);
    }
    path.split(':').map(|folder| Path::new(folder).join(program)).find(executable)
}

/// The same for what root runs: the system's own, and what is in `path` only where there is none.
fn which_of_root(program: &str, path: &str) -> Option<PathBuf> {
    which(program, ROOT_PATH).or_else(|| which(program, path))
}

/// Ends a process group unless told that it has ended by itself: a caller who is cancelled must
/// leave nothing running.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

pub(super) async fn run(host: &LocalHost, command: &Command) -> Result<Output, RunError> {
    if let Some(log) = &command.to_its_end {
        return run_to_its_end(host, command, log).await;
    }
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let mut ready = host.prepared(command, &[])?;
    ready.process_group(0).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    ready.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = ready.spawn().map_err(io)?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));

    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(content)) = (stdin, &command.stdin) {
            // a program that does not read to the end says so with its status
            let _ = stdin.write_all(content).await;
        }
    };
    let whole = async { tokio::join!(feed, child.wait_with_output()).1 };
    let done = match command.timeout {
        None => whole.await,
        Some(after) => match tokio::time::timeout(after, whole).await {
            Ok(done) => done,
            Err(_) => return Err(RunError::Timeout { command: line, after }),
        },
    };
    group.0 = None;
    let done = done.map_err(io)?;
    judged(command, done.status, done.stdout, done.stderr)
}

/// As [`run`], told line by line.
pub(super) async fn run_watched(host: &LocalHost, command: &Command, said: LineSink<'_>) -> Result<Output, RunError> {
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let mut ready = host.prepared(command, &[])?;
    ready.process_group(0).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    ready.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = ready.spawn().map_err(io)?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut stdin), Some(content)) = (stdin, &command.stdin) {
            let _ = stdin.write_all(content).await;
        }
    };
    let whole = async {
        let (_, out, err) = tokio::join!(feed, lines(stdout, said), lines(stderr, said));
        (child.wait().await, out, err)
    };
    let (status, out, err) = match command.timeout {
        None => whole.await,
        Some(after) => match tokio::time::timeout(after, whole).await {
            Ok(done) => done,
            Err(_) => return Err(RunError::Timeout { command: line, after }),
        },
    };
    group.0 = None;
    judged(command, status.map_err(io)?, out, err)
}

/// The kernel ends the program when we end, however that happens.
pub(super) fn end_with_us(ready: &mut tokio::process::Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only prctl is called, a plain system call without allocation.
    unsafe {
        ready.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0);
            Ok(())
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = ready;
}

/// All of a stream; each line is told when it is whole. A carriage return ends one too: what programs
/// paint over.
async fn lines(stream: Option<impl AsyncRead + Unpin>, said: LineSink<'_>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut all, mut told) = (Vec::new(), 0);
    let mut chunk = [0u8; 4096];
    loop {
        let count = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        all.extend_from_slice(chunk.get(..count).unwrap_or_default());
        while let Some(rest) = all.get(told..)
            && let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))
        {
            let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            told += end + 1;
            if !line.trim().is_empty() {
                said(line.trim_end());
            }
        }
    }
    let rest = String::from_utf8_lossy(all.get(told..).unwrap_or_default()).into_owned();
    if !rest.trim().is_empty() {
        said(rest.trim_end());
    }
    all
}

/// Out of reach of the terminal's signals, and with a file to write to, so that it has somewhere to
/// write when we are gone. When time is out it is left to itself.
async fn run_to_its_end(host: &LocalHost, command: &Command, log: &Path) -> Result<Output, RunError> {
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let mut ready = host.prepared(command, &[])?;
    let (file, start) = open_log(host, log).map_err(io)?;
    ready.stdin(Stdio::null()).stdout(file.try_clone().map_err(io)?).stderr(file);
    if through_sudo(command) {
        // sudo remembers a password for the session that it was typed in: it has to stay there
        ready.process_group(0);
    } else {
        in_a_session_of_its_own(&mut ready);
    }
    let mut child = ready.spawn().map_err(io)?;
    let status = match command.timeout {
        None => child.wait().await,
        Some(after) => match tokio::time::timeout(after, child.wait()).await {
            Ok(status) => status,
            Err(_) => return Err(RunError::Timeout { command: line, after }),
        },
    };
    judged(command, status.map_err(io)?, Vec::new(), written_since(log, start).await)
}

async fn written_since(log: &Path, start: u64) -> Vec<u8> {
    let written = tokio::fs::read(log).await.unwrap_or_default();
    usize::try_from(start).ok().and_then(|start| written.get(start..)).unwrap_or_default().to_vec()
}

/// Opened for appending, and where that begins. Its folder is made.
pub(super) fn open_log(host: &LocalHost, log: &Path) -> std::io::Result<(File, u64)> {
    if let Some(parent) = log.parent() {
        files::create_folder(parent, None, &host.folders)?;
    }
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(flags);
    let file = match files::is_shared(log, &host.folders) {
        true => files::open_own(&options, log),
        false => options.create(true).open(log),
    };
    let file = file.map_err(files::no_link).map_err(files::naming("open", log))?;
    let metadata = file.metadata()?;
    if log.starts_with(&host.folders.data) {
        files::check_own(&metadata, log).map_err(files::naming("open", log))?;
    }
    let start = metadata.len();
    Ok((file, start))
}

fn in_a_session_of_its_own(ready: &mut tokio::process::Command) {
    // SAFETY: between fork and exec only setsid is called, a plain system call without allocation.
    unsafe {
        ready.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

/// Whether our data folder is root's own. Where it is a user's, root needs its power over others'
/// files to keep ours.
fn owns(host: &LocalHost) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(&host.folders.data).is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw())
}

/// Takes from the program and its children, for good, all powers of root's but the ports below 1024.
#[cfg(target_os = "linux")]
fn without_powers(ready: &mut tokio::process::Command, owns_its_files: bool) {
    const CAP_CHOWN: libc::c_ulong = 0;
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    const CAP_FOWNER: libc::c_ulong = 3;
    const CAP_NET_BIND_SERVICE: libc::c_ulong = 10;
    /// capabilities(7): there are fewer; the kernel refuses numbers that it does not know.
    const BEYOND_ALL: libc::c_ulong = 64;
    // SAFETY: between fork and exec only prctl is called, a plain system call without allocation.
    unsafe {
        ready.pre_exec(move || {
            for number in 0..BEYOND_ALL {
                let kept = number == CAP_NET_BIND_SERVICE
                    || (!owns_its_files && matches!(number, CAP_CHOWN | CAP_DAC_OVERRIDE | CAP_FOWNER));
                if !kept {
                    // refused to whoever is not root, who has no powers to lose
                    libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0);
                }
            }
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn without_powers(_: &mut tokio::process::Command, _: bool) {}

/// What its end means to the caller.
fn judged(command: &Command, ended: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Result<Output, RunError> {
    let line = command.to_string();
    let output = Output { status: ended.code(), stdout, stderr };
    if command.privileged && !output.success() && sudo_refused(&output.stderr()) {
        return Err(RunError::Privilege { command: line });
    }
    if output.success() || command.may_fail {
        return Ok(output);
    }
    Err(RunError::Failed { command: line, status: status_text(ended), output: last_lines(&output) })
}

/// sudo itself spoke, not the program: in C's words, see [`LocalHost::prepared`].
fn sudo_refused(stderr: &str) -> bool {
    const REFUSALS: [&str; 14] = [
        "sudo: a password is required",
        "sudo: a terminal is required",
        "sudo: sorry, ",
        "sudo: effective uid is not 0",
        "flag is set, which prevents sudo from running as root",
        "is not in the sudoers file",
        "is not allowed to execute",
        "may not run sudo",
        // sudo-rs, which has changed its words more than once
        "sudo: interactive authentication is required",
        "sudo: interaction required",
        "sudo: Interaction is required",
        "sudo: A terminal is required to authenticate",
        "sudo: Sorry, user ",
        "I'm afraid I can't do that",
    ];
    REFUSALS.iter().any(|words| stderr.contains(words))
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// The end of what it said on standard error, or else on standard output.
fn last_lines(output: &Output) -> String {
    let said = [output.stderr(), output.stdout()].into_iter().find(|text| !text.trim().is_empty());
    let Some(said) = said else { return "it said nothing".to_owned() };
    let lines: Vec<&str> = said.trim_end().lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
}

/// For what is started through sudo, which has to stay in our session (see [`run_to_its_end`]) and
/// would pass on the signals that it gets: the new session begins behind it. Says the pid, which
/// `setsid` and `nohup` keep.
const BEHIND_SUDO: &str = "if command -v setsid >/dev/null; then set -- setsid \"$@\"; else set -- nohup \"$@\"; fi
\"$@\" </dev/null >&2 & echo $!";

pub(super) async fn spawn_detached(host: &LocalHost, command: &Command, log: &Path) -> Result<u32, RunError> {
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let sudo = through_sudo(command);
    let wrapper: &[&str] = if sudo { &["sh", "-c", BEHIND_SUDO, "sh"] } else { &[] };
    let mut ready = host.prepared(command, wrapper)?;
    // what outlives us belongs to no program that is kept
    ready.env_remove("MACULA_PROCESS").env_remove("MACULA_PROCESS_NAME");
    let (file, start) = open_log(host, log).map_err(io)?;
    ready.stdin(Stdio::null());
    if command.cwd.is_none() {
        // so that it keeps no folder of the caller's busy
        ready.current_dir("/");
    }
    if sudo {
        ready.process_group(0).stdout(Stdio::piped()).stderr(file);
        let done = ready.spawn().map_err(io)?.wait_with_output().await.map_err(io)?;
        let output = judged(command, done.status, done.stdout, written_since(log, start).await)?;
        let pid = output.stdout().trim().parse();
        return pid.map_err(|_| RunError::Io { command: line.clone(), source: AnyError::said("it said no pid") });
    }
    ready.stdout(file.try_clone().map_err(io)?).stderr(file);
    in_a_session_of_its_own(&mut ready);
    if command.capabilities == Capabilities::BindOnly {
        without_powers(&mut ready, owns(host));
    }
    let child = ready.spawn().map_err(io)?;
    // dropped, not waited for: tokio reaps it should it end before us
    child.id().ok_or_else(|| RunError::Io { command: line.clone(), source: AnyError::said("it ended at once") })
}

/// The program gets the environment, the streams and the powers that this process has; of its files only those.
pub(super) fn become_program(host: &LocalHost, command: &Command, files: Vec<OwnedFd>) -> RunError {
    use std::os::unix::process::CommandExt;
    let line = command.to_string();
    let io = |error: std::io::Error| RunError::Io { command: line.clone(), source: error.into() };
    let mut ready = match host.prepared(command, &[]) {
        Ok(ready) => ready,
        Err(error) => return error,
    };
    for file in &files {
        if let Err(error) = rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()) {
            return io(error.into());
        }
    }
    io(ready.as_std_mut().exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_stays_longer_than_it_is_waited_for_is_left_to_itself() {
        let host = LocalHost::new();
        let run_for = async |script: &str, time: u64| {
            let command = Command::new("sh", ["-c", script]).to_its_end("/dev/null");
            run(&host, &command.timeout(Duration::from_millis(time))).await
        };
        assert!(matches!(run_for("exec sleep 1", 100).await, Err(RunError::Timeout { .. })));
        assert!(matches!(run_for("exit 3", 60_000).await, Err(RunError::Failed { .. })));
        assert!(run_for("exit 0", 60_000).await.is_ok());
    }

    #[test]
    fn a_refusal_of_sudo_is_told_from_a_failure_of_the_program() {
        assert!(sudo_refused("sudo: a password is required\n"));
        assert!(sudo_refused("dev is not in the sudoers file.\n"));
        for said in [
            "sudo: interactive authentication is required",
            "sudo: interaction required",
            "sudo: Interaction is required",
            "sudo: A terminal is required to authenticate",
            "sudo: Sorry, user dev may not use sudo here.",
            "sudo: I'm sorry dev. I'm afraid I can't do that",
        ] {
            assert!(sudo_refused(&format!("{said}\n")), "{said}");
        }
        assert!(!sudo_refused("Failed to enable unit: Interactive authentication required.\n"));
        assert!(!sudo_refused("sudo: unable to resolve host vm: Name or service not known\nE: no such package\n"));
    }

    #[test]
    fn root_runs_the_programs_of_the_system() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for name in ["env", "only-of-this-user"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        assert_eq!(which("env", &path), Some(folder.path().join("env")));
        assert!(which_of_root("env", &path).is_some_and(|found| !found.starts_with(folder.path())));
        assert_eq!(which_of_root("only-of-this-user", &path), Some(folder.path().join("only-of-this-user")));
        assert_eq!(which_of_root("no-such-program-here", &path), None);
    }

    #[test]
    fn the_end_of_what_it_said() {
        let numbered: String = (1..=30).map(|line| format!("{line}\n")).collect();
        let output =
            |stdout: &str, stderr: &str| Output { status: Some(1), stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(last_lines(&output("", &numbered)).lines().next(), Some("11"));
        assert_eq!(last_lines(&output("only here\n", " \n")), "only here");
        assert_eq!(last_lines(&output("", "")), "it said nothing");
    }
}
