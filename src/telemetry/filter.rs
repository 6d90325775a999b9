//! Which blocks may have a trace: a Bloom filter over ids, 16 bits for each. Pure.

/// Bits that an id sets.
const PROBES: u64 = 6;
const BITS: usize = 16;

/// The filter of these ids; empty for none of them.
pub fn build<'a>(ids: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let bytes = (ids.len() * BITS).div_ceil(8);
    let mut filter = vec![0; bytes];
    for id in ids {
        for bit in places(id, bytes) {
            if let Some(byte) = filter.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    filter
}

/// False: it is certainly not there.
pub fn may_have(filter: &[u8], id: &[u8]) -> bool {
    !filter.is_empty()
        && places(id, filter.len()).all(|bit| filter.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}

fn places(id: &[u8], bytes: usize) -> impl Iterator<Item = usize> {
    let half = |from: usize| {
        let mut part = [0; 8];
        id.iter().skip(from).zip(&mut part).for_each(|(byte, place)| *place = *byte);
        mix(u64::from_le_bytes(part))
    };
    let (first, step) = (half(0), half(8) | 1);
    let bits = u64::try_from(bytes * 8).unwrap_or(u64::MAX).max(1);
    (0..PROBES).map(move |probe| {
        let place = mix(first.wrapping_add(step.wrapping_mul(probe))) % bits;
        usize::try_from(place).unwrap_or_default()
    })
}

/// The last step of SplitMix64: ids are random by right, and these are for those that are not.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_little_else() {
        let id = |number: u128| number.to_be_bytes();
        let ids: Vec<[u8; 16]> = (1..=1000).map(id).collect();
        let filter = build(ids.iter().map(<[u8; 16]>::as_slice));
        assert_eq!(filter.len(), 2000);
        assert!(ids.iter().all(|id| may_have(&filter, id)));
        let wrong = (1001..=101_000).filter(|number| may_have(&filter, &id(*number))).count();
        assert!(wrong < 300, "{wrong} of 100,000");
        assert!(!may_have(&build(std::iter::empty()), &id(1)));
    }
}
