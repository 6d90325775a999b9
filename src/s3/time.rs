//! The two ways in which S3 writes a time, and reading one back.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2026-11-28T09:00:00.000Z`
pub fn iso(milliseconds: i64) -> String {
    at(milliseconds).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// `Sat, 28 Nov 2026 09:00:00 GMT`
pub fn http(milliseconds: i64) -> String {
    at(milliseconds).to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A date of HTTP, or one of ISO 8601 in either form.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let http = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let iso = || text.parse::<Timestamp>().ok();
    http().or_else(iso).or_else(|| basic(text)).map(Timestamp::as_millisecond)
}

/// `20261128T090000Z`, as signatures have it.
fn basic(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_back() {
        let time = 1_795_856_400_000;
        assert_eq!(iso(time), "2026-11-28T09:00:00.000Z");
        assert_eq!(http(time), "Sat, 28 Nov 2026 09:00:00 GMT");
        for text in [iso(time), http(time), "20261128T090000Z".to_owned(), "Sat, 28 Nov 2026 09:00:00 +0000".to_owned()]
        {
            assert_eq!(parse(&text), Some(time), "{text}");
        }
        assert_eq!(parse("yesterday"), None);
    }
}
