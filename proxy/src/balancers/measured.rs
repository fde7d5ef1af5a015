use quarterdeck_core::balancing::{Backends, Connection, LoadBalancer, Pick, ServicePort};
use quarterdeck_core::metrics::{Counter, Gauge, Metrics};

/// Counts what another balancer picks, and the connections that are open. A [`Proxy`](crate::Proxy) wraps its balancer in one.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, ServicePort};
/// use quarterdeck_core::metrics::Metrics;
/// use quarterdeck_proxy::{MeasuredBalancer, RoundRobin};
///
/// let metrics = Metrics::new();
/// let balancer = MeasuredBalancer::new(RoundRobin::new(), &metrics);
/// let service = ServicePort { namespace: "default".into(), name: "web".into(), port: "http".into() };
/// let connection = Connection { service: &service, client: "192.0.2.7".parse().unwrap() };
/// let backends = Backends::new([Backend("192.0.2.1:80".parse().unwrap())]);
///
/// let pick = balancer.pick(&connection, &backends);
///
/// assert!(metrics.answer(None).text.contains(r#"quarterdeck_proxy_connections{balancer="RoundRobin"} 1"#));
/// drop(pick);
/// assert!(metrics.answer(None).text.contains(r#"quarterdeck_proxy_connections{balancer="RoundRobin"} 0"#));
/// ```
#[derive(Debug)]
pub struct MeasuredBalancer<B> {
    inner: B,
    open: Gauge,
    picked: Counter,
    without: Counter,
}

impl<B: LoadBalancer> MeasuredBalancer<B> {
    /// Counts what `inner` picks in this registry, under its type's name as `Debug` shows it.
    #[must_use]
    pub fn new(inner: B, metrics: &Metrics) -> Self {
        let name = name_of(&inner);
        let open = metrics.gauges(
            "quarterdeck_proxy_connections",
            "Connections and UDP flows that are open, by the balancer that picked their backend.",
            &["balancer"],
        );
        let picks = metrics.counters(
            "quarterdeck_proxy_picks_total",
            "Picks of a balancer, and whether there was a backend. A connection whose backend does not answer is picked again.",
            &["balancer", "result"],
        );
        Self {
            inner,
            open: open.with(&[&name]),
            picked: picks.with(&[&name, "backend"]),
            without: picks.with(&[&name, "none"]),
        }
    }
}

/// Returns the beginning of what a balancer shows of itself: the name of its type.
fn name_of(balancer: &dyn LoadBalancer) -> String {
    let shown = format!("{balancer:?}");
    let end = shown.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(shown.len());
    if end == 0 { "other".to_owned() } else { shown[..end].to_owned() }
}

impl<B: LoadBalancer> LoadBalancer for MeasuredBalancer<B> {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let Some(Pick { backend, guard }) = self.inner.pick(connection, backends) else {
            self.without.inc();
            return None;
        };
        self.picked.inc();
        self.open.inc();
        let open = Open { gauge: self.open.clone(), _guard: guard };
        Some(Pick { backend, guard: Some(Box::new(open)) })
    }

    fn forget(&self, service: &ServicePort) {
        self.inner.forget(service);
    }
}

/// A connection that is open.
struct Open {
    gauge: Gauge,
    _guard: Option<Box<dyn Send>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancers::{LeastConnections, RoundRobin};

    quarterdeck_core::balancing_suite!(measured, || MeasuredBalancer::new(
        LeastConnections::new(),
        &Metrics::new()
    ));

    #[test]
    fn a_balancer_is_known_by_the_name_of_its_type() {
        let shared: std::sync::Arc<dyn LoadBalancer> = std::sync::Arc::new(RoundRobin::new());

        assert_eq!(name_of(&RoundRobin::new()), "RoundRobin");
        assert_eq!(name_of(&shared), "RoundRobin", "whoever holds it");
    }
}
