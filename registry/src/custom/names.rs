//! Which definition has which names in its group.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lifecycle::{PREFIX, set_condition};
use super::schema::strings;
use crate::cache::World;

/// Accepts of a definition's names those that no other definition of its group has, and establishes the kind when all are
/// accepted.
pub(super) fn accept(definition: &mut Value, world: &World, now: &Value) {
    let taken = Taken::by_others(definition, world);
    let wanted = definition["spec"]["names"].clone();
    let mut accepted = definition["status"]["acceptedNames"].clone();
    let mut conflict: Option<(&str, String)> = None;
    let mut refuse = |reason: &'static str, names: &[String]| {
        let message = match names {
            [one] => format!("{one:?} is already in use"),
            several => {
                let each: Vec<String> =
                    several.iter().map(|name| format!("{name:?} is already in use")).collect();
                format!("[{}]", each.join(", "))
            }
        };
        conflict = Some((reason, message));
    };
    // Of several conflicts the last one is told, as upstream does.
    for (field, reason, names) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let given = match &wanted[field] {
            Value::String(name) => vec![name.clone()],
            list => strings(list),
        };
        let own = match &accepted[field] {
            Value::String(name) => vec![name.clone()],
            list => strings(list),
        };
        let lost: Vec<String> =
            given.into_iter().filter(|name| !own.contains(name) && names.contains(name)).collect();
        if lost.is_empty() {
            put(&mut accepted, field, &wanted[field]);
        } else {
            refuse(reason, &lost);
        }
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    definition["status"]["acceptedNames"] = accepted;
    match &conflict {
        None => set_condition(definition, "NamesAccepted", true, "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set_condition(definition, "NamesAccepted", false, reason, message, now),
    }
    if super::definition::has_condition(definition, "Established") {
        return;
    }
    let (holds, reason, message) = match conflict {
        // With authorities that are none its webhook could never be called, nor its kind be read.
        None if super::definition::wrong_bundle(definition).is_some() => {
            (false, "Installing", "the initial names have been accepted")
        }
        None => (true, "InitialNamesAccepted", "the initial names have been accepted"),
        Some(_) => (false, "NotAccepted", "not all names are accepted"),
    };
    set_condition(definition, "Established", holds, reason, message, now);
}

fn put(names: &mut Value, field: &str, value: &Value) {
    if !value.is_null() {
        names[field] = value.clone();
    } else if let Some(names) = names.as_object_mut() {
        names.remove(field);
    }
}

/// The names that a group's definitions have.
#[derive(Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn by_others(definition: &Value, world: &World) -> Self {
        let mut taken = Self::default();
        for (_, other) in world.range(PREFIX, None) {
            if definition["metadata"]["name"] == *other.header.name {
                continue;
            }
            let other = other.value();
            if other["spec"]["group"] != definition["spec"]["group"] {
                continue;
            }
            let names = &other["status"]["acceptedNames"];
            let text = |field: &str| names[field].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
            taken.resources.extend(text("plural"));
            taken.resources.extend(text("singular"));
            taken.resources.extend(strings(&names["shortNames"]));
            taken.kinds.extend(text("kind"));
            taken.kinds.extend(text("listKind"));
        }
        taken
    }
}
