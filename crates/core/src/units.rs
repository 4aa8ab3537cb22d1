//! Quantities as people write them: `8GB`, `512MiB`, and how we print them back.

use std::fmt;

/// Why a text is no quantity of bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BytesError {
    /// No unit: `8` could be anything.
    #[error("`{found}` has no unit; write for example `{example}`")]
    NoUnit {
        /// The whole text.
        found: String,
        /// The same amount with a unit.
        example: String,
    },
    /// `8G`: some programs read it as 10^9, others as 2^30.
    #[error(
        "`{found}` is ambiguous; write `{number}{prefix}B` (powers of 1000) or `{number}{prefix}iB` (powers of 1024)"
    )]
    Ambiguous {
        /// The whole text.
        found: String,
        /// The number in it.
        number: String,
        /// The letter behind the number.
        prefix: String,
    },
    /// A unit that is none.
    #[error(
        "`{found}` has the unknown unit `{unit}`; use B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024)"
    )]
    UnknownUnit {
        /// The whole text.
        found: String,
        /// The part behind the number.
        unit: String,
    },
    /// Not a number, negative, infinite or zero.
    #[error("`{0}` is not a size; write a number over zero and a unit, for example `8GB`")]
    NotPositive(String),
}

/// Reads `8GB`, `7.5 GiB`, `900MB`, `8e9B`. Decimal units are powers of 1000, `i` units powers of 1024; case does not matter.
///
/// # Errors
/// No unit, an unknown or ambiguous unit, or a number that is not over zero.
pub fn parse_bytes(text: &str) -> Result<u64, BytesError> {
    let trimmed = text.trim();
    let split = number_length(trimmed);
    let (number, unit) = (trimmed[..split].replace('_', ""), trimmed[split..].trim());
    let value: f64 = number.parse().map_err(|_| BytesError::NotPositive(trimmed.to_owned()))?;
    if !value.is_finite() || value <= 0.0 {
        return Err(BytesError::NotPositive(trimmed.to_owned()));
    }
    let scale: f64 = match unit.to_ascii_lowercase().as_str() {
        "" => {
            // A small number means gigabytes, a large one is a count of bytes.
            let unit = if value < 1e5 { "GB" } else { "B" };
            return Err(BytesError::NoUnit { found: trimmed.to_owned(), example: format!("{number}{unit}") });
        }
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        "k" | "m" | "g" | "t" => {
            let (found, prefix) = (trimmed.to_owned(), unit.to_uppercase());
            return Err(BytesError::Ambiguous { found, number, prefix });
        }
        _ => {
            return Err(BytesError::UnknownUnit { found: trimmed.to_owned(), unit: unit.to_owned() });
        }
    };
    let bytes = value * scale;
    if bytes < 1.0 || bytes >= u64::MAX as f64 {
        return Err(BytesError::NotPositive(trimmed.to_owned()));
    }
    Ok(bytes as u64)
}

/// Bytes of the number that a text begins with, an exponent included where digits follow it.
fn number_length(text: &str) -> usize {
    let plain = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+' || c == '_'))
        .unwrap_or(text.len());
    let rest = &text[plain..];
    let Some(exponent) = rest.strip_prefix(['e', 'E']).filter(|_| plain > 0) else { return plain };
    let signed = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let digits = signed.find(|c: char| !c.is_ascii_digit()).unwrap_or(signed.len());
    if digits == 0 { plain } else { plain + 1 + (exponent.len() - signed.len()) + digits }
}

/// Prints bytes in decimal units with three significant digits: `8.00 GB`, `212 MB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["kB", "MB", "GB", "TB"] {
            if value < 999.5 {
                break;
            }
            value /= 1000.0;
            unit = next;
        }
        let text = if unit == "B" || value >= 99.95 {
            format!("{value:.0} {unit}")
        } else if value >= 9.995 {
            format!("{value:.1} {unit}")
        } else {
            format!("{value:.2} {unit}")
        };
        f.pad(&text)
    }
}

/// Numbers in JSON that may be infinite or none: those are words there, since JSON has no such numbers. For `#[serde(with = ...)]`.
pub mod any_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Word(String),
    }

    /// Writes a finite number as it is, another as `inf`, `-inf` or `NaN`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        let written =
            if value.is_finite() { Written::Number(*value) } else { Written::Word(value.to_string()) };
        written.serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Something else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(value),
            Written::Word(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_as_people_write_them() {
        assert_eq!(parse_bytes("8GB"), Ok(8_000_000_000));
        assert_eq!(parse_bytes("8GiB"), Ok(8 << 30));
        assert_eq!(parse_bytes(" 0.5 mib "), Ok(1 << 19));
        let no_unit = |found: &str, example: &str| {
            Err(BytesError::NoUnit { found: found.into(), example: example.into() })
        };
        assert_eq!(parse_bytes("8"), no_unit("8", "8GB"));
        assert_eq!(parse_bytes("8e9"), no_unit("8e9", "8e9B"));
        assert_eq!(parse_bytes("8000000000"), no_unit("8000000000", "8000000000B"));
        assert_eq!(parse_bytes("8e9B"), Ok(8_000_000_000));
        assert_eq!(parse_bytes("8 gib"), Ok(8 << 30));
        let ambiguous = parse_bytes("8g").unwrap_err().to_string();
        assert!(ambiguous.contains("`8GB`") && ambiguous.contains("`8GiB`"), "{ambiguous}");
        assert!(matches!(parse_bytes("8XB"), Err(BytesError::UnknownUnit { .. })));
        for bad in ["0", "0GB", "-8GB", "GB", "", "nanGB", "infGB", "1e300GB", "1e-30GB", "e9B", ".", "7,5GB"]
        {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_with_three_digits() {
        let show = |n| Bytes(n).to_string();
        assert_eq!(show(0), "0 B");
        assert_eq!(show(999), "999 B");
        assert_eq!(show(8_000_000_000), "8.00 GB");
        assert_eq!(show(212_400_000), "212 MB");
        assert_eq!(show(999_999), "1.00 MB");
    }

    #[test]
    fn numbers_that_json_lacks_survive_it() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct One(#[serde(with = "any_number")] f64);
        for value in [0.1, -3.0, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&One(value)).unwrap();
            assert_eq!(serde_json::from_str::<One>(&text).unwrap().0, value, "{text}");
        }
        let text = serde_json::to_string(&One(f64::NAN)).unwrap();
        assert!(serde_json::from_str::<One>(&text).unwrap().0.is_nan());
        assert!(serde_json::from_str::<One>("\"much\"").is_err());
    }
}
