//! Ways out that the environment names: what of a platform is reached without them, and what a build is told of them.

use std::collections::BTreeMap;

use super::is_on_loopback;

/// What programs read, in either case: some know only the one, some only the other.
pub const PROXIES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The value of the first of these variables that is set to something.
fn first(env: &dyn Fn(&str) -> Option<String>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env(name).filter(|value| !value.is_empty()))
}

/// What this environment reaches without its proxies, as it is written there; empty: nothing.
pub fn exceptions(env: &dyn Fn(&str) -> Option<String>) -> String {
    first(env, &EXCEPTIONS).unwrap_or_default()
}

/// What a list of exceptions lacks, so that the platform is not asked for at the proxy.
pub fn lacking(exceptions: &str, domain: &str) -> Vec<String> {
    if exceptions.trim() == "*" {
        return Vec::new();
    }
    let listed: Vec<String> = exceptions
        .split(',')
        // `*.x` is understood by few; curl, for one, takes it for a name
        .map(|one| one.trim().trim_start_matches('.').to_lowercase())
        .collect();
    let domain = domain.to_lowercase();
    let by_name = |one: &String| !one.is_empty() && (domain == *one || domain.ends_with(&format!(".{one}")));
    let mut missing = Vec::new();
    if !domain.is_empty() && !listed.iter().any(by_name) {
        missing.push(format!(".{domain}"));
    }
    for (entry, enough) in [("localhost", ["localhost", "localhost"]), ("127.0.0.0/8", ["127.0.0.0/8", "127"])] {
        if !listed.iter().any(|one| enough.contains(&one.as_str())) {
            missing.push(entry.to_owned());
        }
    }
    missing
}

/// The exceptions with what they lack.
pub fn with_lacking(exceptions: &str, domain: &str) -> String {
    let list = lacking(exceptions, domain).join(",");
    match (exceptions.is_empty(), list.is_empty()) {
        (true, _) => list,
        (false, true) => exceptions.to_owned(),
        (false, false) => format!("{exceptions},{list}"),
    }
}

/// The variables that a build gets in addition to those it has been given, `of_its_own`. Engines keep these names out
/// of an image's history and of what decides whether a layer is made again. `here`: the build is in this machine's own
/// network, where a proxy on loopback is the same one.
pub fn of_a_build(
    env: &dyn Fn(&str) -> Option<String>,
    of_its_own: &BTreeMap<String, String>,
    domain: &str,
    here: bool,
) -> BTreeMap<String, String> {
    let given = |name: &str| of_its_own.keys().any(|key| key.eq_ignore_ascii_case(name));
    let mut all = BTreeMap::new();
    for names in PROXIES.chunks(2) {
        let Some(value) = first(env, names).filter(|value| here || !is_of_loopback(value)) else { continue };
        all.extend(names.iter().filter(|name| !given(name)).map(|name| ((*name).to_owned(), value.clone())));
    }
    if !all.is_empty() {
        let list = with_lacking(&exceptions(env), domain);
        all.extend(EXCEPTIONS.iter().filter(|name| !given(name)).map(|name| ((*name).to_owned(), list.clone())));
    }
    all
}

/// `http://me:secret@127.0.0.1:3128/`
fn is_of_loopback(proxy: &str) -> bool {
    let place = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let place = place.split('/').next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    is_on_loopback(place) || place.starts_with("[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)], own: &[(&str, &str)], here: bool) -> String {
        let env = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let all = of_a_build(&env, &own, "macula.local", here);
        all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_build_knows_the_way_out_in_both_cases_and_what_is_reached_without() {
        let proxy = ("https_proxy", "http://me:pw@proxy:3128");
        assert_eq!(
            told(&[proxy], &[], true),
            "HTTPS_PROXY=http://me:pw@proxy:3128 NO_PROXY=.macula.local,localhost,127.0.0.0/8 \
             https_proxy=http://me:pw@proxy:3128 no_proxy=.macula.local,localhost,127.0.0.0/8"
        );
        let kept = ("NO_PROXY", ".corp,.local,localhost,127.0.0.0/8");
        assert_eq!(
            told(&[proxy, kept], &[("HTTPS_PROXY", "http://own:1"), ("no_proxy", "x")], true),
            "",
            "what a build is given is its own"
        );
        assert!(told(&[proxy, kept], &[], true).ends_with("no_proxy=.corp,.local,localhost,127.0.0.0/8"));
        assert_eq!(told(&[("http_proxy", ""), ("no_proxy", "x")], &[], true), "");
    }

    #[test]
    fn exceptions_lack_what_they_do_not_cover() {
        for (exceptions, domain, missing) in [
            ("", "macula.local", ".macula.local localhost 127.0.0.0/8"),
            ("x", "Macula.Local", ".macula.local localhost 127.0.0.0/8"),
            (" * ", "macula.local", ""),
            (" LOCAL , 127", "Macula.Local", "localhost"),
            (".macula.local,.localhost", "macula.local", "127.0.0.0/8"),
            ("*.macula.local,localhost,127", "macula.local", ".macula.local"),
            // the end of a name is no domain above it
            ("cula.local,,127.0.0.0/8", "macula.local", ".macula.local localhost"),
            ("", "", "localhost 127.0.0.0/8"),
        ] {
            assert_eq!(lacking(exceptions, domain).join(" "), missing, "{exceptions}");
        }
        assert_eq!(with_lacking("x", ""), "x,localhost,127.0.0.0/8");
        assert_eq!(with_lacking("*", "macula.local"), "*");
    }

    #[test]
    fn a_proxy_of_this_machine_is_none_elsewhere() {
        for here in ["http://127.0.0.1:3128", "http://me:pw@localhost:3128/", "127.0.0.2:1", "http://[::1]:8080"] {
            assert_eq!(told(&[("http_proxy", here)], &[], false), "", "{here}");
            assert!(told(&[("http_proxy", here)], &[], true).contains(here));
        }
        assert!(told(&[("http_proxy", "http://10.0.0.1:3128")], &[], false).contains("HTTP_PROXY"));
    }
}
