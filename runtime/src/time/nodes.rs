//! Where a wheel's timers lie.
//!
//! In pieces of 256 places, none of which ever moves a timer into another one: a burst of a million timers
//! copies nothing when it comes, and each piece is freed when its last timer has gone. Of the empty pieces one is
//! kept, that which is used next.

use std::ops::{Index, IndexMut};

use super::wheel::{Action, NIL};

const PIECE: usize = 256;
/// The sequence of a place without a timer: no timer gets that far.
const FREE: u64 = u64::MAX;

pub(super) struct Node {
    pub(super) deadline: u64,
    /// Unique in the wheel.
    pub(super) sequence: u64,
    pub(super) action: Action,
    pub(super) previous: u32,
    /// In its list; of a free place, in the piece's list of those.
    pub(super) next: u32,
    /// Of the first one of a list only.
    pub(super) list: u16,
}

const _: () = assert!(size_of::<Node>() <= 48);

#[derive(Default)]
pub(super) struct Nodes {
    pieces: Vec<Piece>,
    /// The pieces with a free place. The last one is used next.
    spacious: Vec<u32>,
}

struct Piece {
    /// Those beyond its end are free, too.
    nodes: Vec<Node>,
    free: u32,
    used: usize,
}

impl Piece {
    const EMPTY: Piece = Piece { nodes: Vec::new(), free: NIL, used: 0 };
}

impl Index<u32> for Nodes {
    type Output = Node;

    #[inline]
    fn index(&self, index: u32) -> &Node {
        let index = index as usize;
        &self.pieces[index / PIECE].nodes[index % PIECE]
    }
}

impl IndexMut<u32> for Nodes {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Node {
        let index = index as usize;
        &mut self.pieces[index / PIECE].nodes[index % PIECE]
    }
}

impl Nodes {
    /// The timer with this sequence, if it is still at `index`.
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32, sequence: u64) -> Option<&mut Node> {
        let piece = self.pieces.get_mut(index as usize / PIECE)?;
        let node = piece.nodes.get_mut(index as usize % PIECE)?;
        (node.sequence == sequence).then_some(node)
    }

    #[inline]
    pub(super) fn insert(&mut self, node: Node) -> u32 {
        let number = match self.spacious.last() {
            Some(&number) => number,
            None => self.add_piece(),
        };
        let piece = &mut self.pieces[number as usize];
        let place = piece.free;
        let place = if place == NIL {
            piece.nodes.push(node);
            piece.nodes.len() - 1
        } else {
            let free = &mut piece.nodes[place as usize];
            piece.free = free.next;
            *free = node;
            place as usize
        };
        piece.used += 1;
        if piece.used == PIECE {
            self.spacious.pop();
        }
        number * PIECE as u32 + place as u32
    }

    #[cold]
    fn add_piece(&mut self) -> u32 {
        let number = self.pieces.len() as u32;
        self.pieces.push(Piece::EMPTY);
        self.spacious.push(number);
        number
    }

    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> Action {
        let (number, place) = (index / PIECE as u32, index % PIECE as u32);
        let piece = &mut self.pieces[number as usize];
        let node = &mut piece.nodes[place as usize];
        let action = std::mem::replace(&mut node.action, Action::Call(0));
        node.sequence = FREE;
        node.next = piece.free;
        piece.free = place;
        piece.used -= 1;
        if piece.used == PIECE - 1 {
            self.offer(number);
        } else if piece.used == 0 && self.spacious.last() != Some(&number) {
            *piece = Piece::EMPTY;
        }
        action
    }

    /// A piece is not full any more.
    #[cold]
    fn offer(&mut self, number: u32) {
        if let Some(&before) = self.spacious.last() {
            let before = &mut self.pieces[before as usize];
            if before.used == 0 {
                *before = Piece::EMPTY;
            }
        }
        self.spacious.push(number);
    }

    /// Places for which there is memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.pieces.iter().map(|piece| piece.nodes.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(sequence: u64) -> Node {
        Node { deadline: 0, sequence, action: Action::Call(7), previous: NIL, next: NIL, list: 0 }
    }

    #[test]
    fn memory_follows_use_down_to_one_piece() {
        let mut nodes = Nodes::default();
        let places: Vec<_> = (0..100_000).map(|sequence| nodes.insert(node(sequence))).collect();
        assert!(nodes.capacity() < 100_000 + 2 * PIECE);
        // One stays, in the midst.
        for (sequence, &place) in places.iter().enumerate() {
            if sequence != 50_000 {
                assert!(nodes.get_mut(place, sequence as u64).is_some());
                nodes.remove(place);
                assert!(nodes.get_mut(place, sequence as u64).is_none());
            }
        }
        assert!(nodes.capacity() <= 2 * PIECE, "{}", nodes.capacity());
        assert!(nodes.get_mut(places[50_000], 50_000).is_some());
        // And is grown into again.
        let mut again: Vec<_> = (0..10_000).map(|sequence| nodes.insert(node(sequence))).collect();
        again.push(places[50_000]);
        again.sort_unstable();
        again.dedup();
        assert_eq!(again.len(), 10_001);
    }

    #[test]
    fn one_that_comes_and_goes_takes_no_memory() {
        let mut nodes = Nodes::default();
        let first = nodes.insert(node(0));
        nodes.remove(first);
        let capacity = nodes.capacity();
        for sequence in 1..1_000 {
            let place = nodes.insert(node(sequence));
            assert_eq!((place, nodes.capacity()), (first, capacity));
            nodes.remove(place);
        }
    }
}
