//! `status` for people: a head line, what is wrong first, and columns that give way in a fixed order.
//! Pure.

use super::left_out::Cause;
use super::line::Line;
use super::{Style, Tone, text};
use crate::app::{Condition, Counts};
use crate::model::{Invocation, MaculaCommand, macula};

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub mood: Mood,
    /// `healthy 12m`, `restarting, 7x`
    pub state: String,
    /// Where it is reached, the URL first, unless `nameless`.
    pub url: Option<String>,
    pub address: Option<String>,
    /// Names do not resolve on this machine.
    pub nameless: bool,
    /// What is wrong, and the command to look at it.
    pub reason: Option<String>,
    pub command: Option<MaculaCommand>,
    /// CPU and memory, where they were asked for.
    pub usage: Option<(String, String)>,
    /// Where its image comes from; shown with `-v`.
    pub image: Option<String>,
    pub note: Option<String>,
    /// From a stack of the user's, or a process.
    pub own: bool,
    /// Its condition is another one than at the last look.
    pub changed: bool,
}

impl Row {
    /// What stands first, and what behind it.
    fn reached(&self) -> (Option<&String>, Option<&String>) {
        reached(self.url.as_ref(), self.address.as_ref(), self.nameless)
    }
}

/// A URL and an address, what works first: where names do not resolve that is the address.
pub(super) fn reached<'a>(
    url: Option<&'a String>,
    address: Option<&'a String>,
    nameless: bool,
) -> (Option<&'a String>, Option<&'a String>) {
    match (url, address) {
        (Some(url), Some(address)) if nameless => (Some(address), Some(url)),
        (Some(url), address) => (Some(url), address),
        (None, address) => (address, None),
    }
}

/// How a row is meant; sign and color follow from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    Bad,
    /// Not as it should be, and nothing is broken.
    Idle,
    Busy,
    #[default]
    Good,
}

impl Mood {
    /// What asks for attention stands first.
    fn rank(self) -> u8 {
        match self {
            Self::Bad => 0,
            Self::Idle => 1,
            Self::Busy | Self::Good => 2,
        }
    }

    pub(super) fn look(self, style: Style) -> (Tone, &'static str) {
        match self {
            Self::Bad => (Tone::Bad, style.failed()),
            Self::Idle => (Tone::Dim, style.symbol("○", "o")),
            Self::Busy => (Tone::Warn, style.symbol("◌", "~")),
            Self::Good => (Tone::Good, style.done()),
        }
    }
}

/// How a service is, in a word. `running`: one that no stack names still does.
pub fn mood(condition: Condition, running: bool) -> (Mood, &'static str) {
    match condition {
        Condition::Healthy => (Mood::Good, "healthy"),
        Condition::Running => (Mood::Good, "running"),
        Condition::Finished => (Mood::Good, "done"),
        Condition::Starting => (Mood::Busy, "starting"),
        Condition::Restarting => (Mood::Bad, "restarting"),
        Condition::Unhealthy => (Mood::Bad, "unhealthy"),
        Condition::Crashed => (Mood::Bad, "crashed"),
        Condition::OutOfMemory => (Mood::Bad, "out of memory"),
        Condition::Gone => (Mood::Bad, "gone"),
        Condition::Created => (Mood::Idle, "never started"),
        Condition::Paused => (Mood::Idle, "paused"),
        Condition::Stopped => (Mood::Idle, "stopped"),
        Condition::Missing => (Mood::Idle, "not started"),
        Condition::LeftOut => (Mood::Idle, "left out"),
        Condition::Unclaimed if running => (Mood::Good, "running"),
        Condition::Unclaimed => (Mood::Idle, "stopped"),
    }
}

