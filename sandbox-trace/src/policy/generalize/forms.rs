//! Which names of one folder belong together, and the pattern for them. Knows names and in which recordings they were,
//! not the folders above.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    Generalization,
    folder::Entry,
    names::{self, Look, Numbers, Part, Parts},
    places,
};
use crate::{apparmor::pattern::Piece, recording::Access};

/// Names with one pattern, or one name that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `None` for the names themselves.
    pub pieces: Option<Vec<Piece>>,
    /// Positions in the list.
    pub members: Vec<usize>,
}

impl Group {
    /// A name that stays.
    pub fn literal(at: usize) -> Self {
        Self { pieces: None, members: vec![at] }
    }
}

/// What the names are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// The recordings in which the folder was used.
    pub all: u64,
    /// How far to go.
    pub level: Generalization,
    /// What the folder says of its names.
    pub look: Look,
    /// Whether the names are those of files.
    pub are_files: bool,
}

/// From how many examples on names are taken for many.
struct Thresholds {
    /// Names that differ in numbers alone, in one recording.
    series: usize,
    /// Files with one ending.
    ending: usize,
    /// Any names.
    any: usize,
}

impl Evidence {
    fn thresholds(&self) -> Thresholds {
        match self.level {
            Generalization::Broad => Thresholds { series: 3, ending: 4, any: 8 },
            _ if self.are_files => Thresholds { series: 4, ending: 16, any: 64 },
            _ => Thresholds { series: 4, ending: 16, any: 32 },
        }
    }

    /// Whether names can be compared between recordings.
    fn several(&self) -> bool {
        self.all.count_ones() > 1
    }

    fn varies(&self, entry: &Entry<'_>) -> bool {
        self.several() && entry.recordings != self.all
    }
}

/// Groups the names.
pub fn groups(entries: &[Entry<'_>], evidence: &Evidence) -> Vec<Group> {
    let mut out = Vec::new();
    let (keys, rest): (Vec<usize>, Vec<usize>) =
        (0..entries.len()).partition(|at| entries.get(*at).is_some_and(|entry| places::is_key(entry.name)));
    out.extend(keys.into_iter().map(Group::literal));
    let mut pass = Pass { entries, evidence, rest, out };
    pass.digests();
    pass.of_one_form();
    pass.words();
    pass.first_words();
    pass.endings();
    pass.anything();
    pass.many();
    let Pass { rest, mut out, .. } = pass;
    out.extend(rest.into_iter().map(Group::literal));
    out
}

struct Pass<'p, 'a> {
    entries: &'p [Entry<'a>],
    evidence: &'p Evidence,
    /// What belongs to no group yet.
    rest: Vec<usize>,
    out: Vec<Group>,
}

/// Names that may be a group.
struct Candidates<K> {
    groups: Vec<(K, Vec<usize>)>,
    others: Vec<usize>,
}

