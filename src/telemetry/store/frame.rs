//! Blocks as they lie in a file: a head that says what is in it, then compressed parts.
//!
//! ```text
//! MTB1 | length of the head | its CRC | head | part | part
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Table};
use prost::Message;

use super::StoreError;
use crate::model::AnyError;
use crate::telemetry::batch::{Batch, LineRow, Origin, PointRow};
use crate::telemetry::filter;
use crate::telemetry::trace_head::{TraceHead, heads};

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const MAGIC: [u8; 4] = *b"MTB1";
/// Before the head: the magic, its length and its checksum.
pub const PROLOGUE: usize = 12;
/// No head is longer: a filter takes two bytes for each of a block's traces.
const LONGEST_HEAD: usize = 8 << 20;
/// No part is longer than what a body may be, many times over.
const LONGEST_PART: usize = 256 << 20;
const LEVEL: i32 = 3;

pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Spans,
    Lines,
    Points,
}

/// What is known of a block without reading it.
#[derive(Clone, PartialEq, Message)]
pub struct Head {
    /// [`Kind`] by its place, from 1.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Of the journal that it was made from.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// Nothing more comes of that generation.
    #[prost(bool, tag = "3")]
    pub last: bool,
    #[prost(uint32, tag = "4")]
    pub count: u32,
    /// The times of what is in it, nanoseconds.
    #[prost(fixed64, tag = "5")]
    pub from: u64,
    #[prost(fixed64, tag = "6")]
    pub to: u64,
    /// Of the traces in it.
    #[prost(bytes = "vec", tag = "7")]
    pub filter: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    pub parts: Vec<PartHead>,
    /// When it was written, seconds since the epoch.
    #[prost(uint64, tag = "9")]
    pub saved: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartHead {
    #[prost(uint32, tag = "1")]
    pub packed: u32,
    #[prost(uint32, tag = "2")]
    pub raw: u32,
    #[prost(fixed32, tag = "3")]
    pub crc: u32,
}

impl Head {
    pub fn kind(&self) -> Option<Kind> {
        [Kind::Spans, Kind::Lines, Kind::Points].get(usize::try_from(self.kind).ok()?.checked_sub(1)?).copied()
    }

    /// Bytes of all parts.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.packed)).sum()
    }
}

/// An open file of blocks. It can be read until the last who knows it is gone, also when it was removed.
#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub file: File,
}

/// A block that can be read.
#[derive(Debug)]
pub struct Block {
    pub segment: Arc<Segment>,
    /// Where its first part begins.
    pub offset: u64,
    pub head: Head,
}

impl Block {
    /// A part, checked and opened.
    pub fn part(&self, number: usize) -> Result<Bytes, StoreError> {
        let broken = |what: &str| StoreError::Broken { path: self.segment.path.clone(), source: AnyError::said(what) };
        let part = self.head.parts.get(number).ok_or_else(|| broken("a block lacks a part"))?;
        let before: u64 = self.head.parts.iter().take(number).map(|part| u64::from(part.packed)).sum();
        let (Ok(packed_length), Ok(length)) = (usize::try_from(part.packed), usize::try_from(part.raw)) else {
            return Err(broken("a block is too large"));
        };
        if packed_length > LONGEST_PART || length > LONGEST_PART {
            return Err(broken("a block is too large"));
        }
        let mut packed = vec![0; packed_length];
        let read = self.segment.file.read_exact_at(&mut packed, self.offset + before);
        read.map_err(|source| StoreError::Io { path: self.segment.path.clone(), source })?;
        if checksum(&packed) != part.crc {
            return Err(broken("a block has another checksum"));
        }
        let opened = zstd::bulk::decompress(&packed, length);
        opened.map(Bytes::from).map_err(|_| broken("a block cannot be decompressed"))
    }

    pub fn message<M: Message + Default>(&self, number: usize) -> Result<M, StoreError> {
        M::decode(self.part(number)?)
            .map_err(|error| StoreError::Broken { path: self.segment.path.clone(), source: error.into() })
    }
}

/// The second part of a block of spans. A row begins with the trace, so that others are passed over.
#[derive(Clone, PartialEq, Message)]
pub struct SpanPart {
    #[prost(message, repeated, tag = "1")]
    pub origins: Vec<Origin>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub rows: Vec<Bytes>,
}

/// The first part: its traces.
#[derive(Clone, PartialEq, Message)]
pub struct HeadPart {
    #[prost(message, repeated, tag = "1")]
    pub heads: Vec<TraceHead>,
}

