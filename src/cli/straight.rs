//! What one step writes goes straight to standard output, as if it ran alone; whatever else happens meanwhile is
//! told when it has ended.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Events, Progress, Reporter};

type Out = Box<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

pub struct Straight {
    inner: Events,
    /// Ids that the step may have.
    steps: Vec<String>,
    out: Out,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    /// The step is under way, and the terminal is its own.
    running: bool,
    later: Vec<Event>,
    lines: usize,
    failed: Option<io::Error>,
}

impl Straight {
    pub fn new(
        inner: Events,
        steps: Vec<String>,
        out: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, steps, out: Box::new(out), so_far: Mutex::default() }
    }

    /// How many lines were handed on; the error: why not all of them.
    pub fn handed_on(&self) -> io::Result<usize> {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        match so_far.failed.take() {
            // a reader that has gone away wants no more
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(so_far.lines),
        }
    }
}

impl Reporter for Straight {
    fn report(&self, event: Event) {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |id: &String| self.steps.contains(id);
        match &event {
            Event::StepStarted { id } if own(id) => {
                self.inner.emit(event);
                self.inner.finish();
                so_far.running = true;
            }
            Event::StepProgress { id, progress: Progress::Line { text } } if own(id) => {
                so_far.lines += 1;
                if so_far.failed.is_none() {
                    so_far.failed = (self.out)(&format!("{text}\n")).err();
                }
            }
            Event::StepDone { id, .. } | Event::StepFailed { id, .. } | Event::StepSkipped { id, .. } if own(id) => {
                so_far.running = false;
                for event in so_far.later.drain(..).chain([event]) {
                    self.inner.emit(event);
                }
            }
            _ if so_far.running => so_far.later.push(event),
            _ => self.inner.emit(event),
        }
    }

    fn finish(&self) {
        self.inner.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn says(&self, text: impl Into<String>) {
            self.0.lock().unwrap().push(text.into());
        }
    }

    impl Reporter for Heard {
        fn report(&self, event: Event) {
            self.says(match event {
                Event::StepStarted { id } => format!("started {id}"),
                Event::StepDone { id, .. } => format!("done {id}"),
                Event::Info { message } => message,
                other => format!("{other:?}"),
            });
        }

        fn finish(&self) {
            self.says("finish");
        }
    }

    fn done(id: &str) -> Event {
        Event::StepDone { id: id.into(), millis: 1, note: None }
    }

    fn line(id: &str, text: &str) -> Event {
        Event::StepProgress { id: id.into(), progress: Progress::Line { text: text.into() } }
    }

    #[test]
    fn the_terminal_is_the_steps_own_while_it_runs() {
        let heard = Arc::new(Heard::default());
        let out = heard.clone();
        let straight = Straight::new(Events::new(heard.clone()), vec!["migrate".into()], move |text| {
            out.says(format!("out: {}", text.trim_end()));
            Ok(())
        });
        let all = [
            Event::StepStarted { id: "db".into() },
            Event::StepStarted { id: "migrate".into() },
            line("migrate", "one"),
            done("db"),
            line("migrate", "two"),
            done("migrate"),
            Event::Info { message: "after".into() },
        ];
        all.into_iter().for_each(|event| straight.report(event));
        let told = heard.0.lock().unwrap().clone();
        assert_eq!(
            told,
            ["started db", "started migrate", "finish", "out: one", "out: two", "done db", "done migrate", "after"]
        );
        assert_eq!(straight.handed_on().unwrap(), 2);
    }

    #[test]
    fn a_full_disk_is_told_and_a_reader_that_has_gone_is_not() {
        let with = |kind: io::ErrorKind| {
            let straight = Straight::new(Events::none(), vec!["migrate".into()], move |_| Err(io::Error::from(kind)));
            straight.report(line("migrate", "one"));
            straight.report(line("migrate", "two"));
            straight.handed_on()
        };
        assert_eq!(with(io::ErrorKind::StorageFull).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(with(io::ErrorKind::BrokenPipe).unwrap(), 2);
    }
}
