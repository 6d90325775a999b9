//! A container that its engine could not start: what is wrong in the service, out of the words of runc and crun.

use super::error::{CliError, ErrorKind};
use crate::engine::EngineError;

/// What keeps a container from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble<'a> {
    /// The image does not have it.
    NoProgram(&'a str),
    /// It is there, and lacks the right.
    NotExecutable(&'a str),
    /// A file on a folder, or a folder on a file.
    Mount { source: &'a str, target: &'a str },
}

/// Of a program that is run in a container that is up nothing is said here.
pub(super) fn trouble(error: &EngineError) -> Option<Trouble<'_>> {
    match error {
        // to Podman 4.3 a program that is not there is a conflict
        EngineError::Other { message, .. } | EngineError::Conflict { message, .. }
            if !message.contains("exec failed") =>
        {
            told(message)
        }
        _ => None,
    }
}

/// The program that is not in the image, where that is what is wrong.
pub(super) fn missing_program(message: &str) -> Option<&str> {
    match told(message)? {
        Trouble::NoProgram(program) => Some(program),
        _ => None,
    }
}

fn told(message: &str) -> Option<Trouble<'_>> {
    let quoted = |before: &str, quote: char| message.split_once(before)?.1.split(quote).next();
    if message.contains("mounting \"") && message.contains("not a directory") {
        let (source, target) = (quoted("mounting \"", '"')?, quoted("to rootfs at \"", '"')?);
        return Some(Trouble::Mount { source, target });
    }
    if let Some(program) = quoted("exec: \"", '"') {
        let absent = ["executable file not found", "no such file or directory"];
        if absent.iter().any(|words| message.contains(words)) {
            return Some(Trouble::NoProgram(program));
        }
        return message.contains("permission denied").then_some(Trouble::NotExecutable(program));
    }
    quoted("executable file `", '`').filter(|_| message.contains("not found")).map(Trouble::NoProgram)
}

/// None: it is told as the engine has it.
pub(super) fn explained(service: &str, error: &EngineError) -> Option<CliError> {
    let new = |why: String| CliError::new(ErrorKind::Unexpected, format!("{service} could not be started: {why}"));
    Some(match trouble(error)? {
        Trouble::NoProgram(program) => new(format!("its image has no program `{program}`"))
            .hint("check `command` and `entrypoint` of the service, and what its image has"),
        Trouble::NotExecutable(program) => new(format!("`{program}` is not executable"))
            .hint("make it executable with `chmod +x`: in the image, or on this machine if it is mounted from there"),
        Trouble::Mount { source, target } => {
            new(format!("of {source} and {target}, where it is mounted, one is a file and the other a folder")).hint(
                "mount a file on a file, or a folder on a folder; where a file was missing, an engine may have made a folder \
                 with its name",
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::shown;
    use super::*;

    const RUNC: &str = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                        container process: ";

    fn other(message: String) -> EngineError {
        EngineError::Other { operation: "starting container macula-shop-1".into(), message }
    }

    #[test]
    fn what_runc_and_crun_say_is_what_is_wrong_in_the_service() {
        let mount = "error mounting \"/srv/shop.conf\" to rootfs at \"/etc/shop.conf\": mount /srv/shop.conf:/etc/shop.conf: \
                     not a directory: unknown: Are you trying to mount a directory onto a file (or vice-versa)?";
        for (message, expected) in [
            ("exec: \"shopd\": executable file not found in $PATH: unknown", Some(Trouble::NoProgram("shopd"))),
            ("exec: \"/x\": stat /x: no such file or directory: unknown", Some(Trouble::NoProgram("/x"))),
            ("exec: \"/x\": permission denied: unknown", Some(Trouble::NotExecutable("/x"))),
            (mount, Some(Trouble::Mount { source: "/srv/shop.conf", target: "/etc/shop.conf" })),
            ("crun: executable file `shopd` not found in $PATH: No such file", Some(Trouble::NoProgram("shopd"))),
            ("unable to apply caps: operation not permitted", None),
        ] {
            let error = other(format!("{RUNC}{message}"));
            assert_eq!(trouble(&error), expected, "{message}");
            assert_eq!(explained("shop", &error).is_some(), expected.is_some(), "{message}");
        }
        let message = "preparing container 7ac9 for attach: runc: runc create failed: unable to start container process: \
                       exec: \"shopd\": executable file not found in $PATH: OCI runtime attempted to invoke a command that \
                       was not found";
        let podman =
            EngineError::Conflict { operation: "starting container macula-shop-1".into(), message: message.into() };
        assert_eq!(trouble(&podman), Some(Trouble::NoProgram("shopd")));
        // it was typed, and stands in no file
        let exec = "OCI runtime exec failed: exec failed: exec: \"x\": executable file not found in $PATH";
        assert_eq!(trouble(&other(exec.into())), None);
        assert_eq!(missing_program(exec), Some("x"));
    }

    #[test]
    fn the_service_is_told_and_not_the_runtime() {
        let error = other(format!("{RUNC}exec: \"shopd\": executable file not found in $PATH: unknown"));
        insta::assert_snapshot!(shown(explained("shop", &error).unwrap()), @r"
        error: shop could not be started: its image has no program `shopd`
          hint: check `command` and `entrypoint` of the service, and what its image has
        exit 1
        ");
    }
}