/// `12 running, 1 failing, 2 stopped`
pub fn counted(counts: Counts) -> String {
    let Counts { running, failing, gone, stopped, paused, never_started } = counts;
    let mut all = vec![format!("{running} running")];
    let more = [
        (failing, "failing"),
        (gone, "gone"),
        (stopped, "stopped"),
        (paused, "paused"),
        (never_started, "never started"),
    ];
    all.extend(more.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")));
    all.join(", ")
}

/// Everything that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// `macula`, `up 12m`, `10 running`, ...
    pub head: Vec<String>,
    pub rows: Vec<Row>,
    /// What runs well and has no address.
    pub quiet: Vec<String>,
    /// Jobs that have done their work.
    pub finished: Vec<String>,
    pub left_out: Vec<Cause>,
    /// Services that are not part of what is up.
    pub not_started: Vec<String>,
    /// Further lines: the cluster, the names, what `up` would change.
    pub notes: Vec<Note>,
    /// What the commands have to repeat.
    pub invocation: Invocation,
}

/// A line, and what to type about it.
pub type Note = (String, Option<MaculaCommand>);

/// Columns between two fields.
const GAP: usize = 2;
/// Longer names are cut.
const NAME: usize = 24;

impl Screen {
    /// Lines of at most `width` columns, but for a note's command, which is never cut.
    pub fn lines(&self, width: usize, style: Style) -> Vec<String> {
        let dot = style.symbol(" · ", " - ");
        let mut out = vec![];
        for (at, line) in text::wrap(&self.head.join(dot), width).into_iter().enumerate() {
            out.push(style.paint(if at == 0 { Tone::Bold } else { Tone::Plain }, &line));
        }
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.mood.rank(), !row.own, row.name.as_str()));
        let widths = Widths::of(&rows, width);
        for row in rows {
            let command = row.command.as_ref().map(|command| self.line(command));
            widths.draw(row, command.as_deref(), width, style, &mut out);
        }
        let parts = [(&self.quiet, " without an address"), (&self.finished, " finished")];
        let parts = parts.iter().filter(|(names, _)| !names.is_empty());
        let counts: Vec<String> = parts.map(|(names, what)| format!("{}{what}", names.len())).collect();
        if !counts.is_empty() {
            let names: Vec<String> = self.quiet.iter().chain(&self.finished).cloned().collect();
            let line = format!("+ {}, all well (-a lists them): {}", counts.join(" and "), text::some(&names, 4));
            out.extend(noted(&line, None, width, style).iter().map(|line| style.paint(Tone::Dim, line)));
        }
        for cause in &self.left_out {
            let line = format!("{} left out, since {}: {}", cause.services.len(), cause.why, cause.names(4));
            let command = cause.fix.as_ref().map(|command| self.line(command));
            out.extend(noted(&line, command.as_deref(), width, style));
        }
        if !self.not_started.is_empty() {
            let line = format!("{} not started: {}", self.not_started.len(), text::some(&self.not_started, 4));
            out.extend(noted(&line, Some(&self.line(&macula("up"))), width, style));
        }
        for (note, command) in &self.notes {
            let command = command.as_ref().map(|command| self.line(command));
            out.extend(noted(note, command.as_deref(), width, style));
        }
        out
    }

    fn line(&self, command: &MaculaCommand) -> String {
        command.line(&self.invocation)
    }
}

/// A line with what to type about it, below it where both do not fit.
fn noted(note: &str, command: Option<&str>, width: usize, style: Style) -> Vec<String> {
    let tail = command.map_or(0, |command| GAP + text::width(command));
    if text::width(note) + tail <= width {
        let command = command.map(|command| format!("  {}", style.paint(Tone::Active, command)));
        return vec![format!("{note}{}", command.unwrap_or_default())];
    }
    let mut lines = Vec::new();
    for (at, line) in text::wrap(note, width.saturating_sub(2)).into_iter().enumerate() {
        lines.push(if at == 0 { line } else { format!("  {line}") });
    }
    // one that is cut could not be copied
    lines.extend(command.map(|command| format!("  {}", style.paint(Tone::Active, command))));
    lines
}

/// How wide the columns are, and which of them there are: from the right they give way, first the
/// image, then the address next to a URL, then CPU and memory.
struct Widths {
    name: usize,
    state: usize,
    usage: Option<(usize, usize)>,
    reach: usize,
    address: Option<usize>,
    image: Option<usize>,
}

