//! Servers and clients as a person runs them, one file per behaviour. One program, so that it is linked
//! once and tests that wait do so beside each other.

mod disks;
mod failover;
mod faults;
mod hand_over;
mod linearizable;
mod using;
mod writers;
