//! The tagged stream that policy is packed in: reads one item after the other, and never past the end. Knows
//! tags, not profiles (`policy`). Source: `security/apparmor/policy_unpack.c`, Linux 6.1.

const U8: u8 = 0;
const U16: u8 = 1;
const U32: u8 = 2;
const U64: u8 = 3;
const NAME: u8 = 4;
const STRING: u8 = 5;
const BLOB: u8 = 6;
const STRUCT: u8 = 7;
const STRUCT_END: u8 = 8;
const LIST: u8 = 9;
const LIST_END: u8 = 10;
const ARRAY: u8 = 11;
const ARRAY_END: u8 = 12;

/// A position in the stream. A read that does not find what it asks for leaves the position where it was.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The name that stands before the next item, if it has one.
    pub fn peek_name(&self) -> Option<&'a [u8]> {
        self.clone().take_name()
    }

    /// A number, named `name` if one is given.
    pub fn u32(&mut self, name: Option<&str>) -> Option<u32> {
        self.attempt(|r| {
            r.header(U32, name)?;
            r.le32()
        })
    }

    /// A string without its final NUL, named `name` if one is given.
    pub fn string(&mut self, name: Option<&str>) -> Option<&'a [u8]> {
        self.attempt(|r| {
            r.header(STRING, name)?;
            let text = r.counted()?;
            text.strip_suffix(&[0])
        })
    }

    /// A blob, named `name`.
    pub fn blob(&mut self, name: &str) -> Option<&'a [u8]> {
        self.attempt(|r| {
            r.header(BLOB, Some(name))?;
            let length = r.le32()?;
            r.take(usize::try_from(length).ok()?)
        })
    }

    /// The start of a structure, named `name`.
    pub fn struct_start(&mut self, name: &str) -> Option<()> {
        self.attempt(|r| r.header(STRUCT, Some(name)))
    }

    /// The end of a structure.
    pub fn struct_end(&mut self) -> Option<()> {
        self.attempt(|r| r.header(STRUCT_END, None))
    }

    /// The start of an array: how many items it says it has.
    pub fn array_start(&mut self) -> Option<u16> {
        self.attempt(|r| {
            r.header(ARRAY, None)?;
            r.le16()
        })
    }

    /// The end of an array.
    pub fn array_end(&mut self) -> Option<()> {
        self.attempt(|r| r.header(ARRAY_END, None))
    }

    /// Passes over the next item with its name and all that is in it.
    pub fn skip(&mut self) -> Option<()> {
        self.attempt(|r| {
            let mut depth = 0_usize;
            loop {
                let _ = r.take_name();
                let [tag] = *r.take(1)? else { return None };
                let _ = match tag {
                    U8 => r.take(1)?,
                    U16 => r.take(2)?,
                    U32 => r.take(4)?,
                    U64 => r.take(8)?,
                    STRING => r.counted()?,
                    BLOB => {
                        let length = r.le32()?;
                        r.take(usize::try_from(length).ok()?)?
                    }
                    STRUCT | LIST | ARRAY => {
                        depth += 1;
                        r.take(if tag == ARRAY { 2 } else { 0 })?
                    }
                    STRUCT_END | LIST_END | ARRAY_END => {
                        depth = depth.checked_sub(1)?;
                        &[]
                    }
                    _ => return None,
                };
                if depth == 0 {
                    return Some(());
                }
            }
        })
    }

    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.bytes;
        let value = read(self);
        if value.is_none() {
            self.bytes = before;
        }
        value
    }

    /// The kernel ignores a name when it asks for none, so this does too.
    fn header(&mut self, tag: u8, name: Option<&str>) -> Option<()> {
        let found = self.take_name();
        if name.is_some_and(|name| found != Some(name.as_bytes())) {
            return None;
        }
        (self.take(1)? == [tag]).then_some(())
    }

    fn take_name(&mut self) -> Option<&'a [u8]> {
        self.attempt(|r| {
            (r.take(1)? == [NAME]).then_some(())?;
            r.counted()?.strip_suffix(&[0])
        })
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.le16()?;
        self.take(usize::from(length))
    }

    fn le16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn le32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }
}
