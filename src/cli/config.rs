//! `packmule config`: what is set, where, and what could be.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::settings::{self, find, is_settable, key, layers, settable, takes_value, variable};
use crate::cli::{Exit, command};

/// Arguments of `packmule config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job directory, whose job.toml counts too
    #[arg(long, value_name = "DIR", env = "PACKMULE_JOB", hide_env = true)]
    job: Option<PathBuf>,
    /// Show everything that can be set, with its built-in value
    #[arg(long)]
    all: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One option of one command.
#[derive(Debug, serde::Serialize)]
struct Setting {
    command: String,
    key: String,
    value: Option<String>,
    from: String,
}

/// Prints what is set. The last line names the files that were looked for.
///
/// # Errors
/// When a file is wrong, or standard output is closed.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let program = command();
    let layers = layers(&program, args.job.as_deref())?;
    let mut found = Vec::new();
    for command in program.get_subcommands().filter(|command| is_settable(command.get_name())) {
        for arg in settable(command) {
            let built_in = || {
                let values: Vec<String> =
                    arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
                (!values.is_empty()).then(|| values.join(", "))
            };
            let own = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let name = own.unwrap_or_else(|| variable(arg));
            let from_environment = std::env::var(&name).ok().filter(|_| takes_value(arg));
            let (value, from) = match (from_environment, find(&layers, command.get_name(), arg)?) {
                (Some(value), _) => (Some(value), format!("environment {name}")),
                (None, Some((layer, texts))) => {
                    (Some(texts.join(", ")), format!("{} {}", layer.kind, layer.path.display()))
                }
                (None, None) if args.all => (built_in(), "built in".to_owned()),
                (None, None) => continue,
            };
            found.push(Setting { command: command.get_name().to_owned(), key: key(arg), value, from });
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        return Ok(Exit::Done);
    }
    for (setting, commands) in by_value(&found) {
        let value = setting.value.as_deref().unwrap_or("-");
        writeln!(out, "{:<22} {value:<30} {}\n    {}", setting.key, setting.from, commands.join(", "))?;
    }
    if found.is_empty() {
        writeln!(out, "nothing is set; everything that can be: packmule config --all")?;
    }
    let job = args.job.as_ref().map(|dir| dir.join(settings::JOB_FILE).display().to_string());
    let user = settings::user_file().map(|path| path.display().to_string());
    let files: Vec<String> = [job, user].into_iter().flatten().collect();
    writeln!(out, "\nstrongest first: options, environment PACKMULE_OPTION, {}", files.join(", "))?;
    Ok(Exit::Done)
}

/// Settings with the commands that share them, in the order they were found.
fn by_value(found: &[Setting]) -> Vec<(&Setting, Vec<&str>)> {
    let mut groups: Vec<(&Setting, Vec<&str>)> = Vec::new();
    for one in found {
        let is_same = |(other, _): &&mut (&Setting, Vec<&str>)| {
            (&other.key, &other.value, &other.from) == (&one.key, &one.value, &one.from)
        };
        match groups.iter_mut().find(is_same) {
            Some((_, commands)) => commands.push(&one.command),
            None => groups.push((one, vec![&one.command])),
        }
    }
    groups
}
