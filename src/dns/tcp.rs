//! DNS over TCP (RFC 7766): many questions on one connection, answered as they can be, not in
//! order; whatever lies in the receive buffer is answered with one write.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::core::{Arrival, Core, Step, asked_type, epoch};
use super::fast::BUFFER;
use super::full::{Forward, Transport};
use super::metrics::{Tally, Way};
use crate::host::next_connection;
use crate::model::View;

/// What a client may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections at once, of all clients.
    pub connections: usize,
    /// Connections at once of one client.
    pub per_client: usize,
    /// Closed when no whole question comes for so long, and nothing is owed to the client.
    pub idle: Duration,
    /// Questions of one connection that wait for upstream; beyond it is not read further.
    pub pending: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self { connections: 512, per_client: 256, idle: Duration::from_secs(10), pending: 64 }
    }
}

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// Answers of so many bytes are sent before more are made: a client cannot make us hold more.
const FLUSH: usize = 128 * 1024;
/// How long a connection may be idle when few are left.
const CROWDED: Duration = Duration::from_secs(1);
/// Time that a client has to take its answers.
const WRITE: Duration = Duration::from_secs(5);

/// One address's TCP side.
#[derive(Clone)]
pub struct Acceptor {
    pub core: Arc<Core>,
    pub view: View,
    pub limits: TcpLimits,
    pub slots: Arc<Semaphore>,
    pub stop: CancellationToken,
    /// A child of `stop`: nothing more is begun, and what is owed is still given.
    pub leaving: CancellationToken,
}

impl Acceptor {
    /// Accepts until stopped.
    pub async fn run(self, listener: TcpListener) {
        let clients: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
        loop {
            let next = next_connection(|cx| listener.poll_accept(cx));
            let Some((stream, client)) = self.leaving.run_until_cancelled(next).await else { return };
            let admitted = self.core.admits(&self.core.networks.load(), client.ip());
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { continue };
            let Some(guest) = Guest::enter(&clients, client.ip(), self.limits.per_client).filter(|_| admitted) else {
                continue;
            };
            let arrival = Arrival { client, view: self.view, transport: Transport::Tcp };
            let acceptor = self.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = acceptor.serve(stream, arrival, &guest) => {}
                    () = acceptor.stop.cancelled() => {}
                }
                drop((slot, guest));
            });
        }
    }

    /// One connection to its end.
    async fn serve(&self, mut stream: TcpStream, arrival: Arrival, guest: &Guest) {
        // answers go out in one write each time; waiting for more to send only delays them
        let _ = stream.set_nodelay(true);
        let (mut input, mut output) = (Vec::with_capacity(2 * CHUNK), Output::default());
        let (late_sender, mut late) = mpsc::channel::<Vec<u8>>(self.limits.pending);
        let mut owed = 0;
        let mut open = true;
        let mut last = Instant::now();
        loop {
            if !open && owed == 0 {
                return;
            }
            let patience = self.patience(guest);
            if owed == 0 && last.elapsed() >= patience {
                return;
            }
            // looked at again now and then: it gets shorter when others come
            let deadline = (last + patience).min(Instant::now() + CROWDED).into();
            tokio::select! {
                read = read_chunk(&mut stream, &mut input), if open && owed < self.limits.pending => {
                    match read {
                        Ok(0) => open = false,
                        Ok(_) => {}
                        Err(_) => return,
                    }
                    loop {
                        let before = input.len();
                        let Some(forwards) = self.answer_all(&arrival, &mut input, &mut output) else { return };
                        // only whole questions count: a byte now and then is nobody's question
                        if input.len() < before {
                            last = Instant::now();
                        }
                        for (message, forward) in forwards {
                            owed += 1;
                            tokio::spawn(self.clone().ask(arrival, message, forward, late_sender.clone()));
                        }
                        if output.used < FLUSH {
                            break;
                        }
                        if output.flush(&mut stream).await.is_err() {
                            return;
                        }
                    }
                }
                Some(answer) = late.recv(), if owed > 0 => {
                    owed -= 1;
                    last = Instant::now();
                    output.push(&answer);
                    while let Ok(answer) = late.try_recv() {
                        owed -= 1;
                        output.push(&answer);
                    }
                }
                () = self.leaving.cancelled(), if open => open = false,
                () = sleep_until(deadline), if owed == 0 => continue,
            }
            if output.flush(&mut stream).await.is_err() {
                return;
            }
        }
    }

    /// How long a client may say nothing: less when few connections are left, for all or for this client. All
    /// programs of this machine are one.
    fn patience(&self, guest: &Guest) -> Duration {
        let few = |left: usize, all: usize| left < all / 4;
        let crowded = few(self.slots.available_permits(), self.limits.connections)
            || few(self.limits.per_client.saturating_sub(guest.count()), self.limits.per_client);
        if crowded { self.limits.idle.min(CROWDED) } else { self.limits.idle }
    }

    /// Waits for upstream's answer to one question.
    async fn ask(self, arrival: Arrival, message: Vec<u8>, forward: Forward, sender: mpsc::Sender<Vec<u8>>) {
        let arrived = Instant::now();
        let answer = self.core.forward(arrival, &message, forward).await.unwrap_or_default();
        let mut tally = Tally::default();
        tally.answer(&answer, asked_type(&message), Way::Forwarded, true);
        tally.took(1, arrived.elapsed());
        self.core.metrics.take(&mut tally);
        self.core.log(&arrival, &message, &answer, Way::Forwarded);
        // the connection may be gone
        let _ = sender.send(answer).await;
    }

    /// Answers the whole messages of `input` into `output`, until there is enough to send, and hands
    /// back those for upstream. None when the client talks nonsense.
    fn answer_all(
        &self,
        arrival: &Arrival,
        input: &mut Vec<u8>,
        output: &mut Output,
    ) -> Option<Vec<(Vec<u8>, Forward)>> {
        let core = &self.core;
        let arrived = Instant::now();
        let snapshot = core.snapshot.load();
        let view = snapshot.view(arrival.view);
        let (now, context) = (core.now(), core.context(arrival, epoch()));
        let (mut tally, mut answered) = (Tally::default(), 0);
        let mut forwards = Vec::new();
        let mut rest: &[u8] = input;
        while let Some((&length, after)) = rest.split_first_chunk::<2>() {
            if output.used >= FLUSH {
                break;
            }
            let length = usize::from(u16::from_be_bytes(length));
            if length == 0 {
                return None;
            }
            let Some((message, after)) = after.split_at_checked(length) else { break };
            rest = after;
            let buffer = output.room(message);
            let way = match core.step(view, &context, now, buffer, length) {
                Step::InPlace(length, way) => {
                    output.keep(length);
                    way
                }
                Step::Message(answer) => {
                    output.push(&answer);
                    Way::Full
                }
                Step::Drop => {
                    tally.dropped();
                    continue;
                }
                Step::Forward(forward) => {
                    forwards.push((message.to_vec(), forward));
                    continue;
                }
            };
            let answer = output.last();
            tally.answer(answer, asked_type(answer), way, true);
            core.log(arrival, message, answer, way);
            answered += 1;
        }
        let used = input.len() - rest.len();
        input.drain(..used);
        tally.took(answered, arrived.elapsed());
        core.metrics.take(&mut tally);
        Some(forwards)
    }
}

