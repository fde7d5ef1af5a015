//! The contract suite of [`LoadBalancer`]: cases for each clause, numbered as in its documentation.
//!
//! Run it with [`balancing_suite!`](crate::balancing_suite). How much a balancer remembers cannot be seen from outside:
//! of clause 7 the suite proves that a service port is forgotten, and each implementation proves its bounds itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::balancing::{Backend, Backends, Connection, LoadBalancer, Pick, ServicePort};

/// Makes a module `$name` with tests for each clause of the contract of [`LoadBalancer`].
///
/// `$make` is a closure that returns a fresh balancer, built alike each time: one that draws lots has the same seed.
///
/// ```
/// use quarterdeck_core::balancing::{Backends, Connection, LoadBalancer, Pick};
///
/// /// Spreads clients by the last byte of their address.
/// #[derive(Debug)]
/// struct LastByte;
///
/// impl LoadBalancer for LastByte {
///     fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
///         let last = match connection.client {
///             std::net::IpAddr::V4(client) => client.octets()[3],
///             std::net::IpAddr::V6(client) => client.octets()[15],
///         };
///         let index = usize::from(last).checked_rem(backends.as_slice().len())?;
///         Some(backends.as_slice()[index].into())
///     }
/// }
///
/// quarterdeck_core::balancing_suite!(last_byte, || LastByte);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! balancing_suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what `$make` names may be a full path")]
            use super::*;
            $crate::balancing_suite!(@each $make,
                clause_1_a_pick_is_one_of_the_backends
                clause_1_nothing_is_picked_of_nothing
                clause_2_backends_may_change_between_any_two_picks
                clause_3_no_backend_is_left_out
                clause_3_no_backend_is_left_out_while_connections_last
                clause_3_a_backend_that_stays_is_not_left_out_among_others_that_come_and_go
                clause_4_service_ports_do_not_disturb_each_other
                clause_5_a_pick_waits_for_no_connection
                clause_5_picks_come_from_several_threads
                clause_6_connections_that_ended_do_not_count
                clause_6_connections_may_end_after_their_backend_left
                clause_6_connections_may_end_after_their_backend_left_and_came_back
                clause_6_connections_may_end_after_their_service_port_was_forgotten
                clause_7_a_forgotten_service_port_starts_anew
            );
        }
    };
    (@each $make:expr, $($clause:ident)+) => {$(
        #[test]
        fn $clause() {
            $crate::testing::balancing::$clause($make);
        }
    )+};
}

/// So many different clients are enough to reach every backend.
const MANY: u32 = 2_000;

/// A balancer that does not answer for so long is taken to block.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clause 1: what is picked was offered.
pub fn clause_1_a_pick_is_one_of_the_backends<B: LoadBalancer>(make: impl Fn() -> B) {
    let balancer = make();

    for service in services() {
        for count in [1, 2, 3, 7, 100] {
            let offered = numbered(0..count);
            for client in clients(200) {
                pick(&balancer, &service, client, &offered, "clause 1");
            }
        }
    }
}

/// Clause 1: `None` means that there is no backend, and the other way round.
pub fn clause_1_nothing_is_picked_of_nothing<B: LoadBalancer>(make: impl Fn() -> B) {
    let balancer = make();
    let (service, none, one) = (service("web", "http"), numbered(0..0), numbered(0..1));

    for client in clients(10) {
        let picked = balancer.pick(&Connection { service: &service, client }, &none);
        assert!(picked.is_none(), "clause 1: {picked:?} was picked of nothing");
        pick(&balancer, &service, client, &one, "clause 1");
    }
}

/// Clause 2: whatever became of the backends since the last pick, the next is one of those that are offered then.
pub fn clause_2_backends_may_change_between_any_two_picks<B: LoadBalancer>(make: impl Fn() -> B) {
    let balancer = make();
    let service = service("web", "http");
    let none = numbered(0..0);
    let series = [
        numbered(0..5),   // as many as there will ever be for a while
        numbered(0..2),   // fewer
        numbered(2..5),   // others
        numbered(4..5),   // the last alone
        numbered(0..1),   // the first alone
        none.clone(),     // nothing
        numbered(50..90), // all new, and many
        numbered(3..4),   // an old one
        numbered(0..5),   // as at first
    ];
    let mut held = Vec::new();

    for client in clients(20) {
        for offered in &series {
            if offered.as_slice().is_empty() {
                let picked = balancer.pick(&Connection { service: &service, client }, offered);
                assert!(picked.is_none(), "clause 2: {picked:?} was offered earlier, and is not any more");
            } else {
                held.push(pick(&balancer, &service, client, offered, "clause 2"));
            }
        }
    }
}

