//! A store as the clients of an API server over it see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use quarterdeck_core::storage::{
    Change, Commit, Commits, Condition, Entry, Expect, Key, List, Page, Revision, Storage, StorageError,
    Transaction, Write,
};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage};
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::call;
use crate::support::watch::Watch;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Where the maps are in the store.
const STORED_MAPS: &str = "/registry/configmaps/default/";
/// What is larger than this is no map that a client may write.
const LARGEST: usize = 512 << 10;
/// Longer keys make no names.
const LONGEST: usize = 100;
/// How many entries the first page of a list has; later ones have more.
const PAGE: usize = 2;

/// A store whose entries are maps of an API server, and are read, listed and watched through its cache.
///
/// What creates or replaces one entry goes through the server, too; other commits go to the store, as those of another server
/// would. Several servers are asked in turns, for the pages of one list, too. What no client is told, as which entry an event
/// replaced, is taken from the store's own history.
#[derive(Debug)]
pub(crate) struct Served<S> {
    servers: Vec<ApiServer>,
    /// How many calls were made: servers take turns.
    calls: AtomicUsize,
    store: FaultyStorage<S>,
    maps: Maps,
    history: Arc<History>,
    /// Up to where it was compacted, at most.
    compacted: Arc<AtomicU64>,
    /// What reads ask for besides.
    age: &'static str,
}

impl<S: Storage + Clone> Served<S> {
    /// Starts a server over a store that was never written. The store does not fail until it is given a plan.
    pub(crate) async fn over(store: S, seed: u64) -> Self {
        Self::over_each([store], seed).await
    }

    /// Starts a server over each of these, which are one store that was never written.
    pub(crate) async fn over_each(stores: impl IntoIterator<Item = S>, seed: u64) -> Self {
        let (mut servers, mut last) = (Vec::new(), None);
        for store in stores {
            let store = FaultyStorage::new(store, FaultPlan::calm(), seed);
            let builder = ApiServer::builder(store.clone()).only(["namespaces", "configmaps"]);
            servers.push(builder.start().await.unwrap());
            last = Some(store);
        }
        let store = last.expect("there is a server");
        let maps = Maps { base: store.revision().await.unwrap().0 };
        let history = Arc::new(History::start(store.inner().clone(), maps).await);
        let (calls, compacted) = (AtomicUsize::new(0), Arc::default());
        Self { servers, calls, store, maps, history, compacted, age: "" }
    }

    /// Reads what the cache holds, whatever its age, and so breaks clause 3.
    pub(crate) fn of_any_age(self) -> Self {
        Self { age: "&resourceVersion=0", ..self }
    }

    /// Returns the store below the last server.
    pub(crate) fn store(&self) -> &FaultyStorage<S> {
        &self.store
    }

    /// Returns the server whose turn it is.
    fn server(&self) -> &ApiServer {
        &self.servers[self.calls.fetch_add(1, Ordering::Relaxed) % self.servers.len()]
    }

    async fn read(&self, path: &str) -> Result<Value, StorageError> {
        match call(self.server(), "GET", path, Value::Null).await {
            (StatusCode::OK, body) => Ok(body),
            (code, body) => Err(self.error(code, &body)),
        }
    }

