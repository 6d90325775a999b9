//! The process of the resolver: started, ended, and replaced by one of this program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::error::ResolverError;
use crate::app::{Error, Session};
use crate::daemon::reach::Table;
use crate::dns::{Client, ControlError, Status};
use crate::host::{Command, Host, Lock, until};
use crate::model::Way;

use super::files::{ResolverFiles, StartedBy};
use super::others::{in_the_way, own_process, taken_but};
use super::wants::Wants;
use super::{LONGEST_LOG, SHORT};

/// How long a new one may take until it answers.
const START: Duration = Duration::from_secs(5);
/// The same of one that has become another program: another try would only disturb it.
const BECOME: Duration = Duration::from_secs(20);
/// How often a process that is to be started again when it was killed may be soon after its start.
const TOO_OFTEN: u32 = 5;
/// Until an old one has gone.
const STOP: Duration = Duration::from_secs(5);

pub(super) async fn lock(session: &Session, files: &ResolverFiles) -> Result<Lock, Error> {
    let patience = Some(Duration::from_secs(30));
    Ok(Lock::acquire(session.host(), &files.lock(), &session.command, patience, |_| {}).await?)
}

/// A connection to a resolver of our version, which is started where there is none.
pub(super) async fn running(session: &Session, files: &ResolverFiles, wanted: &Wants) -> Result<Client, Error> {
    let host = session.host();
    let control = files.control();
    let mut client = match Client::connect(&control).await {
        Ok(client) => client,
        Err(_) => match busy(session, files).await {
            Some(client) => client,
            None => return start(session, files).await,
        },
    };
    let status = client.status().await;
    let process = files.last_process(host).await;
    let by = process.as_ref().map(|process| process.started_by).unwrap_or_default();
    let current = match &status {
        Ok(status) => status.version == session.version,
        // of another version: its answer means nothing to us
        Err(ControlError::Malformed(_)) => false,
        Err(_) => return Err(ResolverError::from(status.err().unwrap_or(ControlError::Timeout)).into()),
    };
    let same = process.as_ref().is_some_and(|process| process.wants == *wanted);
    if current
        && !same
        && by != StartedBy::Hand
        && let Some(taken) = in_the_way(host, process.as_ref(), wanted).await
    {
        // ended, it would be missed by all platforms, and the next one would not start
        session.events.warn(format!("the resolver goes on as it is: {taken}"));
        return Ok(client);
    }
    // its page has started this command, and waits for it
    let ours = status.as_ref().is_ok_and(|status| status.pid == std::os::unix::process::parent_id());
    match by {
        _ if current && same => Ok(client),
        StartedBy::Hand => {
            let what = if current { "with other settings" } else { "of another version" };
            session.events.warn(format!("a resolver {what} runs in a terminal; stop it to have this one's"));
            Ok(client)
        }
        _ => match turn(by, current, ours) {
            Turn::HandsOver => renewed(session, files, client, &status, by).await.map(|(client, _)| client),
            Turn::Ends => anew(session, files, &mut client, &status, by).await,
            Turn::Stays => {
                session
                    .events
                    .warn("the resolver goes on with its former settings: `macula up` in a terminal changes them");
                Ok(client)
            }
        },
    }
}

/// What becomes of one of another version or of other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    HandsOver,
    Ends,
    Stays,
}

/// `ours`: its page waits for this command, and as another program it would not hear what came of it. A service cannot
/// end meanwhile: the next one starts only when it has ended. Any other one ends once its page has told it.
fn turn(by: StartedBy, current: bool, ours: bool) -> Turn {
    match by {
        StartedBy::Service if !current => Turn::HandsOver,
        StartedBy::Service if ours => Turn::Stays,
        StartedBy::Service => Turn::Ends,
        _ if ours => Turn::Ends,
        // what it is to do otherwise it reads as it begins: with its sockets, so that no question goes amiss
        _ => Turn::HandsOver,
    }
}

/// What became of the resolver that ran when its program was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// There was none.
    NotRunning,
    /// It continues as the new program, with its sockets: no question was lost.
    HandedOver,
    Restarted,
    /// It runs in somebody's terminal, or its service is another program.
    LeftAlone,
}

/// Makes the resolver go on as this program, which has just been replaced, where one runs.
pub async fn renew(session: &Session) -> Result<Renewal, Error> {
    let files = ResolverFiles::of(session.host());
    // what no resolver has made needs no lock either
    if Client::connect(&files.control()).await.is_err() {
        return Ok(Renewal::NotRunning);
    }
    let _lock = lock(session, &files).await?;
    let Ok(mut client) = Client::connect(&files.control()).await else { return Ok(Renewal::NotRunning) };
    let by = files.last_process(session.host()).await.map(|process| process.started_by).unwrap_or_default();
    if by == StartedBy::Hand {
        return Ok(Renewal::LeftAlone);
    }
    let status = client.status().await;
    renewed(session, &files, client, &status, by).await.map(|(_, how)| how)
}

