//! Clusters by the `kind` program (<https://kind.sigs.k8s.io>).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ClusterError, ClusterProvider};
use crate::engine::{Engine, ProgressSink};
use crate::event::Progress;
use crate::host::{Command, Host, Output, RunError};
use crate::model::{ClusterSpec, EngineKind, Facts, Fingerprint};

mod output;
mod program;

pub use output::{Phase, failure, step_of};
pub use program::{Asset, PINNED_VERSION, asset, balancer_image, fetch, fetched, find, too_old};

/// Label of a node's container: its cluster.
pub const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";
/// Label of a node's container: its role.
pub const ROLE_LABEL: &str = "io.x-k8s.kind.role";

/// Listing, deleting, reading: seconds at most on a healthy engine.
const QUICK: Duration = Duration::from_secs(120);
/// Copying images and logs.
const SLOW: Duration = Duration::from_secs(600);

/// The program, and how it finds our engine.
pub struct Kind {
    host: Arc<dyn Host>,
    engine: Arc<dyn Engine>,
    program: PathBuf,
    facts: Facts,
    /// Of the engine in use: `unix:///var/run/docker.sock`.
    endpoint: Option<String>,
    /// For a whole creation.
    patience: Duration,
}

impl Kind {
    pub fn new(
        host: Arc<dyn Host>,
        engine: Arc<dyn Engine>,
        program: PathBuf,
        facts: Facts,
        endpoint: Option<String>,
        patience: Duration,
    ) -> Self {
        Self { host, engine, program, facts, endpoint, patience }
    }

    /// The client program of the engine, which kind drives.
    pub fn client(facts: &Facts) -> &'static str {
        match facts.engine_kind {
            EngineKind::Docker => "docker",
            EngineKind::Podman => "podman",
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let command = Command::new(self.program.to_string_lossy(), args.iter().copied()).timeout(QUICK);
        self.on_our_engine(command.env("KIND_EXPERIMENTAL_PROVIDER", Self::client(&self.facts)))
    }

    fn on_our_engine(&self, command: Command) -> Command {
        match (&self.endpoint, self.facts.engine_kind) {
            (Some(endpoint), EngineKind::Docker) => command.env("DOCKER_HOST", endpoint),
            (Some(endpoint), EngineKind::Podman) => command.env("CONTAINER_HOST", endpoint),
            (None, _) => command,
        }
    }

    async fn run(&self, command: Command) -> Result<Output, ClusterError> {
        let client = Self::client(&self.facts);
        if self.host.which(client).is_none() {
            let program = "kind".to_owned();
            return Err(ClusterError::NoClient { program, client: client.to_owned() });
        }
        Ok(self.host.run(&command).await?)
    }

    async fn put(&self, path: &Path, content: &str, mode: u32) -> Result<(), ClusterError> {
        Ok(self.host.write(path, content.as_bytes(), mode).await?)
    }

    /// Keeps what can be known of a failure, and takes the rest away.
    async fn clear_up(&self, spec: &ClusterSpec, folder: &Path, retain: bool, nodes: bool) -> Option<PathBuf> {
        let mut logs = None;
        if nodes {
            let place = folder.join("logs");
            // those of the last failure only
            let _ = self.host.remove_folder(&place).await;
            // it fails as a whole where one of many parts does, as in a node that is half made
            let all = self.export_logs(&spec.name, &place).await.is_ok();
            let some = all || self.host.list(&place).await.is_ok_and(|found| !found.is_empty());
            logs = some.then_some(place);
        }
        if !retain {
            // its own error is worth less than the one that led here
            let _ = self.delete(&spec.name).await;
        }
        logs
    }

