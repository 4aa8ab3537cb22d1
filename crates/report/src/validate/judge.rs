//! From observations to checks: a pure function.

use super::exercises::is_fixed;
use super::{Check, Observation, Plan, Verdicts};
use crate::Paired;
use autotune_core::units::Bytes;
use autotune_engine::exercise::Exercised;

const NO_REFERENCE: &str = "no reference; --reference names the uncompressed model";

/// Judges an artifact, against the reference where there is one.
#[must_use]
pub fn judge(plan: &Plan, artifact: &Observation, reference: Option<&Observation>) -> Verdicts {
    let mut checks = vec![runs("runs", artifact)];
    if let Some(reference) = reference {
        checks.push(runs("reference-runs", reference));
    }
    checks.extend(stability(artifact));
    checks.extend(functional(plan, artifact, reference));
    checks.extend(thresholds(plan, artifact, reference));
    Verdicts::new(checks)
}

/// Every step of the worker came to its end.
fn runs(name: &str, seen: &Observation) -> Check {
    let told: Vec<String> = seen.faults.iter().map(|(step, why)| format!("{step}: {why}")).collect();
    match told.is_empty() {
        true => Check::new(name, true, "loads, is timed, generates"),
        false => Check::new(name, false, told.join("; ")),
    }
}

/// Numbers stay numbers, and hard prompts are survived.
fn stability(seen: &Observation) -> Vec<Check> {
    let mut checks = Vec::new();
    let (rows, bad): (u64, u64) =
        seen.exercised.iter().fold((0, 0), |(r, b), e| (r + e.rows, b + e.not_finite));
    checks.push(if rows == 0 {
        Check::skip("finite-logits", "nothing was generated")
    } else {
        let text = format!("{bad} of {rows} rows of logits hold a NaN or an infinity (0 allowed)");
        Check::new("finite-logits", bad == 0, text).with(bad as f64, 0.0)
    });
    for e in seen.exercised.iter().filter(|e| !is_fixed(&e.id)) {
        checks.push(hard(e));
    }
    checks
}

fn hard(e: &Exercised) -> Check {
    let name = format!("prompt:{}", e.id);
    if let Some(error) = &e.error {
        return Check::new(&name, false, error.clone());
    }
    let mut text = match e.prompt_tokens {
        0 => "the tokenizer yields no tokens for it, nothing to decode".to_owned(),
        n => format!("{n} prompt tokens, {} generated", e.tokens.len()),
    };
    let whole = e.round_trip || e.id == "special-token-texts";
    if !whole {
        text.push_str("; its tokens do not decode to the same text");
    }
    Check::new(&name, e.not_finite == 0 && whole, text)
}

/// The same function as the reference: tokens and logits.
fn functional(plan: &Plan, artifact: &Observation, reference: Option<&Observation>) -> Vec<Check> {
    let names = ["same-tokens", "divergence", "top-1"];
    let Some(reference) = reference else {
        return names.map(|name| Check::skip(name, NO_REFERENCE)).to_vec();
    };
    let allowed = &plan.allowed;
    let mut checks = vec![same_tokens(allowed.same_tokens, artifact, reference)];
    match &artifact.divergence {
        Some(d) => {
            let kl = d.kl_mean.value;
            let text = format!(
                "mean KL {kl:.4} nats over {} positions of held-out code (at most {})",
                d.positions, allowed.kl
            );
            checks.push(Check::new("divergence", kl <= allowed.kl, text).with(kl, allowed.kl));
            let top1 = d.top1_agreement.value;
            let text = format!(
                "{} of the most likely tokens agree (at least {})",
                percent(top1),
                percent(allowed.top1)
            );
            checks.push(Check::new("top-1", top1 >= allowed.top1, text).with(top1, allowed.top1));
        }
        None => {
            let why = "the predictions could not be compared";
            checks.extend(names[1..].iter().map(|name| Check::skip(name, why)));
        }
    }
    checks
}

