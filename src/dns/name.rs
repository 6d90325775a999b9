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
