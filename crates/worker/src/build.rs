//! The worker's building jobs: from a request to an artifact.

use std::path::Path;

#[cfg(feature = "llama")]
use anyhow::Context;
use sha2::{Digest, Sha256};

#[cfg(feature = "llama")]
use crate::protocol::ImportanceSource;
use crate::protocol::{BuildRequest, Built};
#[cfg(feature = "llama")]
use autotune_compress::{Artifact, Builder, CompressError, Importance, make_reference, torch};
#[cfg(feature = "llama")]
use autotune_core::atomic_file::{publish, temp_beside};
#[cfg(feature = "llama")]
use autotune_core::space::Config;
#[cfg(feature = "llama")]
use autotune_engine::finite;
use autotune_engine::mock::MockModel;
#[cfg(feature = "llama")]
use autotune_model::ActivationStats;
#[cfg(feature = "llama")]
use autotune_model::gguf::Gguf;

/// Builds what is asked for; `progress` hears of tensors done and in all.
pub(super) fn build(request: &BuildRequest, _progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<Built> {
    match request {
        BuildRequest::Mock { model, config, out } => {
            let model: MockModel = serde_json::from_str(&std::fs::read_to_string(model)?)?;
            let text = serde_json::to_string(&model.artifact(config))?;
            autotune_core::atomic_file::write(out, text.as_bytes())?;
            let hash = autotune_core::hex::encode(Sha256::digest(text.as_bytes()));
            Ok(Built { bytes: text.len() as u64, hash, ..Built::default() })
        }
        #[cfg(feature = "llama")]
        BuildRequest::Reference { source, out, seed } => {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            let made = make_reference(&Gguf::open(source)?, out, *seed, threads)?;
            let bytes = std::fs::metadata(&made.path)?.len();
            Ok(Built { bytes, ..Built::default() })
        }
        #[cfg(feature = "llama")]
        BuildRequest::Gguf { source, reference, config, stats, importance, scale, cache, out, threads } => {
            let reference = Gguf::open(reference)?;
            let stats = read_stats(stats.as_deref())?;
            let builder = Builder::new(&reference, cache, *threads as usize, stats)?.with_scaling(*scale);
            let builder = with_importance(builder, &reference, importance, config)?.with_shipped(source);
            let built = builder.build(config, out).map_err(|e| out_of_range(e, &reference, *threads))?;
            sound(told(built, out, config.is_pruned())?, out, *threads)
        }
        #[cfg(feature = "llama")]
        BuildRequest::Torch { reference, config, stats, importance, scale, cache, out, threads } => {
            let reference = Gguf::open(reference)?;
            let base = torch::base_config(config, &reference)?;
            let stats = read_stats(stats.as_deref())?;
            let builder = Builder::new(&reference, cache, *threads as usize, stats)?.with_scaling(*scale);
            let builder = with_importance(builder, &reference, importance, config)?;
            // What the builder makes is the artifact, unless there are bytes to be packed.
            let floats = temp_beside(out);
            let built = told(builder.build(&base, &floats)?, &floats, config.is_pruned())?;
            let packed = torch::pack(config, &Gguf::open(&floats)?, out)?;
            let (bytes, hash) = match packed {
                Some(packed) => {
                    std::fs::remove_file(&floats)?;
                    packed
                }
                None => {
                    publish(&floats, out)?;
                    (built.bytes, built.hash.clone())
                }
            };
            let sources: Vec<u32> = built.layers.iter().flat_map(|l| &l.layers).map(|l| l.source).collect();
            let layers = super::layers::of(out, &sources);
            sound(Built { bytes, hash, layers, ..built }, out, *threads)
        }
        #[cfg(not(feature = "llama"))]
        BuildRequest::Reference { .. } | BuildRequest::Gguf { .. } | BuildRequest::Torch { .. } => {
            anyhow::bail!(
                "this build has no llama.cpp, whose quantizers it needs; build with `--features llama`"
            )
        }
    }
}

/// An error of a build. llama.cpp's own quantizer says only that its check of the result failed: the weights that half precision cannot
/// hold are the cause, since scales are stored in it, and are named.
#[cfg(feature = "llama")]
fn out_of_range(error: CompressError, reference: &Gguf, threads: u32) -> anyhow::Error {
    if !error.to_string().contains("data validation failed") {
        return error.into();
    }
    let found = crate::values::check(reference.path(), threads as usize, &mut |_, _| {});
    let beyond = found.map(|report| report.beyond_f16).unwrap_or_default();
    let beyond: Vec<String> = beyond
        .iter()
        .map(|b| {
            format!("tensor {} holds {} weights beyond it (up to {:.3e})", b.tensor, b.values, b.largest)
        })
        .collect();
    let why = if beyond.is_empty() { error.to_string() } else { beyond.join(", ") };
    anyhow::anyhow!(
        "{}the result holds infinity, since it is stored in half precision: {why}",
        finite::NOT_A_NUMBER
    )
}

/// What was built, unless its floats are not numbers: then the file goes, so that no later trial takes it.
#[cfg(feature = "llama")]
fn sound(built: Built, out: &Path, threads: u32) -> anyhow::Result<Built> {
    if let Err(error) = crate::values::check_built(out, threads as usize) {
        let _ = std::fs::remove_file(out);
        return Err(error);
    }
    Ok(built)
}

/// Sets what pruning goes by, where something is pruned.
#[cfg(feature = "llama")]
fn with_importance<'a>(
    builder: Builder<'a>,
    reference: &Gguf,
    source: &ImportanceSource,
    config: &Config,
) -> anyhow::Result<Builder<'a>> {
    if !config.is_pruned() {
        return Ok(builder);
    }
    Ok(match source {
        ImportanceSource::Activations => builder,
        ImportanceSource::Magnitude => {
            let importance = Importance::magnitude(reference, builder.arch())?;
            builder.with_importance(importance)
        }
        ImportanceSource::Gradients(path) => {
            let file = std::io::BufReader::new(std::fs::File::open(path)?);
            let gradients = serde_json::from_reader(file);
            let gradients = gradients.with_context(|| format!("{} is damaged; delete it", path.display()))?;
            builder.with_importance(Importance::from_gradients(gradients))
        }
    })
}

