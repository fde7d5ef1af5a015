//! The balancers keep their contract, and the suite catches balancers that do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, Pick, ServicePort};
use quarterdeck_core::testing::balancing::*;
use quarterdeck_proxy::{ClientIpAffinity, LeastConnections, Random, RoundRobin};

const HOURS: Duration = Duration::from_secs(10_800);

quarterdeck_core::balancing_suite!(round_robin, RoundRobin::new);
quarterdeck_core::balancing_suite!(random, || Random::seeded(7));
quarterdeck_core::balancing_suite!(least_connections, LeastConnections::new);
quarterdeck_core::balancing_suite!(sticky_round_robin, || ClientIpAffinity::new(RoundRobin::new(), HOURS));
quarterdeck_core::balancing_suite!(sticky_random, || ClientIpAffinity::new(Random::seeded(7), HOURS));
quarterdeck_core::balancing_suite!(sticky_least_connections, || {
    ClientIpAffinity::new(LeastConnections::new(), HOURS).capacity(100)
});
quarterdeck_core::balancing_suite!(never_sticky, || ClientIpAffinity::where_set(RoundRobin::new()));
quarterdeck_core::balancing_suite!(shared, || Arc::new(RoundRobin::new()));

/// A balancer made of a closure.
struct By<F>(F);

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}

impl<F> LoadBalancer for By<F>
where
    F: Fn(&Connection<'_>, &Backends) -> Option<Pick> + Send + Sync + 'static,
{
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        (self.0)(connection, backends)
    }
}

fn by<F>(pick: F) -> By<F>
where
    F: Fn(&Connection<'_>, &Backends) -> Option<Pick> + Send + Sync + 'static,
{
    By(pick)
}

fn nth(backends: &Backends, index: usize) -> Option<Pick> {
    backends.as_slice().get(index).copied().map(Pick::from)
}

/// Picks in turn, with one turn per key that `key` makes of a service port.
fn in_turn<K: Ord + Send + 'static>(
    key: impl Fn(&ServicePort) -> K + Send + Sync + 'static,
) -> impl LoadBalancer {
    let turns = Mutex::new(BTreeMap::<K, usize>::new());
    by(move |connection, backends| {
        let mut turns = turns.lock().expect("no holder panics");
        let turn = turns.entry(key(connection.service)).or_default();
        *turn += 1;
        nth(backends, *turn % backends.as_slice().len().max(1))
    })
}

#[test]
#[should_panic(expected = "clause 1")]
fn a_balancer_that_invents_a_backend_breaks_clause_1() {
    clause_1_a_pick_is_one_of_the_backends(|| {
        by(|_, backends| Some(Backend((backends.as_slice()[0].0.ip(), 1).into()).into()))
    });
}

#[test]
#[should_panic(expected = "clause 1")]
fn a_balancer_that_refuses_some_clients_breaks_clause_1() {
    clause_1_a_pick_is_one_of_the_backends(|| {
        by(|connection, backends| nth(backends, 0).filter(|_| connection.client.is_ipv4()))
    });
}

#[test]
#[should_panic(expected = "clause 1")]
fn a_balancer_that_picks_of_nothing_breaks_clause_1() {
    clause_1_nothing_is_picked_of_nothing(|| by(|_, _| Some(Backend(([10, 0, 0, 1], 80).into()).into())));
}

#[test]
#[should_panic(expected = "clause 2")]
fn a_balancer_that_keeps_the_first_backends_breaks_clause_2() {
    clause_2_backends_may_change_between_any_two_picks(|| {
        let first = Mutex::new(None::<Backends>);
        by(move |_, backends| nth(first.lock().unwrap().get_or_insert_with(|| backends.clone()), 0))
    });
}