/// One of another version, or of other settings, becomes this program, where it was started as the same one; else it ends
/// and this one is started.
async fn renewed(
    session: &Session,
    files: &ResolverFiles,
    mut client: Client,
    status: &Result<Status, ControlError>,
    by: StartedBy,
) -> Result<(Client, Renewal), Error> {
    // what was asked to become another is waited for, whatever the user does meanwhile
    let session = &Session { cancel: CancellationToken::new(), ..session.clone() };
    let host = session.host();
    let pid = files.last_process(host).await.map(|process| process.pid);
    let handed = client.hand_over(&session.program).await;
    if let (StartedBy::Service, Err(ControlError::Refused(_)), Ok(status)) = (by, &handed, status) {
        // started again it would be what it was
        session.events.warn(format!(
            "the resolver's service runs another macula (version {}): `macula dns install --service system` (or `user`) \
             makes it this one",
            status.version
        ));
        return Ok((client, Renewal::LeftAlone));
    }
    if let (Ok(()), Some(pid)) = (handed, pid)
        && let Some(next) = answering(session, &files.control(), BECOME, || host.alive(pid)).await
    {
        return Ok((next, Renewal::HandedOver));
    }
    let next = match Client::connect(&files.control()).await {
        Ok(mut client) => anew(session, files, &mut client, status, by).await?,
        Err(_) if by == StartedBy::Service => back(session, files).await?,
        Err(_) => start(session, files).await?,
    };
    Ok((next, Renewal::Restarted))
}

/// The one that runs ends, and another takes its place.
async fn anew(
    session: &Session,
    files: &ResolverFiles,
    client: &mut Client,
    status: &Result<Status, ControlError>,
    by: StartedBy,
) -> Result<Client, Error> {
    let pid = match status {
        Ok(status) => Some(status.pid),
        Err(_) => files.last_process(session.host()).await.map(|process| process.pid),
    };
    stop_resolver(client, &files.control(), status).await?;
    if let Some(pid) = pid {
        has_ended(session.host(), files, pid).await;
    }
    if by == StartedBy::Service { back(session, files).await } else { start(session, files).await }
}

/// Waits for the end of one that answers no more: until then it may have addresses and files that the next one needs.
/// One that hangs is not waited for.
async fn has_ended(host: &dyn Host, files: &ResolverFiles, pid: u32) {
    // the page of that one has started this command: it waits for us, and is done with all else once its file is gone
    let ours = std::os::unix::process::parent_id() == pid;
    let begun = Instant::now();
    while host.alive(pid) && begun.elapsed() < STOP {
        if ours && files.last_process(host).await.is_none_or(|process| process.pid != pid) {
            return;
        }
        tokio::time::sleep(SHORT).await;
    }
}

/// The system starts a service again.
async fn back(session: &Session, files: &ResolverFiles) -> Result<Client, Error> {
    let client = answering(session, &files.control(), START, || true).await;
    client.ok_or_else(|| not_started(files, "its service is not back"))
}

/// Asks it to stop, and waits until it has.
pub(in crate::app) async fn stop_resolver(
    client: &mut Client,
    control: &Path,
    status: &Result<Status, ControlError>,
) -> Result<(), Error> {
    client.stop().await.map_err(ResolverError::from)?;
    // what was asked to stop is waited for, whatever the user does meanwhile: it takes no time
    let nobody = CancellationToken::new();
    let gone =
        until(STOP, SHORT, &nobody, async || if Client::connect(control).await.is_err() { Ok(()) } else { Err(()) });
    match gone.await {
        Ok(()) => Ok(()),
        Err(_) => {
            Err(ResolverError::StillThere { pid: status.as_ref().map(|status| status.pid).unwrap_or_default() }.into())
        }
    }
}

async fn start(session: &Session, files: &ResolverFiles) -> Result<Client, Error> {
    start_at(session, files, &[]).await
}

/// `listen`: where it is to answer in place of what the platforms want.
async fn start_at(session: &Session, files: &ResolverFiles, listen: &[SocketAddr]) -> Result<Client, Error> {
    let host = session.host();
    let log = files.log();
    // there is none yet, or it is in order
    let _ = host.keep_end(&log, LONGEST_LOG).await;
    let before = usize::try_from(host.length(&log).await.unwrap_or_default()).unwrap_or(usize::MAX);
    let program = session.program.to_string_lossy().into_owned();
    let mut words: Vec<String> = ["dns", "serve", "--started-by=up"].map(str::to_owned).into();
    words.extend(listen.iter().map(|address| format!("--listen={address}")));
    if passes_on(host).await {
        // nothing is reached without it
        words.push("--keep".to_owned());
    }
    let command = Command::new(program, words).bind_only();
    let pid = host.spawn_detached(&command, &log).await?;
    if let Some(client) = answering(session, &files.control(), START, || host.alive(pid)).await {
        return Ok(client);
    }
    if let Some(taken) = taken_but(host, &[Some(pid), own_process(host).await]).await {
        return Err(taken.into());
    }
    let text = host.read(&log).await.unwrap_or_default();
    let said = String::from_utf8_lossy(text.get(before..).unwrap_or_default()).into_owned();
    Err(not_started(files, reason(&said)))
}