async fn read_chunk(stream: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<usize> {
    input.reserve(CHUNK);
    stream.read_buf(input).await
}

/// Answers with their lengths before them. The bytes behind `used` are old ones, so that room for
/// the next answer need not be cleared each time.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    used: usize,
    /// Where the last answer begins.
    last: usize,
}

impl Output {
    fn written(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&[])
    }

    fn last(&self) -> &[u8] {
        self.bytes.get(self.last..self.used).unwrap_or(&[])
    }

    /// A copy of a question with room to grow into its answer.
    fn room(&mut self, message: &[u8]) -> &mut [u8] {
        let start = self.used + 2;
        let end = start + message.len().max(BUFFER);
        if self.bytes.len() < end {
            self.bytes.resize(end + CHUNK, 0);
        }
        let buffer = &mut self.bytes[start..end];
        buffer[..message.len()].copy_from_slice(message);
        buffer
    }

    /// Keeps the answer that was made in [`Output::room`].
    fn keep(&mut self, length: usize) {
        self.last = self.used + 2;
        self.bytes[self.used..self.last].copy_from_slice(&(length as u16).to_be_bytes());
        self.used = self.last + length;
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        if self.used > 0 {
            timeout(WRITE, stream.write_all(self.written())).await??;
            self.used = 0;
        }
        if self.bytes.len() > 2 * FLUSH {
            self.bytes = Vec::new();
        }
        Ok(())
    }

    fn push(&mut self, answer: &[u8]) {
        let fits = u16::try_from(answer.len()).is_ok_and(|length| length > 0);
        if fits {
            self.room(answer);
            self.keep(answer.len());
        }
    }
}

/// A client's share of the connections, given back when dropped.
struct Guest {
    clients: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Guest {
    fn enter(clients: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr, most: usize) -> Option<Self> {
        let mut counts = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { clients: Arc::clone(clients), address })
    }

    /// Connections of this client.
    fn count(&self) -> usize {
        let counts = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&self.address).copied().unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::clock::Clock;
    use super::super::cookie::Secret;
    use super::super::metrics::Metrics;
    use super::super::snapshot::{Snapshot, Swap};
    use super::*;
    use crate::model::{Record, RecordData, Zone};

