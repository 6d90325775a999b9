//! `top`: what runs, by what it uses, in columns that give way in a fixed order, and what keys do to that. Pure.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::full_screen::Key;
use super::line::Line;
use super::status_screen::{Mood, mood};
use super::{Size, Style, Tone, text};
use crate::app::{Condition, Rates, Top, TopKind, TopRow};
use crate::words;

#[cfg(test)]
mod tests;

/// By what the rows are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    #[default]
    Cpu,
    Memory,
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Cpu,
    Memory,
    Limit,
    Received,
    Sent,
    Read,
    Written,
    Restarts,
    Up,
    Stack,
}

/// From left to right.
const COLUMNS: [Column; 12] = [
    Column::Name,
    Column::State,
    Column::Cpu,
    Column::Memory,
    Column::Limit,
    Column::Received,
    Column::Sent,
    Column::Read,
    Column::Written,
    Column::Restarts,
    Column::Up,
    Column::Stack,
];
/// What gives way first, and what after it. Name, CPU and memory stay.
const GIVE_WAY: [&[Column]; 7] = [
    &[Column::Stack],
    &[Column::Read, Column::Written],
    &[Column::Received, Column::Sent],
    &[Column::Restarts],
    &[Column::Limit],
    &[Column::Up],
    &[Column::State],
];
/// Columns between two fields.
const GAP: usize = 2;
/// Mark of the chosen row, sign, and a blank.
const FRONT: usize = 3;
/// Longer names are cut.
const NAME: usize = 24;
/// A name that gives way keeps at least this many columns.
const LEAST: usize = 6;
/// Lines of a log that are kept for its view.
const LOG: usize = 500;

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Cpu => "CPU",
            Self::Memory => "MEMORY",
            Self::Limit => "LIMIT",
            Self::Received => "NET IN/s",
            Self::Sent => "OUT/s",
            Self::Read => "READ/s",
            Self::Written => "WRITE/s",
            Self::Restarts => "RESTARTS",
            Self::Up => "UP",
            Self::Stack => "STACK",
        }
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Name | Self::State | Self::Stack)
    }

    /// Numbers have the same room at every reading, so that nothing moves.
    fn width(self, rows: &[&TopRow]) -> usize {
        let widest = |of: &dyn Fn(&TopRow) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
        match self {
            // with the mark of what they are sorted by
            Self::Name => widest(&|row| text::width(&row.name)).clamp(LEAST, NAME),
            Self::State => widest(&|row| text::width(state(row).1)).max(7),
            Self::Cpu => 7,
            Self::Memory | Self::Limit | Self::Restarts => 8,
            Self::Received | Self::Sent | Self::Read | Self::Written => 8,
            Self::Up => 4,
            Self::Stack => widest(&|row| text::width(&row.stack)).clamp(5, 16),
        }
    }

    fn cell(self, row: &TopRow) -> String {
        let used = |of: &dyn Fn(&Rates) -> String| row.usage.as_ref().map(of).unwrap_or_default();
        match self {
            Self::Name => row.name.clone(),
            Self::State => state(row).1.to_owned(),
            Self::Cpu => used(&|usage| format!("{:.1}%", usage.cpu_percent)),
            Self::Memory => used(&|usage| words::memory(usage.memory)),
            Self::Limit => used(&|usage| words::memory(usage.memory_limit)),
            Self::Received => used(&|usage| rate(usage.received_per_second)),
            Self::Sent => used(&|usage| rate(usage.sent_per_second)),
            Self::Read => used(&|usage| rate(usage.read_per_second)),
            Self::Written => used(&|usage| rate(usage.written_per_second)),
            Self::Restarts => row.restarts.to_string(),
            Self::Up if row.condition.runs() || runs(row) => row.seconds.map(text::short_age).unwrap_or_default(),
            Self::Up => String::new(),
            Self::Stack => row.stack.clone(),
        }
    }
}

fn rate(bytes: Option<u64>) -> String {
    match bytes {
        None => "-".to_owned(),
        Some(0) => "0".to_owned(),
        Some(bytes) => text::bytes(bytes),
    }
}

