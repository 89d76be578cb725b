//! Things under numbers that are given out in a row.

use std::collections::VecDeque;

/// A map from dense, ascending numbers, whose oldest entries leave first but for few: a queue with
/// gaps, where an entry is found by counting from the first.
#[derive(Clone, Debug)]
pub(crate) struct Numbered<T> {
    /// The number of the first place.
    first: u64,
    /// The first place is not a gap.
    places: VecDeque<Option<Box<T>>>,
    len: usize,
}

impl<T> Numbered<T> {
    /// The next number is `first`.
    pub(crate) const fn from(first: u64) -> Self {
        Self { first, places: VecDeque::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The lowest number that has an entry; the next one to be given out if none has.
    pub(crate) const fn lowest(&self) -> u64 {
        self.first
    }

    /// Gives an entry the next number.
    pub(crate) fn push(&mut self, entry: T) -> u64 {
        let number = self.next();
        self.places.push_back(Some(Box::new(entry)));
        self.len += 1;
        number
    }

    /// The number that is given out next.
    pub(crate) fn next(&self) -> u64 {
        self.first + u64::try_from(self.places.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.places.get(self.place(number)?)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.place(number)?;
        self.places.get_mut(place)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Box<T>> {
        let place = self.place(number)?;
        let entry = self.places.get_mut(place)?.take()?;
        self.len -= 1;
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.first += 1;
        }
        Some(entry)
    }

    /// The numbers that have an entry, ascending.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let numbered = (self.first..).zip(&self.places);
        numbered.filter(|(_, entry)| entry.is_some()).map(|(number, _)| number)
    }

    /// The entries with their numbers, ascending.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let numbered = (self.first..).zip(&mut self.places);
        numbered.filter_map(|(number, entry)| Some((number, entry.as_deref_mut()?)))
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_until_it_leaves_and_no_number_is_given_twice() {
        let mut numbered = Numbered::from(1);
        let numbers: Vec<u64> = "abcd".chars().map(|letter| numbered.push(letter)).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(numbered.remove(2).map(|entry| *entry), Some('b'));
        assert!(numbered.remove(2).is_none() && numbered.get(9).is_none());
        assert_eq!((numbered.len(), numbered.lowest()), (3, 1));
        assert!(numbered.remove(1).is_some() && numbered.get(1).is_none());
        assert_eq!((numbered.len(), numbered.lowest()), (2, 3));
        assert_eq!(numbered.numbers().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(numbered.get(4), Some(&'d'));
        assert!(numbered.remove(4).is_some() && numbered.remove(3).is_some());
        assert_eq!((numbered.len(), numbered.lowest(), numbered.push('e')), (0, 5, 5));
    }
}
