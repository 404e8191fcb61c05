//! Random layers: any path, any file type replaced by any other, symlinks and hard links to any
//! path, whiteouts and opaque markers, all in any order.

use crate::tar::Entry;

const DIRECTORIES: &[&str] = &["a", "b", "c"];
const FILES: &[&str] = &["f", "g", "h"];
const SYMLINKS: &[&str] = &["l", "m"];

/// Pseudorandom number generator (`SplitMix64`): the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Returns the layers of an image, generated from a seed.
pub fn layers(seed: u64) -> Vec<Vec<Entry>> {
    let mut random = Random(seed);
    // Names that may exist, as targets of hard links.
    let mut known = Vec::new();
    (0..2 + random.below(3))
        .map(|_| {
            let count = 2 + random.below(20);
            (0..count).map(|_| entry(&mut random, &mut known)).collect()
        })
        .collect()
}

fn entry(random: &mut Random, known: &mut Vec<String>) -> Entry {
    let mut entry = match random.below(16) {
        0..=4 => {
            let name = path(random, FILES);
            known.push(name.clone());
            let len = random.one_of(&[0, 1, 10, 5000]);
            Entry::file(name, vec![b'a' + u8::try_from(random.below(26)).unwrap(); len])
        }
        5..=7 => Entry::directory(path(random, DIRECTORIES)),
        8 | 9 => {
            let start = random.one_of(&["", "/", "../", "./", "../../"]);
            let names = random.one_of(&[FILES, DIRECTORIES, DIRECTORIES]);
            let target = path(random, names);
            Entry::symlink(path(random, SYMLINKS), start.to_owned() + &target)
        }
        10 | 11 if !known.is_empty() => {
            let name = path(random, FILES);
            let target = known[random.below(known.len())].clone();
            known.push(name.clone());
            Entry::hard_link(name, random.one_of(&["", "/", "../"]).to_owned() + &target)
        }
        12 => Entry {
            device: (5, 1),
            ..Entry::new(random.one_of(b"346"), path(random, FILES))
        },
        13 => Entry::file(path(random, DIRECTORIES) + "/.wh..wh..opq", ""),
        14 if random.below(4) == 0 => Entry::file(".wh..wh..opq", ""),
        _ => {
            let names = random.one_of(&[FILES, DIRECTORIES, SYMLINKS]);
            let name = path(random, names);
            let (parent, base) = name.rsplit_once('/').unwrap_or((".", &name));
            Entry::file(format!("{parent}/.wh.{base}"), "")
        }
    };
    entry.mode = random.one_of(&[0o755, 0o644, 0o700, 0o4755, 0o1777, 0o2750, 0]);
    entry.uid = random.one_of(&[0, 1, 1000, 70_000]);
    entry.gid = random.one_of(&[0, 1, 1000, 70_000]);
    entry.mtime = i64::try_from(1 + random.below(1_000_000_000)).unwrap();
    if matches!(entry.flag, b'0' | b'5') && random.below(4) == 0 {
        let name = random.one_of(&["SCHILY.xattr.user.a", "SCHILY.xattr.trusted.b"]);
        entry = entry.pax(name, random.one_of(&["x", "other", "\n"]));
    }
    entry
}

/// Returns a path of a few names, so that paths collide. Directories and other files mostly have
/// different names.
fn path(random: &mut Random, names: &[&str]) -> String {
    let mut path = String::new();
    for _ in 0..random.one_of(&[0, 0, 1, 1, 1, 2, 2, 3]) {
        let parent = random.one_of(&["a", "b", "c", "a", "b", "c", "a", "b", "c", "l", "m"]);
        path = path + parent + "/";
    }
    let names = if random.below(12) == 0 {
        &["a", "b", "f", "g", "l"]
    } else {
        names
    };
    path += random.one_of(names);
    match random.below(20) {
        0 => format!("./{path}"),
        1 => format!("/{path}"),
        2 => format!("x/../{path}"),
        3 => format!("../{path}"),
        _ => path,
    }
}

/// Returns whether an entry is a whiteout or an opaque marker.
pub fn is_whiteout(entry: &Entry) -> bool {
    let base = entry.name.rsplit(|&byte| byte == b'/').next();
    base.is_some_and(|base| base.starts_with(b".wh."))
}

/// Puts whiteouts before the other entries of their layer.
pub fn whiteouts_first(layer: &[Entry]) -> Vec<Entry> {
    let (mut whiteouts, others) = split(layer);
    whiteouts.extend(others);
    whiteouts
}

/// Puts whiteouts behind the other entries of their layer, and in the reverse order.
pub fn whiteouts_last(layer: &[Entry]) -> Vec<Entry> {
    let (whiteouts, mut others) = split(layer);
    others.extend(whiteouts.into_iter().rev());
    others
}

/// Puts each whiteout anywhere. The other entries keep their order.
pub fn whiteouts_shuffled(random: &mut Random, layer: &[Entry]) -> Vec<Entry> {
    let (whiteouts, mut shuffled) = split(layer);
    for whiteout in whiteouts {
        shuffled.insert(random.below(shuffled.len() + 1), whiteout);
    }
    shuffled
}

fn split(layer: &[Entry]) -> (Vec<Entry>, Vec<Entry>) {
    layer.iter().cloned().partition(is_whiteout)
}

/// Formats layers for a person, one entry a line.
pub fn show(layers: &[Vec<Entry>]) -> String {
    let line = |entry: &Entry| {
        let name = String::from_utf8_lossy(&entry.name);
        let link = String::from_utf8_lossy(&entry.link);
        match entry.flag {
            b'1' => format!("  {name} == {link}\n"),
            b'2' => format!("  {name} -> {link}\n"),
            b'5' => format!("  {name}/ {:o}\n", entry.mode),
            flag => format!("  {name} ({})\n", char::from(flag)),
        }
    };
    let layer = |layer: &Vec<Entry>| layer.iter().map(line).collect::<String>();
    layers.iter().map(layer).collect::<Vec<_>>().join("  ---\n")
}
