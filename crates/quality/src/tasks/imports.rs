//! Which modules Python code imports.

use std::collections::BTreeSet;

/// The modules that Python code imports, without what stands behind a dot: by its lines, so that code that does not parse is read too.
#[must_use]
pub fn imported(source: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in source.lines().map(str::trim_start) {
        if let Some(rest) = line.strip_prefix("import ") {
            names.extend(rest.split(',').filter_map(first_name));
        } else if let Some((module, _)) =
            line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
        {
            names.extend(first_name(module));
        }
    }
    names
}

/// The first name of `numpy.linalg as la`; none of a relative import.
fn first_name(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_all_forms() {
        let source = "import numpy as np, os.path\nfrom math import inf\ndef f(:\n    from pandas.core import frame\nfrom . import own\nimportant = 1\n";
        assert_eq!(imported(source).into_iter().collect::<Vec<_>>(), ["math", "numpy", "os", "pandas"]);
    }
}
