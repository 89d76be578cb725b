//! Which servers there are and where they listen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use kv_core::{ClusterConfig, IdError, NodeId};

/// The servers of a cluster with their addresses, by ascending id; at least one.
///
/// As text: items with commas between them, each an id (`2`), a range of ids (`1-3`), or an id
/// with its address (`2=db2.example.org:4961`). Where no address is given it is 127.0.0.1 with port
/// 4960 + id. The default is `1-10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList {
    addresses: BTreeMap<NodeId, String>,
}

impl ServerList {
    /// Makes a list of ids and addresses (`host:port`), which are not looked up yet.
    ///
    /// # Errors
    /// [`ServerListError::Empty`] for no server, [`ServerListError::Twice`] for an id that stands
    /// there twice, [`ServerListError::SameAddress`] for two servers with one address.
    pub fn new(
        servers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<Self, ServerListError> {
        let mut addresses: BTreeMap<NodeId, String> = BTreeMap::new();
        for (node, address) in servers {
            let same = addresses.iter().find(|(_, other)| **other == address);
            if let Some((&first, _)) = same.filter(|(first, _)| **first != node) {
                return Err(ServerListError::SameAddress { first, second: node });
            }
            if addresses.insert(node, address).is_some() {
                return Err(ServerListError::Twice { node });
            }
        }
        if addresses.is_empty() { Err(ServerListError::Empty) } else { Ok(Self { addresses }) }
    }

    /// The ids in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.addresses.keys().copied()
    }

    /// Where a server listens, as `host:port`; `None` if it is not in the list.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.addresses.get(&node).map(String::as_str)
    }

    /// The next id after a server's, from the greatest on to the least again.
    #[must_use]
    pub fn next_after(&self, node: NodeId) -> Option<NodeId> {
        let mut ids = self.ids();
        let first = self.ids().next();
        ids.find(|id| *id > node).or(first)
    }

    /// How many servers there are, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.addresses.len()
    }
}

impl Default for ServerList {
    fn default() -> Self {
        let ids = (1..=ClusterConfig::VOTERS_MAX).filter_map(|number| NodeId::new(number).ok());
        Self { addresses: ids.map(|node| (node, local_address(node))).collect() }
    }
}

impl FromStr for ServerList {
    type Err = ServerListError;

    fn from_str(text: &str) -> Result<Self, ServerListError> {
        let mut servers = Vec::new();
        for item in text.split(',').map(str::trim) {
            if item.is_empty() && !text.trim().is_empty() {
                return Err(ServerListError::EmptyItem);
            } else if item.contains(';') {
                return Err(ServerListError::Separator);
            } else if let Some((id, address)) = item.split_once('=') {
                let (id, address) = (parse_server_id(id)?, address.trim());
                check_address(address)?;
                servers.push((id, address.to_owned()));
            } else if item.is_empty() {
                return Err(ServerListError::Empty);
            } else {
                let (first, last) = item.split_once('-').unwrap_or((item, item));
                let (first, last) = (parse_server_id(first)?, parse_server_id(last)?);
                if first > last {
                    return Err(ServerListError::Range { first, last });
                }
                let ids = (first.number()..=last.number()).filter_map(|id| NodeId::new(id).ok());
                servers.extend(ids.map(|node| (node, local_address(node))));
            }
        }
        Self::new(servers)
    }
}

/// `1=127.0.0.1:4961,2=127.0.0.1:4962`
impl fmt::Display for ServerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (node, address) in &self.addresses {
            write!(f, "{separator}{node}={address}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Why a text is no list of servers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerListError {
    /// There is no server in it.
    #[error("the list of servers is empty: write for example 1-3")]
    Empty,
    /// A server stands in it twice.
    #[error("server {node} is listed twice")]
    Twice {
        /// Which.
        node: NodeId,
    },
    /// Two servers have one address.
    #[error("servers {first} and {second} have the same address: give each its own port or host")]
    SameAddress {
        /// The one with the lower place in the list.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// An id is none.
    #[error("{0}: write for example 1-3, or 1=host1:4961,2=host2:4961")]
    Id(IdError),
    /// A server's id is over the limit.
    #[error("server {node} does not exist: ids go from 1 to {max}", max = ClusterConfig::VOTERS_MAX)]
    IdTooGreat {
        /// Which.
        node: NodeId,
    },
    /// A range goes downwards.
    #[error("the range {first}-{last} is empty: write the lower id first")]
    Range {
        /// Its first id.
        first: NodeId,
        /// Its last id.
        last: NodeId,
    },
    /// Nothing stands before or behind a comma.
    #[error(
        "the list of servers has a comma too many: write for example 1-3, without one at the end"
    )]
    EmptyItem,
    /// Something other than a comma parts two servers.
    #[error("the list of servers has a semicolon: put commas between servers")]
    Separator,
    /// An address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl From<IdError> for ServerListError {
    fn from(error: IdError) -> Self {
        Self::Id(error)
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is not `host:port`.
    #[error("`{address}` is no address: write host:port, for example 127.0.0.1:4962")]
    NoPort {
        /// The text.
        address: String,
    },
    /// It is a URL.
    #[error("`{address}` is no address: leave out what ends with //, and all behind the port")]
    Url {
        /// The text.
        address: String,
    },
    /// It is an IPv6 address without brackets.
    #[error("`{address}` is no address: put an IPv6 address in brackets, for example [::1]:4962")]
    Brackets {
        /// The text.
        address: String,
    },
    /// Its host has a character that no name of a host has.
    #[error("`{address}` is no address: its host has the character `{character}`")]
    Host {
        /// The text.
        address: String,
        /// The first such character.
        character: char,
    },
}

/// Whether a text has the form `host:port`, where the host is a name, an IPv4 address, or an IPv6
/// address in brackets. A name is not looked up.
///
/// # Errors
/// [`AddressError`], which says what is wrong with it.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let text = || address.to_owned();
    if address.contains("//") {
        return Err(AddressError::Url { address: text() });
    }
    let (host, port) =
        address.rsplit_once(':').ok_or_else(|| AddressError::NoPort { address: text() })?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(AddressError::NoPort { address: text() });
    }
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok() || inner.contains('%')) {
        return Ok(());
    }
    if host.contains(':') {
        return Err(AddressError::Brackets { address: text() });
    }
    let is_of_host = |character: char| character.is_alphanumeric() || "-._".contains(character);
    match host.chars().find(|character| !is_of_host(*character)) {
        Some(character) => Err(AddressError::Host { address: text(), character }),
        None => Ok(()),
    }
}

