//! A pod's worker: one task per pod, which does one thing after the other until the pod is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use quarterdeck_core::client::EventType::Warning;
use quarterdeck_core::clock::later;
use quarterdeck_core::runtime::{PodStatus, PodUid, RuntimeError};
use tokio::time::Instant;

use super::container::field;
use super::image::Pulls;
use super::mailbox::Mailbox;
use super::plan::{Hold, Holds, Step, Waiting, full_name, is_finished, plan};
use super::probes::{Probes, Verdict};
use super::status::{Facts, Phase};
use super::view::View;
use super::{admission, remembered, report, sandbox};
use crate::env;
use crate::figures::PodFigures;
use crate::host::{Host, chain};
use crate::volumes::Volumes;

/// How long to wait before something is tried again that is neither a crash nor a pull.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// How long to wait before a status is written again that the API server did not take.
const REPORT_RETRY: Duration = Duration::from_secs(1);

/// Works on one pod.
pub(super) struct Worker {
    pub(super) host: Arc<Host>,
    pub(super) uid: PodUid,
    pub(super) mailbox: Mailbox,
    /// The pod as the API has it, as far as is known.
    pub(super) pod: Arc<Pod>,
    pub(super) view: View,
    pub(super) holds: Holds,
    pub(super) pulls: Pulls,
    pub(super) volumes: Volumes,
    pub(super) probes: Probes,
    /// Containers that have to be restarted, by what their probes say.
    pub(super) failing: Vec<Verdict>,
    /// The pod as a whole is not tried again before this time.
    held_until: Option<Timestamp>,
    /// The attempt of each container whose last words were looked for.
    pub(super) explained: BTreeMap<String, u32>,
    /// Why containers wait, by the last plan.
    waiting: BTreeMap<String, Waiting>,
    /// Why the pod as a whole failed: reason and message.
    failed: Option<(String, String)>,
    /// What the pod asks for that the agent cannot do; it is told once.
    refused: Option<String>,
    pub(super) is_ending: bool,
    pub(super) is_finished: bool,
    /// What is there of it.
    figures: PodFigures,
    /// Since when the pod waits to run, if it does.
    awaited: Option<Instant>,
}

impl Worker {
    /// Makes a worker of a pod, of which the runtime may hold something already.
    pub(super) fn new(host: Arc<Host>, mailbox: Mailbox, pod: Arc<Pod>, held: Option<PodStatus>) -> Self {
        let uid = PodUid::new(pod.metadata.uid.clone().unwrap_or_default());
        let mut view = held.map(View::of).unwrap_or_default();
        for attempt in remembered::attempts(&pod, host.context.clock.now()) {
            if view.newest(&attempt.name).is_none() {
                view.put(attempt);
            }
        }
        let volumes = Volumes::new(&host, &pod);
        Self {
            figures: PodFigures::new(host.figures.clone()),
            awaited: (Phase::of(&pod) == Phase::Pending).then(Instant::now),
            host,
            uid,
            mailbox,
            pod,
            view,
            holds: Holds::default(),
            pulls: Pulls::default(),
            volumes,
            probes: Probes::default(),
            failing: Vec::new(),
            held_until: None,
            explained: BTreeMap::new(),
            waiting: BTreeMap::new(),
            failed: None,
            refused: None,
            is_ending: false,
            is_finished: false,
        }
    }

    /// Works until the pod is gone.
    pub(super) async fn run(mut self) -> PodUid {
        let mut operation = "create";
        loop {
            let (news, began) = (self.mailbox.take(), Instant::now());
            if let Some(pod) = news.pod {
                self.adopt(pod);
                operation = if operation == "create" { operation } else { "update" };
            }
            for event in &news.events {
                if self.view.apply(event) {
                    self.refresh().await;
                }
            }
            if news.refresh {
                self.refresh().await;
            }
            self.explain_ends().await;
            let failing = news.verdicts.into_iter().filter(|verdict| self.probes.learn(verdict));
            self.failing.extend(failing.collect::<Vec<_>>());
            if news.is_gone || news.end_within.is_some() || self.pod.metadata.deletion_timestamp.is_some() {
                self.terminate().await;
                self.host.figures.worked("kill", began.elapsed());
                return self.uid;
            }
            let mailbox = self.mailbox.clone();
            let until = tokio::select! {
                biased;
                () = mailbox.urgent() => continue,
                until = self.sync() => until,
            };
            self.host.figures.worked(operation, began.elapsed());
            operation = "sync";
            self.figures.set(self.view.tally());
            tokio::select! {
                biased;
                () = mailbox.changed() => {}
                () = sleep(until) => {}
            }
        }
    }

