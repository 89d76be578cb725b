//! A cluster whose servers are killed and started again on their data, round after round.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kv_check::{Budget, History, Verdict, linearizability};
use kv_core::{Key, SeedStream, Value};
use kv_tests::{Process, Site};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::load::{CLIENTS, Round, count_up, work};
use crate::rising::{RisingKey, RisingKeys};

/// A cluster of three, and all keys that were acknowledged so far.
pub(crate) struct Rounds {
    site: Site,
    words: [String; 3],
    servers: [Process; 3],
    draw: SeedStream,
    runtime: Runtime,
    acknowledged: Vec<String>,
    rising: Arc<RisingKeys>,
    is_linearizable: bool,
}

impl Rounds {
    pub(crate) fn begin(model: &str, seed: u64) -> Self {
        let site = Site::of(3);
        let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2 --op-log off --checkpoint-mib 1"));
        let servers = site.ready_servers(words.each_ref().map(String::as_str));
        let is_linearizable = model == "linearizability";
        Self {
            site,
            words,
            servers,
            draw: SeedStream::new(seed),
            runtime: Runtime::new().unwrap(),
            acknowledged: Vec::new(),
            rising: Arc::new(RisingKeys::new(is_linearizable)),
            is_linearizable,
        }
    }

    pub(crate) fn run(&mut self, number: u64) {
        let round = Arc::new(Round::new(number, Arc::clone(&self.rising)));
        let mut clients = JoinSet::new();
        let mut counters = JoinSet::new();
        for client in 0..CLIENTS {
            let server = u16::try_from(client % 3 + 1).unwrap();
            let connection = self.runtime.block_on(self.site.connect(server));
            let [draw, other] = [(); 2].map(|()| SeedStream::new(self.draw.next_u64()));
            let count = count_up(Arc::clone(&round), connection.clone(), client, other);
            counters.spawn_on(count, self.runtime.handle());
            let work = work(Arc::clone(&round), connection, client, draw);
            clients.spawn_on(work, self.runtime.handle());
        }
        round.wait_for_more(10 + self.draw.below(30));
        self.kill_and_restart();
        round.wait_for_more(20);
        round.stopped.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(keys) = self.runtime.block_on(clients.join_next()) {
            acknowledged.extend(keys.unwrap());
        }
        while let Some(counted) = self.runtime.block_on(counters.join_next()) {
            counted.unwrap();
        }
        self.assert_held(&acknowledged);
        let server = self.any_server();
        self.assert_rising(server, RisingKeys::read_in_rounds());
        self.acknowledged.extend(acknowledged);
        if self.is_linearizable {
            let history = History { events: std::mem::take(&mut round.history.lock().unwrap()) };
            let verdict = linearizability(&history, Budget::default()).unwrap();
            assert_eq!(verdict, Verdict::Linearizable, "round {number}: {verdict}");
        }
    }

    /// Looks once more at all that was acknowledged, and tells how much that is.
    pub(crate) fn end(mut self) -> String {
        let acknowledged = std::mem::take(&mut self.acknowledged);
        assert!(!acknowledged.is_empty());
        self.assert_held(&acknowledged);
        for server in 1..=3 {
            self.assert_rising(server, RisingKeys::all());
        }
        assert!(self.first_segment_is_gone(), "no checkpoint let a segment go");
        let tally = self.rising.tally();
        tally.assert_worth();
        format!("{} acknowledged writes, all there; {tally}", acknowledged.len())
    }

    /// Whether a checkpoint has let the first segment of server 1's journal go.
    pub(crate) fn first_segment_is_gone(&self) -> bool {
        let engine = if self.is_linearizable { "linearizable" } else { "eventual" };
        let first = format!("kv-data/1-{engine}/journal-000000000001.segment");
        !self.site.folder().join(first).exists()
    }

    /// All servers at once, or one.
    fn kill_and_restart(&mut self) {
        let victim = usize::try_from(self.draw.below(4)).unwrap();
        let is_victim = |place: usize| victim == 3 || victim == place;
        for (place, server) in self.servers.iter_mut().enumerate() {
            if is_victim(place) {
                server.kill();
            }
        }
        for (place, (server, words)) in self.servers.iter_mut().zip(&self.words).enumerate() {
            if is_victim(place) {
                *server = self.site.server(words);
            }
        }
        for (place, server) in self.servers.iter_mut().enumerate() {
            if is_victim(place) {
                server.wait_for("ready");
            }
        }
    }

    fn any_server(&mut self) -> u16 {
        u16::try_from(self.draw.below(3) + 1).unwrap()
    }

    fn assert_held(&mut self, keys: &[String]) {
        let server = self.any_server();
        self.runtime.block_on(async {
            let client = self.site.connect(server).await;
            for key in keys {
                let found = client.get(Key::new(key.clone()).unwrap()).await.unwrap().found;
                let found = found.map(|found| found.value);
                assert_eq!(found, Some(Value::new(key.clone()).unwrap()), "{key} was acknowledged");
            }
        });
    }

    fn assert_rising(&self, server: u16, keys: impl Iterator<Item = RisingKey>) {
        self.runtime.block_on(async {
            let client = self.site.connect(server).await;
            for key in keys {
                let look = self.rising.begin_read(key);
                let found = client.get(Key::new(key.to_string()).unwrap()).await.unwrap().found;
                let fits = self.rising.end_read(&look, found);
                fits.unwrap_or_else(|fault| panic!("{fault} (read at server {server})"));
            }
        });
    }
}
