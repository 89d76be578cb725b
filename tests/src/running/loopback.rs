//! Addresses that no other test uses at the same time.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::running::process::{PATIENCE, pause};

/// A loopback address of one test, of which the ports 4961 to 4970 are free.
///
/// Port 4960 is held as a claim while this lives, so that two tests, in one process or in several,
/// never get the same address. All these ports are below the range from which the system takes
/// ports for outgoing connections.
#[derive(Debug)]
pub struct Loopback {
    ip: Ipv4Addr,
    _claim: TcpListener,
}

impl Loopback {
    /// Claims an address of 127.1.0.0 to 127.254.255.255.
    ///
    /// # Panics
    /// If a thousand addresses in a row are taken.
    #[must_use]
    pub fn claim() -> Self {
        static CLAIMED: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(16);
        (0..1000)
            .find_map(|_| {
                let number = start.wrapping_add(CLAIMED.fetch_add(1, Ordering::Relaxed));
                let ip = spread(number);
                Some(Self { ip, _claim: TcpListener::bind((ip, CLAIM_PORT)).ok()? })
            })
            .expect("a loopback address is free")
    }

    /// Claims 127.0.0.1, where servers listen that are told no address. Waits for its turn, and for
    /// the ports.
    ///
    /// # Panics
    /// If its turn does not come, or a port is in use by something else.
    #[must_use]
    pub fn claim_default() -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        let claim = bind_in_turn(ip, CLAIM_PORT);
        for id in 1..=SERVERS_MAX {
            drop(bind_in_turn(ip, CLAIM_PORT + id));
        }
        Self { ip, _claim: claim }
    }

    /// Where the server with this id listens.
    #[must_use]
    pub fn address(&self, id: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, CLAIM_PORT + id)
    }
}

fn bind_in_turn(ip: Ipv4Addr, port: u16) -> TcpListener {
    let since = Instant::now();
    loop {
        match TcpListener::bind((ip, port)) {
            Ok(listener) => return listener,
            Err(error) if since.elapsed() > PATIENCE => {
                panic!("{ip}:{port} is not to be had: {error}; stop what listens there")
            }
            Err(_) => pause(),
        }
    }
}

fn spread(number: u32) -> Ipv4Addr {
    let [_, b, c, d] = number.to_be_bytes();
    // Never 127.0.0.0/16, where other programs of the machine listen.
    Ipv4Addr::new(127, b % 254 + 1, c, d)
}

/// Held while an address is in use; server ids start at 1, so that no server listens here.
const CLAIM_PORT: u16 = 4960;

const SERVERS_MAX: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_are_two_addresses_and_servers_have_the_usual_ports() {
        let (one, other) = (Loopback::claim(), Loopback::claim());
        assert_ne!(one.ip, other.ip);
        assert_eq!(one.address(3).port(), 4963);
        assert!(TcpListener::bind((one.ip, CLAIM_PORT)).is_err(), "the claim is not held");
    }
}