/// The second part of a block of lines; the first are their texts, one after the other.
#[derive(Clone, PartialEq, Message)]
pub struct LinePart {
    #[prost(message, repeated, tag = "1")]
    pub origins: Vec<Origin>,
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<LineRow>,
    /// Where in the texts each ends.
    #[prost(uint32, repeated, tag = "3")]
    pub ends: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PointPart {
    #[prost(message, repeated, tag = "1")]
    pub origins: Vec<Origin>,
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<PointRow>,
}

/// A batch as blocks, each with its place from the beginning of the bytes.
pub struct Sealed {
    pub bytes: Vec<u8>,
    /// Where the parts begin.
    pub blocks: Vec<(u64, Head)>,
}

/// Packs a batch, which is emptied where that saves a copy.
pub fn seal(mut batch: Batch, generation: u64, saved: u64) -> io::Result<Sealed> {
    let mut raw: Vec<(Head, Vec<Vec<u8>>)> = Vec::new();
    let head = |kind: Kind, count: usize, times: &mut dyn Iterator<Item = (u64, u64)>, filter: Vec<u8>| {
        let (from, to) = times.fold((u64::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        let number = match kind {
            Kind::Spans => 1,
            Kind::Lines => 2,
            Kind::Points => 3,
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Head { kind: number, generation, count, from, to, filter, saved, ..Head::default() }
    };
    if !batch.spans.is_empty() {
        let all = heads([&batch]);
        let filter = filter::build(all.iter().map(|head| head.trace.as_slice()));
        let mut times = all.iter().map(|head| (head.start, head.end));
        let head = head(Kind::Spans, batch.spans.len(), &mut times, filter);
        let rows = batch.spans.iter().map(|row| {
            let mut bytes = row.span.trace_id.clone();
            row.encode(&mut bytes).map(|()| Bytes::from(bytes)).map_err(io::Error::other)
        });
        let part = SpanPart { origins: batch.origins.clone(), rows: rows.collect::<io::Result<_>>()? };
        raw.push((head, vec![HeadPart { heads: all }.encode_to_vec(), part.encode_to_vec()]));
    }
    if !batch.lines.is_empty() {
        let mut traces: Vec<&[u8]> =
            batch.lines.iter().map(|row| row.trace.as_slice()).filter(|id| !id.is_empty()).collect();
        traces.sort_unstable();
        traces.dedup();
        let filter = filter::build(traces.iter().copied());
        let mut times = batch.lines.iter().map(|row| (row.time, row.time));
        let head = head(Kind::Lines, batch.lines.len(), &mut times, filter);
        let (mut texts, mut ends) = (Vec::new(), Vec::with_capacity(batch.lines.len()));
        for row in &mut batch.lines {
            texts.extend_from_slice(std::mem::take(&mut row.text).as_bytes());
            ends.push(u32::try_from(texts.len()).map_err(io::Error::other)?);
        }
        let part = LinePart { origins: batch.origins.clone(), rows: std::mem::take(&mut batch.lines), ends };
        raw.push((head, vec![texts, part.encode_to_vec()]));
    }
    if !batch.points.is_empty() {
        let mut times = batch.points.iter().map(|row| (row.time, row.time));
        let head = head(Kind::Points, batch.points.len(), &mut times, Vec::new());
        let part = PointPart { origins: std::mem::take(&mut batch.origins), rows: std::mem::take(&mut batch.points) };
        raw.push((head, vec![part.encode_to_vec()]));
    }
    let mut sealed = Sealed { bytes: Vec::new(), blocks: Vec::new() };
    let count = raw.len();
    for (at, (mut head, parts)) in raw.into_iter().enumerate() {
        head.last = at + 1 == count;
        let mut packed_parts = Vec::new();
        for part in parts {
            let packed = zstd::bulk::compress(&part, LEVEL)?;
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
            head.parts.push(PartHead { packed: length(&packed)?, raw: length(&part)?, crc: checksum(&packed) });
            packed_parts.push(packed);
        }
        let text = head.encode_to_vec();
        sealed.bytes.extend_from_slice(&MAGIC);
        sealed.bytes.extend_from_slice(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes());
        sealed.bytes.extend_from_slice(&checksum(&text).to_le_bytes());
        sealed.bytes.extend_from_slice(&text);
        sealed.blocks.push((u64::try_from(sealed.bytes.len()).map_err(io::Error::other)?, head));
        packed_parts.iter().for_each(|part| sealed.bytes.extend_from_slice(part));
    }
    Ok(sealed)
}

/// What stands at a place in a file.
pub enum Found {
    Block(Block),
    /// The file ends here.
    End,
    /// It ends in the middle of a block, or in zeros: whoever wrote it was stopped.
    Torn,
}

/// The block that begins at `offset` in a file of `length` bytes.
pub fn read(segment: &Arc<Segment>, offset: u64, length: u64) -> Result<Found, StoreError> {
    let fail = |source| StoreError::Io { path: segment.path.clone(), source };
    let broken = |what: &str| StoreError::Broken { path: segment.path.clone(), source: AnyError::said(what) };
    let left = length.saturating_sub(offset);
    if left == 0 {
        return Ok(Found::End);
    }
    let mut prologue = [0; PROLOGUE];
    if left < prologue.len() as u64 {
        return Ok(Found::Torn);
    }
    segment.file.read_exact_at(&mut prologue, offset).map_err(fail)?;
    if prologue == [0; PROLOGUE] {
        return Ok(Found::Torn);
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = prologue;
    if [a, b, c, d] != MAGIC {
        return Err(broken("a block does not begin as one"));
    }
    let head_length = u32::from_le_bytes([e, f, g, h]);
    let size = usize::try_from(head_length).unwrap_or(usize::MAX);
    if size > LONGEST_HEAD {
        return Err(broken("a block's head is too long"));
    }
    let start = offset + PROLOGUE as u64;
    if u64::from(head_length) > length.saturating_sub(start) {
        return Ok(Found::Torn);
    }
    let mut text = vec![0; size];
    segment.file.read_exact_at(&mut text, start).map_err(fail)?;
    if checksum(&text) != u32::from_le_bytes([i, j, k, l]) {
        return Err(broken("a block's head has another checksum"));
    }
    let head = Head::decode(text.as_slice())
        .map_err(|error| StoreError::Broken { path: segment.path.clone(), source: error.into() })?;
    let offset = start + u64::from(head_length);
    if head.length() > length.saturating_sub(offset) {
        return Ok(Found::Torn);
    }
    Ok(Found::Block(Block { segment: Arc::clone(segment), offset, head }))
}
