//! Domain names (RFC 1035 3.1), lower-cased once and for all.

use std::fmt;

use thiserror::Error;

/// Where an uncompressed name that begins at `at` ends; none when it is compressed, cut off or too
/// long.
#[inline]
pub fn skip_plain_name(bytes: &[u8], at: usize) -> Option<usize> {
    let mut position = at;
    loop {
        let length = usize::from(*bytes.get(position)?);
        position += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        position += length;
    }
    (position - at <= 255).then_some(position)
}

/// A domain name in wire form, lower-cased, with the root's zero at its end: 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("\"{name}\" is not a domain name: {reason}")]
pub struct NameError {
    pub name: String,
    pub reason: &'static str,
}

impl Name {
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// A name as people type it in ASCII, as it is asked for (RFC 5891): `münchen` is `xn--mnchen-3ya`.
    /// Text in ASCII stays as it is.
    pub fn ascii(text: &str) -> Result<std::borrow::Cow<'_, str>, NameError> {
        use idna::{AsciiDenyList, uts46};
        if text.is_ascii() {
            return Ok(text.into());
        }
        uts46::Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, uts46::Hyphens::Allow, uts46::DnsLength::Ignore)
            .map_err(|_| NameError {
                name: text.to_owned(),
                reason: "it holds characters that internationalized names cannot have",
            })
    }

    /// From text, with or without the dot at the end; `\.` and `\DDD` as in RFC 1035 5.1.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fail = |reason| NameError { name: text.to_owned(), reason };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        if text != "." {
            let mut label = Vec::new();
            let mut bytes = text.bytes().peekable();
            while let Some(byte) = bytes.next() {
                match byte {
                    b'.' => {
                        push_label(&mut wire, &label).map_err(fail)?;
                        label.clear();
                        if bytes.peek().is_none() {
                            break;
                        }
                    }
                    b'\\' => {
                        let first = bytes.next().ok_or_else(|| fail("it ends in a backslash"))?;
                        if first.is_ascii_digit() {
                            let mut value = u32::from(first - b'0');
                            for _ in 0..2 {
                                let digit = bytes.next().filter(u8::is_ascii_digit);
                                let digit = digit.ok_or_else(|| fail("a \\DDD needs three digits"))?;
                                value = value * 10 + u32::from(digit - b'0');
                            }
                            label.push(u8::try_from(value).map_err(|_| fail("a \\DDD is above 255"))?);
                        } else {
                            label.push(first);
                        }
                    }
                    other => label.push(other),
                }
            }
            if !label.is_empty() {
                push_label(&mut wire, &label).map_err(fail)?;
            }
        }
        wire.push(0);
        if wire.len() > 255 {
            return Err(fail("it is longer than 255 bytes"));
        }
        wire.make_ascii_lowercase();
        Ok(Self(wire.into()))
    }

    /// From an uncompressed wire name, as [`skip_plain_name`] delimits it.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        (skip_plain_name(wire, 0)? == wire.len()).then(|| Self(wire.to_ascii_lowercase().into()))
    }

    /// The name at `at` of a message, pointers followed; and where the bytes after it begin.
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut wire = Vec::with_capacity(32);
        let mut position = at;
        let mut end = None;
        // each pointer must lead further back than where its run of labels began: no loops
        let mut floor = at;
        loop {
            let length = usize::from(*message.get(position)?);
            match length {
                0 => {
                    wire.push(0);
                    break;
                }
                1..=63 => {
                    wire.extend_from_slice(message.get(position..position + 1 + length)?);
                    position += 1 + length;
                }
                0xC0.. => {
                    let target = (length & 0x3F) << 8 | usize::from(*message.get(position + 1)?);
                    end.get_or_insert(position + 2);
                    if target >= floor {
                        return None;
                    }
                    floor = target;
                    position = target;
                }
                _ => return None,
            }
            if wire.len() > 254 {
                return None;
            }
        }
        wire.make_ascii_lowercase();
        Some((Self(wire.into()), end.unwrap_or(position + 1)))
    }

    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(*self.0.first()?);
        if first == 0 { None } else { Some(Self(self.0.get(1 + first..)?.into())) }
    }

    /// `label` below this name; none when it gets too long.
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        push_label(&mut wire, label).ok()?;
        wire.extend_from_slice(&self.0);
        wire.make_ascii_lowercase();
        (wire.len() <= 255).then(|| Self(wire.into()))
    }

    /// Whether it equals `apex` or lies below it.
    pub fn is_within(&self, apex: &Name) -> bool {
        let mut rest: &[u8] = &self.0;
        while rest.len() > apex.0.len() {
            let skip = 1 + usize::from(rest[0]);
            rest = rest.get(skip..).unwrap_or(&[]);
        }
        *rest == *apex.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("a label is empty");
    }
    if label.len() > 63 {
        return Err("a label is longer than 63 bytes");
    }
    wire.push(label.len() as u8);
    wire.extend_from_slice(label);
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        let mut rest: &[u8] = &self.0;
        let mut first = true;
        while let Some((&length, tail)) = rest.split_first() {
            if length == 0 {
                break;
            }
            if !first {
                f.write_str(".")?;
            }
            first = false;
            let (label, after) = tail.split_at(usize::from(length).min(tail.len()));
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7E => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            rest = after;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Labels of these lengths.
    fn long(lengths: [usize; 4]) -> String {
        lengths.map(|length| "x".repeat(length)).join(".")
    }

    #[test]
    fn a_name_is_text_and_bytes() {
        let means = |text: &str, wire: &[u8], shown: &str| {
            let name = name(text);
            assert_eq!((name.wire(), name.to_string().as_str()), (wire, shown), "{text}");
            assert_eq!(Name::parse(shown), Ok(name.clone()), "{text}");
            assert_eq!(Name::from_wire(wire), Some(name), "{text}");
        };
        means(".", b"\0", ".");
        means("A.b", b"\x01a\x01b\0", "a.b");
        means("a.b.", b"\x01a\x01b\0", "a.b");
        means("*.x", b"\x01*\x01x\0", "*.x");
        means(r"a\.b.c", b"\x03a.b\x01c\0", r"a\.b.c");
        means(r"a\\b", b"\x03a\\b\0", r"a\\b");
        means(r"\065\000x", b"\x03a\0x\0", r"a\000x");
        means(r"\255\032!~", b"\x04\xff !~\0", r"\255\032!~");
        assert_eq!(name(&long([63, 63, 63, 61])).wire().len(), 255);
    }

    #[test]
    fn what_is_no_name_says_why() {
        let (label, whole) = ("x".repeat(64), long([63, 63, 63, 62]));
        for (text, reason) in [
            ("", "it is empty"),
            (".a", "a label is empty"),
            ("a..b", "a label is empty"),
            ("a..", "a label is empty"),
            (r"a\", "it ends in a backslash"),
            (r"\2", "a \\DDD needs three digits"),
            (r"\25x", "a \\DDD needs three digits"),
            (r"\256", "a \\DDD is above 255"),
            (label.as_str(), "a label is longer than 63 bytes"),
            (whole.as_str(), "it is longer than 255 bytes"),
        ] {
            assert_eq!(Name::parse(text), Err(NameError { name: text.to_owned(), reason }));
        }
        for wire in [b"".as_slice(), b"\x01a", b"\x01a\0\0", b"\xc0\0", b"\x40", &[1u8; 257]] {
            assert_eq!(Name::from_wire(wire), None, "{wire:?}");
        }
    }

    #[test]
    fn pointers_lead_back_and_end() {
        let message = b"\x07Example\0\x03www\xc0\x00\x01a\xc0\x09\xff";
        for (at, text, end) in [(0, "example", 9), (9, "www.example", 15), (15, "a.www.example", 19)] {
            assert_eq!(Name::read(message, at), Some((name(text), end)));
        }
        // further back than one byte can say
        let mut far = vec![0u8; 300];
        far[258..261].copy_from_slice(b"\x01a\0");
        far.extend(b"\x01b\xc1\x02");
        assert_eq!(Name::read(&far, 300), Some((name("b.a"), 304)));
        let leads_nowhere = |at: usize, message: &[u8]| assert_eq!(Name::read(message, at), None, "{message:?}");
        leads_nowhere(0, b"");
        leads_nowhere(0, b"\x03ww");
        leads_nowhere(0, b"\xc0");
        leads_nowhere(0, b"\x40a");
        leads_nowhere(0, b"\x80a");
        leads_nowhere(0, b"\xc0\0");
        leads_nowhere(0, b"\xc0\x02\x01a\0");
        leads_nowhere(0, b"\x01a\xc0\0");
        leads_nowhere(4, b"\x01a\xc0\x04\xc0\0");
        let longest = name(&long([63, 63, 63, 61]));
        assert_eq!(Name::read(longest.wire(), 0), Some((longest.clone(), 255)));
        let longer = [longest.wire(), b"\x01a\xc0\0"].concat();
        assert_eq!(Name::read(&longer, 255), None);
    }

    #[test]
    fn plain_names_are_skipped() {
        let ends = |bytes: &[u8], at: usize, end: Option<usize>| {
            assert_eq!(skip_plain_name(bytes, at), end, "{bytes:?}");
        };
        ends(b"??\x01a\0??", 2, Some(5));
        ends(b"\0", 0, Some(1));
        ends(b"\x01a", 0, None);
        ends(b"\x01a\xc0\0", 0, None);
        ends(&[64; 66], 0, None);
        let longest = name(&long([63, 63, 63, 61]));
        ends(&[b"??".as_slice(), longest.wire()].concat(), 2, Some(257));
        ends(&[b"\x01a".as_slice(), longest.wire()].concat(), 0, None);
    }

    #[test]
    fn names_stand_in_a_tree() {
        assert_eq!(
            (name("a.b").parent(), name("b").parent(), Name::root().parent()),
            (Some(name("b")), Some(Name::root()), None)
        );
        assert!(name(".").is_root() && !name("a").is_root());
        let star = name("x").child(b"*").unwrap();
        assert_eq!(star, name("*.x"));
        assert!(star.is_wildcard() && !name("x").is_wildcard() && !name("*a.x").is_wildcard());
        let almost = name(&long([63, 63, 63, 59]));
        assert_eq!(almost.child(b"A").map(|child| child.wire().len()), Some(255));
        for label in [b"ab".as_slice(), b"", &[b'x'; 64]] {
            assert_eq!(almost.child(label), None, "{label:?}");
        }
        for (below, apex, within) in [
            ("a.b.c", "b.c", true),
            ("b.c", "b.c", true),
            ("b.c", ".", true),
            ("c", "b.c", false),
            ("xb.c", "b.c", false),
            ("a.b.d", "b.c", false),
            (r"x\001b.c", "b.c", false),
        ] {
            assert_eq!(name(below).is_within(&name(apex)), within, "{below} {apex}");
        }
    }
}
