//! The artifact's last metadata: name, origin, quantization, pruning and what was measured.

use std::fs::File;
use std::path::Path;

use super::Facts;
use autotune_model::gguf::{Gguf, GgufError, GgufWriter, MetaValue, Metadata, TensorDecl};

/// Metadata of the source file that an export repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// The model's name.
    pub name: Option<String>,
    /// Its licence's identifier.
    pub license: Option<String>,
    /// Who published it.
    pub organization: Option<String>,
    /// The longest context it was trained for, in tokens.
    pub context: Option<u64>,
    /// The model's architecture, as the file names it.
    pub architecture: Option<String>,
}

impl SourceFacts {
    /// Reads them from metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let text = |key: &str| metadata.get(key).and_then(MetaValue::as_str).map(str::to_owned);
        let architecture = text("general.architecture");
        let context = architecture
            .as_ref()
            .and_then(|a| metadata.get(&format!("{a}.context_length")))
            .and_then(MetaValue::as_u64);
        Self {
            name: text("autotune.source.name").or_else(|| text("general.name")),
            license: text("general.license.name").or_else(|| text("general.license")),
            organization: text("general.organization"),
            context,
            architecture,
        }
    }
}

/// The metadata of a handed-over artifact: all of its own (licence, tokenizer and chat template among them) and the study's facts.
#[must_use]
pub fn stamped(metadata: &Metadata, facts: &Facts<'_>) -> Metadata {
    let mut m = metadata.clone();
    let source = SourceFacts::of(metadata);
    let (study, trial) = (&facts.analysis.study, facts.trial);
    let mut text = |key: &str, value: &str| m.set(key, MetaValue::Str(value.to_owned()));
    let name = source.name.as_deref().unwrap_or(&study.name);
    text(
        "general.name",
        &format!("{name} (autotune trial {}: {})", trial.number, facts.analysis.name(trial)),
    );
    text("general.quantized_by", &format!("autotune {}", env!("CARGO_PKG_VERSION")));
    text("general.description", &description(facts, name));
    text("autotune.source.name", name);
    text("autotune.source.path", &study.model_path);
    text("autotune.source.hash", &study.model_hash);
    text("autotune.study", &study.name);
    text("autotune.candidate", &serde_json::to_string(&trial.candidate).unwrap_or_default());
    text("autotune.weights", &facts.weights());
    text("autotune.pruning", facts.pruning().as_deref().unwrap_or("none"));
    text("autotune.host", &study.host.fingerprint);
    if metadata.get("general.base_model.count").is_none() {
        text("general.base_model.0.name", name);
        if let Some(organization) = &source.organization {
            text("general.base_model.0.organization", organization);
        }
        m.set("general.base_model.count", MetaValue::U32(1));
    }
    if let Some(sha256) = trial.artifact.as_ref().and_then(|a| a.sha256.as_deref()) {
        m.set("autotune.artifact.sha256", MetaValue::Str(sha256.to_owned()));
    }
    m.set("autotune.trial", MetaValue::U64(trial.number));
    m.set("autotune.seed", MetaValue::U64(study.seed));
    m.set("autotune.budget_bytes", MetaValue::U64(study.budget_bytes));
    for metric in &facts.analysis.columns {
        if let Some(value) = trial.value(&metric.name).filter(|v| v.is_finite()) {
            m.set(&format!("autotune.measured.{}", metric.name), MetaValue::F64(value));
        }
    }
    m
}

fn description(facts: &Facts<'_>, name: &str) -> String {
    let pruned = facts.pruning().map_or(String::new(), |p| format!(", without {p}"));
    format!(
        "{name} with weights as {}{pruned}; found and measured by autotune {} in study {} under a budget of {} bytes",
        facts.weights(),
        env!("CARGO_PKG_VERSION"),
        facts.analysis.study.name,
        facts.analysis.study.budget_bytes
    )
}

/// Copies a GGUF with other metadata. Tensor data is copied byte for byte, inside the kernel where it can; the file appears when it is
/// complete. Returns its size in bytes.
///
/// # Errors
/// The files cannot be read or written.
pub fn stamp(source: &Gguf, metadata: &Metadata, out: &Path) -> Result<u64, GgufError> {
    let decls: Vec<TensorDecl> = source
        .tensors()
        .iter()
        .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let mut writer = GgufWriter::create(out, metadata, &decls)?;
    // A handle of our own, since its position moves.
    let mut file =
        File::open(source.path()).map_err(|e| autotune_model::gguf::Fault::Read(e).at(source.path()))?;
    for tensor in source.tensors() {
        writer.copy_from(&mut file, tensor.range.start, tensor.bytes())?;
    }
    writer.finish(true)
}
