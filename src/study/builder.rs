//! The worker's building jobs: from a request to an artifact.

use std::path::Path;

#[cfg(feature = "llama")]
use anyhow::Context;
use sha2::{Digest, Sha256};

use super::worker::write_whole;
#[cfg(feature = "llama")]
use crate::compress::{Artifact, Builder, make_reference};
use crate::engine::mock::MockModel;
use crate::measure::protocol::{BuildRequest, Built};
#[cfg(feature = "llama")]
use crate::model::gguf::{Gguf, temp_beside};

/// Builds what is asked for; `progress` hears of tensors done and in all.
pub(super) fn build(request: &BuildRequest, _progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<Built> {
    match request {
        BuildRequest::Mock { model, config, out } => {
            let model: MockModel = serde_json::from_str(&std::fs::read_to_string(model)?)?;
            let text = serde_json::to_string(&model.artifact(config))?;
            write_whole(out, |file| Ok(std::io::Write::write_all(file, text.as_bytes())?))?;
            let hash = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
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
        BuildRequest::Gguf { source, reference, config, stats, cache, out, threads } => {
            let reference = Gguf::open(reference)?;
            let stats = match stats {
                Some(path) => Some(
                    serde_json::from_reader(std::io::BufReader::new(std::fs::File::open(path)?))
                        .with_context(|| format!("{} is damaged; delete it", path.display()))?,
                ),
                None => None,
            };
            let builder = Builder::new(&reference, cache, *threads as usize, stats)?.with_shipped(source);
            Ok(told(builder.build(config, out)?, out, config.is_pruned())?)
        }
        #[cfg(not(feature = "llama"))]
        BuildRequest::Reference { .. } | BuildRequest::Gguf { .. } => {
            anyhow::bail!("this build has no llama.cpp; build with `--features llama`")
        }
    }
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
        std::fs::rename(&partial, out)?;
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
    let stats = crate::engine::activations::collect(model, text, max_tokens as usize, threads)?;
    write_whole(out, |file| Ok(serde_json::to_writer(file, &stats)?))
}

/// Collects activation statistics of a model on a text, into a JSON file.
#[cfg(not(feature = "llama"))]
pub(super) fn activations(_: &Path, _: &str, _: u32, _: u32, _: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this build has no llama.cpp; build with `--features llama`")
}
