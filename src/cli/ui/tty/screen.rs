//! The bytes of one picture. The cursor rests in the first column below the tree, so that whatever
//! ends us leaves a usable line; the next picture moves up over the rows of the last one.

use crate::cli::ui::{Size, held, text};

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// Synchronized output: the terminal shows the whole picture at once; others ignore it
/// (<https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036>).
const BEGIN_UPDATE: &str = "\x1b[?2026h";
const END_UPDATE: &str = "\x1b[?2026l";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// So many pictures may be drawn over each other where they differ. Then one is drawn as a whole, about every second:
/// a key that somebody pressed may have moved what stands there.
const PATCHES: u8 = 12;

/// What stands on the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    /// This process's own terminal, whose cursor must be restored whatever happens.
    own: bool,
    drawn: Vec<String>,
    /// Of the terminal when that was drawn.
    columns: usize,
    hidden: bool,
    /// Pictures since the last one that was drawn as a whole.
    patched: u8,
}

impl Screen {
    pub fn new(own: bool) -> Self {
        Self { own, drawn: Vec::new(), columns: 0, hidden: false, patched: 0 }
    }

    pub fn of_this_process(&self) -> bool {
        self.own
    }

    /// From what is drawn to `lines`, with `notes` above them for good. When it is no longer live,
    /// the lines stay, too, and the cursor shows.
    pub fn frame(&mut self, notes: &[String], lines: &[String], size: Size, live: bool) -> String {
        if self.own && held::tree_is_afresh() {
            self.drawn.clear();
            self.hidden = false;
        }
        let redraw = !notes.is_empty() || self.drawn != lines || (!lines.is_empty() && self.columns != size.columns);
        let mut out = String::new();
        if redraw {
            out.push_str(BEGIN_UPDATE);
            if live && !self.hidden {
                out.push_str(HIDE_CURSOR);
                self.set_hidden(true);
            }
            let rows = self.rows(size.columns);
            // what is taller than the terminal does not stand where it stood; the last picture stays, and is whole
            let patch = live
                && notes.is_empty()
                && self.columns == size.columns
                && rows < size.rows
                && self.patched < PATCHES
                && !self.drawn.is_empty();
            self.patched = if patch { self.patched + 1 } else { 0 };
            if rows > 0 {
                out.push_str(&format!("\x1b[{rows}A\r"));
            }
            // a note may wrap, so its end cannot be cleared behind it; and rows that a new width has
            // wrapped must not be taken for one line later
            if !notes.is_empty() || self.columns != size.columns {
                out.push_str(CLEAR_BELOW);
            }
            for note in notes {
                out.push_str(&note.replace('\n', "\r\n"));
                out.push_str("\r\n");
            }
            // whether the next line begins on the row on which it began before
            let mut aligned = patch;
            for (at, line) in lines.iter().enumerate() {
                let rows = height(line, size.columns);
                let before = self.drawn.get(at).filter(|_| aligned);
                if before == Some(line) {
                    out.push_str(&"\r\n".repeat(rows));
                    continue;
                }
                aligned = before.is_some_and(|before| height(before, size.columns) == rows);
                out.push_str(line);
                out.push_str(CLEAR_LINE);
                out.push_str("\r\n");
            }
            out.push_str(CLEAR_BELOW);
            out.push_str(END_UPDATE);
            self.drawn = lines.to_vec();
            self.columns = size.columns;
        }
        if !live {
            if self.hidden {
                out.push_str(SHOW_CURSOR);
                self.set_hidden(false);
            }
            self.drawn.clear();
        }
        out
    }

    /// Lines that will give way to others. The cursor stays as it is: a command that only looks ends at once on
    /// Ctrl-C, and nothing would show it again.
    pub fn draft(&mut self, lines: &[String], size: Size) -> String {
        let hidden = std::mem::replace(&mut self.hidden, true);
        let frame = self.frame(&[], lines, size, true);
        self.hidden = hidden;
        frame
    }

    /// Rows that the lines take by now: a terminal that became narrower has wrapped them.
    fn rows(&self, columns: usize) -> usize {
        self.drawn.iter().map(|line| height(line, columns)).sum()
    }

    fn set_hidden(&mut self, hidden: bool) {
        self.hidden = hidden;
        if self.own {
            held::note_cursor(hidden);
        }
    }
}

/// Of more lines than fit the first ones, and the last, which says what is still asked for. A line that is wider than
/// the terminal takes several of its rows.
pub(super) fn fitting(lines: &[String], size: Size) -> Vec<String> {
    let Some((last, before)) = lines.split_last() else { return Vec::new() };
    // the cursor rests on a row of its own
    let mut room = size.rows.saturating_sub(1 + height(last, size.columns));
    let mut shown = Vec::new();
    for line in before {
        let Some(left) = room.checked_sub(height(line, size.columns)) else { break };
        room = left;
        shown.push(line.clone());
    }
    shown.push(last.clone());
    shown
}

/// Rows that a line takes.
fn height(line: &str, columns: usize) -> usize {
    text::width(&text::clean_line(line)).div_ceil(columns.max(1)).max(1)
}
