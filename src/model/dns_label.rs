//! Labels and names of DNS as macula takes them: lower case, letters, digits and inner dashes.

/// One label: at most 63 characters.
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Labels with dots between them, at most 253 characters.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// A text made into a label, or an empty one: what a person would have meant by it.
pub fn to_dns_label(text: &str) -> String {
    let lower = text.to_lowercase().replace(['_', '.', ' ', '/'], "-");
    let kept: String =
        lower.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(63).collect();
    kept.trim_matches('-').to_owned()
}

/// `grafana` -> `grafana.macula.local`; a name with a dot is a full name, which may lie outside the domain, and stays as
/// it is: then somebody else sends its requests here, such as a tunnel.
pub fn fully_qualified(host: &str, domain: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix("*.").unwrap_or(&host);
    if bare.contains('.') || host == domain { host } else { format!("{host}.{domain}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "a-b", "0", &"x".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"x".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert_eq!(to_dns_label("My_Service.x/y"), "my-service-x-y");
    }

    #[test]
    fn names() {
        let longest = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        for good in ["a", "a.b-c.0", longest.as_str()] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "a.-b", "A.b", format!("{longest}d").as_str()] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_name_without_a_dot_is_in_the_domain() {
        for (host, domain, full) in [
            ("grafana", "macula.local", "grafana.macula.local"),
            ("Grafana.", "macula.local", "grafana.macula.local"),
            ("*", "macula.local", "*.macula.local"),
            ("*.apps", "macula.local", "*.apps.macula.local"),
            ("shop.example.com", "macula.local", "shop.example.com"),
            ("*.example.com", "macula.local", "*.example.com"),
            ("Local", "local", "local"),
            ("grafana", "local", "grafana.local"),
        ] {
            assert_eq!(fully_qualified(host, domain), full);
        }
    }

    proptest! {
        #[test]
        fn what_is_made_of_a_text_is_a_label_or_nothing(text in ".{0,80}") {
            let label = to_dns_label(&text);
            prop_assert!(label.is_empty() || is_dns_label(&label), "{label}");
        }
    }
}
