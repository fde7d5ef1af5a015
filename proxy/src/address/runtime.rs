use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::runtime::{Runtime, RuntimeError};

use super::AddressTable;

/// How long changes are gathered before the runtime is asked for its pods.
const GATHER: Duration = Duration::from_millis(50);

/// How long to wait after the runtime failed.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps an [`AddressTable`] equal to what a runtime in this process says of its pods. Made by
/// [`AddressTable::follow`].
pub struct FollowRuntime {
    table: AddressTable,
    runtime: Arc<dyn Runtime>,
    /// The pods that were announced.
    pods: BTreeSet<String>,
}

impl FollowRuntime {
    pub(super) fn new(table: AddressTable, runtime: Arc<dyn Runtime>) -> Self {
        Self { table, runtime, pods: BTreeSet::new() }
    }

    async fn follow(&mut self) -> Result<(), RuntimeError> {
        let mut events = self.runtime.events().await?;
        loop {
            self.read().await?;
            match events.next().await {
                Some(event) => drop(event?),
                None => return Ok(()),
            }
            // A pod's containers start and end together more often than not.
            let more = async {
                while let Some(event) = events.next().await {
                    drop(event?);
                }
                Ok(())
            };
            if let Ok(end) = tokio::time::timeout(GATHER, more).await {
                return end;
            }
        }
    }

    async fn read(&mut self) -> Result<(), RuntimeError> {
        let pods = self.runtime.pods().await?;
        let announced: BTreeSet<String> = pods.iter().map(|pod| pod.uid.as_str().to_owned()).collect();
        for gone in self.pods.difference(&announced) {
            self.table.withdraw(gone);
        }
        for pod in pods {
            self.table.announce(pod.uid.as_str(), pod.port_map);
        }
        self.pods = announced;
        Ok(())
    }
}

impl fmt::Debug for FollowRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowRuntime").field("table", &self.table).finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for FollowRuntime {
    fn name(&self) -> String {
        "proxy addresses".into()
    }

    async fn run(mut self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let work = async {
            loop {
                if let Err(error) = self.follow().await {
                    tracing::debug!(%error, "cannot read where pods are, trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        stop.or(work).await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::stream;
    use quarterdeck_core::balancing::Backend;
    use quarterdeck_core::runtime::{
        ContainerKey, ContainerSpec, Event, EventKind, Events, PodSandbox, PodState, PodStatus, PodUid,
        PortMapping, Protocol, RuntimeInfo, Started,
    };
    use tokio::sync::broadcast;

    use super::*;
    use crate::address::AddressMap;

    /// A runtime whose pods are what the test says.
    #[derive(Debug)]
    struct Scripted {
        pods: Mutex<Vec<PodStatus>>,
        events: broadcast::Sender<Option<Event>>,
    }

    impl Scripted {
        fn set(&self, pods: &[(&str, PortMapping)]) {
            let status = |(uid, mapping): &(&str, PortMapping)| PodStatus {
                uid: PodUid::new(*uid),
                namespace: "default".into(),
                name: (*uid).into(),
                labels: Default::default(),
                created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
                state: PodState::Ready,
                ips: vec![mapping.pod.ip()],
                port_map: vec![*mapping],
                containers: Vec::new(),
            };
            *self.pods.lock().unwrap() = pods.iter().map(status).collect();
            let event = Event { pod: PodUid::new("any"), kind: EventKind::PodChanged };
            self.events.send(Some(event)).unwrap();
        }
    }

    #[async_trait]
    impl Runtime for Scripted {
        async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
            Err(RuntimeError::unsupported("this"))
        }

        async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
            Ok(self.pods.lock().unwrap().clone())
        }

        async fn start_pod(&self, _: &PodSandbox) -> Result<PodStatus, RuntimeError> {
            Err(RuntimeError::unsupported("this"))
        }

        async fn start_container(&self, _: &PodUid, _: &ContainerSpec) -> Result<Started, RuntimeError> {
            Err(RuntimeError::unsupported("this"))
        }

        async fn stop_container(&self, _: &ContainerKey, _: Duration) -> Result<(), RuntimeError> {
            Err(RuntimeError::unsupported("this"))
        }

        async fn remove_pod(&self, _: &PodUid) -> Result<(), RuntimeError> {
            Err(RuntimeError::unsupported("this"))
        }

        async fn events(&self) -> Result<Events, RuntimeError> {
            let events = stream::unfold(self.events.subscribe(), async |mut events| {
                let event = events.recv().await.ok()?;
                Some((event.ok_or(RuntimeError::Missed), events))
            });
            Ok(events.boxed())
        }
    }

    fn mapping(pod: u8, local: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            pod: ([10, 1, 0, pod], 80).into(),
            local: ([127, 0, 0, 1], local).into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_what_the_runtime_says_whatever_it_missed() {
        let runtime = Arc::new(Scripted { pods: Mutex::default(), events: broadcast::Sender::new(16) });
        let table = AddressTable::new();
        let ports = [1, 2].map(|pod| Backend(mapping(pod, 0).pod));
        let dialled = || ports.map(|pod| table.dial(Protocol::Tcp, pod).port());
        let soon = || tokio::time::sleep(Duration::from_secs(5));
        let (signal, stop) = Stop::channel();

        let changes = async {
            soon().await;
            assert_eq!(dialled(), [80, 80]);

            runtime.set(&[("a", mapping(1, 40_001)), ("b", mapping(2, 40_002))]);
            soon().await;
            assert_eq!(dialled(), [40_001, 40_002]);

            runtime.events.send(None).unwrap();
            runtime.set(&[("b", mapping(2, 40_003))]);
            soon().await;
            assert_eq!(dialled(), [80, 40_003]);
            signal.stop();
        };
        let (end, ()) = tokio::join!(Box::new(table.follow(runtime.clone())).run(stop), changes);

        assert!(end.is_ok());
    }
}
