//! Services that are left out: those with the same reason in one line.

/// `pairs`: service and reason. A reason that begins with the service's image counts as the same
/// for other images.
pub fn grouped<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>, &str)> = Vec::new();
    for (service, reason) in pairs {
        let rest = without_image(reason);
        match groups.iter_mut().find(|(other, ..)| *other == rest) {
            Some((_, services, _)) => services.push(service),
            None => groups.push((rest, vec![service], reason)),
        }
    }
    let line = |(rest, services, reason): (&str, Vec<&str>, &str)| match services.as_slice() {
        [service] => format!("{service} is left out: {reason}"),
        _ if rest == reason => format!("left out: {}: {rest}", services.join(", ")),
        _ => format!("left out: {}: each one's image {rest}", services.join(", ")),
    };
    groups.into_iter().map(line).collect()
}

fn without_image(reason: &str) -> &str {
    match reason.split_once(' ') {
        Some((first, rest)) if first.contains(['/', ':']) => rest,
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_said_once() {
        let lines = grouped([
            ("loki", "grafana/loki:3 is not in the engine"),
            ("user", "it needs admin, which is left out"),
            ("tempo", "grafana/tempo:3 is not in the engine"),
        ]);
        assert_eq!(
            lines,
            [
                "left out: loki, tempo: each one's image is not in the engine",
                "user is left out: it needs admin, which is left out"
            ]
        );
        assert_eq!(grouped([("loki", "l:3 is gone")]), ["loki is left out: l:3 is gone"]);
    }
}
