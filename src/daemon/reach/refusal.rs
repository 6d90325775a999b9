//! Why a connection could not be opened, as one end of the tunnel tells the other.

use std::io;

/// What went wrong, in a word that the other side knows.
pub(super) fn word(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "timed-out",
        io::ErrorKind::HostUnreachable => "host-unreachable",
        io::ErrorKind::NetworkUnreachable => "network-unreachable",
        io::ErrorKind::PermissionDenied => "denied",
        _ => "other",
    }
}

/// The same, back.
pub(super) fn kind(word: &str) -> io::ErrorKind {
    match word {
        "refused" => io::ErrorKind::ConnectionRefused,
        "timed-out" => io::ErrorKind::TimedOut,
        "host-unreachable" => io::ErrorKind::HostUnreachable,
        "network-unreachable" => io::ErrorKind::NetworkUnreachable,
        "denied" => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was() {
        use io::ErrorKind::*;
        for error in [ConnectionRefused, TimedOut, HostUnreachable, NetworkUnreachable, PermissionDenied, Other] {
            assert_eq!(kind(word(error)), error);
        }
    }
}
