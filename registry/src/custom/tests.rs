//! Hostile schemas and objects: whatever a definition says, it is refused or it works.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::custom::definition::Definition;
use crate::resource::Resource;
use crate::schema::{apply_defaults, decode_json, decode_value};

/// Values of any form, some of them those that schemas are made of.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "object",
            "array",
            "string",
            "integer",
            "map",
            "set",
            "a",
            "(",
            "date-time",
            ".spec.a"
        ])
        .prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The members that a schema may have, and some that it may not.
const KEYWORDS: [&str; 34] = [
    "type",
    "format",
    "nullable",
    "default",
    "enum",
    "pattern",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "title",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "additionalProperties",
    "items",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "$ref",
    "definitions",
    "x-kubernetes-validations",
];

/// Schemas: mostly sound ones, with whatever else in some places.
fn schema() -> impl Strategy<Value = Value> {
    let scalar = prop::sample::select(vec![
        json!({"type": "string", "maxLength": 5}),
        json!({"type": "string", "enum": ["a", "b"], "default": "a"}),
        json!({"type": "integer", "minimum": 0, "default": 3}),
        json!({"type": "number", "multipleOf": 0.5}),
        json!({"type": "boolean", "nullable": true}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
    ]);
    scalar.prop_recursive(4, 30, 4, |inner| {
        let members = prop::collection::btree_map("[a-c]", inner.clone(), 0..4);
        prop_oneof![
            members.prop_map(|properties| json!({"type": "object", "properties": properties})),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            inner.clone().prop_map(|of| json!({"type": "object", "additionalProperties": of})),
            (inner, prop::sample::select(KEYWORDS.to_vec()), anything()).prop_map(
                |(mut schema, keyword, value)| {
                    schema[keyword] = value;
                    schema
                }
            ),
        ]
    })
}

fn definition(spec: &Value) -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_definition_of_any_schema_is_refused_or_serves_any_object(spec in schema(), value in anything()) {
        let Ok(resources) = Resource::from_definition(&definition(&spec)) else { return Ok(()) };
        let resource = &resources[0];
        let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": value});

        let Ok(decoded) = decode_value(&resource.structure, object) else { return Ok(()) };
        let mut once = decoded.value;
        apply_defaults(&resource.structure, &mut once);
        resource.strategy.validate(&once);
        resource.strategy.validate_update(&once, &once);
        let mut twice = decode_value(&resource.structure, once.clone()).unwrap().value;
        apply_defaults(&resource.structure, &mut twice);

        prop_assert_eq!(once, twice, "what is pruned and defaulted stays as it is");
    }

    #[test]
    fn a_definition_of_anything_is_refused_or_compiled(spec in anything(), schema in anything(), status in anything()) {
        let mut odd = definition(&json!({}));
        odd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
        let _ = Resource::from_definition(&odd);
        odd["status"] = status;
        let _ = Definition::new(&odd);
        odd["spec"] = spec;
        let _ = Resource::from_definition(&odd);
        let _ = Definition::new(&odd);
    }
}

#[test]
fn a_schema_of_great_depth_or_size_is_refused_before_it_is_compiled() {
    let kind = crate::resources::definitions().pop().unwrap();
    let deep =
        format!("{}{}", r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":"#, r#"{"not":"#.repeat(20_000));
    let wide = format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{{"allOf":[{}{{}}]}}}}}}]}}}}"#,
        "{},".repeat(200_000)
    );

    for text in [deep, wide] {
        assert!(decode_json(&kind.structure, text.as_bytes()).is_err());
    }
}

#[test]
fn a_pattern_that_takes_too_much_memory_is_no_pattern() {
    let spec =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a{1000}){1000}"}}});

    let refusal = Resource::from_definition(&definition(&spec)).unwrap_err();

    assert!(refusal.to_string().contains("must be a valid regular expression"), "{refusal}");
}

#[test]
fn what_is_wrong_with_a_long_text_is_told_in_short() {
    let part = json!({"pattern": "^b", "minLength": 2_000_000});
    let spec = json!({"type": "object", "properties": {"a": {"type": "string", "allOf": vec![part; 200]}}});
    let resource = &Resource::from_definition(&definition(&spec)).unwrap()[0];
    let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "spec": {"a": "é".repeat(500_000)}});

    let errors = resource.strategy.validate(&object);

    assert!(errors.len() > 200);
    assert!(errors.iter().all(|error| error.to_string().len() < 10_000));
}

#[cfg(feature = "cel")]
mod rules {
    use super::*;

    #[test]
    fn a_definition_has_no_more_rules_than_can_be_compiled_at_once() {
        let rules: Vec<Value> =
            (0..1001).map(|number| json!({"rule": format!("self != {number}")})).collect();
        let spec = |rules: &[Value]| {
            definition(&json!({"type": "object", "properties": {
                "a": {"type": "integer", "x-kubernetes-validations": rules}}}))
        };

        assert!(Resource::from_definition(&spec(&rules[1..])).is_ok());
        assert!(Resource::from_definition(&spec(&rules)).is_err());
    }

