use k8s_openapi::api::core::v1::ObjectReference;

use super::*;
use crate::service::Family;

fn labels() -> BTreeMap<String, String> {
    [("a".to_owned(), "b".to_owned())].into()
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint {
        addresses: vec![format!("10.0.{}.{}", number / 250, number % 250)],
        target_ref: Some(ObjectReference { uid: Some(format!("{number:05}")), ..ObjectReference::default() }),
        ..Endpoint::default()
    }
}

fn ports(port: i32) -> Vec<EndpointPort> {
    vec![EndpointPort { port: Some(port), ..EndpointPort::default() }]
}

fn wanted(numbers: impl IntoIterator<Item = usize>) -> Wanted {
    let endpoints: Vec<_> = numbers.into_iter().map(endpoint).collect();
    let by_ports = if endpoints.is_empty() { Vec::new() } else { vec![(ports(80), endpoints)] };
    Wanted { family: Family::V4, by_ports }
}

fn slice(port: i32, numbers: impl IntoIterator<Item = usize>) -> Arc<EndpointSlice> {
    let mut slice = new_slice("IPv4", &ports(port), numbers.into_iter().map(endpoint).collect());
    slice.metadata.labels = Some(labels());
    Arc::new(slice)
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect()
}

#[test]
fn many_endpoints_are_cut_into_slices_of_a_hundred() {
    let plan = plan(&[], wanted(0..250), &labels());

    assert_eq!(sizes(&plan.create), [100, 100, 50]);
}

#[test]
fn what_is_there_already_is_not_written() {
    let plan = plan(&[slice(80, 0..50), slice(80, 50..60)], wanted(0..60), &labels());

    assert!(plan.create.is_empty() && plan.update.is_empty() && plan.delete.is_empty(), "{plan:?}");
}

#[test]
fn a_slice_that_changes_anyway_takes_what_is_new() {
    let plan = plan(&[slice(80, 0..50), slice(80, 50..60)], wanted((1..60).chain([99])), &labels());

    assert_eq!(sizes(&plan.update), [50]);
    assert!(plan.create.is_empty() && plan.delete.is_empty(), "{plan:?}");
}

#[test]
fn the_fullest_slice_with_room_takes_what_is_new() {
    let existing = [slice(80, 0..10), slice(80, 10..30)];

    let plan = plan(&existing, wanted(0..31), &labels());

    assert_eq!(sizes(&plan.update), [21]);
}

#[test]
fn slices_of_other_ports_and_empty_ones_go() {
    let plan = plan(&[slice(80, 0..3), slice(80, 3..4), slice(81, 5..6)], wanted(0..3), &labels());

    assert_eq!(plan.delete.len(), 2);
    assert!(plan.create.is_empty() && plan.update.is_empty(), "{plan:?}");
}

#[test]
fn a_service_without_endpoints_keeps_one_empty_slice() {
    let first = plan(&[], wanted([]), &labels());
    assert_eq!(sizes(&first.create), [0]);

    let mut placeholder = first.create[0].clone();
    placeholder.metadata.labels = Some(labels());
    let placeholder = Arc::new(placeholder);
    let again = plan(std::slice::from_ref(&placeholder), wanted([]), &labels());
    assert!(again.create.is_empty() && again.delete.is_empty() && again.update.is_empty(), "{again:?}");

    let grown = plan(&[placeholder], wanted([1]), &labels());
    assert_eq!((sizes(&grown.create), grown.delete.len()), (vec![1], 1));

    let shrunk = plan(&[slice(80, 0..1)], wanted([]), &labels());
    assert_eq!((sizes(&shrunk.create), shrunk.delete.len()), (vec![0], 1));
}

#[test]
fn a_changed_label_is_written_to_every_slice() {
    let plan = plan(&[slice(80, 0..3)], wanted(0..3), &BTreeMap::new());

    assert_eq!(sizes(&plan.update), [3]);
    assert_eq!(plan.update[0].metadata.labels, Some(BTreeMap::new()));
}
