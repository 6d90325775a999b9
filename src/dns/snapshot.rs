//! What the server answers from: for each view the tree of names, and beside it every common answer
//! as ready bytes behind a hash of the name. Immutable; a change makes a new one ([`Swap`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::full::Body;
use super::tree::{Answer, End, FedZone, Found, Node, Tree, ZoneError, ZoneTree};
use super::wire::{CLASS_IN, HEADER, Name, TYPE_ANY, TYPE_CNAME};
use crate::model::{View, Zone};

/// A type that nobody uses: the answer for it is the answer for every type that is not there.
const NO_TYPE: u16 = 0xFF00;
/// Longer answers are left to the full path.
const LONGEST: usize = 1400;

/// Both views of all zones.
#[derive(Debug)]
pub struct Snapshot {
    host: ViewSnapshot,
    container: ViewSnapshot,
}

impl Snapshot {
    /// From the zones and what PowerDNS has for them.
    pub fn build(zones: &[&Zone], fed: &BTreeMap<Name, Arc<FedZone>>) -> Result<Self, ZoneError> {
        Self::awaiting(zones, fed, &BTreeSet::new())
    }

    /// The same; of the zones in `awaited` PowerDNS may have more, and was not asked yet.
    pub fn awaiting(
        zones: &[&Zone],
        fed: &BTreeMap<Name, Arc<FedZone>>,
        awaited: &BTreeSet<Name>,
    ) -> Result<Self, ZoneError> {
        let view = |view| {
            let mut tree = Tree::build(zones, fed, view)?;
            tree.await_rest(awaited);
            Ok(ViewSnapshot::new(tree))
        };
        Ok(Self { host: view(View::Host)?, container: view(View::Container)? })
    }

    pub fn view(&self, view: View) -> &ViewSnapshot {
        match view {
            View::Host => &self.host,
            View::Container => &self.container,
        }
    }
}

/// Index of an answer or an entry that is not there.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub struct ViewSnapshot {
    pub tree: Tree,
    answers: Answers,
}

/// The ready answers, close together in memory.
#[derive(Debug, Default)]
struct Answers {
    index: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    entries: Vec<Entry>,
    ready: Vec<Ready>,
    bytes: Vec<u8>,
    fixups: Vec<u16>,
}

/// A name that exists.
#[derive(Debug)]
struct Entry {
    /// Type and answer.
    sets: Box<[(u16, u32)]>,
    /// The answer for any other type; `NONE`: the full path's business.
    other: u32,
    /// For names below that do not exist: the entry of the wildcard.
    wildcard: u32,
    /// For names below that do not exist, without a wildcard.
    missing: u32,
}

/// The part of an answer that follows the question.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    start: u32,
    length: u16,
    fixup_start: u32,
    fixup_length: u16,
    /// Length of the name that it was made for. Pointers move with the length of the real one.
    name_length: u16,
    pub rcode: u8,
    pub answers: u16,
    pub authority: u16,
}

/// The outcome of a look-up.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    Ready(&'a Ready),
    /// No zone of ours.
    NotOurs,
    /// Ours, but only the full path knows.
    Full,
}

impl ViewSnapshot {
    pub fn new(tree: Tree) -> Self {
        let answers = Builder::new(&tree).build();
        Self { tree, answers }
    }

