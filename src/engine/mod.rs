//! The container engine behind one trait in four parts ([`Containers`], [`Images`], [`Networks`],
//! [`Streams`]): Docker and Podman over their socket ([`docker::Docker`]), and a fake for tests
//! ([`fake::FakeEngine`]). Both name what they do in the words of `operation`, so that a message in a
//! test is one that a user can meet.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::event::Progress;
use crate::model::{
    ContainerSpec, Facts, FileSpec, Hook, LabelledImage, NetworkSpec, ObservedContainer, ObservedImage,
    ObservedNetwork, ObservedVolume, Ulimit, VolumeSpec,
};

pub mod absent;
mod creation;
pub mod discover;
pub mod docker;
mod error;
pub mod fake;
mod moment;
mod operation;
mod swarm;

pub use docker::{ContextCache, PathRules, changed_here, pack_copy};
pub use error::{EngineError, ImageError, Wait};
pub use moment::for_a_moment;
pub use swarm::Swarm;

/// Receives progress of pulls, builds and loads.
pub type ProgressSink<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// RFC 3339, in UTC.
    pub time: String,
    /// As it is called by then: one that is still being made has a name of its own ([`crate::model::UNFINISHED`]).
    pub container: String,
    pub id: String,
    /// Its label [`crate::model::label::SERVICE`]; empty where it has none.
    pub service: String,
    pub happening: ContainerHappening,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerHappening {
    Created,
    Started,
    Died {
        exit_code: Option<i64>,
    },
    OutOfMemory,
    Healthy,
    Unhealthy,
    Paused,
    Unpaused,
    /// It has another name now.
    Renamed,
    Removed,
}

/// What to look at in one pass.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Everything with this value of [`crate::model::label::PLATFORM`].
    pub platform: String,
    /// And whatever else bears one of these names (foreign things in our way).
    pub containers: Vec<String>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    pub images: Vec<String>,
    /// And all containers, whoever's.
    pub everybody: bool,
    /// And all containers, whoever's, that bear one of these labels (`key=value`).
    pub labels: Vec<String>,
    /// Containers by name of which it counts when they started, which a list does not say of those that have ended.
    pub timed: Vec<String>,
    /// What the engine's lists say is enough; nothing is looked at one by one. Such a look waits for nobody,
    /// while the details of a container come only when the engine has done with starting it. Not known then:
    /// how one ended, how often it was started again, what a network's containers are.
    pub at_a_glance: bool,
}

/// The engine's part of [`crate::model::Observed`].
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub containers: Vec<ObservedContainer>,
    /// Containers of ours that a run did not come to complete before it was interrupted.
    pub unfinished: Vec<ObservedContainer>,
    pub networks: Vec<ObservedNetwork>,
    pub volumes: Vec<ObservedVolume>,
    pub images: BTreeMap<String, ObservedImage>,
    /// What [`Query::labels`] asked for, whatever else it is.
    pub labelled: Vec<ObservedContainer>,
}

/// What one `build` needs beside [`crate::model::Build`]: everything read and ready.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    pub tag: String,
    pub dockerfile: String,
    /// Folders copied into the context: (folder on the host, path in the context). The first may
    /// be the context itself with path `""`; `.dockerignore` there is obeyed.
    pub context: Vec<(PathBuf, String)>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub target: Option<String>,
    /// `host` for what we ship.
    pub network: Option<String>,
    pub no_cache: bool,
    /// Ask the registry for a newer base image.
    pub pull: bool,
    /// Images whose layers may be used again.
    pub cache_from: Vec<String>,
    /// Bytes.
    pub shm_size: Option<i64>,
    pub platform: Option<String>,
    pub extra_hosts: Vec<String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    /// The rules of what stays out of the context, where they are not those of its `.dockerignore`.
    pub ignore: Option<String>,
    /// Built by BuildKit where the engine has it.
    pub buildkit: bool,
    /// Nothing but BuildKit can build it.
    pub needs_buildkit: bool,
    /// The front end that the Dockerfile names, and whether the engine's own can do without it.
    pub syntax: Option<(String, bool)>,
    /// Name -> a folder of the host, or what BuildKit itself can fetch.
    pub contexts: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, SecretBytes>,
    /// Id -> socket of an agent.
    pub ssh: BTreeMap<String, PathBuf>,
}

