use serde_json::{Value, from_value, json};

use super::*;

fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
    let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    from_value(json!({"spec": {
        "replicas": replicas,
        "selector": {},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
    }}))
    .unwrap()
}

fn set(replicas: i32, available: i32, most: i32) -> ReplicaSet {
    from_value(json!({
        "metadata": {"annotations": {"deployment.kubernetes.io/max-replicas": most.to_string()}},
        "spec": {"replicas": replicas, "selector": {}},
        "status": {"replicas": replicas, "availableReplicas": available},
    }))
    .unwrap()
}

#[test]
fn surge_rounds_up_and_unavailability_down() {
    let quarter = deployment(10, json!("25%"), json!("25%"));
    assert_eq!((max_surge(&quarter), max_unavailable(&quarter)), (3, 2));

    let one = deployment(1, json!("25%"), json!("25%"));
    assert_eq!((max_surge(&one), max_unavailable(&one)), (1, 0));
}

#[test]
fn a_rollout_that_may_neither_surge_nor_lack_lacks_one() {
    let stuck = deployment(3, json!(0), json!("10%"));

    assert_eq!((max_surge(&stuck), max_unavailable(&stuck)), (0, 1));
}

#[test]
fn no_more_pods_are_unavailable_than_wanted() {
    assert_eq!(max_unavailable(&deployment(2, json!(0), json!(5))), 2);
}

#[test]
fn the_new_set_grows_into_the_room_that_surge_leaves() {
    let deployment = deployment(4, json!(1), json!(1));
    let (old, new) = (set(3, 3, 5), set(0, 0, 5));

    assert_eq!(new_size(&deployment, &[&old, &new], &new), 2);
    let full = set(5, 5, 5);
    assert_eq!(new_size(&deployment, &[&full, &new], &new), 0);
}

#[test]
fn unhealthy_pods_of_the_oldest_set_go_first() {
    let old = [set(3, 1, 5), set(4, 2, 5), set(2, 0, 5)];

    assert_eq!(unhealthy(&old, 3), [2, 1, 0]);
    assert_eq!(unhealthy(&old, -1), [0, 0, 0]);
}

#[test]
fn what_is_new_and_not_available_yet_counts_against_what_may_go() {
    let deployment = deployment(4, json!(1), json!(1));
    let sets = Sets { new: Some(set(2, 0, 5)), old: vec![set(3, 3, 5)] };

    assert_eq!(may_lose(&deployment, &sets), 0);
    assert_eq!(spare(&deployment, &sets), 0);
}

#[test]
fn a_changed_number_is_spread_in_proportion() {
    let grown = deployment(9, json!(1), json!(1));
    assert_eq!(proportions(&grown, &[set(3, 3, 5), set(2, 0, 5)]), [6, 4]);

    let shrunk = deployment(1, json!(1), json!(1));
    assert_eq!(proportions(&shrunk, &[set(3, 3, 5), set(2, 0, 5)]), [1, 1]);
}

#[test]
fn the_greatest_set_takes_what_rounding_leaves() {
    let grown = deployment(11, json!(0), json!(1));

    let sizes = proportions(&grown, &[set(4, 4, 10), set(3, 3, 10), set(3, 3, 10)]);

    assert_eq!(sizes.iter().sum::<i32>(), 11);
    assert_eq!(sizes, [5, 3, 3]);
}
