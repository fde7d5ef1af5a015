//! Strategic merge patches of pods: the result is an object of the kind, or the patch is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarterdeck_registry::schema::{builtin, parse_json, strategic_merge};

fuzz_target!(|texts: (&str, &str)| {
    let (Ok(present), Ok(patch)) = (parse_json(texts.0.as_bytes()), parse_json(texts.1.as_bytes())) else { return };
    let pod = builtin("", "v1", "Pod").expect("the tables have pods");
    if present.is_object() && patch.is_object() {
        let _ = strategic_merge(present, patch, pod);
    }
});
