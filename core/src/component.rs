//! Parts that run until they are told to stop, and the supervisor that runs several.
//!
//! A [`Component`] is a part of a control plane with a life of its own: a server, a controller, a node's agent. The
//! [`Supervisor`] starts components in order, stops them in the reverse order, and says why each one ended. Neither
//! leaves a task behind.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::latest;

/// Any error, boxed: for causes that nobody decides on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A part of a control plane that runs until it is told to stop.
///
/// # Contract
///
/// 1. [`run`](Component::run) returns soon after `stop` fires, with everything that it started joined.
/// 2. It returns before that only because it cannot go on; the error says why.
/// 3. Dropping its future stops it too, without a chance to tidy up.
#[async_trait]
pub trait Component: Send + 'static {
    /// Returns the component's name, for logs and reports.
    fn name(&self) -> String;

    /// Runs until `stop` fires.
    ///
    /// # Errors
    ///
    /// Whatever keeps the component from going on.
    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError>;
}

const _: Option<&dyn Component> = None; // object safety is API: losing it must not compile

/// Says when to stop. Clones fire together.
#[derive(Debug, Clone)]
pub struct Stop(latest::Receiver<bool>);

impl Stop {
    /// Makes a handle and the signal that it waits for.
    #[must_use]
    pub fn channel() -> (StopSignal, Stop) {
        let (sender, receiver) = latest::channel(false);
        (StopSignal(sender), Stop(receiver))
    }

    /// Waits until it is time to stop: until the signal is sent or dropped.
    pub async fn wait(&mut self) {
        // An error means that the signal was dropped, which says the same.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    /// Returns whether it is time to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Runs `work` until it ends or it is time to stop. Returns `None` if it had to be dropped.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            output = work => Some(output),
        }
    }
}

/// Fires every [`Stop`] made with it, when sent or dropped.
#[derive(Debug)]
pub struct StopSignal(latest::Sender<bool>);

impl StopSignal {
    /// Fires.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// How one component ended.
#[derive(Debug)]
pub struct Ended {
    /// The component's name.
    pub name: String,
    /// Why it ended.
    pub reason: EndReason,
}

/// Why a component ended.
#[derive(Debug)]
pub enum EndReason {
    /// It was told to stop, and did.
    Stopped,
    /// It returned although nobody had told it to stop.
    Finished,
    /// It failed.
    Failed(BoxError),
    /// It panicked; the panic's message.
    Panicked(String),
    /// It had not stopped when the grace period was over, and was dropped.
    Killed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            EndReason::Stopped => write!(f, "{} stopped", self.name),
            EndReason::Finished => write!(f, "{} ended by itself", self.name),
            EndReason::Failed(error) => {
                write!(f, "{} failed: {error}", self.name)?;
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            EndReason::Panicked(message) => write!(f, "{} panicked: {message}", self.name),
            EndReason::Killed => write!(f, "{} did not stop in time and was dropped", self.name),
        }
    }
}

/// Runs components: starts them in the order in which they were added, stops them in the reverse order.
#[derive(Default)]
pub struct Supervisor {
    components: Vec<Box<dyn Component>>,
    grace: Option<Duration>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.components.iter().map(|component| component.name())).finish()
    }
}

impl Supervisor {
    /// Makes a supervisor of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component, to be started after all that were added before it.
    #[must_use]
    pub fn with(mut self, component: impl Component) -> Self {
        self.components.push(Box::new(component));
        self
    }

    /// Adds a boxed component, to be started after all that were added before it.
    pub fn push(&mut self, component: Box<dyn Component>) {
        self.components.push(component);
    }

