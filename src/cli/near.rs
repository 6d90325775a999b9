//! Names that somebody may have meant.

/// Those that somebody may have meant, the nearest first.
pub fn near(name: &str, known: &[String]) -> Vec<String> {
    // two slips in a short word leave nothing of it: `db` is not `web`
    let slips = if name.chars().count() <= 4 { 1 } else { 2 };
    let name = name.to_lowercase();
    let distance = |candidate: &String| {
        let lower = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&name, &lower);
        // a part of a longer name is as good as a slip of the finger
        let is_part = name.len() >= 3 && (lower.contains(&name) || name.contains(&lower));
        (distance <= slips || is_part).then_some(distance)
    };
    let mut all: Vec<(usize, &String)> =
        known.iter().filter_map(|candidate| Some((distance(candidate)?, candidate))).collect();
    all.sort();
    all.into_iter().map(|(_, candidate)| candidate.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_near() {
        let known = ["web", "home", "valkey", "shop-db"].map(str::to_owned);
        assert_eq!(near("db", &known), Vec::<String>::new());
        assert_eq!(near("wbe", &known), ["web"]);
        assert_eq!(near("vlakye", &known), ["valkey"]);
        assert_eq!(near("shop", &known), ["shop-db"]);
        assert_eq!(near("valKEY", &known), ["valkey"]);
    }
}
