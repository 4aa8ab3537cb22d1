//! The one registry of metrics: name, label, unit, direction, and how a value is printed.
//!
//! Code refers to a metric by its constant in [`names`], so that a misspelt name does not compile. Databases hold the names as text; one that
//! is not registered is described by its suffix.

mod reading;
mod registry;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;
use registry::KNOWN;

pub use reading::Reading;
pub use registry::names;

/// Before the name of a metric that is estimated from everything known, not measured.
pub const ESTIMATED: &str = "estimated_";

/// Which way a metric or an objective is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Less is better.
    Min,
    /// More is better.
    Max,
}

/// What a metric speaks about; each figure sets two families against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Time and rates.
    Speed,
    /// Bytes.
    Memory,
    /// How good the generated code is, or how near to the reference.
    Quality,
    /// Joules and watts.
    Energy,
    /// Anything else.
    Other,
}

/// How a value is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Bytes, in decimal units.
    Bytes,
    /// Tokens each second.
    Rate,
    /// A fraction, printed in percent.
    Share,
    /// Joules.
    Joules,
    /// Watts.
    Watts,
    /// A number without a unit of its own (nats, CodeBLEU).
    Plain,
}

/// A metric's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in the store.
    pub name: String,
    /// For people: `request latency`.
    pub label: String,
    /// For narrow columns: `latency`.
    pub short: String,
    /// What it speaks about.
    pub family: Family,
    /// How it is printed.
    pub unit: Unit,
    /// Which way is better, unless the study says otherwise.
    pub direction: Direction,
}

impl Metric {
    /// Every registered metric, in the order of the registry.
    pub fn registered() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| Self::of(known.name))
    }

    /// The description of a metric; an unknown one is read from its name's suffix.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if let Some(known) = KNOWN.iter().find(|known| known.name == name) {
            return Self {
                name: name.into(),
                label: known.label.into(),
                short: known.short.into(),
                family: known.family,
                unit: known.unit,
                direction: known.direction,
            };
        }
        if let Some(stem) =
            name.strip_prefix(ESTIMATED).filter(|stem| KNOWN.iter().any(|known| known.name == *stem))
        {
            let raw = Self::of(stem);
            let (label, short) = (format!("estimated {}", raw.label), format!("est. {}", raw.short));
            return Self { name: name.into(), label, short, ..raw };
        }
        let (stem, family, unit, direction) = if let Some(stem) = name.strip_suffix("_ms") {
            (stem, Family::Speed, Unit::Ms, Direction::Min)
        } else if let Some(stem) = name.strip_suffix("_bytes") {
            (stem, Family::Memory, Unit::Bytes, Direction::Min)
        } else if let Some(stem) = name.strip_suffix("_tokens_per_s") {
            (stem, Family::Speed, Unit::Rate, Direction::Max)
        } else {
            (name, Family::Other, Unit::Plain, Direction::Min)
        };
        let label = stem.replace('_', " ");
        Self { name: name.into(), short: label.clone(), label, family, unit, direction }
    }

    /// A value with its unit: `812 ms`, `212 MB`, `41.2 %`.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        if value.is_nan() {
            return "not a number".into();
        }
        if value.is_infinite() {
            return if value > 0.0 { "∞".into() } else { "−∞".into() };
        }
        match self.unit {
            Unit::Ms if value.abs() >= 9_999.5 => format!("{} s", digits(value / 1000.0)),
            Unit::Ms => format!("{} ms", digits(value)),
            Unit::Bytes if value >= 0.0 => Bytes(value as u64).to_string(),
            Unit::Bytes => format!("−{}", Bytes(-value as u64)),
            Unit::Joules => format!("{} J", digits(value)),
            Unit::Watts => format!("{} W", digits(value)),
            Unit::Rate => format!("{} tok/s", digits(value)),
            Unit::Share => format!("{:.1} %", value * 100.0),
            Unit::Plain => digits(value),
        }
    }

    /// Whether `a` is better than `b`.
    #[must_use]
    pub fn better(direction: Direction, a: f64, b: f64) -> bool {
        match direction {
            Direction::Min => a < b,
            Direction::Max => a > b,
        }
    }
}

/// A number with three significant digits and no exponent in the usual range.
#[must_use]
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else if size >= 0.9995 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        let places = (2.0 - size.log10().floor()) as usize;
        format!("{value:.places$}")
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_with_their_units() {
        let show = |name: &str, v: f64| Metric::of(name).show(v);
        assert_eq!(show("request_latency_p50_ms", 812.34), "812 ms");
        assert_eq!(show("request_latency_p50_ms", 12_345.0), "12.3 s");
        assert_eq!(show("peak_memory_bytes", 2.124e8), "212 MB");
        assert_eq!(show("pass_at_1", 0.4123), "41.2 %");
        assert_eq!(show("kl_mean", 0.004_56), "0.00456");
        assert_eq!(show("kl_mean", 0.000_045_6), "4.6e-5");
        assert_eq!(show("kl_mean", f64::INFINITY), "∞");
        assert_eq!(show("kl_mean", f64::NAN), "not a number");
        assert_eq!(show("queue_wait_ms", 0.0), "0 ms");
        let reading = Reading { value: 812.0, low: Some(790.0), high: Some(835.0) };
        assert_eq!(Metric::of("ttft_p50_ms").show_interval(reading), "812 ms [790 to 835]");
        let across = Reading { value: 10_100.0, low: Some(9_990.0), high: Some(10_300.0) };
        assert_eq!(Metric::of("ttft_p50_ms").show_interval(across), "10.1 s [9990 ms to 10.3 s]");
        assert_eq!(show("joules_per_token", 0.512), "0.512 J");
    }

    #[test]
    fn a_figure_with_an_interval_of_a_factor_of_two_is_a_warning() {
        let noisy = Reading { value: 41.0, low: Some(3.5), high: Some(293.0) };
        assert_eq!(
            Metric::of("decode_tokens_per_s").show_interval(noisy),
            "too noisy to state: between 3.50 tok/s and 293 tok/s"
        );
        let few_tasks = Reading { value: 0.1, low: Some(0.02), high: Some(0.3) };
        assert_eq!(Metric::of("pass_at_1").show_interval(few_tasks), "10.0 % [2.0 to 30.0]");
    }

    #[test]
    fn digits_do_not_jump_at_powers_of_ten() {
        for (value, text) in [
            (0.99949, "0.999"),
            (0.9996, "1.00"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.94, "99.9"),
            (99.96, "100"),
        ] {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn overlap_counts_touching_ends() {
        let r = |value, low, high| Reading { value, low: Some(low), high: Some(high) };
        assert!(r(1.0, 0.9, 1.1).overlaps(&r(1.2, 1.1, 1.3)));
        assert!(!r(1.0, 0.9, 1.1).overlaps(&r(1.3, 1.2, 1.4)));
        let exact = Reading { value: 1.05, low: None, high: None };
        assert!(exact.overlaps(&r(1.0, 0.9, 1.1)));
    }
}
