//! The resolver's own clock.

use rustix::time::{ClockId, clock_gettime};

/// One that goes on while the machine sleeps, which an [`std::time::Instant`] does not: an answer that came before a
/// night is old after it. What is called monotonic on macOS does so, too (clock_gettime(3)).
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Counts the whole seconds since it was started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: i64,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: millis() }
    }

    pub fn now(self) -> u32 {
        u32::try_from(millis().saturating_sub(self.started) / 1000).unwrap_or(0)
    }
}

fn millis() -> i64 {
    let time = clock_gettime(CLOCK);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_its_start() {
        assert!(Clock::start().now() < 60);
        assert!((3600..3660).contains(&Clock { started: millis() - 3_600_000 }.now()));
    }
}