#[test]
#[should_panic(expected = "clause 2")]
fn a_balancer_whose_turn_is_beyond_fewer_backends_breaks_clause_2() {
    clause_2_backends_may_change_between_any_two_picks(|| {
        let turn = AtomicUsize::new(0);
        by(move |_, backends| {
            let last = backends.as_slice().len().saturating_sub(1);
            let now = turn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(if now == last { 0 } else { now + 1 })
            });
            nth(backends, now.unwrap())
        })
    });
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_balancer_that_always_picks_the_first_breaks_clause_3() {
    clause_3_no_backend_is_left_out(|| by(|_, backends| nth(backends, 0)));
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_balancer_that_picks_the_first_of_the_least_loaded_breaks_clause_3() {
    clause_3_no_backend_is_left_out(Counts::default);
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_balancer_that_returns_to_where_a_connection_lasts_breaks_clause_3() {
    clause_3_no_backend_is_left_out_while_connections_last(|| {
        let held = Arc::new(Mutex::new(None::<Backend>));
        by(move |_, backends| {
            let backend = *held.lock().unwrap().get_or_insert(*backends.as_slice().last()?);
            Some(Pick { backend, guard: Some(Box::new(held.clone())) })
        })
    });
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_balancer_that_counts_turns_by_index_breaks_clause_3() {
    clause_3_a_backend_that_stays_is_not_left_out_among_others_that_come_and_go(|| in_turn(Clone::clone));
}

#[test]
#[should_panic(expected = "clause 4")]
fn a_balancer_with_one_turn_for_all_breaks_clause_4() {
    clause_4_service_ports_do_not_disturb_each_other(|| in_turn(|_| ()));
}

#[test]
#[should_panic(expected = "clause 4")]
fn a_balancer_that_does_not_look_at_the_port_breaks_clause_4() {
    clause_4_service_ports_do_not_disturb_each_other(|| {
        in_turn(|service| (service.namespace.clone(), service.name.clone()))
    });
}

#[test]
#[should_panic(expected = "clause 4")]
fn a_balancer_that_takes_two_names_for_one_breaks_clause_4() {
    clause_4_service_ports_do_not_disturb_each_other(|| {
        in_turn(|service| format!("{}{}{}", service.namespace, service.name, service.port))
    });
}

#[test]
#[should_panic(expected = "clause 5")]
fn a_balancer_that_waits_for_room_breaks_clause_5() {
    /// Gives a place back, and wakes who waits for one.
    struct Place(Arc<(Mutex<usize>, Condvar)>);

    impl Drop for Place {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap() -= 1;
            self.0.1.notify_one();
        }
    }

    clause_5_a_pick_waits_for_no_connection(|| {
        let busy = Arc::new((Mutex::new(0), Condvar::new()));
        by(move |_, backends| {
            let (count, ended) = &*busy;
            let (mut count, _) = ended
                .wait_timeout_while(count.lock().unwrap(), Duration::from_secs(60), |count| *count >= 100)
                .unwrap();
            *count += 1;
            let backend = *backends.as_slice().first()?;
            Some(Pick { backend, guard: Some(Box::new(Place(busy.clone()))) })
        })
    });
}

#[test]
#[should_panic(expected = "no pick panics")]
fn a_balancer_for_one_thread_at_a_time_breaks_clause_5() {
    clause_5_picks_come_from_several_threads(|| {
        let turn = Mutex::new(0);
        by(move |_, backends| {
            let mut turn = turn.try_lock().expect("nobody else picks");
            *turn += 1;
            std::thread::yield_now();
            nth(backends, *turn % backends.as_slice().len().max(1))
        })
    });
}

/// Counts connections as its fields say, and picks the first of those with the fewest.
#[derive(Default)]
struct Counts {
    counts: Arc<Mutex<BTreeMap<Backend, i64>>>,
    never_gives_back: bool,
    gives_back_what_it_finds: bool,
    drops_absent: bool,
    drops_forgotten: bool,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

struct Count {
    backend: Backend,
    counts: Arc<Mutex<BTreeMap<Backend, i64>>>,
    only_if_found: bool,
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("no holder panics");
        match counts.get_mut(&self.backend) {
            Some(count) => *count -= 1,
            None if self.only_if_found => {}
            None => drop(counts.insert(self.backend, -1)),
        }
    }
}

impl LoadBalancer for Counts {
    fn pick(&self, _: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let mut counts = self.counts.lock().expect("no holder panics");
        if self.drops_absent {
            let offered: BTreeSet<_> = backends.as_slice().iter().collect();
            counts.retain(|backend, _| offered.contains(backend));
        }
        let least =
            backends.as_slice().iter().min_by_key(|backend| counts.get(backend).copied().unwrap_or(0));
        let backend = *least?;
        *counts.entry(backend).or_default() += 1;
        let count =
            Count { backend, counts: self.counts.clone(), only_if_found: self.gives_back_what_it_finds };
        let guard: Box<dyn Send> = if self.never_gives_back {
            std::mem::forget(count);
            Box::new(())
        } else {
            Box::new(count)
        };
        Some(Pick { backend, guard: Some(guard) })
    }

    fn forget(&self, _: &ServicePort) {
        if self.drops_forgotten {
            self.counts.lock().expect("no holder panics").clear();
        }
    }
}

#[test]
#[should_panic(expected = "clause 6")]
fn a_balancer_that_never_gives_back_breaks_clause_6() {
    clause_6_connections_that_ended_do_not_count(|| Counts { never_gives_back: true, ..Counts::default() });
}

#[test]
#[should_panic(expected = "clause 6")]
fn a_balancer_that_does_not_give_back_to_backends_that_left_breaks_clause_6() {
    clause_6_connections_may_end_after_their_backend_left(|| Counts {
        never_gives_back: true,
        ..Counts::default()
    });
}

#[test]
#[should_panic(expected = "clause 6")]
fn a_balancer_that_gives_back_what_it_has_dropped_breaks_clause_6() {
    clause_6_connections_may_end_after_their_backend_left_and_came_back(|| Counts {
        drops_absent: true,
        gives_back_what_it_finds: true,
        ..Counts::default()
    });
}

#[test]
#[should_panic(expected = "clause 6")]
fn a_balancer_that_counts_below_zero_breaks_clause_6() {
    clause_6_connections_may_end_after_their_service_port_was_forgotten(|| Counts {
        drops_forgotten: true,
        ..Counts::default()
    });
}

#[test]
#[should_panic(expected = "clause 7")]
fn a_balancer_that_forgets_nothing_breaks_clause_7() {
    clause_7_a_forgotten_service_port_starts_anew(|| in_turn(Clone::clone));
}
