//! From declaration files to declarations: shipped ones, the user's over them, every problem of all files at once.
//! The only file here that touches a file system ([`read_dir`]).
use crate::{
    place::{Place, Problem},
    shipped,
    sink::{self, Sink},
    spec::{self, Source, Table},
    yaml,
};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

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
            return Some(
                Problem::new(
                    &place,
                    format!("a {} lies in `{folder}/`, not in `{other}/`", declaration.kind()),
                )
                .help(Some(format!("move the file to `{folder}/`"))),
            );
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
                .help(Some("rename one, or leave it out".to_owned()))
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
    look_into(dir)?.into_iter().map(|looked| looked.map_err(io::Error::other)).collect()
}

/// The files of a folder as [`read_dir`] takes them, each with what is wrong with it as a whole.
///
/// # Errors
/// A file that can't be read; more than [`MAX_FILES`].
pub fn look_into(dir: &Path) -> io::Result<Vec<Result<File, Problem>>> {
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
                files.push(look_at(&path)?);
            }
            if files.len() > MAX_FILES {
                return Err(io::Error::other(format!(
                    "{}: more than {MAX_FILES} declarations",
                    dir.display()
                )));
            }
        }
    }
    let name = |looked: &Result<File, Problem>| match looked {
        Ok(file) => file.name.clone(),
        Err(problem) => problem.place.file.to_string(),
    };
    files.sort_by_cached_key(name);
    Ok(files)
}

/// One declaration file.
///
/// # Errors
/// As [`read_dir`].
pub fn read_file(path: &Path) -> io::Result<File> {
    look_at(path)?.map_err(io::Error::other)
}

/// One declaration file, or what is wrong with it as a whole: too long, no UTF-8.
///
/// # Errors
/// A file that can't be read.
pub fn look_at(path: &Path) -> io::Result<Result<File, Problem>> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| named(path, &e))?;
    let length = file.metadata().map_err(|e| named(path, &e))?.len();
    let limit = yaml::MAX_FILE as u64;
    let mut bytes = vec![];
    // A pipe has no length.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| named(path, &e))?;
    if bytes.len() as u64 > limit {
        return Ok(Err(Problem::too_long(&Place::start(&name), length.max(bytes.len() as u64), limit)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Ok(File { name, text })),
        Err(error) => Ok(Err(not_text(&name, &error))),
    }
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Problem {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let text = String::from_utf8_lossy(good);
    let count = |n: usize| u64::try_from(n).unwrap_or(0);
    let place = Place {
        line: count(text.matches('\n').count()) + 1,
        column: count(text.rsplit('\n').next().unwrap_or_default().chars().count()) + 1,
        ..Place::start(name)
    };
    Problem::new(&place, "not UTF-8 from here").help(Some("save the file as UTF-8".to_owned()))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
