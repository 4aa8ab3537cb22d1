//! Files of the Hugging Face hub: where Python's `huggingface_hub` keeps them, and how a missing one is fetched.
//!
//! The variables and the cache's layout are those of `huggingface_hub` (constants.py, file_download.py): `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, and their older names.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::locate::LocateError;

/// The hub, unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// The hub as the environment describes it.
#[derive(Clone)]
pub struct Hub {
    cache: Option<PathBuf>,
    offline: Option<&'static str>,
    endpoint: String,
    token: Option<String>,
}

// The token is nobody's to see, not in a debug output either.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Reads the environment of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(&|name| std::env::var_os(name), home())
    }

    /// As the variables say; `home` is where `~` lies.
    fn new(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Self {
        // An empty variable is taken for one that is not set.
        let set = |names: &[&str]| names.iter().find_map(|n| variable(n).filter(|v| !v.is_empty()));
        let text = |names: &[&str]| set(names).and_then(|v| v.into_string().ok());
        let folder = |names: &[&str]| set(names).map(|v| expanded(PathBuf::from(v), home.as_deref()));
        let of_home = || home.as_ref().map(|h| h.join(".cache"));
        let hf_home = folder(&["HF_HOME"])
            .or_else(|| Some(folder(&["XDG_CACHE_HOME"]).or_else(of_home)?.join("huggingface")));
        let cache = folder(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
            .or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let true_value = |name: &&str| {
            let value = text(&[*name]).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let token_file = folder(&["HF_TOKEN_PATH"]).or_else(|| Some(hf_home.as_ref()?.join("token")));
        let stored = || {
            let implicit = !true_value(&"HF_HUB_DISABLE_IMPLICIT_TOKEN");
            token_file.filter(|_| implicit).and_then(|file| std::fs::read_to_string(file).ok())
        };
        let token = text(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).or_else(stored);
        let endpoint = text(&["HF_ENDPOINT"]).unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            cache: cache.and_then(|c| std::path::absolute(c).ok()),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(true_value),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
        }
    }

    /// A file of a repository (`owner/repo`): from the cache, else fetched into it.
    ///
    /// # Errors
    /// It is in no cache, and may or can not be fetched.
    pub fn file(&self, repo: &str, file: &str) -> Result<PathBuf, LocateError> {
        let named = || format!("hf:{repo}/{file}");
        let Some(cache) = &self.cache else {
            return Err(LocateError::NoHubCache { name: named() });
        };
        // What was fetched before needs no network.
        if let Some(cached) = cached(cache, repo, file) {
            return Ok(cached);
        }
        if let Some(variable) = self.offline {
            let (name, cache) = (named(), cache.clone());
            return Err(LocateError::Offline { name, cache, variable });
        }
        let fail = |reason: String| LocateError::Hub {
            repo: repo.to_owned(),
            file: file.to_owned(),
            endpoint: self.endpoint.clone(),
            reason,
        };
        if !self.endpoint.starts_with("http://") && !self.endpoint.starts_with("https://") {
            return Err(fail(
                "HF_ENDPOINT is not an address that begins with https:// or http://".to_owned(),
            ));
        }
        let api = hf_hub::api::sync::ApiBuilder::from_cache(hf_hub::Cache::new(cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .build()
            .map_err(|e| fail(e.to_string()))?;
        api.model(repo.to_owned()).get(file).map_err(|e| fail(e.to_string()))
    }
}

/// A file in the cache, as a link to a blob or as a copy (where the file system has no links); a link whose blob is gone is none.
fn cached(cache: &Path, repo: &str, file: &str) -> Option<PathBuf> {
    let folder = cache.join(format!("models--{}", repo.replace('/', "--")));
    let commit = std::fs::read_to_string(folder.join("refs").join("main")).ok()?;
    let commit = Path::new(commit.trim());
    // One plain name: a damaged file must not lead elsewhere.
    let mut parts = commit.components();
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else { return None };
    let found = folder.join("snapshots").join(commit).join(file);
    found.is_file().then_some(found)
}

/// The user's home: `HOME`, else what the system's list of users says.
fn home() -> Option<PathBuf> {
    let named = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let listed = || nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok()?.map(|user| user.dir);
    named.or_else(listed).filter(|home| home.is_absolute())
}

/// `~/x` under the home.
fn expanded(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)], home: Option<&str>) -> Hub {
        let of =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        Hub::new(&of, home.map(PathBuf::from))
    }

    #[test]
    fn the_cache_lies_where_python_keeps_it() {
        let cache = |variables: &[(&str, &str)]| hub(variables, Some("/home/u")).cache.unwrap();
        assert_eq!(cache(&[]), Path::new("/home/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/h")]), Path::new("/home/u/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "")]), Path::new("/home/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        assert_eq!(
            cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]),
            Path::new("/c")
        );
    }

    #[test]
    fn without_a_home_the_cache_is_asked_for_and_nothing_panics() {
        let error = hub(&[], None).file("o/r", "x.gguf").unwrap_err().to_string();
        assert!(error.contains("HF_HOME") && error.contains("hf:o/r/x.gguf"), "{error}");
        assert!(hub(&[("HF_HOME", "/h")], None).cache.is_some());
    }

    #[test]
    fn offline_names_what_would_be_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        for (variable, value) in
            [("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "yes"), ("TRANSFORMERS_OFFLINE", "TRUE")]
        {
            let error = hub(&[("HF_HOME", home), (variable, value)], None)
                .file("o/r", "x.gguf")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(variable) && error.contains("hf:o/r/x.gguf") && error.contains(home),
                "{error}"
            );
        }
        assert_eq!(hub(&[("HF_HUB_OFFLINE", "0")], None).offline, None);
    }

    #[test]
    fn the_token_is_read_as_python_reads_it_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |more: &[(&str, &str)]| hub(&[&[("HF_HOME", home)], more].concat(), None).token;
        assert_eq!(token(&[]).as_deref(), Some("hf_stored"));
        assert_eq!(token(&[("HF_TOKEN", " hf_given\r\n")]).as_deref(), Some("hf_given"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let shown = format!("{:?}", hub(&[("HF_TOKEN", "hf_given")], Some("/h")));
        assert!(!shown.contains("hf_given"), "{shown}");
    }

    #[test]
    fn a_file_is_found_through_links_and_as_a_copy_but_not_behind_a_broken_link() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path();
        let repo = cache.join("models--own--small");
        for part in ["blobs", "snapshots/abc/sub", "refs"] {
            std::fs::create_dir_all(repo.join(part)).unwrap();
        }
        std::fs::write(repo.join("refs/main"), "abc\n").unwrap();
        std::fs::write(repo.join("blobs/etag"), "x").unwrap();
        std::os::unix::fs::symlink("../../blobs/etag", repo.join("snapshots/abc/linked")).unwrap();
        std::fs::write(repo.join("snapshots/abc/sub/copied"), "x").unwrap();
        assert!(cached(cache, "own/small", "linked").is_some());
        assert!(cached(cache, "own/small", "sub/copied").is_some());
        std::fs::remove_file(repo.join("blobs/etag")).unwrap();
        assert_eq!(cached(cache, "own/small", "linked"), None);
        for elsewhere in ["../..", "/etc", "a/b", "", "."] {
            std::fs::write(repo.join("refs/main"), elsewhere).unwrap();
            assert_eq!(cached(cache, "own/small", "sub/copied"), None, "{elsewhere}");
        }
    }
}
