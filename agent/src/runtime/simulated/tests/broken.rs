//! For each clause a runtime that breaks it, and proof that the suite notices.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use quarterdeck_core::runtime::{
    ContainerState, Credentials, EventKind, Events, Image, Images, LogChunks, PodStatus, RuntimeInfo, Started,
};
use quarterdeck_core::testing::runtime as suite;

use super::*;

/// What a broken runtime does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    StartsPodsAgain,
    RunsAttemptsAgain,
    SharesAddresses,
    StartsPodsUnasked,
    ReplacesAttempts,
    LeavesOutWhatItCannot,
    InventsCodes,
    DoesNotStop,
    KillsAtOnce,
    WaitsForTheLongerGrace,
    StopsInsteadOfRemoving,
    ForgetsTheDead,
    KeepsAllTheDead,
    SwallowsStarts,
    TellsTwice,
    ForgetsPods,
    RestartsContainers,
    HalfStarts,
    PullsElsewhere,
    PullsWhenAsked,
    TakesAnyImage,
    LosesLogsOfTheDead,
    EndsFollowersEarly,
    IgnoresTail,
    IgnoresTimestamps,
    ShowsEmptyLogs,
    PullsOnce,
    WaitsForReaders,
}

#[derive(Debug)]
struct Broken {
    node: SimulatedRuntime,
    fault: Fault,
    /// Attempts whose start was begun and not ended.
    half: Mutex<Vec<ContainerKey>>,
}

struct BrokenFixture(Arc<Broken>);

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        Self(Arc::new(Broken { node: Simulation::new().0, fault, half: Mutex::default() }))
    }
}

