//! Counters of the resolver and their text for Prometheus. Workers count in a [`Tally`] of their
//! own and hand it in once a batch, so that counting costs nearly nothing.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wire::{TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_HTTPS, TYPE_MX, TYPE_NS, TYPE_PTR, TYPE_SOA};
use super::wire::{TYPE_SRV, TYPE_TXT, u16_at};

/// Types that are counted by name; every other is `other`.
const TYPES: [(u16, &str); 11] = [
    (TYPE_A, "A"),
    (TYPE_AAAA, "AAAA"),
    (TYPE_HTTPS, "HTTPS"),
    (TYPE_PTR, "PTR"),
    (TYPE_SRV, "SRV"),
    (TYPE_TXT, "TXT"),
    (TYPE_MX, "MX"),
    (TYPE_NS, "NS"),
    (TYPE_SOA, "SOA"),
    (TYPE_CNAME, "CNAME"),
    (TYPE_ANY, "ANY"),
];
const RCODES: [&str; 7] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other"];
/// Upper bounds in microseconds.
const BOUNDS: [u64; 15] =
    [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the ready answers.
    Fast,
    /// By the full path.
    Full,
    /// From the cache.
    Cache,
    /// Asked upstream.
    Forwarded,
    /// Not at all: noise, or a client that is none of ours.
    Dropped,
}

const WAYS: [&str; 5] = ["fast", "full", "cache", "forwarded", "dropped"];

macro_rules! counters {
    ($number:ty, $name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Default)]
        pub struct $name {
            types: [$number; TYPES.len() + 1],
            rcodes: [$number; RCODES.len()],
            ways: [$number; WAYS.len()],
            buckets: [$number; BOUNDS.len() + 1],
            micros: $number,
            tcp: $number,
            truncated: $number,
        }
    };
}

counters!(u64, Tally, "What one worker counted since it last handed in.");
counters!(AtomicU64, Metrics, "The sums of all workers.");

impl Tally {
    /// Counts an answer by its own bytes.
    #[inline]
    pub fn answer(&mut self, answer: &[u8], qtype: u16, way: Way, tcp: bool) {
        let flags = u16_at(answer, 2).unwrap_or(0);
        let kind = TYPES.iter().position(|(number, _)| *number == qtype).unwrap_or(TYPES.len());
        self.types[kind] += 1;
        self.rcodes[usize::from(flags & 0xF).min(RCODES.len() - 1)] += 1;
        self.ways[way as usize] += 1;
        self.truncated += u64::from(flags & 0x0200 != 0);
        self.tcp += u64::from(tcp);
    }

    pub fn dropped(&mut self) {
        self.ways[Way::Dropped as usize] += 1;
    }

    /// So many answers took so long.
    pub fn took(&mut self, answers: u64, time: Duration) {
        let micros = time.as_micros() as u64;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += answers;
        self.micros += answers * micros;
    }
}

