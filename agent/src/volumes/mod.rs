//! Volumes: what a pod's containers find in directories of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use quarterdeck_core::runtime::{Mount, PodUid};

use crate::host::Host;

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {}

/// Why a volume cannot be had.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The volume's name.
    pub(crate) volume: String,
    /// What is wrong, for the user.
    pub(crate) message: String,
}

impl Volumes {
    pub(crate) fn new(_host: &Host, _pod: &Pod) -> Self {
        Self {}
    }
    pub(crate) async fn set_up(&mut self, _host: &Host, _pod: &Pod, _ips: &[IpAddr]) -> Result<(), Problem> {
        Ok(())
    }
    pub(crate) fn due(&self) -> Option<Timestamp> {
        None
    }
    pub(crate) fn mounts(
        &self,
        _pod: &Pod,
        _container: &Container,
        _env: &BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, String> {
        Ok(Vec::new())
    }
    pub(crate) fn tear_down(&mut self, _host: &Host, _pod: &Pod) {}
    pub(crate) fn remove(_host: &Host, _uid: &PodUid) {}
}
