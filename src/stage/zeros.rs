//! Sparse writing of files on the host.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Unit in bytes in which zeros are skipped.
const PAGE: usize = 4096;

/// Writes bytes at an offset, and skips pages of zeros. The file must already read as zeros there.
pub(crate) fn write_sparsely(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut start = 0;
    while start < bytes.len() {
        let pages = |from: usize, are_zeros: bool| {
            let pages = bytes[from..].chunks(PAGE);
            pages
                .take_while(|page| page.iter().all(|&byte| byte == 0) == are_zeros)
                .map(<[u8]>::len)
                .sum::<usize>()
        };
        start += pages(start, true);
        let len = pages(start, false);
        if len > 0 {
            file.seek(SeekFrom::Start(offset + start as u64))?;
            file.write_all(&bytes[start..start + len])?;
            start += len;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn skipped_pages_of_zeros_read_as_zeros() {
        let mut content = vec![0; 5 * PAGE + 100];
        content[PAGE + 5] = 1;
        content[2 * PAGE] = 2;
        content[5 * PAGE + 99] = 3;
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(content.len() as u64 + 7).unwrap();
        write_sparsely(&mut file, 7, &content).unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found[7..] == content);
    }
}