impl Metrics {
    /// Takes what a worker counted and sets it back to nothing.
    pub fn take(&self, tally: &mut Tally) {
        let tally = std::mem::take(tally);
        let add = |ours: &[AtomicU64], theirs: &[u64]| {
            for (sum, value) in ours.iter().zip(theirs).filter(|(_, value)| **value > 0) {
                sum.fetch_add(*value, Ordering::Relaxed);
            }
        };
        add(&self.types, &tally.types);
        add(&self.rcodes, &tally.rcodes);
        add(&self.ways, &tally.ways);
        add(&self.buckets, &tally.buckets);
        for (sum, value) in [(&self.micros, tally.micros), (&self.tcp, tally.tcp), (&self.truncated, tally.truncated)] {
            if value > 0 {
                sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }

    /// Questions answered.
    pub fn answered(&self) -> u64 {
        self.rcodes.iter().map(|sum| sum.load(Ordering::Relaxed)).sum()
    }

    /// Answers by way, in the order fast, full, cache, forwarded, dropped.
    pub fn ways(&self) -> [(&'static str, u64); 5] {
        std::array::from_fn(|way| (WAYS[way], self.ways[way].load(Ordering::Relaxed)))
    }

    /// The text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(4096);
        let get = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        head(&mut text, "macula_dns_questions_total", "counter", "Questions answered, by type");
        let names = TYPES.iter().map(|(_, name)| *name).chain(["other"]);
        for (name, sum) in names.zip(&self.types) {
            line(&mut text, "macula_dns_questions_total", &[("type", name)], get(sum));
        }
        head(&mut text, "macula_dns_answers_total", "counter", "Answers, by response code");
        for (name, sum) in RCODES.iter().zip(&self.rcodes) {
            line(&mut text, "macula_dns_answers_total", &[("rcode", name)], get(sum));
        }
        head(&mut text, "macula_dns_paths_total", "counter", "Messages, by how they were handled");
        for (name, sum) in self.ways() {
            line(&mut text, "macula_dns_paths_total", &[("path", name)], sum);
        }
        head(&mut text, "macula_dns_tcp_total", "counter", "Questions answered over TCP");
        line(&mut text, "macula_dns_tcp_total", &[], get(&self.tcp));
        head(&mut text, "macula_dns_truncated_total", "counter", "Answers with the TC bit");
        line(&mut text, "macula_dns_truncated_total", &[], get(&self.truncated));
        head(&mut text, "macula_dns_answer_seconds", "histogram", "Time from a question's arrival to its answer");
        let mut sum = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            sum += get(count);
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            line(&mut text, "macula_dns_answer_seconds_bucket", &[("le", &bound)], sum);
        }
        let _ = writeln!(text, "macula_dns_answer_seconds_sum {}", get(&self.micros) as f64 / 1e6);
        line(&mut text, "macula_dns_answer_seconds_count", &[], sum);
        text
    }
}

/// The two lines above a metric.
pub fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One sample.
pub fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let _ = match labels.is_empty() {
        true => writeln!(text, "{name} {value}"),
        false => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stands_in_the_text() {
        let (metrics, mut tally) = (Metrics::default(), Tally::default());
        // no such name, cut off
        tally.answer(&[0, 0, 0x82, 3], TYPE_A, Way::Cache, true);
        tally.answer(&[0, 0, 0x80, 5], TYPE_AAAA, Way::Full, false);
        // a type and a code that nobody has heard of
        tally.answer(&[0, 0, 0x80, 0xf], 65_280, Way::Forwarded, false);
        tally.dropped();
        tally.took(1, Duration::from_secs(6));
        tally.took(3, Duration::from_micros(10));
        tally.took(1, Duration::from_micros(11));
        metrics.take(&mut tally);
        // handed in once
        metrics.take(&mut tally);
        assert_eq!(metrics.answered(), 3);
        let text = metrics.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        macula_dns_questions_total{type="A"} 1
        macula_dns_questions_total{type="AAAA"} 1
        macula_dns_questions_total{type="other"} 1
        macula_dns_answers_total{rcode="NXDOMAIN"} 1
        macula_dns_answers_total{rcode="REFUSED"} 1
        macula_dns_answers_total{rcode="other"} 1
        macula_dns_paths_total{path="full"} 1
        macula_dns_paths_total{path="cache"} 1
        macula_dns_paths_total{path="forwarded"} 1
        macula_dns_paths_total{path="dropped"} 1
        macula_dns_tcp_total 1
        macula_dns_truncated_total 1
        macula_dns_answer_seconds_bucket{le="0.00001"} 3
        macula_dns_answer_seconds_bucket{le="0.000025"} 4
        macula_dns_answer_seconds_bucket{le="0.00005"} 4
        macula_dns_answer_seconds_bucket{le="0.0001"} 4
        macula_dns_answer_seconds_bucket{le="0.00025"} 4
        macula_dns_answer_seconds_bucket{le="0.0005"} 4
        macula_dns_answer_seconds_bucket{le="0.001"} 4
        macula_dns_answer_seconds_bucket{le="0.0025"} 4
        macula_dns_answer_seconds_bucket{le="0.005"} 4
        macula_dns_answer_seconds_bucket{le="0.01"} 4
        macula_dns_answer_seconds_bucket{le="0.05"} 4
        macula_dns_answer_seconds_bucket{le="0.1"} 4
        macula_dns_answer_seconds_bucket{le="0.5"} 4
        macula_dns_answer_seconds_bucket{le="1"} 4
        macula_dns_answer_seconds_bucket{le="5"} 4
        macula_dns_answer_seconds_bucket{le="+Inf"} 5
        macula_dns_answer_seconds_sum 6.000041
        macula_dns_answer_seconds_count 5
        "#);
    }
}
