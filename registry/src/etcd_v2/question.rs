//! What is asked.

use percent_encoding::percent_decode_str;
use quarterdeck_core::storage::Revision;

use super::Failure;

/// A request, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// The key, without a slash at its end; empty for the root.
    pub(super) key: String,
    pub(super) recursive: bool,
    pub(super) waits: bool,
    /// The first change that is waited for; the next one if absent.
    pub(super) wait_index: Option<Revision>,
}

impl Question {
    /// Reads what follows `/v2/keys` in a path, and the query.
    pub(super) fn parse(path: &str, query: &str) -> Result<Self, Failure> {
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| Failure::invalid("the key is not UTF-8"))?;
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let key = segments.fold(String::new(), |key, segment| key + "/" + segment);
        let mut question = Self { key, ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "recursive" => question.recursive = truth(name, value)?,
                "wait" => question.waits = truth(name, value)?,
                // All is sorted and linearizable.
                "sorted" | "quorum" => drop(truth(name, value)?),
                "waitIndex" => {
                    let index = value.parse().map_err(|_| Failure::not_a_number(name))?;
                    question.wait_index = Some(Revision(index)).filter(|index| index.0 > 0);
                }
                other => return Err(Failure::invalid(format!("{other:?} is not supported"))),
            }
        }
        Ok(question)
    }
}

/// Reads what Go takes for a boolean.
fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::invalid(format!("invalid value for \"{name}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_however_many_slashes_they_have() {
        let key = |path: &str| Question::parse(path, "").unwrap().key;

        assert_eq!([key(""), key("/"), key("//")], ["", "", ""]);
        assert_eq!(key("/registry//minions/"), "/registry/minions");
        assert_eq!(key("/a%2Fb/%5Fc"), "/a/b/_c");
        assert_eq!(Question::parse("/%ff", "").unwrap_err().code, 209);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let parse =
            |query: &str| Question::parse("/a", query).map_err(|failure| (failure.code, failure.cause));

        let all = parse("recursive=true&sorted=1&quorum=false&wait=t&waitIndex=7").unwrap();
        assert_eq!((all.recursive, all.waits, all.wait_index), (true, true, Some(Revision(7))));
        assert_eq!(parse("waitIndex=0").unwrap().wait_index, None);
        assert_eq!(parse("wait=maybe").unwrap_err(), (209, "invalid value for \"wait\"".into()));
        assert_eq!(parse("waitIndex=-1").unwrap_err(), (203, "invalid value for \"waitIndex\"".into()));
        assert_eq!(parse("stream=true").unwrap_err(), (209, "\"stream\" is not supported".into()));
    }
}