fn runs(row: &TopRow) -> bool {
    row.state.is_running()
}

fn state(row: &TopRow) -> (Mood, &'static str) {
    mood(row.condition, runs(row))
}

/// Which row is meant, wherever it stands.
type Id = (TopKind, String);

fn id(row: &TopRow) -> Id {
    (row.kind, row.name.clone())
}

/// What is to be done for a key, beyond the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Nothing,
    Quit,
    /// Follow the log of this one.
    Log(TopKind, String),
    EndLog,
    Restart(TopKind, String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    List,
    /// Letters go into the filter.
    Filter,
    /// Whether this one is to be restarted.
    Ask(Id),
    Log(String),
}

/// All that the picture depends on.
pub struct TopScreen {
    top: Top,
    sort: Sort,
    filter: String,
    chosen: Option<Id>,
    /// The first row that is shown.
    first: usize,
    /// Rows that fit.
    room: usize,
    mode: Mode,
    /// What came of the last order, until the next key.
    notice: Option<(Tone, String)>,
    /// Why the figures are old.
    problem: Option<String>,
    log: VecDeque<String>,
    /// Lines of the screen between the end of the log and the last one that is shown.
    back: usize,
}

impl TopScreen {
    pub fn new(top: Top, sort: Sort) -> Self {
        Self {
            top,
            sort,
            filter: String::new(),
            chosen: None,
            first: 0,
            room: 1,
            mode: Mode::List,
            notice: None,
            problem: None,
            log: VecDeque::new(),
            back: 0,
        }
    }

    pub fn now(&mut self, top: Top) {
        self.top = top;
        self.problem = None;
    }

    /// Nothing new is known.
    pub fn stale(&mut self, why: String) {
        self.problem = Some(why);
    }

    pub fn notice(&mut self, tone: Tone, said: String) {
        self.notice = Some((tone, said));
    }

    pub fn log_line(&mut self, line: &str) {
        while self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(text::clean_line(line));
    }

    /// The log begins again, from its end.
    pub fn clear_log(&mut self) {
        self.log.clear();
        self.back = 0;
    }

    fn rows(&self) -> Vec<&TopRow> {
        let wanted = self.filter.to_lowercase();
        let holds = |field: &str| field.to_lowercase().contains(&wanted);
        let mut rows: Vec<&TopRow> = self
            .top
            .services
            .iter()
            .filter(|row| holds(&row.name) || holds(&row.stack) || holds(state(row).1))
            .collect();
        rows.sort_by(|a, b| order(self.sort, a, b));
        rows
    }

    /// Of the rows that are shown, the chosen one; the first where there is none any more.
    fn at(&self, rows: &[&TopRow]) -> usize {
        let chosen = self.chosen.as_ref();
        rows.iter()
            .position(|row| chosen.is_some_and(|(kind, name)| row.kind == *kind && row.name == *name))
            .unwrap_or(0)
    }

    fn go(&mut self, to: impl Fn(usize) -> usize) {
        let rows = self.rows();
        let to = to(self.at(&rows)).min(rows.len().saturating_sub(1));
        let chosen = rows.get(to).map(|row| id(row));
        self.chosen = chosen;
    }

    pub fn key(&mut self, key: Key) -> Order {
        self.notice = None;
        match (std::mem::take(&mut self.mode), key) {
            (Mode::Log(_), Key::Char('q') | Key::Escape | Key::Enter) => {
                self.clear_log();
                return Order::EndLog;
            }
            (mode @ Mode::Log(_), key) => {
                self.mode = mode;
                self.scroll(key);
            }
            (Mode::Ask((kind, name)), Key::Char('y' | 'Y')) => return Order::Restart(kind, name),
            (Mode::Ask(_), _) => {}
            (Mode::Filter, Key::Enter) => {}
            (Mode::Filter, Key::Escape) => self.filter.clear(),
            (Mode::Filter, Key::Char(c)) => {
                self.filter.push(c);
                self.mode = Mode::Filter;
            }
            (Mode::Filter, Key::Backspace) => {
                self.filter.pop();
                self.mode = Mode::Filter;
            }
            (mode, key) => {
                self.mode = mode;
                return self.list_key(key);
            }
        }
        Order::Nothing
    }

