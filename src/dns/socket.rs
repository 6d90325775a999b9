//! UDP in batches: many datagrams a system call, where the system can (Linux), else one.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::fast::BUFFER;

/// Datagrams a batch. More do not help: by then the system call's own cost is spread thin.
pub const BATCH: usize = 64;

/// A worker's UDP socket; `shared` when it is one of several on the same address.
pub fn bind_udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    #[cfg(not(unix))]
    let _ = shared;
    // what the system allows; a smaller queue only drops earlier
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(1 << 20);
    system::never_fragment(&socket, address);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub use system::Batch;

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod system {
    use std::mem;
    use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
    use std::os::fd::AsRawFd;
    use std::ptr;

    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};

    use super::*;

    /// Answers are at most 1232 bytes, so they need no fragments, and fragments are how answers are
    /// forged. A datagram that cannot be one also needs no number of its own (RFC 6864), the making
    /// of which is some 3 % of the whole cost of an answer.
    pub fn never_fragment(socket: &Socket, address: SocketAddr) {
        if address.is_ipv6() {
            return;
        }
        // an error only means fragments
        let _ = set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE);
    }

    /// The buffers of one worker. The headers point into the boxes beside them, which are never
    /// moved or resized.
    pub struct Batch {
        buffers: Box<[[u8; BUFFER]]>,
        /// Large enough for both families.
        names: Box<[libc::sockaddr_in6]>,
        vectors: Box<[libc::iovec]>,
        heads: Box<[libc::mmsghdr]>,
        out_vectors: Box<[libc::iovec]>,
        out: Box<[libc::mmsghdr]>,
        received: usize,
        queued: usize,
    }

    impl Batch {
        pub fn new() -> Self {
            // SAFETY: these are plain structs of integers and pointers; all zeros is a value of
            // each, and `receive` sets every field that the kernel reads.
            let (names, vectors, heads) = unsafe {
                (
                    vec![mem::zeroed::<libc::sockaddr_in6>(); BATCH],
                    vec![mem::zeroed::<libc::iovec>(); BATCH],
                    vec![mem::zeroed::<libc::mmsghdr>(); BATCH],
                )
            };
            let mut batch = Self {
                buffers: vec![[0; BUFFER]; BATCH].into(),
                names: names.into(),
                out_vectors: vectors.clone().into(),
                vectors: vectors.into(),
                out: heads.clone().into(),
                heads: heads.into(),
                received: BATCH,
                queued: 0,
            };
            for at in 0..BATCH {
                batch.vectors[at] = libc::iovec { iov_base: batch.buffers[at].as_mut_ptr().cast(), iov_len: BUFFER };
                let head = &mut batch.heads[at].msg_hdr;
                head.msg_name = ptr::from_mut(&mut batch.names[at]).cast();
                head.msg_iov = &mut batch.vectors[at];
                head.msg_iovlen = 1;
                let out = &mut batch.out[at].msg_hdr;
                out.msg_iov = &mut batch.out_vectors[at];
                out.msg_iovlen = 1;
            }
            batch
        }

        /// Waits for at least one datagram and takes what there is.
        pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
            for head in &mut self.heads[..self.received] {
                head.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                head.msg_hdr.msg_flags = 0;
            }
            // after an error all are set anew
            self.received = BATCH;
            self.queued = 0;
            // SAFETY: every header points at a buffer, a name and a vector of its own in the boxes
            // of `self`, with their true sizes; they live through the call, which is the only
            // reader and writer of them meanwhile.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.heads.as_mut_ptr(),
                    BATCH as libc::c_uint,
                    libc::MSG_WAITFORONE as _,
                    ptr::null_mut(),
                )
            };
            self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
            Ok(self.received)
        }

        /// The buffer of a datagram, its length and its sender. None when it was too long for the
        /// buffer or came from no internet address.
        #[inline]
        pub fn message(&mut self, at: usize) -> Option<(&mut [u8; BUFFER], usize, SocketAddr)> {
            let head = self.heads.get(at)?;
            if head.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                return None;
            }
            let name = self.names.get(at)?;
            let address = match i32::from(name.sin6_family) {
                libc::AF_INET => {
                    // sockaddr_in: family, port, address; the first two lie as in sockaddr_in6, and
                    // its address where that one has the flow
                    let address = IpAddr::from(name.sin6_flowinfo.to_ne_bytes());
                    SocketAddr::new(address, u16::from_be(name.sin6_port))
                }
                libc::AF_INET6 => {
                    let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                    let port = u16::from_be(name.sin6_port);
                    SocketAddrV6::new(address, port, name.sin6_flowinfo, name.sin6_scope_id).into()
                }
                _ => return None,
            };
            Some((self.buffers.get_mut(at)?, head.msg_len as usize, address))
        }

        /// Sends the first `length` bytes of a buffer back to where it came from, with the next
        /// [`Batch::send`].
        #[inline]
        pub fn queue(&mut self, at: usize, length: usize) {
            let (Some(vector), Some(out)) = (self.out_vectors.get_mut(self.queued), self.out.get_mut(self.queued))
            else {
                return;
            };
            vector.iov_base = self.buffers[at].as_mut_ptr().cast();
            vector.iov_len = length.min(BUFFER);
            out.msg_hdr.msg_name = self.heads[at].msg_hdr.msg_name;
            out.msg_hdr.msg_namelen = self.heads[at].msg_hdr.msg_namelen;
            self.queued += 1;
        }

        /// Sends all that is queued. A datagram that the system refuses is left out: its client
        /// asks again.
        pub fn send(&mut self, socket: &UdpSocket) {
            let mut sent = 0;
            while sent < self.queued {
                // SAFETY: as in `receive`; `queued` is at most the number of headers, and the
                // kernel only reads what they point at.
                let count = unsafe {
                    libc::sendmmsg(
                        socket.as_raw_fd(),
                        self.out[sent..].as_mut_ptr(),
                        (self.queued - sent) as libc::c_uint,
                        0,
                    )
                };
                sent += usize::try_from(count).unwrap_or(0).max(1);
            }
            self.queued = 0;
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;

    /// Left to the system.
    pub fn never_fragment(_: &Socket, _: SocketAddr) {}

    /// One datagram at a time.
    pub struct Batch {
        buffer: Box<[u8; BUFFER]>,
        length: usize,
        from: Option<SocketAddr>,
        queued: Option<usize>,
    }

    impl Batch {
        pub fn new() -> Self {
            Self { buffer: Box::new([0; BUFFER]), length: 0, from: None, queued: None }
        }

        pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
            let (length, from) = socket.recv_from(&mut self.buffer[..])?;
            (self.length, self.from, self.queued) = (length, Some(from), None);
            Ok(1)
        }

        pub fn message(&mut self, at: usize) -> Option<(&mut [u8; BUFFER], usize, SocketAddr)> {
            // a full buffer may hold the beginning of a longer datagram
            let from = self.from.filter(|_| at == 0 && self.length < BUFFER)?;
            Some((&mut self.buffer, self.length, from))
        }

        pub fn queue(&mut self, _: usize, length: usize) {
            self.queued = Some(length);
        }

        pub fn send(&mut self, socket: &UdpSocket) {
            if let (Some(length), Some(from)) = (self.queued.take(), self.from)
                && let Some(bytes) = self.buffer.get(..length)
            {
                let _ = socket.send_to(bytes, from);
            }
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// How many files this process may have open, after asking for more where that is little: a shell's
/// usual 1024 is meant for programs with a handful.
#[cfg(unix)]
pub fn open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    // the second where the system has a bound of its own below the first, as macOS has
    for wanted in [131_072, 4096] {
        let more = limit.maximum.unwrap_or(wanted).min(wanted);
        if now < more && setrlimit(Resource::Nofile, Rlimit { current: Some(more), ..limit }).is_ok() {
            return usize::try_from(more).unwrap_or(usize::MAX);
        }
    }
    usize::try_from(now).unwrap_or(usize::MAX)
}

#[cfg(not(unix))]
pub fn open_files() -> usize {
    4096
}

/// Gives the system back what a flood has taken: glibc keeps it for the next one.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and may be called at any time (malloc_trim(3))
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets all threads share two heaps: each further one keeps what its threads have freed.
pub fn few_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only sets a number (mallopt(3))
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
