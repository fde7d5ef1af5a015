//! Generates the registry's tables of built-in kinds (`registry/src/schema/generated/`) from facts in published crates.
//!
//! [`openapi`] reads which fields exist, their JSON names and types from the crate `k8s-openapi`; [`protobuf`] reads field
//! numbers and list markers from the crate `k8s-pb`; [`facts`] holds what is in neither. [`model`] joins the three and
//! [`emit`] writes Rust. Nothing of those crates is linked: their sources are found through `cargo metadata` and parsed.
//!
//! `cargo run -p quarterdeck-schemagen` writes the tables, with `-- --check` it only compares them with what is committed.
mod emit;
mod facts;
mod model;
mod openapi;
mod protobuf;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A failure that ends the run, in words for the person who started it.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => generate().and_then(|files| write(&output(), &files)),
        ["--check"] => generate().and_then(|files| check(&output(), &files)),
        _ => Err("usage: quarterdeck-schemagen [--check]".into()),
    };
    match outcome {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("schemagen: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that the tables are committed in.
fn output() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/schema/generated")
}

/// Makes every file in memory, by name.
fn generate() -> Result<BTreeMap<String, String>, Failure> {
    let facts = facts::Facts::load()?;
    let sources = sources::find()?;
    let definitions = openapi::read(&sources.openapi, &facts)?;
    let messages = protobuf::read(&sources.protobuf)?;
    let structures = model::join(&definitions, &messages, &facts)?;
    Ok(emit::files(&structures))
}

fn write(folder: &Path, files: &BTreeMap<String, String>) -> Result<String, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for stale in present(folder)?.iter().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(folder.join(stale)).map_err(|e| format!("cannot remove {stale}: {e}"))?;
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text).map_err(|e| format!("cannot write {name}: {e}"))?;
    }
    Ok(format!("wrote {} files to {}", files.len(), folder.display()))
}

fn check(folder: &Path, files: &BTreeMap<String, String>) -> Result<String, Failure> {
    let mut different: Vec<String> =
        present(folder)?.into_iter().filter(|name| !files.contains_key(name)).collect();
    for (name, text) in files {
        if std::fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text) {
            different.push(name.clone());
        }
    }
    if different.is_empty() {
        return Ok(format!("{} files are as generated", files.len()));
    }
    Err(format!(
        "registry/src/schema/generated differs from its sources ({}): run `cargo run -p quarterdeck-schemagen`",
        different.join(", ")
    ))
}

fn present(folder: &Path) -> Result<Vec<String>, Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .map_err(|e| format!("cannot read {}: {e}", folder.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_what_is_generated() {
        let outcome = generate().and_then(|files| check(&output(), &files));

        assert!(outcome.is_ok(), "{outcome:?}");
    }
}