impl<'a> Pass<'_, 'a> {
    fn entry(&self, at: usize) -> Option<&Entry<'a>> {
        self.entries.get(at)
    }

    fn name(&self, at: usize) -> &'a [u8] {
        self.entry(at).map_or(b"", |entry| entry.name)
    }

    fn look(&self, at: usize) -> Look {
        let both = Access::CREATE | Access::DELETE;
        let short_lived = self.entry(at).is_some_and(|entry| entry.access.contains(both));
        Look { short_lived, ..self.evidence.look }
    }

    /// The names by a key; those without one are left over.
    fn by<K: Eq + std::hash::Hash + Clone>(
        &mut self,
        key: impl Fn(&Self, usize) -> Option<K>,
    ) -> Candidates<K> {
        let mut positions: HashMap<K, usize, FixedState> = HashMap::default();
        let mut out = Candidates { groups: Vec::new(), others: Vec::new() };
        for at in std::mem::take(&mut self.rest) {
            let Some(key) = key(self, at) else {
                out.others.push(at);
                continue;
            };
            let position = *positions.entry(key.clone()).or_insert(out.groups.len());
            if position == out.groups.len() {
                out.groups.push((key, Vec::new()));
            }
            if let Some((_, members)) = out.groups.get_mut(position) {
                members.push(at);
            }
        }
        out
    }

    fn varies(&self, members: &[usize]) -> bool {
        members.iter().filter_map(|at| self.entry(*at)).any(|entry| self.evidence.varies(entry))
    }

    /// Whether names differ between recordings so that each of two at least has one of its own.
    fn each_has_its_own(&self, members: &[usize]) -> bool {
        let own = members.iter().filter_map(|at| self.entry(*at)).filter(|entry| self.evidence.varies(entry));
        members.len() > 1 && own.fold(0, |all, entry| all | entry.recordings).count_ones() > 1
    }

    fn take(&mut self, pieces: Vec<Piece>, members: Vec<usize>) {
        self.out.push(Group { pieces: Some(pieces), members });
    }

    /// Hexadecimal names of one length: folders of a cache, objects.
    fn digests(&mut self) {
        let hex = |byte: &u8| names::fits(*byte, names::HEX);
        let candidates = self.by(|pass, at| {
            let name = pass.name(at);
            (!name.is_empty() && name.len() <= 64 && name.iter().all(hex)).then_some(name.len())
        });
        self.rest = candidates.others;
        for (length, members) in candidates.groups {
            let any = |is: fn(&u8) -> bool| members.iter().any(|at| self.name(*at).iter().any(is));
            let mixed = any(u8::is_ascii_digit) && any(u8::is_ascii_lowercase);
            let enough = if self.evidence.several() {
                self.each_has_its_own(&members)
            } else {
                length > 1 && members.len() >= self.evidence.thresholds().series
            };
            if mixed && enough {
                self.take(names::classes(length, names::HEX), members);
            } else {
                self.rest.extend(members);
            }
        }
        self.rest.sort_unstable();
    }

    /// Names that are random by their form, or that differ in numbers alone.
    fn of_one_form(&mut self) {
        let parts_of = |pass: &Self, at: usize| names::parts(pass.name(at), pass.look(at));
        let candidates = self.by(|pass, at| {
            let parts = parts_of(pass, at);
            let plain = parts.iter().all(|(_, part)| *part == Part::Text);
            // No recorded name has a NUL, which marks parts in a form.
            (!plain && !pass.name(at).contains(&0)).then(|| names::form(pass.name(at), &parts))
        });
        self.rest = candidates.others;
        for (_, members) in candidates.groups {
            let Some(one) = members.first().copied() else { continue };
            let parts = parts_of(self, one);
            let mut numbers: Vec<Numbers> = Vec::new();
            for at in &members {
                let texts = number_texts(self.name(*at), &parts_of(self, *at));
                if numbers.is_empty() {
                    numbers = texts.iter().map(|text| Numbers::of(text)).collect();
                } else {
                    numbers.iter_mut().zip(&texts).for_each(|(known, text)| known.add(text));
                }
            }
            let random = parts.iter().any(|(_, part)| matches!(part, Part::Random(_) | Part::Digits));
            if random || self.is_series(&members, &numbers) {
                let name = self.name(one);
                self.take(names::of_form(name, &parts, &numbers, true), members);
            } else {
                self.rest.extend(members);
            }
        }
        self.rest.sort_unstable();
    }

    /// Whether names of one form go on with other numbers.
    fn is_series(&self, members: &[usize], numbers: &[Numbers]) -> bool {
        const PROCESS: usize = 4;
        let least = self.evidence.thresholds();
        let several = self.evidence.several();
        // The same ones in all recordings: only many are taken for a part of more.
        let count = if several { least.ending } else { least.series };
        let go_on = members.len() > 1 && (self.varies(members) || members.len() >= count);
        let longest = numbers.iter().map(Numbers::longest).max().unwrap_or(0);
        let of_one_run = self.evidence.look.temporary && !several && longest >= PROCESS;
        go_on || of_one_run || self.evidence.level == Generalization::Broad && longest >= 6
    }

    /// Names that differ in words with digits or capitals: `part-x7Yw.bin`.
    fn words(&mut self) {
        self.framed(|name| {
            let words = split(name);
            let odd =
                words.iter().filter(|(range, is_word)| *is_word && is_odd(name.get(range.clone()))).count();
            if odd == 0 {
                return None;
            }
            let mut frame = Vec::new();
            for (range, is_word) in words {
                let text = name.get(range).unwrap_or(&[]);
                if is_word && is_odd(Some(text)) {
                    frame.push(0);
                } else {
                    frame.extend_from_slice(text);
                }
            }
            Some(frame)
        });
    }

    /// Names that share what framed by a key's zero bytes: the texts in their places vary.
    fn framed(&mut self, key: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        if !self.evidence.several() {
            return;
        }
        let candidates = self.by(|pass, at| {
            let varies = pass.entry(at).is_some_and(|entry| pass.evidence.varies(entry));
            if varies && !pass.name(at).contains(&0) { key(pass.name(at)) } else { None }
        });
        self.rest = candidates.others;
        for (frame, members) in candidates.groups {
            if !self.each_has_its_own(&members) {
                self.rest.extend(members);
                continue;
            }
            for members in self.by_length(members) {
                let pieces = self.fill(&frame, &members);
                self.take(pieces, members);
            }
        }
        self.rest.sort_unstable();
    }

    /// Apart by length, if each length was seen in several recordings: then each has a pattern of its own.
    fn by_length(&self, members: Vec<usize>) -> Vec<Vec<usize>> {
        let mut lengths: Vec<(usize, Vec<usize>)> = Vec::new();
        for at in &members {
            let length = self.name(*at).len();
            let known = lengths.len();
            match lengths.iter_mut().find(|(other, _)| *other == length) {
                Some((_, same)) => same.push(*at),
                // Too many to be told apart.
                None if known > 8 => return vec![members],
                None => lengths.push((length, vec![*at])),
            }
        }
        if lengths.iter().all(|(_, same)| self.each_has_its_own(same)) {
            lengths.into_iter().map(|(_, same)| same).collect()
        } else {
            vec![members]
        }
    }

    /// The pattern for a frame whose places the members fill.
    fn fill(&self, frame: &[u8], members: &[usize]) -> Vec<Piece> {
        let fixed: Vec<&[u8]> = frame.split(|byte| *byte == 0).collect();
        let filled: Vec<Vec<&[u8]>> = members.iter().map(|at| fillings(self.name(*at), &fixed)).collect();
        let mut pieces = Vec::new();
        for (place, text) in fixed.iter().enumerate() {
            if place > 0 {
                let texts: Vec<&[u8]> = filled.iter().filter_map(|one| one.get(place - 1).copied()).collect();
                pieces.extend(names::of_texts(
                    &texts,
                    place == 1 && fixed.first().is_some_and(|t| t.is_empty()),
                ));
            }
            pieces.push(Piece::Literal(text.to_vec()));
        }
        pieces
    }

    /// Names that share their first word and their ending.
    fn first_words(&mut self) {
        self.framed(|name| {
            let (start, end) = (names::first_word(name), names::ending(name));
            let (first, rest) = (name.get(..start)?, name.get(end..)?);
            (start > 0 && start < end).then(|| [first, &[0], rest].concat())
        });
    }

    /// Names that share their ending.
    fn endings(&mut self) {
        self.framed(|name| {
            let end = names::ending(name);
            let rest = name.get(end..)?;
            (end < name.len()).then(|| [&[0], rest].concat())
        });
    }

    fn anything(&mut self) {
        self.framed(|_| Some(vec![0]));
    }

    /// Folders with many files, whatever they are called.
    fn many(&mut self) {
        let least = self.evidence.thresholds();
        // The same ones in all recordings may well be all that there are.
        let times = if self.evidence.several() && !self.varies(&self.rest) { 4 } else { 1 };
        let candidates = self.by(|pass, at| {
            let name = pass.name(at);
            let end = names::ending(name);
            (end < name.len()).then(|| name.get(end..).unwrap_or(&[]))
        });
        self.rest = candidates.others;
        for (ending, members) in candidates.groups {
            if self.evidence.are_files && members.len() >= least.ending * times {
                let pieces = self.wide(&members, ending);
                self.take(pieces, members);
            } else {
                self.rest.extend(members);
            }
        }
        self.rest.sort_unstable();
        if self.rest.len() >= least.any * times {
            let members = std::mem::take(&mut self.rest);
            let pieces = self.wide(&members, b"");
            self.take(pieces, members);
        }
    }

    fn wide(&self, members: &[usize], ending: &[u8]) -> Vec<Piece> {
        let hidden = members.iter().any(|at| {
            let name = self.name(*at);
            name.starts_with(b".") || name.len() == ending.len()
        });
        vec![names::anything(hidden), Piece::Literal(ending.to_vec())]
    }
}