#[async_trait]
impl Fixture for BrokenFixture {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.0.clone()
    }

    async fn restart(&mut self, pause: Duration) {
        let node = match self.0.fault {
            Fault::ForgetsPods => Simulation::new().0,
            Fault::RestartsContainers => {
                let node = self.0.node.clone();
                for pod in node.pods().await.unwrap() {
                    node.crash(&pod.uid, "runs");
                    let spec = ContainerSpec { name: "runs".into(), attempt: 1, ..acting(Act::Run) };
                    node.start_container(&pod.uid, &spec).await.unwrap();
                }
                node
            }
            _ => self.0.node.clone(),
        };
        self.0 = Arc::new(Broken { node, fault: self.0.fault, half: Mutex::default() });
        tokio::time::sleep(pause).await;
    }

    fn container(&self, act: Act) -> ContainerSpec {
        acting(act)
    }

    fn unsupported(&self) -> Option<ContainerSpec> {
        Some(refused())
    }

    fn images(&self) -> ImageNames {
        ImageNames { impossible: Some("impossible".to_owned()), ..image_names() }
    }
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Ends an attempt and starts another in its place, under a name that nobody asked for.
    async fn run_again(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        self.node.stop_container(&spec.key(pod), Duration::ZERO).await?;
        let next = ContainerSpec { attempt: spec.attempt + 1, ..spec.clone() };
        self.node.start_container(pod, &next).await
    }

    fn tell(&self, pods: &mut Vec<PodStatus>) {
        for pod in pods {
            match self.fault {
                Fault::SharesAddresses => pod.ips = vec!["10.0.0.1".parse().unwrap()],
                Fault::ForgetsTheDead => {
                    let newest: Vec<_> = pod.containers.iter().map(|c| (c.name.clone(), c.attempt)).collect();
                    pod.containers.retain(|c| {
                        !newest.iter().any(|(name, attempt)| *name == c.name && *attempt > c.attempt)
                    });
                }
                Fault::KeepsAllTheDead => {
                    let dead = pod.containers.iter().find(|c| c.attempt == 1 && c.exit().is_some()).cloned();
                    pod.containers.splice(
                        0..0,
                        dead.map(|dead| quarterdeck_core::runtime::ContainerStatus { attempt: 0, ..dead }),
                    );
                }
                Fault::WaitsForReaders => {
                    let read = self.half.lock().unwrap().clone();
                    for container in &mut pod.containers {
                        let key =
                            ContainerKey::new(pod.uid.clone(), container.name.clone(), container.attempt);
                        if read.contains(&key) {
                            container.state = ContainerState::Created;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

#[async_trait]
impl Runtime for Broken {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.node.info().await
    }

    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        let mut pods = self.node.pods().await?;
        self.tell(&mut pods);
        Ok(pods)
    }

    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        if self.has(Fault::StartsPodsAgain) {
            self.node.lose_pod(&pod.uid);
        }
        self.node.start_pod(pod).await
    }

    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        let held = self.node.state().container(&spec.key(pod)).is_some();
        if held && self.has(Fault::RunsAttemptsAgain) {
            return self.run_again(pod, spec).await;
        }
        if self.has(Fault::StartsPodsUnasked) {
            self.node.start_pod(&PodSandbox { uid: pod.clone(), ..PodSandbox::default() }).await?;
        }
        if self.has(Fault::HalfStarts) {
            if self.half.lock().unwrap().contains(&spec.key(pod)) {
                return Err(RuntimeError::Conflict { container: spec.key(pod), held: spec.attempt });
            }
            self.half.lock().unwrap().push(spec.key(pod));
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.half.lock().unwrap().retain(|half| *half != spec.key(pod));
        }
        match self.node.start_container(pod, spec).await {
            Err(RuntimeError::Conflict { held, .. }) if self.has(Fault::ReplacesAttempts) => {
                self.node
                    .stop_container(&ContainerKey::new(pod.clone(), spec.name.clone(), held), Duration::ZERO)
                    .await?;
                self.node.start_container(pod, spec).await
            }
            Err(RuntimeError::Unsupported { .. }) if self.has(Fault::LeavesOutWhatItCannot) => {
                self.node.start_container(pod, &ContainerSpec { command: Vec::new(), ..spec.clone() }).await
            }
            started => started,
        }
    }

    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        match self.fault {
            Fault::DoesNotStop => Ok(()),
            Fault::KillsAtOnce => self.node.stop_container(container, Duration::ZERO).await,
            Fault::WaitsForTheLongerGrace => {
                let stopping = self.half.lock().unwrap().contains(container);
                if stopping {
                    std::future::pending::<()>().await;
                }
                self.half.lock().unwrap().push(container.clone());
                let stopped = self.node.stop_container(container, grace).await;
                self.half.lock().unwrap().retain(|stopping| stopping != container);
                stopped
            }
            _ => self.node.stop_container(container, grace).await,
        }
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        if self.has(Fault::StopsInsteadOfRemoving) {
            self.node.lose_pod(pod);
            return Ok(());
        }
        self.node.remove_pod(pod).await
    }

    async fn events(&self) -> Result<Events, RuntimeError> {
        let events = self.node.events().await?;
        let fault = self.fault;
        Ok(events
            .flat_map(move |mut event| {
                let mut times = 1;
                if let Ok(event) = &mut event {
                    match (&mut event.kind, fault) {
                        (EventKind::Started { .. }, Fault::SwallowsStarts) => times = 0,
                        (EventKind::Exited { .. }, Fault::TellsTwice) => times = 2,
                        (EventKind::Exited { exit, .. }, Fault::InventsCodes) => exit.exit_code = Some(0),
                        _ => {}
                    }
                }
                let copy = event.as_ref().ok().cloned().map(Ok);
                futures::stream::iter([Some(event), copy].into_iter().flatten().take(times))
            })
            .boxed())
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        Some(self)
    }
}

#[async_trait]
impl Images for Broken {
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        if image == "impossible" && !self.has(Fault::TakesAnyImage) {
            return Err(RuntimeError::unsupported("this image"));
        }
        if self.has(Fault::PullsWhenAsked) {
            return Ok(Some(super::super::builder::found(image)));
        }
        self.node.present(image).await
    }

    async fn pull(&self, image: &str, credentials: Option<&Credentials>) -> Result<Image, RuntimeError> {
        if image == "impossible" {
            return Err(RuntimeError::unsupported("this image"));
        }
        if self.has(Fault::PullsElsewhere) {
            return Ok(super::super::builder::found(image));
        }
        if self.has(Fault::PullsOnce) {
            let key = ContainerKey::new(PodUid::new(""), image, 0);
            if self.half.lock().unwrap().contains(&key) {
                return Err(RuntimeError::Unavailable("it is being pulled already".into()));
            }
            self.half.lock().unwrap().push(key);
        }
        self.node.pull(image, credentials).await
    }
}

