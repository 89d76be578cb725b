//! The servers that run in this process: one, or all of a cluster with `kv-server dev`.

use std::future::Future;
use std::time::{Duration, Instant};

use kv_server::{LocalClient, Readiness, Server, ServerConfig, ServerError, StartError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::Plan;
use crate::{hints, screen};

/// Servers under way. Dropping it stops them at once.
#[derive(Debug)]
pub(crate) struct Fleet {
    members: Vec<Member>,
    started: Instant,
}

/// One of them.
#[derive(Debug)]
struct Member {
    config: ServerConfig,
    server: Server,
}

impl Fleet {
    /// Starts all servers of a plan, or none.
    pub(crate) async fn start(plan: &Plan) -> Result<Self, StartError> {
        let started = Instant::now();
        let mut members = Vec::new();
        for config in &plan.servers {
            let server = match &plan.listen {
                None => Server::start(config.clone()).await?,
                Some(address) => Server::start_at(address, config.clone()).await?,
            };
            members.push(Member { config: config.clone(), server });
        }
        let fleet = Self { members, started };
        fleet.show()?;
        Ok(fleet)
    }

    fn show(&self) -> Result<(), StartError> {
        match self.members.as_slice() {
            [only] => screen::show_start(&only.config, only.server.local_address()),
            many => {
                let configs: Vec<&ServerConfig> =
                    many.iter().map(|member| &member.config).collect();
                screen::show_cluster_start(&configs)
            }
        }
    }

    /// Clients of all servers.
    pub(crate) fn clients(&self) -> Vec<LocalClient> {
        self.members.iter().map(|member| member.server.client()).collect()
    }

    /// Serves until `shutdown` completes or a server stops by itself, and then stops all. Says
    /// when they begin to serve, and what they wait for.
    pub(crate) async fn run_until(
        self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let mut announcements = JoinSet::new();
        if let [only] = self.members.as_slice() {
            let (config, client) = (only.config.clone(), only.server.client());
            announcements.spawn(announce(config, client, only.server.readiness(), false));
        } else {
            announcements.spawn(announce_all(self.watched(), self.started));
        }
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for member in self.members {
            let mut stopped = stopped.clone();
            running.spawn(member.server.run_until(async move {
                // An error means that all are to stop as well.
                let _ = stopped.wait_for(|stop| *stop).await;
            }));
        }
        let mut outcome = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = running.join_next() => ended.unwrap_or(Err(ServerError::Driver)),
        };
        announcements.abort_all();
        // The last of them may have ended already.
        let _ = stop.send(true);
        while let Some(ended) = running.join_next().await {
            outcome = outcome.and(ended.unwrap_or(Err(ServerError::Driver)));
        }
        outcome
    }

    fn watched(&self) -> Vec<(ServerConfig, LocalClient, watch::Receiver<Readiness>)> {
        let watched = |member: &Member| {
            let server = &member.server;
            (member.config.clone(), server.client(), server.readiness())
        };
        self.members.iter().map(watched).collect()
    }
}

/// Says when all servers serve; until then nothing, unless that takes long. Afterwards it says
/// what becomes of each.
async fn announce_all(
    mut watched: Vec<(ServerConfig, LocalClient, watch::Receiver<Readiness>)>,
    started: Instant,
) {
    let all_ready = async {
        for (_, _, readiness) in &mut watched {
            // An error means that the server stops.
            let _ = readiness.wait_for(|readiness| *readiness == Readiness::Ready).await;
        }
    };
    if tokio::time::timeout(PATIENCE, all_ready).await.is_ok() {
        let elapsed = started.elapsed().as_secs_f64();
        screen::say(format_args!("ready in {elapsed:.2} s"));
    }
    let mut announcements = JoinSet::new();
    for (config, client, readiness) in watched {
        announcements.spawn(announce(config, client, readiness, true));
    }
    announcements.join_all().await;
}

/// Says when a server begins to serve, and what it waits for before.
async fn announce(
    config: ServerConfig,
    client: LocalClient,
    mut readiness: watch::Receiver<Readiness>,
    named: bool,
) {
    let prefix = if named { format!("server {}: ", config.node) } else { String::new() };
    while readiness.changed().await.is_ok() {
        let state = *readiness.borrow_and_update();
        match state {
            Readiness::Starting => {}
            Readiness::Ready => screen::say(format_args!("{prefix}ready")),
            Readiness::Waiting(what) => {
                let Ok(status) = client.status().await else { return };
                let advice = hints::who_is_missing(&config, what, &status.connected);
                screen::say(format_args!("{prefix}{what}{advice}"));
            }
        }
    }
}

/// After this long a cluster that does not serve says why.
const PATIENCE: Duration = Duration::from_secs(3);
