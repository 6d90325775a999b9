//! Answers of others, as they came, with where their TTLs lie. Bounded in bytes; what was not asked
//! for again goes first (SIEVE's idea: a queue and one bit).

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::full::Body;
use super::super::rdata::Rdata;
use super::super::wire::{HEADER, Name, RawRecord};

const SHARDS: usize = 16;
/// Bytes that an entry costs beside its content, roughly.
const OVERHEAD: usize = 200;
/// TTL that a stale answer is given (RFC 8767 4).
pub const STALE_TTL: u32 = 30;

/// An answer of an upstream server.
#[derive(Debug)]
pub struct Entry {
    pub rcode: u8,
    pub counts: [u16; 3],
    /// Everything behind the question.
    pub tail: Box<[u8]>,
    /// Where in `tail` a TTL lies, and its value on arrival.
    pub ttls: Box<[(u16, u32)]>,
    /// Length of the name in the question; pointers in `tail` count on it.
    pub name_length: usize,
    /// Seconds on the resolver's clock.
    pub stored: u32,
    pub expires: u32,
    /// It says that there is nothing: no such name, or no record of the type.
    pub denies: bool,
    /// The server's answer leads to this machine, and is not passed on.
    pub rebound: bool,
    /// May be shown after it expired.
    pub keep_stale: bool,
    /// Upstream failed; until then the stale answer is given without asking again.
    pub retry_at: AtomicU32,
    used: AtomicBool,
}

/// What the cache has for a question.
#[derive(Debug, Clone)]
pub enum Cached {
    Fresh(Arc<Entry>),
    Stale(Arc<Entry>),
    Nothing,
}

impl Entry {
    pub fn new(rcode: u8, name_length: usize, stored: u32, lifetime: u32) -> Self {
        Self {
            rcode,
            counts: [0; 3],
            tail: Box::default(),
            ttls: Box::default(),
            name_length,
            stored,
            expires: stored.saturating_add(lifetime),
            denies: false,
            rebound: false,
            keep_stale: false,
            retry_at: AtomicU32::new(0),
            used: AtomicBool::new(false),
        }
    }

    fn ttl(&self, original: u32, now: u32) -> u32 {
        if now >= self.expires && self.keep_stale {
            return original.min(STALE_TTL);
        }
        let left = original.saturating_sub(now.saturating_sub(self.stored));
        // nobody believes that there is nothing for longer than we do (RFC 2308 5)
        if self.denies { left.min(self.expires.saturating_sub(now)) } else { left }
    }

    /// Copies the tail behind a question in `buffer`; its end. None when it does not fit.
    #[inline]
    pub fn write(&self, buffer: &mut [u8], now: u32, limit: usize) -> Option<usize> {
        let at = HEADER + self.name_length + 4;
        let end = at + self.tail.len();
        if end > limit {
            return None;
        }
        let space = buffer.get_mut(at..end)?;
        space.copy_from_slice(&self.tail);
        for (offset, original) in &self.ttls {
            let offset = usize::from(*offset);
            space.get_mut(offset..offset + 4)?.copy_from_slice(&self.ttl(*original, now).to_be_bytes());
        }
        Some(end)
    }

    /// A message with zeros for header and question.
    fn message(&self, now: u32) -> Vec<u8> {
        let start = HEADER + self.name_length + 4;
        let mut message = vec![0; start + self.tail.len()];
        // the buffer is as long as the answer
        let _ = self.write(&mut message, now, usize::MAX);
        message
    }

    /// The answer to the question that it was stored for.
    pub fn body(&self, question: &[u8], now: u32) -> Body {
        let message = self.message(now);
        let mut body = Body::new(question, None);
        body.rcode = self.rcode.into();
        body.counts = self.counts;
        let mut at = HEADER + question.len();
        body.writer.put(message.get(at..).unwrap_or(&[]));
        while let Some(record) = RawRecord::read(&message, at) {
            at = record.end();
            body.ends.push(at);
        }
        body
    }

    /// Adds answer and authority to the answer to another question, whose CNAME led to `name`.
    pub fn append_to(&self, body: &mut Body, name: &Name, now: u32) {
        let mut message = self.message(now);
        let space = message.get_mut(HEADER..HEADER + name.wire().len());
        // names in the tail may point at the question
        if let Some(space) = space {
            space.copy_from_slice(name.wire());
        }
        body.rcode = self.rcode.into();
        let mut at = HEADER + self.name_length + 4;
        for (section, count) in self.counts.iter().take(2).enumerate() {
            for _ in 0..*count {
                let Some(record) = RawRecord::read(&message, at) else { return };
                at = record.end();
                if let Some((owner, _)) = Name::read(&message, record.start)
                    && let Some(data) = Rdata::from_wire(&message, &record)
                {
                    body.record(section, &owner, record.rtype, record.ttl, &data);
                }
            }
        }
    }

    fn cost(&self, key: &[u8]) -> usize {
        OVERHEAD + 2 * key.len() + self.tail.len() + 8 * self.ttls.len()
    }
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Arc<[u8]>, Arc<Entry>, foldhash::fast::RandomState>,
    queue: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

pub struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: foldhash::fast::RandomState,
    /// Of one shard.
    most: usize,
    /// Seconds that an expired answer is kept.
    stale_for: u32,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub stale: AtomicU64,
    entries: AtomicUsize,
}

