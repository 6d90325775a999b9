//! Floor 2, pure: what is wanted and what is there become a [`Plan`]: steps with their causes and
//! their order. Carrying it out decides nothing more.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::model::{
    BaseImage, ContainerSpec, FileSpec, Hook, ImageSpec, MachineTaskSpec, NetworkSpec, Provider, Readiness, Reload,
    ResourceId, VolumeSpec,
};

mod cluster;
mod down;
pub mod forecast;
mod lifecycle;
mod processes;
mod projects;
mod reach;
mod reason;
mod reconcile;
mod select;
mod supply;
mod tasks;
mod text;
mod turns;
mod unheeded;
mod verb;

pub use cluster::{
    ClusterAction, ClusterWish, GROUP as CLUSTER_GROUP, WantedAddOn, cluster, delete as delete_cluster, down_nodes,
};
pub use down::{Keep, down};
pub use lifecycle::{keep_other_stacks, labelled_specs, restart, start, stop};
pub use processes::{
    KEEPER, KeptProcess, Parts, ProcessAction, ProcessStep, SETTLED, leave_out_processes, left_out_processes,
    process_again, process_steps, process_waves,
};
pub use projects::{LeftBehind, OfCompose, OtherProject, left_behind, of_compose, replaced_projects};
pub use reach::{GROUP as REACH_GROUP, join, leave, relay};
pub use reason::Reason;
pub use reconcile::{Conflict, Wish, holder_of, reconcile, reconcile_anew};
pub use select::{select, without};
pub use supply::{Choice, ImageSource, LeftOut, Supply, SupplyProblem, data_of_build, supply};
pub use unheeded::{Unheeded, unheeded};
pub use verb::Verb;

/// `create container macula-grafana-1`: unique within a plan, and what the user reads. Made by [`Verb`].
pub type StepId = String;

/// What will be done, in an order that `after` gives; steps without a path between them run side
/// by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Services that are left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Groups that only a look at their containers shows to be jobs, where no step waits for their end.
    #[serde(skip)]
    pub jobs: BTreeSet<String>,
}

impl Plan {
    /// Nothing is done with the containers of this service: what is left of it is what a container of it needs to be made.
    /// What was to end for them alone goes on.
    pub fn leave(&mut self, service: &str) {
        let steps = std::mem::take(&mut self.steps).into_iter();
        let (own, mut rest): (Vec<Step>, Vec<Step>) =
            steps.partition(|step| step.group == service && step.action.is_of_container());
        let awaited = |steps: &[Step]| -> BTreeSet<StepId> {
            let starts = steps.iter().filter(|step| matches!(step.action, Action::Start { .. }));
            starts.flat_map(|step| step.after.iter().cloned()).collect()
        };
        let (by_own, by_rest) = (awaited(&own), awaited(&rest));
        rest.retain(|step| {
            let stop = Verb::Stop.step(&step.resource);
            step.cause != Cause::Orphaned || !by_own.contains(&stop) || by_rest.contains(&stop)
        });
        self.steps = rest;
        self.cut();
    }

    /// Nobody waits for steps that are not there any more. What was to be removed after one of them is still in use.
    fn cut(&mut self) {
        let left: BTreeSet<StepId> = self.steps.iter().map(|step| step.id.clone()).collect();
        let used = |step: &Step| {
            matches!(step.action, Action::RemoveVolume { .. }) && step.after.iter().any(|id| !left.contains(id))
        };
        self.steps.retain(|step| !used(step));
        for step in &mut self.steps {
            step.after.retain(|id| left.contains(id));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub id: StepId,
    pub resource: ResourceId,
    /// The service, or `network`: what progress groups by.
    pub group: String,
    #[serde(skip)]
    pub action: Action,
    pub cause: Cause,
    pub after: Vec<StepId>,
    /// Takes something away that the user might miss: data, or a running service.
    pub destructive: bool,
    /// Runs a program as root on this machine.
    pub needs_privilege: bool,
}

/// About one call of the engine each.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    CreateNetwork(NetworkSpec),
    RemoveNetwork {
        name: String,
    },
    /// This process's own container.
    JoinNetwork {
        container: String,
        network: String,
        /// The one that it is to have there.
        address: Option<Ipv4Addr>,
    },
    /// That one, or the relay.
    LeaveNetwork {
        container: String,
        network: String,
    },
    /// The container that dials for us, from an image made of this program.
    StartRelay {
        spec: Box<ContainerSpec>,
    },
    /// The label of its provider depends on which source the image comes from.
    CreateVolume {
        spec: VolumeSpec,
        provider: Option<(Provider, ImageUse)>,
    },
    /// With the folder of this machine that it stands for.
    FillVolume {
        spec: Box<VolumeSpec>,
    },
    RemoveVolume {
        name: String,
    },
    /// The Debian base that builds start from.
    MakeBase(BaseImage),
    /// From the bundle of this run, by its id.
    LoadImage {
        id: String,
    },
    /// Sources are tried in this order: each pull, then the build.
    ObtainImage {
        spec: Box<ImageSpec>,
        pull: bool,
        build: bool,
    },
    CreateContainer {
        spec: Box<ContainerSpec>,
        image: ImageUse,
    },
    Start {
        container: String,
        /// Run in it afterwards.
        hooks: Vec<Hook>,
    },
    Stop {
        container: String,
        grace: Option<Duration>,
        /// Run in it before.
        hooks: Vec<Hook>,
    },
    RemoveContainer {
        container: String,
    },
    RenameContainer {
        container: String,
        to: String,
    },
    /// `deploy.update_config.delay`.
    Pause {
        time: Duration,
    },
    WriteFiles {
        container: String,
        files: Vec<FileSpec>,
        /// Run in the container afterwards: where it fails, the files are put back as they were.
        check: Vec<String>,
    },
    Reload {
        container: String,
        how: Reload,
    },
    /// See [`ClusterAction`].
    Cluster(ClusterAction),
    /// A task of this machine, to its end.
    RunTask {
        spec: Box<MachineTaskSpec>,
    },
    /// Until it answers, is healthy, or (a one-shot) has ended with 0.
    AwaitReady {
        spec: Box<ContainerSpec>,
        readiness: Readiness,
    },
}

impl Action {
    /// Done with a container of the step's group; all else is what containers need, or of the whole platform.
    pub fn is_of_container(&self) -> bool {
        matches!(
            self,
            Self::CreateContainer { .. }
                | Self::Start { .. }
                | Self::Stop { .. }
                | Self::RemoveContainer { .. }
                | Self::RenameContainer { .. }
                | Self::Pause { .. }
                | Self::WriteFiles { .. }
                | Self::Reload { .. }
                | Self::AwaitReady { .. }
        )
    }
}

/// Which image a container is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageUse {
    Present {
        reference: String,
        source: ImageSource,
    },
    /// Whatever this step gets.
    Obtained {
        step: StepId,
    },
}

