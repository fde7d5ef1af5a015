//! The `$names` of a running case: filled into requests, and masked in answers.

use regex::Regex;
use serde_json::{Map, Value};

use crate::json::{dump, text};

/// What a case calls by name: its word `$id`, its namespace `$ns`, and what its steps saved.
#[derive(Debug, Clone)]
pub(crate) struct Names(Vec<(String, Value)>);

impl Names {
    /// The names that every case has. `id` is a word of lower-case letters that no answer holds by chance.
    pub(crate) fn new(id: &str) -> Self {
        Self(vec![("id".to_owned(), id.into()), ("ns".to_owned(), format!("t-{id}").into())])
    }

    /// The case's namespace.
    pub(crate) fn namespace(&self) -> String {
        self.fill_text("$ns")
    }

    /// Gives `value` a name, or an earlier name another value.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// `text` with every name replaced by its value.
    pub(crate) fn fill_text(&self, text_with_names: &str) -> String {
        self.longest_first().fold(text_with_names.to_owned(), |filled, (name, value)| {
            filled.replace(&format!("${name}"), &text(value))
        })
    }

    /// `value` with every name replaced. A string that is one name alone becomes the value, whatever its type.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                members.iter().map(|(name, member)| (self.fill_text(name), self.fill(member))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::String(string) => self
                .0
                .iter()
                .find(|(name, _)| string.strip_prefix('$') == Some(name))
                .map_or_else(|| self.fill_text(string).into(), |(_, value)| value.clone()),
            other => other.clone(),
        }
    }

    /// The JSON document `document` with every name replaced, and its members in their order.
    pub(crate) fn fill_json(&self, document: &str) -> String {
        let whole_strings = self.0.iter().filter(|(_, value)| !value.is_string());
        let typed = whole_strings.fold(document.to_owned(), |filled, (name, value)| {
            filled.replace(&format!("\"${name}\""), &value.to_string())
        });
        self.longest_first().fold(typed, |filled, (name, value)| {
            let quoted = Value::from(text(value)).to_string();
            filled.replace(&format!("${name}"), &quoted[1..quoted.len() - 1])
        })
    }

    fn longest_first(&self) -> impl Iterator<Item = &(String, Value)> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(name, _)| std::cmp::Reverse(name.chars().count()));
        sorted.into_iter()
    }

    /// Values with the name that answers show instead, longest value first. Short values are no names: they are
    /// part of too many texts.
    fn words(&self) -> Vec<(&str, String)> {
        let mut words: Vec<_> = self
            .0
            .iter()
            .filter_map(|(name, value)| value.as_str().map(|value| (value, format!("${name}"))))
            .filter(|(value, _)| value.chars().count() > 3)
            .collect();
        words.sort_by_key(|(value, _)| std::cmp::Reverse(value.chars().count()));
        words
    }
}

/// Hides what no two runs share: times, uids, revisions, random names, allocated addresses.
#[derive(Debug)]
pub(crate) struct Masking {
    time: Regex,
    uid: Regex,
    token_volume: Regex,
}

impl Masking {
    /// The masks of `conform.py`.
    pub(crate) fn new() -> Self {
        let pattern = |text| Regex::new(text).expect("a valid pattern");
        Self {
            time: pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
            uid: pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            token_volume: pattern(r"(kube-api-access|default-token)-[a-z0-9]{5}\b"),
        }
    }

    /// `answer` with everything hidden that `names` and the clock explain.
    pub(crate) fn mask(&self, answer: &Value, names: &Names) -> Value {
        Masked { masking: self, words: names.words() }.value(answer)
    }
}

struct Masked<'a> {
    masking: &'a Masking,
    words: Vec<(&'a str, String)>,
}

impl Masked<'_> {
    fn text(&self, text: &str) -> String {
        let named =
            self.words.iter().fold(text.to_owned(), |text, (value, name)| replace_word(&text, value, name));
        let timeless = self.masking.time.replace_all(&named, "$$time");
        self.masking.uid.replace_all(&timeless, "$$uid").into_owned()
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => self.object(members).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) => {
                self.text(&self.masking.token_volume.replace_all(text, "kube-api-access-$$random")).into()
            }
            other => other.clone(),
        }
    }

    fn object(&self, members: &Map<String, Value>) -> Map<String, Value> {
        let table_column = members.contains_key("priority") && members.contains_key("format");
        let mut out = Map::new();
        for (name, value) in members {
            if name == "selfLink" || (name == "description" && table_column) {
                continue;
            }
            match self.known(name, value) {
                Some(masked) => out.insert(name.clone(), masked),
                None => out.insert(self.text(name), self.value(value)),
            };
        }
        if let (Some(Value::String(base)), Some(Value::String(name))) =
            (members.get("generateName"), members.get("name"))
            && !base.is_empty()
            && name.strip_prefix(base.as_str()).is_some_and(is_random_suffix)
        {
            out.insert("name".to_owned(), format!("{}$random", self.text(base)).into());
        }
        out
    }

    /// What is shown instead of a member whose name says that it differs from run to run.
    fn known(&self, name: &str, value: &Value) -> Option<Value> {
        let shown = |mask: &str| Some(mask.into());
        match (name, value) {
            ("managedFields", Value::Array(entries)) => {
                let mut masked: Vec<Value> = entries.iter().map(|entry| self.value(entry)).collect();
                masked.sort_by_cached_key(dump);
                Some(masked.into())
            }
            ("resourceVersion" | "uid" | "continue", Value::String(text)) if !text.is_empty() => match name {
                "resourceVersion" => shown("$rv"),
                "uid" => shown("$uid"),
                _ => shown("$token"),
            },
            ("clusterIP" | "nodePort", Value::String(text)) if text == "None" || text.is_empty() => None,
            ("clusterIP" | "nodePort", Value::Bool(false)) => None,
            ("clusterIP" | "nodePort", Value::Number(number)) if number.as_f64() == Some(0.0) => None,
            ("clusterIP" | "nodePort", _) => Some(format!("${name}").into()),
            ("clusterIPs", Value::Array(addresses)) if addresses.as_slice() != ["None"] => {
                Some(vec!["$clusterIP"; addresses.len()].into())
            }
            _ => None,
        }
    }
}

