//! Places for connections, and who gives way when all are taken.
//!
//! Those give way that have rested a while, longest first. If there are none, whoever holds most places gives way: a client that
//! takes all of them, with watches that never rest, takes them from itself and not from others. A holder is a user and not an
//! address, since a proxy in front of the server makes one address of all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::activity::Activity;
use crate::sparing::{Sparing, cut};

/// How many give way at a time, one of so many places.
const WAYS: usize = 512;
/// How often some are told to give way while somebody waits for a place.
const WAIT: Duration = Duration::from_millis(100);
/// How long a connection rests before it gives way to others: long enough for a handshake and a first request.
const SETTLED: Duration = Duration::from_secs(2);

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    begin: Instant,
    /// How many give way at a time.
    ways: usize,
    /// What is logged of those who are cut off.
    crowded: Sparing,
}

/// The places that are taken. Numbers grow with each.
#[derive(Debug, Default)]
struct Taken {
    all: BTreeMap<u64, Arc<Activity>>,
    by: BTreeMap<Holder, BTreeSet<u64>>,
    next: u64,
}

/// Who holds places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// Those of whom nobody knows yet who they are: they shake hands, or have asked nothing.
    Newcomers,
    /// Those whom nobody knew.
    Strangers,
    User(Arc<str>),
}

impl Places {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            taken: Mutex::default(),
            begin: Instant::now(),
            ways: count.div_ceil(WAYS),
            crowded: Sparing::default(),
        })
    }

    /// Takes a place for a connection. If there is none, others give way.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Arc<Place>, AcquireError> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(self.enter(permit));
        }
        let mut waiting = std::pin::pin!(self.free.clone().acquire_owned());
        loop {
            self.give_way();
            if let Ok(permit) = tokio::time::timeout(WAIT, waiting.as_mut()).await {
                return Ok(self.enter(permit?));
            }
        }
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Arc<Place> {
        let activity = Activity::new(self.begin);
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.all.insert(number, activity.clone());
        taken.hold(number, Holder::Newcomers);
        drop(taken);
        let holder = Mutex::new(Holder::Newcomers);
        Arc::new(Place { places: self.clone(), number, activity, holder, _permit: permit })
    }

    /// Has some connections end, so that there are places, or files to open.
    pub(super) fn give_way(&self) {
        let taken = self.taken();
        let resting = taken.all.values().filter(|it| it.is_resting() && !it.gives_way());
        let mut resting: Vec<_> = resting.collect();
        resting.sort_by_key(|it| it.rests_since());
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let has_settled =
            |it: &Arc<Activity>| u128::from(now.saturating_sub(it.rests_since())) >= SETTLED.as_millis();
        if !resting.first().is_some_and(|longest| has_settled(longest))
            && let Some((holder, theirs)) = taken.crowd()
        {
            // Whoever holds most is left with one.
            let most = self.ways.min(theirs.len() - 1);
            theirs.iter().take(most).for_each(|it| it.cut_off());
            return self.tell_of(&holder, theirs.len());
        }
        resting.into_iter().take(self.ways).for_each(|it| it.tell());
    }

    fn tell_of(&self, holder: &Holder, held: usize) {
        let user = match holder {
            Holder::User(name) => cut(name),
            Holder::Newcomers | Holder::Strangers => "",
        };
        self.crowded.say(|left_out| {
            tracing::warn!(
                user,
                held,
                left_out,
                "all places for connections are taken: connections are cut off of whoever holds most; stop that client, or allow more connections"
            );
        });
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("nothing panics while it holds the places")
    }
}

impl Taken {
    fn hold(&mut self, number: u64, holder: Holder) {
        self.by.entry(holder).or_default().insert(number);
    }

