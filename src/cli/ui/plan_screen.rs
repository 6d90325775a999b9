//! What `plan` shows: which services change, and how.

use super::{Style, Tone, text};
use crate::app::{Change, ChangeKind};

/// Columns below which details have no room next to their service.
const NARROW: usize = 60;

/// A line a service with what differs, and the sum. `services`: how many it is about, without jobs. `up`: the command
/// that carries it out, where that can be.
pub fn screen(changes: &[Change], services: usize, up: Option<&str>, width: usize, style: Style) -> String {
    let shown: Vec<&Change> = changes.iter().filter(|change| change.kind != ChangeKind::Await).collect();
    if changes.is_empty() {
        return format!(
            "{} nothing to do: {} as wanted\n",
            style.paint(Tone::Good, style.done()),
            text::count(services, "service")
        );
    }
    let mut out = String::new();
    let narrow = width < NARROW;
    let most = if narrow { width.saturating_sub(12).max(8) } else { (width / 3).min(24) };
    let names = shown.iter().map(|change| text::width(&change.name)).max().unwrap_or(0).min(most);
    for change in &shown {
        let (sign, tone, word) = look(change.kind);
        let name = text::fit(&change.name, names, style);
        if narrow {
            // names are whole, and what differs stands below
            out.push_str(&style.paint(tone, format!("{sign} {}  {word}", text::pad(&name, names)).trim_end()));
            out.push('\n');
            for detail in &change.details {
                let detail = detail.replace(" -> ", style.symbol(" → ", " -> "));
                for line in text::wrap_whole(&detail, width.saturating_sub(4)) {
                    out.push_str(&format!("    {line}\n"));
                }
            }
            continue;
        }
        let head = format!("{sign} {}  {}", text::pad(&name, names), text::pad(word, 8));
        let indent = text::width(&head) + 2;
        let mut details = change.details.iter().map(|detail| detail.replace(" -> ", style.symbol(" → ", " -> ")));
        let first = details.next().unwrap_or_default();
        let mut lines = text::wrap(&first, width.saturating_sub(indent).max(12));
        for detail in details {
            lines.extend(text::wrap(&detail, width.saturating_sub(indent).max(12)));
        }
        let mut lines = lines.into_iter();
        out.push_str(&format!("{}  {}", style.paint(tone, &head), lines.next().unwrap_or_default()));
        out = out.trim_end().to_owned();
        out.push('\n');
        for line in lines {
            out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
        }
    }
    let lost = changes.iter().any(|change| change.details.iter().any(|detail| detail.starts_with("DATA LOST")));
    let data = if lost { style.paint(Tone::Bad, "data is lost") } else { "no data is touched".to_owned() };
    let touched =
        |job: bool| shown.iter().filter(|change| change.kind != ChangeKind::Other && change.job == job).count();
    let (touched, jobs) = (touched(false), touched(true));
    let what = match (touched, jobs) {
        (_, 0) => text::count(touched, "service"),
        (0, _) => text::count(jobs, "job"),
        _ => format!("{} and {}", text::count(touched, "service"), text::count(jobs, "job")),
    };
    let change = if touched + jobs == 1 { "changes" } else { "change" };
    let stay = match services.saturating_sub(touched) {
        0 => String::new(),
        1 => ", 1 unchanged".to_owned(),
        count => format!(", {count} unchanged"),
    };
    let dot = style.symbol("·", "-");
    let sum = format!("{what} {change}{stay} {dot} {data}");
    out.push_str(&text::wrap(&sum, width).join("\n"));
    if let Some(up) = up {
        // a command of its own line can be read, and copied, at any width
        let fits = text::width(&sum) + text::width(up) + 10 <= width;
        let gap = if fits { format!(" {dot} apply: ") } else { "\n  ".into() };
        out.push_str(&format!("{gap}{}", style.paint(Tone::Active, up)));
    }
    out.push('\n');
    out
}

fn look(kind: ChangeKind) -> (&'static str, Tone, &'static str) {
    match kind {
        ChangeKind::Remove => ("-", Tone::Bad, "remove"),
        ChangeKind::Create => ("+", Tone::Good, "create"),
        ChangeKind::Run => ("+", Tone::Good, "run task"),
        ChangeKind::Recreate => ("~", Tone::Warn, "recreate"),
        ChangeKind::Restart => ("~", Tone::Warn, "restart"),
        ChangeKind::Start => ("+", Tone::Good, "start"),
        ChangeKind::Stop => ("~", Tone::Warn, "stop"),
        ChangeKind::Reload => ("~", Tone::Warn, "reload"),
        ChangeKind::Scale => ("~", Tone::Warn, "scale"),
        ChangeKind::Image => ("+", Tone::Good, "image"),
        ChangeKind::Await => (" ", Tone::Dim, "wait"),
        ChangeKind::Other => ("+", Tone::Plain, ""),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const PLAIN: Style = Style { color: false, unicode: true };

    fn change(name: &str, kind: ChangeKind, details: &[&str]) -> Change {
        let details = details.iter().map(|detail| (*detail).to_owned()).collect();
        Change { name: name.into(), kind, details, job: name.ends_with("-job") }
    }

    #[test]
    fn one_line_a_service_with_what_differs() {
        let changes = [
            change("old", ChangeKind::Remove, &["no longer wanted"]),
            change("ingress", ChangeKind::Recreate, &["new name shop.macula.local"]),
            change("shop", ChangeKind::Recreate, &["environment A: \"1\" -> \"2\"", "build its image"]),
            change("postgres", ChangeKind::Await, &[]),
        ];
        assert_snapshot!(screen(&changes, 16, Some("macula up"), 80, PLAIN), @r#"
        - old      remove    no longer wanted
        ~ ingress  recreate  new name shop.macula.local
        ~ shop     recreate  environment A: "1" → "2"
                             build its image
        3 services change, 13 unchanged · no data is touched · apply: macula up
        "#);
        assert_snapshot!(screen(&[], 16, Some("macula up"), 80, PLAIN), @"✔ nothing to do: 16 services as wanted");
        let without = screen(&changes, 16, None, 80, PLAIN);
        assert!(without.ends_with("3 services change, 13 unchanged · no data is touched\n"), "{without}");
        let narrow = screen(&changes, 16, Some("macula up"), 40, PLAIN);
        assert_snapshot!(narrow, @r#"
        - old      remove
            no longer wanted
        ~ ingress  recreate
            new name shop.macula.local
        ~ shop     recreate
            environment A: "1" → "2"
            build its image
        3 services change, 13 unchanged · no
        data is touched
          macula up
        "#);
    }

    #[test]
    fn jobs_are_no_services() {
        let job = change("db-job", ChangeKind::Create, &[]);
        let all = [change("db", ChangeKind::Create, &[]), job.clone(), change("network", ChangeKind::Other, &["new"])];
        let last = |changes: &[Change], services: usize| {
            let screen = screen(changes, services, Some("macula up db"), 80, PLAIN);
            screen.lines().last().map(str::to_owned).unwrap_or_default()
        };
        assert_eq!(last(&all, 1), "1 service and 1 job change · no data is touched · apply: macula up db");
        assert_eq!(last(&[job], 2), "1 job changes, 2 unchanged · no data is touched · apply: macula up db");
    }
}
