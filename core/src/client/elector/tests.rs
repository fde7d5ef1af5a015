use super::*;
use crate::client::fake::FakeApi;

fn elector(api: &FakeApi, identity: &str) -> LeaseElector {
    LeaseElector::new(&api.context(), LeaseSettings::new("kube-system", "scheduler", identity))
}

fn holder(api: &FakeApi) -> String {
    api.list("leases")[0]["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

async fn until_stopped(mut stop: Stop) {
    stop.wait().await;
}

#[tokio::test(start_paused = true)]
async fn the_second_begins_soon_after_the_first_released() {
    let api = FakeApi::default();
    let (first_signal, first) = Stop::channel();
    let (second_signal, second) = Stop::channel();

    let (one, two, ()) = tokio::join!(
        elector(&api, "one").run(first, until_stopped),
        elector(&api, "two").run(second, until_stopped),
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(holder(&api), "one");
            first_signal.stop();
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(holder(&api), "two");
            second_signal.stop();
        }
    );

    assert!(matches!((one, two), (Ok(Some(())), Ok(Some(())))));
    assert_eq!(holder(&api), "");
    assert_eq!(api.list("leases")[0]["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_is_followed_after_the_lease_duration() {
    let api = FakeApi::default();
    let (_signal, stop) = Stop::channel();
    let killed = elector(&api, "one").run(stop.clone(), until_stopped);
    assert!(tokio::time::timeout(Duration::from_secs(20), killed).await.is_err());

    let start = Instant::now();
    let began = elector(&api, "two").run(stop, async |_| start.elapsed()).await.unwrap().unwrap();

    assert!((15..18).contains(&began.as_secs()), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
    let api = FakeApi::default();
    let (_signal, stop) = Stop::channel();
    let start = Instant::now();

    let (end, ()) = tokio::join!(elector(&api, "one").run(stop, until_stopped), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        api.down(true);
    });

    assert!(end.is_err());
    assert!((14..=15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

/// Returns how long a leader of these times leads, in seconds, while `meanwhile` happens.
async fn led(api: &FakeApi, [lease, deadline, retry]: [u64; 3], meanwhile: impl Future<Output = ()>) -> u64 {
    let seconds = Duration::from_secs;
    let settings = LeaseSettings::new("kube-system", "scheduler", "one");
    let settings = settings.times(seconds(lease), seconds(deadline), seconds(retry));
    let (_signal, stop) = Stop::channel();
    let start = Instant::now();

    let elector = LeaseElector::new(&api.context(), settings);
    let (end, ()) = tokio::join!(elector.run(stop, until_stopped), meanwhile);

    assert!(end.is_err(), "it was not stopped");
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_leader_counts_from_when_it_asked_to_renew_and_not_from_the_answer() {
    let api = FakeApi::default();

    let led = led(&api, [10, 7, 2], async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Asked for at 2, written at 4.4, told at 6.8.
        api.answer_late(Duration::from_millis(2400));
        tokio::time::sleep(Duration::from_secs(4)).await;
        api.down(true);
    });

    assert_eq!(led.await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_leader_ends_at_its_deadline_though_it_would_try_again_only_later() {
    let api = FakeApi::default();

    let led = led(&api, [10, 9, 8], async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.down(true);
    });

    assert_eq!(led.await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_leader_ends_as_soon_as_it_reads_another_ones_name() {
    let api = FakeApi::default();

    let led = led(&api, [15, 10, 2], async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut lease = api.list("leases").remove(0);
        lease["spec"]["holderIdentity"] = "two".into();
        api.put("leases", "kube-system", "scheduler", lease);
    });

    assert_eq!(led.await, 6);
    assert_eq!(holder(&api), "two");
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_given_the_time_that_it_asked_for_itself() {
    let api = FakeApi::default();
    let (_signal, stop) = Stop::channel();
    let seconds = Duration::from_secs;
    let settings = LeaseSettings::new("kube-system", "scheduler", "one");
    let killed = LeaseElector::new(&api.context(), settings.times(seconds(60), seconds(40), seconds(2)));
    assert!(tokio::time::timeout(seconds(1), killed.run(stop.clone(), until_stopped)).await.is_err());

    let start = Instant::now();
    let began = elector(&api, "two").run(stop, async |_| start.elapsed()).await.unwrap().unwrap();

    assert!((60..63).contains(&began.as_secs()), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_outlives_a_server_that_hangs() {
    let api = FakeApi::default();
    let (_signal, stop) = Stop::channel();
    api.hang(true);
    let start = Instant::now();

    let (began, ()) = tokio::join!(elector(&api, "one").run(stop, async |_| start.elapsed()), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        api.hang(false);
    });

    assert_eq!(began.unwrap().unwrap().as_secs(), 12);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_can_be_stopped() {
    let api = FakeApi::default();
    let (_signal, stop) = Stop::channel();
    let (second_signal, second) = Stop::channel();
    let (mut lead, mut wait) = (
        std::pin::pin!(elector(&api, "one").run(stop, until_stopped)),
        std::pin::pin!(elector(&api, "two").run(second, until_stopped)),
    );
    let both = async {
        tokio::select! { biased; _ = &mut lead => panic!("it led"), end = &mut wait => end }
    };

    let (end, ()) = tokio::join!(both, async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        second_signal.stop();
    });

    assert!(matches!(end, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn whoever_leads_is_known_to_collectors() {
    let api = FakeApi::default();
    let context = api.context();
    let (signal, stop) = Stop::channel();
    let elector = LeaseElector::new(&context, LeaseSettings::new("kube-system", "scheduler", "one"));
    let told = || context.metrics.answer(None).text.lines().last().unwrap().to_owned();

    let before = told();
    let (_, during) = tokio::join!(elector.run(stop, until_stopped), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let during = told();
        signal.stop();
        during
    });

    assert_eq!(before, "leader_election_master_status{name=\"scheduler\"} 0");
    assert_eq!(during, "leader_election_master_status{name=\"scheduler\"} 1");
    assert_eq!(told(), before);
}
