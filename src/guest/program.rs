//! Appends the configuration to the init's prebuilt program.
//!
//! The configuration is the last segment of the program (`guest/init/link.ld`). It has the form in
//! which the init uses it ([`guest_configuration`]): its addresses are right where the kernel maps
//! the segment. So the init has no parser and no allocator, and opens no file before /proc is
//! mounted. No string has a length limit, and any bytes survive, since none are interpreted.
//! Besides the segment, only its two sizes in the program header change.

use guest_configuration as layout;

use super::accounts::ResolvedUser;
use super::command::GuestCommand;
use super::tmpfs::TmpfsDirectory;
use oci::Platform;

/// Offset of the program headers, offset of their number (`e_phnum`), and their size (elf(5)).
const PROGRAM_HEADERS: usize = 64;
const PROGRAM_HEADER_COUNT: usize = 56;
const PROGRAM_HEADER_LEN: usize = 56;
/// `p_type` and `p_flags` of the configuration's segment: `PT_LOAD`, `PF_R`.
const READ_ONLY_SEGMENT: [u8; 8] = [1, 0, 0, 0, 4, 0, 0, 0];

/// The values that [`configured_program`] encodes.
pub(super) struct Configuration<'a> {
    pub(super) command: &'a GuestCommand,
    pub(super) user: &'a ResolvedUser,
    pub(super) hostname: &'a [u8],
    /// Directories of all tmpfs, each after its parent.
    pub(super) directories: &'a [TmpfsDirectory],
}

/// Returns the prebuilt program for a platform. Returns `None` for a platform without one.
pub(super) fn prebuilt_program(platform: &Platform) -> Option<&'static [u8]> {
    match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => Some(include_bytes!("init/x86_64")),
        ("linux", "arm64") => Some(include_bytes!("init/aarch64")),
        _ => None,
    }
}

/// Returns the program with its last segment replaced by a configuration.
pub(super) fn configured_program(program: &[u8], configuration: &Configuration<'_>) -> Vec<u8> {
    let header = PROGRAM_HEADERS
        + PROGRAM_HEADER_LEN
            * (0..usize::from(program[PROGRAM_HEADER_COUNT]))
                .find(|index| program[PROGRAM_HEADERS + index * PROGRAM_HEADER_LEN..].starts_with(&READ_ONLY_SEGMENT))
                .expect("the program has one segment that is only read");
    let field = |index: usize| {
        let bytes = program[header + 8 * index..]
            .first_chunk()
            .expect("the header is whole");
        u64::from_le_bytes(*bytes)
    };
    let (offset, address) = (field(1), field(2));
    let segment = SegmentBuilder::new(address).build(configuration);

    let offset = usize::try_from(offset).expect("the program is small");
    let mut program = program[..offset].to_vec();
    let len = (segment.len() as u64).to_le_bytes();
    program[header + 32..header + 40].copy_from_slice(&len);
    program[header + 40..header + 48].copy_from_slice(&len);
    program.extend(segment);
    program
}

/// Builds the segment. Each value comes before the lists that hold its address.
struct SegmentBuilder {
    address: u64,
    bytes: Vec<u8>,
}

impl SegmentBuilder {
    fn new(address: u64) -> Self {
        Self {
            address,
            bytes: vec![0; size_of::<layout::Configuration>()],
        }
    }

    /// Returns the bytes of the segment.
    fn build(mut self, configuration: &Configuration<'_>) -> Vec<u8> {
        let Configuration {
            command,
            user,
            hostname,
            directories,
        } = configuration;
        let groups: Vec<u8> = user.groups.iter().flat_map(|group| group.to_le_bytes()).collect();
        let header = layout::Configuration {
            arguments: self.add_strings(&command.arguments),
            environment: self.add_strings(&command.environment),
            groups: self.add(&groups),
            group_count: user.groups.len() as u64,
            directories: self.add_directories(directories),
            directory_count: directories.len() as u64,
            working_directory: self.add_string(&command.working_directory),
            hostname: self.add_string(hostname),
            user: user.uid,
            group: user.gid,
            stop_signal: command.stop_signal,
            reserved: 0,
        };
        let header = header.to_bytes();
        self.bytes[..header.len()].copy_from_slice(&header);
        self.bytes
    }

    /// Adds a list of directories, and returns its address.
    fn add_directories(&mut self, directories: &[TmpfsDirectory]) -> u64 {
        let list: Vec<u8> = directories
            .iter()
            .flat_map(|directory| {
                let entry = layout::Directory {
                    path: self.add_string(&directory.path),
                    mode: directory.mode.into(),
                    user: directory.user,
                    group: directory.group,
                    mount: directory.mount as u32,
                };
                entry.to_bytes()
            })
            .collect();
        self.add(&list)
    }

    /// Adds strings and a list of their addresses, and returns the address of the list.
    fn add_strings(&mut self, strings: &[Vec<u8>]) -> u64 {
        let mut list: Vec<u8> = strings
            .iter()
            .flat_map(|string| self.add_string(string).to_le_bytes())
            .collect();
        list.extend([0; 8]);
        self.add(&list)
    }

    /// Adds bytes at the next multiple of 8, and returns their address. The segment's own address
    /// is a multiple of 8.
    fn add(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let address = self.address + self.bytes.len() as u64;
        self.bytes.extend(bytes);
        address
    }

    /// Adds a string and its NUL, and returns its address.
    fn add_string(&mut self, string: &[u8]) -> u64 {
        let address = self.address + self.bytes.len() as u64;
        self.bytes.extend(string);
        self.bytes.push(0);
        address
    }
}

