//! Bytes that are kept in place while they are few.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Any bytes, without an allocation up to [`ShortBytes::IN_PLACE_MAX`] of them. As large as a
/// [`Bytes`], which holds what is longer.
#[derive(Clone)]
pub(crate) enum ShortBytes {
    InPlace { len: u8, bytes: [u8; Self::IN_PLACE_MAX] },
    Shared(Bytes),
}

impl ShortBytes {
    /// What fits into a [`Bytes`] beside the niche that tells the two apart, less a length.
    pub(crate) const IN_PLACE_MAX: usize = 23;

    /// As [`Bytes`]: shared if they are long, copied if they are few.
    pub(crate) fn to_shared(&self) -> Bytes {
        match self {
            Self::InPlace { .. } => Bytes::copy_from_slice(self),
            Self::Shared(bytes) => bytes.clone(),
        }
    }

    /// The same in memory of its own, so that it keeps no larger buffer alive.
    pub(crate) fn detached(&self) -> Self {
        match self {
            Self::InPlace { .. } => self.clone(),
            Self::Shared(bytes) => Self::Shared(Bytes::copy_from_slice(bytes)),
        }
    }

    fn in_place(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::IN_PLACE_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self::InPlace { len: u8::try_from(from.len()).ok()?, bytes })
    }
}

impl Default for ShortBytes {
    fn default() -> Self {
        Self::InPlace { len: 0, bytes: [0; Self::IN_PLACE_MAX] }
    }
}

impl From<Bytes> for ShortBytes {
    fn from(bytes: Bytes) -> Self {
        Self::in_place(&bytes).unwrap_or(Self::Shared(bytes))
    }
}

impl Deref for ShortBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for ShortBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ShortBytes {}

impl PartialOrd for ShortBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for ShortBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InPlace { .. } => Bytes::copy_from_slice(self).fmt(f),
            Self::Shared(bytes) => bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_more_room_than_what_it_replaces() {
        assert_eq!(size_of::<ShortBytes>(), size_of::<Bytes>());
    }

    #[test]
    fn every_length_comes_back_and_compares_as_its_bytes() {
        let all: Vec<Bytes> = (0..60).map(|len| Bytes::from(vec![7; len])).collect();
        for one in &all {
            let short = ShortBytes::from(one.clone());
            assert_eq!(*short, **one);
            assert_eq!(short.to_shared(), *one);
            assert_eq!(short.detached(), short);
            assert_eq!(format!("{short:?}"), format!("{one:?}"));
            let in_place = matches!(short, ShortBytes::InPlace { .. });
            assert_eq!(in_place, one.len() <= ShortBytes::IN_PLACE_MAX);
            for other in &all {
                let others = ShortBytes::from(other.clone());
                assert_eq!(short.cmp(&others), one.cmp(other));
                assert_eq!(short == others, one == other);
            }
        }
    }

    #[test]
    fn what_is_detached_is_elsewhere() {
        let buffer = Bytes::from(vec![1; 100]);
        let kept = ShortBytes::from(buffer.slice(10..50));
        assert_eq!(kept.as_ptr(), buffer.slice(10..).as_ptr());
        assert_ne!(kept.detached().as_ptr(), kept.as_ptr());
    }
}