#[async_trait]
impl Logs for Broken {
    async fn open(
        &self,
        container: &ContainerKey,
        mut options: LogOptions,
    ) -> Result<LogChunks, RuntimeError> {
        match self.fault {
            Fault::EndsFollowersEarly => options.follow = false,
            Fault::IgnoresTail => options.tail = None,
            Fault::WaitsForReaders if options.follow => self.half.lock().unwrap().push(container.clone()),
            Fault::IgnoresTimestamps => options.timestamps = false,
            Fault::LosesLogsOfTheDead if exit_of(&self.node, container).await.is_some() => {
                return Ok(futures::stream::empty().boxed());
            }
            Fault::ShowsEmptyLogs if self.node.state().container(container).is_none() => {
                return Ok(futures::stream::empty().boxed());
            }
            _ => {}
        }
        self.node.open(container, options).await
    }
}

/// Runs a clause on a runtime with this fault, and checks that it does not hold.
async fn catches(fault: Fault, clause: impl for<'a> FnOnce(&'a mut dyn Fixture) -> BoxFuture<'a, ()>) {
    let mut fixture = BrokenFixture::new(fault);

    let outcome = std::panic::AssertUnwindSafe(clause(&mut fixture)).catch_unwind().await;

    let panic = outcome.expect_err("the suite did not notice");
    let message = panic.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    eprintln!("caught {fault:?}: {}", message.unwrap_or_default());
}

macro_rules! catches {
    ($($test:ident: $fault:ident by $clause:ident;)+) => {$(
        #[tokio::test(start_paused = true)]
        async fn $test() {
            catches(Fault::$fault, |f| Box::pin(suite::$clause(f))).await;
        }
    )+};
}

catches! {
    a_pod_started_again_is_caught: StartsPodsAgain by clause_1_starting_is_idempotent;
    an_attempt_run_again_is_caught: RunsAttemptsAgain by clause_1_starting_is_idempotent;
    a_shared_address_is_caught: SharesAddresses by clause_2_pods_have_addresses;
    a_container_without_a_pod_is_caught: StartsPodsUnasked by clause_3_containers_need_their_pod;
    a_replaced_attempt_is_caught: ReplacesAttempts by clause_4_one_attempt_at_a_time;
    a_container_without_what_it_asked_for_is_caught: LeavesOutWhatItCannot by clause_5_what_it_cannot_do_it_refuses;
    an_invented_code_is_caught: InventsCodes by clause_6_ends_are_told_as_they_were;
    a_stop_that_does_not_stop_is_caught: DoesNotStop by clause_7_a_stop_stops;
    a_stop_without_grace_is_caught: KillsAtOnce by clause_7_a_stop_stops;
    a_stop_with_the_longer_grace_is_caught: WaitsForTheLongerGrace by clause_7_a_stop_stops;
    a_pod_that_stays_is_caught: StopsInsteadOfRemoving by clause_8_removal_is_whole;
    a_forgotten_attempt_is_caught: ForgetsTheDead by clause_9_the_last_dead_attempt_stays;
    a_pile_of_attempts_is_caught: KeepsAllTheDead by clause_9_the_last_dead_attempt_stays;
    a_start_that_is_not_told_is_caught: SwallowsStarts by clause_10_events_have_no_gap;
    an_end_that_is_told_twice_is_caught: TellsTwice by clause_10_events_have_no_gap;
    a_forgotten_pod_is_caught: ForgetsPods by clause_11_pods_outlive_the_value;
    a_restarted_container_is_caught: RestartsContainers by clause_11_pods_outlive_the_value;
    a_half_start_is_caught: HalfStarts by clause_12_a_dropped_future_abandons_the_wait;
    an_image_pulled_elsewhere_is_caught: PullsElsewhere by images_clause_1_pulled_is_present;
    an_image_pulled_unasked_is_caught: PullsWhenAsked by images_clause_2_absent_is_none;
    an_impossible_image_is_caught: TakesAnyImage by images_clause_3_impossible_is_refused;
    a_pull_that_is_not_repeated_is_caught: PullsOnce by images_clause_4_a_dropped_pull_can_be_repeated;
    a_lost_log_is_caught: LosesLogsOfTheDead by logs_clause_1_what_was_written_is_readable;
    a_follower_that_ends_early_is_caught: EndsFollowersEarly by logs_clause_2_follow_ends_with_the_container;
    an_ignored_tail_is_caught: IgnoresTail by logs_clause_3_tail_counts_lines;
    ignored_timestamps_are_caught: IgnoresTimestamps by logs_clause_4_options_are_kept_or_refused;
    a_container_that_waits_for_its_reader_is_caught: WaitsForReaders by logs_clause_5_a_reader_that_rests_holds_nothing_up;
    an_empty_log_of_nothing_is_caught: ShowsEmptyLogs by logs_clause_6_what_is_not_held_has_no_log;
}