#[cfg(test)]
mod tests {
    use super::super::tmpfs::TmpfsMount;
    use super::*;

    /// The configuration's segment as the kernel maps it.
    struct MappedSegment {
        address: usize,
        bytes: Vec<u8>,
    }

    impl MappedSegment {
        fn u64_at(&self, address: usize) -> usize {
            let bytes = self.bytes[address - self.address..].first_chunk().unwrap();
            u64::from_le_bytes(*bytes).try_into().unwrap()
        }

        fn u32_at(&self, address: usize) -> u32 {
            u32::from_le_bytes(*self.bytes[address - self.address..].first_chunk().unwrap())
        }

        fn string(&self, address: usize) -> &[u8] {
            let string = &self.bytes[address - self.address..];
            &string[..string.iter().position(|&byte| byte == 0).unwrap()]
        }

        fn strings(&self, list: usize) -> Vec<&[u8]> {
            let addresses = (0..).map(|index| self.u64_at(list + 8 * index));
            addresses
                .take_while(|&address| address != 0)
                .map(|address| self.string(address))
                .collect()
        }
    }

    /// Returns the configuration's segment, found like a loader finds it.
    fn load(program: &[u8]) -> MappedSegment {
        let u64_at = |at: usize| usize::try_from(u64::from_le_bytes(*program[at..].first_chunk().unwrap())).unwrap();
        assert_eq!(program[..5], *b"\x7fELF\x02");
        assert_eq!(u64_at(32), PROGRAM_HEADERS);
        let headers = (0..usize::from(program[56])).map(|index| PROGRAM_HEADERS + index * 56);
        let loaded: Vec<_> = headers.filter(|&header| program[header] == 1).collect();
        let [_, last] = loaded[..] else {
            panic!("{} segments", loaded.len())
        };
        let (offset, address, len) = (u64_at(last + 8), u64_at(last + 16), u64_at(last + 32));
        assert_eq!(u64_at(last + 40), len);
        assert!(offset + len <= program.len());
        assert_eq!(offset % 65536, address % 65536);
        assert_eq!(address % 8, 0);
        MappedSegment {
            address,
            bytes: program[offset..offset + len].to_vec(),
        }
    }

    #[test]
    fn any_bytes_reach_the_guest() {
        let arguments: Vec<Vec<u8>> = [
            &b"/bin/e"[..],
            b"",
            b" a  b ",
            b"\n\t\r",
            b"$HOME `x` \"'\\",
            b"\xff\xfe",
            &[b'x'; 10_000],
        ]
        .map(<[u8]>::to_vec)
        .into();
        let command = GuestCommand {
            arguments,
            environment: vec![b"A=\xff\n".to_vec(), b"HOME=/".to_vec()],
            working_directory: b"/srv/a b".to_vec(),
            stop_signal: 37,
        };
        let user = ResolvedUser {
            uid: 1000,
            gid: 1001,
            groups: vec![1001, 4, 29],
            home: b"/".to_vec(),
        };
        let directories = [
            TmpfsDirectory {
                path: b"/run".to_vec(),
                mode: 0o755,
                user: 0,
                group: 0,
                mount: TmpfsMount::Always,
            },
            TmpfsDirectory {
                path: b"/run/lock".to_vec(),
                mode: 0o1777,
                user: 1,
                group: 2,
                mount: TmpfsMount::Inside,
            },
        ];
        for architecture in ["amd64", "arm64"] {
            let platform = Platform::new("linux", architecture, None).unwrap();
            let mapped = load(&configured_program(
                prebuilt_program(&platform).unwrap(),
                &Configuration {
                    command: &command,
                    user: &user,
                    hostname: b"machine",
                    directories: &directories,
                },
            ));
            let header = |index: usize| mapped.u64_at(mapped.address + 8 * index);
            assert_eq!(mapped.strings(header(0)), command.arguments);
            assert_eq!(mapped.strings(header(1)), command.environment);
            let groups: Vec<_> = (0..header(3))
                .map(|index| mapped.u32_at(header(2) + 4 * index))
                .collect();
            assert_eq!(groups, user.groups);
            let numbers = |index: usize| [8, 12, 16, 20].map(|at| mapped.u32_at(header(4) + 24 * index + at));
            assert_eq!(header(5), 2);
            assert_eq!(mapped.string(mapped.u64_at(header(4))), b"/run");
            assert_eq!(numbers(0), [0o755, 0, 0, 1]);
            assert_eq!(mapped.string(mapped.u64_at(header(4) + 24)), b"/run/lock");
            assert_eq!(numbers(1), [0o1777, 1, 2, 0]);
            assert_eq!(mapped.string(header(6)), b"/srv/a b");
            assert_eq!(mapped.string(header(7)), b"machine");
            assert_eq!(
                [0, 4, 8].map(|at| mapped.u32_at(mapped.address + 64 + at)),
                [1000, 1001, 37]
            );
        }
    }

    #[test]
    fn programs_are_small_and_of_their_architecture() {
        for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
            let program = prebuilt_program(&Platform::new("linux", architecture, None).unwrap()).unwrap();
            assert_eq!(program[18], machine, "e_machine of {architecture}");
            assert!(program.len() < 16 << 10);
            load(program);
        }
        for (os, architecture) in [("linux", "riscv64"), ("windows", "amd64"), ("linux", "arm")] {
            assert!(prebuilt_program(&Platform::new(os, architecture, None).unwrap()).is_none());
        }
    }
}