/// Replaces `value` in `text`. A number is replaced only where it stands alone: a young server's revision may well be
/// the year of a date.
fn replace_word(text: &str, value: &str, name: &str) -> String {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.replace(value, name);
    }
    let joins = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(value) {
        let (before, after) = (&rest[..start], &rest[start + value.len()..]);
        let previous = before.chars().next_back().or(out.chars().next_back().filter(|_| before.is_empty()));
        out.push_str(before);
        out.push_str(if joins(previous) || joins(after.chars().next()) { value } else { name });
        rest = after;
    }
    out + rest
}

fn is_random_suffix(suffix: &str) -> bool {
    suffix.len() == 5 && suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> Names {
        let mut names = Names::new("qwerty");
        names.set("rv", "12345".into());
        names.set("rvs", json!([1, 2]));
        names.set("n", json!(7));
        names
    }

    #[test]
    fn names_are_filled_longest_first_and_alone_keep_their_type() {
        assert_eq!(names().fill_text("/x/$ns/$rv/$rvs/$n"), "/x/t-qwerty/12345/[1, 2]/7");
        assert_eq!(
            names().fill(&json!({"$id": ["$n", "$rvs", "a$n", 1]})),
            json!({"qwerty": [7, [1, 2], "a7", 1]})
        );
    }

    #[test]
    fn a_filled_document_keeps_the_order_of_its_members() {
        assert_eq!(
            names().fill_json(r#"{"z": "$n", "a": "v$n", "m": "$rvs", "q": "$id"}"#),
            r#"{"z": 7, "a": "v7", "m": [1,2], "q": "qwerty"}"#
        );
    }

    #[test]
    fn a_name_that_is_set_again_has_the_new_value() {
        let mut names = names();
        names.set("rv", "777".into());

        assert_eq!(names.fill_text("$rv"), "777");
    }

    #[test]
    fn what_differs_from_run_to_run_is_masked() {
        let answer = json!({
            "metadata": {
                "name": "web-x7k2p", "generateName": "web-", "namespace": "t-qwerty", "selfLink": "/x",
                "uid": "0f8fad5b-d9cb-469f-a165-70867728950e", "resourceVersion": "9", "continue": "",
                "creationTimestamp": "2024-01-02T03:04:05.123456Z",
            },
            "spec": {"clusterIP": "10.254.0.9", "clusterIPs": ["10.254.0.9", "fd00::9"], "nodePort": 30100},
            "headless": {"clusterIP": "None", "clusterIPs": ["None"], "nodePort": 0},
            "columns": [{"name": "A", "description": "d", "priority": 0, "format": ""}],
            "message": "qwerty at 12345 of 0f8fad5b-d9cb-469f-a165-70867728950e",
            "volume": "default-token-abcde",
            "qwerty": true,
        });

        let masked = Masking::new().mask(&answer, &names());

        assert_eq!(
            masked,
            json!({
                "metadata": {
                    "name": "web-$random", "generateName": "web-", "namespace": "$ns",
                    "uid": "$uid", "resourceVersion": "$rv", "continue": "", "creationTimestamp": "$time",
                },
                "spec": {"clusterIP": "$clusterIP", "clusterIPs": ["$clusterIP", "$clusterIP"], "nodePort": "$nodePort"},
                "headless": {"clusterIP": "None", "clusterIPs": ["None"], "nodePort": 0},
                "columns": [{"name": "A", "priority": 0, "format": ""}],
                "message": "$id at $rv of $uid",
                "volume": "kube-api-access-$random",
                "$id": true,
            })
        );
    }

    #[test]
    fn a_number_is_a_name_only_where_it_stands_alone() {
        let mut names = Names::new("qwerty");
        names.set("rv", "2026".into());
        let text = "2026 (2026), a2026 2026-01 20262026 2026.";

        assert_eq!(Masking::new().mask(&text.into(), &names), "$rv ($rv), a2026 2026-01 20262026 $rv.");
    }

    #[test]
    fn a_name_that_was_not_generated_is_not_masked() {
        let kept = json!({"generateName": "web-", "name": "web-longer"});

        assert_eq!(Masking::new().mask(&kept, &names()), kept);
    }

    #[test]
    fn masking_a_recorded_answer_again_changes_nothing() {
        let masking = Masking::new();
        for file in crate::case::files() {
            for case in crate::case::load(&file) {
                for want in case.steps.iter().filter_map(|step| step.want.as_ref()) {
                    assert_eq!(&masking.mask(want, &Names::new("qwerty")), want, "{}", case.id());
                }
            }
        }
    }
}