/// Clause 3: many clients reach every backend, if their connections end at once.
pub fn clause_3_no_backend_is_left_out<B: LoadBalancer>(make: impl Fn() -> B) {
    for count in [1, 2, 3, 8] {
        let (balancer, service, offered) = (make(), service("web", "http"), numbered(0..count));

        let picked =
            clients(MANY).map(|client| pick(&balancer, &service, client, &offered, "clause 3").backend);

        assert_all(&offered, &picked.collect(), "clause 3");
    }
}

/// Clause 3: many clients reach every backend, if no connection ends.
pub fn clause_3_no_backend_is_left_out_while_connections_last<B: LoadBalancer>(make: impl Fn() -> B) {
    for count in [1, 2, 3, 8] {
        let (balancer, service, offered) = (make(), service("web", "http"), numbered(0..count));

        let held: Vec<_> =
            clients(MANY).map(|client| pick(&balancer, &service, client, &offered, "clause 3")).collect();

        assert_all(&offered, &held.iter().map(|pick| pick.backend).collect(), "clause 3");
    }
}

/// Clause 3: a backend that is always offered gets connections, whatever happens to the others.
pub fn clause_3_a_backend_that_stays_is_not_left_out_among_others_that_come_and_go<B: LoadBalancer>(
    make: impl Fn() -> B,
) {
    // In each series, backend 5 is the one that stays; its place in the order changes.
    let series: [&[&[u16]]; 5] = [
        &[&[1, 5], &[5, 9]],
        &[&[5, 9], &[1, 5]],
        &[&[1, 2, 5], &[2, 5, 9], &[5, 8]],
        &[&[5, 8], &[1, 2, 3, 5], &[5, 6, 7], &[4, 5]],
        &[&[1, 5], &[2, 5], &[3, 5], &[4, 5], &[5, 6], &[5, 7], &[5, 8], &[5, 9]],
    ];
    for sets in series {
        let (balancer, service) = (make(), service("web", "http"));
        let sets: Vec<_> = sets.iter().map(|set| numbered(set.iter().copied())).collect();

        let picked: BTreeSet<_> = clients(MANY)
            .zip(sets.iter().cycle())
            .map(|(client, offered)| pick(&balancer, &service, client, offered, "clause 3").backend)
            .collect();

        assert!(picked.contains(&backend(5)), "clause 3: {:?} is left out of {sets:?}", backend(5));
    }
}

/// Clause 4: a service port's picks are the same, whether or not there are others.
pub fn clause_4_service_ports_do_not_disturb_each_other<B: LoadBalancer>(make: impl Fn() -> B) {
    let offered = numbered(0..5);
    let held =
        |balancer: &B, service: &ServicePort, client| pick(balancer, service, client, &offered, "clause 4");
    for service in services() {
        let (alone, among_others) = (make(), make());
        let (mut expected, mut found, mut others) = (Vec::new(), Vec::new(), Vec::new());

        for (turn, client) in clients(100).enumerate() {
            expected.push(held(&alone, &service, client));
            for (index, other) in services().iter().enumerate() {
                if *other != service && turn % (index + 1) == 0 {
                    others.push(held(&among_others, other, client));
                    among_others.forget(&self::service("gone", "http"));
                }
            }
            found.push(held(&among_others, &service, client));
        }

        assert_eq!(
            backends_of(&found),
            backends_of(&expected),
            "clause 4: other service ports changed what is picked for {service:?}"
        );
    }
}

