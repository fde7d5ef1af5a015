//! The controllers against a real API server, in process and in virtual time.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod deployments;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod nodes;
#[cfg(test)]
#[cfg(feature = "cel")]
mod policies;
#[cfg(test)]
mod replicas;
mod roles;
#[cfg(test)]
mod services;
