//! Runs the examples: what they print, they also assert.

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
fn an_own_kind_is_served_and_checked_without_a_definition() {
    own_resource::main().unwrap();
}

#[test]
fn a_controller_made_with_kube_rs_works_against_a_cluster_in_process() {
    test_a_controller::main().unwrap();
}