    /// Further back in the log than there is, is as far back as there is: the next picture sees to it.
    fn scroll(&mut self, key: Key) {
        self.back = match key {
            Key::Up | Key::Char('k') => self.back.saturating_add(1),
            Key::Down | Key::Char('j') => self.back.saturating_sub(1),
            Key::PageUp => self.back.saturating_add(self.room),
            Key::PageDown => self.back.saturating_sub(self.room),
            Key::Home => usize::MAX,
            Key::End => 0,
            _ => self.back,
        };
    }

    fn list_key(&mut self, key: Key) -> Order {
        let room = self.room;
        match key {
            Key::Char('q') => return Order::Quit,
            Key::Char('c') => self.sort = Sort::Cpu,
            Key::Char('m') => self.sort = Sort::Memory,
            Key::Char('n') => self.sort = Sort::Name,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Escape => self.filter.clear(),
            Key::Up | Key::Char('k') => self.go(|at| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(|at| at + 1),
            Key::PageUp => self.go(|at| at.saturating_sub(room)),
            Key::PageDown => self.go(|at| at + room),
            Key::Home => self.go(|_| 0),
            Key::End => self.go(|_| usize::MAX),
            Key::Enter | Key::Char('r') => {
                let rows = self.rows();
                let Some((kind, name)) = rows.get(self.at(&rows)).map(|row| id(row)) else { return Order::Nothing };
                // it stays the one that is meant, wherever the next reading puts it
                self.chosen = Some((kind, name.clone()));
                if key == Key::Enter {
                    self.clear_log();
                    self.mode = Mode::Log(name.clone());
                    return Order::Log(kind, name);
                }
                self.mode = Mode::Ask((kind, name));
            }
            Key::Char(_) | Key::Backspace => {}
        }
        Order::Nothing
    }

    /// The whole picture: at most as many lines as the terminal has, each narrower than it.
    pub fn lines(&mut self, size: Size, style: Style) -> Vec<String> {
        // a character in the last column would be taken away by what clears the rest of the line
        let width = size.columns.saturating_sub(1).max(1);
        if let Mode::Log(name) = &self.mode {
            let name = name.clone();
            return self.log_lines(&name, width, size.rows, style);
        }
        let mut lines = head(&self.top, width, style);
        lines.extend(self.problem.as_ref().map(|why| style.paint(Tone::Bad, &text::fit(why, width, style))));
        let room = size.rows.saturating_sub(lines.len() + 2).max(1);
        let rows = self.rows();
        let at = self.at(&rows);
        // whoever has chosen nothing sees what uses the most
        let last = rows.len().saturating_sub(room);
        let first = self.first.min(last).min(at).max((at + 1).saturating_sub(room));
        let shown = first..(first + room).min(rows.len());
        let mut table = table(&rows, shown.clone(), Some(at), self.sort, width, style);
        if rows.is_empty() {
            let why = if self.filter.is_empty() { "nothing is running" } else { "the filter leaves nothing" };
            table.push(style.paint(Tone::Dim, &text::fit(why, width, style)));
        }
        let foot = self.foot(&shown, rows.len(), width, style);
        (self.first, self.room) = (first, room);
        lines.extend(table);
        // the last line of the terminal, so that it stays where it is
        lines.resize(lines.len().max(size.rows.saturating_sub(1)), String::new());
        lines.truncate(size.rows.saturating_sub(1));
        lines.push(foot);
        lines
    }

    fn foot(&self, shown: &std::ops::Range<usize>, all: usize, width: usize, style: Style) -> String {
        if let Mode::Ask((_, name)) = &self.mode {
            let question = text::fit(&format!("Restart {name}? y or n"), width, style);
            return style.paint(Tone::Bold, &question);
        }
        if let Some((tone, said)) = &self.notice {
            return style.paint(*tone, &text::fit(&text::clean_line(said), width, style));
        }
        let mut parts: Vec<String> = Vec::new();
        match &self.mode {
            Mode::Filter => {
                let typed = format!("filter: {}_  enter keep  esc clear", self.filter);
                return text::fit(&typed, width, style);
            }
            _ if !self.filter.is_empty() => parts.push(format!("filter: {} (esc)", self.filter)),
            _ => {}
        }
        if shown.len() < all {
            parts.push(format!("{}-{} of {all}", shown.start + 1, shown.end));
        }
        let keys = ["q quit", "enter log", "r restart", "/ filter", "c CPU", "m memory", "n name"];
        parts.extend(keys.map(str::to_owned));
        while parts.len() > 1 && text::width(&parts.join("  ")) > width {
            parts.pop();
        }
        style.paint(Tone::Dim, &text::fit(&parts.join("  "), width, style))
    }

    /// Lines that are too long are broken, since their cause often stands at the end.
    fn log_lines(&mut self, name: &str, width: usize, rows: usize, style: Style) -> Vec<String> {
        let mut lines = vec![style.paint(Tone::Bold, &text::fit(&format!("log of {name}"), width, style))];
        let room = rows.saturating_sub(2);
        let broken: Vec<String> = self.log.iter().flat_map(|line| text::wrap(line, width)).collect();
        self.room = room.max(1);
        self.back = self.back.min(broken.len().saturating_sub(room));
        let end = broken.len() - self.back;
        lines.extend(broken.into_iter().take(end).skip(end.saturating_sub(room)));
        if self.log.is_empty() {
            lines.push(style.paint(Tone::Dim, &text::fit("nothing was written", width, style)));
        }
        lines.resize(rows.saturating_sub(1), String::new());
        let older = if self.back > 0 { format!("{} below  ", self.back) } else { String::new() };
        lines.push(style.paint(Tone::Dim, &text::fit(&format!("{older}q back  up and down scroll"), width, style)));
        lines.truncate(rows.max(1));
        lines
    }
}

/// The table alone, for who looks once.
pub fn once(top: &Top, sorted: Sort, width: usize, style: Style) -> Vec<String> {
    let mut rows: Vec<&TopRow> = top.services.iter().collect();
    rows.sort_by(|a, b| order(sorted, a, b));
    let mut lines = head(top, width, style);
    lines.extend(table(&rows, 0..rows.len(), None, sorted, width, style));
    lines
}

/// What comes first: what does not run stands below what does, and those that are alike by their names.
pub fn order(by: Sort, a: &TopRow, b: &TopRow) -> Ordering {
    let used = |row: &TopRow| row.usage.unwrap_or_default();
    let idle = a.usage.is_none().cmp(&b.usage.is_none());
    let more = match by {
        Sort::Cpu => idle.then(used(b).cpu_percent.total_cmp(&used(a).cpu_percent)),
        Sort::Memory => idle.then(used(b).memory.cmp(&used(a).memory)),
        Sort::Name => Ordering::Equal,
    };
    more.then_with(|| (&a.name, a.kind).cmp(&(&b.name, b.kind)))
}

/// `macula · up 12m · 10 running, 1 failing`, and what platform and machine use.
fn head(top: &Top, width: usize, style: Style) -> Vec<String> {
    let dot = style.symbol(" · ", " - ");
    let platform = &top.platform;
    let count = |wanted: &dyn Fn(&TopRow) -> bool| top.services.iter().filter(|row| wanted(row)).count();
    let running =
        count(&|row| if row.condition == Condition::Unclaimed { runs(row) } else { row.condition.runs_well() });
    let failing = count(&|row| row.condition.is_problem());
    let mut counts = format!("{running} running");
    if failing > 0 {
        counts.push_str(&format!(", {failing} failing"));
    }
    let stopped = count(&|row| row.condition == Condition::Stopped);
    if stopped > 0 {
        counts.push_str(&format!(", {stopped} stopped"));
    }
    let since = match platform.up_seconds {
        _ if platform.down && running == 0 => "down".to_owned(),
        Some(seconds) => format!("up {}", text::short_age(seconds)),
        None => "up".to_owned(),
    };
    let title = [platform.name.clone(), since, counts].join(dot);
    let used = &top.total;
    let mut parts = vec![format!("platform {:.1}% CPU, {}", used.cpu_percent, words::memory(used.memory))];
    parts.extend(top.machine.map(|machine| {
        let (memory, whole) = (words::memory(machine.memory_used), words::memory(machine.memory));
        format!("machine {:.1}% of {}%, {memory} of {whole}", machine.cpu_percent, machine.cpus * 100)
    }));
    let together = parts.join(dot);
    let uses = if text::width(&together) <= width { vec![together] } else { parts };
    let mut lines = vec![style.paint(Tone::Bold, &text::fit(&title, width, style))];
    lines.extend(uses.iter().map(|line| text::fit(line, width, style)));
    lines
}

/// Titles and these rows. Widths are those of all rows, so that they stay when one scrolls.
fn table(
    rows: &[&TopRow],
    shown: std::ops::Range<usize>,
    chosen: Option<usize>,
    sorted: Sort,
    width: usize,
    style: Style,
) -> Vec<String> {
    let columns = columns(rows, width);
    let mark = match sorted {
        Sort::Cpu => Column::Cpu,
        Sort::Memory => Column::Memory,
        Sort::Name => Column::Name,
    };
    let mut lines = Vec::new();
    let mut titles = Line::default();
    titles.push(Tone::Plain, " ".repeat(FRONT));
    for (at, (column, wide)) in columns.iter().enumerate() {
        let arrow = if *column == mark { style.symbol("▾", "*") } else { "" };
        let tone = if *column == mark { Tone::Bold } else { Tone::Dim };
        field(&mut titles, at, tone, &format!("{}{arrow}", column.title()), *column, *wide, style);
    }
    lines.push(titles.render(style, width).trim_end().to_owned());
    for (number, row) in rows.iter().enumerate().skip(shown.start).take(shown.len()) {
        let chosen = chosen == Some(number);
        let (tone, sign) = state(row).0.look(style);
        let mut line = Line::default();
        line.push(Tone::Active, if chosen { style.symbol("▸", ">") } else { " " });
        line.push(tone, sign).push(Tone::Plain, " ");
        for (at, (column, wide)) in columns.iter().enumerate() {
            let tone = match column {
                Column::Name if chosen => Tone::Bold,
                Column::State => tone,
                Column::Restarts if row.restarts > 0 => Tone::Warn,
                Column::Stack => Tone::Dim,
                _ => Tone::Plain,
            };
            field(&mut line, at, tone, &column.cell(row), *column, *wide, style);
        }
        lines.push(line.render(style, width).trim_end().to_owned());
    }
    lines
}

fn field(line: &mut Line, at: usize, tone: Tone, cell: &str, column: Column, wide: usize, style: Style) {
    let cell = text::fit(cell, wide, style);
    let blanks = if at == 0 { 0 } else { GAP };
    let padded = if column.is_number() { text::pad_left(&cell, wide) } else { text::pad(&cell, wide) };
    line.push(Tone::Plain, " ".repeat(blanks));
    // only the text is in its color, so that an empty field is nothing but blanks
    match cell.is_empty() {
        true => line.push(Tone::Plain, padded),
        false => line.push(tone, padded),
    };
}

/// Those that fit, with their widths.
fn columns(rows: &[&TopRow], width: usize) -> Vec<(Column, usize)> {
    let mut all: Vec<(Column, usize)> = COLUMNS.map(|column| (column, column.width(rows))).into();
    let sum = |all: &[(Column, usize)]| {
        FRONT + all.iter().map(|(_, wide)| wide).sum::<usize>() + GAP * all.len().saturating_sub(1)
    };
    for group in GIVE_WAY {
        if sum(&all) <= width {
            break;
        }
        all.retain(|(column, _)| !group.contains(column));
    }
    let over = sum(&all).saturating_sub(width);
    if let Some((_, name)) = all.first_mut() {
        *name = name.saturating_sub(over).max(LEAST);
    }
    all
}
