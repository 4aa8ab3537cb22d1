//! Where a raw continuation ends, by language.

use super::TaskLanguage;

/// Texts that end the body of a Python function that the prompt began: the next statement at column 0.
const PYTHON_BODY: &[&str] = &[
    "\ndef ",
    "\nclass ",
    "\nprint",
    "\nif ",
    "\nfor ",
    "\nwhile ",
    "\n#",
    "\n@",
    "\n```",
    "\nassert",
    "\nfrom ",
    "\nimport ",
    "\n\"\"\"",
    "\n'''",
    "\n>>>",
    "<|",
];

/// Texts that end a whole Python program: anything that uses or tests it.
const PYTHON_PROGRAM: &[&str] =
    &["\nassert", "\nprint", "\nif __name__", "\n\"\"\"", "\n```", "\n>>>", "\n# Test", "<|"];

/// Texts that end a JavaScript function in case that no closing brace came.
const JAVASCRIPT: &[&str] = &[
    "\nfunction ",
    "\nconst ",
    "\nlet ",
    "\nclass ",
    "\n//",
    "\n/*",
    "\nconsole",
    "\nmodule.",
    "\nexport ",
    "\n```",
    "<|",
];

/// Stop texts that do not belong to the completion.
#[must_use]
pub fn exclusive(language: TaskLanguage, standalone: bool) -> Vec<String> {
    let texts = match language {
        TaskLanguage::Python if standalone => PYTHON_PROGRAM,
        TaskLanguage::Python => PYTHON_BODY,
        TaskLanguage::JavaScript | TaskLanguage::TypeScript => JAVASCRIPT,
        TaskLanguage::Other => &["\n```", "<|"],
    };
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Stop texts that still belong to the completion: a brace at column 0 closes the function that the prompt opened.
#[must_use]
pub fn inclusive(language: TaskLanguage) -> Vec<String> {
    match language {
        TaskLanguage::JavaScript | TaskLanguage::TypeScript => vec!["\n}".to_owned()],
        TaskLanguage::Python | TaskLanguage::Other => Vec::new(),
    }
}
