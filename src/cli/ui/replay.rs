//! The live tree without its thread and with a clock that stands where it is put: recorded runs are
//! played with it, picture by picture, by the tests and for the pictures of the documentation.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::tty::Shared;
use super::{Clock, Size, Streams, Style, Terminal};
use crate::event::Event;

/// A run that is played.
pub struct Replay {
    shared: Shared,
    clock: Standing,
    out: Written,
}

#[derive(Clone, Default)]
struct Standing(Arc<Mutex<Duration>>);

impl Clock for Standing {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Replay {
    pub fn new(size: Size, style: Style) -> Self {
        let (clock, out) = (Standing::default(), Written::default());
        let shared = Shared::new(Streams {
            err: Box::new(out.clone()),
            style,
            terminal: Terminal::default(),
            clock: Arc::new(clock.clone()),
            size: Arc::new(move || size),
            verbose: false,
        });
        Self { shared, clock, out }
    }

    /// Takes an event in at its time; nothing is painted but what stays.
    pub fn report(&self, at: Duration, event: Event) {
        self.set(at);
        self.shared.report(event);
    }

    /// What is written to paint the picture at this time.
    pub fn paint(&self, at: Duration) -> Vec<u8> {
        self.set(at);
        self.shared.paint(None);
        std::mem::take(&mut *self.out.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, at: Duration) {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}