/// What must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(pub Vec<u8>);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

#[derive(Debug, Clone)]
pub struct ExecOutput {
    pub exit_code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    pub follow: bool,
    /// Last lines; `None`: all.
    pub tail: Option<u64>,
    pub timestamps: bool,
    /// Seconds since the epoch.
    pub since: Option<i64>,
    pub until: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct LogLine {
    pub stderr: bool,
    /// Without the line's end.
    pub bytes: Vec<u8>,
}

/// What the counters of a container say at one moment; the use of a core is the difference of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a core since its start.
    pub cpu: Duration,
    /// Since the epoch, by the engine's clock; `None`: it does not say.
    pub at: Option<Duration>,
    /// Bytes, without the page cache.
    pub memory: u64,
    pub memory_limit: u64,
    pub network: Option<Transferred>,
    /// From and to disks.
    pub block: Option<Transferred>,
}

/// Bytes since the start, where they are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Received, or read.
    pub incoming: u64,
    /// Sent, or written.
    pub outgoing: u64,
}

/// One container engine, whole. Whoever needs only one of its parts asks for that part.
#[async_trait]
pub trait Engine: Containers + Images + Networks + Streams {
    async fn facts(&self) -> Result<Facts, EngineError>;
    /// When the engine itself was started, as it writes times; `None`: it does not say.
    fn started(&self) -> Option<String> {
        None
    }
    /// Orders for a swarm; `None`: it is an engine that knows no swarms.
    fn swarm(&self) -> Option<&dyn Swarm> {
        None
    }
    /// Reads its lists for the first [`Engine::find`] that comes soon, and looks at the files of this platform's
    /// containers that are asked for then, for who has other work until then.
    async fn look_ahead(&self, platform: Option<&str>) {
        let _ = platform;
    }
    /// Everything asked for, in as few calls as the API allows, side by side.
    async fn find(&self, query: &Query) -> Result<Found, EngineError>;
}

/// Containers from creation to removal.
#[async_trait]
pub trait Containers: Send + Sync {
    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError>;
    /// The variables that a container was made with, `KEY=value`, with those of its image; `None`:
    /// the engine does not say.
    async fn environment(&self, container: &str) -> Result<Option<Vec<String>>, EngineError> {
        let _ = container;
        Ok(None)
    }

    /// Where a container has files and folders of the engine's machine: the path in it, and the one there.
    async fn mounts(&self, container: &str) -> Result<Vec<(PathBuf, PathBuf)>, EngineError> {
        let _ = container;
        Ok(Vec::new())
    }

    /// Folders of a container that lie in memory and that the engine's archives do not reach: what an archive has there
    /// are files of the container's own, which the folder hides from its programs.
    async fn in_memory(&self, container: &str) -> Result<Vec<PathBuf>, EngineError> {
        let _ = container;
        Ok(Vec::new())
    }

    /// The test of a container's health check, its own or its image's, as in a Compose file. Empty: there is none, or the
    /// engine does not say.
    async fn health_test(&self, container: &str) -> Result<Vec<String>, EngineError> {
        let _ = container;
        Ok(Vec::new())
    }

