//! A plan as text: stable, one line a step, readable without colour.

use std::fmt;

use super::{Action, Cause, Plan, Step};

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
    /// `+` makes, `-` takes away, `~` changes, a space looks on.
    pub fn sign(&self) -> char {
        match self.action {
            Action::CreateNetwork(_)
            | Action::CreateVolume { .. }
            | Action::MakeBase(_)
            | Action::ObtainImage { .. }
            | Action::CreateContainer { .. }
            | Action::Start { .. } => '+',
            Action::RemoveNetwork { .. }
            | Action::RemoveVolume { .. }
            | Action::RemoveContainer { .. }
            | Action::Stop { .. } => '-',
            Action::WriteFiles { .. } | Action::Reload { .. } => '~',
            Action::AwaitReady { .. } => ' ',
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
            Self::Orphaned => f.write_str("no longer wanted"),
            Self::Requested => f.write_str("requested"),
            Self::Replaces { what } => write!(f, "{what} is replaced"),
        }
    }
}
