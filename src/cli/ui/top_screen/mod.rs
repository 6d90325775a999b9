//! `top`: what runs, by what it uses, in columns that give way in a fixed order, and what keys do to that. Pure.

use std::cmp::Ordering;

use super::full_screen::Key;
use super::line::Line;
use super::status_screen::{Mood, counted, mood};
use super::{Size, Style, Tone, text};
use crate::app::{Condition, Rates, Top, TopKind, TopRow};
use crate::words;
use log_view::LogView;

mod log_view;
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
    Requests,
    Received,
    Sent,
    Read,
    Written,
    Restarts,
    Up,
    Stack,
    Reason,
}

/// From left to right.
const COLUMNS: [Column; 14] = [
    Column::Name,
    Column::State,
    Column::Cpu,
    Column::Memory,
    Column::Limit,
    Column::Requests,
    Column::Received,
    Column::Sent,
    Column::Read,
    Column::Written,
    Column::Restarts,
    Column::Up,
    Column::Stack,
    Column::Reason,
];
/// What gives way first, and what after it. Name, CPU and memory stay.
const GIVE_WAY: [&[Column]; 9] = [
    &[Column::Stack],
    &[Column::Reason],
    &[Column::Read, Column::Written],
    &[Column::Received, Column::Sent],
    &[Column::Restarts],
    &[Column::Limit],
    &[Column::Requests],
    &[Column::Up],
    &[Column::State],
];
/// Columns between two fields.
const GAP: usize = 2;
/// Mark of the chosen row, sign, and a blank.
const FRONT: usize = 3;
/// Longer names are cut.
const NAME: usize = 24;
/// The same of reasons, which are at the end of their line.
const REASON: usize = 40;
/// A name that gives way keeps at least this many columns.
const LEAST: usize = 6;
/// All keys of the list and of the log: what `?` shows.
const HELP: [(&str, &str); 14] = [
    ("arrows, j, k", "choose a row"),
    ("page keys", "a screen further"),
    ("home, end", "first, last row"),
    ("enter", "log of the chosen row"),
    ("r", "restart it, if you say y"),
    ("/", "filter by name or state"),
    ("esc", "end the filter"),
    ("c, m, n", "sort: CPU, memory, name"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("in a log", ""),
    ("arrows, home", "go back in it"),
    ("/", "only lines with a text"),
    ("q, esc", "back to the list"),
];

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Cpu => "CPU",
            Self::Memory => "MEMORY",
            Self::Limit => "LIMIT",
            Self::Requests => "REQ/s",
            Self::Received => "NET IN/s",
            Self::Sent => "OUT/s",
            Self::Read => "READ/s",
            Self::Written => "WRITE/s",
            Self::Restarts => "RESTARTS",
            Self::Up => "UP",
            Self::Stack => "STACK",
            Self::Reason => "REASON",
        }
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Name | Self::State | Self::Stack | Self::Reason)
    }

    /// Numbers have the same room at every reading, so that nothing moves.
    fn width(self, rows: &[&TopRow]) -> usize {
        let widest = |of: &dyn Fn(&TopRow) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
        match self {
            // with the mark of what they are sorted by
            Self::Name => widest(&|row| text::width(&row.name)).clamp(LEAST, NAME),
            Self::State => widest(&|row| text::width(state(row).1)).max(7),
            Self::Cpu | Self::Requests => 7,
            Self::Memory | Self::Limit | Self::Restarts => 8,
            Self::Received | Self::Sent | Self::Read | Self::Written => 8,
            Self::Up => 4,
            Self::Stack => widest(&|row| text::width(&row.stack)).clamp(5, 16),
            Self::Reason => widest(&|row| text::width(&reason(row))).clamp(6, REASON),
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
            Self::Requests => row.requests_per_second.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
            Self::Received => used(&|usage| rate(usage.received_per_second)),
            Self::Sent => used(&|usage| rate(usage.sent_per_second)),
            Self::Read => used(&|usage| rate(usage.read_per_second)),
            Self::Written => used(&|usage| rate(usage.written_per_second)),
            Self::Restarts => row.restarts.to_string(),
            Self::Up if row.condition.runs() || runs(row) => row.seconds.map(text::short_age).unwrap_or_default(),
            Self::Up => String::new(),
            Self::Stack => row.stack.clone(),
            Self::Reason => reason(row),
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
    match (row.kind, row.condition) {
        // how it has ended is known to whoever has started it
        (TopKind::Program, Condition::Finished) => (Mood::Idle, "ended"),
        (_, condition) => mood(condition, runs(row)),
    }
}

fn reason(row: &TopRow) -> String {
    text::clean_line(row.reason.as_deref().unwrap_or_default())
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
    Log,
    Help,
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
    log: LogView,
}

impl TopScreen {
    pub fn new(top: Top, sort: Sort) -> Self {
        let mut screen = Self {
            top,
            sort,
            filter: String::new(),
            chosen: None,
            first: 0,
            room: 1,
            mode: Mode::List,
            notice: None,
            problem: None,
            log: LogView::default(),
        };
        screen.stay();
        screen
    }

    pub fn now(&mut self, top: Top) {
        self.top = top;
        self.problem = None;
        self.stay();
    }

    /// A row stays chosen wherever it goes; the first one is where there is none.
    fn stay(&mut self) {
        let there = |(kind, name): &Id| self.top.services.iter().any(|row| row.kind == *kind && row.name == *name);
        if !self.chosen.as_ref().is_some_and(there) {
            self.chosen = self.rows().first().map(|row| id(row));
        }
    }

    /// Nothing new is known.
    pub fn stale(&mut self, why: String) {
        self.problem = Some(why);
    }

    pub fn notice(&mut self, tone: Tone, said: String) {
        self.notice = Some((tone, said));
    }

    /// `time`: as the engine writes it, where it is known.
    pub fn log_line(&mut self, time: &str, line: &str) {
        self.log.add(time, line);
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
            (Mode::Log, key) => {
                if self.log.key(key) {
                    return Order::EndLog;
                }
                self.mode = Mode::Log;
            }
            (Mode::Help, Key::Char('q') | Key::Escape | Key::Char('?') | Key::Enter) => {}
            (Mode::Help, _) => self.mode = Mode::Help,
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

    fn list_key(&mut self, key: Key) -> Order {
        let room = self.room;
        match key {
            Key::Char('q') => return Order::Quit,
            Key::Char('c') => self.sort = Sort::Cpu,
            Key::Char('m') => self.sort = Sort::Memory,
            Key::Char('n') => self.sort = Sort::Name,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Escape => self.filter.clear(),
            Key::Up | Key::Char('k') => self.go(|at| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(|at| at + 1),
            Key::PageUp => self.go(|at| at.saturating_sub(room)),
            Key::PageDown => self.go(|at| at + room),
            Key::Home => self.go(|_| 0),
            Key::End => self.go(|_| usize::MAX),
            Key::Enter | Key::Char('r') => {
                let rows = self.rows();
                let Some(row) = rows.get(self.at(&rows)) else { return Order::Nothing };
                let ((kind, name), why) = (id(row), self.refusal(row, key));
                // it stays the one that is meant, wherever the next reading puts it
                self.chosen = Some((kind, name.clone()));
                if let Some(why) = why {
                    self.notice = Some((Tone::Warn, why));
                    return Order::Nothing;
                }
                if key == Key::Enter {
                    self.log = LogView::of(&name);
                    self.mode = Mode::Log;
                    return Order::Log(kind, name);
                }
                self.mode = Mode::Ask((kind, name));
            }
            Key::Char(_) | Key::Backspace => {}
        }
        Order::Nothing
    }

    /// Why neither can be done to this one.
    fn refusal(&self, row: &TopRow, key: Key) -> Option<String> {
        let name = &row.name;
        match (row.kind, row.condition) {
            (_, Condition::LeftOut) => {
                let why = reason(row);
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                Some(format!("{name} is left out{why}"))
            }
            (TopKind::Program, _) if key != Key::Enter => {
                Some(format!("{name} belongs to the `macula run` that started it, in its terminal"))
            }
            _ => None,
        }
    }

    /// The whole picture: at most as many lines as the terminal has, each narrower than it.
    pub fn lines(&mut self, size: Size, style: Style) -> Vec<String> {
        // a character in the last column would be taken away by what clears the rest of the line
        let width = size.columns.saturating_sub(1).max(1);
        match self.mode {
            Mode::Log => return self.log.lines(width, size.rows, style),
            Mode::Help => return help(width, size.rows, style),
            _ => {}
        }
        let mut lines = head(&self.top, width, style);
        lines.extend(self.problem.as_ref().map(|why| style.paint(Tone::Bad, &text::fit(why, width, style))));
        let rows = self.rows();
        let at = self.at(&rows);
        // what is wrong with the chosen one has a line of its own where it has no column
        let shown = columns(&rows, width).iter().any(|(column, _)| *column == Column::Reason);
        let why = rows.get(at).map(|row| (row.name.clone(), reason(row), state(row).0));
        let why = why.filter(|(_, why, _)| !why.is_empty() && !shown && size.rows > 8);
        let room = size.rows.saturating_sub(lines.len() + 2 + usize::from(why.is_some())).max(1);
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
        if let (Some((name, why, mood)), Some(line)) = (why, lines.last_mut()) {
            let tone = mood.look(style).0;
            *line = style.paint(tone, &text::fit(&format!("{name}: {why}"), width, style));
        }
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
        let keys = ["q quit", "? keys", "enter log", "r restart", "/ filter", "c CPU", "m memory", "n name"];
        parts.extend(keys.map(str::to_owned));
        while parts.len() > 1 && text::width(&parts.join("  ")) > width {
            parts.pop();
        }
        style.paint(Tone::Dim, &text::fit(&parts.join("  "), width, style))
    }
}

/// All keys, on a screen of their own.
fn help(width: usize, rows: usize, style: Style) -> Vec<String> {
    let keys = HELP.iter().map(|(key, _)| text::width(key)).max().unwrap_or(0);
    let mut lines = vec![style.paint(Tone::Bold, &text::fit("keys", width, style))];
    for (key, does) in HELP {
        let line = format!("{}  {does}", text::pad(key, keys));
        lines.push(text::fit(line.trim_end(), width, style));
    }
    lines.resize(lines.len().max(rows.saturating_sub(1)), String::new());
    lines.truncate(rows.saturating_sub(1));
    lines.push(style.paint(Tone::Dim, &text::fit("q back", width, style)));
    lines
}

/// The table alone, for who looks once.
pub fn once(top: &Top, sorted: Sort, width: usize, style: Style) -> Vec<String> {
    let mut rows: Vec<&TopRow> = top.services.iter().collect();
    rows.sort_by(|a, b| order(sorted, a, b));
    let mut lines = head(top, width, style);
    lines.extend(table(&rows, 0..rows.len(), None, sorted, width, style));
    lines
}

/// What comes first: what is wrong, and what does not run stands below what does; those that are alike by their names.
pub fn order(by: Sort, a: &TopRow, b: &TopRow) -> Ordering {
    let used = |row: &TopRow| row.usage.unwrap_or_default();
    let place = |row: &TopRow| match row.condition {
        condition if condition.is_problem() => 0,
        Condition::LeftOut => 4,
        Condition::Finished => 3,
        _ if by != Sort::Name && row.usage.is_none() => 2,
        _ => 1,
    };
    let more = match by {
        Sort::Cpu => used(b).cpu_percent.total_cmp(&used(a).cpu_percent),
        Sort::Memory => used(b).memory.cmp(&used(a).memory),
        Sort::Name => Ordering::Equal,
    };
    place(a).cmp(&place(b)).then(more).then_with(|| (&a.name, a.kind).cmp(&(&b.name, b.kind)))
}

/// `macula · up 12m · 10 running, 1 failing`, and what platform and machine use.
fn head(top: &Top, width: usize, style: Style) -> Vec<String> {
    let dot = style.symbol(" · ", " - ");
    let platform = &top.platform;
    let since = match platform.up_seconds {
        _ if platform.down && top.counts.running == 0 => "down".to_owned(),
        Some(seconds) => format!("up {}", text::short_age(seconds)),
        None => "up".to_owned(),
    };
    let title = [platform.name.clone(), since, counted(top.counts)].join(dot);
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
                Column::Stack | Column::Reason => Tone::Dim,
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
    if rows.iter().all(|row| row.reason.is_none()) {
        all.retain(|(column, _)| *column != Column::Reason);
    }
    if rows.iter().all(|row| row.requests_per_second.is_none()) {
        all.retain(|(column, _)| *column != Column::Requests);
    }
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
