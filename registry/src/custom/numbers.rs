//! How numbers are kept: Go writes a float that is whole as it writes an integer.

use serde_json::{Number, Value};

/// Two to the power of 63: where integers end.
const END: f64 = 9_223_372_036_854_775_808.0;

/// Makes integers of the floats in a value that are whole and not too large.
pub(crate) fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = whole.into();
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    (float.fract() == 0.0 && (-END..END).contains(&float)).then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_floats_become_integers_at_any_depth_and_others_stay() {
        let mut value =
            json!({"a": [2.0, 2.5, {"b": -3.0, "c": 1e18}], "d": 1e19, "e": -0.0, "f": 7, "g": "2.0"});

        make_whole(&mut value);

        let wanted = r#"{"a":[2,2.5,{"b":-3,"c":1000000000000000000}],"d":1e19,"e":0,"f":7,"g":"2.0"}"#;
        assert_eq!(value, serde_json::from_str::<Value>(wanted).unwrap());
        assert!(value["d"].is_f64());
    }
}
