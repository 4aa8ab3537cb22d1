//! Opening the results database for a command, with errors as the user needs them.

use super::args::StoreArgs;
use super::printer::Printer;
pub use crate::exit::expected;
use crate::store::{DATABASE_FILE, Store};

/// Opens the database of the results folder for reading; it must exist.
///
/// # Errors
/// An [`crate::exit::Expected`] failure that names the file and the remedy.
pub fn open_for_reading(args: &StoreArgs) -> anyhow::Result<Store> {
    let store = Store::open_existing(&args.results.join(DATABASE_FILE)).map_err(expected)?;
    if store.is_copy() {
        Printer::new(false).warn(&format!(
            "{} cannot be written, and it has a write-ahead log that was not merged: a copy with the log merged is read",
            store.path().display()
        ));
    }
    Ok(store)
}
