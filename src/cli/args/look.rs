//! Arguments of the commands that read a database.

use std::path::PathBuf;

use clap::Args;

use super::StoreArgs;

/// `autotune studies`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune importance`
#[derive(Debug, Args)]
pub struct ImportanceArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune trials`
#[derive(Debug, Args)]
pub struct TrialsArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV.
    #[arg(long)]
    pub csv: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Number or name of a study.
    pub first: String,
    /// Number or name of another.
    pub second: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune salvage`
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// The damaged database, for example results/autotune.db.
    pub database: PathBuf,
    /// The new database. Default: autotune.salvaged.db in the same directory.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
