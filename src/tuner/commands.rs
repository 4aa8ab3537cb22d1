//! Command lines of our own that are printed for the user to run, quoted for a shell.

use std::path::Path;

use crate::shell;
use crate::store::StudyId;

/// The folder of results that needs no flag.
const DEFAULT_RESULTS: &str = "results";

/// The flag that names a folder of results, with a space before it; nothing for the default.
pub(crate) fn results_flag(results: &Path) -> String {
    if results == Path::new(DEFAULT_RESULTS) || results.as_os_str().is_empty() {
        return String::new();
    }
    format!(" --results {}", shell::path(results))
}

/// The line that goes on with a study; `more` is put behind it.
pub(crate) fn resume(study: StudyId, results: &Path, more: Option<&str>) -> String {
    let more = more.map_or_else(String::new, |more| format!(" {more}"));
    format!("autotune resume {}{}{more}", study.0, results_flag(results))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_results_is_quoted() {
        let line = |results: &str| resume(StudyId(3), Path::new(results), Some("--time 10m"));
        assert_eq!(line("results"), "autotune resume 3 --time 10m");
        assert_eq!(line("$(id)"), "autotune resume 3 --results '$(id)' --time 10m");
        assert_eq!(line("-r"), "autotune resume 3 --results ./-r --time 10m");
    }
}
