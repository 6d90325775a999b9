//! The certificates of a Java keystore that is read without a Java, whose start takes longer than anything else that
//! a look at the trust stores does: Java's own format JKS, which Debian and older Javas use for `cacerts`. It has no
//! specification but its source (`sun.security.provider.JavaKeyStore`).

/// `0xFEEDFEED`
const MAGIC: u32 = 0xFEED_FEED;
/// The kind of an entry that holds a certificate and no key.
const CERTIFICATE: u32 = 2;

/// An entry: its alias, and the certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub alias: String,
    pub certificate: &'a [u8],
}

/// All entries; nothing where it is another format, is cut short, or has keys, too. Its checksum is not looked at:
/// who wants to know what Java makes of a damaged file asks Java.
pub(super) fn entries(content: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut rest = Reader(content);
    let (magic, version, count) = (rest.number()?, rest.number()?, rest.number()?);
    if magic != MAGIC || !(1..=2).contains(&version) {
        return None;
    }
    let mut all = Vec::new();
    for _ in 0..count {
        if rest.number()? != CERTIFICATE {
            return None;
        }
        let alias = rest.text()?;
        // when it was added
        rest.take(8)?;
        // the first version knows X.509 alone, and does not say so
        if version == 2 && rest.text()? != "X.509" {
            return None;
        }
        let length = usize::try_from(rest.number()?).ok()?;
        all.push(Entry { alias, certificate: rest.take(length)? });
    }
    Some(all)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        String::from_utf8(self.take(length.into())?.to_vec()).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A keystore with these certificates.
    pub(in crate::pki::trust) fn keystore(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
        let mut out = [MAGIC.to_be_bytes(), number(2), number(entries.len())].concat();
        for (alias, certificate) in entries {
            out.extend(CERTIFICATE.to_be_bytes());
            out.extend(text(alias));
            out.extend([0; 8]);
            out.extend(text("X.509"));
            out.extend(number(certificate.len()));
            out.extend(*certificate);
        }
        // the checksum at its end
        out.extend([7; 20]);
        out
    }

    #[test]
    fn certificates_are_found_by_alias() {
        let store = keystore(&[("one", b"first"), ("two", b"second")]);
        let found: Vec<(String, &[u8])> =
            entries(&store).unwrap().into_iter().map(|entry| (entry.alias, entry.certificate)).collect();
        assert_eq!(found, [("one".to_owned(), &b"first"[..]), ("two".to_owned(), &b"second"[..])]);
        assert_eq!(entries(&keystore(&[])), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_such_a_store_is_not_read() {
        let store = keystore(&[("one", b"first")]);
        assert_eq!(entries(b"\x30\x82 PKCS 12"), None);
        for cut in 0..store.len() - 20 {
            assert_eq!(entries(&store[..cut]), None, "{cut}");
        }
        // another format, and a version that is not known
        for (at, byte) in [(0, 0xFD), (7, 3), (7, 0)] {
            let mut other = store.clone();
            other[at] = byte;
            assert_eq!(entries(&other), None, "{at}");
        }
        // an entry with a key
        let mut keys = store;
        keys[15] = 1;
        assert_eq!(entries(&keys), None);
    }
}
