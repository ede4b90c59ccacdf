//! From declaration files to declarations: shipped ones, the user's over them, every problem of all files at once.
//! The only file here that touches a file system ([`read_dir`]).
use crate::{
    place::{Place, Problem},
    shipped,
    sink::{self, Sink},
    spec::{self, Source, Table},
    yaml,
};
use std::{collections::BTreeMap, io, path::Path};

/// So many declaration files are read at most.
pub const MAX_FILES: usize = 4096;
/// Folder and kind, in the order in which they are shown.
const FOLDERS: [(&str, &str); 4] =
    [("sources", "Source"), ("workflows", "Workflow"), ("sinks", "Sink"), ("tables", "Table")];

/// A file that may hold a declaration: the name that problems show, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub text: String,
}

/// A workflow's text: `crates/workflow` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowText {
    pub name: String,
    pub text: String,
    pub place: Place,
}

/// All declarations by name, shipped and the user's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    pub sources: BTreeMap<String, Source>,
    pub workflows: BTreeMap<String, WorkflowText>,
    pub sinks: BTreeMap<String, Sink>,
    pub tables: BTreeMap<String, Table>,
}

/// One declaration of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declaration {
    Source(Source),
    Workflow(WorkflowText),
    Sink(Sink),
    Table(Table),
}

impl Declaration {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Source(s) => &s.meta.name,
            Self::Workflow(w) => &w.name,
            Self::Sink(s) => &s.meta.name,
            Self::Table(t) => &t.meta.name,
        }
    }
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Source(_) => "Source",
            Self::Workflow(_) => "Workflow",
            Self::Sink(_) => "Sink",
            Self::Table(_) => "Table",
        }
    }
    fn place(&self) -> &Place {
        match self {
            Self::Source(s) => &s.meta.place,
            Self::Workflow(w) => &w.place,
            Self::Sink(s) => &s.meta.place,
            Self::Table(t) => &t.meta.place,
        }
    }
}

/// Reads one declaration; a workflow only as far as its name.
///
/// # Errors
/// The first problem of the file.
pub fn parse(file: &str, text: &str) -> Result<Declaration, Problem> {
    let (kind, meta) = spec::head(file, text)?;
    match kind.as_str() {
        "Source" => spec::source(file, text, meta).map(Declaration::Source),
        "Sink" => sink::sink(file, text, meta).map(Declaration::Sink),
        "Table" => spec::table(file, text, meta).map(Declaration::Table),
        _ => Ok(Declaration::Workflow(WorkflowText {
            name: meta.name,
            text: text.to_owned(),
            place: meta.place,
        })),
    }
}

impl Declarations {
    /// What is shipped, with the user's files over it by kind and name.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(user: &[File]) -> Result<Self, Vec<Problem>> {
        let mut all = Self::default();
        let mut problems = vec![];
        all.add(&shipped_files(), &mut problems);
        let mut own = Self::default();
        own.add(user, &mut problems);
        all.sources.extend(own.sources);
        all.workflows.extend(own.workflows);
        all.sinks.extend(own.sinks);
        all.tables.extend(own.tables);
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    fn add(&mut self, files: &[File], problems: &mut Vec<Problem>) {
        for file in files {
            match parse(&file.name, &file.text) {
                Ok(declaration) => problems.extend(self.put(declaration)),
                Err(problem) => problems.push(problem),
            }
        }
    }

    fn put(&mut self, declaration: Declaration) -> Option<Problem> {
        let folder =
            FOLDERS.iter().find(|(_, kind)| *kind == declaration.kind()).map_or("", |(folder, _)| folder);
        let place = declaration.place().clone();
        let parent = Path::new(&*place.file).parent().and_then(Path::file_name).and_then(|n| n.to_str());
        if let Some(other) = parent.filter(|p| *p != folder && FOLDERS.iter().any(|(f, _)| f == p)) {
            return Some(Problem::new(
                &place,
                format!("a {} lies in `{folder}/`, not in `{other}/`", declaration.kind()),
            ));
        }
        let name = declaration.name().to_owned();
        let kind = declaration.kind();
        let twice = match declaration {
            Declaration::Source(s) => self.sources.insert(name.clone(), s).map(|o| o.meta.place),
            Declaration::Workflow(w) => self.workflows.insert(name.clone(), w).map(|o| o.place),
            Declaration::Sink(s) => self.sinks.insert(name.clone(), s).map(|o| o.meta.place),
            Declaration::Table(t) => self.tables.insert(name.clone(), t).map(|o| o.meta.place),
        };
        twice.map(|other| {
            Problem::new(&place, format!("{kind} `{name}` is declared twice; the other is at {other}"))
        })
    }
}

fn shipped_files() -> Vec<File> {
    let folders = [shipped::SOURCES, shipped::WORKFLOWS, shipped::SINKS, shipped::TABLES];
    let files = FOLDERS.iter().zip(folders);
    files
        .flat_map(|((folder, _), files)| {
            files.iter().map(move |(name, text)| File {
                name: format!("shipped/{folder}/{name}.yaml"),
                text: (*text).to_owned(),
            })
        })
        .collect()
}

/// The user's declarations: `<dir>/{sources,workflows,sinks,tables}/*.yaml` (and `.yml`), by name. Folders that are absent are empty.
///
/// # Errors
/// A file that can't be read, is no UTF-8, or is too long; more than [`MAX_FILES`].
pub fn read_dir(dir: &Path) -> io::Result<Vec<File>> {
    let mut files = vec![];
    for (folder, _) in FOLDERS {
        let folder = dir.join(folder);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(named(&folder, &e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| named(&folder, &e))?.path();
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                files.push(read_file(&path)?);
            }
            if files.len() > MAX_FILES {
                return Err(io::Error::other(format!(
                    "{}: more than {MAX_FILES} declarations",
                    dir.display()
                )));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// One declaration file.
///
/// # Errors
/// As [`read_dir`].
pub fn read_file(path: &Path) -> io::Result<File> {
    let length = std::fs::metadata(path).map_err(|e| named(path, &e))?.len();
    if length > yaml::MAX_FILE as u64 {
        return Err(io::Error::other(format!(
            "{}: {length} bytes, at most {} are read",
            path.display(),
            yaml::MAX_FILE
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|e| named(path, &e))?;
    Ok(File { name: path.display().to_string(), text })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
