//! What a server's disk owes, remembered apart from it.

use std::collections::BTreeMap;

use kv_core::{PersistSeq, Wire, digest};

use crate::violation::Breach;

/// Remembers what was written and what was promised of it, and judges each recovery by that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    /// The digest of each record that was written and that no checkpoint on disk covers.
    written: BTreeMap<PersistSeq, u64>,
    /// The last record that the engine was told to be persisted.
    promised: PersistSeq,
}

impl Witness {
    /// A record is about to be written; it replaces those that a crash has lost.
    pub(crate) fn note(&mut self, seq: PersistSeq, digest: u64) {
        self.written.insert(seq, digest);
    }

    /// The engine is told that records up to this one are persisted.
    pub(crate) fn promise(&mut self, up_to: PersistSeq) {
        self.promised = self.promised.max(up_to);
    }

    pub(crate) const fn promised(&self) -> PersistSeq {
        self.promised
    }

    /// A checkpoint on disk covers records up to this one.
    pub(crate) fn forget_through(&mut self, covers: PersistSeq) {
        self.written = self.written.split_off(&covers.next());
    }

    /// A recovery has found records up to `last`, of which those after the checkpoint are given:
    /// the engine goes on from them, so that they are promised from here on.
    ///
    /// # Errors
    /// [`Breach::PromiseBroken`] if there are too few, [`Breach::RecordChanged`] if one is not what
    /// was written.
    pub(crate) fn judge<R: Wire>(
        &mut self,
        last: PersistSeq,
        records: &[(PersistSeq, R)],
    ) -> Result<(), Breach> {
        if last < self.promised {
            return Err(Breach::PromiseBroken { promised: self.promised, found: last });
        }
        let changed = |(seq, record): &&(PersistSeq, R)| {
            self.written.get(seq) != Some(&digest(&record.to_bytes()))
        };
        if let Some((seq, _)) = records.iter().find(changed) {
            return Err(Breach::RecordChanged { seq: *seq });
        }
        self.written.retain(|seq, _| *seq <= last);
        self.promised = last;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(written: u64, promised: u64) -> Witness {
        let mut witness = Witness::default();
        (1..=written).for_each(|seq| witness.note(PersistSeq(seq), digest(&seq.to_bytes())));
        witness.promise(PersistSeq(promised));
        witness
    }

    fn found(last: u64) -> Vec<(PersistSeq, u64)> {
        (1..=last).map(|seq| (PersistSeq(seq), seq)).collect()
    }

    #[test]
    fn what_was_promised_must_be_there_and_what_was_written_may() {
        let broken = Breach::PromiseBroken { promised: PersistSeq(3), found: PersistSeq(2) };
        assert_eq!(witness(5, 3).judge(PersistSeq(2), &found(2)), Err(broken));
        for last in 3..=5 {
            let mut witness = witness(5, 3);
            assert_eq!(witness.judge(PersistSeq(last), &found(last)), Ok(()));
            assert_eq!(witness.promised(), PersistSeq(last));
        }
    }

    #[test]
    fn another_record_than_was_written_last_is_seen_and_one_that_was_not_written() {
        let mut changed = found(5);
        changed[3].1 = 7;
        let seq = PersistSeq(4);
        assert_eq!(
            witness(5, 3).judge(PersistSeq(5), &changed),
            Err(Breach::RecordChanged { seq })
        );
        let seq = PersistSeq(6);
        assert_eq!(
            witness(5, 3).judge(PersistSeq(6), &found(6)),
            Err(Breach::RecordChanged { seq })
        );
    }

    #[test]
    fn what_a_recovery_did_not_find_is_forgotten() {
        let mut witness = witness(5, 3);
        witness.judge(PersistSeq(4), &found(4)).unwrap();
        let seq = PersistSeq(5);
        assert_eq!(witness.judge(PersistSeq(5), &found(5)), Err(Breach::RecordChanged { seq }));
    }
}
