//! Passwords and other secrets that macula makes.

use crate::app::error::Error;
use crate::model::{Generated, Platform, SecretSource, Secrets};

/// Adds what is missing: makes passwords, and follows references to other services' secrets.
/// Returns whether anything is new.
pub(in crate::app) fn complete_secrets(platform: &Platform, secrets: &mut Secrets) -> Result<bool, Error> {
    let mut new = false;
    for (_, service) in platform.services() {
        for (variable, source) in &service.extension.secrets {
            if let SecretSource::Generate(wanted) = source
                && secrets.get(&service.name, variable).is_none()
            {
                secrets.set(&service.name, variable, password(wanted)?);
                new = true;
            }
        }
    }
    // a reference may lead to another one; `config` has refused circles
    let references: Vec<_> = platform
        .services()
        .flat_map(|(_, service)| {
            service.extension.secrets.iter().filter_map(move |(variable, source)| match source {
                SecretSource::From { service: other, key } => Some((&service.name, variable, other, key)),
                SecretSource::Generate(_) => None,
            })
        })
        .collect();
    for _ in 0..=references.len() {
        let mut changed = false;
        for (service, variable, other, key) in &references {
            let Some(value) = secrets.get(other, key).map(str::to_owned) else { continue };
            if secrets.get(service, variable) != Some(&value) {
                secrets.set(service, variable, value);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(new)
}

fn password(wanted: &Generated) -> Result<String, Error> {
    let alphabet = wanted.alphabet.characters().as_bytes();
    // what is above the largest multiple that a byte holds would favor some characters
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut random = String::new();
    let mut bytes = [0u8; 64];
    while random.len() < usize::from(wanted.length) {
        getrandom::fill(&mut bytes)?;
        let left = usize::from(wanted.length) - random.len();
        let usable = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair).take(left);
        random.extend(usable.filter_map(|byte| alphabet.get(byte % alphabet.len())).map(|letter| char::from(*letter)));
    }
    Ok(format!("{}{random}", wanted.prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::shop;
    use crate::host::fake::FakeHost;
    use crate::model::Alphabet;

    #[test]
    fn a_reference_to_a_reference_leads_to_the_password() {
        let stack = "services:\n  a: {image: x, x-macula: {secrets: {KEY: {from: b.KEY}}}}\n  \
                     b: {image: x, x-macula: {secrets: {KEY: {from: c.KEY}}}}\n  \
                     c: {image: x, x-macula: {secrets: {KEY: {generate: 24}}}}\n";
        let platform = shop(&FakeHost::new(), "", stack).platform;
        let mut secrets = Secrets::default();
        assert!(complete_secrets(&platform, &mut secrets).unwrap());
        let made = secrets.get("c", "KEY").unwrap();
        assert_eq!((secrets.get("b", "KEY"), secrets.get("a", "KEY")), (Some(made), Some(made)));
        assert!(!complete_secrets(&platform, &mut secrets).unwrap(), "nothing is new");
    }

    #[test]
    fn passwords_have_their_length_and_differ() {
        let wanted = Generated { length: 24, ..Generated::default() };
        let (a, b) = (password(&wanted).unwrap(), password(&wanted).unwrap());
        assert_eq!((a.len(), b.len()), (24, 24));
        assert_ne!(a, b);
        assert!(a.chars().all(|c| c.is_ascii_alphanumeric()));
        let key = Generated { length: 40, prefix: "tm_key_".into(), alphabet: Alphabet::Hex, internal: false };
        let key = password(&key).unwrap();
        let random = key.strip_prefix("tm_key_").unwrap();
        assert!(random.len() == 40 && random.chars().all(|c| "0123456789abcdef".contains(c)), "{key}");
    }
}
