//! The `README.md` of an export: model, measurements, commands that run it, origin, and what was not measured.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::fmt::Write as _;

use super::package::is_prediction;
use super::{Facts, SUMS_FILE, SourceFacts};
use crate::{Family, Metric, Reading};
use autotune_core::shell;
use autotune_core::units::Bytes;
use autotune_store::TrialRecord;
use autotune_worker::workload::Workload;

/// The text of the `README.md`.
pub(super) fn readme(facts: &Facts<'_>, source: &SourceFacts, bytes: u64) -> String {
    let mut text = String::new();
    head(&mut text, facts, source, bytes);
    figures(&mut text, facts);
    run(&mut text, facts);
    origin(&mut text, facts, source);
    limits(&mut text, facts, source);
    text
}

fn head(text: &mut String, facts: &Facts<'_>, source: &SourceFacts, bytes: u64) {
    let name = source.name.as_deref().unwrap_or(&facts.analysis.study.name);
    let pruned = facts.pruning().map_or("nothing pruned".to_owned(), |p| format!("without {p}"));
    let _ = writeln!(
        text,
        "# {}\n\n{name}: weights {}, {pruned}; {} ({bytes} bytes). Trial {} of the autotune study {}.\n",
        facts.file.trim_end_matches(".gguf"),
        facts.weights(),
        Bytes(bytes),
        facts.trial.number,
        code(&facts.analysis.study.name)
    );
    if let Some(comparison) = &facts.comparison {
        let _ = writeln!(text, "**{}.**\n", sentence(&comparison.sentence()));
    }
}

/// What a deployer needs to know, in this order; `trial.json` has everything else that was measured.
const TOLD: [&str; 9] = [
    names::REQUEST_LATENCY_P50_MS,
    names::TTFT_P50_MS,
    names::DECODE_TOKENS_PER_S,
    names::PEAK_MEMORY_BYTES,
    names::DEVICE_MEMORY_BYTES,
    names::ARTIFACT_BYTES,
    names::JOULES_PER_TOKEN,
    names::PASS_AT_1,
    names::KL_MEAN,
];

