//! The name of a template: a number that stands for it in the names and labels of replica sets and pods.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The characters of names that must not look like words, as in `generateName`.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Returns the hash of `template`; `collisions` says how many times a replica set of another template had it already.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let bytes = serde_json::to_vec(template).expect("a pod template is plain data");
    let collisions = collisions.map(|count| u64::from(count.unsigned_abs()).to_le_bytes());
    let number = bytes
        .iter()
        .chain(collisions.iter().flatten())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    number.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    #[test]
    fn a_hash_stands_for_one_template_and_differs_after_a_collision() {
        let first = hash(&template("i"), None);

        assert_eq!(first, hash(&template("i"), None));
        assert_ne!(first, hash(&template("j"), None));
        assert_ne!(first, hash(&template("i"), Some(1)));
        assert!(first.len() <= 10 && first.bytes().all(|byte| SAFE.contains(&byte)), "{first}");
    }
}
