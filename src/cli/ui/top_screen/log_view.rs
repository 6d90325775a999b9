//! A log as `top` shows it: the time in a column, long lines broken, as far back as is kept, and the lines with a word.
//! Pure.

use std::collections::VecDeque;

use crate::cli::ui::full_screen::Key;
use crate::cli::ui::{Style, Tone, text};

/// Lines that are kept.
const MOST: usize = 500;
/// `12:00:07 `
const TIME: usize = 9;
/// In a narrower terminal the time would leave nothing for the text.
const NARROW: usize = 40;

#[derive(Debug, Default)]
struct LogLine {
    /// `12:00:07`; empty where it is not known.
    time: String,
    text: String,
}

/// The log of one row.
#[derive(Debug, Default)]
pub struct LogView {
    name: String,
    lines: VecDeque<LogLine>,
    /// Only lines with it, whatever the case of its letters.
    search: String,
    /// Letters go into the search.
    typing: bool,
    /// Lines of the screen between the end of the log and the last one that is shown.
    back: usize,
    /// Lines that fit.
    room: usize,
    /// How the last picture had them: with times, and in how many columns.
    shape: (bool, usize),
}

impl LogView {
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// `time`: RFC 3339 in UTC, or nothing.
    pub fn add(&mut self, time: &str, line: &str) {
        while self.lines.len() >= MOST {
            self.lines.pop_front();
        }
        let time = time.split_once('T').and_then(|(_, clock)| clock.get(..8)).unwrap_or_default();
        let line = LogLine { time: text::clean_line(time), text: text::clean_line(line) };
        // what is being read stays where it is
        if self.back > 0 && self.is_wanted(&line) {
            let (timed, width) = self.shape;
            self.back = self.back.saturating_add(drawn(&line, timed, width, Style::default()).len());
        }
        self.lines.push_back(line);
    }

    fn is_wanted(&self, line: &LogLine) -> bool {
        line.text.to_lowercase().contains(&self.search.to_lowercase())
    }

    /// True: back to the list.
    pub fn key(&mut self, key: Key) -> bool {
        if self.typing {
            self.back = 0;
            match key {
                Key::Enter => self.typing = false,
                Key::Escape => {
                    self.typing = false;
                    self.search.clear();
                }
                Key::Backspace => drop(self.search.pop()),
                Key::Char(c) => self.search.push(c),
                _ => {}
            }
            return false;
        }
        // further back than there is, is as far back as there is: the next picture sees to it
        self.back = match key {
            Key::Char('q') | Key::Enter => return true,
            Key::Escape if self.search.is_empty() => return true,
            Key::Escape => {
                self.search.clear();
                0
            }
            Key::Char('/') => {
                self.typing = true;
                0
            }
            Key::Up | Key::Char('k') => self.back.saturating_add(1),
            Key::Down | Key::Char('j') => self.back.saturating_sub(1),
            Key::PageUp => self.back.saturating_add(self.room),
            Key::PageDown => self.back.saturating_sub(self.room),
            Key::Home => usize::MAX,
            Key::End => 0,
            _ => self.back,
        };
        false
    }

    /// Lines that are too long are broken, since their cause often stands at the end.
    pub fn lines(&mut self, width: usize, rows: usize, style: Style) -> Vec<String> {
        let found: Vec<&LogLine> = self.lines.iter().filter(|line| self.is_wanted(line)).collect();
        let timed = width >= NARROW && found.iter().any(|line| !line.time.is_empty());
        let room = rows.saturating_sub(2);
        let broken: Vec<String> = found.iter().flat_map(|line| drawn(line, timed, width, style)).collect();
        (self.room, self.shape) = (room.max(1), (timed, width));
        self.back = self.back.min(broken.len().saturating_sub(room));
        let end = broken.len() - self.back;
        let zone = if timed { ", times in UTC" } else { "" };
        let title = format!("log of {}{zone}", self.name);
        let mut lines = vec![style.paint(Tone::Bold, &text::fit(&title, width, style))];
        lines.extend(broken.into_iter().take(end).skip(end.saturating_sub(room)));
        if lines.len() == 1 {
            let why = match self.search.is_empty() {
                true => "nothing was written".to_owned(),
                false => format!("none of the last {} has this text", text::count(self.lines.len(), "line")),
            };
            lines.push(style.paint(Tone::Dim, &text::fit(&why, width, style)));
        }
        lines.resize(rows.saturating_sub(1), String::new());
        lines.push(self.foot(found.len(), width, style));
        lines.truncate(rows.max(1));
        lines
    }

    fn foot(&self, found: usize, width: usize, style: Style) -> String {
        if self.typing {
            return text::fit(&format!("search: {}_  enter keep  esc clear", self.search), width, style);
        }
        let mut parts: Vec<String> = Vec::new();
        if !self.search.is_empty() {
            parts.push(format!("{found} with {} (esc)", self.search));
        }
        if self.back > 0 {
            parts.push(format!("{} below", self.back));
        }
        parts.extend(["q back", "/ search", "up, page up scroll"].map(str::to_owned));
        style.paint(Tone::Dim, &text::fit(&parts.join("  "), width, style))
    }
}

/// One line of the log, as lines of the screen.
fn drawn(line: &LogLine, timed: bool, width: usize, style: Style) -> Vec<String> {
    let indent = if timed { TIME } else { 0 };
    let mut parts = text::wrap(&line.text, width.saturating_sub(indent));
    if parts.is_empty() {
        parts.push(String::new());
    }
    let first = |at: usize| if at == 0 { line.time.as_str() } else { "" };
    let front = |at: usize| match timed {
        true => style.paint(Tone::Dim, &text::pad(first(at), indent)),
        false => String::new(),
    };
    parts.iter().enumerate().map(|(at, part)| format!("{}{part}", front(at)).trim_end().to_owned()).collect()
}
