//! What the platforms of this user want of the one resolver, taken together.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::app::error::ResolverError;
use crate::model::{DnsSettings, PlatformName};

/// The `dns:` of all platforms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wants {
    /// Some platform names no address of its own, and so gets the usual one.
    pub usual: bool,
    /// Addresses that platforms name.
    pub listen: Vec<SocketAddr>,
    /// Where questions come over TLS and over HTTPS.
    pub dot: Vec<SocketAddr>,
    pub doh: Vec<SocketAddr>,
    /// Empty: the machine's own servers.
    pub upstream: Vec<IpAddr>,
    pub rebind_allow: Vec<String>,
}

impl Wants {
    /// Addresses and domains of all add up. All other names have one way, so that platforms which name
    /// servers must name the same.
    pub fn together<'a>(
        platforms: impl IntoIterator<Item = (&'a PlatformName, &'a DnsSettings)>,
    ) -> Result<Self, ResolverError> {
        let mut all = Self::default();
        let mut by: Option<&PlatformName> = None;
        for (name, settings) in platforms {
            all.usual |= settings.listen.is_empty();
            for (all, own) in
                [(&mut all.listen, &settings.listen), (&mut all.dot, &settings.dot), (&mut all.doh, &settings.doh)]
            {
                all.extend(own);
                all.sort();
                all.dedup();
            }
            for domain in &settings.rebind_allow {
                if !all.rebind_allow.contains(domain) {
                    all.rebind_allow.push(domain.clone());
                }
            }
            match by {
                _ if settings.upstream.is_empty() => {}
                None => {
                    all.upstream.clone_from(&settings.upstream);
                    by = Some(name);
                }
                Some(_) if all.upstream == settings.upstream => {}
                Some(one) => {
                    return Err(ResolverError::TwoUpstreams {
                        one: one.to_string(),
                        ones: all.upstream,
                        other: name.to_string(),
                        others: settings.upstream.clone(),
                    });
                }
            }
        }
        all.rebind_allow.sort();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> PlatformName {
        PlatformName::new(name).unwrap()
    }

    fn settings(listen: &[&str], upstream: &[&str]) -> DnsSettings {
        DnsSettings {
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            upstream: upstream.iter().map(|address| address.parse().unwrap()).collect(),
            ..DnsSettings::default()
        }
    }

    #[test]
    fn settings_of_one_platform_move_nothing_of_another() {
        let (plain, own) = (settings(&[], &[]), settings(&["127.0.0.9:5300"], &["192.0.2.53"]));
        let both = Wants::together([(&name("macula"), &plain), (&name("pr-1"), &own)]).unwrap();
        assert!(both.usual);
        assert_eq!(both.listen, own.listen);
        assert_eq!(both.upstream, own.upstream);
        let alone = Wants::together([(&name("pr-1"), &own)]).unwrap();
        assert!(!alone.usual);
    }

    #[test]
    fn two_ways_for_all_other_names_are_refused_with_both_named() {
        let (one, other) = (settings(&[], &["192.0.2.53"]), settings(&[], &["192.0.2.54", "192.0.2.55"]));
        assert!(Wants::together([(&name("a"), &one), (&name("b"), &one)]).is_ok());
        insta::assert_snapshot!(
            Wants::together([(&name("a"), &one), (&name("b"), &other)]).unwrap_err(),
            @"one resolver serves all platforms, and two of them name different servers for all other names: 192.0.2.53 (platform a), 192.0.2.54, 192.0.2.55 (platform b)"
        );
    }
}
