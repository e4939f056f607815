//! Settings that need not be typed: flags before environment before job file before user configuration.
//!
//! Owns: finding and reading the files, checking their keys, and handing the values to clap as defaults, so that one
//! parser decides everything. Does not own: what an option means. Invariants: a key that no command has is an error,
//! never ignored; `erase` takes nothing from files or environment; secrets are never in them, only names of files.
//! Callers: `cli::main`, `config`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};

use crate::cli::exit::warn;
use crate::cli::{Exit, Failure};
use crate::sys::{Access, World};

/// Name of the job file in the job directory.
pub(super) const JOB_FILE: &str = "job.toml";
/// Longest settings file. Unit: bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Commands that take nothing from files or environment: what they destroy or show is always typed.
const TYPED_ONLY: [&str; 6] = ["erase", "config", "help", "completions", "man", "init"];
/// Options that mean one transfer and not a habit, or that only help to find the settings.
const NEVER_SET: [&str; 5] = ["help", "version", "dry_run", "yes", "json"];
/// A key that other commands use with another meaning: key, the commands it is for.
const ONLY_FOR: [(&str, &[&str]); 2] = [
    ("to", &["ingest", "send", "reconcile", "doctor"]),
    ("volume", &["stage", "verify", "ingest", "ls", "cat", "diff", "extract", "doctor", "mount", "probe"]),
];
/// Options of the KEY group: one that is typed replaces all that are in files.
const KEYS: [&str; 3] = ["identity", "passphrase_file", "unlock_code_file"];

/// One file of settings.
#[derive(Debug)]
pub(super) struct Layer {
    /// What kind of file, for people.
    pub(super) kind: &'static str,
    /// Which file.
    pub(super) path: PathBuf,
    values: toml::Table,
}

/// Where a value came from, and the value.
pub(super) type Found<'a> = (&'a Layer, Vec<String>);

/// The name of the environment variable for an option.
pub(super) fn variable(arg: &Arg) -> String {
    format!("PACKMULE_{}", key(arg).to_uppercase().replace('-', "_"))
}

/// Files of settings, the stronger first: the job's, the user's.
///
/// # Errors
/// When one cannot be read, is not TOML, or has a key that no command has.
pub(super) fn layers(program: &Command, job: Option<&Path>) -> Result<Vec<Layer>, Failure> {
    let job_file = job.map(|dir| ("job file", dir.join(JOB_FILE)));
    let user_file = user_file().map(|path| ("user configuration", path));
    let mut layers = Vec::new();
    for (kind, path) in job_file.into_iter().chain(user_file) {
        if kind == "user configuration" && std::env::var_os("PACKMULE_CONFIG").is_none() && is_closed(&path) {
            // The home is somebody else's, as after a change of user; nobody asked for what is in it.
            warn(&format!("settings {} are not ours to read; going on without them", path.display()));
            continue;
        }
        if let Some(values) = read(&path)? {
            let layer = Layer { kind, path, values };
            layer.check(program)?;
            layers.push(layer);
        }
    }
    Ok(layers)
}

/// Reads a job file without acting on it: every key, and every value as the texts it stands for.
///
/// # Errors
/// When it is not TOML, has a key that no command has, or a value of a wrong type.
pub(super) fn check(program: &Command, text: &str) -> Result<(), String> {
    let values = text.parse::<toml::Table>().map_err(|error| error.to_string())?;
    let layers = [Layer { kind: "job file", path: JOB_FILE.into(), values }];
    layers[0].check(program).map_err(|failure| failure.to_string())?;
    for command in program.get_subcommands().filter(|command| is_settable(command.get_name())) {
        for arg in settable(command) {
            find(&layers, command.get_name(), arg).map_err(|failure| failure.to_string())?;
        }
    }
    Ok(())
}

/// `$PACKMULE_CONFIG`, else `packmule/config.toml` below `$XDG_CONFIG_HOME` or `~/.config`.
pub(super) fn user_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("PACKMULE_CONFIG").or_else(|| {
        // The specification of these variables has relative paths ignored.
        let below =
            set("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".config")))?;
        Some(below.join("packmule/config.toml"))
    })
}

