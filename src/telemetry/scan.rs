//! Finding a word in many lines, whatever the case of its letters. Pure.

use memchr::{memchr, memchr2};

/// How common a byte is in what programs write, roughly; the rarest of a word is what is looked for.
fn common(byte: u8) -> u8 {
    match byte.to_ascii_lowercase() {
        b' ' | b'e' | b't' => 255,
        b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 230,
        b'0' | b'1' | b'2' => 225,
        b'l' | b'd' | b'c' | b'u' | b'p' | b'm' => 200,
        b'3'..=b'9' | b'"' | b':' | b'-' | b'.' | b'=' | b'/' | b',' => 190,
        b'h' | b'g' | b'f' | b'b' | b'y' => 160,
        b'w' | b'v' | b'k' => 120,
        b'x' | b'j' | b'q' | b'z' | b'_' => 90,
        byte if byte >= 0x80 => 100,
        _ => 60,
    }
}

/// A word that is looked for. Letters beyond ASCII are found as they are typed.
#[derive(Debug, Clone)]
pub struct Needle {
    word: Vec<u8>,
    /// Where in it the rarest byte stands.
    rare: usize,
}

impl Needle {
    /// `None` for an empty word, which every line has.
    pub fn new(word: &str) -> Option<Self> {
        let word = word.as_bytes().to_vec();
        let rare = (0..word.len()).min_by_key(|at| word.get(*at).map(|byte| common(*byte)))?;
        Some(Self { word, rare })
    }

    /// The first place at or after `from`.
    pub fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let rare = *self.word.get(self.rare)?;
        let (lower, upper) = (rare.to_ascii_lowercase(), rare.to_ascii_uppercase());
        let mut at = from.checked_add(self.rare)?;
        loop {
            let rest = text.get(at..)?;
            let found = if lower == upper { memchr(lower, rest) } else { memchr2(lower, upper, rest) }?;
            let start = (at + found).checked_sub(self.rare)?;
            if text.get(start..start + self.word.len())?.eq_ignore_ascii_case(&self.word) {
                return Some(start);
            }
            at += found + 1;
        }
    }

    pub fn is_in(&self, text: &[u8]) -> bool {
        self.find(text, 0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_whatever_their_case() {
        let find = |word: &str, text: &str| Needle::new(word).unwrap().find(text.as_bytes(), 0);
        assert_eq!(find("error", "an ERROR"), Some(3));
        assert_eq!(find("Ümlaut", "ein Ümlaut"), Some(4));
        assert_eq!(find("ab", "a"), None);
        assert_eq!(find("aab", "aaab"), Some(1));
        assert!(Needle::new("").is_none());
    }

    proptest! {
        #[test]
        fn it_is_what_a_simple_search_finds(word in "[a-cA-C]{1,3}", text in "[a-dA-D]{0,30}", from in 0usize..32) {
            let wanted = text.get(from..).and_then(|rest| rest.to_lowercase().find(&word.to_lowercase())).map(|at| at + from);
            prop_assert_eq!(Needle::new(&word).unwrap().find(text.as_bytes(), from), wanted);
        }
    }
}