    /// A definition whose objects have lists and texts, and one rule.
    fn with_rule(rule: &str) -> Value {
        definition(&json!({
            "type": "object",
            "properties": {
                "a": {"type": "string", "maxLength": 1000},
                "items": {"type": "array", "maxItems": 100_000, "items": {"type": "integer"}},
                "l": {"type": "array", "maxItems": 10_000, "items": {"type": "string", "maxLength": 50}},
            },
            "x-kubernetes-validations": [{"rule": rule, "message": "no"}],
        }))
    }

    #[test]
    fn a_rule_that_takes_too_long_or_too_much_is_refused() {
        for rule in [
            "self.a.replace('', self.a).replace('', self.a).replace('', self.a).size() > 0",
            "self.a.replace('', self.a).replace('', self.a).size() > 0",
            "self.l.map(x, self.l.join(',')).join(',').size() > 0",
            "self.l.all(x, !x.matches('^[\\\\p{L}]{200}$'))",
            "self.l.all(x, !x.matches('^[\\\\p{L}]{50}$'))",
            "size({'a': self.items.all(x, self.items.all(y, x+y >= 0))}) == 1",
            "[self.items].all(a, a.all(x, [self.items].all(b, b.all(y, x+y>=0))))",
            "{'a':self.items}['a'].all(x, {'a':self.items}['a'].all(y, x+y >= 0))",
            "[self.items][0].all(x, [self.items][0].all(y, x+y >= 0))",
            "(true ? self : self).items.all(x, (true ? self : self).items.all(y, x+y >= 0))",
            "(self.items + self.items).all(x, (self.items + self.items).all(y, x+y >= 0))",
            "lists.range(1000000000).size() > 0",
            "'%.1000000000f'.format([1.0]).size() > 0",
        ] {
            let refusal = Resource::from_definition(&with_rule(rule));
            assert!(refusal.is_err(), "{rule}");
        }
    }

    #[test]
    fn an_object_for_which_patterns_would_be_compiled_too_often_is_refused() {
        let spec = json!({"type": "object", "properties": {"l": {
            "type": "array", "maxItems": 1024, "items": {"type": "string", "maxLength": 1024,
            "x-kubernetes-validations": [{"rule": "self.matches('^(?:[-A-Za-z0-9/._~]|[%][0-9a-fA-F]{2})+$')"}],
        }}}});
        let resource = &Resource::from_definition(&definition(&spec)).unwrap()[0];
        let object = |many: usize| {
            let spec = json!({"l": vec!["/a"; many]});
            json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
        };

        assert!(resource.strategy.validate(&object(100)).is_empty());
        assert!(!resource.strategy.validate(&object(1000)).is_empty());
    }

    #[test]
    fn a_rule_that_can_never_be_evaluated_is_refused() {
        for rule in [
            "self.a.frobnicate() > 0",
            "type(self.a) == string",
            "size({'a': other}) == 1",
            "Thing{a: 1} == 1",
            "self.a.matches('(')",
        ] {
            let refusal = Resource::from_definition(&with_rule(rule));
            assert!(refusal.is_err(), "{rule}");
        }
    }

    #[test]
    fn a_rule_of_ordinary_size_is_taken_and_holds() {
        for rule in [
            "self.a != 'blue' || self.items.size() < 10",
            "self.a.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "!has(oldSelf.a) || self.a == oldSelf.a",
            "self.l.all(x, x.startsWith('a') && x.size() < 10)",
            "self.l.exists_one(x, x == 'ab') && self.l.filter(x, x == 'ab').size() == 1",
            "self.l.map(x, x.size()).all(n, n > 0)",
            "self.items.all(x, x >= 0 && x < 65536)",
            "'ab' in self.l && self.a.replace('b', 'c').size() == 2",
            "self.l.join(',').split(',').size() == 2",
            "math.greatest(self.items) == 3 && '%d-%s'.format([1, self.a]) == '1-ab'",
            "quantity('1Gi').isGreaterThan(quantity('1Mi')) && self.l == ['ab', 'ac']",
            "isURL('https://a.b') && url('https://a.b').getHost() == 'a.b'",
            "duration('1s') < duration('2s')",
        ] {
            let resources =
                Resource::from_definition(&with_rule(rule)).unwrap_or_else(|why| panic!("{rule}: {why}"));
            let spec = json!({"a": "ab", "items": [1, 2, 3], "l": ["ab", "ac"]});
            let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});

            let errors = resources[0].strategy.validate_update(&object, &object);
            assert!(errors.is_empty(), "{rule}: {errors:?}");
            let errors = resources[0].strategy.validate(&object);
            assert!(errors.is_empty(), "{rule}: {errors:?}");
        }
    }
}
