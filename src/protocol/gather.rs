//! Bytes on their way out, to a socket or a file: small pieces are copied together, large ones stay
//! where they are and are written from there.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes, BytesMut};

/// Pieces from this length on are shared, not copied: from here on a copy costs more than a place
/// in a vectored write.
const SHARE_MIN: usize = 8 * 1024;

/// Pieces in one vectored write; the kernel takes 1024.
pub const SLICES_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Gather {
    sealed: VecDeque<Bytes>,
    sealed_len: usize,
    tail: BytesMut,
}

impl Gather {
    /// Where small things are appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    pub fn len(&self) -> usize {
        self.sealed_len.saturating_add(self.tail.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a piece: a copy or a share, by its length.
    pub fn push(&mut self, piece: &Bytes) {
        if piece.len() < SHARE_MIN {
            self.tail.extend_from_slice(piece);
        } else {
            self.seal();
            self.sealed_len = self.sealed_len.saturating_add(piece.len());
            self.sealed.push_back(piece.clone());
        }
    }

    /// Appends all of `other`, which is empty afterwards.
    pub fn append(&mut self, other: &mut Self) {
        other.seal();
        while let Some(piece) = other.sealed.pop_front() {
            self.push(&piece);
        }
        other.sealed_len = 0;
    }

    /// Moves what was appended to where the pieces are: required before it is read as a [`Buf`].
    pub fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.sealed_len = self.sealed_len.saturating_add(self.tail.len());
            self.sealed.push_back(self.tail.split().freeze());
        }
    }

    /// The pieces in order, after [`Gather::seal`].
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.sealed.iter()
    }

    /// Writes everything out.
    pub fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.seal();
        while self.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.chunks_vectored(&mut slices);
            let written = match out.write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.advance(written);
        }
        Ok(())
    }

    /// Gives memory back beyond `kept` bytes, once everything is written.
    pub fn shrink(&mut self, kept: usize) {
        if self.tail.capacity() > kept {
            self.tail = BytesMut::new();
        }
        if self.sealed.capacity() > SLICES_MAX {
            self.sealed = VecDeque::new();
        }
    }
}

/// The sealed part, for vectored writes.
impl Buf for Gather {
    fn remaining(&self) -> usize {
        self.sealed_len
    }

    fn chunk(&self) -> &[u8] {
        self.sealed.front().map_or(&[], Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.sealed);
        pairs.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.sealed_len = self.sealed_len.saturating_sub(count);
        while let Some(first) = self.sealed.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count = count.saturating_sub(first.len());
            self.sealed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_the_order_they_went_in() {
        let large = Bytes::from(vec![7u8; SHARE_MIN]);
        let mut gather = Gather::default();
        let mut expected = Vec::new();
        for index in 0..200u8 {
            gather.buffer().extend_from_slice(&[index]);
            gather.push(&large);
            expected.push(index);
            expected.extend_from_slice(&large);
        }
        assert_eq!(gather.len(), expected.len());
        let mut written = Vec::new();
        gather.write_to(&mut written).expect("a Vec takes everything");
        assert!(written == expected);
        assert!(gather.is_empty());
    }
}
