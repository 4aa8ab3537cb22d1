//! A zip archive whose entries are not compressed, written as it comes.

use std::io::{self, Write};

pub(super) struct Zip<'a> {
    out: &'a mut dyn Write,
    directory: Vec<u8>,
    entries: u16,
    written: u64,
}

impl<'a> Zip<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, directory: Vec::new(), entries: 0, written: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn at(&self) -> io::Result<u32> {
        u32::try_from(self.written).map_err(|_| io::Error::other("the archive would pass 4 GiB"))
    }

    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let offset = self.at()?;
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other("a tensor passes 4 GiB"))?;
        // Version 20, no flags, stored, no time, the first of January 1980.
        let mut common: Vec<u8> = [20u16, 0, 0, 0, 0x21].iter().flat_map(|half| half.to_le_bytes()).collect();
        common.extend([crc.sum(), size, size].iter().flat_map(|word| word.to_le_bytes()));
        // Lengths of the name and of an extra field.
        common.extend([name.len() as u16, 0].iter().flat_map(|half| half.to_le_bytes()));
        self.put(b"PK\x03\x04")?;
        self.put(&common)?;
        self.put(name.as_bytes())?;
        self.put(content)?;
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&common);
        // No comment, the first disk, no attributes, then the entry's place.
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let (begin, size) = (self.at()?, self.directory.len() as u32);
        let directory = std::mem::take(&mut self.directory);
        self.put(&directory)?;
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend([self.entries, self.entries].iter().flat_map(|n| n.to_le_bytes()));
        end.extend([size, begin].iter().flat_map(|n| n.to_le_bytes()));
        end.extend([0; 2]);
        self.put(&end)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says() {
        let mut out = Vec::new();
        let mut zip = Zip::new(&mut out);
        zip.add("a/b", b"hello").unwrap();
        zip.add("c", b"").unwrap();
        zip.finish().unwrap();
        assert_eq!(&out[..4], b"PK\x03\x04");
        // The checksum of "hello", its size twice, then the lengths of the name and of nothing.
        assert_eq!(out[14..18], 0x3610_a686u32.to_le_bytes());
        assert_eq!(out[18..30], [5, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(&out[30..38], b"a/bhello");
        let end = &out[out.len() - 22..];
        assert_eq!((&end[..4], end[10]), (&b"PK\x05\x06"[..], 2));
        let directory = u32::from_le_bytes(end[16..20].try_into().unwrap()) as usize;
        assert_eq!(&out[directory..directory + 4], b"PK\x01\x02");
    }
}
