//! A socket of this process, at which other processes of this user ask.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The file of a socket that this process listens on.
#[derive(Debug)]
pub struct OwnSocket {
    path: PathBuf,
    /// Device and inode: another process may have put its own there.
    file: (u64, u64),
}

impl OwnSocket {
    /// Listens at `path`, for this user alone. What lies there is replaced.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok((listener, Self { path: path.to_owned(), file: identity(path)? }))
    }

    /// Whether the file is there, and not another process's by now. To be asked while the listener is there: the inode
    /// of a socket that is closed may be the next one's.
    pub fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.file)
    }

    /// Removes the file, unless it is another process's by now; the listener has to be there, too. A leftover is replaced
    /// by the next start.
    pub fn remove(&self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reach.sock");
        let (_first, former) = OwnSocket::listen(&path).unwrap();
        let (_second, own) = OwnSocket::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((former.is_there(), own.is_there()), (false, true));
        former.remove();
        assert!(path.exists());
        own.remove();
        assert!(!path.exists() && !own.is_there());
        // once more does no harm
        own.remove();
    }
}
