//! Sockets that a resolver leaves to the one that takes its place: what is asked meanwhile waits in them.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{SockRef, Socket, Type};

/// The sockets of one address.
#[derive(Debug)]
pub struct Inherited {
    /// One for each worker.
    pub udp: Vec<UdpSocket>,
    pub tcp: TcpListener,
}

impl Inherited {
    fn address(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
    }

    pub fn into_files(self) -> Vec<OwnedFd> {
        std::iter::once(self.tcp.into()).chain(self.udp.into_iter().map(Into::into)).collect()
    }
}

/// What is left to this process. An address that it answers on is taken out.
#[derive(Debug, Default)]
pub struct Inheritance(Mutex<Vec<Inherited>>);

impl Inheritance {
    pub fn of(all: Vec<Inherited>) -> Self {
        Self(Mutex::new(all))
    }

    /// Of the numbers under which a former program of this process has left its sockets open. To be called once, before
    /// anything else of it opens files.
    #[allow(unsafe_code)]
    pub fn adopt(numbers: &[RawFd]) -> io::Result<Self> {
        let mut udp: BTreeMap<SocketAddr, Vec<UdpSocket>> = BTreeMap::new();
        let mut tcp: BTreeMap<SocketAddr, TcpListener> = BTreeMap::new();
        for number in numbers {
            let no_socket =
                || io::Error::new(io::ErrorKind::InvalidInput, format!("no socket {number} was left to us"));
            // the three streams are everybody's
            if *number <= 2 {
                return Err(no_socket());
            }
            // SAFETY: it is only asked what it is; the kernel refuses a number that is not open
            let seen = unsafe { BorrowedFd::borrow_raw(*number) };
            let found = SockRef::from(&seen);
            let kind = found.r#type().map_err(|_| no_socket())?;
            let address = found.local_addr()?.as_socket().ok_or_else(no_socket)?;
            // programs that this one starts do not get it
            fcntl_setfd(seen, FdFlags::CLOEXEC)?;
            // SAFETY: it is open, and whoever opened it is no more: its program was replaced by this one
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(*number) });
            match kind {
                Type::STREAM => drop(tcp.insert(address, socket.into())),
                Type::DGRAM => udp.entry(address).or_default().push(socket.into()),
                _ => return Err(no_socket()),
            }
        }
        let whole = tcp.into_iter().filter_map(|(address, tcp)| Some(Inherited { udp: udp.remove(&address)?, tcp }));
        Ok(Self::of(whole.collect()))
    }

    pub(super) fn take(&self, address: SocketAddr) -> Option<Inherited> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|one| one.address() == Some(address))?;
        Some(all.swap_remove(at))
    }

    /// Closes what nobody has taken: a question that comes there would never be answered.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn pair() -> Inherited {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = vec![UdpSocket::bind(tcp.local_addr().unwrap()).unwrap()];
        Inherited { udp, tcp }
    }

    #[test]
    fn sockets_are_known_again_by_their_numbers() {
        let (one, other) = (pair(), pair());
        let (first, second) = (one.address().unwrap(), other.address().unwrap());
        let files = one.into_files().into_iter().chain(other.into_files());
        let numbers: Vec<RawFd> = files.map(IntoRawFd::into_raw_fd).collect();
        let inheritance = Inheritance::adopt(&numbers).unwrap();
        let taken = inheritance.take(first).unwrap();
        assert_eq!((taken.udp.len(), taken.udp[0].local_addr().unwrap()), (1, first));
        assert!(inheritance.take(first).is_none());
        inheritance.close();
        assert!(inheritance.take(second).is_none());
        // and free again
        TcpListener::bind(second).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_not_taken() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in [0, 2, file.as_raw_fd(), 1 << 20] {
            assert!(Inheritance::adopt(&[number]).is_err(), "{number}");
        }
        // a file of somebody else is left open
        file.metadata().unwrap();
    }
}
