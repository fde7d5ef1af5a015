//! Which events are new, which are counted, and which are too many. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::EventType;
use crate::random::Random;

/// What was reported.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) about: ObjectReference,
    pub(super) kind: EventType,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) at: Timestamp,
}

/// What to do about it.
#[derive(Debug)]
pub(super) enum Action {
    /// Create this event.
    Create(Event),
    /// Bring count, time and message of the event of this name up to date.
    Count(Event),
}

impl Action {
    pub(super) fn event(&self) -> &Event {
        match self {
            Action::Create(event) | Action::Count(event) => event,
        }
    }

    /// The event to count is gone (events live for an hour): it is created again.
    pub(super) fn anew(self) -> Self {
        match self {
            Action::Create(event) | Action::Count(event) => Action::Create(event),
        }
    }
}

/// Remembers what was sent: of each table the 4096 entries used last.
#[derive(Debug)]
pub(super) struct Correlator {
    component: String,
    random: Random,
    /// The time in the name of the newest event.
    last_stamp: u64,
    buckets: Recent<Subject, Bucket>,
    similar: Recent<Similar, Messages>,
    sent: Recent<Key, Sent>,
}

/// The object that an event is about.
type Subject = (String, String, String, String, String);
/// What makes events similar: the subject, type and reason.
type Similar = (Subject, EventType, String);
/// What makes events the same: also the part of the object, and the message.
type Key = (Similar, String, String);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Messages {
    texts: BTreeSet<String>,
    at: Timestamp,
}

#[derive(Debug, Clone)]
struct Sent {
    name: String,
    first: Timestamp,
    count: i32,
}

impl Correlator {
    const REMEMBERED: usize = 4096;
    const BURST: f64 = 25.0;
    const TOKENS_PER_SECOND: f64 = 1.0 / 300.0;
    const DISTINCT: usize = 10;
    /// The bits of a name's time that are random.
    const APART: u64 = 0xffff;
    const WINDOW: SignedDuration = SignedDuration::from_mins(10);

    pub(super) fn new(component: String, random: Random) -> Self {
        Self {
            component,
            random,
            last_stamp: 0,
            buckets: Recent::new(Self::REMEMBERED),
            similar: Recent::new(Self::REMEMBERED),
            sent: Recent::new(Self::REMEMBERED),
        }
    }

    /// Returns what to send for `note`; `None` if its object has had too many events.
    pub(super) fn correlate(&mut self, note: &Note) -> Option<Action> {
        let subject = subject(&note.about);
        let similar = (subject.clone(), note.kind, note.reason.clone());
        let combined = self.combines(&similar, note);
        let message = if combined {
            format!("(combined from similar events): {}", note.message)
        } else {
            note.message.clone()
        };
        // Combined events are one event, whatever their message.
        let (part, text) = if combined {
            (String::new(), String::new())
        } else {
            (note.about.field_path.clone().unwrap_or_default(), note.message.clone())
        };
        let key = (similar, part, text);

        let before = self.sent.get(&key).cloned();
        let sent = match &before {
            Some(sent) => Sent { count: sent.count + 1, ..sent.clone() },
            None => Sent { name: self.name(note), first: note.at, count: 1 },
        };
        self.sent.put(key, sent.clone());
        if !self.may_send(subject, note.at) {
            return None;
        }
        let event = self.event(note, &sent, message);
        Some(if before.is_some() { Action::Count(event) } else { Action::Create(event) })
    }

    fn combines(&mut self, similar: &Similar, note: &Note) -> bool {
        let mut messages = match self.similar.take(similar) {
            Some(messages) if note.at.duration_since(messages.at) <= Self::WINDOW => messages,
            _ => Messages { texts: BTreeSet::new(), at: note.at },
        };
        messages.texts.insert(note.message.clone());
        messages.at = note.at;
        let combined = messages.texts.len() >= Self::DISTINCT;
        if combined {
            messages.texts.pop_first();
        }
        self.similar.put(similar.clone(), messages);
        combined
    }

