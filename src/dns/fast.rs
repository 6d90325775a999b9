//! The fast path: the questions that nearly everybody asks, answered in the buffer that they came
//! in. One question of class IN, at most EDNS with at most a cookie; a look-up, a copy, a header.
//! Whatever else comes is the full path's ([`super::full`]), whose bytes these are.

use super::cookie::{self, Cookie};
use super::full::{AMPLIFICATION, Context, Transport};
use super::snapshot::{Lookup, ViewSnapshot};
use super::wire::{
    CLASS_IN, FLAG_AA, FLAG_AD, FLAG_CD, FLAG_QR, FLAG_RA, FLAG_RD, HEADER, TYPE_ANY, TYPE_OPT, UDP_SIZE,
    UDP_SIZE_PLAIN, is_meta,
};

/// Space for any question and answer over UDP. A power of two would put the beginnings of all
/// buffers of a batch into the same few lines of the processor's cache.
pub const BUFFER: usize = 2048 + 64;

/// A question that this path understands.
pub struct Common {
    /// RD and CD, as in the question.
    pub flags: u16,
    /// The lower-cased name, then type and DO and CD bits: what the cache knows the question by.
    key: [u8; 260],
    pub name_length: usize,
    pub qtype: u16,
    pub edns: bool,
    pub dnssec_ok: bool,
    cookie: Option<Cookie>,
    /// The longest answer that the client may get.
    pub limit: usize,
}

/// What became of a question.
pub enum Outcome {
    /// The answer lies in the buffer, so many bytes long.
    Answered(usize),
    /// Not ours; perhaps the cache has it.
    Foreign,
    /// For the full path; the buffer is as it was.
    Full,
}

impl Common {
    /// Reads the first `length` bytes of a buffer; none for anything uncommon.
    #[inline]
    pub fn parse(context: &Context<'_>, message: &[u8]) -> Option<Self> {
        let head = message.first_chunk::<HEADER>()?;
        let flags = u16::from_be_bytes([head[2], head[3]]);
        if flags & !(FLAG_RD | FLAG_AD | FLAG_CD) != 0 || head[4..11] != [0, 1, 0, 0, 0, 0, 0] || head[11] > 1 {
            return None;
        }
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at)?);
            if length == 0 {
                break;
            }
            if length > 63 {
                return None;
            }
            at += 1 + length;
        }
        let name_length = at + 1 - HEADER;
        let mut key = [0; 260];
        let lower = key.get_mut(..name_length).filter(|lower| lower.len() < 256)?;
        lower.copy_from_slice(message.get(HEADER..=at)?);
        // the lengths of labels are below 64, so they are no letters
        lower.make_ascii_lowercase();
        let fixed = message.get(at + 1..at + 5)?;
        let qtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        if fixed[2..] != CLASS_IN.to_be_bytes() || is_meta(qtype) {
            return None;
        }
        let rest = message.get(at + 5..)?;
        let mut common = Self {
            flags: flags & (FLAG_RD | FLAG_CD),
            key,
            name_length,
            qtype,
            edns: head[11] == 1,
            dnssec_ok: false,
            cookie: None,
            limit: usize::from(UDP_SIZE_PLAIN),
        };
        if common.edns {
            common.parse_opt(context, rest)?;
        } else if !rest.is_empty() {
            return None;
        }
        match context.transport {
            Transport::Tcp => common.limit = usize::from(u16::MAX),
            Transport::Udp => {
                let proven = common.cookie.is_some_and(|cookie| cookie.proven);
                if !proven && !context.client.is_loopback() {
                    common.limit = common.limit.min(AMPLIFICATION * message.len());
                }
            }
        }
        Some(common)
    }

    /// The OPT record, which must be all that is left.
    #[inline]
    fn parse_opt(&mut self, context: &Context<'_>, opt: &[u8]) -> Option<()> {
        let fixed = opt.first_chunk::<11>()?;
        // root, OPT, ..., version 0
        if fixed[..3] != [0, 0, TYPE_OPT as u8] || fixed[6] != 0 {
            return None;
        }
        let options = &opt[11..];
        if usize::from(u16::from_be_bytes([fixed[9], fixed[10]])) != options.len() {
            return None;
        }
        self.limit = usize::from(u16::from_be_bytes([fixed[3], fixed[4]]).clamp(UDP_SIZE_PLAIN, UDP_SIZE));
        self.dnssec_ok = fixed[7] & 0x80 != 0;
        if let Some((head, value)) = options.split_first_chunk::<4>() {
            let (code, length) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
            if code != cookie::OPTION || usize::from(length) != value.len() {
                return None;
            }
            self.cookie = Some(cookie::check(context.secret, context.client, context.now, value)?);
        } else if !options.is_empty() {
            return None;
        }
        Some(())
    }

    pub fn name(&self) -> &[u8] {
        &self.key[..self.name_length]
    }

    /// As [`super::forward::Ask::key`].
    pub fn cache_key(&mut self) -> &[u8] {
        let end = self.name_length + 3;
        let [high, low] = self.qtype.to_be_bytes();
        let bits = u8::from(self.dnssec_ok) << 1 | u8::from(self.flags & FLAG_CD != 0);
        self.key[self.name_length..end].copy_from_slice(&[high, low, bits]);
        &self.key[..end]
    }

    /// Bytes of the OPT record of the answer.
    pub fn opt_length(&self) -> usize {
        match (self.edns, self.cookie) {
            (false, _) => 0,
            (true, None) => 11,
            (true, Some(_)) => 11 + 4 + cookie::LENGTH,
        }
    }

    /// Writes header and OPT around the records that end at `end`; the answer's length.
    #[inline]
    pub fn seal(&self, buffer: &mut [u8], end: usize, flags: u16, counts: [u16; 3]) -> Option<usize> {
        let length = end + self.opt_length();
        let opt = buffer.get_mut(end..length)?;
        if self.edns {
            let [size_high, size_low] = UDP_SIZE.to_be_bytes();
            let (fixed, cookie) = opt.split_first_chunk_mut::<11>()?;
            let data = cookie.len() as u8;
            let dnssec_ok = u8::from(self.dnssec_ok) << 7;
            *fixed = [0, 0, TYPE_OPT as u8, size_high, size_low, 0, 0, dnssec_ok, 0, 0, data];
            if let Some(known) = self.cookie {
                let (head, value) = cookie.split_first_chunk_mut::<4>()?;
                *head = [0, cookie::OPTION as u8, 0, cookie::LENGTH as u8];
                value.copy_from_slice(&known.reply);
            }
        }
        let head = buffer.first_chunk_mut::<HEADER>()?;
        let flags = (flags | self.flags | FLAG_QR).to_be_bytes();
        let [answers, authority, additional] =
            [counts[0], counts[1], counts[2] + u16::from(self.edns)].map(u16::to_be_bytes);
        head[2..4].copy_from_slice(&flags);
        head[6..8].copy_from_slice(&answers);
        head[8..10].copy_from_slice(&authority);
        head[10..12].copy_from_slice(&additional);
        Some(length)
    }
}

