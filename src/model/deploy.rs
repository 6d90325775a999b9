//! What `deploy` of a Compose service says about several machines. One engine has no use for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `deploy`, as far as it is not said by [`super::Service`] already.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deploy {
    pub mode: DeployMode,
    /// Of the service, not of its containers.
    pub labels: BTreeMap<String, String>,
    /// `vip` or `dnsrr`.
    pub endpoint_mode: Option<String>,
    pub update: Option<Rollout>,
    pub rollback: Option<Rollout>,
    /// `node.labels.edge == true`
    pub constraints: Vec<String>,
    /// Labels of nodes over which replicas are spread: `node.labels.zone`.
    pub spread: Vec<String>,
    pub max_replicas_per_node: Option<u64>,
    pub restart: Option<RestartPolicy>,
    /// Billionths of a CPU.
    pub reserved_cpus: Option<i64>,
    /// Kind and number, such as `SSD`, 3.
    pub generic_resources: Vec<(String, i64)>,
}

impl Deploy {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// How many containers a service has, and whether they end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployMode {
    #[default]
    Replicated,
    /// One on each node.
    Global,
    ReplicatedJob,
    GlobalJob,
}

impl DeployMode {
    /// `None`: Compose knows no such mode.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "replicated" => Self::Replicated,
            "global" => Self::Global,
            "replicated-job" => Self::ReplicatedJob,
            "global-job" => Self::GlobalJob,
            _ => return None,
        })
    }

    /// One container a node.
    pub fn is_global(self) -> bool {
        matches!(self, Self::Global | Self::GlobalJob)
    }

    /// Its containers are to end.
    pub fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob | Self::GlobalJob)
    }
}

/// `update_config` or `rollback_config`, as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    pub parallelism: Option<u64>,
    pub delay: Option<Duration>,
    pub failure_action: Option<String>,
    pub monitor: Option<Duration>,
    pub max_failure_ratio: Option<f64>,
    /// `start-first` or `stop-first`.
    pub order: Option<String>,
}

/// `restart_policy`, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`.
    pub condition: Option<String>,
    pub delay: Option<Duration>,
    pub max_attempts: Option<u64>,
    pub window: Option<Duration>,
}

/// `x-macula.scale`: how many containers there are as the load changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    pub min: u32,
    pub max: u32,
    /// Percent of the CPU that is reserved for a container, on average over all of them.
    pub cpu: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in [DeployMode::Replicated, DeployMode::Global, DeployMode::ReplicatedJob, DeployMode::GlobalJob] {
            let written = serde_json::to_value(mode).unwrap();
            assert_eq!(written.as_str().and_then(DeployMode::parse), Some(mode), "{written}");
        }
        assert_eq!(DeployMode::parse("job"), None);
    }
}
