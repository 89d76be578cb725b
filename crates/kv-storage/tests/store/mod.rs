//! A small journal and what it holds.

#![allow(dead_code, reason = "each test uses a part of it")]

use kv_core::{NodeId, PersistSeq};
use kv_storage::{Disk, Journal, JournalConfig, JournalError, Recovery, StoreIdentity};

pub(crate) fn identity() -> StoreIdentity {
    StoreIdentity { store: 0x5EED, node: NodeId::FIRST, engine: "eventual".to_owned() }
}

pub(crate) fn config(segment_bytes: u64) -> JournalConfig {
    JournalConfig { segment_bytes, reserve_bytes: 0, ..JournalConfig::new(identity()) }
}

pub(crate) fn recover<D: Disk>(
    disk: &D,
    segment_bytes: u64,
) -> Result<(Journal<D>, Recovery), JournalError> {
    Journal::recover(disk.clone(), config(segment_bytes), PersistSeq(0))
}

/// What record `seq` holds: its number in as many bytes as the number says.
pub(crate) fn record(seq: u64) -> Vec<u8> {
    vec![u8::try_from(seq % 251).unwrap() + 1; usize::try_from(seq * 7 % 40).unwrap()]
}

pub(crate) fn append<D: Disk>(journal: &mut Journal<D>, records: u64) -> Result<(), JournalError> {
    for _ in 0..records {
        let seq = journal.last().next();
        journal.append(seq, &record(seq.0))?;
    }
    Ok(())
}

/// The records after `after`, which must be as they were appended, without a gap; how many.
pub(crate) fn replayed<D: Disk>(journal: &Journal<D>, after: u64) -> Result<u64, JournalError> {
    let mut replay = journal.replay::<Vec<u8>>(PersistSeq(after));
    let mut count = 0;
    for (seq, held) in &mut replay {
        count += 1;
        assert_eq!(seq, PersistSeq(after + count));
        assert_eq!(held, record(seq.0), "record {seq}");
    }
    replay.finish()?;
    Ok(count)
}
