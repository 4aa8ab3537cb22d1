//! Ollama's `Modelfile`.

use super::{Facts, SourceFacts};
use autotune_core::shell;
use autotune_core::space::KvType;

/// The text of the `Modelfile`. Ollama reads the chat template from the GGUF itself; what it takes from its server's environment alone
/// (slots, KV type, flash attention) is said in comments.
pub(super) fn modelfile(facts: &Facts<'_>, source: &SourceFacts) -> String {
    let c = &facts.config;
    let mut text = format!(
        "# ollama create {} -f Modelfile\n# The server that was measured: OLLAMA_NUM_PARALLEL={}",
        shell::word(facts.file.trim_end_matches(".gguf")),
        c.batch
    );
    if c.kv_k != KvType::F16 || c.kv_v != KvType::F16 {
        // One type for both halves: the finer one loses nothing.
        let finer = if c.kv_k.row_bytes(1024) >= c.kv_v.row_bytes(1024) { c.kv_k } else { c.kv_v };
        text.push_str(&format!(" OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={}", finer.name()));
    }
    text.push_str(&format!(
        " ollama serve\nFROM ./{}\nPARAMETER num_ctx {}\nPARAMETER num_thread {}\nPARAMETER num_batch {}\nPARAMETER temperature 0\n",
        facts.file, c.context, c.threads, c.ubatch
    ));
    if let Some(license) = &source.license {
        text.push_str(&format!("LICENSE \"\"\"{}\"\"\"\n", license.replace("\"\"\"", "")));
    }
    text
}