impl Widths {
    fn of(rows: &[&Row], width: usize) -> Self {
        let widest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
        let some = |text: Option<&String>| text.map_or(0, |text| text::width(text));
        let state = widest(&|row| text::width(&row.state)).min(width / 2);
        // in a narrow terminal the rest goes below, and names that are cut could not be typed
        let room = match rows.iter().any(|row| row.usage.is_some()) {
            true => width / 3,
            false => (width / 3).max(width.saturating_sub(2 + GAP + state)),
        };
        let name = widest(&|row| text::width(&row.name)).min(NAME).min(room);
        let usage = rows.iter().any(|row| row.usage.is_some()).then(|| {
            let of = |at: usize| {
                widest(&|row| row.usage.as_ref().map_or(0, |both| text::width(if at == 0 { &both.0 } else { &both.1 })))
            };
            (of(0), of(1))
        });
        let reach = widest(&|row| some(row.reached().0));
        let beside = widest(&|row| some(row.reached().1));
        let image = widest(&|row| some(row.image.as_ref()));
        let mut widths = Self {
            name,
            state,
            usage,
            reach,
            address: Some(beside).filter(|wide| *wide > 0),
            image: Some(image).filter(|wide| *wide > 0),
        };
        if widths.sum() > width {
            widths.image = None;
        }
        if widths.sum() > width {
            widths.address = None;
        }
        if widths.sum() > width && widths.name + widths.state + 2 * GAP + 2 + widths.reach <= width {
            widths.usage = None;
        }
        widths
    }

    fn sum(&self) -> usize {
        let column = |wide: usize| GAP + wide;
        2 + self.name
            + column(self.state)
            + self.usage.map_or(0, |(cpu, memory)| column(cpu) + column(memory))
            + column(self.reach)
            + self.address.map_or(0, column)
            + self.image.map_or(0, column)
    }

    fn draw(&self, row: &Row, command: Option<&str>, width: usize, style: Style, out: &mut Vec<String>) {
        let (tone, sign) = row.mood.look(style);
        let mut line = Line::default();
        line.push(tone, sign).push(Tone::Plain, " ");
        let bright = if row.changed { Tone::Bold } else { Tone::Plain };
        line.push(bright, text::pad(&text::fit(&row.name, self.name, style), self.name));
        let state = text::fit(&row.state, self.state, style);
        line.push(Tone::Plain, " ".repeat(GAP)).push(tone, text::pad(&state, self.state));
        if let (Some((cpu, memory)), Some((its_cpu, its_memory))) = (self.usage, &row.usage) {
            line.push(Tone::Plain, format!("  {}  {}", text::pad_left(its_cpu, cpu), text::pad(its_memory, memory)));
        } else if let Some((cpu, memory)) = self.usage {
            line.push(Tone::Plain, " ".repeat(cpu + memory + 2 * GAP));
        }
        let indent = 2 + self.name.min(2);
        let mut below: Vec<String> = Vec::new();
        match &row.reason {
            Some(reason) => place(reason, Tone::Plain, &mut line, &mut below, indent, width, style),
            None => {
                let (reach, beside) = row.reached();
                if let Some(reach) = reach {
                    place(reach, Tone::Active, &mut line, &mut below, indent, width, style);
                }
                let beside = beside.filter(|_| below.is_empty());
                let taken = reach.map_or(0, |reach| text::width(reach));
                let gap = if reach.is_some() { self.reach.saturating_sub(taken) } else { self.reach + GAP };
                if let (Some(_), Some(address)) = (self.address, beside) {
                    line.push(Tone::Plain, " ".repeat(gap + GAP)).push(Tone::Plain, address.as_str());
                    let image_gap = self.address.unwrap_or(0).saturating_sub(text::width(address));
                    image(row, self.image, image_gap, &mut line);
                } else {
                    let rest = self.address.map_or(0, |wide| wide + GAP);
                    image(row, self.image, gap + rest, &mut line);
                }
            }
        }
        if let Some(command) = command {
            place(command, Tone::Active, &mut line, &mut below, indent, width, style);
        }
        out.push(line.render(style, width).trim_end().to_owned());
        out.append(&mut below);
        if let Some(note) = &row.note {
            for part in text::wrap(note, width.saturating_sub(indent)) {
                out.push(format!("{}{}", " ".repeat(indent), style.paint(Tone::Dim, &part)));
            }
        }
    }
}

