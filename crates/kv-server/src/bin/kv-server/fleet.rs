//! The servers that run in this process: one, or all of a cluster with `kv-server dev`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use kv_core::NodeId;
use kv_proto::Refusal;
use kv_server::{LocalClient, Readiness, Server, ServerConfig, ServerError, StartError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::filter::Targets;

use crate::screen::{self, hints};
use crate::{clock, names};

/// The servers to run in this process, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    /// At least one.
    pub(crate) servers: Vec<ServerConfig>,
    /// Where the only server listens instead of on its address in the list.
    pub(crate) listen: Option<String>,
    /// What is logged on stderr.
    pub(crate) log: Targets,
    /// Whether they are those of `kv-server dev`.
    pub(crate) is_dev: bool,
}

impl Plan {
    /// The folder of the logs of operations, where that is in the one of the data, which is not
    /// there before the first start.
    fn log_folder(&self) -> Option<&Path> {
        let first = self.servers.first()?;
        let folder = first.op_log.as_ref().map(|op_log| &*op_log.folder)?;
        first.data.as_ref().filter(|data| folder.starts_with(&data.folder)).map(|_| folder)
    }
}

/// Servers under way. Dropping it stops them at once.
#[derive(Debug)]
pub(crate) struct Fleet {
    members: Vec<Member>,
    is_dev: bool,
    started: Instant,
}

/// One of them.
#[derive(Debug)]
struct Member {
    config: ServerConfig,
    server: Server,
}

impl Fleet {
    /// Starts all servers of a plan, or none. They share the files that the process may have open.
    pub(crate) async fn start(
        plan: &Plan,
        open_files_max: Option<u64>,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        if let Some(folder) = plan.log_folder() {
            // If it cannot be made, opening the log in it says so.
            let _ = std::fs::create_dir_all(folder);
        }
        let mut members = Vec::new();
        let share = u64::try_from(plan.servers.len()).unwrap_or(u64::MAX).max(1);
        let open_files_max = open_files_max.map(|max| max / share);
        for config in &plan.servers {
            let mut config = with_absolute_paths(config);
            config.open_files_max = open_files_max;
            let server = match &plan.listen {
                None => Server::start(config.clone()).await?,
                Some(address) => Server::start_at(address, config.clone()).await?,
            };
            members.push(Member { config, server });
        }
        let fleet = Self { members, is_dev: plan.is_dev, started };
        fleet.show()?;
        Ok(fleet)
    }

