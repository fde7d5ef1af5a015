//! Which crate may depend on which: contracts in `core`, defaults around it, and nothing between the defaults.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Every crate of the workspace with the crates of the workspace that it may depend on, tests aside.
const EDGES: &[(&str, &[&str])] = &[
    ("quarterdeck-core", &[]),
    ("quarterdeck-registry", &["quarterdeck-core"]),
    ("quarterdeck-schemagen", &[]),
    ("quarterdeck-scheduler", &["quarterdeck-core"]),
    ("quarterdeck-controllers", &["quarterdeck-core"]),
    ("quarterdeck-agent", &["quarterdeck-core"]),
    ("quarterdeck-proxy", &["quarterdeck-core"]),
    (
        "quarterdeck",
        &[
            "quarterdeck-core",
            "quarterdeck-registry",
            "quarterdeck-scheduler",
            "quarterdeck-controllers",
            "quarterdeck-agent",
            "quarterdeck-proxy",
        ],
    ),
    (
        "reference-cluster",
        &[
            "quarterdeck",
            "quarterdeck-core",
            "quarterdeck-registry",
            "quarterdeck-scheduler",
            "quarterdeck-controllers",
            "quarterdeck-agent",
            "quarterdeck-proxy",
        ],
    ),
];

/// What must not be built into anything: packages and why not.
const BANNED: &[(&str, &str)] = &[
    ("ring", "cryptography comes from aws-lc-rs alone"),
    ("openssl-sys", "cryptography comes from aws-lc-rs alone"),
    ("native-tls", "TLS is rustls"),
];

/// Edges that the list does not know, as `from -> to`, and crates that it does not know.
fn unlisted(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let name_of = |package: &Value| package["name"].as_str().expect("a package has a name").to_owned();
    let members: BTreeSet<String> = packages.iter().map(name_of).collect();
    let mut found = Vec::new();
    for package in packages {
        let from = name_of(package);
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == from) else {
            found.push(format!("{from} is not in the list"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a package has dependencies") {
            let to = name_of(dependency);
            if dependency["kind"] != "dev" && members.contains(&to) && !allowed.contains(&to.as_str()) {
                found.push(format!("{from} -> {to}"));
            }
        }
    }
    found
}

#[test]
fn no_crate_knows_another_that_it_must_not_know() {
    assert_eq!(unlisted(&crate::metadata()), Vec::<String>::new());
}

#[test]
fn an_added_edge_or_crate_is_noticed() {
    let mut metadata = crate::metadata();
    let packages = metadata["packages"].as_array_mut().expect("metadata lists packages");
    let scheduler = packages.iter_mut().find(|package| package["name"] == "quarterdeck-scheduler");
    let dependencies = scheduler.and_then(|package| package["dependencies"].as_array_mut()).expect("a list");
    dependencies.push(json!({"name": "quarterdeck-registry", "kind": null}));
    dependencies.push(json!({"name": "quarterdeck-agent", "kind": "build"}));
    dependencies.push(json!({"name": "quarterdeck-proxy", "kind": "dev"}));
    packages.push(json!({"name": "quarterdeck-new", "dependencies": []}));

    assert_eq!(
        unlisted(&metadata),
        [
            "quarterdeck-scheduler -> quarterdeck-registry",
            "quarterdeck-scheduler -> quarterdeck-agent",
            "quarterdeck-new is not in the list",
        ]
    );
}

#[test]
fn nothing_banned_is_built_in() {
    let tree = crate::cargo(&[
        "tree",
        "--workspace",
        "--all-features",
        "--target=all",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ]);
    let built: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();

    assert!(built.contains("aws-lc-rs"), "the tree is read right");
    for (name, reason) in BANNED {
        assert!(!built.contains(name), "{name} is built in, but {reason}: cargo tree --invert {name}");
    }
}
