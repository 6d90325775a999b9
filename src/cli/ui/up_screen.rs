//! What stands on the screen when `up` has done its work: what can be used, what is missing, what to
//! do next. Pure.

use super::left_out::Cause;
use super::line::Line;
use super::{Style, Tone, status_screen, text};
use crate::model::{Invocation, MaculaCommand, macula};

/// Rows of things to use; the whole screen stays within 20 lines, the first of which is not of this one.
const ROWS: usize = 9;
const LINES: usize = 19;
/// Of the sentence of a notice, where there is no room for more.
const SHORT: usize = 2;

/// Something to open or to connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub url: Option<String>,
    pub address: Option<String>,
    /// A command that belongs to it: `macula creds postgres`.
    pub command: Option<MaculaCommand>,
    /// From a stack of the user's.
    pub own: bool,
    /// Names do not resolve on this machine: what works stands first.
    pub nameless: bool,
}

/// What needs attention, and what to type about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    pub command: Option<MaculaCommand>,
}

/// What is left out, as a notice for each cause.
pub fn left_out(causes: &[Cause]) -> Vec<Notice> {
    let notice = |cause: &Cause| Notice {
        text: format!("{} left out: {}", cause.names(3), cause.why),
        command: Some(cause.fix.clone().unwrap_or_else(|| macula("status"))),
    };
    causes.iter().map(notice).collect()
}

/// The screen below its first line. `next`: commands as they are typed; `invocation`: what all the others repeat.
pub fn screen(
    entries: &[Entry],
    notices: &[Notice],
    next: &[String],
    invocation: &Invocation,
    width: usize,
    style: Style,
) -> String {
    let width = width.clamp(20, 110);
    // what can neither be opened nor connected to, such as a worker, is in `status`
    let reachable = |entry: &&Entry| entry.url.is_some() || entry.address.is_some();
    let mut entries: Vec<&Entry> = entries.iter().filter(reachable).collect();
    // one's own first, then what opens in a browser
    entries.sort_by_key(|entry| (!entry.own, entry.url.is_none(), entry.name.as_str()));
    let next = next_lines(next, width, style);
    let noticed = |most: usize| -> Vec<String> {
        let lines = notices.iter().flat_map(|notice| notice_lines(notice, invocation, width, style, most));
        let gap = Some(String::new()).filter(|_| !notices.is_empty());
        gap.into_iter().chain(lines).collect()
    };
    let rows = rows(&entries, invocation, width, style);
    // beside the blank line in front of them, and the one that names those that are left away
    let most = |taken: usize| {
        let room = LINES.saturating_sub(taken + next.len() + 2);
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        });
        ROWS.min(ends.take_while(|end| *end <= room).count())
    };
    let mut below = noticed(usize::MAX);
    if most(below.len()) < entries.len().min(ROWS) {
        below = noticed(SHORT);
    }
    let most = most(below.len());
    let hidden: Vec<String> = entries.iter().skip(most).map(|entry| entry.name.clone()).collect();
    let mut lines: Vec<String> = Vec::new();
    if !entries.is_empty() {
        lines.push(String::new());
        lines.extend(rows.into_iter().take(most).flatten());
        if !hidden.is_empty() {
            let and = if most > 0 { "and " } else { "" };
            let line = format!("  {and}{}: {}", text::some(&hidden, 3), macula("status").line(invocation));
            lines.push(style.paint(Tone::Dim, &text::fit(&line, width, style)));
        }
    }
    lines.truncate(LINES.saturating_sub(next.len()));
    below.truncate(LINES.saturating_sub(next.len() + lines.len()));
    lines.extend(below);
    lines.extend(next);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The commands that come next, as many as fit: one that is cut is of no use.
fn next_lines(next: &[String], width: usize, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    if !next.is_empty() {
        lines.push(String::new());
        let separator = format!(" {} ", style.symbol("·", "-"));
        let mut line = "Next: ".to_owned();
        for (at, command) in next.iter().enumerate() {
            let piece = if at == 0 { command.clone() } else { format!("{separator}{command}") };
            if text::width(&line) + text::width(&piece) > width {
                break;
            }
            line.push_str(&piece);
        }
        lines.push(style.paint(Tone::Bold, &line));
    }
    lines
}

