//! The commands that a reader copies: exporting a trial's artifact, and running it.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use autotune_core::shell;
use autotune_core::space::{Config, KvType};
use autotune_store::{StudyRecord, TrialRecord};

/// The commands that export and run a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// `autotune export ...`
    pub export: String,
    /// The engine's own server, with the trial's settings; none for an engine without one.
    pub run: Option<String>,
    /// The engine's command line tool, with the trial's settings.
    pub chat: Option<String>,
}

impl Commands {
    /// The commands of a trial; `results` is the folder of the database, named when it is not the default.
    #[must_use]
    pub fn new(study: &StudyRecord, trial: &TrialRecord, results: &Path) -> Self {
        let stem = format!("{}-{}", file_stem(&study.name), trial.number);
        let is_newest = study.segments.last().is_none_or(|newest| newest.number == study.segment);
        let selector = if is_newest && is_plain(&study.name) { study.name.clone() } else { study.selector() };
        let mut export = format!("autotune export {selector} --trial {} --to {stem}", trial.number);
        if results != Path::new("results") && !results.as_os_str().is_empty() {
            export.push_str(&format!(" --results {}", shell::path(results)));
        }
        Self { export, run: None, chat: None }.for_file(study, trial, format!("{stem}/{stem}.gguf"))
    }

    /// The same, running another file.
    #[must_use]
    pub fn for_file(mut self, study: &StudyRecord, trial: &TrialRecord, file: impl AsRef<Path>) -> Self {
        let file = shell::path(file.as_ref());
        let config = Config::from_candidate(&trial.candidate).ok().filter(|_| study.engine == "llama.cpp");
        self.run = config.as_ref().map(|config| llama_server(config, &file));
        self.chat = config.as_ref().map(|config| llama_cli(config, &file));
        self
    }
}

/// llama.cpp's server counts the context over all slots, and stores a quantized V only with flash attention.
fn llama_server(config: &Config, file: &str) -> String {
    let context = u64::from(config.context) * u64::from(config.batch);
    let mut command = format!("llama-server -m {file} -c {context} -np {}", config.batch);
    command.push_str(&shared_flags(config));
    command
}

/// One sequence; greedy, as the trial was graded.
fn llama_cli(config: &Config, file: &str) -> String {
    format!("llama-cli -m {file} -c {}{} --temp 0", config.context, shared_flags(config))
}

/// What server and command line tool take alike.
fn shared_flags(config: &Config) -> String {
    let mut command = format!(" -t {} -ub {}", config.threads, config.ubatch);
    if config.gpu_layers > 0 {
        command.push_str(&format!(" -ngl {}", config.gpu_layers));
    }
    if config.kv_k != KvType::F16 {
        command.push_str(&format!(" -ctk {}", config.kv_k.name()));
    }
    if config.kv_v != KvType::F16 {
        command.push_str(&format!(" -ctv {}", config.kv_v.name()));
    }
    if config.kv_v.is_quantized() {
        command.push_str(" -fa on");
    }
    if !config.repack {
        command.push_str(" --no-repack");
    }
    command
}

/// Longest stem, in bytes: file systems take names of 255, and a trial's number, an ending and a temporary mark come behind it.
const LONGEST_STEM: usize = 80;

/// A study's name as the stem of a file: what is no letter, digit, `-`, `_` or `.` becomes `-`. A long name is cut, and a piece of its hash
/// distinguishes it from others with the same prefix.
#[must_use]
pub fn file_stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    let stem = stem.trim_matches(['.', '-']);
    if stem.is_empty() {
        return "study".into();
    }
    if stem.len() <= LONGEST_STEM {
        return stem.to_owned();
    }
    let hash: String = Sha256::digest(name.as_bytes()).iter().take(4).map(|b| format!("{b:02x}")).collect();
    let cut = stem.floor_char_boundary(LONGEST_STEM - hash.len() - 1);
    format!("{}-{hash}", stem[..cut].trim_end_matches(['.', '-']))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Candidate, Value};

    #[test]
    fn the_server_gets_the_trials_settings() {
        let candidate = Candidate::default()
            .with("kv.v", Value::Text("q8_0".into()))
            .with("batch", Value::Int(4))
            .with("context", Value::Int(2048))
            .with("threads", Value::Int(2))
            .with("repack", Value::Bool(false));
        let config = Config::from_candidate(&candidate).unwrap();
        assert_eq!(
            llama_server(&config, "x.gguf"),
            "llama-server -m x.gguf -c 8192 -np 4 -t 2 -ub 512 -ctv q8_0 -fa on --no-repack"
        );
        assert_eq!(
            llama_cli(&config, "x.gguf"),
            "llama-cli -m x.gguf -c 2048 -t 2 -ub 512 -ctv q8_0 -fa on --no-repack --temp 0"
        );
    }

    #[test]
    fn odd_names_make_safe_words() {
        assert_eq!(file_stem("../../etc/pass wd"), "etc-pass-wd");
        assert_eq!(file_stem("..."), "study");
        let long = |end: &str| file_stem(&format!("{}{end}", "λ".repeat(200)));
        assert!(long("a").len() <= LONGEST_STEM && long("a").starts_with("λλ"), "{}", long("a"));
        assert_ne!(long("a"), long("b"), "names that begin alike stay apart");
        assert_eq!(long("a"), long("a"));
        assert!(!is_plain("-rf"));
    }
}
