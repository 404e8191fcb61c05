//! Checks that the imports between the modules of a crate form no cycle.
//!
//! The compiler ensures this between crates. Here, each file is a node of the graph, and each
//! import an edge. Imports from a parent module do not count: a file may use the definitions of all
//! modules that contain it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use support::program::repository;

/// Folders with sources, and the stem of the crate's root file in each.
const CRATES: [(&str, &str); 6] = [
    ("ext4/src", "lib"),
    ("layer/src", "lib"),
    ("oci/src", "lib"),
    ("src", "lib"),
    ("src", "main"),
    ("guest/init/src", "main"),
];

/// Path of a module: the names from the crate's root on; empty for the root.
type Module = Vec<String>;

/// The sources of a crate.
#[derive(Default)]
struct Crate {
    sources: BTreeMap<Module, String>,
    /// Paths that each module imports, as written.
    imports: BTreeMap<Module, Vec<String>>,
    /// Re-exports of each module: the name, and the path as written.
    exports: BTreeMap<Module, BTreeMap<String, String>>,
}

impl Crate {
    /// Reads all sources of a crate.
    fn read(folder: &Path, root: &str) -> Self {
        let mut parsed = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(directory) = folders.pop() {
            for entry in fs::read_dir(directory).expect("the folder exists") {
                let path = entry.expect("the folder can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    parsed.add(folder, root, path);
                }
            }
        }
        for (module, source) in &parsed.sources {
            let mut imports = Vec::new();
            let exports = parsed.exports.entry(module.clone()).or_default();
            for statement in statements(source) {
                let (is_exported, tree) = statement;
                for path in expand(tree) {
                    if is_exported && let Some((_, name)) = path.rsplit_once("::") {
                        exports.insert(name.to_owned(), path.clone());
                    }
                    imports.push(path);
                }
            }
            imports.extend(inline_paths(source));
            parsed.imports.insert(module.clone(), imports);
        }
        parsed
    }

    /// Adds a file's source; ignores files of unit tests.
    fn add(&mut self, folder: &Path, root: &str, path: PathBuf) {
        let relative = path.strip_prefix(folder).expect("it is inside").with_extension("");
        let mut module: Module = relative
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        if module == [root] {
            module.clear();
        } else if module.last().is_some_and(|name| name == "tests") {
            return;
        }
        let source = fs::read_to_string(path).expect("sources are text");
        self.sources.insert(module, without_tests_and_comments(&source));
    }

    /// Returns the module that defines the item at a path, which is written in module `from`;
    /// `None` if the path leads out of the crate. `depth` counts the re-exports that were followed.
    fn resolve(&self, from: &[String], path: &str, depth: usize) -> Option<Module> {
        let mut names = path.split("::").map(str::trim).peekable();
        let mut module = match names.peek()? {
            &"crate" => {
                names.next();
                Vec::new()
            }
            &"self" | &"super" => from.to_vec(),
            first if self.sources.contains_key(&child(from, first)) => from.to_vec(),
            _ => return None,
        };
        while let Some(name) = names.next_if(|name| ["self", "super"].contains(name)) {
            if name == "super" {
                module.pop();
            }
        }
        while let Some(name) = names.next_if(|name| self.sources.contains_key(&child(&module, name))) {
            module.push(name.to_owned());
        }
        let exported = names.peek().and_then(|name| self.exports.get(&module)?.get(*name));
        let exported = exported
            .filter(|_| depth < 8)
            .and_then(|path| self.resolve(&module, path, depth + 1));
        exported.or(Some(module))
    }

    /// Returns for each module the modules that it imports from, without those that contain it.
    fn graph(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let edges = |(module, paths): (&Module, &Vec<String>)| {
            let targets = paths.iter().filter_map(|path| self.resolve(module, path, 0));
            let targets = targets.filter(|target| !module.starts_with(target)).collect();
            (module.clone(), targets)
        };
        self.imports.iter().map(edges).collect()
    }
}

