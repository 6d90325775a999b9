//! The other screen of the terminal, where nothing of the shell is overwritten: for what is shown until somebody has
//! seen enough. [`held`] gives it back while we are stopped, before an exit at once and on a panic.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tokio::sync::mpsc::{Receiver, channel};

use super::{Size, held, text};

/// Open as long as this lives.
pub struct FullScreen {
    drawn: Vec<String>,
    size: Option<Size>,
}

impl FullScreen {
    /// Keys come one by one and unechoed from now on; those of signals still are signals.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn enter() -> io::Result<Self> {
        held::open_screen()?;
        Ok(Self { drawn: Vec::new(), size: None })
    }

    /// Writes what differs from what stands there, and nothing where nothing does.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn draw(&mut self, lines: &[String], size: Size) -> io::Result<()> {
        if held::is_released() {
            return Ok(());
        }
        let whole = held::screen_is_afresh() || self.size != Some(size);
        // names and labels of others may hold sequences that the terminal would obey
        let lines: Vec<String> =
            lines.iter().take(size.rows).map(|line| text::harmless(line).replace('\n', " ")).collect();
        let frame = frame((!whole).then_some(self.drawn.as_slice()), &lines);
        self.drawn = lines;
        self.size = Some(size);
        if frame.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        held::close_screen();
    }
}

/// What is typed, in pieces; nothing where nobody can type. A thread of its own: a read from a terminal cannot be
/// called off, and one of the runtime's would keep the process from ending.
pub fn typed() -> Option<Receiver<Vec<u8>>> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let (sender, receiver) = channel(16);
    std::thread::spawn(move || {
        let mut piece = [0; 256];
        loop {
            match rustix::io::read(io::stdin().as_fd(), &mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    if sender.blocking_send(piece.get(..read).unwrap_or_default().to_vec()).is_err() {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    });
    Some(receiver)
}

/// Pure: from what stands there to `lines`. `None`: nobody knows what stands there.
fn frame(drawn: Option<&[String]>, lines: &[String]) -> String {
    let mut out = String::new();
    match drawn {
        None => {
            out.push_str("\x1b[H");
            out.push_str(&lines.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>().join("\r\n"));
            out.push_str("\x1b[J");
        }
        Some(drawn) => {
            for (at, line) in lines.iter().enumerate().filter(|(at, line)| drawn.get(*at) != Some(*line)) {
                out.push_str(&format!("\x1b[{};1H{line}\x1b[K", at + 1));
            }
            if drawn.len() > lines.len() {
                out.push_str(&format!("\x1b[{};1H\x1b[J", lines.len() + 1));
            }
        }
    }
    // shown at once by terminals that know how
    if out.is_empty() { out } else { format!("\x1b[?2026h{out}\x1b[?2026l") }
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Pure. Of sequences that mean nothing here, nothing.
pub fn keys(typed: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(typed);
    let mut rest: &str = &text;
    let mut all = Vec::new();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\x1b' => match rest.strip_prefix(['[', 'O']) {
                Some(sequence) => {
                    let end = sequence.find(|c: char| ('\x40'..='\x7e').contains(&c));
                    let (body, after) = match end {
                        Some(end) => sequence.split_at(end + 1),
                        None => (sequence, ""),
                    };
                    rest = after;
                    all.extend(match body {
                        "A" => Some(Key::Up),
                        "B" => Some(Key::Down),
                        "H" | "1~" | "7~" => Some(Key::Home),
                        "F" | "4~" | "8~" => Some(Key::End),
                        "5~" => Some(Key::PageUp),
                        "6~" => Some(Key::PageDown),
                        _ => None,
                    });
                }
                None => all.push(Key::Escape),
            },
            '\r' | '\n' => all.push(Key::Enter),
            '\x7f' | '\x08' => all.push(Key::Backspace),
            c if c.is_control() => {}
            c => all.push(Key::Char(c)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_differs_is_written() {
        let before = lines("head\na 1\nb 2\nc 3");
        assert_eq!(frame(None, &lines("a\nb")), "\x1b[?2026h\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J\x1b[?2026l");
        assert_eq!(frame(Some(&before), &before), "");
        assert_eq!(frame(Some(&before), &lines("head\na 1\nb 7\nc 3")), "\x1b[?2026h\x1b[3;1Hb 7\x1b[K\x1b[?2026l");
        assert_eq!(frame(Some(&before), &lines("head\na 1")), "\x1b[?2026h\x1b[3;1H\x1b[J\x1b[?2026l");
        assert_eq!(frame(Some(&lines("a")), &lines("a\nb")), "\x1b[?2026h\x1b[2;1Hb\x1b[K\x1b[?2026l");
    }

    #[test]
    fn keys_are_told_apart() {
        use Key::*;
        assert_eq!(keys(b"c/\x7f\r"), [Char('c'), Char('/'), Backspace, Enter]);
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~"), [Up, Down, PageUp, PageDown, Home, End]);
        assert_eq!(keys(b"\x1b"), [Escape]);
        assert_eq!(keys(b"\x1bq"), [Escape, Char('q')]);
        // what a mouse or a function key sends
        assert_eq!(keys(b"\x1b[<0;1;2M\x1b[15~x"), [Char('x')]);
        assert_eq!(keys("ü\x01".as_bytes()), [Char('ü')]);
        assert!(keys(b"\x1b[").is_empty());
    }
}
