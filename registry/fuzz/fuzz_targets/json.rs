//! JSON as objects of every kind: what is read is written, and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarterdeck_registry::schema::{apply_defaults, decode_json, kinds};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let all: Vec<_> = kinds().collect();
    let (_, structure) = all[usize::from(*choice) % all.len()];
    let Ok(mut decoded) = decode_json(structure, text) else { return };
    let again = decode_json(structure, decoded.value.to_string().as_bytes()).expect("it was read before");
    assert_eq!(again.value, decoded.value);
    apply_defaults(structure, &mut decoded.value);
});
