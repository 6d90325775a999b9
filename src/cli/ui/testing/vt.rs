//! As much of a terminal as our frames use: text, cursor up, clearing, and lines that wrap anew
//! when the width changes.

use unicode_width::UnicodeWidthChar;

/// Behind the first cell of a character that takes two.
const SECOND_HALF: char = '\0';

pub struct Vt {
    columns: usize,
    rows: usize,
    /// As written, before they wrap.
    lines: Vec<Vec<char>>,
    /// Line, and cell in it.
    cursor: (usize, usize),
    pub cursor_visible: bool,
}

impl Vt {
    pub fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, lines: vec![Vec::new()], cursor: (0, 0), cursor_visible: true }
    }

    pub fn resize(&mut self, columns: usize, rows: usize) {
        (self.columns, self.rows) = (columns, rows);
    }

    /// Everything that was written, what scrolled off included.
    pub fn history(&self) -> String {
        self.text(0)
    }

    /// What one sees.
    pub fn screen(&self) -> String {
        self.text(self.top())
    }

    fn text(&self, from: usize) -> String {
        let mut rows = Vec::new();
        for line in &self.lines {
            let chunks = line.chunks(self.columns).map(|cells| cells.iter().filter(|c| **c != SECOND_HALF).collect());
            let wrapped: Vec<String> = chunks.collect();
            rows.extend(if wrapped.is_empty() { vec![String::new()] } else { wrapped });
        }
        let rows: Vec<&str> = rows.iter().skip(from).map(|row| row.trim_end()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    fn height(&self, line: &[char]) -> usize {
        line.len().div_ceil(self.columns).max(1)
    }

    /// The first row that is not scrolled off.
    fn top(&self) -> usize {
        let all: usize = self.lines.iter().map(|line| self.height(line)).sum();
        all.saturating_sub(self.rows)
    }

    /// Row of the cursor within its line: a full row holds the cursor until more is written.
    fn wrapped_row(&self) -> usize {
        let (line, cell) = self.cursor;
        let full = cell > 0 && cell % self.columns == 0 && cell == self.lines[line].len();
        cell / self.columns - usize::from(full)
    }

    fn row(&self) -> usize {
        let above: usize = self.lines[..self.cursor.0].iter().map(|line| self.height(line)).sum();
        above + self.wrapped_row()
    }

    /// To the first column of a row.
    fn go(&mut self, row: usize) {
        let mut left = row;
        for at in 0..self.lines.len() {
            let height = self.height(&self.lines[at]);
            if left < height {
                self.cursor = (at, left * self.columns);
                return;
            }
            left -= height;
        }
        self.lines.push(Vec::new());
        self.cursor = (self.lines.len() - 1, 0);
    }

    fn put(&mut self, c: char) {
        let (line, cell) = self.cursor;
        let cells = &mut self.lines[line];
        for (at, c) in [c, SECOND_HALF].into_iter().take(c.width().unwrap_or(0)).enumerate() {
            if cells.len() <= cell + at {
                cells.resize(cell + at + 1, ' ');
            }
            cells[cell + at] = c;
            self.cursor.1 = cell + at + 1;
        }
    }

    pub fn write(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.cursor.1 = self.wrapped_row() * self.columns,
                '\n' => self.go(self.row() + 1),
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['), "an escape that is no CSI");
                    let mut parameters = String::new();
                    let last = loop {
                        match chars.next().expect("a whole sequence") {
                            c if c.is_ascii_alphabetic() => break c,
                            c => parameters.push(c),
                        }
                    };
                    self.control(&parameters, last);
                }
                c => self.put(c),
            }
        }
    }

    fn control(&mut self, parameters: &str, last: char) {
        let (line, cell) = self.cursor;
        match (parameters, last) {
            (_, 'm') | ("?2026", 'h' | 'l') => {}
            ("?25", 'h') => self.cursor_visible = true,
            ("?25", 'l') => self.cursor_visible = false,
            (rows, 'A') => {
                let rows: usize = rows.parse().unwrap();
                self.go(self.row().saturating_sub(rows).max(self.top()));
            }
            // to the end of the row: cells of rows below, which the line wrapped to, stay
            ("", 'K') => {
                let end = ((cell / self.columns + 1) * self.columns).min(self.lines[line].len());
                if end == self.lines[line].len() {
                    self.lines[line].truncate(cell);
                } else {
                    self.lines[line][cell..end].fill(' ');
                }
            }
            ("", 'J') => {
                self.lines[line].truncate(cell);
                self.lines.truncate(line + 1);
            }
            other => panic!("a sequence that we do not use: {other:?}"),
        }
    }
}