    fn leave(&mut self, number: u64, holder: &Holder) {
        if let Some(numbers) = self.by.get_mut(holder) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by.remove(holder);
            }
        }
    }

    /// Returns who holds most places, if it is more than one, and its connections in the order in which they give way: of newcomers
    /// the oldest first, since the youngest may be about to say who they are; of all others those first that rest, and the
    /// newest, whoever came first having shown no wish to take all.
    fn crowd(&self) -> Option<(Holder, Vec<&Arc<Activity>>)> {
        let (holder, numbers) = self.by.iter().max_by_key(|(_, numbers)| numbers.len())?;
        let mut theirs: Vec<_> = numbers.iter().filter_map(|number| self.all.get_key_value(number)).collect();
        theirs.retain(|(_, it)| !it.is_cut_off());
        if *holder != Holder::Newcomers {
            theirs.sort_by_key(|(number, it)| (!it.is_resting(), Reverse(*number)));
        }
        (theirs.len() > 1).then(|| (holder.clone(), theirs.into_iter().map(|(_, it)| it).collect()))
    }
}

/// A connection's place among the others, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) activity: Arc<Activity>,
    holder: Mutex<Holder>,
    /// Dropped when all else is done.
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Says whose the connection is: whoever asked last on it, if anybody knows who that is.
    pub(crate) fn belongs_to(&self, user: Option<&str>) {
        let mut holder = self.holder.lock().expect("nothing panics while it holds a holder");
        match (&*holder, user) {
            (Holder::User(name), Some(user)) if **name == *user => return,
            (Holder::Strangers, None) => return,
            _ => {}
        }
        let new = user.map_or(Holder::Strangers, |user| Holder::User(user.into()));
        let mut taken = self.places.taken();
        taken.leave(self.number, &holder);
        taken.hold(self.number, new.clone());
        *holder = new;
    }

    /// Waits until the connection has to end because its holder has too many. One task waits at a time.
    pub(crate) async fn has_been_cut_off(&self) {
        self.activity.has_been_cut_off().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().expect("nothing panics while it holds a holder");
        let mut taken = self.places.taken();
        taken.all.remove(&self.number);
        taken.leave(self.number, holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes places, a second apart, for connections of these users; nobody's are newcomers'.
    async fn taken_by(users: &[Option<&str>]) -> (Arc<Places>, Vec<Arc<Place>>) {
        let (places, mut taken) = (Places::new(users.len()), Vec::new());
        for user in users {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let place = places.take().await.unwrap();
            if user.is_some() {
                place.belongs_to(*user);
            }
            taken.push(place);
        }
        (places, taken)
    }

    /// Which were told to end, and which were cut off.
    fn ending(taken: &[Arc<Place>]) -> (Vec<usize>, Vec<usize>) {
        let which = |ends: fn(&Activity) -> bool| {
            taken.iter().enumerate().filter(|(_, it)| ends(&it.activity)).map(|(at, _)| at).collect()
        };
        (which(Activity::gives_way), which(Activity::is_cut_off))
    }

    #[tokio::test(start_paused = true)]
    async fn those_give_way_that_have_rested_longest() {
        let (places, taken) = taken_by(&["ann", "bob", "cid", "dan"].map(Some)).await;
        let busy = taken[0].activity.request();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The second is the one now that has rested least.
        drop(taken[1].activity.request());

        places.give_way();
        assert_eq!(ending(&taken), (vec![2], vec![]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        places.give_way();
        assert_eq!(ending(&taken), (vec![2, 3], vec![]));
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_holds_most_gives_way_if_nobody_rests() {
        let users = ["ann", "bob", "bob", "bob", "cid"].map(Some);
        let (places, taken) = taken_by(&users).await;
        let _busy: Vec<_> = taken.iter().map(|place| place.activity.request()).collect();

        places.give_way();
        assert_eq!(ending(&taken), (vec![], vec![3]), "the newest");
        places.give_way();
        assert_eq!(ending(&taken), (vec![], vec![2, 3]));
        places.give_way();
        assert_eq!(ending(&taken), (vec![], vec![2, 3]), "nobody has more than one that is not cut off");
    }
}
