//! Selectors by labels and by fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarterdeck_core::labels::Selector;
use quarterdeck_registry::selector::FieldSelector;

fuzz_target!(|text: &str| {
    if let Ok(selector) = Selector::parse(text) {
        selector.matches(|key| (key.len() % 2 == 0).then_some("value"));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(|_| "value".into());
    }
});
