//! A worker: one thread, one socket, batches of datagrams.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::runtime;
use tokio::sync::Semaphore;

use super::core::{Arrival, Core, Step, asked_type, epoch};
use super::full::Transport;
use super::metrics::{Tally, Way};
use super::socket::Batch;
use crate::model::View;

pub struct Worker {
    pub core: Arc<Core>,
    pub socket: Arc<UdpSocket>,
    pub view: View,
    pub stop: Arc<AtomicBool>,
    /// Where questions for upstream are waited for.
    pub runtime: runtime::Handle,
    /// How many of them at once.
    pub pending: Arc<Semaphore>,
}

impl Worker {
    /// Answers until told to stop.
    pub fn run(self) {
        let core = Arc::clone(&self.core);
        let mut batch = Batch::new();
        let mut snapshot = core.snapshot.reader();
        let mut networks = core.networks.reader();
        let mut tally = Tally::default();
        while !self.stop.load(Ordering::Acquire) {
            let count = match batch.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if retry(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "receiving DNS questions");
                    // the address may have gone with its interface; do not spin on it
                    #[allow(clippy::disallowed_methods, reason = "a thread of its own, not one of the runtime")]
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let arrived = Instant::now();
            let (now, epoch) = (core.now(), epoch());
            let view = snapshot.get().view(self.view);
            let networks = networks.get();
            let mut answered = 0;
            for at in 0..count {
                let Some((buffer, length, client)) = batch.message(at) else {
                    tally.dropped();
                    continue;
                };
                if !core.admits(networks, client.ip()) {
                    tally.dropped();
                    continue;
                }
                let arrival = Arrival { client, view: self.view, transport: Transport::Udp };
                let context = core.context(&arrival, epoch);
                let logged = core.query_log.is_some().then(|| buffer[..length].to_vec());
                let (length, way) = match core.step(view, &context, now, buffer, length) {
                    Step::InPlace(length, way) => (length, way),
                    Step::Message(message) => {
                        let length = message.len().min(buffer.len());
                        buffer[..length].copy_from_slice(&message[..length]);
                        (length, Way::Full)
                    }
                    Step::Drop => {
                        tally.dropped();
                        continue;
                    }
                    Step::Forward(forward) => {
                        if !self.forward(arrival, buffer[..length].to_vec(), forward) {
                            tally.dropped();
                        }
                        continue;
                    }
                };
                let answer = &buffer[..length];
                tally.answer(answer, asked_type(answer), way, false);
                if let Some(question) = logged {
                    core.log(&arrival, &question, answer, way);
                }
                batch.queue(at, length);
                answered += 1;
            }
            batch.send(&self.socket);
            tally.took(answered, arrived.elapsed());
            core.metrics.take(&mut tally);
        }
    }

    /// Hands a question over; false when too many wait already.
    fn forward(&self, arrival: Arrival, message: Vec<u8>, forward: super::full::Forward) -> bool {
        let Ok(permit) = Arc::clone(&self.pending).try_acquire_owned() else { return false };
        let (core, socket) = (Arc::clone(&self.core), Arc::clone(&self.socket));
        let arrived = Instant::now();
        self.runtime.spawn(async move {
            if let Some(answer) = core.forward(arrival, &message, forward).await {
                // a full send queue loses the answer, and the client asks again
                let _ = SockRef::from(&*socket).send_to_with_flags(&answer, &arrival.client.into(), dont_wait());
                let mut tally = Tally::default();
                tally.answer(&answer, asked_type(&message), Way::Forwarded, false);
                tally.took(1, arrived.elapsed());
                core.metrics.take(&mut tally);
                core.log(&arrival, &message, &answer, Way::Forwarded);
            }
            drop(permit);
        });
        true
    }
}

fn dont_wait() -> i32 {
    #[cfg(unix)]
    return libc::MSG_DONTWAIT;
    #[cfg(not(unix))]
    return 0;
}

/// An earlier answer's ICMP error, or the end of a wait: nothing is wrong with the socket.
fn retry(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock)
}
