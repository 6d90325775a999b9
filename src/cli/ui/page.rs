//! A page of the documentation on a terminal: Markdown (CommonMark 0.31, and GitHub's tables) as text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::text;
use super::{Style, Tone};

/// The page in lines of at most `width` columns. Of links and pictures only the words are left; rows of tables become
/// paragraphs, since their cells hold sentences.
pub fn render(markdown: &str, width: usize, style: Style) -> String {
    let mut page = Page { width: width.max(20), style, ..Page::default() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.out
}

#[derive(Default)]
struct Page {
    width: usize,
    style: Style,
    out: String,
    /// Text of the block that is being read.
    text: String,
    /// Verbatim text is being read.
    code: bool,
    /// The number of the next item of each open list; `None` for one without numbers.
    lists: Vec<Option<u64>>,
    /// What stands before the next line of an item.
    bullet: Option<String>,
    /// Cells of the row that is being read.
    row: Vec<String>,
    /// Titles of the columns.
    head: Vec<String>,
    /// Inside a picture, whose words are no text of the page.
    picture: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(words) if !self.picture => self.text.push_str(&words),
            Event::Code(words) => {
                self.text.push('`');
                self.text.push_str(&words);
                self.text.push('`');
            }
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Start(Tag::Image { .. }) => self.picture = true,
            Event::End(TagEnd::Image) => self.picture = false,
            Event::Start(Tag::List(first)) => {
                self.paragraph();
                self.lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.blank();
                }
            }
            Event::Start(Tag::Item) => self.bullet = Some(self.next_bullet()),
            Event::End(TagEnd::Item) => self.paragraph(),
            Event::End(TagEnd::Paragraph) => {
                self.paragraph();
                if self.lists.is_empty() {
                    self.blank();
                }
            }
            Event::Start(Tag::Heading { .. }) => self.paragraph(),
            Event::End(TagEnd::Heading(level)) => self.heading(level),
            Event::Start(Tag::CodeBlock(_)) => {
                self.paragraph();
                self.code = true;
            }
            Event::End(TagEnd::CodeBlock) => self.verbatim(),
            Event::End(TagEnd::TableCell) => self.row.push(std::mem::take(&mut self.text)),
            Event::End(TagEnd::TableHead) => self.head = std::mem::take(&mut self.row),
            Event::End(TagEnd::TableRow) => self.table_row(),
            Event::End(TagEnd::Table) => self.blank(),
            _ => {}
        }
    }

    fn next_bullet(&mut self) -> String {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        }
    }

    /// Where the text of an item begins, without its bullet.
    fn indent(&self) -> usize {
        2 * self.lists.len().saturating_sub(1)
    }

    fn paragraph(&mut self) {
        let words = std::mem::take(&mut self.text);
        if words.trim().is_empty() {
            return;
        }
        let bullet = self.bullet.take();
        let hang = if self.lists.is_empty() { 0 } else { bullet.as_ref().map_or(2, |bullet| text::width(bullet)) };
        let indent = " ".repeat(self.indent());
        let mut before = bullet.unwrap_or_else(|| " ".repeat(hang));
        for line in text::wrap(words.trim(), self.width.saturating_sub(indent.len() + hang)) {
            self.line(&format!("{indent}{before}{line}"));
            before = " ".repeat(hang);
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let words = std::mem::take(&mut self.text);
        let words = if level == HeadingLevel::H1 { words.to_uppercase() } else { words };
        let shown = self.style.paint(Tone::Bold, &words);
        self.blank();
        self.line(&shown);
        self.blank();
    }

    fn verbatim(&mut self) {
        self.code = false;
        let block = std::mem::take(&mut self.text);
        let indent = " ".repeat(2 * self.lists.len() + 4);
        for line in block.lines() {
            self.line(&format!("{indent}{line}"));
        }
        self.blank();
    }

    /// The first cell is what the row is about; the last one explains it.
    /// With more than three columns each cell needs its title, since they stand below each other.
    fn table_row(&mut self) {
        let cells = std::mem::take(&mut self.row);
        let Some((first, rest)) = cells.split_first() else { return };
        let shown = self.style.paint(Tone::Bold, first);
        let titled = |(at, cell): (usize, &String)| match self.head.get(at + 1) {
            Some(title) if cells.len() > 3 && !title.is_empty() => format!("{title}: {cell}"),
            _ => cell.clone(),
        };
        let rest: Vec<String> = rest.iter().enumerate().filter(|(_, cell)| !cell.is_empty()).map(titled).collect();
        let fits = |cell: &String| text::width(first) + text::width(cell) + 4 <= self.width;
        let (beside, below) = match rest.split_first() {
            Some((beside, below)) if !below.is_empty() && fits(beside) => (Some(beside), below),
            _ => (None, rest.as_slice()),
        };
        self.line(&format!("  {shown}{}", beside.map_or_else(String::new, |cell| format!("  {cell}"))));
        for cell in below {
            for line in text::wrap(cell, self.width.saturating_sub(7)) {
                self.line(&format!("      {line}"));
            }
        }
    }

    /// An empty line, one between two blocks.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_page_becomes_text_of_the_terminals_width() {
        let markdown = "# Names\n\n![shot](x.svg)\n\nEvery `*.macula.local` leads to [this machine](dns.md), and nothing else \
            does; that is how it is.\n\n- one\n- two, which is so long that it does not fit into a line\n  1. inner\n\n\
            ```sh\nmacula dns   status\n```\n\n## Keys\n\n| key | value | meaning |\n|---|---|---|\n\
            | `port` | 1 to 65535, required | Port in the container. |\n| `x` | | A sentence that is longer than the line has columns. |\n";
        assert_snapshot!(render(markdown, 40, Style::default()), @r"
        NAMES

        Every `*.macula.local` leads to this
        machine, and nothing else does; that is
        how it is.

        - one
        - two, which is so long that it does not
          fit into a line
          1. inner

            macula dns   status

        Keys

          `port`  1 to 65535, required
              Port in the container.
          `x`
              A sentence that is longer than
              the line has columns.
        ");
    }

    #[test]
    fn a_wide_table_says_what_each_cell_is() {
        let markdown = "| command | services | data | names |\n|---|---|---|---|\n| `down` | removed | stays | |\n";
        assert_snapshot!(render(markdown, 40, Style::default()), @r"
          `down`  services: removed
              data: stays
        ");
    }

    #[test]
    fn no_line_is_too_wide() {
        for (_, page) in crate::cli::help::PAGES {
            for width in [40, 80, 120] {
                let verbatim = |line: &str| line.starts_with("    ") || line.contains("http");
                let wide: Vec<String> = render(page, width, Style::default())
                    .lines()
                    .filter(|line| text::width(line) > width && !verbatim(line) && line.contains(' '))
                    .map(str::to_owned)
                    .collect();
                assert!(wide.iter().all(|line| line.trim_start().split("  ").count() < 2), "{width}: {wide:#?}");
            }
        }
    }
}
