//! Three servers that are lost and come back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kv_client::{Client, ClientConfig};
use kv_core::{NodeId, Role, Status};
use kv_proto::ServerList;
use kv_tests::{Cut, Network, Process, Site};
use tokio::runtime::Runtime;

pub(crate) struct Cluster {
    pub(crate) runtime: Runtime,
    consistency: &'static str,
    site: Site,
    network: Network,
    servers: BTreeMap<u16, Process>,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(consistency: &'static str) -> Self {
        let runtime = Runtime::new().unwrap();
        let site = Site::of(3);
        let network = runtime.block_on(Network::between(&site, &IDS));
        let base = std::env::var_os("KV_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
        let folder = tempfile::tempdir_in(base).unwrap();
        let servers = BTreeMap::new();
        let mut cluster = Self { runtime, consistency, site, network, servers, folder };
        for id in IDS {
            cluster.start_server(id);
        }
        cluster.wait_until_all_serve();
        cluster
    }

    pub(crate) fn start_server(&mut self, id: u16) {
        let list = self.network.servers_of(&self.site, id);
        let folder = self.folder.path().display();
        let words = format!("{id} {} 2 2 --op-log off --data-dir {folder}", self.consistency);
        self.servers.insert(id, self.site.server_among(&list, &words));
    }

    pub(crate) fn kill(&mut self, id: u16) {
        self.servers.get_mut(&id).unwrap().kill();
    }

    pub(crate) fn stop(&mut self, id: u16) {
        let server = self.servers.get_mut(&id).unwrap();
        server.terminate();
        server.wait_for_exit();
    }

    /// Has a server become the sequencer.
    pub(crate) fn lead(&self, id: u16) {
        let client = self.client(id);
        self.runtime.block_on(client.lead(NodeId::new(id).unwrap())).unwrap();
    }

    pub(crate) fn freeze(&self, id: u16) {
        self.servers[&id].freeze();
    }

    pub(crate) fn thaw(&self, id: u16) {
        self.servers[&id].thaw();
    }

    pub(crate) fn cut_off(&self, id: u16) {
        self.network.cut_off(id, Cut::BothWays);
    }

    pub(crate) fn heal(&self, id: u16) {
        self.network.heal(id);
    }

    /// Removes all that a killed server had on its disk.
    pub(crate) fn wipe(&self, id: u16) {
        let engine = if self.consistency == "eventual" { "eventual" } else { "linearizable" };
        let data: PathBuf = self.folder.path().join(format!("{id}-{engine}"));
        std::fs::remove_dir_all(&data).unwrap();
    }

    /// A client of the library with its defaults, which begins at a server.
    pub(crate) fn client(&self, first: u16) -> Client {
        let (servers, first) = (self.site.servers(), NodeId::new(first).unwrap());
        let config = ClientConfig::new(servers).with_first(first);
        self.runtime.block_on(Client::connect(config)).unwrap()
    }

    pub(crate) fn status(&self, id: u16) -> Option<Status> {
        let first = NodeId::new(id).unwrap();
        let servers = ServerList::new([(first, self.site.address(id).to_string())]).unwrap();
        let config = ClientConfig::new(servers).with_first(first).with_timeout(STATUS_MAX);
        let asked = async { Client::connect(config).await.ok()?.status().await.ok() };
        self.runtime.block_on(asked)
    }

    pub(crate) fn sequencer(&self) -> u16 {
        let is_sequencer =
            |id: &u16| self.status(*id).is_some_and(|status| status.role == Role::Sequencer);
        until("there is a sequencer", || IDS.into_iter().find(is_sequencer))
    }

    pub(crate) fn wait_until_all_serve(&self) {
        let serves = |id: &u16| self.status(*id).is_some_and(|status| status.waiting.is_none());
        until("all servers serve", || IDS.iter().all(serves).then_some(()));
    }
}

/// Waits for something to come.
pub(crate) fn until<T>(what: &str, mut come: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(come) = come() {
            return come;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) const IDS: [u16; 3] = [1, 2, 3];
const STATUS_MAX: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);
