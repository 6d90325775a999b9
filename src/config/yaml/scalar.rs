//! Plain scalars and numbers, read and written as the YAML library of Docker Compose (go-yaml 3)
//! does it: YAML 1.2, with the octals of 1.1 still understood.

use super::tree::{Node, Value};

impl Node {
    /// A scalar as Go prints it; `None` for lists and maps. Null is `None` too.
    pub(in crate::config) fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Unsigned(number) => Some(number.to_string()),
            Value::Float(number) => Some(format_float(*number)),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Reset => None,
        }
    }
}

/// What an unquoted scalar means.
pub(in crate::config) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => match parse_float(text) {
            Some(number) => Value::Float(number),
            None => Value::Text(text.to_owned()),
        },
        Some(b'+' | b'-' | b'0'..=b'9') if !is_timestamp(text) => {
            let plain = text.replace('_', "");
            match parse_int(&plain) {
                Some(number) => match i64::try_from(number) {
                    Ok(number) => Value::Int(number),
                    Err(_) => u64::try_from(number).map_or(Value::Float(number as f64), Value::Unsigned),
                },
                None => match parse_float(&plain) {
                    Some(number) => Value::Float(number),
                    None => Value::Text(text.to_owned()),
                },
            }
        }
        _ => Value::Text(text.to_owned()),
    }
}

/// Would an unquoted scalar be read back as this text?
pub(in crate::config) fn reads_as_text(text: &str) -> bool {
    !is_timestamp(text) && matches!(resolve(text), Value::Text(_))
}

/// An integer as Go's `strconv.ParseInt(text, 0, 64)` reads it, up to the unsigned 64 bits.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let number = if negative { -number } else { number };
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// `[-+]? ( . digits | digits ( . digits? )? ) ( e [-+]? digits )?`
fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, Some(unsigned.get(at + 1..)?)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let shape = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let tail = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    if !shape || !tail {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Does go-yaml take this for a time stamp? We never do, but then such a text is written quoted.
fn is_timestamp(text: &str) -> bool {
    fn number(text: &str, least: usize, most: usize, low: u32, high: u32) -> Option<&str> {
        let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let value: u32 = text.get(..length)?.parse().ok()?;
        (length >= least && (low..=high).contains(&value)).then(|| text.get(length..)).flatten()
    }
    fn date(text: &str) -> Option<&str> {
        let rest = number(text, 4, 4, 0, 9999)?.strip_prefix('-')?;
        let rest = number(rest, 1, 2, 1, 12)?.strip_prefix('-')?;
        number(rest, 1, 2, 1, 31)
    }
    fn time(text: &str) -> Option<&str> {
        let rest = number(text, 1, 2, 0, 23)?.strip_prefix(':')?;
        let rest = number(rest, 1, 2, 0, 59)?.strip_prefix(':')?;
        let rest = number(rest, 1, 2, 0, 59)?;
        match rest.strip_prefix('.') {
            Some(fraction) => fraction.get(fraction.bytes().take_while(u8::is_ascii_digit).count()..),
            None => Some(rest),
        }
    }
    let Some(rest) = date(text) else { return false };
    if rest.is_empty() {
        return true;
    }
    if let Some(rest) = rest.strip_prefix(['T', 't']).and_then(time) {
        return rest == "Z"
            || rest.strip_prefix(['+', '-']).is_some_and(|zone| {
                number(zone, 2, 2, 0, 23)
                    .and_then(|rest| rest.strip_prefix(':'))
                    .and_then(|rest| number(rest, 2, 2, 0, 59))
                    .is_some_and(str::is_empty)
            });
    }
    rest.strip_prefix(' ').and_then(time).is_some_and(str::is_empty)
}

/// A number as Go's `%v` prints it: the shortest digits, with an exponent from 1e+06 and below 1e-04.
pub(in crate::config) fn format_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    shortest(&format!("{number:e}"))
}

/// [`format_float`] for a number that Compose keeps in 32 bits.
pub(in crate::config) fn format_float32(number: f32) -> String {
    if number.is_finite() { shortest(&format!("{number:e}")) } else { format_float(f64::from(number)) }
}

