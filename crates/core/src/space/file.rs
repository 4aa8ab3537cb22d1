//! Space files: TOML text to a [`Space`] that this machine, this model and this workload can have.
//!
//! The format is documented in `docs/src/reference/search-space.md`, beside the presets that are embedded here. Reading goes in two
//! steps: [`super::declared`] checks what is written, [`super::fit`] derives levels and leaves out those that cannot be had.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::declared::{self, Declared, DeclaredParam};
use super::facts::{NoteReason, SpaceFacts, SpaceNote};
use super::file_error::SpaceFileError;
use super::fit::{self, Unfit};
use super::known::{DEPTHS, KNOWN};
use super::nearest::nearest;
use super::{Param, Space, Value};

/// The presets, by name, as they are in `search-spaces/`.
const PRESETS: [(&str, &str); 8] = [
    ("laptop", include_str!("../../../../search-spaces/laptop.toml")),
    ("mobile", include_str!("../../../../search-spaces/mobile.toml")),
    ("edge", include_str!("../../../../search-spaces/edge.toml")),
    ("desktop", include_str!("../../../../search-spaces/desktop.toml")),
    ("server", include_str!("../../../../search-spaces/server.toml")),
    ("torch", include_str!("../../../../search-spaces/torch.toml")),
    ("torch-gpu", include_str!("../../../../search-spaces/torch-gpu.toml")),
    ("smoke", include_str!("../../../../search-spaces/smoke.toml")),
];

/// The largest space file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A space, and what its file asked for in vain.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSpace {
    /// The space: every level can be had, and every candidate is read by [`super::Config::from_candidate`].
    pub space: Space,
    /// The levels that were left out, with the reasons.
    pub notes: Vec<SpaceNote>,
}

/// The names of the presets, the default first.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset of a name, fitted to the facts.
///
/// # Errors
/// No such preset, or one that leaves a parameter without a level here.
pub fn load_preset(name: &str, facts: &SpaceFacts) -> Result<LoadedSpace, SpaceFileError> {
    let (name, text) = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(|| not_found(name))?;
    parse_space(text, name, facts)
}

/// The space that the user named: a preset, else a path to a TOML file. (`./laptop` is a path, `laptop` is not.)
///
/// # Errors
/// Neither of them, an unreadable file, or one that is no space for these facts.
pub fn load_space(spec: &str, facts: &SpaceFacts) -> Result<LoadedSpace, SpaceFileError> {
    if preset_names().any(|name| name == spec) {
        return load_preset(spec, facts);
    }
    let path = Path::new(spec);
    if !path.exists() && path.extension().is_none() && path.components().count() <= 1 {
        return Err(not_found(spec));
    }
    let failed = |source| SpaceFileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        let error = format!("larger than {MOST_BYTES} bytes, which is too large for a space file");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error)));
    }
    parse_space(&text, spec, facts)
}

fn not_found(spec: &str) -> SpaceFileError {
    SpaceFileError::NotFound {
        spec: spec.into(),
        hint: nearest(spec, preset_names()).map(Into::into),
        presets: preset_names().collect::<Vec<_>>().join(", ").into(),
    }
}

/// The space of a text; `file` is what errors call it, and its stem names a space that does not name itself.
///
/// # Errors
/// As [`load_space`], without the reading.
pub fn parse_space(text: &str, file: &str, facts: &SpaceFacts) -> Result<LoadedSpace, SpaceFileError> {
    let Declared { name, description, split, params } = declared::parse(text, file)?;
    let mut notes = Vec::new();
    let mut fitted = Vec::new();
    for param in params {
        let (levels, removed) = fit::fit(&param, facts).map_err(|unfit| describe(unfit, file, &param))?;
        notes.extend(removed);
        // Nothing on a GPU is what a candidate that does not speak of it means.
        if param.known.key == "gpu_layers" && levels == [Value::Int(0)] {
            continue;
        }
        // Only a file that stores its embedding twice has something to tie.
        let twice = facts.model.is_some_and(|model| model.duplicated_embedding);
        if param.known.key == "weights.tie" && !twice {
            continue;
        }
        let names = if split { thirds(&param, facts, &mut notes) } else { vec![param.name.clone()] };
        let kind = param.known.kind();
        fitted.extend(names.into_iter().map(|name| Param { name, kind, levels: levels.clone() }));
    }
    let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = name.or(stem).unwrap_or_else(|| "space".to_owned());
    Ok(LoadedSpace { space: Space { name, description, params: fitted }, notes })
}

fn describe(unfit: Unfit, file: &str, param: &DeclaredParam) -> SpaceFileError {
    let (file, line, key) = (file.into(), param.line, param.name.as_str().into());
    match unfit {
        Unfit::NeedsModel => SpaceFileError::NeedsModel { file, line, key },
        Unfit::Empty(why) => SpaceFileError::NoLevel { file, line, key, why: why.into() },
    }
}

/// The names that a parameter has under `split = "depth"`: its thirds where it splits and is not split by hand already.
fn thirds(param: &DeclaredParam, facts: &SpaceFacts, notes: &mut Vec<SpaceNote>) -> Vec<String> {
    let whole = KNOWN.iter().any(|known| known.key == param.name);
    if !param.known.splits || !whole {
        return vec![param.name.clone()];
    }
    if let Some(model) = facts.model.filter(|model| (model.layers as usize) < DEPTHS.len()) {
        let reason = NoteReason::TooShallow { layers: model.layers };
        notes.push(SpaceNote {
            param: param.name.clone(),
            level: "the split over the depth".to_owned(),
            reason,
        });
        return vec![param.name.clone()];
    }
    DEPTHS.iter().map(|depth| format!("{}.{depth}", param.name)).collect()
}
