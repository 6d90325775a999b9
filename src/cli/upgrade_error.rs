//! Why the program was not replaced, as the user sees it: what to type about each.

use std::io;

use crate::app::UpgradeError;
use crate::model::{Again, macula};

use super::error::{CliError, ErrorKind};

pub(super) fn explained(error: &UpgradeError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        UpgradeError::NoAddress => of(ErrorKind::Usage)
            .hint("name the place where SHA256SUMS and the archives of a release are")
            .suggest(macula("upgrade --from").arg("ADDRESS")),
        UpgradeError::NoRelease { .. } => {
            of(ErrorKind::Unexpected).hint("build it from a clone").shell(["cargo", "install", "--path", "."])
        }
        UpgradeError::Owned { command, .. } => {
            of(ErrorKind::Conflict).hint("nothing was changed: its package manager upgrades it").shell(command)
        }
        UpgradeError::NotThere { .. } => of(ErrorKind::Unexpected).hint("nothing was changed").again(Again::AsItIs),
        UpgradeError::Unnamed { .. } => of(ErrorKind::Unexpected)
            .hint("nothing was changed: there is no release for this machine, or only half of one"),
        UpgradeError::Damaged { .. } | UpgradeError::Archive { .. } => {
            of(ErrorKind::Unexpected).hint("nothing was changed").again(Again::AsItIs)
        }
        UpgradeError::DoesNotRun { .. } => of(ErrorKind::Unexpected).hint("nothing was changed"),
        UpgradeError::NotWritten { source, .. } => not_written(error, source),
        UpgradeError::NotHandedOver { .. } => of(ErrorKind::NotHealthy).suggest(macula("up").why("to start it again")),
    }
}

fn not_written(error: &UpgradeError, source: &io::Error) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match source.kind() {
        io::ErrorKind::PermissionDenied => of(ErrorKind::Privilege)
            .hint("nothing was changed: this user may not write there; do it as the one who installed it"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            of(ErrorKind::Unexpected).hint("nothing was changed: free some space").again(Again::AsItIs)
        }
        _ => of(ErrorKind::Unexpected).hint("nothing was changed"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use insta::assert_snapshot;

    use super::*;
    use crate::cli::error::tests::shown;

    #[test]
    fn whoever_owns_the_program_is_named_with_the_command() {
        let command = ["sudo", "dnf", "upgrade", "macula"].map(str::to_owned).into();
        let owned =
            UpgradeError::Owned { program: PathBuf::from("/usr/bin/macula"), package: "macula".into(), command };
        assert_snapshot!(shown(explained(&owned)), @r"
        error: /usr/bin/macula belongs to the package macula
          hint: nothing was changed: its package manager upgrades it
          try: sudo dnf upgrade macula
        exit 5
        ");
        let refused = |kind: io::ErrorKind| UpgradeError::NotWritten { folder: "/usr/bin".into(), source: kind.into() };
        assert_eq!(explained(&refused(io::ErrorKind::PermissionDenied)).kind, ErrorKind::Privilege);
        assert_eq!(explained(&refused(io::ErrorKind::StorageFull)).kind, ErrorKind::Unexpected);
        assert_eq!(explained(&refused(io::ErrorKind::ReadOnlyFilesystem)).kind, ErrorKind::Unexpected);
    }
}
