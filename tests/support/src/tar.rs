//! Builds tar archives byte by byte, valid and invalid ones.

/// Size of a block in bytes.
pub const BLOCK: usize = 512;

/// An entry of a tar. A PAX header comes before it if a field does not fit into ustar's.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub content: Vec<u8>,
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of a type (`flag`) that belongs to root, with mode 0644 (0755 for directories), one
    /// second after the epoch.
    pub fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1,
            link: Vec::new(),
            device: (0, 0),
            content: Vec::new(),
            pax: Vec::new(),
        }
    }

    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self {
            content: content.as_ref().to_vec(),
            ..Self::new(b'0', name)
        }
    }

    pub fn directory(name: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', name)
    }

    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(b'2', name)
        }
    }

    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(b'1', name)
        }
    }

    /// Adds a record to the PAX header.
    pub fn pax(mut self, keyword: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((keyword.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Returns the headers and the content, padded to whole blocks.
    pub fn bytes(&self) -> Vec<u8> {
        let mut records = self.pax.clone();
        for (keyword, value, room) in [("path", &self.name, 100), ("linkpath", &self.link, 100)] {
            if value.len() > room {
                records.insert(0, (keyword.into(), value.clone()));
            }
        }
        let mut bytes = Vec::new();
        if !records.is_empty() {
            bytes.extend(extension(b'x', &pax_body(&records)));
        }
        let mut header = Header::new(self.flag, &self.name, self.content.len() as u64);
        header.octal(100..108, u64::from(self.mode));
        header.number(108..116, i64::from(self.uid));
        header.number(116..124, i64::from(self.gid));
        header.number(136..148, self.mtime);
        header.text(157..257, &self.link);
        header.octal(329..337, u64::from(self.device.0));
        header.octal(337..345, u64::from(self.device.1));
        bytes.extend(header.seal());
        bytes.extend(padded(&self.content));
        bytes
    }
}

/// A ustar header whose fields a test can change before [`Header::seal`].
pub struct Header(pub [u8; BLOCK]);

impl Header {
    pub fn new(flag: u8, name: &[u8], size: u64) -> Self {
        let mut header = Self([0; BLOCK]);
        header.text(0..100, name);
        header.octal(100..108, 0o644);
        header.octal(108..116, 0);
        header.octal(116..124, 0);
        header.number(124..136, i64::try_from(size).unwrap());
        header.octal(136..148, 1);
        header.0[156] = flag;
        header.text(257..265, b"ustar\x0000");
        header.octal(329..337, 0);
        header.octal(337..345, 0);
        header
    }

    /// Turns this into a header of GNU tar.
    pub fn gnu(mut self) -> Self {
        self.text(257..265, b"ustar  \0");
        self
    }

    /// Turns this into a header of Unix v7.
    pub fn v7(mut self) -> Self {
        self.0[257..].fill(0);
        self
    }

    /// Writes text into a field, and cuts what does not fit.
    pub fn text(&mut self, field: std::ops::Range<usize>, text: &[u8]) {
        let len = text.len().min(field.len());
        self.0[field.start..field.start + len].copy_from_slice(&text[..len]);
    }

    pub fn octal(&mut self, field: std::ops::Range<usize>, number: u64) {
        let digits = format!("{number:0width$o}\0", width = field.len() - 1);
        self.text(field, digits.as_bytes());
    }

    /// Writes a number in octal or, if it does not fit, in base 256.
    pub fn number(&mut self, field: std::ops::Range<usize>, number: i64) {
        if number >= 0 && number < 1 << (3 * (field.len() - 1)) {
            return self.octal(field, number.unsigned_abs());
        }
        let mut bytes = [if number < 0 { 0xff } else { 0 }; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        let binary = &mut bytes[12 - field.len()..];
        binary[0] |= 0x80;
        self.0[field].copy_from_slice(binary);
    }

    /// Sets the checksum, and returns the block.
    pub fn seal(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.octal(148..155, sum);
        self.0
    }
}

/// Returns an entry that extends the next one: a PAX header (`x`, `g`), or a long name (`L`, `K`).
pub fn extension(flag: u8, body: &[u8]) -> Vec<u8> {
    let header = Header::new(flag, b"././@extension", body.len() as u64);
    [&header.seal()[..], &padded(body)].concat()
}

/// Returns the body of a PAX header with these records.
pub fn pax_body(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let record = |(keyword, value): &(Vec<u8>, Vec<u8>)| {
        let rest = [b" ", &keyword[..], b"=", value, b"\n"].concat();
        let mut len = rest.len() + 1;
        while len != rest.len() + len.to_string().len() {
            len = rest.len() + len.to_string().len();
        }
        [len.to_string().as_bytes(), &rest].concat()
    };
    records.iter().flat_map(record).collect()
}

/// Pads bytes with zeros to whole blocks.
pub fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(BLOCK), 0);
    padded
}

/// Returns a tar of entries, with the two zero blocks at its end.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    bytes.extend([0; 2 * BLOCK]);
    bytes
}
