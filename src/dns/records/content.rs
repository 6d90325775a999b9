//! What a person types as a record's value, checked and put as PowerDNS wants it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dns::Name;

/// Types that can be written, for messages.
const TYPES: &str = "A, AAAA, CNAME, TXT, MX, SRV, CAA, PTR, HTTPS, SVCB, SSHFP, TLSA";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    #[error("`{rtype}` is not a record type that can be written here; use one of {TYPES}")]
    Type { rtype: String },
    #[error("`{value}` is not a valid {rtype} record: {reason}")]
    Value { rtype: String, value: String, reason: String },
    #[error("`{name}` is not a valid name: {reason}")]
    Name { name: String, reason: String },
    #[error("{name} is outside the zone {domain}")]
    Outside { name: String, domain: String },
}

/// The full name of what was typed: `shop` and `shop.macula.local` are the same, and a dot at the
/// end means that nothing is to be added. Without a dot at the end; lower case.
pub fn owner(typed: &str, domain: &str) -> Result<String, ContentError> {
    let lower = Name::ascii(typed.trim()).map(|name| name.to_ascii_lowercase());
    let lower =
        lower.map_err(|error| ContentError::Name { name: typed.to_owned(), reason: error.reason.to_owned() })?;
    let below = |name: &str| name == domain || name.ends_with(&format!(".{domain}"));
    let full = match lower.strip_suffix('.') {
        Some(absolute) => absolute.to_owned(),
        None if lower == "@" || lower.is_empty() => domain.to_owned(),
        None if below(&lower) => lower.clone(),
        None => format!("{lower}.{domain}"),
    };
    if !below(&full) {
        return Err(ContentError::Outside { name: full, domain: domain.to_owned() });
    }
    Name::parse(&full).map_err(|error| ContentError::Name { name: full.clone(), reason: error.reason.to_owned() })?;
    Ok(full)
}

/// The type in capitals, if records of it can be written.
pub fn rtype(typed: &str) -> Result<String, ContentError> {
    let upper = typed.trim().to_ascii_uppercase();
    if TYPES.split(", ").any(|known| known == upper) { Ok(upper) } else { Err(ContentError::Type { rtype: upper }) }
}

/// The value as PowerDNS's API takes it. `rtype` in capitals.
pub fn content(rtype: &str, typed: &str, domain: &str) -> Result<String, ContentError> {
    let value = typed.trim();
    let fail = |reason: &str| ContentError::Value {
        rtype: rtype.to_owned(),
        value: typed.to_owned(),
        reason: reason.to_owned(),
    };
    let host = |text: &str| {
        target(text, domain).ok_or_else(|| fail("a host name is expected, such as web or web.example.com"))
    };
    let words: Vec<&str> = value.split_whitespace().collect();
    match (rtype, words.as_slice()) {
        ("A", [address]) => {
            let address: Ipv4Addr =
                address.parse().map_err(|_| fail("an IPv4 address is expected, such as 127.0.0.1"))?;
            Ok(address.to_string())
        }
        ("AAAA", [address]) => {
            let address: Ipv6Addr = address.parse().map_err(|_| fail("an IPv6 address is expected, such as ::1"))?;
            Ok(address.to_string())
        }
        ("CNAME" | "PTR", [name]) => host(name),
        ("TXT", _) if value.starts_with('"') => {
            if quoted_strings(value) {
                Ok(value.to_owned())
            } else {
                Err(fail("strings in quotes are expected, each at most 255 bytes, or text without quotes"))
            }
        }
        ("TXT", _) => Ok(text(typed)),
        ("MX", [preference, name]) => {
            let preference: u16 = preference.parse().map_err(|_| fail("it begins with a preference, 0 to 65535"))?;
            Ok(format!("{preference} {}", host(name)?))
        }
        ("MX", _) => Err(fail("a preference and a host are expected, such as `10 mail`")),
        ("SRV", [priority, weight, port, name]) => {
            let number = |text: &str| text.parse::<u16>().map_err(|_| fail("priority, weight and port are 0 to 65535"));
            Ok(format!("{} {} {} {}", number(priority)?, number(weight)?, number(port)?, host(name)?))
        }
        ("SRV", _) => Err(fail("priority, weight, port and host are expected, such as `0 5 5060 sip`")),
        ("CAA", [flags, tag, rest @ ..]) if !rest.is_empty() => {
            let flags: u8 = flags.parse().map_err(|_| fail("it begins with flags, 0 or 128"))?;
            let rest = rest.join(" ");
            let rest = rest.trim_matches('"');
            Ok(format!("{flags} {} \"{rest}\"", tag.to_ascii_lowercase()))
        }
        ("CAA", _) => Err(fail("flags, a tag and a value are expected, such as `0 issue ca.example`")),
        // PowerDNS takes no name without its dot
        ("HTTPS" | "SVCB", [priority, name, params @ ..]) => {
            let priority: u16 = priority.parse().map_err(|_| fail("it begins with a priority, 0 to 65535"))?;
            let name = if *name == "." { ".".to_owned() } else { host(name)? };
            let params: String = params.iter().map(|param| format!(" {param}")).collect();
            Ok(format!("{priority} {name}{params}"))
        }
        ("SSHFP" | "TLSA", [_, _, ..]) => Ok(words.join(" ")),
        ("A" | "AAAA", [_, _, ..]) => Err(fail("add one address at a time")),
        _ => Err(fail("it has the wrong number of words")),
    }
}