/// Measured values next to those of the usual presets. Predictions are not included.
fn figures(text: &mut String, facts: &Facts<'_>) {
    let analysis = facts.analysis;
    let others: Vec<&TrialRecord> = ["Q4_K_M", "Q8_0"]
        .iter()
        .filter_map(|p| analysis.trials.iter().find(|t| t.origin.preset_name() == Some(p)))
        .filter(|t| t.number != facts.trial.number)
        .collect();
    text.push_str("## Measured\n\n| | this file |");
    for other in &others {
        let _ = write!(text, " {} |", other.origin.preset_name().unwrap_or_default());
    }
    let _ = write!(text, "\n|---|---|{}\n", "---|".repeat(others.len()));
    let also = analysis.objectives.iter().map(|o| o.metric.as_str());
    let also = also.filter(|m| !TOLD.contains(m) && !is_prediction(m));
    for metric in TOLD.into_iter().chain(also).map(Metric::of) {
        let Some(shown) = figure(facts.trial, &metric) else { continue };
        let _ = write!(text, "| {} | {shown} |", metric.label);
        for other in &others {
            let shown = figure(other, &metric).unwrap_or_else(|| "–".to_owned());
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    let c = &facts.config;
    let _ = writeln!(
        text,
        "\nIn brackets: 95 % intervals; n: independent samples (waves of requests, tasks, positions of text). Everything else that was \
         measured is in `trial.json`. Measured on the machine `{}` with {} threads, {} slots of {} tokens, KV cache {}/{}{}. \
         Other machines give other times.\n",
        facts.analysis.study.host.fingerprint,
        c.threads,
        c.batch,
        c.context,
        c.kv_k.name(),
        c.kv_v.name(),
        conditions(&facts.analysis.study.settings_json)
    );
}

/// A value with its interval and the number of samples behind it; none where it was not measured.
fn figure(trial: &TrialRecord, metric: &Metric) -> Option<String> {
    let mut shown = metric.show_interval(Reading::of(trial, &metric.name)?);
    if let Some(samples) =
        trial.measurements.get(&metric.name).map(|m| m.samples).filter(|_| is_sampled(metric))
    {
        let _ = write!(shown, ", n = {samples}");
    }
    Some(shown)
}

/// Whether a metric is found from samples; memory and sizes are read once.
fn is_sampled(metric: &Metric) -> bool {
    matches!(metric.family, Family::Speed | Family::Quality)
}

/// `, workload 512:128:4 (prompt:output:requests), tasks warmup`, as far as the settings say.
fn conditions(settings_json: &str) -> String {
    let Ok(settings) = serde_json::from_str::<serde_json::Value>(settings_json) else { return String::new() };
    let mut text = String::new();
    if let Ok(w) = serde_json::from_value::<Workload>(settings["workload"].clone()) {
        text.push_str(&format!(", workload {w} (prompt:output:requests, in tokens)"));
    }
    if let Some(tasks) = settings["tasks"].as_str() {
        text.push_str(&format!(", tasks {tasks}"));
    }
    text
}

fn run(text: &mut String, facts: &Facts<'_>) {
    let (Some(server), Some(chat)) = (&facts.commands.run, &facts.commands.chat) else { return };
    let _ = writeln!(
        text,
        "## Run\n\nIn this folder, with the settings that were measured:\n\n```sh\n{server}\n{chat}\nollama create {} -f Modelfile\n```\n",
        shell::word(facts.file.trim_end_matches(".gguf"))
    );
}

fn origin(text: &mut String, facts: &Facts<'_>, source: &SourceFacts) {
    let study = &facts.analysis.study;
    let license = source
        .license
        .as_deref()
        .unwrap_or("not stated by the source: check it before you redistribute this file");
    let _ = writeln!(
        text,
        "## Origin\n\n| | |\n|---|---|\n| source | {} |\n| source hash | `{}` |\n| licence of the source | {} |\n| study | {}, seed {}, budget {} |\n\
         | candidate | {} |\n| versions | {} |\n| SHA-256 of the artifact as measured | {} |\n\nThe command:\n\n{}\n",
        code(&study.model_path),
        study.model_hash,
        cell(license),
        code(&study.name),
        study.seed,
        Bytes(study.budget_bytes),
        code(&serde_json::to_string(&facts.trial.candidate).unwrap_or_default()),
        code(&study.versions_json),
        match facts.trial.artifact.as_ref().and_then(|a| a.sha256.as_deref()) {
            Some(sha256) => format!("`{sha256}`, checked when this folder was written"),
            None => format!(
                "not recorded by the version that built it; {SUMS_FILE} is of the file as it was found"
            ),
        },
        block(&study.command),
    );
}

/// A text that stays in its cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A text as code in a cell, whatever it holds: the fence is longer than any run of backticks in it.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    cell(&format!("{fence}{space}{text}{space}{fence}"))
}

/// A text as a block of code.
fn block(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}sh\n{text}\n{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn limits(text: &mut String, facts: &Facts<'_>, source: &SourceFacts) {
    let _ = writeln!(
        text,
        "## Check\n\n```sh\nsha256sum --check {SUMS_FILE}\nautotune validate . --tier mobile --reference SOURCE.gguf\n```\n"
    );
    if source.architecture.as_deref() == Some("deci") {
        text.push_str(
            "Layers of unequal shape: the file uses llama.cpp's architecture `deci`, which carries a shape for each layer. \
             llama.cpp and programs that embed it load it; other programs may not.\n\n",
        );
    }
    let never: Vec<&str> =
        [(names::PASS_AT_1, "code generation"), (names::KL_MEAN, "divergence from the source")]
            .into_iter()
            .filter(|(metric, _)| facts.trial.value(metric).is_none())
            .map(|(_, what)| what)
            .collect();
    if !never.is_empty() {
        let _ = writeln!(text, "Not measured in this trial: {}.", never.join(", "));
    }
}

fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_code_and_cells() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b``c|d\ne"), "```a`b``c\\|d e```");
        assert_eq!(code("`x`"), "`` `x` ``");
        assert_eq!(block("a ``` b"), "````sh\na ``` b\n````");
    }
}
