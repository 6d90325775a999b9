//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018.

use std::net::IpAddr;

/// The option's number.
pub const OPTION: u16 = 10;
/// Client part and server part.
pub const LENGTH: usize = 24;
/// Seconds that a server part is good for, and from when on it is made anew.
const LIFETIME: u32 = 3600;
const RENEW: u32 = 1800;
/// Seconds that the clock may have been set back.
const AHEAD: u32 = 300;

/// The key of this process. A restart makes all cookies stale, which costs a client nothing.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    pub fn random() -> Self {
        let mut key = [0; 16];
        // without randomness from the system a constant key still answers; it only proves nothing
        let _ = getrandom::fill(&mut key);
        Self(key)
    }
}

/// What a client's cookie is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// To send back.
    pub reply: [u8; LENGTH],
    /// The client showed a server part of ours: it is where it says it is.
    pub proven: bool,
}

/// Reads the value of the option; none when its length is wrong (FORMERR, RFC 7873 5.2.2). `now` in
/// seconds since the epoch.
pub fn check(secret: &Secret, client: IpAddr, now: u32, value: &[u8]) -> Option<Cookie> {
    if value.len() != 8 && !(16..=40).contains(&value.len()) {
        return None;
    }
    let own: [u8; 8] = value.get(..8)?.try_into().ok()?;
    if let Some(theirs) = value.get(8..).filter(|theirs| theirs.len() == 16) {
        let stamp = u32::from_be_bytes([theirs[4], theirs[5], theirs[6], theirs[7]]);
        // serial arithmetic (RFC 1982): the stamp wraps in 2106
        let age = now.wrapping_sub(stamp);
        let fresh = age <= LIFETIME || age.wrapping_neg() <= AHEAD;
        let reply = make(secret, client, stamp, own);
        if fresh && theirs == &reply[8..] {
            let reply = if age > RENEW && age <= LIFETIME { make(secret, client, now, own) } else { reply };
            return Some(Cookie { reply, proven: true });
        }
    }
    Some(Cookie { reply: make(secret, client, now, own), proven: false })
}

fn make(secret: &Secret, client: IpAddr, stamp: u32, own: [u8; 8]) -> [u8; LENGTH] {
    let mut input = [0; 32];
    input[..8].copy_from_slice(&own);
    input[8] = 1; // version; three reserved bytes follow
    input[12..16].copy_from_slice(&stamp.to_be_bytes());
    let length = match client {
        IpAddr::V4(address) => {
            input[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            input[16..32].copy_from_slice(&address.octets());
            32
        }
    };
    let mut cookie = [0; LENGTH];
    cookie[..16].copy_from_slice(&input[..16]);
    cookie[16..].copy_from_slice(&siphash24(&secret.0, &input[..length]).to_le_bytes());
    cookie
}

/// SipHash-2-4 (Aumasson, Bernstein 2012).
fn siphash24(key: &[u8; 16], input: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(padded)
    };
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let rounds = |v: &mut [u64; 4], count: usize| {
        for _ in 0..count {
            v[0] = v[0].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(13) ^ v[0];
            v[0] = v[0].rotate_left(32);
            v[2] = v[2].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(16) ^ v[2];
            v[0] = v[0].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(21) ^ v[0];
            v[2] = v[2].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(17) ^ v[2];
            v[2] = v[2].rotate_left(32);
        }
    };
    let mut chunks = input.chunks_exact(8);
    for chunk in &mut chunks {
        let block = word(chunk);
        v[3] ^= block;
        rounds(&mut v, 2);
        v[0] ^= block;
    }
    let last = word(chunks.remainder()) | (input.len() as u64) << 56;
    v[3] ^= last;
    rounds(&mut v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_agrees_with_the_vectors_of_its_authors() {
        let key: [u8; 16] = std::array::from_fn(|byte| byte as u8);
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(&key, &input), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash24(&key, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn the_example_of_rfc_9018_appendix_a() {
        let secret =
            Secret([0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf, 0xcf]);
        let own = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
        let cookie = check(&secret, "198.51.100.100".parse().unwrap(), 1_559_731_985, &own).unwrap();
        let expected = [0x01, 0, 0, 0, 0x5c, 0xf7, 0x9f, 0x11, 0x1f, 0x81, 0x30, 0xc3, 0xee, 0xe2, 0x94, 0x80];
        assert_eq!(cookie.reply[..8], own);
        assert_eq!(cookie.reply[8..], expected);
        assert!(!cookie.proven);
    }

    #[test]
    fn a_cookie_proves_its_bearer_for_an_hour() {
        let secret = Secret([7; 16]);
        let client = "127.0.0.1".parse().unwrap();
        let first = check(&secret, client, 10_000, &[1; 8]).unwrap();
        let later = |seconds: u32| check(&secret, client, 10_000 + seconds, &first.reply).unwrap();
        assert_eq!(later(60), Cookie { reply: first.reply, proven: true });
        // to the second: after half of the time a new one comes, and a clock may have been set back for five minutes
        for (now, proven, renewed) in [
            (11_800, true, false),
            (11_801, true, true),
            (13_600, true, true),
            (13_601, false, true),
            (9_700, true, false),
            (9_699, false, true),
        ] {
            let found = check(&secret, client, now, &first.reply).unwrap();
            assert_eq!((found.proven, found.reply != first.reply), (proven, renewed), "{now}");
        }
        // what is not as long as ours is somebody else's (RFC 9018 4), and one for one address proves no other
        let longer = [first.reply.as_slice(), &[0; 16]].concat();
        let proven = [16, 23, 25, 40].map(|length| check(&secret, client, 10_000, &longer[..length]).unwrap().proven);
        assert_eq!(proven, [false; 4]);
        let [one, other] = ["fd00::1", "fd00:0:0:0:1::1"].map(|address| address.parse().unwrap());
        let of_one = check(&secret, one, 10_000, &[1; 8]).unwrap().reply;
        assert!(check(&secret, one, 10_000, &of_one).unwrap().proven);
        assert!(!check(&secret, other, 10_000, &of_one).unwrap().proven);
        assert!(!check(&secret, "127.0.0.2".parse().unwrap(), 10_000, &first.reply).unwrap().proven);
        assert_eq!([0, 7, 9, 15, 41].map(|length| check(&secret, client, 0, &[0; 64][..length])), [None; 5]);
    }
}
