//! Numbers of several rounds.

use std::time::Duration;

/// One side's times of one measure, a number for each round.
#[derive(Debug, Default, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle one; of an even number, the mean of the middle two.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => (*low + *high) / 2,
            _ => Duration::ZERO,
        }
    }

    /// `1.23 s (1.20 to 1.40)`
    pub fn text(&self) -> String {
        let least = self.0.iter().min().copied().unwrap_or_default();
        let most = self.0.iter().max().copied().unwrap_or_default();
        if self.median() < Duration::from_millis(100) {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            format!("{:.1} ms ({:.1} to {:.1})", ms(self.median()), ms(least), ms(most))
        } else {
            let s = |time: Duration| time.as_secs_f64();
            format!("{:.2} s ({:.2} to {:.2})", s(self.median()), s(least), s(most))
        }
    }
}

/// One line of the result.
#[derive(Debug, Default, Clone)]
pub struct Measure {
    pub what: String,
    pub macula: Times,
    pub peer: Times,
    pub target: Target,
}

#[derive(Debug, Default, Clone, Copy)]
pub enum Target {
    #[default]
    None,
    /// Of the peer's time.
    Ratio(f64),
    Absolute(Duration),
}

impl Measure {
    pub fn new(what: impl Into<String>, target: Target) -> Self {
        Self { what: what.into(), target, ..Self::default() }
    }

    pub fn row(&self) -> String {
        let ratio = self.macula.median().as_secs_f64() / self.peer.median().as_secs_f64();
        let (target, met) = match self.target {
            Target::None => ("none".to_owned(), ""),
            Target::Ratio(most) => (format!("at most {most:.1} x"), if ratio <= most { "yes" } else { "NO" }),
            Target::Absolute(most) => {
                (format!("under {} ms", most.as_millis()), if self.macula.median() < most { "yes" } else { "NO" })
            }
        };
        let peer = if self.peer.is_empty() { "-".to_owned() } else { self.peer.text() };
        let ratio = if self.peer.is_empty() { "-".to_owned() } else { format!("{ratio:.2} x") };
        format!("| {} | {} | {peer} | {ratio} | {target} | {met} |", self.what, self.macula.text())
    }
}

/// `peer`: what macula is compared to.
pub fn table(peer: &str, measures: &[Measure]) -> String {
    let mut text = format!("| what | macula | {peer} | ratio | target | met |\n|---|---|---|---|---|---|\n");
    for measure in measures.iter().filter(|measure| !measure.macula.is_empty()) {
        text.push_str(&measure.row());
        text.push('\n');
    }
    text
}
