//! A runtime whose calls are counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quarterdeck_core::metrics::{Counters, Histograms, Metrics, exponential};
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, Credentials, Events, Image, Images, Logs, PodSandbox, PodStatus, PodUid,
    Runtime, RuntimeError, RuntimeInfo, Started,
};
use tokio::time::Instant;

/// Counts what is asked of a runtime, how long it takes and how often it fails, under the kubelet's names
/// (`kubelet_runtime_operations_*`). An [`Agent`](crate::Agent) wraps its runtime in one.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use quarterdeck_agent::runtime::{MeasuredRuntime, SimulatedRuntime};
/// use quarterdeck_core::metrics::Metrics;
/// use quarterdeck_core::runtime::Runtime;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = Metrics::new();
/// let runtime = MeasuredRuntime::new(Arc::new(SimulatedRuntime::default()), &metrics);
///
/// runtime.pods().await?;
///
/// let counted = r#"kubelet_runtime_operations_total{operation_type="list_podsandbox"} 1"#;
/// assert!(metrics.answer(None).text.contains(counted));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MeasuredRuntime {
    inner: Arc<dyn Runtime>,
    operations: Counters,
    errors: Counters,
    durations: Histograms,
}

impl MeasuredRuntime {
    /// Counts what is asked of `inner` in this registry.
    #[must_use]
    pub fn new(inner: Arc<dyn Runtime>, metrics: &Metrics) -> Self {
        let labels = &["operation_type"];
        Self {
            inner,
            operations: metrics.counters(
                "kubelet_runtime_operations_total",
                "Cumulative number of runtime operations by operation type.",
                labels,
            ),
            errors: metrics.counters(
                "kubelet_runtime_operations_errors_total",
                "Cumulative number of runtime operation errors by operation type.",
                labels,
            ),
            durations: metrics.histograms(
                "kubelet_runtime_operations_duration_seconds",
                "Duration in seconds of runtime operations. Broken down by operation type.",
                labels,
                &exponential(0.005, 2.5, 14),
            ),
        }
    }

    async fn counted<T>(
        &self,
        operation: &str,
        work: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        self.operations.with(&[operation]).inc();
        let began = Instant::now();
        let done = work.await;
        self.durations.with(&[operation]).observe_time(began.elapsed());
        if done.is_err() {
            self.errors.with(&[operation]).inc();
        }
        done
    }
}

#[async_trait]
impl Runtime for MeasuredRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.counted("status", self.inner.info()).await
    }

    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        self.counted("list_podsandbox", self.inner.pods()).await
    }

    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        self.counted("run_podsandbox", self.inner.start_pod(pod)).await
    }

    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        self.counted("start_container", self.inner.start_container(pod, spec)).await
    }

    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        self.counted("stop_container", self.inner.stop_container(container, grace)).await
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        self.counted("remove_podsandbox", self.inner.remove_pod(pod)).await
    }

    async fn events(&self) -> Result<Events, RuntimeError> {
        self.counted("get_container_events", self.inner.events()).await
    }

    fn images(&self) -> Option<&dyn Images> {
        self.inner.images().map(|_| self as &dyn Images)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        self.inner.logs()
    }

    async fn close(&self) -> Result<(), RuntimeError> {
        self.inner.close().await
    }
}

#[async_trait]
impl Images for MeasuredRuntime {
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        let Some(images) = self.inner.images() else { return Ok(None) };
        self.counted("image_status", images.present(image)).await
    }

    async fn pull(&self, image: &str, credentials: Option<&Credentials>) -> Result<Image, RuntimeError> {
        let Some(images) = self.inner.images() else {
            return Err(RuntimeError::unsupported("the runtime has no images"));
        };
        self.counted("pull_image", images.pull(image, credentials)).await
    }
}