/// The texts of a name's numbers.
fn number_texts<'n>(name: &'n [u8], parts: &Parts) -> Vec<&'n [u8]> {
    let numbers = parts.iter().filter(|(_, part)| *part == Part::Number);
    numbers.map(|(range, _)| name.get(range.clone()).unwrap_or(&[])).collect()
}

/// A name as words and what is between them.
fn split(name: &[u8]) -> Vec<(std::ops::Range<usize>, bool)> {
    let mut out: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
    for (at, byte) in name.iter().enumerate() {
        let is_word = byte.is_ascii_alphanumeric() || *byte == b'_';
        match out.last_mut() {
            Some((range, same)) if *same == is_word => range.end = at + 1,
            _ => out.push((at..at + 1, is_word)),
        }
    }
    out
}

/// Whether a word is none of a language: it has digits, or capitals behind its first letter.
fn is_odd(word: Option<&[u8]>) -> bool {
    word.is_some_and(|word| {
        word.iter().any(u8::is_ascii_digit) || word.iter().skip(1).any(u8::is_ascii_uppercase)
    })
}

/// What a name has in the places between the fixed texts, which it is known to have.
fn fillings<'n>(name: &'n [u8], fixed: &[&[u8]]) -> Vec<&'n [u8]> {
    let mut out = Vec::new();
    let mut at = fixed.first().map_or(0, |text| text.len());
    for (place, text) in fixed.iter().enumerate().skip(1) {
        let rest = name.get(at..).unwrap_or(&[]);
        let length = if place + 1 == fixed.len() {
            rest.len().saturating_sub(text.len())
        } else {
            rest.windows(text.len().max(1)).position(|part| part == *text).unwrap_or(rest.len())
        };
        out.push(rest.get(..length).unwrap_or(rest));
        at += length + text.len();
    }
    out
}
