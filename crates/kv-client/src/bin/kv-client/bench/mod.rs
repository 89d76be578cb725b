//! `kv-client bench`: how fast a cluster answers.

mod args;
mod load;
mod progress;
mod report;
mod tally;

use std::io;

use kv_client::{Client, ClientConfig, ClientError};
use kv_core::NodeId;
use tokio::task::JoinSet;

use crate::output::exit::ExitStatus;
use crate::output::screen::Screen;
pub(crate) use args::{BENCH, BENCH_COMMAND, BenchArgs};
use load::Load;
use report::Report;

/// What is to be measured, and where.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) args: BenchArgs,
    pub(crate) config: ClientConfig,
    /// The server of all connections; they are spread over all servers if there is none.
    pub(crate) server: Option<NodeId>,
    pub(crate) json: bool,
}

impl Bench {
    /// Measures and prints the figures; Ctrl-C ends it early.
    pub(crate) async fn run(self, screen: &mut Screen) -> io::Result<ExitStatus> {
        let clients = match self.connect().await {
            Ok(clients) => clients,
            Err(error) => {
                let status = ExitStatus::of_error(&error);
                if self.json {
                    let object = serde_json::json!({
                        "outcome": "not_done",
                        "message": error.to_string(),
                    });
                    screen.line(object.to_string())?;
                } else {
                    screen.complain(&error.to_string());
                }
                return Ok(status);
            }
        };
        let load = Load::new(&self.args, clients.clone());
        if self.args.fill {
            load.fill().await;
        }
        let (tally, time) = load.run().await.map_err(io::Error::other)?;
        let status = tally.status();
        let report = Report::new(&self.args, &clients, tally, time);
        screen.line(if self.json { report.json() } else { report.text() })?;
        Ok(status)
    }

    async fn connect(&self) -> Result<Vec<Client>, ClientError> {
        let ids: Vec<NodeId> = match self.server {
            Some(server) => vec![server],
            None => self.config.servers.ids().collect(),
        };
        let firsts = ids.iter().cycle().take(usize::from(self.args.connections));
        let mut connecting = JoinSet::new();
        for first in firsts {
            connecting.spawn(Client::connect(
                self.config
                    .clone()
                    .with_first(*first)
                    .with_follow_sequencer(false)
                    .with_in_flight_max(u32::from(self.args.in_flight)),
            ));
        }
        let mut clients = Vec::new();
        while let Some(connected) = connecting.join_next().await {
            clients.push(connected.unwrap_or(Err(ClientError::Stopped))?);
        }
        Ok(clients)
    }
}
