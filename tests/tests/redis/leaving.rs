//! Clients that go while something is in flight.

use kv_tests::wait_until;

use crate::cluster::Cluster;
use crate::wire::Wire;

#[test]
fn a_client_that_stops_sending_before_the_answer_gets_it_and_then_the_end() {
    let cluster = Cluster::far_apart();
    for address in &cluster.addresses {
        let mut wire = Wire::connect(*address);
        wire.send_raw(b"SET a 1\r\nINCR a\r\n");
        wire.finish();
        assert_eq!(wire.rest(), "+OK\r\n:2\r\n");
    }
}

#[test]
fn a_client_that_goes_before_the_answer_leaves_no_session_behind() {
    let cluster = Cluster::far_apart();
    for _ in 0..5 {
        let mut wire = Wire::connect(cluster.address);
        wire.send_raw(b"SET a 1\r\n");
    }
    let mut wire = Wire::connect(cluster.address);
    let clients = |wire: &mut Wire| wire.command("client list").matches("id=").count();
    wait_until("the other clients are gone", || clients(&mut wire) == 1);
}