/// Name, URL, address, command; from the right they give way where there is no room. Where there is none for a URL behind
/// the names, it stands below its own.
fn rows(entries: &[&Entry], invocation: &Invocation, width: usize, style: Style) -> Vec<Vec<String>> {
    let command = |entry: &Entry| entry.command.as_ref().map(|command| command.line(invocation));
    let column = |of: &dyn Fn(&Entry) -> usize| entries.iter().map(|entry| of(entry)).max().unwrap_or(0);
    let some = |text: &Option<String>| text.as_deref().map_or(0, text::width);
    let names = column(&|entry| text::width(&entry.name)).min(20);
    // one that stands below its name leaves the others their column
    let first = column(&|entry| Some(some(&reached(entry).0)).filter(|wide| names + 4 + wide <= width).unwrap_or(0));
    let second = column(&|entry| some(&reached(entry).1));
    let third = column(&|entry| some(&command(entry)));
    // two blanks before each column
    let shows = |columns: &[usize]| columns.iter().map(|wide| wide + 2).sum::<usize>() <= width;
    let with_second = shows(&[names, first, second]);
    let with_third = third > 0 && shows(&[names, first, second, third]);
    entries
        .iter()
        .map(|entry| {
            let (one, two) = reached(entry);
            if names + 4 + some(&one) > width {
                let reached = one.unwrap_or_default();
                let reached = style.paint(Tone::Active, &text::fit(&reached, width.saturating_sub(4), style));
                let name = style.paint(Tone::Bold, &text::fit(&entry.name, width.saturating_sub(2), style));
                return vec![format!("  {name}"), format!("    {reached}")];
            }
            let mut line = Line::default();
            line.push(Tone::Plain, "  ");
            line.push(Tone::Bold, text::pad(&text::fit(&entry.name, names, style), names));
            line.push(Tone::Plain, "  ");
            line.push(Tone::Active, one.clone().unwrap_or_default());
            let mut gap = first - some(&one).min(first) + 2;
            if with_second {
                let two_width = some(&two);
                if let Some(two) = two {
                    line.push(Tone::Plain, " ".repeat(gap)).push(Tone::Plain, two);
                    gap = second - two_width + 2;
                } else {
                    gap += second + 2;
                }
                if with_third && let Some(command) = command(entry) {
                    line.push(Tone::Plain, " ".repeat(gap)).push(Tone::Dim, command);
                }
            }
            vec![line.render(style, width)]
        })
        .collect()
}

/// What stands first, and what behind it.
fn reached(entry: &Entry) -> (Option<String>, Option<String>) {
    let (one, two) = status_screen::reached(entry.url.as_ref(), entry.address.as_ref(), entry.nameless);
    (one.cloned(), two.cloned())
}

