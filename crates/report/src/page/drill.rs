//! Everything about one trial: what its rungs took, how its requests spread, where its memory lies, the shape and type of each layer, and
//! what it wrote beside what the reference wrote.

use autotune_core::metric::names;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::metric::PEAK;
use crate::{Analysis, Detail, LayerStrip, Metric, PASSED, one_line, titles};
use autotune_core::units::Bytes;
use autotune_store::{Generation, TrialRecord};

/// Characters of a solution that are shown.
const LONGEST: usize = 1500;

pub(super) fn section(analysis: &Analysis) -> Markup {
    if analysis.details.is_empty() {
        return html! {};
    }
    let reference = analysis.reference.and_then(|n| analysis.details.get(&n));
    html! {
        section #drill {
            h2 { "Trial details" }
            p.muted { "The recommended first, then the rest of the front and the presets: time, memory, layers, and what they wrote." }
            @for (trial, detail) in order(analysis) { (one(analysis, trial, detail, reference)) }
        }
    }
}

/// What is recommended first, then by number.
fn order(analysis: &Analysis) -> Vec<(&TrialRecord, &Detail)> {
    let picked = |n: u64| analysis.recommendation.picks.iter().position(|p| p.number == n);
    let mut all: Vec<(&TrialRecord, &Detail)> =
        analysis.details.iter().filter_map(|(n, detail)| Some((analysis.trial(*n)?, detail))).collect();
    all.sort_by_key(|(trial, _)| (picked(trial.number).unwrap_or(usize::MAX), trial.number));
    all
}

fn one(analysis: &Analysis, trial: &TrialRecord, detail: &Detail, reference: Option<&Detail>) -> Markup {
    let picked = titles(analysis.titles(trial.number));
    html! {
        details.one id=(format!("d{}", trial.number)) {
            summary {
                "Trial " (trial.number) ": " (analysis.name(trial))
                @if !picked.is_empty() { " " span.tag.b { (picked) } }
            }
            div.parts {
                (rungs(trial))
                (histogram(&detail.latency_ms, "requests", "Latency"))
                (histogram(&detail.step_ms, "decode steps", "Time"))
                (memory(analysis, trial))
                (layers(detail))
            }
            (solutions(analysis, trial, detail, reference))
        }
    }
}

/// Where the time of the trial went.
fn rungs(trial: &TrialRecord) -> Markup {
    let total: f64 = trial.rungs.iter().map(|r| r.duration.as_secs_f64()).sum();
    let parts: Vec<(String, f64)> =
        trial.rungs.iter().map(|r| (r.rung.name().to_owned(), r.duration.as_secs_f64())).collect();
    html! {
        figure {
            (bar(&parts, total, |s| format!("{s:.1} s")))
            figcaption { "Rungs: " (format!("{total:.0} s")) " in all, attempt " (trial.attempts.max(1)) }
            @if trial.repeats > 0 {
                figcaption { "Re-timed " (trial.repeats) " × because its place on the front was uncertain: its times pool all runs." }
            }
        }
    }
}

/// Resident memory at the peak, by what backs it.
fn memory(analysis: &Analysis, trial: &TrialRecord) -> Markup {
    let value = |name: &str| trial.value(name).filter(|v| v.is_finite() && *v >= 0.0);
    let Some(peak) = value(PEAK) else { return html! {} };
    let (anonymous, file) = (value(names::ANONYMOUS_MEMORY_BYTES), value(names::FILE_MEMORY_BYTES));
    let mut parts = Vec::new();
    let known = anonymous.unwrap_or(0.0) + file.unwrap_or(0.0);
    if let Some(file) = file {
        parts.push(("mapped files (weights)".to_owned(), file));
    }
    if let Some(anonymous) = anonymous {
        parts.push(("own pages (cache, buffers, copies)".to_owned(), anonymous));
    }
    if peak > known {
        let name = if known > 0.0 { "above the last snapshot" } else { "not distinguished" };
        parts.push((name.to_owned(), peak - known));
    }
    let show = |v: f64| Bytes(v as u64).to_string();
    html! {
        figure {
            (bar(&parts, peak.max(known), show))
            figcaption { "Memory: peak " (show(peak)) " of " (Bytes(analysis.study.budget_bytes)) ", file " (trial.artifact.as_ref().map_or("–".to_owned(), |a| Bytes(a.bytes).to_string())) }
        }
        (account(trial))
    }
}