    /// Sets how long each component may take to stop (default: 10 seconds).
    #[must_use]
    pub fn grace_period(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Runs all components until `stop` fires or one of them ends, then stops the others.
    ///
    /// Returns how each ended, in the order in which they ended. When this returns, none of their tasks is left.
    /// Dropping the future drops them all.
    pub async fn run(self, mut stop: Stop) -> Vec<Ended> {
        let grace = self.grace.unwrap_or(Duration::from_secs(10));
        let mut running: Vec<Running> = self.components.into_iter().map(Running::start).collect();
        let mut ended = Vec::new();

        if let Some(first) = first_to_end(&mut running, &mut stop).await {
            let component = running.remove(first.0);
            ended.push(Ended { name: component.name, reason: first.1 });
        }
        while let Some(component) = running.pop() {
            ended.push(component.stop(grace).await);
        }
        ended
    }
}

/// A component's task and the signal that ends it. Dropping it aborts the task.
struct Running {
    name: String,
    signal: StopSignal,
    task: JoinSet<Result<(), BoxError>>,
}

impl Running {
    fn start(component: Box<dyn Component>) -> Self {
        let (signal, stop) = Stop::channel();
        let name = component.name();
        let mut task = JoinSet::new();
        task.spawn(component.run(stop));
        Self { name, signal, task }
    }

    /// Waits for the task's end; `asked` says whether it was told to stop.
    async fn end(&mut self, asked: bool) -> EndReason {
        match self.task.join_next().await {
            Some(Ok(Ok(()))) if asked => EndReason::Stopped,
            None | Some(Ok(Ok(()))) => EndReason::Finished,
            Some(Ok(Err(error))) => EndReason::Failed(error),
            Some(Err(error)) => EndReason::Panicked(panic_message(error)),
        }
    }

    async fn stop(mut self, grace: Duration) -> Ended {
        self.signal.stop();
        let reason = match tokio::time::timeout(grace, self.end(true)).await {
            Ok(reason) => reason,
            Err(_) => {
                self.task.shutdown().await;
                EndReason::Killed
            }
        };
        Ended { name: self.name, reason }
    }
}

async fn first_to_end(running: &mut [Running], stop: &mut Stop) -> Option<(usize, EndReason)> {
    use futures::stream::{FuturesUnordered, StreamExt};

    let mut ends: FuturesUnordered<_> = running
        .iter_mut()
        .enumerate()
        .map(|(index, component)| async move { (index, component.end(false).await) })
        .collect();
    if ends.is_empty() {
        stop.wait().await;
        return None;
    }
    stop.or(ends.next()).await.flatten()
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".into()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Part {
        name: &'static str,
        log: Arc<Mutex<Vec<String>>>,
        fails: bool,
        deaf: bool,
    }

    #[async_trait]
    impl Component for Part {
        fn name(&self) -> String {
            self.name.into()
        }

        async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
            self.log.lock().unwrap().push(format!("{} started", self.name));
            if self.fails {
                return Err("no power".into());
            }
            if self.deaf {
                std::future::pending::<()>().await;
            }
            stop.wait().await;
            self.log.lock().unwrap().push(format!("{} stopped", self.name));
            Ok(())
        }
    }

    fn part(name: &'static str, log: &Arc<Mutex<Vec<String>>>) -> Part {
        Part { name, log: log.clone(), fails: false, deaf: false }
    }

    #[tokio::test(start_paused = true)]
    async fn components_start_in_order_and_stop_in_reverse() {
        let log = Arc::default();
        let (signal, stop) = Stop::channel();
        let supervisor = Supervisor::new().with(part("a", &log)).with(part("b", &log));

        let (ended, ()) = tokio::join!(supervisor.run(stop), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            signal.stop();
        });

        assert_eq!(*log.lock().unwrap(), ["a started", "b started", "b stopped", "a stopped"]);
        assert!(ended.iter().all(|ended| matches!(ended.reason, EndReason::Stopped)), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_fails_stops_the_others_and_says_why() {
        let log = Arc::default();
        let (_signal, stop) = Stop::channel();
        let supervisor =
            Supervisor::new().with(part("a", &log)).with(Part { fails: true, ..part("b", &log) });

        let ended = supervisor.run(stop).await;

        assert_eq!(ended[0].to_string(), "b failed: no power");
        assert_eq!(ended[1].to_string(), "a stopped");
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_does_not_stop_is_dropped_after_the_grace_period() {
        let log = Arc::default();
        let (signal, stop) = Stop::channel();
        signal.stop();
        let supervisor = Supervisor::new().with(Part { deaf: true, ..part("a", &log) });

        let ended = supervisor.grace_period(Duration::from_secs(3)).run(stop).await;

        assert!(matches!(ended[0].reason, EndReason::Killed), "{ended:?}");
    }
}