/// Share of the continuations before the first token that differs.
fn same_tokens(least: f64, artifact: &Observation, reference: &Observation) -> Check {
    let (mut same, mut all, mut whole, mut prompts) = (0, 0, 0, 0);
    for theirs in reference.exercised.iter().filter(|e| is_fixed(&e.id)) {
        let Some(ours) = artifact.exercised.iter().find(|e| e.id == theirs.id) else { continue };
        same += ours.tokens.iter().zip(&theirs.tokens).take_while(|(a, b)| a == b).count();
        all += theirs.tokens.len();
        whole += usize::from(ours.tokens == theirs.tokens);
        prompts += 1;
    }
    if all == 0 {
        return Check::skip("same-tokens", "no continuations to compare");
    }
    let share = same as f64 / all as f64;
    let text = format!(
        "{} of the reference's {all} tokens on {prompts} fixed prompts come before the first difference, {whole} continuations are the same (at least {})",
        percent(share),
        percent(least)
    );
    Check::new("same-tokens", share >= least, text).with(share, least)
}

/// Latency, quality and memory relative to the reference.
fn thresholds(plan: &Plan, artifact: &Observation, reference: Option<&Observation>) -> Vec<Check> {
    let allowed = &plan.allowed;
    let mut checks = vec![match artifact.peak_bytes {
        Some(peak) => {
            let text = format!("peak {} on the tier's {}", Bytes(peak), Bytes(allowed.memory_bytes));
            Check::new("fits-tier", peak <= allowed.memory_bytes, text)
                .with(peak as f64, allowed.memory_bytes as f64)
        }
        None => Check::skip("fits-tier", "the peak memory could not be read"),
    }];
    let Some(reference) = reference else {
        let names = ["latency", "memory", "quality:pass@1", "quality:codebleu"];
        checks.extend(names.map(|name| Check::skip(name, NO_REFERENCE)));
        return checks;
    };
    checks.push(match (&artifact.timing, &reference.timing) {
        (Some(ours), Some(theirs)) if theirs.latency_p50_ms.value > 0.0 => {
            let loss = ours.latency_p50_ms.value / theirs.latency_p50_ms.value - 1.0;
            let text = format!(
                "{:.0} ms a request, the reference {:.0} ms: {} (at most +{})",
                ours.latency_p50_ms.value,
                theirs.latency_p50_ms.value,
                signed(loss),
                percent(allowed.latency_loss)
            );
            Check::new("latency", loss <= allowed.latency_loss, text).with(loss, allowed.latency_loss)
        }
        _ => Check::skip("latency", "one of the two was not timed"),
    });
    checks.push(match (artifact.peak_bytes, reference.peak_bytes) {
        (Some(ours), Some(theirs)) if theirs > 0 => {
            let gain = 1.0 - ours as f64 / theirs as f64;
            let text = format!(
                "peak {}, the reference {}: {} (at least {} less)",
                Bytes(ours),
                Bytes(theirs),
                signed(-gain),
                percent(allowed.memory_gain)
            );
            Check::new("memory", gain >= allowed.memory_gain, text).with(gain, allowed.memory_gain)
        }
        _ => Check::skip("memory", "the peak memory of one of the two could not be read"),
    });
    checks.extend(quality(allowed.quality_loss, artifact, reference));
    checks
}

