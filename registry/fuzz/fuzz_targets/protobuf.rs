//! Protobuf as objects of every kind: what is read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarterdeck_registry::schema::{decode_protobuf, encode_protobuf, kinds};

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let all: Vec<_> = kinds().collect();
    let (_, structure) = all[usize::from(*choice) % all.len()];
    if let Ok(decoded) = decode_protobuf(structure, bytes) {
        encode_protobuf(structure, &decoded.value).expect("what was read can be written");
    }
});