    /// All containers, running or not, that bear this label (`key` or `key=value`), whoever's.
    async fn labelled(&self, label: &str) -> Result<Vec<ObservedContainer>, EngineError>;
    /// The name of each container with this label (`key=value`) whose state or health changes from now on.
    /// Nothing is ever said by an engine that announces nothing: who waits looks again now and then.
    async fn changes(&self, label: &str) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
        let _ = label;
        Ok(futures_util::stream::pending().boxed())
    }

    /// What happens to containers with this label (`key=value`) from now on. The stream ends with the engine; one that
    /// announces nothing never says anything.
    async fn container_events(
        &self,
        label: &str,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        let _ = label;
        Ok(futures_util::stream::pending().boxed())
    }

    /// Creates (does not start) a container from `image` (a reference or id) and copies `spec.files`
    /// in. A path that the image declares as a volume and the spec does not mount gets a named,
    /// labelled volume (`<container>-<path>`), so that no data is lost in an anonymous one.
    /// `fingerprint` and the spec's labels are put on. What bears its name is complete, also when
    /// this program is killed in between. Returns its id.
    async fn create_container(
        &self,
        spec: &ContainerSpec,
        image: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError>;
    async fn start(&self, container: &str) -> Result<(), EngineError>;
    /// Stop signal, grace period, then SIGKILL; no error when it is not running.
    async fn stop(&self, container: &str, grace: Option<Duration>) -> Result<(), EngineError>;
    async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError>;
    /// Why this engine cannot make such a container, as far as that can be told without asking it.
    fn refuses(&self, spec: &ContainerSpec) -> Option<String> {
        let _ = spec;
        None
    }
    async fn rename(&self, container: &str, name: &str) -> Result<(), EngineError>;
    /// Removes it, running or not; its volumes stay. No error when it is gone already.
    async fn remove_container(&self, container: &str) -> Result<(), EngineError>;
    /// As [`Containers::remove_container`], with the volumes that have no name.
    async fn discard_container(&self, container: &str) -> Result<(), EngineError>;
    /// Waits until the container has ended; its exit code.
    async fn wait(&self, container: &str) -> Result<i64, EngineError>;
    /// One look; asked for nothing twice, so that it takes no time of its own.
    async fn usage(&self, container: &str) -> Result<Usage, EngineError>;
}