/// What the engine says that it keeps.
fn account(trial: &TrialRecord) -> Markup {
    const KEPT: [(&str, &str); 4] = [
        (names::ENGINE_WEIGHTS_BYTES, "weights"),
        (names::ENGINE_KV_BYTES, "KV cache"),
        (names::ENGINE_COMPUTE_BYTES, "compute buffers"),
        (names::ENGINE_OUTPUT_BYTES, "logits"),
    ];
    let parts: Vec<(String, f64)> = KEPT
        .iter()
        .filter_map(|(metric, name)| Some(((*name).to_owned(), trial.value(metric).filter(|v| *v > 0.0)?)))
        .collect();
    if parts.is_empty() {
        return html! {};
    }
    let all: f64 = parts.iter().map(|p| p.1).sum();
    html! {
        figure {
            (bar(&parts, all, |v| Bytes(v as u64).to_string()))
            figcaption { "Reported by the engine: " (Bytes(all as u64)) }
        }
    }
}

/// A stacked bar with its legend.
fn bar(parts: &[(String, f64)], total: f64, show: impl Fn(f64) -> String) -> Markup {
    let mut svg = String::from(
        "<svg class=\"stack\" viewBox=\"0 0 400 26\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let mut at = 0.0;
    for (i, (_, value)) in parts.iter().enumerate() {
        let width = if total > 0.0 { 400.0 * value / total } else { 0.0 };
        let _ = write!(svg, "<rect class=\"k{}\" x=\"{at:.1}\" width=\"{width:.1}\" height=\"26\"/>", i % 5);
        at += width;
    }
    svg.push_str("</svg>");
    html! {
        (PreEscaped(svg))
        ul.legend { @for (i, (name, value)) in parts.iter().enumerate() { li { span.key-box.{ "k" (i % 5) } {} (name) " " (show(*value)) } } }
    }
}

/// Times as a histogram between their least and their 99.5th percentile: one slow step would squeeze the rest into one bar.
fn histogram(samples: &[f64], of: &str, what: &str) -> Markup {
    if samples.len() < 2 {
        return html! {};
    }
    const BINS: usize = 24;
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[0], sorted[(sorted.len() - 1) * 995 / 1000]);
    let mut counts = [0usize; BINS];
    for s in samples {
        let place = if high > low { (s - low) / (high - low) * BINS as f64 } else { 0.0 };
        counts[(place as usize).min(BINS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let metric = Metric::of(names::REQUEST_LATENCY_P50_MS);
    let mut svg = format!(
        "<svg class=\"histogram\" viewBox=\"0 0 400 90\" role=\"img\" aria-label=\"{} {of} between {} and {}\">",
        samples.len(),
        metric.show(low),
        metric.show(high)
    );
    for (i, count) in counts.iter().enumerate() {
        let h = 66.0 * *count as f64 / most as f64;
        let x = 400.0 / BINS as f64 * i as f64;
        let _ = write!(
            svg,
            "<rect class=\"k0\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{h:.1}\"/>",
            x + 1.0,
            68.0 - h,
            400.0 / BINS as f64 - 2.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"0\" y=\"86\">{}</text><text class=\"tick\" text-anchor=\"end\" x=\"400\" y=\"86\">{}</text></svg>",
        metric.show(low),
        metric.show(high)
    );
    html! { figure { (PreEscaped(svg)) figcaption { (what) " of " (samples.len()) " " (of) } } }
}

/// A column for each layer: the type of attention and FFN by colour, what is kept of them by height.
fn layers(detail: &Detail) -> Markup {
    let Some(strip) = &detail.layers else { return html! {} };
    if strip.layers.is_empty() {
        return html! {};
    }
    let mut types: Vec<&str> = Vec::new();
    for layer in &strip.layers {
        for ty in [layer.attn.as_str(), layer.ffn_type.as_str()] {
            if !types.contains(&ty) {
                types.push(ty);
            }
        }
    }
    types.sort_unstable();
    let class = |ty: &str| format!("k{}", types.iter().position(|t| *t == ty).unwrap_or(0) % 5);
    let heads = strip.layers.iter().map(|l| l.heads).max().unwrap_or(1).max(1);
    let ffn = strip.layers.iter().map(|l| l.ffn).max().unwrap_or(1).max(1);
    let width = 400.0 / strip.layers.len() as f64;
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 400 112\" role=\"img\" aria-label=\"{}\">",
        strip.summary()
    );
    for (i, layer) in strip.layers.iter().enumerate() {
        let x = width * i as f64;
        let mut cell = |base: f64, share: f64, class: String, title: String| {
            let h = 44.0 * share;
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{h:.1}\"><title>{title}</title></rect>",
                x + 0.5,
                base - h,
                (width - 1.0).max(0.5)
            );
        };
        let whose = format!("layer {} of the source", layer.source);
        cell(
            46.0,
            f64::from(layer.heads) / f64::from(heads),
            class(&layer.attn),
            format!(
                "{whose}: attention {}, {} query and {} KV heads",
                layer.attn, layer.heads, layer.kv_heads
            ),
        );
        cell(
            96.0,
            f64::from(layer.ffn) / f64::from(ffn),
            class(&layer.ffn_type),
            format!("{whose}: FFN {}, {} channels", layer.ffn_type, layer.ffn),
        );
    }
    svg.push_str("<text class=\"tick\" x=\"0\" y=\"110\">first layer</text><text class=\"tick\" text-anchor=\"end\" x=\"400\" y=\"110\">last</text></svg>");
    html! {
        figure {
            (PreEscaped(svg))
            ul.legend { @for ty in &types { li { span class=(format!("key-box {}", class(ty))) {} (ty) } } }
            figcaption { "Layers: attention above, FFN below; height is what was kept. " (strip.summary()) }
        }
    }
}

impl LayerStrip {
    /// `30 layers, 83 KV heads, 45312 FFN channels, embedding Q8_0`
    fn summary(&self) -> String {
        let kv: u32 = self.layers.iter().map(|l| l.kv_heads).sum();
        let ffn: u64 = self.layers.iter().map(|l| u64::from(l.ffn)).sum();
        let embedding = self.embedding.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_');
        format!(
            "{} layers, {kv} KV heads, {ffn} FFN channels, embedding {}",
            self.layers.len(),
            embedding.collect::<String>()
        )
    }
}

/// What was written for each task, beside the reference where it differs.
fn solutions(
    analysis: &Analysis,
    trial: &TrialRecord,
    detail: &Detail,
    reference: Option<&Detail>,
) -> Markup {
    let ours: Vec<&Generation> = detail.generations.iter().filter(|g| g.sample == 0).collect();
    if ours.is_empty() {
        return html! {};
    }
    let is_reference = analysis.reference == Some(trial.number);
    let theirs: BTreeMap<&str, &Generation> = reference
        .filter(|_| !is_reference)
        .map(|d| d.generations.iter().filter(|g| g.sample == 0).map(|g| (g.task.as_str(), g)).collect())
        .unwrap_or_default();
    let passed = ours.iter().filter(|g| g.verdict == PASSED).count();
    let same = ours
        .iter()
        .filter(|g| theirs.get(g.task.as_str()).is_some_and(|t| t.completion == g.completion))
        .count();
    let name =
        analysis.reference.and_then(|n| analysis.trial(n)).map(|t| analysis.name(t)).unwrap_or_default();
    html! {
        details {
            summary {
                "Solutions: " (passed) " of " (ours.len()) " pass"
                @if !theirs.is_empty() { ", " (same) " are identical to the reference's (" (name) ")" }
            }
            @for g in &ours {
                @let other = theirs.get(g.task.as_str());
                @let differs = other.is_some_and(|o| o.completion != g.completion);
                details.task {
                    summary {
                        span class=(if g.verdict == PASSED { "tag good" } else { "tag bad" }) { (g.verdict.replace('_', " ")) } " " (g.task)
                        @if let Some(o) = other {
                            @if (o.verdict == PASSED) != (g.verdict == PASSED) { " " strong { "reference: " (o.verdict.replace('_', " ")) } }
                            @else if differs { span.muted { " other text than the reference" } }
                        }
                    }
                    @if !g.detail.is_empty() { p.muted { (one_line(&g.detail, 300)) } }
                    div.pair {
                        pre { (clip(&g.completion)) }
                        @if let Some(o) = other { @if differs { pre.theirs { (clip(&o.completion)) } } }
                    }
                }
            }
        }
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
