//! What the engine counts, for `status`.

/// Events since the engine was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Messages and parts that no healthy server sends.
    pub(crate) bad_messages: u64,
    /// Messages and parts from a former incarnation, or answers to nothing that waits.
    pub(crate) stale_messages: u64,
    /// Writes of others that were dropped because too many waited for the disk.
    pub(crate) dropped_writes: u64,
    /// Writes of others that were rejected for a stamp in the future.
    pub(crate) rejected_writes: u64,
    /// Stamps from the future that came by a way that is not rejected; the clock stayed.
    pub(crate) skewed_stamps: u64,
    /// Requests refused for clocks that are apart.
    pub(crate) refused_for_clock: u64,
    /// Repairs sent to servers that were seen to be behind.
    pub(crate) repairs_sent: u64,
    /// Writes taken over because another server was seen to be ahead.
    pub(crate) repairs_applied: u64,
    /// Writes and queries that were sent again.
    pub(crate) resends: u64,
    /// Own writes that were given up before every server had acknowledged them.
    pub(crate) unfinished_writes: u64,
    /// Inputs of the driver that cannot be right.
    pub(crate) bad_inputs: u64,
    /// Incarnations begun.
    pub(crate) incarnations: u64,
}

impl Counters {
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("bad_messages", self.bad_messages),
            ("stale_messages", self.stale_messages),
            ("dropped_writes", self.dropped_writes),
            ("rejected_writes", self.rejected_writes),
            ("skewed_stamps", self.skewed_stamps),
            ("refused_for_clock", self.refused_for_clock),
            ("repairs_sent", self.repairs_sent),
            ("repairs_applied", self.repairs_applied),
            ("resends", self.resends),
            ("unfinished_writes", self.unfinished_writes),
            ("bad_inputs", self.bad_inputs),
            ("incarnations", self.incarnations),
        ]
        .into_iter()
    }
}
