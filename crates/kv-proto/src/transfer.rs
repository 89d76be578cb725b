//! A checkpoint in parts that fit into frames.

use bytes::Bytes;
use kv_core::{Checkpoint, CheckpointItem, StagedCheckpoint, wire_struct};

/// One part of a checkpoint. The parts of one stream arrive in order, from index 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointChunk {
    /// Tells the parts of one checkpoint from those of another.
    pub stream: u64,
    /// Which part, from 0.
    pub index: u32,
    /// The checkpoint's metadata, in every part's place but meant by the first alone.
    pub metadata: Bytes,
    /// Some items, in order.
    pub items: Vec<CheckpointItem>,
    /// Whether this is the last part.
    pub last: bool,
}

wire_struct!(CheckpointChunk { stream, index, metadata, items, last });

/// Cuts a checkpoint into parts of about a megabyte; an item is never cut.
pub fn checkpoint_chunks(
    stream: u64,
    checkpoint: Checkpoint,
) -> impl Iterator<Item = CheckpointChunk> + Send {
    let mut metadata = checkpoint.metadata;
    let mut items = checkpoint.items.peekable();
    let mut index = 0;
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut part = Vec::new();
        let mut size = 0;
        while size < CHUNK_BYTES
            && let Some(item) = items.next()
        {
            size += item.0.len() + item.1.len() + ITEM_OVERHEAD_BYTES;
            part.push(item);
        }
        ended = items.peek().is_none();
        let metadata = std::mem::take(&mut metadata);
        let chunk = CheckpointChunk { stream, index, metadata, items: part, last: ended };
        index += 1;
        Some(chunk)
    })
}

/// Puts the parts of a checkpoint together; one for each peer that sends some.
#[derive(Debug, Default)]
pub struct CheckpointAssembly {
    stream: u64,
    next_index: u32,
    staged: Option<StagedCheckpoint>,
}

impl CheckpointAssembly {
    /// Takes a part; returns the checkpoint with the last one. A part with index 0 begins anew and
    /// drops what came before.
    ///
    /// # Errors
    /// [`ChunkOutOfOrder`] if the part does not follow the one before it; what was staged is
    /// dropped, and the peer will send the checkpoint again when it is asked to.
    pub fn add(
        &mut self,
        chunk: CheckpointChunk,
    ) -> Result<Option<StagedCheckpoint>, ChunkOutOfOrder> {
        if chunk.index == 0 {
            self.stream = chunk.stream;
            self.next_index = 0;
            self.staged = Some(StagedCheckpoint { metadata: chunk.metadata, items: Vec::new() });
        }
        let expected = self.next_index;
        let Some(staged) =
            self.staged.as_mut().filter(|_| chunk.stream == self.stream && chunk.index == expected)
        else {
            self.staged = None;
            return Err(ChunkOutOfOrder { expected, found: chunk.index });
        };
        staged.items.extend(chunk.items);
        self.next_index += 1;
        Ok(if chunk.last { self.staged.take() } else { None })
    }
}

/// A part of a checkpoint does not follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("part {found} of a checkpoint came where part {expected} was due; it will be sent again")]
pub struct ChunkOutOfOrder {
    /// The part that was due.
    pub expected: u32,
    /// The part that came.
    pub found: u32,
}

/// A part takes no further item once it has this many bytes. The largest item is a key and a value
/// with what an engine adds, so that a part stays below two thirds of a frame.
const CHUNK_BYTES: usize = 1 << 20;

const ITEM_OVERHEAD_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use kv_core::PersistSeq;

    use super::*;

    fn checkpoint(items: Vec<CheckpointItem>) -> Checkpoint {
        Checkpoint {
            covers: PersistSeq(1),
            metadata: Bytes::from_static(b"meta"),
            items: Box::new(items.into_iter()),
        }
    }

    fn items(count: u8, len: usize) -> Vec<CheckpointItem> {
        (0..count).map(|n| (Bytes::from(vec![n]), Bytes::from(vec![n; len]))).collect()
    }

    #[test]
    fn parts_make_the_checkpoint_again() {
        for (count, expected_parts) in [(0, 1), (1, 1), (2, 1), (9, 5)] {
            let items = items(count, 600 << 10);
            let mut assembly = CheckpointAssembly::default();
            let mut staged = None;
            let mut parts = 0;
            for chunk in checkpoint_chunks(7, checkpoint(items.clone())) {
                assert!(staged.is_none(), "it was complete before its last part");
                staged = assembly.add(chunk).unwrap();
                parts += 1;
            }
            let metadata = Bytes::from_static(b"meta");
            assert_eq!(staged, Some(StagedCheckpoint { metadata, items }));
            assert_eq!(parts, expected_parts);
        }
    }

    #[test]
    fn a_missing_part_is_noticed_and_a_new_stream_begins_anew() {
        let parts: Vec<_> = checkpoint_chunks(7, checkpoint(items(9, 600 << 10))).collect();
        let mut assembly = CheckpointAssembly::default();
        assert_eq!(assembly.add(parts[0].clone()), Ok(None));
        assert_eq!(assembly.add(parts[2].clone()), Err(ChunkOutOfOrder { expected: 1, found: 2 }));
        assert!(assembly.add(parts[1].clone()).is_err(), "what was staged is gone");
        for chunk in checkpoint_chunks(8, checkpoint(items(1, 1))) {
            assert!(assembly.add(chunk).unwrap().is_some());
        }
    }
}