    /// Takes over a newer state of the pod.
    fn adopt(&mut self, pod: Arc<Pod>) {
        let version =
            |pod: &Pod| pod.metadata.resource_version.as_ref().and_then(|text| text.parse::<u64>().ok());
        // A watch may lag behind what a write answered.
        if version(&pod).zip(version(&self.pod)).is_none_or(|(new, old)| new >= old) {
            self.pod = pod;
        }
    }

    /// Looks at what runs anew. While the runtime does not answer, the last known state stays.
    pub(super) async fn refresh(&mut self) {
        match self.host.runtime.pods().await {
            Ok(pods) => self.view.refresh(pods.into_iter().find(|pod| pod.uid == self.uid)),
            Err(error) => {
                tracing::warn!(pod = %self.uid, error = chain(&error), "cannot look at a pod");
                self.mailbox.put(|news| news.refresh = true);
            }
        }
    }

    /// Does whatever can be done now. Returns how long to wait for news.
    async fn sync(&mut self) -> Option<Duration> {
        if self.refuses().await || self.is_overdue() || Phase::of(&self.pod).is_final() {
            return self.wind_up().await;
        }
        self.end_failing().await;
        loop {
            let now = self.host.context.clock.now();
            self.watch_containers();
            if let Some(until) = self.held_until.filter(|until| *until > now) {
                return self.tell(Some(until)).await;
            }
            let pod = self.pod.clone();
            let plan = plan(&pod, &self.view, &self.holds, now);
            self.tell_of_crashes(&plan.waiting);
            self.waiting = plan.waiting;
            match plan.step {
                Step::Finished => return self.wind_up().await,
                Step::Wait => {
                    let until = [plan.until, self.volumes.due(), self.deadline()].into_iter().flatten().min();
                    self.refresh_volumes(now).await;
                    return self.tell(until).await;
                }
                Step::Sandbox => {
                    self.tell(None).await;
                    self.start_sandbox().await;
                }
                Step::Start { container, attempt } => {
                    self.start_container(container, attempt).await;
                }
            }
        }
    }

    /// Tells of containers that wait since they ended.
    fn tell_of_crashes(&self, waiting: &BTreeMap<String, Waiting>) {
        for (name, why) in waiting.iter().filter(|(_, why)| why.reason == "CrashLoopBackOff") {
            if self.waiting.get(name) != Some(why) {
                let message =
                    format!("Back-off restarting failed container {name} in pod {}", full_name(&self.pod));
                let field = field(&self.pod, name);
                self.host.tell_of_container(&self.pod, &field, (Warning, "BackOff"), message);
            }
        }
    }

    /// Stops what still runs of a pod that is done, and says so.
    async fn wind_up(&mut self) -> Option<Duration> {
        let alive = self.view.alive().next().is_some();
        if alive {
            let grace =
                self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            self.stop_containers(Duration::from_secs(u64::try_from(grace).unwrap_or_default())).await;
        }
        self.is_finished = self.refused.is_none();
        self.waiting.clear();
        self.tell(None).await
    }

    /// Returns whether the pod asks for what the agent cannot do, after telling why.
    async fn refuses(&mut self) -> bool {
        if self.refused.is_none() && !self.view.is_held {
            let unsupported = admission::unsupported(&self.pod, self.host.can_probe());
            if !unsupported.is_empty() {
                let message = unsupported.join("; ");
                self.host.tell(&self.pod, Warning, "Unsupported", message.clone());
                self.refused = Some(message);
            }
        }
        self.refused.is_some()
    }

