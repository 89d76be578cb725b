//! A test sets the servers' clocks.

use kv_core::{ConsistencyEngine, NodeId};

use super::Cluster;
use crate::server::clock::WallOffset;

impl<E: ConsistencyEngine> Cluster<E> {
    /// Sets how far a server's wall clock is off, in this incarnation and the later ones.
    pub fn set_wall_offset(&mut self, node: NodeId, offset: WallOffset) {
        self.clocks_differed = true;
        self.server_mut(node).clock.set_wall_offset(offset);
    }

    /// Lets both of a server's clocks gain so many microseconds a second from here on, or lose
    /// them; at most half a second.
    pub fn set_clock_drift(&mut self, node: NodeId, drift_ppm: i32) {
        let at = self.now;
        self.clocks_differed = true;
        self.server_mut(node).set_clock(|clock| clock.set_drift(at, drift_ppm));
    }

    /// Lets a server's wall clock stand still.
    pub fn freeze_wall_clock(&mut self, node: NodeId) {
        let at = self.now;
        self.clocks_differed = true;
        self.server_mut(node).clock.freeze_wall(at);
    }

    /// Lets a server's wall clock jump to where it would be, had it never stood still.
    pub fn thaw_wall_clock(&mut self, node: NodeId) {
        self.server_mut(node).clock.thaw_wall();
    }

    /// Sets a server's wall clock right and lets both clocks run as they should.
    pub fn correct_clock(&mut self, node: NodeId) {
        let at = self.now;
        self.server_mut(node).set_clock(|clock| clock.correct(at));
    }
}