/// `scientific` is Rust's `{:e}`: the shortest digits that read back as the same number.
fn shortest(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    if !(-4..6).contains(&exponent) {
        let tail = digits.get(1..).filter(|tail| !tail.is_empty()).map(|tail| format!(".{tail}")).unwrap_or_default();
        let head = digits.get(..1).unwrap_or("0");
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{head}{tail}e{direction}{:02}", exponent.unsigned_abs());
    }
    let point = usize::try_from(exponent + 1).unwrap_or(0);
    if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        format!("{sign}0.{}{digits}", "0".repeat(zeros))
    } else if digits.len() <= point {
        format!("{sign}{digits}{}", "0".repeat(point - digits.len()))
    } else {
        let (whole, part) = digits.split_at(point);
        format!("{sign}{whole}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_compose() {
        let int = Value::Int;
        let text = |text: &str| Value::Text(text.to_owned());
        for (plain, want) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("yes", text("yes")),
            ("on", text("on")),
            ("True", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("FALSE", Value::Bool(false)),
            ("fALSE", text("fALSE")),
            (".inf", Value::Float(f64::INFINITY)),
            ("+.INF", Value::Float(f64::INFINITY)),
            ("-.Inf", Value::Float(f64::NEG_INFINITY)),
            ("0", int(0)),
            ("++5", text("++5")),
            ("-9223372036854775808", int(i64::MIN)),
            ("-9223372036854775809", Value::Float(i64::MIN as f64)),
            ("9223372036854775808", Value::Unsigned(1 << 63)),
            ("0xFFFF_FFFF_FFFF_FFFF", Value::Unsigned(u64::MAX)),
            ("18446744073709551615", Value::Unsigned(u64::MAX)),
            ("18446744073709551616", Value::Float(u64::MAX as f64)),
            ("0644", int(420)),
            ("0o644", int(420)),
            ("0x1F", int(31)),
            ("0b101", int(5)),
            ("1_000", int(1000)),
            ("-17", int(-17)),
            ("+5", int(5)),
            ("08", Value::Float(8.0)),
            ("1.50", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e3", Value::Float(1000.0)),
            ("1e+3", Value::Float(1000.0)),
            ("+1.5", Value::Float(1.5)),
            ("1e", text("1e")),
            ("1e3x", text("1e3x")),
            ("e3", text("e3")),
            ("1.2.3", text("1.2.3")),
            ("8080:80", text("8080:80")),
            ("2020-01-02", text("2020-01-02")),
            ("-", text("-")),
            (".", text(".")),
            ("0x", text("0x")),
            ("9223372036854775807", int(i64::MAX)),
        ] {
            assert_eq!(resolve(plain), want, "{plain}");
        }
        for plain in [".nan", ".NaN", ".NAN"] {
            assert!(matches!(resolve(plain), Value::Float(number) if number.is_nan()), "{plain}");
        }
    }

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (number, want) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (1.25, "1.25"),
            (100.0, "100"),
            (1e6, "1e+06"),
            (123456.5, "123456.5"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
            (10.5, "10.5"),
            // the last ones without an exponent, and the first ones with it
            (999_999.0, "999999"),
            (1_234_567.5, "1.2345675e+06"),
            (-0.00012, "-0.00012"),
            (-1.5e-7, "-1.5e-07"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_float(number), want);
        }
        for (number, want) in [(0.1, "0.1"), (16_777_216.0, "1.6777216e+07"), (f32::NEG_INFINITY, "-Inf")] {
            assert_eq!(format_float32(number), want);
        }
    }

    #[test]
    fn times_are_kept_apart_from_text() {
        for time in [
            "2001-12-14",
            "2001-1-2",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14T1:59:43+23:59",
            "2001-12-14T21:59:43Z",
            "2001-12-14 21:59:43.10",
            "2001-12-31 23:59:59",
        ] {
            assert!(!reads_as_text(time), "{time}");
        }
        for text in [
            "2001-13-14",
            "2001-00-14",
            "2001-12-32",
            "2001-12",
            "20011-2-3",
            "2001-12-14x",
            "2001-12-14 24:59:43",
            "2001-12-14 21:60:43",
            "2001-12-14 21:59:43Z",
            "2001-12-14T21:59:43",
            "2001-12-14T21:59:43z",
            "2001-12-14T21:59:43+5:00",
            "2001-12-14T21:59:43+05:00x",
            "abc",
            "1.2.3.4",
        ] {
            assert!(reads_as_text(text), "{text}");
        }
    }
}