    /// Returns when the pod has run for as long as it may.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let started = self.pod.status.as_ref()?.start_time.as_ref()?;
        Some(later(started.0, SignedDuration::from_secs(seconds)))
    }

    fn is_overdue(&mut self) -> bool {
        let is_overdue = self.deadline().is_some_and(|deadline| deadline <= self.host.context.clock.now());
        if is_overdue && self.failed.is_none() && !Phase::of(&self.pod).is_final() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.host.tell(
                &self.pod,
                quarterdeck_core::client::EventType::Normal,
                "DeadlineExceeded",
                message.clone(),
            );
            self.failed = Some(("DeadlineExceeded".to_owned(), message));
        }
        is_overdue
    }

    /// Makes volumes and sandbox. On failure the pod waits.
    async fn start_sandbox(&mut self) {
        let pod = self.pod.clone();
        if let Err(problem) = self.volumes.set_up(&self.host, &pod, &[]).await {
            let message =
                format!("MountVolume.SetUp failed for volume {:?} : {}", problem.volume, problem.message);
            self.host.tell(&pod, Warning, "FailedMount", message);
            return self.hold();
        }
        let sandbox = sandbox::sandbox(&pod, self.host.cluster_dns.as_ref());
        let started = match sandbox {
            Ok(sandbox) => self.host.runtime.start_pod(&sandbox).await,
            Err(what) => Err(RuntimeError::Unsupported { what }),
        };
        match started {
            Ok(status) => {
                self.host.figures.started_pod(true);
                self.view.renew_sandbox(&status);
                self.held_until = None;
                self.holds.containers.clear();
            }
            Err(RuntimeError::Unsupported { what }) => {
                self.host.tell(&pod, Warning, "Unsupported", what.clone());
                self.refused = Some(what);
                self.hold();
            }
            Err(error) => {
                self.host.figures.started_pod(false);
                let message = format!("Failed to create pod sandbox: {}", chain(&error));
                self.host.tell(&pod, Warning, "FailedCreatePodSandBox", message);
                self.hold();
            }
        }
    }

    fn hold(&mut self) {
        self.held_until = Some(self.host.context.clock.now() + RETRY);
    }

    /// Has a container wait before it is tried again.
    pub(super) fn hold_container(
        &mut self,
        name: &str,
        reason: &str,
        message: String,
        until: Option<Timestamp>,
    ) {
        let waiting = Waiting { reason: reason.to_owned(), message };
        let until = until.unwrap_or_else(|| self.host.context.clock.now() + RETRY);
        self.holds.containers.insert(name.to_owned(), Hold { until, waiting });
    }

    async fn refresh_volumes(&mut self, now: Timestamp) {
        if self.volumes.due().is_some_and(|due| due <= now) {
            self.make_volumes().await;
        }
    }

    /// Makes the volumes, or brings them up to date. Returns whether that worked; if not, users were told.
    pub(super) async fn make_volumes(&mut self) -> bool {
        let ips = self.view.sandbox.as_ref().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        match self.volumes.set_up(&self.host, &self.pod, &ips).await {
            Ok(()) => true,
            Err(problem) => {
                let message =
                    format!("MountVolume.SetUp failed for volume {:?} : {}", problem.volume, problem.message);
                self.host.tell(&self.pod, Warning, "FailedMount", message);
                false
            }
        }
    }

    /// Writes the status if the API does not have it. Returns how long to wait for `until`.
    pub(super) async fn tell(&mut self, until: Option<Timestamp>) -> Option<Duration> {
        let runtime = self.host.runtime_name();
        let status = self.facts(&runtime).status();
        if status.phase.as_deref() == Some("Running")
            && let Some(since) = self.awaited.take()
        {
            self.host.figures.runs(since.elapsed());
        }
        let now = self.host.context.clock.now();
        let wait = until.map(|until| until.duration_since(now).try_into().unwrap_or(Duration::ZERO));
        match report::report(&self.host, &self.pod, &status).await {
            Ok(Some(pod)) => self.adopt(Arc::new(pod)),
            Ok(None) => {}
            Err(error) if self.is_of_the_past(&error) => {
                tracing::debug!(pod = %self.uid, %error, "a pod was gone before its status was written");
            }
            Err(error) => {
                tracing::warn!(pod = %self.uid, error = chain(&error), "cannot write a pod's status");
                return Some(wait.unwrap_or(REPORT_RETRY).min(REPORT_RETRY));
            }
        }
        wait
    }

    /// Returns whether a refusal says that the API does not have the pod any more.
    pub(super) fn is_of_the_past(&self, error: &kube::Error) -> bool {
        let meta = &self.pod.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let is_there = self.host.pod(namespace, name).is_some_and(|pod| pod.metadata.uid == meta.uid);
        match error {
            kube::Error::Api(status) if status.is_not_found() => true,
            // The uid is another one; or, of a pod that is gone, nobody knows whose it was.
            kube::Error::Api(status) => (status.is_conflict() || status.is_forbidden()) && !is_there,
            _ => false,
        }
    }

    fn facts<'a>(&'a self, runtime: &'a str) -> Facts<'a> {
        Facts {
            pod: &self.pod,
            view: &self.view,
            waiting: &self.waiting,
            refused: self.refused.as_deref(),
            probed: &self.probes.known,
            runtime,
            node: &self.host.addresses,
            failed: self.failed.as_ref(),
            is_ending: self.is_ending,
            is_finished: self.is_finished || is_finished(&self.pod, &self.view),
            now: self.host.context.clock.now(),
        }
    }

    /// Returns what the pod's containers may know of it.
    pub(super) fn known<'a>(
        &'a self,
        pod: &'a Pod,
        machine: Option<&'a quarterdeck_core::runtime::Machine>,
    ) -> env::Facts<'a> {
        let uses_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let own = self.view.sandbox.as_ref().map(|sandbox| sandbox.ips.as_slice()).unwrap_or_default();
        let ips = if uses_host { &self.host.addresses } else { own };
        env::Facts { pod, ips, node: &self.host.addresses, machine }
    }
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
