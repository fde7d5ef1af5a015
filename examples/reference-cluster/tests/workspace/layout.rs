//! What lies where: top-level entries, and lints that hold for every crate.

use crate::{files, metadata, root};

/// What may lie at the top, beside files and folders whose names start with a dot.
const TOP: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "agent",
    "clippy.toml",
    "controllers",
    "core",
    "deny.toml",
    "docs",
    "examples",
    "proxy",
    "registry",
    "rustfmt.toml",
    "scheduler",
    "src",
    "tests",
    "target", // made by Cargo, ignored by Git
];

#[test]
fn nothing_unexpected_lies_at_the_top() {
    let entries = std::fs::read_dir(root()).expect("the root can be read");
    let mut strangers: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    strangers.sort();

    assert_eq!(strangers, Vec::<String>::new(), "put it into a folder, or into the list in this test");
}

#[test]
fn every_crate_must_document_what_it_exports() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("\nmissing_docs = \"deny\"\n"), "the workspace denies missing_docs");

    for package in metadata()["packages"].as_array().expect("metadata lists packages") {
        let path = package["manifest_path"].as_str().expect("a package has a manifest");
        let manifest = std::fs::read_to_string(path).expect("a readable manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path} does not take the workspace's lints");
    }
}

#[test]
fn no_source_file_takes_the_lint_back() {
    let lint = ["missing", "_docs"].concat(); // so that this file does not hold the word
    for file in files(".").iter().filter(|file| file.ends_with(".rs")) {
        let text = std::fs::read_to_string(root().join(file)).expect("a readable source file");
        assert!(
            !text.lines().any(|line| line.contains("allow(") && line.contains(&lint)),
            "{file} allows {lint}"
        );
    }
}
