//! What the metrics mean: label, unit, which way is better, and how a value is printed.

use autotune_core::units::Bytes;
use autotune_store::{Direction, Measurement, TrialRecord};
use autotune_study::estimates::ESTIMATED;
use autotune_worker::carried;
use autotune_worker::carried::is_too_noisy;

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

use Direction::{Max, Min};
use Family::{Energy, Memory, Quality, Speed};

/// Name, label, short label, family, unit, direction.
#[rustfmt::skip]
const KNOWN: &[(&str, &str, &str, Family, Unit, Direction)] = &[
    ("request_latency_p50_ms", "request latency (median)", "latency", Speed, Unit::Ms, Min),
    ("request_latency_p95_ms", "request latency (p95)", "latency p95", Speed, Unit::Ms, Min),
    ("request_latency_p99_ms", "request latency (p99)", "latency p99", Speed, Unit::Ms, Min),
    ("ttft_p50_ms", "time to first token (median)", "TTFT", Speed, Unit::Ms, Min),
    ("ttft_p95_ms", "time to first token (p95)", "TTFT p95", Speed, Unit::Ms, Min),
    ("ttft_p99_ms", "time to first token (p99)", "TTFT p99", Speed, Unit::Ms, Min),
    ("tpot_p50_ms", "time per output token (median)", "TPOT", Speed, Unit::Ms, Min),
    ("tpot_p95_ms", "time per output token (p95)", "TPOT p95", Speed, Unit::Ms, Min),
    ("tpot_p99_ms", "time per output token (p99)", "TPOT p99", Speed, Unit::Ms, Min),
    ("decode_tokens_per_s", "decode speed", "decode", Speed, Unit::Rate, Max),
    ("prompt_tokens_per_s", "prompt speed", "prompt", Speed, Unit::Rate, Max),
    ("throughput_tokens_per_s", "throughput", "throughput", Speed, Unit::Rate, Max),
    ("load_ms", "load time", "load", Speed, Unit::Ms, Min),
    ("peak_memory_bytes", "peak memory", "peak memory", Memory, Unit::Bytes, Min),
    ("device_memory_bytes", "device memory", "device", Memory, Unit::Bytes, Min),
    ("joules_per_token", "energy of an output token", "energy", Energy, Unit::Joules, Min),
    ("mean_power_w", "mean power", "power", Energy, Unit::Watts, Min),
    ("battery_share_per_1000_tokens", "battery for 1,000 tokens", "battery", Energy, Unit::Share, Min),
    ("artifact_bytes", "file size", "file", Memory, Unit::Bytes, Min),
    ("pass_at_1", "pass@1", "pass@1", Quality, Unit::Share, Max),
    ("estimated_loss", "estimated loss of pass@k", "est. loss", Quality, Unit::Share, Min),
    ("pass_at_1_sampled", "pass@1 (drawn)", "pass@1 drawn", Quality, Unit::Share, Max),
    ("pass_at_5", "pass@5", "pass@5", Quality, Unit::Share, Max),
    ("pass_at_10", "pass@10", "pass@10", Quality, Unit::Share, Max),
    ("pass_at_100", "pass@100", "pass@100", Quality, Unit::Share, Max),
    ("canonical_accuracy", "tokens of canonical solutions foreseen", "tokens", Quality, Unit::Share, Max),
    ("next_line_exact", "next lines written exactly", "lines", Quality, Unit::Share, Max),
    ("next_line_similarity", "edit similarity of next lines", "edit sim.", Quality, Unit::Share, Max),
    ("heldout_nll", "NLL of held-out code", "NLL held-out", Quality, Unit::Plain, Min),
    ("kl_mean", "mean KL divergence", "KL", Quality, Unit::Plain, Min),
    ("kl_p99", "KL divergence (p99)", "KL p99", Quality, Unit::Plain, Min),
    ("top1_agreement", "top-1 agreement", "top-1", Quality, Unit::Share, Max),
    ("syntax_valid", "syntactically valid", "valid", Quality, Unit::Share, Max),
    ("codebleu", "CodeBLEU", "CodeBLEU", Quality, Unit::Plain, Max),
    ("canonical_nll", "NLL of canonical solutions", "NLL", Quality, Unit::Plain, Min),
    ("others_cpu_share", "cores used by other programs", "others", Family::Other, Unit::Share, Min),
    ("steal_share", "cores taken by the hypervisor", "steal", Family::Other, Unit::Share, Min),
    ("predicted_latency_ms", "predicted latency", "pred. latency", Speed, Unit::Ms, Min),
    ("corrected_latency_ms", "corrected prediction of latency", "corr. latency", Speed, Unit::Ms, Min),
    ("predicted_peak_memory_bytes", "predicted peak memory", "pred. peak", Memory, Unit::Bytes, Min),
];

/// The peak that the budget bounds.
pub const PEAK: &str = "peak_memory_bytes";

impl Metric {
    /// Every registered metric, in the order of the registry.
    pub fn registered() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| Self::of(known.0))
    }

    /// The description of a metric; an unknown one is read from its name's suffix.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if let Some(&(name, label, short, family, unit, direction)) = KNOWN.iter().find(|k| k.0 == name) {
            return Self {
                name: name.into(),
                label: label.into(),
                short: short.into(),
                family,
                unit,
                direction,
            };
        }
        if let Some(stem) = name.strip_prefix(ESTIMATED).filter(|stem| KNOWN.iter().any(|k| k.0 == *stem)) {
            let raw = Self::of(stem);
            let (label, short) = (format!("estimated {}", raw.label), format!("est. {}", raw.short));
            return Self { name: name.into(), label, short, ..raw };
        }
        let (stem, family, unit, direction) = if let Some(stem) = name.strip_suffix("_ms") {
            (stem, Speed, Unit::Ms, Min)
        } else if let Some(stem) = name.strip_suffix("_bytes") {
            (stem, Memory, Unit::Bytes, Min)
        } else if let Some(stem) = name.strip_suffix("_tokens_per_s") {
            (stem, Speed, Unit::Rate, Max)
        } else {
            (name, Family::Other, Unit::Plain, Min)
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
    /// ([`autotune_worker::carried`]); other quantities are always stated with their interval.
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

    /// Whether `a` is better than `b`.
    #[must_use]
    pub fn better(direction: Direction, a: f64, b: f64) -> bool {
        match direction {
            Min => a < b,
            Max => a > b,
        }
    }
}

/// Why a stored percentile of a time is not stated: its samples do not carry it. None for all that is stated.
#[must_use]
pub fn withheld(metric: &str, measurement: &Measurement) -> Option<String> {
    let timed = metric.ends_with("_ms");
    carried::withheld(metric, measurement.samples).filter(|_| timed)
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
    /// What a trial measured of a metric; the file size also from the artifact itself. Missing and NaN give none, and so does a percentile
    /// that its samples do not carry (older versions stored those).
    #[must_use]
    pub fn of(trial: &TrialRecord, metric: &str) -> Option<Self> {
        match trial.measurements.get(metric) {
            Some(m) if withheld(metric, m).is_some() => None,
            Some(m) => Some(Self { value: m.value.filter(|v| !v.is_nan())?, low: m.low, high: m.high }),
            None if metric == "artifact_bytes" => {
                trial.artifact.as_ref().map(|a| Self { value: a.bytes as f64, low: None, high: None })
            }
            None => None,
        }
    }

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