    /// Returns what a refusal says in the words of the contract.
    fn error(&self, code: StatusCode, body: &Value) -> StorageError {
        let message = body["message"].as_str().unwrap_or_default();
        let current =
            message.rsplit_once("Too large resource version").and_then(|(_, rest)| rest.rsplit_once(' '));
        match (code, current) {
            (StatusCode::GONE, _) => StorageError::Compacted(Revision(self.compacted.load(Ordering::SeqCst))),
            (StatusCode::GATEWAY_TIMEOUT, Some((_, current))) => {
                StorageError::Future(self.maps.revision(current))
            }
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, _) => {
                StorageError::Unavailable(message.to_owned().into())
            }
            (StatusCode::INSUFFICIENT_STORAGE, _) => StorageError::Full(message.to_owned().into()),
            _ => panic!("{code}: {body}"),
        }
    }

    /// Makes an entry of a map.
    async fn entry(&self, map: &Value) -> Entry {
        let Shown { key, value, revision: modified } = self.maps.shown(map);
        let commit = self.history.commit_at(modified).await;
        let created = commit.changes.iter().find_map(|change| match change {
            Change::Put { entry, .. } if entry.key == key => Some(entry.created),
            _ => None,
        });
        let created =
            created.unwrap_or_else(|| panic!("clause 3: no commit wrote {key} at {modified}: {commit:?}"));
        Entry { key, value, created, modified }
    }

    /// Reads the pages of a list, from its first to its last.
    async fn pages(&self, at: Option<Revision>) -> Result<(Vec<Entry>, Revision), StorageError> {
        let mut path = format!("{MAPS}?limit={PAGE}");
        match at {
            Some(at) => {
                let at = self.maps.at_server(at);
                path += &format!("&resourceVersionMatch=Exact&resourceVersion={at}");
            }
            None => path += self.age,
        }
        let (mut entries, mut revision) = (Vec::new(), None);
        loop {
            let page = self.read(&path).await?;
            let metadata = &page["metadata"];
            let shown = self.maps.revision(text(&metadata["resourceVersion"]));
            assert_eq!(*revision.get_or_insert(shown), shown, "clause 5: pages of one list");
            for map in page["items"].as_array().expect("a list has items") {
                entries.push(self.entry(map).await);
            }
            let Some(token) = metadata["continue"].as_str() else { return Ok((entries, shown)) };
            path = format!("{MAPS}?limit={}&continue={token}", PAGE + entries.len());
        }
    }

    /// Writes one map through the server.
    async fn write(&self, key: &Key, value: &Bytes, expect: Expect) -> Result<Revision, StorageError> {
        let mut map = self.maps.map(key, value);
        loop {
            let (code, body) = match expect {
                Expect::Modified(at) => {
                    map["metadata"]["resourceVersion"] = self.maps.at_server(at).to_string().into();
                    call(self.server(), "PUT", &self.maps.path(key), map.clone()).await
                }
                _ => call(self.server(), "POST", MAPS, map.clone()).await,
            };
            match code {
                StatusCode::OK | StatusCode::CREATED => {
                    return Ok(self.maps.revision(text(&body["metadata"]["resourceVersion"])));
                }
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => {}
                _ => return Err(self.error(code, &body)),
            }
            // A refusal does not say what was found.
            let found = self.get(key).await?;
            let holds = match expect {
                Expect::Modified(at) => found.as_ref().is_some_and(|entry| entry.modified == at),
                _ => found.is_none(),
            };
            if !holds {
                return Err(StorageError::Conflict { key: key.clone(), expected: expect, found });
            }
        }
    }
}

