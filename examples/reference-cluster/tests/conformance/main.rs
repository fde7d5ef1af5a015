//! What a real API server answered, compared with what ours answers.
//!
//! `golden/*.json` are 526 scripted cases with the answers that kube-apiserver 1.20.2 gave; `drift.yaml` says where
//! newer servers rightly differ, `other.yaml` which cases the project rightly answers otherwise, and `passing.txt`
//! which cases pass: the test fails when a listed case fails, and when an unlisted case passes.
//!
//! `CONFORMANCE_UPDATE=1` adds what passes to the list. `CONFORMANCE_CASE=words` runs only the cases with these words
//! in their name (`file: name`) and prints what differs.
//!
//! [`case`] reads cases, [`run`] runs one, [`names`] masks its answers, [`compare`] compares them, [`check`] puts
//! these together. [`replay`] plays a server to test the runner itself.

#[cfg(test)]
mod agreement;
mod case;
mod check;
mod cluster;
mod compare;
mod json;
mod names;
mod overrides;
mod passing;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod replay;
mod run;
#[cfg(test)]
mod selftest;
mod server;
mod watch;
