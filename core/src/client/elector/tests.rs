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
