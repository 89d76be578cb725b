//! How far all servers have the writes of one.

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::HybridTime;

use crate::message::Cut;

/// How far it is known of one server's writes that all others have them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CutProgress {
    /// One that was told and that not all are known to reflect.
    pending: Option<Cut>,
    /// Those that all reflect, each with the time since when that is known, ascending.
    reflected: VecDeque<(Cut, Duration)>,
    /// The last one that all have reflected for a while.
    settled: Option<Cut>,
}

impl CutProgress {
    /// Takes the server's latest cut where none is pending, and moves on the others.
    pub(crate) fn advance(
        &mut self,
        now: Duration,
        latest: Cut,
        is_reflected: impl Fn(&Cut) -> bool,
    ) {
        let is_old = |cut: &Cut| cut.incarnation != latest.incarnation;
        self.pending = self.pending.filter(|cut| !is_old(cut));
        self.reflected.retain(|(cut, _)| !is_old(cut));
        while let Some((cut, since)) = self.reflected.front()
            && now >= since.saturating_add(SETTLES_AFTER)
        {
            self.settled = Some(*cut);
            self.reflected.pop_front();
        }
        // A cut that came just before a delete must not keep the next one waiting for as long as it
        // waits itself.
        let has_room =
            self.reflected.back().is_none_or(|(_, since)| now >= since.saturating_add(APART));
        if let Some(cut) = self.pending.take_if(|cut| has_room && is_reflected(cut)) {
            self.reflected.push_back((cut, now));
        }
        self.pending.get_or_insert(latest);
    }

    /// Up to when all writes of the server, whose present incarnation is this one, are everywhere.
    pub(crate) fn settled(&self, latest: Cut) -> Option<HybridTime> {
        let settled = self.settled.filter(|cut| cut.incarnation == latest.incarnation);
        settled.map(|cut| cut.time)
    }
}

/// What all reflect must last for so long before deletes are forgotten by it: a disk that is set
/// back by less is not always noticed.
const SETTLES_AFTER: Duration = Duration::from_secs(10);

/// How far cuts that all reflect are apart at the least, which bounds how many are remembered.
const APART: Duration = Duration::from_secs(1);
