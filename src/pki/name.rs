//! Names that may stand in a certificate of ours.

use std::net::IpAddr;

use crate::model::{DEFAULT_DOMAIN, DEFAULT_NAME};

/// Why a name cannot stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{name}` is not a valid DNS name: {reason}")]
    Malformed { name: String, reason: &'static str },
    /// An authority for `local` or `com` would be one for other people's names.
    #[error("`{name}` has one label: an authority needs a domain of two or more, as in dev.test")]
    TopLevel { name: String },
    #[error("`{name}` does not lie in {domain}, the only domain of this authority")]
    Outside { name: String, domain: String },
    #[error("{address} is not a loopback address: certificates of this authority are for 127.0.0.0/8 and ::1")]
    Address { address: IpAddr },
}

/// The domain whose authority signs for a platform called `name` with the zone `domain`.
///
/// All platforms below `macula.local` share one. Elsewhere the platform's own name is taken off
/// the front, so that `pr-1.dev.acme.com` and `pr-2.dev.acme.com` share one too, but never so far
/// that a domain with an owner on the internet (`acme.com`, `acme.co.uk`) would come out of a narrower one. Which
/// countries give away names below a second label is not known here: three labels that end in a country's two letters
/// may be such a domain.
pub fn family<'a>(name: &str, domain: &'a str) -> &'a str {
    const NOBODYS: [&str; 4] = ["local", "test", "localhost", "internal"];
    if domain.strip_suffix(DEFAULT_DOMAIN).is_some_and(|front| front.is_empty() || front.ends_with('.')) {
        return &domain[domain.len() - DEFAULT_DOMAIN.len()..];
    }
    let rest = domain.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    match rest.filter(|_| name != DEFAULT_NAME) {
        Some(rest) => {
            let last = rest.rsplit('.').next().unwrap_or(rest);
            let wide_enough = match rest.split('.').count() {
                0 | 1 => false,
                2 => NOBODYS.contains(&last),
                3 => last.len() > 2,
                _ => true,
            };
            if wide_enough { rest } else { domain }
        }
        None => domain,
    }
}

/// Lower case, without the final dot; two labels or more, no wildcard.
pub(super) fn domain(name: &str) -> Result<String, NameError> {
    let name = normal(name);
    check(&name)?;
    match name.rsplit_once('.') {
        None => Err(NameError::TopLevel { name }),
        Some((_, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(NameError::Malformed { name, reason: "its last label is a number" })
        }
        Some(_) => Ok(name),
    }
}

/// A name or wildcard (`*.x`) at or below `domain`, in lower case without the final dot.
pub(super) fn inside(name: &str, domain: &str) -> Result<String, NameError> {
    let name = normal(name);
    check(name.strip_prefix("*.").unwrap_or(&name))?;
    let below = name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    if below { Ok(name) } else { Err(NameError::Outside { name, domain: domain.to_owned() }) }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// RFC 1123, section 2.1, and the underscore, which Compose services may have in their names.
fn check(name: &str) -> Result<(), NameError> {
    let malformed = |reason| Err(NameError::Malformed { name: name.to_owned(), reason });
    // a wildcard takes two more of the 253 characters of RFC 1035
    if name.len() > 251 {
        return malformed("it is longer than 251 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return malformed("a label is empty");
        }
        if label.len() > 63 {
            return malformed("a label is longer than 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return malformed("a label begins or ends with a hyphen");
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return malformed("a label has other characters than letters, digits, - and _");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_never_wider_than_what_the_user_owns() {
        let cases = [
            ("macula", "macula.local", "macula.local"),
            ("pr-1", "pr-1.macula.local", "macula.local"),
            ("shop", "pr-1.macula.local", "macula.local"),
            ("macula", "xmacula.local", "xmacula.local"),
            ("pr-1", "pr-1.dev.acme.com", "dev.acme.com"),
            ("pr-1", "pr-1.acme.test", "acme.test"),
            ("shop", "shop.acme.com", "shop.acme.com"),
            ("shop", "shop.acme.co.uk", "shop.acme.co.uk"),
            ("shop", "shop.acme.com.au", "shop.acme.com.au"),
            ("pr-1", "pr-1.dev.acme.de", "pr-1.dev.acme.de"),
            ("pr-1", "pr-1.dev.acme.co.jp", "dev.acme.co.jp"),
            ("shop", "shop.test", "shop.test"),
            ("shop", "shop.dev.internal", "dev.internal"),
            ("macula", "macula.acme.test", "macula.acme.test"),
            ("shop", "shopping.acme.test", "shopping.acme.test"),
        ];
        for (name, domain, expected) in cases {
            assert_eq!(family(name, domain), expected, "{name} {domain}");
        }
    }

    #[test]
    fn domains_that_no_authority_is_made_for() {
        let said = |name| domain(name).unwrap_err().to_string();
        insta::assert_snapshot!(
            ["local", "*.macula.local", "10.0.0.1", "a..b", "-a.b", "", "a.b/../c"].map(said).join("\n"),
            @r#"
    `local` has one label: an authority needs a domain of two or more, as in dev.test
    `*.macula.local` is not a valid DNS name: a label has other characters than letters, digits, - and _
    `10.0.0.1` is not a valid DNS name: its last label is a number
    `a..b` is not a valid DNS name: a label is empty
    `-a.b` is not a valid DNS name: a label begins or ends with a hyphen
    `` is not a valid DNS name: a label is empty
    `a.b/../c` is not a valid DNS name: a label has other characters than letters, digits, - and _
    "#
        );
        assert!(matches!(domain(&"a.".repeat(130)), Err(NameError::Malformed { .. })));
        assert_eq!(domain("Macula.LOCAL.").as_deref(), Ok("macula.local"));
    }

    #[test]
    fn names_and_labels_have_a_longest() {
        let of = |lengths: &[usize]| lengths.iter().map(|length| "x".repeat(*length)).collect::<Vec<_>>().join(".");
        let reason = |name: &str| match domain(name) {
            Err(NameError::Malformed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        let others = ["a-b.test", "a_b.test", "_a.b1", "1.a"].map(str::to_owned);
        for good in [of(&[63, 63, 63, 59]), of(&[63, 1])].into_iter().chain(others) {
            assert_eq!(domain(&good), Ok(good));
        }
        assert_eq!(reason(&of(&[63, 63, 63, 60])), "it is longer than 251 characters");
        assert_eq!(reason(&of(&[64, 1])), "a label is longer than 63 characters");
        assert_eq!(reason("a-.test"), "a label begins or ends with a hyphen");
    }

    #[test]
    fn names_inside() {
        assert_eq!(inside("*.S3.macula.local.", "macula.local").as_deref(), Ok("*.s3.macula.local"));
        assert_eq!(inside("macula.local", "macula.local").as_deref(), Ok("macula.local"));
        for outside in ["example.com", "xmacula.local", "local"] {
            assert!(matches!(inside(outside, "macula.local"), Err(NameError::Outside { .. })), "{outside}");
        }
        assert!(matches!(inside("a.*.macula.local", "macula.local"), Err(NameError::Malformed { .. })));
    }
}