/// Whether a directory on the way does not let us through.
fn is_closed(path: &Path) -> bool {
    World::real().fs.stat(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn read(path: &Path) -> Result<Option<toml::Table>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::of(Exit::Usage, format!("settings {} cannot be read", path.display()), None, error)
    };
    let file = match World::real().fs.open_read(path, Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let length = file.len().map_err(unreadable)?;
    if length > FILE_BYTES_MAX {
        let hint = format!("at most {FILE_BYTES_MAX} bytes are read");
        return Err(Failure::new(Exit::Usage, format!("settings {} are too long", path.display()), hint));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&bytes);
    text.parse::<toml::Table>()
        .map(Some)
        .map_err(|error| Failure::of(Exit::Usage, format!("settings {} are not TOML", path.display()), None, error))
}

/// Whether options of a command may be set at all.
pub(super) fn is_settable(command: &str) -> bool {
    !TYPED_ONLY.contains(&command)
}

/// Options of a command that may be set.
pub(super) fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !NEVER_SET.contains(&arg.get_id().as_str()))
}

/// A key as it stands in a file: that of the option, or the name of what stands without one.
pub(super) fn key(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| arg.get_id().as_str().replace('_', "-"), str::to_owned)
}

impl Layer {
    /// Every key must be an option of some command, every table a command.
    fn check(&self, program: &Command) -> Result<(), Failure> {
        let commands = || program.get_subcommands().filter(|command| is_settable(command.get_name()));
        let wrong = |what: String| {
            let hint = "everything that can be set: packmule config --all";
            Failure::new(Exit::Usage, format!("{} {}: {what}", self.kind, self.path.display()), hint)
        };
        for (name, value) in &self.values {
            match value {
                toml::Value::Table(table) => {
                    let Some(command) = commands().find(|command| command.get_name() == name) else {
                        return Err(wrong(format!("there is no command [{name}] that takes settings")));
                    };
                    let unknown = table.keys().find(|wanted| !settable(command).any(|arg| key(arg) == **wanted));
                    if let Some(unknown) = unknown {
                        return Err(wrong(format!("{name} has no option {unknown:?}")));
                    }
                }
                _ if commands().any(|command| settable(command).any(|arg| key(arg) == *name)) => {}
                _ => return Err(wrong(format!("no command has an option {name:?}"))),
            }
        }
        Ok(())
    }

    /// What this file says for an option of a command: its own table before the general part.
    fn value(&self, command: &str, arg: &Arg) -> Option<&toml::Value> {
        let key = key(arg);
        let own = self.values.get(command).and_then(|table| table.as_table()?.get(&key));
        let is_meant = ONLY_FOR.iter().all(|(name, commands)| *name != key || commands.contains(&command));
        own.or_else(|| self.values.get(&key).filter(|value| is_meant && !value.is_table()))
    }
}

/// What the files say for an option, the strongest only.
///
/// # Errors
/// When a value cannot stand for an option.
pub(super) fn find<'a>(layers: &'a [Layer], command: &str, arg: &Arg) -> Result<Option<Found<'a>>, Failure> {
    for layer in layers {
        if let Some(value) = layer.value(command, arg) {
            let texts = texts(value).ok_or_else(|| {
                let message =
                    format!("{} {}: {} has a value of a wrong type", layer.kind, layer.path.display(), key(arg));
                Failure::new(Exit::Usage, message, "give a text, a number, true, or a list of texts")
            })?;
            return Ok(Some((layer, texts)));
        }
    }
    Ok(None)
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Datetime(time) => Some(vec![time.to_string()]),
        toml::Value::Array(items) => {
            items.iter().map(|item| texts(item).filter(|texts| texts.len() == 1)?.pop()).collect()
        }
        toml::Value::Table(_) => None,
    }
}

/// The job directory that was typed or is in the environment, before anything is parsed.
pub(super) fn job_dir(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        if argument == "--job" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(dir) = argument.to_str().and_then(|text| text.strip_prefix("--job=")) {
            return Some(PathBuf::from(dir));
        }
    }
    std::env::var_os("PACKMULE_JOB").map(PathBuf::from)
}

