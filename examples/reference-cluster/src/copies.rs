//! Copies of the store: making one, and going back to one.

use std::path::{Path, PathBuf};

use quarterdeck_registry::storage::{Copied, EmbeddedStorage};

use crate::cli::{BackupOptions, RestoreOptions};
use crate::error::{Failure, Result};

/// Returns where the store is in a data directory.
pub(crate) fn store(data: &Path) -> PathBuf {
    data.join("storage")
}

/// Copies the store of a data directory.
pub(crate) fn backup(options: &BackupOptions) -> Result<()> {
    let from = store(&options.data);
    let copied = EmbeddedStorage::backup_of(&from, &options.to);
    let copied = copied.map_err(|error| Failure::because("no backup was made", &error))?;
    println!("{} of {} are in {}", what(&copied), from.display(), options.to.display());
    tell_left_out(&copied);
    println!(
        "Keep {} too: the keys and certificates are not in the store.",
        options.data.join("pki").display()
    );
    Ok(())
}

/// Makes the store of a data directory from a copy.
pub(crate) fn restore(options: &RestoreOptions) -> Result<()> {
    let to = store(&options.data);
    let copied = EmbeddedStorage::restore(&options.from, &to);
    let copied = copied.map_err(|error| Failure::because("nothing was restored", &error))?;
    println!("{} of {} are in {}", what(&copied), options.from.display(), to.display());
    tell_left_out(&copied);
    Ok(())
}

fn tell_left_out(copied: &Copied) {
    let Some(end) = &copied.left_out else { return };
    println!(
        "{} was not written whole: what follows byte {} is left out. A server that runs may just be writing it; otherwise nobody was told that it is stored.",
        end.file.display(),
        end.offset
    );
}

fn what(copied: &Copied) -> String {
    format!("{} keys at revision {} ({} KiB)", copied.keys, copied.revision, copied.bytes >> 10)
}