    fn show(&self) -> Result<(), StartError> {
        match self.members.as_slice() {
            [only] if !self.is_dev => {
                let (address, resp) = (only.server.local_address(), only.server.resp_address());
                screen::show_start(&only.config, address, resp, only.server.found_data())
            }
            many => {
                let configs: Vec<&ServerConfig> =
                    many.iter().map(|member| &member.config).collect();
                let found = many.iter().filter_map(|member| member.server.found_data());
                let resp = many.iter().filter_map(|member| member.server.resp_address());
                let resp: Vec<_> = resp.collect();
                screen::show_cluster_start(&configs, &resp, &found.collect::<Vec<_>>())
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
        if let Some(first) = self.members.first() {
            announcements.spawn(names::watch(first.config.clone()));
        }
        // Servers of one process have one clock.
        if let [only] = self.members.as_slice() {
            announcements.spawn(clock::watch(only.server.client()));
            announcements.spawn(announce(only.watched(), false));
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

    fn watched(&self) -> Vec<Watched> {
        self.members.iter().map(Member::watched).collect()
    }
}

impl Member {
    fn watched(&self) -> Watched {
        Watched {
            config: self.config.clone(),
            client: self.server.client(),
            readiness: self.server.readiness(),
            connected: self.server.connected(),
            refused_by: self.server.refused_by(),
        }
    }
}

/// The same server with paths from the root: whoever reads one on the screen or in an error knows
/// which folder is meant.
fn with_absolute_paths(config: &ServerConfig) -> ServerConfig {
    let mut config = config.clone();
    if let Some(data) = &mut config.data {
        data.folder = hints::absolute(&data.folder);
    }
    if let Some(op_log) = &mut config.op_log {
        op_log.folder = hints::absolute(&op_log.folder);
    }
    config
}

/// What is to be known of a server to say how it is.
struct Watched {
    config: ServerConfig,
    client: LocalClient,
    readiness: watch::Receiver<Readiness>,
    connected: watch::Receiver<BTreeSet<NodeId>>,
    refused_by: watch::Receiver<BTreeMap<NodeId, Refusal>>,
}

/// Says when all servers serve; until then nothing, unless that takes long. Afterwards it says
/// what becomes of each.
async fn announce_all(mut watched: Vec<Watched>, started: Instant) {
    let all_ready = async {
        for Watched { readiness, .. } in &mut watched {
            // An error means that the server stops.
            let _ = readiness.wait_for(|readiness| *readiness == Readiness::Ready).await;
        }
    };
    if tokio::time::timeout(PATIENCE, all_ready).await.is_ok() {
        let elapsed = started.elapsed().as_secs_f64();
        screen::say(format_args!("ready in {elapsed:.2} s"));
    }
    let mut announcements = JoinSet::new();
    for watched in watched {
        announcements.spawn(announce(watched, true));
    }
    announcements.join_all().await;
}

/// Says when a server begins to serve, what it waits for before, and who refuses it.
async fn announce(mut watched: Watched, named: bool) {
    let config = &watched.config;
    let prefix = if named { format!("server {}: ", config.node) } else { String::new() };
    let mut told = BTreeMap::new();
    // Of several servers it has been said already that they serve, where they do.
    let mut state = match *watched.readiness.borrow() {
        Readiness::Ready if named => Readiness::Ready,
        Readiness::Ready | Readiness::Waiting(_) | Readiness::Starting => Readiness::Starting,
    };
    let mut has_served = false;
    let mut connected = BTreeSet::new();
    loop {
        // Servers that start together find each other meanwhile, a disk takes the record of a start,
        // and nobody is told in vain.
        let ready = watched.readiness.wait_for(|readiness| *readiness == Readiness::Ready);
        if let Ok(Err(_)) = tokio::time::timeout(SETTLING_TIME, ready).await {
            return;
        }
        let refused_by = watched.refused_by.borrow_and_update().clone();
        for (peer, refusal) in &refused_by {
            if told.get(peer) != Some(refusal) {
                screen::say(format_args!("{prefix}server {peer} refuses this server: {refusal}"));
            }
        }
        told = refused_by;
        let before = std::mem::replace(&mut state, *watched.readiness.borrow_and_update());
        has_served |= state == Readiness::Ready;
        match state {
            Readiness::Ready if before != state => screen::say(format_args!("{prefix}ready")),
            Readiness::Waiting(what) if before != state => {
                let Ok(status) = watched.client.status().await else { return };
                // The command of a server that is refused would spread what it is refused for.
                let advice = if !told.is_empty() {
                    String::new()
                } else if has_served {
                    hints::who_was_lost(config, what, &status)
                } else {
                    hints::who_is_missing(config, what, &status)
                };
                screen::say(format_args!("{prefix}{what}{advice}"));
            }
            Readiness::Starting | Readiness::Ready | Readiness::Waiting(_) => {}
        }
        let connected_now = watched.connected.borrow_and_update().clone();
        // Until it serves, it says whom it waits for. Servers of one process come and go together.
        if has_served && before == Readiness::Ready && !named {
            for peer in connected.difference(&connected_now) {
                screen::say(format_args!("{prefix}server {peer} is lost"));
            }
            for peer in connected_now.difference(&connected) {
                screen::say(format_args!("{prefix}server {peer} is connected"));
            }
        }
        connected = connected_now;
        let changed = tokio::select! {
            changed = watched.readiness.changed() => changed,
            changed = watched.connected.changed() => changed,
            changed = watched.refused_by.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// How long a server that does not serve is given before it says why.
const SETTLING_TIME: Duration = Duration::from_millis(300);

/// After this long a cluster that does not serve says why.
const PATIENCE: Duration = Duration::from_secs(3);
