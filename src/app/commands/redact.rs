//! Takes out of a text what nobody else may read: the secrets that are known, and whatever looks like one.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::{Captures, Regex};

/// What stands instead.
const HIDDEN: &str = "[hidden]";
/// Shorter ones would hide half of every text.
const SHORTEST: usize = 6;

/// What looks like a secret by its form, whoever made it. What is to be hidden is the group `secret`, or everything.
const FORMS: &[&str] = &[
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    // the password of a URL
    r"://[^/ \t\r\n:@]*:(?P<secret>[^/ \t\r\n@]+)@",
    // a setting whose name says it
    concat!(
        r"(?i-u:[A-Z0-9_.\-]*(?:password|passwd|passphrase|secret|token|api[_\-]?key|access[_\-]?key|private[_\-]?key|",
        r#"encryption[_\-]?key|credential)[A-Z0-9_.\-]*["']?[ \t]*[:=][ \t]*["']?)(?P<secret>[^ \t\r\n"',;}\]]{4,})"#
    ),
    r"(?i-u:\b(?:bearer|basic)[ \t]+(?P<secret>[A-Z0-9+/=._~\-]{8,}))",
    r"(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)",
    r"gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}|glpat-[0-9A-Za-z_\-]{15,}|xox[abprs]-[0-9A-Za-z\-]{10,}",
    r"(?:sk|pk|rk)[_\-](?:live|test|ant|proj)[_\-][0-9A-Za-z_\-]{10,}|AIza[0-9A-Za-z_\-]{30,}|npm_[0-9A-Za-z]{30,}",
    r"eyJ[0-9A-Za-z_\-]{8,}\.eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]*",
];

/// What the name of a variable has in it whose value is a secret.
const WORDS: &[&str] = &["PASS", "PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "DATABASE_URL", "DSN"];

/// Whether a variable of this name holds a secret, or has one in its value.
pub fn tells_a_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    WORDS.iter().any(|word| upper.contains(word))
}

pub struct Redactor {
    /// The longest first, so that none hides only a part of another.
    known: Vec<String>,
    forms: Vec<Regex>,
    mask: &'static str,
}

impl Redactor {
    /// `secrets`: as they are; they are found in a URL and in base64, too.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut known = BTreeSet::new();
        for secret in secrets {
            // a key of several lines is written in many ways: each of its lines counts
            for line in secret.lines().map(str::trim).filter(|line| line.len() >= SHORTEST) {
                known.insert(in_a_url(line));
                // without the padding: what follows it may be anything
                known.insert(STANDARD_NO_PAD.encode(line));
                known.insert(line.to_owned());
            }
        }
        let mut known: Vec<String> = known.into_iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { known, forms: FORMS.iter().filter_map(|form| Regex::new(form).ok()).collect(), mask: HIDDEN }
    }

    /// With something else in place of what is hidden.
    pub fn with_mask(self, mask: &'static str) -> Self {
        Self { mask, ..self }
    }

    /// Without the secrets that are known: for a text of ours, in which `password=` comes before the name of a variable.
    pub fn without_known(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), self.mask);
            }
        }
        text
    }

    pub fn text(&self, text: &str) -> String {
        let mut text = self.without_known(text);
        let mask = self.mask;
        for form in &self.forms {
            let hide = |found: &Captures<'_>| {
                let (Some(whole), secret) = (found.get(0), found.name("secret")) else { return String::new() };
                let hidden = secret.unwrap_or(whole);
                let (before, after) = (hidden.start() - whole.start(), hidden.end() - whole.start());
                let (front, back) = (whole.as_str().get(..before), whole.as_str().get(after..));
                format!("{}{mask}{}", front.unwrap_or_default(), back.unwrap_or_default())
            };
            text = form.replace_all(&text, hide).into_owned();
        }
        text
    }
}

/// With `%` and two digits where a URL wants it.
fn in_a_url(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(Redactor::new([]).forms.len(), FORMS.len());
    }

    #[test]
    fn names_tell_what_holds_a_secret() {
        for name in
            ["DB_PASS", "MYSQL_PWD", "shop_password", "SENTRY_DSN", "GITHUB_TOKEN_RO", "DATABASE_URL", "API_KEY"]
        {
            assert!(tells_a_secret(name), "{name}");
        }
        for name in ["", "PGHOST", "MYSQL_URL", "REGISTRY", "LEVEL"] {
            assert!(!tells_a_secret(name), "{name}");
        }
    }

    #[test]
    fn a_mask_stands_for_what_is_hidden() {
        let redactor = Redactor::new(["shopadmin".to_owned(), "shopadmin-2026".to_owned()]).with_mask("#");
        assert_eq!(redactor.text("shopadmin-2026 shopadmin ://a:b@c"), "# # ://a:#@c");
        assert_eq!(redactor.without_known("shopadmin ://a:b@c"), "# ://a:b@c");
    }

    #[test]
    fn known_secrets_are_hidden_in_every_spelling() {
        let redactor = Redactor::new(["p@ss/word1".to_owned(), "short".to_owned(), "longest-of-all".to_owned()]);
        for text in ["a p@ss/word1 b", "a p%40ss%2Fword1 b", "a cEBzcy93b3JkMQ b"] {
            assert_eq!(redactor.text(text), "a [hidden] b", "{text}");
        }
        assert_eq!(redactor.text("in short: longest-of-all"), "in short: [hidden]");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let redactor = Redactor::new([]);
        let hidden = [
            ("postgres://shop:hunter2@db:5432/shop", "postgres://shop:[hidden]@db:5432/shop"),
            ("POSTGRES_PASSWORD=hunter2 x", "POSTGRES_PASSWORD=[hidden] x"),
            ("\"api_key\": \"0123456789\",", "\"api_key\": \"[hidden]\","),
            ("  secret: \"abcd1234\"", "  secret: \"[hidden]\""),
            ("Authorization: Bearer abcdefgh.1234", "Authorization: Bearer [hidden]"),
            ("AKIAIOSFODNN7EXAMPLE", "[hidden]"),
            ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "[hidden]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", "[hidden]"),
            ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIx\n-----END RSA PRIVATE KEY-----\nb", "a\n[hidden]\nb"),
            ("-----BEGIN PRIVATE KEY-----\nMIIx cut off", "[hidden]"),
        ];
        for (text, expected) in hidden {
            assert_eq!(redactor.text(text), expected);
        }
        for kept in ["password authentication failed", "http://a:80/b", "token expired", "keys: 3", "see https://x/y@z"]
        {
            assert_eq!(redactor.text(kept), kept);
        }
    }
}
