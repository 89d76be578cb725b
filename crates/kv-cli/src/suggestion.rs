//! The word that was probably meant.

/// The candidate that is most like `word`, if any is like it at all: with few letters wrong (swapped
/// neighbours count as one), or with the same beginning by Jaro and Winkler's measure.
#[must_use]
pub fn nearest<T: AsRef<str>>(word: &str, candidates: impl IntoIterator<Item = T>) -> Option<T> {
    let wrong = |candidate: &T| strsim::osa_distance(word, candidate.as_ref());
    let likeness = |candidate: &T| strsim::jaro_winkler(word, candidate.as_ref());
    let is_alike = |candidate: &T| {
        let few = candidate.as_ref().chars().count().div_ceil(LETTERS_PER_MISTAKE);
        wrong(candidate) <= few || likeness(candidate) >= LIKENESS_MIN
    };
    let alike = candidates.into_iter().filter(is_alike);
    alike.max_by(|a, b| wrong(b).cmp(&wrong(a)).then_with(|| likeness(a).total_cmp(&likeness(b))))
}

/// One letter in so many may be wrong.
const LETTERS_PER_MISTAKE: usize = 3;

const LIKENESS_MIN: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_mistakes_have_a_suggestion_and_other_words_none() {
        let names = ["get", "put", "delete", "status"];
        assert_eq!(nearest("gte", names), Some("get"));
        assert_eq!(nearest("delte", names), Some("delete"));
        assert_eq!(nearest("stauts", names), Some("status"));
        assert_eq!(nearest("frobnicate", names), None);
        assert_eq!(nearest("xyz", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("get", [""; 0]), None);
    }

    #[test]
    fn a_long_word_may_go_on_otherwise() {
        assert_eq!(nearest("op_log", ["log.level", "op_log.folder"]), Some("op_log.folder"));
    }
}