    /// `name`: lower-cased wire form.
    #[inline]
    pub fn lookup(&self, name: &[u8], qtype: u16) -> Lookup<'_> {
        let found = match self.answers.index.get(name) {
            Some(&at) => self.answers.entries.get(at as usize).map(|entry| entry.answer(qtype)),
            None => self.below(name, qtype),
        };
        match found {
            None => Lookup::NotOurs,
            Some(at) => self.answers.ready.get(at as usize).map_or(Lookup::Full, Lookup::Ready),
        }
    }

    /// The closest encloser's wildcard (RFC 4592 3.3.1), or that there is none.
    fn below(&self, name: &[u8], qtype: u16) -> Option<u32> {
        let mut rest = name;
        loop {
            let skip = usize::from(*rest.first()?);
            if skip == 0 {
                return None;
            }
            rest = rest.get(1 + skip..)?;
            if let Some(entry) = self.answers.index.get(rest).and_then(|&at| self.answers.entries.get(at as usize)) {
                return match self.answers.entries.get(entry.wildcard as usize) {
                    Some(wildcard) => Some(wildcard.answer(qtype)),
                    None => Some(entry.missing),
                };
            }
        }
    }

    /// Copies an answer behind a question whose name is `name_length` bytes long; the new end.
    /// `out` begins with header and question. None when it does not fit.
    #[inline]
    pub fn write(&self, ready: &Ready, name_length: usize, out: &mut [u8], limit: usize) -> Option<usize> {
        let start = ready.start as usize;
        let tail = self.answers.bytes.get(start..start + usize::from(ready.length))?;
        let at = HEADER + name_length + 4;
        let end = at + tail.len();
        if end > limit {
            return None;
        }
        let space = out.get_mut(at..end)?;
        space.copy_from_slice(tail);
        if usize::from(ready.name_length) != name_length {
            let moved = (name_length as u16).wrapping_sub(ready.name_length);
            let from = ready.fixup_start as usize;
            for &fixup in self.answers.fixups.get(from..from + usize::from(ready.fixup_length))? {
                let pointer = space.get_mut(usize::from(fixup)..usize::from(fixup) + 2)?;
                let value = u16::from_be_bytes([pointer[0], pointer[1]]).wrapping_add(moved);
                pointer.copy_from_slice(&value.to_be_bytes());
            }
        }
        Some(end)
    }
}

impl Entry {
    #[inline]
    fn answer(&self, qtype: u16) -> u32 {
        let set = self.sets.iter().find(|(known, _)| *known == qtype);
        set.map_or(self.other, |(_, answer)| *answer)
    }
}

/// Makes the ready answers by asking the tree.
struct Builder<'a> {
    tree: &'a Tree,
    /// Every type that some name has.
    types: BTreeSet<u16>,
    made: Answers,
    /// Answers without data, by zone and whether the name exists: shared by all names of a zone.
    negative: BTreeMap<(Name, bool), u32>,
    minimal: u32,
}

impl<'a> Builder<'a> {
    fn new(tree: &'a Tree) -> Self {
        let nodes = tree.zones().flat_map(|zone| zone.nodes());
        let types = nodes.flat_map(|(_, node)| node.sets.iter().map(|set| set.rtype)).collect();
        Self { tree, types, made: Answers::default(), negative: BTreeMap::new(), minimal: NONE }
    }

    fn build(mut self) -> Answers {
        let tree = self.tree;
        for zone in tree.zones() {
            let missing = if zone.awaited { NONE } else { self.negative(zone, false) };
            for (name, node) in zone.nodes() {
                let entry = self.entry(name, node, missing);
                self.made.index.insert(name.wire().into(), self.made.entries.len() as u32);
                self.made.entries.push(entry);
            }
        }
        let wildcards: Vec<(Name, u32)> = tree
            .zones()
            .flat_map(|zone| zone.nodes())
            .filter(|(name, _)| name.is_wildcard())
            .filter_map(|(name, _)| Some((name.parent()?, *self.made.index.get(name.wire())?)))
            .collect();
        for (parent, wildcard) in wildcards {
            if let Some(entry) =
                self.made.index.get(parent.wire()).and_then(|&at| self.made.entries.get_mut(at as usize))
            {
                entry.wildcard = wildcard;
            }
        }
        self.made.index.shrink_to_fit();
        self.made.entries.shrink_to_fit();
        self.made.ready.shrink_to_fit();
        self.made.bytes.shrink_to_fit();
        self.made.fixups.shrink_to_fit();
        self.made
    }

    fn entry(&mut self, name: &Name, node: &Node, missing: u32) -> Entry {
        let mut types: BTreeSet<u16> = node.sets.iter().map(|set| set.rtype).collect();
        if types.contains(&TYPE_CNAME) {
            types.extend(&self.types);
        }
        if !types.is_empty() {
            types.insert(TYPE_ANY);
        }
        let other = self.answer(name, NO_TYPE);
        let mut sets: Vec<(u16, u32)> = types.into_iter().map(|qtype| (qtype, self.answer(name, qtype))).collect();
        sets.retain(|(_, answer)| *answer != other);
        Entry { sets: sets.into(), other, wildcard: NONE, missing }
    }

