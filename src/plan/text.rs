//! A plan as text: stable, one line a step, readable without colour.

use std::fmt;

use super::{Action, Cause, Plan, Step};
use crate::words;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for left in &self.left_out {
            writeln!(f, "  leave out {} ({})", left.service, left.reason)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.sign(), self.id, self.cause)?;
        if !self.after.is_empty() {
            write!(f, " after {}", self.after.join(", "))?;
        }
        Ok(())
    }
}

impl Step {
    /// What it does, for a line that names its group already: `create container`.
    pub fn phrase(&self) -> String {
        // a service with several containers tells them apart by number
        let number = |container: &str| match container.rsplit_once('-') {
            Some((_, number)) if number != "1" && number.chars().all(|c| c.is_ascii_digit()) => format!(" {number}"),
            _ => String::new(),
        };
        let name = &self.resource.name;
        match &self.action {
            Action::CreateNetwork(_) => format!("create network {name}"),
            Action::RemoveNetwork { .. } => format!("remove network {name}"),
            Action::JoinNetwork { .. } => format!("put this container into network {name}"),
            Action::LeaveNetwork { .. } => format!("leave network {name}"),
            Action::StartRelay { .. } => "start the relay".into(),
            Action::CreateVolume { .. } => format!("create volume {name}"),
            Action::FillVolume { spec } => match &spec.copy {
                Some(folder) => format!("copy {}", folder.shown),
                None => format!("copy files into volume {name}"),
            },
            Action::RemoveVolume { .. } => format!("remove volume {name}"),
            Action::MakeBase(_) => format!("make {name}"),
            Action::LoadImage { .. } => format!("load {name}"),
            Action::ObtainImage { pull: true, .. } => format!("get {name}"),
            Action::ObtainImage { .. } => "build image".into(),
            Action::CreateContainer { .. } => format!("create container{}", number(name)),
            Action::Start { .. } => format!("start{}", number(name)),
            Action::Stop { .. } => format!("stop{}", number(name)),
            Action::RemoveContainer { .. } => format!("remove container{}", number(name)),
            Action::RenameContainer { .. } => format!("take its name{}", number(name)),
            Action::Pause { time } => format!("pause for {} s{}", time.as_secs_f32(), number(name)),
            Action::WriteFiles { .. } => "copy files in".into(),
            Action::Reload { .. } => "reload".into(),
            Action::Cluster(action) => action.phrase(),
            Action::RunTask { .. } => "run it to its end".into(),
            Action::AwaitReady { spec, .. } if spec.task.is_some() => "run it to its end".into(),
            Action::AwaitReady { readiness, .. } if readiness.one_shot => "wait until it is done".into(),
            Action::AwaitReady { .. } => format!("wait until it answers{}", number(name)),
        }
    }

    /// `+` makes, `-` takes away, `~` changes, a space looks on.
    pub fn sign(&self) -> char {
        match &self.action {
            Action::CreateNetwork(_)
            | Action::CreateVolume { .. }
            | Action::MakeBase(_)
            | Action::LoadImage { .. }
            | Action::ObtainImage { .. }
            | Action::CreateContainer { .. }
            | Action::StartRelay { .. }
            | Action::RunTask { .. }
            | Action::Start { .. } => '+',
            Action::RemoveNetwork { .. }
            | Action::RemoveVolume { .. }
            | Action::RemoveContainer { .. }
            | Action::Stop { .. } => '-',
            Action::Cluster(action) => action.sign(),
            Action::WriteFiles { .. }
            | Action::FillVolume { .. }
            | Action::Reload { .. }
            | Action::RenameContainer { .. }
            | Action::JoinNetwork { .. }
            | Action::LeaveNetwork { .. } => '~',
            Action::AwaitReady { .. } | Action::Pause { .. } => ' ',
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Changed { what } => write!(f, "changed: {}", what.join(", ")),
            Self::NotRunning => f.write_str("not running"),
            Self::NotHealthy => f.write_str("not healthy"),
            Self::Unfinished => f.write_str("left by an interrupted run"),
            Self::Orphaned => f.write_str("no longer wanted"),
            Self::Requested => f.write_str("requested"),
            Self::Replaces { what } => write!(f, "{what} is replaced"),
            Self::Inputs { what } => write!(f, "{} changed", words::list(what)),
            Self::NeverRan => f.write_str("it has not run yet"),
            Self::Failed { code } => write!(f, "its last run failed with exit code {code}"),
            Self::PostStart => f.write_str("its `post_start` has not run well"),
            Self::NewData { what } => write!(f, "the data of {what} is new"),
        }
    }
}
