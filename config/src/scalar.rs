//! YAML 1.1 types of plain scalars, as PyYAML resolves them.
//!
//! docker-registry's files were read by PyYAML, so `yes` is true, `0123` is 83 and `1:30` is 90.
//! serde_yaml follows YAML 1.2 here, therefore the types are worked out from the text.
//! Dates stay text: no key holds one.

/// A scalar as it is written.
#[derive(Clone)]
pub(crate) struct Scalar {
    /// The text without quotes, escapes resolved.
    pub(crate) text: String,
    /// True when no quotes, block marker or `!!str` say that it is text.
    pub(crate) plain: bool,
}

/// What YAML 1.1 takes a scalar for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Typed {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// The type and value.
    pub(crate) fn typed(&self) -> Typed {
        if self.plain { typed(&self.text) } else { Typed::Text(self.text.clone()) }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.plain && is_null(&self.text)
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn typed(text: &str) -> Typed {
    if is_null(text) {
        return Typed::Null;
    }
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Typed::Boolean(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Typed::Boolean(false);
        }
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Typed::Integer(number);
    }
    match float(text) {
        Some(number) => Typed::Float(number),
        None => Typed::Text(text.to_owned()),
    }
}

/// Splits a sign from a number.
fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `0b…`, `0…` (octal), `0x…`, decimal and base 60; underscores separate digits. A number that does not fit
/// `i64` is not an integer.
fn integer(text: &str) -> Option<i64> {
    let (sign, body) = signed(text);
    let digits: String = body.chars().filter(|character| *character != '_').collect();
    let in_radix = |digits: &str, radix: u32| {
        // from_str_radix would take a second sign.
        let clean = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        clean.then(|| i64::from_str_radix(digits, radix).ok()).flatten().map(|number| sign * number)
    };
    if let Some(binary) = body.strip_prefix("0b") {
        return binary.starts_with(['0', '1', '_']).then(|| in_radix(&digits[2..], 2)).flatten();
    }
    if body.starts_with("0x") {
        return in_radix(&digits[2..], 16);
    }
    if body == "0" {
        return Some(0);
    }
    if body.starts_with('0') {
        return in_radix(&digits[1..], 8);
    }
    if !body.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if body.contains(':') {
        let (first, rest) = digits.split_once(':')?;
        return Some(sign * base_sixty(in_radix(first, 10)?.checked_abs()?, rest)?);
    }
    in_radix(&digits, 10)
}

/// Adds the parts after the first of `1:30:05`, each 0 to 59 in one or two digits.
fn base_sixty(first: i64, rest: &str) -> Option<i64> {
    rest.split(':').try_fold(first, |total, part| {
        let fits = matches!(part.len(), 1 | 2) && part.chars().all(|digit| digit.is_ascii_digit());
        let part: i64 = fits.then(|| part.parse().ok()).flatten().filter(|part| *part < 60)?;
        total.checked_mul(60)?.checked_add(part)
    })
}

/// Floats need a dot in YAML 1.1, and a signed exponent: `1e5` is text.
fn float(text: &str) -> Option<f64> {
    let (sign, body) = signed(text);
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(sign as f64 * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    if body.starts_with('_') {
        return None;
    }
    let digits: String = body.chars().filter(|character| *character != '_').collect();
    let (whole, fraction) = digits.split_once('.')?;
    if let Some((first, rest)) = whole.split_once(':') {
        let first: i64 = all_digits(first).then(|| first.parse().ok()).flatten()?;
        let seconds = base_sixty(first, rest)? as f64;
        if !all_digits(fraction) {
            return None;
        }
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { decimal(&format!("0.{fraction}"))? };
        return Some(sign as f64 * (seconds + fraction));
    }
    let (mantissa, exponent) = match fraction.split_once(['e', 'E']) {
        None => (fraction, None),
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        exponent.strip_prefix(['+', '-']).is_some_and(|digits| !digits.is_empty() && all_digits(digits))
    });
    let fits = all_digits(whole) && all_digits(mantissa) && !(whole.is_empty() && mantissa.is_empty());
    if !fits || !exponent_fits {
        return None;
    }
    decimal(&digits).map(|number| sign as f64 * number)
}

fn all_digits(text: &str) -> bool {
    text.chars().all(|digit| digit.is_ascii_digit())
}

fn decimal(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Typed {
        Scalar { text: text.to_owned(), plain: true }.typed()
    }

    #[test]
    fn every_spelling_of_booleans_and_null() {
        for text in ["yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"] {
            assert_eq!(plain(text), Typed::Boolean(true), "{text}");
        }
        for text in ["no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"] {
            assert_eq!(plain(text), Typed::Boolean(false), "{text}");
        }
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text), Typed::Null, "{text}");
        }
        for text in ["y", "n", "yEs", "nuLL", "oN"] {
            assert_eq!(plain(text), Typed::Text(text.to_owned()));
        }
    }

    #[test]
    fn integers_of_yaml_1_1() {
        let vectors = [
            ("0", 0),
            ("-1", -1),
            ("+12", 12),
            ("1_000", 1000),
            ("0123", 83),
            ("-017", -15),
            ("00", 0),
            ("0b101", 5),
            ("0x1F", 31),
            ("0x_ff", 255),
            ("1:30", 90),
            ("1:00:05", 3605),
            ("-1:30", -90),
            ("9223372036854775807", i64::MAX),
        ];
        for (text, number) in vectors {
            assert_eq!(plain(text), Typed::Integer(number), "{text}");
        }
        for text in
            ["089", "0o17", "1:60", "1:234", "0x", "0b", "0b2", "--1", "1-2", "9223372036854775808", "_1"]
        {
            assert_eq!(plain(text), Typed::Text(text.to_owned()));
        }
    }

    #[test]
    fn floats_of_yaml_1_1() {
        let vectors = [
            ("1.5", 1.5),
            ("1.", 1.0),
            (".5", 0.5),
            ("-0.25", -0.25),
            ("1_0.5", 10.5),
            ("1.5e+3", 1500.0),
            ("1.5E-1", 0.15),
            ("1:30.5", 90.5),
            (".inf", f64::INFINITY),
            ("-.INF", f64::NEG_INFINITY),
        ];
        for (text, number) in vectors {
            assert_eq!(plain(text), Typed::Float(number), "{text}");
        }
        assert!(matches!(plain(".nan"), Typed::Float(number) if number.is_nan()));
        for text in [
            "1e5",
            "1.5e3",
            ".",
            "1.2.3",
            "127.0.0.1",
            "-.nan",
            "inf",
            "nan",
            "1.5e",
            "a.5",
            "_1.5",
            "1:30.1e5",
        ] {
            assert_eq!(plain(text), Typed::Text(text.to_owned()));
        }
    }

    #[test]
    fn quoted_scalars_are_text() {
        for text in ["yes", "0123", "", "~"] {
            let quoted = Scalar { text: text.to_owned(), plain: false };
            assert_eq!(quoted.typed(), Typed::Text(text.to_owned()));
            assert!(!quoted.is_null());
        }
    }
}