#[async_trait]
impl<S: Storage + Clone> Storage for Served<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        let path = format!("{}?{}", self.maps.path(key), self.age);
        match call(self.server(), "GET", &path, Value::Null).await {
            (StatusCode::OK, map) => Ok(Some(self.entry(&map).await)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (code, body) => Err(self.error(code, &body)),
        }
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        if list.at == Some(Revision(0)) {
            // To the server this is any revision.
            return Ok(Page { entries: Vec::new(), revision: Revision(0), remaining: 0 });
        }
        let (mut entries, revision) = loop {
            match self.pages(list.at).await {
                // A list of the present whose later pages are gone begins anew.
                Err(StorageError::Compacted(_)) if list.at.is_none() => {}
                pages => break pages?,
            }
        };
        let behind = |key: &Key| list.after.as_ref().is_none_or(|after| key > after);
        entries.retain(|entry| entry.key.as_str().starts_with(&list.prefix) && behind(&entry.key));
        let all = entries.len();
        entries.truncate(list.limit.unwrap_or(all));
        let remaining = all - entries.len();
        Ok(Page { entries, revision, remaining })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        if let ([Condition { key, expect }], [Write::Put(written, value)]) =
            (&transaction.conditions[..], &transaction.writes[..])
            && key == written
            && *expect != Expect::Present
            && key.as_str().len() < LONGEST
            && value.len() < LARGEST
        {
            return self.write(key, value, *expect).await;
        }
        match self.store.commit(self.maps.stored(transaction)).await {
            Ok(revision) => Ok(self.maps.revision(revision)),
            Err(StorageError::Conflict { key, expected, found }) => Err(StorageError::Conflict {
                key: self.maps.key(key.as_str()),
                expected: match expected {
                    Expect::Modified(at) => Expect::Modified(self.maps.revision(at)),
                    expected => expected,
                },
                found: found.map(|entry| self.maps.entry(&entry)),
            }),
            Err(error) => Err(error),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        // A client may wait for what is to come.
        let now = self.revision().await?;
        if after > now {
            return Err(StorageError::Future(now));
        }
        let watching = Watching {
            watch: Watch::start(self.server(), MAPS, self.maps.at_server(after)).await,
            maps: self.maps,
            history: self.history.clone(),
            compacted: self.compacted.clone(),
            prefix: prefix.to_owned(),
        };
        let commits = stream::unfold(Some(watching), async |watching| {
            let mut watching = watching?;
            match watching.next().await {
                Ok(commit) => Some((Ok(commit), Some(watching))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(commits.boxed())
    }

    /// Forgets what the server forgets when it has its store compacted.
    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        let now = self.revision().await?;
        if at > now {
            return Err(StorageError::Future(now));
        }
        if at == Revision(0) {
            return Ok(());
        }
        // Nobody forgets what they have not seen.
        let there = Revision(self.maps.at_server(at));
        let caches: Vec<_> = self.servers.iter().map(|server| &server.registry().cache).collect();
        for cache in &caches {
            let _ = cache.published().wait_for(|published| *published >= there).await;
        }
        self.history.comes_to(at).await;
        self.compacted.fetch_max(at.0, Ordering::SeqCst);
        self.store.compact(there).await?;
        caches.iter().for_each(|cache| cache.forget(there));
        Ok(())
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        let list = self.read(&format!("{MAPS}?limit=1")).await?;
        Ok(self.maps.revision(text(&list["metadata"]["resourceVersion"])))
    }
}

/// How entries are maps, and where the store was before the first of them: that is revision 0.
#[derive(Debug, Clone, Copy)]
struct Maps {
    base: u64,
}

/// What a map says.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    key: Key,
    value: Bytes,
    revision: Revision,
}

impl Maps {
    /// Returns the name of a key's map: names are in the order of keys.
    fn name(key: &Key) -> String {
        key.as_str().bytes().fold("k".to_owned(), |name, byte| name + &format!("{byte:02x}"))
    }

    fn path(self, key: &Key) -> String {
        format!("{MAPS}/{}", Self::name(key))
    }

    fn place(self, key: &Key) -> String {
        format!("{STORED_MAPS}{}", Self::name(key))
    }

    /// Returns the key of a map, given its name or its place.
    fn key(self, name: &str) -> Key {
        let name = name.strip_prefix(STORED_MAPS).unwrap_or(name);
        let digits = name.strip_prefix('k').expect("the names of all maps begin so");
        let byte =
            |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("names are made of numbers");
        let bytes = (0..digits.len()).step_by(2).map(byte).collect();
        Key::from(String::from_utf8(bytes).expect("keys are text"))
    }

    fn map(self, key: &Key, value: &Bytes) -> Value {
        let value = std::str::from_utf8(value).expect("the suite writes text");
        let metadata = json!({"name": Self::name(key), "namespace": "default"});
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"value": value}})
    }

    fn shown(self, map: &Value) -> Shown {
        let metadata = &map["metadata"];
        Shown {
            key: self.key(text(&metadata["name"])),
            value: text(&map["data"]["value"]).to_owned().into(),
            revision: self.revision(text(&metadata["resourceVersion"])),
        }
    }

    fn revision(self, at_server: impl AtServer) -> Revision {
        Revision(at_server.number().saturating_sub(self.base))
    }

    fn at_server(self, revision: Revision) -> u64 {
        self.base + revision.0
    }

    /// Makes a transaction of the store's.
    fn stored(self, transaction: Transaction) -> Transaction {
        let condition = |Condition { key, expect }: &Condition| Condition {
            key: self.place(key).into(),
            expect: match *expect {
                Expect::Modified(at) => Expect::Modified(Revision(self.at_server(at))),
                expect => expect,
            },
        };
        let write = |write: &Write| match write {
            Write::Put(key, value) => {
                Write::Put(self.place(key).into(), self.map(key, value).to_string().into())
            }
            Write::Delete(key) => Write::Delete(self.place(key).into()),
        };
        Transaction {
            conditions: transaction.conditions.iter().map(condition).collect(),
            writes: transaction.writes.iter().map(write).collect(),
        }
    }

    /// Makes an entry of one of the store's.
    fn entry(self, stored: &Entry) -> Entry {
        let map: Value = serde_json::from_slice(&stored.value).expect("what is stored is JSON");
        Entry {
            key: self.key(stored.key.as_str()),
            value: text(&map["data"]["value"]).to_owned().into(),
            created: self.revision(stored.created),
            modified: self.revision(stored.modified),
        }
    }

    fn commit(self, stored: &Commit) -> Commit {
        let is_map = |change: &&Change| change.key().as_str().starts_with(STORED_MAPS);
        let change = |change: &Change| match change {
            Change::Put { entry, previous } => Change::Put {
                entry: self.entry(entry),
                previous: previous.as_ref().map(|previous| self.entry(previous)),
            },
            Change::Delete { previous } => Change::Delete { previous: self.entry(previous) },
        };
        let changes = stored.changes.iter().filter(is_map).map(change).collect();
        Commit { revision: self.revision(stored.revision), changes }
    }
}

