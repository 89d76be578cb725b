//! Ids of servers in few words.

use kv_core::NodeId;

/// Ids as people write them: `1-3,7`.
pub(crate) fn id_ranges(ids: &[NodeId]) -> String {
    let chunks = ids.chunk_by(|a, b| a.number() + 1 == b.number());
    let ranges = chunks.filter_map(|chunk| match (chunk.first()?, chunk.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    ranges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_ranges() {
        let ids: Vec<NodeId> = [1, 2, 3, 5, 7, 8].map(|id| NodeId::new(id).unwrap()).into();
        assert_eq!(id_ranges(&ids), "1-3,5,7-8");
    }
}