/// Why a step is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Cause {
    Missing,
    /// These parts differ from what was made.
    Changed {
        what: Vec<String>,
    },
    NotRunning,
    NotHealthy,
    /// Ours, and no longer wanted.
    Orphaned,
    /// A run was interrupted in the middle of it.
    Unfinished,
    /// The user asked for just this.
    Requested,
    /// A task, and these are not as they were when it last ran well.
    Inputs {
        what: Vec<String>,
    },
    /// A task of which no good run is known.
    NeverRan,
    /// A task whose last run ended so.
    Failed {
        code: i64,
    },
    /// It runs, and what is to be done in it after its start was not done, or failed.
    PostStart,
    /// A task, and what this service keeps is not what it worked on.
    NewData {
        what: String,
    },
    /// It stands in the way of its successor, or follows something that is replaced.
    Replaces {
        what: String,
    },
}

/// Holds a note for each container that is being stopped, by its name: a run that is killed meanwhile leaves the
/// engine at work, and the container, which still runs, is about to end.
pub fn stop_notes(data: &Path, platform: &str) -> PathBuf {
    data.join(platform).join("stop")
}

/// There from the moment in which a running container gets new files until it has been told of them:
/// a run that is killed in between leaves a program with what it read before.
pub fn reload_note(data: &Path, platform: &str, container: &str) -> PathBuf {
    data.join(platform).join("reload").join(container)
}

/// There from the start of a container until its `post_start` has run well: where that fails, or a run is killed in
/// between, the container runs and is not as it is wanted.
pub fn start_note(data: &Path, platform: &str, container: &str) -> PathBuf {
    data.join(platform).join("start").join(container)
}

impl Plan {
    /// What can still be done once these steps have failed: neither they nor what comes after them. The groups that
    /// miss something are the second value.
    pub fn after_failure(&self, failed: &BTreeSet<StepId>) -> (Cow<'_, Self>, BTreeSet<String>) {
        if failed.is_empty() {
            return (Cow::Borrowed(self), BTreeSet::new());
        }
        let mut gone = failed.clone();
        loop {
            let hangs = |step: &&Step| !gone.contains(&step.id) && step.after.iter().any(|id| gone.contains(id));
            let more: Vec<StepId> = self.steps.iter().filter(hangs).map(|step| step.id.clone()).collect();
            if more.is_empty() {
                break;
            }
            gone.extend(more);
        }
        let (without, rest): (Vec<&Step>, Vec<&Step>) = self.steps.iter().partition(|step| gone.contains(&step.id));
        let skipped = without.iter().filter(|step| !failed.contains(&step.id)).map(|step| step.group.clone()).collect();
        let steps = rest.into_iter().cloned().collect();
        (Cow::Owned(Self { steps, left_out: self.left_out.clone(), jobs: self.jobs.clone() }), skipped)
    }

    /// Steps by id.
    pub fn index(&self) -> BTreeMap<&str, &Step> {
        self.steps.iter().map(|step| (step.id.as_str(), step)).collect()
    }
}

#[cfg(test)]
mod tests;
