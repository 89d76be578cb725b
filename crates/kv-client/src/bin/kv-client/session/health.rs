//! How the server of a session is, and how all servers are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kv_client::{Client, ClientConfig, ClientError, Event};
use kv_core::{NodeId, Status};
use kv_proto::ServerList;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::requests;
use super::wait::WaitMode;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Success};
use crate::output::status::{Health, ServerHealth, Service};
use crate::session::{Mode, Session, Work};

impl Session {
    /// Asks the server that the client is connected to; with `wait`, until it serves.
    pub(super) async fn status(&mut self, all: bool, wait: bool, time: Duration) -> Work {
        let client = self.client.clone();
        let status = until(wait, time, async |left| client.status_within(left).await, serves);
        let result = self.wait_for(WaitMode::Request, status).await;
        let success = |status| Success::Status { status: Box::new(status), all };
        let result = result.map(|result| result.map(success));
        Work::Ended("status", None, requests::ended(result, || Effect::None))
    }

    /// Asks all servers, or the one that was named, each over a connection of its own.
    pub(super) async fn health(&mut self, reads: bool, wait: bool, time: Duration) -> Work {
        let targets = self.targets.clone();
        let ask = async |left| Ok(Health { servers: targets.ask(left).await, reads });
        let all_serve = |health: &Health| health.exit_status() == ExitStatus::Done;
        let health = until(wait, time, ask, all_serve);
        let result = match self.mode {
            // What happens to the connection of the session is of no interest here.
            Mode::One => Ok(health.await),
            Mode::Pipe | Mode::Plain | Mode::Shell => {
                self.wait_for(WaitMode::Request, health).await
            }
        };
        let result = result.map(|result| result.map(Success::Health));
        Work::Ended("health", None, requests::ended(result, || Effect::None))
    }
}

impl Session {
    /// Has another server become the sequencer.
    pub(super) async fn lead(&mut self, node: NodeId, time: Duration) -> Work {
        let client = self.client.clone();
        let result = self.wait_for(WaitMode::Request, client.lead_within(node, time)).await;
        let result = result.map(|result| result.map(|()| Success::Led(node)));
        Work::Ended("lead", None, requests::ended(result, || Effect::Possible))
    }
}

fn serves(status: &Status) -> bool {
    Service::of(status) == Service::All
}

/// Asks once, or again and again until the answer is good or the time is up.
async fn until<T>(
    wait: bool,
    time: Duration,
    ask: impl AsyncFn(Duration) -> Result<T, ClientError>,
    is_good: impl Fn(&T) -> bool,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + time;
    loop {
        let answer = ask(deadline.saturating_duration_since(Instant::now())).await;
        let is_over = !wait || Instant::now() + BETWEEN >= deadline;
        if is_over || answer.as_ref().is_ok_and(&is_good) {
            return answer;
        }
        sleep(BETWEEN).await;
    }
}

/// Whom `health` asks, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) config: ClientConfig,
    /// The server that was named, which is asked alone.
    pub(crate) named: Option<NodeId>,
}

impl Targets {
    async fn ask(&self, time: Duration) -> Vec<ServerHealth> {
        let mut asking = JoinSet::new();
        let servers = &self.config.servers;
        for server in servers.ids().filter(|id| self.named.is_none_or(|named| named == *id)) {
            let address = servers.address(server).unwrap_or_default().to_owned();
            let config = self.config.clone();
            asking.spawn(async move {
                let answer = ask_one(server, address.clone(), config, time).await;
                ServerHealth { server, address, answer }
            });
        }
        let mut all = asking.join_all().await;
        all.sort_by_key(|one| one.server);
        if self.named.is_none() {
            leave_out_strangers(&mut all);
        }
        all
    }
}

/// Leaves out those that no server of the cluster counts among its own: the usual list has ten
/// servers, and most clusters fewer.
fn leave_out_strangers(all: &mut Vec<ServerHealth>) {
    let answers = all.iter().filter_map(|one| one.answer.as_ref().ok());
    let voters = answers.flat_map(|status| status.cluster.voters().iter().copied());
    let voters: BTreeSet<NodeId> = voters.collect();
    if !voters.is_empty() {
        all.retain(|one| voters.contains(&one.server));
    }
}

async fn ask_one(
    server: NodeId,
    address: String,
    config: ClientConfig,
    time: Duration,
) -> Result<Box<Status>, String> {
    let servers = ServerList::new([(server, address)]).map_err(|error| error.to_string())?;
    let (client, mut events) = Client::start(config.with_servers(servers).with_first(server));
    let answer = async {
        loop {
            match events.recv().await {
                Ok(Event::Connected { .. }) => {
                    let status = client.status_within(time).await;
                    return status.map(Box::new).map_err(|error| error.to_string());
                }
                Ok(Event::Refused { refusal, .. }) => return Err(refusal.to_string()),
                Ok(Event::NoneAnswers { failures }) => {
                    let why = failures.first().map(|failure| failure.error.to_string());
                    return Err(why.unwrap_or_else(|| NO_ANSWER.to_owned()));
                }
                Ok(Event::Lost { .. } | Event::Moved { .. } | _) => {}
                Err(_) => return Err(NO_ANSWER.to_owned()),
            }
        }
    };
    timeout(time, answer).await.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()))
}

/// Between two questions to servers that are waited for.
const BETWEEN: Duration = Duration::from_millis(100);

const NO_ANSWER: &str = "no answer";
