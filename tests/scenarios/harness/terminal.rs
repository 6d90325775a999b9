//! The program at a terminal of its own: what is typed, and what one sees.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{PATIENCE, skipped};

pub struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs the program, then shows what `stty -a` says and the exit code. Without the program `script` there is no terminal to be had.
    pub fn start(scenario: &str, program: &Command, columns: u16, rows: u16) -> Option<Self> {
        let word = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
        let words: Vec<String> = std::iter::once(program.get_program()).chain(program.get_args()).map(word).collect();
        // Ctrl-C is the program's, not the shell's
        let size = format!("stty rows {rows} cols {columns}");
        let line = format!("trap : INT; {size}; {}; code=$?; stty -a; echo code $code", words.join(" "));
        let mut command = Command::new("script");
        command.args(["-q", "-f", "-c", &line, "/dev/null"]).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm").env("LANG", "C.UTF-8").env("SHELL", "/bin/sh");
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else {
            skipped(scenario, "script", "script is not installed");
            return None;
        };
        let cells = |cells: u16| NonZeroU16::new(cells).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let (mut out, drawn) = (child.stdout.take().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut piece) {
                drawn.lock().unwrap().process(&piece[..read]);
            }
        });
        Some(Self { child, screen })
    }

    pub fn types(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The other screen, where nothing of the shell is overwritten.
    pub fn is_full_screen(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    pub fn hides_cursor(&self) -> bool {
        self.screen.lock().unwrap().screen().hide_cursor()
    }

    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !holds(&self.text()) {
            assert!(begun.elapsed() < PATIENCE, "never came: {what}\n{}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    /// A scenario that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
