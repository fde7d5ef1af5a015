use super::*;

const QUEUES: Queuing = Queuing { queues: 8, hand_size: 2, length: 3 };
const LONG: Duration = Duration::from_secs(15);

fn level(seats: usize) -> Arc<Level> {
    let mut level = Level::new(seats, Some(QUEUES));
    level.widest = seats;
    Arc::new(level)
}

fn seated(admitted: Admitted) -> Permit {
    match admitted {
        Admitted::Seated(permit) => permit,
        other => panic!("no seat: {other:?}"),
    }
}

fn queued(admitted: Admitted) -> Waiting {
    match admitted {
        Admitted::Queued(waiting) => waiting,
        other => panic!("no place in a queue: {other:?}"),
    }
}

fn in_use(level: &Level) -> (usize, usize) {
    let state = level.state();
    (state.in_use, state.wanted)
}

#[tokio::test]
async fn a_seat_that_comes_free_goes_to_who_waits() {
    let level = level(1);
    let first = seated(level.admit(1, 1));
    let waiting = queued(level.admit(1, 1));

    drop(first);

    assert!(waiting.wait(LONG).await.is_some());
    assert_eq!(in_use(&level), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused_and_leaves_no_trace() {
    let level = level(1);
    let first = seated(level.admit(1, 1));
    let waiting = queued(level.admit(1, 1));

    assert!(waiting.wait(LONG).await.is_none());

    assert_eq!(in_use(&level), (1, 0));
    drop(first);
    assert_eq!(in_use(&level), (0, 0));
}

#[tokio::test]
async fn dropped_requests_free_seats_and_places() {
    let level = level(1);
    let first = seated(level.admit(1, 1));
    let (in_queue, granted) = (queued(level.admit(1, 1)), queued(level.admit(2, 1)));

    drop(in_queue);
    assert_eq!(in_use(&level), (1, 1));
    drop(first);
    assert_eq!(in_use(&level), (1, 0));
    drop(granted);

    assert_eq!(in_use(&level), (0, 0));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let level = level(1);
    let _first = seated(level.admit(1, 1));
    let waiting: Vec<_> = (0..QUEUES.hand_size * QUEUES.length).map(|_| queued(level.admit(1, 1))).collect();

    assert!(matches!(level.admit(1, 1), Admitted::Refused));
    assert_eq!(waiting.len(), 6);
}

#[tokio::test]
async fn a_level_without_queues_refuses_at_once() {
    let level = Arc::new(Level::new(1, None));
    let _first = seated(level.admit(1, 1));

    assert!(matches!(level.admit(1, 1), Admitted::Refused));
}

#[tokio::test]
async fn a_flow_with_little_to_do_does_not_wait_behind_one_with_much() {
    let level = level(1);
    let mut seat = seated(level.admit(1, 1));
    let (flood, calm) = (1, (2..100).find(|flow| apart(*flow, 1)).unwrap());
    let mut served = Vec::new();
    let mut crowd: Vec<_> = (0..5).map(|_| (flood, queued(level.admit(flood, 1)))).collect();
    crowd.push((calm, queued(level.admit(calm, 1))));

    while !crowd.is_empty() {
        drop(seat);
        let next = crowd.iter_mut().position(|(_, waiting)| waiting.granted.try_recv().is_ok()).unwrap();
        let (flow, mut waiting) = crowd.remove(next);
        waiting.is_over = true;
        served.push(flow);
        let served = Some((waiting.queue, Instant::now()));
        seat = Permit { level: level.clone(), seats: 1, served, stream: None };
    }

    let place = served.iter().position(|flow| *flow == calm).unwrap();
    assert!(place <= 2, "served {place} others first: {served:?}");
}

fn apart(one: u64, other: u64) -> bool {
    let (one, other) = (hand(one, QUEUES), hand(other, QUEUES));
    one.iter().all(|queue| !other.contains(queue))
}

#[test]
fn a_hand_is_of_different_queues() {
    for flow in (0..1000).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let queuing = Queuing { queues: 64, hand_size: 6, length: 1 };
        let mut hand = hand(flow, queuing);
        assert!(hand.iter().all(|queue| *queue < 64));
        hand.sort_unstable();
        hand.dedup();
        assert_eq!(hand.len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_loses_its_seat_in_time() {
    let level = level(1);
    let slow = seated(level.admit(1, 1)).for_stream(Instant::now() + Duration::from_secs(60));

    tokio::time::advance(Duration::from_secs(59)).await;
    level.set_limit(1);
    assert_eq!(in_use(&level), (1, 0));
    tokio::time::advance(Duration::from_secs(1)).await;
    level.set_limit(1);
    assert_eq!(in_use(&level), (0, 0));

    drop(slow);
    assert_eq!(in_use(&level), (0, 0));
}

#[tokio::test]
async fn a_wide_request_takes_its_seats_together() {
    let level = level(4);
    let one = seated(level.admit(1, 1));
    let wide = queued(level.admit(2, 4));
    let small = queued(level.admit(3, 1));
    assert_eq!(in_use(&level), (1, 5));

    drop(one);

    let wide = wide.wait(LONG).await.unwrap();
    assert_eq!(in_use(&level), (4, 1));
    drop(wide);
    assert!(small.wait(LONG).await.is_some());
}