/// A revision as the server or the store has it.
trait AtServer {
    fn number(&self) -> u64;
}

impl AtServer for Revision {
    fn number(&self) -> u64 {
        self.0
    }
}

impl AtServer for &str {
    fn number(&self) -> u64 {
        self.parse().expect("a revision is a number")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// All commits, as the store itself tells them.
#[derive(Debug)]
struct History {
    commits: watch::Receiver<BTreeMap<Revision, Commit>>,
    _following: JoinSet<()>,
}

impl History {
    async fn start(store: impl Storage, maps: Maps) -> Self {
        let mut watch = store.watch("", Revision(maps.base)).await.unwrap();
        let none = Commit { revision: Revision(0), changes: Vec::new() };
        let (sender, commits) = watch::channel(BTreeMap::from([(Revision(0), none)]));
        let mut following = JoinSet::new();
        following.spawn(async move {
            while let Some(commit) = watch.next().await {
                let commit = maps.commit(&commit.expect("nothing is compacted that was not seen"));
                sender.send_modify(|commits| drop(commits.insert(commit.revision, commit)));
            }
            drop(store);
        });
        Self { commits, _following: following }
    }

    /// Waits until the store has told of all up to a revision.
    async fn comes_to(&self, revision: Revision) {
        let is_there = |commits: &BTreeMap<Revision, Commit>| {
            commits.last_key_value().is_some_and(|(last, _)| *last >= revision)
        };
        self.commits.clone().wait_for(is_there).await.expect("the history goes on");
    }

    /// Returns the commit at a revision, as soon as the store tells of it.
    async fn commit_at(&self, revision: Revision) -> Commit {
        self.comes_to(revision).await;
        let commit = self.commits.borrow().get(&revision).cloned();
        commit.unwrap_or_else(|| panic!("clause 1: no commit has revision {revision}"))
    }
}

/// A client that watches the maps, and puts events together to commits.
struct Watching {
    watch: Watch,
    maps: Maps,
    history: Arc<History>,
    compacted: Arc<AtomicU64>,
    prefix: String,
}

impl Watching {
    /// Returns the next commit under the prefix, of which each change was shown as an event.
    async fn next(&mut self) -> Result<Commit, StorageError> {
        loop {
            let mut event = self.event().await?;
            let mut commit = self.history.commit_at(event.1.revision).await;
            for (index, change) in commit.changes.iter().enumerate() {
                if index > 0 {
                    event = self.event().await?;
                }
                assert_eq!(
                    event,
                    expected(change, commit.revision),
                    "clause 6: the next event of {commit:?}"
                );
            }
            assert!(!commit.changes.is_empty(), "clause 6: {event:?} is of no commit");
            commit.changes.retain(|change| change.key().as_str().starts_with(&self.prefix));
            if !commit.changes.is_empty() {
                return Ok(commit);
            }
        }
    }

    async fn event(&mut self) -> Result<(String, Shown), StorageError> {
        let Some(event) = self.watch.next().await else {
            return Err(StorageError::Unavailable("the watch ended".into()));
        };
        let (what, object) = (text(&event["type"]), &event["object"]);
        match (what, object["code"].as_u64()) {
            ("ERROR", Some(410)) => {
                Err(StorageError::Compacted(Revision(self.compacted.load(Ordering::SeqCst))))
            }
            ("ERROR", _) => panic!("{event}"),
            _ => Ok((what.to_owned(), self.maps.shown(object))),
        }
    }
}

/// Returns the event that tells of a change.
fn expected(change: &Change, revision: Revision) -> (String, Shown) {
    let (what, entry) = match change {
        Change::Put { entry, previous: None } => ("ADDED", entry),
        Change::Put { entry, .. } => ("MODIFIED", entry),
        Change::Delete { previous } => ("DELETED", previous),
    };
    (what.to_owned(), Shown { key: entry.key.clone(), value: entry.value.clone(), revision })
}
