//! Servers with data on disk, which lose one of them at a time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use kv_client::{Client, ClientConfig, ClientError};
use kv_core::{Key, NodeId, Role, Status, Value, Versioned};
use kv_proto::ServerList;
use kv_tests::{Cut, Network, Process, Site, wait_until};
use tokio::runtime::Runtime;

/// Which servers a cluster has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) engine: &'static str,
    /// Servers 1 to this number are listed.
    pub(crate) listed: u16,
    /// Of these, those from here on are started.
    pub(crate) first: u16,
    /// W and R.
    pub(crate) quorum: u16,
}

pub(crate) struct Cluster {
    setup: Setup,
    site: Site,
    runtime: Runtime,
    network: Network,
    servers: BTreeMap<u16, Process>,
}

/// What one server holds itself.
pub(crate) type Held = BTreeMap<Key, Versioned>;

impl Cluster {
    pub(crate) fn start(setup: Setup) -> Self {
        let site = Site::of(setup.listed);
        let runtime = Runtime::new().unwrap();
        let listed: Vec<u16> = (1..=setup.listed).collect();
        let network = runtime.block_on(Network::between(&site, &listed));
        let mut cluster = Self { setup, site, runtime, network, servers: BTreeMap::new() };
        for id in cluster.ids() {
            cluster.start_server(id);
        }
        cluster.servers.values_mut().for_each(|server| drop(server.wait_for("ready")));
        cluster
    }

    /// The servers that are started.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        self.setup.first..=self.setup.listed
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The server that the servers which answer hold for the present sequencer.
    pub(crate) fn sequencer(&self) -> u16 {
        let mut found = None;
        wait_until("a server says that it is the sequencer", || {
            found = self.runtime.block_on(async {
                let mut statuses = Vec::new();
                for id in self.ids() {
                    statuses.extend(self.status(id).await);
                }
                present_sequencer(&statuses)
            });
            found.is_some()
        });
        found.unwrap().number()
    }

    /// Kills a server as `kill -9` does.
    pub(crate) fn kill(&mut self, id: u16) {
        self.server(id).kill();
    }

    /// Stops a server as `kill` does, and waits until it has ended in order.
    pub(crate) fn stop(&mut self, id: u16) {
        let server = self.server(id);
        server.terminate();
        assert_eq!(server.exit_code(), Some(0), "{}", server.report());
    }

    /// Removes all data of a server that does not run.
    pub(crate) fn wipe(&mut self, id: u16) {
        assert!(!self.server(id).runs(), "its data is in use");
        let folder = self.data_of(id);
        let is_empty = folder.read_dir().unwrap().next().is_none();
        assert!(!is_empty, "there is no data in {}", folder.display());
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Starts a server that does not run, and waits until it serves.
    pub(crate) fn restart(&mut self, id: u16) {
        assert!(!self.server(id).runs(), "it runs");
        self.start_server(id);
        self.server(id).wait_for("ready");
    }

    pub(crate) fn freeze(&mut self, id: u16) {
        self.server(id).freeze();
    }

    pub(crate) fn thaw(&mut self, id: u16) {
        self.server(id).thaw();
    }

    pub(crate) fn cut_off(&self, id: u16, cut: Cut) {
        self.network.cut_off(id, cut);
    }

    pub(crate) fn heal(&self, id: u16) {
        self.network.heal(id);
    }

    /// Whether a server carries out a write that it is asked for itself.
    pub(crate) fn serves(&self, id: u16) -> bool {
        self.runtime.block_on(self.probe(id)).is_ok()
    }

    /// Waits until each server carries out a write that it is asked for itself.
    pub(crate) fn wait_until_all_serve(&self) {
        for id in self.ids() {
            wait_until(&format!("server {id} serves writes"), || self.serves(id));
        }
    }

    /// Waits until all servers hold the same, versions included, and returns it.
    pub(crate) fn held_by_all(&self) -> Held {
        let mut held = None;
        wait_until("all servers hold the same", || {
            let held_by = self.ids().map(|id| self.runtime.block_on(self.held_by(id)));
            let Ok(all) = held_by.collect::<Result<Vec<Held>, _>>() else {
                return false;
            };
            let are_equal = all.windows(2).all(|pair| pair.first() == pair.last());
            held = all.into_iter().next().filter(|_| are_equal);
            held.is_some()
        });
        held.unwrap()
    }

    /// A client that stays with one server, and goes to the next one when that is lost. To be called
    /// in the runtime.
    pub(crate) async fn client(&self, first: u16) -> Client {
        let first = NodeId::new(first).unwrap();
        let (servers, follow_sequencer) = (self.site.servers(), false);
        let config =
            ClientConfig::new(servers).with_first(first).with_follow_sequencer(follow_sequencer);
        Client::connect(config).await.unwrap()
    }

    async fn probe(&self, id: u16) -> Result<(), ClientError> {
        let (key, value) = (Key::new("probe").unwrap(), Value::new(id.to_string()).unwrap());
        self.client_of(id, PROBE_MAX).await?.put(key, value).await.map(drop)
    }

    /// What a server says of itself.
    pub(crate) fn status_of(&self, id: u16) -> Option<Status> {
        self.runtime.block_on(self.status(id))
    }

    async fn status(&self, id: u16) -> Option<Status> {
        self.client_of(id, PROBE_MAX).await.ok()?.status().await.ok()
    }

    async fn held_by(&self, id: u16) -> Result<Held, ClientError> {
        let dump = self.client_of(id, DUMP_PAGE_MAX).await?.dump().await?;
        Ok(dump.entries.into_iter().collect())
    }

    /// A client that knows one server only.
    async fn client_of(&self, id: u16, timeout: Duration) -> Result<Client, ClientError> {
        let first = NodeId::new(id).unwrap();
        let servers = ServerList::new([(first, self.site.address(id).to_string())]).unwrap();
        let config = ClientConfig::new(servers).with_first(first).with_timeout(timeout);
        Client::connect(config).await
    }

    /// Where a server's data is.
    pub(crate) fn data_of(&self, id: u16) -> PathBuf {
        let folders = self.site.folder().join("kv-data");
        let is_its = |path: &PathBuf| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with(&format!("{id}-")))
        };
        let mut paths = folders.read_dir().unwrap().map(|entry| entry.unwrap().path());
        paths.find(is_its).unwrap()
    }

    fn server(&mut self, id: u16) -> &mut Process {
        self.servers.get_mut(&id).unwrap()
    }

    fn start_server(&mut self, id: u16) {
        let servers = self.network.servers_of(&self.site, id);
        let Setup { engine, quorum, .. } = self.setup;
        let words = format!("{id} {engine} {quorum} {quorum} --op-log off --checkpoint-mib 1");
        self.servers.insert(id, self.site.server_among(&servers, &words));
    }
}

/// The owner of the latest epoch among the servers that call themselves the sequencer: one that was
/// cut off or stood still may do so after another one took over.
fn present_sequencer(statuses: &[Status]) -> Option<NodeId> {
    let claiming = statuses.iter().filter(|status| status.role == Role::Sequencer);
    let latest = claiming.max_by_key(|status| (status.positions.epoch_round, status.node));
    latest.map(|status| status.node)
}

/// How long one question to one server may take, before it is asked again.
const PROBE_MAX: Duration = Duration::from_secs(1);

const DUMP_PAGE_MAX: Duration = Duration::from_secs(5);
