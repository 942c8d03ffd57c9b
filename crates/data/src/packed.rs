//! Arrays as bytes, for what one process tells another: a number takes its own size and no time.
//!
//! For serde's `with`. Numbers are little-endian, so that a file of them would be readable elsewhere too.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that serde takes as such, not as a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        from.deserialize_byte_buf(Of)
    }
}

/// A number of fixed size.
pub(crate) trait Number: Copy {
    const SIZE: usize;
    fn put(self, to: &mut Vec<u8>);
    /// Of exactly [`Number::SIZE`] bytes.
    fn get(from: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            const SIZE: usize = size_of::<$kind>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn get(from: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(from.try_into().ok()?))
            }
        }
    )*};
}

number!(u8, f32, f64);

fn pack<T: Number>(values: impl Iterator<Item = T>, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len * T::SIZE);
    values.for_each(|value| value.put(&mut bytes));
    Bytes(bytes)
}

fn unpack<T: Number>(bytes: &[u8]) -> Result<Vec<T>, &'static str> {
    let whole = bytes.chunks_exact(T::SIZE);
    if whole.remainder().is_empty() {
        whole.map(|chunk| T::get(chunk).ok_or("a number")).collect()
    } else {
        Err("a whole number of numbers")
    }
}

/// A list of numbers.
pub(crate) mod list {
    use super::{Bytes, Deserialize, Deserializer, Error, Number, Serialize, Serializer, pack, unpack};

    pub(crate) fn serialize<T: Number, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        pack(values.iter().copied(), values.len()).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        unpack(&Bytes::deserialize(from)?.0).map_err(D::Error::custom)
    }
}

/// Lists of numbers, one for each unit: their lengths, then all numbers.
pub(crate) mod lists {
    use super::{Bytes, Deserialize, Deserializer, Error, Number, Serialize, Serializer, pack, unpack};

    pub(crate) fn serialize<T: Number, S: Serializer>(lists: &[Vec<T>], to: S) -> Result<S::Ok, S::Error> {
        let lengths: Vec<usize> = lists.iter().map(Vec::len).collect();
        let all = pack(lists.iter().flatten().copied(), lengths.iter().sum());
        (lengths, all).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<T>>, D::Error> {
        let (lengths, all): (Vec<usize>, Bytes) = Deserialize::deserialize(from)?;
        let mut rest = &all.0[..];
        let mut list = |length: usize| {
            let size = length.checked_mul(T::SIZE).filter(|size| *size <= rest.len());
            let (own, others) = rest.split_at(size.ok_or("as many numbers as the lengths say")?);
            rest = others;
            unpack(own)
        };
        let lists = lengths.into_iter().map(&mut list).collect::<Result<_, _>>();
        let lists = lists.map_err(D::Error::custom)?;
        if rest.is_empty() {
            Ok(lists)
        } else {
            Err(D::Error::custom("no more numbers than the lengths say"))
        }
    }
}

/// An array of D axes: its shape, then its numbers in standard order.
pub(crate) mod array {
    use super::{Bytes, Deserialize, Deserializer, Error, Number, Serialize, Serializer, pack, unpack};
    use ndarray::{Array, ArrayD, Dimension, IxDyn};

    pub(crate) fn serialize<T: Number, D: Dimension, S: Serializer>(
        array: &Array<T, D>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        (array.shape(), pack(array.iter().copied(), array.len())).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Number, A: Dimension, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Array<T, A>, D::Error> {
        let (shape, all): (Vec<usize>, Bytes) = Deserialize::deserialize(from)?;
        let values = unpack(&all.0).map_err(D::Error::custom)?;
        let array = ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(D::Error::custom)?;
        array.into_dimensionality().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, array};
    use serde::{Deserialize, Serialize};

    use super::Bytes;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        #[serde(with = "super::list")]
        list: Vec<f64>,
        #[serde(with = "super::lists")]
        lists: Vec<Vec<f64>>,
        #[serde(with = "super::array")]
        counts: Array3<u8>,
        #[serde(with = "super::array")]
        traces: Array2<f32>,
    }

    fn through<T: Serialize, U: for<'de> Deserialize<'de>>(value: &T) -> Result<U, String> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).map_err(|e| e.to_string())?;
        ciborium::from_reader(&bytes[..]).map_err(|e| e.to_string())
    }

    #[test]
    fn arrays_come_back_bit_by_bit_and_take_their_own_size() {
        let counts = Array3::from_shape_fn((2, 3, 4), |(k, t, n)| (k * 100 + t * 10 + n) as u8);
        let all = All {
            list: vec![0.1, -0.0, f64::INFINITY, f64::MIN_POSITIVE],
            lists: vec![vec![1.5], Vec::new(), vec![2.5, 3.5]],
            // Not in standard order.
            counts: counts.permuted_axes([2, 0, 1]),
            traces: array![[1.0, 2.0], [3.0, -4.0]],
        };
        assert_eq!(through::<_, All>(&all).unwrap(), all);
        let nan = f64::from_bits(0x7ff8_0000_0000_1234);
        let mut bytes = Vec::new();
        let many = All {
            list: vec![nan; 1000],
            ..all
        };
        ciborium::into_writer(&many, &mut bytes).unwrap();
        assert!(bytes.len() < 8000 + 300, "{}", bytes.len());
        let back: All = ciborium::from_reader(&bytes[..]).unwrap();
        assert!(back.list.iter().all(|value| value.to_bits() == nan.to_bits()));
    }

    #[test]
    fn lengths_that_the_numbers_contradict_are_refused() {
        #[derive(Serialize)]
        struct Parts {
            list: Bytes,
            lists: (Vec<usize>, Bytes),
            counts: (Vec<usize>, Bytes),
            traces: (Vec<usize>, Bytes),
        }
        let make = |list: usize, lengths: &[usize], counts: &[usize], traces: &[usize]| {
            let zeros = |n| Bytes(vec![0; n]);
            through::<_, All>(&Parts {
                list: zeros(list),
                lists: (lengths.to_vec(), zeros(16)),
                counts: (counts.to_vec(), zeros(6)),
                traces: (traces.to_vec(), zeros(8)),
            })
        };
        assert!(make(16, &[1, 1], &[1, 2, 3], &[1, 2]).is_ok());
        let all = [
            make(15, &[1, 1], &[1, 2, 3], &[1, 2]),
            make(16, &[1, 2], &[1, 2, 3], &[1, 2]),
            make(16, &[1], &[1, 2, 3], &[1, 2]),
            make(16, &[usize::MAX, 1], &[1, 2, 3], &[1, 2]),
            make(16, &[1, 1], &[1, 2, 4], &[1, 2]),
            make(16, &[1, 1], &[6], &[1, 2]),
            make(16, &[1, 1], &[1, 2, 3], &[usize::MAX, 2]),
        ];
        for (i, found) in all.iter().enumerate() {
            assert!(found.is_err(), "{i}");
        }
    }
}
