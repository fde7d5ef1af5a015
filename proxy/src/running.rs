use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Service;
use quarterdeck_core::balancing::Backends;
use quarterdeck_core::client::{Context, EventType, Informer, ObjectKey, Recorder};
use quarterdeck_core::component::BoxError;
use tokio::time::Instant;

use crate::config::{ServicePortConfig, ServiceTable};
use crate::figures::Figures;
use crate::ports::{Health, ProxyPort, ProxyPorts};
use crate::proxy::reason;
use crate::rules::Rules;
use crate::userspace::{BindError, Userspace};

/// How long until something that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How many services' rules are written together at most.
const TOGETHER: usize = 4096;

/// Tells users about their services.
pub(crate) struct ServiceRecorder {
    recorder: Recorder,
    services: Informer<Service>,
}

impl ServiceRecorder {
    pub(crate) fn new(context: &Context) -> Self {
        Self { recorder: context.recorder("quarterdeck-proxy"), services: context.informers.of() }
    }

    fn tell(&self, service: &ObjectKey, reason: &str) {
        if let Some(service) = self.services.store().get(service) {
            self.recorder.event(&*service, EventType::Warning, "PortUnavailable", reason);
        }
    }
}

/// A proxy that runs.
pub(crate) struct Running {
    table: ServiceTable,
    userspace: Userspace,
    rules: Option<Rules>,
    ports: ProxyPorts,
    recorder: Option<ServiceRecorder>,
    figures: Figures,
    /// What could not be opened, by service.
    failed: BTreeMap<ObjectKey, Vec<String>>,
}

impl Running {
    pub(crate) fn new(
        table: ServiceTable,
        userspace: Userspace,
        rules: Option<Rules>,
        ports: ProxyPorts,
        recorder: Option<ServiceRecorder>,
        figures: Figures,
    ) -> Self {
        Self { table, userspace, rules, ports, recorder, figures, failed: BTreeMap::new() }
    }

    /// Does what the table says, for ever, or returns why that is not possible.
    pub(crate) async fn follow(&mut self) -> BoxError {
        match self.try_follow().await {
            Err(error) => error,
        }
    }

    async fn try_follow(&mut self) -> Result<Infallible, BoxError> {
        let table = self.table.clone();
        loop {
            let is_time_to_look = async {
                table.completed().await;
                match &self.rules {
                    Some(rules) => rules.due().await,
                    None if self.ports.health() == Health::Starting => {}
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = table.changed().next() => {
                    let began = Instant::now();
                    self.apply_all(changed.ok_or("the table of services was shut down")?).await;
                    if let Some(rules) = self.rules.as_mut().filter(|_| table.is_complete()) {
                        rules.write(&self.figures).await?;
                    }
                    self.figures.synced(began.elapsed());
                }
                () = is_time_to_look => if let Some(rules) = &mut self.rules {
                    rules.look(&self.figures).await?;
                },
            }
            if table.is_complete() && table.changed().is_empty() {
                let health = self.health();
                if health == Health::Healthy {
                    self.figures.is_good();
                }
                self.ports.set_health(health);
            }
        }
    }

    /// Ends everything that the proxy started: first what leads clients to it, then what serves them.
    pub(crate) async fn shutdown(self) {
        if let Some(rules) = self.rules {
            rules.remove().await;
        }
        self.userspace.shutdown().await;
        self.ports.clear();
        if let Some(ServiceRecorder { recorder, .. }) = self.recorder {
            recorder.finish().await;
        }
    }

    /// Looks at a service, and at others that wait, so that their rules are written together.
    async fn apply_all(&mut self, first: ObjectKey) {
        let table = self.table.clone();
        let mut next = Some(first);
        for _ in 0..TOGETHER {
            let Some(service) = next else { return };
            self.apply(&service).await;
            table.changed().done(&service);
            next = table.changed().next().now_or_never().flatten();
        }
        if let Some(service) = next {
            table.changed().add(service.clone());
            table.changed().done(&service);
        }
    }

    async fn apply(&mut self, service: &ObjectKey) {
        let configs = self.table.get(service);
        let errors = self.userspace.apply(service, &configs).await;
        self.note(service, &errors);
        if !errors.is_empty() {
            self.table.changed().add_after(service.clone(), RETRY);
        }
        if let Some(rules) = &mut self.rules {
            let userspace = &self.userspace;
            rules.set(service, &configs, |name, scope| userspace.local_port(service, name, scope));
        }
        let ports = configs.iter().map(|config| self.describe(service, config)).collect();
        self.ports.set(service, ports);
    }

    /// Tells about what could not be opened, once for each reason.
    fn note(&mut self, service: &ObjectKey, errors: &[BindError]) {
        let reasons: Vec<_> = errors.iter().map(|error| reason(error)).collect();
        let known = self.failed.remove(service).unwrap_or_default();
        for reason in reasons.iter().filter(|reason| !known.contains(reason)) {
            tracing::warn!(%service, reason, "service does not work, trying again");
            if let Some(recorder) = &self.recorder {
                recorder.tell(service, reason);
            }
        }
        if !reasons.is_empty() {
            self.failed.insert(service.clone(), reasons);
        }
    }

    fn health(&self) -> Health {
        let rules = self.rules.as_ref().and_then(Rules::failure);
        match (rules, self.failed.first_key_value()) {
            (Some(reason), _) => Health::Failing(reason.into()),
            (None, Some((service, reasons))) => Health::Failing(format!("{service}: {}", reasons.join("; "))),
            (None, None) => Health::Healthy,
        }
    }

    fn describe(&self, service: &ObjectKey, config: &ServicePortConfig) -> ProxyPort {
        let of = |backends: &Backends| backends.as_slice().iter().map(|backend| backend.0).collect();
        ProxyPort {
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            port_name: config.name.to_string(),
            protocol: config.protocol,
            cluster_ips: config.cluster_ips.clone(),
            external_ips: config.external_ips.clone(),
            port: config.port,
            node_port: config.node_port,
            proxy: self.userspace.local_addresses(service, &config.name).to_vec(),
            backends: of(&config.backends),
        }
    }
}
