use proptest::prelude::*;

use super::*;

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn canonical_form_has_no_fraction_and_the_largest_suffix() {
    for (text, canonical) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("-0", "0"),
        ("1.0", "1"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("100000", "100k"),
        ("1000000", "1M"),
        ("1234567", "1234567"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("10e3", "10e3"),
        ("1000e0", "1e3"),
        ("12e5", "1200e3"),
        ("0.1e-2", "1e-3"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        ("0.1Ki", "102400m"),
        ("0.0001Ki", "102400u"),
        ("1000Mi", "1000Mi"),
        ("+5", "5"),
        ("-5Ki", "-5Ki"),
        ("-1024", "-1024"),
        (".5", "500m"),
        ("5.", "5"),
        ("007", "7"),
        ("1000E", "1000E"),
        ("1n", "1n"),
    ] {
        assert_eq!(quantity(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn what_is_finer_than_a_billionth_is_rounded_away_from_zero() {
    assert_eq!(quantity("0.1n").to_string(), "1n");
    assert_eq!(quantity("1.1n").to_string(), "2n");
    assert_eq!(quantity("-0.1n").to_string(), "-1n");
    assert_eq!(quantity("0.00000000000000000000000000000000000000000000001").to_string(), "1n");
    assert_eq!(quantity("1.0000000000").to_string(), "1");
    assert_eq!(quantity("1e-1000").to_string(), "1e-9");
    assert_eq!(quantity("0.000000000000000000000000000000000000000000000000001Ei").to_string(), "1n");
}

#[test]
fn what_does_not_parse_says_why_in_the_words_of_upstream() {
    for text in ["", "aoeu", "1.1.M", "1+1.0M", "0.1mi", "0.1am", " 1", "1 ", "1Gi ", "-3.01e-", "1i", ".5i"]
    {
        let error = text.parse::<Quantity>().unwrap_err();

        assert!(
            matches!(error, ParseQuantityError::Format | ParseQuantityError::Suffix),
            "{text:?}: {error:?}"
        );
    }
    assert_eq!(
        "x".parse::<Quantity>().unwrap_err().to_string(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert_eq!("1mi".parse::<Quantity>().unwrap_err().to_string(), "unable to parse quantity's suffix");
    assert_eq!("9".repeat(60).parse::<Quantity>(), Err(ParseQuantityError::Number));
    assert_eq!("1e99999999999".parse::<Quantity>(), Err(ParseQuantityError::Suffix));
}

#[test]
fn binary_quantities_are_capped_and_decimal_ones_are_not() {
    assert_eq!(quantity("100Ei").value(), i64::MAX);
    assert_eq!(quantity("100Ei"), quantity("8Ei"));
    assert!(quantity("100E") > quantity("99E"));
    assert_eq!(quantity("100E").value(), i64::MAX);
    assert_eq!(quantity("-100E").value(), i64::MIN);
}

#[test]
fn values_are_rounded_up() {
    assert_eq!(quantity("1.1").value(), 2);
    assert_eq!(quantity("-1.1").value(), -1);
    assert_eq!(quantity("1").milli_value(), 1000);
    assert_eq!(quantity("1u").milli_value(), 1);
    assert_eq!(quantity("2Ki").value(), 2048);
    assert_eq!(quantity("1e300").milli_value(), i64::MAX);
    assert!(quantity("1e3").is_integer() && !quantity("1m").is_integer() && quantity("1m").is_milli());
}

#[test]
fn equal_amounts_are_equal_whatever_the_suffix() {
    assert_eq!(quantity("1Gi"), quantity("1073741824"));
    assert_eq!(quantity("1000m"), quantity("1e0"));
    assert_ne!(quantity("1Gi"), quantity("1G"));
    assert!(quantity("1e1000") > quantity("1e999") && quantity("-1e1000") < quantity("1n"));
    assert!(quantity("12345678901234567890123456789.000000001") > quantity("12345678901234567890123456789"));
}

#[test]
fn arithmetic_keeps_the_format_of_the_left_side_unless_it_is_zero() {
    assert_eq!((quantity("1Gi") + quantity("1073741824")).to_string(), "2Gi");
    assert_eq!((quantity("0") + quantity("1Gi")).to_string(), "1Gi");
    assert_eq!((quantity("1") - quantity("1Gi")).to_string(), "-1073741823");
    assert_eq!((quantity("1") - quantity("1")).to_string(), "0");
    assert_eq!(quantity("1e500") + quantity("1n"), quantity("1e500"));
    assert_eq!([quantity("100m"), quantity("200m")].into_iter().sum::<Quantity>().to_string(), "300m");
}

#[test]
fn json_holds_a_string_and_numbers_are_read_too() {
    let read: Vec<Quantity> =
        serde_json::from_str(r#"["1024Mi", " 2 ", 3, -4, 0.5, 18446744073709551615]"#).unwrap();

    let written = serde_json::to_string(&read).unwrap();

    assert_eq!(written, r#"["1Gi","2","3","-4","500m","18446744073709551615"]"#);
    assert!(serde_json::from_str::<Quantity>("true").is_err());
}

/// A quantity as text, with what it is worth in billionths of a billionth.
fn written() -> impl Strategy<Value = (String, i128)> {
    let suffixes = prop_oneof![
        Just(("n", 1)),
        Just(("u", 1000)),
        Just(("m", 1_000_000)),
        Just(("", 1_000_000_000)),
        Just(("k", 1_000_000_000_000)),
        Just(("e6", 1_000_000_000_000_000)),
        Just(("Ki", 1_024_000_000_000)),
        Just(("Mi", 1_048_576_000_000_000)),
    ];
    (any::<bool>(), 0..1_000_000_i128, 0..1_000_000_000_i128, suffixes).prop_map(
        |(negative, whole, fraction, (suffix, nanos))| {
            let sign = if negative { -1 } else { 1 };
            let text = format!("{}{whole}.{fraction:09}{suffix}", if negative { "-" } else { "" });
            (text, sign * (whole * 1_000_000_000 + fraction) * nanos)
        },
    )
}

/// The model's amount in billionths: away from zero.
fn nanos(model: i128) -> i128 {
    let up = i128::from(model % 1_000_000_000 != 0) * model.signum();
    model / 1_000_000_000 + up
}

proptest! {
    #[test]
    fn parsing_agrees_with_a_decimal_model((text, model) in written()) {
        let quantity = quantity(&text);

        prop_assert_eq!(quantity.at_scale(NANO), Some(nanos(model)));
        let value = nanos(model).div_euclid(1_000_000_000) + i128::from(nanos(model) % 1_000_000_000 != 0);
        prop_assert_eq!(i128::from(quantity.value()), value);
    }

    #[test]
    fn printing_keeps_amount_and_form((text, _) in written()) {
        let parsed = quantity(&text);

        let printed = parsed.to_string();

        prop_assert_eq!(quantity(&printed), parsed);
        prop_assert_eq!(quantity(&printed).to_string(), printed.clone());
        prop_assert!(!printed.contains('.'));
    }

    #[test]
    fn order_and_arithmetic_agree_with_a_decimal_model((a, x) in written(), (b, y) in written()) {
        let (a, b) = (quantity(&a), quantity(&b));

        prop_assert_eq!(a.cmp(&b), nanos(x).cmp(&nanos(y)));
        prop_assert_eq!((a + b).at_scale(NANO), Some(nanos(x) + nanos(y)));
        prop_assert_eq!((a - b).at_scale(NANO), Some(nanos(x) - nanos(y)));
        prop_assert_eq!(a + b - b, a);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-+]?[0-9.]{0,45}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let _ = (quantity.to_string(), quantity.value(), quantity.milli_value(), quantity + quantity);
        }
    }
}
