//! Colours and symbols. Everything reads without either.

/// What may be used on a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// SGR sequences.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

/// What a piece of text means; the color follows from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Active,
    Dim,
    Bold,
}

impl Tone {
    /// Tones that tell neighbours in a list apart; they mean nothing.
    pub fn of_series(at: usize) -> Self {
        match at % 4 {
            0 => Self::Active,
            1 => Self::Good,
            2 => Self::Warn,
            _ => Self::Bold,
        }
    }

    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
            Self::Active => Some("36"),
            Self::Dim => Some("2"),
            Self::Bold => Some("1"),
        }
    }
}

impl Style {
    /// The text in its color, where there are colors.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        match tone.sgr() {
            Some(code) if self.color && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// The first where characters beyond ASCII may be used, else the second.
    pub fn symbol(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    pub fn done(self) -> &'static str {
        self.symbol("✔", "+")
    }

    pub fn failed(self) -> &'static str {
        self.symbol("✖", "x")
    }

    pub fn skipped(self) -> &'static str {
        self.symbol("↷", "-")
    }

    pub fn pending(self) -> &'static str {
        self.symbol("·", ".")
    }

    pub fn warning(self) -> &'static str {
        "!"
    }

    /// The spinner's look at a moment, one step in each 80 ms.
    pub fn spinner(self, elapsed: std::time::Duration) -> &'static str {
        const UNICODE: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        const ASCII: [&str; 4] = ["|", "/", "-", "\\"];
        let frames: &[&str] = if self.unicode { &UNICODE } else { &ASCII };
        let tick = usize::try_from(elapsed.as_millis() / 80).unwrap_or_default();
        frames.get(tick % frames.len()).copied().unwrap_or_default()
    }

    /// A thin bar for a headline; it moves by half a cell.
    pub fn thin_bar(self, part: u128, whole: u128, width: usize) -> String {
        let halves = halves(part, whole, width);
        let (full, half, empty) = if self.unicode { ("━", "╸", "─") } else { ("=", ">", "-") };
        let (filled, odd) = (halves / 2, halves % 2);
        format!("{}{}{}", full.repeat(filled), half.repeat(odd), empty.repeat(width.saturating_sub(filled + odd)))
    }

    /// A bar of `width` cells.
    pub fn bar(self, part: u64, whole: u64, width: usize) -> String {
        let cells = u128::try_from(width).unwrap_or_default();
        let filled = if whole == 0 { 0 } else { u128::from(part.min(whole)) * cells / u128::from(whole) };
        let filled = usize::try_from(filled).unwrap_or_default();
        let (full, empty) = if self.unicode { ("█", "░") } else { ("#", "-") };
        format!("{}{}", full.repeat(filled), empty.repeat(width.saturating_sub(filled)))
    }
}

/// Half cells that a part of a whole takes in a bar.
fn halves(part: u128, whole: u128, width: usize) -> usize {
    let cells = u128::try_from(width).unwrap_or_default() * 2;
    let filled = (part.min(whole) * cells).checked_div(whole).unwrap_or_default();
    usize::try_from(filled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ASCII: Style = Style { color: false, unicode: false };
    const RICH: Style = Style { color: true, unicode: true };

    #[test]
    fn a_bar_is_full_only_when_all_is_there() {
        assert_eq!(ASCII.bar(0, 10, 4), "----");
        assert_eq!(ASCII.bar(9, 10, 4), "###-");
        assert_eq!(ASCII.bar(12, 10, 4), "####");
        assert_eq!(ASCII.bar(5, 0, 4), "----");
        assert_eq!(RICH.thin_bar(3, 8, 4), "━╸──");
        assert_eq!(ASCII.thin_bar(9, 8, 4), "====");
        assert_eq!(RICH.bar(u64::MAX / 2, u64::MAX, 4), "█░░░");
    }

    #[test]
    fn the_spinner_turns() {
        assert_eq!(ASCII.spinner(Duration::ZERO), "|");
        assert_eq!(ASCII.spinner(Duration::from_millis(80)), "/");
        assert_eq!(ASCII.spinner(Duration::from_millis(320)), "|");
    }
}