    /// The index of the answer to a question.
    fn answer(&mut self, name: &Name, qtype: u16) -> u32 {
        let Found::Answer(answer) = self.tree.resolve(name, qtype) else { return NONE };
        let alone = answer.chain.is_empty();
        match &answer.end {
            End::Leaves(_) | End::Awaited(_) => NONE,
            End::NoData(zone) if alone => self.negative(zone, true),
            End::NxDomain(zone) if alone => self.negative(zone, false),
            End::Minimal if alone => {
                if self.minimal == NONE {
                    self.minimal = self.render(name, &answer);
                }
                self.minimal
            }
            _ => self.render(name, &answer),
        }
    }

    /// The zone's answer that a name or such records do not exist. It is made for a name below the
    /// apex, so that its pointers fit any name of the zone, the apex too.
    fn negative(&mut self, zone: &ZoneTree, exists: bool) -> u32 {
        let key = (zone.apex.clone(), exists);
        if let Some(&known) = self.negative.get(&key) {
            return known;
        }
        let end = if exists { End::NoData(zone) } else { End::NxDomain(zone) };
        let answer = Answer { zone, chain: Vec::new(), end, wildcard: None };
        let made = zone.apex.child(b"x").map_or(NONE, |name| self.render(&name, &answer));
        self.negative.insert(key, made);
        made
    }

    fn render(&mut self, name: &Name, answer: &Answer<'_>) -> u32 {
        let mut question = name.wire().to_vec();
        question.extend_from_slice(&[0, 0]);
        question.extend_from_slice(&CLASS_IN.to_be_bytes());
        let body = Body::of(&question, name, answer);
        let from = HEADER + question.len();
        let Some(tail) = body.writer.bytes().get(from..).filter(|tail| tail.len() <= LONGEST) else { return NONE };
        let ready = Ready {
            start: self.made.bytes.len() as u32,
            length: tail.len() as u16,
            fixup_start: self.made.fixups.len() as u32,
            fixup_length: body.writer.pointers.len() as u16,
            name_length: name.wire().len() as u16,
            rcode: body.rcode as u8,
            answers: body.counts[0],
            authority: body.counts[1],
        };
        self.made.bytes.extend_from_slice(tail);
        self.made.fixups.extend(body.writer.pointers.iter().map(|at| (at - from) as u16));
        self.made.ready.push(ready);
        (self.made.ready.len() - 1) as u32
    }
}

/// A value that is exchanged whole. Readers keep a [`Reader`] and touch nothing but one atomic
/// number until there is a new value.
#[derive(Debug)]
pub struct Swap<T> {
    generation: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Swap<T> {
    pub fn new(value: T) -> Self {
        Self { generation: AtomicU64::new(0), value: Mutex::new(Arc::new(value)) }
    }

    pub fn store(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn reader(&self) -> Reader<'_, T> {
        let generation = self.generation.load(Ordering::Acquire);
        Reader { swap: self, generation, value: self.load() }
    }
}

/// One thread's copy of a [`Swap`].
pub struct Reader<'a, T> {
    swap: &'a Swap<T>,
    generation: u64,
    value: Arc<T>,
}

impl<T> Reader<'_, T> {
    /// The newest value.
    #[inline]
    pub fn get(&mut self) -> &Arc<T> {
        let generation = self.swap.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.value = self.swap.load();
        }
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_has_the_newest_value() {
        let swap = Swap::new(1);
        let (mut early, mut late) = (swap.reader(), swap.reader());
        assert_eq!((**early.get(), *swap.load()), (1, 1));
        swap.store(2);
        assert_eq!((**early.get(), *swap.load(), **swap.reader().get()), (2, 2, 2));
        swap.store(3);
        assert_eq!((**early.get(), **late.get()), (3, 3));
    }
}
