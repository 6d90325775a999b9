//! A line of output, of which pieces mean different things.

use super::{Style, Tone, text};

/// One line of output in pieces, each with its tone; cut to a width when it is rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    pub fn push(&mut self, tone: Tone, text: impl Into<String>) -> &mut Self {
        self.0.push((tone, text.into()));
        self
    }

    /// Everything of another line behind it.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, piece)| text::width(piece)).sum()
    }

    /// At most `width` columns; what is cut shows as `…` or `..`.
    pub fn render(&self, style: Style, width: usize) -> String {
        if self.width() <= width {
            return self.0.iter().map(|(tone, piece)| style.paint(*tone, piece)).collect();
        }
        let mark = text::cut_mark(width, style);
        let mut left = width - text::width(mark);
        let mut out = String::new();
        for (tone, piece) in &self.0 {
            if text::width(piece) > left {
                out.push_str(&style.paint(*tone, &format!("{}{mark}", text::head(piece, left))));
                break;
            }
            left -= text::width(piece);
            out.push_str(&style.paint(*tone, piece));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: Style = Style { color: false, unicode: false };
    const RICH: Style = Style { color: true, unicode: true };

    #[test]
    fn a_line_is_cut_at_the_width_with_a_mark() {
        let mut line = Line::default();
        line.push(Tone::Good, "ok").push(Tone::Plain, " ").push(Tone::Bad, "worse");
        assert_eq!(line.render(ASCII, 8), "ok worse");
        assert_eq!(line.render(ASCII, 7), "ok wo..");
        assert_eq!(line.render(RICH, 7), "\x1b[32mok\x1b[0m \x1b[31mwor…\x1b[0m");
        assert_eq!(line.render(RICH, 3), "\x1b[32mok\x1b[0m…");
        assert_eq!(line.render(RICH, 0), "");
        assert_eq!(line.width(), 8);
    }
}