    /// One platform's variant of each image: what an engine with containerd's store saves otherwise
    /// names parts that it does not hold (kind#3795).
    async fn archive(&self, references: &[String], file: &Path) -> Result<(), ClusterError> {
        let path = file.display().to_string();
        let platform = format!("linux/{}", self.facts.architecture);
        let args = ["save", "--platform", &platform, "-o", &path];
        let args = args.into_iter().chain(references.iter().map(String::as_str));
        let one = self.on_our_engine(Command::new(Self::client(&self.facts), args)).timeout(SLOW);
        match self.host.run(&one).await {
            Ok(_) => Ok(()),
            // before Docker 28 there is neither such a store nor such an option
            Err(RunError::Failed { .. }) => Ok(self.engine.save(references, file).await?),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl ClusterProvider for Kind {
    async fn version(&self) -> Result<String, ClusterError> {
        let said = self.host.run(&self.command(&["version"])).await?.stdout();
        // kind v0.33.0 go1.26.7 linux/amd64
        let version = said.split_whitespace().nth(1).unwrap_or("?");
        Ok(format!("kind {}", version.trim_start_matches('v')))
    }

    async fn list(&self) -> Result<Vec<String>, ClusterError> {
        let said = self.run(self.command(&["get", "clusters"])).await?.stdout();
        Ok(said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    async fn create(
        &self,
        spec: &ClusterSpec,
        folder: &Path,
        retain: bool,
        running: &(dyn Fn() + Send + Sync),
        progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError> {
        let config = folder.join("kind.yaml");
        self.put(&config, &spec.config, 0o600).await?;
        self.host.create_folder(&spec.registries_folder, 0o755).await?;
        for (name, content) in &spec.registries {
            self.put(&spec.registries_folder.join(name), content, 0o644).await?;
        }
        let client = Self::client(&self.facts);
        if self.host.which(client).is_none() {
            return Err(ClusterError::NoClient { program: "kind".into(), client: client.into() });
        }
        let network = match self.facts.engine_kind {
            EngineKind::Docker => "KIND_EXPERIMENTAL_DOCKER_NETWORK",
            EngineKind::Podman => "KIND_EXPERIMENTAL_PODMAN_NETWORK",
        };
        let (config, own) = (config.display().to_string(), folder.join("kubeconfig").display().to_string());
        // kind would take the nodes away before anybody could look at their logs: we do that
        let args = ["create", "cluster", "--name", &spec.name, "--config", &config, "--kubeconfig", &own, "--retain"];
        let command = self.command(&args).env(network, &spec.network).timeout(self.patience).may_fail();
        let phase = std::sync::Mutex::new(Phase::Checks);
        let said = |line: &str| {
            if let Some((now, text)) = step_of(line) {
                let mut phase = phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if *phase < Phase::Kubernetes && now == Phase::Kubernetes {
                    running();
                }
                *phase = now;
                progress(Progress::Line { text });
            }
        };
        let done = self.host.run_watched(&command, &said).await;
        let phase = *phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let error = match done {
            Ok(output) if output.success() => return Ok(()),
            Ok(output) => failure(&spec.name, phase, &output.stderr()),
            Err(RunError::Timeout { after, .. }) => ClusterError::NotReady {
                name: spec.name.clone(),
                message: format!("{phase} took longer than {} s", after.as_secs()),
                logs: None,
            },
            Err(error) => return Err(error.into()),
        };
        if matches!(error, ClusterError::Exists { .. }) {
            return Err(error);
        }
        let found = self.clear_up(spec, folder, retain, phase > Phase::Image).await;
        Err(output::with_logs(error, found, self.host.as_ref()).await)
    }

    async fn delete(&self, name: &str) -> Result<(), ClusterError> {
        // its default would be to look into the user's kubeconfig, which is ours to change
        let nowhere = self.host.folders().cache.join("kubeconfig-of-kind").display().to_string();
        self.run(self.command(&["delete", "cluster", "--name", name, "--kubeconfig", &nowhere])).await.map(drop)
    }

    async fn export_logs(&self, name: &str, folder: &Path) -> Result<(), ClusterError> {
        let folder = folder.display().to_string();
        self.run(self.command(&["export", "logs", &folder, "--name", name]).timeout(SLOW)).await.map(drop)
    }

    async fn load_images(
        &self,
        name: &str,
        references: &[String],
        folder: &Path,
        progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError> {
        for reference in references {
            if self.engine.image(reference).await?.is_none() {
                return Err(ClusterError::NoSuchImage { reference: reference.clone() });
            }
        }
        let mut args = vec!["load", "docker-image"];
        args.extend(references.iter().map(String::as_str));
        args.extend(["--name", name]);
        let direct = self.run(self.command(&args).timeout(SLOW)).await;
        let Err(ClusterError::Run(RunError::Failed { .. })) = direct else { return direct.map(drop) };
        progress(Progress::Line { text: "by way of an archive".into() });
        // add-ons load theirs at the same time
        let file = folder.join(format!("images-{}-{}.tar", self.host.now(), Fingerprint::of(&references)));
        self.host.create_folder(folder, 0o700).await?;
        let loaded = async {
            self.archive(references, &file).await?;
            let path = file.display().to_string();
            self.run(self.command(&["load", "image-archive", &path, "--name", name]).timeout(SLOW)).await.map(drop)
        };
        let loaded = loaded.await;
        let _ = self.host.remove(&file).await;
        loaded
    }

    async fn kubeconfig(&self, name: &str) -> Result<String, ClusterError> {
        Ok(self.run(self.command(&["get", "kubeconfig", "--name", name])).await?.stdout())
    }
}

#[cfg(test)]
mod tests;
