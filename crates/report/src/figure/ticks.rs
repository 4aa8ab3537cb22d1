//! Where an axis has its marks, and what they say.

use crate::metric::{Metric, Unit};

/// An axis: which values it spans, how they are placed, and its marks.
#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
    divisor: f64,
    unit: &'static str,
}

impl Axis {
    /// An axis over values; `log` where ratios matter (ignored unless all are over zero). None without a finite value.
    #[must_use]
    pub fn over(metric: &Metric, values: impl Iterator<Item = f64>, log: bool) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            return None;
        }
        let log = log && low > 0.0;
        let (low, high) = pad(low, high, log);
        let (divisor, unit) = scale(metric.unit, low.abs().max(high.abs()));
        Some(Self { low, high, log, divisor, unit })
    }

    /// Where a value lies: 0 at the start of the axis, 1 at its end.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let at = |x: f64| if self.log { x.ln() } else { x };
        (at(value) - at(self.low)) / (at(self.high) - at(self.low))
    }

    /// The unit of the marks: `ms`, `MB`, or nothing.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// Values with their labels, about five.
    #[must_use]
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = (self.low / self.divisor, self.high / self.divisor);
        let wide = self.log && high.ln() - low.ln() >= 2.5f64.ln();
        let marks = if wide { log_ticks(low, high) } else { linear_ticks(low, high) };
        let places = decimals(&marks);
        marks
            .into_iter()
            .map(|(value, step)| {
                let places = if wide { decimals(&[(value, step)]) } else { places };
                let short = value == 0.0 || (1e-5..1e7).contains(&value.abs());
                (
                    value * self.divisor,
                    if short { format!("{value:.places$}") } else { format!("{value:.0e}") },
                )
            })
            .collect()
    }
}

fn pad(low: f64, high: f64, log: bool) -> (f64, f64) {
    const SHARE: f64 = 0.07;
    if log {
        let ratio = ((high.ln() - low.ln()).max(0.02) * SHARE).exp();
        return ((low / ratio).max(f64::MIN_POSITIVE), (high * ratio).min(f64::MAX));
    }
    let span = if high > low { high - low } else { low.abs().max(1e-9) * 0.2 };
    let padded = low - span * SHARE;
    // An axis of things that cannot be negative does not show negative marks.
    (if low >= 0.0 { padded.max(0.0) } else { padded }, high + span * SHARE)
}

fn scale(unit: Unit, largest: f64) -> (f64, &'static str) {
    match unit {
        Unit::Ms if largest >= 10_000.0 => (1000.0, "s"),
        Unit::Ms => (1.0, "ms"),
        Unit::Bytes if largest >= 2e9 => (1e9, "GB"),
        Unit::Bytes if largest >= 2e6 => (1e6, "MB"),
        Unit::Bytes if largest >= 2e3 => (1e3, "kB"),
        Unit::Bytes => (1.0, "B"),
        Unit::Rate => (1.0, "tok/s"),
        Unit::Share => (0.01, "%"),
        Unit::Joules => (1.0, "J"),
        Unit::Watts => (1.0, "W"),
        Unit::Plain => (1.0, ""),
    }
}

/// Multiples of 1, 2 or 5 times a power of ten, with that step.
fn linear_ticks(low: f64, high: f64) -> Vec<(f64, f64)> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| (i as f64 * step, step)).collect()
}

/// Round multiples of powers of ten, the finer the shorter the axis; thinned to powers (of a power) of ten over many decades.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, f64)> {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = high.log10() - low.log10();
    let multiples: &[f64] = match decades {
        d if d > 2.5 => &[1.0],
        d if d > 1.1 => &[1.0, 2.0, 5.0],
        d if d > 0.7 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        _ => &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    };
    let step = |multiple: f64, power: i32| 10f64.powi(if multiple.fract() > 0.0 { power - 1 } else { power });
    let every = ((decades / 6.0).ceil() as usize).max(1);
    (from..=to)
        .step_by(every)
        .flat_map(|power| multiples.iter().map(move |m| (m * 10f64.powi(power), step(*m, power))))
        .filter(|(value, _)| (low..=high).contains(value))
        .collect()
}

/// Decimal places that the steps of marks need.
fn decimals(marks: &[(f64, f64)]) -> usize {
    let step = marks.iter().map(|m| m.1).fold(f64::INFINITY, f64::min);
    if step.is_finite() && step < 1.0 { (-step.log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str, values: &[f64], log: bool) -> Vec<String> {
        let axis = Axis::over(&Metric::of(name), values.iter().copied(), log).unwrap();
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(
            labels("request_latency_p50_ms", &[512.0, 1490.0], true),
            ["500", "600", "700", "800", "1000", "1500"]
        );
        assert_eq!(
            labels("request_latency_p50_ms", &[50.0, 1490.0], true),
            ["50", "100", "200", "500", "1000"]
        );
        assert_eq!(labels("kl_mean", &[0.011, 0.033], true), ["0.015", "0.02", "0.025", "0.03"]);
        assert_eq!(labels("kl_mean", &[1e-4, 0.5], true), ["0.0001", "0.001", "0.01", "0.1"]);
        assert_eq!(labels("pass_at_1", &[0.1, 0.3], false), ["10", "15", "20", "25", "30"]);
        assert_eq!(labels("peak_memory_bytes", &[2.0e8, 3.5e8], false), ["200", "250", "300", "350"]);
    }

    #[test]
    fn odd_ranges_have_an_axis() {
        let axis = |values: &[f64], log| Axis::over(&Metric::of("kl_mean"), values.iter().copied(), log);
        assert!(axis(&[], false).is_none());
        assert!(axis(&[f64::NAN, f64::INFINITY], false).is_none());
        for values in [&[0.0][..], &[3.0], &[-1.0, 1.0], &[0.0, 1e300], &[1e-300, 1e300], &[-5.0, -5.0]] {
            for log in [false, true] {
                let axis = axis(values, log).unwrap();
                assert!(axis.ticks().len() < 20, "{values:?}");
                for v in values {
                    let place = axis.place(*v);
                    assert!((0.0..=1.0).contains(&place), "{values:?} {log} {place}");
                }
            }
        }
    }
}