    fn may_send(&mut self, subject: Subject, now: Timestamp) -> bool {
        let mut bucket = self.buckets.take(&subject).unwrap_or(Bucket { tokens: Self::BURST, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * Self::TOKENS_PER_SECOND).min(Self::BURST);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        self.buckets.put(subject, bucket);
        allowed
    }

    /// Names an event after its subject and the time, so that lists have events in the order in which they happened.
    fn name(&mut self, note: &Note) -> String {
        let nanoseconds = u64::try_from(note.at.as_nanosecond()).unwrap_or_default();
        // Another component may report at the same time.
        let stamp = (nanoseconds & !Self::APART) | (self.random.u64() & Self::APART);
        self.last_stamp = stamp.max(self.last_stamp + 1);
        format!("{}.{:016x}", note.about.name.as_deref().unwrap_or_default(), self.last_stamp)
    }

    fn event(&self, note: &Note, sent: &Sent, message: String) -> Event {
        let namespace = note.about.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(sent.name.clone()),
                namespace: Some(namespace.unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            involved_object: note.about.clone(),
            reason: Some(note.reason.clone()),
            message: Some(message),
            type_: Some(note.kind.as_str().into()),
            first_timestamp: Some(Time(sent.first)),
            last_timestamp: Some(Time(note.at)),
            count: Some(sent.count),
            source: Some(EventSource { component: Some(self.component.clone()), host: None }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(String::new()),
            ..Event::default()
        }
    }
}

fn subject(about: &ObjectReference) -> Subject {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    (part(&about.api_version), part(&about.kind), part(&about.namespace), part(&about.name), part(&about.uid))
}

/// A map that forgets what was not used for the longest time.
#[derive(Debug)]
struct Recent<K, V> {
    limit: usize,
    next: u64,
    entries: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self { limit, next: 0, entries: BTreeMap::new(), order: BTreeMap::new() }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.order.remove(&age);
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        self.take(&key);
        self.next += 1;
        self.order.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        if self.entries.len() > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlator() -> Correlator {
        Correlator::new("test".into(), Random::seeded(1))
    }

    fn note(name: &str, message: &str, second: i64) -> Note {
        Note {
            about: ObjectReference {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                ..ObjectReference::default()
            },
            kind: EventType::Normal,
            reason: "Happened".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn the_same_event_again_is_counted() {
        let mut correlator = correlator();

        let first = correlator.correlate(&note("a", "m", 10)).unwrap();
        let second = correlator.correlate(&note("a", "m", 20)).unwrap();

        assert!(matches!(first, Action::Create(_)));
        assert!(matches!(second, Action::Count(_)));
        let (first, second) = (first.event(), second.event());
        assert_eq!(first.metadata.name, second.metadata.name);
        assert_eq!((second.count, second.first_timestamp.clone()), (Some(2), first.first_timestamp.clone()));
        assert_eq!(second.last_timestamp.as_ref().unwrap().0.as_second(), 20);
    }

    #[test]
    fn events_are_named_in_the_order_in_which_they_happened() {
        let mut correlator = correlator();
        let seconds = [10, 10, 10, 9, 11];

        let named = seconds.iter().enumerate().map(|(index, second)| {
            let action = correlator.correlate(&note("a", &format!("m{index}"), *second)).unwrap();
            action.event().metadata.name.clone().unwrap()
        });
        let names: Vec<_> = named.collect();

        assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names[0].starts_with("a.00000002540b"), "{names:?}");
    }

    #[test]
    fn the_tenth_message_within_ten_minutes_is_combined() {
        let mut correlator = correlator();
        let mut send = |index: i64| {
            let action = correlator.correlate(&note("a", &format!("m{index}"), index)).unwrap();
            (matches!(action, Action::Create(_)), action.event().message.clone().unwrap())
        };

        let messages: Vec<_> = (0..12).map(&mut send).collect();

        assert_eq!(messages[8], (true, "m8".into()));
        assert_eq!(messages[9], (true, "(combined from similar events): m9".into()));
        assert_eq!(messages[11], (false, "(combined from similar events): m11".into()));
        assert_eq!(send(700).1, "m700");
    }

    #[test]
    fn an_object_gets_25_events_at_once_and_then_one_in_five_minutes() {
        let mut correlator = correlator();
        let mut sent = |name: &str, second| correlator.correlate(&note(name, "m", second)).is_some();

        assert_eq!((0..40).filter(|_| sent("a", 0)).count(), 25);
        assert!(sent("b", 0));
        assert!(!sent("a", 299));
        assert!(sent("a", 301));
        assert!(!sent("a", 302));
    }

    #[test]
    fn a_full_table_forgets_what_was_used_least_recently() {
        let mut recent = Recent::new(2);
        recent.put('a', 1);
        recent.put('b', 2);
        recent.put('a', 3);
        recent.put('c', 4);

        assert_eq!((recent.get(&'a'), recent.get(&'b'), recent.get(&'c')), (Some(&3), None, Some(&4)));
    }
}
