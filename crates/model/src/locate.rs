//! From what the user calls the model to a file: a path, `hf:owner/repo/file.gguf`, or the demo model.

use std::path::{Path, PathBuf};

use super::hub::Hub;

/// The variable that names the demo model's file.
pub const DEMO_VARIABLE: &str = "AUTOTUNE_DEMO_MODEL";
/// Where `make` puts the demo model.
const DEMO_FOLDER: &str = ".deps/models";

/// A model that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// No such file.
    #[error("there is no model at {}; give --model a GGUF file, or hf:owner/repo/file.gguf", .0.display())]
    Missing(PathBuf),
    /// An address, not a file.
    #[error(
        "{0} is an address, not a file; download it first, or name a file of the hub as hf:owner/repo/file.gguf"
    )]
    Address(String),
    /// The address of a file on the hub.
    #[error(
        "{address} is an address; write {name} for it (files of the hub are named hf:owner/repo/file.gguf)"
    )]
    HubAddress {
        /// What was given.
        address: String,
        /// The file as it is named here.
        name: String,
    },
    /// The name of another registry, or of a repository without its file.
    #[error(
        "there is no file {found}, and models of {what} are not known by name; give --model a GGUF file, or name a file of the hub as hf:owner/repo/file.gguf"
    )]
    Registry {
        /// What was given.
        found: String,
        /// Where such names come from.
        what: &'static str,
    },
    /// A folder that is no checkpoint.
    #[error(
        "{} is a folder without config.json; give --model the GGUF file inside it, or a Hugging Face folder", .0.display()
    )]
    Folder(PathBuf),
    /// Neither a model nor the demo.
    #[error(
        "no --model was given, and the demo model is not installed; name a model with --model, or run `autotune demo`, which downloads the demo \
         model and tunes it (in a clone, `make setup` installs it under {DEMO_FOLDER})"
    )]
    NoDemo,
    /// A hub name of the wrong form.
    #[error(
        "`{0}` does not name a file on the hub; write hf:owner/repo/file.gguf (a quantization is named by its file, not by `:Q4_K_M`)"
    )]
    HubName(String),
    /// The hub did not deliver.
    #[error("failed to fetch {file} of {repo} from {endpoint}: {reason}; {}", remedy(reason))]
    Hub {
        /// `owner/repo`.
        repo: String,
        /// The file in it.
        file: String,
        /// Where it was asked for.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The network may not be used, and the cache has not got the file.
    #[error(
        "{name} is not in the cache ({}), and {variable} forbids fetching it; unset {variable}, or name another cache with HF_HOME or \
         HF_HUB_CACHE", cache.display()
    )]
    Offline {
        /// `hf:owner/repo/file`.
        name: String,
        /// The cache that was looked into.
        cache: PathBuf,
        /// The variable that says so.
        variable: &'static str,
    },
    /// There is no place to keep what is fetched.
    #[error(
        "there is no home directory to look for {name} in or to fetch it to; set HOME, HF_HOME or HF_HUB_CACHE to a folder"
    )]
    NoHubCache {
        /// `hf:owner/repo/file`.
        name: String,
    },
}

impl LocateError {
    /// Whether the machine or the network is the cause, and not what was asked for.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Hub { .. } | Self::Offline { .. } | Self::NoHubCache { .. })
    }
}

fn remedy(reason: &str) -> &'static str {
    if ["401", "403"].iter().any(|code| reason.contains(code)) {
        "the repository may be private or need its terms accepted: set HF_TOKEN to a token that may read it"
    } else {
        "check the name and the network, or set HF_ENDPOINT to a mirror"
    }
}

/// Finds the file of a model, or its folder of Hugging Face; fetches it when it is on the hub and not in the cache (see [`Hub`]).
///
/// # Errors
/// There is no such model.
pub fn locate(model: Option<&str>) -> Result<PathBuf, LocateError> {
    match model {
        None => demo(),
        Some(name) => match name.strip_prefix("hf:") {
            Some(hub) => from_hub(hub),
            None => existing(Path::new(name)),
        },
    }
}