    fn acceptor(connections: usize, per_client: usize) -> Acceptor {
        let mut zone = Zone::new("m.local", 1);
        zone.records.push(Record::new("a.m.local", RecordData::A([127, 0, 0, 2].into())));
        let core = Core {
            snapshot: Swap::new(Snapshot::build(&[&zone], &BTreeMap::new()).unwrap()),
            secret: Secret([1; 16]),
            forwarder: None,
            networks: Swap::new(Vec::new()),
            metrics: Metrics::default(),
            query_log: None,
            clock: Clock::start(),
        };
        Acceptor {
            core: Arc::new(core),
            view: View::Host,
            limits: TcpLimits { connections, per_client, ..TcpLimits::default() },
            slots: Arc::new(Semaphore::new(connections)),
            stop: CancellationToken::new(),
            leaving: CancellationToken::new(),
        }
    }

    #[test]
    fn answers_stand_one_behind_the_other_with_their_lengths() {
        let mut output = Output::default();
        output.push(b"one");
        // an answer that there is not, and one that cannot be said
        output.push(b"");
        output.push(&[0; 65_536]);
        assert_eq!((output.written(), output.last()), (b"\0\x03one".as_slice(), b"one".as_slice()));
        let buffer = output.room(b"two");
        assert_eq!((buffer.len(), &buffer[..3]), (BUFFER, b"two".as_slice()));
        buffer[3] = b'!';
        output.keep(4);
        assert_eq!((output.written(), output.last()), (b"\0\x03one\0\x04two!".as_slice(), b"two!".as_slice()));
        output.push(&[7; 65_535]);
        assert_eq!((output.written().len(), output.last().len()), (11 + 2 + 65_535, 65_535));
    }

    #[test]
    fn a_client_has_so_many_connections_and_gives_them_back() {
        let clients: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
        let enter = |address: [u8; 4]| Guest::enter(&clients, address.into(), 2);
        let (one, two) = (enter([127, 0, 0, 1]).unwrap(), enter([127, 0, 0, 1]).unwrap());
        assert!(enter([127, 0, 0, 1]).is_none());
        let other = enter([127, 0, 0, 2]).unwrap();
        assert_eq!((one.count(), other.count()), (2, 1));
        drop(two);
        assert_eq!(one.count(), 1);
        drop((one, other));
        assert!(clients.lock().unwrap().is_empty());
    }

    #[test]
    fn where_few_connections_are_left_nobody_may_be_idle_for_long() {
        let clients: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
        let enter = || Guest::enter(&clients, [127, 0, 0, 1].into(), 8).unwrap();
        let (of_one, of_all) = (acceptor(100, 8), acceptor(8, 100));
        let idle = TcpLimits::default().idle;
        let guests: Vec<Guest> = (0..6).map(|_| enter()).collect();
        assert_eq!(of_one.patience(&guests[0]), idle);
        let last = enter();
        assert_eq!(of_one.patience(&last), CROWDED);
        // and those of everybody together
        let held = of_all.slots.try_acquire_many(6).unwrap();
        assert_eq!(of_all.patience(&last), idle);
        let more = of_all.slots.try_acquire().unwrap();
        assert_eq!(of_all.patience(&last), CROWDED);
        drop((held, more));
        // never longer than without a crowd
        let limits = TcpLimits { idle: Duration::from_millis(5), ..of_one.limits };
        assert_eq!(Acceptor { limits, ..of_one }.patience(&last), limits.idle);
    }

    #[test]
    fn whole_messages_are_answered_and_the_rest_is_waited_for() {
        let acceptor = acceptor(8, 8);
        let client = ([127, 0, 0, 1], 4711).into();
        let arrival = Arrival { client, view: View::Host, transport: Transport::Tcp };
        // `a.m.local A` of this class, with its length
        let question = |class: u8| {
            let mut framed = vec![0, 27, 0x12, class, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            framed.extend_from_slice(b"\x01a\x01m\x05local\0\0\x01\0");
            framed.push(class);
            framed
        };
        let (right, other) = (question(1), question(3));
        let mut input = [right.as_slice(), &other, b"\0\x03???", &right[..5]].concat();
        let mut output = Output::default();
        assert_eq!(acceptor.answer_all(&arrival, &mut input, &mut output).map(|forwards| forwards.len()), Some(0));
        assert_eq!(input, right[..5]);
        // the address, and a refusal
        let written = output.written();
        assert_eq!(written.len(), 2 + 43 + 2 + 27);
        assert_eq!(written[..4], [0, 43, 0x12, 1]);
        assert_eq!(written[41..49], [127, 0, 0, 2, 0, 27, 0x12, 3]);
        assert_eq!((output.last().len(), acceptor.core.metrics.answered()), (27, 2));
        assert_eq!(acceptor.core.metrics.ways().map(|(_, count)| count), [1, 1, 0, 0, 1]);
        assert!(acceptor.answer_all(&arrival, &mut vec![0, 0, 1], &mut output).is_none());
    }
}
