//! What a worker does about the probes of its containers, and about how they ended.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Container;
use quarterdeck_core::client::EventType::Normal;
use quarterdeck_core::runtime::{ContainerKey, LogOptions};

use super::container::field;
use super::plan::{init_containers, main_containers};
use super::probes::{self, Purpose, Subject, Target, Verdict};
use super::worker::Worker;
use crate::host::chain;

/// How much of its log explains the end of a container that asks for that: lines, and bytes.
const EXPLANATION: (u64, usize) = (80, 2048);

impl Worker {
    /// Probes the containers that run and have probes, and no others.
    pub(super) fn watch_containers(&mut self) {
        let pod = self.pod.clone();
        for container in init_containers(&pod).iter().chain(main_containers(&pod)) {
            if !probes::has_any(container) {
                continue;
            }
            match self.subject(container) {
                Some(subject) => self.probes.watch(&self.host, &self.mailbox, subject),
                None => self.probes.forget(&container.name),
            }
        }
        let starting = self.probes.known.iter().filter(|(_, known)| !known.started);
        self.holds.starting = starting.map(|(name, _)| name.clone()).collect();
    }

    fn subject(&self, container: &Container) -> Option<Subject> {
        let newest = self.view.newest(&container.name).filter(|newest| newest.is_running())?;
        let sandbox = self.view.sandbox.as_ref()?;
        let address = sandbox.ips.first().or(self.host.addresses.first()).copied();
        let status = self.pod.status.as_ref();
        let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
        let mut known = lists.into_iter().flatten().flatten().flatten();
        let is_it = |id: &String| id.split_once("://").is_some_and(|(_, id)| id == newest.id);
        let was_ready = known.any(|known| known.ready && known.container_id.as_ref().is_some_and(is_it));
        Some(Subject {
            pod: self.pod.clone(),
            container: container.clone(),
            attempt: newest.attempt,
            target: Target {
                address: address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()),
                map: sandbox.ports.clone(),
            },
            was_ready,
        })
    }

    /// Ends the containers that have to be restarted; the next plan starts them again, if their policy says so.
    pub(super) async fn end_failing(&mut self) {
        while let Some(verdict) = self.failing.first().cloned() {
            let Verdict { container: name, attempt, purpose, .. } = &verdict;
            if self.view.newest(name).is_some_and(|newest| newest.is_running() && newest.attempt == *attempt)
            {
                let kind = purpose.as_str().to_lowercase();
                let message = format!("Container {name} failed {kind} probe, will be restarted");
                self.host.tell_of_container(&self.pod, &field(&self.pod, name), (Normal, "Killing"), message);
                let key = ContainerKey::new(self.uid.clone(), name.as_str(), *attempt);
                if let Err(error) =
                    self.host.runtime.stop_container(&key, self.grace_of(name, *purpose)).await
                {
                    tracing::warn!(container = %key, error = chain(&error), "cannot stop a container");
                }
            }
            self.failing.remove(0);
        }
    }

    fn grace_of(&self, name: &str, purpose: Purpose) -> Duration {
        let mut all = init_containers(&self.pod).iter().chain(main_containers(&self.pod));
        let probe = all.find(|container| container.name == name).and_then(|container| match purpose {
            Purpose::Startup => container.startup_probe.as_ref(),
            _ => container.liveness_probe.as_ref(),
        });
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let spec = self.pod.spec.as_ref();
        let seconds = own.or(spec.and_then(|spec| spec.termination_grace_period_seconds)).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// Reads the last words of containers that ended; where they left none, failed and want that, the end of their log.
    pub(super) async fn explain_ends(&mut self) {
        let pod = Arc::clone(&self.pod);
        for (name, attempt, failed) in self.view.unexplained() {
            if self.explained.insert(name.to_string(), attempt) == Some(attempt) {
                continue;
            }
            let mut message = self.volumes.message(&name, attempt);
            let mut all = init_containers(&pod).iter().chain(main_containers(&pod));
            let container = all.find(|container| *container.name == *name);
            let policy = container.and_then(|container| container.termination_message_policy.as_deref());
            if message.is_empty() && failed && policy == Some("FallbackToLogsOnError") {
                let key = ContainerKey::new(self.uid.clone(), name.clone(), attempt);
                message = self.end_of_log(&key).await.unwrap_or_default();
            }
            if !message.is_empty() {
                self.view.explain(&name, attempt, message);
            }
        }
    }

    async fn end_of_log(&self, key: &ContainerKey) -> Option<String> {
        let options = LogOptions { tail: Some(EXPLANATION.0), ..LogOptions::default() };
        let mut chunks = self.host.runtime.logs()?.open(key, options).await.ok()?;
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            text.extend_from_slice(&chunk);
            let surplus = text.len().saturating_sub(EXPLANATION.1);
            text.drain(..surplus);
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}
