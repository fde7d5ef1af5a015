//! How long a source file may be: what is longer holds more than one concept.

use crate::{files, root};

/// The most lines that a file may have without its tests.
const LONGEST: usize = 600;

/// Lines without the tests at the end. (Clippy sees to it that nothing follows them.)
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.iter().position(|line| *line == "mod tests {").and_then(|module| {
        let attributes = lines[..module].iter().rev().take_while(|line| line.starts_with("#[")).count();
        let start = module - attributes;
        lines[start..module].contains(&"#[cfg(test)]").then_some(start)
    });
    tests.unwrap_or(lines.len())
}

fn is_measured(file: &str) -> bool {
    let generated = file.starts_with("registry/src/schema/generated/");
    let test = file.ends_with("/tests.rs") || file.split('/').any(|part| part == "tests");
    file.ends_with(".rs") && !generated && !test
}

#[test]
fn no_source_file_is_too_long() {
    let too_long: Vec<String> = files(".")
        .into_iter()
        .filter(|file| is_measured(file))
        .filter_map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).expect("a readable source file");
            let lines = lines_without_tests(&text);
            (lines > LONGEST).then(|| format!("{file}: {lines} lines"))
        })
        .collect();

    assert_eq!(too_long, Vec::<String>::new(), "split them by concept: {LONGEST} lines are the most");
}

#[test]
fn tests_at_the_end_of_a_file_do_not_count() {
    assert_eq!(lines_without_tests("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"), 2);
    assert_eq!(lines_without_tests("fn a() {}\n#[cfg(test)]\n#[path = \"t.rs\"]\nmod tests {\n}\n"), 1);
    assert_eq!(lines_without_tests("fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n"), 4);
    assert_eq!(lines_without_tests("mod tests {\n}\n"), 2, "not only built for tests");
}

#[test]
fn test_files_and_generated_ones_are_not_measured() {
    assert!(is_measured("registry/src/verbs/tests_of_time.rs"));
    for file in [
        "registry/src/schema/generated/core.rs",
        "registry/src/verbs/tests.rs",
        "agent/tests/docker.rs",
        "core/src/labels/tests/parse.rs",
        "README.md",
    ] {
        assert!(!is_measured(file), "{file}");
    }
}
