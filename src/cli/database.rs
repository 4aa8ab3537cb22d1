//! Opening the results database for a command, with errors as the user needs them.

use super::args::StoreArgs;
use super::exit::{Exit, Expected};
use super::printer::Printer;
use crate::store::{DATABASE_FILE, Store, StoreError};

/// Opens the database of the results folder for reading; it must exist.
///
/// # Errors
/// An [`Expected`] failure that names the file and the remedy.
pub fn open_for_reading(args: &StoreArgs) -> anyhow::Result<Store> {
    let store = Store::open_existing(&args.results.join(DATABASE_FILE)).map_err(expected)?;
    if store.is_copy() {
        Printer::new(false).warn(&format!(
            "{} cannot be written, and its last writer left a write-ahead log behind: a copy with that log worked in is read",
            store.path().display()
        ));
    }
    Ok(store)
}

/// Opens the database of the results folder for writing; creates it where it is missing.
///
/// # Errors
/// An [`Expected`] failure that names the file and the remedy.
pub fn open_for_writing(args: &StoreArgs) -> anyhow::Result<Store> {
    Store::open(&args.results.join(DATABASE_FILE)).map_err(expected)
}

/// A store's error with its exit code: the machine's faults are told apart from the user's, and both from bugs.
#[must_use]
pub fn expected(error: StoreError) -> anyhow::Error {
    if !error.is_expected() {
        return error.into();
    }
    let exit = if error.is_environment() { Exit::Environment } else { Exit::Usage };
    Expected { exit, text: error.to_string() }.into()
}
