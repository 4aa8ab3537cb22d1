//! Durations as people write them: `90s`, `30m`, `1h 30m`, `1.5h`, `30 minutes`, `00:30:00`, `PT30M`.
//!
//! A capital `M` alone is refused: it is minutes to some and months to others, and a study of 30 months is nobody's wish.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// No unit: `90` could be seconds or minutes.
    #[error("`{0}` has no unit; write `{0}s` for seconds or `{0}m` for minutes, as in 90s, 30m or 2h")]
    NoUnit(String),
    /// `30M`: minutes or months.
    #[error("`{found}` is ambiguous: `M` could be minutes or months; write `{number}m` for minutes")]
    AmbiguousM {
        /// The whole text.
        found: String,
        /// The number before the `M`.
        number: String,
    },
    /// `5:30`: minutes and seconds, or hours and minutes.
    #[error("`{0}` is ambiguous; write hours, minutes and seconds, for example `00:05:30`")]
    TwoParts(String),
    /// A unit that is none.
    #[error("`{found}` has the unknown unit `{unit}`; use ms, s, m, h or d, for example 90s, 30m or 1h30m")]
    UnknownUnit {
        /// The whole text.
        found: String,
        /// The part behind the number.
        unit: String,
    },
    /// No duration, or one that is not over zero.
    #[error("`{0}` is not a duration over zero; write for example 90s, 30m or 2h")]
    NotPositive(String),
    /// More than [`LONGEST`].
    #[error("`{0}` is longer than a year; write for example 90s, 30m or 2h")]
    TooLong(String),
}

/// The longest duration that is taken: a year.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a duration over zero.
///
/// # Errors
/// No unit, an unknown or ambiguous one, or a number that is not over zero.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let trimmed = text.trim();
    let seconds = match iso(trimmed) {
        Some(body) => spelled(body, trimmed, true)?,
        None if trimmed.contains(':') => clock(trimmed)?,
        None => spelled(trimmed, trimmed, false)?,
    };
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(DurationError::NotPositive(trimmed.to_owned()));
    }
    if seconds > LONGEST.as_secs_f64() {
        return Err(DurationError::TooLong(trimmed.to_owned()));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::TooLong(trimmed.to_owned()))
}

/// What follows `PT` in a duration of ISO 8601, where `M` is minutes.
fn iso(text: &str) -> Option<&str> {
    let head = text.get(..2)?;
    head.eq_ignore_ascii_case("PT").then(|| &text[2..])
}

/// `hh:mm:ss`, in seconds.
fn clock(text: &str) -> Result<f64, DurationError> {
    let wrong = || DurationError::NotPositive(text.to_owned());
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    if parts.len() == 2 {
        return Err(DurationError::TwoParts(text.to_owned()));
    }
    let [hours, minutes, seconds] = parts[..] else { return Err(wrong()) };
    let number = |part: &str, below: f64| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<f64>().ok().filter(|n| digits && *n < below).ok_or_else(wrong)
    };
    Ok(number(hours, f64::INFINITY)? * 3600.0 + number(minutes, 60.0)? * 60.0 + number(seconds, 60.0)?)
}

/// Numbers with units, the larger ones first, in seconds. `whole` is the text that errors quote.
fn spelled(text: &str, whole: &str, minutes_may_be_capital: bool) -> Result<f64, DurationError> {
    let wrong = || DurationError::NotPositive(whole.to_owned());
    let mut rest = text;
    let (mut total, mut smallest) = (0.0, f64::INFINITY);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = &rest[..end];
        let value: f64 = number.parse().map_err(|_| wrong())?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..end];
        rest = &rest[end..];
        if unit == "M" && !minutes_may_be_capital {
            return Err(DurationError::AmbiguousM { found: whole.to_owned(), number: number.to_owned() });
        }
        let scale = match unit.to_lowercase().as_str() {
            "" if value > 0.0 && rest.is_empty() => return Err(DurationError::NoUnit(whole.to_owned())),
            "" => return Err(wrong()),
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 24.0 * 3600.0,
            _ => {
                return Err(DurationError::UnknownUnit { found: whole.to_owned(), unit: unit.to_owned() });
            }
        };
        // `30m 1h` and `5m 5m` are slips of the hand.
        if scale >= smallest {
            return Err(wrong());
        }
        smallest = scale;
        total += value * scale;
    }
    if smallest.is_infinite() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("30m", 1800.0),
            ("2h", 7200.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("1 hour 30 minutes", 5400.0),
            ("90s", 90.0),
            ("90 sec", 90.0),
            ("0.5h", 1800.0),
            ("1.5h", 5400.0),
            (".5m", 30.0),
            ("30 min", 1800.0),
            ("30MIN", 1800.0),
            ("30 minutes", 1800.0),
            ("00:30:00", 1800.0),
            ("1:30:05", 5405.0),
            ("PT30M", 1800.0),
            ("pt1h30m", 5400.0),
            ("1d", 86400.0),
            (" 80ms ", 0.08),
            ("11m30s", 690.0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn thirty_capital_m_is_not_thirty_months() {
        let text = parse_duration("30M").unwrap_err().to_string();
        assert!(text.contains("`30m`") && text.contains("months"), "{text}");
        assert!(parse_duration("1h30M").unwrap_err().to_string().contains("`30m`"));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_remedy() {
        for (text, remedy) in [
            ("5", "`5s`"),
            ("0", "30m"),
            ("0s", "30m"),
            ("-5m", "30m"),
            ("", "30m"),
            ("m", "30m"),
            ("soon", "30m"),
            ("1e3s", "unknown unit `e`"),
            ("30 months", "unknown unit `months`"),
            ("2y", "unknown unit"),
            ("30m 1h", "30m"),
            ("5m 5m", "30m"),
            ("5:30", "00:05:30"),
            ("1:2:3:4", "30m"),
            ("1:75:00", "30m"),
            ("-1:00:00", "30m"),
            ("999999999h", "year"),
            ("nan", "30m"),
            ("NaNs", "30m"),
            ("infs", "30m"),
            ("1,5h", "30m"),
            ("٣٠m", "30m"),
            ("PT", "30m"),
        ] {
            let said = parse_duration(text).unwrap_err().to_string();
            assert!(said.contains(remedy), "{text}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_seconds_come_back(n in 1u64..10_000_000) {
            proptest::prop_assert_eq!(parse_duration(&format!("{n}s")), Ok(Duration::from_secs(n)));
        }
    }
}
