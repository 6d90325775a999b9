//! Parse, call `cli`, set the exit code.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Before `main` the standard library opens /dev/null in the place of a standard stream that is
/// closed; a result written there would be lost without a word.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn look_at_stdout() {
    // SAFETY: F_GETFD reads the flags of a descriptor and changes nothing
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the loader calls the functions of this section before `main`, one after the other; this
// one needs nothing of the standard library that would have to be set up by then
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static LOOK: extern "C" fn() = look_at_stdout;

fn main() -> ExitCode {
    macula::cli::main(std::env::args_os().collect(), STDOUT_CLOSED.load(Ordering::Relaxed))
}
