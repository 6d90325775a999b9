//! The live tree. A thread of its own paints at most every 80 ms, and only while something runs:
//! whoever reports an event never waits for the terminal. [`Reporter::finish`] paints the last
//! picture itself, so nothing lingers at the end.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::run::Run;
use super::{Clock, Size, Streams, Style, Tone, held, text};
use crate::event::{Event, Reporter};

mod screen;
#[cfg(test)]
mod tests;
mod tree;

use screen::Screen;
use tree::View;
pub(super) use tree::title;

/// From one picture to the next.
const TICK: Duration = Duration::from_millis(80);

/// Draws a live tree.
pub(super) struct Tty(Arc<Shared>);

impl Tty {
    pub fn new(streams: Streams) -> Self {
        if streams.terminal.stderr_is_tty {
            held::restore_on_panic();
        }
        Self(Arc::new(Shared::new(streams)))
    }
}

impl Reporter for Tty {
    fn report(&self, event: Event) {
        if let Some(generation) = self.0.report(event) {
            let shared = self.0.clone();
            // without a thread the run is still told: in its last picture
            let _ = std::thread::Builder::new().name("progress".into()).spawn(move || shared.paint_while(generation));
        }
    }

    fn finish(&self) {
        self.0.settle();
    }

    fn draft(&self, lines: &[String]) {
        self.0.draft(lines);
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Locked in this order: the canvas, then the picture.
pub(super) struct Shared {
    canvas: Mutex<Canvas>,
    picture: Mutex<Picture>,
    wake: Condvar,
    style: Style,
    clock: Arc<dyn Clock>,
    size: Arc<dyn Fn() -> Size + Send + Sync>,
    verbose: bool,
}

struct Canvas {
    err: Box<dyn Write + Send>,
    screen: Screen,
}

/// What is to be drawn.
#[derive(Default)]
struct Picture {
    run: Run,
    /// Lines that stay, above the tree.
    notes: Vec<String>,
    live: bool,
    /// Counts trees, so that a painter knows when its own is over.
    generation: u64,
    changed: bool,
    /// The painter sleeps until it is woken.
    idle: bool,
}

impl Shared {
    pub fn new(streams: Streams) -> Self {
        Self {
            canvas: Mutex::new(Canvas { err: streams.err, screen: Screen::new(streams.terminal.stderr_is_tty) }),
            picture: Mutex::default(),
            wake: Condvar::new(),
            style: streams.style,
            clock: streams.clock,
            size: streams.size,
            verbose: streams.verbose,
        }
    }

    /// Takes an event in; `Some` when a tree begins that needs a painter.
    pub fn report(&self, event: Event) -> Option<u64> {
        let now = self.clock.elapsed();
        match &event {
            Event::Info { message } => {
                self.note(self.wrapped("", message));
                return None;
            }
            Event::Warning { message, .. } => {
                let note = self.wrapped("warning: ", message);
                self.note(note.replacen("warning:", &self.style.paint(Tone::Warn, "warning:"), 1));
                return None;
            }
            Event::Finished { .. } => {
                lock(&self.picture).run.hear(&event, now);
                self.settle();
                return None;
            }
            Event::Started { .. } => self.settle(),
            _ => {}
        }
        let mut picture = lock(&self.picture);
        if !picture.live && !matches!(event, Event::Started { .. }) {
            picture.run = Run::default();
            picture.run.began = now;
        }
        picture.run.hear(&event, now);
        self.begin(picture)
    }

    /// The picture has changed; `Some` when a new tree has begun with it.
    fn begin(&self, mut picture: MutexGuard<'_, Picture>) -> Option<u64> {
        picture.changed = true;
        if picture.idle {
            self.wake.notify_all();
        }
        let new = !picture.live;
        picture.live = true;
        new.then_some(picture.generation)
    }

    /// A note in lines that fit: a terminal would break words.
    fn wrapped(&self, label: &str, message: &str) -> String {
        text::wrap(&format!("{label}{}", text::clean_text(message)), (self.size)().columns).join("\n")
    }

    /// A line that stays. Without a tree it is written at once.
    fn note(&self, note: String) {
        let mut picture = lock(&self.picture);
        picture.notes.push(note);
        if picture.live {
            self.begin(picture);
        } else {
            drop(picture);
            self.paint(None);
        }
    }

    /// The painter's life: until the tree of this generation is over.
    fn paint_while(&self, generation: u64) {
        loop {
            let mut picture = lock(&self.picture);
            if picture.generation != generation {
                return;
            }
            let due = picture.changed || picture.run.working();
            if due {
                picture.changed = false;
                drop(picture);
                self.paint(Some(generation));
                picture = lock(&self.picture);
                if picture.generation == generation {
                    drop(self.wake.wait_timeout_while(picture, TICK, |picture| picture.generation == generation));
                }
            } else {
                picture.idle = true;
                let idle = |picture: &mut Picture| picture.generation == generation && !picture.changed;
                let woken = self.wake.wait_while(picture, idle);
                woken.unwrap_or_else(PoisonError::into_inner).idle = false;
            }
        }
    }

    /// Draws the tree as it is now, or only the notes when there is none (any more).
    pub fn paint(&self, generation: Option<u64>) {
        let mut canvas = lock(&self.canvas);
        let mut picture = lock(&self.picture);
        if generation.is_some_and(|generation| generation != picture.generation) || released(&canvas) {
            return;
        }
        let size = (self.size)();
        let now = self.clock.elapsed();
        let left = picture.run.left(now);
        let view = self.view(size, Some(size.rows), now, left);
        let lines = if picture.live { tree::lines(&picture.run, &view) } else { Vec::new() };
        let notes = std::mem::take(&mut picture.notes);
        let live = picture.live;
        drop(picture);
        canvas.draw(&notes, &lines, size, live);
    }

    /// Lines that give way to a result; while a tree is drawn there is no room for them.
    pub fn draft(&self, lines: &[String]) {
        let mut canvas = lock(&self.canvas);
        if lock(&self.picture).live || released(&canvas) {
            return;
        }
        let size = (self.size)();
        let frame = canvas.screen.draft(&screen::fitting(lines, size), size);
        canvas.write(&frame);
    }

    fn view(&self, size: Size, rows: Option<usize>, now: Duration, left: Option<Duration>) -> View {
        View { style: self.style, now, columns: size.columns, rows, verbose: self.verbose, left }
    }

    /// The last picture of the tree, for good.
    fn settle(&self) {
        let mut canvas = lock(&self.canvas);
        let mut picture = lock(&self.picture);
        let size = (self.size)();
        if !picture.live {
            // a draft gives way to whatever comes: a result, a question
            let frame = canvas.screen.draft(&[], size);
            canvas.write(&frame);
        }
        if !picture.live && picture.notes.is_empty() && picture.run.outcome.is_none() {
            return;
        }
        let view = self.view(size, None, self.clock.elapsed(), None);
        let lines = tree::lines(&picture.run, &view);
        let notes = std::mem::take(&mut picture.notes);
        picture.run = Run::default();
        picture.live = false;
        picture.generation += 1;
        self.wake.notify_all();
        drop(picture);
        canvas.draw(&notes, &lines, size, false);
    }
}

impl Canvas {
    /// One write for the whole picture.
    fn draw(&mut self, notes: &[String], lines: &[String], size: Size, live: bool) {
        let frame = self.screen.frame(notes, lines, size, live);
        self.write(&frame);
    }

    fn write(&mut self, frame: &str) {
        if !frame.is_empty() {
            // nobody watches any more: no reason to stop the work
            let _ = self.err.write_all(frame.as_bytes());
            let _ = self.err.flush();
        }
    }
}

fn released(canvas: &Canvas) -> bool {
    canvas.screen.of_this_process() && held::is_released()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
