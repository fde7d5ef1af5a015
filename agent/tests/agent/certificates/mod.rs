//! Certificates: joining with a bootstrap token, and renewal, with the controllers that approve and sign, and with users who are
//! known by what they show.

mod cluster;
mod joining;
mod renewal;
mod serving;