/// `web` -> `web.macula.local.`; what has a dot stays as it is.
fn target(typed: &str, domain: &str) -> Option<String> {
    let lower = Name::ascii(typed).ok()?.to_ascii_lowercase();
    let full = match lower.strip_suffix('.') {
        Some(absolute) => absolute.to_owned(),
        None if lower.contains('.') => lower,
        None => format!("{lower}.{domain}"),
    };
    let plain = full.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (plain && !full.is_empty() && Name::parse(&full).is_ok()).then(|| format!("{full}."))
}

/// In quotes, in pieces of at most 255 bytes (RFC 1035 3.3).
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    let mut length = 0;
    for byte in value.bytes() {
        if length == 255 {
            out.push_str("\" \"");
            length = 0;
        }
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\{other:03}")),
        }
        length += 1;
    }
    out.push('"');
    out
}

/// Whether it is one or more strings in quotes, with blanks between them, none too long.
fn quoted_strings(value: &str) -> bool {
    let (mut inside, mut escaped, mut length) = (false, false, 0);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => {
                inside = !inside;
                length = 0;
                continue;
            }
            c if !inside && !c.is_whitespace() => return false,
            _ => {}
        }
        length += usize::from(inside);
        if length > 255 {
            return false;
        }
    }
    !inside && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_stay_in_the_zone() {
        let name = |typed| owner(typed, "macula.local").map_err(|error| error.to_string());
        assert_eq!(name("Shop").as_deref(), Ok("shop.macula.local"));
        assert_eq!(name("shop.macula.local").as_deref(), Ok("shop.macula.local"));
        assert_eq!(name("a.b").as_deref(), Ok("a.b.macula.local"));
        assert_eq!(name("*.apps").as_deref(), Ok("*.apps.macula.local"));
        assert_eq!(name("@").as_deref(), Ok("macula.local"));
        assert_eq!((name(""), name("Macula.Local.")), (Ok("macula.local".into()), Ok("macula.local".into())));
        assert_eq!(name("notmacula.local").as_deref(), Ok("notmacula.local.macula.local"));
        assert_eq!(name("notmacula.local."), Err("notmacula.local is outside the zone macula.local".into()));
        assert_eq!(name("shop.example.com."), Err("shop.example.com is outside the zone macula.local".into()));
        assert!(name("a..b").is_err());
        assert_eq!(name("München").as_deref(), Ok("xn--mnchen-3ya.macula.local"));
        assert_eq!(name("_sip._tcp.日本").as_deref(), Ok("_sip._tcp.xn--wgv71a.macula.local"));
        assert_eq!(
            name(&"x".repeat(64)),
            Err(format!("`{}.macula.local` is not a valid name: a label is longer than 63 bytes", "x".repeat(64)))
        );
    }

    #[test]
    fn values_as_powerdns_wants_them() {
        let put = |rtype, typed: &str| match content(rtype, typed, "macula.local") {
            Ok(content) => content,
            Err(error) => error.to_string(),
        };
        let long = "x".repeat(300);
        let all = [
            ("A", "127.0.0.5"),
            ("A", "127.0.0.500"),
            ("A", "127.0.0.1 127.0.0.2"),
            ("AAAA", "0:0::1"),
            ("AAAA", "127.0.0.1"),
            ("CNAME", "Web"),
            ("CNAME", "web.example.com"),
            ("CNAME", "bücher.example"),
            ("CNAME", "web.example.com."),
            ("CNAME", "web/1"),
            ("CNAME", "."),
            ("PTR", "web"),
            ("TXT", "v=spf1 -all"),
            ("TXT", "say \"hi\" \\ é"),
            ("TXT", "\"one\" \"two\""),
            ("TXT", "\"a \\\" b\""),
            ("TXT", "\"open"),
            ("TXT", "\"open\\"),
            ("TXT", "\"one\" two"),
            ("MX", "10 mail"),
            ("MX", "99999 mail"),
            ("MX", "mail"),
            ("SRV", "0 5 5060 sip"),
            ("SRV", "0 5 99999 sip"),
            ("SRV", "0 5 5060"),
            ("CAA", "0 issue ca.example"),
            ("CAA", "128 ISSUE \"ca.example; x=1\""),
            ("CAA", "0 issue"),
            ("CAA", "256 issue ca.example"),
            ("HTTPS", "1 .  alpn=h2"),
            ("HTTPS", "1 Web alpn=h2  port=8443"),
            ("SVCB", "first web"),
            ("HTTPS", "1"),
            ("SSHFP", "1 1 aabb"),
        ];
        let shown: String =
            all.iter().map(|(rtype, typed)| format!("{rtype} {typed} -> {}\n", put(rtype, typed))).collect();
        insta::assert_snapshot!(shown, @r#"
        A 127.0.0.5 -> 127.0.0.5
        A 127.0.0.500 -> `127.0.0.500` is not a valid A record: an IPv4 address is expected, such as 127.0.0.1
        A 127.0.0.1 127.0.0.2 -> `127.0.0.1 127.0.0.2` is not a valid A record: add one address at a time
        AAAA 0:0::1 -> ::1
        AAAA 127.0.0.1 -> `127.0.0.1` is not a valid AAAA record: an IPv6 address is expected, such as ::1
        CNAME Web -> web.macula.local.
        CNAME web.example.com -> web.example.com.
        CNAME bücher.example -> xn--bcher-kva.example.
        CNAME web.example.com. -> web.example.com.
        CNAME web/1 -> `web/1` is not a valid CNAME record: a host name is expected, such as web or web.example.com
        CNAME . -> `.` is not a valid CNAME record: a host name is expected, such as web or web.example.com
        PTR web -> web.macula.local.
        TXT v=spf1 -all -> "v=spf1 -all"
        TXT say "hi" \ é -> "say \"hi\" \\ \195\169"
        TXT "one" "two" -> "one" "two"
        TXT "a \" b" -> "a \" b"
        TXT "open -> `"open` is not a valid TXT record: strings in quotes are expected, each at most 255 bytes, or text without quotes
        TXT "open\ -> `"open\` is not a valid TXT record: strings in quotes are expected, each at most 255 bytes, or text without quotes
        TXT "one" two -> `"one" two` is not a valid TXT record: strings in quotes are expected, each at most 255 bytes, or text without quotes
        MX 10 mail -> 10 mail.macula.local.
        MX 99999 mail -> `99999 mail` is not a valid MX record: it begins with a preference, 0 to 65535
        MX mail -> `mail` is not a valid MX record: a preference and a host are expected, such as `10 mail`
        SRV 0 5 5060 sip -> 0 5 5060 sip.macula.local.
        SRV 0 5 99999 sip -> `0 5 99999 sip` is not a valid SRV record: priority, weight and port are 0 to 65535
        SRV 0 5 5060 -> `0 5 5060` is not a valid SRV record: priority, weight, port and host are expected, such as `0 5 5060 sip`
        CAA 0 issue ca.example -> 0 issue "ca.example"
        CAA 128 ISSUE "ca.example; x=1" -> 128 issue "ca.example; x=1"
        CAA 0 issue -> `0 issue` is not a valid CAA record: flags, a tag and a value are expected, such as `0 issue ca.example`
        CAA 256 issue ca.example -> `256 issue ca.example` is not a valid CAA record: it begins with flags, 0 or 128
        HTTPS 1 .  alpn=h2 -> 1 . alpn=h2
        HTTPS 1 Web alpn=h2  port=8443 -> 1 web.macula.local. alpn=h2 port=8443
        SVCB first web -> `first web` is not a valid SVCB record: it begins with a priority, 0 to 65535
        HTTPS 1 -> `1` is not a valid HTTPS record: it has the wrong number of words
        SSHFP 1 1 aabb -> 1 1 aabb
        "#);
        assert_eq!(put("TXT", &long), format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
        // each piece has its own length
        let pieces = |lengths: [usize; 2]| lengths.map(|length| format!("\"{}\"", "x".repeat(length))).join(" ");
        assert!(quoted_strings(&put("TXT", &long)) && quoted_strings(&pieces([255, 200])));
        assert!(!quoted_strings(&pieces([200, 256])));
        assert!(!quoted_strings(r#""a" \x"#));
    }

    #[test]
    fn types_that_break_a_zone_are_refused() {
        assert_eq!(rtype("aaaa").as_deref(), Ok("AAAA"));
        assert!(matches!(rtype("NS"), Err(ContentError::Type { .. })));
        assert!(matches!(rtype("SOA"), Err(ContentError::Type { .. })));
    }
}