/// Both grades; the measured values decide, the paired test says what they are worth.
fn quality(most: f64, artifact: &Observation, reference: &Observation) -> [Check; 2] {
    let names = ["quality:pass@1", "quality:codebleu"];
    let (Some(ours), Some(theirs)) = (&artifact.graded, &reference.graded) else {
        return names.map(|name| Check::skip(name, "the tasks were not graded"));
    };
    let paired = Paired::of(&ours.generations, &theirs.generations);
    let certainty = format!(
        "; only it solves {}, only the reference {}, p = {:.2}",
        paired.only_trial,
        paired.only_other,
        paired.p_value()
    );
    let of = |name: &str, ours: Option<f64>, theirs: Option<f64>, show: fn(f64) -> String, more: &str| match (
        ours, theirs,
    ) {
        (Some(_), Some(theirs)) if theirs <= 0.0 => Check::skip(name, "the reference solves no task"),
        (Some(ours), Some(theirs)) => {
            let loss = 1.0 - ours / theirs;
            let text = format!(
                "{}, the reference {}: {} (at most −{}){more}",
                show(ours),
                show(theirs),
                signed(-loss),
                percent(most)
            );
            Check::new(name, loss <= most, text).with(loss, most)
        }
        _ => Check::skip(name, "not graded"),
    };
    let pass = |g: &super::Graded| g.pass_at_1.map(|i| i.value);
    let bleu = |g: &super::Graded| g.codebleu.map(|i| i.value);
    [
        of(names[0], pass(ours), pass(theirs), percent, &certainty),
        of(names[1], bleu(ours), bleu(theirs), |v| format!("{v:.3}"), ""),
    ]
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", 100.0 * share);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

fn signed(share: f64) -> String {
    let sign = if share < 0.0 { "−" } else { "+" };
    format!("{sign}{}", percent(share.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Status;
    use autotune_core::stats::Interval;
    use autotune_host::Tier;
    use autotune_quality::divergence::Divergence;

    fn observation(kl: f64, peak: u64) -> Observation {
        let of = |id: &str, tokens: Vec<i32>| Exercised {
            id: id.into(),
            prompt_tokens: 3,
            rows: tokens.len() as u64,
            tokens,
            round_trip: true,
            ..Exercised::default()
        };
        Observation {
            peak_bytes: Some(peak),
            exercised: vec![of("fixed-a", vec![1, 2, 3, 4]), of("unicode", vec![9])],
            divergence: Some(Divergence {
                kl_mean: Interval::exact(kl),
                kl_p99: kl,
                top1_agreement: Interval::exact(1.0 - kl),
                nll: Interval::exact(1.0),
                positions: 100,
            }),
            ..Observation::default()
        }
    }

    fn status(v: &Verdicts, name: &str) -> Status {
        v.checks.iter().find(|c| c.name == name).unwrap().status
    }

    #[test]
    fn each_bound_can_fail_alone() {
        let plan = Plan::of(Tier::Mobile);
        let reference = observation(0.0, 1000);
        let good = judge(&plan, &observation(0.1, 650), Some(&reference));
        assert!(good.passed, "{good:?}");
        assert_eq!(status(&good, "latency"), Status::Skip);
        let far = judge(&plan, &observation(0.21, 650), Some(&reference));
        assert_eq!(
            (far.passed, status(&far, "divergence"), status(&far, "memory")),
            (false, Status::Fail, Status::Pass)
        );
        let big = judge(&plan, &observation(0.1, 701), Some(&reference));
        assert_eq!((status(&big, "memory"), status(&big, "divergence")), (Status::Fail, Status::Pass));
        let mut other = observation(0.1, 650);
        other.exercised[0].tokens = vec![7, 2, 3, 4];
        assert_eq!(status(&judge(&plan, &other, Some(&reference)), "same-tokens"), Status::Fail);
        let mut broken = observation(0.1, 650);
        broken.exercised[1].not_finite = 1;
        let broken = judge(&plan, &broken, Some(&reference));
        assert_eq!(
            (status(&broken, "finite-logits"), status(&broken, "prompt:unicode")),
            (Status::Fail, Status::Fail)
        );
        let mut crashed = observation(0.1, 650);
        crashed.faults.push(("timing", "ended by signal 11".into()));
        assert!(!judge(&plan, &crashed, None).passed);
    }

    #[test]
    fn without_a_reference_only_the_artifact_itself_is_judged() {
        let verdicts = judge(&Plan::of(Tier::Edge), &observation(0.0, 10), None);
        assert!(verdicts.passed);
        assert_eq!(verdicts.count(Status::Skip), 7);
    }
}