#[cfg(feature = "llama")]
fn read_stats(path: Option<&Path>) -> anyhow::Result<Option<ActivationStats>> {
    let Some(path) = path else { return Ok(None) };
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    let stats = serde_json::from_reader(file);
    Ok(Some(stats.with_context(|| format!("{} is damaged; delete it", path.display()))?))
}

/// What was built, in the protocol's words. An artifact that is the source file itself is linked (or copied) to where it belongs.
#[cfg(feature = "llama")]
fn told(artifact: Artifact, out: &Path, pruned: bool) -> std::io::Result<Built> {
    if artifact.path != out {
        // Under another name first: who uses an earlier file of this name never finds none, or half of one.
        let partial = temp_beside(out);
        if std::fs::hard_link(&artifact.path, &partial).is_err() {
            std::fs::copy(&artifact.path, &partial)?;
        }
        publish(&partial, out)?;
        // Renaming one link of a file to another of the same file leaves both.
        let _ = std::fs::remove_file(&partial);
    }
    let layers = super::layers::of(out, &artifact.kept.layers);
    let kept = &artifact.kept;
    let sum = |values: &[u32]| values.iter().sum::<u32>();
    Ok(Built {
        bytes: artifact.bytes,
        hash: artifact.hash,
        fallbacks: artifact
            .fallbacks
            .iter()
            .map(|f| (f.tensor.clone(), f.asked.name().to_owned(), f.got.name().to_owned()))
            .collect(),
        kept: if pruned {
            format!(
                "{} layers, {} KV heads, {} FFN channels",
                kept.layers.len(),
                sum(&kept.kv_heads),
                sum(&kept.ffn)
            )
        } else {
            String::new()
        },
        quantized: artifact.quantized as u64,
        reused: artifact.reused as u64,
        layers,
        recovery: None,
        sha256: None,
    })
}

/// Collects activation statistics of a model on a text, into a JSON file.
#[cfg(feature = "llama")]
pub(super) fn activations(
    model: &Path,
    text: &str,
    max_tokens: u32,
    threads: u32,
    out: &Path,
) -> anyhow::Result<()> {
    let stats = autotune_engine::activations::collect(model, text, max_tokens as usize, threads)?;
    // JSON cannot represent them, and a file without them would be taken for damaged.
    let vectors = stats.mean_square.iter().map(|(name, values)| (format!("of the inputs of {name}"), values));
    let streams =
        [("of the residual stream", &stats.layer_cosine), ("of the residual stream", &stats.stream_square)];
    let streams = streams.map(|(name, values)| (name.to_owned(), values));
    for (name, values) in vectors.chain(streams) {
        if let Some(value) = values.iter().find(|x| !x.is_finite()) {
            let word = finite::word(f64::from(*value));
            anyhow::bail!("{}the activations {name} hold {word}", finite::NOT_A_NUMBER);
        }
    }
    autotune_core::atomic_file::write_with(out, |file| Ok(serde_json::to_writer(file, &stats)?))
}

/// Collects activation statistics of a model on a text, into a JSON file.
#[cfg(not(feature = "llama"))]
pub(super) fn activations(_: &Path, _: &str, _: u32, _: u32, _: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this build has no llama.cpp; build with `--features llama`")
}
