//! A measured value with its interval, and how it is printed.

use super::{Family, Metric, Unit};
use crate::carried::is_too_noisy;

impl Metric {
    /// The value with its interval, where there is one: `812 ms [790 to 835]`.
    #[must_use]
    pub fn show_interval(&self, reading: Reading) -> String {
        if let Some(warning) = self.too_noisy(reading) {
            return warning;
        }
        match self.ends(reading) {
            Some((low, high)) => format!("{} [{low} to {high}]", self.show(reading.value)),
            None => self.show(reading.value),
        }
    }

    /// The warning that stands in place of a time, a rate or an energy whose interval is too wide for a figure
    /// ([`crate::carried`]); other quantities are always stated with their interval.
    #[must_use]
    pub fn too_noisy(&self, reading: Reading) -> Option<String> {
        let (low, high) = reading.interval()?;
        let positive = matches!(self.family, Family::Speed | Family::Energy);
        (positive && is_too_noisy(low, high)).then(|| {
            format!("too noisy to state: between {} and {}", self.show(low.max(0.0)), self.show(high))
        })
    }

    /// The ends of the interval, without the unit where it is that of the value: `790`, `835`; but `9990 ms` beside `10.1 s`.
    #[must_use]
    pub fn ends(&self, reading: Reading) -> Option<(String, String)> {
        let (low, high) = reading.interval()?;
        let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
        let texts = [self.show(low), self.show(high)];
        let of_value = unit(&self.show(reading.value));
        let bare = self.unit != Unit::Bytes && texts.iter().all(|t| unit(t) == of_value);
        let [low, high] = texts.map(|t| match t.split_once(' ') {
            Some((number, _)) if bare => number.to_owned(),
            _ => t,
        });
        // An interval that is narrower than the digits shown says nothing.
        (low != high).then_some((low, high))
    }
}

/// A measured value with its interval, as a front and a figure need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
}

impl Reading {
    /// Both ends, when they are known, finite and not the value itself.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        let (low, high) = (self.low?, self.high?);
        (low.is_finite() && high.is_finite() && low < high).then_some((low, high))
    }

    /// Whether the intervals of both share a point; a value without an interval is its own.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let ends = |r: &Self| r.interval().unwrap_or((r.value, r.value));
        let ((a_low, a_high), (b_low, b_high)) = (ends(self), ends(other));
        a_low <= b_high && b_low <= a_high
    }
}
