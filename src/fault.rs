//! What an error tells the user, and whose fault it is.

use std::error::Error;
use std::io;

/// An error and its causes in one line. A cause whose words its effect has already quoted is not told twice.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether an error, or a cause of it, says that the machine lacks disk space or permission. Such a failure is nobody's measurement: it
/// passes when the user frees space or mends the permission.
#[must_use]
pub fn is_machines(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|e| is_machines_kind(e.kind())) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn is_machines_kind(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge | K::ReadOnlyFilesystem | K::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gguf::Fault;

    #[test]
    fn nothing_is_told_twice() {
        let error = Fault::Write(io::Error::from_raw_os_error(28)).at(std::path::Path::new("x.gguf"));
        let error = anyhow::Error::from(error).context("study 1 stopped");
        let text = told(&error);
        assert!(text.starts_with("study 1 stopped: ") && text.matches("os error 28").count() == 1, "{text}");
        assert_eq!(told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }

    #[test]
    fn the_kernels_codes_are_recognised_through_typed_errors() {
        for (code, machines) in [(28, true), (30, true), (13, true), (122, true), (2, false), (32, false)] {
            let io = || io::Error::from_raw_os_error(code);
            assert_eq!(is_machines(&io()), machines, "{code}");
            assert_eq!(is_machines(&Fault::Write(io()).at(std::path::Path::new("x"))), machines, "{code}");
            let wrapped = io::Error::other(io());
            assert!(wrapped.source().is_none() || is_machines(&wrapped) == machines);
        }
    }
}
