//! The rules of a kind that data cannot say: what the server owns, how an object goes, which values are unique.

use std::fmt::Debug;

use jiff::Timestamp;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::Key;
use serde_json::Value;

use crate::cache::World;
use crate::user::User;
use crate::validation::FieldError;

/// What a strategy may draw on: the values of the server that it runs in.
#[derive(Debug, Clone, Copy)]
pub struct StrategyContext<'a> {
    /// The present time.
    pub now: Timestamp,
    /// Randomness.
    pub random: &'a Random,
    /// Where service addresses come from.
    pub service_cidr: ipnet::IpNet,
    /// Where node ports come from.
    pub node_ports: (u16, u16),
    /// What is stored, as fresh as the server has it.
    pub world: &'a World,
    /// How often the write met a collision already.
    pub attempt: usize,
    /// The user who asks.
    pub user: &'a User,
}

/// How long an object that is being deleted stays, as its kind sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It goes as soon as it has no finalizers; the answer is a Status.
    Immediate,
    /// It goes as soon as it has no finalizers, with this grace period recorded; the answer is the object.
    Graceful {
        /// The recorded period in seconds; 0 lets it go at once.
        seconds: i64,
    },
}

/// A value outside an object that belongs to it alone, such as a service's address: a key in storage, written in the
/// object's own commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The key that stands for the value.
    pub key: Key,
    /// What the client is told if somebody else has it; absent if the server chose the value and may choose another.
    pub taken: Option<FieldError>,
}

/// The claims that a write makes and gives up.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Claims {
    /// What the object needs and did not have.
    pub take: Vec<Claim>,
    /// What the object had and needs no more.
    pub release: Vec<Key>,
}

/// The rules of a kind that data cannot say. Every method has a default that suits most kinds.
pub trait Strategy: Debug + Send + Sync + 'static {
    /// Sets what the server owns in a new object.
    fn prepare_for_create(&self, object: &mut Value, context: &StrategyContext<'_>) {
        let _ = (object, context);
    }

    /// Restores what an update may not touch silently.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let _ = (object, old, context);
    }

    /// Restores what an update of `status` may not touch silently. Spec and metadata are restored already.
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let _ = (object, old, context);
    }

    /// Restores what an update of `approval` may not touch silently. Spec is restored already.
    fn prepare_for_approval(&self, object: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let _ = (object, old, context);
    }

    /// Says how the present object goes when it is deleted with this grace period (seconds), if any was asked for.
    fn deletion(&self, object: &Value, grace_period: Option<i64>) -> Deletion {
        let _ = (object, grace_period);
        Deletion::Immediate
    }

    /// Adapts an object that starts being deleted.
    fn prepare_for_delete(&self, object: &mut Value) {
        let _ = object;
    }

    /// Refuses a deletion.
    ///
    /// # Errors
    ///
    /// Why the object may not be deleted.
    fn check_delete(&self, name: &str) -> Result<(), String> {
        let _ = name;
        Ok(())
    }

    /// Returns whether upstream deletes this kind in a way of its own, which tells of preconditions in other words.
    fn checks_preconditions_itself(&self) -> bool {
        false
    }

    /// Returns whether a deletion that says nothing of dependents leaves them without an owner.
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// Returns whether objects of this kind may own others: what becomes of these is nobody's business otherwise.
    fn may_own(&self) -> bool {
        true
    }

    /// Returns of what a client is warned whose deletion says nothing of dependents.
    fn warnings_on_delete(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns of what a client is warned who wrote this object.
    fn warnings(&self, object: &Value) -> Vec<String> {
        let _ = object;
        Vec::new()
    }

    /// Returns whether an object that is being deleted has to stay besides for its finalizers.
    fn outlives_finalizers(&self, object: &Value) -> bool {
        let _ = object;
        false
    }

    /// Returns whether an update creates what does not exist.
    fn creates_on_update(&self) -> bool {
        false
    }

    /// Returns whether an update needs no resourceVersion.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// Fills in values that must be unique in the cluster, and names their claims. Called again, after
    /// a collision, with the object as it was before the first call.
    ///
    /// # Errors
    ///
    /// What is wrong with the values that the client chose.
    fn claim(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &StrategyContext<'_>,
    ) -> Result<Claims, Vec<FieldError>> {
        let _ = (object, old, context);
        Ok(Claims::default())
    }

    /// Returns the claims that go with a deleted object.
    fn release(&self, object: &Value) -> Vec<Key> {
        let _ = object;
        Vec::new()
    }

    /// Returns what is wrong with a new object, beyond what its tables say.
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let _ = object;
        Vec::new()
    }

    /// Returns what is wrong with `object` as the successor of `old`, beyond what its tables say.
    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let _ = (object, old);
        Vec::new()
    }

    /// Returns what is wrong with `object` as the successor of `old` when only the status may differ, beyond what its tables
    /// say.
    fn validate_status_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let _ = (object, old);
        Vec::new()
    }
}

/// The strategy of kinds whose updates create what does not exist.
#[derive(Debug)]
pub struct CreateOnUpdate;

impl Strategy for CreateOnUpdate {
    fn creates_on_update(&self) -> bool {
        true
    }
}

/// The strategy of kinds whose updates say which revision they stand on.
#[derive(Debug)]
pub struct Conditional;

impl Strategy for Conditional {
    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

/// The strategy of kinds without rules of their own.
#[derive(Debug, Default)]
pub struct Plain;

impl Strategy for Plain {}