/// Returns the path of a module's child.
fn child(module: &[String], name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// Removes the unit tests, which may import everything, and comments, and the content of strings.
fn without_tests_and_comments(source: &str) -> String {
    let end = source.find("#[cfg(test)]\nmod tests").unwrap_or(source.len());
    let lines = source[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Returns the `use` statements of a source: whether each is a re-export, and its tree of paths.
fn statements(source: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("use ") {
        let before = source[..at]
            .rsplit(['\n', ';', '{', '}'])
            .next()
            .unwrap_or_default()
            .trim();
        if before.is_empty() || before.starts_with("pub") {
            let tree = source[at + 4..].split(';').next().unwrap_or_default();
            found.push((before.starts_with("pub"), tree));
        }
    }
    found
}

/// Returns the paths in a tree such as `a::{b, c::d as e}`, without `as` names.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let body = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut depth = 0;
    let parts = body.split(|character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts
        .flat_map(|part| expand(&format!("{}{part}", prefix.trim())))
        .collect()
}

/// Returns the paths in code that begin with `crate`, `self` or `super`.
fn inline_paths(source: &str) -> Vec<String> {
    let is_path = |character: char| character.is_alphanumeric() || "_:".contains(character);
    let words = source.split(|character| !is_path(character));
    let roots = ["crate::", "self::", "super::"];
    words
        .filter(|word| roots.iter().any(|root| word.starts_with(root)))
        .map(str::to_owned)
        .collect()
}

/// Returns the imports that are part of a cycle: their target imports the source, directly or
/// indirectly.
fn find_cycles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<(&Module, &Module)> {
    let reachable = |start: &Module| {
        let mut reached = BTreeSet::new();
        let mut pending = vec![start];
        while let Some(module) = pending.pop() {
            if reached.insert(module.clone()) {
                pending.extend(graph.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|module| (module, reachable(module))).collect();
    let edges = graph.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    edges.filter(|(from, to)| reached[to].contains(*from)).collect()
}

#[test]
fn imports_form_no_cycle() {
    let mut found = Vec::new();
    for (folder, root) in CRATES {
        let parsed = Crate::read(&repository().join(folder), root);
        assert!(parsed.sources.len() > 10, "{folder} has few sources");
        for (from, to) in find_cycles(&parsed.graph()) {
            found.push(format!("{folder}: {} imports {}", from.join("::"), to.join("::")));
        }
    }
    assert!(found.is_empty(), "imports form cycles:\n{}", found.join("\n"));
}

#[test]
fn cycle_through_a_re_export_is_found_but_not_one_with_a_parent() {
    let sources = [
        ("", "mod a; mod b; mod c; pub use a::{inner::Thing, Other};"),
        ("a", "mod inner; pub use inner::Thing; use crate::c::Leaf;"),
        ("a::inner", "use super::Other; use crate::b::Deep;"),
        ("b", "fn f() -> crate::Thing { todo!() }"),
        ("c", ""),
    ];
    let mut parsed = Crate::default();
    for (name, source) in sources {
        let module: Module = name
            .split("::")
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let trees: Vec<_> = statements(source)
            .into_iter()
            .flat_map(|(_, tree)| expand(tree))
            .collect();
        let exported = statements(source).into_iter().filter(|(is_exported, _)| *is_exported);
        let exports = exported.flat_map(|(_, tree)| expand(tree));
        let exports = exports
            .map(|path| (path.rsplit("::").next().unwrap_or_default().to_owned(), path))
            .collect();
        parsed.exports.insert(module.clone(), exports);
        parsed
            .imports
            .insert(module.clone(), [trees, inline_paths(source)].concat());
        parsed.sources.insert(module, source.to_owned());
    }
    let graph = parsed.graph();
    let cycle = find_cycles(&graph)
        .into_iter()
        .map(|(from, to)| [from.join("::"), to.join("::")]);
    let expected = [["a::inner", "b"], ["b", "a::inner"]].map(|edge| edge.map(str::to_owned));
    assert_eq!(cycle.collect::<Vec<_>>(), expected);
}