/// `most`: lines of its sentence.
fn notice_lines(notice: &Notice, invocation: &Invocation, width: usize, style: Style, most: usize) -> Vec<String> {
    let sign = style.paint(Tone::Warn, style.warning());
    let command = notice.command.as_ref().map(|command| command.line(invocation)).unwrap_or_default();
    let room = width.saturating_sub(2);
    if text::width(&notice.text) + 2 + text::width(&command) <= room {
        let gap = if command.is_empty() { "" } else { "  " };
        return vec![format!("{sign} {}{gap}{}", notice.text, style.paint(Tone::Active, &command))];
    }
    let mut wrapped = text::wrap(&notice.text, room);
    if wrapped.len() > most {
        let rest = wrapped.split_off(most.saturating_sub(1)).join(" ");
        wrapped.push(text::fit(&rest, room, style));
    }
    let mut lines: Vec<String> = wrapped
        .into_iter()
        .enumerate()
        .map(|(at, line)| if at == 0 { format!("{sign} {line}") } else { format!("  {line}") })
        .collect();
    if !command.is_empty() {
        // one that is cut could not be copied
        lines.push(format!("  {}", style.paint(Tone::Active, &command)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const PLAIN: Style = Style { color: false, unicode: true };

    fn entry(name: &str, url: Option<&str>, address: &str, command: Option<MaculaCommand>) -> Entry {
        Entry {
            name: name.into(),
            url: url.map(str::to_owned),
            address: Some(address).filter(|text| !text.is_empty()).map(str::to_owned),
            command,
            own: name == "shop",
            nameless: false,
        }
    }

    fn platform() -> Vec<Entry> {
        vec![
            entry("draw", Some("https://draw.macula.local"), "", None),
            entry("minio", Some("https://s3.macula.local"), "127.0.0.5:9000", Some(macula("creds").arg("minio"))),
            entry("postgres", None, "127.0.0.6:5432", Some(macula("creds").arg("postgres"))),
            entry("powerdns", Some("https://dns.macula.local"), "127.0.0.8:53", None),
            entry("prometheus", Some("https://prometheus.macula.local"), "127.0.0.1:9090", None),
            entry("registry", Some("https://registry.macula.local"), "127.0.0.1:5001", None),
            entry("shop", Some("https://shop.macula.local"), "", None),
        ]
    }

    fn notices() -> Vec<Notice> {
        let cause = Cause {
            services: ["grafana", "loki", "tempo", "alloy"].map(str::to_owned).into(),
            why: "docker.io cannot be reached".into(),
            fix: None,
        };
        let mut all = left_out(&[cause]);
        all.push(Notice {
            text: "the names do not resolve on this machine yet".into(),
            command: Some(macula("dns install")),
        });
        all
    }

    fn next() -> Vec<String> {
        ["macula open draw", "macula logs -f", "eval \"$(macula env --format shell)\""].map(str::to_owned).into()
    }

    #[test]
    fn it_fits_the_smallest_usual_screen() {
        let shown = screen(&platform(), &notices(), &next(), &Invocation::default(), 80, PLAIN);
        assert!(shown.lines().count() < 20 && shown.lines().all(|line| text::width(line) <= 80), "{shown}");
        assert_snapshot!(shown, @r#"
          shop        https://shop.macula.local
          draw        https://draw.macula.local
          minio       https://s3.macula.local          127.0.0.5:9000
          powerdns    https://dns.macula.local         127.0.0.8:53
          prometheus  https://prometheus.macula.local  127.0.0.1:9090
          registry    https://registry.macula.local    127.0.0.1:5001
          postgres    127.0.0.6:5432

        ! grafana, loki, tempo and 1 more left out: docker.io cannot be reached
          macula status
        ! the names do not resolve on this machine yet  macula dns install

        Next: macula open draw · macula logs -f · eval "$(macula env --format shell)"
        "#);
    }

    #[test]
    fn the_command_of_a_notice_is_whole_in_any_width() {
        let file = Some("/home/maria/projects/shop/deploy/macula.yaml".into());
        let invocation = Invocation { file, ..Invocation::default() };
        for width in [40, 80] {
            let shown = screen(&[], &notices()[1..], &[], &invocation, width, PLAIN);
            let command = "\n  macula --file /home/maria/projects/shop/deploy/macula.yaml dns install\n";
            assert!(shown.contains(command), "{width}: {shown}");
        }
    }

    #[test]
    fn what_works_stands_first() {
        let mut all = platform();
        for entry in &mut all {
            entry.nameless = true;
        }
        let shown = screen(&all[..2], &[], &[], &Invocation::default(), 80, PLAIN);
        let rows: Vec<&str> = shown.lines().collect();
        let minio = "  minio  127.0.0.5:9000             https://s3.macula.local  macula creds minio";
        assert_eq!(rows, ["", "  draw   https://draw.macula.local", minio]);
    }

    #[test]
    fn a_narrow_one_keeps_the_addresses() {
        let shown = screen(&platform(), &notices(), &next(), &Invocation::default(), 44, PLAIN);
        assert!(shown.lines().all(|line| text::width(line) <= 44), "{shown}");
        assert_snapshot!(shown, @r"
          shop        https://shop.macula.local
          draw        https://draw.macula.local
          minio       https://s3.macula.local
          powerdns    https://dns.macula.local
          prometheus
            https://prometheus.macula.local
          registry    https://registry.macula.local
          postgres    127.0.0.6:5432

        ! grafana, loki, tempo and 1 more left out:
          docker.io cannot be reached
          macula status
        ! the names do not resolve on this machine
          yet
          macula dns install

        Next: macula open draw · macula logs -f
        ");
    }

    #[test]
    fn what_nobody_can_reach_has_no_row() {
        let all = [entry("worker", None, "", None), entry("shop", Some("https://shop.macula.local"), "", None)];
        let shown = screen(&all, &[], &[], &Invocation::default(), 80, PLAIN);
        assert_eq!(shown, "\n  shop  https://shop.macula.local\n");
        assert_eq!(screen(&all[..1], &[], &[], &Invocation::default(), 80, PLAIN), "");
    }

    /// What to do next is never cut off: rows and long sentences give way.
    #[test]
    fn the_end_of_a_full_screen_stays() {
        let mut all = notices();
        let reason = "no source gave the node image kindest/node:v1.34.11: cannot reach the registry of \
                      kindest/node:v1.34.11: it is not in the engine, and docker.io does not answer";
        let text = format!("no Kubernetes cluster: {reason}");
        all.push(Notice { text, command: Some(macula("cluster create")) });
        for width in [40, 80, 120] {
            let shown = screen(&platform(), &all, &next(), &Invocation::default(), width, PLAIN);
            assert!(shown.lines().count() < 20 && shown.lines().all(|line| text::width(line) <= width), "{shown}");
            assert!(shown.contains("\nNext: macula open draw"), "{shown}");
            assert!(shown.contains("\n  macula cluster create\n"), "{shown}");
        }
        let shown = screen(&platform(), &all, &next(), &Invocation::default(), 30, PLAIN);
        assert!(shown.contains("\n  shop\n    https://shop.macula.local\n"), "{shown}");
    }

    #[test]
    fn many_services_are_not_all_listed() {
        let many: Vec<Entry> = (0..60).map(|at| entry(&format!("svc-{at:02}"), None, "127.0.0.1:80", None)).collect();
        let shown = screen(&many, &[], &next(), &Invocation::default(), 80, PLAIN);
        assert!(shown.lines().count() < 20, "{shown}");
        assert!(shown.contains("and svc-09, svc-10, svc-11 and 48 more: macula status"), "{shown}");
    }
}
