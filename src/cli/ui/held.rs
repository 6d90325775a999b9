//! Who has the terminal: we, or for now the shell. The live tree hides its cursor and the other screen takes its
//! keyboard; both are given back on a panic, before this process stops and before it exits at once. Nothing here takes
//! a lock, so that it may be called wherever the process stands.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::Notify;

/// No update stays open, the cursor shows, and what comes next begins a line of its own (a `^C` may stand there).
const RESTORE: &str = "\x1b[?2026l\x1b[?25h\r\n";
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?2026l\x1b[?25h\x1b[?1049l";
/// No key is this one (termios(3), `_POSIX_VDISABLE`).
const NO_KEY: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// Nobody may draw: the terminal was given back.
static RELEASED: AtomicBool = AtomicBool::new(false);
/// The cursor of this process's terminal is hidden by the tree.
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);
/// The next picture of the tree starts below whatever stands on the screen by now.
static TREE_AFRESH: AtomicBool = AtomicBool::new(false);
/// The other screen is shown by this process, or was until the process was stopped.
static SCREEN_OPEN: AtomicBool = AtomicBool::new(false);
/// Whatever stood on the other screen may be gone.
static SCREEN_AFRESH: AtomicBool = AtomicBool::new(false);
/// How the keyboard was before the other screen.
static KEYBOARD: OnceLock<Termios> = OnceLock::new();
static BACK: Notify = Notify::const_new();

/// Gives the terminal back: the cursor shows again, and nothing is drawn until [`reclaim_terminal`].
pub fn release_terminal() {
    RELEASED.store(true, Ordering::SeqCst);
    if SCREEN_OPEN.load(Ordering::SeqCst) {
        leave();
    }
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        let _ = io::stderr().write_all(RESTORE.as_bytes());
    }
}

/// Drawing goes on, below whatever others wrote meanwhile.
pub fn reclaim_terminal() {
    TREE_AFRESH.store(true, Ordering::SeqCst);
    RELEASED.store(false, Ordering::SeqCst);
    if SCREEN_OPEN.load(Ordering::SeqCst) && enter().is_ok() {
        BACK.notify_one();
    }
}

/// Returns when the terminal was given away and is ours again.
pub async fn terminal_is_back() {
    BACK.notified().await;
}

/// The terminal was given back, for now or for good.
pub(super) fn is_released() -> bool {
    RELEASED.load(Ordering::SeqCst)
}

/// A panic's message shows below the picture, with the cursor back; other tasks may go on.
pub(super) fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            release_terminal();
            previous(panic);
            reclaim_terminal();
        }));
    });
}

/// Says whether the tree has hidden the cursor.
pub(super) fn note_cursor(hidden: bool) {
    CURSOR_HIDDEN.store(hidden, Ordering::SeqCst);
}

/// Whether others may have written over the tree; asked once.
pub(super) fn tree_is_afresh() -> bool {
    TREE_AFRESH.swap(false, Ordering::SeqCst)
}

/// Shows the other screen. Keys come one by one and unechoed from now on.
pub(super) fn open_screen() -> io::Result<()> {
    restore_on_panic();
    if let Ok(before) = tcgetattr(io::stdin().as_fd()) {
        // of a second screen of this process, the one that it was the first time
        let _ = KEYBOARD.set(before);
    }
    SCREEN_OPEN.store(true, Ordering::SeqCst);
    enter()
}

pub(super) fn close_screen() {
    if SCREEN_OPEN.swap(false, Ordering::SeqCst) {
        leave();
    }
}

/// Whether nothing stands on the other screen any more; asked once.
pub(super) fn screen_is_afresh() -> bool {
    SCREEN_AFRESH.swap(false, Ordering::SeqCst)
}

fn enter() -> io::Result<()> {
    SCREEN_AFRESH.store(true, Ordering::SeqCst);
    if let Some(before) = KEYBOARD.get() {
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Ctrl-\ would end this process before it can give the terminal back
        keys.special_codes[SpecialCodeIndex::VQUIT] = NO_KEY;
        // without it keys show, which is no reason to show nothing
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &keys);
    }
    put(ENTER)
}

fn leave() {
    // a terminal that is gone needs nothing back
    let _ = put(LEAVE);
    if let Some(before) = KEYBOARD.get() {
        // what was typed and not read was not meant for the shell
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, before);
    }
}

fn put(sequence: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(sequence.as_bytes())?;
    out.flush()
}
