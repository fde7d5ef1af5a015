use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse_error(text: &str) -> String {
    Selector::parse(text).expect_err(text).to_string()
}

fn chosen(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = Selector::parse(selector).expect(selector);
    selector.matches(|key| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
}

#[test]
fn each_operator_chooses_by_presence_and_value() {
    let cases = [
        ("x=1", [true, false, false, false]),
        ("x==1", [true, false, false, false]),
        ("x!=1", [false, true, true, true]),
        ("x", [true, true, true, false]),
        ("!x", [false, false, false, true]),
        ("x=", [false, false, true, false]),
        ("x in (1,2)", [true, true, false, false]),
        ("x notin (1)", [false, true, true, true]),
        ("x in (,1)", [true, false, true, false]),
        ("x in ()", [false, false, true, false]),
        ("x>1", [false, true, false, false]),
        ("x < 2", [true, false, false, false]),
        ("", [true, true, true, true]),
        ("x=1,x=2", [false, false, false, false]),
        ("x in (1,2),!y", [true, true, false, false]),
    ];
    let labels: [&[(&str, &str)]; 4] = [&[("x", "1")], &[("x", "2")], &[("x", "")], &[]];

    for (selector, expected) in cases {
        assert_eq!(labels.map(|labels| chosen(selector, labels)), expected, "{selector}");
    }
}

#[test]
fn a_label_that_is_no_integer_is_neither_greater_nor_less() {
    assert!(!chosen("x>1", &[("x", "a")]));
    assert!(!chosen("x<1", &[("x", "a")]));
}

#[test]
fn in_and_notin_are_ordinary_words_where_a_key_or_value_stands() {
    assert!(chosen("in in (notin,in)", &[("in", "notin")]));
    assert!(chosen("notin", &[("notin", "")]));
    assert!(chosen("x=in", &[("x", "in")]));
}

#[test]
fn bad_syntax_says_what_was_found_and_expected() {
    for (text, message) in [
        ("a===", "unable to parse requirement: found '=', expected: identifier"),
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("x in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x in (a,", "unable to parse requirement: found '', expected: ',', or identifier"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("x=y z", "found 'z', expected: ',' or 'end of string'"),
        ("x,,y", "found ',', expected: identifier after ','"),
        ("x,", "found '', expected: identifier after ','"),
        ("!x=1", "found '=', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("(", "found '(', expected: !, identifier, or 'end of string'"),
    ] {
        assert_eq!(parse_error(text), message, "{text}");
    }
}

#[test]
fn an_invalid_key_or_value_is_named_with_the_rule_it_breaks() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                 regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let long = "abcdefghij".repeat(7);
    let head = "unable to parse requirement:";

    assert_eq!(parse_error("-x=1"), format!("{head} <nil>: Invalid value: \"-x\": {name}"));
    assert_eq!(parse_error("x=-a"), format!("{head} values[0][x]: Invalid value: \"-a\": {value}"));
    assert_eq!(
        parse_error(&format!("x={long}")),
        format!("{head} values[0][x]: Invalid value: \"{long}\": must be no more than 63 bytes")
    );
    assert_eq!(
        parse_error("x>a"),
        format!(
            "{head} values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer"
        )
    );
    assert!(parse_error("a/b/c=1").contains("\"a/b/c\": a qualified name must consist of"));
    assert!(parse_error("x>-a").starts_with(&format!("{head} [values[0]: Invalid value: \"-a\"")));
}

#[test]
fn a_label_key_is_a_name_after_an_optional_subdomain() {
    for valid in ["a", "A_b.c-1", "example.com/a", "a.b-c/d"] {
        assert_eq!(validate_label_key(valid), Vec::<String>::new(), "{valid}");
    }
    for (key, problem) in [
        ("", "name part must be non-empty"),
        ("/a", "prefix part must be non-empty"),
        ("A/a", "prefix part a lowercase RFC 1123 subdomain must consist of"),
        ("a..b/c", "prefix part a lowercase RFC 1123 subdomain must consist of"),
        ("a/b/c", "a qualified name must consist of"),
        (&"a".repeat(64), "name part must be no more than 63 bytes"),
        ("ä", "name part must consist of"),
    ] {
        assert!(validate_label_key(key)[0].starts_with(problem), "{key}");
    }
}

#[test]
fn a_missing_label_selector_chooses_nothing_and_an_empty_one_everything() {
    assert!(Selector::from_label_selector(None).unwrap().is_nothing());
    assert!(Selector::from_label_selector(Some(&json!(null))).unwrap().is_nothing());
    assert!(Selector::from_label_selector(Some(&json!({}))).unwrap().is_everything());
    assert!(!Selector::nothing().matches(|_| None));
    assert!(Selector::everything().matches(|_| None));
}

#[test]
fn a_label_selector_joins_its_labels_and_expressions() {
    let selector = json!({
        "matchLabels": {"app": "shop"},
        "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["b", "a"]},
            {"key": "a", "operator": "Exists"},
        ],
    });

    let selector = Selector::from_label_selector(Some(&selector)).unwrap();

    assert_eq!(selector.to_string(), "a,app=shop,tier notin (a,b)");
    assert!(selector.matches_object(&json!({"metadata": {"labels": {"a": "", "app": "shop"}}})));
    assert!(!selector.matches_object(&json!({"metadata": {}})));
}

#[test]
fn an_expression_with_an_unknown_operator_or_without_values_is_refused() {
    let unknown = json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]});
    let empty = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});

    let unknown = Selector::from_label_selector(Some(&unknown)).unwrap_err().to_string();
    let empty = Selector::from_label_selector(Some(&empty)).unwrap_err().to_string();

    assert_eq!(unknown, "\"Gt\" is not a valid label selector operator");
    assert_eq!(empty, "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
}

#[test]
fn an_exact_value_is_known_for_indexes() {
    let selector = Selector::parse("a=1,b in (2),c in (3,4),d!=5").unwrap();

    assert_eq!(selector.exact_value("a"), Some("1"));
    assert_eq!(selector.exact_value("b"), Some("2"));
    assert_eq!(selector.exact_value("c"), None);
    assert_eq!(selector.exact_value("d"), None);
}

#[test]
fn quoted_text_is_escaped_as_go_does() {
    assert_eq!(quote("a\"b\\c\n\u{1}é\u{200b}"), r#""a\"b\\c\n\x01é\u200b""#);
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let key = "([a-z]{1,5}(\\.[a-z0-9]{1,3})?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?|in|notin";
    let value = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?|in|notin";
    let exact = prop_oneof![
        Just(Operator::Equals),
        Just(Operator::DoubleEquals),
        Just(Operator::NotEquals),
        Just(Operator::GreaterThan),
        Just(Operator::LessThan),
    ];
    let condition = prop_oneof![
        (exact, value, any::<u32>()).prop_map(|(operator, value, number)| match operator {
            Operator::GreaterThan | Operator::LessThan => (operator, vec![number.to_string()]),
            _ => (operator, vec![value]),
        }),
        (prop_oneof![Just(Operator::In), Just(Operator::NotIn)], prop::collection::vec(value, 1..5)),
        prop_oneof![Just(Operator::Exists), Just(Operator::DoesNotExist)].prop_map(|op| (op, vec![])),
    ];
    (key, condition)
        .prop_map(|(key, (operator, values))| Requirement::try_new(key, operator, values).unwrap())
}

proptest! {
    #[test]
    fn a_selector_is_read_back_as_it_was_printed(requirements in prop::collection::vec(requirement(), 0..5)) {
        let selector = Selector::new(requirements);

        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in "[a-c!=<>(),\\s\\PC]{0,20}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
