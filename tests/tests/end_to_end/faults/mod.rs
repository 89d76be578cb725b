//! Faults of bytes, disks, processes and networks.

mod bad_bytes;
mod bad_input;
mod descriptors;
mod frozen;
mod full_disk;
mod outage;
mod stopping;
