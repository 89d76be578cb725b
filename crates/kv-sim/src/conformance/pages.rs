//! Clause 10: results that may exceed a frame come in pages.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{Answer, ConsistencyEngine, Dump, Key, NodeId, Operation, Outcome, Page, Value};

use super::failure::{Failure, Finding};
use super::scenario::serving_with_all;
use crate::cluster::Cluster;
use crate::config::DiskConfig;
use crate::workload::key;

/// Clause 10: the pages of a dump keep the limit that was asked for and the engine's own bounds
/// (entries, and 1 MiB), are in ascending order, come to an end, and together hold every key.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn dumps_come_in_pages<E: ConsistencyEngine>() -> Result<(), Failure> {
    let seed = 1;
    for nodes in [1, 3] {
        let mut cluster = serving_with_all::<E>(nodes, seed, &DiskConfig::default(), 10)?;
        let servers: Vec<NodeId> = cluster.nodes().collect();
        let mut expected = BTreeSet::new();
        for number in 0..25 {
            // Five large values, so that a page is full by its bytes before its entries.
            let size = if number < 5 { 400 << 10 } else { 10 };
            let name = key(&format!("key{number:02}"));
            let value = Value::new(vec![b'v'; size]).unwrap_or_default();
            if let Some(Outcome::Done(_)) =
                cluster.execute(NodeId::FIRST, Operation::put(name.clone(), value))?
            {
                expected.insert(name);
            }
        }
        cluster.run_for(Duration::from_secs(5))?;
        for limit in [1, 7, u32::MAX] {
            let mut found = BTreeSet::new();
            for &node in &servers {
                found.extend(all_pages(&mut cluster, node, limit, seed)?);
            }
            if let Some(key) = expected.difference(&found).next() {
                let key = key.clone();
                return Err(Finding::KeyNotOnPages { key }.of(10, seed));
            }
        }
    }
    Ok(())
}

fn all_pages<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    node: NodeId,
    limit: u32,
    seed: u64,
) -> Result<Vec<Key>, Failure> {
    let mut keys: Vec<Key> = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let dump = Operation::Dump(Dump { after: after.clone(), limit });
        let outcome = cluster.execute(node, dump)?;
        let page = page(outcome).ok_or_else(|| Finding::DumpRefused { node }.of(10, seed))?;
        let entries = page.entries.len();
        let sizes = page.entries.iter();
        let sizes = sizes.map(|(key, found)| key.as_bytes().len() + found.value.as_bytes().len());
        let sizes: Vec<usize> = sizes.collect();
        let bytes = sizes.iter().sum();
        let all_but_last: usize = sizes.iter().rev().skip(1).sum();
        let entries_max = cluster.config().limits.page_entries_max;
        let entries_max = entries_max.min(usize::try_from(limit).unwrap_or(usize::MAX));
        if entries > entries_max || all_but_last > PAGE_BYTES_MAX {
            let finding = Finding::PageTooLarge { node, entries, bytes };
            return Err(finding.of(10, seed));
        }
        keys.extend(page.entries.into_iter().map(|(key, _)| key));
        let ascending = keys.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if !ascending || (page.next.is_some() && page.next <= after) {
            return Err(Finding::PagesOutOfOrder { node }.of(10, seed));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(keys),
        }
    }
    Err(Finding::PagesOutOfOrder { node }.of(10, seed))
}

fn page(outcome: Option<Outcome>) -> Option<Page> {
    match outcome {
        Some(Outcome::Done(done)) => match done.answer {
            Answer::Page(page) => Some(page),
            Answer::Results(_) => None,
        },
        Some(Outcome::NotDone(_) | Outcome::Unknown(_)) | None => None,
    }
}

/// More pages than there are keys are no progress.
const PAGES_MAX: usize = 100;
const PAGE_BYTES_MAX: usize = 1 << 20;