/// Answers a question in the buffer that it came in.
#[inline]
pub fn answer(snapshot: &ViewSnapshot, context: &Context<'_>, common: &Common, buffer: &mut [u8]) -> Outcome {
    let ready = match snapshot.lookup(common.name(), common.qtype) {
        Lookup::Ready(ready) => ready,
        Lookup::NotOurs if context.recursion && common.flags & FLAG_RD != 0 && common.qtype != TYPE_ANY => {
            return Outcome::Foreign;
        }
        Lookup::NotOurs | Lookup::Full => return Outcome::Full,
    };
    // checked before the first byte is written, so that the full path finds the question unharmed
    let Some(limit) = common.limit.min(buffer.len()).checked_sub(common.opt_length()) else { return Outcome::Full };
    let Some(end) = snapshot.write(ready, common.name_length, buffer, limit) else { return Outcome::Full };
    let flags = FLAG_AA | if context.recursion { FLAG_RA } else { 0 } | u16::from(ready.rcode);
    match common.seal(buffer, end, flags, [ready.answers, ready.authority, 0]) {
        Some(length) => Outcome::Answered(length),
        None => Outcome::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cookie::Secret;
    use super::super::forward::Ask;
    use super::super::wire::Name;
    use super::*;

    #[test]
    fn both_paths_find_an_answer_by_the_same_key() {
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let context = Context { client, transport: Transport::Udp, now: 1, secret: &Secret([1; 16]), recursion: true };
        let all = [(false, false, 0), (false, true, 1), (true, false, 2), (true, true, 3)];
        for (dnssec_ok, checking_disabled, bits) in all {
            let flags = if checking_disabled { 0x10 } else { 0 };
            let mut message = vec![0, 0, 1, flags, 0, 1, 0, 0, 0, 0, 0, 1];
            message.extend_from_slice(b"\x03WWW\x01x\0\x01\x01\0\x01");
            message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
            let mut common = Common::parse(&context, &message).unwrap();
            assert_eq!(common.name(), b"\x03www\x01x\0");
            let key = [b"\x03www\x01x\0\x01\x01".as_slice(), &[bits]].concat();
            assert_eq!(common.cache_key(), key);
            let ask = Ask { name: Name::parse("www.x").unwrap(), qtype: 257, dnssec_ok, checking_disabled };
            assert_eq!(ask.key(), key);
        }
    }
}
