//! Words of commands that are printed to be pasted into a POSIX shell: whatever a name holds, the shell gives the same name back and runs
//! nothing of it.

use std::ffi::OsStr;
use std::path::Path;

/// A text as one word of a shell. Control characters and bytes that are no UTF-8 are written as `printf` escapes, since a terminal would
/// act on them when the line is shown or pasted; a line feed stays as it is within quotes.
#[must_use]
pub fn word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_encoded_bytes();
    if bytes.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        let mut plain = String::new();
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' {
                quoted(&mut out, &mut plain);
                escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                plain.push(c);
            }
        }
        quoted(&mut out, &mut plain);
        escaped(&mut out, chunk.invalid());
    }
    out
}

/// A path as one word that no program takes for a flag: one that begins with `-` gets `./` before it.
#[must_use]
pub fn path(path: &Path) -> String {
    if path.as_os_str().as_encoded_bytes().first() == Some(&b'-') {
        word(Path::new(".").join(path))
    } else {
        word(path)
    }
}

/// Words with a space between them.
#[must_use]
pub fn line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

fn quoted(out: &mut String, plain: &mut String) {
    if !plain.is_empty() {
        // Only a NUL is refused, and that is a control character.
        out.push_str(&shlex::try_quote(plain).unwrap_or_default());
        plain.clear();
    }
}

fn escaped(out: &mut String, bytes: &[u8]) {
    if !bytes.is_empty() {
        let octal: String = bytes.iter().map(|b| format!("\\{b:03o}")).collect();
        out.push_str(&format!("\"$(printf '{octal}')\""));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a shell makes of the words.
    fn given_back(words: &[OsString]) -> Vec<OsString> {
        let script = format!("printf '%s\\0' {}", line(words));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let mut parts: Vec<OsString> =
            output.stdout.split(|b| *b == 0).map(|b| OsStr::from_bytes(b).to_owned()).collect();
        assert_eq!(parts.pop(), Some(OsString::new()));
        parts
    }

    #[test]
    fn a_shell_gives_hostile_names_back_and_runs_none_of_them() {
        let names: Vec<OsString> = [
            "plain-1.gguf",
            "",
            "$(touch /tmp/owned)",
            "`id`",
            "a b",
            "a'b",
            "a\"b",
            "'",
            "a\nb",
            "tail\n",
            "a\tb\rc",
            "\u{1b}[2J",
            "a;b&c|d>e<f",
            "-rf",
            "~root",
            "~",
            "*",
            "?[a]",
            "{a,b}",
            "#a",
            "!!",
            "a!b'c",
            "a^b",
            "A=b",
            "\\",
            "a\\",
            "größe λ",
            "%s",
            "\u{85}x",
        ]
        .iter()
        .map(OsString::from)
        .chain([OsString::from_vec(b"not \xff utf-8 \xc3".to_vec())])
        .collect();
        assert_eq!(given_back(&names), names);
        assert_eq!(word("plain-1.gguf"), "plain-1.gguf");
    }

    #[test]
    fn a_path_is_never_taken_for_a_flag() {
        assert_eq!(path(Path::new("-rf")), "./-rf");
        assert_eq!(path(Path::new("a/-b")), "a/-b");
        assert_eq!(path(Path::new("/x y")), "'/x y'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_come_back(names in prop::collection::vec(prop::collection::vec(1u8.., 0..12), 1..20)) {
            let names: Vec<OsString> = names.into_iter().map(OsString::from_vec).collect();
            prop_assert_eq!(given_back(&names), names);
        }
    }
}