fn image(row: &Row, column: Option<usize>, gap: usize, line: &mut Line) {
    if let (Some(_), Some(image)) = (column, &row.image) {
        line.push(Tone::Plain, " ".repeat(gap + GAP)).push(Tone::Dim, image.as_str());
    }
}

/// Behind what stands on the line, or on a line of its own where it would be cut.
fn place(what: &str, tone: Tone, line: &mut Line, below: &mut Vec<String>, indent: usize, width: usize, style: Style) {
    if below.is_empty() && line.width() + GAP + text::width(what) <= width {
        line.push(Tone::Plain, " ".repeat(GAP)).push(tone, what);
        return;
    }
    for part in text::wrap(what, width.saturating_sub(indent)) {
        below.push(format!("{}{}", " ".repeat(indent), style.paint(tone, &part)));
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const PLAIN: Style = Style { color: false, unicode: true };

    fn row(name: &str, state: &str, url: &str, address: &str) -> Row {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Row { name: name.into(), state: state.into(), url: some(url), address: some(address), ..Row::default() }
    }

    fn screen() -> Screen {
        Screen {
            head: ["macula", "up 12m", "10 running, 1 failing", "nothing to change"].map(str::to_owned).into(),
            rows: vec![
                row("excalidraw", "running 12m", "https://draw.macula.local", ""),
                row("minio", "healthy 12m", "https://s3.macula.local", "127.0.0.5:9000"),
                row("postgres", "healthy 12m", "", "127.0.0.6:5432"),
                Row {
                    mood: Mood::Bad,
                    reason: Some("exit code 1".into()),
                    command: Some(macula("logs").arg("shop")),
                    ..row("shop", "restarting, 7×", "", "")
                },
                Row {
                    mood: Mood::Idle,
                    command: Some(macula("start").arg("cart")),
                    ..row("cart", "stopped 20s ago", "", "")
                },
            ],
            quiet: ["node-exporter", "postgres-exporter"].map(str::to_owned).into(),
            finished: vec!["s3-buckets".to_owned()],
            left_out: vec![Cause {
                services: ["grafana", "loki", "tempo", "alloy", "alloy-docker"].map(str::to_owned).into(),
                why: "docker.io cannot be reached".into(),
                fix: None,
            }],
            not_started: Vec::new(),
            notes: vec![("*.macula.local does not resolve on this machine yet".into(), Some(macula("dns install")))],
            invocation: Invocation::default(),
        }
    }

    #[test]
    fn problems_come_first() {
        assert_snapshot!(screen().lines(80, PLAIN).join("\n"), @r"
        macula · up 12m · 10 running, 1 failing · nothing to change
        ✖ shop        restarting, 7×   exit code 1  macula logs shop
        ○ cart        stopped 20s ago  macula start cart
        ✔ excalidraw  running 12m      https://draw.macula.local
        ✔ minio       healthy 12m      https://s3.macula.local    127.0.0.5:9000
        ✔ postgres    healthy 12m      127.0.0.6:5432
        + 2 without an address and 1 finished, all well (-a lists them):
          node-exporter, postgres-exporter, s3-buckets
        5 left out, since docker.io cannot be reached: grafana, loki, tempo, alloy and
          1 more
        *.macula.local does not resolve on this machine yet  macula dns install
        ");
    }

    #[test]
    fn what_works_stands_first_while_names_do_not_resolve() {
        let nameless = |row: Row| Row { nameless: true, ..row };
        let rows = screen().rows.into_iter().filter(|row| row.mood == Mood::Good).map(nameless).collect();
        let left_out = vec![Cause {
            services: vec!["grafana".to_owned()],
            why: "the image has not been pulled, and --images local pulls nothing".to_owned(),
            fix: Some(macula("up --images auto")),
        }];
        let finished = vec!["s3-buckets".to_owned(), "s3-users".to_owned()];
        let screen = Screen { head: vec!["macula".to_owned()], rows, left_out, finished, ..Screen::default() };
        assert_snapshot!(screen.lines(100, PLAIN).join("\n"), @r"
        macula
        ✔ excalidraw  running 12m  https://draw.macula.local
        ✔ minio       healthy 12m  127.0.0.5:9000             https://s3.macula.local
        ✔ postgres    healthy 12m  127.0.0.6:5432
        + 2 finished, all well (-a lists them): s3-buckets, s3-users
        1 left out, since the image has not been pulled, and --images local pulls nothing: grafana
          macula up --images auto
        ");
    }

    #[test]
    fn a_narrow_terminal_gives_the_addresses_lines_of_their_own() {
        assert_snapshot!(screen().lines(40, PLAIN).join("\n"), @r"
        macula · up 12m · 10 running, 1 failing
        · nothing to change
        ✖ shop        restarting, 7×
            exit code 1
            macula logs shop
        ○ cart        stopped 20s ago
            macula start cart
        ✔ excalidraw  running 12m
            https://draw.macula.local
        ✔ minio       healthy 12m
            https://s3.macula.local
        ✔ postgres    healthy 12m
            127.0.0.6:5432
        + 2 without an address and 1 finished,
          all well (-a lists them):
          node-exporter, postgres-exporter,
          s3-buckets
        5 left out, since docker.io cannot be
          reached: grafana, loki, tempo, alloy
          and 1 more
        *.macula.local does not resolve on
          this machine yet
          macula dns install
        ");
    }

    #[test]
    fn several_containers_of_a_service_are_told_in_any_width() {
        let reason = Some("2 of 3 run; exit code 1".to_owned());
        let rows = vec![
            row("web", "healthy 12m, 3/3", "https://web.macula.local", ""),
            Row { mood: Mood::Bad, reason, ..row("worker", "crashed 20s ago", "", "") },
        ];
        let screen = Screen { head: vec!["shop".into()], rows, ..Screen::default() };
        assert_snapshot!(screen.lines(40, PLAIN).join("\n"), @r"
        shop
        ✖ worker  crashed 20s ago
            2 of 3 run; exit code 1
        ✔ web     healthy 12m, 3/3
            https://web.macula.local
        ");
        assert_snapshot!(screen.lines(80, PLAIN).join("\n"), @r"
        shop
        ✖ worker  crashed 20s ago   2 of 3 run; exit code 1
        ✔ web     healthy 12m, 3/3  https://web.macula.local
        ");
    }

    #[test]
    fn the_command_of_a_note_is_whole_in_any_width() {
        let file = Some("/home/maria/projects/shop/deploy/macula.yaml".into());
        let invocation = Invocation { file, ..Invocation::default() };
        let screen = Screen { invocation, notes: screen().notes, ..Screen::default() };
        for width in [40, 80] {
            let lines = screen.lines(width, PLAIN);
            let command = "  macula --file /home/maria/projects/shop/deploy/macula.yaml dns install";
            assert_eq!(lines.last().map(String::as_str), Some(command), "{width}");
        }
    }

    #[test]
    fn a_narrow_terminal_cuts_no_name() {
        let rows = vec![row("ingress-inside", "not started", "", ""), row("web", "running 3s", "", "127.0.0.6:5432")];
        let screen = Screen { head: vec!["shop".into()], rows, ..Screen::default() };
        assert_snapshot!(screen.lines(40, PLAIN).join("\n"), @r"
        shop
        ✔ ingress-inside  not started
        ✔ web             running 3s
            127.0.0.6:5432
        ");
    }

    #[test]
    fn no_width_breaks_the_table() {
        let mut screen = screen();
        screen.rows[0].name = "a-service-whose-name-takes-all-of-the-sixty-three-letters-of-a-label".into();
        screen.rows[0].url = Some(format!("https://{}.macula.local/a/path", screen.rows[0].name));
        for row in &mut screen.rows {
            row.image = Some("docker.io/grafana/grafana:12.1.0".into());
            row.usage = Some(("100.0%".into(), "1024 MiB / 4 GiB".into()));
        }
        for width in 40..220 {
            let lines = screen.lines(width, PLAIN);
            assert!(lines.iter().all(|line| text::width(line) <= width), "{width}:\n{}", lines.join("\n"));
            assert!(lines.len() < 40, "{width}");
        }
    }
}
