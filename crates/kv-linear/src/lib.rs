//! The linearizable engine: total-order broadcast through a sequencer.
