//! Whether the pages of `docs/` and the README name files that exist.

use crate::{files, root};

/// What a page names: text in backticks that looks like a path, and targets of links.
fn named(page: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let in_backticks = line.split('`').skip(1).step_by(2);
        names.extend(in_backticks.flat_map(expanded).filter(|name| looks_like_a_file(name)));
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
        names.extend(
            targets.filter(|target| !target.is_empty() && !target.contains("://")).map(str::to_owned),
        );
    }
    names
}

/// `a/{b,c}.rs` names two files.
fn expanded(name: &str) -> Vec<String> {
    match name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        Some((head, (choices, tail))) => {
            choices.split(',').map(|choice| format!("{head}{choice}{tail}")).collect()
        }
        None => vec![name.to_owned()],
    }
}

fn looks_like_a_file(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".yaml", ".txt"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let below_the_top =
        || name.split_once('/').is_some_and(|(top, _)| !top.is_empty() && root().join(top).is_dir());
    name.chars().all(plain) && (ENDINGS.iter().any(|ending| name.ends_with(ending)) || below_the_top())
}

/// Whether there is such a file or folder: from the root, from the page's folder, or as the end of a file's path.
fn exists(name: &str, page: &str, all: &[String]) -> bool {
    let folder = root().join(page).parent().expect("a page lies in a folder").to_owned();
    let end = format!("/{name}");
    root().join(name).exists() || folder.join(name).exists() || all.iter().any(|file| file.ends_with(&end))
}

#[test]
fn every_file_that_a_page_names_exists() {
    let all = files(".");
    let pages = all
        .iter()
        .filter(|file| file.ends_with(".md") && (file.starts_with("docs/") || *file == "README.md"));
    let missing: Vec<String> = pages
        .flat_map(|page| {
            let text = std::fs::read_to_string(root().join(page)).expect("a readable page");
            let missing = named(&text).into_iter().filter(|name| !exists(name, page, &all));
            missing.map(|name| format!("{page} names {name}")).collect::<Vec<_>>()
        })
        .collect();

    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn paths_in_backticks_and_links_are_names_of_files() {
    let page = "\
`core/src/lib.rs` and `core/src/{a,b}.rs`, `server.rs`, the folder `core/src/`, [this](guide.md#top)\n\
not `/registry/pods/a`, `apps/v1`, `Service<T>`, `up --nodes 2` nor [that](https://example.com/a.md)\n\
```\n`in/code.rs`\n```\n`deny.toml`";

    assert_eq!(
        named(page),
        [
            "core/src/lib.rs",
            "core/src/a.rs",
            "core/src/b.rs",
            "server.rs",
            "core/src/",
            "guide.md",
            "deny.toml"
        ]
    );
}

#[test]
fn a_file_is_found_from_the_root_and_by_the_end_of_its_path() {
    let all = files("core");

    assert!(exists("core/src/lib.rs", "README.md", &all));
    assert!(exists("src/lib.rs", "docs/a.md", &all));
    assert!(!exists("core/src/none.rs", "docs/a.md", &all));
    assert!(!exists("none.md", "docs/a.md", &all));
}
