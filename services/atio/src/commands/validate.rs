//! `atio validate`: declarations and workflows checked as a whole, without a broker. Owns which files are read and how problems are shown.
use crate::{
    endpoints::Target,
    exit::Exit,
    render::{self, Format},
    system::declared,
};
use atio_topics::{
    Declarations, Problem,
    load::{self, Declaration},
};
use atio_workflow::Known;
use serde_json::json;
use std::path::PathBuf;

/// Check declarations and workflows as a whole; no broker
///
/// Fields, names, sinks, steps, expressions. Files and directories are laid over what is shipped, as `atio up` does it; a directory is one with `sources/`, `workflows/`, `sinks/` and
/// `tables/`. Exit code 5 where something is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio validate ./topics && atio test ./topics")]
pub struct Args {
    /// Files or directories; without any, the declarations of the configuration (DATA/topics)
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Text, one JSON object a problem, or one SARIF 2.1.0 log for code hosts and editors
    #[arg(long, value_enum, default_value_t)]
    format: Report,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Report {
    #[default]
    Human,
    Json,
    Sarif,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let Files { files, unread } = files(target, &args.paths)?;
    let mut problems = unread;
    problems.extend(self::problems(&files));
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    match args.format {
        Report::Human => problems.iter().try_for_each(|p| show(p, Format::Human))?,
        Report::Json => problems.iter().try_for_each(|p| show(p, Format::Json))?,
        Report::Sarif => render::json(&render::sarif::log(&problems))?,
    }
    if problems.is_empty() {
        if args.format == Report::Human {
            render::notice(&format!("{} files and what is shipped: nothing is wrong", files.len()));
        }
        return Ok(Exit::Done);
    }
    Ok(Exit::Refused)
}

/// What was found to lay over the shipped declarations.
#[derive(Debug, Default)]
pub struct Files {
    pub files: Vec<load::File>,
    /// Why the others are refused unread: too long, no text.
    pub unread: Vec<Problem>,
}

impl Files {
    fn add(&mut self, looked: Result<load::File, Problem>) {
        match looked {
            Ok(file) => self.files.push(file),
            Err(problem) => self.unread.push(problem),
        }
    }
}

/// Every problem of all files: a source that is refused must not hide what is wrong with a workflow.
fn problems(files: &[load::File]) -> Vec<Problem> {
    let mut problems = match declared::check(files) {
        Ok(declared) => return workflows(&declared).1,
        Err(problems) => problems,
    };
    let mut rest = Declarations::load(&[]).unwrap_or_default();
    rest.workflows.clear();
    for file in files {
        match load::parse(&file.name, &file.text) {
            Ok(Declaration::Workflow(workflow)) => drop(rest.workflows.insert(file.name.clone(), workflow)),
            Ok(Declaration::Sink(sink)) => drop(rest.sinks.insert(sink.meta.name.clone(), sink)),
            _ => {}
        }
    }
    for problem in workflows(&rest).1 {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// The files to lay over what is shipped.
pub fn files(target: &Target, paths: &[PathBuf]) -> anyhow::Result<Files> {
    let mut files = Files::default();
    if paths.is_empty() {
        let config = target.configuration(json!({}))?;
        let directory = declared::directory(&config);
        if directory.is_dir() {
            load::look_into(&directory)?.into_iter().for_each(|looked| files.add(looked));
        }
        return Ok(files);
    }
    for path in paths {
        if path.is_dir() {
            let found = load::look_into(path)?;
            if found.is_empty() {
                render::notice(&format!(
                    "{}: no declarations in its sources/, workflows/, sinks/ or tables/",
                    path.display()
                ));
            }
            found.into_iter().for_each(|looked| files.add(looked));
        } else {
            files.add(load::look_at(path)?);
        }
    }
    Ok(files)
}

/// Every workflow that can be compiled, and every problem of the others.
pub fn workflows(declared: &Declarations) -> (Vec<atio_workflow::Definition>, Vec<Problem>) {
    let known = Known::of(declared);
    let (mut compiled, mut problems) = (vec![], vec![]);
    for workflow in declared.workflows.values() {
        match atio_workflow::compile(&workflow.place.file, &workflow.text, &known) {
            Ok(definition) => compiled.push(definition),
            Err(found) => problems.extend(found),
        }
    }
    // Who can't be compiled is none that is unknown.
    if problems.is_empty() {
        problems = atio_workflow::calls::problems(&compiled);
    }
    (compiled, problems)
}

/// One problem: where, what, and what to write instead.
pub fn show(problem: &Problem, format: Format) -> anyhow::Result<()> {
    let Problem { code, place, message, help } = problem;
    if format == Format::Json {
        return render::json(&json!({
            "code": code, "file": &*place.file, "line": place.line, "column": place.column, "message": message, "help": help
        }));
    }
    render::line(&format!("{place}: {message}"))?;
    help.iter().try_for_each(|h| render::line(&format!("  help: {h}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> load::File {
        load::File { name: name.to_owned(), text: text.to_owned() }
    }

    /// A file is refused with its place before it is read as a whole.
    #[test]
    fn files_that_are_no_declarations() {
        let dir = tempfile::tempdir().unwrap();
        let (long, binary) = (dir.path().join("long.yaml"), dir.path().join("binary.yaml"));
        std::fs::write(&long, vec![b'#'; 10 << 20]).unwrap();
        std::fs::write(&binary, b"a: 1\nb: \xff\xfe").unwrap();
        let mut files = Files::default();
        [&long, &binary].into_iter().for_each(|path| files.add(load::look_at(path).unwrap()));
        assert!(files.files.is_empty());
        let told: Vec<String> = files.unread.iter().map(ToString::to_string).collect();
        assert!(told[0].ends_with("long.yaml:1:1: 10485760 bytes, at most 1048576 are read (move long lists into a table, or write several files)"), "{told:?}");
        assert!(
            told[1].ends_with("binary.yaml:2:4: not UTF-8 from here (save the file as UTF-8)"),
            "{told:?}"
        );
        assert!(load::look_at(&dir.path().join("none.yaml")).is_err());
    }

    #[test]
    fn every_problem_of_all_files_is_told() {
        let source =
            "{apiVersion: atio/v1, kind: Source, metadata: {name: z}, format: nessus, from: {http: {}}}";
        let workflow = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {kynd: threat}\nbranches:\n  a:\n    - deliver: nowhere\n";
        let files = [file("sources/z.yaml", source), file("workflows/w.yaml", workflow)];
        let mut found = problems(&files);
        found.sort_by(|a, b| a.place.cmp(&b.place));
        let places: Vec<(&str, u64)> = found.iter().map(|p| (&*p.place.file, p.place.line)).collect();
        assert_eq!(places, [("sources/z.yaml", 1), ("workflows/w.yaml", 5), ("workflows/w.yaml", 8)]);
        assert_eq!(problems(&files[1..]).len(), 2);
        assert!(problems(&[]).is_empty(), "what is shipped is valid");
    }
}