impl Cache {
    pub fn new(bytes: usize, stale_for: u32) -> Self {
        Self {
            shards: Default::default(),
            hasher: foldhash::fast::RandomState::default(),
            most: bytes / SHARDS,
            stale_for,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            entries: AtomicUsize::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % SHARDS]
    }

    pub fn get(&self, key: &[u8], now: u32) -> Cached {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        match shard.entries.get(key) {
            Some(entry) if now < entry.expires => {
                entry.used.store(true, Ordering::Relaxed);
                Cached::Fresh(Arc::clone(entry))
            }
            Some(entry) if entry.keep_stale && now < entry.expires.saturating_add(self.stale_for) => {
                Cached::Stale(Arc::clone(entry))
            }
            _ => Cached::Nothing,
        }
    }

    /// Stores an answer. A failure never takes the place of something that can still be shown.
    pub fn put(&self, key: &[u8], entry: Arc<Entry>) {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let key: Arc<[u8]> = key.into();
        let cost = entry.cost(&key);
        if cost > self.most {
            return;
        }
        match shard.entries.insert(Arc::clone(&key), entry) {
            Some(old) => shard.bytes -= old.cost(&key),
            None => {
                shard.queue.push_back(key);
                self.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
        shard.bytes += cost;
        while shard.bytes > self.most {
            let Some(oldest) = shard.queue.pop_front() else { break };
            let used = shard.entries.get(&oldest).is_some_and(|entry| entry.used.swap(false, Ordering::Relaxed));
            if used {
                shard.queue.push_back(oldest);
            } else if let Some(gone) = shard.entries.remove(&oldest) {
                shard.bytes -= gone.cost(&oldest);
                self.entries.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets everything: the network is another one.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
        self.entries.store(0, Ordering::Relaxed);
    }

    pub fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes, roughly.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: usize, stored: u32, lifetime: u32) -> Arc<Entry> {
        let mut entry = Entry::new(0, 1, stored, lifetime);
        entry.tail = vec![0; size].into();
        entry.keep_stale = true;
        Arc::new(entry)
    }

    #[test]
    fn memory_stays_within_its_bound_and_what_is_used_stays() {
        let cache = Cache::new(64 * 1024, 100);
        cache.put(b"hot", entry(100, 0, 1000));
        for number in 0..10_000_u32 {
            assert!(matches!(cache.get(b"hot", 1), Cached::Fresh(_)), "lost after {number} others");
            cache.put(&number.to_be_bytes(), entry(100, 0, 1000));
        }
        assert!(cache.bytes() <= 64 * 1024);
        assert!((100..400).contains(&cache.entries()), "{} entries", cache.entries());
    }

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let cache = Cache::new(1 << 20, 100);
        cache.put(b"a", entry(10, 50, 10));
        let kind = |now| match cache.get(b"a", now) {
            Cached::Fresh(_) => "fresh",
            Cached::Stale(_) => "stale",
            Cached::Nothing => "nothing",
        };
        assert_eq!([50, 59, 60, 159, 160].map(kind), ["fresh", "fresh", "stale", "stale", "nothing"]);
        cache.clear();
        assert_eq!((kind(50), cache.entries(), cache.bytes()), ("nothing", 0, 0));
        // one that must not outlive its time
        cache.put(b"a", Arc::new(Entry::new(0, 1, 50, 10)));
        assert_eq!([59, 60].map(kind), ["fresh", "nothing"]);
    }

    #[test]
    fn memory_is_counted_for_what_is_there() {
        let cache = Cache::new(16 * 1000, 100);
        cache.put(b"key", entry(100, 0, 10));
        assert_eq!((cache.entries(), cache.bytes()), (1, OVERHEAD + 2 * 3 + 100));
        // in the place of the one before
        let mut next = Entry::new(0, 1, 0, 10);
        next.tail = vec![0; 50].into();
        next.ttls = [(2, 300), (6, 300)].into();
        cache.put(b"key", Arc::new(next));
        assert_eq!((cache.entries(), cache.bytes()), (1, OVERHEAD + 2 * 3 + 50 + 2 * 8));
        // as much as a part may hold, and a byte more
        for (size, stays) in [(1000 - OVERHEAD - 2 * 5 + 1, false), (1000 - OVERHEAD - 2 * 5, true)] {
            cache.clear();
            cache.put(b"large", entry(size, 0, 10));
            assert_eq!(matches!(cache.get(b"large", 0), Cached::Fresh(_)), stays, "{size}");
        }
    }

    #[test]
    fn a_ttl_counts_down_and_is_short_once_stale() {
        let mut entry = Entry::new(0, 1, 100, 60);
        entry.tail = [0; 8].into();
        entry.ttls = [(2, 300)].into();
        entry.keep_stale = true;
        let ttl = |entry: &Entry, now| {
            let mut buffer = [0; 64];
            let end = entry.write(&mut buffer, now, 64).unwrap();
            (end, u32::from_be_bytes(buffer[HEADER + 5 + 2..HEADER + 5 + 6].try_into().unwrap()))
        };
        assert_eq!([ttl(&entry, 100), ttl(&entry, 130), ttl(&entry, 160)], [(25, 300), (25, 270), (25, 30)]);
        assert_eq!(entry.write(&mut [0; 64], 100, 24), None);
        // a denial that is kept for a while only
        entry.denies = true;
        assert_eq!([ttl(&entry, 100), ttl(&entry, 130), ttl(&entry, 160)], [(25, 60), (25, 30), (25, 30)]);
    }
}