/// The command line with what files say as defaults, and an environment variable for every option that takes a value.
///
/// # Errors
/// When a file is wrong, which is told before anything is done.
pub(super) fn with_settings(mut program: Command, arguments: &[OsString]) -> Result<Command, Failure> {
    let names: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let Some(name) = arguments.iter().skip(1).find_map(|given| names.iter().find(|name| given == name.as_str())) else {
        return Ok(program);
    };
    if !is_settable(name) {
        return Ok(program);
    }
    let layers = layers(&program, job_dir(arguments).as_deref())?;
    let Some(command) = program.find_subcommand(name) else { return Ok(program) };
    let has_typed_key = KEYS.iter().any(|key| is_typed(arguments, &key.replace('_', "-")));
    let mut defaults: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut variables: Vec<(String, String)> = Vec::new();
    for arg in settable(command) {
        let id = arg.get_id().as_str();
        if arg.get_env().is_none() && takes_value(arg) {
            variables.push((id.to_owned(), variable(arg)));
        }
        if let Some((_, texts)) = find(&layers, name, arg)?.filter(|_| !(has_typed_key && KEYS.contains(&id))) {
            defaults.insert(id.to_owned(), texts);
        }
    }
    program = program.mut_subcommand(name, |mut command| {
        for (id, variable) in variables {
            command = command.mut_arg(id, |arg| arg.env(variable).hide_env(true));
        }
        for (id, texts) in defaults {
            command = command.mut_arg(id, |arg| arg.default_values(texts).required(false));
        }
        command
    });
    Ok(program)
}

/// Whether an option stands on the command line.
fn is_typed(arguments: &[OsString], long: &str) -> bool {
    let (alone, with_value) = (format!("--{long}"), format!("--{long}="));
    arguments.iter().any(|given| given.to_str().is_some_and(|text| text == alone || text.starts_with(&with_value)))
}

/// Whether it is more than a switch.
pub(super) fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        Layer { kind: "job file", path: "job.toml".into(), values: text.parse().expect("TOML") }
    }

    #[test]
    fn a_key_that_no_command_has_is_an_error_and_not_ignored() {
        let program = crate::cli::command();
        assert!(layer("memory = '1GiB'\n[stage]\ncompress = 'none'").check(&program).is_ok());
        for wrong in ["memroy = '1GiB'", "[stage]\nmemroy = '1GiB'", "[erase]\nfree-space = true", "[nothing]"] {
            let failure = layer(wrong).check(&program).expect_err(wrong);
            assert_eq!(failure.exit, Exit::Usage);
        }
    }

    #[test]
    fn the_table_of_a_command_is_stronger_than_the_general_part() {
        let program = crate::cli::command();
        let layers = [layer("memory = '1GiB'\n[stage]\nmemory = '2GiB'"), layer("memory = '4GiB'\nthreads = 3")];
        let value = |command: &str, id: &str| {
            let found = program.find_subcommand(command).expect("a command");
            let arg = found.get_arguments().find(|arg| arg.get_id() == id).expect("an option");
            find(&layers, command, arg).expect("fine").map(|(_, texts)| texts.join(","))
        };
        assert_eq!(value("stage", "memory").as_deref(), Some("2GiB"));
        assert_eq!(value("ingest", "memory").as_deref(), Some("1GiB"));
        assert_eq!(value("stage", "threads").as_deref(), Some("3"));
        assert_eq!(value("stage", "compress"), None);
    }

    #[test]
    fn a_destination_in_s3_is_not_a_directory_to_extract_to() {
        let program = crate::cli::command();
        let layer = layer("to = 's3://lab-archive/run-7'");
        let arg = |command: &str| {
            let found = program.find_subcommand(command).expect("a command");
            found.get_arguments().find(|arg| arg.get_id() == "to").expect("an option").clone()
        };
        assert!(layer.value("ingest", &arg("ingest")).is_some());
        assert!(layer.value("extract", &arg("extract")).is_none());
    }

    #[test]
    fn the_job_directory_is_found_before_parsing() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(job_dir(&words("packmule stage --job /j x")), Some("/j".into()));
        assert_eq!(job_dir(&words("packmule stage x --job=/j")), Some("/j".into()));
    }
}