/// Clause 5: a pick returns although no earlier connection has ended.
pub fn clause_5_a_pick_waits_for_no_connection<B: LoadBalancer>(make: impl Fn() -> B) {
    let balancer = make();

    in_time(move || {
        let (service, offered) = (service("web", "http"), numbered(0..2));
        let held: Vec<_> = clients(MANY)
            .flat_map(|client| [(client, "first"), (client, "second")])
            .map(|(client, _)| pick(&balancer, &service, client, &offered, "clause 5"))
            .collect();
        assert_eq!(held.len(), 2 * MANY as usize);
    });
}

/// Clause 5: threads that pick at the same time, and end each other's connections, all get answers.
pub fn clause_5_picks_come_from_several_threads<B: LoadBalancer>(make: impl Fn() -> B) {
    let balancer = Arc::new(make());
    let offered = numbered(0..4);
    let threads = 4;

    let shared = balancer.clone();
    in_time(move || {
        let all: BTreeSet<Backend> = thread::scope(|scope| {
            let (ended, to_end) = mpsc::sync_channel::<Pick>(64);
            let ends = scope.spawn(move || to_end.into_iter().for_each(drop));
            let picks: Vec<_> = (0..threads)
                .map(|thread| {
                    let (balancer, offered, ended) = (&shared, &offered, ended.clone());
                    scope.spawn(move || {
                        let service = services()[thread % 2].clone();
                        let mut seen = BTreeSet::new();
                        for client in clients(MANY) {
                            let pick = pick(&**balancer, &service, client, offered, "clause 5");
                            seen.insert(pick.backend);
                            ended.send(pick).expect("the other end lives as long");
                        }
                        seen
                    })
                })
                .collect();
            drop(ended);
            let seen = picks.into_iter().flat_map(|thread| thread.join().expect("no pick panics")).collect();
            ends.join().expect("no guard panics");
            seen
        });
        assert_all(&offered, &all, "clause 5: with several threads");
    });
    drop(balancer);
}

/// Clause 6: a backend that had many connections which all ended is like any other.
pub fn clause_6_connections_that_ended_do_not_count<B: LoadBalancer>(make: impl Fn() -> B) {
    let (balancer, service) = (make(), service("web", "http"));

    let held: Vec<_> = clients(2 * MANY)
        .map(|client| pick(&balancer, &service, client, &numbered(0..1), "clause 6"))
        .collect();
    drop(held);

    assert_balanced(&balancer, &service);
}

/// Clause 6: connections that end after their backend left are given back.
pub fn clause_6_connections_may_end_after_their_backend_left<B: LoadBalancer>(make: impl Fn() -> B) {
    let (balancer, service) = (make(), service("web", "http"));
    let (first, second) = (numbered(0..1), numbered(1..2));

    let held: Vec<_> =
        clients(2 * MANY).map(|client| pick(&balancer, &service, client, &first, "clause 6")).collect();
    for client in clients(10) {
        pick(&balancer, &service, client, &second, "clause 6");
    }
    drop(held);
    for client in clients(10) {
        pick(&balancer, &service, client, &second, "clause 6");
    }

    assert_balanced(&balancer, &service);
}

/// Clause 6: connections that outlast their backend's absence are given back once, and to it.
pub fn clause_6_connections_may_end_after_their_backend_left_and_came_back<B: LoadBalancer>(
    make: impl Fn() -> B,
) {
    let (balancer, service) = (make(), service("web", "http"));
    let (first, second, both) = (numbered(0..1), numbered(1..2), numbered(0..2));

    let held: Vec<_> =
        clients(2 * MANY).map(|client| pick(&balancer, &service, client, &first, "clause 6")).collect();
    for offered in [&second, &both] {
        for client in clients(10) {
            pick(&balancer, &service, client, offered, "clause 6");
        }
    }
    drop(held);

    assert_balanced(&balancer, &service);
}

/// Clause 6: connections that end after their service port was forgotten do no harm.
pub fn clause_6_connections_may_end_after_their_service_port_was_forgotten<B: LoadBalancer>(
    make: impl Fn() -> B,
) {
    let (balancer, service) = (make(), service("web", "http"));
    let first = numbered(0..1);

    let mut held: Vec<_> =
        clients(2 * MANY).map(|client| pick(&balancer, &service, client, &first, "clause 6")).collect();
    balancer.forget(&service);
    held.truncate(MANY as usize);
    for client in clients(10) {
        pick(&balancer, &service, client, &first, "clause 6");
    }
    drop(held);

    assert_balanced(&balancer, &service);
}

