//! What is made of each key that a stack may have.

use super::super::loss::{losses, rule_of};
use super::super::rules::keys;
use super::*;

/// Keys that are carried out before a target sees anything, or decide what is said elsewhere.
const ELSEWHERE: &[&str] = &[
    "version",
    "services.*.depends_on.*.required",
    "services.*.depends_on.*.condition",
    "services.*.env_file[].required",
    "services.*.networks.*.aliases",
    // of one that is external
    "secrets.*.name",
    "configs.*.name",
    // the build is Macula's, before: these say how
    "services.*.build",
    // the sample has it on both sides
    "services.*.ports[].target",
    "services.*.volumes[].type",
    "services.*.volumes[].source",
    "services.*.volumes[].target",
    // less is lost with it: a claim begins empty, and this says that it may
    "services.*.volumes[].volume.nocopy",
    // of a mount of another type
    "services.*.volumes[].image.subpath",
    // of a pool without a subnet, which is none
    "networks.*.ipam.config[].gateway",
    "networks.*.ipam.config[].ip_range",
    // pods always start again
    "services.*.restart",
    "services.*.deploy.restart_policy.condition",
    // no pod ends for a check that fails
    "services.*.healthcheck.start_period",
    // a pod has no check of its image's anyway
    "services.*.healthcheck.disable",
    // a port of the node needs its number
    "services.*.ports[].mode",
];

#[test]
fn every_key_is_kept_or_named_for_each_target() {
    let samples = crate::config::samples();
    let mut wrong = Vec::new();
    let (mut kept, mut named) = (0, 0);
    for sample in samples.iter().filter(|sample| sample.key != "services.*.x-macula") {
        if rule_of(&sample.key).is_none() {
            wrong.push(format!("{}: there is no rule for it", sample.key));
            continue;
        }
        let (with, without) = match (loaded(&sample.with), loaded(&sample.without)) {
            (Ok(with), Ok(without)) => (with, without),
            (with, without) => {
                wrong.push(format!("{}: {}", sample.key, with.err().or(without.err()).unwrap_or_default()));
                continue;
            }
        };
        let warned = with.warnings.len() > without.warnings.len();
        let said = with.said(&with.platform.stacks.last().unwrap().name);
        let said: Vec<Said> = said
            .into_iter()
            .filter(|one| {
                one.key.strip_prefix(&sample.key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .collect();
        for target in RULED {
            let (with, without) = (translated(&with, target, &OPEN), translated(&without, target, &OPEN));
            let (Ok(with), Ok(without)) = (&with, &without) else {
                // what cannot be at all says so with its place
                assert!(with != without, "{}: {with:?}", sample.key);
                named += 1;
                continue;
            };
            let new = with.losses.iter().any(|loss| !without.losses.iter().any(|known| known.why == loss.why));
            let lost = warned || new || !losses(target, &said).is_empty();
            assert!(with.losses.iter().all(|loss| loss.place.contains(':')), "{}: {:?}", sample.key, with.losses);
            let elsewhere =
                ELSEWHERE.iter().any(|key| sample.key == *key || sample.key.starts_with(&format!("{key}.")));
            if lost {
                named += 1;
            } else if with.rendered != without.rendered {
                kept += 1;
            } else if !elsewhere {
                wrong.push(format!(
                    "{}: {target} gets nothing of it, and nothing says so\n    {}",
                    sample.key, sample.with
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} keys:\n{}", wrong.len(), samples.len(), wrong.join("\n"));
    assert!(kept > 150 && named > 120, "{kept} are kept, {named} are named");
}

#[test]
fn every_key_of_the_extension_has_a_rule_and_every_rule_a_key() {
    let extension = crate::config::extension_keys();
    assert!(extension.len() > 60);
    let missing: Vec<&String> = extension.iter().filter(|key| rule_of(key).is_none()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let samples = crate::config::samples();
    let known = |rule: &str| {
        let below =
            |key: &str| key == rule || key.starts_with(&format!("{rule}.")) || key.starts_with(&format!("{rule}["));
        extension.iter().any(|key| below(key)) || samples.iter().any(|sample| below(&sample.key))
    };
    let idle: Vec<&str> = keys().filter(|rule| !known(rule)).collect();
    assert!(idle.is_empty(), "no key is meant by {idle:#?}");
}

#[test]
fn what_is_made_of_every_key_is_what_the_targets_take() {
    let mut tried = 0;
    for sample in crate::config::samples() {
        let Ok(loaded) = loaded(&sample.with) else { continue };
        for target in RULED {
            if let Ok(translation) = translated(&loaded, target, &OPTIONS) {
                strict_all(&translation);
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}