fn existing(path: &Path) -> Result<PathBuf, LocateError> {
    if path.is_dir() && path.join(super::hf::CONFIG).is_file() {
        Ok(path.to_owned())
    } else if path.is_dir() {
        Err(LocateError::Folder(path.to_owned()))
    } else if path.exists() {
        Ok(path.to_owned())
    } else {
        Err(not_there(path))
    }
}

/// Why there is no such file: names as other tools write them are answered with ours.
fn not_there(path: &Path) -> LocateError {
    let Some(name) = path.to_str() else { return LocateError::Missing(path.to_owned()) };
    if let Some((scheme, rest)) = name.split_once("://") {
        let hub = matches!(scheme, "http" | "https").then(|| hub_name(rest)).flatten();
        return match hub {
            Some(hub) => LocateError::HubAddress { address: name.to_owned(), name: format!("hf:{hub}") },
            None => LocateError::Address(name.to_owned()),
        };
    }
    let registry = |what| LocateError::Registry { found: name.to_owned(), what };
    match name.split_once(':') {
        Some(("ollama", _)) => return registry("Ollama"),
        Some(("hf.co" | "huggingface", _)) => return registry("a hub"),
        _ => {}
    }
    // `owner/repo`, as tools of the hub take it, and no path that anybody would write for a file.
    let parts: Vec<&str> = name.split('/').collect();
    let is_word = |w: &&str| !w.is_empty() && !w.starts_with('.') && !w.starts_with('~');
    let is_file = [".gguf", ".json", ".bin", ".safetensors"].iter().any(|e| name.ends_with(e));
    if parts.len() == 2 && parts.iter().all(is_word) && !is_file && !Path::new(parts[0]).exists() {
        return registry("a hub");
    }
    LocateError::Missing(path.to_owned())
}

/// `owner/repo/file` of an address of the hub, without its scheme.
fn hub_name(address: &str) -> Option<String> {
    let rest = address.strip_prefix("huggingface.co/").or_else(|| address.strip_prefix("hf.co/"))?;
    let rest = rest.split(['?', '#']).next()?;
    let (repo, file) = ["/resolve/", "/blob/", "/raw/"].iter().find_map(|by| rest.split_once(by))?;
    let (_branch, file) = file.split_once('/')?;
    (repo.split('/').count() == 2 && !file.is_empty()).then(|| format!("{repo}/{file}"))
}

fn demo() -> Result<PathBuf, LocateError> {
    if let Some(path) = std::env::var_os(DEMO_VARIABLE).filter(|v| !v.is_empty()) {
        return existing(Path::new(&path));
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(DEMO_FOLDER)
        .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default();
    found.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
    found.sort();
    found.into_iter().next().ok_or(LocateError::NoDemo)
}

fn from_hub(name: &str) -> Result<PathBuf, LocateError> {
    let bad = || LocateError::HubName(format!("hf:{name}"));
    let mut parts = name.splitn(3, '/');
    let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad());
    };
    let plain = |part: &str| !part.is_empty() && !part.split('/').any(|p| p.is_empty() || p == "..");
    if !(plain(owner) && plain(repo) && plain(file)) {
        return Err(bad());
    }
    Hub::from_env().file(&format!("{owner}/{repo}"), file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_model_are_explained() {
        let text = |name: &str| locate(Some(name)).unwrap_err().to_string();
        assert!(text("no/such.gguf").contains("no/such.gguf"));
        assert!(text("/").contains("folder"));
        for bad in ["hf:", "hf:owner", "hf:owner/repo", "hf:owner/repo/", "hf:owner//file", "hf:o/r/../x"] {
            assert!(text(bad).contains("hf:owner/repo/file.gguf"), "{bad}");
        }
        for other in ["a/b", "https://example.org/x.gguf", "ollama:qwen2.5-coder", "hf:a/b:Q4_K_M"] {
            assert!(text(other).contains("hf:owner/repo/file.gguf"), "{other}");
        }
        let address = text("https://huggingface.co/a/b/resolve/main/sub/c.gguf?download=true");
        assert!(
            address.contains("hf:a/b/sub/c.gguf") && address.contains("hf:owner/repo/file.gguf"),
            "{address}"
        );
    }
}