/// Whether the addresses of any platform lead through the background process.
async fn passes_on(host: &dyn Host) -> bool {
    let data = host.folders().data;
    for name in host.list(&data).await.unwrap_or_default() {
        if Table::read(host, &data.join(name)).await.is_some_and(|table| table.way != Way::Published) {
            return true;
        }
    }
    false
}

/// Starts the background process again whenever it was killed, until it ends by itself.
pub async fn keep_serving(host: &dyn Host, program: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let files = ResolverFiles::of(host);
    let program = program.to_string_lossy().into_owned();
    let command = Command::new(program, ["dns", "serve", "--started-by=up"]).bind_only();
    let mut soon = 0;
    loop {
        let begun = Instant::now();
        let pid = host.spawn_detached(&command, &files.log()).await?;
        tokio::select! {
            () = host.ended(pid) => {}
            () = cancel.cancelled() => return Ok(()),
        }
        // one that ended by itself has removed its file, and one that never came up has not written it
        let killed = files.last_process(host).await.is_some_and(|process| process.pid == pid);
        soon = if begun.elapsed() < START { soon + 1 } else { 0 };
        if !killed || soon > TOO_OFTEN {
            return Ok(());
        }
    }
}

/// The error in what it said; what stands before and after it is for the log.
fn reason(said: &str) -> &str {
    let error = said.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    error.or_else(|| said.lines().rev().map(str::trim).find(|line| !line.is_empty())).unwrap_or("it says nothing")
}

fn not_started(files: &ResolverFiles, said: &str) -> Error {
    ResolverError::NotStarted { log: files.log(), said: said.to_owned() }.into()
}

/// A connection to our own resolver, where it is there and did not take the first one.
async fn busy(session: &Session, files: &ResolverFiles) -> Option<Client> {
    let host = session.host();
    let pid = own_process(host).await?;
    answering(session, &files.control(), START, || host.alive(pid)).await
}

/// Waits until the control socket answers, as long as there is hope.
async fn answering(session: &Session, control: &Path, patience: Duration, hope: impl Fn() -> bool) -> Option<Client> {
    let answer = until(patience, SHORT, &session.cancel, async || {
        // hope first: what has ended meanwhile may have answered before
        let alive = hope();
        match Client::connect(control).await {
            Ok(client) => Ok(Some(client)),
            Err(_) if alive => Err(()),
            Err(_) => Ok(None),
        }
    });
    answer.await.ok().flatten()
}

/// Starts one where none runs or has been told to. True: it was so.
pub(in crate::app) async fn start_unless_there(
    session: &Session,
    files: &ResolverFiles,
    listen: impl AsyncFnOnce() -> Vec<SocketAddr>,
) -> Result<bool, Error> {
    let _lock = lock(session, files).await?;
    if Client::connect(&files.control()).await.is_ok() || busy(session, files).await.is_some() {
        return Ok(false);
    }
    start_at(session, files, &listen().await).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;
    use crate::app::testing::{Heard, heard_session};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[test]
    fn one_whose_page_waits_for_this_command_becomes_no_other_program() {
        use StartedBy::{Service, Up};
        for (by, current, ours, expected) in [
            (Up, true, false, Turn::HandsOver),
            (Up, false, false, Turn::HandsOver),
            (Up, true, true, Turn::Ends),
            (Up, false, true, Turn::Ends),
            (Service, true, false, Turn::Ends),
            (Service, true, true, Turn::Stays),
            (Service, false, false, Turn::HandsOver),
        ] {
            assert_eq!(turn(by, current, ours), expected, "{by:?} {current} {ours}");
        }
    }

    /// The system would start it again as the program that it was.
    #[tokio::test]
    async fn a_service_of_another_program_is_not_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("control.sock");
        let listener = UnixListener::bind(&control).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let requests = Arc::clone(&asked);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap_or_default() > 0 {
                requests.lock().unwrap().push(std::mem::take(&mut line));
                let refusal = "{\"is\":\"error\",\"message\":\"it was started as another program\"}\n";
                stream.write_all(refusal.as_bytes()).await.unwrap();
            }
        });
        let status = Status {
            version: "0.9.0".to_owned(),
            pid: 8,
            listen: Vec::new(),
            metrics: None,
            encrypted: Vec::new(),
            inner_metrics: Vec::new(),
            zones: Vec::new(),
            upstreams: Vec::new(),
            dropped_upstreams: Vec::new(),
            questions: 0,
            kept_back: 0,
            uptime_seconds: 0,
        };
        let (host, heard) = (FakeHost::new(), Arc::new(Heard::default()));
        let files = ResolverFiles::of(&host);
        let session = heard_session(host, &FakeEngine::new(), "macula up", &heard);
        let client = Client::connect(&control).await.unwrap();
        let (_, how) = renewed(&session, &files, client, &Ok(status), StartedBy::Service).await.unwrap();
        assert_eq!(how, Renewal::LeftAlone);
        assert_eq!(*asked.lock().unwrap(), ["{\"op\":\"hand-over\",\"program\":\"/usr/bin/macula\"}\n"]);
        assert_eq!(
            heard.said(),
            ["the resolver's service runs another macula (version 0.9.0): `macula dns install --service system` (or \
              `user`) makes it this one"]
        );
    }
}