/// Reads a server's id from 1 to [`ClusterConfig::VOTERS_MAX`].
///
/// # Errors
/// [`ServerListError::Id`] or [`ServerListError::IdTooGreat`].
pub fn parse_server_id(text: &str) -> Result<NodeId, ServerListError> {
    let node: NodeId = text.trim().parse()?;
    if node.number() > ClusterConfig::VOTERS_MAX {
        return Err(ServerListError::IdTooGreat { node });
    }
    Ok(node)
}

/// Ids as people write them, in a form that a [`ServerList`] is read from: `1-3,7`.
#[must_use]
pub fn id_ranges(ids: &[NodeId]) -> String {
    let chunks = ids.chunk_by(|a, b| a.number() + 1 == b.number());
    let ranges = chunks.filter_map(|chunk| match (chunk.first()?, chunk.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    ranges.collect::<Vec<_>>().join(",")
}

fn local_address(node: NodeId) -> String {
    format!("127.0.0.1:{}", u32::from(node.number()) + PORT_BASE)
}

/// Server 1 listens on the port after this one.
const PORT_BASE: u32 = 4960;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> String {
        text.parse::<ServerList>().map_or_else(|e| e.to_string(), |list| list.to_string())
    }

    #[test]
    fn ids_ranges_and_addresses_mix() {
        assert_eq!(list("1-2"), "1=127.0.0.1:4961,2=127.0.0.1:4962");
        assert_eq!(list("3, 1=db.example.org:7"), "1=db.example.org:7,3=127.0.0.1:4963");
        assert_eq!(list("2=[::1]:80"), "2=[::1]:80");
        assert_eq!(ServerList::default(), "1-10".parse().unwrap());
    }

    #[test]
    fn what_is_printed_parses_again() {
        let default = ServerList::default();
        assert_eq!(default.to_string().parse(), Ok(default));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(list("1,1"), "server 1 is listed twice");
        assert_eq!(list("3-1"), "the range 3-1 is empty: write the lower id first");
        assert_eq!(list("0"), ServerListError::Id(IdError::ZeroNode).to_string());
        assert_eq!(
            list("1=a:1,2=a:1"),
            "servers 1 and 2 have the same address: give each its own port or host"
        );
        assert_eq!(list("11"), "server 11 does not exist: ids go from 1 to 10");
        assert_eq!(list("1-70000"), ServerListError::Id(IdError::NotANumber).to_string());
        for address in ["host", ":80", "host:", "host:99999", "host:80/", ""] {
            let expected =
                format!("`{address}` is no address: write host:port, for example 127.0.0.1:4962");
            assert_eq!(list(&format!("1={address}")), expected);
        }
    }

    #[test]
    fn what_is_almost_a_list_is_refused_with_what_is_wrong() {
        assert_eq!(list("1 = a.example:1 , 2 = b_2:2"), "1=a.example:1,2=b_2:2");
        for (text, expected) in [
            ("", "the list of servers is empty"),
            (" ", "the list of servers is empty"),
            ("1=a:1,", "the list of servers has a comma too many"),
            (",1", "the list of servers has a comma too many"),
            ("1,,2", "the list of servers has a comma too many"),
            ("1=a:1;2=b:2", "the list of servers has a semicolon: put commas"),
            ("1=http://127.0.0.1:15961", "`http://127.0.0.1:15961` is no address: leave out"),
            ("1=::1:80", "`::1:80` is no address: put an IPv6 address in brackets"),
            ("1=a:1:2", "`a:1:2` is no address: put an IPv6"),
            ("1=a b:1", "`a b:1` is no address: its host has the character ` `"),
            ("1=a=b:1", "`a=b:1` is no address: its host has the character `=`"),
            ("1=[x]:1", "`[x]:1` is no address: its host has the character `[`"),
        ] {
            assert!(list(text).starts_with(expected), "{text}: {}", list(text));
        }
        assert_eq!(list("1=[fe80::1%eth0]:80"), "1=[fe80::1%eth0]:80");
    }

    #[test]
    fn the_next_server_goes_round() {
        let list: ServerList = "1,3,7".parse().unwrap();
        let node = |number| NodeId::new(number).unwrap();
        assert_eq!(list.next_after(node(1)), Some(node(3)));
        assert_eq!(list.next_after(node(4)), Some(node(7)));
        assert_eq!(list.next_after(node(7)), Some(node(1)));
    }

    #[test]
    fn ids_are_written_as_ranges() {
        let ids: Vec<NodeId> = [1, 2, 3, 5, 7, 8].map(|id| NodeId::new(id).unwrap()).into();
        assert_eq!(id_ranges(&ids), "1-3,5,7-8");
    }
}