/// Images: looked at, pulled, built, named, moved as archives.
#[async_trait]
pub trait Images: Send + Sync {
    async fn image(&self, reference: &str) -> Result<Option<ObservedImage>, EngineError>;
    /// The layers of an image, the lowest first: an archive that is loaded need not hold them once more. None for an
    /// image that is not there, and on an engine that wants whole archives.
    async fn layers(&self, reference: &str) -> Result<Vec<String>, EngineError> {
        let _ = reference;
        Ok(Vec::new())
    }
    /// All images that bear this label (a key), whoever made them.
    async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, EngineError>;
    /// Pulls one reference (with tag or digest).
    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        progress: ProgressSink<'_>,
    ) -> Result<ObservedImage, EngineError>;
    async fn build(&self, request: &BuildRequest, progress: ProgressSink<'_>) -> Result<ObservedImage, EngineError>;
    async fn tag(&self, image: &str, reference: &str) -> Result<(), EngineError>;
    /// To the registry that its name leads to, with the login that is known for it.
    async fn push(&self, reference: &str, progress: ProgressSink<'_>) -> Result<(), EngineError>;
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError>;
    /// What a reference means in its registry right now: the digest of its manifest or index
    /// (`sha256:...`). Nothing is pulled.
    async fn digest(&self, reference: &str) -> Result<String, EngineError>;
    /// A root file system as a tar stream becomes an image with one layer (`docker import`).
    async fn import(
        &self,
        tar: &Path,
        reference: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ObservedImage, EngineError>;
    /// Images as one archive (`docker save`), piece by piece.
    async fn export(
        &self,
        references: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError>;
    /// Images as one archive (`docker save`), written to `file`.
    async fn save(&self, references: &[String], file: &Path) -> Result<(), EngineError>;
    /// Loads an archive as it arrives; the references that it held.
    async fn load_from(
        &self,
        archive: BoxStream<'static, io::Result<Bytes>>,
        progress: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError>;
}

/// Networks and volumes: what outlives the containers that use it.
#[async_trait]
pub trait Networks: Send + Sync {
    /// All networks of the engine with their subnets, ours or not.
    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError>;
    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError>;
    async fn remove_network(&self, name: &str) -> Result<(), EngineError>;
    /// Gives a container that does not run this address in a network, in place of whatever it had
    /// there.
    async fn readdress(&self, container: &str, network: &str, address: Ipv4Addr) -> Result<(), EngineError>;
    /// Puts a container, running or not, into a network, with this address there if one is given; no error when it
    /// is in it.
    async fn join_network(&self, container: &str, network: &str, address: Option<Ipv4Addr>) -> Result<(), EngineError>;
    /// Takes it out; no error when it is not in it, or gone.
    async fn leave_network(&self, container: &str, network: &str) -> Result<(), EngineError>;
    async fn create_volume(&self, spec: &VolumeSpec, labels: &BTreeMap<String, String>) -> Result<(), EngineError>;
    /// Makes a volume with these labels unless one of this name is there; the labels of the one that is
    /// there now. Of several who ask at once, the first one's labels stay: this is what a lock is made of.
    async fn claim_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EngineError>;
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError>;
    /// Bytes that each volume takes on the engine's disk, where the engine counts them: this may take
    /// a while.
    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, EngineError> {
        Ok(BTreeMap::new())
    }
}

/// What flows into and out of a container: files, logs, programs run inside.
#[async_trait]
pub trait Streams: Send + Sync {
    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError>;
    /// Runs to its end, output kept (each stream at most 1 MiB).
    async fn exec(&self, container: &str, command: &[String], timeout: Duration) -> Result<ExecOutput, EngineError> {
        let request = AttachedExec { command: command.to_vec(), ..AttachedExec::default() };
        self.exec_as(container, &request, timeout).await
    }
    /// The same as a user, in a folder, with variables.
    async fn exec_as(
        &self,
        container: &str,
        request: &AttachedExec,
        timeout: Duration,
    ) -> Result<ExecOutput, EngineError>;
    /// Runs a command with the caller's own terminal or pipes attached (stdin, stdout, stderr of
    /// this process); returns its exit code.
    async fn exec_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError>;
    /// Starts a container that was made, with the caller's own terminal or pipes attached (stdin, stdout, stderr of
    /// this process); returns the exit code of its program. The command is the container's own.
    async fn run_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError>;
    async fn write_files(&self, container: &str, files: &[FileSpec]) -> Result<(), EngineError>;
    /// Starts a program and talks to it. An engine that cannot says so.
    async fn converse(&self, container: &str, request: &AttachedExec) -> Result<Conversation, EngineError> {
        let operation = operation::exec(container, &request.command);
        Err(EngineError::Other { operation, message: "this engine talks to no program".to_owned() })
    }
    /// Unpacks an archive in the root folder of a container, running or not.
    async fn unpack(&self, container: &str, archive: Vec<u8>) -> Result<(), EngineError>;
    /// What lies at a path of a container, running or not; a link is looked at, and not where it leads. `None`: nothing.
    async fn look_at(&self, container: &str, path: &str) -> Result<Option<PathInfo>, EngineError>;
    /// When what lies at a path of a container, running or not, was changed last: nanoseconds since the epoch. `None`:
    /// nothing lies there, or the engine does not say.
    async fn changed_at(&self, container: &str, path: &str) -> Result<Option<i128>, EngineError> {
        let _ = (container, path);
        Ok(None)
    }
    /// A file, a link, or a folder with everything in it, as an archive, piece by piece.
    async fn pack(
        &self,
        container: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError>;
    /// Unpacks an archive as it arrives in a folder of a container, running or not. A folder never takes the place of a
    /// file, or a file that of a folder.
    async fn unpack_in(
        &self,
        container: &str,
        folder: &str,
        archive: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), EngineError>;
    /// `None` when there is no such file.
    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError>;
    /// What the container holds at `file.path`. An engine that can tell otherwise that it is just
    /// `file.content` need not read it.
    async fn held_file(&self, container: &str, file: &FileSpec) -> Result<Option<Vec<u8>>, EngineError> {
        self.read_file(container, &file.path).await
    }
}

/// What lies at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathInfo {
    File {
        size: u64,
    },
    Folder,
    /// Where it leads, as the engine says it: from its own folder where that is no absolute path.
    Link {
        to: String,
    },
    /// A device, a socket.
    Other,
}

/// Both ends of a program in a container, which reads the end of its input when this is dropped.
pub struct Conversation {
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it writes to standard output.
    pub output: Pin<Box<dyn AsyncRead + Send>>,
}

#[derive(Debug, Clone, Default)]
pub struct AttachedExec {
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
}

impl From<&Hook> for AttachedExec {
    fn from(hook: &Hook) -> Self {
        Self {
            command: hook.command.clone(),
            env: hook.environment.clone(),
            user: hook.user.clone(),
            workdir: hook.working_dir.clone(),
            privileged: hook.privileged,
            ..Self::default()
        }
    }
}

/// All containers, whoever's. Only for looking into a conflict.
pub async fn everybody(engine: &dyn Engine) -> Result<Vec<ObservedContainer>, EngineError> {
    let query = Query { everybody: true, at_a_glance: true, ..Query::default() };
    Ok(engine.find(&query).await?.containers)
}