/// Clause 7: nothing that is picked for a service port tells that it was known, and forgotten, before.
pub fn clause_7_a_forgotten_service_port_starts_anew<B: LoadBalancer>(make: impl Fn() -> B) {
    let offered = numbered(0..5);
    let picks = |balancer: &B, service: &ServicePort, count| -> Vec<Pick> {
        clients(count).map(|client| pick(balancer, service, client, &offered, "clause 7")).collect()
    };
    for service in services() {
        for known in [1, 2, 3, 50] {
            let (fresh, used) = (make(), make());
            let earlier = picks(&used, &service, known);
            for client in clients(known) {
                pick(&used, &service, client, &numbered(3..9), "clause 7");
            }

            used.forget(&service);

            assert_eq!(
                backends_of(&picks(&used, &service, 100)),
                backends_of(&picks(&fresh, &service, 100)),
                "clause 7: something of {service:?} is remembered after {} picks",
                earlier.len()
            );
        }
    }
}

/// Checks that two backends both get some of many connections that last.
fn assert_balanced(balancer: &impl LoadBalancer, service: &ServicePort) {
    let both = numbered(0..2);
    // Other clients than before: a client may keep its backend.
    let others = (0..MANY).map(|number| IpAddr::V4(Ipv4Addr::from_bits((172 << 24) + number)));
    let held: Vec<_> = others.map(|client| pick(balancer, service, client, &both, "clause 6")).collect();

    assert_all(
        &both,
        &held.iter().map(|pick| pick.backend).collect(),
        "clause 6: when all earlier ones ended",
    );
}

#[track_caller]
fn pick(
    balancer: &impl LoadBalancer,
    service: &ServicePort,
    client: IpAddr,
    offered: &Backends,
    clause: &str,
) -> Pick {
    let picked = balancer.pick(&Connection { service, client }, offered);
    let picked = picked.unwrap_or_else(|| panic!("{clause}: nothing was picked of {offered:?}"));
    assert!(
        offered.as_slice().contains(&picked.backend),
        "{clause}: {:?} is not one of {offered:?}",
        picked.backend
    );
    picked
}

#[track_caller]
fn assert_all(offered: &Backends, picked: &BTreeSet<Backend>, clause: &str) {
    let left_out: Vec<_> = offered.as_slice().iter().filter(|backend| !picked.contains(*backend)).collect();
    assert!(left_out.is_empty(), "{clause}: {left_out:?} got none of many connections");
}

/// Runs `work` on a thread of its own, so that a balancer that blocks fails the test instead of hanging it.
#[track_caller]
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::sync_channel::<()>(1);
    let worker = thread::spawn(move || {
        work();
        drop(done);
    });
    match ended.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("clause 5: the balancer blocks"),
        _ => {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn backends_of(picks: &[Pick]) -> Vec<Backend> {
    picks.iter().map(|pick| pick.backend).collect()
}

/// Service ports that a balancer which does not look closely takes for one another.
fn services() -> Vec<ServicePort> {
    let port = |namespace: &str, name: &str, port: &str| ServicePort {
        namespace: namespace.into(),
        name: name.into(),
        port: port.into(),
    };
    vec![
        port("default", "web", "http"),
        port("default", "web", "https"),
        port("default", "web", ""),
        port("default", "webhttp", ""),
        port("other", "web", "http"),
    ]
}

fn service(name: &str, port: &str) -> ServicePort {
    ServicePort { namespace: "default".into(), name: name.into(), port: port.into() }
}

fn numbered(numbers: impl IntoIterator<Item = u16>) -> Backends {
    Backends::new(numbers.into_iter().map(backend))
}

fn backend(number: u16) -> Backend {
    let [high, low] = number.to_be_bytes();
    Backend(SocketAddr::from(([10, 1, high, low], 8080)))
}

/// Different clients: of both families, near and far from each other.
fn clients(count: u32) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|number| match number % 4 {
        0..3 => IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + (2 << 16) + number)),
        _ => IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) + (u128::from(number) << 64) + 1)),
    })
}
