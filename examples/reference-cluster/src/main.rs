//! The reference cluster: one binary that runs all parts of a cluster together (`up`), or each as a process of its own.
//!
//! [`cli`] says what can be asked for, [`server`] assembles the API server, [`parts`] the components that talk to it, [`agent`] and
//! [`join`] a node's agent, and [`up`] all of them in one process.
//! [`copies`] makes and restores copies of the store.

mod access;
mod agent;
mod bindings;
mod certificates;
mod cli;
mod copies;
mod election;
mod error;
mod etcd;
mod files;
mod join;
mod logs;
mod parts;
mod pod_network;
mod runtimes;
mod server;
mod serving;
mod sockets;
#[cfg(feature = "otel")]
mod traces;
mod up;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    files::allow_all();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quarterdeck: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let logs = logs::start(&cli.logs, cli.command.part())?;
        let outcome = match cli.command {
            Command::Up(options) => up::up(options).await,
            Command::Apiserver(options) => server::run(options).await,
            Command::Scheduler(options) => parts::scheduler(&options).await,
            Command::Controllers(options) => parts::controllers(&options).await,
            Command::Agent(options) => agent::run(&options).await,
            Command::Proxy(options) => parts::proxy(&options).await,
            Command::Backup(options) => copies::backup(&options),
            Command::Restore(options) => copies::restore(&options),
        };
        logs.finish().await;
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quarterdeck: {error}");
            ExitCode::FAILURE
        }
    }
}
