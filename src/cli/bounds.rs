//! `--max-latency`, `--min-tps`, `--min-quality`, `--max-energy`: what the user declares of the objectives besides the budget.

use super::args::TuneArgs;
use crate::duration::parse_duration;
use crate::exit::Expected;
use crate::study::{Bounds, Floor, Quality};

/// Resolves the flags.
///
/// # Errors
/// A value that is none, each with what to write.
pub(super) fn resolve(args: &TuneArgs, quality: Quality) -> Result<Bounds, Expected> {
    Ok(Bounds {
        latency_ms: args.max_latency.as_deref().map(latency_ms).transpose()?,
        decode_tokens_per_s: args.min_tps.as_deref().map(tokens_per_s).transpose()?,
        quality: args.min_quality.as_deref().map(|text| floor(text, quality)).transpose()?,
        joules_per_token: args.max_energy.as_deref().map(joules).transpose()?,
    })
}

fn latency_ms(text: &str) -> Result<f64, Expected> {
    let time = parse_duration(text)
        .map_err(|e| Expected::usage(format!("--max-latency: {e}; a latency is for example 80ms or 2s")))?;
    Ok(time.as_secs_f64() * 1e3)
}

fn tokens_per_s(text: &str) -> Result<f64, Expected> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(Expected::usage(format!(
            "--min-tps: `{text}` is not a speed above zero; write decode tokens per second, for example 20"
        ))),
    }
}

fn floor(text: &str, quality: Quality) -> Result<Floor, Expected> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
    let trimmed = text.trim();
    let (floor, most) = match (trimmed.strip_suffix('x'), trimmed.strip_suffix('%')) {
        (Some(share), _) => (number(share).map(Floor::Share), 1.0),
        (_, Some(percent)) => (number(percent).map(|n| Floor::Value(n / 100.0)), 1.0),
        _ => (number(trimmed).map(Floor::Value), if quality == Quality::Kl { f64::INFINITY } else { 1.0 }),
    };
    match floor {
        Some(Floor::Share(_)) if quality == Quality::Kl => Err(Expected::usage(
            "--min-quality: the divergence of the uncompressed model is 0, so a share of it is not defined; \
             write the largest acceptable divergence, for example 0.05",
        )),
        Some(Floor::Share(n) | Floor::Value(n)) if n > most => Err(Expected::usage(format!(
            "--min-quality: `{text}` is more than the whole; write for example 0.95x"
        ))),
        Some(floor) => Ok(floor),
        None => Err(Expected::usage(format!(
            "--min-quality: invalid value `{text}`: expected a quality above zero, for example 0.95x, 0.4 or 40%"
        ))),
    }
}

fn joules(text: &str) -> Result<f64, Expected> {
    let number = text.trim().trim_end_matches(['J', 'j']).trim();
    match number.parse::<f64>() {
        Ok(joules) if joules.is_finite() && joules > 0.0 => Ok(joules),
        _ => Err(Expected::usage(format!(
            "--max-energy: invalid value `{text}`: expected joules per token above zero, for example 1.5J"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_strictly() {
        assert_eq!(latency_ms("80ms").ok(), Some(80.0));
        assert_eq!(latency_ms("2s").ok(), Some(2000.0));
        for wrong in ["0s", "80", "-1s", "fast"] {
            assert!(latency_ms(wrong).is_err(), "{wrong}");
        }
        assert_eq!(floor("0.95x", Quality::Pass1).ok(), Some(Floor::Share(0.95)));
        assert_eq!(floor("40%", Quality::CodeBleu).ok(), Some(Floor::Value(0.4)));
        assert_eq!(floor("2", Quality::Kl).ok(), Some(Floor::Value(2.0)));
        for wrong in ["1.2x", "-0.5", "0", "40", "x", "nan"] {
            assert!(floor(wrong, Quality::Pass1).is_err(), "{wrong}");
        }
        assert!(floor("0.9x", Quality::Kl).is_err());
        assert_eq!(tokens_per_s("12.5").ok(), Some(12.5));
        for wrong in ["0", "-3", "nan", "inf", "20tok/s"] {
            assert!(tokens_per_s(wrong).is_err(), "{wrong}");
        }
        assert_eq!(joules("1.5J").ok(), Some(1.5));
        assert!(joules("0").is_err() && joules("lots").is_err());
    }
}
