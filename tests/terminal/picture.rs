//! A screen as an SVG picture: text stays text, in the terminal's usual colours.

use std::fmt::Write;
use std::path::Path;

use vt100::{Color, Screen};

const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 14.0;

/// Compares the picture in docs/images with the screen; `MACULA_UPDATE_DOCS=1` writes it.
pub fn current(file: &str, title: &str, screen: &Screen) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(file);
    let wanted = svg(title, screen);
    if std::env::var_os("MACULA_UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, wanted).expect("docs/images can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{file} is not current: MACULA_UPDATE_DOCS=1 cargo test --test terminal");
}

fn svg(title: &str, screen: &Screen) -> String {
    let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
    let used = (0..rows).rev().find(|row| !text(screen, *row).is_empty()).map_or(1, |row| row + 1);
    let (width, height) = (f64::from(columns) * CELL.0 + 2.0 * MARGIN, f64::from(used) * CELL.1 + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         aria-label=\"{title}\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\" \
         fill=\"#d7dae0\" xml:space=\"preserve\">\n"
    );
    for row in 0..used {
        for (column, look, piece) in pieces(screen, row) {
            let (x, y) = (MARGIN + f64::from(column) * CELL.0, MARGIN + f64::from(row) * CELL.1 + 13.0);
            let length = f64::from(u16::try_from(piece.chars().count()).unwrap_or(1)) * CELL.0;
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\"{look}>{}</text>",
                piece.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
            );
        }
    }
    out.push_str("</g>\n</svg>\n");
    out
}

fn text(screen: &Screen, row: u16) -> String {
    pieces(screen, row).into_iter().map(|(.., piece)| piece).collect()
}

/// Runs of cells that look the same, without the blanks around them. A gap divides them: what shows pictures may make
/// one blank of many.
fn pieces(screen: &Screen, row: u16) -> Vec<(u16, String, String)> {
    let mut all: Vec<(u16, String, String)> = Vec::new();
    for column in 0..screen.size().1.get() {
        let Some(cell) = screen.cell(row, column) else { continue };
        let contents = if cell.has_contents() { cell.contents() } else { " " };
        let look = look(cell);
        match all.last_mut() {
            Some((_, last, piece)) if *last == look && !(contents == " " && piece.ends_with(' ')) => {
                piece.push_str(contents);
            }
            _ => all.push((column, look, contents.to_owned())),
        }
    }
    let trimmed = all.into_iter().filter_map(|(column, look, piece)| {
        let blanks = piece.chars().take_while(|c| *c == ' ').count();
        let piece = piece.trim();
        (!piece.is_empty()).then(|| (column + u16::try_from(blanks).unwrap_or(0), look, piece.to_owned()))
    });
    trimmed.collect()
}

fn look(cell: &vt100::Cell) -> String {
    let mut look = String::new();
    let color = match cell.fgcolor() {
        Color::Idx(1) => Some("#ef6b73"),
        Color::Idx(2) => Some("#7fc97f"),
        Color::Idx(3) => Some("#e5c07b"),
        Color::Idx(6) => Some("#56b6c2"),
        _ if cell.dim() => Some("#8b919c"),
        _ => None,
    };
    if let Some(color) = color {
        look.push_str(&format!(" fill=\"{color}\""));
    }
    if cell.bold() {
        look.push_str(" font-weight=\"bold\"");
    }
    look
}
