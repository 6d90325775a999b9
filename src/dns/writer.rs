//! Writing messages.

use super::wire::{CLASS_IN, HEADER, Name};

/// Writes a message, compressing names (RFC 1035 4.1.4).
///
/// To what a name may point is fixed by rule, so that an answer prepared for one question fits
/// another: an owner equal to the question points at it; any name may point at the apex (and
/// above) inside the question, and at names written before. Case is not looked at.
pub struct Writer {
    bytes: Vec<u8>,
    /// Lower-cased suffixes and where they lie.
    suffixes: Vec<(Box<[u8]>, u16)>,
    question: Box<[u8]>,
    /// Where each pointer lies that does not point at the whole question.
    pub pointers: Vec<usize>,
}

impl Writer {
    /// A header of zeros and the question (name, type, class). `apex` is the zone that answers.
    pub fn new(question: &[u8], apex: Option<&Name>) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(question);
        let qname = question.get(..question.len().saturating_sub(4)).unwrap_or(&[]).to_ascii_lowercase();
        let mut writer = Self { bytes, suffixes: Vec::new(), question: qname.into(), pointers: Vec::new() };
        if let Some(apex) = apex
            && let Some(start) = writer.question.len().checked_sub(apex.wire().len())
        {
            writer.remember(apex.wire(), HEADER + start);
        }
        writer
    }

    /// Bytes written so far.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.suffixes.retain(|(_, at)| usize::from(*at) < length);
        self.pointers.retain(|at| *at < length);
    }

    fn remember(&mut self, name: &[u8], at: usize) {
        let mut skipped = 0;
        while let Some(&length) = name.get(skipped) {
            if length == 0 || at + skipped > 0x3FFF {
                break;
            }
            let suffix = &name[skipped..];
            if !self.suffixes.iter().any(|(known, _)| **known == *suffix) {
                self.suffixes.push((suffix.into(), (at + skipped) as u16));
            }
            skipped += 1 + usize::from(length);
        }
    }

    /// A record's owner.
    pub fn owner(&mut self, name: &Name) {
        if *name.wire() == *self.question && !name.is_root() {
            self.bytes.extend_from_slice(&[0xC0, HEADER as u8]);
        } else {
            self.name(name);
        }
    }

    /// A name that may be compressed.
    pub fn name(&mut self, name: &Name) {
        let wire = name.wire();
        let at = self.bytes.len();
        let mut skipped = 0;
        while let Some(&length) = wire.get(skipped) {
            if length == 0 {
                self.bytes.push(0);
                break;
            }
            if let Some((_, target)) = self.suffixes.iter().find(|(suffix, _)| **suffix == wire[skipped..]) {
                self.pointers.push(self.bytes.len());
                self.bytes.extend_from_slice(&(0xC000 | target).to_be_bytes());
                break;
            }
            let next = skipped + 1 + usize::from(length);
            self.bytes.extend_from_slice(&wire[skipped..next]);
            skipped = next;
        }
        self.remember(wire, at);
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Owner, type, class, TTL, and the data as `data` writes it. False, with nothing written, when
    /// the data is longer than a record can say.
    pub fn record(&mut self, owner: &Name, rtype: u16, ttl: u32, data: impl FnOnce(&mut Self)) -> bool {
        let before = self.bytes.len();
        self.owner(owner);
        self.put_u16(rtype);
        self.put_u16(CLASS_IN);
        self.put_u32(ttl);
        let length_at = self.bytes.len();
        self.put_u16(0);
        data(self);
        match u16::try_from(self.bytes.len() - length_at - 2) {
            Ok(length) => {
                self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
                true
            }
            Err(_) => {
                self.truncate(before);
                false
            }
        }
    }

    /// Fills in the header.
    pub fn header(&mut self, id: u16, flags: u16, questions: u16, answers: u16, authority: u16, additional: u16) {
        for (slot, value) in [id, flags, questions, answers, authority, additional].into_iter().enumerate() {
            self.bytes[slot * 2..slot * 2 + 2].copy_from_slice(&value.to_be_bytes());
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A.b A IN`, 21 bytes with the header.
    const QUESTION: &[u8] = b"\x01A\x01b\0\0\x01\0\x01";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_point_at_the_question_its_zone_and_each_other() {
        let mut writer = Writer::new(QUESTION, Some(&name("b")));
        assert_eq!(writer.position(), 21);
        assert!(writer.record(&name("a.b"), 5, 0x0102_0304, |writer| writer.name(&name("c.b"))));
        writer.name(&name("x.c.b"));
        let expected = b"\xc0\x0c\0\x05\0\x01\x01\x02\x03\x04\0\x04\x01c\xc0\x0e\x01x\xc0\x21";
        assert_eq!(writer.bytes()[21..], *expected);
        // those that move with the length of the question: not the one at all of it
        assert_eq!(writer.pointers, [35, 39]);
        writer.header(0x0102, 3, 4, 5, 6, 7);
        assert_eq!(writer.bytes()[..HEADER], [1, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7]);
        // the root is shorter than a pointer at it
        let mut writer = Writer::new(b"\0\0\x01\0\x01", None);
        writer.owner(&Name::root());
        assert_eq!(writer.finish()[17..], [0]);
    }

    /// A pointer has 14 bits (RFC 1035 4.1.4).
    #[test]
    fn nothing_points_further_than_a_pointer_can_say() {
        let twice = |at: usize| {
            let mut writer = Writer::new(&[], None);
            writer.put(&vec![0; at - HEADER]);
            for _ in 0..2 {
                writer.name(&name("a.b"));
            }
            writer.finish().split_off(at)
        };
        assert_eq!(twice(0x3FFF), b"\x01a\x01b\0\xff\xff");
        assert_eq!(twice(0x4000), b"\x01a\x01b\0\x01a\x01b\0");
        // the end of the name can be out of reach when its beginning is not
        let mut writer = Writer::new(&[], None);
        writer.put(&vec![0; 0x3FFE - HEADER]);
        for text in ["a.b", "c.b"] {
            writer.name(&name(text));
        }
        assert_eq!(writer.finish().split_off(0x3FFE), b"\x01a\x01b\0\x01c\x01b\0");
    }

    #[test]
    fn a_record_that_is_too_long_leaves_nothing_behind() {
        let mut writer = Writer::new(QUESTION, Some(&name("b")));
        let before = writer.bytes().to_vec();
        for owner in ["x.y", "b"] {
            assert!(!writer.record(&name(owner), 16, 1, |writer| {
                writer.name(&name("v.w"));
                writer.put(&[0; 65_535]);
            }));
            assert_eq!((writer.bytes(), writer.pointers.len()), (before.as_slice(), 0), "{owner}");
        }
        // a name that was given up with it is no place to point at
        for text in ["x.y", "v.w"] {
            writer.name(&name(text));
        }
        assert_eq!(writer.bytes()[21..], *b"\x01x\x01y\0\x01v\x01w\0");
        assert!(writer.record(&name("b"), 16, 1, |writer| writer.put(&[0; 65_535])));
        assert_eq!(writer.bytes()[31..43], *b"\xc0\x0e\0\x10\0\x01\0\0\0\x01\xff\xff");
    }
}
