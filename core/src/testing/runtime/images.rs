//! The clauses of `Images`. Not tried on a runtime that has none, or whose fixture names no image for them.

use futures::poll;

use super::{Fixture, soon};
use crate::runtime::RuntimeError;

/// Clause 1 of `Images`: what was pulled is there, as it was pulled.
pub async fn images_clause_1_pulled_is_present(fixture: &mut dyn Fixture) {
    let (runtime, names) = (fixture.runtime(), fixture.images());
    let (Some(images), Some(name)) = (runtime.images(), names.available) else { return };

    let pulled = soon("pull", images.pull(&name, None)).await.expect("the image can be pulled");
    let present = soon("present", images.present(&name)).await.expect("an answer");

    assert_eq!(present.as_ref(), Some(&pulled), "clause 1 of Images: {name} was just pulled");
}

/// Clause 2 of `Images`: what is not there is no error, and is not fetched by asking.
pub async fn images_clause_2_absent_is_none(fixture: &mut dyn Fixture) {
    let (runtime, names) = (fixture.runtime(), fixture.images());
    let (Some(images), Some(name)) = (runtime.images(), names.absent) else { return };

    for _ in 0..2 {
        let present = soon("present", images.present(&name)).await;
        assert!(matches!(present, Ok(None)), "clause 2 of Images: {name} is not there, but {present:?}");
    }

    let pod = fixture.pod("absent").await;
    let spec =
        crate::runtime::ContainerSpec { image: name.clone(), ..fixture.spec("main", 0, super::Act::Run) };
    let start = soon("start_container", runtime.start_container(&pod, &spec)).await;
    assert!(
        matches!(&start, Err(RuntimeError::ImageMissing(missing)) if *missing == name),
        "clause 2 of Images: starting from an image that is not there gave {start:?}"
    );
}

/// Clause 3 of `Images`: what can never be there is refused.
pub async fn images_clause_3_impossible_is_refused(fixture: &mut dyn Fixture) {
    let (runtime, names) = (fixture.runtime(), fixture.images());
    let (Some(images), Some(name)) = (runtime.images(), names.impossible) else { return };

    let present = soon("present", images.present(&name)).await;
    assert!(
        matches!(present, Err(RuntimeError::Unsupported { .. })),
        "clause 3 of Images: {name} gave {present:?}"
    );
    let pulled = soon("pull", images.pull(&name, None)).await;
    assert!(
        matches!(pulled, Err(RuntimeError::Unsupported { .. })),
        "clause 3 of Images: {name} gave {pulled:?}"
    );
}

/// Clause 4 of `Images`: a pull that was dropped, wherever it was, can be repeated.
pub async fn images_clause_4_a_dropped_pull_can_be_repeated(fixture: &mut dyn Fixture) {
    let (runtime, names) = (fixture.runtime(), fixture.images());
    let (Some(images), Some(name)) = (runtime.images(), names.available) else { return };

    for steps in 1..4 {
        let mut pull = images.pull(&name, None);
        for _ in 0..steps {
            if poll!(&mut pull).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let pulled = soon("pull", images.pull(&name, None)).await;
    let pulled =
        pulled.unwrap_or_else(|error| panic!("clause 4 of Images: pulling {name} again gave {error:?}"));

    let present = soon("present", images.present(&name)).await.expect("an answer");
    assert_eq!(present.as_ref(), Some(&pulled), "clause 4 of Images: {name} was pulled");
}
