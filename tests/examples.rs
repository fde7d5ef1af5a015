//! Runs the examples: what they print, they also assert.

#[path = "../examples/custom_admission.rs"]
mod custom_admission;
#[path = "../examples/custom_authenticator.rs"]
mod custom_authenticator;
#[path = "../examples/custom_authorizer.rs"]
mod custom_authorizer;
#[path = "../examples/custom_balancer.rs"]
mod custom_balancer;
#[path = "../examples/custom_runtime.rs"]
mod custom_runtime;
#[path = "../examples/custom_scheduler.rs"]
mod custom_scheduler;
#[path = "../examples/custom_storage.rs"]
mod custom_storage;
#[path = "../examples/own_resource.rs"]
mod own_resource;
#[path = "../examples/test_a_controller.rs"]
mod test_a_controller;

#[test]
fn an_own_scheduler_spreads_pods_over_nodes_of_any_size() {
    custom_scheduler::main().unwrap();
}

#[test]
fn an_own_storage_sees_every_commit() {
    custom_storage::main().unwrap();
}

#[test]
fn an_own_runtime_refuses_images_and_users_are_told() {
    custom_runtime::main().unwrap();
}

#[test]
fn an_own_load_balancer_gives_a_client_the_same_backend_always() {
    custom_balancer::main().unwrap();
}

#[test]
fn an_own_authenticator_knows_users_by_their_api_keys() {
    custom_authenticator::main().unwrap();
}

#[test]
fn an_own_authorizer_lets_users_write_in_their_namespace_alone() {
    custom_authorizer::main().unwrap();
}

#[test]
fn own_admission_changes_and_refuses_pods() {
    custom_admission::main().unwrap();
}

#[test]
fn an_own_kind_is_served_and_checked_without_a_definition() {
    own_resource::main().unwrap();
}

#[test]
fn a_controller_made_with_kube_rs_works_against_a_cluster_in_process() {
    test_a_controller::main().unwrap();
}

/// The lines of a text that say something, without what stands before them.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("use ")).collect()
}

#[test]
fn the_page_about_security_shows_the_examples_as_they_are() {
    let page = include_str!("../docs/security.md");
    let shown: Vec<&str> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let examples = [
        include_str!("../examples/custom_authenticator.rs"),
        include_str!("../examples/custom_authorizer.rs"),
        include_str!("../examples/custom_admission.rs"),
    ];

    assert_eq!(shown.len(), examples.len());
    for (shown, example) in shown.into_iter().zip(examples) {
        let (shown, example) = (lines(shown), lines(example));
        let is_there = example.windows(shown.len()).any(|window| window == shown);
        assert!(is_there, "the example has no such lines:\n{}", shown.join("\n"));
    }
}
